//! The driver against the real kernel.

use super::ring::{DROP_WAIT, SUBMISSIONS};
use super::{ReceiveBuffer, Uring};
use crate::base::{Limits, Time, Wake};
use crate::driver::{
    Batch, Driver, Errno, Event, Interest, ReceiveEnd, Setup, SetupError, Socket, Token,
};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TOKEN: Token = Token { index: 3, generation: 9 };

fn uring() -> Uring {
    Uring::new(&Setup::new(&Limits { receive_buffers: 4, ..Limits::default() }, 64)).unwrap()
}

/// Turns until `found` picks an event.
fn until<T>(uring: &mut Uring, found: impl Fn(Event<ReceiveBuffer>) -> Option<T>) -> T {
    let deadline = Driver::now(uring).plus_millis(5_000);
    let mut events = Vec::new();
    loop {
        uring.turn(&mut Batch::new(), deadline, &mut events).unwrap();
        if let Some(value) = events.drain(..).find_map(&found) {
            return value;
        }
        assert!(Driver::now(uring) < deadline, "the event did not happen");
    }
}

fn connected(uring: &mut Uring) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    uring.listen(vec![listener.into()], 2);
    uring.accept(0);
    let client = TcpStream::connect(address).unwrap();
    let local = client.local_addr().unwrap();
    let socket = until(uring, |event| match event {
        Event::Accepted { socket, peer, .. } => {
            assert_eq!(peer, Some(local));
            Some(socket)
        }
        _ => None,
    });
    (socket, client)
}

#[test]
fn a_connection_is_accepted_served_and_closed() {
    let mut uring = uring();
    let (socket, mut client) = connected(&mut uring);
    uring.receive(socket, TOKEN);
    client.write_all(b"ping").unwrap();
    let buffer = until(&mut uring, |event| match event {
        Event::Received { token, buffer } => (token == TOKEN).then_some(buffer),
        _ => None,
    });
    assert_eq!(&buffer[..], b"ping");
    let mut batch = Batch::new();
    batch.begin(socket);
    batch.slice(&buffer);
    batch.slice(b"pong");
    let mut events = Vec::new();
    uring.turn(&mut batch, Time::ZERO, &mut events).unwrap();
    assert_eq!(batch.outcome(0), Ok(8));
    drop(batch);
    uring.release(buffer);
    let mut reply = [0; 8];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"pingpong");
    drop(client);
    until(&mut uring, |event| {
        matches!(event, Event::ReceiveEnded { end: ReceiveEnd::EndOfStream, .. }).then_some(())
    });
    uring.close(socket, TOKEN);
    until(&mut uring, |event| matches!(event, Event::Closed { token: TOKEN }).then_some(()));
}

#[test]
fn receives_that_run_out_of_buffers_resume() {
    let mut uring = uring();
    let (socket, mut client) = connected(&mut uring);
    let writer = std::thread::spawn(move || {
        client.write_all(&[7; 4 << 20]).unwrap();
        client
    });
    let mut held = Vec::new();
    let (mut bytes, mut exhausted) = (0, 0);
    uring.receive(socket, TOKEN);
    while bytes < 4 << 20 {
        let mut events = Vec::new();
        let deadline = Driver::now(&mut uring).plus_millis(5_000);
        uring.turn(&mut Batch::new(), deadline, &mut events).unwrap();
        for event in events {
            match event {
                Event::Received { buffer, .. } => {
                    bytes += buffer.len();
                    assert!(buffer.iter().all(|&byte| byte == 7));
                    held.push(buffer);
                }
                Event::ReceiveEnded { end: ReceiveEnd::NoBuffers, .. } => {
                    exhausted += 1;
                    held.drain(..).for_each(|buffer| uring.release(buffer));
                    uring.receive(socket, TOKEN);
                }
                _ => {}
            }
        }
    }
    assert!(exhausted > 0, "the buffers never ran out");
    assert_eq!(bytes, 4 << 20);
    writer.join().unwrap();
}

#[test]
fn a_full_socket_cuts_sends_short_and_a_poll_reports_room() {
    let mut uring = uring();
    let (socket, mut client) = connected(&mut uring);
    let bytes = vec![1; 64 << 20];
    let mut batch = Batch::new();
    batch.begin(socket);
    batch.slice(&bytes);
    uring.turn(&mut batch, Time::ZERO, &mut Vec::new()).unwrap();
    let sent = batch.outcome(0).unwrap();
    assert!(sent > 0 && sent < bytes.len());
    // After a short count, the socket takes only a bounded rest.
    let more =
        std::iter::from_fn(|| uring.send_now(socket, &[&bytes]).ok()).take(100).sum::<usize>();
    assert_eq!(uring.send_now(socket, &[b"a", b"b"]), Err(Errno::AGAIN));
    uring.poll(socket, TOKEN, Interest::Writable);
    let mut sink = vec![0; sent + more];
    client.read_exact(&mut sink).unwrap();
    until(&mut uring, |event| {
        matches!(event, Event::Polled { interest: Interest::Writable, .. }).then_some(())
    });
    assert_eq!(uring.send_now(socket, &[b"a", b"b"]), Ok(2));
}

