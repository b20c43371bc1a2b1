//! What a client is told, and what it can be asked for.

use crate::protocol::json::Object;
use crate::tls::{CertificateError, Trust};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

/// Where in a channel: its incarnation, and the number of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// A channel that was forgotten and is published to again has another.
    pub epoch: u64,
    /// From 1, without holes.
    pub seq: u64,
}

/// Which messages a subscription gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every one, in order.
    #[default]
    All,
    /// Of each key the newest.
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
    /// Moves a second at most, 1 to 1000; each brings all that is pending.
    pub max_rate: Option<u32>,
    /// The newest value of every key first.
    pub snapshot: bool,
    /// Go on behind this message.
    pub since: Option<Position>,
    /// Messages that may be on their way without being acknowledged, 1 to 65536.
    pub window: Option<u32>,
    /// Acknowledge by hand, and not when the message is taken.
    pub manual_ack: bool,
    /// Be listed under this name: `$presence.CHANNEL` tells who comes and goes, if the
    /// channel's rule has a list.
    pub name: Option<String>,
}

impl Subscribe {
    /// The request for it, which goes on behind `from`, or else begins with a snapshot if
    /// it is to.
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
            // Where it can't go on, a snapshot follows unasked.
            Some(Position { epoch, seq }) => {
                request.json("since", format_args!(r#"{{"epoch":{epoch},"seq":{seq}}}"#))
            }
            None if snapshot => request.json("snapshot", true),
            None => request,
        }
    }
}

/// How a client behaves.
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
    /// Which servers are talked to over `wss://`. Those of the machine's authorities.
    pub trust: Trust,
    /// The first delay before connecting again, spread at random; it doubles. 250 ms.
    pub backoff: Duration,
    /// What it doubles up to. 15 s.
    pub backoff_max: Duration,
    /// How long connecting and the handshake may take, each. 10 s.
    pub connect: Duration,
    /// Silence after which the server is asked whether it is there. 25 s.
    pub idle: Duration,
    /// How long its answer may take. 10 s.
    pub answer: Duration,
    /// Requests without an answer; above it they are refused. 1,024.
    pub requests_max: usize,
    /// Bytes that the network has not taken; above it, the same. 4 MiB.
    pub unsent_bytes_max: usize,
    /// Further headers of the handshake; `Host` takes the place of the one that the URL makes.
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

/// Names a request, so that its answer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A publication as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// To which channel.
    pub channel: Arc<str>,
    /// The channel's number of it.
    pub seq: u64,
    /// Milliseconds since 1970, at the server.
    pub time_ms: u64,
    /// What it is the value of, if of anything.
    pub key: Option<Box<str>>,
    /// The key has no value any more.
    pub is_removed: bool,
    /// It is one of a snapshot's newest values.
    pub is_snapshot: bool,
    /// Its JSON.
    pub body: Box<str>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The server is there: the first time, or again.
    Connected,
    /// The connection was lost. It is tried again, and every subscription goes on
    /// where it was.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// A publication.
    Message(Received),
    /// A subscription is live: the first time, or again.
    Subscribed {
        /// To what; of a pattern, each channel on its own.
        channel: Arc<str>,
        /// What comes, comes after this message.
        position: Position,
        /// That is where it had asked to go on.
        recovered: bool,
        /// The name that it was to be listed under is on no list: the channel has none.
        is_unlisted: bool,
    },
    /// A subscription could not go on where it was, and starts anew.
    Reset {
        /// To what.
        channel: Arc<str>,
        /// Where it was.
        previous: Position,
        /// Where it is.
        position: Position,
    },
    /// The next messages of the channel are newest values.
    Snapshot {
        /// Of which channel.
        channel: Arc<str>,
        /// How many; a long snapshot comes in several portions.
        count: u64,
    },
    /// The snapshot is over.
    SnapshotEnd {
        /// Of which channel.
        channel: Arc<str>,
        /// What follows comes after this message.
        seq: u64,
        /// Every key's value was in it. If not, the server keeps those of fewer keys.
        complete: bool,
    },
    /// Messages do not come.
    Gap {
        /// Of which channel.
        channel: Arc<str>,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Of messages, the newest of each key come.
    Conflated {
        /// Of which channel.
        channel: Arc<str>,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A publication has its number.
    Published {
        /// Which.
        request: RequestId,
        /// The number.
        seq: u64,
    },
    /// The server is there.
    Pong {
        /// Which ping.
        request: RequestId,
    },
    /// The server refuses, for good.
    Refused {
        /// Which request; none if it was something that is not answered.
        request: Option<RequestId>,
        /// The channel, if it was a subscription: it has ended.
        channel: Option<Arc<str>>,
        /// The number of the error, of docs/protocol.md.
        code: u16,
        /// What is wrong.
        message: String,
    },
    /// The connection was lost before the answer came: nobody knows what became of it.
    Unanswered {
        /// Which request.
        request: RequestId,
    },
    /// The server goes away. The client comes back by itself, to it or another.
    Shutdown {
        /// Within so many milliseconds.
        within_ms: u64,
    },
}

/// Why a client can't do something.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The URL is none.
    Url(String),
    /// A header of [`Options::headers`] can't be one, or belongs to the handshake.
    Header(String),
    /// There is nobody to trust: no authority where it was looked for.
    Trust(CertificateError),
    /// The server could not be reached, or did not accept.
    Connect(String),
    /// What is published is not JSON, and at which byte.
    NotJson {
        /// What was expected.
        message: &'static str,
        /// The byte.
        at: usize,
    },
    /// There is a subscription to this channel already.
    Subscribed(String),
    /// There is none.
    NotSubscribed(String),
    /// As many requests without an answer as there may be, or bytes that the network
    /// does not take: the caller is faster than the server.
    Full,
    /// Something with the socket.
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
            Error::Subscribed(channel) => write!(formatter, "{channel}: subscribed to already"),
            Error::NotSubscribed(channel) => write!(formatter, "{channel}: not subscribed to"),
            Error::Full => write!(formatter, "too much is under way to the server"),
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
