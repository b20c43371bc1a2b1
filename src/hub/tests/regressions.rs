//! Bugs that occurred once, each in its smallest form.

use super::*;

/// Names of topics whose home, of two shards, is this.
fn names_homed_at(home: ShardId, count: usize) -> Vec<String> {
    let names = (0..99).map(|number| format!("t{number}"));
    names.filter(|name| Hub::home_of(name, 1, 2) == home).take(count).collect()
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
        // enter(): the send of what is pending, then the tick, then messages, then the flush.
        let bytes = pending(&hub, own);
        got += hub.advance(&mut own, bytes.len(), |_| ());
        hub.tick(at(ms));
        hub.publish(&Publication::new("q", "x")).unwrap();
        flush(&mut hub);
    }
    assert!(got >= 90, "{got} of about 100 updates arrived");
}

#[test]
fn members_that_left_take_no_place_on_the_list() {
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
        let index = hub.topics.find("$presence.lobby").unwrap();
        let log = &hub.topics.home(index).unwrap().log;
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
    let log = &hub.topics.home(0).unwrap().log;
    assert!(log.values.has("live"), "one key has a value, and two may");
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
fn a_reader_that_reconnects_may_be_ahead_of_its_new_shard() {
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
            outbox.messages.drain(..).for_each(|(_, message)| there.receive(far, message));
            there.flush(&mut outbox, &mut Vec::new());
            outbox.messages.drain(..).for_each(|(_, message)| here.receive(home, message));
        }
        signals
    };
    exchange(&mut there, &mut here);
    // A client on the home's shard gets messages 1 to 3, which wait for room to the other shard.
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
    // It reconnects to the other shard.
    let since = Some(Since { epoch, seq: 3 });
    let mut again = Subscriptions::default();
    here.subscribe(6, &mut again, "news", &Delivery { since, ..Delivery::default() }).unwrap();
    let signals = exchange(&mut there, &mut here);
    let answers: Vec<_> =
        signals.iter().filter(|s| matches!(s, Signal::Subscribed { subscriber: 6, .. })).collect();
    let answers = format!("{answers:?}");
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        catch_up_all(&mut here, &mut again, &mut frames, &mut steps);
        exchange(&mut there, &mut here);
    }
    frames.extend(pending(&here, again));
    assert_eq!(frames.len(), 0, "it has all three already: {answers} {steps:?}");
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
fn a_batch_stays_on_the_log_until_it_is_forwarded() {
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
fn a_subscriber_that_publishes_gets_its_own_message() {
    let home = Hub::home_of("news", 1, 2);
    let far = ShardId(1 - home.0);
    let (mut there, mut here) = (Hub::for_tests(home, 2), Hub::for_tests(far, 2));
    let mut own = Subscriptions::default();
    here.subscribe(0, &mut own, "news", &Delivery::default()).unwrap();
    here.publish(&Publication::new("news", "mine")).unwrap();
    let mut outbox = Outbox::default();
    here.flush(&mut outbox, &mut Vec::new());
    outbox.messages.drain(..).for_each(|(_, message)| there.receive(far, message));
    there.flush(&mut outbox, &mut Vec::new());
    // Both answers come in one turn.
    outbox.messages.drain(..).for_each(|(_, message)| here.receive(home, message));
    let signals = flush(&mut here);
    assert!(matches!(signals[..], [Signal::Subscribed { seq: 0, .. }, Signal::Pending(0), ..]));
    assert_eq!(pending(&here, own), b"\x81\x04mine");
}

#[test]
fn a_batch_is_forwarded_before_other_shards_fall_behind_the_log() {
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
        outbox.messages.drain(..).for_each(|(_, message)| there.receive(far, message));
        there.flush(&mut outbox, &mut Vec::new());
        for (_, message) in outbox.messages.drain(..) {
            gaps += usize::from(matches!(message, HubMessage::Gap { .. }));
            here.receive(home, message);
        }
        gaps
    };
    exchange(&mut there, &mut here);
    let (mut gaps, mut turns_with_messages) = (0, 0);
    for round in 0..50 {
        for _ in 0..10 {
            there.publish(&Publication::new("q", "x")).unwrap();
        }
        let before = pending(&here, own).len();
        gaps += exchange(&mut there, &mut here);
        turns_with_messages += usize::from(pending(&here, own).len() > before);
        there.tick(at(round));
    }
    assert_eq!(gaps, 0, "the shard fell behind the log");
    assert!(
        (5..=10).contains(&turns_with_messages),
        "batched up to the limit: {turns_with_messages}"
    );
}

