//! A tape: the encoded frames of one topic in one lane on one reader shard.
//!
//! Frames lie one behind the other in chunks; a subscriber is a cursor, the number
//! of the next message it is to get. The backlog of a cursor is a run of frames
//! per chunk, ready to be sent: nothing is copied or framed per subscriber.
//!
//! Positions are the topic's own numbers. A tape has no holes: when messages are missing, it
//! begins anew behind them, and every cursor before that is behind.

use super::superseded::Superseded;
use std::collections::VecDeque;

const CHUNK_BYTES_MIN: usize = 2 << 10;
const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Chunks that a pool keeps of each size.
const SPARES: usize = 16;

/// A run of frames that no frame straddles the end of.
#[derive(Debug, Default)]
struct Chunk {
    /// The number of its first message.
    first: u64,
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`, ascending; the last is `bytes.len()`.
    ends: Vec<u32>,
}

impl Chunk {
    #[inline]
    fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// The memory that it takes, however much of it is in use.
    fn weight(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Its newer half, at least one message, without room for more.
    fn newer_half(&self) -> Chunk {
        let gone = self.ends.len() / 2;
        let first = self.first + gone as u64;
        let begin = self.offset(first);
        let ends = self.ends[gone..].iter().map(|end| end - begin as u32).collect();
        Chunk { first, bytes: self.bytes[begin..].to_vec(), ends }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() == self.bytes.capacity()
    }

    /// Whether a frame of `bytes` bytes has room in it.
    fn fits(&self, bytes: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= bytes
    }

    /// Where the message at `position` begins, or the one before it ends.
    #[inline]
    fn offset(&self, position: u64) -> usize {
        match position - self.first {
            0 => 0,
            index => self.ends[index as usize - 1] as usize,
        }
    }
}

/// Chunks that all cursors have passed, for the next message of any topic: a tape that
/// everybody has read to its end holds none, and the memory stays warm.
#[derive(Debug, Default)]
pub struct ChunkPool {
    /// By size, from [`CHUNK_BYTES_MIN`], each twice the one before it.
    sizes: [Vec<Chunk>; SIZES],
    /// Where a frame is written before its length is known. Empty in between.
    scratch: Vec<u8>,
}

const SIZES: usize = (CHUNK_BYTES_MAX / CHUNK_BYTES_MIN).ilog2() as usize + 1;

impl ChunkPool {
    /// An empty chunk with room for `bytes` bytes.
    fn take(&mut self, bytes: usize) -> Chunk {
        let wanted = bytes.max(CHUNK_BYTES_MIN).next_power_of_two();
        let size = (wanted / CHUNK_BYTES_MIN).ilog2() as usize;
        let spare = self.sizes.get_mut(size).and_then(Vec::pop);
        spare.unwrap_or_else(|| {
            let bytes = if wanted > CHUNK_BYTES_MAX { bytes } else { wanted };
            Chunk { bytes: Vec::with_capacity(bytes), ..Chunk::default() }
        })
    }

    fn put(&mut self, mut chunk: Chunk) {
        let size = (chunk.bytes.capacity() / CHUNK_BYTES_MIN).max(1).ilog2() as usize;
        if let Some(spares) = self.sizes.get_mut(size)
            && chunk.bytes.capacity() == CHUNK_BYTES_MIN << size
            && spares.len() < SPARES
        {
            chunk.bytes.clear();
            chunk.ends.clear();
            spares.push(chunk);
        }
    }

    /// A frame has been copied: its buffer is for the next one.
    fn keep_scratch(&mut self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= CHUNK_BYTES_MAX {
            scratch.clear();
            self.scratch = scratch;
        }
    }
}

/// The frames of one topic, from the oldest that is kept to the newest.
#[derive(Debug)]
pub struct Tape {
    chunks: VecDeque<Chunk>,
    /// Bytes of the next chunk: small at first, for most topics are quiet.
    usual_bytes: u32,
    /// Bytes of frames in all chunks.
    bytes: usize,
    bytes_max: usize,
    /// The memory that the chunks take.
    held: usize,
    /// Bytes of frames that ever went onto it.
    appended: u64,
    /// The number of the next message.
    end: u64,
}

/// Consecutive messages, as they are sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Run<'t> {
    /// The number of the first.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// Their frames.
    pub bytes: &'t [u8],
}

/// Which messages of a tape a cursor is to get.
#[derive(Clone, Copy, Debug)]
pub struct Span<'s> {
    /// The first number, not before the tape's begin.
    pub from: u64,
    /// The number behind the last.
    pub to: u64,
    /// Messages at most.
    pub messages_max: u64,
    /// Which to skip.
    pub superseded: Option<&'s Superseded>,
}

impl Tape {
    /// An empty tape whose first message will be number `next`. It keeps at most
    /// `bytes_max` bytes, and always the newest message.
    pub fn new(next: u64, bytes_max: usize) -> Tape {
        Tape {
            chunks: VecDeque::new(),
            usual_bytes: CHUNK_BYTES_MIN as u32,
            bytes: 0,
            bytes_max,
            held: 0,
            appended: 0,
            end: next,
        }
    }

    /// The number of the oldest message that is kept.
    #[inline]
    pub fn begin(&self) -> u64 {
        self.chunks.front().map_or(self.end, |chunk| chunk.first)
    }

    /// The number of the next message.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of frames that it keeps at most.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes of frames that ever went onto it.
    pub fn appended_bytes(&self) -> u64 {
        self.appended
    }

    /// Bytes of memory that it takes.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Begins anew: everything is gone, and message `next` will be the first.
    pub fn restart(&mut self, next: u64, pool: &mut ChunkPool) {
        while !self.chunks.is_empty() {
            self.drop_front(pool);
        }
        self.end = next;
    }

    /// Appends a message, which `encode` writes as frames. Chunks that no longer fit are
    /// dropped from the old end.
    pub fn append(&mut self, pool: &mut ChunkPool, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut frame = std::mem::take(&mut pool.scratch);
        encode(&mut frame);
        self.appended += frame.len() as u64;
        if frame.len() > CHUNK_BYTES_MAX && !self.fits(frame.len()) {
            // It is its own chunk.
            frame.shrink_to_fit();
            let ends = vec![frame.len() as u32];
            self.push(Chunk { first: self.end, bytes: frame, ends });
        } else {
            let chunk = self.chunk_for(frame.len(), pool);
            let before = chunk.weight();
            chunk.bytes.extend_from_slice(&frame);
            chunk.ends.push(chunk.bytes.len() as u32);
            self.held += chunk.weight() - before;
            self.bytes += frame.len();
            pool.keep_scratch(frame);
        }
        self.end += 1;
        while self.bytes > self.bytes_max && self.chunks.len() > 1 {
            self.drop_front(pool);
        }
    }

    fn fits(&self, bytes: usize) -> bool {
        self.chunks.back().is_some_and(|chunk| chunk.fits(bytes))
    }

    /// The chunk that takes a frame of `bytes` bytes: the last if it fits, for frames never
    /// move.
    fn chunk_for(&mut self, bytes: usize, pool: &mut ChunkPool) -> &mut Chunk {
        if !self.fits(bytes) {
            if !self.chunks.is_empty() {
                self.usual_bytes = (self.usual_bytes * 2).min(CHUNK_BYTES_MAX as u32);
            }
            // A tape of a small limit has small chunks, or it would keep one.
            let usual = (self.usual_bytes as usize).min(self.bytes_max / 4);
            let mut chunk = pool.take(bytes.max(usual));
            chunk.first = self.end;
            self.push(chunk);
        }
        self.chunks.back_mut().expect("there is a last chunk")
    }

    fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.held += chunk.weight();
        self.chunks.push_back(chunk);
    }

    fn drop_front(&mut self, pool: &mut ChunkPool) {
        if let Some(chunk) = self.pop_front() {
            pool.put(chunk);
        }
    }

    fn pop_front(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.bytes.len();
        self.held -= chunk.weight();
        let is_roomy = chunk.bytes.len() < chunk.bytes.capacity() / 4;
        if is_roomy && self.chunks.is_empty() {
            // It is not as busy as it was.
            self.usual_bytes = (self.usual_bytes / 2).max(CHUNK_BYTES_MIN as u32);
        }
        Some(chunk)
    }

    /// No cursor lies before `position`: drops the chunks wholly before it.
    pub fn passed(&mut self, position: u64, pool: &mut ChunkPool) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position) {
            self.drop_front(pool);
        }
    }

    /// Evicts the older half of its chunks, or of the messages in its only one, whether or not
    /// a cursor has yet to pass them. The newest message stays, and no spare room.
    pub fn halve(&mut self) {
        self.usual_bytes = (self.usual_bytes / 2).max(CHUNK_BYTES_MIN as u32);
        let is_worth = |chunk: &Chunk| chunk.ends.len() > 1 || !chunk.is_full();
        // Memory is short: the pool gets none.
        if self.chunks.len() > 1 {
            for _ in 0..self.chunks.len() / 2 {
                self.pop_front();
            }
        } else if self.chunks.front().is_some_and(is_worth)
            && let Some(chunk) = self.pop_front()
        {
            self.push(chunk.newer_half());
        }
    }

    /// The messages of a span, in runs: at least one per chunk.
    #[inline]
    pub fn runs<'t>(&'t self, span: Span<'t>) -> Runs<'t> {
        debug_assert!(span.from >= self.begin() || span.from >= span.to);
        let to = span.to.min(self.end);
        let chunk = if span.from >= to { self.chunks.len() } else { self.chunk_of(span.from) };
        Runs { tape: self, chunk, span: Span { to, ..span } }
    }

    /// The index of the chunk that holds message `position`. Nearly always the last.
    #[inline]
    fn chunk_of(&self, position: u64) -> usize {
        match self.chunks.back() {
            Some(last) if position >= last.first => self.chunks.len() - 1,
            _ => self.chunks.partition_point(|chunk| chunk.end() <= position),
        }
    }

    /// Of a run, `bytes` bytes were sent, not all and not none. Returns the number behind the
    /// last message that was begun, and what is left of that message.
    pub fn cut(&self, run: &Run<'_>, bytes: usize) -> (u64, &[u8]) {
        let chunk = &self.chunks[self.chunk_of(run.first)];
        let target = chunk.offset(run.first) + bytes;
        let ended = chunk.ends.partition_point(|&end| (end as usize) < target);
        let rest = &chunk.bytes[target..chunk.ends[ended] as usize];
        (chunk.first + ended as u64 + 1, rest)
    }
}

/// Iterates over the runs of a span.
#[derive(Debug)]
pub struct Runs<'t> {
    tape: &'t Tape,
    chunk: usize,
    span: Span<'t>,
}

impl<'t> Iterator for Runs<'t> {
    type Item = Run<'t>;

    #[inline]
    fn next(&mut self) -> Option<Run<'t>> {
        let span = &mut self.span;
        loop {
            if span.messages_max == 0 || span.from >= span.to {
                return None;
            }
            let chunk = self.tape.chunks.get(self.chunk)?;
            let limit = chunk.end().min(span.to);
            let (first, behind) = match span.superseded {
                None => (span.from, limit),
                Some(superseded) => superseded.next_run(span.from, limit),
            };
            if first == limit {
                span.from = limit;
                self.chunk += 1;
                continue;
            }
            let behind = behind.min(first.saturating_add(span.messages_max));
            let count = behind - first;
            span.from = behind;
            span.messages_max -= count;
            if behind == chunk.end() {
                self.chunk += 1;
            }
            let bytes = &chunk.bytes[chunk.offset(first)..chunk.offset(behind)];
            return Some(Run { first, count, bytes });
        }
    }
}

#[cfg(test)]
mod tests;
