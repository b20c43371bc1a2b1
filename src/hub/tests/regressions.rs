//! Things that went wrong once, each in its smallest form.

use super::super::*;
use crate::testing::ENVELOPE;

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

#[test]
fn the_newest_arrives_at_its_rate_however_often_it_changes() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    let rated = Delivery { mode: Mode::Latest, max_rate: Some(10), ..Delivery::default() };
    hub.subscribe(0, &mut own, "q", &rated).unwrap();
    flush(&mut hub);
    let mut got = 0;
    // A message a millisecond, a turn a millisecond, ten seconds; the client takes all at once.
    for ms in 1..10_000 {
        // enter(): the send of what is pending, then the tick, then mail, then the flush.
        let bytes = pending(&hub, own);
        got += hub.advance(&mut own, bytes.len(), |_| ());
        hub.tick(at(ms));
        hub.publish(&Publication::new("q", "x")).unwrap();
        flush(&mut hub);
    }
    assert!(got >= 90, "{got} of about 100 updates arrived");
}

#[test]
fn who_has_left_does_not_push_others_off_the_list() {
    let limits = Limits::default();
    let mut hub = with_rules(&limits, vec![Rule { members_max: 2, ..Rule::new("lobby", &limits) }]);
    let mut all = [Subscriptions::default(); 3];
    let join = |hub: &mut Hub, n: usize, own: &mut Subscriptions| {
        let key = format!("k{n}");
        let listed = Listed { key: &key, name: &key };
        hub.subscribe_as(Caller::Server, n as u32, own, "lobby", &Delivery::default(), listed)
            .unwrap();
        flush(hub);
    };
    join(&mut hub, 0, &mut all[0]); // stays
    join(&mut hub, 1, &mut all[1]);
    hub.leave(&mut all[1]);
    flush(&mut hub);
    join(&mut hub, 2, &mut all[2]);
    let log = |hub: &Hub| {
        let index = hub.names["$presence.lobby"];
        let log = hub.topics.at(index).unwrap().log.as_ref().unwrap();
        let portion = Portion { from: 1, to: 99, messages_max: 99, bytes_max: 1 << 20 };
        let texts = |view| -> Vec<String> {
            let past = log.past(view, portion).entries;
            past.iter().map(|e| String::from_utf8_lossy(&e.payload).into_owned()).collect()
        };
        (texts(View::Snapshot), texts(View::Messages))
    };
    let (snapshot, _) = log(&hub);
    hub.leave(&mut all[0]);
    flush(&mut hub);
    let (_, messages) = log(&hub);
    assert!(snapshot.iter().any(|text| text.contains("k0")), "k0 is on the topic: {snapshot:?}");
    assert!(messages.last().unwrap().contains("leave"), "{messages:?}");
}

#[test]
fn removed_keys_do_not_push_values_out() {
    let limits = Limits::default();
    let mut hub = with_rules(&limits, vec![Rule { keys_max: 2, ..Rule::new("q", &limits) }]);
    let put = |hub: &mut Hub, key, removes_key| {
        hub.publish(&Publication { key: Some(key), removes_key, ..Publication::new("q", key) })
            .unwrap();
    };
    put(&mut hub, "live", false);
    put(&mut hub, "b", false);
    put(&mut hub, "b", true);
    put(&mut hub, "c", true);
    put(&mut hub, "d", true);
    let log = hub.topics.at(0).unwrap().log.as_ref().unwrap();
    assert!(log.values.has("live"), "one key has a value, and two may");
}

