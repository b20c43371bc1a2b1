//! The newest value of each key: the topic's history without superseded messages. It outlives
//! the history.
//!
//! The values behind `seq`, in order, bring a reader that has everything up to message `seq`
//! up to date; those behind 0 are a snapshot. So conflation, `latest` for readers
//! that fell behind, and snapshots are one operation.

use crate::hub::message::Entry;
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Values by key and in the order of their numbers.
#[derive(Debug)]
pub struct Values {
    /// The newest message without a key, which may be one that removes the value of no key;
    /// most topics have only that.
    keyless: Option<Arc<Entry>>,
    keyed: Option<Box<Keyed>>,
    /// All changes from this number on are here; before it some were evicted.
    complete_from: u64,
    /// Values of keys were evicted.
    has_lost: bool,
}

#[derive(Debug, Default)]
struct Keyed {
    /// The number of the newest message of each key.
    numbers: HashMap<Arc<str>, u64, RandomState>,
    values: BTreeMap<u64, Arc<Entry>>,
    /// Of keys that were removed, the messages that did so.
    removals: BTreeMap<u64, Arc<Entry>>,
}

impl Keyed {
    /// Takes the message with this number out, whichever it is.
    fn take(&mut self, number: u64) -> Option<Arc<Entry>> {
        self.values.remove(&number).or_else(|| self.removals.remove(&number))
    }

    /// Forgets the number of a message's key.
    fn forget(&mut self, entry: &Entry) {
        if let Some(key) = &entry.key {
            self.numbers.remove(key);
        }
    }
}

impl Values {
    /// No value of a topic whose next message is `next`.
    pub fn new(next: u64) -> Values {
        Values { keyless: None, keyed: None, complete_from: next, has_lost: false }
    }

    /// How many keys have a value.
    pub fn count(&self) -> usize {
        let keyed = self.keyed.as_ref().map_or(0, |keyed| keyed.values.len());
        keyed + usize::from(self.keyless.as_ref().is_some_and(|entry| !entry.removes_key))
    }

    /// The number from which on everything that changed is here.
    pub fn complete_from(&self) -> u64 {
        self.complete_from
    }

    /// Whether no value was evicted. The state of a key after that is not known.
    pub fn is_complete(&self) -> bool {
        !self.has_lost
    }

    /// The key as it is shared already, if it is known.
    pub fn shared_key(&self, key: &str) -> Option<Arc<str>> {
        let known = self.keyed.as_ref()?.numbers.get_key_value(key)?;
        Some(Arc::clone(known.0))
    }

    /// Whether the key has a value.
    pub fn has(&self, key: &str) -> bool {
        let Some(keyed) = &self.keyed else { return false };
        keyed.numbers.get(key).is_some_and(|number| keyed.values.contains_key(number))
    }

    /// Whether message `seq` is here.
    pub fn contains(&self, seq: u64) -> bool {
        let is_keyless = self.keyless.as_ref().is_some_and(|entry| entry.seq == seq);
        let keyed = self.keyed.as_ref();
        is_keyless
            || keyed.is_some_and(|keyed| {
                keyed.values.contains_key(&seq) || keyed.removals.contains_key(&seq)
            })
    }

    /// Adds the newest message. Returns the messages that leave: the one that it supersedes,
    /// and the oldest above `keys_max` values, or as many removals.
    pub fn put(&mut self, entry: &Arc<Entry>, keys_max: usize) -> [Option<Arc<Entry>>; 2] {
        let Some(key) = &entry.key else {
            return [self.keyless.replace(Arc::clone(entry)), None];
        };
        let keyed = self.keyed.get_or_insert_default();
        let superseded = keyed.numbers.insert(Arc::clone(key), entry.seq);
        let superseded = superseded.and_then(|number| keyed.take(number));
        let entries = if entry.removes_key { &mut keyed.removals } else { &mut keyed.values };
        entries.insert(entry.seq, Arc::clone(entry));
        let surplus = if entries.len() > keys_max { entries.pop_first() } else { None };
        let surplus = surplus.map(|(number, surplus)| {
            keyed.forget(&surplus);
            self.has_lost |= !surplus.removes_key;
            self.complete_from = self.complete_from.max(number + 1);
            surplus
        });
        [superseded, surplus]
    }

