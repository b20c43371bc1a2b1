//! The Rust client against the real program: a killed server, a lost network, stalled
//! subscribers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tapecast::client::{Client, Error, Event, Mode, Options, Position, Received, Subscribe};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running `tapecast serve`, killed when dropped.
struct Server(Child);

impl Server {
    fn start(port: u16) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tapecast"))
            .args(["serve", "--shards", "2", "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is built with its tests");
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        assert!(line.starts_with("listening on "), "{line:?}");
        Server(process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The test may have killed it already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}/")
}

/// A network between client and server, which can be cut, or lost without an error.
struct Network {
    port: u16,
    is_lost: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Network {
    fn to(server: u16) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_lost, streams) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let network = Network { port, is_lost, streams };
        let (is_lost, streams) = (network.is_lost.clone(), network.streams.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let client = client.unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let is_lost = is_lost.clone();
                    std::thread::spawn(move || carry(from, to, &is_lost));
                }
                streams.lock().unwrap().extend([client, server]);
            }
        });
        network
    }

    /// Ends every connection.
    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Carries bytes, and drops them while the network is lost.
fn carry(mut from: TcpStream, mut to: TcpStream, is_lost: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if is_lost.load(Ordering::Relaxed) {
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Notices a loss within half a second and reconnects at once.
fn impatient() -> Options {
    Options {
        backoff: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        connect: Duration::from_millis(500),
        idle: Duration::from_millis(250),
        answer: Duration::from_millis(250),
        ..Options::default()
    }
}

fn next(client: &mut Client) -> Event {
    client.next_within(PATIENCE).unwrap().expect("an event within the patience")
}

/// Takes events until `wanted` has a value for one.
fn until<T>(client: &mut Client, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = wanted(next(client)) {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "the expected event did not arrive");
    }
}

fn message(event: Event) -> Option<Received> {
    match event {
        Event::Message(received) => Some(received),
        _ => None,
    }
}

fn subscribed(client: &mut Client) -> (Position, bool) {
    until(client, |event| match event {
        Event::Subscribed { position, recovered, .. } => Some((position, recovered)),
        _ => None,
    })
}

#[test]
fn a_client_publishes_and_receives() {
    let port = free_port();
    let _server = Server::start(port);
    let mut client = Client::connect(&url(port)).unwrap();
    client.subscribe("quotes.*", &Subscribe::default()).unwrap();
    assert!(matches!(
        client.subscribe("quotes.*", &Subscribe::default()),
        Err(Error::Subscribed(_))
    ));
    let request = client.publish("quotes.a", Some("BTC"), r#"{"bid":1.5}"#).unwrap();
    // The order of the two depends on the shards.
    let (mut received, mut is_published) = (None, false);
    while received.is_none() || !is_published {
        let event = next(&mut client);
        is_published |= event == Event::Published { request, seq: 1 };
        received = received.or(message(event));
    }
    let received = received.unwrap();
    assert_eq!(
        (&*received.channel, received.seq, &*received.body),
        ("quotes.a", 1, r#"{"bid":1.5}"#)
    );
    assert_eq!(received.key.as_deref(), Some("BTC"));

    // The newest of each key, without removed ones.
    client.publish("quotes.a", Some("BTC"), "2").unwrap();
    client.publish("quotes.a", Some("ETH"), "3").unwrap();
    client.remove("quotes.a", "BTC").unwrap();
    until(&mut client, |event| message(event).filter(|message| message.is_removed));
    let latest = Subscribe { mode: Mode::Latest, snapshot: true, ..Subscribe::default() };
    client.subscribe("quotes.a", &latest).unwrap();
    let received = until(&mut client, message);
    assert_eq!((received.is_snapshot, &*received.body), (true, "3"));
    until(&mut client, |event| matches!(event, Event::SnapshotEnd { seq: 4, .. }).then_some(()));

    client.unsubscribe("quotes.a").unwrap();
    assert!(matches!(client.unsubscribe("quotes.a"), Err(Error::NotSubscribed(_))));
    client.subscribe("a..b", &Subscribe::default()).unwrap();
    let (channel, code) = until(&mut client, |event| match event {
        Event::Refused { channel, code, .. } => Some((channel, code)),
        _ => None,
    });
    assert_eq!((channel.as_deref(), code), (Some("a..b"), 110));
    let request = client.ping().unwrap();
    until(&mut client, |event| (event == Event::Pong { request }).then_some(()));
    client.close();
}

#[test]
fn a_server_that_can_not_be_reached_is_an_error() {
    let error = Client::connect(&url(free_port())).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error}");
    assert!(matches!(Client::connect("http://a"), Err(Error::Url(_))));
}

#[test]
fn a_client_survives_a_killed_server() {
    let port = free_port();
    let mut server = Server::start(port);
    let mut client = Client::with_options(&url(port), impatient()).unwrap();
    client.subscribe("a", &Subscribe::default()).unwrap();
    let (before, _) = subscribed(&mut client);
    client.publish("a", None, "1").unwrap();
    assert_eq!(until(&mut client, message).seq, 1);
    server.0.kill().unwrap();
    until(&mut client, |event| matches!(event, Event::Disconnected { .. }).then_some(()));
    // The publication waits for the server to return.
    client.publish("a", None, "2").unwrap();
    drop(server);
    let _server = Server::start(port);
    let (after, recovered) = subscribed(&mut client);
    assert!(after.epoch != before.epoch && !recovered, "{before:?} {after:?}");
    let reset = next(&mut client);
    assert!(matches!(reset, Event::Reset { previous: Position { seq: 1, .. }, .. }), "{reset:?}");
    assert_eq!(&*until(&mut client, message).body, "2");
}

/// Publishes numbers to `a` for `time`, one a millisecond; returns how many.
fn publish(port: u16, time: Duration) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut publisher = Client::connect(&url(port)).unwrap();
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < time {
            number += 1;
            match publisher.publish("a", None, &number.to_string()) {
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
            std::thread::sleep(Duration::from_millis(1));
            while publisher.next_within(Duration::ZERO).unwrap().is_some() {}
        }
        number
    })
}

