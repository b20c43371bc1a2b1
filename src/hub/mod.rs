//! Layer 3: topics, logs, tapes, cursors.
//!
//! One [`Hub`] per shard. A topic has a *home*, the shard that its name hashes
//! to: that shard alone numbers its messages and keeps its log. Every shard
//! with subscribers, the home included, is a reader: a cursor on the log that
//! keeps a tape of encoded frames, on which each subscriber is a cursor in
//! turn.
//!
//! | file | what happens there |
//! |---|---|
//! | `publishing` | messages come in |
//! | `home` | a topic at its home: numbering, forwarding, its past, its end |
//! | `log`, `values` | what the home keeps: the history, and the newest value of each key |
//! | `reader`, `tape`, `superseded` | what a reader shard keeps: frames by lane, and which are out of date |
//! | `connections` | the subscriptions of a connection, and which of them have something to do |
//! | `subscriptions` | cursors come and go |
//! | `delivering` | cursors move along tapes: the hot path |
//! | `catching_up`, `catch_up` | cursors that are not on their tape: replay, snapshots, who fell off |
//! | `patterns`, `pattern_index` | subscriptions to topics that are not there yet |
//! | `matching` | topics and subscriptions to patterns come together, in steps |
//! | `presence` | who is on a topic, as a topic beside it |
//! | `quotas` | how many topics and patterns a connection, and its network, may have |
//! | `chores` | what is looked after now and then |
//! | `rates`, `window` | what holds a cursor back |
//! | `delivery`, `rules`, `lane`, `name` | what can be asked for, allowed, encoded, called |
//! | `names` | topics by their names |
//! | `mail`, `posting` | what hubs write to each other, and how it waits for room |
//!
//! Mail between hubs travels through [`Post`]; how, the hub does not know. What
//! can't be posted waits here: publications in a bounded queue whose filling
//! pauses publishers, log entries in the log, and interest as a state that is
//! posted when there is room, never twice.
//!
//! Architecture invariant: nothing here knows a socket, a ring, a connection or
//! a clock. A subscriber is a number, and the time is what the shard says it is.

mod catch_up;
mod catching_up;
mod chores;
mod connections;
mod delivering;
mod delivery;
mod error;
mod home;
mod lane;
mod log;
mod mail;
mod marking;
mod matching;
mod name;
mod names;
mod pattern_index;
mod patterns;
mod posting;
mod presence;
mod publishing;
mod quotas;
mod rates;
mod reader;
mod rules;
mod subscribers;
mod subscriptions;
mod summary;
mod superseded;
mod tape;
mod values;
mod window;

pub use catching_up::Step;
pub use delivery::{Delivery, Mode, RATE_MAX, Since, SlowReader, WINDOW_MAX};
pub use error::HubError;
pub use lane::{Lane, Mark, Raw};
pub use log::{Entry, EntryKind, Past, Portion, TopicRef, View};
pub use mail::{Mail, Outbox, Post, Receipt};
pub use name::{TOPIC_NAME_BYTES_MAX, is_pattern, is_reserved, is_topic_name, matches};
pub use presence::{Listed, is_member_name};
pub use publishing::{KEY_BYTES_MAX, Publication, Published};
pub use rules::{Access, Caller, Rule, RuleError, Rules};
pub use subscriptions::Subscriptions;
pub use summary::{Tally, TopicSummary};

use crate::base::work::{self, Work};
use crate::base::{ConnectionId, Limits, Random, ShardId, Slab, Spare, Time, TimerWheel};
use crate::protocol::deflate::Deflater;
use bytes::Bytes;
use catching_up::Guide;
use chores::Chores;
use connections::Connections;
use home::{Flushes, Sweep, topic_bytes};
use lane::Lanes;
use log::Log;
pub(crate) use log::MAIL_OVERHEAD_BYTES;
use names::Names;
use patterns::Patterns;
use posting::{Outgoing, Pull};
use presence::Member;
use quotas::Quotas;
use rates::{Rates, SubscriptionRef};
use reader::Reader;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use subscriptions::{NONE, Subscription};
use tape::ChunkPool;

/// Work that a tick does at once: the rest waits for the flush.
const TICK_WORK_MAX: Work = 300 * work::UNIT;

/// Where a topic stands on a shard that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Live {
    epoch: u64,
    /// The number of the last message that has arrived here.
    last: u64,
}

