//! The pool of byte buffers of one shard.
//!
//! Last in, first out, so that the buffer handed out is the one most likely to
//! be in the cache. A connection takes a buffer when it has something to keep
//! and returns it when that is gone: an idle connection owns none. The free buffers of
//! the pool are bounded by bytes; above the bound, large buffers return to the
//! allocator, the oldest first.

/// Capacity of a fresh small buffer, in bytes: a short reply, or a dozen. Not a
/// power of two, since buffers that lie a page apart fall into the same few sets of
/// a cache.
const SMALL_BYTES: usize = 1792;
/// Above this capacity a buffer counts as large and is kept apart, so that a
/// small reply never occupies a megabyte. 64 KiB, and the overhead of the four TLS records that
/// carry them.
const LARGE_BYTES: usize = 65 << 10;

/// A buffer grows in steps within these bounds, unless more is needed at once: new bytes are
/// zeroed, which makes them resident.
const LENGTHENED_BYTES_MIN: usize = 4 << 10;
const LENGTHENED_BYTES_MAX: usize = 256 << 10;
/// A buffer longer than this reserves the address space of the whole message, up to
/// [`RESERVED_BYTES_MAX`], so that its content is not copied with each growth.
const COPIED_BYTES_MAX: usize = 1 << 20;
const RESERVED_BYTES_MAX: usize = 64 << 20;

/// Makes a buffer, of which `end` bytes are in use, at least `needed` bytes long, and at most
/// `all` bytes if those are enough. It grows with the bytes that have arrived, not with the
/// declared length, and by at most 256 KiB at a time.
///
/// ```
/// use tapecast::base::pool::lengthen;
///
/// let mut buffer = vec![1; 2 << 20];
/// let end = buffer.len();
/// lengthen(&mut buffer, end, end + 1, 16 << 20);
/// assert_eq!(buffer.len(), end + (256 << 10));
/// assert_eq!(buffer.capacity(), 16 << 20);
/// ```
pub fn lengthen(buffer: &mut Vec<u8>, end: usize, needed: usize, all: usize) {
    let before = buffer.len();
    if needed <= before {
        return;
    }
    let more = end.clamp(LENGTHENED_BYTES_MIN, LENGTHENED_BYTES_MAX);
    let len = (end + more).min(all).max(needed);
    if len > buffer.capacity() {
        let doubled = end.saturating_mul(2).min(all);
        let reserved = if len > COPIED_BYTES_MAX { all.min(RESERVED_BYTES_MAX) } else { 0 };
        let capacity = len.max(doubled).max(reserved);
        buffer.reserve_exact(capacity - before);
    }
    buffer.resize(len, 0);
}

/// A last-in-first-out pool of `Vec<u8>`.
///
/// ```
/// use tapecast::base::BufferPool;
///
/// let mut pool = BufferPool::new(1 << 20);
/// let mut buffer = pool.take();
/// buffer.extend_from_slice(b"half a message");
/// assert_eq!(pool.lent(), 1);
///
/// let address = buffer.as_ptr();
/// pool.put(buffer);
/// let next = pool.take();
/// assert!(next.is_empty());
/// assert_eq!(next.as_ptr(), address);
/// ```
#[derive(Debug)]
pub struct BufferPool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    /// Capacity of all buffers kept, `<= kept_bytes_max`.
    kept_bytes: usize,
    kept_bytes_max: usize,
    /// Buffers handed out and not yet returned.
    lent: usize,
}

impl BufferPool {
    /// A pool that keeps at most `kept_bytes_max` bytes of free buffers.
    pub fn new(kept_bytes_max: usize) -> BufferPool {
        BufferPool { small: Vec::new(), large: Vec::new(), kept_bytes: 0, kept_bytes_max, lent: 0 }
    }

    /// Bytes of free buffers that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// An empty buffer with room for a short reply; it grows.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.lent += 1;
        match self.small.pop() {
            Some(buffer) => {
                self.kept_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(SMALL_BYTES),
        }
    }

