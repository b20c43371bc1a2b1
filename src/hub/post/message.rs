//! The messages between hubs, and the way in which they leave a shard.

use crate::base::work::Work;
use crate::base::{ConnectionId, ShardId};
use crate::hub::error::HubError;
use crate::hub::ids::{ConnectionRef, PatternRef, SubscriptionRef, TopicRef};
use crate::hub::message::{Entry, EntryKind, Receipt};
use crate::hub::past::{Past, Portion, Since, View};
use bytes::Bytes;
use std::sync::Arc;

/// The weight of a message between hubs beside its payload, in bytes.
pub const HUB_MESSAGE_OVERHEAD_BYTES: usize = 64;

/// A message from one hub to another. Between two shards messages keep their order.
///
/// ```
/// # use tapecast::hub::{Delivery, Hub, HubMessage, Outbox, Subscriptions};
/// # use tapecast::ShardId;
/// let home = Hub::home_of("news", 1, 2);
/// let elsewhere = ShardId(1 - home.0);
/// let mut reader = Hub::for_tests(elsewhere, 2);
/// let mut outbox = Outbox::default();
/// let mut subscriptions = Subscriptions::default();
/// reader.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// reader.flush(&mut outbox, &mut Vec::new());
/// let (_, interest) = outbox.messages.remove(0);
/// assert!(matches!(interest, HubMessage::Interest { wanted: true, .. }));
///
/// let mut numbering = Hub::for_tests(home, 2);
/// numbering.receive(elsewhere, interest);
/// numbering.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(outbox.messages[..], [(_, HubMessage::Welcome { last: 0, .. })]));
/// ```
#[derive(Debug)]
pub enum HubMessage {
    /// To the home: this shard begins to read the topic, or no longer reads it.
    Interest {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table; the home's answers name it.
        reader: TopicRef,
        /// Whether it reads.
        wanted: bool,
    },
    /// To the home: a publication to number.
    Publish {
        /// The topic's name.
        topic: Arc<str>,
        /// The key that it is the newest value of.
        key: Option<Arc<str>>,
        /// From this message on its key has no value.
        removes_key: bool,
        /// The kind of the payload.
        kind: EntryKind,
        /// The payload.
        payload: Bytes,
        /// The connection that gets its outcome.
        receipt: Option<Receipt>,
    },
    /// To the home: a request for a portion of the topic's past.
    Pull {
        /// The topic's name.
        topic: Arc<str>,
        /// The topic in the reader's table.
        reader: TopicRef,
        /// The subscription that asks.
        subscription: SubscriptionRef,
        /// Its connection.
        connection: ConnectionRef,
        /// The view.
        view: View,
        /// The portion.
        portion: Portion,
    },
    /// To every home: this shard begins to watch the pattern, or no longer watches it.
    Watch {
        /// The pattern.
        pattern: Arc<str>,
        /// Its name on that shard.
        reader: PatternRef,
        /// Whether it watches.
        wanted: bool,
    },
    /// To the home of a list of members: a member joins or leaves.
    Member {
        /// The topic whose list it is.
        topic: Arc<str>,
        /// Unique among its members.
        key: Arc<str>,
        /// Its name.
        name: Arc<str>,
        /// Whether it joins.
        is_present: bool,
    },
    /// From a home: a topic that matches a watched pattern exists.
    Appeared {
        /// The pattern in the reader's table, if the topic existed before that; none if the
        /// topic is new, for all patterns that match it.
        pattern: Option<PatternRef>,
        /// The topic's name.
        topic: Arc<str>,
        /// The message behind which to begin; without one, at the next.
        since: Option<Since>,
    },
    /// From the home: the topic has no message left.
    Idle {
        /// The topic in the reader's table.
        topic: TopicRef,
    },
    /// From the home: interest is registered; the messages after number `last` follow.
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
        /// The message, shared with every shard that reads it.
        entry: Arc<Entry>,
    },
    /// From the home: the reader shard is behind the log.
    Gap {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// How many messages are missing here.
        missed: u64,
    },
    /// From the home: a portion. Every [`HubMessage::Pull`] is answered.
    Pulled {
        /// The topic in the reader's table.
        topic: TopicRef,
        /// The subscription that asked.
        subscription: SubscriptionRef,
        /// Its connection.
        connection: ConnectionRef,
        /// The portion; none if the shard no longer reads the topic.
        past: Option<Past>,
    },
    /// From a home: a connection's publications have cost more here than it was charged,
    /// since they made topics that shards with patterns had to be notified of.
    Debt {
        /// The connection.
        connection: ConnectionId,
        /// The difference.
        work: Work,
    },
    /// From the home: the outcome of a publication.
    Published {
        /// The connection that gets it.
        receipt: Receipt,
        /// Its number, or why it was refused.
        result: Result<u64, HubError>,
    },
}

/// How messages leave a shard.
///
/// ```
/// use tapecast::ShardId;
/// use tapecast::hub::{Hub, HubMessage, Outbox, Publication};
///
/// let ShardId(home) = Hub::home_of("news", 1, 2);
/// let mut elsewhere = Hub::for_tests(ShardId(1 - home), 2);
/// elsewhere.publish(&Publication::new("news", "hi")).unwrap();
/// // `Outbox` is a `Post` that keeps what it is given.
/// let mut outbox = Outbox::default();
/// elsewhere.flush(&mut outbox, &mut Vec::new());
/// assert!(matches!(&outbox.messages[..], [(_, HubMessage::Publish { payload, .. })] if payload == "hi"));
/// ```
pub trait Post {
    /// Hands `message` of `weight` bytes over to shard `to`.
    ///
    /// # Errors
    /// The message, when there is no room now.
    fn post(&mut self, to: ShardId, message: HubMessage, weight: usize) -> Result<(), HubMessage>;
}

/// Keeps messages for a test to look at, up to a number of them.
///
/// ```
/// use tapecast::hub::Outbox;
///
/// let full = Outbox { room: 0, ..Outbox::default() };
/// # assert!(full.messages.is_empty());
/// ```
#[derive(Debug)]
pub struct Outbox {
    /// The messages that were posted, each with its shard.
    pub messages: Vec<(ShardId, HubMessage)>,
    /// How many more messages it takes.
    pub room: usize,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox { messages: Vec::new(), room: usize::MAX }
    }
}

impl Post for Outbox {
    fn post(&mut self, to: ShardId, message: HubMessage, _weight: usize) -> Result<(), HubMessage> {
        if self.room == 0 {
            return Err(message);
        }
        self.room -= 1;
        self.messages.push((to, message));
        Ok(())
    }
}
