//! The receiving half of a connection: first a request head, then messages.

use super::close::Close;
use super::keepalive::KeepAlive;
use super::outbound::Outbound;
use crate::base::{BufferPool, Limits, Time};
use crate::protocol::deflate::Accepted;
use crate::protocol::head::{self, HeadEnd};
use crate::protocol::{
    self, CloseCause, CloseCode, Incoming, Input, Kind, Message, Refusal, Rules, Workspace,
};

/// The receiving half of a connection.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::base::Time;
/// use tapecast::connection::{Arrival, Inbound, Outbound};
/// use tapecast::protocol::{Input, Message, Role, Rules, Workspace};
///
/// # let rules = Rules { role: Role::Server, message_bytes_max: 1024, message_fragments_max: 8, deflate: false };
/// # let mut pool = Workspace::new(1 << 20);
/// let (mut inbound, mut outbound) = (Inbound::new(Time::ZERO), Outbound::new());
/// let mut bytes = *b"GET / HTTP/1.1\r\nHost: here\r\n\r\n\x81\x82\0\0\0\0hi";
/// let mut input = Input::new(&mut bytes);
/// let head = inbound.head(&Limits::default(), &mut input).unwrap().expect("it is whole");
/// assert!(head.ends_with(b"Host: here\r\n\r\n"));
/// inbound.open(None);
/// let arrival = inbound.next(Time::ZERO, &rules, &mut pool, &mut input, &mut outbound);
/// assert_eq!(arrival, Ok(Some(Arrival::Message(Message::Text("hi")))));
/// ```
#[derive(Debug)]
pub struct Inbound {
    stage: Stage,
    messages: protocol::Inbound,
    /// Pings an idle peer.
    pub keep_alive: KeepAlive,
}

#[derive(Debug)]
enum Stage {
    /// The request head is incomplete; its start, if any of it is kept.
    Head(Option<Box<PartialHead>>),
    /// Messages.
    Open {
        /// Whether messages may be compressed.
        deflate: bool,
    },
    /// A close frame, a violation or the end has come: nothing more is read.
    Ended,
}

#[derive(Debug, Default)]
struct PartialHead {
    bytes: Vec<u8>,
    end: HeadEnd,
}

/// The next thing that [`Inbound::next`] returns.
///
/// ```
/// use tapecast::CloseCode;
/// # use tapecast::base::Time;
/// use tapecast::connection::{Arrival, Close, Inbound, Outbound};
/// # use tapecast::protocol::{Input, Role, Rules, Workspace};
///
/// # let rules = Rules { role: Role::Server, message_bytes_max: 1024, message_fragments_max: 8, deflate: false };
/// # let mut pool = Workspace::new(1 << 20);
/// # let (mut inbound, mut outbound) = (Inbound::new(Time::ZERO), Outbound::new());
/// # inbound.open(None);
/// let mut ping_and_close = *b"\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xE8";
/// let mut input = Input::new(&mut ping_and_close);
/// let arrival = inbound.next(Time::ZERO, &rules, &mut pool, &mut input, &mut outbound);
/// assert_eq!(arrival, Ok(Some(Arrival::Control)));
/// let arrival = inbound.next(Time::ZERO, &rules, &mut pool, &mut input, &mut outbound);
/// let close = Close { code: CloseCode::NORMAL, reason: "".into(), by_peer: true };
/// assert_eq!(arrival, Ok(Some(Arrival::Closed(close))));
/// // Both are answered.
/// assert_eq!(outbound.queued(), b"\x8A\0\x88\x02\x03\xE8");
/// ```
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping or pong, which has been handled.
    Control,
    /// The peer's close frame. It has been answered, unless this end closed first.
    Closed(Close),
}

impl Inbound {
    /// A connection that has just been accepted.
    pub fn new(now: Time) -> Inbound {
        Inbound {
            stage: Stage::Head(None),
            messages: protocol::Inbound::new(),
            keep_alive: KeepAlive::new(now),
        }
    }

    /// Whether the request head has not ended yet.
    pub fn expects_head(&self) -> bool {
        matches!(self.stage, Stage::Head(_))
    }

