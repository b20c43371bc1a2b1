//! Topics as an operator sees them.

use super::Hub;
use crate::base::ShardId;

/// What one shard knows of a topic.
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
    /// Whose shard numbers its messages.
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

/// What happened in a hub since it was last asked, in times.
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
    /// A topic was one too many.
    pub topics_refused: u64,
    /// A publication from another shard was refused here, at its topic's home. If its
    /// publisher waits for an answer, it was told.
    pub publications_refused: u64,
    /// Logs and tapes took more than their share, and some of them went.
    pub budget_exceeded: u64,
    /// Marks that told a reader of messages it does not get.
    pub gaps: u64,
    /// Members that were one too many for their topic's list.
    pub members_refused: u64,
    /// Readers that got the newest values instead of every message.
    pub conflations: u64,
    /// Messages that were replayed, or were part of a snapshot.
    pub replayed: u64,
    /// Messages and marks over which a lane has panicked.
    pub lane_panics: u64,
}

impl Hub {
    /// What happened since this was last asked.
    pub fn tally(&mut self) -> Tally {
        let lane_panics = self.lanes.take_panics();
        Tally { lane_panics, ..std::mem::take(&mut self.tally) }
    }

    /// At most `count` topics from place `from` on, looking at no more than `looks`
    /// places; and where to go on, if there is more.
    pub fn summaries(
        &self,
        from: u32,
        count: usize,
        looks: u32,
    ) -> (Vec<TopicSummary>, Option<u32>) {
        let end = self.topics.index_end();
        let mut found = Vec::new();
        let mut index = from;
        while index < end && index < from.saturating_add(looks) && found.len() < count {
            found.extend(self.topics.at(index).map(|topic| {
                let (log, reader) = (topic.log.as_ref(), topic.reader.as_ref());
                TopicSummary {
                    name: topic.name.to_string(),
                    home: topic.home,
                    subscribers: reader.map_or(0, |reader| reader.subscribers.len()),
                    seq: log.map(|log| log.next() - 1),
                    log_messages: log.map_or(0, |log| log.len()),
                    keys: log.map_or(0, |log| log.values.count()),
                    tape_bytes: reader.map_or(0, |reader| reader.held_bytes()),
                }
            }));
            index += 1;
        }
        (found, (index < end).then_some(index))
    }

    /// Bytes of mail that waits for room.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing_bytes.iter().sum()
    }

    /// Bytes on all tapes, and in all logs, of this shard.
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.tape_bytes, self.log_bytes)
    }
}
