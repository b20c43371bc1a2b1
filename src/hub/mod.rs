//! Layer 3: topics, logs, tapes, cursors.
//!
//! One [`Hub`] per shard. A topic has a *home*, the shard that its name hashes
//! to: that shard alone numbers its messages and keeps its log. Every shard
//! with subscribers, the home included, is a reader: a cursor on the log that
//! keeps a tape of encoded frames, on which each subscriber is a cursor in
//! turn.
//!
//! Mail between hubs travels through [`Post`]; how, the hub does not know. What
//! can't be posted waits here: publications in a bounded queue whose filling
//! pauses publishers, log entries in the log, and interest as a state that is
//! posted when there is room, never twice.
//!
//! Architecture invariant: nothing here knows a socket, a ring, a connection or
//! a clock. A subscriber is a number.

mod log;
mod mail;
mod subscriptions;
mod summary;
mod tape;

pub use log::TopicRef;
pub use mail::{Mail, Post};
pub use subscriptions::Subscriptions;
pub use summary::TopicSummary;

use crate::base::{Limits, Random, ShardId, Slab};
use crate::protocol::{Kind, Message};
use bytes::Bytes;
use foldhash::quality::RandomState;
pub(crate) use log::MAIL_OVERHEAD_BYTES;
use log::{Entry, Log, ReaderShard};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use subscriptions::Subscription;
use tape::Tape;

/// Bytes of a topic's name.
pub const TOPIC_NAME_BYTES_MAX: usize = 255;

/// Why a subscription or publication is refused. The caller's fault in every
/// case but `Full`.
///
/// ```
/// use tapecast::hub::{Hub, HubError, Subscriptions};
/// use tapecast::{Limits, ShardId};
///
/// let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// let mut subscriptions = Subscriptions::default();
/// assert_eq!(hub.subscribe(7, &mut subscriptions, "news"), Ok(()));
/// let again = hub.subscribe(7, &mut subscriptions, "news");
/// assert_eq!(again, Err(HubError::AlreadySubscribed));
/// assert_eq!(hub.publish("news..today", "hi".into()), Err(HubError::BadName));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubError {
    /// A topic's name is 1 to 255 bytes without control characters, in segments
    /// split by `.` of which none is empty.
    BadName,
    /// The connection is subscribed to this topic already.
    AlreadySubscribed,
    /// The connection has as many subscriptions as it may.
    TooManySubscriptions,
    /// The topic's home is behind, and as much as may wait for it does.
    Full,
    /// The message is longer than a message may be.
    TooBig,
    /// The server has stopped.
    Stopped,
}

impl fmt::Display for HubError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            HubError::BadName => {
                "a topic's name is 1 to 255 bytes without control characters, in segments split by \
                 '.' of which none is empty"
            }
            HubError::AlreadySubscribed => "already subscribed to this topic",
            HubError::TooManySubscriptions => "too many subscriptions on this connection",
            HubError::Full => "the topic's home is behind: try again later",
            HubError::TooBig => "the message is too big",
            HubError::Stopped => "the server has stopped",
        })
    }
}

impl std::error::Error for HubError {}

/// What became of a publication that was accepted.
///
/// ```
/// use tapecast::hub::{Hub, Mail, Post, Published};
/// use tapecast::{Limits, ShardId};
///
/// struct Full;
///
/// impl Post for Full {
///     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
///         Err(mail)
///     }
/// }
///
/// let ShardId(home) = Hub::home_of("news", 1, 2);
/// let mut elsewhere = Hub::new(ShardId(1 - home), 2, Limits::default(), 1, 2);
/// assert_eq!(elsewhere.publish("news", "first".into()), Ok(Published::Queued));
/// elsewhere.flush(&mut Full, &mut Vec::new());
/// assert_eq!(elsewhere.publish("news", "second".into()), Ok(Published::Backpressure));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is on its way.
    Queued,
    /// It waits until the topic's home catches up. The publishing connection is
    /// not read from until then.
    Backpressure,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    home: ShardId,
    /// At home, while a shard reads: the history.
    log: Option<Box<Log>>,
    /// While somebody reads here.
    tape: Option<Box<Tape>>,
    subscribers: Vec<u32>,
    /// What the home was told last.
    interest_posted: bool,
    /// An `Outgoing::Interest` waits.
    interest_queued: bool,
    /// The home has answered: epoch and the number of the last message here.
    live: Option<(u64, u64)>,
    /// It is in `grown`.
    has_grown: bool,
    /// It is in `unsent`.
    is_unsent: bool,
}

