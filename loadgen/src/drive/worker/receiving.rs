//! Messages that arrive: bytes become frames, frames become messages, and the traffic of the
//! group checks and counts them. This is the hot path.

use super::super::traffic::Received;
use super::peer::State;
use super::state::{OUT_BYTES_MAX, Worker};
use crate::plan::Following;
use tapecast::base::Time;
use tapecast::connection::ChannelError;
use tapecast::protocol::{CloseCause, CloseCode, Incoming, Input, Opcode};
use tapecast::tls::TlsErrorKind;

const WRONG: &str = "wrong: a message that is not the one awaited";
const REFUSED: &str = "refused: the server answered with an error";
const UNAWAITED: &str = "wrong: a message that nothing awaited";
/// Bytes of a message that an example of a fault shows.
const SHOWN_BYTES_MAX: usize = 60;

/// The next thing in a received buffer that is not a message to count.
enum Next {
    /// Nothing more: all of it is consumed.
    Nothing,
    Ping(Vec<u8>),
    /// A fault of this kind, with these details.
    Fault(&'static str, String),
    /// The close frame of the server.
    Goodbye(Option<CloseCode>, String),
    /// The last reply of a connection that connects.
    Done,
    /// A breach of the protocol.
    Broken(CloseCause),
}

impl Worker<'_> {
    /// Decrypts bytes that arrived over TLS, handles them, and queues the answers of TLS.
    pub(super) fn decrypt(&mut self, connection: u32, buffer: &mut [u8], now: Time) {
        let mut plain = std::mem::take(&mut self.wire.plain);
        plain.clear();
        let peer = &mut self.peers[connection as usize];
        let Some(channel) = &mut peer.channel else { return };
        let generation = peer.generation;
        let received = channel.receive(&mut self.wire.pool, buffer, &mut plain);
        if !plain.is_empty() {
            self.received(connection, &mut plain, now);
        }
        self.wire.plain = plain;
        let peer = &self.peers[connection as usize];
        if peer.generation != generation || matches!(peer.state, State::Ending | State::Absent) {
            return;
        }
        match received {
            Ok(false) => self.queue(connection),
            Ok(true) => self.ended(connection),
            Err(_) if peer.state == State::Leaving => self.give_up(connection),
            Err(error) => {
                let kind = format!("{error}{}", remedy(&error));
                self.fail(connection, &kind, String::new());
            }
        }
    }

    /// Handles everything in a buffer.
    pub(super) fn received(&mut self, connection: u32, buffer: &mut [u8], now: Time) {
        let mut input = Input::new(buffer);
        let peer = &mut self.peers[connection as usize];
        if peer.is_broken {
            return;
        }
        if let (State::ShakingHands, Some(client)) = (peer.state, &mut peer.client) {
            match client.read_handshake(&mut input) {
                Ok(true) => self.opened(connection, now),
                Ok(false) => return,
                Err(error) => {
                    return self.fail(connection, &format!("handshake: {error}"), String::new());
                }
            }
        }
        loop {
            match self.messages(connection, &mut input, now) {
                Next::Nothing => break,
                Next::Ping(payload) => self.answer(connection, &payload),
                Next::Fault(kind, detail) => self.fault(connection, kind, detail),
                Next::Goodbye(code, reason) => {
                    return self.closed_by_server(connection, code, reason);
                }
                Next::Done => return self.complete(connection),
                Next::Broken(cause) => return self.fail_protocol(connection, cause),
            }
        }
        // A reply may make room in the window of a closed loop.
        self.agenda.due.push(connection);
    }

