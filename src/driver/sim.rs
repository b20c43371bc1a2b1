//! The driver's twin: sockets in memory, virtual time, and faults from a seed.
//!
//! A [`World`] holds the sockets of any number of [`SimRing`]s and the ends of
//! their clients. Everything that a kernel may do and seldom does, it does often:
//! partial receives and sends, receives that end for no reason or for want of a
//! buffer, cancels that come late, accepts that fail, connections that break.
//!
//! It checks what a shard promises its driver, and panics when that is broken: an
//! operation is armed once, a socket is closed with nothing under way, a buffer
//! comes back once.

use super::{Batch, Driver, Errno, Event, Interest, ReceiveEnd, Setup, Socket, Token};
use crate::base::{Random, Time, Wake};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How often things go wrong: once in so many times, 0 for never.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Errno, Event};
/// # use tapecast::driver::{Batch, Setup};
///
/// let world = World::new(1, Faults { accept: 1, ..Faults::default() }, 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::AcceptFailed { error: Errno::NFILE, .. }]));
///
/// world.calm();
/// events.clear();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::Accepted { .. }]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A receive delivers less than there is; a send takes less than fits.
    pub partial: u64,
    /// A receive ends with bytes left, for no reason.
    pub expired: u64,
    /// A receive finds no buffer although there is one.
    pub no_buffers: u64,
    /// A cancel is carried out in a later turn.
    pub late_cancel: u64,
    /// An accept fails for want of descriptors.
    pub accept: u64,
    /// A completion is put off to a later turn.
    pub delay: u64,
    /// A connection breaks when something is sent to it.
    pub reset: u64,
}

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
pub struct World(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    now: Time,
    /// What the wall clock said at `Time::ZERO`.
    unix_ms: u64,
    random: Random,
    faults: Faults,
    pipes: Vec<Pipe>,
    rings: Vec<Ring>,
    /// Bytes that a socket takes before its client reads.
    socket_bytes_max: usize,
}

/// A connection: bytes under way in both directions.
#[derive(Debug, Default)]
struct Pipe {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    client_ended: bool,
    server_ended: bool,
    server_closed: bool,
    broken: bool,
}

#[derive(Debug)]
struct Ring {
    setup: Setup,
    sockets: Vec<Option<Open>>,
    backlog: VecDeque<usize>,
    /// Accepts in flight, by listener.
    accepts: VecDeque<u32>,
    stops_listening: bool,
    /// Numbers of the buffers that the shard holds.
    lent: BTreeSet<u32>,
    next_buffer: u32,
    woken: Arc<AtomicBool>,
    /// What the last turn waits for: nothing, or until then.
    waits_until: Time,
}

#[derive(Debug)]
struct Open {
    pipe: usize,
    receive: Option<Armed>,
    polls: [Option<Armed>; 2],
    shutdown: Option<Token>,
    close: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    token: Token,
    stopping: bool,
}

impl Armed {
    fn new(token: Token) -> Option<Armed> {
        Some(Armed { token, stopping: false })
    }
}

/// A filled receive buffer.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Event, Token};
/// # use tapecast::driver::{Batch, Setup};
///
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// # ring.accept(0);
/// # ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// # let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// ring.receive(socket, Token { index: 0, generation: 0 });
/// client.write(b"hello");
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// let Some(Event::Received { mut buffer, .. }) = events.pop() else { panic!("bytes came") };
/// buffer.make_ascii_uppercase();
/// assert_eq!(&buffer[..], b"HELLO");
/// assert_eq!(world.buffers_lent(0), 1);
/// ring.release(buffer);
/// assert_eq!(world.buffers_lent(0), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimBuffer {
    bytes: Vec<u8>,
    number: u32,
}

impl Deref for SimBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for SimBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

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

/// One ring of a [`World`].
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
    world: World,
    number: usize,
}

/// A client's end of a connection.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::Driver;
/// # use tapecast::driver::{Batch, Event, Setup};
///
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// # ring.accept(0);
/// # ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// # let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// client.write(b"ping");
/// let mut bytes = [0; 8];
/// assert_eq!(ring.receive_now(socket, &mut bytes), Ok(4));
/// assert_eq!(ring.send_now(socket, &[b"pong"]), Ok(4));
/// assert_eq!(client.read(100), b"pong");
/// client.reset();
/// assert!(ring.send_now(socket, &[b"too late"]).is_err());
/// assert!(client.is_ended());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SimClient {
    world: World,
    pipe: usize,
}

