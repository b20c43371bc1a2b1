//! Decompressing messages.

use super::window::TAIL;
use crate::base::pool::lengthen;
use std::fmt;
use zlib_rs::{Inflate, InflateFlush, Status};

/// Why a message can't be inflated.
///
/// ```
/// use tapecast::protocol::deflate::{InflateError, Inflater};
///
/// let mut out = Vec::new();
/// let error = Inflater::new().inflate_whole(&[0xFF; 8], &mut out, 100).unwrap_err();
/// assert_eq!(error, InflateError::Malformed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// The message is not DEFLATE (RFC 1951).
    Malformed,
    /// The message would exceed its limit.
    TooBig,
}

/// Inflates messages piece by piece. Each may look back at earlier ones, until
/// [`Inflater::reset`]. It takes some 47 KiB.
///
/// ```
/// use tapecast::protocol::deflate::Inflater;
///
/// // RFC 7692, 7.2.3.1, in two pieces.
/// let (mut inflater, mut out) = (Inflater::new(), Vec::new());
/// let end = inflater.inflate(&[0xF2, 0x48, 0xCD], &mut out, 0, 100).unwrap();
/// let end = inflater.inflate(&[0xC9, 0xC9, 0x07, 0x00], &mut out, end, 100).unwrap();
/// inflater.end_message().unwrap();
/// assert_eq!(&out[..end], b"Hello");
/// ```
pub struct Inflater {
    inflate: Inflate,
    /// No input since the end of a message, or of a last block.
    is_between: bool,
    /// The last bytes of the input.
    last: [u8; 4],
}

/// An empty block, and a byte that does not belong to it.
const EMPTY_AND_MORE: [u8; 6] = [0, 0, 0, 0xFF, 0xFF, 0];

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").finish_non_exhaustive()
    }
}

impl Default for Inflater {
    fn default() -> Inflater {
        Inflater::new()
    }
}

impl Inflater {
    /// A decompressor between two messages.
    pub fn new() -> Inflater {
        // The largest window reads messages of every negotiated one.
        Inflater { inflate: Inflate::new(false, 15), is_between: true, last: [0; 4] }
    }

    /// Drops the context of earlier messages.
    pub fn reset(&mut self) {
        self.inflate.reset(false);
        self.is_between = true;
    }

    /// Inflates the next piece of a message to `out[end..]`; returns its new end. `out`
    /// grows as needed, and bytes behind the end have no meaning.
    ///
    /// # Errors
    /// The piece is malformed, or the end exceeds `bytes_max`: at most one byte beyond it is
    /// written.
    pub fn inflate(
        &mut self,
        mut piece: &[u8],
        out: &mut Vec<u8>,
        end: usize,
        bytes_max: usize,
    ) -> Result<usize, InflateError> {
        Ok(self.inflate_some(&mut piece, out, end, bytes_max, usize::MAX)?.0)
    }

    /// As [`Inflater::inflate`], but stops after `some` bytes of output: it advances `piece` past
    /// the consumed input, and returns whether that was all. If not, call it again with the rest,
    /// which may be empty.
    ///
    /// # Errors
    /// As there.
    pub fn inflate_some(
        &mut self,
        piece: &mut &[u8],
        out: &mut Vec<u8>,
        mut end: usize,
        bytes_max: usize,
        some: usize,
    ) -> Result<(usize, bool), InflateError> {
        let pause = end.saturating_add(some);
        if !piece.is_empty() {
            self.is_between = false;
            self.remember_last(piece);
        }
        loop {
            if end > bytes_max {
                return Err(InflateError::TooBig);
            }
            if end >= pause {
                return Ok((end, false));
            }
            lengthen(out, end, end + 1, bytes_max.saturating_add(1));
            let (taken, written) = (self.inflate.total_in(), self.inflate.total_out());
            let room = out.len().min(bytes_max.saturating_add(1)).min(pause);
            let status = self.inflate.decompress(piece, &mut out[end..room], InflateFlush::NoFlush);
            let status = status.map_err(|_| InflateError::Malformed)?;
            *piece = &piece[(self.inflate.total_in() - taken) as usize..];
            end += (self.inflate.total_out() - written) as usize;
            match status {
                // RFC 7692, 7.2.3.4: a last block is not the end of the message. A compressor
                // restarts behind it, as zlib does.
                Status::StreamEnd => {
                    self.reset();
                    if piece.is_empty() {
                        return Ok((end, true));
                    }
                    self.is_between = false;
                }
                // Output without room may be held back.
                Status::Ok if end == room => {}
                _ if piece.is_empty() => return Ok((end, true)),
                Status::Ok => {}
                Status::BufError if end == room => {}
                Status::BufError => return Err(InflateError::Malformed),
            }
        }
    }

    fn remember_last(&mut self, piece: &[u8]) {
        let kept = piece.len().min(self.last.len());
        self.last.rotate_left(kept);
        let place = self.last.len() - kept;
        self.last[place..].copy_from_slice(&piece[piece.len() - kept..]);
    }

    /// Checks that a message whose pieces are all inflated is at its end.
    ///
    /// # Errors
    /// The message ends inside a block.
    pub fn end_message(&mut self) -> Result<(), InflateError> {
        // An empty payload, and a last block without an empty one behind it, are whole without
        // the omitted tail, which would begin a block here.
        if self.is_between {
            return Ok(());
        }
        // RFC 7692, 7.2.2: the omitted tail completes an empty block. So all of it is
        // consumed without output, and the decompressor stops between two blocks. Inside a
        // block it would also consume the next byte, or produce output. A message
        // that keeps its tail is accepted too: another empty block follows.
        let begun = usize::from(self.last != TAIL);
        let rest = &EMPTY_AND_MORE[begun..];
        let (taken, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(rest, &mut [0; 8], InflateFlush::Block);
        let taken = self.inflate.total_in() - taken;
        let is_at_end = status == Ok(Status::Ok)
            && taken == rest.len() as u64 - 1
            && self.inflate.total_out() == written;
        self.is_between = is_at_end;
        is_at_end.then_some(()).ok_or(InflateError::Malformed)
    }

    /// Appends a whole message without context to `out`, which then has at most `bytes_max`
    /// bytes.
    ///
    /// # Errors
    /// As [`Inflater::inflate`].
    pub fn inflate_whole(
        &mut self,
        payload: &[u8],
        out: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<(), InflateError> {
        self.reset();
        let start = out.len();
        let end = self.inflate(payload, out, start, bytes_max)?;
        self.end_message()?;
        out.truncate(end);
        Ok(())
    }
}
