//! The protocol by which a consumer sleeps without missing mail.
//!
//! The consumer sets its sleeping flag, then checks its queues once
//! more; a producer queues, then checks the flag. A full fence
//! on both sides between the write and the read ensures that at least one of
//! them sees the other: either the consumer finds the mail and stays awake, or
//! the producer finds it asleep and wakes it. Only the producer that resets the flag
//! pays for a wake.

#[cfg(all(loom, test))]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(all(loom, test)))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::base::Wake;

/// The sleeping flag of one consumer, and its waker.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use tapecast::base::Wake;
/// use tapecast::mailbox::Doorbell;
///
/// struct Counting(Arc<AtomicU32>);
/// # impl Wake for Counting {
/// #     fn wake(&self) {
/// #         self.0.fetch_add(1, Relaxed);
/// #     }
/// # }
///
/// let wakes = Arc::new(AtomicU32::new(0));
/// let doorbell = Doorbell::new(Counting(Arc::clone(&wakes)));
/// doorbell.ring();
/// assert_eq!(wakes.load(Relaxed), 0);
/// doorbell.doze();
/// doorbell.ring();
/// doorbell.ring();
/// assert_eq!(wakes.load(Relaxed), 1);
/// ```
pub struct Doorbell<W> {
    sleeping: AtomicBool,
    waker: W,
}

impl<W: Wake> Doorbell<W> {
    /// A consumer that is awake.
    pub fn new(waker: W) -> Doorbell<W> {
        Doorbell { sleeping: AtomicBool::new(false), waker }
    }

    /// For producers, after queueing: wakes the consumer if it sleeps.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// For the consumer: sets the sleeping flag. It must check its queues once
    /// more after this, and sleep only if they are empty.
    pub fn doze(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// For the consumer: resets the sleeping flag.
    pub fn rouse(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}

impl<W> std::fmt::Debug for Doorbell<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Doorbell").field("sleeping", &self.sleeping).finish_non_exhaustive()
    }
}
