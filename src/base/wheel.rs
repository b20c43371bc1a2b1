//! One timer wheel per shard, one timer per slot.
//!
//! A hashed wheel of `BUCKETS` lists, each a tick of [`TICK_MS`] wide; the
//! lists are linked through a table indexed by slot, so that setting, moving
//! and clearing a timer are O(1) and never allocate beyond twelve bytes a slot.
//! A timer beyond the width of the wheel waits in the last bucket and is
//! linked again when that bucket comes round. Timers fire late by at most one tick and
//! never early. The exception are those set more than a year ahead: they fire
//! after a year, and their owner sets them again.

use super::clock::Time;

/// Width of a tick in milliseconds.
pub const TICK_MS: u64 = 16;
const BUCKETS: usize = 1024;
const NONE: u32 = u32::MAX;
/// How many ticks ahead a timer may be: 397 days. Ticks are stored without their upper
/// half, and stay distinct as long as they span less than half of its range.
const AHEAD_MAX: u64 = 1 << 31;
/// Set in `Node::previous` of a node that heads its bucket; the rest is the
/// bucket's number.
const HEAD: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    /// The previous node, or `HEAD` and the bucket.
    previous: u32,
    /// The lower half of the tick at which it fires.
    tick: u32,
}

/// A timer that is not set: no bucket has this number.
const UNSET: Node = Node { next: NONE, previous: NONE, tick: 0 };

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
    now_tick: u64,
    /// No bucket before this tick holds a timer: `now_tick <= earliest_tick`.
    earliest_tick: u64,
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

    /// Sets the timer of `slot` to `deadline`, in place of the earlier one.
    /// `Time::NEVER` clears it.
    pub fn set(&mut self, slot: u32, deadline: Time) {
        self.clear(slot);
        if deadline == Time::NEVER {
            return;
        }
        if self.nodes.len() <= slot as usize {
            self.nodes.resize(slot as usize + 1, UNSET);
        }
        // One tick later than the one that contains it: never early.
        let tick = (tick_of(deadline) + 1).clamp(self.now_tick, self.now_tick + AHEAD_MAX - 1);
        if self.count == 0 {
            self.earliest_tick = u64::MAX;
        }
        self.link(slot, tick);
        self.count += 1;
    }

    fn link(&mut self, slot: u32, tick: u64) {
        let bucket_tick = tick.min(self.now_tick + BUCKETS as u64 - 1);
        self.earliest_tick = self.earliest_tick.min(bucket_tick);
        let bucket = bucket_tick as usize % BUCKETS;
        let tick = tick as u32;
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
        if node.previous == NONE {
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
                // It is at most `AHEAD_MAX` ahead and never behind, since no tick is skipped.
                let ahead = node.tick.wrapping_sub(tick as u32);
                if ahead == 0 {
                    self.count -= 1;
                    due.push(slot);
                } else {
                    self.link(slot, tick + u64::from(ahead));
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
        Time::ZERO.plus_millis(self.earliest_tick * TICK_MS)
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

fn tick_of(time: Time) -> u64 {
    time.as_millis() / TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn deadlines_of_years_are_kept_by_a_wheel_of_any_age() {
        let year = Duration::from_secs(365 * 24 * 3_600);
        // The ticks start at zero, have wrapped around, or are about to.
        for start in [Time::ZERO, Time::ZERO + 3 * year, Time::ZERO.plus_millis(TICK_MS << 32)] {
            let mut wheel = TimerWheel::new(start);
            let mut due = Vec::new();
            let deadlines = [year / 2, 2 * year + year / 4, 34 * year];
            for (slot, ahead) in (0..).zip(deadlines) {
                wheel.set(slot, start + ahead);
            }
            wheel.set(9, start.plus_millis(100));
            assert_eq!(wheel.len(), 4);
            wheel.expire(start.plus_millis(200), &mut due);
            assert_eq!(due, [9]);
            wheel.expire(start.plus_millis(60_000), &mut due);
            assert_eq!((due.len(), wheel.len()), (1, 3), "nothing is early");
            wheel.clear(1);
            wheel.clear(1);
            assert_eq!(wheel.len(), 2);
            assert!(wheel.next_time() > start.plus_millis(60_000));
        }
    }

    #[test]
    fn a_deadline_of_centuries_fires_after_a_year() {
        let mut wheel = TimerWheel::new(Time::ZERO);
        wheel.set(0, Time::from_nanos(u64::MAX - 1));
        assert_eq!(u64::from(wheel.nodes[0].tick), AHEAD_MAX - 1);
    }

    #[test]
    fn a_wheel_agrees_with_a_map_and_is_never_early() {
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
