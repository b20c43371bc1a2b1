//! Connections come in, up to the limits.

use super::notes::Note;
use super::slot::{Operations, Slot};
use super::{Parts, Shard};
use crate::admission::{Addresses, Pace};
use crate::app::Handler;
use crate::base::{Limits, Time};
use crate::connection::Channel;
use crate::driver::{Driver, Errno, Socket};
use crate::tls::Acceptor;
use std::net::SocketAddr;
use std::sync::Arc;

/// Milliseconds without an accept after descriptors or memory ran out, or while
/// all shards together are full.
const RETRY_MS: u64 = 100;

/// What is under way to get more connections.
pub(super) struct Accepting {
    /// Per listener: accepts in flight.
    in_flight: Vec<usize>,
    /// Per listener: whether TLS is spoken there.
    is_secure: Vec<bool>,
    /// What a connection to one of those begins with.
    pub tls: Option<Acceptor>,
    slots_max: usize,
    pace: Pace,
    addresses: Arc<Addresses>,
    /// Nothing is accepted before this time; `ZERO` when nothing keeps us.
    retry_at: Time,
    stopped: bool,
}

impl Accepting {
    pub fn new(parts: &Parts, now: Time) -> Accepting {
        let per_second = parts.limits.handshakes_per_second_max;
        Accepting {
            in_flight: vec![0; parts.listeners.len()],
            is_secure: parts.listeners.clone(),
            tls: parts.tls.clone(),
            slots_max: parts.slots_max,
            pace: Pace::new(per_second, parts.counters.len(), now),
            addresses: Arc::clone(&parts.addresses),
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

/// Whether an accept has failed for a connection that is gone. Anything else may stay as it
/// is for long: no descriptors (of the process, of the system, of the ring), no memory, a
/// socket that listens no more.
fn concerns_one_connection(error: Errno) -> bool {
    // accept(2): pending network errors of the new socket are passed on.
    const OF_ONE: [Errno; 11] = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::INTR,
        Errno::AGAIN,
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    OF_ONE.contains(&error)
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
        if !is_short {
            return;
        }
        if self.total() >= self.total_max() {
            self.hit(const { Limits::index_of("connections_refusing_max") });
            self.accepting.retry_at = self.core.now.plus_millis(RETRY_MS);
        } else if self.accepting.in_flight.iter().all(|&in_flight| in_flight == 0) {
            // One of its own has to end, and then it accepts again at once.
            self.counters().accepts_put_off.add(1);
            let text = format!(
                "all {} descriptors of the shard are in use: raise the limit of open files",
                self.accepting.slots_max
            );
            self.note(Note::AcceptFailed, &text);
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
    pub(super) fn total(&self) -> usize {
        self.counters.iter().map(|counters| counters.connections.get()).sum::<u64>() as usize
    }

    pub(super) fn accepted(&mut self, listener: u32, socket: Socket, peer: Option<SocketAddr>) {
        self.accepting.in_flight[listener as usize] -= 1;
        let mut slot = Slot::new(socket, peer, self.core.now);
        slot.is_refused = !self.admit(peer);
        if self.accepting.is_secure[listener as usize] {
            let acceptor = self.accepting.tls.as_ref().expect("the server has checked");
            let kept_max = self.core.limits.tls_handshake_bytes_max;
            slot.channel = Some(Box::new(Channel::new(acceptor.accept(), kept_max)));
        }
        slot.operations.begin(Operations::RECEIVE);
        let (index, _) = self.slots.insert(slot);
        self.rates.begin(index, self.core.now);
        self.counters().accepted.add(1);
        self.counters().connections.add(1);
        self.driver.receive(socket, self.token(index));
        self.set_deadline(index);
        self.accept_more();
    }

    /// Whether a connection may come in; one that may not is told so, with 503.
    fn admit(&mut self, peer: Option<SocketAddr>) -> bool {
        if let Some(until) = self.accepting.pace.accepted(self.core.now) {
            self.hit(const { Limits::index_of("handshakes_per_second_max") });
            self.accepting.retry_at = self.accepting.retry_at.max(until);
        }
        if self.total() >= self.core.limits.connections_max {
            self.hit(const { Limits::index_of("connections_max") });
            self.note(Note::Refused, "connections_max is reached: refusing with 503");
            return false;
        }
        let addresses = &self.accepting.addresses;
        if addresses.is_enabled()
            && let Some(peer) = peer
            && addresses.enter(peer.ip()).is_err()
        {
            self.hit(const { Limits::index_of("connections_per_address_max") });
            let text =
                format!("{} has connections_per_address_max: refusing it with 503", peer.ip());
            self.note(Note::Refused, &text);
            return false;
        }
        true
    }

    /// A connection that was admitted has ended.
    pub(super) fn discharge(&mut self, peer: Option<SocketAddr>) {
        let addresses = &self.accepting.addresses;
        if addresses.is_enabled()
            && let Some(peer) = peer
        {
            addresses.leave(addresses.place(peer.ip()));
        }
    }

    pub(super) fn accept_failed(&mut self, listener: u32, error: Errno) {
        self.accepting.in_flight[listener as usize] -= 1;
        if error == Errno::CANCELED {
            return;
        }
        self.counters().accept_errors.add(1);
        if !concerns_one_connection(error) {
            self.put_accepting_off(&format!("accepting fails: {error}"));
        }
        self.accept_more();
    }

    /// Nothing is accepted for a while, and that is said.
    fn put_accepting_off(&mut self, why: &str) {
        self.counters().accepts_put_off.add(1);
        self.note(Note::AcceptFailed, &format!("{why}; the next try is in {RETRY_MS} ms"));
        let retry_at = self.core.now.plus_millis(RETRY_MS);
        self.accepting.retry_at = self.accepting.retry_at.max(retry_at);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_last_puts_accepting_off() {
        for error in
            [Errno::INVAL, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::BADF, Errno::PERM]
        {
            assert!(!concerns_one_connection(error), "{error}");
        }
        for error in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::NETUNREACH] {
            assert!(concerns_one_connection(error), "{error}");
        }
    }
}
