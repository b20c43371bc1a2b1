//! The public API, through the test shard.

mod edges;
mod memory;

use super::*;
use crate::app::{Conn, Notice, Publish, Request, Router, Upgrade};
use crate::connection::{Close, SendOutcome};
use crate::hub::Delivery;
use crate::routes::{Broadcast, Document, Echo};
use crate::subprotocol::json::Json;
use std::cell::RefCell;
use std::rc::Rc;

/// Records every call.
#[derive(Clone, Default)]
struct Diary(Rc<RefCell<Vec<String>>>);

impl Diary {
    fn note(&self, line: String) {
        self.0.borrow_mut().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.take()
    }
}

impl Handler for Diary {
    type Session = u32;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<u32> {
        let chat = request.protocols().position(|name| name == "chat");
        self.note(format!("upgrade {} {:?}", request.path(), request.query()));
        match (request.path(), chat) {
            ("/forbidden", _) => Upgrade::reject(403),
            ("/panic", _) => panic!("asked to"),
            (_, Some(index)) => Upgrade::accept(7).protocol(index).header("X-A", "b"),
            _ => Upgrade::accept(7),
        }
    }

    fn open(&mut self, conn: &mut Conn<'_, u32>) {
        self.note(format!("open {} {}", conn.target(), conn.id()));
        conn.subscribe("news").unwrap();
    }

    fn message(&mut self, conn: &mut Conn<'_, u32>, message: Message<'_>) {
        *conn.session() += 1;
        match message {
            Message::Text("timer") => conn.set_timer(Duration::from_millis(100)),
            Message::Text("close") => conn.close(4001, "as asked"),
            Message::Text("panic") => panic!("asked to"),
            Message::Text("leave") => assert!(conn.unsubscribe("news")),
            Message::Text("twice") => {
                assert_eq!(conn.send(message), SendOutcome::Queued);
                assert_eq!(conn.send(message), SendOutcome::Queued);
            }
            other => drop(conn.send(other)),
        }
    }

    fn notice(&mut self, _conn: &mut Conn<'_, u32>, notice: Notice<'_>) {
        self.note(match notice {
            // Epochs are random.
            Notice::Subscribed { topic, seq, .. } => format!("subscribed {topic} {seq}"),
            other => format!("{other:?}"),
        });
    }

    fn close(&mut self, session: u32, close: Close) {
        self.note(format!("close {session} {} {:?} {}", close.code, close.reason, close.by_peer));
    }
}

fn text(text: &str) -> Option<Received> {
    Some(Received::Text(text.into()))
}

#[test]
fn a_handler_sees_the_whole_life_of_a_connection() {
    let diary = Diary::default();
    let mut shard = TestShard::new(diary.clone());
    let mut client = shard.connect("/a?b=c");
    shard.run();
    assert_eq!(
        diary.lines(),
        ["upgrade /a Some(\"b=c\")", "open /a?b=c 0.0.0", "subscribed news 0"]
    );
    client.send("twice");
    client.send(b"\0\xff");
    shard.run();
    assert_eq!([client.receive(), client.receive()], [text("twice"), text("twice")]);
    assert_eq!(client.receive(), Some(Received::Binary(b"\0\xff".to_vec())));
    shard.publisher().publish("news", "bell").unwrap();
    shard.run();
    assert_eq!(client.receive(), text("bell"));
    client.send("leave");
    shard.run();
    shard.publisher().publish("news", "unheard").unwrap();
    client.send("timer");
    shard.advance(Duration::from_millis(200));
    assert_eq!(diary.lines(), ["Timer"]);
    client.close(CloseCode::NORMAL);
    shard.run();
    assert_eq!(client.receive(), Some(Received::Close(Some((1000, String::new())))));
    assert_eq!(diary.lines(), ["close 11 1000 \"\" true"]);
    assert!(client.is_ended());
    assert_eq!(shard.counters().connections.get(), 0);
}

