//! The tick grid: subscriptions with a rate wait for the next tick of that rate. The
//! grid is the shard's, so that equal rates move together and share their batches.

use crate::base::Time;
use crate::hub::ids::SubscriptionRef;
use std::collections::BTreeMap;

/// Which subscriptions wait for which tick. Some may have ended meanwhile.
#[derive(Debug, Default)]
pub struct Rates {
    /// By moves per second. Only rates that a subscription waits for.
    groups: BTreeMap<u32, Group>,
}

#[derive(Debug)]
struct Group {
    /// When the waiting subscriptions may move.
    tick: Time,
    waiting: Vec<SubscriptionRef>,
}

impl Rates {
    /// `subscription` waits for the next tick of `per_second` after `now`.
    pub fn wait(&mut self, per_second: u32, subscription: SubscriptionRef, now: Time) {
        let group = self.groups.entry(per_second).or_insert_with(|| {
            let period = 1_000_000_000 / u64::from(per_second);
            let tick = Time::from_nanos((now.as_nanos() / period + 1) * period);
            Group { tick, waiting: Vec::new() }
        });
        group.waiting.push(subscription);
    }

    /// The next tick that a subscription waits for.
    pub fn next(&self) -> Time {
        self.groups.values().map(|group| group.tick).min().unwrap_or(Time::NEVER)
    }

    /// Appends to `due` the subscriptions that may move at `now`.
    pub fn expire(&mut self, now: Time, due: &mut Vec<SubscriptionRef>) {
        self.groups.retain(|_, group| {
            let is_due = group.tick <= now;
            if is_due {
                due.append(&mut group.waiting);
            }
            !is_due
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rates_move_together_and_never_too_often() {
        let mut rates = Rates::default();
        let at = |ms| Time::ZERO.plus_millis(ms);
        rates.wait(10, (1, 0), at(5));
        rates.wait(10, (2, 0), at(95));
        rates.wait(4, (3, 0), at(95));
        assert_eq!(rates.next(), at(100));
        let mut due = Vec::new();
        rates.expire(at(99), &mut due);
        assert_eq!(due, []);
        rates.expire(at(100), &mut due);
        assert_eq!(due, [(1, 0), (2, 0)]);
        // One that waits again on the tick itself waits for the next.
        rates.wait(10, (1, 0), at(100));
        assert_eq!(rates.next(), at(200));
        due.clear();
        rates.expire(at(1_000), &mut due);
        assert_eq!(due, [(3, 0), (1, 0)]);
        assert_eq!(rates.next(), Time::NEVER);
    }
}
