//! Rates: token buckets that may go into debt.
//!
//! Messages and bytes are counted after they arrive, so a level can become negative. The
//! connection then waits until the level is zero again. A bucket holds one second's worth.

use crate::base::{Limits, Time};
use std::time::Duration;

/// One bucket. Levels are in units of work, times in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    at: Time,
}

impl Bucket {
    fn full(per_second: u32, now: Time) -> Bucket {
        Bucket { level: f64::from(per_second), at: now }
    }

    /// Takes `count` out; returns when the debt, if there is one, is paid.
    fn take(&mut self, count: u64, per_second: u32, now: Time) -> Option<Time> {
        let rate = f64::from(per_second);
        self.level = (self.level + (now - self.at).as_secs_f64() * rate).min(rate) - count as f64;
        self.at = now;
        (self.level < 0.0).then(|| now + Duration::from_secs_f64(-self.level / rate))
    }
}

/// The receiving rates of connections. It is a table beside the connections, so that
/// they cost nothing while no rate is limited.
#[derive(Debug)]
pub struct Rates {
    messages_per_second_max: u32,
    bytes_per_second_max: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    messages: Bucket,
    bytes: Bucket,
    resume_at: Time,
}

impl Rates {
    /// The rates of `limits`.
    pub fn new(limits: &Limits) -> Rates {
        Rates {
            messages_per_second_max: limits.messages_per_second_max,
            bytes_per_second_max: limits.bytes_per_second_max,
            entries: Vec::new(),
        }
    }

    /// Whether a rate is limited.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.messages_per_second_max > 0 || self.bytes_per_second_max > 0
    }

    /// Begins counting a new connection in this slot.
    pub fn begin(&mut self, slot: u32, now: Time) {
        if !self.is_enabled() {
            return;
        }
        let entry = Entry {
            messages: Bucket::full(self.messages_per_second_max, now),
            bytes: Bucket::full(self.bytes_per_second_max, now),
            resume_at: Time::ZERO,
        };
        if self.entries.len() <= slot as usize {
            self.entries.resize(slot as usize + 1, entry);
        }
        self.entries[slot as usize] = entry;
    }

    /// Counts received messages and bytes. If the connection exceeds a rate, returns that rate's
    /// index in [`Limits::NAMES`], and the connection has to pause until [`Rates::resume_at`].
    pub fn charge(&mut self, slot: u32, messages: u64, bytes: u64, now: Time) -> Option<usize> {
        const MESSAGES: usize = Limits::index_of("messages_per_second_max");
        const BYTES: usize = Limits::index_of("bytes_per_second_max");
        let entry = self.entries.get_mut(slot as usize)?;
        let mut over = None;
        entry.resume_at = Time::ZERO;
        for (bucket, count, per_second, limit) in [
            (&mut entry.messages, messages, self.messages_per_second_max, MESSAGES),
            (&mut entry.bytes, bytes, self.bytes_per_second_max, BYTES),
        ] {
            if per_second > 0
                && let Some(paid) = bucket.take(count, per_second, now)
            {
                over = Some(limit);
                entry.resume_at = entry.resume_at.max(paid);
            }
        }
        over
    }

    /// When the connection may resume.
    pub fn resume_at(&self, slot: u32) -> Time {
        self.entries.get(slot as usize).map_or(Time::ZERO, |entry| entry.resume_at)
    }
}

/// How fast one shard may accept: its share of the server's rate.
#[derive(Debug)]
pub struct Pace {
    per_second: u32,
    bucket: Bucket,
}

impl Pace {
    /// A shard's share of `per_second_max` accepts over all shards; 0 for no limit.
    pub fn new(per_second_max: u32, shards: usize, now: Time) -> Pace {
        let per_second = match per_second_max {
            0 => 0,
            all => (all / shards.max(1) as u32).max(1),
        };
        Pace { per_second, bucket: Bucket::full(per_second, now) }
    }

    /// Counts an accepted connection. Returns when the next accept is allowed, if that is later.
    pub fn accepted(&mut self, now: Time) -> Option<Time> {
        if self.per_second == 0 {
            return None;
        }
        self.bucket.take(1, self.per_second, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Time {
        Time::ZERO + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn one_second_of_the_rate_is_free_and_then_the_debt_is_paid() {
        let limits =
            Limits { messages_per_second_max: 10, bytes_per_second_max: 0, ..Limits::default() };
        let mut rates = Rates::new(&limits);
        rates.begin(3, seconds(1.0));
        let over = Some(Limits::index_of("messages_per_second_max"));
        assert_eq!(rates.charge(3, 10, 1 << 30, seconds(1.0)), None);
        assert_eq!(rates.charge(3, 5, 0, seconds(1.0)), over);
        assert_eq!(rates.resume_at(3), seconds(1.5));
        assert_eq!(rates.charge(3, 0, 0, seconds(1.5)), None);
        // Quiet time fills the bucket, but no further than a second's worth.
        assert_eq!(rates.charge(3, 10, 0, seconds(100.0)), None);
        assert_eq!(rates.charge(3, 1, 0, seconds(100.0)), over);
        rates.begin(3, seconds(100.0));
        assert_eq!(rates.charge(3, 10, 0, seconds(100.0)), None);
    }

    #[test]
    fn the_rate_holds_over_time() {
        let mut pace = Pace::new(200, 2, seconds(0.0));
        let (mut now, mut accepted) = (seconds(0.0), 0);
        while now < seconds(11.0) {
            accepted += 1;
            now = pace.accepted(now).unwrap_or(now);
        }
        // One second's worth at once, then 100 a second.
        assert!((1_199..=1_201).contains(&accepted), "{accepted}");
        assert_eq!(Pace::new(0, 2, now).accepted(now), None);
    }
}
