//! What hubs write to each other.

use super::log::TopicRef;
use crate::base::ShardId;
use crate::protocol::Kind;
use bytes::Bytes;
use std::sync::Arc;

/// One mail. Between two shards mail keeps its order.
///
/// ```
/// # use tapecast::hub::{Hub, Mail, Post, Subscriptions};
/// # use tapecast::{Limits, ShardId};
/// # struct Outbox(Vec<Mail>);
/// #
/// # impl Post for Outbox {
/// #     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
/// #         self.0.push(mail);
/// #         Ok(())
/// #     }
/// # }
/// let home = Hub::home_of("news", 1, 2);
/// let elsewhere = ShardId(1 - home.0);
/// let mut reader = Hub::new(elsewhere, 2, Limits::default(), 1, 2);
/// let mut outbox = Outbox(Vec::new());
/// reader.subscribe(7, &mut Subscriptions::default(), "news").unwrap();
/// reader.flush(&mut outbox, &mut Vec::new());
/// let interest = outbox.0.remove(0);
/// assert!(matches!(interest, Mail::Interest { wanted: true, .. }));
///
/// let mut numbering = Hub::new(home, 2, Limits::default(), 1, 3);
/// numbering.receive(elsewhere, interest);
/// numbering.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(outbox.0[..], [Mail::Welcome { last: 0, .. }]));
/// ```
#[derive(Clone, Debug)]
pub enum Mail {
    /// To the home: this shard reads the topic from now on, or no longer.
    Interest {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table; named in all that the home answers.
        reader: TopicRef,
        /// Whether it reads.
        wanted: bool,
    },
    /// To the home: number this.
    Publish {
        /// The topic's name.
        topic: Arc<str>,
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Bytes,
    },
    /// From the home: interest is registered; what follows is what comes after
    /// message `last`.
    Welcome {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The last message's number, 0 if there is none.
        last: u64,
    },
    /// From the home: the next message.
    Entry {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// Text or binary.
        kind: Kind,
        /// The payload.
        payload: Bytes,
    },
    /// From the home: the reader shard fell off the log.
    Gap {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// How many messages are missing here.
        missed: u64,
    },
}

/// How mail leaves a shard.
///
/// ```
/// use tapecast::hub::{Hub, Mail, Post};
/// use tapecast::{Limits, ShardId};
///
/// struct Outbox(Vec<Mail>);
///
/// impl Post for Outbox {
///     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
///         self.0.push(mail);
///         Ok(())
///     }
/// }
///
/// let ShardId(home) = Hub::home_of("news", 1, 2);
/// let mut elsewhere = Hub::new(ShardId(1 - home), 2, Limits::default(), 1, 2);
/// elsewhere.publish("news", "hi".into()).unwrap();
/// let mut outbox = Outbox(Vec::new());
/// elsewhere.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(&outbox.0[..], [Mail::Publish { payload, .. }] if payload == "hi"));
/// ```
pub trait Post {
    /// Hands `mail` of `weight` bytes over to shard `to`.
    ///
    /// # Errors
    /// The mail, when there is no room now.
    fn post(&mut self, to: ShardId, mail: Mail, weight: usize) -> Result<(), Mail>;
}