    /// The hot path: decodes, checks and counts messages until something else follows.
    fn messages(&mut self, connection: u32, input: &mut Input<'_>, now: Time) -> Next {
        let peer = &mut self.peers[connection as usize];
        let is_counted = !self.is_over || peer.stalls;
        let Some(client) = &mut peer.client else { return Next::Nothing };
        let share = &mut self.shares[usize::from(peer.group)];
        let counted = match &mut share.stalled {
            Some(stalled) if peer.stalls => stalled,
            _ => &mut share.counted,
        };
        loop {
            let bytes = match client.next_open(&mut self.wire.pool, input) {
                Ok(Some(Incoming::Message(message))) => message.payload(),
                Ok(None) => return Next::Nothing,
                Ok(Some(Incoming::Pong(_))) => continue,
                Ok(Some(Incoming::Ping(payload))) => return Next::Ping(payload.to_vec()),
                Ok(Some(Incoming::Close(close))) => {
                    let code = close.map(|(code, _)| code);
                    let reason = close.map_or("", |(_, reason)| reason).to_owned();
                    return Next::Goodbye(code, reason);
                }
                Err(error) => return Next::Broken(error),
            };
            if !is_counted {
                continue;
            }
            match share.traffic.received(peer.index as usize, now, bytes, counted) {
                Received::Fine => {
                    if let Some((frame, header_bytes)) = input.last_message() {
                        let following = Following { frame, header_bytes, rest: input.rest() };
                        let index = peer.index as usize;
                        let count = share.traffic.repeated(index, now, &following, counted);
                        input.consume(count as usize * frame.len());
                    }
                }
                Received::Done => return Next::Done,
                Received::Wrong => return Next::Fault(WRONG, detail(bytes)),
                Received::Refused => return Next::Fault(REFUSED, detail(bytes)),
                Received::Unawaited => return Next::Fault(UNAWAITED, detail(bytes)),
            }
        }
    }

    /// A connection that connects has its last reply.
    fn complete(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        let share = &mut self.shares[usize::from(peer.group)];
        peer.is_done = true;
        share.in_flight -= 1;
        if share.group.opening.reconnect.is_some() {
            self.close(connection);
        }
    }

    /// Answers a ping, unless too many bytes are unsent.
    fn answer(&mut self, connection: u32, payload: &[u8]) {
        let peer = &mut self.peers[connection as usize];
        if let Some(client) = &mut peer.client
            && peer.out.len() - peer.sent < OUT_BYTES_MAX
        {
            client.frame(&mut peer.out, Opcode::Pong, true, payload);
            self.queue(connection);
        }
    }

    /// The server's close frame arrived: it is answered, unless it is the answer.
    fn closed_by_server(&mut self, connection: u32, code: Option<CloseCode>, reason: String) {
        let now = self.now();
        let peer = &mut self.peers[connection as usize];
        match peer.state {
            State::Open | State::ShakingHands => {}
            _ => return,
        }
        if let Some(client) = &mut peer.client {
            client.close(&mut peer.out, code.map(|code| (code, "")));
        }
        let code = code.map_or("without a code".into(), |code| code.to_string());
        self.fault(connection, &format!("closed by the server: {code}"), reason);
        self.await_end(connection, now);
    }
}

/// The remedy for a TLS error; empty if none is known.
fn remedy(error: &ChannelError) -> &'static str {
    let kind = match error {
        ChannelError::Tls(error) => error.kind(),
        ChannelError::Plain => TlsErrorKind::NotTls,
        ChannelError::TooLong => TlsErrorKind::Other,
    };
    match kind {
        TlsErrorKind::UnknownIssuer => ": pass --ca FILE, or --insecure for a test",
        TlsErrorKind::WrongName => {
            ": use a URL with a name in the certificate, or pass --insecure for a test"
        }
        TlsErrorKind::WrongUse => {
            ": make a certificate with basicConstraints=CA:FALSE, or pass --insecure for a test"
        }
        TlsErrorKind::NotValidNow => ": pass --insecure for a test",
        TlsErrorKind::NotTls => ": for a server without TLS the URL begins with ws://",
        TlsErrorKind::CertificateRequired => ": the load generator has no client certificates",
        _ => "",
    }
}

/// A message as an example of a fault shows it.
fn detail(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    format!("{} bytes, {}", bytes.len(), shown.escape_ascii())
}
