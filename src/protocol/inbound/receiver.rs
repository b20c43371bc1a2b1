//! The receiving half of a connection: received bytes to messages.

use super::assembly::{self, Assembly, Packed, Unpacked};
use super::incoming::{Incoming, incoming, text};
use super::input::Input;
use super::partial::{Partial, Step};
use super::rules::Rules;
use crate::base::BufferPool;
use crate::protocol::cause::CloseCause;
use crate::protocol::frame::{self, HEADER_BYTES_MAX, Header, Opcode, SERVER_HEADER_BYTES_MAX};
use crate::protocol::mask;
use crate::protocol::message::{Kind, Message};
use crate::protocol::workspace::{Size, Workspace};

/// The receiving half of a connection.
///
/// ```
/// use tapecast::protocol::{Inbound, Incoming, Input, Message, Role, Rules, Workspace};
///
/// let rules = Rules { role: Role::Client, message_bytes_max: 1024, message_fragments_max: 8, deflate: false };
/// let (mut inbound, mut pool) = (Inbound::new(), Workspace::new(1 << 20));
/// let (mut first, mut second) = (*b"\x81\x05he", *b"llo");
/// assert_eq!(inbound.next(&rules, &mut pool, &mut Input::new(&mut first)), Ok(None));
/// assert!(inbound.is_partial());
/// let hello = Incoming::Message(Message::Text("hello"));
/// assert_eq!(inbound.next(&rules, &mut pool, &mut Input::new(&mut second)), Ok(Some(hello)));
/// ```
#[derive(Debug, Default)]
pub struct Inbound {
    partial: Option<Box<Partial>>,
}

impl Inbound {
    /// A connection between two messages.
    pub fn new() -> Inbound {
        Inbound::default()
    }

    /// From now on, compressed messages may look back at earlier ones.
    pub fn remember(&mut self) {
        self.partial.get_or_insert_default().remembers = true;
    }

