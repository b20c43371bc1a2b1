//! Compressed messages as they were.

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
    /// It is not DEFLATE (RFC 1951).
    Malformed,
    /// It would have more bytes than it may have.
    TooBig,
}

/// Inflates messages, one after the other, piece by piece: each may look back at those
/// before it, until [`Inflater::reset`]. It takes some 47 KiB.
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
    /// Nothing has been read since the end of a message, or of a last block.
    is_between: bool,
    /// The bytes that were read last.
    last: [u8; 4],
}

/// A block of no bytes, and a byte that is not for it.
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
    /// Between two messages.
    pub fn new() -> Inflater {
        // Whatever window was agreed on: the largest reads them all.
        Inflater { inflate: Inflate::new(false, 15), is_between: true, last: [0; 4] }
    }

    /// Forgets all that came before.
    pub fn reset(&mut self) {
        self.inflate.reset(false);
        self.is_between = true;
    }

    /// Inflates the next piece of a message to `out[end..]`; says where that ends now. `out`
    /// grows as it has to, and what lies behind the end is of no meaning.
    ///
    /// # Errors
    /// It is none, or the end is beyond `bytes_max`: no more than a byte above that is ever
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

    /// As [`Inflater::inflate`], and stops when `some` bytes have come out: takes what it has
    /// used off `piece`, and says whether that was all. If not, it goes on with the rest,
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
                // RFC 7692, 7.2.3.4: a last block is not the end of the message. Who ends one
                // begins anew behind it, as zlib does.
                Status::StreamEnd => {
                    self.reset();
                    if piece.is_empty() {
                        return Ok((end, true));
                    }
                    self.is_between = false;
                }
                // It may hold back what had no room.
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

    /// All pieces of a message have been inflated, so it has to be at its end.
    ///
    /// # Errors
    /// It ends inside a block.
    pub fn end_message(&mut self) -> Result<(), InflateError> {
        // An empty payload, and a last block without an empty one behind it, are whole as
        // they are: what is left out of others would begin a block here.
        if self.is_between {
            return Ok(());
        }
        // RFC 7692, 7.2.2: what was left out completes a block of no bytes. So all of it is
        // taken, nothing comes out, and where it stops is between two blocks. Inside of a
        // block the byte behind it would be taken too, or something would come out. A message
        // that has left nothing out is taken as well: another such block follows.
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

    /// Appends a whole message that stands by itself to `out`, which then has `bytes_max`
    /// bytes at most.
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
