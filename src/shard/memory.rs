//! The memory of connections is bounded, all shards together.
//!
//! A connection *holds* the bytes of an unfinished message, the message being inflated, queued
//! bytes that the kernel did not take, the rest of a frame that was cut, TLS records in pieces,
//! and its backlog. It is weighed where that changes: after its input was served, and after a
//! send that left something behind.
//!
//! All shards' connections share `connections_bytes_max`. Above three quarters of it the largest
//! holders of a shard that holds more than others are *paused*: not read from, so that they do
//! not grow. Above all of it the largest are closed, until three quarters of it are left. Small
//! needs fit in between. An unfinished message has a deadline, `message_ms`.

use super::parts::{Engine, Shard};
use super::state::{HOLDER_BYTES_MIN, Holds, LOOK_MS, Note, OVERDUE_LOOK_MS, Peer, Phase};
use crate::app::Handler;
use crate::base::{Limits, shortage};
use crate::driver::{Driver, Token};
use crate::protocol::CloseCause;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Keeps what connections hold within the budget, and messages within their time.
    pub(super) fn keep_memory(&mut self) {
        let Engine { core, memory, .. } = &mut self.engine;
        let now = core.now;
        let is_empty = memory.is_empty();
        if !is_empty && now >= memory.overdue_look_at {
            memory.overdue_look_at = now.plus_millis(OVERDUE_LOOK_MS);
            self.end_overdue();
        }
        self.engine.show_memory();
        if is_empty {
            return;
        }
        let Engine { core, memory, counters, .. } = &mut self.engine;
        let max = core.limits.connections_bytes_max;
        let soft = max / 4 * 3;
        // The counters of other shards are only read if this one may hold more than they do.
        let may_be_it = memory.bytes() * counters.len() > soft;
        if max == 0 || !may_be_it && memory.paused() == 0 {
            return;
        }
        let total: u64 = counters.iter().map(|counters| counters.connection_bytes.get()).sum();
        let total = total as usize;
        if (total <= max || memory.is_in_vain) && now < memory.look_at {
            return;
        }
        memory.look_at = now.plus_millis(LOOK_MS);
        memory.is_in_vain = false;
        if total <= soft / 8 * 7 {
            let paused = memory.take_paused(|_| true);
            return self.resume(paused);
        }
        // They have become too small to be paused.
        let paused = memory.take_paused(|holder| holder.bytes < HOLDER_BYTES_MIN);
        self.resume(paused);
        let Engine { memory, counters, .. } = &mut self.engine;
        if !may_be_it || total <= soft || memory.bytes() < total / counters.len() {
            memory.is_in_vain = true;
            return;
        }
        // This shard's part of the excess: the other shards free theirs.
        let part = memory.bytes() as f64 / total as f64;
        let surplus = ((total - soft) as f64 * part) as usize + 1;
        if total > max {
            self.close_largest(surplus);
        } else {
            self.pause_largest(surplus);
        }
        self.engine.show_memory();
    }

    /// The largest holders are not read from until there is room again.
    fn pause_largest(&mut self, surplus: usize) {
        let memory = &self.engine.memory;
        let left = surplus.saturating_sub(memory.paused_bytes());
        for token in memory.largest(left, |holder| !holder.is_paused) {
            self.with(token, |engine, peer| {
                if peer.phase != Phase::Open || !peer.holds.add(Holds::MEMORY) {
                    return;
                }
                engine.memory.pause(peer.index());
                engine.counters().receives_paused.add(1);
                engine.counters().memory_pauses.add(1);
                engine.hit(const { Limits::index_of("connections_bytes_max") });
                engine.note(
                    Note::Memory,
                    "memory is short: the largest connections are not read from",
                );
                engine.read_on(peer);
            });
        }
    }

    /// These connections are read from again.
    fn resume(&mut self, paused: Vec<Token>) {
        for token in paused {
            self.with(token, |engine, peer| {
                if peer.holds.end(Holds::MEMORY) {
                    engine.read_on(peer);
                }
            });
        }
    }

    /// Closes the largest holders, whose memory is free at once.
    fn close_largest(&mut self, surplus: usize) {
        let largest = self.engine.memory.largest(surplus, |_| true);
        self.engine.memory.is_in_vain = largest.is_empty();
        for token in largest {
            self.with(token, |engine, peer| {
                engine.counters().memory_closes.add(1);
                engine.hit(const { Limits::index_of("connections_bytes_max") });
                engine.note(Note::Memory, "memory is short: the largest connections are closed");
                engine.evict(peer, CloseCause::OutOfMemory);
            });
        }
        let Engine { memory, core, .. } = &mut self.engine;
        if !memory.is_in_vain && core.now >= memory.give_back_at {
            memory.give_back_at = core.now.plus_millis(LOOK_MS);
            shortage::give_back();
        }
    }

    /// Connections whose message has been unfinished for too long end.
    fn end_overdue(&mut self) {
        let message_ms = self.engine.core.limits.message_ms;
        if message_ms == 0 {
            return;
        }
        for token in self.engine.memory.overdue(message_ms, self.engine.core.now) {
            self.with(token, |engine, peer| engine.end_overdue(peer));
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    fn show_memory(&self) {
        self.counters().connection_bytes.set(self.memory.bytes() as u64);
    }

    /// Weighs a connection again after its memory has changed; `has_completed` says whether one
    /// of its messages has become complete.
    #[inline]
    pub fn weigh(&mut self, peer: &mut Peer<'_, H::Session>, has_completed: bool) {
        if peer.phase == Phase::Ending {
            return self.memory.forget(peer.index());
        }
        let is_held = peer.holds.has(Holds::WORK) || peer.holds.has(Holds::MEMORY);
        let is_partial = peer.inbound.is_partial() && peer.phase == Phase::Open;
        let bytes = peer.held_bytes();
        if bytes == 0 && !is_held && !is_partial {
            return self.memory.forget(peer.index());
        }
        let bytes = bytes + self.budget.backlog_bytes(peer.index());
        self.memory.hold(peer.token, bytes, is_partial, has_completed, self.core.now);
    }

    /// Reads from a connection that is being closed, whatever it holds: its peer's close frame
    /// follows that.
    pub fn read_to_close(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.holds.end(Holds::MEMORY) {
            self.memory.resume(peer.index());
        }
    }

    /// A connection's message has been unfinished for too long.
    fn end_overdue(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.phase != Phase::Open {
            return;
        }
        let waits = [Holds::RATE, Holds::PUBLICATIONS, Holds::WORK];
        if waits.iter().any(|hold| peer.holds.has(*hold)) {
            // It waits for this shard: its time begins anew.
            return self.memory.restart(peer.index(), self.core.now);
        }
        self.hit(const { Limits::index_of("message_ms") });
        let is_paused = peer.holds.has(Holds::MEMORY);
        let cause = if is_paused { CloseCause::OutOfMemory } else { CloseCause::MessageTooSlow };
        self.evict(peer, cause);
    }

    /// Ends a connection so that its memory is free at once. With an empty queue its peer gets the
    /// reason; a peer with queued bytes does not take them, and is cut.
    fn evict(&mut self, peer: &mut Peer<'_, H::Session>, cause: CloseCause) {
        let can_hear = peer.phase == Phase::Open && !peer.has_queued();
        if can_hear && !peer.inbound.expects_head() {
            peer.inbound.end(&mut self.core.pool);
            peer.state.outbound.close(&mut self.core.pool, cause);
        }
        self.set_close(peer, cause);
        if can_hear {
            self.flush_and_end(peer);
        } else {
            self.terminate(peer);
        }
    }
}
