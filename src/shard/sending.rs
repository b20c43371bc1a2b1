//! Sends direct replies and tapes, in one send per connection and turn.

use super::parts::{Engine, Shard};
use super::sealing::seal;
use super::state::{CatchUp, Holds, Peer, Phase, Slot};
use super::tapes::advance_tapes;
use crate::app::{Handler, Notice};
use crate::base::{Limits, Time};
use crate::connection::Channel;
use crate::driver::{Batch, Driver, Errno, Event, Interest, SLICES_PER_SEND};
use crate::hub::Hub;
use crate::protocol::CloseCause;

/// The limit of bytes of one send, give or take a chunk of a tape.
const BYTES_PER_SEND: usize = 1 << 20;

/// Fills one send of a connection: with its queue, and with the frames of its tapes behind that,
/// at most `bytes_max` bytes of each.
#[inline]
fn fill<'a, S>(batch: &mut Batch<'a>, slot: &'a Slot<S>, hub: &'a Hub, bytes_max: usize) {
    if let Some(channel) = &slot.channel {
        return batch.slice(channel.queued());
    }
    let queue = slot.state.outbound.queued();
    if queue.len() > bytes_max {
        return batch.slice(&queue[..bytes_max]);
    }
    batch.slice(queue);
    if slot.takes_from_tapes() {
        // One slice is the queue's.
        let slices_max = SLICES_PER_SEND - 1;
        hub.pending(slot.state.subscriptions, bytes_max, slices_max, |slice| batch.slice(slice));
    }
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Hands the kernel one send for each dirty connection, at most `sends_per_turn` of them with
    /// `send_bytes_per_turn` bytes, and collects what happened.
    ///
    /// The sends borrow queues and tapes for the length of this call: nothing that they point
    /// into can change before they have ended.
    pub(super) fn exchange(
        &mut self,
        until: Time,
        events: &mut Vec<Event<D::Buffer>>,
    ) -> std::io::Result<()> {
        let Shard { slots, engine } = self;
        let Engine { driver, core, counters, queues, scratch, .. } = engine;
        let counters = &counters[core.id.index()];
        scratch.sending.clear();
        while scratch.sending.len() < core.limits.sends_per_turn
            && let Some(index) = queues.dirty.pop_front()
        {
            // An entry may be left from an earlier owner of the slot.
            if let Some(slot) = slots.at_mut(index)
                && std::mem::take(&mut slot.is_dirty)
                && slot.phase < Phase::Lingering
            {
                let takes_from_tapes = slot.takes_from_tapes();
                if slot.catch_up == CatchUp::AfterTapes && takes_from_tapes {
                    slot.catch_up = CatchUp::Due;
                }
                if slot.channel.is_some() {
                    seal(slot, core, counters, &mut scratch.plain, takes_from_tapes);
                }
                scratch.sending.push(index);
            }
        }
        if !queues.dirty.is_empty() {
            counters.limits_hit.hit(const { Limits::index_of("sends_per_turn") });
        }
        let mut batch = std::mem::take(&mut scratch.batch).recycle();
        let bytes_each = core.limits.send_bytes_per_turn / scratch.sending.len().max(1);
        for &index in &scratch.sending {
            let slot = slots.at(index).expect("just looked up");
            batch.begin(slot.socket);
            fill(&mut batch, slot, &core.hub, bytes_each.clamp(1, BYTES_PER_SEND));
        }
        let result = driver.turn(&mut batch, until, events);
        let outcomes = (0..batch.len()).map(|send| (batch.outcome(send), batch.bytes(send)));
        scratch.outcomes.clear();
        scratch.outcomes.extend(outcomes);
        scratch.batch = batch.recycle();
        result
    }

    /// Accounts for the sends of the turn, for all of them before any handler is called: a
    /// handler may queue to connections whose own send has not been accounted for yet.
    pub(super) fn complete_sends(&mut self) {
        let outcomes = std::mem::take(&mut self.engine.scratch.outcomes);
        let sending = std::mem::take(&mut self.engine.scratch.sending);
        for (&index, &(outcome, bytes)) in sending.iter().zip(&outcomes) {
            self.with_at(index, |engine, peer| engine.complete_send(peer, outcome, bytes));
        }
        for &index in &sending {
            self.with_at(index, |engine, peer| {
                engine.weigh(peer, false);
                engine.notice_drained(peer);
            });
        }
        let scratch = &mut self.engine.scratch;
        (scratch.outcomes, scratch.sending) = (outcomes, sending);
        self.deliver_direct();
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// A connection has something to send.
    #[inline]
    pub fn mark_dirty(&mut self, peer: &mut Peer<'_, H::Session>) {
        if !peer.is_dirty && !peer.is_blocked() && peer.phase < Phase::Lingering {
            peer.is_dirty = true;
            self.queues.dirty.push_back(peer.index());
        }
    }

    #[inline]
    fn complete_send(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        outcome: Result<usize, Errno>,
        bytes: usize,
    ) {
        let sent = match outcome {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return self.lost(peer),
        };
        let token = peer.token;
        let Engine { core, counters, driver, .. } = self;
        let counters = &counters[core.id.index()];
        let slot = peer.slot();
        counters.sends.add(1);
        counters.bytes_sent.add(sent as u64);
        if slot.holds.has(Holds::QUEUE) && sent > 0 {
            // It is not read from: that it takes bytes shows that it lives.
            slot.inbound.keep_alive.hear(core.now);
        }
        let nears_key_limit = slot.channel.as_deref().is_some_and(Channel::nears_key_limit);
        let state = &mut slot.state;
        if let Some(channel) = &mut slot.channel {
            // Bytes that were encrypted have left queue and tapes before.
            channel.advance(&mut core.pool, sent);
            if channel.has_failed() {
                return self.lost(peer);
            }
        } else {
            let queued = state.outbound.queued_bytes().min(sent);
            state.outbound.advance(&mut core.pool, queued);
            if sent > queued {
                advance_tapes(state, core, counters, sent - queued);
            }
        }
        if sent < bytes {
            // The peer is slow: waits until its socket has room.
            if slot.phase < Phase::Ending && !slot.is_blocked() {
                counters.sends_short.add(1);
                slot.block(core.now);
                driver.poll(slot.socket, token, Interest::Writable);
            }
            if nears_key_limit {
                self.close_near_key_limit(peer);
            }
            return;
        }
        let is_due = slot.catch_up != CatchUp::None;
        if state.outbound.queued_bytes() > 0
            || (!state.outbound.is_ended() && core.hub.has_pending(state.subscriptions))
        {
            // More than one send may carry.
            self.mark_dirty(peer);
        }
        if is_due {
            self.may_catch_up(peer);
        }
        if nears_key_limit {
            self.close_near_key_limit(peer);
        }
    }

    /// A connection whose keys are nearly used up is closed while its close frame can still be
    /// encrypted.
    pub fn close_near_key_limit(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.phase == Phase::Open
            && peer.channel.as_deref().is_some_and(Channel::nears_key_limit)
        {
            self.close(peer, CloseCause::MaximumAge);
        }
    }

    /// Once everything queued has left, resumes what waited for that.
    fn notice_drained(&mut self, peer: &mut Peer<'_, H::Session>) {
        let is_awaited =
            peer.phase != Phase::Open || peer.holds.has(Holds::QUEUE) || peer.wants_writable;
        if !is_awaited || peer.is_blocked() || peer.has_queued() {
            return;
        }
        match peer.phase {
            Phase::Flushing if !peer.is_flushed() => return self.mark_dirty(peer),
            Phase::Flushing => return self.flushed(peer),
            Phase::Open | Phase::Closing => {}
            Phase::Lingering | Phase::Ending => return,
        }
        if peer.holds.end(Holds::QUEUE) {
            self.read_on(peer);
        }
        if std::mem::take(&mut peer.wants_writable) && peer.phase == Phase::Open {
            self.call(peer, |handler, conn| handler.notice(conn, Notice::Writable));
        }
    }
}
