//! Hubs of several shards under random operations, against a naive twin: all that was
//! ever numbered, in a vector per topic. Every sequence that a subscriber got must be
//! one that the twin allows.

mod checks;

use super::*;
use crate::base::planted::{Bug, plant};
use crate::mailbox::{Allowance, Receiver, Sender, channel};
use crate::testing::ENVELOPE;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

const TOPICS: [&str; 4] = ["a", "b.c", "d", "b.e"];
const PATTERNS: [&str; 3] = ["b.*", "b.>", "*"];
const KEYS: [&str; 4] = ["k", "l", "m", "n"];

struct Post<'a>(&'a mut Vec<Sender<HubMessage>>);

impl super::super::Post for Post<'_> {
    fn post(&mut self, to: ShardId, message: HubMessage, weight: usize) -> Result<(), HubMessage> {
        self.0[to.index()].push(message, weight)
    }
}

/// One message that was numbered.
#[derive(Clone, Debug)]
struct Truth {
    key: Option<Arc<str>>,
    removes_key: bool,
    payload: Bytes,
}

/// One thing that a subscriber got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    Message(u64),
    Gap(u64, u64),
    Conflated(u64, u64),
    Snapshot(u64),
    /// And whether it was of all keys.
    SnapshotEnd(u64, bool),
}

/// One subscription, from its begin to its end.
#[derive(Debug)]
struct Record {
    topic: &'static str,
    delivery: Delivery,
    /// Epoch, number, recovered.
    subscribed: Option<(u64, u64, bool)>,
    got: Vec<Got>,
    /// Numbers delivered and not acknowledged.
    outstanding: Vec<u64>,
    is_over: bool,
    /// The pattern that made it, and the hub's reference to it.
    pattern: Option<&'static str>,
    own: Option<SubscriptionRef>,
    /// When that pattern ended, another meant the topic too.
    is_left_to_others: bool,
}

impl Record {
    fn new(topic: &'static str, delivery: Delivery, pattern: Option<&'static str>) -> Record {
        Record {
            topic,
            delivery,
            subscribed: None,
            got: Vec::new(),
            outstanding: Vec::new(),
            is_over: false,
            pattern,
            own: None,
            is_left_to_others: false,
        }
    }
}

impl Record {
    /// How far it has come.
    fn reached(&self) -> Option<Since> {
        let (epoch, seq, _) = self.subscribed?;
        // In the middle of a snapshot nobody knows how far it is.
        let in_snapshot = self.got.iter().rev().find_map(|got| match got {
            Got::SnapshotEnd(..) => Some(false),
            Got::Snapshot(_) => Some(true),
            _ => None,
        });
        let last = self.got.iter().rev().find_map(|got| match *got {
            Got::Message(seq) | Got::Gap(_, seq) | Got::SnapshotEnd(seq, _) => Some(seq),
            _ => None,
        });
        let seq = if in_snapshot == Some(true) { seq } else { last.unwrap_or(seq).max(seq) };
        Some(Since { epoch, seq })
    }
}

#[derive(Default)]
struct Reader {
    patterns: Vec<&'static str>,
    /// Which messages it wants of topics that match a pattern.
    mode: Mode,
    fell: bool,
    subscriptions: Subscriptions,
    records: Vec<Record>,
    queue: Vec<u8>,
    /// Sent, but not a whole frame yet.
    partial: Vec<u8>,
    needs_catch_up: bool,
    is_stalled: bool,
}

impl Reader {
    fn new(number: usize) -> Reader {
        let mode = [Mode::All, Mode::Latest][number % 2];
        Reader { mode, ..Reader::default() }
    }

    /// How it subscribes to a pattern: not to two in the same way.
    fn by_pattern(&self, pattern: &str) -> Delivery {
        let window = PATTERNS.iter().position(|known| *known == pattern).unwrap();
        let window = (window > 0).then_some(2 * window as u32);
        Delivery { mode: self.mode, window, lane: Some(&ENVELOPE), ..Delivery::default() }
    }

    /// It is closed for being slow.
    fn fall(&mut self, hub: &mut Hub) {
        hub.leave(&mut self.subscriptions);
        self.records.iter_mut().for_each(|record| record.is_over = true);
        (self.fell, self.patterns) = (true, Vec::new());
    }

