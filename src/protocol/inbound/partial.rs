//! What is incomplete at the end of a receive buffer: a piece of a header, a frame whose payload
//! is arriving, a message in pieces.

use super::assembly::Assembly;
use crate::protocol::cause::CloseCause;
use crate::protocol::deflate::Inflater;
use crate::protocol::frame::{HEADER_BYTES_MAX, Header, Opcode};
use crate::protocol::mask;
use crate::protocol::workspace::Workspace;

/// What is incomplete, and what stays of messages that may be looked back at.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// The start of a header, `header_len < 14`.
    pub(super) header: [u8; HEADER_BYTES_MAX],
    pub(super) header_len: u8,
    /// The frame whose payload is arriving; `payload_bytes` counts down and
    /// `mask` is rotated to the next byte.
    pub(super) frame: Option<Header>,
    /// The payload of a control frame that came in pieces, at most 125 bytes.
    pub(super) control: Vec<u8>,
    pub(super) message: Option<Assembly>,
    /// Messages may look back at earlier ones: this stays between them.
    pub(super) remembers: bool,
    /// Then what remembers them, once there were any and while none is inflated.
    pub(super) inflater: Option<Inflater>,
}

/// What a step led to; says where the thing lies, not the thing itself.
pub(super) enum Step {
    NeedInput,
    InPlace(Header),
    Control(Opcode),
    Whole,
}

impl Partial {
    /// Whether there is a piece of a message, or of a header.
    pub(super) fn has_begun(&self) -> bool {
        self.message.is_some() || self.frame.is_some() || self.header_len > 0
    }

    /// A decompressor for one message: its own if it has one.
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

    /// Counts `taken` bytes of payload off the frame; says what is whole by them.
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
        // One that is compressed is not before it is inflated.
        if self.message.as_ref().is_some_and(Assembly::is_compressed) {
            return Ok(None);
        }
        self.finish().map(|()| Some(Step::Whole))
    }

    /// The message is whole.
    pub(super) fn finish(&mut self) -> Result<(), CloseCause> {
        let assembly = self.message.as_mut().expect("a data frame has its message");
        // RFC 6455, 5.6: the whole message, not each frame, is valid UTF-8.
        assembly.utf8.finish().map_err(|_| CloseCause::InvalidUtf8)?;
        assembly.whole = true;
        Ok(())
    }
}
