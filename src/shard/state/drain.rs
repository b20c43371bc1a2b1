//! A drain: connections are closed evenly over a window, so that clients do not all reconnect
//! at once.

use crate::base::Time;

/// Milliseconds between two portions of closes.
const DRAIN_STEP_MS: u64 = 20;

/// See the module.
#[derive(Debug)]
pub struct Drain {
    /// When closes begin.
    since: Time,
    /// Nothing is accepted any more.
    pub is_closed_to_new: bool,
    pub next_step: Time,
    /// Connections that were open when it began, the last to be closed first.
    open: Vec<u32>,
    total: usize,
    /// Connections whose handlers are yet to be notified.
    pub notices: Vec<u32>,
}

impl Drain {
    /// Begins to close these connections at `since`.
    pub fn new(open: Vec<u32>, since: Time) -> Drain {
        let (total, notices) = (open.len(), open.clone());
        Drain { since, is_closed_to_new: false, next_step: since, open, total, notices }
    }

    /// Whether some handlers are yet to be notified.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether closes have begun, and accepting is to stop: once.
    pub fn stops_accepting(&mut self, now: Time) -> bool {
        now >= self.since && !std::mem::replace(&mut self.is_closed_to_new, true)
    }

    /// The connections to close now, and how long the drain has taken, in milliseconds; nothing
    /// before the next step is due.
    pub fn take_step(&mut self, now: Time, window_ms: u64) -> Option<(Vec<u32>, u64)> {
        if now < self.next_step {
            return None;
        }
        self.next_step = now.plus_millis(DRAIN_STEP_MS);
        let elapsed_ms = (now - self.since).as_millis() as u64;
        let left_ms = window_ms.saturating_sub(elapsed_ms);
        let left = match window_ms {
            0 => 0,
            _ => self.total * left_ms as usize / window_ms as usize,
        };
        Some((self.open.split_off(left.min(self.open.len())), elapsed_ms))
    }
}
