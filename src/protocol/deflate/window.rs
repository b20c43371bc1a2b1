//! Constants of RFC 7692 that both halves share.

/// The smallest window of a compressor, as a power of two. RFC 7692 knows 8 too, for which there
/// is no compressor.
pub(crate) const WINDOW_BITS_MIN: u8 = 9;
/// The largest window.
pub(crate) const WINDOW_BITS_MAX: u8 = 15;

/// RFC 7692, 7.2.1: the end of a compressed message, which is left out of it.
pub(crate) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
