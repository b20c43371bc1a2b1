//! How a connection ends.
//!
//! First the last frames are sent (`Closing`, `Flushing`), and the peer is given time to read
//! them (`Lingering`: a socket closed over unread bytes resets the connection, and a reset
//! destroys the close frame). Then the three steps:
//!
//! 1. *terminate*: all operations in the kernel are cancelled, subscriptions and buffers return
//!    to the hub and the pool, and the application is notified;
//! 2. *join*: the end of every operation is awaited;
//! 3. *close*: the descriptor is closed, and only that event frees the slot.

use super::calling::{Called, guard, route_of};
use super::parts::{Engine, Shard};
use super::state::{Holds, Note, Operations, Peer, Phase};
use crate::app::Handler;
use crate::base::Limits;
use crate::base::planted::{Bug, planted};
use crate::connection::Close;
use crate::driver::{Driver, Interest, Token};
use crate::protocol::CloseCause;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// A connection's descriptor is closed: its slot is free.
    pub(super) fn closed(&mut self, token: Token) {
        if self.with(token, |_, _| ()).is_none() || planted(Bug::LeakedSlot) {
            return;
        }
        if let Some(slot) = self.slots.remove(token.index)
            && !slot.is_refused
        {
            self.engine.discharge(slot.state.peer.get());
        }
        self.counters().closed.add(1);
        self.counters().connections.subtract(1);
        self.accept_more();
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Closes with `cause` and waits for the peer's close frame.
    pub fn close(&mut self, peer: &mut Peer<'_, H::Session>, cause: CloseCause) {
        if peer.phase != Phase::Open {
            return;
        }
        // Not open yet: no frame can be sent.
        if peer.inbound.expects_head() {
            return self.terminate(peer);
        }
        peer.state.outbound.close(&mut self.core.pool, cause);
        self.hit_by(cause);
        if matches!(cause, CloseCause::SlowReader | CloseCause::FellBehind) {
            let text = format!("a slow peer is closed: {}", cause.reason());
            self.note(Note::Slow, &text);
        }
        let reason = cause.reason().into();
        peer.close = Some(Box::new(Close { code: cause.code(), reason, by_peer: false }));
        self.await_close(peer);
    }

    /// Counts the limit that is the cause, if one is.
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
    pub fn await_close(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.core.hub.leave(&mut peer.state.subscriptions);
        // Messages before the peer's close frame are dropped: no rate holds them up.
        peer.holds.end(Holds::RATE);
        self.read_to_close(peer);
        self.enter_phase(peer, Phase::Closing);
        self.mark_dirty(peer);
        self.read_on(peer);
    }

    /// The peer broke a rule, or a handler panicked: reports it and ends, without waiting for an
    /// answer.
    pub fn fail(&mut self, peer: &mut Peer<'_, H::Session>, cause: CloseCause) {
        self.hit_by(cause);
        if cause == CloseCause::HandlerPanicked {
            self.counters().handler_panics.add(1);
            self.note(Note::Panicked, "a handler panicked: its connection is closed with 1011");
        } else {
            self.counters().protocol_errors.add(1);
            let text = format!("a peer broke a rule: {}", cause.reason());
            self.note(Note::Violation, &text);
        }
        // The effects of earlier messages of the same read remain.
        self.core.deferred.echo_in_place = None;
        self.core.deferred.close = None;
        self.settle_deferred(peer);
        peer.inbound.end(&mut self.core.pool);
        peer.state.outbound.close(&mut self.core.pool, cause);
        self.set_close(peer, cause);
        self.flush_and_end(peer);
    }

    /// Notes how a connection ends, unless that is known.
    pub fn set_close(&mut self, peer: &mut Peer<'_, H::Session>, cause: CloseCause) {
        let reason = cause.reason().into();
        let close = Close { code: cause.code(), reason, by_peer: false };
        peer.close.get_or_insert_with(|| Box::new(close));
    }

    /// Closes a subscriber that has fallen behind a topic's tape, as its policy says.
    pub fn fell_behind(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.counters().readers_fallen.add(1);
        self.close(peer, CloseCause::FellBehind);
    }

    /// The last bytes are queued: once they have left, the connection ends.
    pub fn flush_and_end(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.phase >= Phase::Flushing {
            return;
        }
        peer.inbound.end(&mut self.core.pool);
        self.core.hub.leave(&mut peer.state.subscriptions);
        self.drop_backlog(peer);
        self.enter_phase(peer, Phase::Flushing);
        self.weigh(peer, false);
        if peer.is_flushed() {
            return self.flushed(peer);
        }
        self.mark_dirty(peer);
        self.read_on(peer);
    }

    /// The last bytes have left.
    pub fn flushed(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.peer_ended || peer.is_clean {
            return self.terminate(peer);
        }
        peer.operations.begin(Operations::SHUTDOWN);
        self.driver.shutdown(peer.socket, peer.token);
        self.enter_phase(peer, Phase::Lingering);
        self.read_on(peer);
    }

    /// The sending side of a socket is shut.
    pub fn shut_down(&mut self, peer: &mut Peer<'_, H::Session>) {
        peer.operations.end(Operations::SHUTDOWN);
        if peer.phase == Phase::Ending {
            self.try_close(peer);
        }
    }

    /// The peer has sent its last byte.
    pub fn peer_ended(&mut self, peer: &mut Peer<'_, H::Session>) {
        if self.ends_behind_backlog(peer) {
            return;
        }
        peer.peer_ended = true;
        match peer.phase {
            // The peer may still read: its queued bytes leave.
            Phase::Open | Phase::Closing => self.flush_and_end(peer),
            Phase::Flushing => {}
            Phase::Lingering => self.terminate(peer),
            Phase::Ending => {}
        }
    }

    /// The connection is broken: nothing can be sent any more.
    pub fn lost(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.terminate(peer);
    }

    fn enter_phase(&mut self, peer: &mut Peer<'_, H::Session>, phase: Phase) {
        debug_assert!(peer.phase <= phase, "phases only move forward");
        let closing = u64::from(peer.phase == Phase::Open);
        peer.phase = phase;
        peer.since = self.core.now;
        self.counters().closing.add(closing);
        self.set_deadline(peer);
    }

    /// Step one.
    pub fn terminate(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.drop_backlog(peer);
        if peer.phase == Phase::Ending {
            return;
        }
        let token = peer.token;
        let Engine { core, driver, handler, counters, timers, memory, .. } = self;
        let counters = &counters[core.id.index()];
        counters.closing.subtract(u64::from(peer.phase != Phase::Open));
        peer.phase = Phase::Ending;
        timers.wheel.clear(token.index);
        memory.forget(token.index);
        if peer.operations.has(Operations::RECEIVE) {
            driver.stop_receive(token);
        }
        for (operation, interest) in [
            (Operations::POLL_READABLE, Interest::Readable),
            (Operations::POLL_WRITABLE, Interest::Writable),
        ] {
            if peer.operations.has(operation) {
                driver.stop_poll(token, interest);
            }
        }
        core.hub.leave(&mut peer.state.subscriptions);
        peer.inbound.end(&mut core.pool);
        peer.state.outbound.finish(&mut core.pool);
        if let Some(mut channel) = peer.channel.take() {
            channel.release(&mut core.pool);
        }
        peer.state.target = Box::default();
        let close = peer.close.take().map_or_else(Close::lost, |close| *close);
        if let Some(session) = peer.session.take() {
            counters.close_codes.add(close.code.get());
            counters.sessions.subtract(1);
            match route_of(handler, &session) {
                Some(route) => counters.routes.end(route),
                None => counters.handler_panics.add(1),
            }
            if guard(|| handler.close(session, close)) == Called::Panicked {
                counters.handler_panics.add(1);
            }
        }
        self.try_close(peer);
    }

    /// Steps two and three: closes once no operation is in flight.
    pub fn try_close(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.phase == Phase::Ending && peer.operations.is_empty() {
            peer.operations.begin(Operations::CLOSE);
            self.driver.close(peer.socket, peer.token);
        }
    }
}
