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
//! weight it has taken out together with `head`. An item heavier than the bound
//! passes when the queue is otherwise empty and its consumer's allowance has room.
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
    /// For items heavier than that.
    allowance: std::sync::Arc<Allowance>,
    /// Positions below this one have been taken out.
    head: CachePadded<AtomicU64>,
    /// The weight of all that was taken out; written just before `head`.
    taken_weight: CachePadded<AtomicU64>,
    /// Positions below this one have been put in.
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

    /// Whether an item goes by the allowance.
    fn is_heavy(&self, weight: u64) -> bool {
        weight > self.weight_max
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Acquire), self.tail.load(Ordering::Acquire));
        for position in head..tail {
            // SAFETY: positions in `head..tail` hold items, and nobody else is left.
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
/// assert_eq!(sender.push("letter", 60), Ok(()));
/// // There is room for seven more, but not for their weight.
/// assert_eq!(sender.push("parcel", 60), Err("parcel"));
/// assert_eq!(receiver.pop(), Some("letter"));
/// assert_eq!(sender.push("parcel", 60), Ok(()));
/// ```
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    tail: u64,
    /// The consumer's `head` when it was last looked at: `head_seen <= head`.
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
/// // The consumer has made room, and is to wake it once.
/// assert!(receiver.is_awaited());
/// assert!(!receiver.is_awaited());
/// ```
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    head: u64,
    /// The producer's `tail` when it was last looked at: `tail_seen <= tail`.
    tail_seen: u64,
    taken_weight: u64,
}

