//! How a connection ends.
//!
//! First what is left to say is said (`Closing`, `Flushing`), and the peer is
//! given time to hear it (`Lingering`: a socket closed over unread bytes resets
//! the connection, and a reset eats the close frame). Then the three steps:
//!
//! 1. *terminate*: everything under way in the kernel is cancelled, the hub and
//!    the pool get back what is theirs, the application is told;
//! 2. *join*: the end of every operation is awaited;
//! 3. *close*: the descriptor is closed, and only its event frees the slot.

use super::Shard;
use super::notes::Note;
use super::serving::route_of;
use super::slot::{Holds, Operations, Phase};
use crate::app::Handler;
use crate::base::Limits;
use crate::base::planted::{Bug, planted};
use crate::connection::Close;
use crate::driver::{Driver, Interest, Token};
use crate::protocol::CloseCause;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Closes with `cause` and waits for the peer's close frame.
    pub(super) fn close(&mut self, index: u32, cause: CloseCause) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase != Phase::Open {
            return;
        }
        // Not open yet: there is nobody to send a frame to.
        if slot.inbound.expects_head() {
            return self.terminate(index);
        }
        slot.own.outbound.close(&mut self.core.pool, cause);
        self.hit_by(cause);
        if matches!(cause, CloseCause::SlowReader | CloseCause::FellBehind) {
            let text = format!("a slow peer is closed: {}", cause.reason());
            self.note(Note::Slow, &text);
        }
        let Some(slot) = self.slots.at_mut(index) else { return };
        let reason = cause.reason().into();
        slot.close = Some(Box::new(Close { code: cause.code(), reason, by_peer: false }));
        self.await_close(index);
    }

    /// Counts the limit whose hitting is the cause, if one is.
    fn hit_by(&self, cause: CloseCause) {
        self.hit(match cause {
            CloseCause::MessageTooBig => const { Limits::index_of("message_bytes_max") },
            CloseCause::TooManyFragments => const { Limits::index_of("message_fragments_max") },
            CloseCause::SlowReader => const { Limits::index_of("queued_bytes_max") },
            CloseCause::FellBehind => const { Limits::index_of("tape_bytes_max") },
            _ => return,
        });
    }

    /// This end's close frame is queued: waits for the peer's.
    pub(super) fn await_close(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        self.core.hub.leave(&mut slot.own.subscriptions);
        // What comes before the peer's close frame is dropped: no rate holds it up.
        slot.holds.end(Holds::RATE);
        self.read_to_close(index);
        self.enter_phase(index, Phase::Closing);
        self.mark_dirty(index);
        self.read_on(index);
    }

    /// The peer broke a rule, or a handler panicked: says so and ends, without
    /// waiting for an answer.
    pub(super) fn fail(&mut self, index: u32, cause: CloseCause) {
        self.hit_by(cause);
        match cause {
            CloseCause::HandlerPanicked => {
                self.counters().handler_panics.add(1);
                self.note(Note::Panicked, "a handler panicked: its connection is closed with 1011");
            }
            cause => {
                self.counters().protocol_errors.add(1);
                let text = format!("a peer broke a rule: {}", cause.reason());
                self.note(Note::Violation, &text);
            }
        }
        // What earlier messages of the same read have ordered stands.
        self.core.deferred.straight = None;
        self.core.deferred.close = None;
        self.settle_deferred(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        slot.inbound.end(&mut self.core.pool);
        slot.own.outbound.close(&mut self.core.pool, cause);
        let reason = cause.reason().into();
        let close = Close { code: cause.code(), reason, by_peer: false };
        slot.close.get_or_insert_with(|| Box::new(close));
        self.flush_and_end(index);
    }

    /// A reader fell off a topic's tape, whose policy is to close.
    pub(super) fn fell_off(&mut self, index: u32) {
        self.counters().readers_fallen.add(1);
        self.close(index, CloseCause::FellBehind);
    }

    /// The last bytes are queued: once they have left, the connection ends.
    pub(super) fn flush_and_end(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase >= Phase::Flushing {
            return;
        }
        slot.inbound.end(&mut self.core.pool);
        self.core.hub.leave(&mut slot.own.subscriptions);
        self.drop_backlog(index);
        self.enter_phase(index, Phase::Flushing);
        self.weigh(index, false);
        let slot = self.slots.at_mut(index).expect("looked up above");
        if slot.is_flushed() {
            return self.flushed(index);
        }
        self.mark_dirty(index);
        self.read_on(index);
    }

    /// The last bytes have left.
    pub(super) fn flushed(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.peer_ended || slot.is_clean {
            return self.terminate(index);
        }
        slot.operations.begin(Operations::SHUTDOWN);
        let socket = slot.socket;
        let token = self.token(index);
        self.driver.shutdown(socket, token);
        self.enter_phase(index, Phase::Lingering);
        self.read_on(index);
    }

    pub(super) fn shut_down(&mut self, token: Token) {
        let Some(slot) = self.slot(token) else { return };
        slot.operations.end(Operations::SHUTDOWN);
        if slot.phase == Phase::Ending {
            self.try_close(token.index);
        }
    }

    /// The peer has sent its last byte.
    pub(super) fn peer_ended(&mut self, index: u32) {
        if self.ends_behind_backlog(index) {
            return;
        }
        let Some(slot) = self.slots.at_mut(index) else { return };
        slot.peer_ended = true;
        match slot.phase {
            // It may still read: what is queued for it leaves.
            Phase::Open | Phase::Closing => self.flush_and_end(index),
            Phase::Flushing => {}
            Phase::Lingering => self.terminate(index),
            Phase::Ending => {}
        }
    }

    /// The connection is broken: nothing can be said any more.
    pub(super) fn lost(&mut self, index: u32) {
        self.terminate(index);
    }

    fn enter_phase(&mut self, index: u32, phase: Phase) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        debug_assert!(slot.phase <= phase, "phases only move on");
        let closing = u64::from(slot.phase == Phase::Open);
        slot.phase = phase;
        slot.since = self.core.now;
        self.counters().closing.add(closing);
        self.set_deadline(index);
    }

    /// Step one.
    pub(super) fn terminate(&mut self, index: u32) {
        self.drop_backlog(index);
        let token = self.token(index);
        let Shard { slots, core, driver, handler, counters, .. } = self;
        let Some(slot) = slots.at_mut(index) else { return };
        if slot.phase == Phase::Ending {
            return;
        }
        let was_closing = u64::from(slot.phase != Phase::Open);
        counters[core.id.index()].closing.subtract(was_closing);
        slot.phase = Phase::Ending;
        self.wheel.clear(index);
        self.memory.forget(index);
        if slot.operations.has(Operations::RECEIVE) {
            driver.stop_receive(token);
        }
        for (operation, interest) in [
            (Operations::POLL_READABLE, Interest::Readable),
            (Operations::POLL_WRITABLE, Interest::Writable),
        ] {
            if slot.operations.has(operation) {
                driver.stop_poll(token, interest);
            }
        }
        core.hub.leave(&mut slot.own.subscriptions);
        slot.inbound.end(&mut core.pool);
        slot.own.outbound.finish(&mut core.pool);
        if let Some(mut channel) = slot.channel.take() {
            channel.release(&mut core.pool);
        }
        slot.own.target = Box::default();
        let close = slot.close.take().map_or_else(Close::lost, |close| *close);
        if let Some(session) = slot.session.take() {
            let counters = &counters[core.id.index()];
            counters.close_codes.add(close.code.get());
            counters.sessions.subtract(1);
            match route_of(handler, &session) {
                Some(route) => counters.routes.end(route),
                None => counters.handler_panics.add(1),
            }
            if catch_unwind(AssertUnwindSafe(|| handler.close(session, close))).is_err() {
                counters.handler_panics.add(1);
            }
        }
        self.try_close(index);
    }

    /// Steps two and three: closes once nothing is under way.
    pub(super) fn try_close(&mut self, index: u32) {
        let token = self.token(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase == Phase::Ending && slot.operations.is_empty() {
            slot.operations.begin(Operations::CLOSE);
            self.driver.close(slot.socket, token);
        }
    }

    pub(super) fn closed(&mut self, token: Token) {
        if self.slot(token).is_none() || planted(Bug::LeakedSlot) {
            return;
        }
        if let Some(slot) = self.slots.remove(token.index)
            && !slot.is_refused
        {
            self.discharge(slot.own.peer.get());
        }
        self.counters().closed.add(1);
        self.counters().connections.subtract(1);
        self.accept_more();
    }
}