#[test]
fn every_end_reaches_the_handler_with_its_cause() {
    let diary = Diary::default();
    let mut shard = TestShard::new(diary.clone());
    for (word, code, line) in [
        ("close", 4001, "close 8 4001 \"as asked\" false"),
        ("panic", 1011, "close 8 1011 \"internal error\" false"),
    ] {
        let mut client = shard.connect("/");
        shard.run();
        client.send(word);
        shard.run();
        let Some(Received::Close(Some((got, _)))) = client.receive() else { panic!("no close") };
        assert_eq!(got, code);
        shard.advance(Duration::from_secs(10));
        assert_eq!(diary.lines().pop().as_deref(), Some(line));
    }
    let mut client = shard.connect("/");
    shard.run();
    client.reset();
    shard.run();
    assert_eq!(diary.lines().pop().as_deref(), Some("close 7 1006 \"\" true"));
    assert_eq!(shard.counters().connections.get(), 0);
}

#[test]
fn refusals_and_documents_have_their_status() {
    let mut shard = TestShard::new(
        Router::new()
            .route("/echo", Echo)
            .route("/healthz", Document::text("ok"))
            .route("/forbidden", Diary::default())
            .route("/panic", Diary::default()),
    );
    for (target, status) in
        [("/nothing", 404), ("/healthz", 200), ("/forbidden", 403), ("/panic", 500)]
    {
        let mut client = shard.connect(target);
        shard.run();
        let expected = format!("handshake: the server answered {status}");
        assert_eq!(client.receive(), Some(Received::Failed(expected)));
    }
    let mut client = shard.connect("/echo");
    client.write(b"\x01");
    shard.run();
    let close = client.receive();
    assert!(close.is_none(), "one byte of a frame is no fault: {close:?}");
}

#[test]
fn a_subprotocol_is_chosen_out_of_the_offer() {
    let mut shard = TestShard::new(Diary::default());
    let client = shard.connect_offering("/", &["news", "chat"]);
    shard.run();
    let response = String::from_utf8(client.wire.read(usize::MAX)).unwrap();
    assert!(response.contains("\r\nSec-WebSocket-Protocol: chat\r\nX-A: b\r\n\r\n"), "{response}");
}

