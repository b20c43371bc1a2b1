//! The life of a session's connection: connecting, the handshake, idle times, the end, and the
//! delay before the next one.

use super::state::{Connection, Phase, Request, RequestKind, Session};
use crate::base::{Time, entropy};
use crate::client::event::{Event, RequestId};
use crate::client::server_message::{NAME, ServerMessage};
use crate::connection::client::Client as Codec;
use crate::protocol::deflate::Offered;
use crate::protocol::handshake::Offer;
use crate::protocol::json::Object;
use crate::protocol::{CloseCode, Incoming, Input, Message, Opcode, Workspace};
use std::time::Duration;

/// Bytes of free buffers kept for messages in pieces.
const POOL_BYTES: usize = 1 << 20;

/// How long a connection has to last for the delay to start over.
const LASTING: Duration = Duration::from_secs(5);
/// How long the server has to end a connection after the close frame.
const CLOSING: Duration = Duration::from_secs(1);

/// The next step that a session needs of its caller.
///
/// ```
/// use tapecast::base::Time;
/// use tapecast::client::{Need, Options, Session};
///
/// let url = "ws://127.0.0.1:9001/".parse()?;
/// let mut session = Session::new(url, Options::default(), 7);
/// assert_eq!(session.need(Time::ZERO), Need::Connect);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A connection to [`Session::url`]: then [`Session::connected`], or
    /// [`Session::lost`].
    Connect,
    /// Drop the connection: it is unusable.
    Disconnect,
    /// Nothing but received bytes before this time: call [`Session::need`] again then.
    Wait(Time),
}

/// Why a connection has ended, and the close frame to send.
struct Ended {
    reason: String,
    close: Option<Close>,
}

/// A close frame: with a code and a reason, or empty.
type Close = Option<(CloseCode, String)>;

impl Ended {
    fn with(reason: String, code: CloseCode, close_reason: &str) -> Ended {
        Ended { reason, close: Some(Some((code, close_reason.to_owned()))) }
    }
}

impl Session {
    /// Returns the step that the session needs now. Pass on received bytes first: they count
    /// before deadlines.
    pub fn need(&mut self, now: Time) -> Need {
        match self.phase {
            Phase::Waiting { until } if now < until => Need::Wait(until),
            Phase::Waiting { .. } => {
                self.phase = Phase::Connecting;
                Need::Connect
            }
            Phase::Connecting => Need::Connect,
            Phase::Handshaking { until } if now < until => Need::Wait(until),
            Phase::Handshaking { .. } => {
                self.give_up(now, "the handshake took too long");
                self.need(now)
            }
            // A lost network delivers no error, so an idle connection is probed with a ping.
            Phase::Open { heard, asked } => {
                let until = match asked {
                    Some(asked) => asked + self.options.answer,
                    None => heard + self.options.idle,
                };
                if now < until {
                    return Need::Wait(until);
                }
                match asked {
                    Some(_) => self.give_up(now, "no answer"),
                    None => {
                        self.write(&Object::new("ping").end());
                        self.phase = Phase::Open { heard, asked: Some(now) };
                    }
                }
                self.need(now)
            }
            Phase::Closing { until, .. } if now < until => Need::Wait(until),
            Phase::Closing { next: until, .. } | Phase::Dropping { until } => {
                self.phase = Phase::Waiting { until };
                Need::Disconnect
            }
        }
    }

    /// Begins the handshake on a new connection.
    pub fn connected(&mut self, now: Time) {
        let protocols = [NAME.to_owned()];
        let offer = Offer {
            host: self.url.host(),
            target: self.url.target(),
            protocols: &protocols,
            headers: &self.options.headers,
            deflate: Offered::Nothing,
        };
        self.out.clear();
        let codec = Codec::start(&mut self.out, &offer, entropy::bytes());
        self.connection = Some(Connection { codec, pool: Workspace::new(POOL_BYTES) });
        self.phase = Phase::Handshaking { until: now + self.options.connect };
    }

    /// Notes that the connection was lost or could not be made.
    pub fn lost(&mut self, now: Time, reason: &str) {
        self.give_up(now, reason);
        if let Phase::Dropping { until } | Phase::Closing { next: until, .. } = self.phase {
            self.phase = Phase::Waiting { until };
        }
    }

    /// The bytes to write. Remove written bytes from the front.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes received bytes.
    pub fn receive(&mut self, now: Time, bytes: &mut [u8]) {
        let Some(mut connection) = self.connection.take() else { return };
        let ended = self.take(now, &mut connection, &mut Input::new(bytes));
        let Err(Ended { reason, close }) = ended else {
            self.connection = Some(connection);
            return;
        };
        let Some(close) = close else { return self.give_up(now, &reason) };
        // Behind queued bytes, since a frame of those may be partly sent.
        let mut out = std::mem::take(&mut self.out);
        let close = close.as_ref().map(|(code, reason)| (*code, reason.as_str()));
        connection.codec.close(&mut out, close);
        self.give_up(now, &reason);
        self.out = out;
        if let Phase::Dropping { until: next } = self.phase {
            self.phase = Phase::Closing { until: now + CLOSING, next };
        }
    }

