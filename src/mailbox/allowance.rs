//! What is too heavy for its queue's share, of several queues together.
//!
//! An item heavier than its queue's bound passes when the queue is otherwise empty, or it
//! could never be sent. There is a queue for each pair of threads, so that alone would
//! bound their sum by nothing: such items take their weight from an allowance, which the
//! queues to one thread share. If that stands still, the others' are not held up.

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
/// assert_eq!(other.push("letter", 10), Ok(()));
/// let (mut third, _from_third) = channel(8, 10, &allowance);
/// assert_eq!(third.push("harp", 30), Err("harp"));
/// assert!(!third.await_room(30));
/// // Who takes a heavy one out is to wake those who wait to send one.
/// assert_eq!(from_one.pop(), Some("piano"));
/// assert!(allowance.is_awaited());
/// assert_eq!(third.push("harp", 30), Ok(()));
/// ```
#[derive(Debug)]
pub struct Allowance {
    weight_max: u64,
    /// Of items that are in a queue; above `weight_max` with one item alone.
    held: AtomicU64,
    /// A producer waits for some to be given back.
    waiting: AtomicBool,
}

impl Allowance {
    /// So much, or one item of any weight.
    pub fn new(weight_max: usize) -> Allowance {
        let (held, waiting) = (AtomicU64::new(0), AtomicBool::new(false));
        Allowance { weight_max: weight_max as u64, held, waiting }
    }

    fn fits(&self, held: u64, weight: u64) -> bool {
        held == 0 || held + weight <= self.weight_max
    }

    /// Whether `weight` is to be had now. Another thread may have it first.
    pub(super) fn has_room(&self, weight: u64) -> bool {
        self.fits(self.held.load(Ordering::Relaxed), weight)
    }

    /// Takes `weight`, if it is to be had.
    pub(super) fn take(&self, weight: u64) -> bool {
        let add = |held: u64| self.fits(held, weight).then(|| held + weight);
        // A count alone: what it stands for is handed over by the queue.
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    pub(super) fn give_back(&self, weight: u64) {
        self.held.fetch_sub(weight, Ordering::Relaxed);
    }

    /// For a producer, before a full fence and one more look.
    pub(super) fn wait(&self) {
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// After taking items out: whether producers wait for what those held, and are all to
    /// be woken. Says so once.
    pub fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::Relaxed)
    }
}
