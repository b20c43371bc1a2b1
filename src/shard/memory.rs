//! Memory is budgeted: what connections hold together is bounded, whoever holds it.
//!
//! A connection *holds* what was received and is no whole message yet, what is being
//! inflated, what is queued and the kernel did not take, the rest of a frame that was cut,
//! TLS records in pieces, and its backlog. It is weighed where that changes: after what it has
//! brought was served, and after a send that left something behind. One that holds nothing
//! is not looked at.
//!
//! All shards' connections share `connections_bytes_max`. Above three quarters of it the
//! largest holders of a shard that holds more than others are *paused*: not read from, so
//! that they grow no more. Above all of it the largest are closed, until it is three quarters
//! again. What small ones need fits in between. A message that is not whole has a deadline,
//! `message_ms`.

use super::Shard;
use super::notes::Note;
use super::slot::{Holds, Phase};
use crate::app::Handler;
use crate::base::{Limits, Time, shortage};
use crate::connection::Close;
use crate::driver::{Driver, Token};
use crate::protocol::CloseCause;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// How often holders are looked through while there is little room, in milliseconds: above the
/// budget it is every turn.
const LOOK_MS: u64 = 20;
/// How often it is looked for messages that take too long, in milliseconds.
const OVERDUE_LOOK_MS: u64 = 1_000;
/// Holders below this are neither paused nor closed for want of memory: they are not who is
/// meant, and each of them would free little.
const HOLDER_BYTES_MIN: usize = 4 << 10;

/// What one connection holds.
#[derive(Clone, Copy, Debug)]
struct Holder {
    token: Token,
    bytes: usize,
    /// Since when a message of it is not whole; `NEVER` if none is under way.
    partial_since: Time,
    is_paused: bool,
}

/// What the connections of a shard hold.
#[derive(Debug)]
pub(super) struct Memory {
    holders: HashMap<u32, Holder, RandomState>,
    bytes: usize,
    paused: usize,
    look_at: Time,
    overdue_look_at: Time,
    /// When the allocator may be asked for what is free again.
    give_back_at: Time,
    /// The last look found nothing that this shard could do.
    is_in_vain: bool,
}

impl Memory {
    pub fn new() -> Memory {
        Memory {
            holders: HashMap::default(),
            bytes: 0,
            paused: 0,
            look_at: Time::ZERO,
            overdue_look_at: Time::ZERO,
            give_back_at: Time::ZERO,
            is_in_vain: false,
        }
    }

    /// When it has to look again, whatever happens.
    pub fn next(&self) -> Time {
        match (self.holders.is_empty(), self.paused) {
            (true, _) => Time::NEVER,
            (false, 0) => self.overdue_look_at,
            (false, _) => self.look_at.min(self.overdue_look_at),
        }
    }

    /// A connection holds nothing any more.
    pub fn forget(&mut self, index: u32) {
        if self.holders.is_empty() {
            return;
        }
        if let Some(holder) = self.holders.remove(&index) {
            self.bytes -= holder.bytes;
            self.paused -= usize::from(holder.is_paused);
        }
    }
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// What a connection holds has changed; `has_completed` says whether a message of it has
    /// become whole.
    #[inline]
    pub(super) fn weigh(&mut self, index: u32, has_completed: bool) {
        let Some(slot) = self.slots.at(index) else { return };
        if slot.phase == Phase::Ending {
            return self.memory.forget(index);
        }
        let is_held = slot.holds.has(Holds::WORK) || slot.holds.has(Holds::MEMORY);
        let is_partial = slot.inbound.is_partial() && slot.phase == Phase::Open;
        let bytes = slot.held_bytes();
        if bytes == 0 && !is_held && !is_partial {
            return self.memory.forget(index);
        }
        self.hold(index, bytes, is_partial, has_completed);
    }