impl World {
    /// An empty world at time zero.
    pub fn new(seed: u64, faults: Faults, socket_bytes_max: usize) -> World {
        World(Rc::new(RefCell::new(State {
            now: Time::ZERO,
            unix_ms: 0,
            random: Random::new(seed),
            faults,
            pipes: Vec::new(),
            rings: Vec::new(),
            socket_bytes_max,
        })))
    }

    /// Adds a ring.
    pub fn ring(&self, setup: Setup) -> SimRing {
        let mut state = self.0.borrow_mut();
        let number = state.rings.len();
        state.rings.push(Ring {
            setup,
            sockets: Vec::new(),
            backlog: VecDeque::new(),
            accepts: VecDeque::new(),
            stops_listening: false,
            lent: BTreeSet::new(),
            next_buffer: 0,
            woken: Arc::new(AtomicBool::new(false)),
            waits_until: Time::ZERO,
        });
        SimRing { world: self.clone(), number }
    }

    /// Connects a client to the listener of a ring.
    pub fn connect(&self, ring: usize) -> SimClient {
        let mut state = self.0.borrow_mut();
        let pipe = state.pipes.len();
        state.pipes.push(Pipe::default());
        state.rings[ring].backlog.push_back(pipe);
        SimClient { world: self.clone(), pipe }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.0.borrow().now
    }

    /// Sets the wall clock to what it would have said, in milliseconds since 1970, at
    /// `Time::ZERO`.
    pub fn set_wall_clock(&self, unix_ms: u64) {
        self.0.borrow_mut().unix_ms = unix_ms;
    }

    /// Lets time pass.
    pub fn advance_to(&self, time: Time) {
        let mut state = self.0.borrow_mut();
        state.now = state.now.max(time);
    }

    /// Whether a turn of this ring would not wait.
    pub fn is_runnable(&self, ring: usize) -> bool {
        let state = self.0.borrow();
        let this = &state.rings[ring];
        this.waits_until <= state.now
            || this.woken.load(Ordering::SeqCst)
            || this.has_completion(&state.pipes, state.socket_bytes_max)
    }

    /// Until when this ring waits.
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

    /// No more faults.
    pub fn calm(&self) {
        self.0.borrow_mut().faults = Faults::default();
    }
}

impl SimClient {
    fn pipe<T>(&self, with: impl FnOnce(&mut Pipe) -> T) -> T {
        with(&mut self.world.0.borrow_mut().pipes[self.pipe])
    }

    /// Sends bytes. They are lost on a connection that is over.
    pub fn write(&self, bytes: &[u8]) {
        self.pipe(|pipe| {
            if !pipe.broken && !pipe.server_closed && !pipe.client_ended {
                pipe.to_server.extend(bytes);
            }
        });
    }

    /// Takes at most `bytes_max` bytes that the server has sent.
    pub fn read(&self, bytes_max: usize) -> Vec<u8> {
        self.pipe(|pipe| {
            let bytes = pipe.to_client.len().min(bytes_max);
            pipe.to_client.drain(..bytes).collect()
        })
    }

    /// Sends the last byte.
    pub fn end(&self) {
        self.pipe(|pipe| pipe.client_ended = true);
    }

    /// Breaks the connection: what is under way is lost.
    pub fn reset(&self) {
        self.pipe(|pipe| {
            pipe.broken = true;
            pipe.to_server.clear();
            pipe.to_client.clear();
        });
    }

    /// Whether nothing more will come: the server has ended, and all is read.
    pub fn is_ended(&self) -> bool {
        self.pipe(|pipe| {
            pipe.broken || (pipe.to_client.is_empty() && (pipe.server_ended || pipe.server_closed))
        })
    }

    /// Whether the connection broke.
    pub fn is_broken(&self) -> bool {
        self.pipe(|pipe| pipe.broken)
    }
}

impl Ring {
    fn open(&mut self, socket: Socket) -> &mut Open {
        let open = self.sockets.get_mut(socket.0 as usize).and_then(Option::as_mut);
        let open = open.expect("an operation on a socket that is closed");
        assert!(open.close.is_none(), "an operation on a socket that is being closed");
        open
    }

