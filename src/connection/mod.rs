//! Layer 3: one peer's life without I/O.
//!
//! A connection is split in two, so that a message may borrow one half while a
//! handler writes to the other: [`Inbound`] receives (the request
//! head, then messages), [`Outbound`] holds the bytes to send. [`KeepAlive`]
//! decides when to ping an idle peer and when to give it up. A connection with TLS has a
//! [`Channel`] between the two and the wire; a plain one has none. Time and bytes are arguments.
//! The module knows nothing of descriptors, the ring or topics.

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
