//! Layer 4: a client of `tapecast.v1.json`.
//!
//! [`Client`] connects, comes back by itself, and goes on in every channel where it left;
//! what it got, missed or got anew it tells as [`Event`]s. It runs on the caller's thread.
//! [`Session`] is the same without I/O, for those who move bytes in their own way.
//! docs/clients.md has a page of examples.
//!
//! | file | what is there |
//! |---|---|
//! | `event` | what a client is told and asked, errors, options |
//! | `session` | the connection's life, requests and answers, without I/O |
//! | `subscription` | where a subscription is in its channels |
//! | `server_message` | the messages of the server, read from their text |
//! | `url` | where a server is |
//!
//! It knows nothing of the server's side.

mod blocking;
mod event;
mod server_message;
mod session;
mod subscription;
mod url;

pub use blocking::Client;
pub use event::{Error, Event, Mode, Options, Position, Received, RequestId, Subscribe};
pub use server_message::{NAME, NotAMessage, ServerMessage};
pub use session::{Need, Session};
pub use url::Url;
