//! What connections remember of their earlier messages, within a budget.
//!
//! A message that may look back at those before it becomes much smaller when it resembles
//! them, and sooner: but both ends then keep a window, and this one a compressor, for each
//! connection. So a connection gets them at its handshake if the budget has room, or never.
//!
//! What a tape sends is compressed by itself, once for all who read it. The peer can read
//! that with a window or without, but its window then holds what the connection's own
//! compressor has not seen: that begins anew ([`Contexts::interrupt`]), with the next message
//! that is worth it by itself, or the second in a row that is not.

use super::deflater::{compress, new_deflate};
use super::window::{WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::base::planted::{Bug, planted};
use std::fmt;
use zlib_rs::Deflate;

/// Whether what a connection sends is compressed, and how.
///
/// ```
/// use tapecast::protocol::deflate::Compression;
///
/// assert!(!Compression::default().is_agreed());
/// assert!(Compression::ALONE.is_agreed() && !Compression::ALONE.has_context());
/// ```
// In 16 bits, since every idle connection pays for it: 0 is no, 1 to 7 are alone with a
// window of 9 to 15 bits, and what is above is the number of a context and eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression(u16);

impl Compression {
    /// It was not agreed on.
    pub const NONE: Compression = Compression(0);
    /// Each message by itself, with the largest window.
    pub const ALONE: Compression = Compression(7);

    /// Each message by itself, with a window of so many bits, 9 to 15.
    pub fn alone(window_bits: u8) -> Compression {
        debug_assert!((WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits));
        Compression(u16::from(window_bits - WINDOW_BITS_MIN) + 1)
    }

    /// Whether messages may be compressed.
    #[inline]
    pub fn is_agreed(self) -> bool {
        self != Compression::NONE
    }

    /// Whether they may look back at earlier ones.
    #[inline]
    pub fn has_context(self) -> bool {
        self.0 > Compression::ALONE.0
    }

    fn number(self) -> Option<usize> {
        self.has_context().then(|| usize::from(self.0 - FIRST_NUMBER))
    }

    /// The bits of the window of one that stands alone and has not the largest.
    pub(crate) fn narrow_bits(self) -> Option<u8> {
        (1..Compression::ALONE.0).contains(&self.0).then(|| self.0 as u8 - 1 + WINDOW_BITS_MIN)
    }
}

const FIRST_NUMBER: u16 = Compression::ALONE.0 + 1;
/// Compressors of a thread: as many as a [`Compression`] can number.
const CONTEXTS_MAX: usize = (u16::MAX - FIRST_NUMBER) as usize;
/// Bytes of a compressor that has been used, whatever its level.
const COMPRESSOR_BYTES: usize = 372 << 10;
/// Bytes of a decompressor that has been used.
const DECOMPRESSOR_BYTES: usize = 47 << 10;

/// What the contexts of a connection are counted with, for both ways.
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
    /// Numbers that nobody has.
    free: Vec<u16>,
    /// What became of the last message.
    out: Vec<u8>,
}

impl fmt::Debug for Contexts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contexts").field("bytes_left", &self.bytes_left).finish()
    }
}

/// One connection's.
#[derive(Default)]
struct Compressor {
    /// There once it has been used.
    deflate: Option<Deflate>,
    window_bits: u8,
    window: Window,
}

/// Whether the peer's window is what a compressor remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Window {
    #[default]
    Known,
    /// It has what the compressor has not seen, or the other way round.
    Unknown,
    /// The same, and a short message has left as it was since: where another follows, it is
    /// worth beginning anew.
    ShortSince,
}

impl Contexts {
    /// At a level from 1 to 9, for messages of at least `bytes_min` bytes, or
    /// `alone_bytes_min` if there is nothing to look back at, in at most `bytes_max` bytes of
    /// memory altogether.
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

    /// A connection begins whose messages may remember earlier ones: those that it sends,
    /// if `outbound`, with a window of `window_bits`, 9 to 15, and those that it receives, if
    /// `inbound`. Says how the former are compressed; `None` if there is no room for what was
    /// asked. [`Contexts::end`] gives back the one, [`Contexts::end_inbound`] the other.
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

    /// The connection sends nothing more.
    pub fn end(&mut self, compression: Compression) {
        let Some(number) = compression.number() else { return };
        self.compressors[number] = Compressor::default();
        self.free.push(number as u16);
        self.bytes_left += COMPRESSOR_BYTES;
    }

    /// The connection is no longer read from.
    pub fn end_inbound(&mut self) {
        self.bytes_left += DECOMPRESSOR_BYTES;
    }

    /// What is left of the budget, in bytes.
    pub fn bytes_left(&self) -> usize {
        self.bytes_left
    }

    /// Something has been sent compressed that the connection's compressor has not seen.
    #[inline]
    pub fn interrupt(&mut self, compression: Compression) {
        if let Some(number) = compression.number()
            && !planted(Bug::UnseenFrame)
        {
            self.compressors[number].window = Window::Unknown;
        }
    }

    /// The payload of the compressed message; `None` when that would not be smaller, or the
    /// connection has no context.
    pub fn deflate(&mut self, compression: Compression, payload: &[u8]) -> Option<&[u8]> {
        let compressor = &mut self.compressors[compression.number()?];
        // An empty one would be longer.
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
            // It leaves as it is, and the peer's window without it.
            Some(small) if small >= payload.len() => compressor.window = Window::Unknown,
            Some(small) => return Some(&self.out[..small]),
            None => compressor.deflate = None,
        }
        None
    }
}
