//! The connections with subscriptions. A subscription is found by its topic in constant time,
//! and the ready ones are a ring of their own, so quiet subscriptions cost nothing.
//!
//! A subscription is *ready* while its tape may have frames for it, or while it has to catch up.
//! It leaves the ring when the connection finds that it has nothing to do.

use super::subscription::{Subscription, Subscriptions};
use crate::base::Slab;
use crate::hub::ids::{ConnectionRef, NONE, SubscriptionRef};
use hashbrown::HashTable;
use std::collections::VecDeque;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// How signals name it; [`NONE`] once it has left.
    pub subscriber: u32,
    /// The first of the ring of its ready subscriptions; [`NONE`] if there is none.
    first_ready: u32,
    /// Its subscription, while it has one and never had more than that.
    only: u32,
    /// Portions of the past that it has asked for and that were not delivered yet.
    pub pulls: u16,
    /// It reads compressed tapes.
    pub deflates: bool,
    several: Option<Box<Several>>,
}

/// The state of a connection beyond one subscription.
#[derive(Debug, Default)]
struct Several {
    by_topic: HashTable<u32>,
    /// Its subscriptions to patterns, the oldest first.
    patterns: Vec<u32>,
    /// Those that wait until others have got their portions.
    waiting: VecDeque<SubscriptionRef>,
}

/// Spreads topics, which are small numbers, over all bits.
fn hash(topic: u32) -> u64 {
    let spread = u64::from(topic).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    spread ^ (spread >> 32)
}

fn topic_of(subscriptions: &Slab<Subscription>, own: u32) -> u32 {
    subscriptions.at(own).expect("a connection holds live subscriptions").topic
}

impl Connection {
    fn new(subscriber: u32, deflates: bool) -> Connection {
        let (first_ready, only, several) = (NONE, NONE, None);
        Connection { subscriber, first_ready, only, pulls: 0, deflates, several }
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
        // After a burst, the table gives its room back.
        let table = &mut several.by_topic;
        if table.capacity() > 64 && table.len() < table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |&own| hash(topic_of(subscriptions, own)));
        }
    }

    /// A subscription waits until others have got their portions.
    pub fn wait(&mut self, own: SubscriptionRef, subscriptions: &Slab<Subscription>) {
        self.several(subscriptions).waiting.push_back(own);
    }

    /// The one that has waited for longest, which may have ended.
    pub fn next_waiting(&mut self) -> Option<SubscriptionRef> {
        self.several.as_mut()?.waiting.pop_front()
    }

    /// The first ready subscription.
    #[inline]
    pub fn first_ready(&self) -> u32 {
        self.first_ready
    }

    /// Puts a subscription behind the other ready ones, unless it is one of them.
    #[inline]
    pub fn make_ready(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) {
        let first = self.first_ready;
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        if subscription.next_ready != NONE {
            return;
        }
        if first == NONE {
            (subscription.next_ready, subscription.previous_ready) = (own, own);
            self.first_ready = own;
            return;
        }
        let last =
            std::mem::replace(&mut subscriptions.at_mut(first).expect("ready").previous_ready, own);
        subscriptions.at_mut(last).expect("ready").next_ready = own;
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        (subscription.next_ready, subscription.previous_ready) = (first, last);
    }

    /// The first ready subscription comes last from now on.
    #[inline]
    pub fn rotate(&mut self, subscriptions: &Slab<Subscription>) {
        self.first_ready = subscriptions.at(self.first_ready).expect("ready").next_ready;
    }

    /// Takes a subscription out of the ready ones, if it is one of them.
    #[inline]
    pub fn make_idle(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) {
        let subscription = subscriptions.at_mut(own).expect("a live subscription");
        let next = std::mem::replace(&mut subscription.next_ready, NONE);
        let previous = std::mem::replace(&mut subscription.previous_ready, NONE);
        if next == NONE {
            return;
        }
        if next == own {
            self.first_ready = NONE;
            return;
        }
        subscriptions.at_mut(previous).expect("ready").next_ready = next;
        subscriptions.at_mut(next).expect("ready").previous_ready = previous;
        if self.first_ready == own {
            self.first_ready = next;
        }
    }
}

/// The connections of a hub that have subscriptions.
#[derive(Debug, Default)]
pub struct Connections {
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

    /// The connection with these subscriptions; it is added if they are the first.
    pub fn enter(&mut self, subscriber: u32, subscriptions: &mut Subscriptions) -> u32 {
        if subscriptions.connection == NONE {
            let connection = Connection::new(subscriber, subscriptions.deflates);
            subscriptions.connection = self.slab.insert(connection).0;
        }
        subscriptions.connection
    }

    /// Forgets a connection without subscriptions. One that has asked for portions of the past
    /// stays until they arrive.
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
    pub fn reference(&self, connection: u32) -> ConnectionRef {
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

    /// A subscription becomes ready. Returns its subscriber, [`NONE`] if that has left.
    #[inline]
    pub fn make_ready(&mut self, own: u32, subscriptions: &mut Slab<Subscription>) -> u32 {
        let connection = subscriptions.at(own).expect("a live subscription").connection;
        let connection = self.at_mut(connection);
        connection.make_ready(own, subscriptions);
        connection.subscriber
    }
}
