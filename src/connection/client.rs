//! The client side: a handshake that is started rather than answered, and
//! masked frames. For the load generator, tests and simulated peers.

use crate::base::entropy;
use crate::protocol::deflate::{Compression, Offered, WINDOW_BITS_MAX, WINDOW_BITS_MIN};
use crate::protocol::frame::{self, CONTROL_PAYLOAD_BYTES_MAX};
use crate::protocol::handshake::{self, Offer, ResponseError};
use crate::protocol::head::HeadEnd;
use crate::protocol::{
    self, CloseCause, CloseCode, Incoming, Input, Message, Opcode, Role, Rules, Workspace,
};
use std::fmt;

/// A client's connection without I/O.
///
/// ```
/// use tapecast::connection::client::Client;
/// use tapecast::protocol::handshake::Offer;
///
/// let mut out = Vec::new();
/// let client = Client::start(&mut out, &Offer::new("localhost", "/echo"), [7; 16]);
/// assert!(out.starts_with(b"GET /echo HTTP/1.1\r\n"));
/// assert!(!client.is_open());
/// ```
#[derive(Debug)]
pub struct Client {
    handshake: Option<Box<Handshake>>,
    has_subprotocol: bool,
    messages: protocol::Inbound,
    rules: Rules,
    /// Its own messages may remember earlier ones.
    may_remember: bool,
    /// They look back by at most two to this power of bytes.
    window_bits: u8,
    /// How they are compressed, once one was.
    compression: Compression,
}

#[derive(Debug)]
struct Handshake {
    key: String,
    protocols: Vec<String>,
    offered: Offered,
    head: Vec<u8>,
    end: HeadEnd,
    /// Of this head and of those of interim responses before it.
    read_bytes: usize,
}

