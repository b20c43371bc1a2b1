//! Waking a thread that sleeps in the kernel.

/// Something that can be woken from any thread. Waking something awake is
/// harmless and costs only time.
///
/// ```
/// use std::thread::{self, Thread};
/// use tapecast::base::Wake;
///
/// struct Unpark(Thread);
///
/// impl Wake for Unpark {
///     fn wake(&self) {
///         self.0.unpark();
///     }
/// }
///
/// let sleeper = thread::spawn(thread::park);
/// let waker: Box<dyn Wake> = Box::new(Unpark(sleeper.thread().clone()));
/// waker.wake();
/// assert!(sleeper.join().is_ok());
/// ```
pub trait Wake: Send + Sync {
    /// Makes the present or next wait of the target end.
    fn wake(&self);
}

impl Wake for Box<dyn Wake> {
    fn wake(&self) {
        (**self).wake();
    }
}
