//! The timers of connections, and the time for which they are held back after a stall.

use crate::base::{Time, TimerWheel};
use std::collections::VecDeque;
use std::time::Duration;

/// A shard that has stalled for so long, stopped or in one turn, finds input that its timers do
/// not know of.
const STALL_MIN: Duration = Duration::from_millis(100);
/// Timers wait for that input as long as the stall lasted, but no longer than this.
const STALL_WAIT_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Timers {
    pub wheel: TimerWheel,
    /// Connections whose timer has expired, the longest waiting first.
    pub due: VecDeque<u32>,
    /// Reused.
    due_now: Vec<u32>,
    /// No timer expires before this time.
    from: Time,
    /// Since when that has been so.
    held_from: Option<Time>,
}

impl Timers {
    pub fn new(now: Time) -> Timers {
        Timers {
            wheel: TimerWheel::new(now),
            due: VecDeque::new(),
            due_now: Vec::new(),
            from: Time::ZERO,
            held_from: None,
        }
    }

    /// When the next one may expire.
    pub fn next(&mut self) -> Time {
        if self.due.is_empty() { self.wheel.next_time().max(self.from) } else { self.from }
    }

    /// Whether timers have expired and are not held back.
    pub fn may_expire(&self, now: Time) -> bool {
        !self.due.is_empty() && now >= self.from
    }

    /// Moves the timers that expire by `now` to those that are due. Returns whether they may
    /// be handled.
    pub fn expire(&mut self, now: Time) -> bool {
        if now < self.from {
            return false;
        }
        self.held_from = None;
        self.wheel.expire(now, &mut self.due_now);
        self.due.extend(self.due_now.drain(..));
        true
    }

    /// Notes that the shard is so much later than it planned. If it has stalled, timers wait until
    /// input that arrived meanwhile was taken in, or peers that have answered would be given
    /// up.
    pub fn notice_stall(&mut self, stall: Duration, now: Time) {
        if stall < STALL_MIN {
            return;
        }
        // However many turns are late, one after the other.
        let last = *self.held_from.get_or_insert(now) + STALL_WAIT_MAX;
        self.from = (now + stall.min(STALL_WAIT_MAX)).min(last);
    }
}
