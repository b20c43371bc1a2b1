//! Which messages of a tape have a newer one of their key: a bit per message,
//! scanned by words. It is kept while a shard has a reader of mode `latest`.

use crate::base::planted::{Bug, planted};
use crate::hub::message::Entry;
use foldhash::quality::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const BITS: u64 = u64::BITS as u64;
/// Keys that have left the tape are forgotten once this many more are known than the
/// tape has messages.
const STALE_KEYS: usize = 64;

/// The superseded messages of one topic on one shard.
#[derive(Debug)]
pub struct Superseded {
    /// The word of the first bit kept; words count from message 0.
    first_word: u64,
    /// A set bit is a superseded message.
    words: VecDeque<u64>,
    /// The newest message of each key, for as long as it is on the tape.
    newest: HashMap<Arc<str>, u64, RandomState>,
    newest_keyless: u64,
}

impl Superseded {
    /// Nothing is superseded; `next` is the number of the next message.
    pub fn new(next: u64) -> Superseded {
        Superseded {
            first_word: next / BITS,
            words: VecDeque::new(),
            newest: HashMap::default(),
            newest_keyless: 0,
        }
    }

    /// A message was appended to the tape, which begins at `begin`.
    pub fn appended(&mut self, entry: &Entry, begin: u64) {
        let before = match &entry.key {
            Some(key) => self.newest.insert(Arc::clone(key), entry.seq).unwrap_or(0),
            None => std::mem::replace(&mut self.newest_keyless, entry.seq),
        };
        if before >= begin.max(1) {
            self.set(before);
        }
        if planted(Bug::SupersededEarly) && before > 0 {
            self.set(entry.seq);
        }
        self.trim(begin);
        if self.newest.len() > (entry.seq - begin) as usize + STALE_KEYS {
            self.newest.retain(|_, &mut newest| newest >= begin);
        }
    }

    /// Message `seq`, which is on the tape, is superseded.
    pub fn set(&mut self, seq: u64) {
        let word = seq / BITS;
        if self.words.is_empty() {
            self.first_word = word;
        }
        while word < self.first_word {
            self.words.push_front(0);
            self.first_word -= 1;
        }
        let index = word - self.first_word;
        if self.words.len() <= index as usize {
            self.words.resize(index as usize + 1, 0);
        }
        self.words[index as usize] |= 1 << (seq % BITS);
    }

    /// The tape begins at `begin`.
    pub fn trim(&mut self, begin: u64) {
        let gone = (begin / BITS).saturating_sub(self.first_word).min(self.words.len() as u64);
        self.words.drain(..gone as usize);
        self.first_word += gone;
    }

    /// The first run of messages in `from..to` that are not superseded: the first of
    /// them and the number behind the last. Both are `to` if there is none.
    #[inline]
    pub fn next_run(&self, from: u64, to: u64) -> (u64, u64) {
        let first = self.next(from, to, u64::MAX);
        (first, self.next(first, to, 0))
    }

    /// The first message in `from..to` whose bit, flipped by `flip`, is set; or `to`.
    #[inline]
    fn next(&self, from: u64, to: u64, flip: u64) -> u64 {
        let mut at = from;
        while at < to {
            let index = (at / BITS).wrapping_sub(self.first_word);
            let word = match usize::try_from(index).ok().and_then(|index| self.words.get(index)) {
                Some(word) => word ^ flip,
                None => flip,
            };
            let rest = word >> (at % BITS);
            if rest != 0 {
                return (at + u64::from(rest.trailing_zeros())).min(to);
            }
            at = (at / BITS + 1) * BITS;
        }
        to
    }

    /// Bytes it takes, more or less.
    #[cfg(test)]
    fn keys(&self) -> usize {
        self.newest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::message::tests::entry;

    #[test]
    fn superseded_messages_agree_with_a_list_of_keys() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let start = random.u64(1..200);
            let mut superseded = Superseded::new(start);
            let mut keys: Vec<Option<String>> = vec![None; start as usize];
            let mut begin = start;
            for seq in start..start + 500 {
                let key = Some(random.u8(..40)).filter(|&key| key > 2).map(|key| key.to_string());
                superseded.appended(&entry(seq, key.as_deref(), ""), begin);
                keys.push(key);
                if random.u8(..10) == 0 {
                    begin = random.u64(begin..=seq);
                    superseded.trim(begin);
                }
                let from = random.u64(begin..=seq);
                let to = random.u64(from..=seq + 1);
                let is_newest = |at: u64| !keys[at as usize + 1..].contains(&keys[at as usize]);
                let wanted: Vec<u64> = (from..to).filter(|&at| is_newest(at)).collect();
                let mut found = Vec::new();
                let mut at = from;
                while at < to {
                    let (first, behind) = superseded.next_run(at, to);
                    found.extend(first..behind);
                    at = behind.max(first);
                }
                assert_eq!(found, wanted, "seed {seed}: {from}..{to}");
            }
        }
    }

    #[test]
    fn keys_that_left_the_tape_are_forgotten() {
        let mut superseded = Superseded::new(1);
        for seq in 1..100_000u64 {
            let key = seq.to_string();
            superseded.appended(&entry(seq, Some(&key), ""), seq.saturating_sub(100).max(1));
            assert!(superseded.keys() <= 100 + STALE_KEYS + 2 && superseded.words.len() < 4);
        }
    }
}
