//! The log of a topic at its home: what numbers it, and its history.

use super::mail::Mail;
use super::rules::Rule;
use super::values::Values;
use crate::base::{Limits, ShardId, Time};
use crate::protocol::{Kind, Opcode};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a mail weighs beside its payload, in bytes.
pub const MAIL_OVERHEAD_BYTES: usize = 64;
/// What a message of a log weighs beside its payload and key, in bytes.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;

/// A topic on some shard, named by that shard's table.
///
/// ```
/// # use tapecast::base::Time;
/// # use tapecast::hub::{Delivery, Hub, Outbox, Signal, Subscriptions};
/// # let mut hub = Hub::alone(&tapecast::Limits::default());
/// # let mut subscriptions = Subscriptions::default();
/// # let mut signals = Vec::new();
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// let Signal::Subscribed { topic, .. } = signals[0] else { panic!("one subscription") };
/// assert_eq!(hub.name(topic), Some("news"));
/// // When nobody has read it for long and nothing was published, the topic is forgotten.
/// hub.leave(&mut subscriptions);
/// hub.tick(Time::ZERO.plus_millis(100_000));
/// assert_eq!(hub.name(topic), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// Index into the table.
    pub index: u32,
    /// Generation of the entry.
    pub generation: u32,
}

/// What the payload of a message is.
///
/// ```
/// use tapecast::hub::EntryKind;
/// use tapecast::protocol::Kind;
///
/// assert_eq!(EntryKind::from(Kind::Binary), EntryKind::Binary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// JSON, known to be that.
    Json,
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl EntryKind {
    /// The opcode of a frame that carries it as it is.
    pub fn opcode(self) -> Opcode {
        match self {
            EntryKind::Json | EntryKind::Text => Opcode::Text,
            EntryKind::Binary => Opcode::Binary,
        }
    }
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> EntryKind {
        match kind {
            Kind::Text => EntryKind::Text,
            Kind::Binary => EntryKind::Binary,
        }
    }
}

/// One message of a topic.
///
/// ```
/// use tapecast::hub::Entry;
///
/// fn line(entry: &Entry) -> String {
///     format!("{} {} {}", entry.seq, entry.key.as_deref().unwrap_or("-"), entry.payload.len())
/// }
/// # let _ = line;
/// ```
#[derive(Debug)]
pub struct Entry {
    /// Its number: from 1, without holes.
    pub seq: u64,
    /// When its home numbered it, in milliseconds since 1970.
    pub time_ms: u64,
    /// What it is the newest value of.
    pub key: Option<Arc<str>>,
    /// From this message on its key has no value.
    pub removes_key: bool,
    /// What the payload is.
    pub kind: EntryKind,
    /// The payload.
    pub payload: Bytes,
    /// When that was on the clock that does not jump: retention counts from there.
    pub(crate) since: Age,
}

/// A point of time in steps of 16 ms, which is told from others within a year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age(u32);

pub(super) const AGE_STEP_MS: u64 = 16;

impl Age {
    pub fn at(now: Time) -> Age {
        Age((now.as_millis() / AGE_STEP_MS) as u32)
    }

    /// Milliseconds from it until `now`: never too many, and too few by at most two steps.
    pub fn until(self, now: Time) -> u64 {
        let steps = Age::at(now).0.wrapping_sub(self.0);
        u64::from(steps.saturating_sub(1)) * AGE_STEP_MS
    }
}

impl Entry {
    /// What it takes in memory, more or less.
    pub(super) fn weight(&self) -> usize {
        let key_bytes = self.key.as_ref().map_or(0, |key| key.len());
        self.payload.len() + key_bytes + ENTRY_OVERHEAD_BYTES
    }
}

/// A shard with readers: a cursor on the log.
#[derive(Debug)]
pub struct ReaderShard {
    /// The shard.
    pub shard: ShardId,
    /// The topic in that shard's table.
    pub topic: TopicRef,
    /// The number of the next message to send it.
    pub next: u64,
    /// The topic waits with others for room at that shard.
    pub waits: bool,
}

/// What a reader wants of a topic's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Every message.
    Messages,
    /// Of each key the newest, and that it was removed.
    Changes,
    /// Of each key that has a value, that: all that the home has, whoever was sent it.
    Snapshot,
    /// What has changed while a snapshot was handed over: as [`View::Changes`], of all that the
    /// home has.
    Update,
}