    /// An empty buffer for `bytes` bytes that may or may not arrive. Up to 65 KiB it is one
    /// that grows; a larger free one that is large enough is lent whole; otherwise the
    /// buffer starts at no more than `bytes_at_first`, so that a declared length alone
    /// never allocates.
    pub fn take_for(&mut self, bytes: usize, bytes_at_first: usize) -> Vec<u8> {
        // The last returned buffer has grown to the usual size.
        if bytes <= LARGE_BYTES {
            return self.take();
        }
        let fits = self.large.iter().rposition(|buffer| {
            let capacity = buffer.capacity();
            capacity >= bytes && capacity / 4 <= bytes.max(LARGE_BYTES)
        });
        self.lent += 1;
        match fits {
            Some(index) => {
                let buffer = self.large.remove(index);
                self.kept_bytes -= buffer.capacity();
                buffer
            }
            None => Vec::with_capacity(bytes.min(bytes_at_first)),
        }
    }

    /// Returns a buffer to the pool.
    #[inline]
    pub fn put(&mut self, mut buffer: Vec<u8>) {
        debug_assert!(self.lent > 0, "a returned buffer was never lent");
        self.lent -= 1;
        let capacity = buffer.capacity();
        if capacity < SMALL_BYTES || capacity > self.kept_bytes_max {
            return;
        }
        // The oldest buffer may be of a size that is no longer asked for.
        while self.kept_bytes + capacity > self.kept_bytes_max && !self.large.is_empty() {
            self.kept_bytes -= self.large.remove(0).capacity();
        }
        if self.kept_bytes + capacity > self.kept_bytes_max {
            return;
        }
        buffer.clear();
        self.kept_bytes += capacity;
        if capacity > LARGE_BYTES {
            self.large.push(buffer);
        } else {
            self.small.push(buffer);
        }
    }

    /// How many buffers are with connections now.
    pub fn lent(&self) -> usize {
        self.lent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_length_does_not_allocate() {
        let mut pool = BufferPool::new(1 << 20);
        assert!(pool.take_for(16 << 20, 128 << 10).capacity() <= 128 << 10);
    }

    #[test]
    fn the_last_buffer_returned_is_the_first_out() {
        let mut pool = BufferPool::new(1 << 20);
        let (first, second) = (pool.take(), pool.take());
        let address = second.as_ptr();
        pool.put(first);
        pool.put(second);
        let again = pool.take();
        assert_eq!(again.as_ptr(), address);
        assert_eq!(pool.lent(), 1);
    }

    #[test]
    fn free_buffers_are_bounded_and_large_ones_serve_large_requests_only() {
        let mut pool = BufferPool::new(300 << 10);
        let large = pool.take_for(256 << 10, 256 << 10);
        pool.put(large);
        let other = pool.take_for(256 << 10, 1 << 10);
        assert!(other.capacity() >= 256 << 10, "the free buffer serves");
        let second = pool.take_for(256 << 10, 256 << 10);
        pool.put(other);
        pool.put(second);
        assert_eq!(pool.large.len(), 1, "the second does not fit into what may be kept");
        assert!(pool.take().capacity() <= LARGE_BYTES);
    }

    #[test]
    fn sizes_that_are_no_longer_asked_for_do_not_fill_the_pool() {
        let mut pool = BufferPool::new(1 << 20);
        let odd: Vec<_> = (0..10).map(|_| pool.take_for(100 << 10, 100 << 10)).collect();
        odd.into_iter().for_each(|buffer| pool.put(buffer));
        let usual = pool.take_for(600 << 10, 600 << 10);
        let address = usual.as_ptr();
        pool.put(usual);
        let again = pool.take_for(600 << 10, 1);
        assert_eq!(again.as_ptr(), address);
        assert!(pool.kept_bytes() <= 1 << 20);
    }
}