#[test]
fn an_incomplete_request_head_is_refused_in_time() {
    let limits = Limits { handshake_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Echo, limits);
    let world = shard.world.clone();
    let client = world.connect(0);
    client.write(b"GET / HTTP/1.1\r\nHost: x\r\n");
    shard.advance(Duration::from_millis(900));
    assert!(client.read(1000).is_empty());
    shard.advance(Duration::from_millis(200));
    assert!(client.read(1000).starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn an_idle_client_is_pinged_and_then_cut() {
    let limits = Limits { idle_ping_ms: 1_000, pong_ms: 500, ..Limits::default() };
    let diary = Diary::default();
    let mut shard = TestShard::with_limits(diary.clone(), limits);
    let mut client = shard.connect("/");
    shard.run();
    for _ in 0..5 {
        shard.advance(Duration::from_millis(1_040));
        assert_eq!(client.receive(), None, "its answer keeps it alive");
    }
    client.stall(true);
    shard.advance(Duration::from_millis(1_600));
    assert_eq!(diary.lines().pop().as_deref(), Some("close 7 1006 \"\" true"));
}

#[test]
fn a_reader_that_falls_behind_its_tape_is_closed_and_the_others_are_not() {
    let limits = Limits { tape_bytes_max: 64 << 10, ..Limits::default() };
    let mut shard = TestShard::with_limits(Broadcast, limits);
    let (mut slow, mut fast) = (shard.connect("/"), shard.connect("/"));
    shard.run();
    slow.stall(true);
    for number in 0..1_000 {
        fast.send(format!("{number} {}", "x".repeat(1_000)).as_str());
        shard.run();
        let Some(Received::Text(line)) = fast.receive() else { panic!("{number} is missing") };
        assert!(line.starts_with(&format!("{number} ")));
    }
    slow.stall(false);
    let mut last = None;
    for _ in 0..2_000 {
        shard.run();
        last = slow.receive().or(last);
    }
    let expected = Received::Close(Some((4009, "too slow: fell behind the tape".into())));
    assert_eq!(last, Some(expected));
}

#[test]
fn a_full_server_answers_503() {
    let limits = Limits { connections_max: 2, connections_refusing_max: 1, ..Limits::default() };
    let mut shard = TestShard::with_limits(Echo, limits);
    let mut clients: Vec<TestClient> = (0..4).map(|_| shard.connect("/")).collect();
    shard.advance(Duration::from_secs(5));
    let refused = clients
        .iter_mut()
        .filter_map(TestClient::receive)
        .filter(|received| matches!(received, Received::Failed(why) if why.ends_with("503")));
    assert_eq!(refused.count(), 2);
    clients[0].reset();
    shard.run();
    let mut next = shard.connect("/");
    shard.run();
    next.send("hello");
    shard.run();
    assert_eq!(next.receive(), text("hello"));
}

#[test]
fn a_drain_notifies_handlers_and_closes_connections() {
    let diary = Diary::default();
    let mut shard = TestShard::new(diary.clone());
    let mut clients: Vec<TestClient> = (0..10).map(|_| shard.connect("/")).collect();
    shard.run();
    diary.lines();
    shard.drain();
    for _ in 0..300 {
        shard.advance(Duration::from_millis(10));
        for client in &mut clients {
            if let Some(received) = client.receive() {
                let reason = "server is going away".to_owned();
                assert_eq!(received, Received::Close(Some((1001, reason))));
            }
        }
    }
    let lines = diary.lines();
    assert_eq!(lines.iter().filter(|line| *line == "Draining").count(), 10);
    assert_eq!(lines.iter().filter(|line| line.starts_with("close 7 1001")).count(), 10);
    assert!(shard.shard.is_stopped());
}

/// Subscribes to more topics than one send has room for.
struct Many;

impl Handler for Many {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        for number in 0..200 {
            conn.subscribe(&format!("topic.{number}")).unwrap();
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        for number in 0..200 {
            conn.publish(&format!("topic.{number}"), message).unwrap();
        }
    }
}

#[test]
fn more_topics_than_fit_a_send_are_all_delivered() {
    let mut shard = TestShard::new(Many);
    let mut client = shard.connect("/");
    shard.run();
    for _ in 0..3 {
        client.send("x");
        shard.run();
    }
    let received = std::iter::from_fn(|| client.receive()).filter(|got| *got == text("x").unwrap());
    assert_eq!(received.count(), 600);
}

#[test]
fn a_failed_upgrade_closes_its_session() {
    let diary = Diary::default();
    let mut shard = TestShard::new(diary.clone());
    let wire = shard.world.connect(0);
    wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    shard.run();
    assert!(wire.read(1000).starts_with(b"HTTP/1.1 426 "));
    assert_eq!(diary.lines().pop().as_deref(), Some("close 7 1006 \"\" true"));
}

/// Subscribes to the topic in the path, in the envelope lane.
struct Paths;

impl Handler for Paths {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        let topic = conn.target()[1..].to_owned();
        let delivery = Delivery { lane: Some(&ENVELOPE), ..Delivery::default() };
        conn.subscribe_with(&topic, &delivery).expect("a good name, once");
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        let Message::Text(topic) = message else { return };
        match topic.strip_prefix('-') {
            Some(topic) => drop(conn.unsubscribe(topic)),
            None => self.open_topic(conn, topic),
        }
    }

    fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: Notice<'_>) {
        let said = match notice {
            Notice::Subscribed { topic, .. } => format!("+{topic}"),
            Notice::Refused { topic, error } => format!("!{topic} {error}"),
            _ => return,
        };
        let _ = conn.send(said.as_str());
    }
}

impl Paths {
    fn open_topic(&mut self, conn: &mut Conn<'_, ()>, topic: &str) {
        let delivery = Delivery { lane: Some(&ENVELOPE), ..Delivery::default() };
        let _ = conn.subscribe_with(topic, &delivery);
    }
}

