//! Layer 1: the driver between a shard and the kernel.
//!
//! [`Driver`] is what a shard needs of a ring: operations that wait in the
//! kernel end with an [`Event`]; sends and `*_now` operations end inside the
//! call, so that no memory is ever lent beyond it. [`Uring`] is the real one;
//! [`sim::SimRing`] is its twin with virtual time and faults from a seed. The
//! module knows nothing of WebSocket.
//!
//! Contract of every driver:
//!
//! - A receive that is armed ends with exactly one [`Event::ReceiveEnded`], a
//!   poll with exactly one [`Event::Polled`], a shutdown with exactly one
//!   [`Event::ShutDown`], a close with exactly one [`Event::Closed`], an accept
//!   with exactly one of [`Event::Accepted`] and [`Event::AcceptFailed`].
//! - A buffer in [`Event::Received`] belongs to the receiver of the event until
//!   it is given to [`Driver::release`].
//! - Tokens come back as they were given; the driver does not interpret them.

mod batch;
mod error;
pub mod sim;
mod uring;

pub use batch::Batch;
pub use error::SetupError;
pub use rustix::io::Errno;
pub use uring::{EventWaker, ReceiveBuffer as UringBuffer, Uring};

use crate::base::{Limits, Time, Wake};
use std::net::SocketAddr;
use std::ops::DerefMut;

/// A connected socket in the ring's own table of descriptors.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Event};
/// # use tapecast::driver::{Batch, Setup};
///
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// assert_eq!(ring.send_now(socket, &[b"hello"]), Ok(5));
/// assert_eq!(client.read(100), b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Socket(pub(crate) u32);

/// Names the owner of an operation: a slot and its generation.
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
/// let owner = Token { index: 3, generation: 9 };
/// ring.receive(socket, owner);
/// client.write(b"hello");
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::Received { token, .. }] if token == owner));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The slot, `< 2^32`.
    pub index: u32,
    /// The slot's generation; the low 28 bits travel.
    pub generation: u32,
}

/// Slices that one send may carry: what the kernel takes in one message header.
/// A [`Batch`] refuses more.
pub const SLICES_PER_SEND: usize = 64;

/// The bits of a generation that a [`Token`] carries.
pub const GENERATION_MASK: u32 = (1 << 28) - 1;

/// What a poll waits for.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Errno, Event, Interest, Token};
/// # use tapecast::driver::{Batch, Setup};
///
/// # let world = World::new(1, Faults::default(), 4);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// # ring.accept(0);
/// # ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// # let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// let token = Token { index: 0, generation: 0 };
/// assert_eq!(ring.send_now(socket, &[b"hello"]), Ok(4));
/// assert_eq!(ring.send_now(socket, &[b"o"]), Err(Errno::AGAIN));
/// ring.poll(socket, token, Interest::Writable);
/// assert_eq!(client.read(100), b"hell");
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::Polled { interest: Interest::Writable, .. }]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Bytes, an end or an error can be read.
    Readable,
    /// There is room to send.
    Writable,
}

/// Why an armed receive ended.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Event, ReceiveEnd, Token};
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
/// client.end();
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// let Some(Event::ReceiveEnded { end, .. }) = events.pop() else { panic!("it has ended") };
/// assert_eq!(end, ReceiveEnd::EndOfStream);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer sent its last byte.
    EndOfStream,
    /// No receive buffer was free. Nothing is lost; arm again once one is.
    NoBuffers,
    /// It was stopped by [`Driver::stop_receive`].
    Stopped,
    /// The kernel ended it for reasons of its own. Nothing is lost; arm again.
    Expired,
    /// The connection is broken.
    Broken(Errno),
}

/// What happened.
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
/// for event in events.drain(..) {
///     match event {
///         Event::Received { buffer, .. } => {
///             assert_eq!(&buffer[..], b"hello");
///             ring.release(buffer);
///         }
///         other => panic!("{other:?}"),
///     }
/// }
/// assert_eq!(world.buffers_lent(0), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum Event<B> {
    /// A connection came in.
    Accepted {
        /// The listener's number.
        listener: u32,
        /// The new connection.
        socket: Socket,
        /// Its other end; none on a Unix socket.
        peer: Option<SocketAddr>,
    },
    /// An accept ended without a connection.
    AcceptFailed {
        /// The listener's number.
        listener: u32,
        /// Why.
        error: Errno,
    },
    /// Bytes arrived; the receive stays armed.
    Received {
        /// The owner of the receive.
        token: Token,
        /// The bytes.
        buffer: B,
    },
    /// The receive is armed no longer.
    ReceiveEnded {
        /// The owner of the receive.
        token: Token,
        /// Why.
        end: ReceiveEnd,
    },
    /// A poll ended, because what it waited for came or because it was cancelled.
    Polled {
        /// The owner of the poll.
        token: Token,
        /// What it waited for.
        interest: Interest,
    },
    /// The sending side is shut, or could not be because the connection is over.
    ShutDown {
        /// The owner of the shutdown.
        token: Token,
    },
    /// The socket's descriptor is free again.
    Closed {
        /// The owner of the close.
        token: Token,
    },
    /// Somebody woke this ring.
    Woken,
}

