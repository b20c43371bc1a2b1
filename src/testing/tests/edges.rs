//! Shards that stall or end, slow readers, and handlers that panic outside of a message.

use super::*;
use crate::app::{Conn, Request, Upgrade};
use crate::routes::{BROADCAST_TOPIC, Broadcast, Echo};
use crate::subprotocol::json::{Json, NAME};
use std::cell::Cell;
use std::rc::Rc;

/// Panics when it is asked for the route of a session of `/bad`, or of any once a flag is set.
#[derive(Clone, Default)]
struct Lost {
    closed: Rc<Cell<u32>>,
    is_lost: Rc<Cell<bool>>,
}

impl Handler for Lost {
    type Session = bool;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<bool> {
        Upgrade::accept(request.path() == "/bad")
    }

    fn message(&mut self, conn: &mut Conn<'_, bool>, message: Message<'_>) {
        let _ = conn.send(message);
    }

    fn route_of(&self, session: &bool) -> usize {
        assert!(!session && !self.is_lost.get(), "asked to");
        0
    }

    fn close(&mut self, _session: bool, _close: crate::connection::Close) {
        self.closed.set(self.closed.get() + 1);
    }
}

#[test]
fn a_panic_over_a_route_costs_its_connection() {
    let handler = Lost::default();
    let mut shard = TestShard::new(handler.clone());
    let (mut good, mut bad) = (shard.connect("/good"), shard.connect("/bad"));
    shard.run();
    let close = Received::Close(Some((1011, "internal error".into())));
    assert_eq!(bad.receive(), Some(close));
    good.send("still here");
    shard.run();
    assert_eq!(good.receive(), Some(Received::Text("still here".into())));
    // It panics when the connection ends: everything else is done all the same.
    handler.is_lost.set(true);
    good.close(CloseCode::NORMAL);
    shard.advance(Duration::from_secs(10));
    assert_eq!(handler.closed.get(), 2);
    assert_eq!(shard.counters().connections.get(), 0);
    assert!(shard.counters().handler_panics.get() >= 2);
}

#[test]
fn after_a_stall_input_is_handled_before_timers() {
    let limits =
        Limits { idle_ping_ms: 1_000, pong_ms: 500, receive_buffers: 4, ..Limits::default() };
    let mut shard = TestShard::with_limits(Echo, limits);
    let mut clients: Vec<_> = (0..60).map(|_| shard.connect("/")).collect();
    shard.run();
    clients.iter_mut().for_each(|client| assert_eq!(client.receive(), None));
    // Each is pinged, and answers; then the process is stopped.
    shard.advance(Duration::from_millis(1_100));
    clients.iter_mut().for_each(|client| assert_eq!(client.receive(), None));
    shard.world.advance_to(shard.world.now() + Duration::from_secs(60));
    shard.advance(Duration::from_secs(1));
    for client in &mut clients {
        client.send("here");
        shard.run();
        assert_eq!(client.receive(), Some(Received::Text("here".into())));
    }
    // They no longer answer, and are cut in the usual time.
    shard.advance(Duration::from_millis(1_600));
    assert_eq!(shard.counters().connections.get(), 0);
}

#[test]
fn a_slow_reader_that_keeps_reading_is_not_cut() {
    let limits =
        Limits { idle_ping_ms: 1_000, pong_ms: 500, tape_bytes_max: 16 << 20, ..Limits::default() };
    let mut shard = TestShard::with_limits(Broadcast, limits);
    let slow = shard.connect("/");
    shard.run();
    let publisher = shard.publisher();
    for _ in 0..2_000 {
        publisher.publish(BROADCAST_TOPIC, [7; 1_000].as_slice()).unwrap();
        shard.run();
    }
    // 20 KB every 400 ms: the ping waits behind two megabytes, and the last 250 KB are in the
    // socket, whose level the server can't see.
    let mut read = 0;
    while read < 2_000_000 {
        shard.advance(Duration::from_millis(400));
        let bytes = slow.wire.read(20_000);
        assert!(!bytes.is_empty(), "lost after {read} bytes");
        read += bytes.len();
    }
    assert_eq!(shard.counters().connections.get(), 1);
    // A reader that takes nothing any more is cut.
    shard.advance(Duration::from_secs(60));
    assert_eq!(shard.counters().connections.get(), 0);
}

