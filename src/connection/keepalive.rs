//! When to ping an idle peer, and when to give it up.

use crate::base::{Limits, Time};
use std::time::Duration;

/// The bytes that a slow peer may have unread, in multiples of the amount that makes its socket
/// writable again. That amount is a third of a send buffer of 416 KiB, and its receive buffer
/// grows to some 4 MiB.
const UNREAD_PARTS: u32 = 32;
/// The longest additional wait for a slow peer.
const UNREAD_WAIT_MAX: Duration = Duration::from_secs(600);

/// The keep-alive state of one connection.
///
/// ```
/// use std::time::Duration;
/// use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::connection::{Action, KeepAlive};
///
/// let limits = Limits::default();
/// let mut keep_alive = KeepAlive::new(Time::ZERO);
/// let asked = keep_alive.next_check(&limits);
/// let Action::Ping(payload) = keep_alive.check(asked, &limits) else { panic!("it is time") };
/// let answered = asked + Duration::from_micros(250);
/// keep_alive.hear(answered);
/// keep_alive.pong(answered, &payload);
/// assert_eq!(keep_alive.round_trip_us(), Some(250));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// When a byte was last received; a later time while none is expected.
    heard: Time,
    /// When the unanswered ping was sent, or `NEVER`.
    asked: Time,
    /// The last round trip measured, in microseconds; 0 when none was.
    round_trip_us: u32,
    /// When a message was last received, in whole seconds, so that it fits into bytes that
    /// would be padding.
    message_seconds: u32,
}

/// The action that keep-alive demands of the connection.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::connection::{Action, KeepAlive};
///
/// let limits = Limits::default();
/// let mut keep_alive = KeepAlive::new(Time::ZERO);
/// let idle = Time::ZERO.plus_millis(limits.idle_ping_ms);
/// assert_eq!(keep_alive.check(Time::ZERO, &limits), Action::Wait(idle));
/// assert!(matches!(keep_alive.check(idle, &limits), Action::Ping(_)));
/// // The peer does not answer.
/// let late = idle.plus_millis(limits.pong_ms);
/// assert_eq!(keep_alive.check(late, &limits), Action::GiveUp);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing before this time.
    Wait(Time),
    /// Send a ping with this payload.
    Ping([u8; 8]),
    /// The peer is lost.
    GiveUp,
}

impl KeepAlive {
    /// A peer that was last heard at `now`.
    pub fn new(now: Time) -> KeepAlive {
        KeepAlive {
            heard: now,
            asked: Time::NEVER,
            round_trip_us: 0,
            message_seconds: (now.as_millis() / 1_000) as u32,
        }
    }

    /// When a byte was last received.
    pub fn heard(&self) -> Time {
        self.heard
    }

    /// Notes a received message: unlike a pong, it shows that the connection is in use.
    pub fn use_at(&mut self, now: Time) {
        self.message_seconds = (now.as_millis() / 1_000) as u32;
    }

    /// When the connection becomes idle for too long, late by at most a second.
    pub fn unused_at(&self, limits: &Limits) -> Time {
        match limits.idle_max_ms {
            0 => Time::NEVER,
            limit => Time::ZERO.plus_millis((u64::from(self.message_seconds) + 1) * 1_000 + limit),
        }
    }

    /// Notes received bytes.
    #[inline]
    pub fn hear(&mut self, now: Time) {
        self.heard = self.heard.max(now);
    }

    /// Notes that the peer's socket has room again, and that reading took the peer `took`. It
    /// reads, and its answer to a ping comes after all the bytes that it has not read yet. So it
    /// gets time for them and does not count as lost.
    pub fn take(&mut self, now: Time, took: Duration) {
        self.hear(now + (took * UNREAD_PARTS).min(UNREAD_WAIT_MAX));
    }

    /// Notes a received pong.
    pub fn pong(&mut self, now: Time, payload: &[u8]) {
        if self.asked != Time::NEVER && payload == self.asked.as_nanos().to_be_bytes() {
            let round_trip_us = (now - self.asked).as_micros();
            self.round_trip_us = u32::try_from(round_trip_us).unwrap_or(u32::MAX).max(1);
        }
    }

    /// The earliest time at which [`KeepAlive::check`] may have something to do.
    pub fn next_check(&self, limits: &Limits) -> Time {
        match self.asked {
            _ if limits.idle_ping_ms == 0 => Time::NEVER,
            Time::NEVER => self.heard.plus_millis(limits.idle_ping_ms),
            asked => asked.plus_millis(limits.pong_ms),
        }
    }

    /// The action that is due at `now`.
    pub fn check(&mut self, now: Time, limits: &Limits) -> Action {
        if self.asked != Time::NEVER && self.heard >= self.asked {
            self.asked = Time::NEVER;
        }
        let due = self.next_check(limits);
        if now < due {
            return Action::Wait(due);
        }
        if self.asked != Time::NEVER {
            return Action::GiveUp;
        }
        self.asked = now;
        Action::Ping(now.as_nanos().to_be_bytes())
    }

    /// The last round trip in microseconds, if one was measured.
    pub fn round_trip_us(&self) -> Option<u32> {
        (self.round_trip_us > 0).then_some(self.round_trip_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_peer_is_pinged_once_and_given_up() {
        let limits = Limits { idle_ping_ms: 100, pong_ms: 50, ..Limits::default() };
        let at = |ms| Time::ZERO.plus_millis(ms);
        let mut alive = KeepAlive::new(at(0));
        assert_eq!(alive.check(at(10), &limits), Action::Wait(at(100)));
        alive.hear(at(20));
        assert_eq!(alive.check(at(100), &limits), Action::Wait(at(120)));
        let Action::Ping(payload) = alive.check(at(120), &limits) else { panic!("no ping") };
        assert_eq!(alive.check(at(130), &limits), Action::Wait(at(170)));
        alive.hear(at(140));
        alive.pong(at(140), &payload);
        assert_eq!(alive.round_trip_us(), Some(20_000));
        assert_eq!(alive.check(at(140), &limits), Action::Wait(at(240)));
        assert!(matches!(alive.check(at(240), &limits), Action::Ping(_)));
        assert_eq!(alive.check(at(290), &limits), Action::GiveUp);
    }

    #[test]
    fn a_slow_reader_has_time_to_read_its_backlog() {
        let limits = Limits { idle_ping_ms: 100, pong_ms: 50, ..Limits::default() };
        let at = |ms| Time::ZERO.plus_millis(ms);
        let mut alive = KeepAlive::new(at(0));
        assert!(matches!(alive.check(at(100), &limits), Action::Ping(_)));
        alive.take(at(140), Duration::from_millis(10));
        let quiet_until = at(140 + 10 * u64::from(UNREAD_PARTS));
        // Bytes that arrive in between do not shorten that.
        alive.hear(at(145));
        assert_eq!(alive.check(at(150), &limits), Action::Wait(quiet_until.plus_millis(100)));
        assert!(matches!(alive.check(quiet_until.plus_millis(100), &limits), Action::Ping(_)));
        assert_eq!(alive.check(quiet_until.plus_millis(150), &limits), Action::GiveUp);
        alive.take(at(1_000), Duration::from_secs(3_600));
        assert_eq!(alive.heard(), at(1_000) + UNREAD_WAIT_MAX);
    }
}