#[test]
fn silence_waits_for_who_has_yet_to_get_something() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
    flush(&mut hub);
    let turn = |hub: &mut Hub, own: &mut Subscriptions| {
        let mut attends = false;
        for signal in flush(hub) {
            match signal {
                Signal::Matched { found, .. } => hub.subscribe_matched(own, &found).unwrap(),
                Signal::Silent { topic, .. } => hub.let_go(own, topic),
                Signal::Attend(_) => attends = true,
                _ => {}
            }
        }
        attends
    };
    hub.tick(at(10));
    hub.publish(&Publication::new("n.a", "one")).unwrap();
    turn(&mut hub, &mut own);
    for _ in 0..3 {
        turn(&mut hub, &mut own);
    }
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    while hub.attend(&mut own, &mut frames, &mut steps) {}
    let mut got = frames.clone();
    // "two": the connection's socket is full for two seconds.
    hub.publish(&Publication::new("n.a", "two")).unwrap();
    turn(&mut hub, &mut own);
    assert_eq!(pending(&hub, own), b"\x81\x03two");
    for ms in [500, 1_050, 1_100, 1_500, 2_000] {
        hub.tick(at(ms));
        turn(&mut hub, &mut own);
    }
    got.extend(pending(&hub, own));
    hub.publish(&Publication::new("n.a", "three")).unwrap();
    for _ in 0..3 {
        turn(&mut hub, &mut own);
    }
    frames.clear();
    while hub.attend(&mut own, &mut frames, &mut steps) {}
    got.extend(&frames);
    got.extend(pending(&hub, own));
    assert!(String::from_utf8_lossy(&got).contains("two"), "{:?}", String::from_utf8_lossy(&got));
}

#[test]
fn a_topic_that_is_watched_is_forgotten_when_nobody_else_reads_it() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    for named_leaves_late in [false, true] {
        let mut hub = Hub::alone(&limits);
        let (mut monitor, mut guest) = (Subscriptions::default(), Subscriptions::default());
        hub.subscribe(0, &mut monitor, "room.*", &Delivery::default()).unwrap();
        hub.subscribe(1, &mut guest, "room.7", &Delivery::default()).unwrap();
        hub.tick(at(10));
        hub.publish(&Publication::new("room.7", "hi")).unwrap();
        for round in 0..200 {
            hub.tick(at(10 + 100 * round));
            if round == if named_leaves_late { 50 } else { 1 } {
                hub.leave(&mut guest);
            }
            for signal in flush(&mut hub) {
                match signal {
                    Signal::Matched { found, .. } => {
                        hub.subscribe_matched(&mut monitor, &found).unwrap();
                    }
                    Signal::Silent { subscriber: 0, topic } => hub.let_go(&mut monitor, topic),
                    _ => {}
                }
            }
            // The monitor takes all that there is.
            hub_attend(&mut hub, &mut monitor, &mut Vec::new(), &mut Vec::new());
            let bytes = pending(&hub, monitor).len();
            hub.advance(&mut monitor, bytes, |_| ());
        }
        assert_eq!(hub.sizes(), (0, 0), "nobody is in room.7; late: {named_leaves_late}");
    }
}

#[test]
fn values_keep_to_the_budget_and_a_full_shard_sleeps() {
    let limits = Limits { topics_bytes_max: 64 << 10, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "other", &Delivery::default()).unwrap();
    let payload = "x".repeat(1_000);
    for n in 0..1_000 {
        let key = n.to_string();
        let keyed = Publication { key: Some(&key), ..Publication::new("q", payload.as_str()) };
        hub.publish(&keyed).unwrap();
        flush(&mut hub);
    }
    for _ in 0..1_000 {
        flush(&mut hub);
    }
    let (tapes, logs) = hub.held_bytes();
    assert!(
        !hub.needs_flush() && tapes + logs <= limits.topics_bytes_max,
        "needs_flush {} after 1000 idle flushes; held {} of {}",
        hub.needs_flush(),
        tapes + logs,
        limits.topics_bytes_max
    );
}

#[test]
fn a_topic_that_all_have_read_holds_no_chunk() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "t", &Delivery::default()).unwrap();
    flush(&mut hub);
    let payload = "x".repeat(1_000);
    for _ in 0..400 {
        hub.publish(&Publication::new("t", payload.as_str())).unwrap();
    }
    flush(&mut hub);
    let bytes = pending(&hub, own);
    hub.advance(&mut own, bytes.len(), |_| ());
    for _ in 0..10 {
        flush(&mut hub);
        hub.tick(at(100_000));
    }
    assert!(!hub.has_pending(own));
    assert_eq!(hub.held_bytes().0, 0, "bytes on tapes that everybody has read");
}

