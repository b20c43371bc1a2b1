//! Accepts connections, up to the limits.

use super::parts::{Engine, Shard};
use super::state::{Note, Operations, Slot};
use crate::app::Handler;
use crate::base::{Limits, Time};
use crate::connection::Channel;
use crate::driver::{Driver, Errno, Socket};
use std::net::SocketAddr;

/// Milliseconds without an accept after descriptors or memory ran out, or while all shards
/// together are full.
const RETRY_MS: u64 = 100;

/// Whether an accept has failed for a connection that is gone. Any other cause may last: no
/// descriptors (of the process, of the system, of the ring), no memory, a socket that no longer
/// listens.
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
    /// Starts accepts up to the limit. Every accept in flight has a slot set aside, so that a
    /// connection from the kernel always has room in the table of descriptors.
    pub(super) fn accept_more(&mut self) {
        self.engine.accept_more(self.slots.len());
    }

    pub(super) fn accepted(&mut self, listener: u32, socket: Socket, peer: Option<SocketAddr>) {
        let Shard { slots, engine } = self;
        let accepting = &mut engine.accepting;
        accepting.in_flight[listener as usize] -= 1;
        let mut slot = Slot::new(socket, peer, engine.core.now);
        if accepting.is_secure[listener as usize] {
            let acceptor = accepting.tls.as_ref().expect("the server has checked");
            let kept_max = engine.core.limits.tls_handshake_bytes_max;
            slot.channel = Some(Box::new(Channel::new(acceptor.accept(), kept_max)));
        }
        slot.is_refused = !engine.admit(peer);
        slot.operations.begin(Operations::RECEIVE);
        let (index, _) = slots.insert(slot);
        engine.rates.begin(index, engine.core.now);
        engine.counters().accepted.add(1);
        engine.counters().connections.add(1);
        self.with_at(index, |engine, peer| {
            engine.driver.receive(socket, peer.token);
            engine.set_deadline(peer);
        });
        self.accept_more();
    }

    pub(super) fn accept_failed(&mut self, listener: u32, error: Errno) {
        let engine = &mut self.engine;
        engine.accepting.in_flight[listener as usize] -= 1;
        if error == Errno::CANCELED {
            return;
        }
        engine.counters().accept_errors.add(1);
        if !concerns_one_connection(error) {
            engine.put_accepting_off(&format!("accepting fails: {error}"));
        }
        self.accept_more();
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Starts accepts, while so many slots are taken.
    fn accept_more(&mut self, taken: usize) {
        if self.accepting.stopped || self.accepting.retry_at > self.core.now {
            return;
        }
        self.accepting.retry_at = Time::ZERO;
        let wanted = self.core.limits.accepts_in_flight;
        for listener in 0..self.accepting.in_flight.len() {
            while self.accepting.in_flight[listener] < wanted && self.has_free_slot(taken) {
                self.accepting.in_flight[listener] += 1;
                self.driver.accept(listener as u32);
            }
        }
        let is_short = self.accepting.in_flight.iter().any(|&in_flight| in_flight < wanted);
        if !is_short {
            return;
        }
        if self.total() >= self.total_max() {
            // No event reports that another shard has room again.
            self.hit(const { Limits::index_of("connections_refusing_max") });
            self.accepting.retry_at = self.core.now.plus_millis(RETRY_MS);
        } else if self.accepting.is_idle() {
            // One of this shard's connections has to end; then it accepts again at once.
            self.counters().accepts_put_off.add(1);
            let text = format!(
                "all {} descriptors of the shard are in use: raise the limit of open files",
                self.accepting.slots_max
            );
            self.note(Note::AcceptFailed, &text);
        }
    }

    fn has_free_slot(&self, taken: usize) -> bool {
        let in_flight: usize = self.accepting.in_flight.iter().sum();
        taken + in_flight < self.accepting.slots_max && self.total() < self.total_max()
    }

    /// The limit of connections of all shards, including those that are only answered with
    /// 503.
    fn total_max(&self) -> usize {
        let limits = &self.core.limits;
        limits.connections_max.saturating_add(limits.connections_refusing_max)
    }

    /// Whether a connection is admitted; one that is not gets 503.
    fn admit(&mut self, peer: Option<SocketAddr>) -> bool {
        if let Some(until) = self.accepting.pace.accepted(self.core.now) {
            self.hit(const { Limits::index_of("handshakes_per_second_max") });
            self.accepting.retry_at = self.accepting.retry_at.max(until);
        }
        if self.total() >= self.core.limits.connections_max {
            self.hit(const { Limits::index_of("connections_max") });
            self.note(Note::Refused, "connections_max reached: refusing with 503");
            return false;
        }
        let addresses = &self.accepting.addresses;
        if addresses.is_enabled()
            && let Some(peer) = peer
            && addresses.enter(peer.ip()).is_err()
        {
            self.hit(const { Limits::index_of("connections_per_address_max") });
            let text = format!(
                "{} has reached connections_per_address_max: refusing it with 503",
                peer.ip()
            );
            self.note(Note::Refused, &text);
            return false;
        }
        true
    }

    /// A connection that was admitted has ended.
    pub fn discharge(&mut self, peer: Option<SocketAddr>) {
        let addresses = &self.accepting.addresses;
        if addresses.is_enabled()
            && let Some(peer) = peer
        {
            addresses.leave(addresses.place(peer.ip()));
        }
    }

    /// Stops accepting for a while, and logs why.
    fn put_accepting_off(&mut self, why: &str) {
        self.counters().accepts_put_off.add(1);
        self.note(Note::AcceptFailed, &format!("{why}; the next try is in {RETRY_MS} ms"));
        let retry_at = self.core.now.plus_millis(RETRY_MS);
        self.accepting.retry_at = self.accepting.retry_at.max(retry_at);
    }

    pub fn stop_accepting(&mut self) {
        self.accepting.stopped = true;
        self.accepting.retry_at = Time::ZERO;
        self.driver.stop_listening();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasting_causes_put_accepting_off() {
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
