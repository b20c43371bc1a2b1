//! Hubs of several shards against a naive twin: a vector per topic and a queue
//! per subscriber.

use super::*;
use crate::mailbox::{Receiver, Sender, channel};
use std::collections::BTreeMap;

/// Mailboxes between the hubs of one test.
struct Wires {
    senders: Vec<Vec<Sender<Mail>>>,
    receivers: Vec<Vec<Receiver<Mail>>>,
}

struct From<'a>(&'a mut Vec<Sender<Mail>>);

impl Post for From<'_> {
    fn post(&mut self, to: ShardId, mail: Mail, weight: usize) -> Result<(), Mail> {
        self.0[to.index()].push(mail, weight)
    }
}

#[derive(Default)]
struct Reader {
    subscriptions: Subscriptions,
    /// What it was sent, from the subscription on, per topic.
    received: BTreeMap<String, Vec<u64>>,
    fell: bool,
    stalled: bool,
}

struct World {
    hubs: Vec<Hub>,
    wires: Wires,
    /// Per shard, by subscriber number.
    readers: Vec<Vec<Reader>>,
    published: BTreeMap<String, u64>,
}

impl World {
    fn new(shards: u16, limits: &Limits, seed: u64) -> World {
        let mut senders: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        for from in senders.iter_mut() {
            for to in receivers.iter_mut() {
                let (sender, receiver) = channel(limits.mailbox_mails_max, 1 << 20);
                from.push(sender);
                to.push(receiver);
            }
        }
        let hub = |shard| Hub::new(ShardId(shard), shards, limits.clone(), seed, seed + 1);
        World {
            hubs: (0..shards).map(hub).collect(),
            wires: Wires { senders, receivers },
            readers: (0..shards).map(|_| (0..4).map(|_| Reader::default()).collect()).collect(),
            published: BTreeMap::new(),
        }
    }

    /// Takes mail, flushes, and delivers on one shard.
    fn turn(&mut self, shard: usize, random: &mut Random) {
        for (from, receiver) in self.wires.receivers[shard].iter_mut().enumerate() {
            for _ in 0..random.below(4) {
                let Some(mail) = receiver.pop() else { break };
                self.hubs[shard].receive(ShardId(from as u16), mail);
            }
        }
        let mut marks = Vec::new();
        self.hubs[shard].flush(&mut From(&mut self.wires.senders[shard]), &mut marks);
        for mark in marks {
            if let Mark::Fell(subscriber) = mark {
                let reader = &mut self.readers[shard][subscriber as usize];
                self.hubs[shard].leave(&mut reader.subscriptions);
                reader.fell = true;
            }
        }
        for reader in self.readers[shard].iter_mut().filter(|reader| !reader.stalled) {
            deliver(&mut self.hubs[shard], reader, random);
        }
    }

    fn settle(&mut self, random: &mut Random) {
        for reader in self.readers.iter_mut().flatten() {
            reader.stalled = false;
        }
        for _ in 0..2_000 {
            for shard in 0..self.hubs.len() {
                self.turn(shard, random);
            }
        }
    }
}

/// Sends a reader some of what is pending and records what that was.
fn deliver(hub: &mut Hub, reader: &mut Reader, random: &mut Random) {
    let mut bytes = Vec::new();
    hub.pending(reader.subscriptions, 200, 3, |slice| bytes.extend_from_slice(slice));
    let sent = random.below(bytes.len() as u64 + 1) as usize;
    let mut rest = Vec::new();
    hub.advance(&mut reader.subscriptions, sent, |slice| rest.extend_from_slice(slice));
    let mut frames = &[&bytes[..sent], &rest].concat()[..];
    while let [_, length, tail @ ..] = frames {
        let (payload, after) = tail.split_at(*length as usize);
        let text = std::str::from_utf8(payload).unwrap();
        let (topic, number) = text.split_once(' ').unwrap();
        reader.received.entry(topic.into()).or_default().push(number.parse().unwrap());
        frames = after;
    }
}

