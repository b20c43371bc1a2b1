//! How other threads wake a ring.

use crate::base::Wake;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Wakes a [`Uring`](super::Uring) through an eventfd that the ring polls.
///
/// ```no_run
/// use tapecast::Limits;
/// use tapecast::base::{Time, Wake};
/// use tapecast::driver::{Batch, Driver, Event, Setup, Uring};
///
/// let mut ring = Uring::new(&Setup::new(&Limits::default(), 64))?;
/// let waker = ring.waker();
/// std::thread::spawn(move || waker.wake());
/// let mut events = Vec::new();
/// ring.turn(&mut Batch::new(), Time::NEVER, &mut events)?;
/// assert!(matches!(events[..], [Event::Woken]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventWaker(pub(super) Arc<OwnedFd>);

impl Wake for EventWaker {
    fn wake(&self) {
        // Fails only when the counter is full, and then the poll has fired.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
