//! A bounded queue with one producer and one consumer.
//!
//! One of the crate's three islands of `unsafe`. Positions count items since the
//! beginning and never wrap in practice (2^64). The cell of position `p` is
//! `p % capacity`, and it is
//!
//! - the producer's while `p` is in `tail..head + capacity`;
//! - the consumer's while `p` is in `head..tail`.
//!
//! Only the producer writes `tail` and only the consumer writes `head`, each
//! with release after it is done with the cell, and each reads the other's with
//! acquire before it touches a cell. So no cell is ever both's.
//!
//! Beside its count the queue is bounded by weight: the consumer publishes the
//! weight that it has taken out together with `head`. An item heavier than the bound
//! passes if the queue is otherwise empty and its consumer's allowance has room.
#![allow(unsafe_code)]

#[cfg(all(loom, test))]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
};
#[cfg(not(all(loom, test)))]
use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

use super::Allowance;
use crossbeam::utils::CachePadded;
use std::mem::MaybeUninit;

/// `std`'s cell with the closure methods of loom's.
#[cfg(not(all(loom, test)))]
#[derive(Debug)]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(loom, test)))]
impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

struct Cell<T> {
    item: UnsafeCell<MaybeUninit<(T, usize)>>,
}

struct Shared<T> {
    cells: Box<[Cell<T>]>,
    weight_max: u64,
    /// For items heavier than `weight_max`.
    allowance: std::sync::Arc<Allowance>,
    /// Positions below this one have been taken out.
    head: CachePadded<AtomicU64>,
    /// The weight of all items taken out; written just before `head`.
    taken_weight: CachePadded<AtomicU64>,
    /// Positions below this one have been written.
    tail: CachePadded<AtomicU64>,
    /// The producer waits for room.
    waiting: CachePadded<AtomicBool>,
}

// SAFETY: a cell is accessed by one side at a time, as the file's proof says, so
// sharing the queue between two threads sends items from one to the other.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the queue owns its items.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn cell(&self, position: u64) -> &Cell<T> {
        &self.cells[(position % self.cells.len() as u64) as usize]
    }

    /// Whether an item counts against the allowance.
    fn is_heavy(&self, weight: u64) -> bool {
        weight > self.weight_max
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        for position in head..tail {
            // SAFETY: positions in `head..tail` hold items, and no other reference is left.
            self.cell(position).item.with_mut(|item| unsafe { (*item).assume_init_drop() });
        }
    }
}

/// The producer's end.
///
/// ```
/// use std::sync::Arc;
/// use tapecast::mailbox::{Allowance, channel};
///
/// let (mut sender, mut receiver) = channel(8, 100, &Arc::new(Allowance::new(1_000)));
/// assert_eq!(sender.push("message", 60), Ok(()));
/// // There is room for seven more, but not for their weight.
/// assert_eq!(sender.push("parcel", 60), Err("parcel"));
/// assert_eq!(receiver.pop(), Some("message"));
/// assert_eq!(sender.push("parcel", 60), Ok(()));
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    tail: u64,
    /// The consumer's `head` at the last look: `head_seen <= head`.
    head_seen: u64,
    sent_weight: u64,
}

/// The consumer's end.
///
/// ```
/// use std::sync::Arc;
/// use tapecast::mailbox::{Allowance, channel};
///
/// let (mut sender, mut receiver) = channel(1, 100, &Arc::new(Allowance::new(1_000)));
/// assert_eq!(sender.push("first", 1), Ok(()));
/// // The producer finds the queue full and goes to sleep.
/// assert!(!sender.await_room(1));
/// assert_eq!(receiver.pop(), Some("first"));
/// // The consumer has made room, and has to wake the producer once.
/// assert!(receiver.is_awaited());
/// assert!(!receiver.is_awaited());
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    head: u64,
    /// The producer's `tail` at the last look: `tail_seen <= tail`.
    tail_seen: u64,
    taken_weight: u64,
}

