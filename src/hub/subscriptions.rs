//! Subscriptions: the cursors of connections on tapes.
//!
//! The subscriptions of a connection form a ring of indices, entered where the
//! next turn of sending starts; those of a topic are a list. Both are changed in
//! O(1) for the topic, whatever the number of its subscribers.

use super::catching_up::{Guide, Start};
use super::delivery::{Delivery, Mode, SlowReader};
use super::log::TopicRef;
use super::rules::Caller;
use super::{Hub, HubError, Live, Signal, is_topic_name};

pub(super) const NONE: u32 = u32::MAX;

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
    pub(super) count: u32,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions { first: NONE, count: 0 }
    }
}

impl Subscriptions {
    /// How many there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is none.
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
    /// Its place in the topic's list of subscribers.
    place: u32,
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
}

impl Hub {
    /// Subscribes a connection of the server's own to `topic`. A
    /// [`Signal::Subscribed`] tells when it is live.
    ///
    /// # Errors
    /// See [`Hub::subscribe_for`].
    pub fn subscribe(
        &mut self,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
        delivery: &Delivery,
    ) -> Result<TopicRef, HubError> {
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
    ) -> Result<TopicRef, HubError> {
        if !is_topic_name(topic) {
            return Err(HubError::BadName);
        }
        delivery.check().map_err(HubError::BadDelivery)?;
        let rule = self.rules.of(topic);
        if !rule.subscribe.allows(caller) || !rule.allows(delivery.mode) {
            return Err(HubError::NotAllowed);
        }
        let max_rate = match (rule.rate_max, delivery.max_rate) {
            (0, asked) => asked,
            (most, asked) => Some(asked.map_or(most, |asked| asked.min(most))),
        };
        let slow_reader = delivery.slow_reader.unwrap_or(rule.slow_reader);
        if let Some(&known) = self.names.get(topic)
            && self.find(*subscriptions, known).is_some()
        {
            return Err(HubError::AlreadySubscribed);
        }
        if subscriptions.count as usize >= self.limits.subscriptions_max {
            return Err(HubError::TooManySubscriptions);
        }
        let lane = self.lanes.number(delivery.lane);
        let lane = lane.ok_or(HubError::BadDelivery("there are as many lanes as there may be"))?;
        let index = self.topic_index(topic)?;
        let start = Start { since: delivery.since, snapshot: delivery.snapshot };
        let guide = Guide::new(max_rate, delivery.window, start);
        let guide = guide.map_or(NONE, |guide| self.guides.insert(guide).0);
        let is_latest = delivery.mode == Mode::Latest;
        let topic = self.topics.at_mut(index).expect("just looked up");
        let reader = topic.reader.get_or_insert_default();
        let next = topic.live.map_or(1, |live| live.last + 1);
        reader.enter(lane, is_latest, next, self.limits.tape_bytes_max);
        let place = reader.subscribers.len() as u32;
        let (own, _) = self.subscriptions.insert(Subscription {
            topic: index,
            subscriber,
            place,
            next: subscriptions.first,
            cursor: u64::MAX,
            guide,
            lane,
            state: State::Joining,
            slow_reader,
            is_latest,
        });
        reader.subscribers.push(own);
        let live = topic.live;
        self.link(subscriptions, own);
        match live {
            Some(live) => self.begin(own, live),
            None => self.want(index),
        }
        Ok(self.reference(index))
    }

    /// The home has answered: what waited for that begins.
    pub(super) fn welcome(&mut self, reference: TopicRef, epoch: u64, last: u64) {
        let TopicRef { index, generation } = reference;
        let Some(topic) = self.topics.get_mut(index, generation) else { return };
        let live = Live { epoch, last };
        topic.live = Some(live);
        let Some(reader) = &mut topic.reader else { return };
        reader.restart(last + 1, &mut self.chunks);
        for place in 0.. {
            let reader = self.topics.at(index).and_then(|topic| topic.reader.as_ref());
            let Some(&own) = reader.and_then(|reader| reader.subscribers.get(place)) else { break };
            self.begin(own, live);
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

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&mut self, subscriptions: &mut Subscriptions, topic: &str) -> bool {
        let Some(&index) = self.names.get(topic) else {
            return false;
        };
        let Some(previous) = self.find(*subscriptions, index) else {
            return false;
        };
        self.unlink(subscriptions, previous);
        true
    }

    /// Ends every subscription of a connection.
    pub fn leave(&mut self, subscriptions: &mut Subscriptions) {
        while !subscriptions.is_empty() {
            self.unlink(subscriptions, subscriptions.first);
        }
    }

    /// Removes the subscription behind `previous` in the connection's ring.
    fn unlink(&mut self, subscriptions: &mut Subscriptions, previous: u32) {
        let own = self.at(previous).next;
        let removed = self.subscriptions.remove(own).expect("linked");
        subscriptions.count -= 1;
        if subscriptions.count == 0 {
            subscriptions.first = NONE;
        } else {
            self.subscriptions.at_mut(previous).expect("linked").next = removed.next;
            subscriptions.first = previous;
        }
        if removed.guide != NONE {
            self.guides.remove(removed.guide);
        }
        // What it was to be told concerns nobody any more.
        let name = self.reference(removed.topic);
        self.signals.retain(|signal| {
            !matches!(*signal, Signal::Subscribed { subscriber, topic, .. }
                if subscriber == removed.subscriber && topic == name)
        });
        let topic = self.topics.at_mut(removed.topic).expect("a subscription has its topic");
        let reader = topic.reader.as_mut().expect("somebody reads");
        reader.subscribers.swap_remove(removed.place as usize);
        if let Some(&moved) = reader.subscribers.get(removed.place as usize) {
            self.subscriptions.at_mut(moved).expect("listed").place = removed.place;
        }
        self.tape_bytes -= reader.leave(removed.lane, removed.is_latest);
        if reader.subscribers.is_empty() {
            topic.reader = None;
            self.want(removed.topic);
        }
    }

    /// The subscription before the one to this topic in the connection's ring.
    fn find(&self, subscriptions: Subscriptions, topic: u32) -> Option<u32> {
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
        let Some(&index) = self.names.get(topic) else {
            return false;
        };
        let Some(previous) = self.find(subscriptions, index) else {
            return false;
        };
        let own = self.at(previous).next;
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