#[test]
fn receive_now_takes_the_bytes_that_are_there() {
    let mut uring = uring();
    let (socket, mut client) = connected(&mut uring);
    let mut bytes = [0; 8];
    assert_eq!(uring.receive_now(socket, &mut bytes), Err(Errno::AGAIN));
    client.write_all(b"0123456789ab").unwrap();
    uring.poll(socket, TOKEN, Interest::Readable);
    until(&mut uring, |event| matches!(event, Event::Polled { .. }).then_some(()));
    assert_eq!(uring.receive_now(socket, &mut bytes), Ok(8));
    assert_eq!(uring.receive_now(socket, &mut bytes), Ok(4));
    drop(client);
    uring.poll(socket, TOKEN, Interest::Readable);
    until(&mut uring, |event| matches!(event, Event::Polled { .. }).then_some(()));
    assert_eq!(uring.receive_now(socket, &mut bytes), Ok(0));
}

#[test]
fn operations_can_be_stopped() {
    let mut uring = uring();
    let (socket, _client) = connected(&mut uring);
    uring.receive(socket, TOKEN);
    uring.poll(socket, TOKEN, Interest::Readable);
    uring.accept(0);
    uring.turn(&mut Batch::new(), Time::ZERO, &mut Vec::new()).unwrap();
    uring.stop_receive(TOKEN);
    uring.stop_poll(TOKEN, Interest::Readable);
    uring.stop_listening();
    let mut events = Vec::new();
    while events.len() < 3 {
        let deadline = Driver::now(&mut uring).plus_millis(5_000);
        uring.turn(&mut Batch::new(), deadline, &mut events).unwrap();
    }
    let kinds: Vec<bool> = vec![
        events.iter().any(|event| {
            matches!(event, Event::ReceiveEnded { token: TOKEN, end: ReceiveEnd::Stopped })
        }),
        events.iter().any(|event| matches!(event, Event::Polled { token: TOKEN, .. })),
        events.iter().any(|event| matches!(event, Event::AcceptFailed { listener: 0, .. })),
    ];
    assert_eq!(kinds, [true; 3], "{events:?}");
}

#[test]
fn wakes_from_another_thread_are_not_lost() {
    let mut uring = uring();
    for _ in 0..100 {
        let waker = uring.waker();
        let thread = std::thread::spawn(move || waker.wake());
        until(&mut uring, |event| matches!(event, Event::Woken).then_some(()));
        thread.join().unwrap();
    }
}

#[test]
fn a_dropped_ring_closes_its_connections_and_leaves_nothing_in_flight() {
    // More rings than a thread may register at a time.
    for _ in 0..40 {
        let mut ring = uring();
        let (socket, mut client) = connected(&mut ring);
        ring.receive(socket, TOKEN);
        ring.poll(socket, TOKEN, Interest::Writable);
        ring.poll(socket, Token { index: 4, generation: 1 }, Interest::Readable);
        ring.accept(0);
        ring.turn(&mut Batch::new(), Time::ZERO, &mut Vec::new()).unwrap();
        ring.shutdown(socket, TOKEN);
        assert!(ring.in_flight >= 4, "{} in flight", ring.in_flight);
        ring.submit_all().unwrap();
        for _ in 0..5 {
            ring.cancel_all();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(ring.in_flight, 0);
        ring.receive(socket, TOKEN);
        let started = Instant::now();
        drop(ring);
        assert!(started.elapsed() < DROP_WAIT, "it waited for something that did not end");
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let read = client.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(read, 0, "the connection has ended");
    }
}

#[test]
fn a_ring_that_has_failed_submits_nothing() {
    let mut ring = uring();
    let (socket, mut client) = connected(&mut ring);
    ring.fail(Errno::BADF.into());
    assert_eq!(ring.send_now(socket, &[b"lent"]), Err(Errno::IO));
    // More than the queue holds.
    for index in 0..2 * SUBMISSIONS {
        ring.receive(socket, Token { index, generation: 1 });
    }
    let mut batch = Batch::new();
    batch.begin(socket);
    batch.slice(b"lent");
    assert!(ring.turn(&mut batch, Time::ZERO, &mut Vec::new()).is_err());
    drop(batch);
    drop(ring);
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0, "nothing was sent");
}

#[test]
fn an_impossible_setup_is_refused() {
    let good = Setup::new(&Limits { receive_buffers: 4, ..Limits::default() }, 64);
    for bad in [
        Setup { receive_buffer_bytes: usize::MAX - 63, ..good.clone() },
        Setup { receive_buffer_bytes: usize::MAX, ..good.clone() },
        Setup { receive_buffer_bytes: usize::MAX / 4, ..good.clone() },
        Setup { receive_buffer_bytes: 1 << 31, ..good.clone() },
        Setup { receive_buffer_bytes: 0, ..good.clone() },
        Setup { receive_buffers: 0, ..good.clone() },
        Setup { receive_buffers: 3, ..good.clone() },
        Setup { sockets_max: u32::MAX, ..good.clone() },
    ] {
        assert!(matches!(Uring::new(&bad), Err(SetupError::Failed(..))), "{bad:?}");
    }
    Uring::new(&good).unwrap();
}