/// Mail that waits for room.
#[derive(Debug)]
enum Outgoing {
    /// Whatever the topic's interest is when this is posted.
    Interest(TopicRef),
    Mail(Mail, usize),
}

/// What a flush means for a subscriber.
///
/// ```
/// # use tapecast::hub::{Hub, Mail, Mark, Post, Subscriptions};
/// # use tapecast::{Limits, ShardId};
/// # struct Alone;
/// # impl Post for Alone {
/// #     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
/// #         Err(mail)
/// #     }
/// # }
/// # let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// # let mut subscriptions = Subscriptions::default();
/// let mut marks = Vec::new();
/// hub.subscribe(7, &mut subscriptions, "news").unwrap();
/// hub.flush(&mut Alone, &mut marks);
/// assert!(matches!(marks[..], [Mark::Subscribed { subscriber: 7, seq: 0, .. }]));
///
/// marks.clear();
/// hub.publish("news", "hi".into()).unwrap();
/// hub.flush(&mut Alone, &mut marks);
/// assert_eq!(marks, [Mark::Pending(7)]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// There is something to send to it.
    Pending(u32),
    /// It fell off the topic's tape.
    Fell(u32),
    /// Its subscription to this topic is live: it gets every message above `seq`.
    Subscribed {
        /// The subscriber.
        subscriber: u32,
        /// The topic.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// The last message's number.
        seq: u64,
    },
}

/// The topics of one shard.
///
/// ```
/// # use tapecast::hub::{Hub, Mail, Mark, Post, Subscriptions};
/// # use tapecast::{Limits, ShardId};
/// # struct Alone;
/// # impl Post for Alone {
/// #     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
/// #         Err(mail)
/// #     }
/// # }
/// let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// let mut subscriptions = Subscriptions::default();
/// hub.subscribe(7, &mut subscriptions, "news").unwrap();
/// hub.publish("news", "hi".into()).unwrap();
/// hub.flush(&mut Alone, &mut Vec::new());
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
    /// The same on all shards: a topic has one home.
    home_seed: u64,
    epochs: Random,
    names: HashMap<Arc<str>, u32, RandomState>,
    topics: Slab<Topic>,
    subscriptions: Slab<Subscription>,
    /// Topics whose tape has grown since the last flush.
    grown: Vec<u32>,
    /// Topics homed here of which a reader shard has not been sent everything.
    unsent: Vec<u32>,
    /// Per shard: mail that waits for room.
    outgoing: Vec<VecDeque<Outgoing>>,
    /// Per shard: the weight of that mail.
    outgoing_bytes: Vec<usize>,
    /// Something has changed since the last flush.
    is_fresh: bool,
    /// Per shard: the weight of the mail that found no room at the last flush.
    stuck: Vec<Option<usize>>,
    /// Bytes on all tapes.
    tape_bytes: u64,
    marks: Vec<Mark>,
}

/// Whether `name` can be a topic's.
pub fn is_topic_name(name: &str) -> bool {
    name.len() <= TOPIC_NAME_BYTES_MAX
        && !name.chars().any(char::is_control)
        && name.split('.').all(|segment| !segment.is_empty())
}

impl Hub {
    /// The hub of `shard` out of `shards`. `home_seed` is the same for all of
    /// them, `epoch_seed` is not.
    pub fn new(
        shard: ShardId,
        shards: u16,
        limits: Limits,
        home_seed: u64,
        epoch_seed: u64,
    ) -> Hub {
        Hub {
            shard,
            shards,
            limits,
            home_seed,
            epochs: Random::new(epoch_seed),
            names: HashMap::default(),
            topics: Slab::new(),
            subscriptions: Slab::new(),
            grown: Vec::new(),
            unsent: Vec::new(),
            outgoing: (0..shards).map(|_| VecDeque::new()).collect(),
            outgoing_bytes: vec![0; usize::from(shards)],
            is_fresh: false,
            stuck: vec![None; usize::from(shards)],
            tape_bytes: 0,
            marks: Vec::new(),
        }
    }

