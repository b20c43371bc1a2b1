//! Subscriptions to patterns.
//!
//! A shard tells every home which patterns it watches. A home tells it of the topics
//! that match: those that are there, looked through in steps, and each that appears
//! later with its first message. The shard then subscribes the connections to the
//! topic, in steps too ([`matching`](super::matching)), from the message with which it
//! appeared. One that falls silent is let go of again, so that it can be forgotten, and is
//! told of anew with its next message.
//!
//! What a home is told is a state, posted when there is room, as interest is.

use super::catching_up::Start;
use super::delivery::{Delivery, Since};
use super::log::TopicRef;
use super::mail::Mail;
use super::matching::Matching;
use super::name::{is_pattern, literal_prefix, matches};
use super::pattern_index::PatternIndex;
use super::rates::SubscriptionRef;
use super::rules::Caller;
use super::subscriptions::{NONE, State, Subscriptions};
use super::{Hub, HubError, Outgoing, Signal};
use crate::base::{ShardId, Slab, work};
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Mails that wait for a shard, at most, or topics that wait here, while topics are looked
/// through for it.
const WAITING_MAX: usize = 1_024;

/// A pattern that somebody on this shard is subscribed to.
#[derive(Debug)]
pub(super) struct Pattern {
    pub text: Arc<str>,
    /// Subscriptions by their ticket, so in the order in which they came.
    pub subscribers: BTreeMap<u64, u32>,
    /// Per shard: what that home was told last, and that it will be told anew.
    posted: Vec<bool>,
    queued: Vec<bool>,
    /// Per shard: that home is to tell again of all topics that it has.
    stale: Vec<bool>,
}

/// A connection's subscription to a pattern.
#[derive(Debug)]
pub(super) struct PatternSubscription {
    pattern: u32,
    pub connection: u32,
    /// Of all tickets on the shard, the one that it came with.
    pub ticket: u64,
    caller: Caller,
    delivery: Delivery,
    /// Its connection was told that there is no room for more topics.
    is_full: bool,
}

/// A pattern that a shard watches, at a home.
#[derive(Debug)]
struct Watcher {
    shard: ShardId,
    pattern: Arc<str>,
    reader: (u32, u32),
}

/// Topics are being looked through for a watcher: index and generation, and how far.
#[derive(Debug)]
struct Scan {
    watcher: (u32, u32),
    next: u32,
}

/// What this hub knows of patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    names: HashMap<Arc<str>, u32, RandomState>,
    pub watched: Slab<Pattern>,
    pub subscriptions: Slab<PatternSubscription>,
    /// The watched patterns.
    pub index: PatternIndex,
    pub matching: Matching,
    /// Subscriptions that let go of their silent topic with the next flush.
    silent: Vec<SubscriptionRef>,
    /// At home: who watches what.
    watchers: Slab<Watcher>,
    watcher_names: HashMap<(ShardId, (u32, u32)), u32, RandomState>,
    watcher_index: PatternIndex,
    /// At home: how many patterns each shard watches.
    watching: Vec<u32>,
    scans: VecDeque<Scan>,
}

impl Patterns {
    /// Whether a shard watches some pattern.
    pub fn is_watching(&self, shard: ShardId) -> bool {
        self.watching.get(shard.index()).is_some_and(|count| *count > 0)
    }

    /// Whether something is left to be done.
    pub fn has_work(&self) -> bool {
        !self.scans.is_empty() || !self.matching.is_empty() || !self.silent.is_empty()
    }

    /// The pattern that a subscription is to.
    pub fn text(&self, own: u32) -> Arc<str> {
        let own = self.subscriptions.at(own).expect("a live subscription");
        Arc::clone(&self.watched.at(own.pattern).expect("somebody's pattern").text)
    }

    /// Patterns, subscriptions to them, and watchers.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.watched.len(), self.subscriptions.len(), self.watchers.len())
    }
}

