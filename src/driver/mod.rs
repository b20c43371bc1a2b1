//! Layer 1: the driver between a shard and the kernel.
//!
//! [`Driver`] is the interface that a shard needs, with the contract that every driver keeps.
//! [`Uring`] is the real one; [`sim::SimRing`] is its twin with virtual time and faults from a
//! seed. The module knows nothing of WebSocket.

mod batch;
mod contract;
mod error;
mod event;
mod setup;
pub mod sim;
mod token;
mod uring;

pub use batch::{Batch, SLICES_PER_SEND};
pub use contract::Driver;
pub use error::SetupError;
pub use event::{Event, Interest, ReceiveEnd};
pub use rustix::io::Errno;
pub use setup::Setup;
pub use token::{GENERATION_MASK, Socket, Token};
pub use uring::{EventWaker, ReceiveBuffer as UringBuffer, Uring};
