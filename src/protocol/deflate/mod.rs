//! permessage-deflate (RFC 7692): what is agreed on, and messages smaller and back.
//!
//! Messages are compressed each by itself, without what came before it: so one compressor
//! serves all connections of a thread, and one compressed frame all readers of a tape. A
//! peer is asked to do the same, unless [`Contexts`] has room for the connection.

mod contexts;
mod deflater;
mod inflater;
mod negotiation;

#[cfg(test)]
mod tests;

pub use contexts::{CONTEXT_BYTES, Compression, Contexts};
pub use deflater::Deflater;
pub use inflater::{InflateError, Inflater};
pub use negotiation::{Accepted, Offered, accept, check_accepted};

/// The windows that a compressor may have, as powers of two. RFC 7692 knows 8 too, for which
/// there is no compressor.
pub(crate) const WINDOW_BITS_MIN: u8 = 9;
pub(crate) const WINDOW_BITS_MAX: u8 = 15;

/// RFC 7692, 7.2.1: what ends a compressed message and is left out of it.
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
