//! Waking a thread that sleeps in the kernel.

/// Something that can be woken from any thread. Waking what is awake is
/// harmless and does nothing but cost time.
pub trait Wake: Send + Sync {
    /// Makes the present or next wait of the target end.
    fn wake(&self);
}

impl Wake for Box<dyn Wake> {
    fn wake(&self) {
        (**self).wake();
    }
}
