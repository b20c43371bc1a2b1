//! Messages between hubs, and the queues in which they wait for room. The shard carries them.

mod message;
mod outgoing;

pub use message::{HubMessage, Outbox, Post};
pub use outgoing::{Outgoing, Pull, Waiting, sent_work, weight};
