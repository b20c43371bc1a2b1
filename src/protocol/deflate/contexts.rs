//! The compression contexts of connections, within a budget.
//!
//! A message that may look back at earlier ones becomes much smaller when it resembles
//! them, and compresses faster. But both ends then keep a window, and this one a compressor, for
//! each connection. So a connection gets a context at its handshake if the budget has room, or
//! never.
//!
//! A tape's messages are compressed by themselves, once for all subscribers. The peer can read
//! them with a window or without, but its window then holds bytes that the connection's own
//! compressor has not seen. That compressor restarts ([`Contexts::interrupt`]) with the next
//! message that is worth compressing by itself, or the second in a row that is not.

use super::deflater::{compress, new_deflate};
use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::base::planted::{Bug, planted};
use std::fmt;
use zlib_rs::Deflate;

/// Whether and how a connection compresses its messages.
///
/// ```
/// use tapecast::protocol::deflate::Compression;
///
/// assert!(!Compression::default().is_agreed());
/// assert!(Compression::ALONE.is_agreed() && !Compression::ALONE.has_context());
/// ```
// In 16 bits, since every idle connection pays for it: 0 is none, 1 to 7 are single messages with
// a window of 9 to 15 bits, and higher values are the number of a context plus eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression(u16);

impl Compression {
    /// Compression was not negotiated.
    pub const NONE: Compression = Compression(0);
    /// Each message by itself, with the largest window.
    pub const ALONE: Compression = Compression(7);

    /// Each message by itself, with a window of `window_bits`, 9 to 15.
    pub fn alone(window_bits: u8) -> Compression {
        debug_assert!((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits));
        Compression(u16::from(window_bits - WINDOW_BITS_MIN) + 1)
    }

    /// Whether messages may be compressed.
    #[inline]
    pub fn is_agreed(self) -> bool {
        self != Compression::NONE
    }

    /// Whether messages may look back at earlier ones.
    #[inline]
    pub fn has_context(self) -> bool {
        self.0 > Compression::ALONE.0
    }

    fn number(self) -> Option<usize> {
        self.has_context().then(|| usize::from(self.0 - FIRST_NUMBER))
    }

    /// The window's bits, if each message stands by itself and the window is not the largest.
    pub(crate) fn narrow_bits(self) -> Option<u8> {
        (1..Compression::ALONE.0).contains(&self.0).then(|| self.0 as u8 - 1 + WINDOW_BITS_MIN)
    }
}

const FIRST_NUMBER: u16 = Compression::ALONE.0 + 1;
/// Compressors of a thread at most: as many as a [`Compression`] can number.
const CONTEXTS_MAX: usize = (u16::MAX - FIRST_NUMBER) as usize;
/// Bytes of a compressor in use, at any level.
const COMPRESSOR_BYTES: usize = 372 << 10;
/// Bytes of a decompressor in use.
const DECOMPRESSOR_BYTES: usize = 47 << 10;

/// The bytes that the budget counts for a connection with contexts in both directions.
pub const CONTEXT_BYTES: usize = COMPRESSOR_BYTES + DECOMPRESSOR_BYTES;

/// The contexts of the connections of one thread.
///
/// ```
/// use tapecast::protocol::deflate::Contexts;
///
/// let mut contexts = Contexts::new(1, 16, 512, 1 << 20);
/// let compression = contexts.begin(true, false, 15).expect("there is room");
/// let quote = br#"{"symbol":"BTC","bid":64000.5,"ask":64001.0}"#;
/// let first = contexts.deflate(compression, quote).unwrap().len();
/// let second = contexts.deflate(compression, quote).unwrap().len();
/// assert!(second < first / 3, "{first} {second}");
/// contexts.end(compression);
/// ```
pub struct Contexts {
    level: u8,
    bytes_min: usize,
    alone_bytes_min: usize,
    bytes_left: usize,
    compressors: Vec<Compressor>,
    /// Numbers that are free.
    free: Vec<u16>,
    /// The last message, compressed.
    out: Vec<u8>,
}

impl fmt::Debug for Contexts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contexts").field("bytes_left", &self.bytes_left).finish()
    }
}