    /// The shard that numbers the topic of this name.
    pub fn home_of(name: &str, home_seed: u64, shards: u16) -> ShardId {
        let hash = foldhash::quality::FixedState::with_seed(home_seed).hash_one(name);
        ShardId((hash % u64::from(shards)) as u16)
    }

    fn topic_index(&mut self, name: &str) -> u32 {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let shared: Arc<str> = name.into();
        let (index, _) = self.topics.insert(Topic {
            name: Arc::clone(&shared),
            home: Hub::home_of(name, self.home_seed, self.shards),
            log: None,
            tape: None,
            subscribers: Vec::new(),
            interest_posted: false,
            interest_queued: false,
            live: None,
            has_grown: false,
            is_unsent: false,
        });
        self.names.insert(shared, index);
        index
    }

    fn reference(&self, index: u32) -> TopicRef {
        TopicRef { index, generation: self.topics.generation(index).expect("a topic") }
    }

    /// The interest of this shard in a topic may have changed: tell its home.
    fn want(&mut self, index: u32) {
        self.is_fresh = true;
        let reference = self.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let home = topic.home;
        if home == self.shard {
            self.settle_interest_at_home(index);
        } else if !topic.interest_queued {
            topic.interest_queued = true;
            self.outgoing[home.index()].push_back(Outgoing::Interest(reference));
        }
    }

    /// At home no mail is needed: what is published next must already be read.
    fn settle_interest_at_home(&mut self, index: u32) {
        let reference = self.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let wanted = !topic.subscribers.is_empty();
        if wanted != topic.interest_posted {
            topic.interest_posted = wanted;
            let name = Arc::clone(&topic.name);
            if !wanted {
                topic.live = None;
            }
            if let Some(welcome) = self.interest(self.shard, &name, reference, wanted) {
                self.receive(self.shard, welcome);
            }
        }
        self.forget_if_unused(index);
    }

    /// Publishes `message` to `topic`.
    ///
    /// # Errors
    /// [`HubError::BadName`], [`HubError::TooBig`], [`HubError::Full`].
    pub fn publish(&mut self, topic: &str, message: Message<'_>) -> Result<Published, HubError> {
        if !is_topic_name(topic) {
            return Err(HubError::BadName);
        }
        let payload = message.payload();
        if payload.len() > self.limits.message_bytes_max {
            return Err(HubError::TooBig);
        }
        let known = self.names.get(topic).copied();
        let home = match known.and_then(|index| self.topics.at(index)) {
            Some(topic) => topic.home,
            None => Hub::home_of(topic, self.home_seed, self.shards),
        };
        if home == self.shard {
            // A topic that nobody reads has no log: there is nothing to number.
            if let Some(index) = known {
                self.append(index, message.kind(), || Bytes::copy_from_slice(payload));
            }
            return Ok(Published::Queued);
        }
        let weight = payload.len() + MAIL_OVERHEAD_BYTES;
        // One message fits always, whatever its size, or it could never be sent.
        let bytes_max = self.limits.publish_overflow_bytes_max;
        let waiting_bytes = &mut self.outgoing_bytes[home.index()];
        if *waiting_bytes > 0 && *waiting_bytes + weight > bytes_max {
            return Err(HubError::Full);
        }
        *waiting_bytes += weight;
        let is_behind = self.stuck[home.index()].is_some() || *waiting_bytes > bytes_max / 2;
        self.is_fresh = true;
        let name = match known.and_then(|index| self.topics.at(index)) {
            Some(topic) => Arc::clone(&topic.name),
            None => topic.into(),
        };
        let payload = Bytes::copy_from_slice(payload);
        let mail = Mail::Publish { topic: name, kind: message.kind(), payload };
        self.outgoing[home.index()].push_back(Outgoing::Mail(mail, weight));
        Ok(if is_behind { Published::Backpressure } else { Published::Queued })
    }

    fn append(&mut self, index: u32, kind: Kind, payload: impl FnOnce() -> Bytes) {
        self.is_fresh = true;
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(log) = topic.log.as_mut() else { return };
        log.append(Entry { kind, payload: payload() }, &self.limits);
        if !topic.is_unsent {
            topic.is_unsent = true;
            self.unsent.push(index);
        }
    }

