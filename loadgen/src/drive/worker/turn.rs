//! One turn of the ring: everything that is queued leaves in one kernel entry, which waits
//! until something arrives or the next message is planned.

use super::super::failure::RunError;
use super::state::{NAP, OPENING_MAX, Worker};
use std::cmp::Reverse;
use std::time::Duration;
use tapecast::base::Time;
use tapecast::driver::Driver;

/// This close to a planned time a thread looks for completions instead of sleeping.
const SPIN: Duration = Duration::from_micros(100);

impl Worker<'_> {
    /// Until when there is nothing to do but to wait for the kernel. Zero means that the
    /// thread must not sleep.
    pub(super) fn until(&mut self, now: Time) -> Time {
        let mut until = now + NAP;
        if let Some(Reverse((when, _))) = self.agenda.openings.peek() {
            until = until.min(*when);
        }
        if self.census.opening >= OPENING_MAX && !self.is_loaded {
            until = now + NAP;
        }
        for schedule in self.shares.iter().filter_map(|share| share.schedule.as_ref()) {
            // The kernel may wake the thread later than asked.
            until = match schedule.next() - now {
                left if left < SPIN => return Time::ZERO,
                left => until.min(now + (left - SPIN)),
            };
        }
        until
    }

    /// Sends queued bytes, and handles arrivals. Returns whether anything happened.
    pub(super) fn turn(&mut self, until: Time) -> Result<bool, RunError> {
        let began = self.now();
        let mut batch = self.wire.batch.take().unwrap_or_default();
        for &connection in &self.agenda.queued {
            self.peers[connection as usize].seal(&mut self.wire.pool);
        }
        for &connection in &self.agenda.queued {
            let peer = &self.peers[connection as usize];
            batch.begin(peer.socket.expect("a queued connection has a socket"));
            batch.slice(peer.wire());
        }
        let has_sent = !batch.is_empty();
        let mut events = std::mem::take(&mut self.wire.events);
        let ring_until = Time::ZERO + (until - (Time::ZERO + self.wire.skew));
        self.wire.ring.turn(&mut batch, ring_until, &mut events).map_err(RunError::Turn)?;
        let mut outcomes = std::mem::take(&mut self.wire.outcomes);
        outcomes.extend((0..batch.len()).map(|send| batch.outcome(send)));
        self.wire.batch = Some(batch.recycle());
        let mut queued = std::mem::take(&mut self.agenda.queued);
        for (connection, outcome) in queued.drain(..).zip(outcomes.drain(..)) {
            self.sent(connection, outcome);
        }
        // A send that made room for more of TLS has queued its connection again.
        queued.append(&mut self.agenda.queued);
        (self.agenda.queued, self.wire.outcomes) = (queued, outcomes);
        let now = self.now();
        let is_idle = events.is_empty() && !has_sent;
        if is_idle && until == Time::ZERO {
            self.stopwatch.spun(now - began);
        }
        for event in events.drain(..) {
            self.event(event, now);
        }
        self.wire.events = events;
        Ok(!is_idle)
    }
}