#[test]
fn histories_are_evicted_before_values_however_many_topics_there_are() {
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
    // More is to be evicted than a look at some of the topics finds.
    let mut hub = filled(all - all / 5);
    for _ in 0..20 {
        flush(&mut hub);
    }
    assert!(hub.held_bytes().1 <= all - all / 5, "{:?} of {all}", hub.held_bytes());
    for topic in 0..TOPICS {
        let index = hub.topics.find(&format!("t.{topic}")).unwrap();
        let log = &hub.topics.home(index).unwrap().log;
        assert_eq!(log.values.count(), 2, "topic {topic} lost a value, and histories are left");
    }
}

/// A reader with policy `close` that stalls in each way of catching up.
#[test]
fn a_subscriber_that_stalls_while_it_catches_up_is_closed_and_delays_nobody() {
    let limits =
        Limits { tape_bytes_max: 16 << 10, replay_bytes_max: 1 << 10, ..Limits::default() };
    let close = Some(SlowReader::Close);
    for (delivery, name) in [
        (Delivery { slow_reader: close, snapshot: true, ..Delivery::default() }, "snapshot"),
        (Delivery { slow_reader: close, ..Delivery::default() }, "since"),
        (Delivery { slow_reader: close, window: Some(2), ..Delivery::default() }, "no ack"),
        (Delivery { mode: Mode::Latest, snapshot: true, ..Delivery::default() }, "latest"),
        (
            Delivery {
                slow_reader: Some(SlowReader::Conflate),
                snapshot: true,
                ..Delivery::default()
            },
            "conflate",
        ),
    ] {
        let mut hub = Hub::alone(&limits);
        let mut own = Subscriptions::default();
        let publish = |hub: &mut Hub, number: usize| {
            let key = (number % 50).to_string();
            let keyed = Publication { key: Some(&key), ..Publication::new("q", &[7; 100][..]) };
            hub.publish(&keyed).unwrap();
            flush(hub)
        };
        for number in 0..60 {
            publish(&mut hub, number);
        }
        let epoch = hub.topics.home(0).unwrap().log.epoch;
        let is_since = matches!(name, "since" | "no ack");
        let since = is_since.then_some(Since { epoch, seq: 3 });
        hub.subscribe(7, &mut own, "q", &Delivery { since, ..delivery }).unwrap();
        flush(&mut hub);
        // It takes one portion, and nothing more.
        hub.catch_up(&mut own, &mut Vec::new(), &mut Vec::new());
        let mut signals = Vec::new();
        for number in 0..1_000 {
            signals.extend(publish(&mut hub, number));
        }
        let is_closed = signals.contains(&Signal::FellBehind(7));
        assert_eq!(is_closed, delivery.slow_reader == close, "{name}");
        assert_eq!(hub.held_bytes().0, 0, "{name}: it keeps the tape, {:?}", hub.held_bytes());
        if is_closed {
            // A subscription that is asked for more before it is closed reports the same.
            let mut steps = Vec::new();
            hub.catch_up(&mut own, &mut Vec::new(), &mut steps);
            assert_eq!(steps, [Step::FellBehind], "{name}");
        }
    }
    // A reader that takes its portions is not closed, however many messages come meanwhile.
    let mut hub = Hub::alone(&Limits { replay_bytes_max: 4 << 10, ..limits });
    let mut own = Subscriptions::default();
    for _ in 0..300 {
        hub.publish(&Publication::new("q", &[7; 100][..])).unwrap();
        flush(&mut hub);
    }
    let epoch = hub.topics.home(0).unwrap().log.epoch;
    let since = Some(Since { epoch, seq: 0 });
    let delivery = Delivery { slow_reader: close, since, ..Delivery::default() };
    hub.subscribe(7, &mut own, "q", &delivery).unwrap();
    flush(&mut hub);
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    let mut published = 300;
    for round in 0..1_000 {
        hub.catch_up(&mut own, &mut frames, &mut steps);
        // Each in a turn of its own, and never as many as the tape may hold.
        for _ in 0..round % 8 {
            published += 1;
            hub.publish(&Publication::new("q", &[7; 100][..])).unwrap();
            assert!(!flush(&mut hub).contains(&Signal::FellBehind(7)));
        }
        let sent = pending(&hub, own);
        hub.advance(&mut own, sent.len(), |_| ());
        frames.extend(sent);
    }
    assert_eq!(frames.len(), published * 102);
}

