//! The budget of a shard's topics: the memory of topics, logs and tapes, and the shard's share of
//! `topics_bytes_max`. Every part charges it; `operations/evicting`
//! evicts when it is exceeded.

use super::context::Context;
use super::message::ENTRY_OVERHEAD_BYTES;

/// Bytes that topics themselves may take, however small the budget is.
const NAMES_BYTES_MIN: usize = 64 << 10;
/// Bytes of a topic beside its name, its log and its tapes.
const TOPIC_BYTES: usize = 200;

/// Bytes that a topic of this name takes by itself.
pub fn topic_bytes(name: &str) -> usize {
    TOPIC_BYTES + name.len()
}

/// The kinds of memory that can be evicted, in the order of eviction.
#[derive(Clone, Copy, Debug, Default)]
pub enum Evictable {
    #[default]
    History,
    Tapes,
    Values,
}

/// How far the search for memory to evict has come.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The kind that is evicted now.
    pub what: Evictable,
    /// The topic to look at next.
    pub next: u32,
    /// Topics in a row that had nothing to evict.
    pub in_vain: u32,
    /// The budget is exceeded, and this many bytes can't be evicted; 0 if it is not known.
    pub unevictable_bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Budget {
    /// Bytes of topics themselves, with their names.
    names: usize,
    /// Bytes of all logs.
    logs: usize,
    /// Bytes of all tapes.
    tapes: usize,
    pub sweep: Sweep,
}

impl Budget {
    /// This shard's share of the budget.
    pub fn share(context: &Context) -> usize {
        context.limits.topics_bytes_max / usize::from(context.shards)
    }

    /// Whether another topic of this name has room: topics themselves may take half of the
    /// share, so that the rest is left for their messages.
    pub fn has_room_for_topic(&self, name: &str, context: &Context) -> bool {
        let names_max = (Budget::share(context) / 2).max(NAMES_BYTES_MIN);
        self.names + topic_bytes(name) <= names_max
    }

    /// Whether a message of `bytes` bytes has room in a topic whose log takes `log_bytes`.
    /// While nothing more can be evicted, a message may only take the place of what its topic
    /// has already.
    #[inline]
    pub fn has_room_for_message(
        &self,
        bytes: usize,
        log_bytes: impl FnOnce() -> usize,
        context: &Context,
    ) -> bool {
        if self.sweep.unevictable_bytes == 0 || !self.is_exceeded(context) {
            return true;
        }
        bytes + ENTRY_OVERHEAD_BYTES <= log_bytes()
    }

    pub fn is_exceeded(&self, context: &Context) -> bool {
        self.counted() > Budget::share(context)
    }

    /// The bytes that count towards the budget: of the topics themselves, only those that exceed
    /// the bytes that they always have.
    pub fn counted(&self) -> usize {
        self.names.saturating_sub(NAMES_BYTES_MIN) + self.logs + self.tapes
    }

    pub fn add_topic(&mut self, name: &str) {
        self.names += topic_bytes(name);
    }

    pub fn remove_topic(&mut self, name: &str) {
        self.names -= topic_bytes(name);
    }

    /// A log that took `before` bytes takes `after`.
    #[inline]
    pub fn log_changed(&mut self, before: usize, after: usize) {
        self.logs = self.logs + after - before;
    }

    /// Tapes that took `before` bytes take `after`.
    #[inline]
    pub fn tapes_changed(&mut self, before: usize, after: usize) {
        self.tapes = self.tapes + after - before;
    }

    /// Bytes of all tapes, and of all logs.
    pub fn tapes_and_logs(&self) -> (usize, usize) {
        (self.tapes, self.logs)
    }
}
