//! The public types of a client: events, subscriptions, options and errors.

use crate::protocol::json::Object;
use crate::tls::{CertificateError, Trust};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

/// A position in a channel: its epoch, and the sequence number of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// A channel that was removed and is published to again has a new epoch.
    pub epoch: u64,
    /// Counts from 1, without gaps.
    pub seq: u64,
}

/// Which messages a subscription receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every one, in order.
    #[default]
    All,
    /// The newest message of each key.
    Latest,
}

/// How a subscription is delivered.
///
/// ```
/// use tapecast::client::{Mode, Subscribe};
///
/// // The newest quote of each symbol, ten times a second at most.
/// let quotes = Subscribe {
///     mode: Mode::Latest,
///     max_rate: Some(10),
///     snapshot: true,
///     ..Subscribe::default()
/// };
/// assert_eq!(quotes.window, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// Which messages.
    pub mode: Mode,
    /// Deliveries a second at most, 1 to 1000; each carries all pending messages.
    pub max_rate: Option<u32>,
    /// Begin with the newest value of every key.
    pub snapshot: bool,
    /// Resume after this message.
    pub since: Option<Position>,
    /// How many messages may be in flight without an acknowledgement, 1 to 65536.
    pub window: Option<u32>,
    /// Acknowledge with [`Client::ack`](super::Client::ack), and not when a message is taken.
    pub manual_ack: bool,
    /// Be listed under this name: `$presence.CHANNEL` reports joins and leaves, if the
    /// channel's rule enables presence.
    pub name: Option<String>,
}

impl Subscribe {
    /// The request that subscribes to `channel`. It resumes after `from`, or else begins with a
    /// snapshot if `snapshot` is set.
    pub fn request(&self, channel: &str, from: Option<Position>, snapshot: bool) -> Object {
        let mut request = Object::new("subscribe").text("channel", channel);
        if self.mode == Mode::Latest {
            request = request.text("mode", "latest");
        }
        if let Some(max_rate) = self.max_rate {
            request = request.json("max_rate", max_rate);
        }
        if let Some(window) = self.window {
            request = request.json("window", window);
        }
        if let Some(name) = &self.name {
            request = request.text("name", name);
        }
        match from {
            // If the server can't resume there, a snapshot follows without a request.
            Some(Position { epoch, seq }) => {
                request.json("since", format_args!(r#"{{"epoch":{epoch},"seq":{seq}}}"#))
            }
            None if snapshot => request.json("snapshot", true),
            None => request,
        }
    }
}

/// The options of a client.
///
/// ```
/// use std::time::Duration;
/// use tapecast::client::Options;
///
/// let impatient = Options { idle: Duration::from_secs(2), ..Options::default() };
/// assert_eq!(impatient.answer, Duration::from_secs(10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The servers to trust over `wss://`. Default: those of the machine's authorities.
    pub trust: Trust,
    /// The first delay before reconnecting, with random spread; it doubles. Default: 250 ms.
    pub backoff: Duration,
    /// The longest delay before reconnecting. Default: 15 s.
    pub backoff_max: Duration,
    /// How long connecting and the handshake may take, each. Default: 10 s.
    pub connect: Duration,
    /// Idle time after which the client pings the server. Default: 25 s.
    pub idle: Duration,
    /// How long the server's answer may take. Default: 10 s.
    pub answer: Duration,
    /// Requests in flight; further ones are refused with [`Error::Full`]. Default: 1,024.
    pub requests_max: usize,
    /// Unsent bytes; above them, requests are refused with [`Error::Full`]. Default: 4 MiB.
    pub unsent_bytes_max: usize,
    /// Further headers of the handshake; a `Host` replaces the one of the URL.
    pub headers: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            trust: Trust::System,
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(15),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(25),
            answer: Duration::from_secs(10),
            requests_max: 1_024,
            unsent_bytes_max: 4 << 20,
            headers: Vec::new(),
        }
    }
}

/// Identifies a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A received publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The channel.
    pub channel: Arc<str>,
    /// Its sequence number in the channel.
    pub seq: u64,
    /// Its time in milliseconds since 1970, by the server's clock.
    pub time_ms: u64,
    /// The key of which it is the value, if it has one.
    pub key: Option<Box<str>>,
    /// Whether it removes the key.
    pub is_removed: bool,
    /// Whether it is part of a snapshot.
    pub is_snapshot: bool,
    /// Its JSON.
    pub body: Box<str>,
}

