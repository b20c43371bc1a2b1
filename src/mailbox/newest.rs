//! The newest value that other threads have put in place for a thread.

use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// One place with many producers and one consumer. A value replaces an earlier one that has not
/// been taken yet, so putting never waits.
///
/// ```
/// use tapecast::mailbox::Newest;
///
/// let newest = Newest::default();
/// let theirs = newest.clone();
/// std::thread::spawn(move || [1, 2].map(|value| theirs.put(value))).join().unwrap();
/// assert_eq!((newest.take(), newest.take()), (Some(2), None));
/// ```
#[derive(Debug)]
pub struct Newest<T>(Arc<ArrayQueue<T>>);

impl<T> Clone for Newest<T> {
    fn clone(&self) -> Self {
        Newest(Arc::clone(&self.0))
    }
}

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Newest(Arc::new(ArrayQueue::new(1)))
    }
}

impl<T> Newest<T> {
    /// Puts `value` in the place, and drops an earlier value that was not taken.
    pub fn put(&self, value: T) {
        drop(self.0.force_push(value));
    }

    /// Takes the value.
    pub fn take(&self) -> Option<T> {
        self.0.pop()
    }

    /// Whether the place is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
