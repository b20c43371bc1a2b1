//! Received bytes to messages.
//!
//! A frame that lies whole in the receive buffer is unmasked in place and its
//! message borrows that buffer. Only the incomplete rest at the buffer's end is
//! kept: a piece of a header, or a message in a buffer of the pool. So all input
//! is always consumed, and a connection between two messages keeps nothing, unless its
//! compressed messages may look back at earlier ones.
//!
//! A compressed message is inflated into a buffer of its own. While it is short, a message in
//! pieces is kept compressed, since a decompressor is larger than that. A longer one gets a
//! decompressor, and its pieces are inflated as they arrive.

mod assembly;
mod incoming;
mod input;
mod partial;
mod receiver;
mod rules;

pub use incoming::Incoming;
pub use input::Input;
pub use receiver::Inbound;
pub use rules::Rules;

#[cfg(test)]
mod tests;
