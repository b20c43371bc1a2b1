//! A client's end of a simulated connection.

use super::pipe::Pipe;
use super::state::Shared;

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
    pub(super) state: Shared,
    pub(super) pipe: usize,
}

impl SimClient {
    fn pipe<T>(&self, with: impl FnOnce(&mut Pipe) -> T) -> T {
        with(&mut self.state.borrow_mut().pipes[self.pipe])
    }

    /// Sends bytes. A connection that has ended drops them.
    pub fn write(&self, bytes: &[u8]) {
        self.pipe(|pipe| {
            if !pipe.broken && !pipe.server_closed && !pipe.client_ended {
                pipe.to_server.extend(bytes);
            }
        });
    }

    /// Reads at most `bytes_max` bytes that the server has sent.
    pub fn read(&self, bytes_max: usize) -> Vec<u8> {
        self.pipe(|pipe| {
            let bytes = pipe.to_client.len().min(bytes_max);
            pipe.to_client.drain(..bytes).collect()
        })
    }

    /// Ends the client's sending side.
    pub fn end(&self) {
        self.pipe(|pipe| pipe.client_ended = true);
    }

    /// Breaks the connection: bytes in flight are lost.
    pub fn reset(&self) {
        self.pipe(|pipe| {
            pipe.broken = true;
            pipe.to_server.clear();
            pipe.to_client.clear();
        });
    }

    /// Whether no more bytes will arrive: the server has ended, and all are read.
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
