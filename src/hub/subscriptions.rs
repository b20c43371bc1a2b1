//! Subscriptions: the cursors of connections on tapes.
//!
//! The subscriptions of a connection form a ring of indices, entered where the
//! next turn of sending starts; those of a topic are a list. Both are changed in
//! O(1) for the topic, whatever the number of its subscribers.

use super::tape::Tape;
use super::{Hub, HubError, Mark, is_topic_name};

const NONE: u32 = u32::MAX;

/// The subscriptions of one connection: a ring of them, entered where the next
/// turn of sending starts.
///
/// ```
/// use tapecast::hub::{Hub, Subscriptions};
/// use tapecast::{Limits, ShardId};
///
/// let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// let mut subscriptions = Subscriptions::default();
/// hub.subscribe(7, &mut subscriptions, "news").unwrap();
/// hub.subscribe(7, &mut subscriptions, "weather").unwrap();
/// assert!(hub.unsubscribe(&mut subscriptions, "news"));
/// assert!(!hub.unsubscribe(&mut subscriptions, "news"));
/// hub.leave(&mut subscriptions);
/// assert!(subscriptions.is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Subscriptions {
    first: u32,
    count: u32,
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

#[derive(Debug)]
pub(super) struct Subscription {
    topic: u32,
    pub subscriber: u32,
    /// Its place in the topic's list of subscribers.
    place: u32,
    /// The connection's next subscription; its own index if it is the only one.
    next: u32,
    /// A position on the topic's tape, always between two frames.
    pub cursor: u64,
}

impl Hub {
    /// Subscribes a connection to every message of `topic` from now on. A
    /// [`Mark::Subscribed`] tells when "now" was.
    ///
    /// # Errors
    /// [`HubError::BadName`], [`HubError::AlreadySubscribed`],
    /// [`HubError::TooManySubscriptions`].
    pub fn subscribe(
        &mut self,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
    ) -> Result<(), HubError> {
        if !is_topic_name(topic) {
            return Err(HubError::BadName);
        }
        if subscriptions.count as usize >= self.limits.subscriptions_max {
            return Err(HubError::TooManySubscriptions);
        }
        let index = self.topic_index(topic);
        if self.find(*subscriptions, index).is_some() {
            return Err(HubError::AlreadySubscribed);
        }
        let bytes_max = self.limits.tape_bytes_max;
        let topic = self.topics.at_mut(index).expect("just looked up");
        let cursor = topic.tape.get_or_insert_with(|| Box::new(Tape::new(bytes_max))).end();
        let place = topic.subscribers.len() as u32;
        let live = topic.live;
        let next = subscriptions.first;
        let (own, _) = self.subscriptions.insert(Subscription {
            topic: index,
            subscriber,
            place,
            next,
            cursor,
        });
        topic.subscribers.push(own);
        self.link(subscriptions, own);
        match live {
            Some((epoch, seq)) => {
                let topic = self.reference(index);
                self.marks.push(Mark::Subscribed { subscriber, topic, epoch, seq });
                self.is_fresh = true;
            }
            None => self.want(index),
        }
        Ok(())
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
        let topic = self.topics.at_mut(removed.topic).expect("a subscription has its topic");
        topic.subscribers.swap_remove(removed.place as usize);
        if let Some(&moved) = topic.subscribers.get(removed.place as usize) {
            self.subscriptions.at_mut(moved).expect("listed").place = removed.place;
        }
        if topic.subscribers.is_empty() {
            self.tape_bytes -= topic.tape.take().map_or(0, |tape| tape.held_bytes());
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
    fn at(&self, subscription: u32) -> &Subscription {
        self.subscriptions.at(subscription).expect("rings hold live subscriptions")
    }

    /// What a connection has yet to get from its topics, at most some `bytes_max`
    /// bytes of it in at most `slices_max` slices, in the order in which
    /// [`Hub::advance`] counts them.
    #[inline]
    pub fn pending<'h>(
        &'h self,
        subscriptions: Subscriptions,
        bytes_max: usize,
        slices_max: usize,
        mut take: impl FnMut(&'h [u8]),
    ) {
        let (mut bytes, mut slices) = (0, 0);
        let mut own = subscriptions.first;
        for _ in 0..subscriptions.count {
            let subscription = self.at(own);
            if let Some(tape) = self.tape_from(subscription) {
                for slice in tape.from(subscription.cursor) {
                    if bytes >= bytes_max || slices >= slices_max {
                        return;
                    }
                    bytes += slice.len();
                    slices += 1;
                    take(slice);
                }
            }
            own = subscription.next;
        }
    }

    /// The tape of a subscription, unless it fell off it or has nothing to get.
    #[inline]
    fn tape_from(&self, subscription: &Subscription) -> Option<&Tape> {
        let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
        let tape = topic.tape.as_deref()?;
        (subscription.cursor >= tape.begin() && subscription.cursor < tape.end()).then_some(tape)
    }

    /// `bytes` bytes of what [`Hub::pending`] gave were sent: moves the cursors.
    /// A frame that has begun counts as delivered; what is left of it goes to
    /// `rest`, and the connection keeps it, so that cursors are always between
    /// two frames. Says how many messages were begun.
    pub fn advance(
        &mut self,
        subscriptions: &mut Subscriptions,
        mut bytes: usize,
        rest: impl FnOnce(&[u8]),
    ) -> u64 {
        let mut messages = 0;
        let mut own = subscriptions.first;
        let mut rest = Some(rest);
        for _ in 0..subscriptions.count {
            let subscription = self.at(own);
            let next = subscription.next;
            if let Some(tape) = self.tape_from(subscription) {
                let available: usize = tape.from(subscription.cursor).map(<[u8]>::len).sum();
                let taken = bytes.min(available);
                bytes -= taken;
                let advanced = tape.advance(subscription.cursor, taken);
                messages += advanced.messages;
                if !advanced.rest.is_empty()
                    && let Some(rest) = rest.take()
                {
                    rest(advanced.rest);
                }
                let cursor = advanced.cursor;
                self.subscriptions.at_mut(own).expect("linked").cursor = cursor;
            }
            own = next;
            if bytes == 0 {
                break;
            }
        }
        // The next turn starts behind the last that was served.
        if subscriptions.count > 1 {
            subscriptions.first = own;
        }
        messages
    }

    /// Whether a connection has something to get.
    pub fn has_pending(&self, subscriptions: Subscriptions) -> bool {
        let mut own = subscriptions.first;
        (0..subscriptions.count).any(|_| {
            let subscription = self.at(own);
            own = subscription.next;
            self.tape_from(subscription).is_some()
        })
    }
}
