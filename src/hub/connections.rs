//! What a hub keeps for a connection with subscriptions: each is found by its topic in
//! constant time, and those that have something to do are a list of their own, so that
//! nothing is paid for quiet ones.
//!
//! A subscription is *active* while it may have something to send from its tape, or has to
//! be looked after because it is not on it. Whoever gives it something to do activates it;
//! it leaves the list when it is found to have nothing.

use super::rates::SubscriptionRef;
use super::subscriptions::{NONE, Subscription, Subscriptions};
use crate::base::Slab;
use hashbrown::HashTable;
use std::collections::VecDeque;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// What signals call it; [`NONE`] once it has left.
    pub subscriber: u32,
    /// The first of its active subscriptions, a ring; [`NONE`] if there is none.
    first_active: u32,
    /// Its subscription, while it has one and never had more than that.
    only: u32,
    /// Portions of the past that were asked for, and have not come or were not handed over.
    pub pulls: u16,
    /// What it reads of tapes is compressed.
    pub deflates: bool,
    several: Option<Box<Several>>,
}

/// What a connection has beside one subscription.
#[derive(Debug, Default)]
struct Several {
    by_topic: HashTable<u32>,
    /// Its subscriptions to patterns, the oldest first.
    patterns: Vec<u32>,
    /// Those that wait until others have the portions that they have asked for.
    waiting: VecDeque<SubscriptionRef>,
}

/// Topics are named by small numbers: spreads them over all bits.
fn hash(topic: u32) -> u64 {
    let spread = u64::from(topic).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 32)
}

fn topic_of(subscriptions: &Slab<Subscription>, own: u32) -> u32 {
    subscriptions.at(own).expect("a connection holds live subscriptions").topic
}

impl Connection {
    fn new(subscriber: u32, deflates: bool) -> Connection {
        let (first_active, only, several) = (NONE, NONE, None);
        Connection { subscriber, first_active, only, pulls: 0, deflates, several }
    }

    /// How many topics it is subscribed to.
    pub fn len(&self) -> usize {
        match &self.several {
            Some(several) => several.by_topic.len(),
            None => usize::from(self.only != NONE),
        }
    }

    /// Its subscriptions to patterns, the oldest first.
    pub fn patterns(&self) -> &[u32] {
        self.several.as_ref().map_or(&[], |several| &several.patterns)
    }

    pub fn add_pattern(&mut self, own: u32, subscriptions: &Slab<Subscription>) {
        self.several(subscriptions).patterns.push(own);
    }

    pub fn remove_pattern(&mut self, own: u32) {
        if let Some(several) = &mut self.several {
            several.patterns.retain(|known| *known != own);
        }
    }