    /// Nothing is in flight that would be taken for the next subscription's.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.partial.is_empty()
    }

    fn record(&mut self, topic: &str) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.topic == topic && !record.is_over)
    }
}

struct World {
    hubs: Vec<Hub>,
    senders: Vec<Vec<Sender<HubMessage>>>,
    receivers: Vec<Vec<Receiver<HubMessage>>>,
    /// Per shard, by subscriber number.
    readers: Vec<Vec<Reader>>,
    /// By topic and epoch.
    truth: BTreeMap<(&'static str, u64), Vec<Truth>>,
    now: Time,
    /// Every limit is large enough: no subscriber may miss anything.
    is_roomy: bool,
    publications: u64,
    numbered: u64,
    random: Random,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3) as u16;
        let is_roomy = random.chance(3);
        let mut limits = Limits::tiny();
        limits.message_bytes_max = 200;
        limits.patterns_max = 100;
        limits.subscriptions_max = TOPICS.len() + PATTERNS.len();
        if is_roomy {
            limits.tape_bytes_max = 1 << 20;
            limits.log_messages_max = 10_000;
            limits.log_bytes_max = 1 << 22;
            limits.topics_bytes_max = 1 << 26;
            limits.log_ms = 60_000;
            limits.replay_bytes_max = 64 << random.below(8);
        } else {
            limits.tape_bytes_max = 128 << random.below(6);
            limits.log_messages_max = 4 << random.below(6);
            limits.log_bytes_max = 1 << 14;
            limits.log_ms = 50 << random.below(8);
            limits.topics_bytes_max = (2 << 10) << random.below(8);
        }
        let slow_reader =
            [SlowReader::Gap, SlowReader::Conflate, SlowReader::Close][random.below(3) as usize];
        let rules = [
            Rule {
                flush_ms: random.below(3) as u32 * 5,
                slow_reader,
                members_max: 16,
                ..Rule::new("a", &limits)
            },
            Rule {
                retention_messages: 3,
                rate_max: random.below(2) as u32 * 100,
                ..Rule::new("d", &limits)
            },
        ];
        let rules =
            Arc::new(Rules::new(rules[..1 + usize::from(!is_roomy)].to_vec(), &limits).unwrap());
        let mut senders: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        let mut receivers: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        // With the small share, many messages are longer than it.
        let share = if random.chance(3) { 256 } else { 4 << 10 };
        // Of each receiver, and as much as all its shares.
        let allowances: Vec<_> = (0..shards)
            .map(|_| Arc::new(Allowance::new(share * (usize::from(shards) - 1))))
            .collect();
        for from in senders.iter_mut() {
            for (to, allowance) in receivers.iter_mut().zip(&allowances) {
                let (sender, receiver) = channel(limits.mailbox_mails_max, share, allowance);
                from.push(sender);
                to.push(receiver);
            }
        }
        let hub = |shard| {
            Hub::new(Setup {
                shard: ShardId(shard),
                shards,
                limits: limits.clone(),
                rules: Arc::clone(&rules),
                home_seed: seed,
                epoch_seed: seed + u64::from(shard),
                unix_ms: 0,
            })
        };
        World {
            hubs: (0..shards).map(hub).collect(),
            senders,
            receivers,
            readers: (0..shards).map(|_| (0..4).map(Reader::new).collect()).collect(),
            truth: BTreeMap::new(),
            now: Time::ZERO.plus_millis(1_000),
            is_roomy,
            publications: 0,
            numbered: 0,
            random,
            seed,
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    /// Writes down what the homes on a shard have numbered since it was last asked.
    fn observe(&mut self, shard: usize) {
        for topic in TOPICS {
            let hub = &self.hubs[shard];
            let Some(index) = hub.topics.find(topic) else { continue };
            let Some(log) = hub.topics.home(index).map(|home| &home.log) else {
                continue;
            };
            let truth = self.truth.entry((topic, log.epoch)).or_default();
            let from = truth.len() as u64 + 1;
            let portion =
                Portion { from, to: u64::MAX - 1, messages_max: 99, bytes_max: usize::MAX };
            let past = log.past(View::Messages, portion);
            assert!(past.missed == 0, "one step numbers less than a log keeps");
            for entry in past.entries {
                assert_eq!(entry.seq, truth.len() as u64 + 1, "numbers have no holes");
                self.numbered += 1;
                truth.push(Truth {
                    key: entry.key.clone(),
                    removes_key: entry.removes_key,
                    payload: entry.payload.clone(),
                });
            }
        }
    }

    /// One turn of a shard.
    fn turn(&mut self, shard: usize) {
        self.hubs[shard].tick(self.now);
        for from in 0..self.hubs.len() {
            for _ in 0..self.below(4) {
                let Some(message) = self.receivers[shard][from].pop() else { break };
                self.hubs[shard].receive(ShardId(from as u16), message);
                self.observe(shard);
            }
        }
        let mut signals = Vec::new();
        // Between one step of each kind and no limit.
        let work = if self.random.chance(2) { 1 << self.random.below(16) } else { Work::MAX };
        let post = &mut Post(&mut self.senders[shard]);
        self.hubs[shard].flush_within(work, post, &mut signals);
        for signal in signals {
            match signal {
                Signal::Pending(_) | Signal::Debt { .. } => {}
                // It was not refused here but by its topic's home.
                Signal::Published { result, .. } => {
                    assert!(result.is_err() && !self.is_roomy, "{result:?}");
                    self.publications -= 1;
                }
                Signal::FellBehind(subscriber) => {
                    self.readers[shard][subscriber as usize].fall(&mut self.hubs[shard]);
                }
                Signal::CatchUp(subscriber) => {
                    self.readers[shard][subscriber as usize].needs_catch_up = true;
                }
                Signal::Subscribed { subscriber, topic, epoch, seq, recovered } => {
                    let name = self.hubs[shard].name(topic).unwrap().to_owned();
                    let reader = &mut self.readers[shard][subscriber as usize];
                    let hub = &self.hubs[shard];
                    subscribed(hub, reader, &name, (epoch, seq, recovered));
                }
                Signal::Refused { .. } => panic!("there is room for all"),
            }
        }
        self.end_idle(shard);
        for reader in 0..self.readers[shard].len() {
            if !self.readers[shard][reader].is_stalled {
                self.catch_up(shard, reader);
                self.deliver(shard, reader);
            }
        }
    }

    /// Subscriptions that a pattern has made may have ended, because their topic is idle.
    fn end_idle(&mut self, shard: usize) {
        for reader in &mut self.readers[shard] {
            for record in reader.records.iter_mut().filter(|record| record.pattern.is_some()) {
                record.is_over |=
                    name_of(&self.hubs[shard], reader.subscriptions, record.topic) != record.own;
            }
        }
    }

    fn catch_up(&mut self, shard: usize, reader: usize) {
        let (hub, reader) = (&mut self.hubs[shard], &mut self.readers[shard][reader]);
        if !reader.needs_catch_up || !reader.queue.is_empty() {
            return;
        }
        let (mut frames, mut steps, mut start) = (Vec::new(), Vec::new(), 0);
        reader.needs_catch_up = hub.catch_up(&mut reader.subscriptions, &mut frames, &mut steps);
        for step in steps {
            match step {
                Step::Frames { end, .. } => {
                    reader.queue.extend_from_slice(&frames[start..end]);
                    start = end;
                }
                Step::Marked { .. } => {}
                Step::Subscribed { topic, epoch, seq, recovered } => {
                    let name = hub.name(topic).unwrap().to_owned();
                    subscribed(hub, reader, &name, (epoch, seq, recovered));
                }
                Step::FellBehind => {
                    reader.fall(hub);
                    break;
                }
            }
        }
    }

    /// Sends a reader some of what is pending.
    fn deliver(&mut self, shard: usize, number: usize) {
        let all = self.random.chance(2);
        let share = self.random.number();
        let (hub, reader) = (&mut self.hubs[shard], &mut self.readers[shard][number]);
        let mut bytes = reader.queue.clone();
        hub.pending(reader.subscriptions, 300, 5, |slice| bytes.extend_from_slice(slice));
        let sent = if all { bytes.len() } else { (share % (bytes.len() as u64 + 1)) as usize };
        let queued = sent.min(reader.queue.len());
        reader.queue.drain(..queued);
        let mut rest = Vec::new();
        hub.advance(&mut reader.subscriptions, sent - queued, |left| rest.extend_from_slice(left));
        assert!(rest.is_empty() || reader.queue.is_empty());
        reader.queue.extend_from_slice(&rest);
        reader.partial.extend_from_slice(&bytes[..sent]);
        let partial = std::mem::take(&mut reader.partial);
        let mut frames = &partial[..];
        while let [_, length, tail @ ..] = frames
            && tail.len() >= usize::from(*length)
        {
            let (payload, after) = tail.split_at(usize::from(*length));
            frames = after;
            let text = std::str::from_utf8(payload).unwrap();
            self.got(shard, number, text);
        }
        let left = frames.to_vec();
        self.readers[shard][number].partial = left;
    }

    fn got(&mut self, shard: usize, number: usize, text: &str) {
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap();
        let (kind, topic, first) = (word(), word(), word());
        let first = first.parse().unwrap();
        let Some(record) = self.readers[shard][number].record(topic) else { return };
        let (epoch, begin, _) = record.subscribed.expect("subscribed before it gets anything");
        let has_snapshot = record.got.iter().any(|got| matches!(got, Got::Snapshot(_)));
        if record.pattern.is_some() && kind == "M" && first <= begin && !has_snapshot {
            // The end of a frame that its predecessor has begun, before the topic was idle.
            return;
        }
        let got = match kind {
            "M" => Got::Message(first),
            "G" => Got::Gap(first, word().parse().unwrap()),
            "C" => Got::Conflated(first, word().parse().unwrap()),
            "S" => Got::Snapshot(first),
            _ => Got::SnapshotEnd(first, !text.ends_with(" of some")),
        };
        record.got.push(got);
        if kind != "M" {
            return;
        }
        let time_ms: u64 = word().parse().unwrap();
        let truth = &self.truth[&(record.topic, epoch)][first as usize - 1];
        let key = truth.key.as_deref().unwrap_or("-");
        assert_eq!((word(), word()), (key, std::str::from_utf8(&truth.payload).unwrap()));
        if let Some(window) = record.delivery.window {
            record.outstanding.push(first);
            assert!(record.outstanding.len() <= window as usize, "more than the window");
        }
        // Catching up is not held back, and `latest` catches up without a mark.
        let is_live = record.got.iter().all(|got| matches!(got, Got::Message(_)))
            && (self.is_roomy || record.delivery.mode == Mode::All);
        if let (Some(rate), true) = (record.delivery.max_rate, is_live)
            && record.delivery.since.is_none()
            && record.delivery.mode == Mode::All
        {
            // It moved at the last tick, so it knows nothing that is younger.
            let period = 1_000 / u64::from(rate);
            let tick = self.now.as_millis() / period * period;
            assert!(time_ms <= tick, "numbered at {time_ms}, delivered with the tick of {tick}");
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let shard = self.below(self.hubs.len());
        let number = self.below(4);
        let topic = TOPICS[self.below(TOPICS.len())];
        let action = self.below(21);
        match action {
            0..3 => self.subscribe(shard, number, topic),
            3 => {
                let reader = &mut self.readers[shard][number];
                if reader.is_idle()
                    && self.hubs[shard].unsubscribe(&mut reader.subscriptions, topic)
                {
                    reader.record(topic).expect("subscribed").is_over = true;
                }
            }
            4 => {
                let is_stalled = &mut self.readers[shard][number].is_stalled;
                *is_stalled = !*is_stalled;
            }
            5..7 => self.acknowledge(shard, number, topic),
            7..12 => self.publish(shard, topic),
            20 => self.subscribe_to_pattern(shard, number),
            12 => self.now = self.now.plus_millis(self.random.number() % 120),
            _ => self.turn(shard),
        }
    }

    fn subscribe_to_pattern(&mut self, shard: usize, number: usize) {
        let pattern = PATTERNS[self.below(PATTERNS.len())];
        let (hub, reader) = (&mut self.hubs[shard], &mut self.readers[shard][number]);
        if !reader.is_idle() {
            return;
        }
        if !reader.patterns.contains(&pattern) {
            let delivery = reader.by_pattern(pattern);
            let subscriptions = &mut reader.subscriptions;
            if hub.subscribe(number as u32, subscriptions, pattern, &delivery).is_ok() {
                reader.patterns.push(pattern);
            }
            return;
        }
        assert!(hub.unsubscribe(&mut reader.subscriptions, pattern));
        reader.patterns.retain(|&known| known != pattern);
        for record in reader.records.iter_mut() {
            if record.pattern == Some(pattern) && !record.is_over {
                let is_meant = reader.patterns.iter().any(|other| matches(other, record.topic));
                (record.is_over, record.is_left_to_others) = (true, is_meant);
            }
        }
    }

    fn subscribe(&mut self, shard: usize, number: usize, topic: &'static str) {
        let mut one_in = |count: u64| self.random.chance(count);
        let mode = if one_in(2) { Mode::Latest } else { Mode::All };
        let max_rate = one_in(4).then_some(20);
        let window = one_in(4).then_some(3);
        let snapshot = one_in(4);
        let since = one_in(3);
        // Clients reconnect to other shards too, which may be behind.
        let elsewhere = one_in(2);
        // Its own policy, or that of the topic's rule.
        let has_own_policy = one_in(2);
        let policies = [SlowReader::Gap, SlowReader::Conflate, SlowReader::Close];
        let slow_reader = Some(policies[self.below(3)]).filter(|_| has_own_policy);
        let (there, other) =
            if elsewhere { (self.below(self.hubs.len()), self.below(4)) } else { (shard, number) };
        // From where an earlier subscription had come to.
        let records = &self.readers[there][other].records;
        let last = records.iter().rev().find(|record| record.topic == topic);
        let since = last.filter(|_| since).and_then(Record::reached);
        let delivery = Delivery {
            mode,
            max_rate,
            since,
            snapshot,
            window,
            slow_reader,
            lane: Some(&ENVELOPE),
        };
        let (hub, reader) = (&mut self.hubs[shard], &mut self.readers[shard][number]);
        if !reader.is_idle() {
            return;
        }
        let key = format!("{shard}-{number}");
        let listed = Listed { key: &key, name: "\"x\"" };
        let own = &mut reader.subscriptions;
        let subscribed = match topic {
            "a" => hub.subscribe_as(Caller::Server, number as u32, own, topic, &delivery, listed),
            _ => hub.subscribe(number as u32, own, topic, &delivery),
        };
        if subscribed.is_ok() {
            // It wins over a pattern.
            if let Some(record) = reader.record(topic) {
                record.is_over = true;
            }
            reader.records.push(Record::new(topic, delivery, None));
        }
    }

    fn acknowledge(&mut self, shard: usize, number: usize, topic: &str) {
        let all = self.random.chance(2);
        let (hub, reader) = (&mut self.hubs[shard], &mut self.readers[shard][number]);
        let subscriptions = reader.subscriptions;
        let Some(record) = reader.record(topic) else { return };
        let place = if all { record.outstanding.len() } else { 1 };
        let Some(&seq) = place.checked_sub(1).and_then(|last| record.outstanding.get(last)) else {
            return;
        };
        record.outstanding.retain(|&outstanding| outstanding > seq);
        assert!(hub.acknowledge(subscriptions, topic, seq));
    }

    fn publish(&mut self, shard: usize, topic: &str) {
        let padding = "x".repeat(self.below(40));
        let payload = format!("{}{padding}", self.publications);
        let key = KEYS.get(self.below(KEYS.len() + 2)).copied();
        let connection = ConnectionId { shard: ShardId(shard as u16), index: 0, generation: 0 };
        let publication = Publication {
            key,
            removes_key: self.random.chance(8),
            receipt: Some(Receipt { connection, token: None, network: 1 + shard as u64 }),
            ..Publication::new(topic, payload.as_str())
        };
        if self.hubs[shard].publish(&publication).is_ok() {
            self.publications += 1;
        }
        self.observe(shard);
    }

    /// Everybody reads and acknowledges until nothing is left.
    fn settle(&mut self) {
        for reader in self.readers.iter_mut().flatten() {
            reader.is_stalled = false;
        }
        for _ in 0..250 {
            self.now = self.now.plus_millis(11);
            for shard in 0..self.hubs.len() {
                self.turn(shard);
                for number in 0..4 {
                    for topic in TOPICS {
                        self.acknowledge(shard, number, topic);
                    }
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.numbered, self.publications, "what was accepted is numbered");
        for record in self.readers.iter().flatten().flat_map(|reader| &reader.records) {
            self.check_record(record);
        }
        self.check_patterns();
        self.check_members();
    }

    fn run(&mut self) {
        let steps = 300 + self.below(300);
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self.check();
        // Everybody leaves, and after the longest retention nothing is left.
        for (hub, readers) in self.hubs.iter_mut().zip(&mut self.readers) {
            readers.iter_mut().for_each(|reader| hub.leave(&mut reader.subscriptions));
        }
        for _ in 0..50 {
            (0..self.hubs.len()).for_each(|shard| self.turn(shard));
        }
        self.now = self.now.plus_millis(60_100);
        for _ in 0..50 {
            (0..self.hubs.len()).for_each(|shard| self.turn(shard));
        }
        for hub in &self.hubs {
            assert_eq!(hub.sizes(), (0, 0), "seed {}: a topic or subscription leaked", self.seed);
            assert_eq!(
                (hub.cursors.flows.len(), hub.held_bytes()),
                (0, (0, 0)),
                "seed {}",
                self.seed
            );
            assert_eq!(hub.cursors.connections.len(), 0, "seed {}: a connection leaked", self.seed);
            assert!(hub.intake.quotas.is_empty(), "seed {}: an owner leaked", self.seed);
            assert_eq!(hub.patterns.sizes(), (0, 0), "seed {}: a pattern leaked", self.seed);
            assert_eq!(hub.homes.watchers.len(), 0, "seed {}: a watcher leaked", self.seed);
            assert!(!hub.needs_flush());
        }
    }
}

/// The hub's reference to a subscription.
fn name_of(hub: &Hub, subscriptions: Subscriptions, topic: &str) -> Option<SubscriptionRef> {
    let own = hub.cursors.find(subscriptions, topic, &hub.topics)?;
    Some((own, hub.cursors.subscriptions.generation(own)?))
}

/// The pattern that has made a subscription.
fn maker(hub: &Hub, subscriptions: Subscriptions, topic: &str) -> Option<&'static str> {
    let own = hub.cursors.find(subscriptions, topic, &hub.topics).expect("subscribed");
    let pattern = Some(hub.cursors.at(own).pattern).filter(|pattern| *pattern != NO_PATTERN);
    let text = hub.patterns.text(pattern?);
    PATTERNS.into_iter().find(|known| *known == &*text)
}

fn subscribed(hub: &Hub, reader: &mut Reader, topic: &str, at: (u64, u64, bool)) {
    if reader.record(topic).is_none() {
        let maker = maker(hub, reader.subscriptions, topic).expect("nobody asked by name");
        assert!(reader.patterns.contains(&maker) && matches(maker, topic), "nobody asked");
        let topic = TOPICS.into_iter().find(|known| *known == topic).unwrap();
        let delivery = reader.by_pattern(maker);
        let before = reader.records.iter().rfind(|record| record.topic == topic);
        if let Some(since) = before.filter(|it| it.is_left_to_others).and_then(Record::reached)
            && at.2
            && delivery.mode == Mode::All
        {
            assert_eq!(since, Since { epoch: at.0, seq: at.1 }, "it continues from there");
        }
        let own = name_of(hub, reader.subscriptions, topic);
        reader.records.push(Record { own, ..Record::new(topic, delivery, Some(maker)) });
    }
    let record = reader.record(topic).expect("a record of every subscription");
    assert_eq!(record.subscribed, None, "subscribed twice");
    record.subscribed = Some(at);
}

#[test]
fn every_sequence_is_one_that_the_twin_allows() {
    for seed in 0..1_000 {
        let result = catch_unwind(AssertUnwindSafe(|| World::new(seed).run()));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    let bugs = [
        Bug::ReplayJoin,
        Bug::SupersededEarly,
        Bug::LostLastValue,
        Bug::LostInterest,
        Bug::EarlyFree,
    ];
    let caught: Vec<(Bug, usize)> = bugs
        .into_iter()
        .map(|bug| {
            plant(Some(bug));
            let fails =
                |&seed: &u64| catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).is_err();
            let caught = (0..60).filter(fails).count();
            plant(None);
            (bug, caught)
        })
        .collect();
    assert!(caught.iter().all(|(_, caught)| *caught > 0), "{caught:?}");
    println!("{caught:?}");
}
