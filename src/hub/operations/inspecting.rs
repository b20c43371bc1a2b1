//! The view of a hub for operators and tests.

use crate::hub::Hub;
use crate::hub::ids::TopicRef;
use crate::hub::summary::{Tally, TopicSummary};

impl Hub {
    /// The counts of events since the last call.
    pub fn tally(&mut self) -> Tally {
        let lane_panics = self.tapes.lanes.take_panics();
        Tally { lane_panics, ..std::mem::take(&mut self.context.tally) }
    }

    /// The name of a topic.
    pub fn name(&self, topic: TopicRef) -> Option<&str> {
        Some(&self.topics.get(topic)?.name)
    }

    /// At most `count` topics from place `from` on, looking at no more than `looks` places; and
    /// where to continue, if there is more.
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
                let log = topic.home.as_ref().map(|home| &home.log);
                let reader = topic.reader.as_ref();
                TopicSummary {
                    name: topic.name.to_string(),
                    home: topic.home_shard,
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

    /// Topics, and subscriptions, that this shard holds.
    pub fn sizes(&self) -> (usize, usize) {
        (self.topics.len(), self.cursors.subscriptions.len())
    }

    /// Bytes on all tapes, and in all logs, of this shard.
    pub fn held_bytes(&self) -> (usize, usize) {
        self.budget.tapes_and_logs()
    }
}
