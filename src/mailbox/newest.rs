//! The newest of something that other threads give a thread.

use crossbeam::queue::ArrayQueue;
use std::sync::Arc;

/// One place with many producers and one consumer: what is put there takes the place of
/// what has not been taken yet, so that putting never waits.
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
    /// Puts `value` there; an earlier one that was not taken is dropped.
    pub fn put(&self, value: T) {
        drop(self.0.force_push(value));
    }

    /// Takes what is there.
    pub fn take(&self) -> Option<T> {
        self.0.pop()
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