/// A queue of at most `capacity` items and `weight_max` of weight, or one item that is
/// heavier, within the allowance.
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
        match self.shared.is_heavy(weight) {
            true => under_way == 0 && self.shared.allowance.has_room(weight),
            false => under_way + weight <= self.shared.weight_max,
        }
    }

    /// Puts `item` in.
    ///
    /// # Errors
    /// The item, when there is no room for it.
    pub fn push(&mut self, item: T, weight: usize) -> Result<(), T> {
        if !self.has_room(weight) {
            return Err(item);
        }
        if self.shared.is_heavy(weight as u64) && !self.shared.allowance.take(weight as u64) {
            return Err(item);
        }
        // SAFETY: `has_room` saw `tail < head + capacity`: the cell is ours.
        self.shared.cell(self.tail).item.with_mut(|cell| unsafe {
            (*cell).write((item, weight));
        });
        self.tail += 1;
        self.sent_weight += weight as u64;
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Says that it waits for room for an item of `weight`; the consumer then
    /// tells when it has made some ([`Receiver::is_awaited`]), or has taken something
    /// heavy from another ([`Allowance::is_awaited`]). Says whether there is room
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

    /// Items put in and not yet taken out, as far as is known.
    pub fn len(&self) -> usize {
        (self.tail - self.shared.head.load(Ordering::Relaxed)) as usize
    }

    /// Whether everything has been taken out, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are as many items as there may be, whatever their weight, as far as
    /// is known.
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
        // SAFETY: `is_empty` saw `head < tail`: the cell is ours and holds an
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

    /// After taking items out: whether the producer waits for room and is to be
    /// woken. Says so once.
    pub fn is_awaited(&self) -> bool {
        fence(Ordering::SeqCst);
        self.shared.waiting.load(Ordering::Relaxed)
            && self.shared.waiting.swap(false, Ordering::Relaxed)
    }

    /// Whether there is nothing to take out.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A queue that shares its allowance with no other.
    fn alone<T>(capacity: usize, weight_max: usize) -> (Sender<T>, Receiver<T>) {
        channel(capacity, weight_max, &Arc::new(Allowance::new(0)))
    }

    #[test]
    fn agrees_with_a_deque() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut sender, mut receiver) = alone(7, 100);
        let mut twin: VecDeque<(usize, usize)> = VecDeque::new();
        for step in 0..50_000 {
            if random.bool() {
                let weight = random.usize(..120);
                let under_way: usize = twin.iter().map(|item| item.1).sum();
                let fits = twin.len() < 7 && (under_way == 0 || under_way + weight <= 100);
                assert_eq!(sender.push(step, weight).is_ok(), fits);
                if fits {
                    twin.push_back((step, weight));
                }
            } else {
                assert_eq!(receiver.pop(), twin.pop_front().map(|item| item.0));
            }
            assert_eq!(sender.len(), twin.len());
        }
    }

    /// However many queues there are, what is too heavy for them is bounded together.
    #[test]
    fn heavy_items_of_several_queues_share_an_allowance() {
        let mut random = fastrand::Rng::with_seed(6);
        let allowance = Arc::new(Allowance::new(1_000));
        let (mut senders, mut receivers): (Vec<_>, Vec<_>) =
            (0..20).map(|_| channel(7, 100, &allowance)).unzip();
        let (mut heavy, mut most, mut refused) = (0, 0, 0);
        for _ in 0..50_000 {
            let queue = random.usize(..20);
            if random.bool() {
                let weight = random.usize(1..700);
                let is_empty = senders[queue].is_empty();
                let is_sent = senders[queue].push(weight, weight).is_ok();
                if weight > 100 {
                    let fits = is_empty && (heavy == 0 || heavy + weight <= 1_000);
                    assert_eq!(is_sent, fits);
                    heavy += if is_sent { weight } else { 0 };
                    refused += usize::from(is_empty && !is_sent);
                }
            } else if let Some(weight) = receivers[queue].pop() {
                heavy -= if weight > 100 { weight } else { 0 };
            }
            most = most.max(heavy);
        }
        assert!(most > 900 && most <= 1_000 && refused > 1_000);
    }

    #[test]
    fn items_that_are_left_are_dropped() {
        let item = std::sync::Arc::new(());
        let (mut sender, mut receiver) = alone(4, 10);
        for _ in 0..3 {
            sender.push(item.clone(), 1).unwrap();
        }
        drop(receiver.pop());
        drop((sender, receiver));
        assert_eq!(std::sync::Arc::strong_count(&item), 1);
    }

    #[test]
    fn order_holds_between_threads() {
        let (mut sender, mut receiver) = alone(16, 1 << 20);
        let producer = std::thread::spawn(move || {
            for number in 0..200_000u64 {
                let mut item = number;
                while let Err(back) = sender.push(item, 8) {
                    item = back;
                    std::thread::yield_now();
                }
            }
        });
        for expected in 0..200_000u64 {
            let number = loop {
                match receiver.pop() {
                    Some(number) => break number,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(number, expected);
        }
        producer.join().unwrap();
    }
}

/// Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib mailbox`.
#[cfg(all(loom, test))]
mod loom_tests {
    use super::*;
    use crate::base::Wake;
    use crate::mailbox::Doorbell;
    use loom::sync::{Condvar, Mutex};

    fn allowance() -> std::sync::Arc<Allowance> {
        std::sync::Arc::new(Allowance::new(0))
    }

    #[test]
    fn items_arrive_once_and_in_order() {
        loom::model(|| {
            let (mut sender, mut receiver) = channel(1, 10, &allowance());
            let producer = loom::thread::spawn(move || {
                for item in 0..2 {
                    while sender.push(item, 1).is_err() {
                        loom::thread::yield_now();
                    }
                }
            });
            for expected in 0..2 {
                let item = loop {
                    match receiver.pop() {
                        Some(item) => break item,
                        None => loom::thread::yield_now(),
                    }
                };
                assert_eq!(item, expected);
            }
            producer.join().unwrap();
        });
    }

    #[derive(Default)]
    struct Semaphore {
        rung: Mutex<bool>,
        condition: Condvar,
    }

    impl Semaphore {
        /// Sleeps until it is rung.
        fn wait(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.condition.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    impl Wake for Arc<Semaphore> {
        fn wake(&self) {
            *self.rung.lock().unwrap() = true;
            self.condition.notify_one();
        }
    }

    #[test]
    fn a_sleeper_is_woken_for_every_item() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::default());
            let doorbell = Arc::new(Doorbell::new(Arc::clone(&semaphore)));
            let (mut sender, mut receiver) = channel(2, 10, &allowance());
            let bell = Arc::clone(&doorbell);
            let producer = loom::thread::spawn(move || {
                assert!(sender.push(1, 1).is_ok());
                bell.ring();
            });
            loop {
                if receiver.pop().is_some() {
                    break;
                }
                doorbell.doze();
                if receiver.is_empty() {
                    semaphore.wait();
                }
                doorbell.rouse();
            }
            producer.join().unwrap();
        });
    }

    /// Sends a two of this weight, as a shard does: first the flag of its sleep, then the wait
    /// for room.
    fn push_or_wait(
        sender: &mut Sender<u32>,
        weight: usize,
        doorbell: &Doorbell<Arc<Semaphore>>,
        semaphore: &Semaphore,
    ) {
        while sender.push(2, weight).is_err() {
            doorbell.doze();
            if !sender.await_room(weight) {
                semaphore.wait();
            }
            doorbell.rouse();
        }
    }

    /// A producer that found no room and said so is rung for, or finds the room.
    #[test]
    fn a_producer_that_waits_for_room_is_told() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::default());
            let doorbell = Arc::new(Doorbell::new(Arc::clone(&semaphore)));
            let (mut sender, mut receiver) = channel(1, 10, &allowance());
            assert!(sender.push(1, 1).is_ok());
            let bell = Arc::clone(&doorbell);
            let consumer = loom::thread::spawn(move || {
                assert_eq!(receiver.pop(), Some(1));
                if receiver.is_awaited() {
                    bell.ring();
                }
                receiver
            });
            push_or_wait(&mut sender, 1, &doorbell, &semaphore);
            assert_eq!(consumer.join().unwrap().pop(), Some(2));
        });
    }

    /// A producer whose item is too heavy for its own queue waits for what another queue
    /// holds of the allowance: whoever takes that out rings for it, or it finds the room.
    #[test]
    fn a_producer_that_waits_for_the_allowance_is_told() {
        loom::model(|| {
            let semaphore = Arc::new(Semaphore::default());
            let doorbell = Arc::new(Doorbell::new(Arc::clone(&semaphore)));
            let allowance = allowance();
            let (mut other_sender, mut other_receiver) = channel(1, 10, &allowance);
            assert!(other_sender.push(1, 11).is_ok());
            let (mut sender, mut receiver) = channel(1, 10, &allowance);
            let (bell, taken_from) = (Arc::clone(&doorbell), std::sync::Arc::clone(&allowance));
            let consumer = loom::thread::spawn(move || {
                assert_eq!(other_receiver.pop(), Some(1));
                if taken_from.is_awaited() {
                    bell.ring();
                }
            });
            push_or_wait(&mut sender, 12, &doorbell, &semaphore);
            consumer.join().unwrap();
            assert_eq!(receiver.pop(), Some(2));
            assert!(allowance.has_room(u64::MAX));
        });
    }
}