/// An event of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client is connected: the first time, or again.
    Connected,
    /// The connection was lost. The client reconnects, and every subscription resumes at its
    /// position.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// A publication.
    Message(Received),
    /// A subscription is live: the first time, or again.
    Subscribed {
        /// The channel; a pattern has one event for each channel.
        channel: Arc<str>,
        /// Messages after this one follow.
        position: Position,
        /// Whether the subscription resumed at the requested position.
        recovered: bool,
        /// Whether the name of the subscription is not listed, because the channel has no presence.
        is_unlisted: bool,
    },
    /// A subscription could not resume at its position and restarts.
    Reset {
        /// The channel.
        channel: Arc<str>,
        /// The earlier position.
        previous: Position,
        /// The new position.
        position: Position,
    },
    /// A snapshot begins: the next messages of the channel are the newest values.
    Snapshot {
        /// The channel.
        channel: Arc<str>,
        /// The number of values; a long snapshot arrives in several portions.
        count: u64,
    },
    /// A snapshot has ended.
    SnapshotEnd {
        /// The channel.
        channel: Arc<str>,
        /// Messages after this one follow.
        seq: u64,
        /// Whether it had the value of every key. If not, the server keeps fewer keys.
        complete: bool,
    },
    /// Messages are lost.
    Gap {
        /// The channel.
        channel: Arc<str>,
        /// The first lost message.
        from: u64,
        /// The last lost message.
        to: u64,
    },
    /// Messages are conflated: only the newest of each key follow.
    Conflated {
        /// The channel.
        channel: Arc<str>,
        /// The first conflated message.
        from: u64,
        /// The last conflated message.
        to: u64,
    },
    /// A publication was accepted.
    Published {
        /// The request.
        request: RequestId,
        /// The sequence number of the publication.
        seq: u64,
    },
    /// The server has answered a ping.
    Pong {
        /// The ping.
        request: RequestId,
    },
    /// The server has refused a request for good.
    Refused {
        /// The request; `None` for one without an answer.
        request: Option<RequestId>,
        /// The channel, if the request was a subscription, which has ended.
        channel: Option<Arc<str>>,
        /// The error code of docs/protocol.md.
        code: u16,
        /// The reason of the refusal.
        message: String,
    },
    /// The connection was lost before the answer arrived: the outcome of the request is unknown.
    Unanswered {
        /// The request.
        request: RequestId,
    },
    /// The server shuts down. The client reconnects by itself, to it or to another.
    Shutdown {
        /// The time until it ends, in milliseconds.
        within_ms: u64,
    },
}

/// Why a client fails.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL is malformed.
    Url(String),
    /// A header of [`Options::headers`] is invalid, or belongs to the handshake.
    Header(String),
    /// No certificate authority was found.
    Trust(CertificateError),
    /// The server can't be reached, or refused the handshake.
    Connect(String),
    /// The body of a publication is not JSON.
    NotJson {
        /// The mistake, or the expected syntax.
        message: &'static str,
        /// The byte at which it is wrong.
        at: usize,
    },
    /// There is a subscription to this channel already.
    Subscribed(String),
    /// There is no subscription to this channel.
    NotSubscribed(String),
    /// [`Options::requests_max`] or [`Options::unsent_bytes_max`] is reached: the caller is faster
    /// than the server.
    Full,
    /// An error of the socket.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Url(why) => write!(formatter, "url: {why}"),
            Error::Header(why) => write!(formatter, "headers: {why}"),
            Error::Trust(error) => error.fmt(formatter),
            Error::Connect(why) => write!(formatter, "can't connect: {why}"),
            Error::NotJson { message, at } => write!(formatter, "{message} at byte {at}"),
            Error::Subscribed(channel) => write!(formatter, "{channel}: already subscribed"),
            Error::NotSubscribed(channel) => write!(formatter, "{channel}: not subscribed"),
            Error::Full => write!(formatter, "too many requests in flight: take events first"),
            Error::Io(error) => write!(formatter, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}
