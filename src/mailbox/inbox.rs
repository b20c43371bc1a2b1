//! Mail from threads that are not shards.

use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// A bounded queue with many producers and one consumer.
///
/// ```
/// use tapecast::mailbox::Inbox;
///
/// let inbox = Inbox::new(2);
/// let pushed = std::thread::scope(|scope| scope.spawn(|| inbox.push("theirs")).join());
/// assert_eq!(pushed.unwrap(), Ok(()));
/// assert_eq!(inbox.push("ours"), Ok(()));
/// assert_eq!(inbox.push("too many"), Err("too many"));
/// assert_eq!(inbox.pop(), Some("theirs"));
/// ```
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Arc<ArrayQueue<T>>,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox { queue: Arc::clone(&self.queue) }
    }
}

impl<T> Inbox<T> {
    /// Room for `capacity` items, at least one.
    pub fn new(capacity: usize) -> Inbox<T> {
        Inbox { queue: Arc::new(ArrayQueue::new(capacity.max(1))) }
    }

    /// Queues `item`.
    ///
    /// # Errors
    /// The item, when the queue is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.queue.push(item)
    }

    /// The oldest item.
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}
