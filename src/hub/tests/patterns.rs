//! Subscriptions to patterns: bugs that occurred once, each in its smallest form.

use super::*;
use crate::testing::ENVELOPE;

#[test]
fn a_topic_is_not_released_before_its_subscriber_has_everything() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
    flush(&mut hub);
    hub.tick(at(10));
    hub.publish(&Publication::new("n.a", "one")).unwrap();
    flush(&mut hub);
    for _ in 0..3 {
        flush(&mut hub);
    }
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    while hub.catch_up(&mut own, &mut frames, &mut steps) {}
    let mut got = frames.clone();
    // "two": the connection's socket is full for two seconds.
    hub.publish(&Publication::new("n.a", "two")).unwrap();
    flush(&mut hub);
    assert_eq!(pending(&hub, own), b"\x81\x03two");
    for ms in [500, 1_050, 1_100, 1_500, 2_000] {
        hub.tick(at(ms));
        flush(&mut hub);
    }
    got.extend(pending(&hub, own));
    hub.publish(&Publication::new("n.a", "three")).unwrap();
    for _ in 0..3 {
        flush(&mut hub);
    }
    frames.clear();
    while hub.catch_up(&mut own, &mut frames, &mut steps) {}
    got.extend(&frames);
    got.extend(pending(&hub, own));
    assert!(String::from_utf8_lossy(&got).contains("two"), "{:?}", String::from_utf8_lossy(&got));
}

#[test]
fn a_watched_topic_is_forgotten_when_nobody_else_reads_it() {
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
            flush(&mut hub);
            // The monitor takes all that there is.
            catch_up_all(&mut hub, &mut monitor, &mut Vec::new(), &mut Vec::new());
            let bytes = pending(&hub, monitor).len();
            hub.advance(&mut monitor, bytes, |_| ());
        }
        assert_eq!(hub.sizes(), (0, 0), "nobody is in room.7; late: {named_leaves_late}");
    }
}

#[test]
fn patterns_count_towards_the_limit_of_subscriptions() {
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
fn a_pattern_matches_topics_up_to_the_limit() {
    let limits = Limits { subscriptions_max: 6, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let [mut other, mut own] = [Subscriptions::default(); 2];
    let refused = |hub: &mut Hub| {
        let signals = [flush(hub), flush(hub)].concat();
        signals.iter().filter(|signal| matches!(signal, Signal::Refused { .. })).count()
    };
    hub.subscribe(0, &mut other, "n.*", &Delivery::default()).unwrap();
    for n in 0..20 {
        hub.publish(&Publication::new(&format!("n.{n}"), "x")).unwrap();
    }
    assert_eq!(refused(&mut hub), 1, "it is refused once");
    assert_eq!(hub.count(other), 5);
    // The connection is subscribed to some of the matching topics already.
    for n in 0..3 {
        hub.subscribe(1, &mut own, &format!("n.{n}"), &Delivery::default()).unwrap();
    }
    hub.subscribe(1, &mut own, "n.*", &Delivery::default()).unwrap();
    assert_eq!(refused(&mut hub), 1, "it is refused as well");
    assert_eq!(hub.count(own), 5);
}

#[test]
fn the_messages_that_wait_for_a_full_mailbox_are_bounded() {
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
                .messages
                .drain(..)
                .filter(|m| m.0 == ShardId(0))
                .for_each(|(_, m)| there.receive(ShardId(1), m));
            // The mailbox to `here` is full, because `here` is in a long turn.
            there.flush(&mut Outbox { room: 0, ..Outbox::default() }, &mut Vec::new());
            if turn == 0 {
                here.unsubscribe(&mut own, "t.*");
            }
        }
        most = most.max(there.outgoing.len(ShardId(1)));
    }
    assert!(most <= 4_000, "{most} messages wait, for 1000 topics");
}

