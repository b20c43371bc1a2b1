//! The home side of a shard, beside its topics: the timers, and the shards that watch patterns.

use super::topic::{Forwarding, HomeTopic};
use super::watchers::Watchers;
use crate::base::{Random, Spare, Time, TimerWheel};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module.
#[derive(Debug)]
pub struct Homes {
    epochs: Random,
    /// Topics whose new messages are batched, by index and generation, by when that ends.
    batching: BinaryHeap<Reverse<(Time, u32, u32)>>,
    /// Topics with messages that some reader shard has not been sent.
    unsent: Vec<u32>,
    /// One timer per topic: when to look at its retention.
    retention: TimerWheel,
    /// Topics whose timer has expired.
    due: Vec<u32>,
    pub watchers: Watchers,
}

impl Homes {
    pub fn new(epoch_seed: u64) -> Homes {
        Homes {
            epochs: Random::new(epoch_seed),
            batching: BinaryHeap::new(),
            unsent: Vec::new(),
            retention: TimerWheel::new(Time::ZERO),
            due: Vec::new(),
            watchers: Watchers::default(),
        }
    }

    /// A new incarnation of a topic, without messages.
    pub fn new_topic(&mut self) -> Box<HomeTopic> {
        // 53 bits: a JavaScript number holds them.
        Box::new(HomeTopic::new(self.epochs.number() >> 11))
    }

    /// When something is due.
    pub fn next_time(&mut self) -> Time {
        let batch = self.batching.peek().map_or(Time::NEVER, |Reverse((due, ..))| *due);
        batch.min(self.retention.next_time())
    }

    /// New messages of the topic at `index` are batched until `due`.
    pub fn batch_until(&mut self, due: Time, index: u32, generation: u32) {
        self.batching.push(Reverse((due, index, generation)));
    }

    /// A topic whose batch is due by `now`, by index and generation.
    pub fn take_batched(&mut self, now: Time) -> Option<(u32, u32)> {
        let Reverse((due, index, generation)) = *self.batching.peek()?;
        (due <= now).then(|| {
            self.batching.pop();
            (index, generation)
        })
    }

    /// New messages of a topic are forwarded at the end of the turn.
    pub fn forward_soon(&mut self, index: u32, topic: &mut HomeTopic) {
        if topic.forwarding == Forwarding::Batching {
            topic.forwarding = Forwarding::Due;
            self.unsent.push(index);
        }
    }

    /// The topics whose messages are to be forwarded.
    pub fn take_unsent(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unsent)
    }

    /// The topic is looked at after so many milliseconds, unless that is due anyway.
    pub fn look_later(&mut self, index: u32, topic: &mut HomeTopic, now: Time, millis: u64) {
        if !topic.has_timer {
            self.look_again(index, topic, now, millis);
        }
    }

    /// The topic is looked at again after so many milliseconds.
    pub fn look_again(&mut self, index: u32, topic: &mut HomeTopic, now: Time, millis: u64) {
        topic.has_timer = true;
        self.retention.set(index, now.plus_millis(millis));
    }

    /// Timers expire up to `now`. Returns whether some did.
    pub fn expire(&mut self, now: Time) -> bool {
        let is_due = self.retention.next_time() <= now;
        if is_due {
            self.retention.expire(now, &mut self.due);
        }
        is_due
    }

    /// The next topic whose timer has expired.
    pub fn take_due(&mut self) -> Option<u32> {
        self.due.pop()
    }

    /// A topic is no longer homed here.
    pub fn release(&mut self, index: u32) {
        self.retention.clear(index);
    }

    /// Whether a flush has something to do.
    pub fn has_work(&self) -> bool {
        !self.unsent.is_empty() || !self.due.is_empty() || self.watchers.is_scanning()
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.unsent.give_spare_back();
        self.due.give_spare_back();
    }
}