/// The home forgets old removals. A reader that reconnects after that gets a snapshot, which
/// has the values of other keys of that time.
#[test]
fn the_last_value_arrives_although_removals_have_aged_out() {
    for policy in [SlowReader::Conflate, SlowReader::Gap] {
        let limits = Limits { tape_bytes_max: 1 << 10, ..Limits::default() };
        let rule = Rule { retention_ms: 10, ..Rule::new("q", &limits) };
        let mut hub = with_rules(&limits, vec![rule]);
        let mut own = Subscriptions::default();
        let mode = if policy == SlowReader::Gap { Mode::Latest } else { Mode::All };
        let slow_reader = (mode == Mode::All).then_some(policy);
        let delivery = Delivery { mode, slow_reader, ..Delivery::default() };
        hub.subscribe(0, &mut own, "q", &delivery).unwrap();
        flush(&mut hub);
        let put = |hub: &mut Hub, key: &str, text: &str, removes_key| {
            let publication = Publication::new("q", text);
            hub.publish(&Publication { key: Some(key), removes_key, ..publication }).unwrap();
            flush(hub);
        };
        put(&mut hub, "A", "the value of A", false);
        put(&mut hub, "B", "the value of B", false);
        put(&mut hub, "B", "no more", true);
        for _ in 0..40 {
            put(&mut hub, "C", &"c".repeat(60), false);
        }
        hub.tick(at(1_000));
        put(&mut hub, "C", "the value of C", false);
        let (mut frames, mut steps) = (Vec::new(), Vec::new());
        catch_up_all(&mut hub, &mut own, &mut frames, &mut steps);
        let text = String::from_utf8_lossy(&frames);
        assert!(text.contains("the value of A"), "{policy:?}: {steps:?}");
        assert!(text.contains("the value of C") && !text.contains("the value of B"), "{policy:?}");
        let is_end = |step: &&Step| matches!(step, Step::Marked { mark, .. } if matches!(mark, Mark::SnapshotEnd { .. }));
        assert_eq!(steps.iter().filter(is_end).count(), 1, "{policy:?}: {steps:?}");
    }
}

/// A topic that always has more to send than there is room for leaves room for others.
#[test]
fn a_busy_topic_leaves_room_for_quiet_ones() {
    let home = ShardId(0);
    let names = names_homed_at(home, 3);
    let (mut there, mut here) = (Hub::for_tests(home, 2), Hub::for_tests(ShardId(1), 2));
    let mut own = Subscriptions::default();
    for name in &names {
        here.subscribe(0, &mut own, name, &Delivery::default()).unwrap();
    }
    let mut outbox = Outbox::default();
    here.flush(&mut outbox, &mut Vec::new());
    outbox.messages.drain(..).for_each(|(_, message)| there.receive(ShardId(1), message));
    there.flush(&mut outbox, &mut Vec::new());
    outbox.messages.drain(..).for_each(|(_, message)| here.receive(home, message));
    let mut quiet_after = None;
    for turn in 0..50 {
        for _ in 0..3 {
            there.publish(&Publication::new(&names[0], "hot")).unwrap();
        }
        if turn == 5 {
            there.publish(&Publication::new(&names[1], "quiet")).unwrap();
            there.publish(&Publication::new(&names[2], "quiet")).unwrap();
        }
        let mut outbox = Outbox { room: 1, ..Outbox::default() };
        there.flush(&mut outbox, &mut Vec::new());
        for (_, message) in outbox.messages {
            if matches!(&message, HubMessage::Entry { entry, .. } if &entry.payload[..] == b"quiet")
            {
                quiet_after = Some(turn);
            }
        }
    }
    assert!(quiet_after.is_some_and(|turn| turn < 10), "{quiet_after:?}");
}

