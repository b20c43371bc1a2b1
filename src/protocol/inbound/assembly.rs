//! Assembling the payload of a message that arrives in pieces, or compressed.
//!
//! Its buffers belong to the pool. Text is validated as it arrives, and the length that a header
//! declares allocates nothing.

use super::rules::Rules;
use crate::base::BufferPool;
use crate::base::pool::lengthen;
use crate::protocol::cause::CloseCause;
use crate::protocol::deflate::{InflateError, Inflater};
use crate::protocol::frame::SERVER_HEADER_BYTES_MAX;
use crate::protocol::mask;
use crate::protocol::message::Kind;
use crate::protocol::utf8::Utf8;
use crate::protocol::workspace::{Size, Workspace};

/// A message that arrives in pieces.
#[derive(Debug)]
pub(super) struct Assembly {
    pub kind: Kind,
    pub utf8: Utf8,
    pub fragments: u32,
    /// `SERVER_HEADER_BYTES_MAX` bytes of room for a header, then the payload.
    /// All of it is initialised; bytes behind `end` have no meaning.
    pub storage: Vec<u8>,
    /// `SERVER_HEADER_BYTES_MAX <= end <= storage.len()`
    pub end: usize,
    /// The message is whole and lent out; the next call returns the buffer.
    pub whole: bool,
    /// For a compressed message: the bytes that are not inflated yet.
    pub packed: Option<Packed>,
}

/// A compressed message that arrives in pieces.
#[derive(Debug)]
pub(super) struct Packed {
    /// Received and unmasked.
    pub bytes: Vec<u8>,
    /// How many of `bytes` are inflated.
    pub taken: usize,
    /// The whole message has arrived.
    pub is_whole: bool,
    /// Inflating has reached the bound of this turn, and there is more.
    pub is_paused: bool,
    /// All compressed bytes that have arrived, including `bytes`.
    pub total: usize,
    /// Present once more than [`PACKED_BYTES_MAX`] have arrived, or from the start if the
    /// connection has its own.
    pub inflater: Option<Inflater>,
}

impl Packed {
    pub fn new(bytes: Vec<u8>, inflater: Option<Inflater>) -> Packed {
        Packed { bytes, taken: 0, is_whole: false, is_paused: false, total: 0, inflater }
    }
}

/// The progress of a compressed message.
pub(super) enum Unpacked {
    /// More of it has to arrive.
    Waits,
    /// It continues once more bytes may be inflated.
    Paused,
    /// It is whole; its decompressor is returned.
    Whole(Inflater),
}

/// Bytes of a message that are kept compressed: somewhat more than a
/// decompressor takes.
const PACKED_BYTES_MAX: usize = 64 << 10;

/// Bytes that a decompressor takes.
const INFLATER_BYTES: usize = 47 << 10;

/// A message of which only a piece has arrived starts with at most this many
/// bytes of address space, whatever its header declares; resident memory grows
/// with the bytes that arrive.
pub(super) const FIRST_BYTES: usize = 16 << 10;

/// Ends a compressed message after all of it was inflated.
pub(super) fn end(inflater: &mut Inflater) -> Result<(), CloseCause> {
    inflater.end_message().map_err(|_| CloseCause::InvalidDeflate)
}

impl Assembly {
    pub fn new(kind: Kind, declared: u64, pool: &mut BufferPool) -> Assembly {
        let bytes = usize::try_from(declared).unwrap_or(usize::MAX);
        let mut storage = pool.take_for(bytes.saturating_add(SERVER_HEADER_BYTES_MAX), FIRST_BYTES);
        if storage.len() < SERVER_HEADER_BYTES_MAX {
            storage.resize(SERVER_HEADER_BYTES_MAX, 0);
        }
        let end = SERVER_HEADER_BYTES_MAX;
        let utf8 = Utf8::default();
        Assembly { kind, utf8, fragments: 0, storage, end, whole: false, packed: None }
    }

    /// Bytes of memory that it holds.
    pub fn held_bytes(&self) -> usize {
        let packed = self.packed.as_ref().map_or(0, |packed| {
            packed.bytes.len() + packed.inflater.as_ref().map_or(0, |_| INFLATER_BYTES)
        });
        self.storage.len() + packed
    }

    /// Inflates `piece` up to the bound of this turn, advances it, and validates the output.
    /// Returns whether all of it was inflated.
    pub fn inflate(
        &mut self,
        inflater: &mut Inflater,
        piece: &mut &[u8],
        rules: &Rules,
        workspace: &mut Workspace,
    ) -> Result<bool, CloseCause> {
        let bytes_max = SERVER_HEADER_BYTES_MAX.saturating_add(rules.message_bytes_max);
        let start = self.end;
        let some = workspace.inflate_left();
        let before = Size::of(&self.storage);
        let inflated = inflater.inflate_some(piece, &mut self.storage, start, bytes_max, some);
        workspace.count_grown(before, &self.storage);
        let (end, is_all) = inflated.map_err(|error| match error {
            InflateError::Malformed => CloseCause::InvalidDeflate,
            InflateError::TooBig => CloseCause::MessageTooBig,
        })?;
        self.end = end;
        workspace.count_inflated(end - start);
        if self.kind == Kind::Text {
            let text = &self.storage[start..self.end];
            self.utf8.push(text).map_err(|_| CloseCause::InvalidUtf8)?;
        }
        Ok(is_all)
    }

