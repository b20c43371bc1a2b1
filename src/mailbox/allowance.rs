//! A bound on the items of several queues that are too heavy for their own.
//!
//! An item heavier than its queue's bound passes when the queue is otherwise empty, since it
//! could never be sent otherwise. There is a queue for each pair of threads, so this rule alone
//! would not bound the sum. Such items take their weight from an allowance, which the queues to
//! one thread share. A consumer that stalls does not hold up the mail to other threads.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

/// Shared by the queues to one consumer, for items that are heavier than their queue's bound.
///
/// ```
/// use std::sync::Arc;
/// use tapecast::mailbox::{Allowance, channel};
///
/// let allowance = Arc::new(Allowance::new(100));
/// let (mut one, mut from_one) = channel(8, 10, &allowance);
/// let (mut other, _from_other) = channel(8, 10, &allowance);
/// assert_eq!(one.push("piano", 80), Ok(()));
/// assert_eq!(other.push("message", 10), Ok(()));
/// let (mut third, _from_third) = channel(8, 10, &allowance);
/// assert_eq!(third.push("harp", 30), Err("harp"));
/// assert!(!third.await_room(30));
/// // The consumer that takes a heavy item out has to wake the producers that wait for one.
/// assert_eq!(from_one.pop(), Some("piano"));
/// assert!(allowance.is_awaited());
/// assert_eq!(third.push("harp", 30), Ok(()));
/// ```
#[derive(Debug)]
pub struct Allowance {
    weight_max: u64,
    /// The weight of the items in queues; above `weight_max` for a single item only.
    held: AtomicU64,
    /// A producer waits for weight to be released.
    waiting: AtomicBool,
}

impl Allowance {
    /// An allowance of `weight_max`, or one item of any weight.
    pub fn new(weight_max: usize) -> Allowance {
        let (held, waiting) = (AtomicU64::new(0), AtomicBool::new(false));
        Allowance { weight_max: weight_max as u64, held, waiting }
    }

    fn fits(&self, held: u64, weight: u64) -> bool {
        held == 0 || held + weight <= self.weight_max
    }

    /// Whether `weight` is available now. Another thread may take it first.
    pub(super) fn has_room(&self, weight: u64) -> bool {
        self.fits(self.held.load(Ordering::Relaxed), weight)
    }

    /// Takes `weight`, if it is available.
    pub(super) fn take(&self, weight: u64) -> bool {
        let add = |held: u64| self.fits(held, weight).then(|| held + weight);
        // Only a count: the queue synchronises the items.
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    pub(super) fn give_back(&self, weight: u64) {
        self.held.fetch_sub(weight, Ordering::Relaxed);
    }

    /// For a producer, before a full fence and another check.
    pub(super) fn wait(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// After taking items out: whether producers wait for their weight. If so, wake all of them.
    /// Returns `true` once.
    pub fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Relaxed)
    }
}
