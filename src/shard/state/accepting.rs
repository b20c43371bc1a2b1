//! The state of accepting: accepts in flight, and when the shard tries again.

use crate::admission::{Addresses, Pace};
use crate::base::{Limits, Time};
use crate::tls::Acceptor;
use std::sync::Arc;

/// See the module.
pub struct Accepting {
    /// Per listener: accepts in flight.
    pub in_flight: Vec<usize>,
    /// Per listener: whether it speaks TLS.
    pub is_secure: Vec<bool>,
    /// How connections to one of those begin.
    pub tls: Option<Acceptor>,
    pub slots_max: usize,
    pub pace: Pace,
    pub addresses: Arc<Addresses>,
    /// Nothing is accepted before this time; `ZERO` if nothing prevents it.
    pub retry_at: Time,
    pub stopped: bool,
}

impl Accepting {
    /// For listeners of which each speaks TLS or not, on one of so many shards.
    pub fn new(
        is_secure: Vec<bool>,
        tls: Option<Acceptor>,
        slots_max: usize,
        addresses: Arc<Addresses>,
        shards: usize,
        limits: &Limits,
        now: Time,
    ) -> Accepting {
        Accepting {
            in_flight: vec![0; is_secure.len()],
            is_secure,
            tls,
            slots_max,
            pace: Pace::new(limits.handshakes_per_second_max, shards, now),
            addresses,
            retry_at: Time::ZERO,
            stopped: false,
        }
    }

    /// When accepting continues, if it was put off.
    pub fn next(&self) -> Time {
        let is_put_off = self.retry_at > Time::ZERO && !self.stopped;
        if is_put_off { self.retry_at } else { Time::NEVER }
    }

    /// Whether no accept is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.iter().all(|&count| count == 0)
    }
}
