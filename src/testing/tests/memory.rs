//! The memory of all connections is bounded, and small ones are not affected.

use super::*;
use crate::routes::Echo;

const MESSAGE: usize = 64 << 10;

fn limits() -> Limits {
    Limits {
        connections_bytes_max: 1 << 20,
        message_bytes_max: 256 << 10,
        message_ms: 60_000,
        idle_ping_ms: 0,
        ..Limits::default()
    }
}

/// The first bytes of a binary message of `declared` bytes.
fn begun(declared: usize, bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x82, 0xff];
    frame.extend_from_slice(&(declared as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.resize(frame.len() + bytes, 7);
    frame
}

fn check_echo(shard: &mut TestShard<Echo>, client: &mut TestClient) {
    client.send("small");
    shard.run();
    assert_eq!(client.receive(), Some(Received::Text("small".into())));
}

#[test]
fn messages_that_are_never_whole_are_bounded_together() {
    let mut shard = TestShard::with_limits(Echo, limits());
    let mut honest = shard.connect("/");
    let mut attackers = Vec::new();
    let mut most = 0;
    for number in 0..100 {
        let mut attacker = shard.connect("/");
        shard.run();
        // Of growing size, so that the server does not always close the newest.
        let bytes = MESSAGE + number * 100;
        for piece in begun(bytes + 1, bytes).chunks(8 << 10) {
            attacker.write(piece);
            shard.advance(Duration::from_millis(25));
            most = most.max(shard.counters().connection_bytes.get());
        }
        attackers.push(attacker);
        check_echo(&mut shard, &mut honest);
    }
    assert!(most <= (1 << 20) + (64 << 10), "{most} bytes");
    let counters = shard.counters();
    assert!(counters.memory_pauses.get() > 0);
    assert!(counters.memory_closes.get() > 50, "{}", counters.memory_closes.get());
    let close =
        Received::Close(Some((1013, "the server is short of memory: try again later".into())));
    let got: Vec<_> = attackers.iter_mut().map(TestClient::receive).collect();
    let closed = got.iter().filter(|got| got.as_ref() == Some(&close)).count();
    assert_eq!(closed as u64, shard.counters().memory_closes.get(), "each gets the reason");
    // The deadline closes the others, and all memory is free.
    shard.advance(Duration::from_secs(70));
    assert_eq!(shard.counters().connection_bytes.get(), 0);
    check_echo(&mut shard, &mut honest);
}

#[test]
fn echoes_that_nobody_reads_are_bounded_together() {
    let mut shard = TestShard::with_limits(Echo, limits());
    let mut honest = shard.connect("/");
    let mut most = 0;
    let mut attackers = Vec::new();
    for _ in 0..60 {
        let mut attacker = shard.connect("/");
        shard.run();
        attacker.stall(true);
        for _ in 0..8 {
            attacker.send([7; MESSAGE].as_slice());
            shard.advance(Duration::from_millis(25));
            most = most.max(shard.counters().connection_bytes.get());
        }
        attackers.push(attacker);
        check_echo(&mut shard, &mut honest);
    }
    assert!(most <= (1 << 20) + (300 << 10), "{most} bytes");
    assert!(shard.counters().memory_closes.get() > 10);
    assert!(shard.counters().connections.get() < 61);
}

#[test]
fn a_paused_connection_resumes_when_there_is_room() {
    let mut shard = TestShard::with_limits(Echo, limits());
    let mut holders: Vec<_> = (0..4).map(|_| shard.connect("/")).collect();
    shard.run();
    for holder in &mut holders {
        for piece in begun(250 << 10, 220 << 10).chunks(20 << 10) {
            holder.write(piece);
            shard.advance(Duration::from_millis(25));
        }
    }
    assert!(shard.counters().memory_pauses.get() > 0, "more than three quarters are held");
    assert_eq!(shard.counters().memory_closes.get(), 0);
    // One leaves, and the others can finish their messages.
    holders.pop().unwrap().reset();
    shard.advance(Duration::from_millis(50));
    for holder in &mut holders {
        holder.write(&[7; 30 << 10]);
        shard.advance(Duration::from_millis(50));
        let Some(Received::Binary(echo)) = holder.receive() else { panic!("no echo") };
        assert_eq!(echo, [7; 250 << 10]);
    }
    shard.advance(Duration::from_millis(50));
    assert_eq!(shard.counters().connection_bytes.get(), 0);
}

#[test]
fn a_message_has_a_deadline_and_a_stream_of_messages_has_none() {
    let mut shard = TestShard::with_limits(Echo, Limits { message_ms: 2_000, ..limits() });
    let (mut dripping, mut streaming) = (shard.connect("/"), shard.connect("/"));
    let mut fragmented = shard.connect("/");
    shard.run();
    dripping.write(&begun(70_000, 1));
    // A fragment without a byte is a message that has begun.
    fragmented.write(&[0x01, 0x80, 0, 0, 0, 0]);
    // Cut in the middle of a message each time.
    let message = begun(70_000, 70_000);
    streaming.write(&message[..500]);
    let mut got = 0;
    for _ in 0..12 {
        dripping.write(&[7]);
        fragmented.write(&[0x89, 0x80, 0, 0, 0, 0]);
        streaming.write(&[&message[500..], &message[..500]].concat());
        shard.advance(Duration::from_millis(400));
        got += usize::from(matches!(streaming.receive(), Some(Received::Binary(_))));
    }
    let close = Received::Close(Some((1008, "the message takes too long".into())));
    assert_eq!(dripping.receive(), Some(close.clone()));
    assert_eq!(fragmented.receive(), Some(close));
    assert_eq!((got, streaming.receive()), (12, None));
}

#[test]
fn incomplete_heads_count_and_a_holder_is_forgotten_with_its_connection() {
    let mut shard = TestShard::with_limits(Echo, limits());
    let wires: Vec<_> = (0..20).map(|_| shard.dial()).collect();
    for wire in &wires {
        wire.write(b"GET / HTTP/1.1\r\nX-Fill: ");
        wire.write(&[b'x'; 4_000]);
    }
    shard.run();
    assert!(shard.counters().connection_bytes.get() > 20 * 4_000);
    wires.iter().for_each(|wire| wire.reset());
    shard.run();
    assert_eq!(shard.counters().connection_bytes.get(), 0);
    // A paused and blocked connection ends: its successor in the slot is weighed.
    for _ in 0..3 {
        let mut holders: Vec<_> = (0..4).map(|_| shard.connect("/")).collect();
        shard.run();
        for holder in &mut holders {
            holder.stall(true);
            for _ in 0..4 {
                holder.send([7; MESSAGE].as_slice());
                shard.advance(Duration::from_millis(25));
            }
            holder.send([7; 250 << 10].as_slice());
            shard.advance(Duration::from_millis(25));
        }
        holders.iter_mut().for_each(TestClient::reset);
        shard.advance(Duration::from_millis(100));
        assert_eq!(shard.counters().connections.get(), 0);
        assert_eq!(shard.counters().connection_bytes.get(), 0);
    }
    assert!(shard.counters().memory_pauses.get() + shard.counters().memory_closes.get() > 0);
}

#[test]
fn a_rate_limit_extends_the_deadline_of_a_message() {
    let limits = Limits { message_ms: 2_000, bytes_per_second_max: 20_000, ..limits() };
    let mut shard = TestShard::with_limits(Echo, limits);
    let mut client = shard.connect("/");
    shard.run();
    client.write(&begun(200_000, 200_000));
    let mut got = None;
    for _ in 0..40 {
        shard.advance(Duration::from_millis(500));
        got = got.or_else(|| client.receive());
    }
    assert!(matches!(got, Some(Received::Binary(_))), "{got:?}");
}
