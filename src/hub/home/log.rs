//! The log of a topic: it numbers the messages, and keeps the history and the newest values.

use super::values::Values;
use crate::base::{Limits, Time};
use crate::hub::message::Entry;
use crate::hub::past::{Past, Portion, View};
use crate::hub::policy::Rule;
use std::collections::VecDeque;
use std::sync::Arc;

/// The messages of one topic, numbered without holes from 1.
#[derive(Debug)]
pub struct Log {
    /// Random per incarnation of the topic, below 2^53 so that JavaScript can
    /// hold it.
    pub epoch: u64,
    pub values: Values,
    entries: VecDeque<Arc<Entry>>,
    /// The number of the oldest entry that is kept.
    first: u64,
    /// Of all entries.
    weight: usize,
    /// Of values that are no longer among the entries.
    values_weight: usize,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: u64) -> Log {
        Log {
            epoch,
            values: Values::new(1),
            entries: VecDeque::new(),
            first: 1,
            weight: 0,
            values_weight: 0,
        }
    }

    /// The number of the oldest message that is kept, or of the next one.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next message gets.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Messages kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// About what it takes in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.weight + self.values_weight
    }

    /// The message with number `seq`, which is kept.
    pub fn entry(&self, seq: u64) -> &Arc<Entry> {
        &self.entries[(seq - self.first) as usize]
    }

    /// Milliseconds since the oldest message that is kept was numbered.
    pub fn oldest_age_ms(&self, now: Time) -> Option<u64> {
        self.entries.front().map(|entry| entry.since.until(now))
    }

    /// Appends the message with the number [`Log::next`]. Above the hard limits the oldest
    /// messages are evicted; the newest always stays. Of messages with keys, the newest of
    /// `keys_max` keys are kept as values.
    pub fn append(&mut self, entry: Entry, keys_max: usize, limits: &Limits) {
        debug_assert_eq!(entry.seq, self.next());
        let entry = Arc::new(entry);
        self.weight += entry.weight();
        if entry.key.is_none() || keys_max > 0 {
            for gone in self.values.put(&entry, keys_max).into_iter().flatten() {
                self.drop_value(&gone);
            }
        }
        self.entries.push_back(entry);
        while self.entries.len() > 1
            && (self.entries.len() > limits.log_messages_max || self.weight > limits.log_bytes_max)
        {
            self.drop_oldest();
        }
    }

    /// A value is dropped. If its message had left the history before, so does its weight.
    fn drop_value(&mut self, value: &Entry) {
        if value.seq < self.first {
            self.values_weight -= value.weight();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.weight -= oldest.weight();
        self.first += 1;
        // Kept as the newest value of its key.
        if self.values.contains(oldest.seq) {
            self.values_weight += oldest.weight();
        }
    }

    /// Drops the messages that the rule does not keep, up to message `sent`, which some reader
    /// shard has yet to be sent.
    pub fn trim(&mut self, rule: &Rule, sent: u64, now: Time) {
        let first = self.first;
        while self.first < sent
            && let Some(oldest) = self.entries.front()
        {
            let is_surplus = self.entries.len() > rule.retention_messages
                || self.weight > rule.retention_bytes && self.entries.len() > 1;
            if !is_surplus && oldest.since.until(now) < rule.retention_ms {
                break;
            }
            self.drop_oldest();
        }
        if self.first > first {
            let (first, values_weight) = (self.first, &mut self.values_weight);
            self.values.forget_removals_before(first, |gone| *values_weight -= gone.weight());
            // A topic that has become quiet gives back the room of its busy time.
            if self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
    }

    /// Evicts half of the history, whether or not a reader has yet to get it.
    pub fn halve(&mut self) {
        for _ in 0..self.entries.len() / 2 {
            self.drop_oldest();
        }
        self.entries.shrink_to(self.entries.len() * 2);
    }

    /// Evicts half of the values. Readers that ask for changes from before get a gap.
    pub fn halve_values(&mut self) {
        let (first, weight) = (self.first, &mut self.values_weight);
        self.values.halve(|gone| {
            if gone.seq < first {
                *weight -= gone.weight();
            }
        });
    }

    /// A portion of the past.
    pub fn past(&self, view: View, portion: Portion) -> Past {
        let Portion { from, to, messages_max, bytes_max } = portion;
        let to = to.min(self.next() - 1);
        let complete_from = match view {
            View::Messages => self.first,
            View::Changes | View::Update => self.values.complete_from(),
            View::Snapshot => from,
        };
        let start = from.max(complete_from.min(to + 1));
        let last = self.next() - 1;
        let mut past = Past {
            missed: start - from,
            entries: Vec::new(),
            next: start,
            last,
            has_all_values: self.values.is_complete(),
        };
        let mut weight = 0;
        let mut take = |entry: &Arc<Entry>| {
            let fits = past.entries.len() < messages_max
                && (weight == 0 || weight + entry.weight() <= bytes_max);
            if fits {
                weight += entry.weight();
                past.next = entry.seq + 1;
                past.entries.push(Arc::clone(entry));
            }
            fits
        };
        let all = match view {
            View::Messages => {
                let skip = (start - self.first.min(start)) as usize;
                self.entries.iter().skip(skip).take_while(|entry| entry.seq <= to).all(&mut take)
            }
            View::Changes | View::Update => self.values.between(start, to, true).all(&mut take),
            View::Snapshot => self.values.between(start, to, false).all(&mut take),
        };
        if all {
            // Nothing is left up to there, whether or not something lay there.
            past.next = past.next.max(to + 1);
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::message::tests::entry;
    use crate::hub::message::{AGE_STEP_MS, ENTRY_OVERHEAD_BYTES};

    fn everything(from: u64) -> Portion {
        Portion { from, to: u64::MAX - 1, messages_max: usize::MAX, bytes_max: usize::MAX }
    }

    fn numbers(past: &Past) -> Vec<u64> {
        past.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn numbers_have_no_holes_and_the_oldest_messages_are_evicted() {
        let bytes_max = 3 * ENTRY_OVERHEAD_BYTES;
        let limits = Limits { log_messages_max: 3, log_bytes_max: bytes_max, ..Limits::default() };
        let rule = Rule::new(">", &limits);
        let mut log = Log::new(7);
        for expected in 1..=20u64 {
            assert_eq!(log.next(), expected);
            log.append(
                entry(expected, None, &"x".repeat(10 * expected as usize)),
                rule.keys_max,
                &limits,
            );
            let past = log.past(View::Messages, everything(1));
            let kept: usize = past.entries.iter().map(|entry| entry.weight()).sum();
            assert!(kept <= bytes_max || past.entries.len() == 1, "{expected}");
            assert!(past.entries.len() <= 3);
            assert_eq!(numbers(&past), (1 + past.missed..=expected).collect::<Vec<_>>());
            assert_eq!((log.weight, past.next), (kept, expected + 1));
        }
    }

    #[test]
    fn a_rule_drops_only_what_every_reader_shard_was_sent() {
        let limits = Limits::default();
        let rule = Rule {
            retention_messages: 2,
            retention_ms: 10 * AGE_STEP_MS,
            ..Rule::new(">", &limits)
        };
        let mut log = Log::new(7);
        let at = |step| Time::ZERO.plus_millis(AGE_STEP_MS * step);
        for seq in 1..=6 {
            log.append(entry(seq, None, "x"), rule.keys_max, &limits);
        }
        log.trim(&rule, 1, at(8));
        assert_eq!(log.len(), 6, "a reader shard has not been sent them");
        log.trim(&rule, 7, at(8));
        assert_eq!(numbers(&log.past(View::Messages, everything(1))), [5, 6]);
        log.trim(&rule, 7, at(16));
        assert_eq!(numbers(&log.past(View::Messages, everything(1))), [6]);
        log.trim(&rule, 7, at(17));
        assert_eq!((log.len(), log.next()), (0, 7));
        // Its last value is kept outside of the history.
        assert_eq!(numbers(&log.past(View::Snapshot, everything(0))), [6]);
        assert!(log.weight() > 0);
    }

    #[test]
    fn the_past_comes_in_portions() {
        let limits = Limits::default();
        let rule = Rule::new(">", &limits);
        let mut log = Log::new(7);
        for seq in 1..=40u64 {
            let key = ["a", "b", "c"][seq as usize % 3];
            log.append(entry(seq, Some(key), "x"), rule.keys_max, &limits);
        }
        let mut found = Vec::new();
        let mut from = 5;
        while from <= 30 {
            let past =
                log.past(View::Messages, Portion { to: 30, messages_max: 7, ..everything(from) });
            assert!(past.entries.len() <= 7 && past.next > from);
            found.extend(numbers(&past));
            from = past.next;
        }
        assert_eq!(found, (5..=30).collect::<Vec<_>>());
        let past = log.past(View::Changes, Portion { messages_max: 2, ..everything(1) });
        assert_eq!((numbers(&past), past.next), (vec![38, 39], 40));
        let past = log.past(View::Changes, everything(40));
        assert_eq!((numbers(&past), past.next), (vec![40], 41));
        // One message always, however large.
        let past = log.past(View::Messages, Portion { bytes_max: 1, ..everything(3) });
        assert_eq!(numbers(&past), [3]);
    }
}
