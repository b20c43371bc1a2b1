//! The phases of a run, and the news that an observer receives of them.

use crate::measure::Row;
use std::time::Duration;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Connections are being opened.
    Opening,
    /// The load has started, and nothing is counted yet.
    WarmingUp,
    Measuring,
    Over,
}

/// News of a run for its observer.
pub enum News<'a> {
    /// This many of the connections are open.
    Opening { open: i64, of: u32 },
    /// A second is over.
    Second(&'a Row),
    /// Time has passed in a phase of this length.
    Progress { phase: Phase, elapsed: Duration, of: Duration },
}