/// What is new in a topic's log, at its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// Nothing that is not on its way.
    Done,
    /// It waits for the rule's flush.
    Gathering,
    /// It is sent on at the end of the turn.
    Due,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    home: ShardId,
    rule: u16,
    /// At home: the connection whose publication has made it, among the quotas.
    owner: u32,
    /// What the home was told last.
    interest_posted: bool,
    /// An `Outgoing::Interest` waits.
    interest_queued: bool,
    /// It is in `grown`.
    has_grown: bool,
    sending: Sending,
    /// A timer will look whether its history is over.
    has_timer: bool,
    /// At home: whoever watches a pattern that it matches was told.
    is_announced: bool,
    /// The home has told of silence, and no message has come since.
    fell_silent: bool,
    /// At home: the history.
    log: Option<Box<Log>>,
    /// While somebody reads here.
    reader: Option<Box<Reader>>,
    /// The home has answered.
    live: Option<Live>,
}

/// What a flush means for a subscriber.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Signal, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let (mut subscriptions, mut signals) = (Subscriptions::default(), Vec::new());
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// assert!(matches!(signals[..], [Signal::Subscribed { subscriber: 7, seq: 0, .. }]));
///
/// signals.clear();
/// hub.publish(&Publication::new("news", "hi")).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// assert_eq!(signals, [Signal::Pending(7)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It has something to get: [`Hub::pending`].
    Pending(u32),
    /// It has fallen off a tape or has yet to get onto one: [`Hub::attend`], once
    /// everything that it was sent before has left.
    Attend(u32),
    /// It has fallen off a tape, and its policy is to be closed: at once, for it may never
    /// read again.
    FellBehind(u32),
    /// A subscription is live.
    Subscribed {
        /// Whose.
        subscriber: u32,
        /// To what.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// It gets what comes after message `seq`.
        seq: u64,
        /// That is where it had asked to go on.
        recovered: bool,
    },
    /// A topic matches a pattern that it is subscribed to, and it can't be subscribed to it.
    Refused {
        /// Whose.
        subscriber: u32,
        /// The topic's name.
        topic: Arc<str>,
        /// Why.
        error: HubError,
    },
    /// What a connection has asked for has cost another shard more than it was charged here.
    Owes {
        /// Whose.
        connection: ConnectionId,
        /// How much.
        work: Work,
    },
    /// What became of a publication: of one without a token only that it was refused.
    Published {
        /// Whose.
        connection: ConnectionId,
        /// Its own name for the publication.
        token: Option<u64>,
        /// Its number, or why it has none.
        result: Result<u64, HubError>,
    },
}

/// What a hub is made of.
///
/// ```
/// use std::sync::Arc;
/// use tapecast::hub::{Hub, Rules, Setup};
/// use tapecast::{Limits, ShardId};
///
/// let limits = Limits::default();
/// let rules = Arc::new(Rules::new(Vec::new(), &limits)?);
/// let hub = Hub::new(Setup {
///     shard: ShardId(0),
///     shards: 1,
///     limits,
///     rules,
///     home_seed: 1,
///     epoch_seed: 2,
///     unix_ms: 0,
/// });
/// assert_eq!(hub.sizes(), (0, 0));
/// # Ok::<(), tapecast::hub::RuleError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    /// This shard.
    pub shard: ShardId,
    /// Out of how many.
    pub shards: u16,
    /// Limits; those of the process are shared evenly.
    pub limits: Limits,
    /// The same on all shards.
    pub rules: Arc<Rules>,
    /// The same on all shards: a topic has one home.
    pub home_seed: u64,
    /// Different on each shard.
    pub epoch_seed: u64,
    /// Milliseconds since 1970 at [`Time::ZERO`].
    pub unix_ms: u64,
}

