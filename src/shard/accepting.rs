//! Connections come in, up to the limits.

use super::slot::{Operations, Slot};
use super::{Parts, Shard};
use crate::app::Handler;
use crate::base::Time;
use crate::ring::{Driver, Errno, Socket};
use std::net::SocketAddr;

/// Milliseconds without an accept after descriptors or memory ran out, or while
/// all shards together are full.
const RETRY_MS: u64 = 100;

/// What is under way to get more connections.
pub(super) struct Accepting {
    /// Per listener: accepts in flight.
    in_flight: Vec<usize>,
    slots_max: usize,
    /// Nothing is accepted before this time; `ZERO` when nothing keeps us.
    retry_at: Time,
    stopped: bool,
}

impl Accepting {
    pub fn new(parts: &Parts) -> Accepting {
        Accepting {
            in_flight: vec![0; parts.listeners as usize],
            slots_max: parts.slots_max,
            retry_at: Time::ZERO,
            stopped: false,
        }
    }

    /// When accepting goes on, if it was put off.
    pub fn next(&self) -> Time {
        let is_put_off = self.retry_at > Time::ZERO && !self.stopped;
        if is_put_off { self.retry_at } else { Time::NEVER }
    }
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Starts as many accepts as there may be: every one in flight has a slot
    /// set aside, so that a connection the kernel hands over is never one too
    /// many for the table of descriptors.
    pub(super) fn accept_more(&mut self) {
        if self.accepting.stopped || self.accepting.retry_at > self.core.now {
            return;
        }
        self.accepting.retry_at = Time::ZERO;
        let wanted = self.core.limits.accepts_in_flight;
        for listener in 0..self.accepting.in_flight.len() {
            while self.accepting.in_flight[listener] < wanted && self.has_free_slot() {
                self.accepting.in_flight[listener] += 1;
                self.driver.accept(listener as u32);
            }
        }
        // Kept from it by the total of all shards: nothing tells this one when
        // another has room again.
        let is_short = self.accepting.in_flight.iter().any(|&in_flight| in_flight < wanted);
        if is_short && self.total() >= self.total_max() {
            self.accepting.retry_at = self.core.now.plus_millis(RETRY_MS);
        }
    }

    fn has_free_slot(&self) -> bool {
        let in_flight: usize = self.accepting.in_flight.iter().sum();
        let slots_max = self.accepting.slots_max;
        self.slots.len() + in_flight < slots_max && self.total() < self.total_max()
    }

    /// Connections of all shards, those included that are only told that there is
    /// no room.
    fn total_max(&self) -> usize {
        let limits = &self.core.limits;
        limits.connections_max.saturating_add(limits.connections_refusing_max)
    }

    /// Connections of all shards.
    fn total(&self) -> usize {
        self.counters.iter().map(|counters| counters.connections.get()).sum::<u64>() as usize
    }

    pub(super) fn accepted(&mut self, listener: u32, socket: Socket, peer: Option<SocketAddr>) {
        self.accepting.in_flight[listener as usize] -= 1;
        let mut slot = Slot::new(socket, peer, self.core.now);
        // Above the total, or draining: it is told so, 503.
        slot.is_refused = self.total() >= self.core.limits.connections_max || self.drain.is_some();
        slot.operations.begin(Operations::RECEIVE);
        let (index, _) = self.slots.insert(slot);
        self.counters().accepted.add(1);
        self.counters().connections.add(1);
        self.driver.receive(socket, self.token(index));
        self.set_deadline(index);
        self.accept_more();
    }

    pub(super) fn accept_failed(&mut self, listener: u32, error: Errno) {
        self.accepting.in_flight[listener as usize] -= 1;
        if error == Errno::CANCELED {
            return;
        }
        self.counters().accept_errors.add(1);
        // What is short may be so for long: descriptors (of the process, of the
        // system, of the ring) or memory. Anything else concerns one connection.
        if matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) {
            tracing::warn!(%error, "accepting is put off for {RETRY_MS} ms");
            self.accepting.retry_at = self.core.now.plus_millis(RETRY_MS);
        }
        self.accept_more();
    }

    pub(super) fn stop_accepting(&mut self) {
        self.accepting.stopped = true;
        self.accepting.retry_at = Time::ZERO;
        self.driver.stop_listening();
    }

    /// No accept is under way.
    pub(super) fn accepts_nothing(&self) -> bool {
        self.accepting.in_flight.iter().all(|&count| count == 0)
    }
}
