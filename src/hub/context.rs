//! The state that all parts of a hub share: its shard, the limits and rules, the time, the meter
//! of work, and the list of reports. It knows no topic.

use super::policy::Rules;
use super::signal::Signal;
use super::summary::Tally;
use crate::base::work::Work;
use crate::base::{Limits, ShardId, Spare, Time};
use std::hash::BuildHasher;
use std::sync::Arc;

/// The shard that numbers the topic of this name.
pub fn home_of(name: &str, home_seed: u64, shards: u16) -> ShardId {
    let hash = foldhash::quality::FixedState::with_seed(home_seed).hash_one(name);
    ShardId((hash % u64::from(shards)) as u16)
}

/// See the module.
#[derive(Debug)]
pub struct Context {
    pub shard: ShardId,
    pub shards: u16,
    pub home_seed: u64,
    pub limits: Limits,
    pub rules: Arc<Rules>,
    pub now: Time,
    /// The reading of the wall clock at `Time::ZERO`. It wraps if the clock was set to before 1970.
    unix_ms: u64,
    /// Work done so far.
    work: Work,
    /// Where the part that has its turn stops.
    work_end: Work,
    /// Something has changed since the last flush.
    pub is_fresh: bool,
    pub tally: Tally,
    /// The reports that the shard gets with this flush.
    pub signals: Vec<Signal>,
}

impl Context {
    pub fn new(
        (shard, shards): (ShardId, u16),
        limits: Limits,
        rules: Arc<Rules>,
        home_seed: u64,
        unix_ms: u64,
    ) -> Context {
        Context {
            shard,
            shards,
            home_seed,
            limits,
            rules,
            now: Time::ZERO,
            unix_ms,
            work: 0,
            work_end: Work::MAX,
            is_fresh: false,
            tally: Tally::default(),
            signals: Vec::new(),
        }
    }

    /// The shard that numbers the topic of this name.
    pub fn home_of(&self, name: &str) -> ShardId {
        home_of(name, self.home_seed, self.shards)
    }

    /// This shard's share of a limit of the whole process, at least one.
    pub fn share(&self, limit: usize) -> usize {
        (limit / usize::from(self.shards)).max(1)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms.wrapping_add(self.now.as_millis())
    }

    /// Sets the wall clock, in milliseconds since 1970.
    pub fn set_unix_ms(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms.wrapping_sub(self.now.as_millis());
    }

    /// Work done so far.
    #[inline]
    pub fn work(&self) -> Work {
        self.work
    }

    #[inline]
    pub fn charge(&mut self, work: Work) {
        self.work += work;
    }

    /// Whether the part that has its turn has used it up, and leaves the rest to the next flush.
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.work >= self.work_end
    }

    /// Where the part that has its turn stops.
    pub fn work_end(&self) -> Work {
        self.work_end
    }

    /// The next part has its turn and may do so much work: one step at least, so that no part
    /// keeps another from its turn. If the part before it has work left, the next flush begins
    /// at once.
    pub fn begin_part(&mut self, work: Work) {
        self.is_fresh |= self.is_exhausted();
        self.work_end = self.work.saturating_add(work.max(1));
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.signals.give_spare_back();
    }
}
