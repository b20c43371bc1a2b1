//! Bugs that tests plant to see the simulation catch them. Outside of tests
//! [`planted`] is a constant `false` and the branch is not compiled.

/// A bug that a test can plant.
///
/// ```
/// use tapecast::base::planted::{Bug, planted};
///
/// // Outside of the crate's own tests, nothing is planted.
/// assert!(!planted(Bug::LostWakeup));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A multishot receive that ended is not armed again.
    DroppedRearm,
    /// An event of an earlier owner of a slot counts as the present owner's.
    StaleGeneration,
    /// A shard that was sent a message is not woken.
    LostWakeup,
    /// A control frame goes out in the middle of a frame that has begun.
    InterleavedFrame,
    /// The slot of an ended connection is not freed.
    LeakedSlot,
    /// A replay starts one message too late.
    ReplayJoin,
    /// A message counts as superseded by itself.
    SupersededEarly,
    /// After a delivery that a rate has allowed, the next value is not scheduled.
    LostLastValue,
    /// A home is not notified that a shard reads a topic.
    LostInterest,
    /// A chunk of a tape is freed although a cursor lies before its end.
    EarlyFree,
    /// A compressor continues although its peer has received a frame that it has not seen.
    UnseenFrame,
    /// A publisher that waited for room is not read from again.
    ForgottenPublisher,
    /// A connection's backlog is not served to its end.
    ForgottenBacklog,
    /// Received bytes are served before the connection's backlog.
    OvertakenBacklog,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is planted on this thread.
#[cfg(test)]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted on this thread: never, outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Plants `bug` on this thread, or removes the planted one.
#[cfg(test)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}