    fn hold(&mut self, index: u32, bytes: usize, is_partial: bool, has_completed: bool) {
        let token = self.token(index);
        let bytes = bytes + self.budget.backlog_bytes(index);
        let (now, memory) = (self.core.now, &mut self.memory);
        if memory.holders.is_empty() {
            memory.overdue_look_at = now.plus_millis(OVERDUE_LOOK_MS);
        }
        let fresh = Holder { token, bytes: 0, partial_since: Time::NEVER, is_paused: false };
        let holder = memory.holders.entry(index).or_insert(fresh);
        debug_assert_eq!(holder.token, token, "it is forgotten with its connection");
        memory.bytes = memory.bytes + bytes - holder.bytes;
        holder.bytes = bytes;
        holder.partial_since = match (is_partial, has_completed) {
            (false, _) => Time::NEVER,
            (true, true) => now,
            (true, false) => holder.partial_since.min(now),
        };
    }

    /// Keeps what connections hold within the budget, and messages within their time.
    pub(super) fn keep_memory(&mut self) {
        self.counters().connection_bytes.set(self.memory.bytes as u64);
        if self.memory.holders.is_empty() {
            return;
        }
        if self.core.now >= self.memory.overdue_look_at {
            self.memory.overdue_look_at = self.core.now.plus_millis(OVERDUE_LOOK_MS);
            self.end_overdue();
        }
        let max = self.core.limits.connections_bytes_max;
        let soft = max / 4 * 3;
        // Other shards' numbers are not looked at before this one may hold more than they do.
        let may_be_it = self.memory.bytes * self.counters.len() > soft;
        if max == 0 || !may_be_it && self.memory.paused == 0 {
            return;
        }
        let total: u64 = self.counters.iter().map(|counters| counters.connection_bytes.get()).sum();
        let total = total as usize;
        if (total <= max || self.memory.is_in_vain) && self.core.now < self.memory.look_at {
            return;
        }
        self.memory.look_at = self.core.now.plus_millis(LOOK_MS);
        self.memory.is_in_vain = false;
        if total <= soft / 8 * 7 {
            return self.resume_paused(|_| true);
        }
        // They are not who is meant any more.
        self.resume_paused(|holder| holder.bytes < HOLDER_BYTES_MIN);
        if !may_be_it || total <= soft || self.memory.bytes < total / self.counters.len() {
            self.memory.is_in_vain = true;
            return;
        }
        // Its part of what is too much: the others see to theirs.
        let part = self.memory.bytes as f64 / total as f64;
        let surplus = ((total - soft) as f64 * part) as usize + 1;
        match total > max {
            true => self.close_largest(surplus),
            false => self.pause_largest(surplus),
        }
        self.counters().connection_bytes.set(self.memory.bytes as u64);
    }

    /// The largest holders that are `eligible`, as many as hold `bytes` together.
    fn largest(&self, bytes: usize, eligible: impl Fn(&Holder) -> bool) -> Vec<Token> {
        let holders = self.memory.holders.values();
        let mut largest: Vec<(usize, Token)> = holders
            .filter(|holder| holder.bytes >= HOLDER_BYTES_MIN && eligible(holder))
            .map(|holder| (holder.bytes, holder.token))
            .collect();
        largest.sort_unstable_by_key(|&(bytes, token)| std::cmp::Reverse((bytes, token.index)));
        let mut left = bytes;
        let count = largest.iter().take_while(|(bytes, _)| {
            let is_needed = left > 0;
            left = left.saturating_sub(*bytes);
            is_needed
        });
        let count = count.count();
        largest.truncate(count);
        largest.into_iter().map(|(_, token)| token).collect()
    }

    /// The largest holders are not read from until there is room again.
    fn pause_largest(&mut self, surplus: usize) {
        let paused = self.memory.holders.values().filter(|holder| holder.is_paused);
        let left = surplus.saturating_sub(paused.map(|holder| holder.bytes).sum());
        for token in self.largest(left, |holder| !holder.is_paused) {
            let Some(slot) = self.slot(token) else { continue };
            if slot.phase != Phase::Open || !slot.holds.add(Holds::MEMORY) {
                continue;
            }
            if let Some(holder) = self.memory.holders.get_mut(&token.index) {
                holder.is_paused = true;
                self.memory.paused += 1;
            }
            self.counters().receives_paused.add(1);
            self.counters().memory_pauses.add(1);
            self.hit(const { Limits::index_of("connections_bytes_max") });
            self.note(Note::Memory, "connections hold much memory: the largest are not read from");
            self.read_on(token.index);
        }
    }

