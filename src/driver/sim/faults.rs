//! The frequency of the faults that a real kernel may have and seldom has.

/// How often each fault occurs: once in so many times, 0 for never.
///
/// ```
/// # use tapecast::Limits;
/// # use tapecast::base::Time;
/// use tapecast::driver::sim::{Faults, World};
/// use tapecast::driver::{Driver, Errno, Event};
/// # use tapecast::driver::{Batch, Setup};
///
/// let world = World::new(1, Faults { accept: 1, ..Faults::default() }, 64 << 10);
/// # let mut ring = world.ring(Setup::new(&Limits::default(), 8));
/// # let client = world.connect(0);
/// # let mut events = Vec::new();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::AcceptFailed { error: Errno::NFILE, .. }]));
///
/// world.calm();
/// events.clear();
/// ring.accept(0);
/// ring.turn(&mut Batch::new(), Time::ZERO, &mut events)?;
/// assert!(matches!(events[..], [Event::Accepted { .. }]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A receive delivers fewer bytes than are there; a send takes fewer than fit.
    pub partial: u64,
    /// A receive ends with bytes left, for no reason.
    pub expired: u64,
    /// A receive finds no buffer although one is free.
    pub no_buffers: u64,
    /// A cancel takes effect in a later turn.
    pub late_cancel: u64,
    /// An accept fails for want of descriptors.
    pub accept: u64,
    /// A completion is delayed to a later turn.
    pub delay: u64,
    /// A connection breaks when something is sent to it.
    pub reset: u64,
}
