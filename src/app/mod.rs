//! Layer 4: what an embedder writes against.
//!
//! A [`Handler`] is one value per shard; nothing of it crosses threads while it
//! serves, so it needs no lock and may be `!Send`. The module knows neither the
//! ring nor the shard.

mod conn;
mod core;
mod errand;
mod handler;
mod publisher;
mod router;
mod upgrade;

pub use conn::{Conn, Publish, SendToError};
pub(crate) use core::{Core, Link, Own};
#[cfg(feature = "cli")]
pub(crate) use errand::Answer;
pub(crate) use errand::{ConnectionSummary, Entrance, Errand, Outlet, Page, Publication, Shards};
pub use handler::{Handler, Notice};
pub use publisher::Publisher;
pub use router::Router;
pub(crate) use upgrade::Decision;
pub use upgrade::{Request, Upgrade};