    /// Inflates the kept bytes of a compressed message up to the bound of this turn, if there are
    /// enough of them, or the last frame has arrived (`is_last`).
    pub fn unpack(
        &mut self,
        is_last: bool,
        rules: &Rules,
        workspace: &mut Workspace,
    ) -> Result<Unpacked, CloseCause> {
        let Some(mut packed) = self.packed.take() else { return Ok(Unpacked::Waits) };
        if is_last {
            packed.is_whole = true;
        }
        let is_enough = packed.is_whole || packed.bytes.len() > PACKED_BYTES_MAX;
        if packed.inflater.is_none() && !is_enough {
            self.packed = Some(packed);
            return Ok(Unpacked::Waits);
        }
        let mut inflater = packed.inflater.take().unwrap_or_else(|| workspace.take_inflater());
        let mut piece = &packed.bytes[packed.taken..];
        let is_all = self.inflate(&mut inflater, &mut piece, rules, workspace);
        packed.taken = packed.bytes.len() - piece.len();
        let is_bomb = workspace.is_bomb(packed.total, self.payload_bytes());
        let is_all = is_all.and_then(|all| match (is_bomb, all && packed.is_whole) {
            (true, _) => Err(CloseCause::MessageTooBig),
            (_, true) => end(&mut inflater).map(|()| true),
            (_, false) => Ok(all),
        });
        match is_all {
            Err(cause) => {
                workspace.put(packed.bytes);
                return Err(cause);
            }
            Ok(true) if packed.is_whole => {
                workspace.put(packed.bytes);
                return Ok(Unpacked::Whole(inflater));
            }
            Ok(is_all) => packed.is_paused = !is_all,
        }
        let is_paused = packed.is_paused;
        if !is_paused {
            // Later bytes are inflated at once and need less room.
            workspace.put(std::mem::take(&mut packed.bytes));
            (packed.bytes, packed.taken) = (workspace.take(), 0);
        }
        packed.inflater = Some(inflater);
        self.packed = Some(packed);
        Ok(if is_paused { Unpacked::Paused } else { Unpacked::Waits })
    }

    /// Returns its buffers.
    pub fn release(self, pool: &mut BufferPool) {
        pool.put(self.storage);
        if let Some(packed) = self.packed {
            pool.put(packed.bytes);
        }
    }

    /// Hands its storage over, up to the payload's end, and continues with an empty one.
    pub fn hand_over(&mut self, pool: &mut BufferPool) -> Vec<u8> {
        let mut empty = pool.take();
        empty.resize(SERVER_HEADER_BYTES_MAX, 0);
        let mut storage = std::mem::replace(&mut self.storage, empty);
        storage.truncate(std::mem::replace(&mut self.end, SERVER_HEADER_BYTES_MAX));
        storage
    }

    pub fn payload(&self) -> &[u8] {
        &self.storage[SERVER_HEADER_BYTES_MAX..self.end]
    }

    pub fn payload_bytes(&self) -> usize {
        self.end - SERVER_HEADER_BYTES_MAX
    }

    /// Whether it is compressed and pauses although more can be inflated.
    pub fn is_paused(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.is_paused)
    }

    pub fn is_compressed(&self) -> bool {
        self.packed.is_some()
    }

    /// Payload bytes of its frames that have arrived.
    pub fn received_bytes(&self) -> usize {
        self.packed.as_ref().map_or(self.payload_bytes(), |packed| packed.total)
    }

    /// Makes room for `bytes` more bytes, of `expected` that follow.
    pub fn reserve(&mut self, bytes: usize, expected: u64) {
        let expected = usize::try_from(expected).unwrap_or(usize::MAX);
        let all = self.end.saturating_add(expected);
        lengthen(&mut self.storage, self.end, self.end + bytes, all);
    }

    /// Counts `bytes` bytes that were written, masked, behind `end`, and unmasks them.
    pub fn written(&mut self, bytes: usize, key: [u8; 4]) -> Result<(), CloseCause> {
        let piece = &mut self.storage[self.end..self.end + bytes];
        mask::apply(piece, key);
        if self.kind == Kind::Text {
            self.utf8.push(piece).map_err(|_| CloseCause::InvalidUtf8)?;
        }
        self.end += bytes;
        Ok(())
    }
}
