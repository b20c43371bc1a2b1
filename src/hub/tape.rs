//! A tape: the encoded frames of one topic on one reader shard.
//!
//! Frames lie one behind the other in chunks; a subscriber is a cursor, the
//! position of the next message it is to get. What a cursor has yet to get is a
//! slice per chunk, ready to be sent: nothing is copied or framed per
//! subscriber. Positions count the messages appended since the tape began.

use crate::protocol::Kind;
use crate::protocol::frame;
use std::collections::VecDeque;

const CHUNK_BYTES_MIN: usize = 2 << 10;
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// A run of frames that no frame straddles the end of.
#[derive(Debug, Default)]
struct Chunk {
    /// The position of its first message.
    first: u64,
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`, ascending; the last is `bytes.len()`.
    ends: Vec<u32>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// Where the message at `position` begins.
    fn offset(&self, position: u64) -> usize {
        match position - self.first {
            0 => 0,
            index => self.ends[index as usize - 1] as usize,
        }
    }
}

/// The frames of one topic, from the oldest that is kept to the newest.
#[derive(Debug)]
pub struct Tape {
    chunks: VecDeque<Chunk>,
    /// A chunk that has been passed by all, kept for the next.
    spare: Option<Chunk>,
    /// Bytes in all chunks.
    bytes: usize,
    bytes_max: usize,
    /// The position behind the newest message.
    end: u64,
}

/// What a cursor went over.
#[derive(Debug, PartialEq, Eq)]
pub struct Advanced<'a> {
    /// The new cursor, behind the last message of which a byte was sent.
    pub cursor: u64,
    /// Messages begun.
    pub messages: u64,
    /// What is left of the last of them.
    pub rest: &'a [u8],
}

impl Tape {
    /// An empty tape that keeps at most `bytes_max` bytes, and always the newest
    /// message.
    pub fn new(bytes_max: usize) -> Tape {
        Tape { chunks: VecDeque::new(), spare: None, bytes: 0, bytes_max, end: 0 }
    }

    /// The position of the oldest message that is kept.
    pub fn begin(&self) -> u64 {
        self.chunks.front().map_or(self.end, |chunk| chunk.first)
    }

    /// The position behind the newest message.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes from begin to end.
    pub fn held_bytes(&self) -> u64 {
        self.end() - self.begin()
    }

    /// Appends a message, encoded as a server sends it. Chunks that no longer
    /// fit are dropped from the old end.
    pub fn append(&mut self, kind: Kind, payload: &[u8]) {
        let header = frame::encode(kind.opcode(), true, payload.len(), None);
        let header = header.as_bytes();
        let chunk = self.chunk_for(header.len() + payload.len());
        chunk.bytes.extend_from_slice(header);
        chunk.bytes.extend_from_slice(payload);
        chunk.ends.push(chunk.bytes.len() as u32);
        self.bytes += header.len() + payload.len();
        self.end += 1;
        while self.bytes > self.bytes_max && self.chunks.len() > 1 {
            self.drop_front();
        }
    }

    /// The chunk that takes a frame of `bytes` bytes: the last if it fits, so
    /// that memory that was sent from never moves.
    fn chunk_for(&mut self, bytes: usize) -> &mut Chunk {
        let fits = self
            .chunks
            .back()
            .is_some_and(|chunk| chunk.bytes.capacity() - chunk.bytes.len() >= bytes);
        if !fits {
            let mut chunk = self.spare.take().unwrap_or_default();
            let usual = self
                .chunks
                .back()
                .map_or(CHUNK_BYTES_MIN, |chunk| (chunk.bytes.capacity() * 2).min(CHUNK_BYTES_MAX));
            // A tape of a small limit has small chunks, or it would keep one.
            let usual = usual.min(self.bytes_max / 4);
            if chunk.bytes.capacity() < bytes.max(usual) {
                chunk.bytes = Vec::with_capacity(bytes.max(usual));
            }
            chunk.first = self.end;
            self.chunks.push_back(chunk);
        }
        self.chunks.back_mut().expect("there is a last chunk")
    }

    fn drop_front(&mut self) {
        let Some(mut chunk) = self.chunks.pop_front() else { return };
        self.bytes -= chunk.bytes.len();
        if chunk.bytes.capacity() <= CHUNK_BYTES_MAX {
            chunk.bytes.clear();
            chunk.ends.clear();
            self.spare = Some(chunk);
        }
    }

    /// No cursor lies before `position`: chunks wholly before it are of no more
    /// use. A tape that everybody has read to its end starts its last chunk
    /// anew, so that it stays in the cache.
    pub fn passed(&mut self, position: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position) {
            self.drop_front();
        }
    }

    /// The frames from `cursor` on, a slice per chunk. The cursor is not before
    /// [`Tape::begin`].
    #[inline]
    pub fn from(&self, cursor: u64) -> impl Iterator<Item = &[u8]> {
        debug_assert!(cursor >= self.begin() && cursor <= self.end);
        let first = self.chunk_of(cursor);
        self.chunks.range(first..).map(move |chunk| {
            let position = cursor.max(chunk.first);
            &chunk.bytes[chunk.offset(position)..]
        })
    }

    /// The index of the chunk that holds `cursor`, or of none when it is at the
    /// end. Nearly always the last.
    #[inline]
    fn chunk_of(&self, cursor: u64) -> usize {
        if cursor == self.end {
            return self.chunks.len();
        }
        match self.chunks.back() {
            Some(last) if cursor >= last.first => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= cursor),
        }
    }

    /// Where a cursor stands after `bytes` bytes from `cursor` on were sent.
    pub fn advance(&self, cursor: u64, mut bytes: usize) -> Advanced<'_> {
        let mut at = cursor;
        for chunk in self.chunks.range(self.chunk_of(cursor)..) {
            let start = chunk.offset(at);
            if bytes >= chunk.bytes.len() - start {
                bytes -= chunk.bytes.len() - start;
                at = chunk.end();
                continue;
            }
            if bytes == 0 {
                break;
            }
            let target = start + bytes;
            let ended = chunk.ends.partition_point(|&end| (end as usize) < target);
            let rest = &chunk.bytes[target..chunk.ends[ended] as usize];
            let after = chunk.first + ended as u64 + 1;
            return Advanced { cursor: after, messages: after - cursor, rest };
        }
        Advanced { cursor: at, messages: at - cursor, rest: &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tape against a vector of all messages ever.
    #[test]
    fn agrees_with_a_vector() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut tape = Tape::new(random.usize(100..20_000));
            let mut twin: Vec<Vec<u8>> = Vec::new();
            let mut cursor = 0;
            for _ in 0..2_000 {
                match random.u8(..10) {
                    0..6 => {
                        let payload = vec![random.u8(..); random.usize(..300)];
                        tape.append(Kind::Binary, &payload);
                        let header =
                            frame::encode(Kind::Binary.opcode(), true, payload.len(), None);
                        twin.push([header.as_bytes(), &payload].concat());
                        cursor = cursor.max(tape.begin());
                    }
                    6..9 => {
                        let pending: Vec<u8> = tape.from(cursor).flatten().copied().collect();
                        assert_eq!(pending, twin[cursor as usize..].concat());
                        let bytes = random.usize(..=pending.len());
                        let advanced = tape.advance(cursor, bytes);
                        let whole = twin[cursor as usize..advanced.cursor as usize].concat();
                        assert_eq!(whole[..bytes], pending[..bytes]);
                        assert_eq!(whole[bytes..], *advanced.rest, "the rest is the frame's end");
                        assert_eq!(advanced.messages, advanced.cursor - cursor);
                        let last = twin[..advanced.cursor as usize].last().map_or(0, Vec::len);
                        assert!(advanced.rest.len() < last.max(1), "a frame not begun is no rest");
                        cursor = advanced.cursor;
                    }
                    _ => tape.passed(cursor),
                }
                assert!(tape.bytes <= tape.bytes_max || tape.chunks.len() == 1);
                assert_eq!(tape.end(), twin.len() as u64);
            }
        }
    }

    #[test]
    fn a_tape_read_to_its_end_reuses_its_memory() {
        let mut tape = Tape::new(1 << 20);
        tape.append(Kind::Text, b"a");
        let address = tape.chunks[0].bytes.as_ptr();
        for _ in 0..10_000 {
            tape.passed(tape.end());
            tape.append(Kind::Text, b"b");
        }
        assert_eq!(tape.chunks[0].bytes.as_ptr(), address);
    }
}
