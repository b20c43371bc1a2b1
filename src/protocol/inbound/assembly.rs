//! A message that arrives in pieces, or compressed: where its payload is put together.
//!
//! Its buffers are the pool's. Text is checked as it comes, and nothing is allocated by
//! what a header declares.

use super::Rules;
use crate::base::BufferPool;
use crate::protocol::cause::CloseCause;
use crate::protocol::deflate::{InflateError, Inflater};
use crate::protocol::frame::SERVER_HEADER_BYTES_MAX;
use crate::protocol::mask;
use crate::protocol::message::Kind;
use crate::protocol::utf8::Utf8;
use crate::protocol::workspace::Workspace;

/// A message that arrives in pieces.
#[derive(Debug)]
pub(super) struct Assembly {
    pub kind: Kind,
    pub utf8: Utf8,
    pub fragments: u32,
    /// `SERVER_HEADER_BYTES_MAX` bytes of room for a header, then the payload.
    /// All of it is initialised; what lies behind `end` is of no meaning.
    pub storage: Vec<u8>,
    /// `SERVER_HEADER_BYTES_MAX <= end <= storage.len()`
    pub end: usize,
    /// The message is whole and lent out; the next call gives the buffer back.
    pub whole: bool,
    /// Of a compressed message: what is not inflated.
    pub packed: Option<Packed>,
}

/// A compressed message that arrives in pieces.
#[derive(Debug)]
pub(super) struct Packed {
    /// Received, unmasked, and not inflated yet.
    pub bytes: Vec<u8>,
    /// All that has come, these included.
    pub total: usize,
    /// There once more than [`PACKED_BYTES_MAX`] have come, or from the start if the
    /// connection has one that remembers.
    pub inflater: Option<Inflater>,
}

/// Bytes of a compressed message that are kept as they came: somewhat more than a
/// decompressor takes.
const PACKED_BYTES_MAX: usize = 64 << 10;

/// A message of which only a piece has arrived starts with at most this many
/// bytes of address space, whatever its header declares; what is resident grows
/// with what arrives.
pub(super) const FIRST_BYTES: usize = 16 << 10;
/// A message in pieces grows to at least this many bytes at a time.
pub(super) const GROWTH_BYTES_MIN: usize = 4 << 10;

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

    /// Inflates `piece`, and at the end of the message what was held back; checks what
    /// came out.
    pub fn inflate(
        &mut self,
        inflater: &mut Inflater,
        piece: &[u8],
        is_last: bool,
        rules: &Rules,
    ) -> Result<(), CloseCause> {
        let bytes_max = SERVER_HEADER_BYTES_MAX.saturating_add(rules.message_bytes_max);
        let start = self.end;
        let mut end = inflater.inflate(piece, &mut self.storage, start, bytes_max);
        if let Ok(behind) = end
            && is_last
        {
            end = inflater.finish(&mut self.storage, behind, bytes_max);
        }
        self.end = end.map_err(|error| match error {
            InflateError::Malformed => CloseCause::InvalidDeflate,
            InflateError::TooBig => CloseCause::MessageTooBig,
        })?;
        if self.kind == Kind::Text {
            let text = &self.storage[start..self.end];
            self.utf8.push(text).map_err(|_| CloseCause::InvalidUtf8)?;
        }
        Ok(())
    }

    /// Inflates what was kept of a compressed message, if there is enough of it, or it
    /// `is_last`: then the decompressor comes back.
    pub fn unpack(
        &mut self,
        is_last: bool,
        rules: &Rules,
        workspace: &mut Workspace,
    ) -> Result<Option<Inflater>, CloseCause> {
        let Some(mut packed) = self.packed.take() else { return Ok(None) };
        if packed.inflater.is_none() && !is_last && packed.bytes.len() <= PACKED_BYTES_MAX {
            self.packed = Some(packed);
            return Ok(None);
        }
        let mut inflater = packed.inflater.take().unwrap_or_else(|| workspace.take_inflater());
        let before = self.payload_bytes();
        let inflated = self.inflate(&mut inflater, &packed.bytes, is_last, rules);
        workspace.count_inflated(self.payload_bytes() - before);
        if is_last || inflated.is_err() {
            workspace.put(packed.bytes);
            return inflated.map(|()| Some(inflater));
        }
        // What comes from here on does not stay: no need of so much room.
        workspace.put(std::mem::take(&mut packed.bytes));
        packed.bytes = workspace.take();
        packed.inflater = Some(inflater);
        self.packed = Some(packed);
        Ok(None)
    }

    /// Gives its buffers back.
    pub fn release(self, pool: &mut BufferPool) {
        pool.put(self.storage);
        if let Some(packed) = self.packed {
            pool.put(packed.bytes);
        }
    }

    pub fn payload(&self) -> &[u8] {
        &self.storage[SERVER_HEADER_BYTES_MAX..self.end]
    }

    pub fn payload_bytes(&self) -> usize {
        self.end - SERVER_HEADER_BYTES_MAX
    }

    pub fn is_compressed(&self) -> bool {
        self.packed.is_some()
    }

    /// Bytes of its frames that have come.
    pub fn received_bytes(&self) -> usize {
        self.packed.as_ref().map_or(self.payload_bytes(), |packed| packed.total)
    }

    /// Makes room for `bytes` more bytes, of `expected` that are to come.
    pub fn reserve(&mut self, bytes: usize, expected: u64) {
        let needed = self.end + bytes;
        if needed > self.storage.len() {
            // Doubled by what has come, not by what was declared: memory that is
            // written is memory that is resident.
            let all = self.end.saturating_add(usize::try_from(expected).unwrap_or(usize::MAX));
            let grown = (self.end * 2).max(GROWTH_BYTES_MIN).min(all).max(needed);
            self.storage.resize(grown, 0);
        }
    }

    /// Counts in `bytes` bytes that have been written, masked, behind `end`.
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
