//! x
#![allow(missing_docs)]
#[cfg(feature = "server")]
mod app;
pub mod base;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod connection;
#[cfg(feature = "server")]
mod control;
#[cfg(feature = "server")]
pub mod hub;
pub mod mailbox;
pub mod protocol;
pub mod ring;
#[cfg(feature = "server")]
pub mod routes;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod shard;

pub use base::{ConnectionId, Counters, Limits, ShardId};
pub use connection::{Close, SendOutcome};
pub use protocol::{CloseCode, Message};
#[cfg(feature = "server")]
pub use {
    app::{Conn, Handler, Notice, Publisher, Request, Router, SendToError, Upgrade},
    hub::{HubError, Published},
    server::{Builder, Server, ServerError, ServerHandle},
};
