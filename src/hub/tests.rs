//! The hub's own tests. `model` checks deliveries against a naive twin.

mod edges;
mod model;
mod patterns;
mod regressions;

use super::cursor::{NO_PATTERN, Subscription};
use super::ids::SubscriptionRef;
use super::policy::PRESENCE;
use super::topic::Topic;
use super::*;
use crate::base::work::{self, Work};
use crate::base::{ConnectionId, Limits, Random, ShardId, Time};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn at(ms: u64) -> Time {
    Time::ZERO.plus_millis(ms)
}

fn flush(hub: &mut Hub) -> Vec<Signal> {
    let mut signals = Vec::new();
    hub.flush(&mut Outbox::default(), &mut signals);
    signals
}

fn pending(hub: &Hub, own: Subscriptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    hub.pending(own, usize::MAX, 99, |slice| bytes.extend_from_slice(slice));
    bytes
}

fn with_rules(limits: &Limits, rules: Vec<Rule>) -> Hub {
    let rules = Arc::new(Rules::new(rules, limits).unwrap());
    Hub::new(Setup { rules, ..Setup::for_tests(ShardId(0), 1, limits) })
}

fn catch_up_all(
    hub: &mut Hub,
    own: &mut Subscriptions,
    frames: &mut Vec<u8>,
    steps: &mut Vec<Step>,
) {
    while hub.catch_up(own, frames, steps) {}
}

/// Reads everything for two connections, the first by `room.*`. Returns the text that each got.
fn take_turns(hub: &mut Hub, own: &mut [Subscriptions; 2], takes: [bool; 2]) -> [String; 2] {
    let mut got = [const { String::new() }; 2];
    for _ in 0..4 {
        flush(hub);
        for number in (0..2).filter(|&number| takes[number]) {
            let (own, mut frames) = (&mut own[number], Vec::new());
            catch_up_all(hub, own, &mut frames, &mut Vec::new());
            frames.extend(pending(hub, *own));
            let bytes = pending(hub, *own).len();
            hub.advance(own, bytes, |_| ());
            got[number] += &String::from_utf8_lossy(&frames);
        }
    }
    got
}

#[test]
fn subscriptions_take_little_memory() {
    // With its place in the topic's list, and in the slab.
    assert!(size_of::<Option<Subscription>>() + 8 + 4 <= 64);
    assert!(size_of::<Option<Topic>>() <= 96, "{}", size_of::<Option<Topic>>());
}

/// How long `act` takes at best: the mean of `count` times, in the quickest of five rounds.
fn least_time(count: u32, mut act: impl FnMut(u32)) -> Duration {
    let rounds = (0..5).map(|_| {
        let started = Instant::now();
        (0..count).for_each(&mut act);
        started.elapsed() / count
    });
    rounds.min().unwrap()
}

/// How long it takes a reader of a topic, at best, to unsubscribe and subscribe again beside
/// so many others.
fn time_to_resubscribe(crowd: u32) -> Duration {
    let mut hub = Hub::alone(&Limits::default());
    let mut readers = vec![Subscriptions::default(); crowd as usize];
    let join = |hub: &mut Hub, readers: &mut [Subscriptions], number: u32| {
        let own = &mut readers[number as usize];
        hub.subscribe(number, own, "news", &Delivery::default()).unwrap();
    };
    (0..crowd).for_each(|number| join(&mut hub, &mut readers, number));
    least_time(1_000, |number| {
        let chosen = (number * 7_919) % crowd;
        assert!(hub.unsubscribe(&mut readers[chosen as usize], "news"));
        join(&mut hub, &mut readers, chosen);
    })
}

/// A thousand times as many would take a thousand times as long, if any of it went through
/// them, and ten times, if it moved them all by one; the cache makes a small difference.
#[test]
fn subscribing_costs_the_same_beside_a_crowd() {
    let (few, many) = (time_to_resubscribe(100), time_to_resubscribe(100_000));
    assert!(many < 5 * few, "{many:?} with 100,000 readers, {few:?} with 100");
}