impl Hub {
    /// Subscribes a connection to every topic that `pattern` matches, now and later.
    ///
    /// # Errors
    /// As [`Hub::subscribe_for`].
    pub(super) fn subscribe_to_pattern(
        &mut self,
        caller: Caller,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        pattern: &str,
        delivery: &Delivery,
    ) -> Result<(), HubError> {
        self.charge(work::PATTERN);
        if !is_pattern(pattern) {
            return Err(HubError::BadName);
        }
        if delivery.since.is_some() {
            return Err(HubError::BadDelivery(
                "since names a message of one topic, not of a pattern",
            ));
        }
        let known = self.patterns.names.get(pattern).copied();
        if let Some(connection) = self.connections.of(*subscriptions) {
            let own = connection.patterns();
            if known.is_some_and(|known| self.find_pattern(own, known).is_some()) {
                return Err(HubError::AlreadySubscribed);
            }
            if connection.len() + own.len() >= self.limits.subscriptions_max {
                return Err(HubError::TooManySubscriptions);
            }
            if own.len() >= self.limits.patterns_per_connection_max {
                return Err(HubError::QuotaReached("patterns_per_connection_max"));
            }
        }
        self.quotas.check_pattern(caller, &self.limits)?;
        if self.patterns.subscriptions.len() >= self.limits.patterns_max {
            return Err(HubError::TooManyPatterns);
        }
        let index = known.unwrap_or_else(|| self.new_pattern(pattern));
        // It is compared with the topics that are known already, if nothing narrows them down.
        if literal_prefix(pattern).is_empty() {
            self.charge(work::MATCH * self.patterns.matching.known() as u64);
        }
        let connection = self.connections.enter(subscriber, subscriptions);
        self.quotas.pattern_came(caller);
        let ticket = self.patterns.matching.ticket();
        let own = self.patterns.subscriptions.insert(PatternSubscription {
            pattern: index,
            connection,
            ticket,
            caller,
            delivery: *delivery,
            is_full: false,
        });
        let watched = self.patterns.watched.at_mut(index).expect("just looked up");
        watched.subscribers.insert(ticket, own.0);
        self.connections.at_mut(connection).add_pattern(own.0, &self.subscriptions);
        // What others on this shard were told of already. Some of it, it may be, the
        // connection has.
        self.patterns.matching.subscriber_came(own);
        self.tell_homes(index);
        Ok(())
    }

    fn new_pattern(&mut self, pattern: &str) -> u32 {
        let text: Arc<str> = pattern.into();
        let shards = usize::from(self.shards);
        let (index, _) = self.patterns.watched.insert(Pattern {
            text: Arc::clone(&text),
            subscribers: BTreeMap::new(),
            posted: vec![false; shards],
            queued: vec![false; shards],
            stale: vec![false; shards],
        });
        self.patterns.index.insert(&text, index);
        self.patterns.names.insert(text, index);
        // Every home looks through its topics for it.
        self.charge(work::SCAN * self.topics.len() as u64 * u64::from(self.shards));
        index
    }

    /// Of a connection's subscriptions to patterns the one to this.
    fn find_pattern(&self, own: &[u32], pattern: u32) -> Option<u32> {
        let to = |own: &u32| self.patterns.subscriptions.at(*own).expect("listed").pattern;
        own.iter().copied().find(|own| to(own) == pattern)
    }

    /// Ends a subscription to a pattern, and those to topics that it has made; `false` if
    /// there was none. Topics that another pattern of the connection means too go on
    /// because of that.
    pub(super) fn unsubscribe_from_pattern(
        &mut self,
        subscriptions: Subscriptions,
        pattern: &str,
    ) -> bool {
        let Some(&index) = self.patterns.names.get(pattern) else { return false };
        let Some(connection) = self.connections.of(subscriptions) else { return false };
        let Some(pattern) = self.find_pattern(connection.patterns(), index) else { return false };
        let connection = subscriptions.connection;
        self.remove_pattern_subscription(pattern);
        self.connections.at_mut(connection).remove_pattern(pattern);
        for own in self.made_by(connection, pattern) {
            self.leave_to_patterns(own);
        }
        true
    }

    /// Ends a subscription of a connection to a pattern; `false` if there is none left.
    pub(super) fn leave_pattern(&mut self, connection: u32) -> bool {
        let Some(&last) = self.connections.at(connection).patterns().last() else { return false };
        self.charge(work::PATTERN);
        self.remove_pattern_subscription(last);
        self.connections.at_mut(connection).remove_pattern(last);
        true
    }

    fn remove_pattern_subscription(&mut self, own: u32) {
        let removed = self.patterns.subscriptions.remove(own).expect("listed");
        let watched = self.patterns.watched.at_mut(removed.pattern).expect("somebody's pattern");
        watched.subscribers.remove(&removed.ticket);
        self.quotas.pattern_went(removed.caller);
        self.tell_homes(removed.pattern);
    }

