//! Subscriptions come and go. Those of a connection are found by their topic, those of a topic
//! are a list; both change in constant time, whatever the number of either.

use crate::base::work::{self, Work};
use crate::hub::Hub;
use crate::hub::cursor::{
    Connection, FlowControl, NO_PATTERN, Policy, Start, State, Subscription, Subscriptions, moves,
};
use crate::hub::error::HubError;
use crate::hub::ids::NONE;
use crate::hub::policy::{Caller, Delivery, Mode, is_topic_name};
use crate::hub::reader::Live;

/// Subscriptions that end at once when their connection leaves; the others end in steps.
const LEAVE_AT_ONCE: usize = 32;

impl Hub {
    /// Subscribes a connection of the server's own to `topic`, or to every topic that matches
    /// it as a pattern. `Signal::Subscribed` reports when it is live.
    ///
    /// # Errors
    /// See [`Hub::subscribe_for`].
    pub fn subscribe(
        &mut self,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
        delivery: &Delivery,
    ) -> Result<(), HubError> {
        self.subscribe_for(Caller::Server, subscriber, subscriptions, topic, delivery)
    }

    /// Subscribes a connection to `topic` on behalf of `caller`.
    ///
    /// # Errors
    /// [`HubError::BadName`], [`HubError::BadDelivery`], [`HubError::NotAllowed`],
    /// [`HubError::AlreadySubscribed`], [`HubError::TooManySubscriptions`],
    /// [`HubError::TooManyTopics`].
    pub fn subscribe_for(
        &mut self,
        caller: Caller,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
        delivery: &Delivery,
    ) -> Result<(), HubError> {
        delivery.check().map_err(HubError::BadDelivery)?;
        if !is_topic_name(topic) {
            return self.subscribe_to_pattern(caller, subscriber, subscriptions, topic, delivery);
        }
        let start = Start { since: delivery.since, snapshot: delivery.snapshot };
        let is_new = subscriptions.is_empty();
        let connection = self.cursors.connections.enter(subscriber, subscriptions);
        let attached = self.attach(caller, connection, topic, delivery, start, NO_PATTERN);
        if is_new && attached.is_err() {
            self.cursors.connections.leave_if_empty(subscriptions);
        }
        attached
    }

    /// Makes a subscription to one topic: because the connection has asked for it by its name,
    /// or, unless that is [`NO_PATTERN`], because it matches a `pattern` of the connection.
    pub(super) fn attach(
        &mut self,
        caller: Caller,
        connection: u32,
        topic: &str,
        delivery: &Delivery,
        start: Start,
        pattern: u32,
    ) -> Result<(), HubError> {
        self.context.charge(work::LOOK_UP);
        let rule = self.context.rules.of(topic);
        if !rule.subscribe.allows(caller) || !rule.allows(delivery.mode) {
            return Err(HubError::NotAllowed);
        }
        let max_rate = match (rule.rate_max, delivery.max_rate) {
            (0, asked) => asked,
            (most, asked) => Some(asked.map_or(most, |asked| asked.min(most))),
        };
        let slow_reader = delivery.slow_reader.unwrap_or(rule.slow_reader);
        let known = self.cursors.connections.at(connection);
        let lane = self.tapes.lanes.number(delivery.lane, known.deflates);
        let lane = lane.ok_or(HubError::BadDelivery("lane limit reached (128)"))?;
        if let Some(index) = self.topics.find(topic)
            && let Some(own) = known.find(index, &self.cursors.subscriptions)
        {
            if pattern != NO_PATTERN || !self.cursors.at(own).is_matched() {
                return Err(HubError::AlreadySubscribed);
            }
            // A subscription by name wins over one by pattern.
            self.unlink(own);
        }
        if self.cursors.own_count(connection) >= self.context.limits.subscriptions_max {
            return Err(HubError::TooManySubscriptions);
        }
        let Hub { topics, cursors, tapes, budget, context, .. } = self;
        let index = topics.find_or_make(topic, budget, context)?;
        context.charge(work::SUBSCRIPTION);
        let flow = FlowControl::new(max_rate, delivery.window, start);
        let flow = flow.map_or(NONE, |flow| cursors.flows.insert(flow).0);
        let is_latest = delivery.mode == Mode::Latest;
        let reference = topics.reference(index);
        let topic = topics.at_mut(index).expect("just looked up");
        let reader = topic.reader.get_or_insert_default();
        let live = reader.live;
        let next = live.map_or(1, |live: Live| live.last + 1);
        reader.enter(lane, is_latest, next, context.limits.tape_bytes_max);
        let (own, generation) = cursors.subscriptions.insert(Subscription {
            topic: index,
            connection,
            place: 0,
            next_ready: NONE,
            previous_ready: NONE,
            // From here on, or from where the home will say.
            cursor: live.map_or(u64::MAX, |live| live.last + 1),
            flow,
            lane,
            state: State::Joining,
            policy: if is_latest { Policy::Latest } else { Policy::Slow(slow_reader) },
            has_moved: true,
            pattern,
        });
        reader.subscribers.push(own, moves(&mut cursors.subscriptions));
        if reader.is_idle && pattern != NO_PATTERN {
            tapes.add_chore(reference, reader, context.now);
        }
        cursors.connections.at_mut(connection).add(own, &cursors.subscriptions);
        if live.is_some() {
            cursors.beginning.push_back((own, generation));
        } else {
            self.queue_interest(index);
        }
        self.context.is_fresh = true;
        Ok(())
    }

