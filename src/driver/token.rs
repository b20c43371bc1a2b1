//! The names of a socket and of the owner of an operation on it.
//!
//! Both are plain numbers. The driver hands out [`Socket`]s; a [`Token`] is the shard's, and
//! the driver returns it with the operation's event without interpreting it.

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
    /// The slot's generation, of which the low 28 bits are carried.
    pub generation: u32,
}

/// The bits of a generation that a [`Token`] carries.
pub const GENERATION_MASK: u32 = (1 << 28) - 1;
