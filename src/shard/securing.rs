//! TLS: records come in, records leave.
//!
//! What came is decrypted into one warm buffer and goes on as bytes of a plain connection
//! do. What leaves is encrypted when it is sent, from the queue and the tapes, at most
//! [`SEALED_BYTES_MAX`](crate::connection::SEALED_BYTES_MAX) ahead of the socket: by then
//! it has left both. Handshakes cost a hundred times what a message does; a turn does
//! `tls_handshakes_per_turn` of them, and the others wait their turn.

use super::Shard;
use super::notes::Note;
use super::sending::advance_tapes;
use super::slot::{Attention, Holds, Phase, Slot};
use crate::app::{Core, Handler};
use crate::base::{BufferPool, Counters, Limits, work};
use crate::connection::{Channel, ChannelError, Outbound};
use crate::driver::{Driver, Errno, Socket};
use crate::protocol::Refusal;
use crate::tls::RECORD_BYTES_MAX;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Takes bytes as they came from the socket.
    #[inline]
    pub(super) fn arrived(&mut self, index: u32, bytes: &mut [u8]) {
        self.counters().bytes_received.add(bytes.len() as u64);
        match self.slots.at(index).is_some_and(|slot| slot.channel.is_some()) {
            false => self.ingest(index, bytes),
            true => self.unseal(index, bytes),
        }
        // Not before: these bytes are here and need not wait for a share.
        self.core.work += work::receive(bytes.len());
    }

    /// Takes bytes of a connection with TLS.
    fn unseal(&mut self, index: u32, bytes: &mut [u8]) {
        let token = self.token(index);
        let Shard { slots, core, handshakes_left, shaking, counters, .. } = self;
        let Some(slot) = slots.at_mut(index) else { return };
        slot.inbound.keep_alive.hear(core.now);
        let Some(channel) = slot.channel.as_mut().filter(|_| slot.phase < Phase::Flushing) else {
            return;
        };
        if channel.is_handshaking() {
            // Pieces of a record cost nothing yet.
            let is_ready = channel.is_ready(bytes);
            let waits = channel.waits_since.is_some();
            if waits || !is_ready || *handshakes_left == 0 {
                if let Err(error) = channel.keep(&mut core.pool, bytes) {
                    return self.insecure(index, &error);
                }
                if waits || !is_ready {
                    return self.weigh(index, false);
                }
                channel.waits_since = Some(core.now);
                shaking.push_back(token);
                let counters = &counters[core.id.index()];
                counters.tls_handshakes_delayed.add(1);
                counters.limits_hit.hit(const { Limits::index_of("tls_handshakes_per_turn") });
                return self.weigh(index, false);
            }
            *handshakes_left -= 1;
        }
        self.unseal_with(index, |channel, pool, plain| channel.receive(pool, bytes, plain));
    }

    /// Goes on with handshakes that an earlier turn had no time for.
    pub(super) fn shake_hands(&mut self) {
        let now = self.core.now;
        self.handshakes_left = self.core.limits.tls_handshakes_per_turn;
        while self.handshakes_left > 0
            && let Some(token) = self.shaking.pop_front()
        {
            let Some(slot) = self.slot(token) else { continue };
            let Some(channel) = &mut slot.channel else { continue };
            if let Some(since) = channel.waits_since.take() {
                // It has waited for us, not we for it.
                slot.since = slot.since + (now - since);
                slot.inbound.keep_alive.hear(now);
            }
            if slot.phase < Phase::Flushing {
                let spent = self.core.spent();
                self.core.begin_share(spent, work::TLS);
                self.handshakes_left -= 1;
                self.unseal_with(token.index, |channel, pool, plain| {
                    channel.receive_kept(pool, plain)
                });
            }
        }
    }

    /// Has `receive` decrypt, and does what came of it.
    fn unseal_with(
        &mut self,
        index: u32,
        receive: impl FnOnce(&mut Channel, &mut BufferPool, &mut Vec<u8>) -> Result<bool, ChannelError>,
    ) {
        let name = self.token(index);
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let Shard { slots, core, counters, .. } = self;
        let Some(channel) = slots.at_mut(index).and_then(|slot| slot.channel.as_mut()) else {
            return;
        };
        let was_handshaking = channel.is_handshaking();
        let received = receive(channel, &mut core.pool, &mut plain);
        core.work += work::copy(plain.len()) + if was_handshaking { work::TLS } else { 0 };
        if was_handshaking && !channel.is_handshaking() {
            let counters = &counters[core.id.index()];
            counters.tls_handshakes.add(1);
            counters.tls_resumptions.add(u64::from(channel.session().is_resumed()));
        }
        let has_queued = channel.queued_bytes() > 0;
        match plain.is_empty() {
            // The connection holds a piece of a record, or no longer does.
            true => self.weigh(index, false),
            false => self.ingest(index, &mut plain),
        }
        self.plain = plain;
        if !self.is_current(name) {
            return;
        }
        match received {
            Ok(false) => {}
            Ok(true) => self.peer_ended(index),
            Err(error) => self.insecure(index, &error),
        }
        if has_queued && self.is_current(name) {
            self.mark_dirty(index);
        }
        if self.is_current(name) {
            self.close_if_worn(index);
        }
    }

    /// A connection's TLS has ended: says so as far as that can be said.
    fn insecure(&mut self, index: u32, error: &ChannelError) {
        self.counters().tls_failures.add(1);
        if *error == ChannelError::TooLong {
            self.hit(const { Limits::index_of("tls_handshake_bytes_max") });
        }
        let text = format!("a TLS connection has failed: {error}");
        self.note(Note::Insecure, &text);
        let Some(slot) = self.slots.at_mut(index) else { return };
        if *error == ChannelError::Plain
            && let Some(mut channel) = slot.channel.take()
        {
            channel.release(&mut self.core.pool);
            return self.refuse(index, Refusal::BadRequest("this port speaks TLS: use wss://"));
        }
        self.flush_and_end(index);
    }
}