    /// Forgets removals before message `first`: a reader that has not got them is behind
    /// the history.
    pub fn forget_removals_before(&mut self, first: u64, mut gone: impl FnMut(Arc<Entry>)) {
        let is_over = |entry: &mut Arc<Entry>| entry.removes_key && entry.seq < first;
        if let Some(entry) = self.keyless.take_if(is_over) {
            self.complete_from = self.complete_from.max(entry.seq + 1);
            gone(entry);
        }
        let Some(keyed) = &mut self.keyed else { return };
        let kept = keyed.removals.split_off(&first);
        let forgotten = std::mem::replace(&mut keyed.removals, kept);
        self.forget_all(forgotten, gone);
    }

    /// Evicts the older half of the values with keys.
    pub fn halve(&mut self, gone: impl FnMut(Arc<Entry>)) {
        let Some(keyed) = &mut self.keyed else { return };
        let half = keyed.values.len() / 2;
        let Some(&first) = keyed.values.keys().nth(half) else { return };
        let kept = keyed.values.split_off(&first);
        let forgotten = std::mem::replace(&mut keyed.values, kept);
        self.forget_all(forgotten, gone);
    }

    fn forget_all(
        &mut self,
        forgotten: BTreeMap<u64, Arc<Entry>>,
        mut gone: impl FnMut(Arc<Entry>),
    ) {
        for (number, entry) in forgotten {
            self.keyed.as_mut().expect("they came from there").forget(&entry);
            self.complete_from = self.complete_from.max(number + 1);
            self.has_lost |= !entry.removes_key;
            gone(entry);
        }
    }

    /// The changes with numbers from `from` to `to`, in their order: values, and removals if
    /// asked for.
    pub fn between(
        &self,
        from: u64,
        to: u64,
        with_removals: bool,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        let keyed = self.keyed.as_ref().filter(|_| from <= to);
        let mut values =
            keyed.map(|keyed| range_of(&keyed.values, from, to)).into_iter().flatten().peekable();
        let removals = keyed.filter(|_| with_removals);
        let mut removals = removals
            .map(|keyed| range_of(&keyed.removals, from, to))
            .into_iter()
            .flatten()
            .peekable();
        let keyless = self.keyless.iter().filter(move |entry| {
            (from..=to).contains(&entry.seq) && (with_removals || !entry.removes_key)
        });
        let mut keyless = keyless.peekable();
        std::iter::from_fn(move || {
            let number = |entry: Option<&&Arc<Entry>>| entry.map_or(u64::MAX, |entry| entry.seq);
            let heads = [number(values.peek()), number(removals.peek()), number(keyless.peek())];
            match heads.iter().min() {
                Some(&u64::MAX) | None => None,
                Some(least) if *least == heads[0] => values.next(),
                Some(least) if *least == heads[1] => removals.next(),
                Some(_) => keyless.next(),
            }
        })
    }

    /// The number of the newest value or removal.
    #[cfg(test)]
    fn newest(&self) -> Option<u64> {
        self.between(0, u64::MAX - 1, true).last().map(|entry| entry.seq)
    }
}

fn range_of(
    entries: &BTreeMap<u64, Arc<Entry>>,
    from: u64,
    to: u64,
) -> impl Iterator<Item = &Arc<Entry>> {
    entries.range(from..=to).map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::message::tests::entry;

    /// Against a naive twin: the last message of each key.
    #[test]
    fn values_agree_with_the_last_message_of_each_key() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let keys_max = random.usize(2..8);
            let mut values = Values::new(1);
            let mut all: Vec<Arc<Entry>> = Vec::new();
            let mut floor = 0;
            let mut lost = false;
            for seq in 1..200 {
                let key = ["", "a", "b", "c", "d", "e"][random.usize(..6)];
                let mut made = entry(seq, Some(key).filter(|key| !key.is_empty()), "x");
                made.removes_key = random.u8(..5) == 0;
                let made = Arc::new(made);
                let gone = values.put(&made, keys_max)[1].clone();
                lost |= gone.is_some_and(|gone| !gone.removes_key);
                all.push(made);
                if random.u8(..50) == 0 {
                    values.halve(|_| lost = true);
                }
                assert_eq!(values.is_complete(), !lost, "seed {seed}");
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
                let found: Vec<u64> =
                    values.between(from, to, true).map(|entry| entry.seq).collect();
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
                assert!(values.count() <= keys_max + 1);
                assert_eq!(values.newest(), Some(seq), "the newest is always there");
            }
        }
    }
}
