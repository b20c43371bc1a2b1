//! What threads that are not shards ask for, in bounded steps: a question about a
//! million connections takes many turns, not one long one. New limits alone look at
//! every connection, since they move deadlines.

use super::Shard;
use super::slot::{Phase, connection_id};
use crate::app::{ConnectionSummary, Errand, Handler, Page};
use crate::base::ConnectionId;
use crate::driver::Driver;
use crate::protocol::CloseCode;

/// Slots looked at for one errand.
const SLOTS_PER_ERRAND: u32 = 4_096;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// What the server has ordered since the last turn.
    pub(super) fn take_orders(&mut self) {
        if let Some(limits) = self.links.entrance.limits.take() {
            self.core.limits.reload(&limits);
            // Deadlines that are set may now be earlier.
            for index in 0..self.slots.index_end() {
                self.set_deadline(index);
            }
        }
        if let Some(acceptor) = self.links.entrance.tls.take() {
            self.accepting.tls = Some(acceptor);
        }
    }

    pub(super) fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Publish { publication, answer } => {
                let published = self.publish_for_thread(publication, answer.is_none());
                if let Some(answer) = answer {
                    answer(published);
                }
            }
            Errand::Connections { from, count, answer } => answer(self.connections(from, count)),
            Errand::Topics { from, count, answer } => {
                let (items, next) = self.core.hub.summaries(from, count, SLOTS_PER_ERRAND);
                answer(Page { items, next });
            }
            Errand::Disconnect { id, code, reason, answer } => {
                answer(self.disconnect(id, code, &reason));
            }
        }
    }

    fn connections(&self, from: u32, count: usize) -> Page<ConnectionSummary> {
        let mut items = Vec::new();
        let end = self.slots.index_end();
        let mut index = from;
        while index < end && index < from.saturating_add(SLOTS_PER_ERRAND) && items.len() < count {
            items.extend(self.summary(index));
            index += 1;
        }
        Page { items, next: (index < end).then_some(index) }
    }

    fn summary(&self, index: u32) -> Option<ConnectionSummary> {
        let slot = self.slots.at(index)?;
        let token = self.token(index);
        let now = self.core.now;
        Some(ConnectionSummary {
            id: connection_id(self.core.id, token),
            peer: slot.own.peer.get(),
            target: slot.own.target.to_string(),
            state: match slot.phase {
                Phase::Open if slot.inbound.expects_head() => "handshake",
                Phase::Open => "open",
                Phase::Closing | Phase::Flushing | Phase::Lingering => "closing",
                Phase::Ending => "ending",
            },
            state_ms: (now - slot.since).as_millis() as u64,
            idle_ms: (now - slot.inbound.keep_alive.heard()).as_millis() as u64,
            queued_bytes: slot.queued_bytes(),
            subscriptions: self.core.hub.count(slot.own.subscriptions) as u32,
            round_trip_us: slot.inbound.keep_alive.round_trip_us(),
        })
    }

    /// Closes a connection as its handler could; one that has no session yet is cut.
    fn disconnect(&mut self, id: ConnectionId, code: CloseCode, reason: &str) -> bool {
        if id.shard != self.core.id || self.slots.at(id.index).is_none() {
            return false;
        }
        if !self.is_current(super::slot::token(id.index, id.generation)) {
            return false;
        }
        let has_session = self.slots.at(id.index).is_some_and(|slot| slot.session.is_some());
        match has_session {
            true => self.call(id.index, |_, conn| conn.close(code.get(), reason)),
            false => self.terminate(id.index),
        }
        true
    }
}
