//! A piece of the stream, and how much of it is consumed.

use crate::protocol::mask;

/// A piece of the stream, as the kernel delivered it.
///
/// ```
/// use tapecast::protocol::Input;
/// use tapecast::protocol::head::HeadEnd;
///
/// let mut bytes = *b"GET / HTTP/1.1\r\n\r\nframes";
/// let mut input = Input::new(&mut bytes);
/// let head_bytes = HeadEnd::default().find(input.rest()).expect("it is whole");
/// input.consume(head_bytes);
/// assert_eq!(input.rest(), b"frames");
/// ```
#[derive(Debug)]
pub struct Input<'b> {
    pub(super) bytes: &'b mut [u8],
    /// `consumed <= bytes.len()`
    pub(super) consumed: usize,
    /// The payload of the last message that was whole in `bytes`.
    pub(super) payload: std::ops::Range<usize>,
}

impl<'b> Input<'b> {
    /// A piece of which nothing is consumed yet.
    pub fn new(bytes: &'b mut [u8]) -> Input<'b> {
        Input { bytes, consumed: 0, payload: 0..0 }
    }

    /// The bytes not consumed yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Counts `bytes` more bytes as consumed.
    pub fn consume(&mut self, bytes: usize) {
        self.consumed += bytes;
        debug_assert!(self.consumed <= self.bytes.len());
    }

    /// The frame that was consumed last, and the length of its header, if it was a whole
    /// uncompressed message of a server and nothing has been consumed since. A following frame
    /// with the same header is such a message too.
    ///
    /// ```
    /// use tapecast::protocol::{Inbound, Input, Role, Rules, Workspace};
    ///
    /// let rules = Rules { role: Role::Client, message_bytes_max: 9, message_fragments_max: 1, deflate: false };
    /// let (mut inbound, mut pool) = (Inbound::new(), Workspace::new(1 << 20));
    /// let mut messages = *b"\x82\x05hello\x82\x05world";
    /// let mut input = Input::new(&mut messages);
    /// assert!(inbound.next(&rules, &mut pool, &mut input).is_ok());
    /// assert_eq!(input.last_message(), Some((&b"\x82\x05hello"[..], 2)));
    /// assert_eq!(input.rest(), b"\x82\x05world");
    /// ```
    #[inline]
    pub fn last_message(&self) -> Option<(&[u8], usize)> {
        let std::ops::Range { start, end } = self.payload;
        let (header_bytes, length) = match end - start {
            bytes @ ..126 => (2, bytes as u8),
            ..0x1_0000 => (4, 126),
            _ => (10, 127),
        };
        let frame = self.bytes.get(start.checked_sub(header_bytes)?..end)?;
        let is_message =
            matches!(frame[0], 0x81 | 0x82) && frame[1] == length && end == self.consumed;
        is_message.then_some((frame, header_bytes))
    }

    /// Consumes a payload of `bytes` bytes and unmasks it in place.
    #[inline]
    pub(super) fn take(&mut self, bytes: usize, key: [u8; 4]) -> &[u8] {
        self.payload = self.consumed..self.consumed + bytes;
        self.consumed = self.payload.end;
        let payload = &mut self.bytes[self.payload.clone()];
        // A server's frames are not masked, and a key of zeroes changes nothing.
        if key != [0; 4] {
            mask::apply(payload, key);
        }
        payload
    }
}