#[test]
fn a_subscriber_that_reads_a_topic_is_not_notified_of_it_again() {
    let mut hub = Hub::alone(&Limits::default());
    let mut many = vec![Subscriptions::default(); 1_000];
    for (n, own) in many.iter_mut().enumerate() {
        hub.subscribe(n as u32, own, "q.*", &Delivery::default()).unwrap();
    }
    flush(&mut hub);
    hub.publish(&Publication::new("q.a", "x")).unwrap();
    (0..3).for_each(|_| drop(flush(&mut hub)));
    // A shard whose only reader subscribes and unsubscribes.
    let mut notified = 0;
    for _ in 0..10 {
        let reader = TopicRef { index: 0, generation: 0 };
        hub.receive(
            ShardId(0),
            HubMessage::Watch { pattern: "zzz.*".into(), reader: (9, 9), wanted: false },
        );
        hub.receive(
            ShardId(7),
            HubMessage::Interest { topic: "q.a".into(), reader, wanted: false },
        );
        hub.publish(&Publication::new("q.a", "x")).unwrap();
        notified += usize::from(hub.outgoing.has_work())
            + usize::from(hub.patterns.has_work() || hub.homes.watchers.is_scanning());
        flush(&mut hub);
    }
    assert!(notified == 0, "{notified} needless notifications");
}

#[test]
fn a_pattern_continues_where_a_slow_subscription_by_name_ended() {
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
        flush(&mut hub);
    }
    // Nothing was sent yet, and the subscription by name has fallen behind its tape. Now the
    // pattern takes over.
    hub.unsubscribe(&mut own, "n.a");
    hub.publish(&Publication::new("n.a", "last")).unwrap();
    let mut catches_up = flush(&mut hub).iter().any(|s| matches!(s, Signal::CatchUp(_)));
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    while catches_up {
        catches_up = hub.catch_up(&mut own, &mut frames, &mut steps);
    }
    frames.extend(pending(&hub, own));
    let text = String::from_utf8_lossy(&frames);
    let accounted = text.contains("G n.a") || text.matches("M n.a").count() == 101;
    assert!(accounted, "neither the messages nor a gap: {text:?} {steps:?}");
}

#[test]
fn the_remaining_pattern_delivers_with_its_own_window() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    let turn = |hub: &mut Hub, own: &mut Subscriptions| {
        (0..3).for_each(|_| drop(flush(hub)));
        let mut frames = Vec::new();
        catch_up_all(hub, own, &mut frames, &mut Vec::new());
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
    // A subscription that a pattern has not made continues when that pattern ends.
    hub.subscribe(0, &mut own, "*.a", &windowed(9)).unwrap();
    assert!(hub.unsubscribe(&mut own, "*.a"));
    assert_eq!(turn(&mut hub, &mut own), b"");
    hub.acknowledge(own, "n.a", 3);
    assert_eq!(turn(&mut hub, &mut own), b"\x81\x014");
    assert!(hub.unsubscribe(&mut own, "n.>"));
    assert!(own.is_empty());
}

/// Because of another connection, the home knows the younger pattern before the older one.
#[test]
fn the_oldest_of_several_patterns_counts_in_whatever_order_the_home_knows_them() {
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
    (0..3).for_each(|_| drop(flush(&mut hub)));
    let mut frames = Vec::new();
    catch_up_all(&mut hub, &mut own, &mut frames, &mut Vec::new());
    assert_eq!(frames, b"\x81\x011", "the window is that of the older pattern");
}

#[test]
fn a_pattern_that_may_not_have_a_topic_leaves_it_to_one_that_may() {
    let limits = Limits::default();
    let mut hub =
        with_rules(&limits, vec![Rule { allow_latest: false, ..Rule::new("n.*", &limits) }]);
    let mut own = Subscriptions::default();
    let latest = Delivery { mode: Mode::Latest, ..Delivery::default() };
    hub.subscribe(0, &mut own, ">", &latest).unwrap();
    hub.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
    hub.publish(&Publication::new("n.a", "1")).unwrap();
    (0..3).for_each(|_| drop(flush(&mut hub)));
    let mut frames = Vec::new();
    catch_up_all(&mut hub, &mut own, &mut frames, &mut Vec::new());
    frames.extend(pending(&hub, own));
    assert_eq!(frames, b"\x81\x011");
}