/// A frame that fills a record by itself wins nothing by waiting for others. The simulated
/// shards' messages are shorter.
const ALONE_BYTES_MIN: usize = if cfg!(test) { 512 } else { RECORD_BYTES_MAX };

/// Encrypts `frame` and sends it at once, as far as the socket takes it. Says what is left
/// of it to queue: all of it if it is short, or something waits before it.
pub(super) fn send_sealed<'f, D: Driver>(
    channel: &mut Channel,
    outbound: &Outbound,
    frame: &'f [u8],
    socket: Socket,
    driver: &mut D,
    pool: &mut BufferPool,
    counters: &Counters,
) -> &'f [u8] {
    if frame.len() < ALONE_BYTES_MIN || outbound.queued_bytes() > 0 {
        return frame;
    }
    let mut rest = frame;
    while channel.queued_bytes() == 0 && !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(channel.room()));
        channel.seal(pool, piece);
        if channel.has_failed() || channel.queued_bytes() == 0 {
            // Which is seen when what is queued is to be sent.
            return rest;
        }
        rest = behind;
        let sent = match driver.send_now(socket, &[channel.queued()]) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // The connection is broken: its receive ends and says so.
            Err(_) => {
                channel.advance(pool, channel.queued_bytes());
                return &[];
            }
        };
        counters.sends.add(1);
        counters.bytes_sent.add(sent as u64);
        counters.sends_short.add(u64::from(sent < channel.queued_bytes()));
        channel.advance(pool, sent);
    }
    rest
}

/// Encrypts what a connection has to send, as far as there is room: its queue, then, if it
/// takes from them, its tapes. In one piece, so that records are full where there is enough.
pub(super) fn seal<S>(
    slot: &mut Slot<S>,
    core: &mut Core,
    counters: &Counters,
    gathered: &mut Vec<u8>,
    takes_from_tapes: bool,
) {
    let Some(channel) = &mut slot.channel else { return };
    let own = &mut slot.own;
    if channel.is_closed() {
        // Nothing can follow what was said last.
        own.outbound.release(&mut core.pool);
    }
    let room = channel.room();
    if room > 0 {
        gathered.clear();
        let queue = own.outbound.queued();
        let from_queue = queue.len().min(room);
        let mut only = &queue[..from_queue];
        let mut bytes = from_queue;
        if from_queue < room && takes_from_tapes {
            core.hub.pending(own.subscriptions, room - from_queue, usize::MAX, |run| {
                let run = &run[..run.len().min(room - bytes)];
                if bytes > 0 {
                    // Nothing is copied that goes alone.
                    gathered.extend_from_slice(std::mem::take(&mut only));
                    gathered.extend_from_slice(run);
                } else {
                    only = run;
                }
                bytes += run.len();
            });
        }
        let plain = if gathered.is_empty() { only } else { gathered };
        channel.seal(&mut core.pool, plain);
        own.outbound.advance(&mut core.pool, from_queue);
        if bytes > from_queue {
            advance_tapes(own, core, counters, bytes - from_queue);
        }
    }
    if slot.phase == Phase::Flushing && own.outbound.queued_bytes() == 0 {
        channel.close(&mut core.pool);
    }
}

impl<S> Slot<S> {
    /// Whether its handshake waits for its turn, and not for the peer.
    #[inline]
    pub fn waits_for_us(&self) -> bool {
        self.holds.has(Holds::WORK)
            || self.channel.as_deref().is_some_and(|channel| channel.waits_since.is_some())
    }

    /// Bytes that are queued and not with the kernel yet.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        let sealed = self.channel.as_deref().map_or(0, Channel::queued_bytes);
        self.own.outbound.queued_bytes() + sealed
    }

    /// Whether there are any.
    #[inline]
    pub fn has_queued(&self) -> bool {
        self.queued_bytes() > 0
    }

    /// Whether more of tapes is to be sent. Not while a portion for a subscription that is
    /// off its tape waits for what is queued to leave: tapes that are never through would
    /// keep it waiting for ever. They have their turn between two portions.
    #[inline]
    pub fn takes_from_tapes(&self) -> bool {
        !(self.own.outbound.is_ended() || self.attention != Attention::None && self.has_queued())
    }

    /// Whether the last byte is with the kernel. Over TLS it says that it is the last.
    pub fn is_flushed(&self) -> bool {
        let is_open = |channel: &Channel| !channel.is_closed();
        !self.has_queued() && !self.channel.as_deref().is_some_and(is_open)
    }
}
