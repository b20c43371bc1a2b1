//! A WebSocket server for Linux: thread per core, one io_uring per core, fan-out
//! from shared tapes.
//!
//! A [`Handler`] is one value per shard, and a shard is a thread pinned to a core
//! with its own ring, listeners and connections: no locks, no `Send`.
//!
#![cfg_attr(feature = "server", doc = "```no_run")]
#![cfg_attr(not(feature = "server"), doc = "```ignore")]
//! use tapecast::{Conn, Handler, Message, Request, Server, Upgrade};
//!
//! struct Chat;
//!
//! impl Handler for Chat {
//!     type Session = ();
//!     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
//!         Upgrade::accept(())
//!     }
//!     fn open(&mut self, conn: &mut Conn<'_, ()>) {
//!         conn.subscribe("lobby").expect("a good name, once");
//!     }
//!     fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
//!         if conn.publish("lobby", message).is_err() {
//!             conn.close(1013, "try again later");
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), tapecast::ServerError> {
//! let server = Server::builder().listen("127.0.0.1:9001")?.start(|_shard| Chat)?;
//! server.join()
//! # }
//! ```
//!
//! [`testing::TestShard`] tests handlers without a kernel. `ARCHITECTURE.md` describes how the
//! server works inside.
//!
//! Without the feature `server` the crate is the protocol, the ring and the client
//! side of a connection, on which the load generator is built; the feature `client` adds
//! [`client`], for programs that publish and subscribe.

#[cfg(not(target_os = "linux"))]
compile_error!("tapecast is built on io_uring: Linux only");

pub mod base;
pub mod connection;
pub mod driver;
pub mod mailbox;
pub mod protocol;

#[cfg(feature = "server")]
mod admission;
#[cfg(feature = "server")]
mod app;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "cli")]
mod control;
#[cfg(feature = "server")]
pub mod hub;
#[cfg(feature = "server")]
pub mod routes;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "settings")]
#[doc(hidden)]
pub mod settings;
#[cfg(feature = "server")]
mod shard;
#[cfg(feature = "server")]
pub mod subprotocol;
#[cfg(feature = "server")]
pub mod testing;
#[cfg(feature = "tls")]
pub mod tls;

/// The README's example compiles.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The clients' examples compile.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../docs/clients.md")]
struct Clients;

/// The examples of embedding compile, and the handlers' test passes.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;

pub use base::{ConnectionId, Counters, Limits, ShardId};
pub use connection::{Close, SendOutcome};
pub use protocol::{CloseCode, Message};
#[cfg(feature = "server")]
pub use {
    app::{Conn, Handler, Notice, Publish, Publisher, Request, Router, SendToError, Upgrade},
    hub::{HubError, Published},
    server::{Address, Builder, Server, ServerError, ServerHandle},
};
