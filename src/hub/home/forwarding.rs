//! Forwarding of a log's messages to the shards that read it. The home chooses the messages. The
//! caller sends them to other hubs, or puts them on the tapes of this shard.

use super::topic::{HomeTopic, ReaderShard};
use crate::base::ShardId;
use crate::hub::ids::TopicRef;
use crate::hub::message::Entry;
use std::sync::Arc;

/// A message or a gap of a log, for a shard that reads it.
#[derive(Clone, Copy, Debug)]
pub enum Forward<'l> {
    /// The next message.
    Entry(&'l Arc<Entry>),
    /// The log has evicted so many messages that the shard was not sent.
    Gap { missed: u64 },
}

impl HomeTopic {
    /// Forwards new messages to every shard that reads them, except where the topic waits for
    /// room already. `send` returns whether there was room. Returns the shards where the topic
    /// waits from now on.
    pub fn forward(
        &mut self,
        mut send: impl FnMut(ShardId, TopicRef, Forward<'_>) -> bool,
    ) -> Vec<ShardId> {
        self.mark_forwarded();
        let mut waiting = Vec::new();
        for place in 0..self.readers.len() {
            if !self.readers[place].waits && !self.forward_at(place, &mut send) {
                self.readers[place].waits = true;
                waiting.push(self.readers[place].shard);
            }
        }
        waiting
    }

    /// Forwards new messages to one shard. Returns whether there was room for all of them.
    pub fn forward_to(
        &mut self,
        shard: ShardId,
        mut send: impl FnMut(ShardId, TopicRef, Forward<'_>) -> bool,
    ) -> bool {
        let Some(place) = self.readers.iter().position(|reader| reader.shard == shard) else {
            return true;
        };
        let is_all = self.forward_at(place, &mut send);
        self.readers[place].waits &= !is_all;
        is_all
    }

    fn forward_at(
        &mut self,
        place: usize,
        send: &mut impl FnMut(ShardId, TopicRef, Forward<'_>) -> bool,
    ) -> bool {
        let HomeTopic { log, readers, .. } = self;
        let end = log.next();
        let reader = &mut readers[place];
        let &mut ReaderShard { shard, topic, .. } = reader;
        if reader.next < log.first() {
            let missed = log.first() - reader.next;
            if !send(shard, topic, Forward::Gap { missed }) {
                return false;
            }
            reader.next = log.first();
        }
        while reader.next < end {
            if !send(shard, topic, Forward::Entry(log.entry(reader.next))) {
                return false;
            }
            reader.next += 1;
        }
        true
    }
}
