//! Compressing messages.

use super::window::{TAIL, WINDOW_BITS_MAX};
use crate::base::Limits;
use crate::protocol::frame::{self, Opcode, Role};
use std::fmt;
use zlib_rs::{Deflate, DeflateFlush, Status};

/// Compresses messages, each by itself. It takes some 370 KiB from its first use on.
///
/// ```
/// use tapecast::protocol::deflate::{Deflater, Inflater};
///
/// let text = "the same again and again and again and again".repeat(10);
/// let mut deflater = Deflater::new(1, 100);
/// let small = deflater.deflate(text.as_bytes()).expect("it is long enough");
/// assert!(small.len() < text.len() / 4);
/// let mut back = Vec::new();
/// Inflater::new().inflate_whole(small, &mut back, 1_000).unwrap();
/// assert_eq!(back, text.as_bytes());
/// // Too short to be worth it.
/// assert_eq!(deflater.deflate(b"short"), None);
/// ```
pub struct Deflater {
    deflate: Option<Deflate>,
    level: u8,
    window_bits: u8,
    bytes_min: usize,
    bytes_max: usize,
    /// The last message, compressed.
    out: Vec<u8>,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deflater").field("bytes_min", &self.bytes_min).finish()
    }
}

/// The largest buffer that is kept for the next message.
const KEPT_BYTES: usize = 1 << 20;

/// A compressor with a window of two to the power of `window_bits` bytes.
pub(super) fn new_deflate(level: u8, window_bits: u8) -> Deflate {
    Deflate::new(level.into(), false, window_bits)
}

/// Compresses a message, up to the end of a block, to the start of `out`, and returns its
/// compressed length. After `None`, the compressor has to be replaced.
pub(super) fn compress(deflate: &mut Deflate, payload: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    // Room for the worst case: noise in fixed codes, nine bits a byte.
    let room = payload.len() + payload.len() / 7 + 64;
    if out.len() > KEPT_BYTES {
        // No large buffer is kept after a large message.
        *out = Vec::new();
    }
    out.resize(room, 0);
    let (taken, written) = (deflate.total_in(), deflate.total_out());
    let status = deflate.compress(payload, out, DeflateFlush::SyncFlush);
    let taken = (deflate.total_in() - taken) as usize;
    let written = (deflate.total_out() - written) as usize;
    // If room is left, all output is written, including the empty block at its end.
    let is_whole = status == Ok(Status::Ok) && taken == payload.len() && written < room;
    let small = out[..written].strip_suffix(&TAIL).filter(|_| is_whole)?;
    Some(small.len())
}

impl Deflater {
    /// A compressor with a level from 1, fast, to 9, small; 0 counts as 1. Messages of fewer than
    /// `bytes_min` bytes are not compressed.
    pub fn new(level: u8, bytes_min: usize) -> Deflater {
        Deflater {
            deflate: None,
            level: level.max(1),
            window_bits: WINDOW_BITS_MAX,
            bytes_min,
            bytes_max: usize::MAX,
            out: Vec::new(),
        }
    }

    /// Another compressor, with a window of two to the power of `window_bits` bytes,
    /// 9 to 15.
    #[must_use]
    pub fn narrowed(&self, window_bits: u8) -> Deflater {
        let Deflater { level, bytes_min, bytes_max, .. } = *self;
        Deflater { deflate: None, level, window_bits, bytes_min, bytes_max, out: Vec::new() }
    }

    /// A compressor as `limits` configures it.
    pub fn within(limits: &Limits) -> Deflater {
        Deflater::new(limits.deflate_level as u8, limits.deflate_bytes_min)
            .at_most(limits.deflate_bytes_max)
    }

    /// Does not compress messages of more than `bytes_max` bytes either: they take long.
    #[must_use]
    pub fn at_most(mut self, bytes_max: usize) -> Deflater {
        self.bytes_max = bytes_max;
        self
    }

    /// Whether a message of `bytes` bytes is too long to be compressed.
    #[inline]
    pub(crate) fn is_too_long(&self, bytes: usize) -> bool {
        bytes > self.bytes_max
    }

    /// The compressed payload; `None` when it would not be smaller.
    pub fn deflate(&mut self, payload: &[u8]) -> Option<&[u8]> {
        // An empty message would become longer.
        if payload.len() < self.bytes_min.max(1) || self.is_too_long(payload.len()) {
            return None;
        }
        let (level, window_bits) = (self.level, self.window_bits);
        let deflate = self.deflate.get_or_insert_with(|| new_deflate(level, window_bits));
        deflate.reset();
        let small = compress(deflate, payload, &mut self.out);
        if small.is_none() {
            // A reset in the middle of a block leaves state behind at level 1 (zlib-rs 0.6.8).
            self.deflate = None;
        }
        small.filter(|&small| small < payload.len()).map(|small| &self.out[..small])
    }

    /// Appends frames of a server, and compresses data frames where that makes them
    /// smaller. Each data frame is a whole message.
    pub fn frames(&mut self, frames: &[u8], out: &mut Vec<u8>) {
        let mut rest = frames;
        while let Ok(Some(header)) = frame::decode(rest, Role::Client) {
            let bytes = usize::from(header.header_bytes) + header.payload_bytes as usize;
            let Some((frame, behind)) = rest.split_at_checked(bytes) else { break };
            let payload = &frame[usize::from(header.header_bytes)..];
            let is_message = matches!(header.opcode, Opcode::Text | Opcode::Binary) && header.fin;
            match self.deflate(payload).filter(|_| is_message) {
                Some(small) => {
                    let header = frame::encode(header.opcode, true, small.len(), None);
                    header.compressed().append(out, small);
                }
                None => out.extend_from_slice(frame),
            }
            rest = behind;
        }
        debug_assert!(rest.is_empty(), "the input is whole frames of a server");
    }
}
