//! One second of one thread.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::ops::{AddAssign, Sub};
use std::time::Duration;

/// Counts of one second. The totals that they are differences of only grow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
    pub opened: u64,
    pub faults: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.sent += other.sent;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.opened += other.opened;
        self.faults += other.faults;
    }
}

impl Sub for Sums {
    type Output = Sums;

    /// The increase since `earlier`.
    fn sub(self, earlier: Sums) -> Sums {
        Sums {
            sent: self.sent - earlier.sent,
            messages: self.messages - earlier.messages,
            bytes: self.bytes - earlier.bytes,
            opened: self.opened - earlier.opened,
            faults: self.faults - earlier.faults,
        }
    }
}

/// One second of one thread.
#[derive(Clone, Debug)]
pub struct Second {
    /// Counted from the start of measuring; none before it.
    pub number: Option<u64>,
    pub lasting: Duration,
    /// Connections that are open at its end.
    pub open: u32,
    pub sums: Sums,
    pub latency: Histogram<u64>,
    /// CPU time of the thread.
    pub cpu: Duration,
    /// The part of `cpu` that the thread spent waiting for a planned time.
    pub spun: Duration,
}
