//! A topic at its home: its log, the shards that read it, and its timers.

use super::log::Log;
use crate::base::Time;
use crate::base::{Limits, ShardId};
use crate::hub::ids::{NONE, TopicRef};
use crate::hub::message::Entry;
use crate::hub::past::{Past, Portion, View};
use crate::hub::policy::Rule;
use std::sync::Arc;

/// Whether new messages of a log are to be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Everything has been forwarded, or waits for room.
    Done,
    /// New messages are batched for as long as the rule says.
    Batching,
    /// They are forwarded at the end of the turn.
    Due,
}

/// A shard that reads the topic: a cursor on the log.
#[derive(Debug)]
pub struct ReaderShard {
    pub shard: ShardId,
    /// The topic in that shard's table.
    pub topic: TopicRef,
    /// The number of the next message to send it.
    pub next: u64,
    /// The topic waits with others for room at that shard.
    pub waits: bool,
}

/// The news of a topic that the shards with a matching pattern have yet to get.
#[derive(Debug, Default)]
pub struct Unannounced {
    /// The readers were notified that the topic is idle since this message.
    pub idle_after: Option<u64>,
    /// Shards that no longer read, and are to be notified of the next message.
    pub released: Vec<ShardId>,
}

/// The answer to a shard that begins to read.
#[derive(Clone, Copy, Debug)]
pub struct Welcome {
    pub epoch: u64,
    /// The number of the last message.
    pub last: u64,
    /// The topic has had messages, and none is left.
    pub is_idle: bool,
}

/// See the module.
#[derive(Debug)]
pub struct HomeTopic {
    pub log: Log,
    pub readers: Vec<ReaderShard>,
    /// Most topics have none of it.
    pub unannounced: Option<Box<Unannounced>>,
    /// The weight of the messages that came since the last forwarding.
    unsent_weight: usize,
    /// The connection whose publication has made the topic, among the quotas.
    pub owner: u32,
    pub forwarding: Forwarding,
    /// A timer runs, after which the topic's retention is looked at.
    pub has_timer: bool,
    /// The shards that watch a pattern which it matches have been notified of it.
    pub is_announced: bool,
}

impl HomeTopic {
    /// A topic without messages.
    pub fn new(epoch: u64) -> HomeTopic {
        HomeTopic {
            log: Log::new(epoch),
            readers: Vec::new(),
            unannounced: None,
            unsent_weight: 0,
            owner: NONE,
            forwarding: Forwarding::Done,
            has_timer: false,
            is_announced: false,
        }
    }

    /// A key as the topic's values share it already, or a new one.
    pub fn shared_key(&self, key: &str) -> Arc<str> {
        self.log.values.shared_key(key).unwrap_or_else(|| key.into())
    }

    /// Appends the next message.
    pub fn append(&mut self, entry: Entry, keys_max: usize, limits: &Limits) {
        self.unsent_weight += entry.weight();
        self.log.append(entry, keys_max, limits);
    }

    /// Drops the messages that every reader shard was sent and the rule does not keep.
    pub fn trim(&mut self, rule: &Rule, now: Time) {
        let sent = self.readers.iter().map(|reader| reader.next).min().unwrap_or(u64::MAX);
        self.log.trim(rule, sent, now);
    }

    /// Whether so much waits for a shard that the oldest of it would soon be evicted.
    pub fn is_pressing(&self, limits: &Limits) -> bool {
        let waits = |reader: &ReaderShard| self.log.next() - reader.next.max(self.log.first());
        let waiting = self.readers.iter().map(waits).max().unwrap_or(0);
        waiting > 0
            && (waiting as usize >= limits.log_messages_max / 2
                || self.unsent_weight >= limits.log_bytes_max / 2)
    }

    /// All new messages have been forwarded, or will be with the next flush.
    pub fn mark_forwarded(&mut self) {
        self.unsent_weight = 0;
    }

    /// A shard begins to read, from the next message on.
    pub fn add_reader(&mut self, shard: ShardId, topic: TopicRef) -> Welcome {
        // If it had released the topic, other shards that did are still to be notified of the
        // next message: `unannounced` stays.
        self.readers.retain(|known| known.shard != shard);
        self.readers.reserve_exact(1);
        let next = self.log.next();
        self.readers.push(ReaderShard { shard, topic, next, waits: false });
        // Readers that came because of a pattern can release a topic without messages.
        let is_idle = self.log.len() == 0 && next > 1;
        if is_idle {
            self.unannounced().idle_after = Some(next - 1);
        }
        Welcome { epoch: self.log.epoch, last: next - 1, is_idle }
    }

    /// A shard no longer reads. If it watches a pattern that the topic matches, it is to be
    /// notified of the next message. Returns the number behind which messages have come since
    /// the shard was notified that the topic is idle: they are to be announced now.
    pub fn remove_reader(&mut self, shard: ShardId, watches: bool) -> Option<u64> {
        self.readers.retain(|known| known.shard != shard);
        if watches && !self.unannounced().released.contains(&shard) {
            self.unannounced().released.push(shard);
        }
        let last = self.log.next() - 1;
        self.unannounced.as_mut()?.idle_after.take_if(|after| last > *after)
    }

    /// The shards that have released the topic and are to be notified of its next message. They
    /// are taken from the list.
    pub fn take_released(&mut self) -> Vec<ShardId> {
        let unannounced = self.unannounced.as_mut();
        unannounced.map(|it| std::mem::take(&mut it.released)).unwrap_or_default()
    }

    /// Whether such shards are on that list.
    pub fn has_released(&self) -> bool {
        self.unannounced.as_ref().is_some_and(|it| !it.released.is_empty())
    }

    pub fn unannounced(&mut self) -> &mut Unannounced {
        self.unannounced.get_or_insert_default()
    }

    /// A portion of the past for a shard that reads the topic: never ahead of what that shard
    /// was sent.
    pub fn past(&self, shard: ShardId, view: View, portion: Portion) -> Option<Past> {
        let sent = self.readers.iter().find(|known| known.shard == shard)?.next - 1;
        debug_assert!(!view.reaches_the_end() || sent == self.log.next() - 1, "it was sent all");
        Some(self.log.past(view, Portion { to: portion.to.min(sent), ..portion }))
    }
}
