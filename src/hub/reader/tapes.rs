//! The reader side of a shard, beside its topics: the lanes in use, the pool of chunks, and the
//! topics that have something to do.

use super::lanes::Lanes;
use super::tape::ChunkPool;
use super::topic::ReaderTopic;
use crate::base::{Spare, Time};
use crate::hub::ids::TopicRef;
use crate::hub::memory::Budget;
use crate::hub::message::Entry;
use crate::protocol::deflate::Deflater;
use std::collections::VecDeque;

/// Milliseconds between two rounds of chores, while there are some.
const CHORES_PERIOD_MS: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Tapes {
    pub lanes: Lanes,
    pub chunks: ChunkPool,
    /// Topics whose tapes have grown and whose subscribers are yet to be marked.
    grown: VecDeque<u32>,
    /// When the next round of chores is due.
    next_chores: Time,
    /// Topics that are due in the next round of chores, and in this one.
    chores: Vec<TopicRef>,
    chores_due: Vec<TopicRef>,
}

impl Tapes {
    /// Tapes whose compressed lanes use `deflater`.
    pub fn new(deflater: Deflater) -> Tapes {
        Tapes {
            lanes: Lanes::new(deflater),
            chunks: ChunkPool::default(),
            grown: VecDeque::new(),
            next_chores: Time::NEVER,
            chores: Vec::new(),
            chores_due: Vec::new(),
        }
    }

    /// A message of the topic at `index` has arrived: appends it to the tapes.
    pub fn append(
        &mut self,
        index: u32,
        name: &str,
        topic: &mut ReaderTopic,
        entry: &Entry,
        budget: &mut Budget,
    ) {
        let held = topic.held_bytes();
        topic.append(entry, name, &mut self.lanes, &mut self.chunks);
        budget.tapes_changed(held, topic.held_bytes());
        self.mark_grown(index, topic);
    }

    /// Messages are missing before number `next`: the topic's tapes begin anew there.
    pub fn restart(&mut self, index: u32, topic: &mut ReaderTopic, next: u64, budget: &mut Budget) {
        budget.tapes_changed(topic.held_bytes(), 0);
        topic.restart(next, &mut self.chunks);
        self.mark_grown(index, topic);
    }

    /// Drops the chunks that no active cursor wants.
    pub fn drop_passed(&mut self, topic: &mut ReaderTopic, budget: &mut Budget) {
        let held = topic.held_bytes();
        topic.drop_passed(&mut self.chunks);
        budget.tapes_changed(held, topic.held_bytes());
    }

    /// Evicts half of a topic's tapes. Returns whether they became shorter.
    pub fn halve(&mut self, index: u32, topic: &mut ReaderTopic, budget: &mut Budget) -> bool {
        let before = topic.held_bytes();
        topic.halve();
        let after = topic.held_bytes();
        budget.tapes_changed(before, after);
        if after < before {
            self.mark_grown(index, topic);
        }
        after < before
    }

    /// The subscribers of a topic are to be marked with the next flush.
    pub fn mark_grown(&mut self, index: u32, topic: &mut ReaderTopic) {
        if !topic.has_grown {
            topic.has_grown = true;
            self.grown.push_back(index);
        }
    }

    /// Whether subscribers are yet to be marked.
    pub fn has_grown(&self) -> bool {
        !self.grown.is_empty()
    }

    /// The next topic whose subscribers are to be marked.
    pub fn take_grown(&mut self) -> Option<u32> {
        self.grown.pop_front()
    }

    /// A topic is due in the next round of chores.
    pub fn add_chore(&mut self, reference: TopicRef, topic: &mut ReaderTopic, now: Time) {
        if !topic.is_chore {
            topic.is_chore = true;
            self.chores.push(reference);
            if self.next_chores == Time::NEVER {
                self.next_chores = now.plus_millis(CHORES_PERIOD_MS);
            }
        }
    }

    /// When the next round of chores is due.
    pub fn next_chores(&self) -> Time {
        self.next_chores
    }

    /// A round of chores begins.
    pub fn begin_chores(&mut self) {
        self.chores_due.append(&mut self.chores);
        self.next_chores = Time::NEVER;
    }

    /// The next topic of this round.
    pub fn take_chore(&mut self) -> Option<TopicRef> {
        self.chores_due.pop()
    }

    /// Whether a flush has something to do.
    pub fn has_work(&self) -> bool {
        self.has_grown() || !self.chores_due.is_empty()
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.grown.give_spare_back();
    }
}
