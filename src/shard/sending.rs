//! What leaves: direct replies and tapes, in one send per connection and turn.

use super::Shard;
use super::securing::seal;
use super::slot::{Attention, Holds, Phase, Slot};
use crate::app::{Core, Handler, Notice, Own};
use crate::base::planted::{Bug, planted};
use crate::base::{BufferPool, Counters, Limits, Time};
use crate::connection::{Channel, Outbound};
use crate::driver::{Batch, Driver, Errno, Event, Interest, SLICES_PER_SEND};
use crate::hub::Hub;
use crate::protocol::CloseCause;

/// Bytes that one send carries at most, give or take a chunk of a tape.
const BYTES_PER_SEND: usize = 1 << 20;

/// `bytes` bytes of a connection's tapes are on their way: its cursors move, and what is
/// left of a frame comes first. Its compressor has not seen what its peer has got.
pub(super) fn advance_tapes(own: &mut Own, core: &mut Core, counters: &Counters, bytes: usize) {
    let Own { outbound, subscriptions, .. } = own;
    let Core { hub, pool, .. } = core;
    if subscriptions.deflates() {
        pool.contexts().interrupt(outbound.compression());
    }
    let messages = hub.advance(subscriptions, bytes, |rest| keep_rest(outbound, pool, rest));
    counters.deliveries.add(messages);
}

/// What is left of a frame of a tape that has begun: it is finished before anything else.
fn keep_rest(outbound: &mut Outbound, pool: &mut BufferPool, rest: &[u8]) {
    match planted(Bug::InterleavedFrame) {
        false => outbound.bytes_first(pool, rest),
        true => outbound.bytes(pool, &rest[rest.len().min(1)..]),
    }
}

