//! What the connections of one thread share to work with: buffers, and a compressor and
//! decompressors, which are large.

use super::deflate::{Compression, Contexts, Deflater, Inflater, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::base::BufferPool;
use crate::base::work::{self, Work};
use std::ops::{Deref, DerefMut};

/// Decompressors that are kept while nobody uses them.
const INFLATERS_MAX: usize = 4;

/// Bytes that may come out of however few.
const RATIO_FREE_BYTES: usize = 4 << 20;

/// Buffers and compressors of one thread. It is the pool of buffers, and more.
///
/// ```
/// use tapecast::protocol::Workspace;
///
/// let mut workspace = Workspace::new(1 << 20);
/// let buffer = workspace.take();
/// assert_eq!(workspace.lent(), 1);
/// workspace.put(buffer);
/// ```
#[derive(Debug)]
pub struct Workspace {
    pool: BufferPool,
    inflaters: Vec<Inflater>,
    deflater: Deflater,
    /// Those with smaller windows, by their bits from the least on, once they are used: each
    /// takes less than the other, and there are six at most.
    narrow: Vec<Deflater>,
    contexts: Contexts,
    inflated_bytes: u64,
    /// Bytes that went into a compressor.
    deflated_bytes: u64,
    grown_work: Work,
    /// So many more may come out before whoever inflates has to pause.
    inflate_left: usize,
    ratio_max: usize,
}

/// How long a buffer is, and may become where it lies.
pub(super) struct Size {
    len: usize,
    capacity: usize,
}

impl Size {
    #[inline]
    pub fn of(buffer: &Vec<u8>) -> Size {
        Size { len: buffer.len(), capacity: buffer.capacity() }
    }
}

impl Workspace {
    /// Buffers of at most this many bytes are kept; nothing is compressed.
    pub fn new(kept_bytes_max: usize) -> Workspace {
        Workspace {
            pool: BufferPool::new(kept_bytes_max),
            inflaters: Vec::new(),
            deflater: Deflater::new(0, 0),
            narrow: Vec::new(),
            contexts: Contexts::new(0, 0, 0, 0),
            inflated_bytes: 0,
            deflated_bytes: 0,
            grown_work: 0,
            inflate_left: usize::MAX,
            ratio_max: 0,
        }
    }

    /// Messages are compressed by this, where that was agreed on.
    #[must_use]
    pub fn compressing(mut self, deflater: Deflater) -> Workspace {
        self.deflater = deflater;
        self
    }

    /// So many bytes may come out of a compressed message for each of its own, from 4 MiB
    /// on; any number if this is 0.
    #[must_use]
    pub fn with_ratio_max(mut self, ratio_max: usize) -> Workspace {
        self.ratio_max = ratio_max;
        self
    }

    /// From now on `bytes` bytes may come out of compressed messages: then the message pauses
    /// ([`Inbound::is_inflating`](super::Inbound::is_inflating)).
    pub fn may_inflate(&mut self, bytes: usize) {
        self.inflate_left = bytes;
    }

    /// How many that still are.
    pub(super) fn inflate_left(&self) -> usize {
        self.inflate_left
    }

    /// Whether `inflated` bytes are more than may come out of `packed` ones.
    pub(super) fn is_bomb(&self, packed: usize, inflated: usize) -> bool {
        self.ratio_max > 0
            && inflated > RATIO_FREE_BYTES.saturating_add(packed.saturating_mul(self.ratio_max))
    }

    /// Some connections have contexts.
    #[must_use]
    pub fn with_contexts(mut self, contexts: Contexts) -> Workspace {
        self.contexts = contexts;
        self
    }

    /// The contexts of connections that have one.
    #[inline]
    pub fn contexts(&mut self) -> &mut Contexts {
        &mut self.contexts
    }

    /// The payload of a message as a connection sends it compressed; `None` when it does not,
    /// or that would not be smaller.
    pub fn deflate(&mut self, compression: Compression, payload: &[u8]) -> Option<&[u8]> {
        if compression == Compression::NONE || self.deflater.is_too_long(payload.len()) {
            return None;
        }
        self.deflated_bytes += payload.len() as u64;
        if compression == Compression::ALONE {
            return self.deflater.deflate(payload);
        }
        let Some(window_bits) = compression.narrow_bits() else {
            return self.contexts.deflate(compression, payload);
        };
        if self.narrow.is_empty() {
            let all = WINDOW_BITS_MIN..WINDOW_BITS_MAX;
            self.narrow = all.map(|bits| self.deflater.narrowed(bits)).collect();
        }
        self.narrow[usize::from(window_bits - WINDOW_BITS_MIN)].deflate(payload)
    }

    /// Bytes that came out of compressed messages since this was last asked.
    pub fn take_inflated_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.inflated_bytes)
    }

    /// Bytes that went into a compressor since this was last asked.
    pub fn take_deflated_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.deflated_bytes)
    }

    /// The work of making buffers longer since this was last asked.
    pub fn take_grown_work(&mut self) -> Work {
        std::mem::take(&mut self.grown_work)
    }

    /// A buffer that was of this size may have been made longer.
    #[inline]
    pub(super) fn count_grown(&mut self, before: Size, buffer: &Vec<u8>) {
        // All of it is copied to fresh memory, or more of it is made zero.
        self.grown_work += if buffer.capacity() > before.capacity {
            work::keep(buffer.len())
        } else {
            work::copy(buffer.len() - before.len)
        };
    }

    /// A decompressor, for one message.
    pub(super) fn take_inflater(&mut self) -> Inflater {
        self.inflaters.pop().unwrap_or_default()
    }

    /// So many bytes have come out of one.
    pub(super) fn count_inflated(&mut self, bytes: usize) {
        self.inflated_bytes += bytes as u64;
        self.inflate_left = self.inflate_left.saturating_sub(bytes);
    }

    /// Takes it back.
    pub(super) fn put_inflater(&mut self, mut inflater: Inflater) {
        if self.inflaters.len() < INFLATERS_MAX {
            // The next message is another connection's.
            inflater.reset();
            self.inflaters.push(inflater);
        }
    }
}

impl Deref for Workspace {
    type Target = BufferPool;

    fn deref(&self) -> &BufferPool {
        &self.pool
    }
}

impl DerefMut for Workspace {
    fn deref_mut(&mut self) -> &mut BufferPool {
        &mut self.pool
    }
}
