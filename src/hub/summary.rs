//! A hub as an operator sees it: its topics and its counts.

use crate::base::ShardId;

/// The state of a topic as one shard knows it.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// hub.subscribe(7, &mut Subscriptions::default(), "news", &Delivery::default()).unwrap();
/// let (topics, next) = hub.summaries(0, 10, 1_000);
/// assert_eq!((topics[0].name.as_str(), topics[0].subscribers), ("news", 1));
/// assert_eq!(next, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// The shard that numbers its messages.
    pub home: ShardId,
    /// Subscribers on this shard.
    pub subscribers: usize,
    /// Where this shard is its home: the number of its last message.
    pub seq: Option<u64>,
    /// Where this shard is its home: the messages of its history.
    pub log_messages: usize,
    /// Where this shard is its home: the keys that have a value.
    pub keys: usize,
    /// Bytes kept on this shard's tapes.
    pub tape_bytes: usize,
}

/// How often something happened in a hub since the last call of `Hub::tally`.
///
/// ```
/// use tapecast::hub::{Hub, HubError, Publication};
/// use tapecast::Limits;
///
/// let mut hub = Hub::alone(&Limits { topics_max: 1, ..Limits::default() });
/// hub.publish(&Publication::new("first", "1")).unwrap();
/// let second = hub.publish(&Publication::new("second", "2"));
/// assert_eq!(second, Err(HubError::TooManyTopics));
/// assert_eq!(hub.tally().topics_refused, 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// A new topic was refused.
    pub topics_refused: u64,
    /// A publication from another shard was refused here, at its topic's home. A publisher
    /// that waits for an answer got one.
    pub publications_refused: u64,
    /// Topics exceeded their share of memory, and histories, tapes or values were evicted.
    pub budget_exceeded: u64,
    /// Gap marks: readers that do not get some messages.
    pub gaps: u64,
    /// Members that found no room on their topic's list.
    pub members_refused: u64,
    /// Readers that got the newest values instead of every message.
    pub conflations: u64,
    /// Messages that were replayed, or were part of a snapshot.
    pub replayed: u64,
    /// Messages and marks whose encoding has panicked.
    pub lane_panics: u64,
}
