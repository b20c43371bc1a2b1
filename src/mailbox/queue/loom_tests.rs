//! The queue and the doorbell in every order of their steps: `tests/run` has the command.

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
    /// Sleeps until it is woken.
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

/// Sends a 2 of this weight, as a shard does: it sets its sleeping flag first, then waits
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

/// A producer that found no room and announced it is woken, or finds the room.
#[test]
fn a_producer_that_waits_for_room_is_woken() {
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

/// A producer whose item is too heavy for its own queue waits for the allowance that another
/// queue holds: the consumer that takes that item out wakes it, or it finds the room.
#[test]
fn a_producer_that_waits_for_the_allowance_is_woken() {
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
