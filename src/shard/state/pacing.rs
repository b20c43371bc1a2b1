//! The connections that are read at a pace, and when they are next.

use crate::base::Time;
use crate::driver::Token;

/// Milliseconds between two paced reads.
pub const PACE_MS: u32 = 1;

/// See the module.
#[derive(Debug)]
pub struct Pacing {
    /// When they are read next, once that is settled.
    pub due: Time,
    pub connections: Vec<Token>,
    /// Reused.
    pub reading: Vec<Token>,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing { due: Time::NEVER, connections: Vec::new(), reading: Vec::new() }
    }
}

impl Pacing {
    /// The messages of the last reads have been forwarded: the time to the next reads begins,
    /// unless it has. Returns when they are due.
    pub fn settle(&mut self, now: Time) -> Time {
        if self.due == Time::NEVER && !self.connections.is_empty() {
            self.due = now.plus_millis(PACE_MS.into());
        }
        self.due
    }
}
