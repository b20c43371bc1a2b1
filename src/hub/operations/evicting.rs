//! Eviction when the topics of a shard exceed their memory: histories first, then tapes with
//! readers, and at last the values of most keys. Each kind is evicted once nothing of the one
//! before it is left to evict.

use crate::base::work;
use crate::hub::Hub;
use crate::hub::memory::{Budget, Evictable, Sweep};
use crate::hub::policy::is_reserved;

/// Topics looked at with a flush, while memory is short.
const SWEEP_TOPICS: u32 = 3 * 1_024;
/// Topics looked at then with each message that is published.
const SWEEP_TOPICS_PER_MESSAGE: u32 = 4;

impl Hub {
    /// While the budget is exceeded, publishers pay for what has to be evicted: each message
    /// looks at the histories of a few topics.
    pub(super) fn make_room(&mut self) {
        for _ in 0..SWEEP_TOPICS_PER_MESSAGE {
            if !self.budget.is_exceeded(&self.context) {
                return;
            }
            self.context.charge(work::STEP);
            let next = self.budget.sweep.next;
            self.halve(next, Evictable::History);
            self.budget.sweep.next = (next + 1) % self.topics.index_end().max(1);
        }
    }

    /// Evicts until the budget is kept, as far as this flush's work allows.
    pub(super) fn keep_within_budget(&mut self) {
        let share = Budget::share(&self.context);
        let held = self.budget.counted();
        if held <= share {
            let next = self.budget.sweep.next;
            self.budget.sweep = Sweep { next, ..Sweep::default() };
            return;
        }
        // Nothing more could be evicted a moment ago, and no more is held now.
        if held <= self.budget.sweep.unevictable_bytes {
            return;
        }
        self.context.tally.budget_exceeded += 1;
        for _ in 0..SWEEP_TOPICS {
            if self.context.is_exhausted() {
                return;
            }
            let held = self.budget.counted();
            let count = self.topics.index_end().max(1);
            if held <= share {
                return;
            }
            let sweep = &mut self.budget.sweep;
            if sweep.in_vain >= count {
                sweep.in_vain = 0;
                sweep.what = match sweep.what {
                    Evictable::History => Evictable::Tapes,
                    Evictable::Tapes => Evictable::Values,
                    Evictable::Values => {
                        sweep.unevictable_bytes = held;
                        Evictable::History
                    }
                };
                if sweep.unevictable_bytes == held {
                    return;
                }
            }
            self.context.charge(work::STEP);
            let Sweep { what, next, .. } = *sweep;
            self.halve(next, what);
            let is_less = self.budget.counted() < held;
            let sweep = &mut self.budget.sweep;
            sweep.next = (next + 1) % count;
            sweep.in_vain = if is_less { 0 } else { sweep.in_vain + 1 };
        }
    }

    /// Evicts half of what a topic has of this kind.
    fn halve(&mut self, index: u32, what: Evictable) {
        let Hub { topics, tapes, budget, context, .. } = self;
        let Some(topic) = topics.at_mut(index) else { return };
        match (what, &mut topic.home, &mut topic.reader) {
            (Evictable::Tapes, _, Some(reader)) => {
                context.is_fresh |= tapes.halve(index, reader, budget);
            }
            (Evictable::History, Some(home), _) => {
                let (before, messages) = (home.log.weight(), home.log.len());
                home.log.halve();
                budget.log_changed(before, home.log.weight());
                context.charge(work::LOOK_UP * (messages / 2) as u64);
            }
            // No publisher has filled a list of members.
            (Evictable::Values, Some(home), _) if !is_reserved(&topic.name) => {
                let before = home.log.weight();
                home.log.halve_values();
                budget.log_changed(before, home.log.weight());
            }
            _ => {}
        }
    }
}
