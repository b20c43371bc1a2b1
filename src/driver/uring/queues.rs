//! The two queues of one ring, entered through its registered descriptor.
//!
//! A thread that registers a ring's descriptor enters the kernel by an index and saves
//! the lookup of a descriptor, some 30 ns each time. A [`Submitter`] stores that index,
//! so one lives as long as the ring. Dropping it undoes the registration: the kernel
//! has sixteen of them per thread, and a registered ring outlives its descriptor.
//!
//! Why the `unsafe` is sound: the ring lies in memory of its own, which does not move and
//! is freed after the submitter that borrows it. Until then it is reached by shared
//! references alone, and each queue by one value at a time, since making one borrows
//! [`Queues`] exclusively.
#![allow(unsafe_code)]

use io_uring::{CompletionQueue, IoUring, Parameters, SubmissionQueue, Submitter};
use std::ptr::NonNull;

/// One ring of this thread. The fields are dropped in this order.
pub struct Queues {
    submitter: Submitter<'static>,
    ring: Owned,
}

struct Owned(NonNull<IoUring>);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it came out of a box in `Queues::new`, and nothing borrows it any more.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl Queues {
    /// Registers the ring's descriptor with this thread, the only one to use it.
    pub fn new(ring: IoUring) -> std::io::Result<Queues> {
        let ring = Owned(NonNull::from(Box::leak(Box::new(ring))));
        // SAFETY: the memory lives until `ring` is dropped, which happens after the submitter.
        let mut submitter = unsafe { ring.0.as_ref() }.submitter();
        submitter.register_ring_fd()?;
        Ok(Queues { submitter, ring })
    }

    /// The calls that enter the kernel.
    #[inline]
    pub fn submitter(&self) -> &Submitter<'_> {
        &self.submitter
    }

    /// Submits `submissions` entries of the queue and lets the kernel run deferred work, without
    /// waiting.
    #[inline]
    pub fn enter(&self, submissions: u32) -> std::io::Result<usize> {
        const GETEVENTS: u32 = 1;
        // SAFETY: no argument is passed. The code that pushed an entry vouches for its pointers.
        unsafe { self.submitter.enter::<libc::sigset_t>(submissions, 0, GETEVENTS, None) }
    }

    /// The queue of operations to submit.
    #[inline]
    pub fn submission(&mut self) -> SubmissionQueue<'_> {
        // SAFETY: `self` is borrowed for as long as the queue lives, so it is the only one.
        unsafe { self.ring.0.as_ref().submission_shared() }
    }

    /// The queue of their completions.
    #[inline]
    pub fn completion(&mut self) -> CompletionQueue<'_> {
        // SAFETY: as in `submission`.
        unsafe { self.ring.0.as_ref().completion_shared() }
    }

    /// The parameters that the kernel has set the ring up with.
    pub fn params(&self) -> &Parameters {
        // SAFETY: nothing refers to it exclusively.
        unsafe { self.ring.0.as_ref() }.params()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // Fails only on another thread than the one that registered it, or at a thread's end:
        // then the kernel undoes the registration itself.
        let _ = self.submitter.unregister_ring_fd();
    }
}