/// The newest message of each topic can't be evicted. Refusals bound these messages.
#[test]
fn the_newest_messages_keep_to_the_budget() {
    let limits = Limits { topics_bytes_max: 1 << 20, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut refused = 0;
    for _ in 0..3 {
        for number in 0..200 {
            let name = format!("t.{number}");
            let published = hub.publish(&Publication::new(&name, &[7; 20_000][..]));
            refused += usize::from(published == Err(HubError::OverBudget));
            assert!(published.is_ok() || hub.topics.find(&name).is_some() == (number < 50));
            flush(&mut hub);
            assert!(hub.held_bytes().1 <= limits.topics_bytes_max + 2 * 21_000);
        }
    }
    assert!(refused > 300, "{refused}");
    // A large message that removes a key is refused as well.
    let removal = Publication { removes_key: true, ..Publication::new("t.new", &[7; 20_000][..]) };
    assert_eq!(hub.publish(&removal), Err(HubError::OverBudget));
    let removal = Publication { removes_key: true, ..Publication::new("t.0", "") };
    assert!(hub.publish(&removal).is_ok());
    flush(&mut hub);
    // A topic with a message keeps its place, and a smaller message finds room.
    assert!(hub.publish(&Publication::new("t.0", &[8; 20_000][..])).is_ok());
    flush(&mut hub);
    // Memory that is released is used again.
    hub.tick(at(3_600_000));
    // There is no flush: nothing is fresh, so a shard would not flush either.
    assert!(!hub.needs_flush() && !hub.is_fresh());
    assert!(hub.publish(&Publication::new("t.199", &[7; 20_000][..])).is_ok());
}

/// A snapshot in the midst of other messages repeats their numbers or has older ones.
#[test]
fn a_window_takes_numbers_in_any_order() {
    use super::super::cursor::Window;
    let mut window = Window::new(10);
    window.delivered(90, 3);
    window.delivered(10, 1);
    window.delivered(11, 1);
    window.delivered(91, 1);
    assert_eq!(window.credit(), 4);
    assert!(window.acknowledge(11));
    assert_eq!(window.credit(), 6);
    assert!(window.acknowledge(91));
    assert_eq!(window.credit(), 9, "92 is left");
    assert!(window.acknowledge(92));
    assert_eq!(window.credit(), 10);
}

/// A connection that catches up on many topics asks for a few portions at a time.
#[test]
fn the_portions_that_wait_for_a_reader_are_few() {
    let names = names_homed_at(ShardId(0), 20);
    let (mut there, mut here) = (Hub::for_tests(ShardId(0), 2), Hub::for_tests(ShardId(1), 2));
    let mut own = Subscriptions::default();
    for name in &names {
        for _ in 0..3 {
            there.publish(&Publication::new(name, "past")).unwrap();
        }
        let delivery = Delivery { snapshot: true, ..Delivery::default() };
        here.subscribe(0, &mut own, name, &delivery).unwrap();
    }
    let mut frames = Vec::new();
    let mut pulls_most = 0;
    for _ in 0..200 {
        let mut outbox = Outbox::default();
        let mut signals = Vec::new();
        here.flush(&mut outbox, &mut signals);
        let is_pull =
            |message: &&(ShardId, HubMessage)| matches!(message.1, HubMessage::Pull { .. });
        pulls_most = pulls_most.max(outbox.messages.iter().filter(is_pull).count());
        outbox.messages.drain(..).for_each(|(_, message)| there.receive(ShardId(1), message));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| here.receive(ShardId(0), message));
        if signals.contains(&Signal::CatchUp(0)) {
            catch_up_all(&mut here, &mut own, &mut frames, &mut Vec::new());
        }
    }
    assert!((1..=4).contains(&pulls_most), "{pulls_most}");
    assert_eq!(frames, b"\x81\x04past".repeat(20), "every topic's newest has come");
}

/// A reader with a rate that repeatedly falls behind its tape is brought up to date at that
/// rate.
#[test]
fn falling_behind_does_not_raise_a_rate() {
    for mode in [Mode::Latest, Mode::All] {
        let limits = Limits { tape_bytes_max: 2 << 10, ..Limits::default() };
        let mut hub = Hub::alone(&limits);
        let mut own = Subscriptions::default();
        let delivery = Delivery { mode, max_rate: Some(2), ..Delivery::default() };
        hub.subscribe(0, &mut own, "q", &delivery).unwrap();
        flush(&mut hub);
        let mut moves = 0;
        for ms in 0..5_000 {
            hub.tick(at(ms));
            hub.publish(&Publication::new("q", &[7; 100][..])).unwrap();
            let mut frames = Vec::new();
            let mut messages = 0;
            if flush(&mut hub).contains(&Signal::CatchUp(0)) {
                catch_up_all(&mut hub, &mut own, &mut frames, &mut Vec::new());
                messages += u64::from(!frames.is_empty());
            }
            let bytes = pending(&hub, own).len();
            messages += hub.advance(&mut own, bytes, |_| ());
            moves += u64::from(messages > 0);
        }
        assert!((8..=11).contains(&moves), "{mode:?}: {moves} moves in five seconds, two each");
    }
}