#[test]
fn a_reader_may_be_ahead_of_the_shard_that_it_comes_to() {
    let home = Hub::home_of("news", 1, 2);
    let far = ShardId(1 - home.0);
    let (mut there, mut here) = (Hub::for_tests(home, 2), Hub::for_tests(far, 2));
    let mut first = Subscriptions::default();
    here.subscribe(0, &mut first, "news", &Delivery::default()).unwrap();
    let exchange = |there: &mut Hub, here: &mut Hub| {
        let mut signals = Vec::new();
        for _ in 0..4 {
            let mut outbox = Outbox::default();
            here.flush(&mut outbox, &mut signals);
            outbox.mails.drain(..).for_each(|(_, mail)| there.receive(far, mail));
            there.flush(&mut outbox, &mut Vec::new());
            outbox.mails.drain(..).for_each(|(_, mail)| here.receive(home, mail));
        }
        signals
    };
    exchange(&mut there, &mut here);
    // A client on the home's shard gets messages 1 to 3 while the mail to the other shard waits.
    let mut client = Subscriptions::default();
    there.subscribe(5, &mut client, "news", &Delivery::default()).unwrap();
    let mut full = Outbox { room: 0, ..Outbox::default() };
    let mut signals = Vec::new();
    there.flush(&mut full, &mut signals);
    let Some(Signal::Subscribed { epoch, .. }) = signals.pop() else { panic!() };
    for _ in 0..3 {
        there.publish(&Publication::new("news", "x")).unwrap();
    }
    there.flush(&mut full, &mut Vec::new());
    assert_eq!(pending(&there, client).len(), 9);
    there.leave(&mut client);
    // It comes back on the other shard.
    let since = Some(Since { epoch, seq: 3 });
    let mut again = Subscriptions::default();
    here.subscribe(6, &mut again, "news", &Delivery { since, ..Delivery::default() }).unwrap();
    let signals = exchange(&mut there, &mut here);
    let told: Vec<_> =
        signals.iter().filter(|s| matches!(s, Signal::Subscribed { subscriber: 6, .. })).collect();
    let told = format!("{told:?}");
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        hub_attend(&mut here, &mut again, &mut frames, &mut steps);
        exchange(&mut there, &mut here);
    }
    frames.extend(pending(&here, again));
    assert_eq!(frames.len(), 0, "it has all three already: {told} {steps:?}");
}

#[test]
fn patterns_count_among_subscriptions() {
    let limits = Limits { subscriptions_max: 4, patterns_max: 1_000, ..Limits::default() };
    let full = Err(HubError::TooManySubscriptions);
    // However many of them are patterns, and whichever come first.
    for patterns in 0..=4 {
        for patterns_first in [false, true] {
            let mut hub = Hub::alone(&limits);
            let mut own = Subscriptions::default();
            let mut names: Vec<String> = (0..4).map(|n| format!("p{n}")).collect();
            names[..patterns].iter_mut().for_each(|name| name.push_str(".*"));
            if !patterns_first {
                names.reverse();
            }
            for name in &names {
                hub.subscribe(0, &mut own, name, &Delivery::default()).unwrap();
            }
            for more in ["a", "a.*"] {
                assert_eq!(hub.subscribe(0, &mut own, more, &Delivery::default()), full);
            }
            assert!(hub.unsubscribe(&mut own, &names[0]));
            assert_eq!(hub.subscribe(0, &mut own, "a", &Delivery::default()), Ok(()));
        }
    }
}