    /// Takes mail from another hub.
    pub fn receive(&mut self, from: ShardId, mail: Mail) {
        self.is_fresh = true;
        match mail {
            Mail::Interest { topic, reader, wanted } => {
                if let Some(welcome) = self.interest(from, &topic, reader, wanted) {
                    let waiting = &mut self.outgoing[from.index()];
                    waiting.push_back(Outgoing::Mail(welcome, 0));
                }
            }
            Mail::Publish { topic, kind, payload } => {
                if let Some(&index) = self.names.get(&topic) {
                    self.append(index, kind, || payload);
                }
            }
            Mail::Welcome { topic, epoch, last } => {
                let Some(entry) = self.topics.get_mut(topic.index, topic.generation) else {
                    return;
                };
                entry.live = Some((epoch, last));
                for &subscription in &entry.subscribers {
                    let subscriber =
                        self.subscriptions.at(subscription).expect("listed").subscriber;
                    self.marks.push(Mark::Subscribed { subscriber, topic, epoch, seq: last });
                }
            }
            Mail::Entry { topic, kind, payload } => {
                if self.topics.get(topic.index, topic.generation).is_some() {
                    self.append_to_tape(topic.index, kind, &payload);
                }
            }
            Mail::Gap { topic, missed } => {
                if self.topics.get(topic.index, topic.generation).is_some() {
                    self.gap(topic.index, missed);
                }
            }
        }
    }

    /// A shard's interest in a topic that is homed here; the answer to it.
    fn interest(
        &mut self,
        from: ShardId,
        name: &str,
        reader: TopicRef,
        wanted: bool,
    ) -> Option<Mail> {
        let index = self.topic_index(name);
        let topic = self.topics.at_mut(index).expect("just looked up");
        debug_assert_eq!(topic.home, self.shard, "interest went to the topic's home");
        if wanted {
            let log = topic.log.get_or_insert_with(|| {
                // 53 bits: a JavaScript number holds them.
                Box::new(Log::new(self.epochs.number() >> 11))
            });
            log.readers.retain(|known| known.shard != from);
            log.readers.push(ReaderShard { shard: from, topic: reader, next: log.next() });
            return Some(Mail::Welcome { topic: reader, epoch: log.epoch, last: log.next() - 1 });
        }
        if let Some(log) = &mut topic.log {
            log.readers.retain(|known| known.shard != from);
            if log.readers.is_empty() {
                topic.log = None;
            }
        }
        self.forget_if_unused(index);
        None
    }

    /// Forgets a topic that nobody reads, here or (at home) elsewhere.
    fn forget_if_unused(&mut self, index: u32) {
        let Some(topic) = self.topics.at(index) else { return };
        let in_use = topic.log.is_some()
            || !topic.subscribers.is_empty()
            || topic.interest_posted
            || topic.interest_queued;
        if !in_use && let Some(topic) = self.topics.remove(index) {
            self.names.remove(&topic.name);
        }
    }

    fn append_to_tape(&mut self, index: u32, kind: Kind, payload: &[u8]) {
        let topic = self.topics.at_mut(index).expect("a topic");
        if let Some((_, last)) = &mut topic.live {
            *last += 1;
        }
        let Some(tape) = &mut topic.tape else { return };
        let held = tape.held_bytes();
        tape.append(kind, payload);
        self.tape_bytes = self.tape_bytes + tape.held_bytes() - held;
        if !topic.has_grown {
            topic.has_grown = true;
            self.grown.push(index);
        }
    }

    /// This shard fell off the home's log: every reader of the topic misses
    /// `missed` messages.
    fn gap(&mut self, index: u32, missed: u64) {
        let topic = self.topics.at_mut(index).expect("a topic");
        if let Some((_, last)) = &mut topic.live {
            *last += missed;
        }
        for &subscription in &topic.subscribers {
            let subscriber = self.subscriptions.at(subscription).expect("listed").subscriber;
            self.marks.push(Mark::Fell(subscriber));
        }
    }

    /// Moves everything one step on: mail to where it goes, logs to the readers,
    /// and says in `marks` which subscribers that concerns.
    pub fn flush(&mut self, post: &mut dyn Post, marks: &mut Vec<Mark>) {
        self.is_fresh = false;
        self.stuck.fill(None);
        for shard in 0..self.shards {
            self.post_outgoing(ShardId(shard), post);
        }
        self.send_logs(post);
        marks.append(&mut self.marks);
        while let Some(index) = self.grown.pop() {
            self.mark_readers(index, marks);
        }
    }

