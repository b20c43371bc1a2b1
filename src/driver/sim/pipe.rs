//! A connection of a simulation: the bytes in flight in both directions, and how far it has
//! ended.

use std::collections::VecDeque;

/// A connection. Its bytes in flight are lost when it breaks.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) to_server: VecDeque<u8>,
    pub(super) to_client: VecDeque<u8>,
    pub(super) client_ended: bool,
    pub(super) server_ended: bool,
    pub(super) server_closed: bool,
    pub(super) broken: bool,
}

impl Pipe {
    pub(super) fn is_readable(&self) -> bool {
        !self.to_server.is_empty() || self.client_ended || self.broken
    }

    /// How many bytes the server's socket takes; a broken one takes all, and fails.
    pub(super) fn room(&self, socket_bytes_max: usize) -> usize {
        if self.broken { usize::MAX } else { socket_bytes_max.saturating_sub(self.to_client.len()) }
    }
}