    /// Paused holders that are `eligible` are read from again.
    fn resume_paused(&mut self, eligible: impl Fn(&Holder) -> bool) {
        if self.memory.paused == 0 {
            return;
        }
        let holders = self.memory.holders.values_mut();
        let resumed = holders.filter(|holder| holder.is_paused && eligible(holder));
        let resumed: Vec<Token> = resumed
            .map(|holder| {
                holder.is_paused = false;
                holder.token
            })
            .collect();
        self.memory.paused -= resumed.len();
        for token in resumed {
            if self.slot(token).is_some_and(|slot| slot.holds.end(Holds::MEMORY)) {
                self.read_on(token.index);
            }
        }
    }

    /// The largest holders end, and what they hold goes back at once.
    fn close_largest(&mut self, surplus: usize) {
        let largest = self.largest(surplus, |_| true);
        self.memory.is_in_vain = largest.is_empty();
        for token in largest {
            if self.slot(token).is_none() {
                continue;
            }
            self.counters().memory_closes.add(1);
            self.hit(const { Limits::index_of("connections_bytes_max") });
            self.note(Note::Memory, "connections hold too much memory: the largest are closed");
            self.evict(token.index, CloseCause::OutOfMemory);
        }
        if !self.memory.is_in_vain && self.core.now >= self.memory.give_back_at {
            self.memory.give_back_at = self.core.now.plus_millis(LOOK_MS);
            shortage::give_back();
        }
    }

    /// A connection that is being closed is read from whatever it holds: its peer's close frame
    /// comes behind that.
    pub(super) fn read_to_close(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.holds.end(Holds::MEMORY)
            && let Some(holder) = self.memory.holders.get_mut(&index)
            && std::mem::take(&mut holder.is_paused)
        {
            self.memory.paused -= 1;
        }
    }

    /// Messages that have been under way for too long end with their connections.
    fn end_overdue(&mut self) {
        let message_ms = self.core.limits.message_ms;
        if message_ms == 0 {
            return;
        }
        let now = self.core.now;
        let holders = self.memory.holders.values();
        let overdue: Vec<Token> = holders
            .filter(|holder| holder.partial_since.plus_millis(message_ms) <= now)
            .map(|holder| holder.token)
            .collect();
        for token in overdue {
            let Some(slot) = self.slot(token).filter(|slot| slot.phase == Phase::Open) else {
                continue;
            };
            let holds = slot.holds;
            let waits = [Holds::RATE, Holds::PUBLICATIONS, Holds::WORK];
            if waits.iter().any(|hold| holds.has(*hold)) {
                // It waits for us: its time begins anew.
                if let Some(holder) = self.memory.holders.get_mut(&token.index) {
                    holder.partial_since = now;
                }
                continue;
            }
            self.hit(const { Limits::index_of("message_ms") });
            let cause = match holds.has(Holds::MEMORY) {
                true => CloseCause::OutOfMemory,
                false => CloseCause::MessageTooSlow,
            };
            self.evict(token.index, cause);
        }
    }

    /// Ends a connection so that what it holds is free at once. If nothing is queued, its peer
    /// is told why; if something is, the peer does not take it, and it is cut.
    fn evict(&mut self, index: u32, cause: CloseCause) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        let can_hear = slot.phase == Phase::Open && !slot.has_queued();
        if can_hear && !slot.inbound.expects_head() {
            slot.inbound.end(&mut self.core.pool);
            slot.own.outbound.close(&mut self.core.pool, cause);
        }
        let reason = cause.reason().into();
        let close = Close { code: cause.code(), reason, by_peer: false };
        slot.close.get_or_insert_with(|| Box::new(close));
        match can_hear {
            true => self.flush_and_end(index),
            false => self.terminate(index),
        }
    }
}
