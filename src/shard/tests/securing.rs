//! TLS on the simulated ring, step by step.

use super::wire::Wire;
use crate::app::{Conn, Handler, Request, Upgrade};
use crate::base::Limits;
use crate::protocol::Message;
use crate::routes::Echo;
use crate::testing::TestShard;
use crate::tls::{Acceptor, Connector};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const HEAD: &[u8] =
    b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const MILLISECOND: Duration = Duration::from_millis(1);

fn secure(limits: Limits, acceptor: Acceptor) -> TestShard<Echo> {
    TestShard::with_parts(Echo, limits, |parts| {
        (parts.listeners, parts.tls) = (vec![true], Some(acceptor));
    })
}

fn dial(shard: &mut TestShard<Echo>, connector: &Connector) -> Wire {
    Wire::new(shard.dial(), Some(connector.connect("localhost").unwrap()))
}

/// Reads from each; returns how many have been upgraded.
fn upgraded(wires: &mut [Wire], got: &mut [Vec<u8>]) -> usize {
    for (wire, got) in wires.iter_mut().zip(got.iter_mut()) {
        got.extend(wire.read(usize::MAX).0);
    }
    got.iter().filter(|got| got.starts_with(b"HTTP/1.1 101 ")).count()
}

/// With one handshake a turn and a stall limit that is shorter than the queue, a client that
/// waits for the server is not idle.
#[test]
fn a_handshake_that_waits_for_its_turn_is_not_late() {
    const CLIENTS: usize = 200;
    let (acceptor, connector) = crate::tls::tests::pair();
    let limits = Limits {
        tls_handshakes_per_turn: 1,
        handshake_stall_ms: 50,
        handshake_ms: 100,
        ..Limits::default()
    };
    let mut shard = secure(limits, acceptor);
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| dial(&mut shard, &connector)).collect();
    wires.iter_mut().for_each(|wire| wire.write(HEAD));
    let mut got = vec![Vec::new(); CLIENTS];
    for _ in 0..3 * CLIENTS {
        shard.turn(MILLISECOND);
        upgraded(&mut wires, &mut got);
    }
    assert_eq!(upgraded(&mut wires, &mut got), CLIENTS);
    assert!(shard.counters().tls_handshakes_delayed.get() > CLIENTS as u64 / 2);
    // A client that sends nothing is still cut.
    let _idle = dial(&mut shard, &connector);
    shard.run();
    assert_eq!(shard.counters().connections.get(), CLIENTS as u64 + 1);
    shard.advance(MILLISECOND * 200);
    assert_eq!(shard.counters().connections.get(), CLIENTS as u64);
}

/// Records the certificate of each client, and accepts all.
struct Doorkeeper(Rc<RefCell<Vec<Option<Vec<u8>>>>>);

