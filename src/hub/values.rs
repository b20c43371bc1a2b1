//! The newest value of each key: the topic's history with everything superseded
//! taken out, which stays when the history goes.
//!
//! What a reader behind message `seq` has to get to be up to date is what lies
//! behind `seq` here, in order; a snapshot is what lies behind 0. So conflation,
//! `latest` for who fell off its tape, and snapshots are one operation.

use super::log::Entry;
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Values by key and in the order of their numbers.
#[derive(Debug)]
pub struct Values {
    /// The newest message without a key; most topics have only that.
    keyless: Option<Arc<Entry>>,
    keyed: Option<Box<Keyed>>,
    /// Values with a number from this on are all here; before it some were let go.
    complete_from: u64,
}

#[derive(Debug, Default)]
struct Keyed {
    numbers: HashMap<Arc<str>, u64, RandomState>,
    /// Every value, and of a key that was removed the message that removed it.
    values: BTreeMap<u64, Arc<Entry>>,
    /// How many of those only say that a key was removed.
    removals: usize,
}

impl Values {
    /// No value of a topic whose next message is `next`.
    pub fn new(next: u64) -> Values {
        Values { keyless: None, keyed: None, complete_from: next }
    }

    /// How many keys have a value.
    pub fn count(&self) -> usize {
        let keyed = self.keyed.as_ref().map_or(0, |keyed| keyed.values.len() - keyed.removals);
        keyed + usize::from(self.keyless.is_some())
    }

    /// Whether values with a number from `seq` on are all here; else the number from
    /// which on they are.
    pub fn complete_from(&self) -> u64 {
        self.complete_from
    }

    /// The key as it is shared already, if it has a value.
    pub fn shared_key(&self, key: &str) -> Option<Arc<str>> {
        let known = self.keyed.as_ref()?.numbers.get_key_value(key)?;
        Some(Arc::clone(known.0))
    }

    /// Whether the key has a value.
    pub fn has(&self, key: &str) -> bool {
        let keyed = self.keyed.as_ref();
        let number = keyed.and_then(|keyed| keyed.numbers.get(key));
        let newest = number.and_then(|number| keyed.expect("it has the number").values.get(number));
        newest.is_some_and(|newest| !newest.removes_key)
    }

    /// Takes the newest message over. Says which values left for it: the one that it
    /// supersedes, and one that was too many.
    pub fn put(&mut self, entry: &Arc<Entry>, keys_max: usize) -> [Option<Arc<Entry>>; 2] {
        let Some(key) = &entry.key else {
            return [self.keyless.replace(Arc::clone(entry)), None];
        };
        let keyed = self.keyed.get_or_insert_default();
        let superseded = keyed.numbers.insert(Arc::clone(key), entry.seq);
        let superseded = superseded.and_then(|number| keyed.values.remove(&number));
        if superseded.as_ref().is_some_and(|entry| entry.removes_key) {
            keyed.removals -= 1;
        }
        keyed.values.insert(entry.seq, Arc::clone(entry));
        keyed.removals += usize::from(entry.removes_key);
        let surplus = (keyed.values.len() > keys_max).then(|| self.let_go_of_oldest()).flatten();
        [superseded, surplus]
    }

    fn let_go_of_oldest(&mut self) -> Option<Arc<Entry>> {
        let keyed = self.keyed.as_mut()?;
        let (number, entry) = keyed.values.pop_first()?;
        keyed.removals -= usize::from(entry.removes_key);
        if let Some(key) = &entry.key {
            keyed.numbers.remove(key);
        }
        self.complete_from = self.complete_from.max(number + 1);
        Some(entry)
    }

    /// Lets go of removals before message `first`: whoever has yet to hear of them
    /// has fallen out of the history.
    pub fn forget_removals_before(&mut self, first: u64, mut gone: impl FnMut(Arc<Entry>)) {
        while let Some(keyed) = &self.keyed
            && keyed.removals > 0
        {
            // They are few, and old ones lie at the front among values that are as old.
            let oldest = keyed.values.values().find(|entry| entry.removes_key);
            let Some(number) = oldest.map(|entry| entry.seq).filter(|&number| number < first)
            else {
                return;
            };
            let keyed = self.keyed.as_mut().expect("just looked at");
            let entry = keyed.values.remove(&number).expect("just found");
            keyed.removals -= 1;
            if let Some(key) = &entry.key {
                keyed.numbers.remove(key);
            }
            self.complete_from = self.complete_from.max(number + 1);
            gone(entry);
        }
    }

    /// Values with numbers from `from` to `to`, in their order, removals among them.
    pub fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let keyless = self.keyless.iter().filter(move |entry| (from..=to).contains(&entry.seq));
        let keyless_seq = keyless.clone().next().map_or(u64::MAX, |entry| entry.seq);
        let range = move |from: u64, to: u64| {
            let values = self.keyed.as_ref().filter(|_| from <= to).map(|keyed| &keyed.values);
            values
                .into_iter()
                .flat_map(move |values| values.range(from..=to))
                .map(|(_, value)| value)
        };
        let before = range(from, to.min(keyless_seq.saturating_sub(1)));
        let after = range(from.max(keyless_seq.saturating_add(1)), to);
        before.chain(keyless).chain(after.filter(move |_| keyless_seq != u64::MAX))
    }

    /// The number of the newest value.
    #[cfg(test)]
    fn newest(&self) -> Option<u64> {
        self.between(0, u64::MAX).last().map(|entry| entry.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::entry;
    use super::*;

    /// Against a naive twin: the last message of each key.
    #[test]
    fn agrees_with_the_last_of_each_key() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let keys_max = random.usize(2..8);
            let mut values = Values::new(1);
            let mut all: Vec<Arc<Entry>> = Vec::new();
            let mut floor = 0;
            for seq in 1..200 {
                let key = ["", "a", "b", "c", "d", "e"][random.usize(..6)];
                let mut made = entry(seq, Some(key).filter(|key| !key.is_empty()), "x");
                made.removes_key = made.key.is_some() && random.u8(..5) == 0;
                let made = Arc::new(made);
                values.put(&made, keys_max);
                all.push(made);
                if random.u8(..20) == 0 {
                    floor = random.u64(floor..=seq);
                    values.forget_removals_before(floor, |_| ());
                }
                let newest = |entry: &&Arc<Entry>| {
                    let later = &all[entry.seq as usize..];
                    !later.iter().any(|later| later.key == entry.key)
                };
                let from = random.u64(..=seq);
                let to = random.u64(from..=seq + 1);
                let found: Vec<u64> = values.between(from, to).map(|entry| entry.seq).collect();
                let wanted: Vec<u64> = all
                    .iter()
                    .filter(newest)
                    .map(|entry| entry.seq)
                    .filter(|seq| (from..=to).contains(seq))
                    .collect();
                let complete = values.complete_from();
                let after = |numbers: &[u64]| -> Vec<u64> {
                    numbers.iter().copied().filter(|&seq| seq >= complete).collect()
                };
                assert_eq!(after(&found), after(&wanted), "seed {seed}, {from} to {to}");
                assert!(found.iter().all(|seq| wanted.contains(seq)), "only newest values");
                assert!(values.keyed.as_ref().is_none_or(|keyed| keyed.values.len() <= keys_max));
                assert_eq!(values.newest(), Some(seq), "the newest is always there");
            }
        }
    }
}