/// Bytes of response heads that are read before the handshake is given up.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of a message, unless it is said otherwise.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Why a client gives up.
///
/// ```
/// use tapecast::connection::client::{Client, ClientError};
/// use tapecast::protocol::{Input, Workspace};
/// use tapecast::protocol::handshake::{Offer, ResponseError};
///
/// let mut workspace = Workspace::new(1 << 20);
/// let mut client = Client::start(&mut Vec::new(), &Offer::new("localhost", "/"), [7; 16]);
/// let mut response = *b"HTTP/1.1 403 Forbidden\r\n\r\n";
/// let error = client.next(&mut workspace, &mut Input::new(&mut response)).unwrap_err();
/// assert_eq!(error, ClientError::Handshake(ResponseError::Status(403)));
/// assert_eq!(error.to_string(), "handshake: the server answered 403");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server did not accept the handshake.
    Handshake(ResponseError),
    /// The server broke a rule of the protocol.
    Protocol(CloseCause),
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Handshake(error) => write!(formatter, "handshake: {error}"),
            ClientError::Protocol(cause) => write!(formatter, "protocol: {}", cause.reason()),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// Starts a handshake: appends the request to `out`. `nonce` is random.
    pub fn start(out: &mut Vec<u8>, offer: &Offer<'_>, nonce: [u8; 16]) -> Client {
        let key = handshake::write_request(out, offer, nonce);
        Client {
            handshake: Some(Box::new(Handshake {
                key,
                protocols: offer.protocols.to_vec(),
                offered: offer.deflate,
                head: Vec::new(),
                end: HeadEnd::default(),
                read_bytes: 0,
            })),
            has_subprotocol: false,
            messages: protocol::Inbound::new(),
            rules: Rules {
                role: Role::Client,
                message_bytes_max: MESSAGE_BYTES_MAX,
                message_fragments_max: u32::MAX,
                deflate: false,
            },
            may_remember: false,
            window_bits: WINDOW_BITS_MAX,
            compression: Compression::NONE,
        }
    }

    /// Refuses messages of more bytes than this, 64 MiB unless it is called.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Client {
        self.rules.message_bytes_max = bytes;
        self
    }

    /// Whether the handshake was accepted.
    pub fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    /// Whether the server has chosen one of the subprotocols that were offered.
    pub fn has_subprotocol(&self) -> bool {
        self.has_subprotocol
    }

    /// The next thing in `input`; `None` when all of it is consumed.
    ///
    /// # Errors
    /// Why the connection is of no more use.
    pub fn next<'a>(
        &'a mut self,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, ClientError> {
        if !self.shake_hands(input).map_err(ClientError::Handshake)? {
            return Ok(None);
        }
        self.next_open(workspace, input).map_err(ClientError::Protocol)
    }

    /// Reads the response to the handshake; `false` while more of it is to come. What
    /// follows it is left in `input`.
    ///
    /// # Errors
    /// The server did not accept.
    pub fn shake_hands(&mut self, input: &mut Input<'_>) -> Result<bool, ResponseError> {
        let Some(handshake) = &mut self.handshake else { return Ok(true) };
        loop {
            let rest = input.rest();
            let found = handshake.end.find(rest);
            let taken = found.unwrap_or(rest.len());
            handshake.head.extend_from_slice(&rest[..taken]);
            input.consume(taken);
            handshake.read_bytes += taken;
            if handshake.read_bytes > HEAD_BYTES_MAX {
                return Err(ResponseError::TooLong);
            }
            handshake::check_beginning(&handshake.head)?;
            match found {
                None => return Ok(false),
                // RFC 9110, 15.2: any number of them may come before the final response.
                Some(_) if handshake::is_interim(&handshake.head) => {
                    handshake.head.clear();
                    handshake.end = HeadEnd::default();
                }
                Some(_) => break,
            }
        }
        let Handshake { head, key, protocols, offered, .. } = &**handshake;
        let response = handshake::check_response(head, key, protocols, *offered)?;
        self.has_subprotocol = response.has_subprotocol;
        if let Some(accepted) = response.deflate {
            self.rules.deflate = true;
            self.may_remember = accepted.client_context;
            self.window_bits = accepted.client_window_bits;
            if accepted.server_context {
                self.messages.remember();
            }
        }
        self.handshake = None;
        Ok(true)
    }

    /// As [`Client::next`], once hands are shaken: without a look at whether they are.
    ///
    /// # Errors
    /// The server broke this rule of the protocol.
    #[inline]
    pub fn next_open<'a>(
        &'a mut self,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, CloseCause> {
        self.messages.next(&self.rules, workspace, input)
    }

    /// Whether the server has agreed to compressed messages.
    #[inline]
    pub fn has_deflate(&self) -> bool {
        self.rules.deflate
    }

    /// Appends a message as one frame, compressed if that was agreed on and makes it
    /// smaller; with a context if that was agreed on and the workspace has one.
    pub fn deflated(
        &mut self,
        out: &mut Vec<u8>,
        workspace: &mut Workspace,
        opcode: Opcode,
        payload: &[u8],
    ) {
        // Where the server allows a window of 8 bits only, messages leave as they are.
        let may_deflate = self.rules.deflate && self.window_bits >= WINDOW_BITS_MIN;
        if may_deflate && !self.compression.is_agreed() {
            let contexts = workspace.contexts();
            let context = contexts.begin(self.may_remember, false, self.window_bits);
            self.compression = context.unwrap_or(Compression::alone(self.window_bits));
        }
        let Some(small) = workspace.deflate(self.compression, payload) else {
            return self.frame(out, opcode, true, payload);
        };
        let start = out.len();
        self.frame(out, opcode, true, small);
        out[start] |= frame::COMPRESSED_BIT;
    }

    /// Appends a message as one frame.
    pub fn message(&mut self, out: &mut Vec<u8>, message: Message<'_>) {
        self.frame(out, message.kind().opcode(), true, message.payload());
    }

    /// Appends a close frame; a reason that does not fit is cut at a character. Nothing may
    /// be sent behind it.
    pub fn close(&mut self, out: &mut Vec<u8>, close: Option<(CloseCode, &str)>) {
        let mut payload = Vec::new();
        if let Some((code, reason)) = close {
            // RFC 6455, 5.5.1: a code in network order, then a reason in UTF-8.
            payload.extend_from_slice(&code.get().to_be_bytes());
            let fits = reason.floor_char_boundary(CONTROL_PAYLOAD_BYTES_MAX - 2);
            payload.extend_from_slice(&reason.as_bytes()[..fits]);
        }
        self.frame(out, Opcode::Close, true, &payload);
    }

    /// Appends any frame, legal or not.
    pub fn frame(&mut self, out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload: &[u8]) {
        // RFC 6455, 5.3 and 10.3: a key that nobody can predict who chooses the payload, or
        // it could be made to look like a request to what stands between.
        let key: [u8; 4] = entropy::bytes();
        frame::encode(opcode, fin, payload.len(), Some(key)).append(out, payload);
        let start = out.len() - payload.len();
        protocol::mask::apply(&mut out[start..], key);
    }

    /// Gives every buffer back, and its contexts.
    pub fn release(&mut self, workspace: &mut Workspace) {
        // What the server looks back at is a client's to remember, whatever it takes.
        self.messages.release(workspace);
        workspace.contexts().end(std::mem::take(&mut self.compression));
    }
}