impl View {
    /// Whether it goes up to the last message at the home: the tape that follows has to be
    /// sent that before.
    pub fn is_of_all(self) -> bool {
        matches!(self, View::Snapshot | View::Update)
    }
}

/// A piece of a topic's past, as much as was asked for or is left.
#[derive(Debug)]
pub struct Past {
    /// How many of the first messages asked for are gone.
    pub missed: u64,
    /// What there is, in order.
    pub entries: Vec<Arc<Entry>>,
    /// The number from which on to ask next.
    pub next: u64,
    /// The number of the topic's last message.
    pub last: u64,
    /// Of every key that has a value, that is kept.
    pub has_all_values: bool,
}

/// How much of a topic's past to hand over at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// Messages at most.
    pub messages_max: usize,
    /// Bytes at most, and one message always.
    pub bytes_max: usize,
}

/// What shards that watch a pattern have yet to hear of a topic that matches it.
#[derive(Debug, Default)]
pub struct Untold {
    /// Its readers were told that nothing had come after this message for long.
    pub silent_after: Option<u64>,
    /// Shards that no longer read, and are to hear of the next message.
    pub left: Vec<ShardId>,
}

/// The history of one topic, numbered without holes from 1.
#[derive(Debug)]
pub struct Log {
    /// Random per incarnation of the topic, below 2^53 so that JavaScript can
    /// hold it.
    pub epoch: u64,
    /// Who reads.
    pub readers: Vec<ReaderShard>,
    pub values: Values,
    /// What shards that watch patterns have yet to hear; most topics have none of it.
    pub untold: Option<Box<Untold>>,
    entries: VecDeque<Arc<Entry>>,
    /// The number of the oldest entry that is kept.
    first: u64,
    /// Of all entries.
    weight: usize,
    /// Of values that are no longer among the entries.
    values_weight: usize,
    /// Of what came since readers were last sent something.
    unsent_weight: usize,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: u64) -> Log {
        Log {
            epoch,
            readers: Vec::new(),
            values: Values::new(1),
            untold: None,
            entries: VecDeque::new(),
            first: 1,
            weight: 0,
            values_weight: 0,
            unsent_weight: 0,
        }
    }

    /// The number that the next message gets.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Messages kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What it takes in memory, more or less.
    pub fn weight(&self) -> usize {
        self.weight + self.values_weight
    }

    /// Milliseconds since the oldest message that is kept was numbered.
    pub fn oldest_age_ms(&self, now: Time) -> Option<u64> {
        self.entries.front().map(|entry| entry.since.until(now))
    }

    /// Appends the message with the number [`Log::next`]. What exceeds the hard
    /// limits goes from the old end; the newest message always stays.
    /// Of messages with keys, the newest of `keys_max` keys are kept as values.
    pub fn append(&mut self, entry: Entry, keys_max: usize, limits: &Limits) {
        debug_assert_eq!(entry.seq, self.next());
        let entry = Arc::new(entry);
        self.weight += entry.weight();
        self.unsent_weight += entry.weight();
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

    /// A value has left: if its message had left the history before it, its weight
    /// goes with it.
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

    /// Lets go of what the rule does not keep, once every reader shard has been sent
    /// it.
    pub fn trim(&mut self, rule: &Rule, now: Time) {
        let sent = self.readers.iter().map(|reader| reader.next).min().unwrap_or(u64::MAX);
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
            // What has become quiet keeps no room for what it was.
            if self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(self.entries.len() * 2);
            }
        }
    }

    /// Lets go of half of the history, whoever may want it.
    pub fn halve(&mut self) {
        for _ in 0..self.entries.len() / 2 {
            self.drop_oldest();
        }
        self.entries.shrink_to(self.entries.len() * 2);
    }

    /// Lets go of half of the values, and says so to who asks for changes from before.
    pub fn halve_values(&mut self) {
        let (first, weight) = (self.first, &mut self.values_weight);
        self.values.halve(|gone| {
            if gone.seq < first {
                *weight -= gone.weight();
            }
        });
    }

    /// Whether so much waits to be sent to a shard that it would soon fall off.
    pub fn is_pressing(&self, limits: &Limits) -> bool {
        let waits = |reader: &ReaderShard| self.next() - reader.next.max(self.first);
        let waiting = self.readers.iter().map(waits).max().unwrap_or(0);
        waiting > 0
            && (waiting as usize >= limits.log_messages_max / 2
                || self.unsent_weight >= limits.log_bytes_max / 2)
    }

    /// What is yet to be told, which there is none of until now.
    pub fn untold(&mut self) -> &mut Untold {
        self.untold.get_or_insert_default()
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

    /// What came is sent on, or will be with the next flush.
    pub fn spread(&mut self) {
        self.unsent_weight = 0;
    }

    /// Sends readers what is new, as far as `send` takes it; but not to shards where the topic
    /// waits for room already. Returns those where it waits from now on.
    pub fn forward(
        &mut self,
        mut send: impl FnMut(ShardId, Mail, usize) -> Result<(), Mail>,
    ) -> Vec<ShardId> {
        self.unsent_weight = 0;
        let mut waiting = Vec::new();
        for place in 0..self.readers.len() {
            if !self.readers[place].waits && !self.forward_at(place, &mut send) {
                self.readers[place].waits = true;
                waiting.push(self.readers[place].shard);
            }
        }
        waiting
    }

    /// Sends one shard's readers what is new, as far as `send` takes it; says whether that
    /// is all.
    pub fn forward_to(
        &mut self,
        shard: ShardId,
        mut send: impl FnMut(ShardId, Mail, usize) -> Result<(), Mail>,
    ) -> bool {
        let Some(place) = self.readers.iter().position(|reader| reader.shard == shard) else {
            return true;
        };
        let is_all = self.forward_at(place, &mut send);
        self.readers[place].waits &= !is_all;
        is_all
    }

    fn forward_at(
        &mut self,
        place: usize,
        send: &mut impl FnMut(ShardId, Mail, usize) -> Result<(), Mail>,
    ) -> bool {
        let end = self.next();
        let reader = &mut self.readers[place];
        let &mut ReaderShard { shard, topic, .. } = reader;
        if reader.next < self.first {
            let missed = self.first - reader.next;
            if send(shard, Mail::Gap { topic, missed }, 0).is_err() {
                return false;
            }
            reader.next = self.first;
        }
        while reader.next < end {
            let entry = &self.entries[(reader.next - self.first) as usize];
            let weight = entry.payload.len() + MAIL_OVERHEAD_BYTES;
            if send(shard, Mail::Entry { topic, entry: Arc::clone(entry) }, weight).is_err() {
                return false;
            }
            reader.next += 1;
        }
        true
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message for tests.
    pub fn entry(seq: u64, key: Option<&str>, payload: &str) -> Entry {
        Entry {
            seq,
            time_ms: seq,
            key: key.map(Arc::from),
            removes_key: false,
            kind: EntryKind::Text,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            since: Age::at(Time::ZERO.plus_millis(AGE_STEP_MS * seq)),
        }
    }

    fn everything(from: u64) -> Portion {
        Portion { from, to: u64::MAX - 1, messages_max: usize::MAX, bytes_max: usize::MAX }
    }

    fn numbers(past: &Past) -> Vec<u64> {
        past.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn numbers_have_no_holes_and_the_old_end_goes() {
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
    fn a_rule_keeps_less_but_nothing_goes_unsent() {
        let limits = Limits::default();
        let rule = Rule {
            retention_messages: 2,
            retention_ms: 10 * AGE_STEP_MS,
            ..Rule::new(">", &limits)
        };
        let mut log = Log::new(7);
        let topic = TopicRef { index: 0, generation: 0 };
        log.readers.push(ReaderShard { shard: ShardId(1), topic, next: 1, waits: false });
        let at = |step| Time::ZERO.plus_millis(AGE_STEP_MS * step);
        for seq in 1..=6 {
            log.append(entry(seq, None, "x"), rule.keys_max, &limits);
        }
        log.trim(&rule, at(8));
        assert_eq!(log.len(), 6, "the reader shard has not been sent them");
        assert!(log.forward(|_, _, _| Ok(())).is_empty());
        log.trim(&rule, at(8));
        assert_eq!(numbers(&log.past(View::Messages, everything(1))), [5, 6]);
        log.trim(&rule, at(16));
        assert_eq!(numbers(&log.past(View::Messages, everything(1))), [6]);
        log.trim(&rule, at(17));
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