/// How long it takes at best to publish to one reader that keeps up, with so many there that
/// have read nothing and have fallen behind the tape.
fn time_to_publish_beside(stalled: u32) -> Duration {
    let limits = Limits { tape_bytes_max: 1 << 10, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut readers = vec![Subscriptions::default(); 1 + stalled as usize];
    for (number, own) in readers.iter_mut().enumerate() {
        hub.subscribe(number as u32, own, "news", &Delivery::default()).unwrap();
    }
    let mut publish = |_| {
        hub.publish(&Publication::new("news", &[b'x'; 100][..])).unwrap();
        let signals = flush(&mut hub);
        assert!(signals.iter().any(|signal| matches!(signal, Signal::Pending(0))));
        let bytes = pending(&hub, readers[0]).len();
        assert_eq!(hub.advance(&mut readers[0], bytes, |_| ()), 1);
    };
    // More than a tape holds, and once more for those that have fallen behind meanwhile.
    (0..50).for_each(&mut publish);
    least_time(100, publish)
}

#[test]
fn subscribers_that_fell_behind_cost_the_others_nothing() {
    let (few, many) = (time_to_publish_beside(10), time_to_publish_beside(10_000));
    assert!(many < 20 * few, "{many:?} beside 10,000, {few:?} beside 10");
}

/// How long a delivery takes to a reader that has so many quiet subscriptions beside it.
fn time_of_delivery(quiet: usize) -> Duration {
    let limits = Limits { subscriptions_max: 2_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    for number in 0..quiet {
        hub.subscribe(0, &mut own, &format!("quiet.{number}"), &Delivery::default()).unwrap();
    }
    hub.subscribe(0, &mut own, "busy", &Delivery::default()).unwrap();
    flush(&mut hub);
    let mut messages = 0;
    let time = least_time(2_000, |_| {
        hub.publish(&Publication::new("busy", "x")).unwrap();
        flush(&mut hub);
        let bytes = pending(&hub, own).len();
        messages += hub.advance(&mut own, bytes, |_| ());
        assert!(!hub.has_pending(own));
    });
    assert_eq!(messages, 10_000);
    time
}

/// A walk through them would cost seventy times as much.
#[test]
fn quiet_subscriptions_cost_a_delivery_nothing() {
    let (alone, among) = (time_of_delivery(0), time_of_delivery(1_000));
    assert!(among < 2 * alone, "{alone:?} alone, {among:?} among a thousand");
}

fn subscribe(hub: &mut Hub, own: &mut Subscriptions, topic: &str) -> Result<(), HubError> {
    hub.subscribe(0, own, topic, &Delivery::default())
}

#[test]
fn publications_and_subscriptions_against_the_rules_are_refused() {
    let limits = Limits { topics_max: 6, ..Limits::tiny() };
    let rules = vec![
        Rule { publish: Access::Local, allow_latest: false, ..Rule::new("local.*", &limits) },
        Rule { subscribe: Access::Server, keys_max: 0, ..Rule::new("inner", &limits) },
    ];
    let rules = Arc::new(Rules::new(rules, &limits).unwrap());
    let mut hub = Hub::new(Setup { rules, ..Setup::for_tests(ShardId(0), 1, &limits) });
    let mut own = Subscriptions::default();
    assert_eq!(subscribe(&mut hub, &mut own, "a..b"), Err(HubError::BadName));
    assert_eq!(subscribe(&mut hub, &mut own, "a"), Ok(()));
    assert_eq!(subscribe(&mut hub, &mut own, "a"), Err(HubError::AlreadySubscribed));
    assert!(hub.is_subscribed(own, "a") && !hub.is_subscribed(own, "b"));
    for topic in ["b", "c", "d"] {
        assert_eq!(subscribe(&mut hub, &mut own, topic), Ok(()));
    }
    assert_eq!(subscribe(&mut hub, &mut own, "e"), Err(HubError::TooManySubscriptions));
    let long = vec![0; limits.message_bytes_max + 1];
    assert_eq!(hub.publish(&Publication::new("a", &long[..])), Err(HubError::TooBig));
    assert_eq!(hub.publish(&Publication::new("", "x")), Err(HubError::BadName));
    assert_eq!(hub.publish(&Publication::new("$presence.a", "x")), Err(HubError::NotAllowed));

    let far = Caller::Peer { is_local: false, network: 0 };
    let publication = Publication { caller: far, ..Publication::new("local.a", "x") };
    assert_eq!(hub.publish(&publication), Err(HubError::NotAllowed));
    let near = Caller::Peer { is_local: true, network: 0 };
    assert!(hub.publish(&Publication { caller: near, ..publication }).is_ok());
    let mut other = Subscriptions::default();
    let latest = Delivery { mode: Mode::Latest, ..Delivery::default() };
    let refused = hub.subscribe(1, &mut other, "local.a", &latest);
    assert_eq!(refused, Err(HubError::NotAllowed));
    let refused = hub.subscribe_for(near, 1, &mut other, "inner", &Delivery::default());
    assert_eq!(refused, Err(HubError::NotAllowed));
    let keyed = Publication { key: Some("k"), ..Publication::new("inner", "x") };
    assert_eq!(hub.publish(&keyed), Err(HubError::BadKey));
    let long_key = "k".repeat(256);
    let keyed = Publication { key: Some(&long_key), ..Publication::new("a", "x") };
    assert_eq!(hub.publish(&keyed), Err(HubError::BadKey));
    for delivery in [
        Delivery { max_rate: Some(0), ..Delivery::default() },
        Delivery { max_rate: Some(1_001), ..Delivery::default() },
        Delivery { window: Some(0), ..Delivery::default() },
    ] {
        let refused = hub.subscribe(1, &mut other, "e", &delivery);
        assert!(matches!(refused, Err(HubError::BadDelivery(_))));
    }
    assert!(hub.publish(&Publication::new("e", "x")).is_ok());
    assert_eq!(hub.publish(&Publication::new("f", "x")), Err(HubError::TooManyTopics));
    assert_eq!(hub.tally().topics_refused, 1);
}

#[test]
fn a_topic_is_forgotten_with_its_last_message() {
    let mut hub = Hub::alone(&Limits { log_ms: 1_000, ..Limits::default() });
    let at = |ms| Time::ZERO.plus_millis(ms);
    hub.tick(at(10_000));
    hub.publish(&Publication::new("news", "hi")).unwrap();
    let mut own = Subscriptions::default();
    subscribe(&mut hub, &mut own, "news").unwrap();
    hub.flush(&mut Outbox::default(), &mut Vec::new());
    hub.leave(&mut own);
    hub.tick(at(10_900));
    assert_eq!(hub.sizes().0, 1, "its message can still be asked for");
    hub.tick(at(11_100));
    assert_eq!((hub.sizes().0, hub.held_bytes()), (0, (0, 0)));

    // While somebody reads the topic it stays, with its last value, and its numbers continue.
    hub.publish(&Publication::new("news", "hi")).unwrap();
    subscribe(&mut hub, &mut own, "news").unwrap();
    hub.tick(at(20_000));
    hub.publish(&Publication::new("news", "again")).unwrap();
    let log = &hub.topics.home(0).unwrap().log;
    assert_eq!((log.next(), log.len()), (3, 1));
}

/// The numbers behind "a million quiet topics". The hub counts the bytes that it asks the
/// allocator for; `tests/live` measures the memory of the process.
#[test]
fn topics_share_the_budget_and_keep_their_last_value() {
    let limits = Limits { topics_bytes_max: 64 << 10, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    subscribe(&mut hub, &mut own, "t.3").unwrap();
    for round in 0..400 {
        for topic in 0..10 {
            let payload = format!("{round} {}", "x".repeat(90));
            let name = format!("t.{topic}");
            hub.publish(&Publication::new(&name, payload.as_str())).unwrap();
        }
        // A chunk comes whole, and the search for memory to evict takes more than one turn.
        for _ in 0..2 {
            hub.flush(&mut Outbox::default(), &mut Vec::new());
        }
        let (tapes, logs) = hub.held_bytes();
        assert!(tapes + logs <= limits.topics_bytes_max, "{tapes} {logs}");
    }
    assert!(hub.tally().budget_exceeded > 0);
    // Every topic has its last value.
    for topic in 0..10 {
        let index = hub.topics.find(&format!("t.{topic}")).unwrap();
        assert!(hub.topics.home(index).unwrap().log.values.count() == 1);
    }
}

#[test]
fn a_rule_batches_messages_before_they_are_forwarded() {
    let limits = Limits::default();
    let rules = vec![Rule { flush_ms: 5, ..Rule::new("news", &limits) }];
    let rules = Arc::new(Rules::new(rules, &limits).unwrap());
    let mut hub = Hub::new(Setup { rules, ..Setup::for_tests(ShardId(0), 1, &limits) });
    let mut own = Subscriptions::default();
    subscribe(&mut hub, &mut own, "news").unwrap();
    let mut signals = Vec::new();
    let at = |ms| Time::ZERO.plus_millis(ms);
    for ms in 0..5 {
        hub.tick(at(100 + ms));
        hub.publish(&Publication::new("news", "hi")).unwrap();
        signals.clear();
        hub.flush(&mut Outbox::default(), &mut signals);
        assert!(!hub.needs_flush() && !hub.has_pending(own), "{ms}");
        assert_eq!(hub.next_time(), at(105));
    }
    hub.tick(at(105));
    signals.clear();
    hub.flush(&mut Outbox::default(), &mut signals);
    assert_eq!(signals, [Signal::Pending(0)]);
    let mut bytes = 0;
    hub.pending(own, usize::MAX, 9, |slice| bytes += slice.len());
    assert_eq!(bytes, 5 * 4);
}

#[test]
fn a_lane_exists_from_its_first_reader_to_its_last() {
    let mut hub = Hub::alone(&Limits::default());
    let [mut raw, mut other] = [Subscriptions::default(); 2];
    let enveloped = Delivery { lane: Some(&crate::testing::ENVELOPE), ..Delivery::default() };
    let lanes =
        |hub: &Hub| hub.topics.at(0).and_then(|topic| topic.reader.as_ref()).unwrap().lanes();
    subscribe(&mut hub, &mut raw, "news").unwrap();
    assert_eq!(lanes(&hub), 1);
    hub.subscribe(1, &mut other, "news", &enveloped).unwrap();
    assert_eq!(lanes(&hub), 2);
    hub.publish(&Publication::new("news", "hi")).unwrap();
    hub.flush(&mut Outbox::default(), &mut Vec::new());
    let bytes = |hub: &Hub, subscriptions| {
        let mut bytes = Vec::new();
        hub.pending(subscriptions, 1_000, 8, |slice| bytes.extend_from_slice(slice));
        bytes
    };
    assert_eq!(bytes(&hub, raw), b"\x81\x02hi");
    assert_eq!(&bytes(&hub, other)[2..], b"M news 1 0 - hi");
    hub.leave(&mut raw);
    assert_eq!(lanes(&hub), 1);
    assert_eq!(&bytes(&hub, other)[2..], b"M news 1 0 - hi");
}

/// The number of readers makes no difference, and neither does compression.
#[test]
fn a_message_is_encoded_once_for_all_of_a_lane() {
    use std::sync::atomic::{AtomicU32, Ordering};
    #[derive(Debug)]
    struct Counting(AtomicU32);
    impl Lane for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }
        fn message(&self, _topic: &str, entry: &Entry, out: &mut Vec<u8>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            Raw.message("", entry, out);
        }
        fn mark(&self, _topic: &str, _mark: &Mark, _out: &mut Vec<u8>) {}
    }
    static COUNTING: Counting = Counting(AtomicU32::new(0));
    let limits = Limits { deflate_level: 1, deflate_bytes_min: 16, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut all = [Subscriptions::default(); 40];
    let delivery = Delivery { lane: Some(&COUNTING), ..Delivery::default() };
    for (index, own) in all.iter_mut().enumerate() {
        if index % 2 == 0 {
            own.set_deflates();
        }
        hub.subscribe(index as u32, own, "news", &delivery).unwrap();
    }
    hub.flush(&mut Outbox::default(), &mut Vec::new());
    let text = "the same again and again, ".repeat(10);
    for _ in 0..5 {
        hub.publish(&Publication::new("news", text.as_str())).unwrap();
    }
    hub.flush(&mut Outbox::default(), &mut Vec::new());
    assert_eq!(COUNTING.0.load(Ordering::Relaxed), 5 * 2, "once for each of the two lanes");
    let bytes = |own: Subscriptions| {
        let mut bytes = Vec::new();
        hub.pending(own, usize::MAX, 99, |slice| bytes.extend_from_slice(slice));
        bytes
    };
    let (deflated, plain) = (bytes(all[0]), bytes(all[1]));
    assert!(deflated[0] & 0x40 > 0 && deflated.len() < plain.len() / 3, "{}", deflated.len());
    for (index, own) in all.into_iter().enumerate() {
        assert_eq!(&bytes(own), if index % 2 == 0 { &deflated } else { &plain });
    }
}
