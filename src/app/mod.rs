//! Layer 4: the API that an embedder writes against.
//!
//! A [`Handler`] is one value per shard; nothing of it crosses threads while it
//! serves, so it needs no lock and may be `!Send`. The module knows neither the
//! driver nor the shard.

mod command;
mod conn;
mod context;
mod deferred;
mod handler;
mod message;
mod publisher;
mod router;
mod shards;
mod upgrade;

#[cfg(feature = "cli")]
pub(crate) use command::Answer;
pub(crate) use command::{
    CommandQueue, CommandSender, ConnectionSummary, Page, Publication, ShardCommand,
};
pub use conn::Conn;
pub(crate) use context::{CallContext, ConnState, Core};
pub(crate) use deferred::{Deferred, DirectMessage};
pub use handler::{Handler, Notice};
pub use message::{Publish, SendToError};
pub use publisher::Publisher;
pub use router::Router;
pub(crate) use shards::Shards;
pub(crate) use upgrade::Decision;
pub use upgrade::{Request, Upgrade};