/// Fills one send of a connection: with its queue, and with what its tapes have behind that,
/// at most `bytes_max` bytes of each.
#[inline]
fn fill<'a, S>(batch: &mut Batch<'a>, slot: &'a Slot<S>, hub: &'a Hub, bytes_max: usize) {
    if let Some(channel) = &slot.channel {
        return batch.slice(channel.queued());
    }
    let queue = slot.own.outbound.queued();
    if queue.len() > bytes_max {
        return batch.slice(&queue[..bytes_max]);
    }
    batch.slice(queue);
    if slot.takes_from_tapes() {
        // One slice is the queue's.
        let slices_max = SLICES_PER_SEND - 1;
        hub.pending(slot.own.subscriptions, bytes_max, slices_max, |slice| batch.slice(slice));
    }
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// The connection at `index` has something to send.
    #[inline]
    pub(super) fn mark_dirty(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if !slot.is_dirty && !slot.is_blocked() && slot.phase < Phase::Lingering {
            slot.is_dirty = true;
            self.dirty.push_back(index);
        }
    }

    /// Hands the kernel one send for each dirty connection, at most
    /// `sends_per_turn` of them with `send_bytes_per_turn` bytes, and takes what happened.
    ///
    /// The sends borrow queues and tapes for the length of this call: nothing that
    /// they point into can change before they have ended.
    pub(super) fn exchange(
        &mut self,
        until: Time,
        events: &mut Vec<Event<D::Buffer>>,
    ) -> std::io::Result<()> {
        let Shard { driver, slots, core, dirty, sending, outcomes, plain, .. } = self;
        let counters = &self.counters[core.id.index()];
        sending.clear();
        while sending.len() < core.limits.sends_per_turn
            && let Some(index) = dirty.pop_front()
        {
            // An entry may be left from an earlier owner of the slot.
            if let Some(slot) = slots.at_mut(index)
                && std::mem::take(&mut slot.is_dirty)
                && slot.phase < Phase::Lingering
            {
                let takes_from_tapes = slot.takes_from_tapes();
                if slot.attention == Attention::AfterTapes && takes_from_tapes {
                    slot.attention = Attention::Due;
                }
                seal(slot, core, counters, plain, takes_from_tapes);
                sending.push(index);
            }
        }
        if !dirty.is_empty() {
            counters.limits_hit.hit(const { Limits::index_of("sends_per_turn") });
        }
        let mut batch = std::mem::take(&mut self.batch).recycle();
        let bytes_each = core.limits.send_bytes_per_turn / sending.len().max(1);
        for &index in &*sending {
            let slot = slots.at(index).expect("just looked up");
            batch.begin(slot.socket);
            fill(&mut batch, slot, &core.hub, bytes_each.clamp(1, BYTES_PER_SEND));
        }
        let result = driver.turn(&mut batch, until, events);
        outcomes.clear();
        outcomes.extend((0..batch.len()).map(|send| (batch.outcome(send), batch.bytes(send))));
        self.batch = batch.recycle();
        result
    }

    /// Accounts for what became of the sends of the turn, for all of them before
    /// any handler is called: a handler may queue to connections whose own send
    /// has not been accounted for yet.
    pub(super) fn complete_sends(&mut self) {
        let outcomes = std::mem::take(&mut self.outcomes);
        let sending = std::mem::take(&mut self.sending);
        for (&index, &(outcome, bytes)) in sending.iter().zip(&outcomes) {
            self.complete_send(index, outcome, bytes);
        }
        for &index in &sending {
            self.weigh(index, false);
            self.notice_drained(index);
        }
        (self.outcomes, self.sending) = (outcomes, sending);
    }

    #[inline]
    fn complete_send(&mut self, index: u32, outcome: Result<usize, Errno>, bytes: usize) {
        let token = self.token(index);
        let Shard { slots, core, counters, driver, .. } = self;
        let counters = &counters[core.id.index()];
        let Some(slot) = slots.at_mut(index) else { return };
        let sent = match outcome {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => return self.lost(index),
        };
        counters.sends.add(1);
        counters.bytes_sent.add(sent as u64);
        if slot.holds.has(Holds::QUEUE) && sent > 0 {
            // It is not read from, so its reading is what shows that it lives.
            slot.inbound.keep_alive.hear(core.now);
        }
        let is_worn = slot.channel.as_deref().is_some_and(Channel::is_worn);
        let own = &mut slot.own;
        let queued = match &mut slot.channel {
            None => own.outbound.queued_bytes().min(sent),
            // Queue and tapes are rid of it since it was encrypted.
            Some(channel) => {
                channel.advance(&mut core.pool, sent);
                if channel.has_failed() {
                    return self.lost(index);
                }
                0
            }
        };
        own.outbound.advance(&mut core.pool, queued);
        if sent > queued && slot.channel.is_none() {
            advance_tapes(own, core, counters, sent - queued);
        }
        if sent < bytes {
            // The peer is slow: wait until its socket has room.
            if slot.phase < Phase::Ending && !slot.is_blocked() {
                counters.sends_short.add(1);
                slot.block(core.now);
                driver.poll(slot.socket, token, Interest::Writable);
            }
            if is_worn {
                self.close_if_worn(index);
            }
            return;
        }
        let is_due = slot.attention != Attention::None;
        if own.outbound.queued_bytes() > 0
            || (!own.outbound.is_ended() && core.hub.has_pending(own.subscriptions))
        {
            // More than one send may carry.
            self.mark_dirty(index);
        }
        if is_due {
            self.may_attend(index);
        }
        if is_worn {
            self.close_if_worn(index);
        }
    }

    /// A connection whose keys are nearly used up is closed while that can be said.
    pub(super) fn close_if_worn(&mut self, index: u32) {
        let Some(slot) = self.slots.at(index) else { return };
        if slot.phase == Phase::Open && slot.channel.as_deref().is_some_and(Channel::is_worn) {
            self.close(index, CloseCause::MaximumAge);
        }
    }

    /// If everything that was queued has left: whoever waited for that goes on.
    fn notice_drained(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        let is_awaited =
            slot.phase != Phase::Open || slot.holds.has(Holds::QUEUE) || slot.wants_writable;
        if !is_awaited || slot.is_blocked() || slot.has_queued() {
            return;
        }
        match slot.phase {
            Phase::Flushing if !slot.is_flushed() => return self.mark_dirty(index),
            Phase::Flushing => return self.flushed(index),
            Phase::Open | Phase::Closing => {}
            Phase::Lingering | Phase::Ending => return,
        }
        if slot.holds.end(Holds::QUEUE) {
            self.read_on(index);
        }
        let Some(slot) = self.slots.at_mut(index) else { return };
        if std::mem::take(&mut slot.wants_writable) && slot.phase == Phase::Open {
            self.call(index, |handler, conn| handler.notice(conn, Notice::Writable));
        }
    }
}
