//! The simulated driver: one ring of a simulation, behind the same trait as the real one.

use super::buffer::SimBuffer;
use super::state::{Armed, Ring, Shared};
use crate::base::{Time, Wake};
use crate::driver::batch::Batch;
use crate::driver::contract::Driver;
use crate::driver::event::{Event, Interest};
use crate::driver::token::{Socket, Token};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes a [`SimRing`].
///
/// ```
/// # use tapecast::Limits;
/// use tapecast::base::{Time, Wake};
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Event};
/// # use tapecast::driver::{Batch, Setup};
///
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let mut events = Vec::new();
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// assert!(!world.is_runnable(0));
/// let waker = ring.waker();
/// std::thread::spawn(move || waker.wake()).join().unwrap();
/// assert!(world.is_runnable(0));
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// assert!(matches!(events[..], [Event::Woken]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimWaker(Arc<AtomicBool>);

impl Wake for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One ring of a [`World`](super::World).
///
/// ```
/// use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Batch, Driver, Event, Setup};
///
/// let world = World::new(1, Faults::default(), 64 << 10);
/// let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// let _client = world.connect(0);
/// let mut events = Vec::new();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::Accepted { listener: 0, .. }]));
/// assert_eq!(world.sockets_open(0), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimRing {
    pub(super) state: Shared,
    pub(super) number: usize,
}

impl SimRing {
    fn with<T>(&mut self, with: impl FnOnce(&mut Ring) -> T) -> T {
        with(&mut self.state.borrow_mut().rings[self.number])
    }
}

const fn place(interest: Interest) -> usize {
    match interest {
        Interest::Readable => 0,
        Interest::Writable => 1,
    }
}

impl Driver for SimRing {
    type Buffer = SimBuffer;
    type Waker = SimWaker;

    fn now(&mut self) -> Time {
        self.state.borrow().now
    }

    fn unix_ms(&mut self) -> u64 {
        let state = self.state.borrow();
        state.now.as_millis() + state.unix_ms
    }

    fn waker(&self) -> SimWaker {
        SimWaker(Arc::clone(&self.state.borrow().rings[self.number].woken))
    }

    fn accept(&mut self, listener: u32) {
        self.with(|ring| {
            assert!(ring.accepts.len() < ring.setup.accepts_in_flight, "too many accepts");
            ring.accepts.push_back(listener);
        });
    }

    fn stop_listening(&mut self) {
        self.with(|ring| ring.stops_listening = true);
    }

    fn receive(&mut self, socket: Socket, token: Token) {
        self.with(|ring| {
            let open = ring.open(socket);
            assert!(open.receive.is_none(), "a receive is armed twice");
            open.receive = Armed::new(token);
        });
    }

    fn stop_receive(&mut self, token: Token) {
        self.with(|ring| {
            if let Some(armed) = ring.by_token(token, |open| &mut open.receive) {
                armed.stopping = true;
            }
        });
    }

    fn poll(&mut self, socket: Socket, token: Token, interest: Interest) {
        self.with(|ring| {
            let poll = &mut ring.open(socket).polls[place(interest)];
            assert!(poll.is_none(), "a poll is armed twice");
            *poll = Armed::new(token);
        });
    }

    fn stop_poll(&mut self, token: Token, interest: Interest) {
        self.with(|ring| {
            if let Some(armed) = ring.by_token(token, |open| &mut open.polls[place(interest)]) {
                armed.stopping = true;
            }
        });
    }

    fn shutdown(&mut self, socket: Socket, token: Token) {
        self.with(|ring| {
            let open = ring.open(socket);
            assert!(open.shutdown.is_none(), "a socket is shut twice");
            open.shutdown = Some(token);
        });
    }

    fn close(&mut self, socket: Socket, token: Token) {
        self.with(|ring| {
            let open = ring.open(socket);
            let idle = open.receive.is_none()
                && open.shutdown.is_none()
                && open.polls.iter().all(Option::is_none);
            assert!(idle, "a socket is closed with operations in flight on it");
            open.close = Some(token);
        });
    }

    fn receive_now(&mut self, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.state.borrow_mut().receive(self.number, socket, bytes)
    }

    fn send_now(&mut self, socket: Socket, slices: &[&[u8]]) -> Result<usize, Errno> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        self.state.borrow_mut().send(self.number, socket, &mut bytes, len)
    }

    /// Never waits: the test advances time when no ring can run.
    fn turn(
        &mut self,
        batch: &mut Batch<'_>,
        until: Time,
        events: &mut Vec<Event<SimBuffer>>,
    ) -> std::io::Result<()> {
        let mut state = self.state.borrow_mut();
        for index in 0..batch.len() {
            let (socket, slices) = batch.get(index);
            let len = slices.iter().map(|slice| slice.len()).sum();
            let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
            let outcome = state.send(self.number, socket, &mut bytes, len);
            batch.set_outcome(index, outcome);
        }
        if state.rings[self.number].woken.swap(false, Ordering::SeqCst) {
            events.push(Event::Woken);
        }
        state.complete_accepts(self.number, events);
        let sockets = state.rings[self.number].sockets.len();
        let budget = state.rings[self.number].setup.events_per_turn;
        let first = if sockets == 0 { 0 } else { state.random.below(sockets as u64) as usize };
        for offset in 0..sockets {
            if events.len() >= budget {
                break;
            }
            state.complete(self.number, (first + offset) % sockets, events);
        }
        state.rings[self.number].waits_until = if events.is_empty() { until } else { Time::ZERO };
        Ok(())
    }

    fn release(&mut self, buffer: SimBuffer) {
        self.with(|ring| assert!(ring.lent.remove(&buffer.number), "a buffer is released twice"));
    }
}