/// Creates a queue of at most `capacity` items and a weight of `weight_max`, or one heavier item
/// within the allowance.
pub fn channel<T>(
    capacity: usize,
    weight_max: usize,
    allowance: &std::sync::Arc<Allowance>,
) -> (Sender<T>, Receiver<T>) {
    let cells = (0..capacity.max(1)).map(|_| Cell { item: UnsafeCell::new(MaybeUninit::uninit()) });
    let shared = Arc::new(Shared {
        cells: cells.collect(),
        weight_max: weight_max as u64,
        allowance: std::sync::Arc::clone(allowance),
        head: CachePadded::new(AtomicU64::new(0)),
        taken_weight: CachePadded::new(AtomicU64::new(0)),
        tail: CachePadded::new(AtomicU64::new(0)),
        waiting: CachePadded::new(AtomicBool::new(false)),
    });
    let sender = Sender { shared: Arc::clone(&shared), tail: 0, head_seen: 0, sent_weight: 0 };
    (sender, Receiver { shared, head: 0, tail_seen: 0, taken_weight: 0 })
}

impl<T> Sender<T> {
    /// Whether an item of `weight` fits now.
    pub fn has_room(&mut self, weight: usize) -> bool {
        let capacity = self.shared.cells.len() as u64;
        if self.tail - self.head_seen >= capacity {
            self.head_seen = self.shared.head.load(Ordering::Acquire);
        }
        if self.tail - self.head_seen >= capacity {
            return false;
        }
        let under_way = self.sent_weight - self.shared.taken_weight.load(Ordering::Relaxed);
        let weight = weight as u64;
        if self.shared.is_heavy(weight) {
            under_way == 0 && self.shared.allowance.has_room(weight)
        } else {
            under_way + weight <= self.shared.weight_max
        }
    }

    /// Puts `item` in.
    ///
    /// # Errors
    /// The item, if there is no room for it.
    pub fn push(&mut self, item: T, weight: usize) -> Result<(), T> {
        if !self.has_room(weight) {
            return Err(item);
        }
        if self.shared.is_heavy(weight as u64) && !self.shared.allowance.take(weight as u64) {
            return Err(item);
        }
        // SAFETY: `has_room` saw `tail < head + capacity`: the cell is the producer's.
        self.shared.cell(self.tail).item.with_mut(|cell| unsafe {
            (*cell).write((item, weight));
        });
        self.tail += 1;
        self.sent_weight += weight as u64;
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Announces that the producer waits for room for an item of `weight`. The consumer then
    /// learns of it when it has made room ([`Receiver::is_awaited`]), or has taken a
    /// heavy item from another queue ([`Allowance::is_awaited`]). Returns whether there is room
    /// after all.
    pub fn await_room(&mut self, weight: usize) -> bool {
        self.shared.waiting.store(true, Ordering::Relaxed);
        if self.shared.is_heavy(weight as u64) {
            self.shared.allowance.wait();
        }
        // Pairs with the fence in `is_awaited`: either this side sees the room,
        // or that side sees the flag.
        fence(Ordering::SeqCst);
        self.has_room(weight)
    }

    /// Items put in and not yet taken out; the consumer may have taken more.
    pub fn len(&self) -> usize {
        (self.tail - self.shared.head.load(Ordering::Relaxed)) as usize
    }

    /// Whether all items have been taken out. A later look may find more taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the queue holds `capacity` items, whatever their weight. The consumer may have
    /// taken some since.
    pub fn is_full(&self) -> bool {
        self.len() >= self.shared.cells.len()
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest item out.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `is_empty` saw `head < tail`: the cell is the consumer's and holds an
        // item, which is read once because `head` then moves on.
        let (item, weight) =
            self.shared.cell(self.head).item.with_mut(|cell| unsafe { (*cell).assume_init_read() });
        self.head += 1;
        self.taken_weight += weight as u64;
        self.shared.taken_weight.store(self.taken_weight, Ordering::Relaxed);
        self.shared.head.store(self.head, Ordering::Release);
        if self.shared.is_heavy(weight as u64) {
            self.shared.allowance.give_back(weight as u64);
        }
        Some(item)
    }

    /// After taking items out: whether the producer waits for room. If so, wake it. Returns
    /// `true` once.
    pub fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.shared.waiting.load(Ordering::Relaxed)
            && self.shared.waiting.swap(false, Ordering::Relaxed)
    }

    /// Whether the queue is empty.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(loom, test))]
mod loom_tests;
