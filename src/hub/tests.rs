//! The hub's own tests; `model` has the promises of deliveries against a naive twin.

mod model;
mod regressions;

use super::*;

#[test]
fn subscriptions_take_little_memory() {
    // With its place in the topic's list, and in the slab.
    assert!(size_of::<Option<Subscription>>() + 8 + 4 <= 64);
    assert!(size_of::<Option<Topic>>() <= 96, "{}", size_of::<Option<Topic>>());
}

fn subscribe(hub: &mut Hub, own: &mut Subscriptions, topic: &str) -> Result<(), HubError> {
    hub.subscribe(0, own, topic, &Delivery::default())
}

#[test]
fn refusals() {
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

    let far = Caller::Peer { is_local: false };
    let publication = Publication { caller: far, ..Publication::new("local.a", "x") };
    assert_eq!(hub.publish(&publication), Err(HubError::NotAllowed));
    let near = Caller::Peer { is_local: true };
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

    // While somebody reads it stays, with its last value, and its numbers go on.
    hub.publish(&Publication::new("news", "hi")).unwrap();
    subscribe(&mut hub, &mut own, "news").unwrap();
    hub.tick(at(20_000));
    hub.publish(&Publication::new("news", "again")).unwrap();
    let log = hub.topics.at(0).unwrap().log.as_ref().unwrap();
    assert_eq!((log.next(), log.len()), (3, 1));
}

/// The numbers behind "a million quiet topics": what is counted here is what the
/// process is told to allocate; `tests/live` looks at what it takes.
#[test]
fn memory_is_shared_out_when_it_is_short() {
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
        hub.flush(&mut Outbox::default(), &mut Vec::new());
        let (tapes, logs) = hub.held_bytes();
        assert!(tapes + logs <= limits.topics_bytes_max, "{tapes} {logs}");
    }
    assert!(hub.tally().budget_exceeded > 0);
    // Nobody is left without its last value.
    for topic in 0..10 {
        let index = hub.names[&*format!("t.{topic}")];
        assert!(hub.topics.at(index).unwrap().log.as_ref().unwrap().values.count() == 1);
    }
}

#[test]
fn a_rule_gathers_messages_before_they_are_sent_on() {
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
fn lanes_come_with_their_first_reader_and_go_with_their_last() {
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
