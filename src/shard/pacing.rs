//! Who publishes often to topics that gather is read once a millisecond.
//!
//! A topic whose rule has a `flush_ms` wakes nobody for each message, but a publisher that
//! sends one at a time would still wake its shard for each. So once several reads in a row
//! have brought nothing but such publications, shortly one after the other, the connection
//! is read once a millisecond, whatever its rule's `flush_ms`. What comes then has waited for
//! that, and its topic waits so much less.
//!
//! So nothing is late by more than a millisecond and a turn. A connection that says anything
//! else, is owed an answer, brings much or falls silent is read as all others again; one with
//! compression is always metered, and never paced.

use super::Shard;
use super::receiving::Share;
use super::slot::{Holds, Operations, Phase};
use crate::app::Handler;
use crate::base::Time;
use crate::driver::{Driver, Token};
use std::time::Duration;

/// Between two reads.
const PACE_MS: u32 = 1;
/// Reads in a row after which it is worth it, each of another turn than the one before it
/// and none later than half a pace after that. The simulated shards' clients rarely say so
/// much in a row.
const READS: u8 = if cfg!(test) { 2 } else { 8 };
/// Messages that a paced read has to bring, or the next bytes wake the shard again.
const MESSAGES_MIN: u64 = 2;
/// Bytes that one brings less of: above that a wake-up costs next to nothing of a message,
/// and what the socket holds may be what holds the publisher up.
const BYTES_MAX: usize = 32 << 10;

/// The connections that are read at a pace.
#[derive(Debug)]
pub(super) struct Pacing {
    /// When they are read next, once that is settled.
    due: Time,
    connections: Vec<Token>,
    /// Reused.
    reading: Vec<Token>,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing { due: Time::NEVER, connections: Vec::new(), reading: Vec::new() }
    }
}

impl Pacing {
    /// What came of the last reads has been sent: the time to the next ones begins, unless
    /// it has. Says when that is.
    pub fn settle(&mut self, now: Time) -> Time {
        if self.due == Time::NEVER && !self.connections.is_empty() {
            self.due = now.plus_millis(PACE_MS.into());
        }
        self.due
    }
}

/// What a shard had counted before a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    messages: u64,
    gathered: u64,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// What is counted so far.
    #[inline]
    pub(super) fn before_read(&self) -> Before {
        Before {
            messages: self.counters().messages_received.get(),
            gathered: self.core.hub.batched(),
        }
    }

    /// How many messages a read has brought, if all of them were publications that are
    /// gathered, and the connection is owed nothing for them.
    #[inline]
    fn gathered_since(&self, before: Before, index: u32) -> Option<u64> {
        let gathered = self.core.hub.batched() - before.gathered;
        if gathered == 0 {
            return None;
        }
        let messages = self.counters().messages_received.get() - before.messages;
        let slot = self.slots.at(index)?;
        let is_all = gathered == messages && slot.phase == Phase::Open && !slot.has_queued();
        (is_all && slot.holds.is_empty()).then_some(messages)
    }

    /// After bytes came of their own accord, `silent` after those before them: whether the
    /// connection is to be read at a pace from now on.
    #[inline]
    pub(super) fn may_pace(&mut self, index: u32, before: Before, silent: Duration) {
        let is_gathered = self.gathered_since(before, index).is_some();
        let Some(slot) = self.slots.at_mut(index).filter(|slot| !slot.is_metered) else { return };
        if !is_gathered || silent > Duration::from_millis(PACE_MS.into()) / 2 {
            slot.reads = 0;
            return;
        }
        slot.reads += u8::from(!silent.is_zero());
        if slot.reads == READS {
            slot.reads = 0;
            slot.is_metered = true;
            slot.holds.add(Holds::PACE);
            let token = self.token(index);
            self.pacing.connections.push(token);
            self.read_on(index);
        }
    }

    /// Reads the connections whose time it is.
    pub(super) fn read_paced(&mut self) {
        if self.core.now < self.pacing.due {
            return;
        }
        self.pacing.due = Time::NEVER;
        let mut reading = std::mem::take(&mut self.pacing.reading);
        std::mem::swap(&mut reading, &mut self.pacing.connections);
        self.core.hub.set_waited_ms(PACE_MS);
        let mut count = reading.len();
        for token in reading.drain(..) {
            self.share_received(count, true);
            self.read_at_pace(token);
            count -= 1;
        }
        self.core.hub.set_waited_ms(0);
        self.pacing.reading = reading;
    }

    fn read_at_pace(&mut self, token: Token) {
        let index = token.index;
        let Some(slot) = self.slot(token) else { return };
        if slot.operations.has(Operations::RECEIVE) {
            // It has not ended yet, and may still bring something. Its end leads on.
            match slot.phase {
                Phase::Open => self.pacing.connections.push(token),
                _ => drop(slot.holds.end(Holds::PACE)),
            }
            return;
        }
        slot.holds.end(Holds::PACE);
        if slot.operations.has(Operations::POLL_READABLE) || slot.waits_to_read {
            return;
        }
        self.counters().paced_reads.add(1);
        let before = self.before_read();
        match self.take_share(token) {
            Share::Nothing => self.read_on_as_usual(index),
            Share::All(bytes) => match self.gathered_since(before, index) {
                Some(MESSAGES_MIN..) if bytes < BYTES_MAX => {
                    let Some(slot) = self.slot(token) else { return };
                    slot.holds.add(Holds::PACE);
                    self.pacing.connections.push(token);
                }
                _ => self.read_on_as_usual(index),
            },
            Share::More => self.reads_more(token),
        }
    }

    /// From now on the kernel brings bytes as they come.
    fn read_on_as_usual(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        slot.is_metered = false;
        self.read_on(index);
    }
}