/// One shard's part of all topics.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let mut subscriptions = Subscriptions::default();
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.publish(&Publication::new("news", "hi")).unwrap();
/// hub.flush(&mut Outbox::default(), &mut Vec::new());
///
/// let mut sent = Vec::new();
/// hub.pending(subscriptions, 1024, 8, |slice| sent.extend_from_slice(slice));
/// assert_eq!(sent, b"\x81\x02hi");
/// let messages = hub.advance(&mut subscriptions, sent.len(), |_rest| {});
/// assert_eq!(messages, 1);
/// assert!(!hub.has_pending(subscriptions));
/// ```
#[derive(Debug)]
pub struct Hub {
    shard: ShardId,
    shards: u16,
    limits: Limits,
    rules: Arc<Rules>,
    home_seed: u64,
    epochs: Random,
    /// What the wall clock said at `Time::ZERO`, or before 1970 if it was set back: it wraps.
    unix_ms: u64,
    now: Time,
    names: Names,
    topics: Slab<Topic>,
    connections: Connections,
    subscriptions: Slab<Subscription>,
    /// Connections that have left, some of whose subscriptions are yet to end.
    leaving: VecDeque<u32>,
    /// What subscriptions have beside a cursor, if they do.
    guides: Slab<Guide>,
    lanes: Lanes,
    chunks: ChunkPool,
    rates: Rates,
    flushes: Flushes,
    /// Publications so far that their topics gather, and whose publishers wait for nothing.
    gathered: u64,
    /// Milliseconds that what is published now has waited already.
    gathered_ms: u32,
    patterns: Patterns,
    quotas: Quotas,
    members: Slab<Member>,
    /// One timer per topic: when to look whether its history is over.
    retention: TimerWheel,
    /// Topics whose tape has grown since the last flush.
    grown: VecDeque<u32>,
    /// Topics homed here of which a reader shard has not been sent everything.
    unsent: Vec<u32>,
    /// By shard: what it asks of topics up to their last message.
    asking: Vec<VecDeque<Pull>>,
    /// They come before what else waits for room, in every other flush.
    asking_first: bool,
    /// By shard: topics whose messages wait for room there.
    waiting: Vec<VecDeque<TopicRef>>,
    /// Per shard: mail that waits for room.
    outgoing: Vec<VecDeque<Outgoing>>,
    /// Per shard: the weight of that mail.
    outgoing_bytes: Vec<usize>,
    /// Something has changed since the last flush.
    is_fresh: bool,
    /// Per shard: the weight of the mail that found no room at the last flush.
    stuck: Vec<Option<usize>>,
    /// Of the last publication until the next flush: others may be of the same.
    last_payload: Bytes,
    /// Bytes of topics themselves, with their names.
    name_bytes: usize,
    /// Bytes of all logs.
    log_bytes: usize,
    /// Bytes on all tapes.
    tape_bytes: usize,
    /// Where memory is looked for when it is short.
    sweep: Sweep,
    /// Topics to look after now and then: what all have read goes, and who reads a
    /// silent one only because of a pattern lets go of it.
    chores: Chores,
    tally: Tally,
    signals: Vec<Signal>,
    /// Subscriptions whose home has answered: with the next flush they begin.
    beginning: VecDeque<SubscriptionRef>,
    /// Subscriptions with a rate whose tick has come.
    moved: Vec<SubscriptionRef>,
    /// Topics whose history may be over.
    due: Vec<u32>,
    /// What publications of connections elsewhere have cost here beyond what they were
    /// charged there, until it is mailed.
    owed: Vec<(ConnectionId, Work)>,
    /// Work done so far, and how much there may be before what can wait does.
    work: Work,
    work_end: Work,
    /// Reused.
    delivered: Vec<(u64, u64)>,
}

impl Hub {
    /// The hub of one shard.
    pub fn new(setup: Setup) -> Hub {
        let Setup { shard, shards, limits, rules, home_seed, epoch_seed, unix_ms } = setup;
        let lanes = Lanes::new(Deflater::within(&limits));
        Hub {
            shard,
            shards,
            limits,
            rules,
            home_seed,
            epochs: Random::new(epoch_seed),
            unix_ms,
            now: Time::ZERO,
            names: Names::default(),
            topics: Slab::new(),
            connections: Connections::default(),
            subscriptions: Slab::new(),
            leaving: VecDeque::new(),
            guides: Slab::new(),
            lanes,
            chunks: ChunkPool::default(),
            rates: Rates::default(),
            flushes: Flushes::default(),
            gathered: 0,
            gathered_ms: 0,
            patterns: Patterns::default(),
            quotas: Quotas::default(),
            members: Slab::new(),
            retention: TimerWheel::new(Time::ZERO),
            grown: VecDeque::new(),
            unsent: Vec::new(),
            asking: (0..shards).map(|_| VecDeque::new()).collect(),
            asking_first: false,
            waiting: vec![VecDeque::new(); usize::from(shards)],
            outgoing: (0..shards).map(|_| VecDeque::new()).collect(),
            outgoing_bytes: vec![0; usize::from(shards)],
            is_fresh: false,
            stuck: vec![None; usize::from(shards)],
            last_payload: Bytes::new(),
            name_bytes: 0,
            log_bytes: 0,
            tape_bytes: 0,
            sweep: Sweep::default(),
            chores: Chores::default(),
            tally: Tally::default(),
            signals: Vec::new(),
            beginning: VecDeque::new(),
            moved: Vec::new(),
            due: Vec::new(),
            owed: Vec::new(),
            work: 0,
            work_end: Work::MAX,
            delivered: Vec::new(),
        }
    }

