//! Layer 3: one peer's life without I/O.
//!
//! A connection is split in two, so that a message may borrow the one while a
//! handler writes to the other: [`Inbound`] is what has arrived (the request
//! head, then messages), [`Outbound`] what is yet to be sent. [`KeepAlive`]
//! decides when to ask a silent peer and when to give it up. Over TLS a [`Channel`] lies
//! between the two and the wire. Time and bytes are arguments. It knows nothing of
//! descriptors, the ring or topics.

#[cfg(feature = "tls")]
mod channel;
pub mod client;
mod close;
mod inbound;
mod keepalive;
mod outbound;

#[cfg(feature = "tls")]
pub use channel::{Channel, ChannelError, SEALED_BYTES_MAX, SERVER_HANDSHAKE_BYTES_MAX};
pub use close::Close;
pub use inbound::{Arrival, Inbound};
pub use keepalive::{Action, KeepAlive};
pub use outbound::{Outbound, SendOutcome};