    fn by_token(
        &mut self,
        token: Token,
        of: impl Fn(&mut Open) -> &mut Option<Armed>,
    ) -> Option<&mut Armed> {
        let armed = self.sockets.iter_mut().flatten().filter_map(|open| of(open).as_mut());
        armed.into_iter().find(|armed| armed.token == token)
    }

    fn has_completion(&self, pipes: &[Pipe], socket_bytes_max: usize) -> bool {
        let accepts = !self.accepts.is_empty();
        (accepts && (!self.backlog.is_empty() || self.stops_listening))
            || self.sockets.iter().flatten().any(|open| {
                let pipe = &pipes[open.pipe];
                open.close.is_some()
                    || open.shutdown.is_some()
                    || open.receive.is_some_and(|armed| armed.stopping || pipe.is_readable())
                    || open.polls[0].is_some_and(|armed| armed.stopping || pipe.is_readable())
                    || open.polls[1]
                        .is_some_and(|armed| armed.stopping || pipe.room(socket_bytes_max) > 0)
            })
    }
}

impl Pipe {
    fn is_readable(&self) -> bool {
        !self.to_server.is_empty() || self.client_ended || self.broken
    }

    /// Bytes that the server's socket takes; a broken one takes all, and fails.
    fn room(&self, socket_bytes_max: usize) -> usize {
        if self.broken { usize::MAX } else { socket_bytes_max.saturating_sub(self.to_client.len()) }
    }
}

impl State {
    /// Sends, without waiting.
    fn send(
        &mut self,
        ring: usize,
        socket: Socket,
        bytes: &mut dyn Iterator<Item = u8>,
        len: usize,
    ) -> Result<usize, Errno> {
        let pipe = self.rings[ring].open(socket).pipe;
        let breaks = self.random.chance(self.faults.reset);
        let pipe = &mut self.pipes[pipe];
        if breaks {
            pipe.broken = true;
            pipe.to_client.clear();
        }
        if pipe.broken {
            return Err(Errno::CONNRESET);
        }
        assert!(!pipe.server_ended || len == 0, "a send behind the end of the stream");
        let mut room = pipe.room(self.socket_bytes_max).min(len);
        if room == 0 {
            return if len == 0 { Ok(0) } else { Err(Errno::AGAIN) };
        }
        if self.random.chance(self.faults.partial) {
            room = 1 + self.random.below(room as u64) as usize;
        }
        pipe.to_client.extend(bytes.take(room));
        Ok(room)
    }

