//! Incoming TLS: records are decrypted into one warm buffer, and its bytes are served as
//! those of a plain connection are.
//!
//! A handshake costs a hundred times what a message does: a turn does `tls_handshakes_per_turn`
//! of them, and the others wait their turn.

use super::parts::{Engine, Shard};
use super::state::{Note, Peer, Phase};
use crate::app::Handler;
use crate::base::{BufferPool, Limits, work};
use crate::connection::{Channel, ChannelError};
use crate::driver::Driver;
use crate::protocol::Refusal;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Continues handshakes for which an earlier turn had no time.
    pub(super) fn shake_hands(&mut self) {
        let clock = &mut self.engine.clock;
        clock.handshakes_left = self.engine.core.limits.tls_handshakes_per_turn;
        while self.engine.clock.handshakes_left > 0
            && let Some(token) = self.engine.queues.shaking.pop_front()
        {
            self.with(token, |engine, peer| engine.shake_hands(peer));
            self.deliver_direct();
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Takes bytes of a connection with TLS.
    pub fn unseal(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &mut [u8]) {
        peer.inbound.keep_alive.hear(self.core.now);
        let token = peer.token;
        let slot = peer.slot();
        let Some(channel) = slot.channel.as_mut().filter(|_| slot.phase < Phase::Flushing) else {
            return;
        };
        if channel.is_handshaking() {
            // Pieces of a record cost nothing yet.
            let is_ready = channel.is_ready(bytes);
            let waits = channel.waits_since.is_some();
            if waits || !is_ready || self.clock.handshakes_left == 0 {
                if let Err(error) = channel.keep(&mut self.core.pool, bytes) {
                    return self.fail_tls(peer, &error);
                }
                if waits || !is_ready {
                    return self.weigh(peer, false);
                }
                channel.waits_since = Some(self.core.now);
                self.queues.shaking.push_back(token);
                self.counters().tls_handshakes_delayed.add(1);
                self.hit(const { Limits::index_of("tls_handshakes_per_turn") });
                return self.weigh(peer, false);
            }
            self.clock.handshakes_left -= 1;
        }
        self.unseal_with(peer, |channel, pool, plain| channel.receive(pool, bytes, plain));
    }

    /// Continues a handshake that an earlier turn had no time for.
    fn shake_hands(&mut self, peer: &mut Peer<'_, H::Session>) {
        let now = self.core.now;
        let slot = peer.slot();
        let Some(channel) = &mut slot.channel else { return };
        if let Some(since) = channel.waits_since.take() {
            // It has waited for this shard, so its deadlines move.
            slot.since = slot.since + (now - since);
            slot.inbound.keep_alive.hear(now);
        }
        if slot.phase < Phase::Flushing {
            let spent = self.core.spent();
            self.core.begin_share(spent, work::TLS);
            self.clock.handshakes_left -= 1;
            self.unseal_with(peer, |channel, pool, plain| channel.receive_kept(pool, plain));
        }
    }

    /// Decrypts with `receive`, and serves the plain bytes.
    fn unseal_with<F>(&mut self, peer: &mut Peer<'_, H::Session>, receive: F)
    where
        F: FnOnce(&mut Channel, &mut BufferPool, &mut Vec<u8>) -> Result<bool, ChannelError>,
    {
        let Some(channel) = peer.slot().channel.as_mut() else { return };
        let mut plain = std::mem::take(&mut self.scratch.plain);
        plain.clear();
        let Engine { core, counters, .. } = self;
        let was_handshaking = channel.is_handshaking();
        let received = receive(channel, &mut core.pool, &mut plain);
        core.work += work::copy(plain.len()) + if was_handshaking { work::TLS } else { 0 };
        if was_handshaking && !channel.is_handshaking() {
            let counters = &counters[core.id.index()];
            counters.tls_handshakes.add(1);
            counters.tls_resumptions.add(u64::from(channel.session().is_resumed()));
        }
        let has_queued = channel.queued_bytes() > 0;
        if plain.is_empty() {
            // The connection holds a piece of a record, or no longer does.
            self.weigh(peer, false);
        } else {
            self.ingest(peer, &mut plain);
        }
        self.scratch.plain = plain;
        match received {
            Ok(false) => {}
            Ok(true) => self.peer_ended(peer),
            Err(error) => self.fail_tls(peer, &error),
        }
        if has_queued {
            self.mark_dirty(peer);
        }
        self.close_near_key_limit(peer);
    }

    /// A connection's TLS has failed: its alert leaves, if it has one.
    fn fail_tls(&mut self, peer: &mut Peer<'_, H::Session>, error: &ChannelError) {
        self.counters().tls_failures.add(1);
        if *error == ChannelError::TooLong {
            self.hit(const { Limits::index_of("tls_handshake_bytes_max") });
        }
        let text = format!("a TLS connection has failed: {error}");
        self.note(Note::Insecure, &text);
        if *error == ChannelError::Plain
            && let Some(mut channel) = peer.channel.take()
        {
            channel.release(&mut self.core.pool);
            return self.refuse(peer, Refusal::BadRequest("this port speaks TLS: use wss://"));
        }
        self.flush_and_end(peer);
    }
}
