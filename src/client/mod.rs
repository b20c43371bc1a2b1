//! Layer 4: a client of `tapecast.v1.json`.
//!
//! [`Client`] connects, reconnects by itself, and resumes every channel at its last position.
//! Messages, gaps and restarts are reported as [`Event`]s. It runs on the caller's thread.
//! [`Session`] is the same without I/O, for programs that move the bytes themselves.
//! docs/clients.md has a page of examples.
//!
//! | file | subject |
//! |---|---|
//! | `blocking` | the client on a blocking socket |
//! | `event` | events, options of subscriptions and clients, errors |
//! | `session` | the connection's life, requests and answers, without I/O |
//! | `subscription` | the position of a subscription in its channels |
//! | `server_message` | the messages of the server, read from their text |
//! | `url` | the address of a server |
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
