//! The sizes of records.

/// Bytes of plaintext that a record carries at most (RFC 8446, 5.1).
pub const RECORD_BYTES_MAX: usize = 16 << 10;
/// Header, nonce or type, and tag of a record: at least those of every cipher in use.
pub const RECORD_OVERHEAD_BYTES: usize = 32;
