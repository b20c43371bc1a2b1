//! Memory that the connections of one thread share: buffers, and a compressor and
//! decompressors, which are large.

use super::deflate::{Compression, Contexts, Deflater, Inflater, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::base::BufferPool;
use crate::base::work::{self, Work};
use std::ops::{Deref, DerefMut};

/// Decompressors that are kept while they are unused.
const INFLATERS_MAX: usize = 4;

/// Inflated bytes up to which the ratio does not matter.
const RATIO_FREE_BYTES: usize = 4 << 20;

/// Buffers and compressors of one thread. It dereferences to the pool of buffers.
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
    /// Compressors with smaller windows, ordered by their bits, created at their first use. Each
    /// takes less memory than `deflater`, and there are six at most.
    narrow: Vec<Deflater>,
    contexts: Contexts,
    inflated_bytes: u64,
    /// Bytes that went into a compressor.
    deflated_bytes: u64,
    grown_work: Work,
    /// How many more bytes may be inflated before the message has to pause.
    inflate_left: usize,
    ratio_max: usize,
}

/// The length and capacity of a buffer.
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
    /// Keeps at most this many bytes of free buffers, and compresses nothing.
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

    /// Compresses messages with this compressor, where compression was negotiated.
    #[must_use]
    pub fn compressing(mut self, deflater: Deflater) -> Workspace {
        self.deflater = deflater;
        self
    }

    /// Sets the highest ratio of inflated to compressed bytes of a message. It applies above
    /// 4 MiB of inflated bytes; 0 allows any ratio.
    #[must_use]
    pub fn with_ratio_max(mut self, ratio_max: usize) -> Workspace {
        self.ratio_max = ratio_max;
        self
    }

    /// Allows `bytes` more inflated bytes. The message that reaches the bound pauses
    /// ([`Inbound::is_inflating`](super::Inbound::is_inflating)).
    pub fn may_inflate(&mut self, bytes: usize) {
        self.inflate_left = bytes;
    }

    /// How many bytes may still be inflated.
    pub(super) fn inflate_left(&self) -> usize {
        self.inflate_left
    }

    /// Whether `inflated` bytes exceed the ratio to `packed` ones.
    pub(super) fn is_bomb(&self, packed: usize, inflated: usize) -> bool {
        self.ratio_max > 0
            && inflated > RATIO_FREE_BYTES.saturating_add(packed.saturating_mul(self.ratio_max))
    }

    /// Sets the budget of contexts.
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

    /// The compressed payload of a message; `None` when the connection does not compress it,
    /// or it would not be smaller.
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

    /// Bytes inflated since the last call.
    pub fn take_inflated_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.inflated_bytes)
    }

    /// Bytes that went into a compressor since the last call.
    pub fn take_deflated_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.deflated_bytes)
    }

    /// The work of growing buffers since the last call.
    pub fn take_grown_work(&mut self) -> Work {
        std::mem::take(&mut self.grown_work)
    }

    /// Counts the work of growing a buffer that had this size before.
    #[inline]
    pub(super) fn count_grown(&mut self, before: Size, buffer: &Vec<u8>) {
        // All of it was copied to new memory, or only the new bytes were zeroed.
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

    /// Counts `bytes` inflated bytes.
    pub(super) fn count_inflated(&mut self, bytes: usize) {
        self.inflated_bytes += bytes as u64;
        self.inflate_left = self.inflate_left.saturating_sub(bytes);
    }

    /// Returns a decompressor.
    pub(super) fn put_inflater(&mut self, mut inflater: Inflater) {
        if self.inflaters.len() < INFLATERS_MAX {
            // The next message belongs to another connection.
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
