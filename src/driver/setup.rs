//! The part of the [`Limits`] that a driver is built with.

use crate::base::Limits;

/// The sizes of a ring, taken from the [`Limits`].
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
    /// The sizes that `limits` sets, for `sockets_max` sockets.
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