    /// Handles everything in `input`; an error ends the connection.
    fn take(
        &mut self,
        now: Time,
        connection: &mut Connection,
        input: &mut Input<'_>,
    ) -> Result<(), Ended> {
        let Connection { codec, pool } = connection;
        if !self.is_open() {
            match codec.read_handshake(input) {
                Ok(false) => return Ok(()),
                Ok(true) if !codec.has_subprotocol() => {
                    let reason = format!("the server does not speak {NAME} at this URL");
                    return Err(Ended::with(reason, CloseCode::NORMAL, ""));
                }
                Ok(true) => self.opened(now, codec),
                Err(error) => {
                    return Err(Ended { reason: format!("handshake: {error}"), close: None });
                }
            }
        }
        self.phase = Phase::Open { heard: now, asked: None };
        loop {
            match codec.next_open(pool, input) {
                Ok(None) => return Ok(()),
                Ok(Some(Incoming::Message(Message::Text(text)))) => match ServerMessage::read(text)
                {
                    Ok(message) => self.take_message(message),
                    Err(_) => {
                        let reason = format!("not a message of {NAME}");
                        return Err(Ended::with(reason, CloseCode::UNSUPPORTED, ""));
                    }
                },
                Ok(Some(Incoming::Message(Message::Binary(_)) | Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Ping(payload))) => {
                    let mut pong = [0; 125];
                    let pong = &mut pong[..payload.len()];
                    pong.copy_from_slice(payload);
                    codec.frame(&mut self.out, Opcode::Pong, true, pong);
                }
                Ok(Some(Incoming::Close(close))) => {
                    let reason = match close {
                        Some((code, reason)) => format!("closed with {code} {reason}"),
                        None => "closed".to_owned(),
                    };
                    // RFC 6455, 5.5.1: the close frame is answered with its code.
                    let close = close.map(|(code, _)| (code, String::new()));
                    return Err(Ended { reason: reason.trim_end().to_owned(), close: Some(close) });
                }
                // RFC 6455, 7.1.7: the close frame names the violation.
                Err(cause) => {
                    let reason = format!("protocol: {}", cause.reason());
                    return Err(Ended::with(reason, cause.code(), cause.reason()));
                }
            }
        }
    }

    /// Ends the handshake: sends every subscription, and the requests that waited.
    fn opened(&mut self, now: Time, codec: &mut Codec) {
        self.open_since = Some(now);
        self.phase = Phase::Open { heard: now, asked: None };
        self.events.push_back(Event::Connected);
        let mut texts = Vec::new();
        for subscription in &mut self.subscriptions {
            let kind = RequestKind::Subscribe(subscription.name().clone());
            texts.push(subscription.request(self.next_id).json("id", self.next_id).end());
            self.requests.insert(self.next_id, Request { kind, unsent: None });
            self.next_id += 1;
        }
        texts.extend(self.requests.values_mut().filter_map(|request| request.unsent.take()));
        for text in texts {
            codec.message(&mut self.out, Message::Text(&text));
        }
    }

    /// Ends the connection: requests in flight stay without an answer.
    fn give_up(&mut self, now: Time, reason: &str) {
        use Phase::{Closing, Dropping, Waiting};
        if matches!(self.phase, Waiting { .. } | Closing { .. } | Dropping { .. }) {
            return;
        }
        self.out.clear();
        self.connection = None;
        self.events.push_back(Event::Disconnected { reason: reason.to_owned() });
        let events = &mut self.events;
        self.requests.retain(|&id, request| {
            if request.unsent.is_none() && matches!(request.kind, RequestKind::Other) {
                events.push_back(Event::Unanswered { request: RequestId(id) });
            }
            request.unsent.is_some()
        });
        // Spread over the whole delay, so that a thousand clients don't reconnect at once.
        let delay_after = |attempts: u32| {
            let doubled = self.options.backoff.saturating_mul(1 << attempts.min(16));
            doubled.min(self.options.backoff_max)
        };
        // A server that accepts and drops connections does not reset the delay.
        let lasted = self.open_since.take().map_or(Duration::ZERO, |since| now - since);
        if lasted >= LASTING.max(delay_after(self.attempts)) {
            self.attempts = 0;
        }
        let delay = delay_after(self.attempts);
        self.attempts += 1;
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX).max(1);
        let until = Time::from_nanos(now.as_nanos().saturating_add(self.random.below(nanos)));
        self.phase = Phase::Dropping { until };
    }

    /// Appends a close frame, the last frame to send.
    pub fn close(&mut self) {
        let is_open = self.is_open();
        if let Some(connection) = self.connection.as_mut().filter(|_| is_open) {
            connection.codec.close(&mut self.out, Some((CloseCode::NORMAL, "")));
        }
    }
}