    fn receive(&mut self, ring: usize, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno> {
        let pipe = self.rings[ring].open(socket).pipe;
        let pipe = &mut self.pipes[pipe];
        if pipe.broken {
            return Err(Errno::CONNRESET);
        }
        if pipe.to_server.is_empty() {
            return if pipe.client_ended { Ok(0) } else { Err(Errno::AGAIN) };
        }
        let mut count = pipe.to_server.len().min(bytes.len());
        if self.random.chance(self.faults.partial) {
            count = 1 + self.random.below(count as u64) as usize;
        }
        for (place, byte) in bytes.iter_mut().zip(pipe.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    /// Completions of one socket.
    fn complete(&mut self, ring: usize, socket: usize, events: &mut Vec<Event<SimBuffer>>) {
        let faults = self.faults;
        if self.random.chance(faults.delay) {
            return;
        }
        let Some(open) = &mut self.rings[ring].sockets[socket] else { return };
        if let Some(token) = open.close {
            let pipe = open.pipe;
            self.pipes[pipe].server_closed = true;
            self.rings[ring].sockets[socket] = None;
            return events.push(Event::Closed { token });
        }
        // A thread of the kernel's does it, some time.
        if !self.random.chance(faults.delay)
            && let Some(token) = open.shutdown.take()
        {
            self.pipes[open.pipe].server_ended = true;
            events.push(Event::ShutDown { token });
        }
        let pipe = &self.pipes[open.pipe];
        for (place, interest) in [(0, Interest::Readable), (1, Interest::Writable)] {
            let ready = match interest {
                Interest::Readable => pipe.is_readable(),
                Interest::Writable => pipe.room(self.socket_bytes_max) > 0,
            };
            if let Some(armed) = open.polls[place]
                && (ready || (armed.stopping && !self.random.chance(faults.late_cancel)))
            {
                open.polls[place] = None;
                events.push(Event::Polled { token: armed.token, interest });
            }
        }
        self.complete_receive(ring, socket, events);
    }

    fn complete_receive(&mut self, ring: usize, socket: usize, events: &mut Vec<Event<SimBuffer>>) {
        let faults = self.faults;
        let this = &mut self.rings[ring];
        let Some(open) = &mut this.sockets[socket] else { return };
        let Some(Armed { token, stopping }) = open.receive else { return };
        let pipe = &mut self.pipes[open.pipe];
        let late = self.random.chance(faults.late_cancel);
        let end = if stopping && !late {
            Some(ReceiveEnd::Stopped)
        } else if pipe.broken {
            Some(ReceiveEnd::Broken(Errno::CONNRESET))
        } else if !pipe.to_server.is_empty() {
            let free = this.lent.len() < usize::from(this.setup.receive_buffers);
            if !free || self.random.chance(faults.no_buffers) {
                Some(ReceiveEnd::NoBuffers)
            } else {
                let mut count = pipe.to_server.len().min(this.setup.receive_buffer_bytes);
                if self.random.chance(faults.partial) {
                    count = 1 + self.random.below(count as u64) as usize;
                }
                let bytes = pipe.to_server.drain(..count).collect();
                let number = this.next_buffer;
                this.next_buffer += 1;
                this.lent.insert(number);
                events.push(Event::Received { token, buffer: SimBuffer { bytes, number } });
                self.random.chance(faults.expired).then_some(ReceiveEnd::Expired)
            }
        } else {
            pipe.client_ended.then_some(ReceiveEnd::EndOfStream)
        };
        if let Some(end) = end {
            open.receive = None;
            events.push(Event::ReceiveEnded { token, end });
        }
    }

    fn complete_accepts(&mut self, ring: usize, events: &mut Vec<Event<SimBuffer>>) {
        let this = &mut self.rings[ring];
        while let Some(&listener) = this.accepts.front() {
            if this.stops_listening {
                events.push(Event::AcceptFailed { listener, error: Errno::CANCELED });
            } else if this.backlog.is_empty() {
                return;
            } else if self.random.chance(self.faults.accept) {
                events.push(Event::AcceptFailed { listener, error: Errno::NFILE });
            } else {
                let pipe = this.backlog.pop_front().expect("just looked");
                let open =
                    Open { pipe, receive: None, polls: [None; 2], shutdown: None, close: None };
                let free = this.sockets.iter().position(Option::is_none);
                let index = free.unwrap_or_else(|| {
                    this.sockets.push(None);
                    this.sockets.len() - 1
                });
                assert!(index < this.setup.sockets_max as usize, "the table of sockets is full");
                this.sockets[index] = Some(open);
                let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + (pipe % 60_000) as u16));
                let peer = Some(peer);
                events.push(Event::Accepted { listener, socket: Socket(index as u32), peer });
            }
            this.accepts.pop_front();
        }
    }
}

impl SimRing {
    fn with<T>(&mut self, with: impl FnOnce(&mut Ring) -> T) -> T {
        with(&mut self.world.0.borrow_mut().rings[self.number])
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
        self.world.now()
    }

    fn unix_ms(&mut self) -> u64 {
        let state = self.world.0.borrow();
        state.now.as_millis() + state.unix_ms
    }

    fn waker(&self) -> SimWaker {
        SimWaker(Arc::clone(&self.world.0.borrow().rings[self.number].woken))
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
            assert!(idle, "a socket is closed while something is under way on it");
            open.close = Some(token);
        });
    }

    fn receive_now(&mut self, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno> {
        self.world.0.borrow_mut().receive(self.number, socket, bytes)
    }

    fn send_now(&mut self, socket: Socket, slices: &[&[u8]]) -> Result<usize, Errno> {
        let len = slices.iter().map(|slice| slice.len()).sum();
        let mut bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        self.world.0.borrow_mut().send(self.number, socket, &mut bytes, len)
    }

    /// Never waits: the test lets time pass when no ring can run.
    fn turn(
        &mut self,
        batch: &mut Batch<'_>,
        until: Time,
        events: &mut Vec<Event<SimBuffer>>,
    ) -> std::io::Result<()> {
        let mut state = self.world.0.borrow_mut();
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
        self.with(|ring| assert!(ring.lent.remove(&buffer.number), "a buffer came back twice"));
    }
}