    /// The connection's subscription to a pattern that means `topic` and may have it: of
    /// several, its first, whichever a home tells of first.
    pub(super) fn pattern_for(&mut self, connection: u32, topic: &str) -> Option<u32> {
        let rule = self.rules.of(topic);
        let own = self.connections.at(connection).patterns();
        self.work += work::MATCH * own.len() as u64;
        own.iter().copied().find(|own| {
            let subscription = self.patterns.subscriptions.at(*own).expect("listed");
            let pattern = self.patterns.watched.at(subscription.pattern).expect("somebody's");
            rule.subscribe.allows(subscription.caller)
                && rule.allows(subscription.delivery.mode)
                && matches(&pattern.text, topic)
        })
    }

    /// Whether a subscription to a pattern has no room for more topics.
    pub(super) fn has_no_room(&self, own: u32) -> bool {
        let subscription = self.patterns.subscriptions.at(own).expect("listed");
        let most = self.limits.subscriptions_max;
        subscription.is_full && self.own_count(subscription.connection) >= most
    }

    /// A topic matches the pattern of a connection: subscribes it, unless it is already.
    /// Begins behind the message that `since` names, or from now on.
    pub(super) fn subscribe_matched(&mut self, own: u32, topic: &str, since: Option<Since>) {
        let subscription = self.patterns.subscriptions.at(own).expect("listed");
        let connection = subscription.connection;
        let known = self.topic_named(topic);
        let listed = self.connections.at(connection);
        if listed.subscriber == NONE {
            // It has left.
            return;
        }
        if known.is_some_and(|known| listed.find(known, &self.subscriptions).is_some()) {
            return;
        }
        if self.has_no_room(own) {
            return;
        }
        let own = self.pattern_for(connection, topic).unwrap_or(own);
        let subscription = self.patterns.subscriptions.at(own).expect("just found");
        let &PatternSubscription { caller, delivery, .. } = subscription;
        let start = Start { since, snapshot: delivery.snapshot && since.is_none() };
        let error = match self.attach(caller, connection, topic, &delivery, start, own) {
            Err(HubError::AlreadySubscribed | HubError::NotAllowed) => return,
            result => result.err(),
        };
        // Of many topics that there is no room for, the first is told.
        let own = self.patterns.subscriptions.at_mut(own).expect("just looked up");
        let was_full = std::mem::replace(&mut own.is_full, error.is_some());
        if let Some(error) = error.filter(|_| !was_full) {
            let subscriber = self.connections.at(connection).subscriber;
            self.signals.push(Signal::Refused { subscriber, topic: topic.into(), error });
        }
    }

    /// Ends a subscription. If a pattern of the connection means its topic, that one goes on
    /// from the same message.
    pub(super) fn leave_to_patterns(&mut self, ended: u32) {
        let subscription = self.at(ended);
        let (index, connection) = (subscription.topic, subscription.connection);
        let since = self.reached(subscription);
        let topic = self.topics.at(index).expect("a subscription has its topic");
        let name = Arc::clone(&topic.name);
        let was_silent = topic.reader.as_ref().is_some_and(|reader| reader.is_silent);
        self.unlink(ended);
        let Some(own) = self.pattern_for(connection, &name) else { return };
        // There is room: one has just left.
        self.subscribe_matched(own, &name, since);
        // A home that has not noticed does not tell of silence again.
        if was_silent
            && let Some(topic) = self.topics.at_mut(index).filter(|topic| topic.live.is_some())
            && let Some(reader) = &mut topic.reader
        {
            reader.is_silent = true;
            self.add_chore(index);
        }
    }

    /// Whether somebody on this shard is subscribed to the pattern may have changed.
    fn tell_homes(&mut self, index: u32) {
        self.is_fresh = true;
        let reference = (index, self.patterns.watched.generation(index).expect("a pattern"));
        for home in (0..self.shards).filter(|home| *home != self.shard.0) {
            let watched = self.patterns.watched.at_mut(index).expect("a pattern");
            if !std::mem::replace(&mut watched.queued[usize::from(home)], true) {
                self.outgoing[usize::from(home)].push_back(Outgoing::Watch(reference));
            }
        }
        // What is published next may be homed here.
        let settled = self.settle_watch(self.shard, reference);
        if let Some(Mail::Watch { pattern, reader, wanted }) = settled {
            self.watch(self.shard, pattern, reader, wanted);
        }
    }

