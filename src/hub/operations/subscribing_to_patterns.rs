//! Subscriptions to patterns come and go, and so do the subscriptions to topics that they make.

use crate::base::ShardId;
use crate::base::work;
use crate::hub::Hub;
use crate::hub::cursor::{PatternSubscription, Start, Subscriptions};
use crate::hub::error::HubError;
use crate::hub::ids::NONE;
use crate::hub::past::Since;
use crate::hub::policy::{Caller, Delivery, is_pattern, literal_prefix};
use crate::hub::post::{HubMessage, Waiting};
use crate::hub::signal::Signal;
use std::sync::Arc;

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
        self.context.charge(work::PATTERN);
        if !is_pattern(pattern) {
            return Err(HubError::BadName);
        }
        if delivery.since.is_some() {
            return Err(HubError::BadDelivery(
                "since names a message of one topic, not of a pattern",
            ));
        }
        let known = self.patterns.find(pattern);
        let limits = &self.context.limits;
        if let Some(connection) = self.cursors.of(*subscriptions) {
            let own = connection.patterns();
            if known.is_some_and(|known| self.patterns.find_of(own, known).is_some()) {
                return Err(HubError::AlreadySubscribed);
            }
            if connection.len() + own.len() >= limits.subscriptions_max {
                return Err(HubError::TooManySubscriptions);
            }
            if own.len() >= limits.patterns_per_connection_max {
                return Err(HubError::QuotaReached("patterns_per_connection_max"));
            }
        }
        self.intake.quotas.check_pattern(caller, limits)?;
        if self.patterns.subscriptions.len() >= limits.patterns_max {
            return Err(HubError::TooManyPatterns);
        }
        let index = known.unwrap_or_else(|| self.watch(pattern));
        // It is compared with the topics that are known already, if nothing narrows them down.
        if literal_prefix(pattern).is_empty() {
            self.context.charge(work::MATCH * self.patterns.meetings.known() as u64);
        }
        let connection = self.cursors.connections.enter(subscriber, subscriptions);
        self.intake.quotas.add_pattern(caller);
        // Other subscriptions on this shard may have met topics already, and the connection may
        // be subscribed to some of them.
        let (own, _) = self.patterns.subscribe(index, connection, caller, *delivery);
        let known = self.cursors.connections.at_mut(connection);
        known.add_pattern(own, &self.cursors.subscriptions);
        self.queue_watch(index);
        Ok(())
    }

    fn watch(&mut self, pattern: &str) -> u32 {
        // Every home looks through its topics for it.
        let topics = self.topics.len() as u64;
        self.context.charge(work::SCAN * topics * u64::from(self.context.shards));
        self.patterns.watch(pattern, self.context.shards)
    }

    /// Ends a subscription to a pattern, and those to topics that it has made; `false` if there
    /// was none. Topics that another pattern of the connection matches continue because of that.
    pub(super) fn unsubscribe_from_pattern(
        &mut self,
        subscriptions: Subscriptions,
        pattern: &str,
    ) -> bool {
        let Some(index) = self.patterns.find(pattern) else { return false };
        let Some(connection) = self.cursors.of(subscriptions) else { return false };
        let Some(pattern) = self.patterns.find_of(connection.patterns(), index) else {
            return false;
        };
        let connection = subscriptions.connection;
        self.remove_pattern_subscription(pattern);
        self.cursors.connections.at_mut(connection).remove_pattern(pattern);
        let count = self.cursors.connections.at(connection).len();
        self.context.charge(work::STEP * count as u64);
        for own in self.cursors.made_by(connection, pattern) {
            self.leave_to_patterns(own);
        }
        true
    }

    /// Ends a subscription of a connection to a pattern; `false` if there is none left.
    pub(super) fn leave_pattern(&mut self, connection: u32) -> bool {
        let Some(&last) = self.cursors.connections.at(connection).patterns().last() else {
            return false;
        };
        self.context.charge(work::PATTERN);
        self.remove_pattern_subscription(last);
        self.cursors.connections.at_mut(connection).remove_pattern(last);
        true
    }

    fn remove_pattern_subscription(&mut self, own: u32) {
        let PatternSubscription { pattern, caller, .. } = self.patterns.unsubscribe(own);
        self.intake.quotas.release_pattern(caller);
        self.queue_watch(pattern);
    }

    /// Whether some connection on this shard is subscribed to the pattern may have changed:
    /// every home is to be notified.
    fn queue_watch(&mut self, index: u32) {
        self.context.is_fresh = true;
        let generation = self.patterns.watched.generation(index).expect("a watched pattern");
        let reference = (index, generation);
        let here = self.context.shard;
        for home in (0..self.context.shards).map(ShardId).filter(|home| *home != here) {
            if self.patterns.queue(index, home) {
                self.outgoing.push(home, Waiting::Watch(reference));
            }
        }
        // The next publication may be to a topic that is homed here.
        let settled = self.settle_watch(here, reference);
        if let Some(HubMessage::Watch { pattern, reader, wanted }) = settled {
            self.set_watcher(here, pattern, reader, wanted);
        }
    }

    /// Whether a subscription to a pattern has no room for more topics.
    pub(super) fn has_no_room(&self, own: u32) -> bool {
        let subscription = self.patterns.at(own);
        let most = self.context.limits.subscriptions_max;
        subscription.is_full && self.cursors.own_count(subscription.connection) >= most
    }

    /// A topic matches the pattern of a connection: subscribes the connection, unless it is
    /// subscribed already. Begins behind the message that `since` names, or at the next.
    pub(super) fn subscribe_matched(&mut self, own: u32, topic: &str, since: Option<Since>) {
        let connection = self.patterns.at(own).connection;
        let listed = self.cursors.connections.at(connection);
        let subscriber = listed.subscriber;
        if subscriber == NONE {
            // It has left.
            return;
        }
        let known = self.topics.find(topic);
        if known.is_some_and(|known| listed.find(known, &self.cursors.subscriptions).is_some()) {
            return;
        }
        if self.has_no_room(own) {
            return;
        }
        let own = self.first_pattern_for(connection, topic).unwrap_or(own);
        let &PatternSubscription { caller, delivery, .. } = self.patterns.at(own);
        let start = Start { since, snapshot: delivery.snapshot && since.is_none() };
        let error = match self.attach(caller, connection, topic, &delivery, start, own) {
            Err(HubError::AlreadySubscribed | HubError::NotAllowed) => return,
            result => result.err(),
        };
        // Of many topics that there is no room for, the first is reported.
        let own = self.patterns.subscriptions.at_mut(own).expect("just looked up");
        let was_full = std::mem::replace(&mut own.is_full, error.is_some());
        if let Some(error) = error.filter(|_| !was_full) {
            let topic = topic.into();
            self.context.signals.push(Signal::Refused { subscriber, topic, error });
        }
    }

    fn first_pattern_for(&mut self, connection: u32, topic: &str) -> Option<u32> {
        let own = self.cursors.connections.at(connection).patterns();
        self.patterns.first_for(own, topic, &mut self.context)
    }

    /// Ends a subscription. If a pattern of the connection matches its topic, that pattern's
    /// subscription continues from the same message.
    pub(super) fn leave_to_patterns(&mut self, ended: u32) {
        let subscription = self.cursors.at(ended);
        let (index, connection) = (subscription.topic, subscription.connection);
        let since = self.cursors.reached(ended, &self.topics);
        let topic = self.topics.at(index).expect("a subscription has its topic");
        let name = Arc::clone(&topic.name);
        let was_idle = topic.reader.as_ref().is_some_and(|reader| reader.is_idle);
        self.unlink(ended);
        let Some(own) = self.first_pattern_for(connection, &name) else { return };
        // There is room: one has just left.
        self.subscribe_matched(own, &name, since);
        // A home that saw no change of interest does not report again that the topic is idle.
        let reference = self.topics.find(&name).map(|index| self.topics.reference(index));
        if was_idle
            && let Some(reference) = reference.filter(|reference| reference.index == index)
            && let Some(reader) = self.topics.reader_mut(index)
            && reader.live.is_some()
            && reader.is_wanted()
        {
            reader.is_idle = true;
            self.tapes.add_chore(reference, reader, self.context.now);
        }
    }
}