/// The compressor of one connection.
#[derive(Default)]
struct Compressor {
    /// Created at the first use.
    deflate: Option<Deflate>,
    window_bits: u8,
    window: Window,
}

/// Whether the peer's window has the content that the compressor assumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Window {
    #[default]
    Known,
    /// The window holds bytes that the compressor has not seen, or the reverse.
    Unknown,
    /// As `Unknown`, and a short message has been sent uncompressed since. If another one
    /// follows, restarting is worth it.
    ShortSince,
}

impl Contexts {
    /// Contexts with a level from 1 to 9, for messages of at least `bytes_min` bytes, or
    /// `alone_bytes_min` without earlier ones to look back at. All of them take at most
    /// `bytes_max` bytes of memory.
    pub fn new(level: u8, bytes_min: usize, alone_bytes_min: usize, bytes_max: usize) -> Contexts {
        Contexts {
            level: level.max(1),
            bytes_min,
            alone_bytes_min,
            bytes_left: bytes_max,
            compressors: Vec::new(),
            free: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Reserves the contexts of a new connection: for the messages that it sends, if `outbound`,
    /// with a window of `window_bits`, 9 to 15, and for those that it receives, if `inbound`.
    /// Returns how the former are compressed; `None` if the budget has no room.
    /// [`Contexts::end`] frees the former, [`Contexts::end_inbound`] the latter.
    pub fn begin(&mut self, outbound: bool, inbound: bool, window_bits: u8) -> Option<Compression> {
        let bytes =
            usize::from(outbound) * COMPRESSOR_BYTES + usize::from(inbound) * DECOMPRESSOR_BYTES;
        let left = self.bytes_left.checked_sub(bytes)?;
        let compression =
            if outbound { self.take_number(window_bits)? } else { Compression::alone(window_bits) };
        self.bytes_left = left;
        Some(compression)
    }

    fn take_number(&mut self, window_bits: u8) -> Option<Compression> {
        if self.free.is_empty() && self.compressors.len() == CONTEXTS_MAX {
            return None;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.compressors.push(Compressor::default());
            (self.compressors.len() - 1) as u16
        });
        self.compressors[usize::from(number)].window_bits = window_bits;
        Some(Compression(number + FIRST_NUMBER))
    }

    /// Frees the context for sending.
    pub fn end(&mut self, compression: Compression) {
        let Some(number) = compression.number() else { return };
        self.compressors[number] = Compressor::default();
        self.free.push(number as u16);
        self.bytes_left += COMPRESSOR_BYTES;
    }

    /// Frees the context for receiving.
    pub fn end_inbound(&mut self) {
        self.bytes_left += DECOMPRESSOR_BYTES;
    }

    /// The rest of the budget, in bytes.
    pub fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// Notes that the peer receives compressed bytes that the connection's compressor has not seen.
    #[inline]
    pub fn interrupt(&mut self, compression: Compression) {
        if let Some(number) = compression.number()
            && !planted(Bug::UnseenFrame)
        {
            self.compressors[number].window = Window::Unknown;
        }
    }

    /// The compressed payload; `None` when it would not be smaller, or the
    /// connection has no context.
    pub fn deflate(&mut self, compression: Compression, payload: &[u8]) -> Option<&[u8]> {
        let compressor = &mut self.compressors[compression.number()?];
        // An empty message would become longer.
        if payload.len() < self.bytes_min.max(1) {
            return None;
        }
        if compressor.window == Window::Unknown && payload.len() < self.alone_bytes_min {
            compressor.window = Window::ShortSince;
            return None;
        }
        let window_bits = compressor.window_bits;
        let deflate =
            compressor.deflate.get_or_insert_with(|| new_deflate(self.level, window_bits));
        if std::mem::take(&mut compressor.window) != Window::Known {
            deflate.reset();
        }
        match compress(deflate, payload, &mut self.out) {
            // It is sent uncompressed, so the peer's window lacks it.
            Some(small) if small >= payload.len() => compressor.window = Window::Unknown,
            Some(small) => return Some(&self.out[..small]),
            None => compressor.deflate = None,
        }
        None
    }
}
