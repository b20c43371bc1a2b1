//! Messages between hubs, and how they wait for room. How they travel, the shard knows.

mod message;
mod outgoing;

pub use message::{HubMessage, Outbox, Post};
pub use outgoing::{Outgoing, Pull, Waiting, sent_work, weight};