#[test]
fn a_pattern_that_ends_at_once_takes_no_message_from_another() {
    for ending in ["n.*", "n.>"] {
        let mut hub = Hub::alone(&Limits::default());
        let mut own = Subscriptions::default();
        hub.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
        hub.subscribe(0, &mut own, "n.>", &Delivery::default()).unwrap();
        hub.publish(&Publication::new("n.a", "1")).unwrap();
        flush(&mut hub);
        assert!(hub.unsubscribe(&mut own, ending));
        flush(&mut hub);
        let mut frames = Vec::new();
        catch_up_all(&mut hub, &mut own, &mut frames, &mut Vec::new());
        frames.extend(pending(&hub, own));
        assert_eq!(frames, b"\x81\x011", "{ending}");
    }
}

#[test]
fn an_idle_topic_that_moves_from_pattern_to_pattern_is_released() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let home = Hub::home_of("n.a", 1, 2);
    let far = ShardId(1 - home.0);
    let hub = |shard| Hub::new(Setup::for_tests(shard, 2, &limits));
    let (mut there, mut here) = (hub(home), hub(far));
    let mut own = Subscriptions::default();
    here.subscribe(0, &mut own, "n.*", &Delivery::default()).unwrap();
    let exchange = |there: &mut Hub, here: &mut Hub| {
        let mut outbox = Outbox::default();
        here.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| there.receive(far, message));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| here.receive(home, message));
    };
    exchange(&mut there, &mut here);
    there.publish(&Publication::new("n.a", "x")).unwrap();
    (0..6).for_each(|_| exchange(&mut there, &mut here));
    // The subscriber does not take the message, so it can't release the topic.
    for ms in [1_500, 3_000] {
        there.tick(at(ms));
        here.tick(at(ms));
        (0..3).for_each(|_| exchange(&mut there, &mut here));
    }
    assert_eq!(here.count(own), 1);
    here.subscribe(0, &mut own, "n.>", &Delivery::default()).unwrap();
    assert!(here.unsubscribe(&mut own, "n.*"));
    for round in 0..10 {
        here.tick(at(4_500 + 1_500 * round));
        (0..3).for_each(|_| exchange(&mut there, &mut here));
        catch_up_all(&mut here, &mut own, &mut Vec::new(), &mut Vec::new());
        let bytes = pending(&here, own).len();
        here.advance(&mut own, bytes, |_| ());
        exchange(&mut there, &mut here);
    }
    assert_eq!(here.count(own), 0, "it has everything, and will be notified of more");
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
    assert!(result.is_err(), "{result:?}, but a pattern has no list of members");
}

#[test]
fn a_pattern_subscriber_that_publishes_gets_its_own_message() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = Subscriptions::default();
    hub.subscribe(0, &mut own, "news.*", &Delivery::default()).unwrap();
    hub.publish(&Publication::new("news.local", "mine")).unwrap();
    (0..3).for_each(|_| drop(flush(&mut hub)));
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    catch_up_all(&mut hub, &mut own, &mut frames, &mut steps);
    frames.extend(pending(&hub, own));
    assert_eq!(frames, b"\x81\x04mine");
}