/// A topic whose portion waits behind those of other topics continues when these are given up.
#[test]
fn a_topic_that_waits_behind_others_continues_without_them() {
    let names = names_homed_at(ShardId(0), 5);
    let (mut there, mut here) = (Hub::for_tests(ShardId(0), 2), Hub::for_tests(ShardId(1), 2));
    let mut own = Subscriptions::default();
    for name in &names {
        there.publish(&Publication::new(name, "past")).unwrap();
        let delivery = Delivery { snapshot: true, ..Delivery::default() };
        here.subscribe(0, &mut own, name, &delivery).unwrap();
    }
    let mut frames = Vec::new();
    let mut has_asked = false;
    for _ in 0..20 {
        let mut outbox = Outbox::default();
        let mut signals = Vec::new();
        here.flush(&mut outbox, &mut signals);
        let is_pull =
            |message: &(ShardId, HubMessage)| matches!(message.1, HubMessage::Pull { .. });
        if !has_asked && outbox.messages.iter().any(is_pull) {
            // Four have asked, and the client leaves them before the answers come.
            has_asked = true;
            for name in &names {
                let is_asking = {
                    let found = here.cursors.find(own, name, &here.topics).unwrap();
                    here.cursors.flows.at(here.cursors.at(found).flow).unwrap().is_asking()
                };
                if is_asking {
                    here.unsubscribe(&mut own, name);
                }
            }
        }
        outbox.messages.drain(..).for_each(|(_, message)| there.receive(ShardId(1), message));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| here.receive(ShardId(0), message));
        if signals.contains(&Signal::CatchUp(0)) {
            catch_up_all(&mut here, &mut own, &mut frames, &mut Vec::new());
        }
    }
    assert!(has_asked && here.count(own) == 1);
    assert_eq!(frames, b"\x81\x04past");
}

/// A portion of the past counts as asked for until it comes, also after its subscription has
/// ended: the home works for it all the same.
#[test]
fn a_portion_that_is_given_up_counts_until_it_arrives() {
    let names = names_homed_at(ShardId(0), 5);
    let (mut there, mut here) = (Hub::for_tests(ShardId(0), 2), Hub::for_tests(ShardId(1), 2));
    let (mut own, mut stays) = (Subscriptions::default(), Subscriptions::default());
    for name in &names {
        there.publish(&Publication::new(name, "past")).unwrap();
        here.subscribe(1, &mut stays, name, &Delivery::default()).unwrap();
    }
    let delivery = Delivery { snapshot: true, ..Delivery::default() };
    let mut asked = Vec::new();
    let mut come_and_go = |here: &mut Hub, there: &mut Hub, asked: &mut Vec<HubMessage>| {
        for name in &names {
            here.subscribe(0, &mut own, name, &delivery).unwrap();
        }
        for _ in 0..4 {
            let mut outbox = Outbox::default();
            let mut signals = Vec::new();
            here.flush(&mut outbox, &mut signals);
            for (_, message) in outbox.messages.drain(..) {
                match message {
                    HubMessage::Pull { .. } => asked.push(message),
                    message => there.receive(ShardId(1), message),
                }
            }
            there.flush(&mut outbox, &mut Vec::new());
            outbox.messages.drain(..).for_each(|(_, message)| here.receive(ShardId(0), message));
            catch_up_all(here, &mut own, &mut Vec::new(), &mut Vec::new());
        }
        for name in &names {
            here.unsubscribe(&mut own, name);
        }
    };
    for _ in 0..10 {
        come_and_go(&mut here, &mut there, &mut asked);
    }
    assert_eq!(asked.len(), 4, "the limit of one connection");
    for round in 2..5 {
        let mut outbox = Outbox::default();
        let pulls = std::mem::take(&mut asked);
        pulls.into_iter().for_each(|message| there.receive(ShardId(1), message));
        there.flush(&mut outbox, &mut Vec::new());
        outbox.messages.drain(..).for_each(|(_, message)| here.receive(ShardId(0), message));
        come_and_go(&mut here, &mut there, &mut asked);
        assert_eq!(asked.len(), 4, "round {round}");
    }
}
