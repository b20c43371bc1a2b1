//! Layer 1: RFC 6455 and RFC 7692 without I/O, for both sides.
//!
//! Bytes in, messages out, and the reverse: request heads and
//! handshakes, frame headers, masking, UTF-8, reassembly, compression, close codes. It knows
//! no socket, clock, thread or topic. A frame that lies whole in the receive buffer is never
//! copied.

pub mod cause;
pub mod deflate;
pub mod extensions;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod inbound;
pub mod json;
pub mod mask;
pub mod message;
mod refusal;
pub mod utf8;
mod workspace;

pub use cause::{CloseCause, CloseCode};
pub use frame::{Opcode, Role};
pub use head::Request;
pub use inbound::{Inbound, Incoming, Input, Rules};
pub use message::{Kind, Message};
pub use refusal::Refusal;
pub use workspace::Workspace;