/// A ring as a shard sees it. See the module for the contract.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// # use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Errno, Socket};
/// # use tapecast::driver::{Batch, Event, Setup};
///
/// fn greet<D: Driver>(driver: &mut D, socket: Socket) -> Result<usize, Errno> {
///     driver.send_now(socket, &[b"hello, ".as_slice(), b"world"])
/// }
///
/// // On a simulated ring here; on a `Uring` the same.
/// # let world = World::new(1, Faults::default(), 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// # ring.accept(0);
/// # ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// # let Some(Event::Accepted { socket, .. }) = events.pop() else { panic!("a client is there") };
/// assert_eq!(greet(&mut ring, socket), Ok(12));
/// assert_eq!(client.read(100), b"hello, world");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Driver {
    /// A filled receive buffer.
    type Buffer: DerefMut<Target = [u8]>;
    /// Wakes this ring from another thread.
    type Waker: Wake + 'static;

    /// The time now.
    fn now(&mut self) -> Time;

    /// Milliseconds since 1970 by the wall clock, which may be set at any time.
    fn unix_ms(&mut self) -> u64;

    /// A handle that wakes this ring.
    fn waker(&self) -> Self::Waker;

    /// Accepts one connection from `listener`.
    fn accept(&mut self, listener: u32);

    /// Ends every accept in flight, each still has its event, and then closes
    /// the listeners: new connections are refused by the kernel.
    fn stop_listening(&mut self);

    /// Arms a receive that goes on until it ends.
    fn receive(&mut self, socket: Socket, token: Token);

    /// Ends the receive of `token`. Bytes may still come before its end does.
    fn stop_receive(&mut self, token: Token);

    /// Waits once for `interest`.
    fn poll(&mut self, socket: Socket, token: Token, interest: Interest);

    /// Ends the poll of `token` for `interest`.
    fn stop_poll(&mut self, token: Token, interest: Interest);

    /// Shuts the sending side: the peer sees the end of the stream. The kernel does
    /// so in a thread of its own and looks the descriptor up late, so that the end
    /// of this must be awaited before the descriptor is anybody else's.
    fn shutdown(&mut self, socket: Socket, token: Token);

    /// Closes the socket. No other operation on it may be under way.
    fn close(&mut self, socket: Socket, token: Token);

    /// Receives what is there, without waiting: 0 bytes is the end of the stream.
    ///
    /// # Errors
    /// `Errno::AGAIN` when nothing is there; otherwise the connection is broken.
    fn receive_now(&mut self, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno>;

    /// Sends as much of the slices as fits, without waiting.
    ///
    /// # Errors
    /// `Errno::AGAIN` when nothing fits; otherwise the connection is broken.
    fn send_now(&mut self, socket: Socket, slices: &[&[u8]]) -> Result<usize, Errno>;

    /// Enters the kernel: hands over all operations and the sends of `batch`,
    /// writes their outcomes into it, and waits until something happened or it
    /// is `until`. `Time::ZERO` does not wait. Appends what happened to `events`.
    ///
    /// # Errors
    /// The ring itself is broken.
    fn turn(
        &mut self,
        batch: &mut Batch<'_>,
        until: Time,
        events: &mut Vec<Event<Self::Buffer>>,
    ) -> std::io::Result<()>;

    /// Gives a receive buffer back to the kernel.
    fn release(&mut self, buffer: Self::Buffer);
}

/// What a ring is built with, out of the [`Limits`].
///
/// ```
/// use tapecast::Limits;
/// use tapecast::driver::Setup;
///
/// let limits = Limits { receive_buffers: 4, ..Limits::default() };
/// let setup = Setup::new(&limits, 64);
/// assert_eq!((setup.sockets_max, setup.receive_buffers), (64, 4));
/// assert_eq!(setup.receive_buffer_bytes, limits.receive_buffer_bytes);
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    /// Direct descriptors.
    pub sockets_max: u32,
    /// Receive buffers, a power of two.
    pub receive_buffers: u16,
    /// Bytes of each.
    pub receive_buffer_bytes: usize,
    /// Accepts in flight per listener.
    pub accepts_in_flight: usize,
    /// Completions taken in one turn.
    pub events_per_turn: usize,
}

impl Setup {
    /// The part of `limits` that concerns the ring, for `sockets_max` sockets.
    pub fn new(limits: &Limits, sockets_max: u32) -> Setup {
        Setup {
            sockets_max,
            receive_buffers: limits.receive_buffers,
            receive_buffer_bytes: limits.receive_buffer_bytes,
            accepts_in_flight: limits.accepts_in_flight,
            events_per_turn: limits.events_per_turn,
        }
    }
}
