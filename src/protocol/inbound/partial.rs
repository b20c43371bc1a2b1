//! The incomplete rest of a receive buffer: a piece of a header, a frame whose payload is
//! arriving, a message in pieces.

use super::assembly::Assembly;
use crate::protocol::cause::CloseCause;
use crate::protocol::deflate::Inflater;
use crate::protocol::frame::{HEADER_BYTES_MAX, Header, Opcode};
use crate::protocol::mask;
use crate::protocol::workspace::Workspace;

/// Incomplete input, and the context of messages that may look back at earlier ones.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The start of a header, `header_len < 14`.
    pub(super) header: [u8; HEADER_BYTES_MAX],
    pub(super) header_len: u8,
    /// The frame whose payload is arriving; `payload_bytes` counts down and
    /// `mask` is rotated to the next byte.
    pub(super) frame: Option<Header>,
    /// The payload of a control frame that arrived in pieces, at most 125 bytes.
    pub(super) control: Vec<u8>,
    pub(super) message: Option<Assembly>,
    /// Messages may look back at earlier ones: the value stays between them.
    pub(super) remembers: bool,
    /// In that case the decompressor, from the first message on, while no message uses it.
    pub(super) inflater: Option<Inflater>,
}

/// The result of a step. It names the place of the payload and does not borrow it.
pub(super) enum Step {
    NeedInput,
    InPlace(Header),
    Control(Opcode),
    Whole,
}

impl Partial {
    /// Whether a message or a header is incomplete.
    pub(super) fn has_begun(&self) -> bool {
        self.message.is_some() || self.frame.is_some() || self.header_len > 0
    }

    /// A decompressor for one message: the connection's own if it has one.
    pub(super) fn take_inflater(&mut self, workspace: &mut Workspace) -> Inflater {
        if self.remembers {
            self.inflater.take().unwrap_or_default()
        } else {
            workspace.take_inflater()
        }
    }

    pub(super) fn put_inflater(&mut self, inflater: Inflater, workspace: &mut Workspace) {
        if self.remembers {
            self.inflater = Some(inflater);
        } else {
            workspace.put_inflater(inflater);
        }
    }

    pub(super) fn count_fragment(&mut self, opcode: Opcode) {
        if let Some(assembly) = self.message.as_mut().filter(|_| !opcode.is_control()) {
            assembly.fragments += 1;
        }
    }

    /// Counts `taken` bytes of the frame's payload; returns what they complete.
    pub(super) fn advance(&mut self, taken: usize) -> Result<Option<Step>, CloseCause> {
        let header = self.frame.as_mut().expect("a frame has begun");
        header.payload_bytes -= taken as u64;
        header.mask = mask::rotate(header.mask, taken);
        if header.payload_bytes > 0 {
            return Ok(Some(Step::NeedInput));
        }
        let Header { opcode, fin, .. } = *header;
        self.frame = None;
        if opcode.is_control() {
            return Ok(Some(Step::Control(opcode)));
        }
        if !fin {
            return Ok(None);
        }
        // A compressed message is whole once it is inflated.
        if self.message.as_ref().is_some_and(Assembly::is_compressed) {
            return Ok(None);
        }
        self.finish().map(|()| Some(Step::Whole))
    }

    /// Completes the message.
    pub(super) fn finish(&mut self) -> Result<(), CloseCause> {
        let assembly = self.message.as_mut().expect("a data frame has its message");
        // RFC 6455, 5.6: the whole message, not each frame, is valid UTF-8.
        assembly.utf8.finish().map_err(|_| CloseCause::InvalidUtf8)?;
        assembly.whole = true;
        Ok(())
    }
}
