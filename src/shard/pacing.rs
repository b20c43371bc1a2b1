//! A connection that publishes often to topics that batch is read once a millisecond.
//!
//! A topic whose rule has a `flush_ms` wakes nobody for each message, but a publisher that sends
//! one at a time would still wake its shard for each. So once several reads in a row have brought
//! only such publications, in quick succession, the connection is read once a millisecond,
//! whatever its rule's `flush_ms`. The messages that such a read brings have waited already, and
//! their topic waits so much less.
//!
//! So no message is late by more than a millisecond and a turn. Pacing ends when the connection
//! sends anything else, is owed an answer, brings much or becomes idle. A connection with
//! compression is always metered, and never paced.

use super::parts::{Engine, Shard};
use super::receiving::Share;
use super::state::{Holds, Operations, PACE_MS, Peer, Phase};
use crate::app::Handler;
use crate::base::Time;
use crate::driver::Driver;
use std::time::Duration;

/// Reads in a row after which pacing is worth it, each of another turn than the one before it
/// and none later than half a pace after that. The simulated shards' clients rarely send so much
/// in a row.
const READS: u8 = if cfg!(test) { 2 } else { 8 };
/// Messages that a paced read has to bring, or the next bytes wake the shard again.
const MESSAGES_MIN: u64 = 2;
/// A paced read brings fewer bytes than this: above it a wake-up costs next to nothing per
/// message, and a full socket may hold the publisher up.
const BYTES_MAX: usize = 32 << 10;

/// The counters of a shard before a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    messages: u64,
    batched: u64,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Reads the paced connections, if it is time.
    pub(super) fn read_paced(&mut self) {
        let engine = &mut self.engine;
        if engine.core.now < engine.pacing.due {
            return;
        }
        engine.pacing.due = Time::NEVER;
        let mut reading = std::mem::take(&mut engine.pacing.reading);
        std::mem::swap(&mut reading, &mut engine.pacing.connections);
        engine.core.hub.set_waited_ms(PACE_MS);
        let mut count = reading.len();
        for token in reading.drain(..) {
            self.engine.share_received(count, true);
            self.with(token, |engine, peer| engine.read_at_pace(peer));
            self.deliver_direct();
            count -= 1;
        }
        self.engine.core.hub.set_waited_ms(0);
        self.engine.pacing.reading = reading;
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// The counters now, to compare with after a read.
    #[inline]
    pub fn before_read(&self) -> Before {
        Before {
            messages: self.counters().messages_received.get(),
            batched: self.core.hub.batched(),
        }
    }

    /// How many messages a read has brought, if all of them were batched publications and the
    /// connection is owed nothing for them.
    #[inline]
    fn batched_since(&self, before: Before, peer: &Peer<'_, H::Session>) -> Option<u64> {
        let batched = self.core.hub.batched() - before.batched;
        if batched == 0 {
            return None;
        }
        let messages = self.counters().messages_received.get() - before.messages;
        let is_all = batched == messages && peer.phase == Phase::Open && !peer.has_queued();
        (is_all && peer.holds.is_empty()).then_some(messages)
    }

    /// Decides whether the connection is paced from now on, after the kernel has delivered bytes
    /// `idle` after the previous ones.
    #[inline]
    pub fn may_pace(&mut self, peer: &mut Peer<'_, H::Session>, before: Before, idle: Duration) {
        if peer.is_polled {
            return;
        }
        let is_batched = self.batched_since(before, peer).is_some();
        if !is_batched || idle > Duration::from_millis(PACE_MS.into()) / 2 {
            peer.reads = 0;
            return;
        }
        peer.reads += u8::from(!idle.is_zero());
        if peer.reads == READS {
            peer.reads = 0;
            peer.is_polled = true;
            peer.holds.add(Holds::PACE);
            self.pacing.connections.push(peer.token);
            self.read_on(peer);
        }
    }

    fn read_at_pace(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.operations.has(Operations::RECEIVE) {
            // It has not ended yet, and may still bring something.
            if peer.phase == Phase::Open {
                self.pacing.connections.push(peer.token);
            } else {
                peer.holds.end(Holds::PACE);
            }
            return;
        }
        peer.holds.end(Holds::PACE);
        if peer.operations.has(Operations::POLL_READABLE) || peer.waits_to_read {
            return;
        }
        self.counters().paced_reads.add(1);
        let before = self.before_read();
        match self.take_share(peer) {
            Share::Nothing => self.read_as_usual(peer),
            Share::All(bytes) => match self.batched_since(before, peer) {
                Some(MESSAGES_MIN..) if bytes < BYTES_MAX => {
                    peer.holds.add(Holds::PACE);
                    self.pacing.connections.push(peer.token);
                }
                _ => self.read_as_usual(peer),
            },
            Share::More => self.reads_more(peer),
        }
    }

    /// Arms the receive again, so that the kernel delivers bytes as they arrive.
    fn read_as_usual(&mut self, peer: &mut Peer<'_, H::Session>) {
        peer.is_polled = false;
        self.read_on(peer);
    }
}