    /// All its subscriptions to topics.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let only = Some(self.only).filter(|only| *only != NONE);
        let several = self.several.iter().flat_map(|several| several.by_topic.iter().copied());
        only.into_iter().chain(several)
    }

    /// The subscription to a topic.
    pub fn find(&self, topic: u32, subscriptions: &Slab<Subscription>) -> Option<u32> {
        let is_it = |own: &u32| topic_of(subscriptions, *own) == topic;
        match &self.several {
            Some(several) => several.by_topic.find(hash(topic), is_it).copied(),
            None => Some(self.only).filter(|only| *only != NONE && is_it(only)),
        }
    }

    /// Adds a subscription to a topic that it has none to.
    pub fn add(&mut self, own: u32, subscriptions: &Slab<Subscription>) {
        if self.several.is_none() && self.only == NONE {
            self.only = own;
            return;
        }
        let hashed = hash(topic_of(subscriptions, own));
        let table = &mut self.several(subscriptions).by_topic;
        table.insert_unique(hashed, own, |&own| hash(topic_of(subscriptions, own)));
    }

    fn several(&mut self, subscriptions: &Slab<Subscription>) -> &mut Several {
        let only = std::mem::replace(&mut self.only, NONE);
        let several = self.several.get_or_insert_default();
        if only != NONE {
            let hashed = hash(topic_of(subscriptions, only));
            several.by_topic.insert_unique(hashed, only, |_| hashed);
        }
        several
    }

    /// Takes a subscription out that is in no list and still in the slab.
    pub fn remove(&mut self, own: u32, subscriptions: &Slab<Subscription>) {
        let Some(several) = &mut self.several else {
            self.only = NONE;
            return;
        };
        let hashed = hash(topic_of(subscriptions, own));
        if let Ok(entry) = several.by_topic.find_entry(hashed, |known| *known == own) {
            entry.remove();
        }
        // What a burst has taken goes when it is over.
        let table = &mut several.by_topic;
        if table.capacity() > 64 && table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |&own| hash(topic_of(subscriptions, own)));
        }
    }

    /// A subscription waits until others have the portions that they have asked for.
    pub fn wait(&mut self, own: SubscriptionRef, subscriptions: &Slab<Subscription>) {
        self.several(subscriptions).waiting.push_back(own);
    }

    /// The one that has waited for longest, which may have ended.
    pub fn next_waiting(&mut self) -> Option<SubscriptionRef> {
        self.several.as_mut()?.waiting.pop_front()
    }

    /// The first active subscription.
    #[inline]
    pub fn first_active(&self) -> u32 {
        self.first_active
    }

    /// Puts a subscription behind the other active ones, unless it is one of them.
    #[inline]
    pub fn activate(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) {
        let first = self.first_active;
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        if subscription.next_active != NONE {
            return;
        }
        if first == NONE {
            (subscription.next_active, subscription.previous_active) = (own, own);
            self.first_active = own;
            return;
        }
        let last = std::mem::replace(
            &mut subscriptions.at_mut(first).expect("active").previous_active,
            own,
        );
        subscriptions.at_mut(last).expect("active").next_active = own;
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        (subscription.next_active, subscription.previous_active) = (first, last);
    }

    /// The first active subscription comes last from now on.
    #[inline]
    pub fn rotate(&mut self, subscriptions: &Slab<Subscription>) {
        self.first_active = subscriptions.at(self.first_active).expect("active").next_active;
    }

    /// Takes a subscription out of the active ones, if it is one of them.
    #[inline]
    pub fn deactivate(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) {
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        let next = std::mem::replace(&mut subscription.next_active, NONE);
        let previous = std::mem::replace(&mut subscription.previous_active, NONE);
        if next == NONE {
            return;
        }
        if next == own {
            self.first_active = NONE;
            return;
        }
        subscriptions.at_mut(previous).expect("active").next_active = next;
        subscriptions.at_mut(next).expect("active").previous_active = previous;
        if self.first_active == own {
            self.first_active = next;
        }
    }
}

/// The connections of a hub that have subscriptions.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slab: Slab<Connection>,
}

impl Connections {
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    #[inline]
    pub fn of(&self, subscriptions: Subscriptions) -> Option<&Connection> {
        self.slab.at(subscriptions.connection)
    }

    #[inline]
    pub fn at(&self, connection: u32) -> &Connection {
        self.slab.at(connection).expect("a subscription has its connection")
    }

    #[inline]
    pub fn at_mut(&mut self, connection: u32) -> &mut Connection {
        self.slab.at_mut(connection).expect("a subscription has its connection")
    }

    /// The connection with these subscriptions, which it may be about to get its first of.
    pub fn enter(&mut self, subscriber: u32, subscriptions: &mut Subscriptions) -> u32 {
        if subscriptions.connection == NONE {
            let connection = Connection::new(subscriber, subscriptions.deflates);
            subscriptions.connection = self.slab.insert(connection).0;
        }
        subscriptions.connection
    }

    /// Forgets a connection that has no subscription left. One that has asked for portions of
    /// the past stays until they come.
    pub fn leave_if_empty(&mut self, subscriptions: &mut Subscriptions) {
        let is_empty = |known: &Connection| {
            known.len() == 0 && known.patterns().is_empty() && known.pulls == 0
        };
        if self.of(*subscriptions).is_some_and(is_empty) {
            self.slab.remove(subscriptions.connection);
            subscriptions.connection = NONE;
        }
    }

    /// A connection's index and generation.
    pub fn reference(&self, connection: u32) -> (u32, u32) {
        let generation = self.slab.generation(connection);
        (connection, generation.expect("a subscription has its connection"))
    }

    /// Whether the connection of that generation is still there.
    pub fn is_current(&self, connection: u32, generation: u32) -> bool {
        self.slab.get(connection, generation).is_some()
    }

    /// Forgets a connection.
    pub fn remove(&mut self, connection: u32) {
        self.slab.remove(connection);
    }

    /// A subscription has something to do; says whose it is.
    #[inline]
    pub fn activate(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) -> u32 {
        let connection = subscriptions.at(own).expect("a live subscription").connection;
        let connection = self.at_mut(connection);
        connection.activate(own, subscriptions);
        connection.subscriber
    }
}
