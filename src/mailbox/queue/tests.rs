//! The queue against a deque, and between threads.

use super::*;
use std::collections::VecDeque;

/// A queue that shares its allowance with no other.
fn alone<T>(capacity: usize, weight_max: usize) -> (Sender<T>, Receiver<T>) {
    channel(capacity, weight_max, &Arc::new(Allowance::new(0)))
}

#[test]
fn a_queue_agrees_with_a_deque() {
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

/// Heavy items of any number of queues are bounded together.
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
