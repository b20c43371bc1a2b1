//! The world of a simulation: its time, its rings and its clients, as a test steers them.

use super::client::SimClient;
use super::faults::Faults;
use super::pipe::Pipe;
use super::ring::SimRing;
use super::state::{Ring, Shared, State};
use crate::base::Time;
use crate::driver::setup::Setup;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// All sockets of a simulation, and its time.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Batch, Driver, Setup};
///
/// let world = World::new(1, Faults::default(), 64 << 10);
/// let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// let deadline = Time::ZERO.plus_millis(50);
/// ring.turn(&mut Batch::new(), deadline, &mut Vec::new())?;
/// // Nothing happens before the deadline, so time may jump there.
/// assert!(!world.is_runnable(0));
/// world.advance_to(world.waits_until(0));
/// assert_eq!(ring.now(), deadline);
/// assert!(world.is_runnable(0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct World(Shared);

impl World {
    /// An empty world at time zero.
    pub fn new(seed: u64, faults: Faults, socket_bytes_max: usize) -> World {
        World(Rc::new(RefCell::new(State::new(seed, faults, socket_bytes_max))))
    }

    /// Adds a ring.
    pub fn ring(&self, setup: Setup) -> SimRing {
        let mut state = self.0.borrow_mut();
        let number = state.rings.len();
        state.rings.push(Ring::new(setup));
        SimRing { state: Rc::clone(&self.0), number }
    }

    /// Connects a client to the listener of a ring.
    pub fn connect(&self, ring: usize) -> SimClient {
        let mut state = self.0.borrow_mut();
        let pipe = state.pipes.len();
        state.pipes.push(Pipe::default());
        state.rings[ring].backlog.push_back(pipe);
        SimClient { state: Rc::clone(&self.0), pipe }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.0.borrow().now
    }

    /// Sets the wall clock, in milliseconds since 1970 at `Time::ZERO`.
    pub fn set_wall_clock(&self, unix_ms: u64) {
        self.0.borrow_mut().unix_ms = unix_ms;
    }

    /// Advances the time.
    pub fn advance_to(&self, time: Time) {
        let mut state = self.0.borrow_mut();
        state.now = state.now.max(time);
    }

    /// Whether a turn of this ring would return at once.
    pub fn is_runnable(&self, ring: usize) -> bool {
        let state = self.0.borrow();
        let this = &state.rings[ring];
        this.waits_until <= state.now
            || this.woken.load(Ordering::SeqCst)
            || this.has_completion(&state.pipes, state.socket_bytes_max)
    }

    /// When the wait of this ring ends.
    pub fn waits_until(&self, ring: usize) -> Time {
        self.0.borrow().rings[ring].waits_until
    }

    /// Receive buffers that the shard holds.
    pub fn buffers_lent(&self, ring: usize) -> usize {
        self.0.borrow().rings[ring].lent.len()
    }

    /// Sockets that are open.
    pub fn sockets_open(&self, ring: usize) -> usize {
        self.0.borrow().rings[ring].sockets.iter().flatten().count()
    }

    /// Ends all faults.
    pub fn calm(&self) {
        self.0.borrow_mut().faults = Faults::default();
    }
}
