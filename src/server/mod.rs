//! Layer 8: a server of several shards: its builder, topology, listeners and threads.

mod address;
mod builder;
mod error;
mod listener;
mod running;
mod starting;
mod topology;

pub use address::Address;
pub use builder::Builder;
pub use error::ServerError;
#[cfg(feature = "cli")]
pub(crate) use error::unlistenable;
pub use running::{Server, ServerHandle};