    /// The only hub of a process with these limits.
    pub fn alone(limits: &Limits) -> Hub {
        Hub::new(Setup::for_tests(ShardId(0), 1, limits))
    }

    /// One hub of several with default limits; topics have the homes that
    /// [`Hub::home_of`] says for the seed 1.
    pub fn for_tests(shard: ShardId, shards: u16) -> Hub {
        Hub::new(Setup::for_tests(shard, shards, &Limits::default()))
    }

    /// The shard that numbers the topic of this name.
    pub fn home_of(name: &str, home_seed: u64, shards: u16) -> ShardId {
        let hash = foldhash::quality::FixedState::with_seed(home_seed).hash_one(name);
        ShardId((hash % u64::from(shards)) as u16)
    }

    /// The shard that numbers the topic of this name here.
    pub fn home(&self, name: &str) -> ShardId {
        Hub::home_of(name, self.home_seed, self.shards)
    }

    /// The time is `now`; what is due by then happens, or is ready for the next flush.
    pub fn tick(&mut self, now: Time) {
        self.now = now;
        self.may_work(TICK_WORK_MAX);
        if self.rates.next() <= now {
            self.rates.expire(now, &mut self.moved);
            self.move_rated();
        }
        self.flush_due();
        if self.chores.next <= now {
            self.begin_chores();
            self.do_chores();
        }
        if self.retention.next_time() <= now {
            self.retention.expire(now, &mut self.due);
            self.expire_topics();
        }
        self.may_work(Work::MAX);
    }

    /// When something will be due.
    pub fn next_time(&mut self) -> Time {
        let next = self.rates.next().min(self.flushes.next()).min(self.chores.next);
        next.min(self.retention.next_time())
    }

    /// How much work it has done so far.
    #[inline]
    pub fn work(&self) -> Work {
        self.work
    }

    #[inline]
    fn charge(&mut self, work: Work) {
        self.work += work;
    }

    /// Whether what can wait has to wait for the next flush.
    #[inline]
    fn is_exhausted(&self) -> bool {
        self.work >= self.work_end
    }

    fn now_ms(&self) -> u64 {
        self.unix_ms.wrapping_add(self.now.as_millis())
    }

    /// The wall clock says so many milliseconds since 1970: it may have been set since it
    /// was last looked at. Messages get their times by it.
    pub fn set_wall_clock(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms.wrapping_sub(self.now.as_millis());
    }

    /// The topic of this name.
    #[inline]
    fn topic_named(&self, name: &str) -> Option<u32> {
        self.names.find(name, &self.topics)
    }

    fn topic_index(&mut self, name: &str) -> Result<u32, HubError> {
        if let Some(index) = self.topic_named(name) {
            return Ok(index);
        }
        // The limit is the process's; each shard has its share.
        if self.topics.len() >= (self.limits.topics_max / usize::from(self.shards)).max(1) {
            self.tally.topics_refused += 1;
            return Err(HubError::TooManyTopics);
        }
        if self.name_bytes + topic_bytes(name) > self.names_share() {
            self.tally.budget_exceeded += 1;
            return Err(HubError::OverBudget);
        }
        self.charge(work::TOPIC);
        Ok(self.new_topic(name))
    }

    fn new_topic(&mut self, name: &str) -> u32 {
        self.name_bytes += topic_bytes(name);
        let (index, _) = self.topics.insert(Topic {
            name: name.into(),
            home: self.home(name),
            rule: self.rules.number(name),
            owner: NONE,
            interest_posted: false,
            interest_queued: false,
            has_grown: false,
            sending: Sending::Done,
            has_timer: false,
            is_announced: false,
            fell_silent: false,
            log: None,
            reader: None,
            live: None,
        });
        self.names.insert(index, &self.topics);
        index
    }

    fn reference(&self, index: u32) -> TopicRef {
        TopicRef { index, generation: self.topics.generation(index).expect("a topic") }
    }

    /// Forgets a topic that nobody reads, here or (at home) elsewhere.
    fn forget_if_unused(&mut self, index: u32) {
        let Some(topic) = self.topics.at(index) else { return };
        let in_use = topic.log.is_some()
            || topic.reader.is_some()
            || topic.interest_posted
            || topic.interest_queued;
        if !in_use && let Some(topic) = self.topics.remove(index) {
            self.names.remove(&topic.name, index);
            self.name_bytes -= topic_bytes(&topic.name);
            self.quotas.gone(topic.owner);
            self.retention.clear(index);
        }
    }

