//! Subscriptions to patterns on this shard, and the state of each pattern at each home.
//!
//! A shard sends every home the patterns that it watches. A home reports the topics that match:
//! those that it has, looked through in steps, and each new one with its first message. The
//! shard then subscribes the connections to the topic, in steps too ([`Meetings`]), from the
//! message with which it appeared. An idle topic is released again, so that its home can forget
//! it, and is reported anew with its next message.

use super::meetings::Meetings;
use crate::base::{ShardId, Slab, work};
use crate::hub::context::Context;
use crate::hub::ids::{PatternRef, SubscriptionRef};
use crate::hub::policy::{Caller, Delivery, PatternIndex, matches};
use foldhash::quality::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The state of a pattern as one home knows it. It is sent when there is room.
#[derive(Clone, Copy, Debug, Default)]
struct Posted {
    /// The state that it was sent last.
    watched: bool,
    /// The state is queued to be sent again.
    queued: bool,
    /// The home is to report all its topics again.
    is_stale: bool,
}

/// A pattern that some connection on this shard is subscribed to.
#[derive(Debug)]
pub struct Pattern {
    pub text: Arc<str>,
    /// Subscriptions by their ticket, so in the order in which they came.
    pub subscribers: BTreeMap<u64, u32>,
    /// By shard.
    posted: Vec<Posted>,
}

/// A connection's subscription to a pattern.
#[derive(Debug)]
pub struct PatternSubscription {
    pub pattern: u32,
    pub connection: u32,
    /// Its place among all that have come to this shard.
    pub ticket: u64,
    pub caller: Caller,
    pub delivery: Delivery,
    /// Its connection has been informed that there is no room for more topics.
    pub is_full: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Patterns {
    names: HashMap<Arc<str>, u32, RandomState>,
    pub watched: Slab<Pattern>,
    pub subscriptions: Slab<PatternSubscription>,
    /// The watched patterns.
    pub index: PatternIndex,
    pub meetings: Meetings,
    /// Subscriptions that release their idle topic with the next flush.
    pub releasing: Vec<SubscriptionRef>,
}

impl Patterns {
    /// Whether a flush has something to do.
    pub fn has_work(&self) -> bool {
        !self.meetings.is_empty() || !self.releasing.is_empty()
    }

    /// The watched pattern of this text.
    pub fn find(&self, pattern: &str) -> Option<u32> {
        self.names.get(pattern).copied()
    }

    /// The subscription to a pattern at `own`.
    pub fn at(&self, own: u32) -> &PatternSubscription {
        self.subscriptions.at(own).expect("a live subscription to a pattern")
    }

    /// A watched pattern.
    pub fn watched_at(&self, index: u32) -> &Pattern {
        self.watched.at(index).expect("a watched pattern")
    }

    /// The pattern that a subscription is to.
    pub fn text(&self, own: u32) -> Arc<str> {
        Arc::clone(&self.watched_at(self.at(own).pattern).text)
    }

    /// Begins to watch a pattern, on a server with so many shards.
    pub fn watch(&mut self, pattern: &str, shards: u16) -> u32 {
        let text: Arc<str> = pattern.into();
        let (index, _) = self.watched.insert(Pattern {
            text: Arc::clone(&text),
            subscribers: BTreeMap::new(),
            posted: vec![Posted::default(); usize::from(shards)],
        });
        self.index.insert(&text, index);
        self.names.insert(text, index);
        index
    }

    /// Adds a subscription to a watched pattern. Returns its reference.
    pub fn subscribe(
        &mut self,
        pattern: u32,
        connection: u32,
        caller: Caller,
        delivery: Delivery,
    ) -> PatternRef {
        let ticket = self.meetings.ticket();
        let is_full = false;
        let own = PatternSubscription { pattern, connection, ticket, caller, delivery, is_full };
        let own = self.subscriptions.insert(own);
        let watched = self.watched.at_mut(pattern).expect("a watched pattern");
        watched.subscribers.insert(ticket, own.0);
        self.meetings.subscriber_came(own);
        own
    }

    /// Removes a subscription to a pattern.
    pub fn unsubscribe(&mut self, own: u32) -> PatternSubscription {
        let removed = self.subscriptions.remove(own).expect("a live subscription to a pattern");
        let watched = self.watched.at_mut(removed.pattern).expect("a watched pattern");
        watched.subscribers.remove(&removed.ticket);
        removed
    }

    /// Of a connection's subscriptions to patterns, the one to this.
    pub fn find_of(&self, own: &[u32], pattern: u32) -> Option<u32> {
        own.iter().copied().find(|own| self.at(*own).pattern == pattern)
    }

    /// Of a connection's subscriptions to patterns, the first that matches `topic` and may have
    /// it, whichever a home reports first.
    pub fn first_for(&self, own: &[u32], topic: &str, context: &mut Context) -> Option<u32> {
        context.charge(work::MATCH * own.len() as u64);
        let rule = context.rules.of(topic);
        own.iter().copied().find(|own| {
            let subscription = self.at(*own);
            rule.subscribe.allows(subscription.caller)
                && rule.allows(subscription.delivery.mode)
                && matches(&self.watched_at(subscription.pattern).text, topic)
        })
    }

    /// A home is to be sent whether a pattern is watched. Returns whether that is not queued
    /// already.
    pub fn queue(&mut self, pattern: u32, home: ShardId) -> bool {
        let watched = self.watched.at_mut(pattern).expect("a watched pattern");
        !std::mem::replace(&mut watched.posted[home.index()].queued, true)
    }

    /// The state of a pattern as a home is to be sent it now: its text, and whether it is
    /// watched; nothing if the home knows it. A pattern without subscribers is forgotten when
    /// every home knows that.
    pub fn settle(&mut self, home: ShardId, reference: PatternRef) -> Option<(Arc<str>, bool)> {
        let pattern = self.watched.get_mut(reference.0, reference.1)?;
        let wanted = !pattern.subscribers.is_empty();
        let posted = &mut pattern.posted[home.index()];
        posted.queued = false;
        let is_stale = std::mem::take(&mut posted.is_stale);
        let changed = wanted != posted.watched || wanted && is_stale;
        posted.watched = wanted;
        let text = Arc::clone(&pattern.text);
        if !wanted && !pattern.posted.iter().any(|posted| posted.watched || posted.queued) {
            self.watched.remove(reference.0);
            self.names.remove(&text);
            self.index.remove(&text, reference.0);
            if self.watched.is_empty() {
                self.meetings.forget_all();
            }
        }
        changed.then_some((text, wanted))
    }

    /// Every home is to report again all topics that match.
    pub fn ask_homes_again(&mut self) {
        let watched: Vec<u32> = self.watched.iter().map(|(index, _)| index).collect();
        for index in watched {
            let pattern = self.watched.at_mut(index).expect("just listed");
            pattern.posted.iter_mut().for_each(|posted| posted.is_stale = true);
        }
    }

    /// Patterns, and subscriptions to them.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.watched.len(), self.subscriptions.len())
    }
}