#[test]
fn a_pattern_finds_as_many_topics_as_there_is_room_for() {
    let limits = Limits { subscriptions_max: 6, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let [mut other, mut own] = [Subscriptions::default(); 2];
    let matched = |hub: &mut Hub, other: &mut Subscriptions, own: &mut Subscriptions| {
        let mut refused = 0;
        for signal in flush(hub) {
            if let Signal::Matched { subscriber, found } = signal {
                let subscriptions = if subscriber == 0 { &mut *other } else { &mut *own };
                refused += u32::from(hub.subscribe_matched(subscriptions, &found).is_err());
            }
        }
        refused
    };
    hub.subscribe(0, &mut other, "n.*", &Delivery::default()).unwrap();
    for n in 0..20 {
        hub.publish(&Publication::new(&format!("n.{n}"), "x")).unwrap();
    }
    assert_eq!(matched(&mut hub, &mut other, &mut own), 1, "it is told once");
    assert_eq!(other.len(), 5);
    // Some of those that it is told of it has already.
    for n in 0..3 {
        hub.subscribe(1, &mut own, &format!("n.{n}"), &Delivery::default()).unwrap();
    }
    hub.subscribe(1, &mut own, "n.*", &Delivery::default()).unwrap();
    assert_eq!(matched(&mut hub, &mut other, &mut own), 1, "it is told as well");
    assert_eq!(own.len(), 5);
}

#[test]
fn what_waits_for_a_full_mailbox_is_bounded() {
    let limits = Limits::default();
    let mut there = Hub::new(Setup::for_tests(ShardId(0), 2, &limits));
    let mut here = Hub::new(Setup::for_tests(ShardId(1), 2, &limits));
    let homed = (0..).map(|n| format!("t.{n}")).filter(|n| Hub::home_of(n, 1, 2) == ShardId(0));
    for name in homed.take(1_000) {
        there.publish(&Publication::new(&name, "x")).unwrap();
    }
    let mut own = Subscriptions::default();
    let mut most = 0;
    for _ in 0..20 {
        here.subscribe(0, &mut own, "t.*", &Delivery::default()).unwrap();
        for turn in 0..2 {
            let mut outbox = Outbox::default();
            here.flush(&mut outbox, &mut Vec::new());
            outbox
                .mails
                .drain(..)
                .filter(|m| m.0 == ShardId(0))
                .for_each(|(_, m)| there.receive(ShardId(1), m));
            // The mailbox to `here` is full: it is in a long turn.
            there.flush(&mut Outbox { room: 0, ..Outbox::default() }, &mut Vec::new());
            if turn == 0 {
                here.unsubscribe(&mut own, "t.*");
            }
        }
        most = most.max(there.outgoing[1].len());
    }
    assert!(most <= 4_000, "{most} mails wait, for 1000 topics");
}

#[test]
fn who_reads_already_is_not_told_again() {
    let mut hub = Hub::alone(&Limits::default());
    let mut many = vec![Subscriptions::default(); 1_000];
    for (n, own) in many.iter_mut().enumerate() {
        hub.subscribe(n as u32, own, "q.*", &Delivery::default()).unwrap();
    }
    flush(&mut hub);
    hub.publish(&Publication::new("q.a", "x")).unwrap();
    for _ in 0..3 {
        for signal in flush(&mut hub) {
            if let Signal::Matched { subscriber, found } = signal {
                hub.subscribe_matched(&mut many[subscriber as usize], &found).unwrap();
            }
        }
    }
    // A shard with one reader that comes and goes.
    let mut matched = 0;
    for _ in 0..10 {
        let reader = TopicRef { index: 0, generation: 0 };
        hub.receive(
            ShardId(0),
            Mail::Watch { pattern: "zzz.*".into(), reader: (9, 9), wanted: false },
        );
        hub.interest(ShardId(7), "q.a", reader, false);
        hub.publish(&Publication::new("q.a", "x")).unwrap();
        matched += flush(&mut hub).iter().filter(|s| matches!(s, Signal::Matched { .. })).count();
    }
    assert!(matched == 0, "{matched} needless signals");
}

#[test]
fn a_pattern_goes_on_where_a_slow_subscription_by_name_ended() {
    let limits = Limits { tape_bytes_max: 4 << 10, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    let lane = Delivery { lane: Some(&ENVELOPE), ..Delivery::default() };
    hub.subscribe(0, &mut own, "n.*", &lane).unwrap();
    hub.subscribe(0, &mut own, "n.a", &lane).unwrap();
    flush(&mut hub);
    for n in 0..100 {
        let text = format!("{n} {}", "x".repeat(90));
        hub.publish(&Publication::new("n.a", text.as_str())).unwrap();
        for signal in flush(&mut hub) {
            if let Signal::Matched { found, .. } = signal {
                hub.subscribe_matched(&mut own, &found).unwrap();
            }
        }
    }
    // Nothing was sent yet; it has fallen off. Now it is left to the pattern.
    hub.unsubscribe(&mut own, "n.a");
    hub.publish(&Publication::new("n.a", "last")).unwrap();
    let mut attends = flush(&mut hub).iter().any(|s| matches!(s, Signal::Attend(_)));
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    while attends {
        attends = hub.attend(&mut own, &mut frames, &mut steps);
    }
    frames.extend(pending(&hub, own));
    let text = String::from_utf8_lossy(&frames);
    let accounted = text.contains("G n.a") || text.matches("M n.a").count() == 101;
    assert!(accounted, "neither the messages nor a gap: {text:?} {steps:?}");
}

#[test]
fn the_pattern_that_is_left_delivers_as_it_was_asked_to() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    let turn = |hub: &mut Hub, own: &mut Subscriptions| {
        for _ in 0..3 {
            for signal in flush(hub) {
                if let Signal::Matched { found, .. } = signal {
                    hub.subscribe_matched(own, &found).unwrap();
                }
            }
        }
        let mut frames = Vec::new();
        hub_attend(hub, own, &mut frames, &mut Vec::new());
        let bytes = pending(hub, *own);
        hub.advance(own, bytes.len(), |_| ());
        frames.extend(bytes);
        frames
    };
    let windowed = |window| Delivery { window: Some(window), ..Delivery::default() };
    hub.subscribe(0, &mut own, "n.*", &windowed(1)).unwrap();
    hub.publish(&Publication::new("n.a", "1")).unwrap();
    assert_eq!(turn(&mut hub, &mut own), b"\x81\x011");
    hub.subscribe(0, &mut own, "n.>", &windowed(2)).unwrap();
    for text in ["2", "3", "4"] {
        hub.publish(&Publication::new("n.a", text)).unwrap();
    }
    assert_eq!(turn(&mut hub, &mut own), b"", "its window is that of the older pattern");
    assert!(hub.unsubscribe(&mut own, "n.*"));
    assert_eq!(turn(&mut hub, &mut own), b"\x81\x012\x81\x013");
    // What a pattern has not made goes on as it was.
    hub.subscribe(0, &mut own, "*.a", &windowed(9)).unwrap();
    assert!(hub.unsubscribe(&mut own, "*.a"));
    assert_eq!(turn(&mut hub, &mut own), b"");
    hub.acknowledge(own, "n.a", 3);
    assert_eq!(turn(&mut hub, &mut own), b"\x81\x014");
    assert!(hub.unsubscribe(&mut own, "n.>"));
    assert!(own.is_empty());
}

/// Another connection had the home told of the younger pattern before the older one.
#[test]
fn of_several_patterns_the_first_one_counts_whichever_is_told_of_first() {
    let mut hub = Hub::alone(&Limits::default());
    let [mut other, mut own] = [Subscriptions::default(); 2];
    let windowed = |window| Delivery { window: Some(window), ..Delivery::default() };
    hub.subscribe(1, &mut other, "n.>", &windowed(9)).unwrap();
    flush(&mut hub);
    hub.subscribe(0, &mut own, "n.*", &windowed(1)).unwrap();
    hub.subscribe(0, &mut own, "n.>", &windowed(9)).unwrap();
    for text in ["1", "2"] {
        hub.publish(&Publication::new("n.a", text)).unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..3 {
        for signal in flush(&mut hub) {
            if let Signal::Matched { subscriber: 0, found } = signal {
                hub.subscribe_matched(&mut own, &found).unwrap();
                told.push(found.subscription.0);
            }
        }
    }
    let younger = hub.pattern_for(own, "n.a.b").unwrap();
    assert_eq!(told.first(), Some(&younger));
    let mut frames = Vec::new();
    hub_attend(&mut hub, &mut own, &mut frames, &mut Vec::new());
    assert_eq!(frames, b"\x81\x011", "the window is that of the older pattern");
}

#[test]
fn a_pattern_that_ends_at_once_takes_no_message_from_another() {
    for ending in ["n.*", "n.>"] {
        let mut hub = Hub::alone(&Limits::default());
        let mut own = Subscriptions::default();
        hub.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
        hub.subscribe(0, &mut own, "n.>", &Delivery::default()).unwrap();
        hub.publish(&Publication::new("n.a", "1")).unwrap();
        for signal in flush(&mut hub) {
            if let Signal::Matched { found, .. } = signal {
                hub.subscribe_matched(&mut own, &found).unwrap();
            }
        }
        assert!(hub.unsubscribe(&mut own, ending));
        flush(&mut hub);
        let mut frames = Vec::new();
        hub_attend(&mut hub, &mut own, &mut frames, &mut Vec::new());
        frames.extend(pending(&hub, own));
        assert_eq!(frames, b"\x81\x011", "{ending}");
    }
}

#[test]
fn a_silent_topic_that_goes_from_pattern_to_pattern_is_let_go_of() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let home = Hub::home_of("n.a", 1, 2);
    let far = ShardId(1 - home.0);
    let hub = |shard| Hub::new(Setup::for_tests(shard, 2, &limits));
    let (mut there, mut here) = (hub(home), hub(far));
    let mut own = Subscriptions::default();
    here.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
    let exchange = |there: &mut Hub, here: &mut Hub, own: &mut Subscriptions| {
        let mut signals = Vec::new();
        let mut outbox = Outbox::default();
        here.flush(&mut outbox, &mut signals);
        outbox.mails.drain(..).for_each(|(_, mail)| there.receive(far, mail));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.mails.drain(..).for_each(|(_, mail)| here.receive(home, mail));
        for signal in signals {
            match signal {
                Signal::Matched { found, .. } => here.subscribe_matched(own, &found).unwrap(),
                Signal::Silent { topic, .. } => here.let_go(own, topic),
                _ => {}
            }
        }
    };
    exchange(&mut there, &mut here, &mut own);
    there.publish(&Publication::new("n.a", "x")).unwrap();
    (0..6).for_each(|_| exchange(&mut there, &mut here, &mut own));
    // It does not take the message: it can't let go of the topic.
    for ms in [1_500, 3_000] {
        there.tick(at(ms));
        here.tick(at(ms));
        (0..3).for_each(|_| exchange(&mut there, &mut here, &mut own));
    }
    assert_eq!(own.len(), 1);
    here.subscribe(0, &mut own, "n.>", &Delivery::default()).unwrap();
    assert!(here.unsubscribe(&mut own, "n.*"));
    for round in 0..10 {
        here.tick(at(4_500 + 1_500 * round));
        (0..3).for_each(|_| exchange(&mut there, &mut here, &mut own));
        hub_attend(&mut here, &mut own, &mut Vec::new(), &mut Vec::new());
        let bytes = pending(&here, own).len();
        here.advance(&mut own, bytes, |_| ());
        exchange(&mut there, &mut here, &mut own);
    }
    assert!(own.is_empty(), "it has everything, and more will be told of");
}

#[test]
fn the_largest_number_acknowledges_everything() {
    let mut hub = Hub::alone(&Limits::default());
    assert!(!hub.acknowledge(Subscriptions::default(), "x", u64::MAX));
    let mut own = Subscriptions::default();
    let windowed = Delivery { window: Some(1), ..Delivery::default() };
    hub.subscribe(0, &mut own, "n", &windowed).unwrap();
    flush(&mut hub);
    hub.publish(&Publication::new("n", "x")).unwrap();
    hub.publish(&Publication::new("n", "y")).unwrap();
    flush(&mut hub);
    let bytes = pending(&hub, own);
    hub.advance(&mut own, bytes.len(), |_| ());
    hub.acknowledge(own, "n", u64::MAX);
    assert!(!pending(&hub, own).is_empty(), "acknowledged");
}

#[test]
fn nobody_is_listed_by_a_pattern() {
    let limits = Limits::default();
    let mut hub =
        with_rules(&limits, vec![Rule { members_max: 9, ..Rule::new("room.*", &limits) }]);
    let mut own = Subscriptions::default();
    let listed = Listed { key: "k", name: "n" };
    let result =
        hub.subscribe_as(Caller::Server, 0, &mut own, "room.*", &Delivery::default(), listed);
    assert!(result.is_err(), "{result:?}, but it is on no list");
}

#[test]
fn what_is_gathered_does_not_fall_off_the_log() {
    let limits = Limits { log_messages_max: 100, ..Limits::default() };
    let mut hub = with_rules(&limits, vec![Rule { flush_ms: 1_000, ..Rule::new("n", &limits) }]);
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "n", &Delivery::default()).unwrap();
    flush(&mut hub);
    for ms in 0..500 {
        hub.tick(at(ms));
        hub.publish(&Publication::new("n", "x")).unwrap();
        flush(&mut hub);
    }
    hub.tick(at(1_001));
    flush(&mut hub);
    assert_eq!(pending(&hub, own).len(), 500 * 3, "a reader that was never slow");
}

