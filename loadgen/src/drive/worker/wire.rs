//! The ring of a thread, the run's time by its clock, and buffers that are reused from turn to
//! turn.

use super::super::failure::RunError;
use super::super::shared::Shared;
use super::peer::Peer;
use std::time::Duration;
use tapecast::base::{Limits, Time};
use tapecast::driver::{Batch, Driver, Errno, Event, Interest, Setup, Token, Uring, UringBuffer};
use tapecast::protocol::Workspace;
use tapecast::protocol::deflate::{Contexts, Deflater};

/// Bytes that the connections of a thread may keep in pooled buffers.
const POOL_BYTES: usize = 64 << 20;
/// Receive buffers of the ring.
const RECEIVE_BUFFERS: u16 = 128;
/// Sockets beyond the number of connections: some close while others open.
const SOCKETS_BESIDES: u32 = 64;
/// Bytes of a message that is worth compressing.
const DEFLATE_BYTES_MIN: usize = 128;
/// Bytes of a message that is worth compressing where it may refer to earlier ones.
const CONTEXT_BYTES_MIN: usize = 32;

/// The ring of a thread.
pub(super) struct Wire {
    pub ring: Uring,
    /// The run's time when the ring's was zero.
    pub skew: Duration,
    pub pool: Workspace,
    /// Plain text of the buffer that is being decrypted.
    pub plain: Vec<u8>,
    pub batch: Option<Batch<'static>>,
    pub outcomes: Vec<Result<usize, Errno>>,
    pub events: Vec<Event<UringBuffer>>,
}

impl Wire {
    pub fn new(shared: &Shared, connections: u32) -> Result<Wire, RunError> {
        let limits = Limits { receive_buffers: RECEIVE_BUFFERS, ..Limits::default() };
        let setup = Setup::new(&limits, connections + SOCKETS_BESIDES);
        let mut ring = Uring::new(&setup).map_err(RunError::Ring)?;
        let skew = shared.now() - ring.now();
        let contexts = Contexts::new(1, CONTEXT_BYTES_MIN, DEFLATE_BYTES_MIN, usize::MAX);
        Ok(Wire {
            ring,
            skew,
            pool: Workspace::new(POOL_BYTES)
                .compressing(Deflater::new(1, DEFLATE_BYTES_MIN))
                .with_contexts(contexts),
            plain: Vec::new(),
            batch: Some(Batch::new()),
            outcomes: Vec::new(),
            events: Vec::new(),
        })
    }

    /// The run's time.
    pub fn now(&mut self) -> Time {
        self.ring.now() + self.skew
    }

    /// Receives from a connection until that ends.
    pub fn receive(&mut self, connection: u32, peer: &mut Peer) {
        peer.operations.is_receiving = true;
        self.ring.receive(peer.socket.expect("it is open"), token(connection));
    }

    /// Waits until a connection's socket is writable.
    pub fn poll(&mut self, connection: u32, peer: &mut Peer) {
        peer.operations.is_polling = true;
        let socket = peer.socket.expect("it is open");
        self.ring.poll(socket, token(connection), Interest::Writable);
    }
}

/// The ring's name for a connection.
pub(super) fn token(connection: u32) -> Token {
    Token { index: connection, generation: 0 }
}
