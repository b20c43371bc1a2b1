//! Mail from threads that are not shards.

use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A queue with many producers and one consumer, bounded by items and by bytes. A single item
/// always fits, whatever its size, since it could never be sent otherwise.
///
/// ```
/// use tapecast::mailbox::Inbox;
///
/// let inbox = Inbox::new(3, 10);
/// let pushed = std::thread::scope(|scope| scope.spawn(|| inbox.push("theirs", 6)).join());
/// assert_eq!(pushed.unwrap(), Ok(()));
/// assert_eq!(inbox.push("ours", 4), Ok(()));
/// assert_eq!(inbox.push("too much", 1), Err("too much"));
/// assert_eq!(inbox.push("of nothing", 0), Ok(()));
/// assert_eq!(inbox.push("too many", 0), Err("too many"));
/// assert_eq!(inbox.pop(), Some("theirs"));
/// ```
#[derive(Debug)]
pub struct Inbox<T> {
    inner: Arc<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    queue: ArrayQueue<(T, usize)>,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox { inner: Arc::clone(&self.inner) }
    }
}

impl<T> Inbox<T> {
    /// A queue of `capacity` items, at least one, of `bytes_max` bytes together.
    pub fn new(capacity: usize, bytes_max: usize) -> Inbox<T> {
        let queue = ArrayQueue::new(capacity.max(1));
        Inbox { inner: Arc::new(Inner { queue, bytes: AtomicUsize::new(0), bytes_max }) }
    }

    /// Queues `item`, which has `bytes` bytes.
    ///
    /// # Errors
    /// The item, if the queue is full.
    pub fn push(&self, item: T, bytes: usize) -> Result<(), T> {
        let Inner { queue, bytes: held, bytes_max } = &*self.inner;
        let fits = |held: usize| bytes == 0 || held == 0 || held + bytes <= *bytes_max;
        let add = |held: usize| fits(held).then_some(held + bytes);
        // Only a count: the queue synchronises the items.
        if held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(item);
        }
        queue.push((item, bytes)).map_err(|(item, _)| {
            held.fetch_sub(bytes, Ordering::Relaxed);
            item
        })
    }

    /// Takes the oldest item out.
    pub fn pop(&self) -> Option<T> {
        let (item, bytes) = self.inner.queue.pop()?;
        if bytes > 0 {
            self.inner.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Some(item)
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.inner.queue.is_empty()
    }
}
