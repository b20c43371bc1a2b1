//! How the parts of a hub name each other's things: by index and generation, so that a name
//! that has outlived its thing finds nothing.

/// No index: where a field may be empty and an `Option` would take twice the room.
pub const NONE: u32 = u32::MAX;

/// A topic on some shard, named by that shard's table.
///
/// ```
/// # use tapecast::base::Time;
/// # use tapecast::hub::{Delivery, Hub, Outbox, Signal, Subscriptions};
/// # let mut hub = Hub::alone(&tapecast::Limits::default());
/// # let mut subscriptions = Subscriptions::default();
/// # let mut signals = Vec::new();
/// hub.subscribe(7, &mut subscriptions, "news", &Delivery::default()).unwrap();
/// hub.flush(&mut Outbox::default(), &mut signals);
/// let Signal::Subscribed { topic, .. } = signals[0] else { panic!("one subscription") };
/// assert_eq!(hub.name(topic), Some("news"));
/// // Without readers and messages, the topic is forgotten when its retention is over.
/// hub.leave(&mut subscriptions);
/// hub.tick(Time::ZERO.plus_millis(100_000));
/// assert_eq!(hub.name(topic), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// Index into the table.
    pub index: u32,
    /// Generation of the entry.
    pub generation: u32,
}

/// A subscription by index and generation.
pub type SubscriptionRef = (u32, u32);

/// A connection among those with subscriptions, by index and generation.
pub type ConnectionRef = (u32, u32);

/// A watched pattern, or a subscription to one, by index and generation.
pub type PatternRef = (u32, u32);

/// A member of a presence list on its own shard, by index and generation.
pub type MemberRef = (u32, u32);
