//! Received bytes become a request head first, then messages, each of which goes through its
//! handler.

use super::calling::{Called, guard};
use super::parts::Engine;
use super::state::{Holds, Peer, Phase, connection_id};
use crate::app::{CallContext, Conn, Handler};
use crate::base::planted::{Bug, planted};
use crate::base::work;
use crate::connection::Arrival;
use crate::driver::Driver;
use crate::protocol::{CloseCause, Input, Kind};

/// How serving a piece of input ended.
enum Served {
    All,
    /// The connection's share is used up, or its handler has more to do.
    Paused,
    Closed,
    Panicked,
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Takes received bytes: serves those that the connection has a share for, and keeps the
    /// others as its backlog.
    #[inline]
    pub fn ingest(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &mut [u8]) {
        peer.inbound.keep_alive.hear(self.core.now);
        if peer.phase >= Phase::Flushing {
            return;
        }
        let has_backlog = peer.holds.has(Holds::WORK) && !planted(Bug::OvertakenBacklog);
        if has_backlog || self.core.is_exhausted() {
            return self.fall_behind(peer, bytes);
        }
        let (left, is_behind) = self.process(peer, bytes);
        if is_behind {
            self.fall_behind(peer, &bytes[bytes.len() - left..]);
        }
        self.incur(peer);
    }

    /// Serves `bytes` of a connection. Returns how many of them are left, and whether the
    /// connection is to be served further when others have had their turns.
    pub fn process(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &mut [u8]) -> (usize, bool) {
        let mut input = Input::new(bytes);
        if peer.inbound.expects_head() {
            if !self.handshake(peer, &mut input) {
                self.weigh(peer, false);
                return (0, false);
            }
            if peer.holds.has(Holds::WORK) {
                // The request that `open` has begun comes first.
                return (input.rest().len(), true);
            }
        }
        if peer.inbound.has_deflate() {
            self.core.work += work::deflated(input.rest().len());
        }
        let messages = self.counters().messages_received.get();
        let bytes = input.rest().len() as u64;
        let served = self.serve(peer, &mut input);
        self.core.work += self.core.pool.take_grown_work();
        let messages = self.counters().messages_received.get() - messages;
        self.weigh(peer, messages > 0);
        if messages > 0 {
            peer.inbound.keep_alive.use_at(self.core.now);
        }
        // Compressed bytes count at their inflated size.
        let inflated = std::mem::take(&mut self.core.inflated_now);
        self.core.inflated_bytes += inflated;
        peer.turn_bytes = peer.turn_bytes.saturating_add(inflated as u32);
        if self.rates.is_enabled() {
            self.charge(peer, messages, bytes + inflated as u64);
        }
        let left = input.rest().len();
        let is_behind = match served {
            // Few bytes on the wire may be many inflated ones.
            Ok(Served::All) => peer.inbound.is_inflating(),
            Ok(Served::Paused) => true,
            Ok(Served::Closed) => {
                self.flush_and_end(peer);
                false
            }
            Ok(Served::Panicked) => {
                self.fail(peer, CloseCause::HandlerPanicked);
                return (0, false);
            }
            Err(cause) => {
                self.fail(peer, cause);
                return (0, false);
            }
        };
        self.after_call(peer);
        (left, is_behind)
    }

    /// Takes every message out of `input` and through the handler.
    fn serve(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        input: &mut Input<'_>,
    ) -> Result<Served, CloseCause> {
        let token = peer.token;
        let Engine { core, handler, driver, counters, .. } = self;
        let counters = &counters[core.id.index()];
        let slot = peer.slot();
        let round_trip_us = slot.inbound.keep_alive.round_trip_us();
        let id = connection_id(core.id, token);
        loop {
            let outbound = &mut slot.state.outbound;
            let deflates = slot.inbound.has_deflate();
            let rules = &core.rules[usize::from(deflates)];
            let arrival = slot.inbound.next(core.now, rules, &mut core.pool, input, outbound);
            core.work += work::CONTROL;
            if deflates {
                let inflated = core.pool.take_inflated_bytes() as usize;
                core.work += work::inflate(inflated);
                core.inflated_now += inflated;
            }
            let message = match arrival? {
                None => return Ok(Served::All),
                Some(Arrival::Control) if core.is_exhausted() => return Ok(Served::Paused),
                Some(Arrival::Control) => continue,
                Some(Arrival::Closed(close)) => {
                    slot.is_clean = input.rest().is_empty();
                    slot.close.get_or_insert_with(|| Box::new(close));
                    return Ok(Served::Closed);
                }
                Some(Arrival::Message(message)) => message,
            };
            core.work += work::MESSAGE - work::CONTROL;
            // RFC 6455, 1.4: after its close frame, this end discards further data.
            // One whose queue is full is about to send it.
            if slot.phase != Phase::Open || outbound.is_ended() || outbound.is_overflowed() {
                continue;
            }
            counters.messages_received.add(1);
            counters.messages_received_text.add(u64::from(message.kind() == Kind::Text));
            let Some(session) = &mut slot.session else { return Ok(Served::All) };
            let (core, state) = (&mut *core, &mut slot.state);
            let context = CallContext { id, round_trip_us, core, state, received: Some(message) };
            let mut conn = Conn::new(session, context);
            if guard(|| handler.message(&mut conn, message)) == Called::Panicked {
                return Ok(Served::Panicked);
            }
            if let Some(kind) = core.deferred.echo_in_place.take() {
                super::echoing::echo_in_place(slot, input, kind, driver, &mut core.pool, counters);
            }
            if core.deferred.resumes || core.is_exhausted() && !input.rest().is_empty() {
                return Ok(Served::Paused);
            }
        }
    }
}
