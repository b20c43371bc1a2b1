//! The client side of a connection: it starts the handshake and masks its frames. The load
//! generator, the client, tests and simulated peers use it.

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
    /// Whether its own messages may look back at earlier ones.
    may_remember: bool,
    /// The window of its own messages, as a power of two.
    window_bits: u8,
    /// How its own messages are compressed, from the first one on.
    compression: Compression,
}

#[derive(Debug)]
struct Handshake {
    key: String,
    protocols: Vec<String>,
    offered: Offered,
    head: Vec<u8>,
    end: HeadEnd,
    /// Bytes of this head and of those of earlier interim responses.
    read_bytes: usize,
}

/// Bytes of response heads after which the handshake fails.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The default limit of a message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Why a client ends a connection.
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

    /// Sets the limit of a message in bytes. The default is 64 MiB.
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Client {
        self.rules.message_bytes_max = bytes;
        self
    }

    /// Whether the handshake was accepted.
    pub fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    /// Whether the server has chosen one of the offered subprotocols.
    pub fn has_subprotocol(&self) -> bool {
        self.has_subprotocol
    }

    /// The next thing in `input`; `None` when all of it is consumed.
    ///
    /// # Errors
    /// Why the connection is unusable.
    pub fn next<'a>(
        &'a mut self,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, ClientError> {
        if !self.read_handshake(input).map_err(ClientError::Handshake)? {
            return Ok(None);
        }
        self.next_open(workspace, input).map_err(ClientError::Protocol)
    }

    /// Reads the response to the handshake; `false` while it is incomplete. Bytes that
    /// follow it are left in `input`.
    ///
    /// # Errors
    /// The server did not accept the handshake.
    pub fn read_handshake(&mut self, input: &mut Input<'_>) -> Result<bool, ResponseError> {
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
                // RFC 9110, 15.2: any number of interim responses may precede the final one.
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

    /// As [`Client::next`] after the handshake, without checking that it is complete.
    ///
    /// # Errors
    /// The rule of the protocol that the server broke.
    #[inline]
    pub fn next_open<'a>(
        &'a mut self,
        workspace: &mut Workspace,
        input: &'a mut Input<'_>,
    ) -> Result<Option<Incoming<'a>>, CloseCause> {
        self.messages.next(&self.rules, workspace, input)
    }

    /// Whether compression was negotiated.
    #[inline]
    pub fn has_deflate(&self) -> bool {
        self.rules.deflate
    }

    /// Appends a message as one frame, compressed if that was negotiated and makes it
    /// smaller; with a context if that was negotiated and the workspace has one.
    pub fn deflated(
        &mut self,
        out: &mut Vec<u8>,
        workspace: &mut Workspace,
        opcode: Opcode,
        payload: &[u8],
    ) {
        // If the server allows only a window of 8 bits, messages are not compressed.
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

    /// Appends a close frame; a reason that does not fit is cut at a character boundary. Nothing
    /// may be sent after it.
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
        // RFC 6455, 5.3 and 10.3: the key must be unpredictable for the author of the payload, or
        // the payload could look like a request to an intermediary.
        let key: [u8; 4] = entropy::bytes();
        frame::encode(opcode, fin, payload.len(), Some(key)).append(out, payload);
        let start = out.len() - payload.len();
        protocol::mask::apply(&mut out[start..], key);
    }

    /// Returns every buffer, and frees the contexts.
    pub fn release(&mut self, workspace: &mut Workspace) {
        // A client's receiving context is not counted in the budget.
        self.messages.release(workspace);
        workspace.contexts().end(std::mem::take(&mut self.compression));
    }
}
