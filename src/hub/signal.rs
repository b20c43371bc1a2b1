//! The reports of a hub to its shard: signals after a flush, and the steps of catching up.

use super::error::HubError;
use super::ids::TopicRef;
use super::lane::Mark;
use crate::base::ConnectionId;
use crate::base::work::Work;
use std::sync::Arc;

/// The consequence of a flush for a subscriber or a publisher.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Signal, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let (mut subscriptions, mut signals) = (Subscriptions::default(), Vec::new());
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// assert!(matches!(signals[..], [Signal::Subscribed { subscriber: 7, seq: 0, .. }]));
///
/// signals.clear();
/// hub.publish(&Publication::new("news", "hi")).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// assert_eq!(signals, [Signal::Pending(7)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The subscriber has frames to get: `Hub::pending`.
    Pending(u32),
    /// The subscriber has a cursor that is not on its tape: `Hub::catch_up`, once everything
    /// that it was sent before has left.
    CatchUp(u32),
    /// The subscriber fell behind its tape, and its policy is to be closed: at once, since it
    /// may never read again.
    FellBehind(u32),
    /// A subscription is live.
    Subscribed {
        /// The subscriber.
        subscriber: u32,
        /// The topic.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The subscriber gets the messages after number `seq`.
        seq: u64,
        /// That is the number that it had asked to continue from.
        recovered: bool,
    },
    /// A topic matches a pattern of the subscriber, and the subscription to it is refused.
    Refused {
        /// The subscriber.
        subscriber: u32,
        /// The topic's name.
        topic: Arc<str>,
        /// The reason.
        error: HubError,
    },
    /// A connection's request has cost another shard more than it was charged here.
    Debt {
        /// The connection.
        connection: ConnectionId,
        /// The difference.
        work: Work,
    },
    /// The outcome of a publication. Without a token, only a refusal is reported.
    Published {
        /// The publishing connection.
        connection: ConnectionId,
        /// Its own name for the publication.
        token: Option<u64>,
        /// The number, or the reason for a refusal.
        result: Result<u64, HubError>,
    },
}

/// A step that `Hub::catch_up` returns for a connection. Steps are in the order of delivery.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Step, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// hub.publish(&Publication::new("news", "yesterday's")).unwrap();
/// let mut subscriptions = Subscriptions::default();
/// let delivery = Delivery { snapshot: true, ..Delivery::default() };
/// hub.subscribe(7, &mut subscriptions, "news", &delivery).unwrap();
/// hub.flush(&mut Outbox::default(), &mut Vec::new());
///
/// let (mut frames, mut steps) = (Vec::new(), Vec::new());
/// hub.catch_up(&mut subscriptions, &mut frames, &mut steps);
/// assert!(steps.contains(&Step::Frames { end: frames.len(), messages: 1 }));
/// assert_eq!(frames, b"\x81\x0byesterday's");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the frames up to `end` now.
    Frames {
        /// Where they end.
        end: usize,
        /// How many messages they are.
        messages: u64,
    },
    /// A mark. Its frames, if its lane has any, came before.
    Marked {
        /// The topic.
        topic: TopicRef,
        /// The mark.
        mark: Mark,
    },
    /// A subscription is live.
    Subscribed {
        /// The topic.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The subscriber gets the messages after number `seq`.
        seq: u64,
        /// That is the number that it had asked to continue from.
        recovered: bool,
    },
    /// The subscriber fell behind its tape, and its policy is to be closed.
    FellBehind,
}