#[test]
fn who_subscribes_and_publishes_gets_its_own_message() {
    let home = Hub::home_of("news", 1, 2);
    let far = ShardId(1 - home.0);
    let (mut there, mut here) = (Hub::for_tests(home, 2), Hub::for_tests(far, 2));
    let mut own = Subscriptions::default();
    here.subscribe(0, &mut own, "news", &Delivery::default()).unwrap();
    here.publish(&Publication::new("news", "mine")).unwrap();
    let mut outbox = Outbox::default();
    here.flush(&mut outbox, &mut Vec::new());
    outbox.mails.drain(..).for_each(|(_, mail)| there.receive(far, mail));
    there.flush(&mut outbox, &mut Vec::new());
    // Both answers come in one turn.
    outbox.mails.drain(..).for_each(|(_, mail)| here.receive(home, mail));
    let signals = flush(&mut here);
    assert!(matches!(signals[..], [Signal::Subscribed { seq: 0, .. }, Signal::Pending(0)]));
    assert_eq!(pending(&here, own), b"\x81\x04mine");
}

#[test]
fn who_watches_and_publishes_gets_its_own_message() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "news.*", &Delivery::default()).unwrap();
    hub.publish(&Publication::new("news.local", "mine")).unwrap();
    for _ in 0..3 {
        for signal in flush(&mut hub) {
            if let Signal::Matched { found, .. } = signal {
                hub.subscribe_matched(&mut own, &found).unwrap();
            }
        }
    }
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    hub_attend(&mut hub, &mut own, &mut frames, &mut steps);
    frames.extend(pending(&hub, own));
    assert_eq!(frames, b"\x81\x04mine");
}