    /// Every home is to tell again of the topics that it has.
    pub(super) fn ask_homes_again(&mut self) {
        let watched: Vec<u32> = self.patterns.watched.iter().map(|(index, _)| index).collect();
        for index in watched {
            self.patterns.watched.at_mut(index).expect("just listed").stale.fill(true);
        }
    }

    /// The mail that brings a home up to date with a pattern.
    pub(super) fn settle_watch(&mut self, home: ShardId, reference: (u32, u32)) -> Option<Mail> {
        let watched = self.patterns.watched.get_mut(reference.0, reference.1)?;
        watched.queued[home.index()] = false;
        let wanted = !watched.subscribers.is_empty();
        let is_stale = std::mem::take(&mut watched.stale[home.index()]);
        let changed = wanted != watched.posted[home.index()] || wanted && is_stale;
        watched.posted[home.index()] = wanted;
        let pattern = Arc::clone(&watched.text);
        if !wanted && !watched.posted.contains(&true) && !watched.queued.contains(&true) {
            self.patterns.watched.remove(reference.0);
            self.patterns.names.remove(&pattern);
            self.patterns.index.remove(&pattern, reference.0);
            if self.patterns.watched.is_empty() {
                self.patterns.matching.forget();
            }
        }
        changed.then_some(Mail::Watch { pattern, reader: reference, wanted })
    }

    /// At home: a shard watches a pattern, or no longer.
    pub(super) fn watch(
        &mut self,
        from: ShardId,
        pattern: Arc<str>,
        reader: (u32, u32),
        wanted: bool,
    ) {
        self.charge(work::PATTERN / 2);
        let patterns = &mut self.patterns;
        patterns.watching.resize(usize::from(self.shards), 0);
        // A scan that goes on for the one before finds that it has gone.
        if let Some(known) = patterns.watcher_names.remove(&(from, reader)) {
            patterns.watchers.remove(known);
            patterns.watcher_index.remove(&pattern, known);
            patterns.watching[from.index()] -= 1;
        }
        if !wanted {
            return;
        }
        let watcher = Watcher { shard: from, pattern: Arc::clone(&pattern), reader };
        let watcher = patterns.watchers.insert(watcher);
        patterns.watcher_names.insert((from, reader), watcher.0);
        patterns.watcher_index.insert(&pattern, watcher.0);
        patterns.watching[from.index()] += 1;
        patterns.scans.push_back(Scan { watcher, next: 0 });
        if patterns.scans.len() > 2 * patterns.watchers.len() + 64 {
            let is_current = |scan: &Scan| {
                let (index, generation) = scan.watcher;
                patterns.watchers.get(index, generation).is_some()
            };
            patterns.scans.retain(is_current);
        }
        self.is_fresh = true;
    }

    /// At home: looks through some more topics for those that new patterns match.
    pub(super) fn scan_topics(&mut self) {
        let mut held_up = 0;
        while !self.is_exhausted() && held_up < self.patterns.scans.len() {
            let Some(scan) = self.patterns.scans.pop_front() else { return };
            let (watcher, generation) = scan.watcher;
            self.charge(work::MATCH);
            let Some(watcher) = self.patterns.watchers.get(watcher, generation) else { continue };
            let (shard, reader) = (watcher.shard, watcher.reader);
            let pattern = Arc::clone(&watcher.pattern);
            let mut next = scan.next;
            // A shard that has yet to take what was found before does not hold up the others.
            while self.has_room_to_tell(shard)
                && next < self.topics.index_end()
                && !self.is_exhausted()
            {
                self.charge(work::SCAN);
                if let Some(topic) = self.topics.at(next)
                    && topic.log.as_ref().is_some_and(|log| log.next() > 1)
                    && matches(&pattern, &topic.name)
                {
                    let topic = Arc::clone(&topic.name);
                    self.charge(work::MAIL);
                    self.answer(
                        shard,
                        Mail::Appeared { pattern: Some(reader), topic, since: None },
                    );
                }
                next += 1;
            }
            if next < self.topics.index_end() {
                self.patterns.scans.push_back(Scan { next, ..scan });
                held_up += 1;
            }
        }
    }