/// Takes all texts that a client has received.
fn texts(client: &mut TestClient) -> Vec<String> {
    std::iter::from_fn(|| match client.receive()? {
        Received::Text(text) => Some(text),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn a_pattern_matches_existing_and_future_topics() {
    let limits = Limits { subscriptions_max: 4, ..Limits::default() };
    let mut shard = TestShard::with_limits(Paths, limits);
    let publisher = shard.publisher();
    let publish = |shard: &mut TestShard<Paths>, topic: &str, text: &str| {
        publisher.publish(topic, text).unwrap();
        shard.run();
    };
    publish(&mut shard, "trades.BTC", "1");
    let mut client = shard.connect("/trades.*");
    shard.run();
    assert_eq!(texts(&mut client), ["+trades.BTC"]);
    publish(&mut shard, "trades.BTC", "2");
    publish(&mut shard, "trades.ETH", "3");
    publish(&mut shard, "quotes.ETH", "4");
    let got = ["M trades.BTC 2 0 - 2", "+trades.ETH", "M trades.ETH 1 0 - 3"];
    assert_eq!(texts(&mut client), got);

    // The subscription by name wins, once; when it ends, the pattern delivers again.
    client.send("trades.ETH");
    shard.run();
    publish(&mut shard, "trades.ETH", "5");
    client.send("-trades.ETH");
    shard.run();
    publish(&mut shard, "trades.ETH", "6");
    let got = ["+trades.ETH", "M trades.ETH 2 0 - 5", "+trades.ETH", "M trades.ETH 3 0 - 6"];
    assert_eq!(texts(&mut client), got);

    // The topic beyond the limit is reported.
    publish(&mut shard, "trades.SOL", "7");
    publish(&mut shard, "trades.XRP", "8");
    let got = texts(&mut client);
    assert_eq!(got[..2], ["+trades.SOL", "M trades.SOL 1 0 - 7"]);
    assert_eq!(got[2..], ["!trades.XRP too many subscriptions on this connection"]);
    client.send("-trades.*");
    shard.run();
    publish(&mut shard, "trades.ETH", "9");
    assert_eq!(texts(&mut client), Vec::<String>::new());
}

#[test]
fn an_idle_topic_is_evicted_and_can_be_created_again() {
    let limits = Limits { log_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Paths, limits);
    let mut client = shard.connect("/trades.*");
    shard.run();
    shard.publisher().publish("trades.BTC", "1").unwrap();
    shard.run();
    assert_eq!(texts(&mut client), ["+trades.BTC", "M trades.BTC 1 0 - 1"]);
    assert_eq!(shard.counters().topics.get(), 1);
    shard.advance(Duration::from_secs(3));
    assert_eq!(shard.counters().topics.get(), 0);
    shard.publisher().publish("trades.BTC", "2").unwrap();
    shard.run();
    assert_eq!(texts(&mut client), ["+trades.BTC", "M trades.BTC 1 3000 - 2"]);
}

#[test]
fn a_reader_that_stops_reading_for_good_is_closed() {
    let limits = Limits { tape_bytes_max: 64 << 10, close_ms: 1_000, ..Limits::default() };
    let mut shard = TestShard::with_limits(Broadcast, limits);
    let (mut slow, mut fast) = (shard.connect("/"), shard.connect("/"));
    shard.run();
    slow.stall(true);
    for _ in 0..1_000 {
        fast.send("x".repeat(1_000).as_str());
        shard.run();
        assert!(fast.receive().is_some());
    }
    shard.advance(Duration::from_secs(3));
    assert_eq!(shard.counters().readers_fallen.get(), 1);
    assert_eq!(shard.counters().connections.get(), 1);
}

/// One topic with a rate, one without.
struct TwoTopics;

impl Handler for TwoTopics {
    type Session = ();
    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }
    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        let rated = Delivery { max_rate: Some(10), ..Delivery::default() };
        conn.subscribe_with("rated", &rated).unwrap();
        conn.subscribe("plain").unwrap();
    }
    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

#[test]
fn a_rate_tick_is_sent_although_another_topic_is_in_flight() {
    let mut shard = TestShard::new(TwoTopics);
    let mut client = shard.connect("/");
    shard.advance(Duration::from_millis(1_010));
    shard.publisher().publish("rated", "RRRR").unwrap();
    shard.publisher().publish("plain", "pppppppp").unwrap();
    // One turn publishes and flushes; the next, which begins a little later, sends.
    shard.shard.turn().unwrap();
    let tick = shard.world.now().as_millis() / 100 * 100 + 100;
    shard.world.advance_to(crate::base::Time::ZERO.plus_millis(tick));
    shard.run();
    shard.advance(Duration::from_millis(500));
    assert_eq!(client.receive(), text("pppppppp"));
    assert_eq!(client.receive(), text("RRRR"));
}

#[test]
fn a_key_on_a_topic_without_keys_is_ignored() {
    let limits = Limits::default();
    let rule = Rule { keys_max: 0, ..Rule::new("plain", &limits) };
    let mut shard = TestShard::with_rules(TwoTopics, limits, vec![rule]);
    let mut client = shard.connect("/");
    shard.run();
    let keyed = crate::app::Publish { key: Some("k"), ..Default::default() };
    shard.publisher().publish_with("plain", "x", &keyed).unwrap();
    shard.run();
    assert_eq!(client.receive(), text("x"), "'then the message goes without'");
}

/// A connection that never catches up with one topic still gets the replay of another.
#[test]
fn a_reader_that_lags_on_one_topic_gets_the_replay_of_another() {
    let mut shard = TestShard::new(Json);
    let publisher = shard.publisher();
    let body = format!("\"{}\"", "x".repeat(1_000));
    let json = Publish { json: true, ..Publish::default() };
    let publish =
        |topic: &str| publisher.publish_with(topic, body.as_str(), &json).expect("there is room");
    publish("past");
    let mut client = shard.connect("/");
    client.send(r#"{"type":"subscribe","channel":"busy"}"#);
    shard.run();
    // More than its socket holds.
    for _ in 0..4 * SOCKET_BYTES / body.len() {
        publish("busy");
        shard.run();
    }
    client.send(r#"{"type":"subscribe","channel":"past","snapshot":true}"#);
    let mut got = Vec::new();
    while got.len() < 3 * SOCKET_BYTES {
        // Twice as fast as it reads.
        publish("busy");
        shard.run();
        got.extend(client.wire.read(500));
    }
    let got = String::from_utf8_lossy(&got);
    assert!(got.contains(r#"{"type":"snapshot_end","channel":"past""#), "{}", got.len());
}

/// A connection whose replay of one topic never ends still gets live messages of another.
#[test]
fn a_reader_that_lags_on_one_topic_gets_live_messages_of_another() {
    let mut shard = TestShard::with_limits(
        Json,
        Limits { tape_bytes_max: 64 << 10, replay_bytes_max: 4 << 10, ..Limits::default() },
    );
    let publisher = shard.publisher();
    let body = format!("\"{}\"", "x".repeat(1_000));
    let publish = |topic: &str, key: Option<&str>| {
        let how = Publish { json: true, key, ..Publish::default() };
        publisher.publish_with(topic, body.as_str(), &how).expect("there is room");
    };
    let mut client = shard.connect("/");
    client.send(r#"{"type":"subscribe","channel":"busy","mode":"latest"}"#);
    client.send(r#"{"type":"subscribe","channel":"quiet"}"#);
    shard.run();
    // The values are many times the size of the tape, and change faster than the client reads:
    // each round of missed values takes longer than the tape lasts.
    let mut key = 0;
    let mut change = |shard: &mut TestShard<Json>, count: u32| {
        for _ in 0..count {
            key = (key + 1) % 2_000;
            publish("busy", Some(&format!("k{key}")));
            if key % 100 == 0 {
                shard.run();
            }
        }
        shard.run();
    };
    change(&mut shard, 4_000);
    let mut got = Vec::new();
    for number in 0..600 {
        if number % 20 == 0 {
            publish("quiet", None);
        }
        change(&mut shard, 20);
        got.extend(client.wire.read(5_000));
    }
    let got = String::from_utf8_lossy(&got);
    let heard = got.matches(r#""type":"message","channel":"quiet""#).count();
    // All but the messages that its socket holds.
    assert!(heard >= 25, "{heard} of 30 in {} bytes", got.len());
}