    /// Moves everything one step on: mail to where it goes, logs to the readers,
    /// and says in `signals` which subscribers that concerns.
    pub fn flush(&mut self, post: &mut dyn Post, signals: &mut Vec<Signal>) {
        self.flush_within(Work::MAX, post, signals);
    }

    /// As [`Hub::flush`], and ends when so much work is done, or up to four times of it where there
    /// is some of every kind: what is left is done by the flushes that follow.
    pub fn flush_within(&mut self, work: Work, post: &mut dyn Post, signals: &mut Vec<Signal>) {
        self.is_fresh = false;
        self.last_payload = Bytes::new();
        self.may_work(work / 4);
        self.let_go_of_all_silent();
        self.begin_all();
        self.move_rated();
        self.mail_what_is_owed();
        self.stuck.fill(None);
        self.post_all(work / 2, post);
        // Before more is put on their tapes.
        self.may_work(work);
        self.mark_grown(signals);
        // Where there is never room enough, they have their turn all the same.
        self.asking_first = !self.asking_first;
        if self.asking_first {
            self.may_work(work / 4);
            (0..self.shards).for_each(|shard| self.answer_asking(ShardId(shard), 1, post));
        }
        // Whoever has published has paid for it.
        self.may_work(Work::MAX);
        self.send_logs(post);
        self.may_work(work / 4);
        (0..self.shards).for_each(|shard| self.answer_asking(ShardId(shard), usize::MAX, post));
        self.may_work(work);
        self.mark_grown(signals);
        self.may_work(work / 2);
        self.meet();
        self.may_work(work / 4);
        self.scan_topics();
        self.may_work(work / 4);
        self.end_left();
        self.may_work(work / 4);
        self.do_chores();
        self.may_work(work / 4);
        self.expire_topics();
        self.may_work(work / 4);
        self.keep_within_budget();
        self.may_work(Work::MAX);
        signals.append(&mut self.signals);
    }

    /// Whether topics have grown and it has not been said yet whose: publishers are to be
    /// slower.
    pub fn is_behind(&self) -> bool {
        !self.grown.is_empty()
    }

    /// What comes now may take so much work, and does at least a step of it, so that nothing
    /// before it can keep it from going on. What is left makes the next flush begin at once.
    fn may_work(&mut self, work: Work) {
        self.is_fresh |= self.is_exhausted();
        self.work_end = self.work.saturating_add(work.max(1));
    }

    /// Says whose topics have grown.
    fn mark_grown(&mut self, signals: &mut Vec<Signal>) {
        signals.append(&mut self.signals);
        while !self.is_exhausted()
            && let Some(index) = self.grown.pop_front()
        {
            self.mark_readers(index, signals);
        }
    }

    /// Whether there is something that [`Hub::flush`] would move.
    pub fn needs_flush(&self) -> bool {
        !self.signals.is_empty()
            || !self.beginning.is_empty()
            || !self.grown.is_empty()
            || !self.unsent.is_empty()
            || self.waiting.iter().any(|waiting| !waiting.is_empty())
            || !self.leaving.is_empty()
            || !self.due.is_empty()
            || !self.moved.is_empty()
            || self.patterns.has_work()
            || self.chores.has_work()
            || self.asking.iter().any(|asking| !asking.is_empty())
            || self.outgoing.iter().any(|waiting| !waiting.is_empty())
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.signals.give_spare_back();
        self.beginning.give_spare_back();
        self.leaving.give_spare_back();
        self.grown.give_spare_back();
        self.unsent.give_spare_back();
        self.moved.give_spare_back();
        self.due.give_spare_back();
        self.owed.give_spare_back();
        self.delivered.give_spare_back();
        self.asking.iter_mut().for_each(Spare::give_spare_back);
        self.outgoing.iter_mut().for_each(Spare::give_spare_back);
        self.waiting.iter_mut().for_each(Spare::give_spare_back);
    }

    /// The name of a topic.
    pub fn name(&self, topic: TopicRef) -> Option<&str> {
        Some(&self.topics.get(topic.index, topic.generation)?.name)
    }

    /// Whether something has changed since the last flush, apart from what waits
    /// for room.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Topics, and subscriptions, that this shard holds.
    pub fn sizes(&self) -> (usize, usize) {
        (self.topics.len(), self.subscriptions.len())
    }
}

impl Setup {
    fn for_tests(shard: ShardId, shards: u16, limits: &Limits) -> Setup {
        Setup {
            shard,
            shards,
            limits: limits.clone(),
            rules: Arc::new(Rules::new(Vec::new(), limits).expect("no rule is no bad rule")),
            home_seed: 1,
            epoch_seed: 2,
            unix_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests;
