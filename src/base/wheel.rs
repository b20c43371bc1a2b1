//! One timer wheel per shard, one timer per slot.
//!
//! A hashed wheel of `BUCKETS` lists, each a tick of [`TICK_MS`] wide; the
//! lists are linked through a table indexed by slot, so that setting, moving
//! and clearing a timer are O(1) and never allocate beyond twelve bytes a slot.
//! A timer further away than the wheel is wide waits in the last bucket and is
//! put back when that comes round. Timers fire late by at most one tick and
//! never early.

use super::clock::Time;

/// Width of a tick in milliseconds.
pub const TICK_MS: u64 = 16;
const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;
/// Set in `Node::previous` of a node that heads its bucket; the rest is the
/// bucket's number.
const HEAD: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    /// The previous node, or `HEAD` and the bucket.
    previous: u32,
    /// The tick at which it fires; `NONE` while the timer is not set.
    tick: u32,
}

const UNSET: Node = Node { next: NONE, previous: HEAD, tick: NONE };

/// A wheel of timers named by slot index.
///
/// ```
/// use tapecast::base::wheel::TICK_MS;
/// use tapecast::base::{Time, TimerWheel};
///
/// let mut wheel = TimerWheel::new(Time::ZERO);
/// let mut due = Vec::new();
/// wheel.set(7, Time::ZERO.plus_millis(100));
/// wheel.expire(Time::ZERO.plus_millis(99), &mut due);
/// assert!(due.is_empty());
/// wheel.expire(Time::ZERO.plus_millis(100 + TICK_MS), &mut due);
/// assert_eq!(due, [7]);
/// assert!(wheel.is_empty());
/// ```
#[derive(Debug)]
pub struct TimerWheel {
    nodes: Vec<Node>,
    heads: Box<[u32; BUCKETS]>,
    /// Ticks before this one have been expired.
    now_tick: u32,
    /// No bucket before this tick holds a timer: `now_tick <= earliest_tick`.
    earliest_tick: u32,
    count: usize,
}

impl TimerWheel {
    /// An empty wheel at `now`.
    pub fn new(now: Time) -> TimerWheel {
        TimerWheel {
            nodes: Vec::new(),
            heads: Box::new([NONE; BUCKETS]),
            now_tick: tick_of(now),
            earliest_tick: tick_of(now),
            count: 0,
        }
    }

    /// Sets the timer of `slot` to `deadline`, instead of what it was.
    /// `Time::NEVER` clears it.
    pub fn set(&mut self, slot: u32, deadline: Time) {
        self.clear(slot);
        if deadline == Time::NEVER {
            return;
        }
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, UNSET);
        }
        // One tick later than the one it falls into: never early.
        let tick = tick_of(deadline).saturating_add(1).max(self.now_tick);
        if self.count == 0 {
            self.earliest_tick = NONE;
        }
        self.link(slot, tick);
        self.count += 1;
    }

    fn link(&mut self, slot: u32, tick: u32) {
        let bucket_tick = tick.min(self.now_tick.saturating_add(BUCKETS as u32 - 1));
        self.earliest_tick = self.earliest_tick.min(bucket_tick);
        let bucket = bucket_tick as usize % BUCKETS;
        let next = self.heads[bucket];
        if next != NONE {
            self.nodes[next as usize].previous = slot;
        }
        self.nodes[slot as usize] = Node { next, previous: HEAD | bucket as u32, tick };
        self.heads[bucket] = slot;
    }

    /// Clears the timer of `slot`.
    pub fn clear(&mut self, slot: u32) {
        let Some(&node) = self.nodes.get(slot as usize) else { return };
        if node.tick == NONE {
            return;
        }
        if node.previous & HEAD != 0 {
            self.heads[(node.previous & !HEAD) as usize] = node.next;
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        self.nodes[slot as usize] = UNSET;
        self.count -= 1;
    }

    /// Appends to `due` every slot whose timer is due at `now`, and clears it.
    pub fn expire(&mut self, now: Time, due: &mut Vec<u32>) {
        let target = tick_of(now);
        while self.now_tick <= target {
            if self.count == 0 {
                self.now_tick = target + 1;
                return;
            }
            let bucket = self.now_tick as usize % BUCKETS;
            let mut slot = std::mem::replace(&mut self.heads[bucket], NONE);
            let tick = self.now_tick;
            self.now_tick += 1;
            while slot != NONE {
                let node = std::mem::replace(&mut self.nodes[slot as usize], UNSET);
                if node.tick <= tick {
                    self.count -= 1;
                    due.push(slot);
                } else {
                    self.link(slot, node.tick);
                }
                slot = node.next;
            }
        }
    }

    /// The earliest time at which [`TimerWheel::expire`] may have work, or
    /// `NEVER`.
    pub fn next_time(&mut self) -> Time {
        if self.count == 0 {
            return Time::NEVER;
        }
        self.earliest_tick = self.earliest_tick.max(self.now_tick);
        while self.heads[self.earliest_tick as usize % BUCKETS] == NONE {
            self.earliest_tick += 1;
        }
        Time::ZERO.plus_millis(u64::from(self.earliest_tick) * TICK_MS)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn tick_of(time: Time) -> u32 {
    u32::try_from(time.as_millis() / TICK_MS).unwrap_or(NONE - 1).min(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_map_and_is_never_early() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut wheel = TimerWheel::new(Time::ZERO);
        let mut twin: BTreeMap<u32, Time> = BTreeMap::new();
        let mut now = Time::ZERO;
        let mut due = Vec::new();
        for _ in 0..20_000 {
            let slot = random.u32(..200);
            match random.u8(..4) {
                0 | 1 => {
                    let far = if random.u8(..10) == 0 { 200_000 } else { 5_000 };
                    let deadline = now.plus_millis(random.u64(..far));
                    wheel.set(slot, deadline);
                    twin.insert(slot, deadline);
                }
                2 => {
                    wheel.clear(slot);
                    twin.remove(&slot);
                }
                _ => {
                    now = now.plus_millis(random.u64(..400));
                    due.clear();
                    wheel.expire(now, &mut due);
                    for slot in &due {
                        let deadline = twin.remove(slot).expect("fired without being set");
                        assert!(deadline <= now, "early");
                    }
                    for deadline in twin.values() {
                        assert!(deadline.plus_millis(2 * TICK_MS) > now, "late");
                        assert!(wheel.next_time() <= deadline.plus_millis(2 * TICK_MS));
                    }
                }
            }
            assert_eq!(wheel.len(), twin.len());
        }
    }
}
