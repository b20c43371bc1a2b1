//! The memory that connections hold: unfinished messages, queues, backlogs, TLS records in
//! pieces. A connection that holds nothing, as nearly all do, is in no table.

use crate::base::Time;
use crate::driver::Token;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// How often holders are looked through while memory is short, in milliseconds: above the
/// budget it is every turn.
pub const LOOK_MS: u64 = 20;
/// How often the shard looks for messages that take too long, in milliseconds.
pub const OVERDUE_LOOK_MS: u64 = 1_000;
/// Holders below this are neither paused nor closed for want of memory: closing one of them
/// frees little.
pub const HOLDER_BYTES_MIN: usize = 4 << 10;

/// The memory that one connection holds.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    pub token: Token,
    pub bytes: usize,
    /// Since when a message of it is unfinished; `NEVER` if none is.
    pub partial_since: Time,
    pub is_paused: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    holders: HashMap<u32, Holder, RandomState>,
    bytes: usize,
    paused: usize,
    pub look_at: Time,
    pub overdue_look_at: Time,
    /// When the allocator may be asked again to give free memory back.
    pub give_back_at: Time,
    /// The last look found nothing that this shard could do.
    pub is_in_vain: bool,
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

    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    /// Bytes that all connections hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many holders are paused.
    pub fn paused(&self) -> usize {
        self.paused
    }

    /// When it has to look again, whatever happens.
    pub fn next(&self) -> Time {
        match (self.holders.is_empty(), self.paused) {
            (true, _) => Time::NEVER,
            (false, 0) => self.overdue_look_at,
            (false, _) => self.look_at.min(self.overdue_look_at),
        }
    }

    /// A connection holds so many bytes, and perhaps an unfinished message; since the last call
    /// it may have completed one.
    pub fn hold(
        &mut self,
        token: Token,
        bytes: usize,
        is_partial: bool,
        has_completed: bool,
        now: Time,
    ) {
        if self.holders.is_empty() {
            self.overdue_look_at = now.plus_millis(OVERDUE_LOOK_MS);
        }
        let fresh = Holder { token, bytes: 0, partial_since: Time::NEVER, is_paused: false };
        let holder = self.holders.entry(token.index).or_insert(fresh);
        debug_assert_eq!(holder.token, token, "it is forgotten with its connection");
        self.bytes = self.bytes + bytes - holder.bytes;
        holder.bytes = bytes;
        holder.partial_since = match (is_partial, has_completed) {
            (false, _) => Time::NEVER,
            (true, true) => now,
            (true, false) => holder.partial_since.min(now),
        };
    }

    /// A connection holds nothing any more.
    #[inline]
    pub fn forget(&mut self, index: u32) {
        if self.holders.is_empty() {
            return;
        }
        if let Some(holder) = self.holders.remove(&index) {
            self.bytes -= holder.bytes;
            self.paused -= usize::from(holder.is_paused);
        }
    }

    /// Pauses a holder for want of memory.
    pub fn pause(&mut self, index: u32) {
        if let Some(holder) = self.holders.get_mut(&index) {
            holder.is_paused = true;
            self.paused += 1;
        }
    }

    /// One holder is no longer paused.
    pub fn resume(&mut self, index: u32) {
        if let Some(holder) = self.holders.get_mut(&index)
            && std::mem::take(&mut holder.is_paused)
        {
            self.paused -= 1;
        }
    }

    /// The paused holders that are `eligible`; they no longer are paused.
    pub fn take_paused(&mut self, eligible: impl Fn(&Holder) -> bool) -> Vec<Token> {
        if self.paused == 0 {
            return Vec::new();
        }
        let holders = self.holders.values_mut();
        let resumed = holders.filter(|holder| holder.is_paused && eligible(holder));
        let resumed: Vec<Token> = resumed
            .map(|holder| {
                holder.is_paused = false;
                holder.token
            })
            .collect();
        self.paused -= resumed.len();
        resumed
    }

    /// Bytes that paused holders hold.
    pub fn paused_bytes(&self) -> usize {
        let paused = self.holders.values().filter(|holder| holder.is_paused);
        paused.map(|holder| holder.bytes).sum()
    }

    /// The largest holders that are `eligible`, as many as hold `bytes` together.
    pub fn largest(&self, bytes: usize, eligible: impl Fn(&Holder) -> bool) -> Vec<Token> {
        let holders = self.holders.values();
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

    /// Connections whose message has been unfinished for `message_ms` at `now`.
    pub fn overdue(&self, message_ms: u64, now: Time) -> Vec<Token> {
        let holders = self.holders.values();
        let overdue = holders.filter(|it| it.partial_since.plus_millis(message_ms) <= now);
        overdue.map(|holder| holder.token).collect()
    }

    /// The time of a connection's unfinished message begins anew.
    pub fn restart(&mut self, index: u32, now: Time) {
        if let Some(holder) = self.holders.get_mut(&index) {
            holder.partial_since = now;
        }
    }
}
