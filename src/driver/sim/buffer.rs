//! A filled receive buffer of a simulated ring: bytes of its own, and a number by which the
//! ring checks that it is released once.

use std::ops::{Deref, DerefMut};

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
    pub(super) bytes: Vec<u8>,
    pub(super) number: u32,
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
