//! A subscription: a cursor of one connection on one topic's tape.

use crate::base::Slab;
use crate::hub::ids::NONE;
use crate::hub::policy::SlowReader;

/// No pattern: the connection has subscribed to the topic by its name.
pub const NO_PATTERN: u32 = u32::MAX;

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
    pub(in crate::hub) connection: u32,
    /// Messages from tapes are compressed.
    pub(in crate::hub) deflates: bool,
}

impl Default for Subscriptions {
    fn default() -> Self {
        Subscriptions { connection: NONE, deflates: false }
    }
}

impl Subscriptions {
    /// The connection has negotiated compression: subscriptions made from now on read
    /// compressed tapes. A message is compressed once for all such readers.
    pub fn set_deflates(&mut self) {
        self.deflates = true;
    }

    /// Whether they do.
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
pub enum State {
    /// The home has yet to answer: it has no cursor.
    Joining,
    /// It gets what lies before its cursor in portions; the cursor holds its place on the
    /// tape.
    CatchingUp,
    /// Its cursor is on the tape.
    Live,
    /// The tape has dropped the message at its cursor, and its connection has been asked to
    /// catch up.
    Behind,
}

/// The treatment of a subscription that falls behind its tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// That of its own delivery or of the topic's rule.
    Slow(SlowReader),
    /// It is brought up to date: only the newest message of each key counts for it.
    Latest,
}

/// See the module.
#[derive(Debug)]
pub struct Subscription {
    pub topic: u32,
    pub connection: u32,
    /// Its place among the topic's subscribers.
    pub place: u32,
    /// The ring of the connection's ready subscriptions, [`NONE`] while it is not in it.
    pub next_ready: u32,
    pub previous_ready: u32,
    /// Its flow control, [`NONE`] if it needs none.
    pub flow: u32,
    /// The number of the next message to get; always between two frames.
    pub cursor: u64,
    /// The connection's subscription to a pattern that has made it, or [`NO_PATTERN`].
    pub pattern: u32,
    pub lane: u8,
    pub state: State,
    pub policy: Policy,
    /// Its cursor has moved since the last heartbeat.
    pub has_moved: bool,
}

impl Subscription {
    /// A pattern has made it.
    pub fn is_matched(&self) -> bool {
        self.pattern != NO_PATTERN
    }

    /// It gets the newest message of each key.
    #[inline]
    pub fn is_latest(&self) -> bool {
        self.policy == Policy::Latest
    }

    /// Its connection is closed when it falls behind.
    pub fn is_closed_when_slow(&self) -> bool {
        self.policy == Policy::Slow(SlowReader::Close)
    }
}

/// Keeps the places of subscriptions true: what the operations on a topic's subscribers call.
pub fn moves(subscriptions: &mut Slab<Subscription>) -> impl FnMut(u32, u32) {
    |own, place| {
        // One that is being removed has no place any more.
        if let Some(subscription) = subscriptions.at_mut(own) {
            subscription.place = place;
        }
    }
}
