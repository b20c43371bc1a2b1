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
    /// Connections stay open and silent.
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
    /// It has the length of what was sent.
    Length,
    /// It arrived.
    Any,
}

/// A group of connections with the same traffic.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub scenario: Scenario,
    pub urls: Vec<Url>,
    pub path: String,
    /// Offer permessage-deflate.
    pub compression: bool,
    /// Offer context takeover too, in both directions.
    pub compression_contexts: bool,
    /// A PEM file of authorities instead of the machine's; empty for those.
    pub ca: String,
    /// Accept any certificate.
    pub insecure: bool,
    /// Resume TLS sessions.
    pub tls_resume: bool,
    pub connections: u32,
    pub sources: Vec<Sources>,
    pub subprotocols: Vec<String>,
    pub headers: Vec<(String, String)>,
    pub on_open: Vec<String>,
    pub rate: Option<Rate>,
    pub arrivals: Arrivals,
    /// The closed loop, where there is no rate.
    pub in_flight: u32,
    pub size: Sizes,
    pub payload: Content,
    pub text: bool,
    pub template: String,
    pub check: Check,
    pub publishers: u32,
    pub rooms: u32,
    pub channel: String,
    pub keys: u32,
    pub deliveries: Vec<Delivery>,
    pub messages: u32,
    pub stalled: f64,
    pub stall: Option<Duration>,
    pub reconnect: Option<Duration>,
    pub handshake_timeout: Duration,
    pub message_bytes_max: usize,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            name: String::new(),
            scenario: Scenario::Echo,
            urls: Vec::new(),
            path: String::new(),
            compression: false,
            compression_contexts: false,
            ca: String::new(),
            insecure: false,
            tls_resume: false,
            connections: 50,
            sources: Vec::new(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            on_open: Vec::new(),
            rate: Some(Rate::constant(1_000.0)),
            arrivals: Arrivals::Constant,
            in_flight: 1,
            size: Sizes::Fixed(64),
            payload: Content::Pattern,
            text: false,
            template: String::new(),
            check: Check::Content,
            publishers: 1,
            rooms: 1,
            channel: "load.{room}".into(),
            keys: 0,
            deliveries: Vec::new(),
            messages: 0,
            stalled: 0.0,
            stall: None,
            reconnect: Some(Duration::from_secs(1)),
            handshake_timeout: Duration::from_secs(10),
            message_bytes_max: SIZE_MAX,
        }
    }
}

impl Group {
    /// The pairs of a reader and a publisher of its room, for broadcast and topics.
    pub(super) fn tracks(&self) -> u64 {
        let publishers = if self.publishers == 0 { self.connections } else { self.publishers };
        u64::from(self.connections) * u64::from(publishers).div_ceil(self.rooms.max(1).into())
    }
}