#[test]
fn a_subscriber_that_released_a_topic_is_notified_although_its_shard_still_reads_it() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    // Another connection reads the topic by name since before the release or since after it, or
    // keeps it because it has yet to get some of its messages.
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
        while hub.count(own[0]) > 0 {
            ms += 100;
            assert!(ms < 4_000, "{case}: the topic is never released");
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
fn a_new_pattern_subscriber_gets_a_topic_that_another_reader_knew_as_idle() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut own = [Subscriptions::default(); 2];
    // Another connection watches the pattern all the time.
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

/// A ticker restarts: all its topics appear at once, and many connections read them by a
/// pattern. They are subscribed a few with each flush, and miss nothing.
#[test]
fn many_readers_meet_many_topics_in_steps() {
    const READERS: u32 = 100;
    const TOPICS: usize = 300;
    const WORK: Work = 100 * work::UNIT;
    let mut hub = Hub::alone(&Limits::default());
    let mut readers = vec![Subscriptions::default(); READERS as usize];
    for (number, own) in readers.iter_mut().enumerate() {
        hub.subscribe(number as u32, own, "q.*", &Delivery::default()).unwrap();
    }
    flush(&mut hub);
    for number in 0..TOPICS {
        hub.publish(&Publication::new(&format!("q.{number}"), "first")).unwrap();
    }
    let (mut flushes, mut most) = (0, 0);
    while hub.needs_flush() {
        let before = hub.work();
        hub.flush_within(WORK, &mut Outbox::default(), &mut Vec::new());
        // Forwarding is charged to the publisher.
        if flushes > 0 {
            most = most.max(hub.work() - before);
        }
        flushes += 1;
        assert!(flushes < 10_000, "it never ends");
    }
    assert!(flushes > 100, "{flushes} flushes");
    assert!(most < 5 * WORK, "a flush of {most}");
    for own in &mut readers {
        assert_eq!(hub.count(*own), TOPICS);
        let mut frames = Vec::new();
        while hub.catch_up(own, &mut frames, &mut Vec::new()) {}
        frames.extend(pending(&hub, *own));
        let bytes = pending(&hub, *own).len();
        hub.advance(own, bytes, |_| ());
        while hub.has_pending(*own) {
            let more = pending(&hub, *own);
            hub.advance(own, more.len(), |_| ());
            frames.extend(more);
        }
        assert_eq!(frames.len(), TOPICS * b"\x81\x05first".len(), "each message, once");
    }
    // They leave in steps too.
    for own in &mut readers {
        hub.leave(own);
    }
    assert!(hub.sizes().1 > 0);
    while hub.needs_flush() {
        flush(&mut hub);
    }
    assert_eq!(hub.sizes().1, 0);
}

/// New topics beside patterns that do not match them: each is found by its name.
#[test]
fn patterns_that_do_not_match_cost_a_new_topic_nothing() {
    let work = |patterns: usize| {
        let limits = Limits { patterns_per_connection_max: 1_000, ..Limits::default() };
        let mut hub = Hub::alone(&limits);
        let mut own = Subscriptions::default();
        for number in 0..patterns {
            hub.subscribe(0, &mut own, &format!("p{number}.*"), &Delivery::default()).unwrap();
        }
        flush(&mut hub);
        let before = hub.work();
        for number in 0..1_000 {
            hub.publish(&Publication::new(&format!("new.{number}"), "x")).unwrap();
        }
        flush(&mut hub);
        hub.work() - before
    };
    let (few, many) = (work(1), work(1_000));
    assert!(many < few + few / 10, "{few} beside one pattern, {many} beside a thousand");
}

/// A new topic costs its home more than a message does. The publisher is charged for it.
#[test]
fn a_publisher_owes_for_topics_that_it_creates_on_other_shards() {
    let hub = |shard| Hub::for_tests(ShardId(shard), 2);
    let (mut there, mut here) = (hub(0), hub(1));
    let connection = ConnectionId { shard: ShardId(1), index: 3, generation: 4 };
    let receipt = Some(Receipt { connection, token: None, network: 9 });
    let names: Vec<String> = (0..).map(|number| format!("t.{number}")).take(200).collect();
    let homed = names.iter().filter(|name| Hub::home_of(name, 1, 2) == ShardId(0));
    let homed: Vec<&String> = homed.collect();
    let mut owed = Vec::new();
    for _ in 0..2 {
        for name in &homed {
            here.publish(&Publication { receipt, ..Publication::new(name, "x") }).unwrap();
        }
        let mut outbox = Outbox::default();
        here.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| there.receive(ShardId(1), message));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| here.receive(ShardId(0), message));
        let owes = |signal| match signal {
            Signal::Debt { connection: debtor, work } if debtor == connection => Some(work),
            _ => None,
        };
        owed.push(flush(&mut here).into_iter().filter_map(owes).sum::<Work>());
    }
    let made = homed.len() as u64 * work::TOPIC;
    assert!(owed[0] > made / 2 && owed[0] < made * 2, "{} owed for {made}", owed[0]);
    assert_eq!(owed[1], 0, "second messages cost no more than their charge");
}