    /// Ends a subscription to a topic, or to a pattern; `false` if there was none. If a pattern
    /// of the connection matches the topic, its subscription continues because of that.
    pub fn unsubscribe(&mut self, subscriptions: &mut Subscriptions, topic: &str) -> bool {
        self.context.charge(work::LOOK_UP);
        let ended = if is_topic_name(topic) {
            let own = self.cursors.find(*subscriptions, topic, &self.topics);
            let own = own.filter(|own| !self.cursors.at(*own).is_matched());
            if let Some(own) = own {
                self.leave_to_patterns(own);
            }
            own.is_some()
        } else {
            self.unsubscribe_from_pattern(*subscriptions, topic)
        };
        self.cursors.connections.leave_if_empty(subscriptions);
        ended
    }

    /// How many topics a connection is subscribed to.
    pub fn count(&self, subscriptions: Subscriptions) -> usize {
        self.cursors.of(subscriptions).map_or(0, Connection::len)
    }

    /// Whether a connection reads `topic`, or is about to.
    pub fn is_subscribed(&self, subscriptions: Subscriptions, topic: &str) -> bool {
        self.cursors.find(subscriptions, topic, &self.topics).is_some()
    }

    /// Ends every subscription of a connection: a few at once, many in the flushes that follow.
    /// No signal names the connection any more.
    pub fn leave(&mut self, subscriptions: &mut Subscriptions) {
        let connection = std::mem::replace(&mut subscriptions.connection, NONE);
        if connection == NONE {
            return;
        }
        self.cursors.connections.at_mut(connection).subscriber = NONE;
        self.context.is_fresh = true;
        if self.cursors.own_count(connection) <= LEAVE_AT_ONCE {
            self.leave_in_steps(connection, Work::MAX);
        } else {
            self.cursors.leaving.push_back(connection);
        }
    }

    /// Ends subscriptions of a connection that has left until so much work is done. Returns
    /// whether none is left.
    fn leave_in_steps(&mut self, connection: u32, until: Work) -> bool {
        while self.leave_pattern(connection) {
            if self.context.work() >= until {
                return false;
            }
        }
        loop {
            let Some(own) = self.cursors.connections.at(connection).iter().next() else { break };
            if self.context.work() >= until {
                return false;
            }
            self.unlink(own);
        }
        self.cursors.connections.remove(connection);
        true
    }

    /// Ends some more subscriptions of connections that have left.
    pub(super) fn end_left(&mut self) {
        while let Some(&connection) = self.cursors.leaving.front()
            && !self.context.is_exhausted()
        {
            if self.leave_in_steps(connection, self.context.work_end()) {
                self.cursors.leaving.pop_front();
            }
        }
    }

    /// Ends a subscription.
    pub(super) fn unlink(&mut self, own: u32) {
        self.context.charge(work::LOOK_UP);
        let (removed, member) = self.cursors.remove(own, &mut self.context);
        self.leave_list(member);
        let reader = self.topics.reader_mut(removed.topic).expect("a topic with a subscriber");
        reader.subscribers.remove(removed.place, moves(&mut self.cursors.subscriptions));
        let freed = reader.leave(removed.lane, removed.is_latest());
        self.budget.tapes_changed(freed, 0);
        if !reader.is_wanted() {
            reader.close();
            self.queue_interest(removed.topic);
        }
    }
}
