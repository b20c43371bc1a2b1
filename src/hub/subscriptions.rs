//! Subscriptions: the cursors of connections on tapes.
//!
//! The subscriptions of a connection form a ring of indices, entered where the
//! next turn of sending starts; those of a topic are a list. Both are changed in
//! O(1) for the topic, whatever the number of its subscribers.

use super::catching_up::{Guide, Start};
use super::delivery::{Delivery, Mode, Since, SlowReader};
use super::log::TopicRef;
use super::rules::Caller;
use super::{Hub, HubError, Live, Signal, is_topic_name};
use crate::base::Slab;

pub(super) const NONE: u32 = u32::MAX;
pub(super) const NO_PATTERN: u16 = u16::MAX;

/// The subscriptions of one connection: a ring of them, entered where the next
/// turn of sending starts.
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
/// hub.leave(&mut subscriptions);
/// assert!(subscriptions.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Subscriptions {
    pub(super) first: u32,
    // Small, since every connection has them, subscribed or not.
    pub(super) count: u16,
    /// The first of its subscriptions to patterns.
    pub(super) patterns: u16,
    /// Messages from tapes are compressed.
    deflates: bool,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions { first: NONE, count: 0, patterns: NO_PATTERN, deflates: false }
    }
}

impl Subscriptions {
    /// Topics subscribed to from now on are read compressed: the connection has agreed to
    /// that. Compressed once, for all who have.
    pub fn set_deflates(&mut self) {
        self.deflates = true;
    }

    /// How many topics they are.
    pub fn len(&self) -> u32 {
        self.count.into()
    }

    /// Whether there is no topic.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
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
    pub subscriber: u32,
    /// Its place among the topic's subscribers.
    pub place: u32,
    /// The connection's next subscription; its own index if it is the only one.
    pub next: u32,
    /// The number of the next message to get; always between two frames.
    pub cursor: u64,
    /// What holds it back or leads it, if something does.
    pub guide: u32,
    pub lane: u8,
    pub state: State,
    pub slow_reader: SlowReader,
    pub is_latest: bool,
    /// The connection's subscription to a pattern that has made it, or [`NO_PATTERN`] if
    /// that was somebody who knew the topic's name.
    pub pattern: u16,
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

    /// Its connection is closed when it falls behind. Where only the newest counts, it is
    /// brought up to date instead.
    pub fn is_closed_when_slow(&self) -> bool {
        self.slow_reader == SlowReader::Close && !self.is_latest
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
        self.attach(caller, subscriber, subscriptions, topic, delivery, start, NO_PATTERN)
    }

