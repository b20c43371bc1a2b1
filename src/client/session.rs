//! The client without I/O: bytes and time in, bytes and events out.

use super::event::{Error, Event, Options, Position, Received, RequestId, Subscribe};
use super::subscription::Subscription;
use super::url::Url;
use super::words::{NAME, Word};
use crate::base::{Random, Time, entropy};
use crate::connection::client::Client as Codec;
use crate::protocol::deflate::Offered;
use crate::protocol::handshake::Offer;
use crate::protocol::json::{Object, Scanner};
use crate::protocol::{CloseCode, Incoming, Input, Message, Opcode, Workspace};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of free buffers kept for messages that come in pieces.
const POOL_BYTES: usize = 1 << 20;

/// How long a connection has to last for the next delay to begin anew.
const LASTING: Duration = Duration::from_secs(5);
/// How long the server has to end a connection after the last word.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a session needs of whoever moves its bytes.
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
    /// Let go of the connection: it is of no more use.
    Disconnect,
    /// Nothing before this time but what comes: call [`Session::need`] again then.
    Wait(Time),
}

#[derive(Debug)]
enum Phase {
    /// No connection, and none is wanted until then.
    Waiting { until: Time },
    /// One was asked for.
    Connecting,
    /// The handshake is under way.
    Shaking { until: Time },
    Open {
        heard: Time,
        /// Since when an answer is awaited.
        asked: Option<Time>,
    },
    /// The last word has been said: what comes is dropped, until the server ends it or this
    /// time has come. The next connection is not before the other.
    Closing { until: Time, next: Time },
    /// The connection is to be let go of.
    Dropping { until: Time },
}

/// Why a connection is over, and what the server is told.
struct Ended {
    reason: String,
    close: Option<Close>,
}

/// A close frame: with a code and a reason, or empty.
type Close = Option<(CloseCode, String)>;

impl Ended {
    fn with(reason: String, code: CloseCode, said: &str) -> Ended {
        Ended { reason, close: Some(Some((code, said.to_owned()))) }
    }
}

/// What speaks WebSocket, and where it puts messages that come in pieces.
#[derive(Debug)]
struct Connection {
    codec: Codec,
    pool: Workspace,
}

#[derive(Debug)]
struct Request {
    kind: RequestKind,
    /// What is to be sent, until it was.
    unsent: Option<String>,
}

#[derive(Debug)]
enum RequestKind {
    Subscribe(Arc<str>),
    /// Or of a subscription that has ended since.
    Unsubscribe,
    /// The caller knows its number.
    Other,
}

/// A client's state: what is subscribed to, what was asked, and when to do what.
///
/// Whoever drives it does what [`Session::need`] says, writes what is in
/// [`Session::outgoing`], hands over what was read, and takes the events.
/// [`Client`](super::Client) does so on a blocking socket.
#[derive(Debug)]
pub struct Session {
    url: Url,
    options: Options,
    random: Random,
    phase: Phase,
    connection: Option<Connection>,
    subscriptions: Vec<Subscription>,
    requests: BTreeMap<u64, Request>,
    next_id: u64,
    /// Connections lost in a row that have not lasted.
    attempts: u32,
    /// When hands were shaken.
    open_since: Option<Time>,
    out: Vec<u8>,
    events: VecDeque<Event>,
}