    /// Whether a shard is to be told of more topics that were found for it.
    fn has_room_to_tell(&self, shard: ShardId) -> bool {
        let waiting = match shard == self.shard {
            true => self.patterns.matching.len(),
            false => self.outgoing[shard.index()].len(),
        };
        waiting <= WAITING_MAX
    }

    /// The shards that have let go of a topic hear of its messages behind number `seq`.
    pub(super) fn announce_to_who_left(&mut self, index: u32, seq: u64) {
        let log = self.topics.at_mut(index).and_then(|topic| topic.log.as_mut());
        let untold = log.and_then(|log| log.untold.as_mut());
        let left = untold.map(|untold| std::mem::take(&mut untold.left)).unwrap_or_default();
        self.announce(index, seq, Some(&left));
    }

    /// At home: a topic has got messages behind number `seq` that shards, all or only
    /// some, have to be told of if they watch a pattern that matches it.
    pub(super) fn announce(&mut self, index: u32, seq: u64, only: Option<&[ShardId]>) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        topic.is_announced = true;
        let Some(log) = &mut topic.log else { return };
        if let Some(untold) = &mut log.untold {
            untold.left.clear();
        }
        let patterns = &self.patterns;
        if patterns.watchers.is_empty() {
            return;
        }
        let since = Some(Since { epoch: log.epoch, seq });
        let name = Arc::clone(&topic.name);
        let is_meant = |shard: &ShardId| only.is_none_or(|only| only.contains(shard));
        let watching = (0..self.shards).map(ShardId).filter(|shard| patterns.is_watching(*shard));
        let mut left = watching.filter(is_meant).count();
        let mut told = Vec::with_capacity(left);
        let steps = patterns.watcher_index.matching(&name, |watcher| {
            let shard = patterns.watchers.at(watcher).expect("indexed").shard;
            if is_meant(&shard) && !told.contains(&shard) {
                told.push(shard);
                left -= 1;
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // A publisher pays for a few of the patterns that others have, not for all of them.
        self.charge(work::MATCH * steps.min(64) + work::MAIL * told.len() as u64);
        told.sort_unstable();
        for shard in told {
            let topic = Arc::clone(&name);
            self.answer(shard, Mail::Appeared { pattern: None, topic, since });
        }
    }

    /// A home tells that a topic has fallen silent: who reads it by a pattern only lets
    /// go of it, if nobody on this shard has asked for it by name.
    pub(super) fn fell_silent(&mut self, reference: TopicRef) {
        let Some(topic) = self.topics.get_mut(reference.index, reference.generation) else {
            return;
        };
        let Some(reader) = &mut topic.reader else { return };
        reader.is_silent = true;
        topic.fell_silent = true;
        self.patterns.matching.fell_silent(&topic.name);
        if self.let_go_of_silent(reference.index) {
            self.add_chore(reference.index);
        }
    }

    /// A topic that had fallen silent has messages behind number `seq`, and this shard
    /// reads it: for others that have let go of it, or have come since, its home does not
    /// tell of it again.
    pub(super) fn speaks_again(&mut self, index: u32, seq: u64) {
        let topic = self.topics.at(index).expect("a topic");
        let Some(live) = topic.live else { return };
        if !self.patterns.watched.is_empty() {
            let name = Arc::clone(&topic.name);
            let since = Some(Since { epoch: live.epoch, seq });
            self.patterns.matching.topic_appeared(None, name, since);
        }
    }

    /// A subscription that a pattern has made lets go of its silent topic with the next flush:
    /// everything that this one says comes before that.
    pub(super) fn lets_go(&mut self, own: SubscriptionRef) {
        self.is_fresh = true;
        self.patterns.silent.push(own);
    }

    /// Who reads a silent topic only because of a pattern lets go of it, unless something has
    /// come meanwhile.
    pub(super) fn let_go_of_all_silent(&mut self) {
        while !self.is_exhausted()
            && let Some((own, generation)) = self.patterns.silent.pop()
        {
            let Some(subscription) = self.subscriptions.get(own, generation) else { continue };
            let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
            let last = topic.live.map_or(0, |live| live.last);
            let has_all = subscription.state == State::Live && subscription.cursor > last;
            let is_silent = topic.reader.as_ref().is_some_and(|reader| reader.is_silent);
            if subscription.is_matched() && is_silent && has_all {
                self.unlink(own);
            }
        }
    }
}
