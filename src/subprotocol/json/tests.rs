//! The words of the protocol, through the test shard.

use super::*;
use crate::base::Limits;
use crate::hub::{Access, Rule};
use crate::testing::{Received, TestClient, TestShard};
use std::time::Duration;

fn texts(client: &mut TestClient) -> Vec<String> {
    std::iter::from_fn(|| match client.receive()? {
        Received::Text(text) => Some(text),
        other => panic!("{other:?}"),
    })
    .collect()
}

/// Sends a request and returns the answers, with epochs taken out.
fn ask(shard: &mut TestShard<Json>, client: &mut TestClient, words: &str) -> Vec<String> {
    client.send(words);
    shard.run();
    texts(client).into_iter().map(|text| without_epoch(&text)).collect()
}

fn without_epoch(text: &str) -> String {
    match text.split_once(r#""epoch":"#) {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!(r#"{before}"epoch":E{rest}"#)
        }
        None => text.to_owned(),
    }
}

#[test]
fn a_request_that_is_too_long_is_refused_unread() {
    let limits = Limits { json_request_bytes_max: 8_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let mut client = shard.connect("/");
    let mut check = |before: &str, filling: &str, behind: &str, id: &str| {
        let (before, behind) = (format!(r#"{{{before}"message":""#), format!(r#""{behind}}}"#));
        let left = 8_000 - before.len() - behind.len();
        let fits = filling.repeat(left / filling.len()) + &"x".repeat(left % filling.len());
        let request = format!("{before}{fits}{behind}");
        let unknown = &ask(&mut shard, &mut client, &request)[0];
        assert!(unknown.starts_with(r#"{"type":"error","code":103"#), "{unknown}");
        let request = format!("{before}x{fits}{behind}");
        let why = "it has 8001 bytes: expected at most 8000";
        let error = format!(r#"{{"type":"error","code":107,"message":"{why}"{id}}}"#);
        assert_eq!(ask(&mut shard, &mut client, &request), [error]);
    };
    check(r#""type":"x","id":[7],"#, "y", "", r#","id":[7]"#);
    check(r#""id":"é","type":"x","#, "é", "", r#","id":"é""#);
    check(r#""type":"x","#, "ééé", r#","id":7"#, "");
}

#[test]
fn every_request_has_its_answer() {
    let mut shard = TestShard::new(Json);
    let mut client = shard.connect_offering("/", &["chat", NAME]);
    let mut check = |words: &str, expected: &[&str]| {
        assert_eq!(ask(&mut shard, &mut client, words), expected, "{words}");
    };
    check(r#"{"type":"ping"}"#, &[r#"{"type":"pong"}"#]);
    check(r#"{"type":"ping","id":"a\"b"}"#, &[r#"{"type":"pong","id":"a\"b"}"#]);
    check(r#"{"typ\u0065":"p\u0069ng","id":null}"#, &[r#"{"type":"pong","id":null}"#]);
    check(
        r#"{"type":"subscribe","channels":["a","b"],"id":7}"#,
        &[
            r#"{"type":"subscribed","channel":"a","epoch":E,"seq":0,"recovered":false,"id":7}"#,
            r#"{"type":"subscribed","channel":"b","epoch":E,"seq":0,"recovered":false,"id":7}"#,
        ],
    );
    check(
        r#"{"type":"publish","channel":"a","message":{"x": [1 ]},"id":8}"#,
        &[
            r#"{"type":"published","channel":"a","seq":1,"id":8}"#,
            r#"{"type":"message","channel":"a","seq":1,"time":0,"message":{"x": [1 ]}}"#,
        ],
    );
    check(
        r#"{"type":"publish","channel":"a","key":"k","message":null}"#,
        &[r#"{"type":"message","channel":"a","seq":2,"time":0,"key":"k","message":null}"#],
    );
    check(
        r#"{"type":"publish","channel":"a","key":"k","remove":true,"message":""}"#,
        &[
            r#"{"type":"message","channel":"a","seq":3,"time":0,"key":"k","removed":true,"message":""}"#,
        ],
    );
    check(r#"{"type":"unsubscribe","channel":"a"}"#, &[r#"{"type":"unsubscribed","channel":"a"}"#]);
    check(r#"{"type":"publish","channel":"a","message":1}"#, &[]);
    check(
        r#"{"type":"subscribe","channel":"c.*","id":9}"#,
        &[r#"{"type":"subscribed","channel":"c.*","id":9}"#],
    );
    check(
        r#"{"type":"publish","channel":"c.d","message":2}"#,
        &[
            r#"{"type":"subscribed","channel":"c.d","epoch":E,"seq":0,"recovered":true}"#,
            r#"{"type":"message","channel":"c.d","seq":1,"time":0,"message":2}"#,
        ],
    );
}

/// A subscriber with a name is on the topic's list until it leaves, however it leaves.
#[test]
fn a_subscriber_with_a_name_is_listed() {
    let limits = Limits::default();
    let rules = vec![Rule { members_max: 2, ..Rule::new("lobby.>", &limits) }];
    let mut shard = TestShard::with_rules(Json, limits, rules);
    let [mut alice, mut bob, mut carol, mut watcher] = [(); 4].map(|()| shard.connect("/"));
    let subscribe = |name| format!(r#"{{"type":"subscribe","channel":"lobby.1","name":"{name}"}}"#);
    ask(&mut shard, &mut alice, &subscribe("Alice"));
    let watch = r#"{"type":"subscribe","channel":"$presence.lobby.1","snapshot":true}"#;
    let mut got = ask(&mut shard, &mut watcher, watch);
    let mut received = |shard: &mut TestShard<Json>| -> Vec<String> {
        shard.run();
        got.append(&mut texts(&mut watcher));
        let body = |text: String| Some(text.split_once(r#""message":"#)?.1.to_owned());
        got.drain(..).filter_map(body).collect()
    };
    assert_eq!(received(&mut shard), [r#"{"join":"Alice","members":1}}"#]);
    ask(&mut shard, &mut bob, r#"{"type":"join","room":"lobby.1","name":"Bob \"B\""}"#);
    assert_eq!(received(&mut shard), [r#"{"join":"Bob \"B\"","members":2}}"#]);
    // The list is full: the third is subscribed, and not on it.
    let answer = ask(&mut shard, &mut carol, &subscribe("Carol"));
    assert!(answer[0].starts_with(r#"{"type":"subscribed""#), "{answer:?}");
    assert_eq!(received(&mut shard), [""; 0]);
    ask(&mut shard, &mut alice, r#"{"type":"unsubscribe","channel":"lobby.1"}"#);
    assert_eq!(received(&mut shard), [r#"{"leave":"Alice","members":1}}"#]);
    bob.reset();
    assert_eq!(received(&mut shard), [r#"{"leave":"Bob \"B\"","members":0}}"#]);
}

#[test]
fn every_error_has_its_number() {
    let limits = Limits {
        subscriptions_max: 2,
        topics_max: 4,
        publishes_per_second_max: 3,
        publish_overflow_bytes_max: 100,
        ..Limits::default()
    };
    let rules = vec![
        Rule { publish: Access::Server, ..Rule::new("closed", &limits) },
        Rule { keys_max: 0, ..Rule::new("keyless", &limits) },
        Rule { members_max: 1, ..Rule::new("listed.>", &limits) },
    ];
    let mut shard = TestShard::with_rules(Json, limits, rules);
    let mut client = shard.connect("/");
    let mut check = |words: &str, code: ErrorCode| {
        let answers = ask(&mut shard, &mut client, words);
        let code = code as u16;
        let expected = format!(r#"{{"type":"error","code":{code},"message":""#);
        let is_there = answers.iter().any(|answer| answer.starts_with(&expected));
        assert!(is_there, "{words}: {answers:?}");
        shard.advance(Duration::from_secs(1));
    };
    check("{", ErrorCode::Malformed);
    check("7", ErrorCode::NotAnObject);
    check(r#"{"type":"dance"}"#, ErrorCode::UnknownType);
    check(r#"{"type":"subscribe"}"#, ErrorCode::MissingField);
    check(r#"{"type":"subscribe","channel":5}"#, ErrorCode::BadField);
    check(r#"{"type":"subscribe","channel":"listed.a","name":5}"#, ErrorCode::BadField);
    check(r#"{"type":"subscribe","channel":"listed.a","name":"a\nb"}"#, ErrorCode::BadKey);
    check(r#"{"type":"subscribe","channel":"listed.a","name":""}"#, ErrorCode::BadKey);
    check(r#"{"type":"join","room":"unlisted","name":""}"#, ErrorCode::BadKey);
    check(r#"{"type":"ping","message":"\ud800"}"#, ErrorCode::Malformed);
    check(r#"{"type":"ping","message":1e999}"#, ErrorCode::Malformed);
    check(r#"{"type":"subscribe","channel":"*","name":"Alice"}"#, ErrorCode::BadChannel);
    check(&format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(300)), ErrorCode::BadField);
    check(r#"{"type":"subscribe","channel":"a..b"}"#, ErrorCode::BadChannel);
    check(r#"{"type":"join","room":"a.*"}"#, ErrorCode::BadChannel);
    check(r#"{"type":"subscribe","channel":"a","max_rate":0}"#, ErrorCode::BadDelivery);
    check(r#"{"type":"subscribe","channels":["a","a"]}"#, ErrorCode::AlreadySubscribed);
    check(r#"{"type":"unsubscribe","channel":"b"}"#, ErrorCode::NotSubscribed);
    check(r#"{"type":"ack","channel":"b","seq":1}"#, ErrorCode::NotSubscribed);
    check(r#"{"message":"hi"}"#, ErrorCode::NoRoom);
    check(r#"{"type":"subscribe","channels":["b","c"]}"#, ErrorCode::TooManySubscriptions);
    check(r#"{"type":"publish","channel":"closed","message":1}"#, ErrorCode::NotAllowed);
    check(r#"{"type":"publish","channel":"keyless","key":"k","message":1}"#, ErrorCode::BadKey);
    let publish =
        |channel: &str| format!(r#"{{"type":"publish","channel":"{channel}","message":1}}"#);
    for channel in ["d", "e"] {
        assert_eq!(ask(&mut shard, &mut client, &publish(channel)), Vec::<String>::new());
    }
    let too_many = ask(&mut shard, &mut client, &publish("f"));
    assert!(too_many[0].contains(r#""code":117"#), "{too_many:?}");
    let too_fast = ask(&mut shard, &mut client, &publish("d"));
    assert!(too_fast[0].contains(r#""code":122"#), "{too_fast:?}");
    client.send(b"bytes");
    shard.run();
    let not_text = texts(&mut client);
    assert!(not_text[0].contains(r#""code":100"#), "{not_text:?}");
}

#[test]
fn chat_messages_reach_every_joined_room() {
    let mut shard = TestShard::new(Json);
    let [mut alice, mut bob] = [(); 2].map(|()| shard.connect("/"));
    for client in [&mut alice, &mut bob] {
        let joined = ask(&mut shard, client, r#"{"type":"join","room":"lobby"}"#);
        assert!(joined[0].starts_with(r#"{"type":"subscribed","channel":"lobby""#));
    }
    let hello = r#"{"type":"message","channel":"lobby","seq":1,"time":0,"message":"Hello"}"#;
    assert_eq!(ask(&mut shard, &mut alice, r#"{"message":"Hello"}"#), [hello]);
    assert_eq!(texts(&mut bob), [hello]);
    let left = r#"{"type":"unsubscribed","channel":"lobby"}"#;
    assert_eq!(ask(&mut shard, &mut bob, r#"{"type":"leave","room":"lobby"}"#), [left]);
    ask(&mut shard, &mut alice, r#"{"type":"message","message":{"text":"Bob?"}}"#);
    assert_eq!(texts(&mut bob), Vec::<String>::new());
}

#[test]
fn a_reader_resumes_and_is_notified_of_the_end() {
    let limits = Limits { heartbeat_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let mut client = shard.connect("/");
    client.send(r#"{"type":"subscribe","channel":"a"}"#);
    shard.run();
    let answer = texts(&mut client).remove(0);
    let epoch: String = answer
        .split_once(r#""epoch":"#)
        .unwrap()
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    shard.publisher().publish("a", "1").unwrap();
    shard.run();
    client.reset();
    for number in 2..=3 {
        shard.publisher().publish("a", format!("{number}").as_str()).unwrap();
    }
    let mut again = shard.connect("/");
    let since = format!(
        r#"{{"type":"subscribe","channel":"a","since":{{"epoch":{epoch},"seq":1}},"window":1}}"#
    );
    let got = ask(&mut shard, &mut again, &since);
    assert!(got[0].ends_with(r#""seq":1,"recovered":true}"#), "{got:?}");
    assert_eq!(got[1..], [r#"{"type":"message","channel":"a","seq":2,"time":0,"message":"2"}"#]);
    let got = ask(&mut shard, &mut again, r#"{"type":"ack","channel":"a","seq":2}"#);
    assert_eq!(got, [r#"{"type":"message","channel":"a","seq":3,"time":0,"message":"3"}"#]);
    shard.advance(Duration::from_millis(2_500));
    let beats = texts(&mut again);
    assert_eq!(beats, [r#"{"type":"heartbeat","channels":{"a":3}}"#]);
    shard.drain();
    shard.run();
    let last = texts(&mut again);
    assert_eq!(last, [r#"{"type":"shutdown","within_ms":3000}"#]);
}

/// A topic without a message is evicted with its last subscriber, and a client that resumes on
/// one has missed nothing.
#[test]
fn a_reader_of_an_empty_channel_resumes() {
    let mut shard = TestShard::new(Json);
    let since = r#"{"type":"subscribe","channel":"a","since":{"epoch":7,"seq":0}}"#;
    for _ in 0..2 {
        let mut client = shard.connect("/");
        let got = ask(&mut shard, &mut client, since);
        assert!(got[0].ends_with(r#""seq":0,"recovered":true}"#), "{got:?}");
        client.reset();
        shard.run();
        assert_eq!(shard.counters().topics.get(), 0, "nobody reads it, and it has no number");
    }
    shard.publisher().publish("a", "1").unwrap();
    let mut client = shard.connect("/");
    let got = ask(&mut shard, &mut client, since);
    assert!(got[0].ends_with(r#""seq":1,"recovered":false}"#), "{got:?}");
}

/// A request that is longer than the connection's share is done in steps, in its order.
#[test]
fn long_requests_are_done_in_steps() {
    let limits = Limits { turn_work_max: 16, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let mut client = shard.connect("/");
    let names: Vec<String> = (0..300).map(|number| format!("c{number:03}")).collect();
    let list = format!(r#"["{}"]"#, names.join(r#"",""#));
    client.send(&format!(r#"{{"type":"subscribe","channels":{list},"id":1}}"#));
    client.send(r#"{"type":"ping","id":2}"#);
    shard.run();
    let answers = texts(&mut client);
    assert_eq!(answers.len(), 301);
    // They become live in a flush, which follows the pong.
    let is_pong = |text: &String| text.starts_with(r#"{"type":"pong""#);
    assert_eq!(answers.iter().filter(|text| is_pong(text)).count(), 1);
    for name in &names {
        client.send(&format!(r#"{{"type":"unsubscribe","channel":"{name}"}}"#));
        client.send(&format!(r#"{{"type":"join","room":"{name}"}}"#));
    }
    shard.run();
    texts(&mut client);
    client.send(r#"{"message":"hi"}"#);
    client.send(&format!(r#"{{"type":"unsubscribe","channels":{list}}}"#));
    client.send(r#"{"type":"ping"}"#);
    shard.run();
    let answers = texts(&mut client);
    let of = |kind: &str| {
        let begin = format!(r#"{{"type":"{kind}""#);
        answers.iter().filter(|text| text.starts_with(&begin)).count()
    };
    assert_eq!((of("unsubscribed"), of("pong")), (300, 1));
    assert_eq!(answers.last().map(is_pong), Some(true), "it was asked for last");
    let mut reader = shard.connect("/");
    let last = r#"{"type":"subscribe","channel":"c299","snapshot":true}"#;
    let got = ask(&mut shard, &mut reader, last);
    assert!(got[2].contains(r#""seq":1,"time":0,"message":"hi""#), "{got:?}");
}

#[test]
fn heartbeats_do_not_pile_up() {
    let limits = Limits { heartbeat_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let mut client = shard.connect("/");
    let names: Vec<String> = (0..1_000).map(|number| format!("{number:0200}")).collect();
    let list = format!(r#"["{}"]"#, names.join(r#"",""#));
    ask(&mut shard, &mut client, &format!(r#"{{"type":"subscribe","channels":{list}}}"#));
    client.stall(true);
    for _ in 0..30 {
        shard.advance(Duration::from_secs(1));
        assert!(shard.queued_bytes() < 2 * 250_000, "{}", shard.queued_bytes());
    }
}

/// The topics and patterns of a connection count for it, and for its address.
#[test]
fn quotas_are_not_shared_with_strangers() {
    let limits = Limits {
        patterns_per_connection_max: 2,
        topics_per_connection_max: 3,
        ..Limits::default()
    };
    let mut shard = TestShard::with_limits(Json, limits);
    let [mut greedy, mut honest] = [(); 2].map(|()| shard.connect("/"));
    let mut ask = |client: &mut TestClient, words: String| ask(&mut shard, client, &words);
    let pattern = |name: &str| format!(r#"{{"type":"subscribe","channel":"{name}.*"}}"#);
    let topic =
        |name: &str| format!(r#"{{"type":"publish","channel":"{name}","message":1,"id":1}}"#);
    for name in ["a", "b"] {
        assert!(ask(&mut greedy, pattern(name))[0].contains("subscribed"));
    }
    assert!(ask(&mut greedy, pattern("c"))[0].contains(r#""code":118"#));
    assert!(ask(&mut honest, pattern("c"))[0].contains("subscribed"));
    for name in ["x", "y", "z"] {
        assert!(ask(&mut greedy, topic(name))[0].contains("published"));
    }
    assert!(ask(&mut greedy, topic("w"))[0].contains("topics_per_connection_max"));
    assert!(ask(&mut greedy, topic("x"))[0].contains(r#""seq":2"#), "it is there already");
    assert!(ask(&mut honest, topic("w"))[0].contains("published"));
}

#[test]
fn a_client_without_a_subscription_is_closed_in_time() {
    let limits = Limits { first_subscribe_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let [mut idle, mut reader] = [(); 2].map(|()| shard.connect("/"));
    ask(&mut shard, &mut reader, r#"{"type":"subscribe","channel":"a"}"#);
    shard.advance(Duration::from_secs(2));
    let closed = Received::Close(Some((1008, "no subscription in time".into())));
    assert_eq!((idle.receive(), reader.receive()), (Some(closed), None));
}

#[test]
fn the_table_of_errors_has_every_one() {
    assert_eq!(error_table().lines().count(), 2 + ErrorCode::ALL.len());
    let numbers: Vec<u16> = ErrorCode::ALL.iter().map(|error| error.0).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_page_has_the_table_of_errors() {
    let page = include_str!("../../../docs/protocol.md");
    assert!(page.ends_with(&error_table()), "docs/protocol.md ends with:\n{}", error_table());
}

#[test]
fn the_value_of_no_key_is_removed() {
    let mut shard = TestShard::new(Json);
    let mut client = shard.connect("/");
    let mut check = |words: &str, expected: &[&str]| {
        assert_eq!(ask(&mut shard, &mut client, words), expected, "{words}");
    };
    check(r#"{"type":"publish","channel":"a","message":1}"#, &[]);
    check(r#"{"type":"publish","channel":"a","key":"k","message":2}"#, &[]);
    check(
        r#"{"type":"subscribe","channel":"a"}"#,
        &[r#"{"type":"subscribed","channel":"a","epoch":E,"seq":2,"recovered":false}"#],
    );
    check(
        r#"{"type":"publish","channel":"a","remove":true,"message":0}"#,
        &[r#"{"type":"message","channel":"a","seq":3,"time":0,"removed":true,"message":0}"#],
    );
    check(r#"{"type":"unsubscribe","channel":"a"}"#, &[r#"{"type":"unsubscribed","channel":"a"}"#]);
    check(
        r#"{"type":"subscribe","channel":"a","snapshot":true}"#,
        &[
            r#"{"type":"subscribed","channel":"a","epoch":E,"seq":3,"recovered":false}"#,
            r#"{"type":"snapshot","channel":"a","count":1}"#,
            r#"{"type":"message","channel":"a","seq":2,"time":0,"key":"k","message":2}"#,
            r#"{"type":"snapshot_end","channel":"a","seq":3}"#,
        ],
    );
}

#[test]
fn a_name_on_a_channel_without_presence_is_reported_as_unlisted() {
    let limits = Limits::default();
    let rule = Rule { members_max: 9, ..Rule::new("listed", &limits) };
    let mut shard = TestShard::with_rules(Json, limits, vec![rule]);
    let mut client = shard.connect("/");
    let mut check = |words: &str, expected: &[&str]| {
        assert_eq!(ask(&mut shard, &mut client, words), expected, "{words}");
    };
    check(
        r#"{"type":"join","room":"a","name":"Alice"}"#,
        &[
            r#"{"type":"subscribed","channel":"a","epoch":E,"seq":0,"recovered":false,"listed":false}"#,
        ],
    );
    check(
        r#"{"type":"subscribe","channel":"$presence.listed","name":"Alice","id":1}"#,
        &[
            r#"{"type":"subscribed","channel":"$presence.listed","epoch":E,"seq":0,"recovered":false,"listed":false,"id":1}"#,
        ],
    );
    check(
        r#"{"type":"subscribe","channel":"listed","name":"Alice","id":2}"#,
        &[
            r#"{"type":"subscribed","channel":"listed","epoch":E,"seq":0,"recovered":false,"id":2}"#,
            r#"{"type":"message","channel":"$presence.listed","seq":1,"time":0,"key":"0.0.0","message":{"join":"Alice","members":1}}"#,
        ],
    );
}