impl Handler for Doorkeeper {
    type Session = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        self.0.borrow_mut().push(request.client_certificate().map(<[u8]>::to_vec));
        Upgrade::accept(())
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

#[test]
fn a_handler_sees_the_certificate_of_a_client() {
    let (acceptor, known, certificate, nobody) = crate::tls::tests::asking();
    let shown = Rc::new(RefCell::new(Vec::new()));
    let handler = Doorkeeper(Rc::clone(&shown));
    let mut shard = TestShard::with_parts(handler, Limits::default(), |parts| {
        (parts.listeners, parts.tls) = (vec![true], Some(acceptor));
    });
    for (connector, resumed, expected) in [
        (&known, 0, Some(&certificate)),
        // The second time the client presents a ticket, which contains the certificate.
        (&known, 1, Some(&certificate)),
        (&nobody, 1, None),
        (&nobody, 2, None),
    ] {
        let session = connector.connect("localhost").unwrap();
        let mut wire = Wire::new(shard.dial(), Some(session));
        wire.write(HEAD);
        let mut got = [Vec::new()];
        for _ in 0..10 {
            shard.turn(MILLISECOND);
            upgraded(std::slice::from_mut(&mut wire), &mut got);
        }
        assert!(got[0].starts_with(b"HTTP/1.1 101 "));
        assert_eq!(shard.counters().tls_resumptions.get(), resumed);
        assert_eq!(shown.borrow_mut().pop(), Some(expected.cloned()));
    }
    assert_eq!(*shown.borrow(), []);
}

/// A piece of a record does not count as a handshake of the turn.
#[test]
fn drips_do_not_use_up_the_handshakes_of_a_turn() {
    let (acceptor, connector) = crate::tls::tests::pair();
    let limits = Limits { tls_handshakes_per_turn: 1, ..Limits::default() };
    let mut shard = secure(limits, acceptor);
    let drippers: Vec<_> = (0..100).map(|_| shard.dial()).collect();
    // The header of a long hello.
    drippers.iter().for_each(|dripper| dripper.write(b"\x16\x03\x01\x20\0"));
    shard.run();
    let mut wires = [dial(&mut shard, &connector)];
    let mut got = [Vec::new()];
    wires[0].write(HEAD);
    for _ in 0..20 {
        drippers.iter().for_each(|dripper| dripper.write(b"\x01"));
        shard.turn(MILLISECOND);
        upgraded(&mut wires, &mut got);
    }
    assert_eq!(upgraded(&mut wires, &mut got), 1);
    assert_eq!(shard.counters().tls_handshakes_delayed.get(), 0);
}

/// A handshake that is too long is cut, and its limit counts the hit.
#[test]
fn a_hello_without_end_is_cut() {
    let (acceptor, _) = crate::tls::tests::pair();
    let limits = Limits::default();
    let most = limits.tls_handshake_bytes_max;
    let mut shard = secure(limits, acceptor);
    let peer = shard.dial();
    // Records of a hello that declares 65,535 bytes.
    peer.write(b"\x16\x03\x03\0\x04\x01\0\xFF\xFF");
    let mut sent = 0;
    let hits = |shard: &TestShard<Echo>| {
        let mut limits = shard.counters().limits_hit.all();
        limits.find(|(name, _)| *name == "tls_handshake_bytes_max").unwrap().1
    };
    while hits(&shard) == 0 && sent < 80 << 10 {
        peer.write(&[&b"\x16\x03\x03\x04\0"[..], &[7; 1 << 10]].concat());
        sent += 1 << 10;
        shard.run();
    }
    assert!((most - (4 << 10)..most + (4 << 10)).contains(&sent), "cut after {sent} bytes");
    shard.advance(MILLISECOND * 3_000);
    assert_eq!(shard.counters().connections.get(), 0);
}

/// TLS 1.2 can't renew its keys: before they are used up, the connection is closed with a
/// reason. (For tests they last 4,000 records.)
#[test]
fn a_connection_of_tls_1_2_ends_before_its_keys_do() {
    let (acceptor, connector) = crate::tls::tests::pair();
    for (connector, ends) in [(connector.of_tls12(), true), (connector, false)] {
        let mut shard = secure(Limits::default(), acceptor.clone());
        let mut wire = dial(&mut shard, &connector);
        wire.write(HEAD);
        let mut got = Vec::new();
        let mut echoes = 0;
        for _ in 0..6_000 {
            shard.run();
            let (came, _) = wire.read(usize::MAX);
            got.extend(&came);
            if got.ends_with(b"\x88\x24\x03\xE9maximum age reached: connect again") {
                break;
            }
            if got.ends_with(b"\r\n\r\n") || came.ends_with(b"\x82\x01x") {
                wire.write(b"\x82\x81\0\0\0\0x");
                echoes += 1;
            }
        }
        let end = String::from_utf8_lossy(&got[got.len() - 40..]).into_owned();
        assert_eq!(end.contains("maximum age reached: connect again"), ends, "{end:?}");
        assert_eq!((3_900..4_010).contains(&echoes), ends, "{echoes}");
    }
}
