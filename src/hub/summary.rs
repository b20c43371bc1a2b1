//! Topics as an operator sees them.

use super::Hub;
use crate::base::ShardId;

/// What one shard knows of a topic.
///
/// ```
/// use tapecast::hub::{Hub, Subscriptions};
/// use tapecast::{Limits, ShardId};
///
/// let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// hub.subscribe(7, &mut Subscriptions::default(), "news").unwrap();
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
    /// The number of its last message, where this shard is its home.
    pub seq: Option<u64>,
    /// Bytes kept on this shard's tape.
    pub tape_bytes: u64,
}

impl Hub {
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
            found.extend(self.topics.at(index).map(|topic| TopicSummary {
                name: topic.name.to_string(),
                home: topic.home,
                subscribers: topic.subscribers.len(),
                seq: topic.log.as_ref().map(|log| log.next() - 1),
                tape_bytes: topic.tape.as_ref().map_or(0, |tape| tape.held_bytes()),
            }));
            index += 1;
        }
        (found, (index < end).then_some(index))
    }

    /// Bytes of mail that waits for room.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing_bytes.iter().sum()
    }

    /// Bytes on all tapes of this shard.
    pub fn tape_bytes(&self) -> u64 {
        self.tape_bytes
    }
}
