//! The sending half of a connection: its queue of bytes.
//!
//! Bytes are queued in one buffer of the pool, which the connection owns while
//! anything is queued. A connection whose peer keeps up sends everything at the
//! end of the turn and owns no buffer in between.

use crate::base::{BufferPool, Limits};
use crate::protocol::deflate::Compression;
use crate::protocol::frame::{self, CONTROL_PAYLOAD_BYTES_MAX};
use crate::protocol::{CloseCause, CloseCode, Message, Opcode, Workspace};

/// The outcome of sending a message. Check it: a connection whose peer reads too slowly can't
/// take more.
///
/// ```
/// use tapecast::connection::Outbound;
/// use tapecast::protocol::Workspace;
/// use tapecast::{Limits, Message, SendOutcome};
///
/// let limits = Limits { queued_bytes_pause: 1024, ..Limits::default() };
/// let (mut pool, mut outbound) = (Workspace::new(1 << 20), Outbound::new());
/// let message = Message::Binary(&[0; 2048]);
/// assert_eq!(outbound.message(&mut pool, &limits, message), SendOutcome::Queued);
/// assert_eq!(outbound.message(&mut pool, &limits, message), SendOutcome::Backpressure);
/// outbound.end();
/// assert_eq!(outbound.message(&mut pool, &limits, message), SendOutcome::Dropped);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a slow peer shows as Backpressure, an ended connection as Dropped"]
pub enum SendOutcome {
    /// It is sent at the end of the turn.
    Queued,
    /// It is queued behind more than `queued_bytes_pause` bytes that the peer has
    /// not taken. The connection is not read from until they are sent, which
    /// `Notice::Writable` reports.
    Backpressure,
    /// It is not sent: the connection is closing, or closes now because more than
    /// `queued_bytes_max` bytes are queued.
    Dropped,
}

/// The sending half of a connection.
///
/// ```
/// use tapecast::connection::{Outbound, SendOutcome};
/// use tapecast::protocol::Workspace;
///
/// # let limits = tapecast::Limits::default();
/// let (mut pool, mut outbound) = (Workspace::new(1 << 20), Outbound::new());
/// let outcome = outbound.message(&mut pool, &limits, "hi".into());
/// assert_eq!(outcome, SendOutcome::Queued);
/// assert_eq!(outbound.queued(), b"\x81\x02hi");
/// // The kernel takes all of it, and the buffer returns to the pool.
/// outbound.advance(&mut pool, 4);
/// assert_eq!((outbound.queued_bytes(), pool.lent()), (0, 0));
/// ```
#[derive(Debug, Default)]
pub struct Outbound {
    /// Without capacity while nothing is queued.
    queue: Vec<u8>,
    /// Bytes at the front of `queue` that are sent: `sent <= queue.len()`.
    /// In 32 bits, since every idle connection pays for it; `queued_bytes_max`
    /// keeps the queue shorter than that.
    sent: u32,
    /// A close frame, or a whole HTTP response, is the last thing in the queue.
    ended: bool,
    overflowed: bool,
    compression: Compression,
}

impl Outbound {
    /// An empty queue.
    pub fn new() -> Outbound {
        Outbound::default()
    }

    /// From now on, compresses messages where that makes them smaller.
    pub fn compress(&mut self, compression: Compression) {
        self.compression = compression;
    }

    /// Whether messages are compressed, and how.
    #[inline]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Ends sending: drops the queue, and returns the buffer and the context.
    pub fn finish(&mut self, workspace: &mut Workspace) {
        self.release(workspace);
        workspace.contexts().end(std::mem::take(&mut self.compression));
    }

    /// Queues a message of a server.
    #[inline]
    pub fn message(
        &mut self,
        workspace: &mut Workspace,
        limits: &Limits,
        message: Message<'_>,
    ) -> SendOutcome {
        let payload = message.payload();
        let outcome = self.may_queue(limits, payload.len());
        if outcome != SendOutcome::Dropped
            && !(self.compression.is_agreed() && self.deflate(workspace, message))
        {
            self.frame(workspace, message.kind().opcode(), payload, None);
        }
        outcome
    }