/// Every publication is received in order, exactly once.
fn receives_all(client: &mut Client, published: std::thread::JoinHandle<u64>, losses_min: usize) {
    let (mut last, mut losses) = (0, 0);
    let mut recent = VecDeque::new();
    let mut total = None;
    let mut published = Some(published);
    let start = Instant::now();
    while total.is_none_or(|total| last < total) {
        if published.as_ref().is_some_and(|thread| thread.is_finished()) {
            total = published.take().map(|thread| thread.join().unwrap());
        }
        assert!(start.elapsed() < PATIENCE, "{last} of {total:?}; {recent:?}");
        let Some(event) = client.next_within(Duration::from_millis(50)).unwrap() else { continue };
        match &event {
            Event::Message(received) => {
                assert_eq!((received.seq, &*received.body), (last + 1, &*(last + 1).to_string()));
                last += 1;
            }
            Event::Subscribed { recovered, .. } => assert!(last == 0 || *recovered),
            Event::Disconnected { .. } => losses += 1,
            Event::Connected => {}
            _ => panic!("{event:?}; before it {recent:?}"),
        }
        recent.push_back(event);
        if recent.len() > 5 {
            recent.pop_front();
        }
    }
    assert!(losses >= losses_min, "{losses} losses");
}

#[test]
fn a_lost_network_loses_no_message() {
    let port = free_port();
    let _server = Server::start(port);
    let network = Network::to(port);
    let mut client = Client::with_options(&url(network.port), impatient()).unwrap();
    client.subscribe("a", &Subscribe::default()).unwrap();
    subscribed(&mut client);
    let published = publish(port, Duration::from_secs(3));
    let is_lost = network.is_lost.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        is_lost.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1_200));
        is_lost.store(false, Ordering::Relaxed);
    });
    receives_all(&mut client, published, 1);
}

#[test]
fn connections_that_are_cut_repeatedly_lose_no_message() {
    let port = free_port();
    let _server = Server::start(port);
    let network = Network::to(port);
    let mut client = Client::with_options(&url(network.port), impatient()).unwrap();
    client.subscribe("a", &Subscribe::default()).unwrap();
    subscribed(&mut client);
    let published = publish(port, Duration::from_secs(3));
    std::thread::spawn(move || {
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(250));
            network.cut();
        }
    });
    receives_all(&mut client, published, 5);
}

