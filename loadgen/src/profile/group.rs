//! A group of connections with the same traffic.

use super::values::{Content, Delivery, Rate, SIZE_MAX, Sizes, Sources};
use std::time::Duration;
use tapecast::client::Url;

/// The traffic of a group's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Every connection sends and awaits replies.
    Echo,
    /// Some publish, all receive.
    Broadcast,
    /// The same, over `tapecast.v1.json`.
    Topics,
    /// Connections open, perhaps send messages, perhaps close and reconnect.
    Connect,
    /// Connections stay open and idle.
    Idle,
}

/// The distribution of messages over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal intervals.
    Constant,
    /// At random intervals, as from independent users.
    Poisson,
}

/// The check of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every byte is as it was sent.
    Content,
    /// It has the length of the sent message.
    Length,
    /// It arrived.
    Any,
}

/// A group of connections with the same traffic.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub scenario: Scenario,
    pub connections: u32,
    pub opening: Opening,
    pub load: Load,
    pub message: Message,
    pub broadcast: Broadcast,
}

/// How connections are opened, and their offers and limits.
#[derive(Clone, Debug)]
pub struct Opening {
    pub urls: Vec<Url>,
    /// The path instead of the URL's; empty for that.
    pub path: String,
    pub sources: Vec<Sources>,
    pub subprotocols: Vec<String>,
    pub headers: Vec<(String, String)>,
    pub on_open: Vec<String>,
    /// Offer permessage-deflate.
    pub compression: bool,
    /// Offer context takeover too, in both directions.
    pub compression_contexts: bool,
    pub tls: Tls,
    pub reconnect: Option<Duration>,
    pub handshake_timeout: Duration,
    pub message_bytes_max: usize,
}

/// The trust in servers of `wss://`.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// A PEM file of authorities instead of the machine's; empty for those.
    pub ca: String,
    /// Accept any certificate.
    pub insecure: bool,
    /// Resume sessions.
    pub resume: bool,
}

/// The pace of messages.
#[derive(Clone, Debug)]
pub struct Load {
    pub rate: Option<Rate>,
    pub arrivals: Arrivals,
    /// The closed loop, where there is no rate.
    pub in_flight: u32,
    /// The messages of a connection before it closes, for `connect`.
    pub messages: u32,
}

/// The form of messages, and the check of replies.
#[derive(Clone, Debug)]
pub struct Message {
    pub size: Sizes,
    pub payload: Content,
    pub text: bool,
    /// The text around a payload; empty for none.
    pub template: String,
    pub check: Check,
}

/// The publishers and readers of `broadcast` and `topics`.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// 0 for all connections.
    pub publishers: u32,
    pub rooms: u32,
    pub channel: String,
    pub keys: u32,
    pub deliveries: Vec<Delivery>,
    /// The share of readers that stall.
    pub stalled: f64,
    /// For how long; none for until the end.
    pub stall: Option<Duration>,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            name: String::new(),
            scenario: Scenario::Echo,
            connections: 50,
            opening: Opening::default(),
            load: Load::default(),
            message: Message::default(),
            broadcast: Broadcast::default(),
        }
    }
}

impl Default for Opening {
    fn default() -> Self {
        Opening {
            urls: Vec::new(),
            path: String::new(),
            sources: Vec::new(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            on_open: Vec::new(),
            compression: false,
            compression_contexts: false,
            tls: Tls::default(),
            reconnect: Some(Duration::from_secs(1)),
            handshake_timeout: Duration::from_secs(10),
            message_bytes_max: SIZE_MAX,
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Load {
            rate: Some(Rate::constant(1_000.0)),
            arrivals: Arrivals::Constant,
            in_flight: 1,
            messages: 0,
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Message {
            size: Sizes::Fixed(64),
            payload: Content::Pattern,
            text: false,
            template: String::new(),
            check: Check::Content,
        }
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Broadcast {
            publishers: 1,
            rooms: 1,
            channel: "load.{room}".into(),
            keys: 0,
            deliveries: Vec::new(),
            stalled: 0.0,
            stall: None,
        }
    }
}

impl Group {
    /// The pairs of a reader and a publisher of its room, for broadcast and topics.
    pub(super) fn tracks(&self) -> u64 {
        let Broadcast { publishers, rooms, .. } = self.broadcast;
        let publishers = if publishers == 0 { self.connections } else { publishers };
        u64::from(self.connections) * u64::from(publishers).div_ceil(rooms.max(1).into())
    }
}