    /// Queues a message compressed, if that makes it smaller.
    fn deflate(&mut self, workspace: &mut Workspace, message: Message<'_>) -> bool {
        if self.queue.capacity() == 0 {
            self.queue = workspace.take();
        }
        let small = workspace.deflate(self.compression, message.payload());
        let Some(small) = small else { return false };
        let header = frame::encode(message.kind().opcode(), true, small.len(), None);
        header.compressed().append(&mut self.queue, small);
        true
    }

    /// The outcome of sending a message with `bytes` bytes of payload.
    #[inline]
    pub fn may_queue(&mut self, limits: &Limits, bytes: usize) -> SendOutcome {
        let queued = self.queued_bytes();
        if self.ended {
            return SendOutcome::Dropped;
        }
        // Headers count: a million empty messages are not free.
        if queued + bytes + frame::SERVER_HEADER_BYTES_MAX > limits.queued_bytes_max {
            self.overflowed = true;
            return SendOutcome::Dropped;
        }
        if queued > limits.queued_bytes_pause {
            SendOutcome::Backpressure
        } else {
            SendOutcome::Queued
        }
    }

    /// Queues a frame, masked when there is a key (on clients).
    #[inline]
    pub fn frame(
        &mut self,
        pool: &mut BufferPool,
        opcode: Opcode,
        payload: &[u8],
        mask: Option<[u8; 4]>,
    ) {
        if self.ended {
            return;
        }
        let header = frame::encode(opcode, true, payload.len(), mask);
        if self.queue.capacity() == 0 {
            let bytes = frame::HEADER_BYTES_MAX + payload.len();
            self.queue = pool.take_for(bytes, bytes);
        }
        header.append(&mut self.queue, payload);
        if let Some(key) = mask {
            let start = self.queue.len() - payload.len();
            crate::protocol::mask::apply(&mut self.queue[start..], key);
        }
    }

    /// RFC 6455, 5.5.3: a pong carries the payload of the ping it answers.
    pub fn pong(&mut self, pool: &mut BufferPool, payload: &[u8]) {
        self.frame(pool, Opcode::Pong, payload, None);
    }

    /// Queues the close frame for `cause`; nothing can be queued behind it.
    pub fn close(&mut self, pool: &mut BufferPool, cause: CloseCause) {
        self.close_with(pool, Some((cause.code(), cause.reason())), None);
    }

    /// Queues a close frame; nothing can be queued behind it. A reason that does
    /// not fit is cut at a character boundary.
    pub fn close_with(
        &mut self,
        pool: &mut BufferPool,
        close: Option<(CloseCode, &str)>,
        mask: Option<[u8; 4]>,
    ) {
        let mut payload = Vec::new();
        if let Some((code, reason)) = close {
            // RFC 6455, 5.5.1: a code in network order, then a reason in UTF-8.
            payload.extend_from_slice(&code.get().to_be_bytes());
            let fits = reason.floor_char_boundary(CONTROL_PAYLOAD_BYTES_MAX - 2);
            payload.extend_from_slice(&reason.as_bytes()[..fits]);
        }
        self.frame(pool, Opcode::Close, &payload, mask);
        self.ended = true;
    }

    /// Queues bytes as they are: a handshake, or the rest of a frame that is partly
    /// sent.
    pub fn bytes(&mut self, pool: &mut BufferPool, bytes: &[u8]) {
        if self.queue.capacity() == 0 {
            self.queue = pool.take_for(bytes.len(), bytes.len());
        }
        self.queue.extend_from_slice(bytes);
    }

    /// Makes `buffer`, which belongs to the pool, the queue. Its first `sent` bytes are
    /// sent already. Nothing may be queued before the call.
    pub fn queue_buffer(&mut self, pool: &mut BufferPool, buffer: Vec<u8>, sent: usize) {
        debug_assert!(self.queued_bytes() == 0 && sent < buffer.len());
        self.release(pool);
        (self.queue, self.sent) = (buffer, sent as u32);
    }