    /// The next thing in `input`, or `None` when all of it is consumed.
    ///
    /// # Errors
    /// The cause for which the connection is to be closed. Nothing may be read
    /// from it after that.
    pub fn next<'a>(
        &'a mut self,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, CloseCause> {
        // The most frequent frames take a straight line.
        if self.partial.is_none()
            && let Some(small) = frame::decode_small(input.rest(), rules.role)
            && small.payload_bytes <= rules.message_bytes_max
        {
            input.consume(small.header_bytes);
            let payload = input.take(small.payload_bytes, small.mask);
            return Ok(Some(Incoming::Message(if small.text {
                Message::Text(text(payload)?)
            } else {
                Message::Binary(payload)
            })));
        }
        self.next_of_any(rules, workspace, input)
    }

    fn next_of_any<'a>(
        &'a mut self,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, CloseCause> {
        self.take_back(workspace);
        match self.step(rules, workspace, input)? {
            Step::NeedInput => Ok(None),
            Step::InPlace(header) => {
                let payload = input.take(header.payload_bytes as usize, header.mask);
                incoming(header.opcode, payload).map(Some)
            }
            Step::Control(opcode) => {
                let partial = self.partial.as_ref().expect("a control frame was collected");
                incoming(opcode, &partial.control).map(Some)
            }
            Step::Whole => {
                let assembly = self.assembly().expect("a message was collected");
                // Validated piece by piece already; this pass turns it into a `str`.
                incoming(assembly.kind.opcode(), assembly.payload()).map(Some)
            }
        }
    }

    fn step(
        &mut self,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &mut Input<'_>,
    ) -> Result<Step, CloseCause> {
        if self.is_inflating()
            && let Some(step) = self.inflate_on(false, rules, workspace)?
        {
            return Ok(step);
        }
        loop {
            if self.partial.as_ref().is_none_or(|partial| partial.frame.is_none()) {
                let Some(header) = self.header(rules, input)? else {
                    return Ok(Step::NeedInput);
                };
                self.check_sequence(&header, rules)?;
                let available = input.rest().len() as u64;
                let begins_message = matches!(header.opcode, Opcode::Text | Opcode::Binary);
                if header.payload_bytes <= available
                    && header.fin
                    && (begins_message || header.opcode.is_control())
                {
                    if header.compressed {
                        return self.inflate_in_place(header, rules, workspace, input);
                    }
                    return Ok(Step::InPlace(header));
                }
                self.begin(header, workspace);
            }
            if let Some(step) = self.collect(rules, workspace, input)? {
                return Ok(step);
            }
        }
    }

    /// Decodes a header from its kept start and the input.
    #[inline]
    fn header(
        &mut self,
        rules: &Rules,
        input: &mut Input<'_>,
    ) -> Result<Option<Header>, CloseCause> {
        let kept = self.partial.as_ref().map_or(0, |partial| partial.header_len as usize);
        if kept == 0 {
            if let Some(header) = frame::decode_with(input.rest(), rules.role, rules.deflate)? {
                input.consume(header.header_bytes as usize);
                return Ok(Some(header));
            }
            if input.rest().is_empty() {
                return Ok(None);
            }
        }
        // Rare: the buffer ended, or began, inside a header.
        let partial = self.partial.get_or_insert_default();
        let taken = input.rest().len().min(HEADER_BYTES_MAX - kept);
        partial.header[kept..kept + taken].copy_from_slice(&input.rest()[..taken]);
        let bytes = &partial.header[..kept + taken];
        match frame::decode_with(bytes, rules.role, rules.deflate)? {
            Some(header) => {
                input.consume(header.header_bytes as usize - kept);
                partial.header_len = 0;
                Ok(Some(header))
            }
            None => {
                input.consume(taken);
                partial.header_len = (kept + taken) as u8;
                Ok(None)
            }
        }
    }

    /// Checks the rules that depend on earlier frames, and the limits, before anything is
    /// allocated for the frame.
    fn check_sequence(&self, header: &Header, rules: &Rules) -> Result<(), CloseCause> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let (bytes, fragments) = match (self.assembly(), header.opcode) {
            // RFC 6455, 5.4: a fragmented message is continued, and nothing else is.
            (None, Opcode::Continuation) => return Err(CloseCause::ContinuationUnexpected),
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(CloseCause::ContinuationMissing);
            }
            (Some(assembly), _) => (assembly.received_bytes(), assembly.fragments),
            (None, _) => (0, 0),
        };
        let is_compressed = self.assembly().map_or(header.compressed, Assembly::is_compressed);
        let bytes_max =
            if is_compressed { rules.compressed_bytes_max() } else { rules.message_bytes_max };
        // `bytes` is at most the limit, so neither side can wrap.
        if header.payload_bytes > (bytes_max - bytes) as u64 {
            return Err(CloseCause::MessageTooBig);
        }
        if fragments >= rules.message_fragments_max {
            return Err(CloseCause::TooManyFragments);
        }
        Ok(())
    }

    /// Begins a frame whose payload is collected.
    fn begin(&mut self, header: Header, workspace: &mut Workspace) {
        let partial = self.partial.get_or_insert_default();
        partial.control.clear();
        partial.frame = Some(header);
        let kind = match header.opcode {
            Opcode::Text => Kind::Text,
            Opcode::Binary => Kind::Binary,
            _ => return partial.count_fragment(header.opcode),
        };
        partial.message = Some(if header.compressed {
            // A connection with its own decompressor need not keep compressed bytes.
            let inflater = partial.remembers.then(|| partial.take_inflater(workspace));
            Assembly {
                packed: Some(Packed::new(workspace.take(), inflater)),
                ..Assembly::new(kind, 0, workspace)
            }
        } else {
            Assembly::new(kind, header.payload_bytes, workspace)
        });
        partial.count_fragment(header.opcode);
    }

    /// Inflates a message that lies whole in the input, up to the bound of this turn.
    fn inflate_in_place(
        &mut self,
        header: Header,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &mut Input<'_>,
    ) -> Result<Step, CloseCause> {
        let start = input.consumed;
        input.consumed += header.payload_bytes as usize;
        let payload = &mut input.bytes[start..input.consumed];
        mask::apply(payload, header.mask);
        let kind = if header.opcode == Opcode::Text { Kind::Text } else { Kind::Binary };
        let mut assembly = Assembly::new(kind, 0, workspace);
        let partial = self.partial.get_or_insert_default();
        let mut inflater = partial.take_inflater(workspace);
        let mut piece = &*payload;
        let mut inflated = assembly.inflate(&mut inflater, &mut piece, rules, workspace);
        if let Ok(true) = inflated {
            inflated = assembly::end(&mut inflater).map(|()| true);
        }
        if workspace.is_bomb(payload.len(), assembly.payload_bytes()) {
            inflated = inflated.and(Err(CloseCause::MessageTooBig));
        }
        match inflated {
            Ok(true) => {
                partial.put_inflater(inflater, workspace);
                partial.message = Some(assembly);
                partial.finish().map(|()| Step::Whole)
            }
            Ok(false) => {
                let mut bytes = workspace.take();
                bytes.extend_from_slice(piece);
                let packed = Packed::new(bytes, Some(inflater));
                let (total, is_whole, is_paused) = (payload.len(), true, true);
                assembly.packed = Some(Packed { total, is_whole, is_paused, ..packed });
                partial.message = Some(assembly);
                Ok(Step::NeedInput)
            }
            Err(cause) => {
                partial.put_inflater(inflater, workspace);
                assembly.release(workspace);
                Err(cause)
            }
        }
    }

    /// Inflates the arriving message up to the bound of this turn. `is_last` says whether its last
    /// frame has arrived. Returns what became whole, or that the message pauses.
    fn inflate_on(
        &mut self,
        is_last: bool,
        rules: &Rules,
        workspace: &mut Workspace,
    ) -> Result<Option<Step>, CloseCause> {
        let partial = self.partial.as_mut().expect("a message has begun");
        let assembly = partial.message.as_mut().expect("a message has begun");
        match assembly.unpack(is_last, rules, workspace)? {
            Unpacked::Waits => Ok(None),
            Unpacked::Paused => Ok(Some(Step::NeedInput)),
            Unpacked::Whole(inflater) => {
                partial.put_inflater(inflater, workspace);
                partial.finish().map(|()| Some(Step::Whole))
            }
        }
    }

    /// Whether a compressed message pauses at the bound of inflated bytes: [`Inbound::next`]
    /// continues it before it takes more input, once the bound is raised.
    #[inline]
    pub fn is_inflating(&self) -> bool {
        self.assembly().is_some_and(Assembly::is_paused)
    }

    /// Collects payload of the current frame.
    fn collect(
        &mut self,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &mut Input<'_>,
    ) -> Result<Option<Step>, CloseCause> {
        let partial = self.partial.as_mut().expect("a frame has begun");
        let header = partial.frame.as_mut().expect("a frame has begun");
        let taken =
            input.rest().len().min(usize::try_from(header.payload_bytes).unwrap_or(usize::MAX));
        let piece = &input.rest()[..taken];
        if header.opcode.is_control() {
            let start = partial.control.len();
            partial.control.extend_from_slice(piece);
            mask::apply(&mut partial.control[start..], header.mask);
        } else {
            let assembly = partial.message.as_mut().expect("a data frame has its message");
            if let Some(packed) = &mut assembly.packed {
                let start = packed.bytes.len();
                packed.bytes.extend_from_slice(piece);
                mask::apply(&mut packed.bytes[start..], header.mask);
                packed.total += taken;
                input.consume(taken);
                let is_last = header.fin && header.payload_bytes == taken as u64;
                let needs_input = partial.advance(taken)?;
                return Ok(self.inflate_on(is_last, rules, workspace)?.or(needs_input));
            }
            let before = Size::of(&assembly.storage);
            assembly.reserve(taken, header.payload_bytes);
            workspace.count_grown(before, &assembly.storage);
            assembly.storage[assembly.end..assembly.end + taken].copy_from_slice(piece);
            assembly.written(taken, header.mask)?;
        }
        input.consume(taken);
        partial.advance(taken)
    }

    /// Bytes of payload missing from the arriving data frame; 0 when there is none.
    pub fn missing(&self) -> u64 {
        let frame = self.partial.as_ref().and_then(|partial| partial.frame.as_ref());
        frame.filter(|frame| !frame.opcode.is_control()).map_or(0, |frame| frame.payload_bytes)
    }

    /// Room for the next bytes of the arriving data frame, so that the
    /// kernel can write them to their place: not empty, and at most the missing
    /// bytes. Call [`Inbound::received`] with the number of bytes written.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        let partial = self.partial.as_mut()?;
        let header = partial.frame.as_ref().filter(|frame| !frame.opcode.is_control())?;
        // Compressed bytes have another place.
        let assembly = partial.message.as_mut().filter(|message| !message.is_compressed())?;
        assembly.reserve(1, header.payload_bytes);
        let room = &mut assembly.storage[assembly.end..];
        let bytes = room.len().min(usize::try_from(header.payload_bytes).unwrap_or(usize::MAX));
        Some(&mut room[..bytes])
    }

    /// Counts `bytes` bytes that were written into [`Inbound::room`]. [`Inbound::next`] returns
    /// a message that they complete, even if its `input` is empty.
    ///
    /// # Errors
    /// As [`Inbound::next`].
    pub fn received(&mut self, bytes: usize) -> Result<(), CloseCause> {
        let partial = self.partial.as_mut().expect("room was asked for");
        let header = partial.frame.as_mut().expect("room was asked for");
        let assembly = partial.message.as_mut().expect("room was asked for");
        assembly.written(bytes, header.mask)?;
        header.payload_bytes -= bytes as u64;
        header.mask = mask::rotate(header.mask, bytes);
        Ok(())
    }

    /// Turns the last message that [`Inbound::next`] returned into the frame
    /// that echoes it: the header is written in front of the payload, in place of the
    /// received one.
    ///
    /// # Errors
    /// The payload as it is, when its header arrived in an earlier buffer and
    /// there is no room in front of it.
    pub fn frame_in_place<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        kind: Kind,
    ) -> Result<&'a [u8], &'a [u8]> {
        let (storage, payload) = match self.assembly_mut() {
            Some(assembly) if assembly.whole => {
                (&mut assembly.storage[..], SERVER_HEADER_BYTES_MAX..assembly.end)
            }
            _ => (&mut *input.bytes, input.payload.clone()),
        };
        let header = frame::encode(kind.opcode(), true, payload.len(), None);
        let header = header.as_bytes();
        let Some(start) = payload.start.checked_sub(header.len()) else {
            return Err(&storage[payload]);
        };
        storage[start..payload.start].copy_from_slice(header);
        Ok(&storage[start..payload.end])
    }

    /// The buffer of the last message that [`Inbound::next`] returned, up to its payload's
    /// end and with the header that [`Inbound::frame_in_place`] has written; `None` if the
    /// message lies in the input.
    pub fn hand_over(&mut self, pool: &mut BufferPool) -> Option<Vec<u8>> {
        let assembly = self.assembly_mut().filter(|assembly| assembly.whole)?;
        Some(assembly.hand_over(pool))
    }

    /// Whether a message or a header is incomplete.
    pub fn is_partial(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.has_begun())
    }

    /// Bytes of memory that an incomplete message holds.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.assembly().filter(|assembly| !assembly.whole).map_or(0, Assembly::held_bytes)
    }

    /// Returns every buffer, and drops the context of earlier messages; returns whether it had
    /// one.
    pub fn release(&mut self, pool: &mut BufferPool) -> bool {
        let Some(partial) = self.partial.take() else { return false };
        if let Some(assembly) = partial.message {
            assembly.release(pool);
        }
        partial.remembers
    }

    /// Reclaims the message that the last call lent out.
    #[inline]
    fn take_back(&mut self, pool: &mut BufferPool) {
        let Some(partial) = &mut self.partial else { return };
        if let Some(assembly) = partial.message.take_if(|assembly| assembly.whole) {
            assembly.release(pool);
        }
        if !partial.has_begun() && !partial.remembers {
            self.partial = None;
        }
    }

    pub(super) fn assembly(&self) -> Option<&Assembly> {
        self.partial.as_ref()?.message.as_ref()
    }

    fn assembly_mut(&mut self) -> Option<&mut Assembly> {
        self.partial.as_mut()?.message.as_mut()
    }
}
