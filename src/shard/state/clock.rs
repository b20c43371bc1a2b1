//! Where a shard is in its turns, and how long it may sleep.

use crate::base::Time;

/// How often a shard looks whether the wall clock was set, in milliseconds.
const WALL_CLOCK_MS: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    /// Counts turns, to distinguish bytes that a connection received in this one.
    pub turn: u32,
    /// It does not sleep before this time: more work is likely to follow.
    pub awake_until: Time,
    /// Until when it meant to wait with the last turn: no timer was due before.
    pub waits_until: Time,
    /// When the wall clock is looked at again.
    wall_clock_at: Time,
    /// TLS handshakes that this turn may still work on.
    pub handshakes_left: usize,
    pub stopped: bool,
}

impl Clock {
    pub fn new(now: Time) -> Clock {
        Clock {
            turn: 0,
            awake_until: Time::ZERO,
            waits_until: Time::ZERO,
            wall_clock_at: now.plus_millis(WALL_CLOCK_MS),
            handshakes_left: 0,
            stopped: false,
        }
    }

    /// Whether it is time to look at the wall clock.
    pub fn looks_at_wall_clock(&mut self, now: Time) -> bool {
        let looks = now >= self.wall_clock_at;
        if looks {
            self.wall_clock_at = now.plus_millis(WALL_CLOCK_MS);
        }
        looks
    }
}
