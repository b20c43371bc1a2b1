//! permessage-deflate (RFC 7692): the negotiation, compression and decompression.
//!
//! Each message is compressed by itself, without the context of earlier ones. So one compressor
//! serves all connections of a thread, and one compressed frame serves all readers of a tape. A
//! peer is asked to do the same, unless [`Contexts`] has room for the connection.

mod contexts;
mod deflater;
mod inflater;
mod negotiation;
mod window;

#[cfg(test)]
mod tests;

pub use contexts::{CONTEXT_BYTES, Compression, Contexts};
pub use deflater::Deflater;
pub use inflater::{InflateError, Inflater};
pub use negotiation::{Accepted, Offered, accept, check_accepted};
pub(crate) use window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
