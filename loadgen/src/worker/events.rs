//! What the kernel says, and what follows from it.

use super::*;
use crate::payload::Following;
use crate::traffic::Received;
use tapecast::connection::ChannelError;
use tapecast::driver::{Errno, ReceiveEnd};
use tapecast::protocol::{CloseCause, CloseCode, Incoming, Input};
use tapecast::tls::TlsErrorKind;

/// What a received buffer led to that is not just one more message.
enum Next {
    /// All of it is consumed.
    Nothing,
    Ping(Vec<u8>),
    /// A message that should not have come, of this kind, with this detail.
    Fault(&'static str, String),
    /// The server wants to go: its close frame.
    Goodbye(Option<CloseCode>, String),
    /// The connection has done what it came for.
    Done,
    Broken(CloseCause),
}

const WRONG: &str = "wrong: a message that is not the one awaited";
const REFUSED: &str = "refused: the server answered with an error";
const UNAWAITED: &str = "wrong: a message that nothing awaited";

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
            ": use a URL with a name that it is for, or pass --insecure for a test"
        }
        TlsErrorKind::WrongUse => {
            ": make one with basicConstraints=CA:FALSE, or pass --insecure for a test"
        }
        TlsErrorKind::NotValidNow => ": pass --insecure for a test",
        TlsErrorKind::NotTls => ": for a server without TLS the URL begins with ws://",
        TlsErrorKind::CertificateRequired => ": clients with certificates can't be simulated",
        _ => "",
    }
}

/// What a message looks like, for an example.
fn detail(bytes: &[u8]) -> String {
    format!("{} bytes, {}", bytes.len(), bytes[..bytes.len().min(60)].escape_ascii())
}

impl Worker<'_> {
    pub(super) fn event(&mut self, event: Event<UringBuffer>, now: Time) {
        match event {
            Event::Received { token, mut buffer } => {
                match self.peers[token.index as usize].channel.is_some() {
                    false => self.received(token.index, &mut buffer, now),
                    true => self.decrypt(token.index, &mut buffer, now),
                }
                self.ring.release(buffer);
            }
            Event::ReceiveEnded { token, end } => self.receive_ended(token.index, end),
            Event::Polled { token, .. } => {
                let connection = token.index;
                let peer = &mut self.peers[connection as usize];
                peer.is_polling = false;
                match peer.state {
                    State::Connecting => self.connected(connection, now),
                    State::Ending => self.close_when_quiet(connection),
                    _ => self.queue(connection),
                }
            }
            Event::Closed { token } => self.is_absent(token.index),
            _ => {}
        }
    }

    /// What became of a send.
    pub(super) fn sent(&mut self, connection: u32, outcome: Result<usize, Errno>) {
        let peer = &mut self.peers[connection as usize];
        peer.is_queued = false;
        if peer.state == State::Ending {
            return;
        }
        match outcome {
            Ok(bytes) => {
                let had_room = peer.unsent_bytes() < OUT_BYTES_MAX;
                peer.took(&mut self.pool, bytes);
                // A closed loop that had stopped for want of room goes on.
                if !had_room && peer.unsent_bytes() < OUT_BYTES_MAX {
                    self.due.push(connection);
                }
            }
            Err(Errno::AGAIN) => {}
            Err(error) => match peer.state {
                State::Leaving => return self.give_up(connection),
                // The receive ends too, and it was told why.
                State::ShakingHands => {
                    let bytes = peer.wire().len();
                    return peer.took(&mut self.pool, bytes);
                }
                _ => {
                    let error = std::io::Error::from(error);
                    let kind = format!("send: {}", error.kind());
                    return self.fail(connection, &kind, error.to_string());
                }
            },
        }
        match peer.wire().is_empty() {
            false => poll(&mut self.ring, connection, peer),
            // Of TLS no more is encrypted at a time than a send takes.
            true => self.queue(connection),
        }
    }

    /// Takes what came over TLS, and has leave what that has led to.
    pub(super) fn decrypt(&mut self, connection: u32, buffer: &mut [u8], now: Time) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let peer = &mut self.peers[connection as usize];
        let Some(channel) = &mut peer.channel else { return };
        let generation = peer.generation;
        let received = channel.receive(&mut self.pool, buffer, &mut plain);
        if !plain.is_empty() {
            self.received(connection, &mut plain, now);
        }
        self.plain = plain;
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

    /// Takes everything out of a buffer.
    fn received(&mut self, connection: u32, buffer: &mut [u8], now: Time) {
        let mut input = Input::new(buffer);
        let peer = &mut self.peers[connection as usize];
        if peer.is_broken {
            return;
        }
        if let (State::ShakingHands, Some(client)) = (peer.state, &mut peer.client) {
            match client.shake_hands(&mut input) {
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
                Next::Goodbye(code, reason) => return self.server_leaves(connection, code, reason),
                Next::Done => return self.has_done(connection),
                Next::Broken(cause) => return self.is_broken(connection, cause),
            }
        }
        // What came may make room for what is to leave.
        self.due.push(connection);
    }

    /// The hot path: frames become messages, and those are checked and counted.
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
            let bytes = match client.next_open(&mut self.pool, input) {
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

    /// A connection has done what it came for.
    fn has_done(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        let share = &mut self.shares[usize::from(peer.group)];
        peer.is_done = true;
        share.under_way -= 1;
        if share.group.reconnect.is_some() {
            self.say_goodbye(connection);
        }
    }

    /// Answers a ping, unless too much waits to be taken already.
    fn answer(&mut self, connection: u32, payload: &[u8]) {
        let peer = &mut self.peers[connection as usize];
        if let Some(client) = &mut peer.client
            && peer.out.len() - peer.sent < OUT_BYTES_MAX
        {
            client.frame(&mut peer.out, Opcode::Pong, true, payload);
            self.queue(connection);
        }
    }

    /// The server's close frame came: it is answered, unless it is the answer.
    fn server_leaves(&mut self, connection: u32, code: Option<CloseCode>, reason: String) {
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
        self.leaves(connection, now);
    }

    /// The server has sent its last byte.
    fn ended(&mut self, connection: u32) {
        match self.peers[connection as usize].state {
            State::Leaving => self.give_up(connection),
            State::ShakingHands => {
                self.fail(connection, "handshake: the connection was closed", String::new());
            }
            _ => self.fail(connection, "ended without a close frame", String::new()),
        }
    }

    fn receive_ended(&mut self, connection: u32, end: ReceiveEnd) {
        let peer = &mut self.peers[connection as usize];
        peer.is_receiving = false;
        if peer.state == State::Ending {
            return self.close_when_quiet(connection);
        }
        match end {
            ReceiveEnd::Stopped if peer.is_stalled => {}
            ReceiveEnd::NoBuffers | ReceiveEnd::Expired | ReceiveEnd::Stopped => {
                peer.is_receiving = true;
                self.ring.receive(peer.socket.expect("it is open"), token(connection));
            }
            ReceiveEnd::EndOfStream => self.ended(connection),
            ReceiveEnd::Broken(error) => {
                let place = match (peer.state, error) {
                    (State::Leaving, _) => return self.give_up(connection),
                    (State::ShakingHands, Errno::CONNRESET) => "handshake",
                    (State::ShakingHands, _) => "connect",
                    _ => "receive",
                };
                let error = std::io::Error::from(error);
                let kind = format!("{place}: {}", error.kind());
                self.fail(connection, &kind, error.to_string());
            }
        }
    }
}
