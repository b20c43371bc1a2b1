//! Subscriptions to patterns.
//!
//! A shard tells every home which patterns it watches. A home tells it of the topics
//! that match: those that are there, looked through in steps, and each that appears
//! later with its first message. The shard then subscribes the connections to the
//! topic, from the message with which it appeared. One that falls silent is let go of
//! again, so that it can be forgotten, and is told of anew with its next message.
//!
//! What a home is told is a state, posted when there is room, as interest is.

use super::catching_up::Start;
use super::delivery::{Delivery, Since};
use super::log::TopicRef;
use super::mail::Mail;
use super::name::{is_pattern, matches};
use super::rules::Caller;
use super::subscriptions::{NO_PATTERN, Subscriptions};
use super::{Hub, HubError, Outgoing, Signal};
use crate::base::{ShardId, Slab};
use foldhash::quality::RandomState;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Topics looked at in one flush for those that match a new pattern.
const SCAN_TOPICS: u32 = 4_096;

/// Names of topics that a pattern may know beyond twice those that the shard knows.
const SPARE_TOPICS: usize = 1_024;

/// A pattern that somebody on this shard is subscribed to.
#[derive(Debug)]
pub(super) struct Pattern {
    text: Arc<str>,
    subscribers: Vec<u32>,
    /// Topics that it is known to match.
    topics: HashMap<Arc<str>, (), RandomState>,
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
    subscriber: u32,
    place: u32,
    /// The connection's next.
    next: u16,
    caller: Caller,
    delivery: Delivery,
    /// Its connection was told that there is no room for more topics.
    is_full: bool,
}

/// A pattern that a shard watches, at a home.
#[derive(Debug)]
pub(super) struct Watcher {
    shard: ShardId,
    pattern: Arc<str>,
    reader: (u32, u32),
}

/// What this hub knows of patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    names: HashMap<Arc<str>, u32, RandomState>,
    watched: Slab<Pattern>,
    subscriptions: Slab<PatternSubscription>,
    /// Subscribers that are to let go of a topic.
    silent: Vec<(u32, TopicRef)>,
    /// At home: who watches what.
    watchers: Vec<Watcher>,
    /// At home: patterns that topics are being looked through for, and how far.
    scans: VecDeque<(ShardId, (u32, u32), u32)>,
}

impl Patterns {
    /// Whether a shard watches some pattern.
    pub fn is_watching(&self, shard: ShardId) -> bool {
        self.watchers.iter().any(|watcher| watcher.shard == shard)
    }

    fn at(&self, own: u16) -> Option<&PatternSubscription> {
        // There are never so many that one had this number: see `patterns_max`.
        self.subscriptions.at(own.into()).filter(|_| own != NO_PATTERN)
    }

    /// The pattern that a subscription is to.
    #[cfg(test)]
    pub fn text_of(&self, own: u16) -> Option<&str> {
        Some(&self.watched.at(self.at(own)?.pattern).expect("somebody's pattern").text)
    }

    /// Patterns, subscriptions to them, and watchers.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.watched.len(), self.subscriptions.len(), self.watchers.len())
    }
}