    fn post_outgoing(&mut self, to: ShardId, post: &mut dyn Post) {
        while let Some(outgoing) = self.outgoing[to.index()].pop_front() {
            let (mail, weight) = match outgoing {
                Outgoing::Mail(mail, weight) => (mail, weight),
                Outgoing::Interest(topic) => match self.settle_interest(topic) {
                    Some(mail) => (mail, 0),
                    None => continue,
                },
            };
            match post.post(to, mail, weight) {
                Ok(()) => {
                    self.outgoing_bytes[to.index()] -= weight;
                }
                Err(mail) => {
                    self.stuck[to.index()] = Some(weight);
                    return self.outgoing[to.index()].push_front(Outgoing::Mail(mail, weight));
                }
            }
        }
    }

    /// The mail that brings the home up to date with this shard's interest.
    fn settle_interest(&mut self, reference: TopicRef) -> Option<Mail> {
        let topic = self.topics.get_mut(reference.index, reference.generation)?;
        topic.interest_queued = false;
        let wanted = !topic.subscribers.is_empty();
        let changed = wanted != topic.interest_posted;
        topic.interest_posted = wanted;
        let name = Arc::clone(&topic.name);
        if !wanted {
            topic.live = None;
            self.forget_if_unused(reference.index);
        }
        changed.then_some(Mail::Interest { topic: name, reader: reference, wanted })
    }

    /// Sends what is new in the logs to the shards that read them, as far as
    /// there is room.
    fn send_logs(&mut self, post: &mut dyn Post) {
        for index in std::mem::take(&mut self.unsent) {
            let Some(topic) = self.topics.at_mut(index) else {
                continue;
            };
            topic.is_unsent = false;
            let Some(mut log) = topic.log.take() else {
                continue;
            };
            let all_sent = log.forward(|to, mail, weight| match (to == self.shard, mail) {
                (true, Mail::Entry { topic, kind, payload }) => {
                    self.append_to_tape(topic.index, kind, &payload);
                    Ok(())
                }
                (true, mail) => {
                    self.receive(to, mail);
                    Ok(())
                }
                // Behind what waits already, or the order would break.
                (false, mail) if self.stuck[to.index()].is_some() => Err(mail),
                (false, mail) => post.post(to, mail, weight).inspect_err(|_| {
                    self.stuck[to.index()] = Some(weight);
                }),
            });
            let topic = self.topics.at_mut(index).expect("nothing is forgotten meanwhile");
            topic.log = Some(log);
            if !all_sent {
                topic.is_unsent = true;
                self.unsent.push(index);
            }
        }
    }

    /// Says which subscribers of a topic have something to get, and lets go of
    /// what all of them have.
    fn mark_readers(&mut self, index: u32, marks: &mut Vec<Mark>) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        topic.has_grown = false;
        let Some(tape) = &mut topic.tape else { return };
        let (begin, end) = (tape.begin(), tape.end());
        let mut slowest = end;
        for &subscription in &topic.subscribers {
            let subscription = self.subscriptions.at(subscription).expect("listed");
            slowest = slowest.min(subscription.cursor);
            if subscription.cursor < begin {
                marks.push(Mark::Fell(subscription.subscriber));
            } else if subscription.cursor < end {
                marks.push(Mark::Pending(subscription.subscriber));
            }
        }
        let held = tape.held_bytes();
        tape.passed(slowest);
        self.tape_bytes = self.tape_bytes + tape.held_bytes() - held;
    }

    /// Whether publications wait for room at another shard.
    pub fn is_congested(&self) -> bool {
        self.outgoing_bytes.iter().any(|&bytes| bytes > 0)
    }

    /// The shards that had no room at the last flush, and the weight of the mail
    /// that found none.
    pub fn stuck(&self) -> impl Iterator<Item = (ShardId, usize)> {
        let stuck = self.stuck.iter().enumerate();
        stuck.filter_map(|(shard, weight)| Some((ShardId(shard as u16), (*weight)?)))
    }

    /// Whether there is something that [`Hub::flush`] would move.
    pub fn needs_flush(&self) -> bool {
        !self.marks.is_empty()
            || !self.grown.is_empty()
            || !self.unsent.is_empty()
            || self.outgoing.iter().any(|waiting| !waiting.is_empty())
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

#[cfg(test)]
mod tests;
