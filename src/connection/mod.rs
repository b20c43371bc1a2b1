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
mod inbound;
mod keepalive;
mod outbound;

#[cfg(feature = "tls")]
pub use channel::{Channel, ChannelError, SEALED_BYTES_MAX, SERVER_HANDSHAKE_BYTES_MAX};
pub use inbound::{Arrival, Inbound};
pub use keepalive::{Action, KeepAlive};
pub use outbound::{Outbound, SendOutcome};

use crate::protocol::CloseCode;

/// How a connection ended, as the application is told.
///
/// ```
/// use tapecast::{Close, CloseCode};
///
/// let is_clean = |close: &Close| close.code != CloseCode::ABNORMAL;
/// let by_us = Close { code: CloseCode::NORMAL, reason: "bye".into(), by_peer: false };
/// assert!(is_clean(&by_us));
/// assert!(!is_clean(&Close::lost()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code that the peer sent, or that this end sent, or 1006 when the
    /// connection was lost.
    pub code: CloseCode,
    /// The reason beside it, empty if there was none.
    pub reason: Box<str>,
    /// Whether the peer sent the first close frame.
    pub by_peer: bool,
}

impl Close {
    /// The connection was lost without a close frame.
    pub fn lost() -> Close {
        Close { code: CloseCode::ABNORMAL, reason: Box::default(), by_peer: true }
    }
}
