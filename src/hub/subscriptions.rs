//! Subscriptions: the cursors of connections on tapes.
//!
//! Those of a connection are found by their topic (`connections`), those of a topic are a
//! list. Both are changed in constant time, whatever the number of either.

use super::catching_up::{Guide, Start};
use super::connections::Connection;
use super::delivery::{Delivery, Mode, Since, SlowReader};
use super::log::TopicRef;
use super::rules::Caller;
use super::{Hub, HubError, Live, Signal, is_topic_name};
use crate::base::Slab;
use crate::base::work::{self, Work};

pub(super) const NONE: u32 = u32::MAX;
pub(super) const NO_PATTERN: u32 = u32::MAX;

/// Subscriptions that end at once when their connection leaves; the others end in steps.
const LEAVE_AT_ONCE: usize = 32;

/// The subscriptions of one connection, which its hub keeps.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let mut subscriptions = Subscriptions::default();
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.subscribe(7, &mut subscriptions, "weather", &Delivery::default()).unwrap();
/// assert!(hub.unsubscribe(&mut subscriptions, "news"));
/// assert!(!hub.unsubscribe(&mut subscriptions, "news"));
/// assert_eq!(hub.count(subscriptions), 1);
/// hub.leave(&mut subscriptions);
/// assert!(subscriptions.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Subscriptions {
    /// The hub's number for the connection, [`NONE`] without a subscription.
    pub(super) connection: u32,
    /// Messages from tapes are compressed.
    pub(super) deflates: bool,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions { connection: NONE, deflates: false }
    }
}

impl Subscriptions {
    /// Topics subscribed to from now on are read compressed: the connection has agreed to
    /// that. Compressed once, for all who have.
    pub fn set_deflates(&mut self) {
        self.deflates = true;
    }

    /// Whether they are.
    #[inline]
    pub fn deflates(&self) -> bool {
        self.deflates
    }

    /// Whether there is none, neither to a topic nor to a pattern.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.connection == NONE
    }
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The home has yet to answer: it has no cursor.
    Joining,
    /// It gets what lies before its cursor by other ways; the cursor holds its place
    /// on the tape.
    CatchingUp,
    /// Its cursor is on the tape.
    Live,
    /// Its cursor fell off the tape, and its connection was told to have it looked
    /// after.
    Fallen,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub topic: u32,
    pub connection: u32,
    /// Its place among the topic's subscribers.
    pub place: u32,
    /// The ring of the connection's active subscriptions, [`NONE`] while it is not in it.
    pub next_active: u32,
    pub previous_active: u32,
    /// What holds it back or leads it, if something does.
    pub guide: u32,
    /// The number of the next message to get; always between two frames.
    pub cursor: u64,
    /// The connection's subscription to a pattern that has made it, or [`NO_PATTERN`] if
    /// that was somebody who knew the topic's name.
    pub pattern: u32,
    pub lane: u8,
    pub state: State,
    pub policy: Policy,
    /// Its cursor has moved since a heartbeat was last thought of.
    pub has_moved: bool,
}

/// What becomes of a subscription that falls off its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// What its own delivery or the topic's rule says.
    Slow(SlowReader),
    /// Only the newest counts for it: it is brought up to date.
    Latest,
}

/// What [`Subscribers`](super::subscribers::Subscribers) tell of their places.
pub(super) fn moves(subscriptions: &mut Slab<Subscription>) -> impl FnMut(u32, u32) {
    |own, place| {
        // One that is just being removed has no place any more.
        if let Some(subscription) = subscriptions.at_mut(own) {
            subscription.place = place;
        }
    }
}

impl Subscription {
    /// A pattern has made it.
    pub fn is_matched(&self) -> bool {
        self.pattern != NO_PATTERN
    }

    /// It gets the newest of each key.
    #[inline]
    pub fn is_latest(&self) -> bool {
        self.policy == Policy::Latest
    }

    /// Its connection is closed when it falls behind. Where only the newest counts, it is
    /// brought up to date instead.
    pub fn is_closed_when_slow(&self) -> bool {
        self.policy == Policy::Slow(SlowReader::Close)
    }
}

