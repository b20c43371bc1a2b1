//! Commands of other threads, in bounded steps: a question about a million connections takes many
//! turns, not one long one. Only new limits look at every connection, since they move deadlines.

use super::parts::Shard;
use super::state::{Phase, connection_id, token};
use crate::app::{ConnectionSummary, Handler, Page, ShardCommand};
use crate::base::ConnectionId;
use crate::driver::Driver;
use crate::protocol::CloseCode;

/// Slots looked at for one command.
const SLOTS_PER_COMMAND: u32 = 4_096;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Applies the configuration that the server has reloaded since the last turn.
    pub(super) fn take_orders(&mut self) {
        if let Some(limits) = self.engine.links.commands.limits.take() {
            self.engine.core.limits.reload(&limits);
            // Deadlines that are set may now be earlier.
            self.for_each(|engine, peer| engine.set_deadline(peer));
        }
        if let Some(acceptor) = self.engine.links.commands.tls.take() {
            self.engine.accepting.tls = Some(acceptor);
        }
    }

    /// Carries a command out.
    pub(super) fn run_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Publish { publication, answer } => {
                let published = self.engine.publish_for_thread(publication, answer.is_none());
                if let Some(answer) = answer {
                    answer(published);
                }
            }
            ShardCommand::Connections { from, count, answer } => {
                answer(self.connections(from, count));
            }
            ShardCommand::Topics { from, count, answer } => {
                let (items, next) = self.engine.core.hub.summaries(from, count, SLOTS_PER_COMMAND);
                answer(Page { items, next });
            }
            ShardCommand::Disconnect { id, code, reason, answer } => {
                answer(self.disconnect(id, code, &reason));
            }
        }
    }

    fn connections(&mut self, from: u32, count: usize) -> Page<ConnectionSummary> {
        let mut items = Vec::new();
        let end = self.slots.index_end();
        let mut index = from;
        while index < end && index < from.saturating_add(SLOTS_PER_COMMAND) && items.len() < count {
            items.extend(self.summary(index));
            index += 1;
        }
        Page { items, next: (index < end).then_some(index) }
    }

    fn summary(&mut self, index: u32) -> Option<ConnectionSummary> {
        self.with_at(index, |engine, peer| {
            let now = engine.core.now;
            ConnectionSummary {
                id: connection_id(engine.core.id, peer.token),
                peer: peer.state.peer.get(),
                target: peer.state.target.to_string(),
                state: match peer.phase {
                    Phase::Open if peer.inbound.expects_head() => "handshake",
                    Phase::Open => "open",
                    Phase::Closing | Phase::Flushing | Phase::Lingering => "closing",
                    Phase::Ending => "ending",
                },
                state_ms: (now - peer.since).as_millis() as u64,
                idle_ms: (now - peer.inbound.keep_alive.heard()).as_millis() as u64,
                queued_bytes: peer.queued_bytes(),
                subscriptions: engine.core.hub.count(peer.state.subscriptions) as u32,
                round_trip_us: peer.inbound.keep_alive.round_trip_us(),
            }
        })
    }

    /// Closes a connection as its handler could; one without a session is cut.
    fn disconnect(&mut self, id: ConnectionId, code: CloseCode, reason: &str) -> bool {
        if id.shard != self.engine.core.id || self.slots.at(id.index).is_none() {
            return false;
        }
        let closed = self.with(token(id.index, id.generation), |engine, peer| {
            if peer.session.is_some() {
                engine.call(peer, |_, conn| conn.close(code.get(), reason));
            } else {
                engine.terminate(peer);
            }
        });
        closed.is_some()
    }
}