fn hub_attend(hub: &mut Hub, own: &mut Subscriptions, frames: &mut Vec<u8>, steps: &mut Vec<Step>) {
    while hub.attend(own, frames, steps) {}
}

/// Reads all that there is for two connections, the first by `room.*`; what each got.
fn take_turns(hub: &mut Hub, own: &mut [Subscriptions; 2], takes: [bool; 2]) -> [String; 2] {
    let mut got = [const { String::new() }; 2];
    for _ in 0..4 {
        for signal in flush(hub) {
            match signal {
                Signal::Matched { subscriber, found } => {
                    hub.subscribe_matched(&mut own[subscriber as usize], &found).unwrap();
                }
                Signal::Silent { subscriber, topic } => {
                    hub.let_go(&mut own[subscriber as usize], topic);
                }
                _ => {}
            }
        }
        for number in (0..2).filter(|&number| takes[number]) {
            let (own, mut frames) = (&mut own[number], Vec::new());
            hub_attend(hub, own, &mut frames, &mut Vec::new());
            frames.extend(pending(hub, *own));
            let bytes = pending(hub, *own).len();
            hub.advance(own, bytes, |_| ());
            got[number] += &String::from_utf8_lossy(&frames);
        }
    }
    got
}

#[test]
fn who_has_let_go_hears_of_a_topic_that_its_shard_has_read_on() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    // Another reads it by name: from before it let go, from after that, or it has not got
    // all of it, so that it keeps it.
    for case in ["before", "after", "behind"] {
        let mut hub = Hub::alone(&limits);
        let mut own = [Subscriptions::default(); 2];
        let by_name = |hub: &mut Hub, own: &mut [Subscriptions; 2]| {
            hub.subscribe(1, &mut own[1], "room.7", &Delivery::default()).unwrap();
        };
        hub.tick(at(10));
        hub.subscribe(0, &mut own[0], "room.*", &Delivery::default()).unwrap();
        if case == "behind" {
            hub.subscribe(1, &mut own[1], "room.>", &Delivery::default()).unwrap();
        }
        take_turns(&mut hub, &mut own, [true, true]);
        hub.publish(&Publication::new("room.7", "one")).unwrap();
        let got = take_turns(&mut hub, &mut own, [true, case != "behind"]);
        assert!(got[0].ends_with("one"), "{case}: {got:?}");
        let mut ms = 500;
        while !own[0].is_empty() {
            ms += 100;
            assert!(ms < 4_000, "{case}: it never lets go");
            hub.tick(at(ms));
            take_turns(&mut hub, &mut own, [true, case != "behind"]);
        }
        if case == "before" {
            by_name(&mut hub, &mut own);
            take_turns(&mut hub, &mut own, [true, true]);
        } else if case == "after" {
            by_name(&mut hub, &mut own);
        }
        hub.publish(&Publication::new("room.7", "two")).unwrap();
        let got = take_turns(&mut hub, &mut own, [true, true]);
        assert!(got[0].ends_with("two"), "{case}: {got:?}");
        assert!(got[1].ends_with("two"), "{case}: {got:?}");
    }
}