impl Hub {
    /// Subscribes a connection of the server's own to `topic`, or to every topic that
    /// matches it as a pattern. A [`Signal::Subscribed`] tells when it is live.
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
        let connection = self.connections.enter(subscriber, subscriptions);
        let attached = self.attach(caller, connection, topic, delivery, start, NO_PATTERN);
        if is_new && attached.is_err() {
            self.connections.leave_if_empty(subscriptions);
        }
        attached
    }

    /// Makes a subscription to one topic, because somebody has asked for it by its name
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
        self.charge(work::LOOK_UP);
        let rule = self.rules.of(topic);
        if !rule.subscribe.allows(caller) || !rule.allows(delivery.mode) {
            return Err(HubError::NotAllowed);
        }
        let max_rate = match (rule.rate_max, delivery.max_rate) {
            (0, asked) => asked,
            (most, asked) => Some(asked.map_or(most, |asked| asked.min(most))),
        };
        let slow_reader = delivery.slow_reader.unwrap_or(rule.slow_reader);
        let own = self.connections.at(connection);
        let lane = self.lanes.number(delivery.lane, own.deflates);
        let lane = lane.ok_or(HubError::BadDelivery("there are as many lanes as there may be"))?;
        if let Some(known) = self.topic_named(topic)
            && let Some(own) = own.find(known, &self.subscriptions)
        {
            if pattern != NO_PATTERN || !self.at(own).is_matched() {
                return Err(HubError::AlreadySubscribed);
            }
            // Who asks for it by name wins over a pattern.
            self.unlink(own);
        }
        if self.own_count(connection) >= self.limits.subscriptions_max {
            return Err(HubError::TooManySubscriptions);
        }
        let index = self.topic_index(topic)?;
        self.charge(work::SUBSCRIPTION);
        let guide = Guide::new(max_rate, delivery.window, start);
        let guide = guide.map_or(NONE, |guide| self.guides.insert(guide).0);
        let is_latest = delivery.mode == Mode::Latest;
        let topic = self.topics.at_mut(index).expect("just looked up");
        let reader = topic.reader.get_or_insert_default();
        let next = topic.live.map_or(1, |live| live.last + 1);
        reader.enter(lane, is_latest, next, self.limits.tape_bytes_max);
        let (own, generation) = self.subscriptions.insert(Subscription {
            topic: index,
            connection,
            place: 0,
            next_active: NONE,
            previous_active: NONE,
            // From here on, or from where the home will say.
            cursor: topic.live.map_or(u64::MAX, |live| live.last + 1),
            guide,
            lane,
            state: State::Joining,
            policy: if is_latest { Policy::Latest } else { Policy::Slow(slow_reader) },
            has_moved: true,
            pattern,
        });
        reader.subscribers.push(own, moves(&mut self.subscriptions));
        let is_silent = reader.is_silent && pattern != NO_PATTERN;
        let is_live = topic.live.is_some();
        self.connections.at_mut(connection).add(own, &self.subscriptions);
        if is_live {
            self.beginning.push_back((own, generation));
        } else {
            self.want(index);
        }
        if is_silent {
            self.add_chore(index);
        }
        self.is_fresh = true;
        Ok(())
    }

    /// The home has answered: what waited for that begins.
    pub(super) fn welcome(&mut self, reference: TopicRef, epoch: u64, last: u64) {
        let TopicRef { index, generation } = reference;
        let Some(topic) = self.topics.get_mut(index, generation) else { return };
        topic.live = Some(Live { epoch, last });
        let Some(reader) = &mut topic.reader else { return };
        reader.restart(last + 1, &mut self.chunks);
        // Whoever had lost its place there may find it again.
        reader.subscribers.wake_all();
        self.work += work::STEP * reader.subscribers.len() as u64;
        for own in reader.subscribers.iter() {
            let generation = self.subscriptions.generation(own).expect("listed");
            // What arrives with this mail is for them already.
            let subscription = self.subscriptions.at_mut(own).expect("listed");
            if subscription.state == State::Joining {
                subscription.cursor = last + 1;
            }
            self.beginning.push_back((own, generation));
        }
    }

    /// Ends a subscription to a topic, or to a pattern; `false` if there was none. A
    /// topic that a pattern of the connection means too goes on because of that.
    pub fn unsubscribe(&mut self, subscriptions: &mut Subscriptions, topic: &str) -> bool {
        self.charge(work::LOOK_UP);
        let ended = if is_topic_name(topic) {
            let own = self.subscription_to(*subscriptions, topic);
            let own = own.filter(|own| !self.at(*own).is_matched());
            if let Some(own) = own {
                self.leave_to_patterns(own);
            }
            own.is_some()
        } else {
            self.unsubscribe_from_pattern(*subscriptions, topic)
        };
        self.connections.leave_if_empty(subscriptions);
        ended
    }

    /// How many topics a connection is subscribed to.
    pub fn count(&self, subscriptions: Subscriptions) -> usize {
        self.connections.of(subscriptions).map_or(0, Connection::len)
    }

    /// How many topics and patterns a connection is subscribed to.
    pub(super) fn own_count(&self, connection: u32) -> usize {
        let connection = self.connections.at(connection);
        connection.len() + connection.patterns().len()
    }

    /// The subscription to the topic of this name.
    pub(super) fn subscription_to(&self, subscriptions: Subscriptions, topic: &str) -> Option<u32> {
        let connection = self.connections.of(subscriptions)?;
        connection.find(self.topic_named(topic)?, &self.subscriptions)
    }

    /// How far a subscription has come, or where it is to begin, if that can be said.
    pub(super) fn reached(&self, subscription: &Subscription) -> Option<Since> {
        let guide = self.guides.at(subscription.guide);
        let seq = match subscription.state {
            State::Joining => return guide?.asked_for(),
            State::Live | State::Fallen => subscription.cursor - 1,
            State::CatchingUp => guide?.handed_over()?,
        };
        let epoch = self.topics.at(subscription.topic)?.live?.epoch;
        Some(Since { epoch, seq })
    }

    /// A connection's subscriptions to topics that one of its patterns has made.
    pub(super) fn made_by(&mut self, connection: u32, pattern: u32) -> Vec<u32> {
        let connection = self.connections.at(connection);
        self.work += work::STEP * connection.len() as u64;
        connection.iter().filter(|own| self.at(*own).pattern == pattern).collect()
    }

    /// Ends every subscription of a connection: a few at once, many in the flushes that
    /// follow. No signal names the connection any more.
    pub fn leave(&mut self, subscriptions: &mut Subscriptions) {
        let connection = std::mem::replace(&mut subscriptions.connection, NONE);
        if connection == NONE {
            return;
        }
        self.connections.at_mut(connection).subscriber = NONE;
        self.leaving.push_back(connection);
        self.is_fresh = true;
        if self.own_count(connection) <= LEAVE_AT_ONCE {
            self.leaving.pop_back();
            self.leave_in_steps(connection, Work::MAX);
        }
    }

    /// Ends subscriptions of a connection that has left until so much work is done; says
    /// whether that were all.
    fn leave_in_steps(&mut self, connection: u32, until: Work) -> bool {
        while self.leave_pattern(connection) {
            if self.work >= until {
                return false;
            }
        }
        loop {
            let Some(own) = self.connections.at(connection).iter().next() else { break };
            if self.work >= until {
                return false;
            }
            self.unlink(own);
        }
        self.connections.remove(connection);
        true
    }

    /// Ends some more subscriptions of connections that have left.
    pub(super) fn end_left(&mut self) {
        while let Some(&connection) = self.leaving.front()
            && !self.is_exhausted()
        {
            if self.leave_in_steps(connection, self.work_end) {
                self.leaving.pop_front();
            }
        }
    }

    /// Ends a subscription.
    pub(super) fn unlink(&mut self, own: u32) {
        self.charge(work::LOOK_UP);
        let connection = self.at(own).connection;
        let connection = self.connections.at_mut(connection);
        connection.deactivate(own, &mut self.subscriptions);
        connection.remove(own, &self.subscriptions);
        let removed = self.subscriptions.remove(own).expect("linked");
        if let Some(guide) = self.guides.remove(removed.guide) {
            if guide.holds_portion() {
                self.pull_is_over(removed.connection);
            } else {
                // It may have been woken to ask.
                self.next_may_pull(removed.connection);
            }
            self.leave_list(guide.member);
        }
        let topic = self.topics.at_mut(removed.topic).expect("a subscription has its topic");
        let reader = topic.reader.as_mut().expect("somebody reads");
        reader.subscribers.remove(removed.place, moves(&mut self.subscriptions));
        self.tape_bytes -= reader.leave(removed.lane, removed.is_latest());
        if reader.subscribers.is_empty() {
            topic.reader = None;
            self.want(removed.topic);
        }
    }

    #[inline]
    pub(super) fn at(&self, subscription: u32) -> &Subscription {
        self.subscriptions.at(subscription).expect("a live subscription")
    }

    /// A subscription has something to do: its connection is to look after it, or to send
    /// what is pending.
    pub(super) fn activate(&mut self, own: u32, signal: impl FnOnce(u32) -> Signal) {
        let subscriber = self.connections.activate(own, &mut self.subscriptions);
        self.is_fresh = true;
        if subscriber != NONE {
            self.signals.push(signal(subscriber));
        }
    }

    /// The client has everything of `topic` up to message `seq`: a subscription with
    /// a window may go on. `false` if there is no subscription.
    pub fn acknowledge(&mut self, subscriptions: Subscriptions, topic: &str, seq: u64) -> bool {
        self.charge(work::LOOK_UP);
        let Some(own) = self.subscription_to(subscriptions, topic) else {
            return false;
        };
        let &Subscription { guide, state, .. } = self.at(own);
        let Some(guide) = self.guides.at_mut(guide) else { return true };
        if guide.acknowledge(seq) {
            self.activate(
                own,
                match state {
                    State::Live | State::Joining => Signal::Pending,
                    State::CatchingUp | State::Fallen => Signal::Attend,
                },
            );
        }
        true
    }
}