    /// Makes a subscription to one topic, because somebody has asked for it by its name
    /// or, unless that is [`NO_PATTERN`], because it matches a `pattern` of the connection.
    #[expect(clippy::too_many_arguments, reason = "who, where, how, from where, and why")]
    pub(super) fn attach(
        &mut self,
        caller: Caller,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
        delivery: &Delivery,
        start: Start,
        pattern: u16,
    ) -> Result<(), HubError> {
        let rule = self.rules.of(topic);
        if !rule.subscribe.allows(caller) || !rule.allows(delivery.mode) {
            return Err(HubError::NotAllowed);
        }
        let max_rate = match (rule.rate_max, delivery.max_rate) {
            (0, asked) => asked,
            (most, asked) => Some(asked.map_or(most, |asked| asked.min(most))),
        };
        let slow_reader = delivery.slow_reader.unwrap_or(rule.slow_reader);
        let lane = self.lanes.number(delivery.lane, subscriptions.deflates);
        let lane = lane.ok_or(HubError::BadDelivery("there are as many lanes as there may be"))?;
        if let Some(&known) = self.names.get(topic)
            && let Some(previous) = self.find(*subscriptions, known)
        {
            let own = self.at(previous).next;
            if pattern != NO_PATTERN || !self.at(own).is_matched() {
                return Err(HubError::AlreadySubscribed);
            }
            // Who asks for it by name wins over a pattern.
            self.unlink(subscriptions, previous);
        }
        if self.own_count(*subscriptions) >= self.limits.subscriptions_max {
            return Err(HubError::TooManySubscriptions);
        }
        let index = self.topic_index(topic)?;
        let guide = Guide::new(max_rate, delivery.window, start);
        let guide = guide.map_or(NONE, |guide| self.guides.insert(guide).0);
        let is_latest = delivery.mode == Mode::Latest;
        let topic = self.topics.at_mut(index).expect("just looked up");
        let reader = topic.reader.get_or_insert_default();
        let next = topic.live.map_or(1, |live| live.last + 1);
        reader.enter(lane, is_latest, next, self.limits.tape_bytes_max);
        let (own, generation) = self.subscriptions.insert(Subscription {
            topic: index,
            subscriber,
            place: 0,
            next: subscriptions.first,
            // From here on, or from where the home will say.
            cursor: topic.live.map_or(u64::MAX, |live| live.last + 1),
            guide,
            lane,
            state: State::Joining,
            slow_reader,
            is_latest,
            pattern,
        });
        reader.subscribers.push(own, moves(&mut self.subscriptions));
        let is_silent = reader.is_silent && pattern != NO_PATTERN;
        let is_live = topic.live.is_some();
        self.link(subscriptions, own);
        match is_live {
            true => self.beginning.push((own, generation)),
            false => self.want(index),
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
        for own in reader.subscribers.iter() {
            let generation = self.subscriptions.generation(own).expect("listed");
            // What arrives with this mail is for them already.
            let subscription = self.subscriptions.at_mut(own).expect("listed");
            if subscription.state == State::Joining {
                subscription.cursor = last + 1;
            }
            self.beginning.push((own, generation));
        }
    }

    /// Puts `own` into the connection's ring, behind its first.
    fn link(&mut self, subscriptions: &mut Subscriptions, own: u32) {
        let first = subscriptions.first;
        let next = match self.subscriptions.at_mut(first) {
            Some(first) if subscriptions.count > 0 => std::mem::replace(&mut first.next, own),
            _ => {
                subscriptions.first = own;
                own
            }
        };
        self.subscriptions.at_mut(own).expect("just inserted").next = next;
        subscriptions.count += 1;
    }

    /// Ends a subscription to a topic, or to a pattern; `false` if there was none. A
    /// topic that a pattern of the connection means too goes on because of that.
    pub fn unsubscribe(&mut self, subscriptions: &mut Subscriptions, topic: &str) -> bool {
        if !is_topic_name(topic) {
            return self.unsubscribe_from_pattern(subscriptions, topic);
        }
        let Some(&index) = self.names.get(topic) else {
            return false;
        };
        let Some(previous) = self.find(*subscriptions, index) else {
            return false;
        };
        if self.at(self.at(previous).next).is_matched() {
            return false;
        }
        self.leave_to_patterns(subscriptions, previous);
        true
    }

    /// How many topics and patterns a connection is subscribed to.
    pub(super) fn own_count(&self, subscriptions: Subscriptions) -> usize {
        usize::from(subscriptions.count) + self.pattern_count(subscriptions)
    }

    /// The subscription to the topic of this name.
    pub(super) fn subscription_to(&self, subscriptions: Subscriptions, topic: &str) -> Option<u32> {
        let previous = self.find(subscriptions, *self.names.get(topic)?)?;
        Some(self.at(previous).next)
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

    /// The topics that a connection is subscribed to because of one of its patterns.
    pub(super) fn made_by(&self, subscriptions: Subscriptions, pattern: u16) -> Vec<u32> {
        let mut own = subscriptions.first;
        let mut topics = Vec::new();
        for _ in 0..subscriptions.count {
            let subscription = self.at(own);
            if subscription.pattern == pattern {
                topics.push(subscription.topic);
            }
            own = subscription.next;
        }
        topics
    }

    /// Ends every subscription of a connection.
    pub fn leave(&mut self, subscriptions: &mut Subscriptions) {
        self.leave_patterns(subscriptions);
        while !subscriptions.is_empty() {
            self.unlink(subscriptions, subscriptions.first);
        }
    }

    /// Removes the subscription behind `previous` in the connection's ring.
    pub(super) fn unlink(&mut self, subscriptions: &mut Subscriptions, previous: u32) {
        let own = self.at(previous).next;
        let removed = self.subscriptions.remove(own).expect("linked");
        subscriptions.count -= 1;
        if subscriptions.count == 0 {
            subscriptions.first = NONE;
        } else {
            self.subscriptions.at_mut(previous).expect("linked").next = removed.next;
            subscriptions.first = previous;
        }
        if let Some(guide) = self.guides.remove(removed.guide) {
            self.leave_list(guide.member);
            if guide.is_asking() {
                // Another of the connection's topics may have waited for its portion to come.
                self.is_fresh = true;
                self.signals.push(Signal::Attend(removed.subscriber));
            }
        }
        let topic = self.topics.at_mut(removed.topic).expect("a subscription has its topic");
        let reader = topic.reader.as_mut().expect("somebody reads");
        reader.subscribers.remove(removed.place, moves(&mut self.subscriptions));
        self.tape_bytes -= reader.leave(removed.lane, removed.is_latest);
        if reader.subscribers.is_empty() {
            topic.reader = None;
            self.want(removed.topic);
        }
    }

    /// The subscription before the one to this topic in the connection's ring.
    pub(super) fn find(&self, subscriptions: Subscriptions, topic: u32) -> Option<u32> {
        let mut previous = subscriptions.first;
        for _ in 0..subscriptions.count {
            let next = self.at(previous).next;
            if self.at(next).topic == topic {
                return Some(previous);
            }
            previous = next;
        }
        None
    }

    #[inline]
    pub(super) fn at(&self, subscription: u32) -> &Subscription {
        self.subscriptions.at(subscription).expect("rings hold live subscriptions")
    }

    /// The client has everything of `topic` up to message `seq`: a subscription with
    /// a window may go on. `false` if there is no subscription.
    pub fn acknowledge(&mut self, subscriptions: Subscriptions, topic: &str, seq: u64) -> bool {
        let Some(own) = self.subscription_to(subscriptions, topic) else {
            return false;
        };
        let &Subscription { guide, state, subscriber, .. } = self.at(own);
        let Some(guide) = self.guides.at_mut(guide) else { return true };
        if guide.acknowledge(seq) {
            self.is_fresh = true;
            self.signals.push(match state {
                State::Live | State::Joining => Signal::Pending(subscriber),
                State::CatchingUp | State::Fallen => Signal::Attend(subscriber),
            });
        }
        true
    }
}