#[test]
fn who_comes_to_a_pattern_hears_of_a_topic_that_was_silent_under_another_name() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = [Subscriptions::default(); 2];
    // Somebody watches the pattern all the time.
    for name in ["room.*", "room.7"] {
        hub.subscribe(1, &mut own[1], name, &Delivery::default()).unwrap();
    }
    hub.publish(&Publication::new("room.7", "one")).unwrap();
    for ms in (500..4_000).step_by(500) {
        hub.tick(at(ms));
        take_turns(&mut hub, &mut own, [true, true]);
    }
    hub.subscribe(0, &mut own[0], "room.*", &Delivery::default()).unwrap();
    take_turns(&mut hub, &mut own, [true, true]);
    hub.publish(&Publication::new("room.7", "two")).unwrap();
    let got = take_turns(&mut hub, &mut own, [true, true]);
    assert!(got[0].ends_with("two") && got[1].ends_with("two"), "{got:?}");
}

#[test]
fn what_is_gathered_is_sent_on_before_other_shards_fall_off() {
    let limits = Limits { log_messages_max: 100, ..Limits::default() };
    let home = Hub::home_of("q", 1, 2);
    let far = ShardId(1 - home.0);
    let rule = Rule { flush_ms: 1_000, ..Rule::new("q", &limits) };
    let rules = Arc::new(Rules::new(vec![rule], &limits).unwrap());
    let hub = |shard| {
        Hub::new(Setup { rules: Arc::clone(&rules), ..Setup::for_tests(shard, 2, &limits) })
    };
    let (mut there, mut here) = (hub(home), hub(far));
    let mut own = Subscriptions::default();
    here.subscribe(0, &mut own, "q", &Delivery::default()).unwrap();
    let mut outbox = Outbox::default();
    let mut exchange = |there: &mut Hub, here: &mut Hub| {
        let mut gaps = 0;
        here.flush(&mut outbox, &mut Vec::new());
        outbox.mails.drain(..).for_each(|(_, mail)| there.receive(far, mail));
        there.flush(&mut outbox, &mut Vec::new());
        for (_, mail) in outbox.mails.drain(..) {
            gaps += usize::from(matches!(mail, Mail::Gap { .. }));
            here.receive(home, mail);
        }
        gaps
    };
    exchange(&mut there, &mut here);
    let (mut gaps, mut turns_with_mail) = (0, 0);
    for round in 0..50 {
        for _ in 0..10 {
            there.publish(&Publication::new("q", "x")).unwrap();
        }
        let before = pending(&here, own).len();
        gaps += exchange(&mut there, &mut here);
        turns_with_mail += usize::from(pending(&here, own).len() > before);
        there.tick(at(round));
    }
    assert_eq!(gaps, 0, "it fell off the log");
    assert!((5..=10).contains(&turns_with_mail), "gathered as far as may be: {turns_with_mail}");
}

#[test]
fn histories_go_before_values_however_many_topics_there_are() {
    // Two keys of each topic, the second over and over.
    let filled = |topics_bytes_max| {
        let mut hub = Hub::alone(&Limits { topics_bytes_max, ..Limits::default() });
        for number in 0..TOPICS * 7 {
            let name = format!("t.{}", number % TOPICS);
            let key = if number < TOPICS { "first" } else { "second" };
            let keyed = Publication { key: Some(key), ..Publication::new(&name, &[7; 100][..]) };
            hub.publish(&keyed).unwrap();
        }
        hub
    };
    const TOPICS: usize = 5_000;
    let all = filled(usize::MAX / 2).held_bytes().1;
    // More has to go than a look at some of them finds.
    let mut hub = filled(all - all / 5);
    for _ in 0..20 {
        flush(&mut hub);
    }
    assert!(hub.held_bytes().1 <= all - all / 5, "{:?} of {all}", hub.held_bytes());
    for topic in 0..TOPICS {
        let index = hub.names[&*format!("t.{topic}")];
        let log = hub.topics.at(index).unwrap().log.as_ref().unwrap();
        assert_eq!(log.values.count(), 2, "topic {topic} lost a value, and histories are left");
    }
}