impl Session {
    /// Not connected, and ready to be. The seed spreads delays.
    pub fn new(url: Url, options: Options, seed: u64) -> Session {
        Session {
            url,
            options,
            random: Random::new(seed),
            phase: Phase::Waiting { until: Time::ZERO },
            connection: None,
            subscriptions: Vec::new(),
            requests: BTreeMap::new(),
            next_id: 1,
            attempts: 0,
            open_since: None,
            out: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Where the server is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How it behaves.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether requests are sent as they come.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// What it needs now. Hand over what was read first: what has come counts before what
    /// is late.
    pub fn need(&mut self, now: Time) -> Need {
        match self.phase {
            Phase::Waiting { until } if now < until => Need::Wait(until),
            Phase::Waiting { .. } => {
                self.phase = Phase::Connecting;
                Need::Connect
            }
            Phase::Connecting => Need::Connect,
            Phase::Shaking { until } if now < until => Need::Wait(until),
            Phase::Shaking { .. } => {
                self.give_up(now, "the handshake took too long");
                self.need(now)
            }
            // A network that is gone says nothing: silence is asked about.
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

    /// There is a connection.
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
        self.phase = Phase::Shaking { until: now + self.options.connect };
    }

    /// There is no connection any more, or there never was.
    pub fn lost(&mut self, now: Time, reason: &str) {
        self.give_up(now, reason);
        if let Phase::Dropping { until } | Phase::Closing { next: until, .. } = self.phase {
            self.phase = Phase::Waiting { until };
        }
    }

    /// What is to be written. What was is to be taken from its front.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes bytes that were read.
    pub fn receive(&mut self, now: Time, bytes: &mut [u8]) {
        let Some(mut connection) = self.connection.take() else { return };
        let ended = self.take(now, &mut connection, &mut Input::new(bytes));
        let Err(Ended { reason, close }) = ended else {
            self.connection = Some(connection);
            return;
        };
        let Some(close) = close else { return self.give_up(now, &reason) };
        // Behind what is on its way, for a frame of that may have begun.
        let mut out = std::mem::take(&mut self.out);
        let close = close.as_ref().map(|(code, said)| (*code, said.as_str()));
        connection.codec.close(&mut out, close);
        self.give_up(now, &reason);
        self.out = out;
        if let Phase::Dropping { until: next } = self.phase {
            self.phase = Phase::Closing { until: now + GOODBYE, next };
        }
    }

    /// Takes what `input` holds; an error ends the connection.
    fn take(
        &mut self,
        now: Time,
        connection: &mut Connection,
        input: &mut Input<'_>,
    ) -> Result<(), Ended> {
        let Connection { codec, pool } = connection;
        if !self.is_open() {
            match codec.shake_hands(input) {
                Ok(false) => return Ok(()),
                Ok(true) if !codec.has_subprotocol() => {
                    let reason = format!("the server does not speak {NAME} there");
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
                Ok(Some(Incoming::Message(Message::Text(text)))) => match Word::read(text) {
                    Ok(word) => self.hear(word),
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
                    // RFC 6455, 5.5.1: it is answered, with the code that came.
                    let close = close.map(|(code, _)| (code, String::new()));
                    return Err(Ended { reason: reason.trim_end().to_owned(), close: Some(close) });
                }
                // RFC 6455, 7.1.7: the server is told why.
                Err(cause) => {
                    let reason = format!("protocol: {}", cause.reason());
                    return Err(Ended::with(reason, cause.code(), cause.reason()));
                }
            }
        }
    }

    /// Hands are shaken: everything is asked for, and what has waited is sent.
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

    /// The connection is over: what was sent and not answered never will be.
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
        // Spread over the whole delay, so that a thousand clients don't come at once.
        let delay_after = |attempts: u32| {
            let doubled = self.options.backoff.saturating_mul(1 << attempts.min(16));
            doubled.min(self.options.backoff_max)
        };
        // A server that greets and goes again has not come back.
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

    fn hear(&mut self, word: Word<'_>) {
        let answered = match &word {
            Word::Message { channel, .. }
            | Word::Snapshot { channel, .. }
            | Word::SnapshotEnd { channel, .. }
            | Word::Gap { channel, .. }
            | Word::Conflated { channel, .. } => {
                if let Some(index) = self.route(channel) {
                    self.subscriptions[index].take(word, &mut self.events);
                }
                return;
            }
            Word::Subscribed { channel, id, .. } => {
                let (index, id) = (self.route(channel), *id);
                if let Some(index) = index {
                    self.subscriptions[index].take(word, &mut self.events);
                }
                id
            }
            Word::Heartbeat(positions) => {
                for (channel, seq) in positions {
                    if let Some(index) = self.route(channel) {
                        self.subscriptions[index].heartbeat(channel, *seq, &mut self.events);
                    }
                }
                return;
            }
            Word::Published { seq, id: Some(id), .. } => {
                let (request, seq) = (RequestId(*id), *seq);
                self.events.push_back(Event::Published { request, seq });
                Some(*id)
            }
            Word::Pong { id: Some(id) } => {
                self.events.push_back(Event::Pong { request: RequestId(*id) });
                Some(*id)
            }
            Word::Error { code, message, id } => {
                self.refused(*code, message, *id);
                return;
            }
            Word::Shutdown { within_ms } => {
                self.events.push_back(Event::Shutdown { within_ms: *within_ms });
                return;
            }
            Word::Unsubscribed { id, .. } => *id,
            _ => return,
        };
        if let Some(id) = answered {
            self.requests.remove(&id);
        }
    }

    fn refused(&mut self, code: u16, message: &str, id: Option<u64>) {
        let request = id.and_then(|id| self.requests.remove(&id));
        let channel = match request.map(|request| request.kind) {
            // Its subscription has ended already.
            Some(RequestKind::Unsubscribe) => return,
            Some(RequestKind::Subscribe(channel)) => {
                self.subscriptions.retain(|subscription| *subscription.name() != channel);
                Some(channel)
            }
            _ => None,
        };
        let (request, message) = (id.map(RequestId), message.to_owned());
        self.events.push_back(Event::Refused { request, channel, code, message });
    }

    /// The subscription that gets what is published to `channel`: that of its name, or
    /// else of the first pattern that matches.
    fn route(&self, channel: &str) -> Option<usize> {
        let by_name = self.place_of(channel);
        by_name.or_else(|| self.subscriptions.iter().position(|it| it.matches(channel)))
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.subscriptions.iter().position(|it| **it.name() == *name)
    }

    /// What happened next. A message that is taken counts as acknowledged, unless that
    /// is done by hand.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Message(Received { channel, .. })
        | Event::Subscribed { channel, .. }
        | Event::SnapshotEnd { channel, .. }
        | Event::Gap { channel, .. } = &event
            && let Some(index) = self.route(channel)
            && let Some(seq) = self.subscriptions[index].hand(&event)
        {
            self.send_ack(channel, seq);
        }
        Some(event)
    }

    /// Events that were not taken yet.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Subscribes, now or once connected, and again whenever it is.
    ///
    /// # Errors
    /// There is a subscription to this channel already.
    pub fn subscribe(&mut self, channel: &str, how: &Subscribe) -> Result<(), Error> {
        if self.place_of(channel).is_some() {
            return Err(Error::Subscribed(channel.to_owned()));
        }
        let mut subscription = Subscription::new(channel, how.clone());
        if self.is_open() {
            let kind = RequestKind::Subscribe(subscription.name().clone());
            self.ask(kind, subscription.request(self.next_id), None);
        }
        self.subscriptions.push(subscription);
        Ok(())
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// There is none.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<(), Error> {
        let place = self.place_of(channel);
        let place = place.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        let name = self.subscriptions.remove(place).name().clone();
        // Whatever the server says of it now concerns nobody, nor another of this name.
        for request in self.requests.values_mut() {
            if matches!(&request.kind, RequestKind::Subscribe(channel) if *channel == name) {
                request.kind = RequestKind::Unsubscribe;
            }
        }
        if self.is_open() {
            let words = Object::new("unsubscribe").text("channel", channel);
            self.ask(RequestKind::Unsubscribe, words, None);
        }
        Ok(())
    }

    /// Publishes JSON. The answer is an [`Event::Published`] or [`Event::Refused`]; or
    /// [`Event::Unanswered`], when the connection is lost before it comes. What is
    /// published while there is no connection is sent once there is.
    ///
    /// # Errors
    /// It is not JSON; or too much is under way.
    pub fn publish(
        &mut self,
        channel: &str,
        key: Option<&str>,
        json: &str,
    ) -> Result<RequestId, Error> {
        Scanner::new(json)
            .whole()
            .map_err(|malformed| Error::NotJson { message: malformed.message, at: malformed.at })?;
        let words = Object::new("publish").text("channel", channel);
        let words = match key {
            Some(key) => words.text("key", key),
            None => words,
        };
        self.bounded(words, Some(json))
    }

    /// Publishes that a key has no value any more. Else as [`Session::publish`].
    ///
    /// # Errors
    /// Too much is under way.
    pub fn remove(&mut self, channel: &str, key: &str) -> Result<RequestId, Error> {
        let words = Object::new("publish").text("channel", channel).text("key", key);
        self.bounded(words.json("remove", true), Some("null"))
    }

    /// Asks whether the server is there: [`Event::Pong`].
    ///
    /// # Errors
    /// Too much is under way.
    pub fn ping(&mut self) -> Result<RequestId, Error> {
        self.bounded(Object::new("ping"), None)
    }

    /// Everything of `channel` up to `seq`, or to the last message taken, is done with.
    ///
    /// # Errors
    /// There is no subscription that gets it.
    pub fn ack(&mut self, channel: &str, seq: Option<u64>) -> Result<(), Error> {
        let handed = || self.subscriptions[self.route(channel)?].handed(channel);
        let seq = seq.or_else(handed);
        let seq = seq.ok_or_else(|| Error::NotSubscribed(channel.to_owned()))?;
        self.send_ack(channel, seq);
        Ok(())
    }

    /// Where `channel` could be gone on behind what was taken of it.
    pub fn position(&self, channel: &str) -> Option<Position> {
        self.subscriptions[self.route(channel)?].position(channel)
    }

    /// Appends a close frame: the last thing to send.
    pub fn close(&mut self) {
        let is_open = self.is_open();
        if let Some(connection) = self.connection.as_mut().filter(|_| is_open) {
            connection.codec.close(&mut self.out, Some((CloseCode::NORMAL, "")));
        }
    }

    fn send_ack(&mut self, channel: &str, seq: u64) {
        if self.is_open() {
            self.write(&Object::new("ack").text("channel", channel).json("seq", seq).end());
        }
    }

    /// A request of the caller's, who is refused where there is no room.
    fn bounded(&mut self, words: Object, message: Option<&str>) -> Result<RequestId, Error> {
        let Options { requests_max, unsent_bytes_max, .. } = self.options;
        if self.requests.len() >= requests_max || self.out.len() >= unsent_bytes_max {
            return Err(Error::Full);
        }
        Ok(self.ask(RequestKind::Other, words, message))
    }

    /// The message comes last: of a request that is too long, the server reads no more than
    /// the first words.
    fn ask(&mut self, kind: RequestKind, words: Object, message: Option<&str>) -> RequestId {
        let id = self.next_id;
        self.next_id += 1;
        let words = words.json("id", id);
        let text = match message {
            Some(json) => words.raw("message", json).end(),
            None => words.end(),
        };
        let unsent = match self.is_open() {
            true => {
                self.write(&text);
                None
            }
            false => Some(text),
        };
        self.requests.insert(id, Request { kind, unsent });
        RequestId(id)
    }

    fn write(&mut self, text: &str) {
        if let Some(Connection { codec, .. }) = &mut self.connection {
            codec.message(&mut self.out, Message::Text(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn session() -> Session {
        let url = "ws://127.0.0.1:9001/".parse().unwrap();
        Session::new(url, Options::default(), 7)
    }

    /// Requests without an answer do not pile up, connected or not.
    #[test]
    fn what_is_under_way_is_bounded() {
        let mut session = session();
        for _ in 0..session.options.requests_max {
            session.publish("a", None, "1").unwrap();
        }
        assert!(matches!(session.publish("a", None, "1"), Err(Error::Full)));
        assert!(matches!(session.publish("a", None, "{"), Err(Error::NotJson { at: 1, .. })));
        session.subscribe("a", &Subscribe::default()).unwrap();
        let again = session.subscribe("a", &Subscribe::default());
        assert!(matches!(again, Err(Error::Subscribed(_))));
    }

    #[test]
    fn comes_again_after_a_delay_that_is_spread_and_doubles() {
        let mut session = session();
        let mut now = Time::ZERO;
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            assert_eq!(session.need(now), Need::Connect);
            session.lost(now, "refused");
            let Need::Wait(until) = session.need(now) else { panic!("a delay") };
            assert!(until - now <= session.options.backoff_max);
            longest = longest.max(until - now);
            now = until;
        }
        assert!(longest > Duration::from_secs(2), "{longest:?}");
    }

    #[test]
    fn a_handshake_has_its_time() {
        let mut session = session();
        assert_eq!(session.need(Time::ZERO), Need::Connect);
        session.connected(Time::ZERO);
        assert!(session.outgoing().starts_with(b"GET / HTTP/1.1\r\n"));
        let Need::Wait(until) = session.need(Time::ZERO) else { panic!("a deadline") };
        assert_eq!(session.need(until), Need::Disconnect);
        let reason = "the handshake took too long".to_owned();
        assert_eq!(session.next_event(), Some(Event::Disconnected { reason }));
        assert!(matches!(session.need(until), Need::Wait(_) | Need::Connect));
    }
}
