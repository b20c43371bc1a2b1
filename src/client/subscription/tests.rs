//! Subscriptions against the messages of a server.

use super::*;

fn apply(subscription: &mut Subscription, texts: &[&str]) -> Vec<String> {
    let mut events = VecDeque::new();
    for text in texts {
        subscription.receive(ServerMessage::read(text).unwrap(), &mut events);
    }
    let short = |event| match event {
        Event::Message(Received { seq, is_snapshot, .. }) => {
            format!("{seq}{}", if is_snapshot { "s" } else { "" })
        }
        Event::Subscribed { recovered, .. } => format!("subscribed {recovered}"),
        Event::Reset { previous, .. } => format!("reset {}", previous.seq),
        Event::Snapshot { count, .. } => format!("snapshot {count}"),
        Event::SnapshotEnd { seq, .. } => format!("end {seq}"),
        Event::Gap { from, to, .. } => format!("gap {from} {to}"),
        Event::Conflated { from, to, .. } => format!("conflated {from} {to}"),
        other => panic!("{other:?}"),
    };
    events.into_iter().map(short).collect()
}

fn message(seq: u64) -> String {
    format!(r#"{{"type":"message","channel":"a","seq":{seq},"time":1,"message":1}}"#)
}

fn subscribed(epoch: u64, seq: u64, recovered: bool) -> String {
    format!(
        r#"{{"type":"subscribed","channel":"a","epoch":{epoch},"seq":{seq},"recovered":{recovered}}}"#
    )
}

#[test]
fn every_gap_is_reported_and_nothing_is_received_twice() {
    let mut all = Subscription::new("a", Subscribe::default());
    assert_eq!(apply(&mut all, &[&message(1)]), [""; 0]);
    assert_eq!(apply(&mut all, &[&subscribed(1, 4, false)]), ["subscribed false"]);
    let came = apply(&mut all, &[&message(5), &message(5), &message(4), &message(8)]);
    assert_eq!(came, ["5", "gap 6 7", "8"]);
    let gap = r#"{"type":"gap","channel":"a","from":9,"to":12}"#;
    assert_eq!(apply(&mut all, &[gap, &message(13)]), ["gap 9 12", "13"]);
    let conflated = r#"{"type":"conflated","channel":"a","from":14,"to":20}"#;
    let came = apply(&mut all, &[conflated, &message(16), &message(20), &message(22)]);
    assert_eq!(came, ["conflated 14 20", "16", "20", "gap 21 21", "22"]);
    let mut events = VecDeque::new();
    all.heartbeat("a", 22, &mut events);
    assert_eq!(events, []);
    all.heartbeat("a", 24, &mut events);
    assert_eq!(events, [Event::Gap { channel: "a".into(), from: 23, to: 24 }]);
    let latest = Subscribe { mode: Mode::Latest, ..Subscribe::default() };
    let mut latest = Subscription::new("a", latest);
    let came = apply(&mut latest, &[&subscribed(1, 0, false), &message(7), &message(9)]);
    assert_eq!(came, ["subscribed false", "7", "9"]);
}

#[test]
fn a_subscription_resumes_at_its_position() {
    let snapshot = Subscribe { snapshot: true, ..Subscribe::default() };
    let mut subscription = Subscription::new("a", snapshot);
    let asks = |subscription: &Subscription| subscription.current_request().end();
    let plain = r#"{"type":"subscribe","channel":"a","snapshot":true}"#;
    assert_eq!(asks(&subscription), plain);
    let begin = r#"{"type":"snapshot","channel":"a","count":1}"#;
    let end = r#"{"type":"snapshot_end","channel":"a","seq":6}"#;
    let came = apply(&mut subscription, &[&subscribed(1, 6, false), begin, &message(3)]);
    assert_eq!(came, ["subscribed false", "snapshot 1", "3s"]);
    // Within a snapshot there is no position to resume at.
    assert_eq!(asks(&subscription), plain);
    assert_eq!(apply(&mut subscription, &[end, &message(7)]), ["end 6", "7"]);
    let since = r#"{"type":"subscribe","channel":"a","since":{"epoch":1,"seq":7}}"#;
    assert_eq!(asks(&subscription), since);
    let came = apply(&mut subscription, &[&subscribed(1, 7, true), &message(8)]);
    assert_eq!(came, ["subscribed true", "8"]);
    let came = apply(&mut subscription, &[&subscribed(2, 1, false), begin, &message(1)]);
    assert_eq!(came, ["subscribed false", "reset 8", "snapshot 1", "1s"]);
    assert_eq!(asks(&subscription), plain);
}

#[test]
fn a_name_is_sent_with_every_request() {
    let how = Subscribe { name: Some("Alice".into()), ..Subscribe::default() };
    let mut listed = Subscription::new("a", how);
    let asks = r#"{"type":"subscribe","channel":"a","name":"Alice"}"#;
    assert_eq!(listed.current_request().end(), asks);
    apply(&mut listed, &[&subscribed(1, 4, false)]);
    let again = r#"{"type":"subscribe","channel":"a","name":"Alice","since":{"epoch":1,"seq":4}}"#;
    assert_eq!(listed.current_request().end(), again);
}

#[test]
fn half_a_window_of_taken_messages_is_acknowledged() {
    let window = Subscribe { window: Some(4), ..Subscribe::default() };
    let mut subscription = Subscription::new("a", window);
    let mut events = VecDeque::new();
    for text in [subscribed(1, 0, false), message(1), message(2), message(3)] {
        subscription.receive(ServerMessage::read(&text).unwrap(), &mut events);
    }
    assert_eq!(subscription.position("a"), None);
    let mut take = || subscription.take_event(&events.pop_front().unwrap());
    assert_eq!([take(), take(), take()], [None, None, Some(2)]);
    // The third has arrived, and was not taken.
    assert_eq!(subscription.position("a"), Some(Position { epoch: 1, seq: 2 }));
    assert_eq!(subscription.last_taken("a"), Some(2));
    // It belongs to the old epoch of the channel, and acknowledges nothing of the new one.
    for text in [subscribed(2, 0, true), message(1), message(2)] {
        subscription.receive(ServerMessage::read(&text).unwrap(), &mut events);
    }
    let mut take = || {
        let event = events.pop_front().unwrap();
        let acknowledged = subscription.take_event(&event);
        (acknowledged, subscription.position("a").unwrap())
    };
    assert_eq!(take(), (None, Position { epoch: 1, seq: 3 }));
    assert_eq!(subscription.last_taken("a"), Some(0));
    let mut take = || {
        let event = events.pop_front().unwrap();
        let acknowledged = subscription.take_event(&event);
        (acknowledged, subscription.position("a").unwrap())
    };
    assert_eq!(take(), (None, Position { epoch: 2, seq: 0 }));
    assert_eq!(take(), (None, Position { epoch: 2, seq: 1 }));
    assert_eq!(take(), (Some(2), Position { epoch: 2, seq: 2 }));
}

#[test]
fn patterns_match_and_resume() {
    for (pattern, channel, expected) in [
        ("a.*", "a.b", true),
        ("a.*", "a", false),
        ("a.*", "a.b.c", false),
        ("a.>", "a.b.c", true),
        ("a.>", "a", false),
        (">", "a", true),
        ("*.b", "a.b", true),
        ("*.b", "a.c", false),
    ] {
        assert_eq!(matches(pattern, channel), expected, "{pattern} {channel}");
    }
    let mut subscription = Subscription::new("*", Subscribe::default());
    assert_eq!(apply(&mut subscription, &[&message(5), &message(6)]), ["5", "6"]);
    assert_eq!(subscription.position("a"), None);
    // After a disconnect, the channel resumes behind its earlier position.
    let came = apply(&mut subscription, &[&subscribed(1, 6, true), &message(7)]);
    assert_eq!(came, ["subscribed true", "7"]);
    let came = apply(&mut subscription, &[&subscribed(1, 9, true), &message(10)]);
    assert_eq!(came, ["subscribed true", "gap 8 9", "10"]);
    // Another epoch, of which the server sends the first message.
    let came = apply(&mut subscription, &[&subscribed(2, 3, true)]);
    assert_eq!(came, ["subscribed true", "reset 10"]);
    // Numbers that no server sends.
    let mut named = Subscription::new("a", Subscribe::default());
    apply(&mut named, &[&subscribed(1, 0, false), &message(0), &message(u64::MAX), &message(1)]);
}

#[test]
fn answers_to_an_earlier_subscription_of_this_name_are_ignored() {
    let mut second = Subscription::new("a", Subscribe::default());
    second.request(8);
    let answer =
        |id| format!(r#"{{"type":"subscribed","channel":"a","epoch":1,"seq":4,"id":{id}}}"#);
    assert_eq!(apply(&mut second, &[&answer(7), &message(5)]), [""; 0]);
    assert_eq!(
        apply(&mut second, &[&answer(8), &message(6)]),
        ["subscribed false", "gap 5 5", "6"]
    );
}
