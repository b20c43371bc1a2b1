//! The events that a driver reports, and the conditions that a poll can wait for.

use super::token::{Socket, Token};
use rustix::io::Errno;
use std::net::SocketAddr;

/// The condition that a poll waits for.
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
    /// It was stopped by [`Driver::stop_receive`](super::Driver::stop_receive).
    Stopped,
    /// The kernel ended it for a reason of its own. Nothing is lost; arm again.
    Expired,
    /// The connection is broken.
    Broken(Errno),
}

/// An event of a driver.
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
    /// A connection was accepted.
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
    /// A poll ended, because the socket became ready or because it was cancelled.
    Polled {
        /// The owner of the poll.
        token: Token,
        /// The condition that it waited for.
        interest: Interest,
    },
    /// The sending side is shut, or the connection was over already.
    ShutDown {
        /// The owner of the shutdown.
        token: Token,
    },
    /// The socket's descriptor is free again.
    Closed {
        /// The owner of the close.
        token: Token,
    },
    /// Another thread woke this ring.
    Woken,
}
