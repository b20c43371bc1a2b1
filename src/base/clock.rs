//! Time as a value: code that needs the time takes it as an argument, so that a simulation
//! decides what time it is.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point of monotonic time in nanoseconds since an origin that is fixed for
/// the process (or, in a simulation, for the run).
///
/// ```
/// use std::time::Duration;
/// use tapecast::base::Time;
///
/// let accepted = Time::from_nanos(2_500_000);
/// let deadline = accepted.plus_millis(10);
/// assert_eq!(deadline - accepted, Duration::from_millis(10));
/// assert_eq!(accepted - deadline, Duration::ZERO);
/// assert_eq!(Time::NEVER.plus_millis(10), Time::NEVER);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ZERO: Time = Time(0);
    /// Later than every other time: "never".
    pub const NEVER: Time = Time(u64::MAX);

    /// A time this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This time and `ms` milliseconds; `NEVER` stays `NEVER`.
    pub const fn plus_millis(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// The time from `earlier` to this one, zero when `earlier` is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Time::NEVER.plus_millis(1), Time::NEVER);
        assert_eq!(Time::ZERO - Time::from_nanos(5), Duration::ZERO);
        assert_eq!(Time::ZERO.plus_millis(3).as_millis(), 3);
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
    }
}