#[track_caller]
fn check_history(topic: &str, received: &[u64], published: u64, fell: bool) {
    for pair in received.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "{topic}: a hole, a duplicate or disorder: {received:?}");
    }
    if let Some(&last) = received.last()
        && !fell
    {
        assert_eq!(last, published, "{topic}: the end is missing");
    }
}

#[test]
fn every_subscriber_gets_a_topic_without_holes() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3) as u16;
        let mut limits = Limits::tiny();
        limits.tape_bytes_max = 64 << random.below(6);
        limits.log_messages_max = 4 << random.below(6);
        let mut world = World::new(shards, &limits, seed);
        for _ in 0..400 {
            let shard = random.below(u64::from(shards)) as usize;
            let topic = ["a", "b.c", "d"][random.below(3) as usize];
            let subscriber = random.below(4) as usize;
            let reader = &mut world.readers[shard][subscriber];
            match random.below(12) {
                0..2 => {
                    let hub = &mut world.hubs[shard];
                    let done = hub.subscribe(subscriber as u32, &mut reader.subscriptions, topic);
                    if done.is_ok() {
                        reader.received.remove(topic);
                    }
                }
                2 => {
                    if world.hubs[shard].unsubscribe(&mut reader.subscriptions, topic) {
                        reader.received.remove(topic);
                    }
                }
                3 => reader.stalled ^= true,
                4..8 => {
                    let next = world.published.get(topic).map_or(1, |last| last + 1);
                    // One publisher, so that the numbers in the text are the order.
                    let text = format!("{topic} {next}");
                    if world.hubs[0].publish(topic, Message::Text(&text)).is_ok() {
                        world.published.insert(topic.into(), next);
                    }
                }
                _ => world.turn(shard, &mut random),
            }
        }
        world.settle(&mut random);
        for reader in world.readers.iter().flatten() {
            for (topic, received) in &reader.received {
                check_history(topic, received, world.published[topic], reader.fell);
            }
        }
        for (shard, readers) in world.readers.iter_mut().enumerate() {
            for reader in readers {
                world.hubs[shard].leave(&mut reader.subscriptions);
            }
        }
        world.settle(&mut random);
        for hub in &world.hubs {
            assert_eq!(hub.sizes(), (0, 0), "seed {seed}: a topic or subscription leaked");
            assert!(!hub.needs_flush());
        }
    }
}

#[test]
fn subscriptions_take_little_memory() {
    assert!(size_of::<Subscription>() <= 32, "{}", size_of::<Subscription>());
}

#[test]
fn names() {
    for good in ["a", "trades.BTC-USD", "é", &"x".repeat(255)] {
        assert!(is_topic_name(good), "{good}");
    }
    for bad in ["", ".", "a.", ".a", "a..b", "a\nb", &"x".repeat(256)] {
        assert!(!is_topic_name(bad), "{bad}");
    }
}

#[test]
fn refusals() {
    let mut hub = Hub::new(ShardId(0), 1, Limits::tiny(), 0, 0);
    let mut subscriptions = Subscriptions::default();
    assert_eq!(hub.subscribe(0, &mut subscriptions, "a..b"), Err(HubError::BadName));
    assert_eq!(hub.subscribe(0, &mut subscriptions, "a"), Ok(()));
    assert_eq!(hub.subscribe(0, &mut subscriptions, "a"), Err(HubError::AlreadySubscribed));
    for topic in ["b", "c", "d"] {
        assert_eq!(hub.subscribe(0, &mut subscriptions, topic), Ok(()));
    }
    assert_eq!(hub.subscribe(0, &mut subscriptions, "e"), Err(HubError::TooManySubscriptions));
    let long = vec![0; Limits::tiny().message_bytes_max + 1];
    assert_eq!(hub.publish("a", Message::Binary(&long)), Err(HubError::TooBig));
    assert_eq!(hub.publish("", Message::Binary(b"x")), Err(HubError::BadName));
}
