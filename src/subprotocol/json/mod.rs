//! `tapecast.v1.json`: topics in JSON, one object per text message.
//!
//! A request is answered with the `id` that it brought. A mistake in it is an `error` with a
//! number ([`ErrorCode`]), and never the connection's end. Bodies of messages pass through as
//! their publishers wrote them, inside an envelope that only the server writes.

mod answers;
mod error;
mod handler;
mod heartbeat;
mod lane;
mod publishing;
mod request;
mod session;
mod steps;
mod subscribing;

pub use error::{ErrorCode, table as error_table};
pub use handler::Json;
pub use lane::{JsonLane, LANE, NAME};
pub use session::JsonSession;

#[cfg(test)]
mod tests;