#[test]
fn a_window_holds_messages_back_until_they_are_acknowledged() {
    let port = free_port();
    let _server = Server::start(port);
    let mut client = Client::connect(&url(port)).unwrap();
    let window = Subscribe { window: Some(8), manual_ack: true, ..Subscribe::default() };
    client.subscribe("a", &window).unwrap();
    subscribed(&mut client);
    let mut other = Client::connect(&url(port)).unwrap();
    let automatic = Subscribe { window: Some(8), ..Subscribe::default() };
    other.subscribe("a", &automatic).unwrap();
    subscribed(&mut other);
    for number in 1..=100 {
        other.publish("a", None, &number.to_string()).unwrap();
    }
    for seq in 1..=100 {
        assert_eq!(until(&mut other, message).seq, seq);
    }
    for seq in 1..=8 {
        assert_eq!(until(&mut client, message).seq, seq);
    }
    assert_eq!(client.next_within(Duration::from_millis(300)).unwrap(), None);
    client.ack("a", None).unwrap();
    for seq in 9..=16 {
        assert_eq!(until(&mut client, message).seq, seq);
    }
    assert!(matches!(client.ack("b", None), Err(Error::NotSubscribed(_))));
}

/// A server in a test: it accepts the handshake, sends these bytes, and returns the payload of the
/// client's close frame.
fn rude_server(first: &'static [u8]) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        accept_handshake(&mut stream);
        stream.write_all(first).unwrap();
        let mut rest = Vec::new();
        // The close frame is the client's last.
        while rest.first() != Some(&0x88) {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            assert_ne!(read, 0, "the end before a close frame");
            rest.extend_from_slice(&bytes[..read]);
            while rest.len() >= 6 && rest[0] != 0x88 {
                rest.drain(..6 + usize::from(rest[1] & 0x7F));
            }
        }
        let (mask, payload) = (rest[2..6].to_vec(), &rest[6..6 + usize::from(rest[1] & 0x7F)]);
        payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
    });
    (port, served)
}

fn accept_handshake(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
    let accept = tapecast::protocol::handshake::accept_value(key);
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Protocol: tapecast.v1.json\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).unwrap();
}

#[test]
fn a_close_frame_is_answered_and_names_a_violation() {
    for (first, code) in [
        // A close frame; a reserved bit; a masked frame; a text that is no message.
        (&b"\x88\x04\x03\xf5hm"[..], 1013_u16),
        (b"\xf1\x01x", 1002),
        (b"\x81\x81\0\0\0\0x", 1002),
        (b"\x81\x02{]", 1003),
    ] {
        let (port, served) = rude_server(first);
        let mut client = Client::with_options(&url(port), impatient()).unwrap();
        client.publish("a", None, "1").unwrap();
        until(&mut client, |event| matches!(event, Event::Disconnected { .. }).then_some(()));
        // The client sends while its events are taken.
        let end = Instant::now() + Duration::from_secs(1);
        while !served.is_finished() && Instant::now() < end {
            let _ = client.next_within(Duration::from_millis(20));
        }
        assert_eq!(served.join().unwrap()[..2], code.to_be_bytes(), "{first:?}");
    }
}

#[test]
fn a_server_that_accepts_and_drops_connections_is_not_flooded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let handshakes = Arc::new(Mutex::new(0));
    let counted = handshakes.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            accept_handshake(&mut stream);
            *counted.lock().unwrap() += 1;
            stream.write_all(b"\x81\x0f{\"type\":\"pong\"}\x88\x02\x03\xf5").unwrap();
        }
    });
    let mut client = Client::connect(&url(port)).unwrap();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let _ = client.next_within(Duration::from_millis(50)).unwrap();
    }
    let count = *handshakes.lock().unwrap();
    assert!((2..=12).contains(&count), "{count} handshakes in 5 s");
}

#[test]
fn every_address_of_a_name_is_tried_and_headers_are_checked() {
    // The server listens on 127.0.0.1 only, and localhost may be ::1 first.
    let port = free_port();
    let _server = Server::start(port);
    assert!(Client::connect(&format!("WS://localhost:{port}")).is_ok());
    let headers = vec![("Upgrade".to_owned(), "h2c".to_owned())];
    let refused = Client::with_options(&url(port), Options { headers, ..Options::default() });
    assert!(matches!(refused, Err(Error::Header(_))));
}
