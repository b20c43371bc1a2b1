//! The limits of messages that one side accepts.

use crate::protocol::frame::Role;

/// The limits of messages that one side accepts.
///
/// ```
/// use tapecast::protocol::{CloseCause, Inbound, Input, Role, Rules, Workspace};
///
/// let rules = Rules { role: Role::Client, message_bytes_max: 4, message_fragments_max: 1, deflate: false };
/// let (mut inbound, mut pool) = (Inbound::new(), Workspace::new(1 << 20));
/// let mut five_bytes = *b"\x81\x05hello";
/// let mut input = Input::new(&mut five_bytes);
/// assert_eq!(inbound.next(&rules, &mut pool, &mut input), Err(CloseCause::MessageTooBig));
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    /// The side that receives.
    pub role: Role,
    /// Bytes of a message after reassembly.
    pub message_bytes_max: usize,
    /// Frames of a message.
    pub message_fragments_max: u32,
    /// Whether compression was negotiated.
    pub deflate: bool,
}

impl Rules {
    /// The same rules for connections that have negotiated compression.
    #[must_use]
    pub fn with_deflate(&self) -> Rules {
        Rules { deflate: true, ..self.clone() }
    }

    /// Bytes of a compressed message: incompressible data becomes a little longer.
    pub(super) fn compressed_bytes_max(&self) -> usize {
        self.message_bytes_max.saturating_add(self.message_bytes_max / 1024 + 64)
    }
}