/// A topic that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Whose subscription to the pattern: index and generation.
    pub subscription: (u32, u32),
    /// The topic's name.
    pub topic: Arc<str>,
    /// Where to begin; from now on if there is none.
    pub since: Option<Since>,
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
        if !is_pattern(pattern) {
            return Err(HubError::BadName);
        }
        if delivery.since.is_some() {
            return Err(HubError::BadDelivery(
                "since names a message of one topic, not of a pattern",
            ));
        }
        let known = self.patterns.names.get(pattern).copied();
        if known.is_some_and(|known| self.find_pattern(*subscriptions, known).is_some()) {
            return Err(HubError::AlreadySubscribed);
        }
        let is_new = known.is_none();
        if self.own_count(*subscriptions) >= self.limits.subscriptions_max
            || self.patterns.subscriptions.len() >= self.limits.patterns_max
            || is_new && self.patterns.watched.len() >= self.limits.patterns_max
        {
            return Err(HubError::TooManySubscriptions);
        }
        // Topics that it may have, and one more, to be told that it may not.
        let topics_max = self.limits.subscriptions_max - self.pattern_count(*subscriptions);
        let index = known.unwrap_or_else(|| self.new_pattern(pattern));
        let watched = self.patterns.watched.at_mut(index).expect("just looked up");
        let own = PatternSubscription {
            pattern: index,
            subscriber,
            place: watched.subscribers.len() as u32,
            next: subscriptions.patterns,
            caller,
            delivery: *delivery,
            is_full: false,
        };
        let (own, generation) = self.patterns.subscriptions.insert(own);
        watched.subscribers.push(own);
        subscriptions.patterns = own as u16;
        // What others on this shard were told of already. Some of it, it may be, the
        // connection has.
        for topic in watched.topics.keys().take(topics_max) {
            let subscription = (own, generation);
            let found = Match { subscription, topic: Arc::clone(topic), since: None };
            self.signals.push(Signal::Matched { subscriber, found });
        }
        self.tell_homes(index);
        Ok(())
    }

    /// How many patterns a connection is subscribed to.
    pub(super) fn pattern_count(&self, subscriptions: Subscriptions) -> usize {
        let mut own = subscriptions.patterns;
        let mut count = 0;
        while let Some(subscription) = self.patterns.at(own) {
            count += 1;
            own = subscription.next;
        }
        count
    }

    fn new_pattern(&mut self, pattern: &str) -> u32 {
        let text: Arc<str> = pattern.into();
        let shards = usize::from(self.shards);
        let (index, _) = self.patterns.watched.insert(Pattern {
            text: Arc::clone(&text),
            subscribers: Vec::new(),
            topics: HashMap::default(),
            posted: vec![false; shards],
            queued: vec![false; shards],
            stale: vec![false; shards],
        });
        self.patterns.names.insert(text, index);
        index
    }

    /// The pattern subscription of a connection, and the one before it in its list.
    fn find_pattern(&self, subscriptions: Subscriptions, pattern: u32) -> Option<(u16, u16)> {
        let (mut before, mut own) = (NO_PATTERN, subscriptions.patterns);
        while let Some(subscription) = self.patterns.at(own) {
            if subscription.pattern == pattern {
                return Some((before, own));
            }
            (before, own) = (own, subscription.next);
        }
        None
    }

    /// Ends a subscription to a pattern, and those to topics that it has made; `false` if
    /// there was none. Topics that another pattern of the connection means too go on
    /// because of that.
    pub(super) fn unsubscribe_from_pattern(
        &mut self,
        subscriptions: &mut Subscriptions,
        pattern: &str,
    ) -> bool {
        let Some(&index) = self.patterns.names.get(pattern) else { return false };
        let Some((before, own)) = self.find_pattern(*subscriptions, index) else { return false };
        let next = self.remove_pattern_subscription(own);
        match self.patterns.subscriptions.at_mut(before.into()) {
            Some(before) => before.next = next,
            None => subscriptions.patterns = next,
        }
        for topic in self.made_by(*subscriptions, own) {
            let previous = self.find(*subscriptions, topic).expect("just found");
            self.leave_to_patterns(subscriptions, previous);
        }
        true
    }

    /// Ends every subscription of a connection to patterns.
    pub(super) fn leave_patterns(&mut self, subscriptions: &mut Subscriptions) {
        while subscriptions.patterns != NO_PATTERN {
            subscriptions.patterns = self.remove_pattern_subscription(subscriptions.patterns);
        }
    }

    /// Says what came after it in the connection's list.
    fn remove_pattern_subscription(&mut self, own: u16) -> u16 {
        let removed = self.patterns.subscriptions.remove(own.into()).expect("listed");
        let watched = self.patterns.watched.at_mut(removed.pattern).expect("somebody's pattern");
        watched.subscribers.swap_remove(removed.place as usize);
        if let Some(&moved) = watched.subscribers.get(removed.place as usize) {
            let moved = self.patterns.subscriptions.at_mut(moved).expect("listed");
            moved.place = removed.place;
        }
        self.tell_homes(removed.pattern);
        removed.next
    }

    /// The subscription to a pattern that means `topic` and may have it: of several, the
    /// connection's first, whichever a home tells of first.
    pub(super) fn pattern_for(&self, subscriptions: Subscriptions, topic: &str) -> Option<u32> {
        let rule = self.rules.of(topic);
        let (mut own, mut first) = (subscriptions.patterns, None);
        while let Some(subscription) = self.patterns.at(own) {
            let pattern = self.patterns.watched.at(subscription.pattern).expect("somebody's");
            let may = rule.subscribe.allows(subscription.caller)
                && rule.allows(subscription.delivery.mode);
            if may && matches(&pattern.text, topic) {
                first = Some(own.into());
            }
            // The newest is in front.
            own = subscription.next;
        }
        first
    }

    /// A topic matches the pattern of a connection: subscribes it, unless it is already.
    ///
    /// # Errors
    /// As [`Hub::subscribe_for`], but that nothing is said of what rules forbid.
    pub fn subscribe_matched(
        &mut self,
        subscriptions: &mut Subscriptions,
        found: &Match,
    ) -> Result<(), HubError> {
        let (own, generation) = found.subscription;
        if self.patterns.subscriptions.get(own, generation).is_none() {
            return Ok(());
        }
        let own = self.pattern_for(*subscriptions, &found.topic).unwrap_or(own);
        let subscription = self.patterns.subscriptions.at(own).expect("just found");
        let &PatternSubscription { subscriber, caller, delivery, .. } = subscription;
        let snapshot = delivery.snapshot && found.since.is_none();
        let start = Start { since: found.since, snapshot };
        let topic = &*found.topic;
        let pattern = own as u16;
        match self.attach(caller, subscriber, subscriptions, topic, &delivery, start, pattern) {
            Err(HubError::AlreadySubscribed | HubError::NotAllowed) => Ok(()),
            result => {
                // Of many topics that there is no room for, the first is told.
                let own = self.patterns.subscriptions.at_mut(own).expect("just looked up");
                let was_full = std::mem::replace(&mut own.is_full, result.is_err());
                if was_full { Ok(()) } else { result }
            }
        }
    }

    /// Ends the subscription behind `previous` in the connection's ring. If a pattern of
    /// the connection means its topic, that one goes on from the same message.
    pub(super) fn leave_to_patterns(&mut self, subscriptions: &mut Subscriptions, previous: u32) {
        let ended = self.at(self.at(previous).next);
        let (index, since) = (ended.topic, self.reached(ended));
        let topic = self.topics.at(index).expect("a subscription has its topic");
        let name = Arc::clone(&topic.name);
        let was_silent = topic.reader.as_ref().is_some_and(|reader| reader.is_silent);
        self.unlink(subscriptions, previous);
        let Some(own) = self.pattern_for(*subscriptions, &name) else { return };
        let generation = self.patterns.subscriptions.generation(own).expect("listed");
        let found = Match { subscription: (own, generation), topic: name, since };
        // There is room: one has just left.
        let _ = self.subscribe_matched(subscriptions, &found);
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
        // What was found for it before and is still here is found again, but for topics
        // that have appeared since: they are read from their first message on.
        self.outgoing[from.index()].retain(|waiting| match waiting {
            Outgoing::Mail(Mail::Appeared { pattern, since, .. }, _) if *pattern == reader => {
                wanted && since.is_some()
            }
            _ => true,
        });
        let is_other = |watcher: &Watcher| watcher.shard != from || watcher.reader != reader;
        self.patterns.watchers.retain(is_other);
        self.patterns.scans.retain(|scan| (scan.0, scan.1) != (from, reader));
        if wanted {
            self.patterns.watchers.push(Watcher { shard: from, pattern, reader });
            self.patterns.scans.push_back((from, reader, 0));
        }
    }

    /// At home: looks through some more topics for those that new patterns match.
    pub(super) fn scan_topics(&mut self) {
        // A shard that has yet to take what was found before does not hold up the others.
        let outgoing = &self.outgoing;
        let has_room = |shard: ShardId| outgoing[shard.index()].len() <= SCAN_TOPICS as usize;
        let scans = &mut self.patterns.scans;
        let Some(first) = scans.iter().position(|scan| has_room(scan.0)) else { return };
        scans.rotate_left(first);
        let (shard, reader, next) = scans.front_mut().expect("just found");
        let (shard, reader) = (*shard, *reader);
        let from = *next;
        let to = self.topics.index_end().min(from + SCAN_TOPICS);
        *next = to;
        if to == self.topics.index_end() {
            self.patterns.scans.pop_front();
        }
        let watcher = self.patterns.watchers.iter();
        let watcher = watcher.filter(|watcher| (watcher.shard, watcher.reader) == (shard, reader));
        let Some(pattern) = watcher.map(|watcher| Arc::clone(&watcher.pattern)).next() else {
            return;
        };
        for index in from..to {
            let Some(topic) = self.topics.at(index) else { continue };
            let has_messages = topic.log.as_ref().is_some_and(|log| log.next() > 1);
            if has_messages && matches(&pattern, &topic.name) {
                let name = Arc::clone(&topic.name);
                self.appeared(shard, reader, name, None);
            }
        }
        // More of it in the next turn.
        self.is_fresh |= !self.patterns.scans.is_empty();
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
        let name = Arc::clone(&topic.name);
        let Some(log) = &mut topic.log else { return };
        if let Some(untold) = &mut log.untold {
            untold.left.clear();
        }
        let since = Some(Since { epoch: log.epoch, seq });
        let told: Vec<(ShardId, (u32, u32))> = self
            .patterns
            .watchers
            .iter()
            .filter(|watcher| only.is_none_or(|only| only.contains(&watcher.shard)))
            .filter(|watcher| matches(&watcher.pattern, &name))
            .map(|watcher| (watcher.shard, watcher.reader))
            .collect();
        for (shard, reader) in told {
            self.appeared(shard, reader, Arc::clone(&name), since);
        }
    }

    fn appeared(
        &mut self,
        shard: ShardId,
        pattern: (u32, u32),
        topic: Arc<str>,
        since: Option<Since>,
    ) {
        self.answer(shard, Mail::Appeared { pattern, topic, since });
    }

    /// A home tells of a topic that a pattern matches.
    pub(super) fn matched(&mut self, pattern: (u32, u32), topic: &Arc<str>, since: Option<Since>) {
        let Some(watched) = self.patterns.watched.get_mut(pattern.0, pattern.1) else { return };
        watched.topics.insert(Arc::clone(topic), ());
        if watched.topics.len() > 2 * self.names.len() + SPARE_TOPICS {
            // Names of topics that nobody here reads, of which nothing more will be heard.
            // Whoever comes next has the homes asked again.
            watched.topics.retain(|name, ()| self.names.contains_key(name));
            watched.stale.fill(true);
        }
        for &own in &watched.subscribers {
            let generation = self.patterns.subscriptions.generation(own).expect("listed");
            let subscriber = self.patterns.subscriptions.at(own).expect("listed").subscriber;
            let found = Match { subscription: (own, generation), topic: Arc::clone(topic), since };
            self.signals.push(Signal::Matched { subscriber, found });
        }
    }

    /// A home tells that a topic has fallen silent: who reads it by a pattern only lets
    /// go of it, if nobody on this shard has asked for it by name.
    pub(super) fn fell_silent(&mut self, reference: TopicRef) {
        let Some(topic) = self.topics.get(reference.index, reference.generation) else { return };
        let name = Arc::clone(&topic.name);
        if topic.reader.is_none() {
            return;
        }
        for &watched in self.patterns.names.values() {
            let watched = self.patterns.watched.at_mut(watched).expect("named");
            watched.topics.remove(&name);
        }
        let topic = self.topics.at_mut(reference.index).expect("just looked up");
        topic.reader.as_mut().expect("just looked up").is_silent = true;
        topic.fell_silent = true;
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
        let name = Arc::clone(&topic.name);
        let patterns = &self.patterns;
        let watched = patterns.names.iter().filter(|(pattern, _)| matches(pattern, &name));
        let watched: Vec<u32> = watched.map(|(_, &index)| index).collect();
        for index in watched {
            let generation = self.patterns.watched.generation(index).expect("named");
            self.matched((index, generation), &name, Some(Since { epoch: live.epoch, seq }));
        }
    }

    pub(super) fn signal_silence_to(&mut self, subscriber: u32, topic: TopicRef) {
        self.is_fresh = true;
        self.patterns.silent.push((subscriber, topic));
    }

    /// Says who is to let go of what, after everything else that a flush says.
    pub(super) fn signal_silence(&mut self, signals: &mut Vec<Signal>) {
        let silent = self.patterns.silent.drain(..);
        signals.extend(silent.map(|(subscriber, topic)| Signal::Silent { subscriber, topic }));
    }

    /// After [`Signal::Silent`]: lets go of a topic.
    pub fn let_go(&mut self, subscriptions: &mut Subscriptions, topic: TopicRef) {
        if self.topics.get(topic.index, topic.generation).is_some()
            && let Some(previous) = self.find(*subscriptions, topic.index)
            && self.at(self.at(previous).next).is_matched()
        {
            self.unlink(subscriptions, previous);
        }
    }
}
