//! The [`Driver`] trait: the interface between a shard and the kernel.
//!
//! Operations that wait in the kernel end with an [`Event`]. Sends and `*_now` operations end
//! inside the call, so no memory is lent beyond it.
//!
//! Every driver keeps this contract:
//!
//! - An armed receive ends with exactly one [`Event::ReceiveEnded`], a poll with exactly one
//!   [`Event::Polled`], a shutdown with exactly one [`Event::ShutDown`], a close with exactly
//!   one [`Event::Closed`], an accept with exactly one of [`Event::Accepted`] and
//!   [`Event::AcceptFailed`].
//! - A buffer in [`Event::Received`] belongs to the receiver of the event until
//!   [`Driver::release`] takes it.
//! - Tokens are returned as they were given; the driver does not interpret them.

use super::batch::Batch;
use super::event::{Event, Interest};
use super::token::{Socket, Token};
use crate::base::{Time, Wake};
use rustix::io::Errno;
use std::ops::DerefMut;

/// The kernel as a shard sees it. Every implementation keeps the contract of this file.
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
/// // The ring is simulated here; a `Uring` does the same.
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

    /// Ends every accept in flight, which still has its event, and then closes
    /// the listeners. From then on the kernel refuses new connections.
    fn stop_listening(&mut self);

    /// Arms a receive that continues until it ends.
    fn receive(&mut self, socket: Socket, token: Token);

    /// Ends the receive of `token`. Bytes may still arrive before its end does.
    fn stop_receive(&mut self, token: Token);

    /// Waits once for `interest`.
    fn poll(&mut self, socket: Socket, token: Token, interest: Interest);

    /// Ends the poll of `token` for `interest`.
    fn stop_poll(&mut self, token: Token, interest: Interest);

    /// Shuts the sending side: the peer sees the end of the stream. A kernel thread does
    /// so and looks the descriptor up late, so the caller must await the end
    /// of this operation before the descriptor is reused.
    fn shutdown(&mut self, socket: Socket, token: Token);

    /// Closes the socket. No other operation on it may be in flight.
    fn close(&mut self, socket: Socket, token: Token);

    /// Receives available bytes without waiting: 0 bytes is the end of the stream.
    ///
    /// # Errors
    /// `Errno::AGAIN` when no bytes are available; otherwise the connection is broken.
    fn receive_now(&mut self, socket: Socket, bytes: &mut [u8]) -> Result<usize, Errno>;

    /// Sends as much of the slices as fits, without waiting.
    ///
    /// # Errors
    /// `Errno::AGAIN` when nothing fits; otherwise the connection is broken.
    fn send_now(&mut self, socket: Socket, slices: &[&[u8]]) -> Result<usize, Errno>;

    /// Enters the kernel: submits all operations and the sends of `batch`,
    /// writes their outcomes into it, and waits for an event, `until` at the latest.
    /// `Time::ZERO` does not wait. Appends the events to `events`.
    ///
    /// # Errors
    /// The ring itself is broken.
    fn turn(
        &mut self,
        batch: &mut Batch<'_>,
        until: Time,
        events: &mut Vec<Event<Self::Buffer>>,
    ) -> std::io::Result<()>;

    /// Returns a receive buffer to the kernel.
    fn release(&mut self, buffer: Self::Buffer);
}