    /// Lets `write` append to the queue.
    pub fn write(&mut self, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.queue.capacity() == 0 {
            self.queue = pool.take();
        }
        write(&mut self.queue);
    }

    /// Puts `rest`, the rest of a frame that is partly sent, before everything
    /// that is queued.
    pub fn bytes_first(&mut self, pool: &mut BufferPool, rest: &[u8]) {
        if self.queued_bytes() == 0 {
            return self.bytes(pool, rest);
        }
        let sent = self.sent as usize;
        self.queue.splice(..sent, rest.iter().copied());
        self.sent = 0;
    }

    /// Ends the queue: nothing may follow the last bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing may be queued any more.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether a message has exceeded the queue's limit.
    pub fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// The bytes to send.
    #[inline]
    pub fn queued(&self) -> &[u8] {
        &self.queue[self.sent as usize..]
    }

    /// How many bytes are to be sent.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.queue.len() - self.sent as usize
    }

    /// Counts `bytes` bytes as sent. The buffer is returned once all are.
    #[inline]
    pub fn advance(&mut self, pool: &mut BufferPool, bytes: usize) {
        let sent = self.sent as usize + bytes;
        debug_assert!(sent <= self.queue.len());
        if sent == self.queue.len() {
            return self.release(pool);
        }
        self.sent = sent as u32;
        if sent > self.queue.len() / 2 {
            // Keeps the buffer within twice the queued bytes.
            self.queue.drain(..sent);
            self.sent = 0;
        }
    }

    /// Bytes of memory that the queue holds, which may exceed the queued bytes.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.queue.capacity()
    }

    /// Drops the queued bytes and returns the buffer.
    pub fn release(&mut self, pool: &mut BufferPool) {
        self.sent = 0;
        if self.queue.capacity() > 0 {
            pool.put(std::mem::take(&mut self.queue));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_bytes_are_sent_in_order_and_the_buffer_is_returned() {
        let (mut pool, limits) = (Workspace::new(1 << 20), Limits::default());
        let mut out = Outbound::new();
        assert_eq!(out.message(&mut pool, &limits, Message::Text("ab")), SendOutcome::Queued);
        out.pong(&mut pool, b"x");
        assert_eq!(out.queued(), b"\x81\x02ab\x8a\x01x");
        out.advance(&mut pool, 5);
        assert_eq!(out.queued(), b"\x01x");
        out.bytes_first(&mut pool, b"REST");
        assert_eq!(out.queued(), b"REST\x01x");
        out.close(&mut pool, CloseCause::Draining);
        assert_eq!(out.message(&mut pool, &limits, Message::Text("c")), SendOutcome::Dropped);
        let all = out.queued_bytes();
        out.advance(&mut pool, all);
        assert_eq!((out.queued_bytes(), pool.lent()), (0, 0));
    }

    #[test]
    fn a_slow_peer_gets_backpressure_and_then_the_limit() {
        let mut pool = Workspace::new(1 << 20);
        let limits = Limits { queued_bytes_pause: 10, queued_bytes_max: 60, ..Limits::default() };
        let mut out = Outbound::new();
        let mut send =
            |out: &mut Outbound| out.message(&mut pool, &limits, Message::Binary(&[0; 20]));
        assert_eq!(send(&mut out), SendOutcome::Queued);
        assert_eq!(send(&mut out), SendOutcome::Backpressure);
        assert_eq!(send(&mut out), SendOutcome::Dropped);
        assert!(out.is_overflowed());
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character_boundary() {
        let mut pool = Workspace::new(0);
        let mut out = Outbound::new();
        let reason = "é".repeat(100);
        out.close_with(&mut pool, Some((CloseCode::NORMAL, &reason)), None);
        let payload = &out.queued()[4..];
        assert!(payload.len() <= 123 && std::str::from_utf8(payload).is_ok());
    }
}
