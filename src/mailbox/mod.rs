//! Layer 1: bounded lock-free queues between threads, and the protocol by which
//! a thread goes to sleep without missing mail. It knows nothing of the items.
//!
//! - [`channel`]: one producer, one consumer; bounded by count and by weight. One
//!   per direction between two shards.
//! - [`Allowance`]: bounds the sum of items that are heavier than the bound of their queue.
//! - [`Inbox`]: many producers, one consumer, over crossbeam's `ArrayQueue`. One
//!   per shard, for threads that are not shards.
//! - [`Newest`]: one place for a value that has to arrive, and of which only the newest matters.
//! - [`Doorbell`]: sleep and wake. At most one wake per sleep.

mod allowance;
mod doorbell;
mod inbox;
mod newest;
mod queue;

pub use allowance::Allowance;
pub use doorbell::Doorbell;
pub use inbox::Inbox;
pub use newest::Newest;
pub use queue::{Receiver, Sender, channel};