    /// Whether nothing more is read.
    pub fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// The request head, once it is whole; `None` when more bytes are needed.
    /// Each byte is scanned once for the head's end, and the head is parsed
    /// once, when it is whole. [`Inbound::open`] or [`Inbound::end`] follows.
    ///
    /// # Errors
    /// The refusal to answer with: the bytes are not a request, or too many.
    pub fn head(
        &mut self,
        limits: &Limits,
        input: &mut Input<'_>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let Stage::Head(partial) = &mut self.stage else {
            return Ok(None);
        };
        let rest = input.rest();
        let Some(&first) = rest.first() else {
            return Ok(None);
        };
        if partial.is_none() && !head::can_begin(first) {
            return Err(Refusal::BadRequest("this is not an HTTP request"));
        }
        let partial = partial.get_or_insert_default();
        let found = partial.end.find(rest);
        let taken = found.unwrap_or(rest.len());
        if partial.bytes.len() + taken > limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        partial.bytes.extend_from_slice(&rest[..taken]);
        input.consume(taken);
        Ok(found.map(|_| std::mem::take(&mut partial.bytes)))
    }

    /// Accepts the handshake: messages follow, which may be compressed if `deflate` was
    /// negotiated.
    pub fn open(&mut self, deflate: Option<Accepted>) {
        self.stage = Stage::Open { deflate: deflate.is_some() };
        if deflate.is_some_and(|accepted| accepted.client_context) {
            self.messages.remember();
        }
    }

    /// Whether messages may be compressed.
    #[inline]
    pub fn has_deflate(&self) -> bool {
        matches!(self.stage, Stage::Open { deflate: true })
    }

    /// Ends receiving.
    pub fn end(&mut self, workspace: &mut Workspace) {
        self.stage = Stage::Ended;
        if self.messages.release(workspace) {
            workspace.contexts().end_inbound();
        }
    }

    /// The next message, or the close, in `input`. Pings are answered into
    /// `outbound`.
    ///
    /// # Errors
    /// The cause for which the connection has to close.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        now: Time,
        rules: &Rules,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
        outbound: &mut Outbound,
    ) -> Result<Option<Arrival<'a>>, CloseCause> {
        if !matches!(self.stage, Stage::Open { .. }) {
            // After a close frame or a violation, input is dropped.
            input.consume(input.rest().len());
            return Ok(None);
        }
        let closed = match self.messages.next(rules, workspace, input)? {
            None => return Ok(None),
            Some(Incoming::Message(message)) => return Ok(Some(Arrival::Message(message))),
            Some(Incoming::Ping(payload)) => {
                outbound.pong(workspace, payload);
                return Ok(Some(Arrival::Control));
            }
            Some(Incoming::Pong(payload)) => {
                self.keep_alive.pong(now, payload);
                return Ok(Some(Arrival::Control));
            }
            Some(Incoming::Close(close)) => {
                // RFC 6455, 5.5.1: a close frame is answered with a close frame, typically with
                // the received code, unless this end has sent one already.
                // Then, and only then, the peer was not the first to close.
                let by_peer = !outbound.is_ended();
                let code = close.map(|(code, _)| (code, ""));
                outbound.close_with(workspace, code, None);
                let (code, reason) = close.unwrap_or((CloseCode::NO_STATUS, ""));
                Close { code, reason: reason.into(), by_peer }
            }
        };
        self.stage = Stage::Ended;
        Ok(Some(Arrival::Closed(closed)))
    }

    /// Whether a compressed message pauses at the bound of inflated bytes: [`Inbound::next`]
    /// continues it, with or without input, once the bound is raised.
    #[inline]
    pub fn is_inflating(&self) -> bool {
        self.messages.is_inflating()
    }

    /// Whether more than `bytes` bytes are missing from the arriving data frame.
    pub fn is_missing(&self, bytes: usize) -> bool {
        self.messages.missing() > bytes as u64
    }

    /// Room for the next bytes of the arriving data frame, if there is one.
    /// Call [`Inbound::received`] with the number of bytes written.
    pub fn room(&mut self) -> Option<&mut [u8]> {
        if !matches!(self.stage, Stage::Open { .. }) {
            return None;
        }
        self.messages.room()
    }

    /// Counts `bytes` bytes that were written into [`Inbound::room`]. [`Inbound::next`], with
    /// an empty input, then returns a message that they complete.
    ///
    /// # Errors
    /// As [`Inbound::next`].
    pub fn received(&mut self, bytes: usize) -> Result<(), CloseCause> {
        self.messages.received(bytes)
    }

    /// The frame that echoes the last message, written in place of it.
    ///
    /// # Errors
    /// The payload alone, when there is no room for the frame's header.
    pub fn frame_in_place<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        kind: Kind,
    ) -> Result<&'a [u8], &'a [u8]> {
        self.messages.frame_in_place(input, kind)
    }

    /// The buffer of the last message, up to its payload's end, with the frame that
    /// [`Inbound::frame_in_place`] has made of it; `None` if the message lies in the input.
    pub fn hand_over(&mut self, pool: &mut BufferPool) -> Option<Vec<u8>> {
        self.messages.hand_over(pool)
    }

    /// Whether a message is incomplete.
    #[inline]
    pub fn is_partial(&self) -> bool {
        self.messages.is_partial()
    }

    /// Bytes of memory that an incomplete request head or message holds.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Head(Some(partial)) => partial.bytes.len(),
            _ => self.messages.held_bytes(),
        }
    }

    /// Whether nothing is incomplete.
    pub fn is_idle(&self) -> bool {
        !self.messages.is_partial() && !matches!(self.stage, Stage::Head(Some(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(pieces: &[&[u8]], limits: &Limits) -> Result<Option<Vec<u8>>, Refusal> {
        let mut inbound = Inbound::new(Time::ZERO);
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let mut input = Input::new(&mut bytes);
            if let Some(head) = inbound.head(limits, &mut input)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    #[test]
    fn heads_are_read_in_pieces_and_bad_ones_refused() {
        let limits = Limits { head_bytes_max: 64, ..Limits::default() };
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 1..head.len() {
            let pieces: Vec<&[u8]> = head.chunks(cut).collect();
            assert_eq!(head_of(&pieces, &limits), Ok(Some(head.to_vec())));
        }
        assert_eq!(head_of(&[&head[..10]], &limits), Ok(None));
        assert_eq!(head_of(&[&[b'a'; 65]], &limits), Err(Refusal::HeadTooLarge));
        assert_eq!(head_of(&[&[b'a'; 60], b"bcdefg"], &limits), Err(Refusal::HeadTooLarge));
        // The hello of TLS.
        assert!(matches!(head_of(&[b"\x16\x03\x01"], &limits), Err(Refusal::BadRequest(_))));
    }

    /// Feeds frames to an open connection; returns the arrivals and the bytes that it sends.
    fn exchange(mut frames: Vec<u8>) -> (Vec<String>, Vec<u8>) {
        let rules = Rules {
            role: protocol::Role::Server,
            message_bytes_max: 1 << 20,
            message_fragments_max: 8,
            deflate: false,
        };
        let mut pool = Workspace::new(1 << 20);
        let (mut inbound, mut outbound) = (Inbound::new(Time::ZERO), Outbound::new());
        inbound.open(None);
        let mut input = Input::new(&mut frames);
        let mut arrived = Vec::new();
        loop {
            match inbound.next(Time::ZERO, &rules, &mut pool, &mut input, &mut outbound) {
                Ok(Some(Arrival::Control)) => {}
                Ok(Some(arrival)) => arrived.push(format!("{arrival:?}")),
                Ok(None) => break,
                Err(cause) => {
                    arrived.push(format!("{cause:?}"));
                    break;
                }
            }
        }
        (arrived, outbound.queued().to_vec())
    }

    #[test]
    fn pings_are_answered_and_nothing_follows_a_close() {
        let ping = b"\x89\x81\0\0\0\0p";
        let close = b"\x88\x82\0\0\0\0\x03\xe8";
        let text = b"\x81\x81\0\0\0\0t";
        let (arrived, sent) = exchange([&ping[..], text, close, text].concat());
        assert_eq!(arrived.len(), 2, "{arrived:?}");
        assert_eq!(sent, b"\x8a\x01p\x88\x02\x03\xe8");
    }

    #[test]
    fn an_empty_close_is_answered_with_an_empty_close() {
        let (arrived, sent) = exchange(b"\x88\x80\0\0\0\0".to_vec());
        assert!(arrived[0].contains("1005"), "{arrived:?}");
        assert_eq!(sent, b"\x88\x00");
    }
}