#[test]
fn receives_without_a_buffer_are_armed_once_buffers_are_free() {
    let mut shard =
        TestShard::with_limits(Echo, Limits { receive_buffers: 4, ..Limits::default() });
    let mut clients: Vec<_> = (0..400).map(|_| shard.connect("/")).collect();
    shard.run();
    let before = shard.counters().receives_rearmed.get();
    clients.iter_mut().for_each(|client| client.send("all at once"));
    shard.run();
    for client in &mut clients {
        assert_eq!(client.receive(), Some(Received::Text("all at once".into())));
    }
    let rearmed = shard.counters().receives_rearmed.get() - before;
    assert!(rearmed <= 2 * 400, "{rearmed} receives were armed for 400 messages");
}

#[test]
fn a_drain_notifies_a_few_handlers_at_a_time() {
    let limits = Limits { sends_per_turn: 8, ..Limits::default() };
    let mut shard = TestShard::with_limits(Json, limits);
    let mut clients: Vec<_> = (0..300).map(|_| shard.connect_offering("/", &[NAME])).collect();
    shard.run();
    clients.iter_mut().for_each(|client| drop(client.receive()));
    shard.drain();
    let mut most = 0;
    for _ in 0..200 {
        shard.turn(Duration::ZERO);
        most = most.max(shard.queued_bytes());
    }
    assert!(most > 0 && most < 16 * 200, "{most} bytes were queued at a time");
    for client in &mut clients {
        let Some(Received::Text(text)) = client.receive() else { panic!("no notice") };
        assert!(text.contains("shutdown"), "{text}");
    }
}

#[test]
fn a_drained_shard_serves_its_topics_until_the_others_are_drained() {
    let limits = Limits { drain_notice_ms: 0, drain_ms: 1_000, ..Limits::default() };
    let world = World::new(0, Faults::default(), SOCKET_BYTES);
    let (mut shards, publisher) = assemble(&world, &limits, Vec::new(), 2, |_| (), || Broadcast);
    let run = |shards: &mut Vec<Shard<Broadcast, SimRing>>| {
        while let Some(number) =
            (0..2).find(|&it| world.is_runnable(it) && !shards[it].is_stopped())
        {
            shards[number].turn().unwrap();
        }
    };
    let home = crate::hub::Hub::home_of(BROADCAST_TOPIC, 0, 2).index();
    let mut readers: Vec<_> = (0..20)
        .map(|number| TestClient::start(world.connect(1 - home), "/", &[], [number; 16]))
        .collect();
    run(&mut shards);
    shards.iter().for_each(|shard| shard.command(Command::DRAIN));
    let mut got = 0;
    // They are closed one after the other, to the end of the window.
    for step in 0.. {
        assert!(step < 300, "it never ends");
        run(&mut shards);
        readers.retain_mut(|reader| !matches!(reader.receive(), Some(Received::Close(_))));
        if readers.is_empty() {
            break;
        }
        assert!(!shards[home].is_stopped(), "the home of their topic is gone");
        publisher.publish(BROADCAST_TOPIC, "on").unwrap();
        run(&mut shards);
        for reader in &mut readers {
            assert_eq!(reader.receive(), Some(Received::Text("on".into())), "at step {step}");
            got += 1;
        }
        world.advance_to(world.now() + Duration::from_millis(20));
    }
    assert!(got > 100, "{got} messages");
    for _ in 0..100 {
        run(&mut shards);
        world.advance_to(world.now() + Duration::from_millis(20));
    }
    assert!(shards.iter().all(Shard::is_stopped));
}

/// Blocks for so long, as no handler may.
struct Blocking;

impl Handler for Blocking {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        conn.set_timer(Duration::from_secs(2));
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}

    fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: crate::app::Notice<'_>) {
        if notice == crate::app::Notice::Timer {
            let _ = conn.send("late");
        }
    }
}

#[test]
fn timers_run_out_however_long_every_turn_takes() {
    let mut shard = TestShard::new(Blocking);
    let (mut waiting, mut busy) = (shard.connect("/"), shard.connect("/"));
    shard.run();
    // Each turn is 200 ms late, for longer than timers wait for input.
    for _ in 0..30 {
        busy.send("x");
        shard.turn(Duration::from_millis(200));
    }
    shard.advance(Duration::from_millis(50));
    assert_eq!(waiting.receive(), Some(Received::Text("late".into())));
}
