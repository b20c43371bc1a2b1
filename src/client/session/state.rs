//! What a session knows: the phase of its connection, subscriptions, requests in flight, and
//! events that the caller has not taken.

use crate::base::{Random, Time};
use crate::client::event::{Event, Options};
use crate::client::subscription::Subscription;
use crate::client::url::Url;
use crate::connection::client::Client as Codec;
use crate::protocol::Workspace;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Phase {
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

/// What speaks WebSocket, and where it puts messages that come in pieces.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) codec: Codec,
    pub(super) pool: Workspace,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    /// What is to be sent, until it was.
    pub(super) unsent: Option<String>,
}

#[derive(Debug)]
pub(super) enum RequestKind {
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
/// [`Client`](crate::client::Client) does so on a blocking socket.
#[derive(Debug)]
pub struct Session {
    pub(super) url: Url,
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) phase: Phase,
    pub(super) connection: Option<Connection>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) next_id: u64,
    /// Connections lost in a row that have not lasted.
    pub(super) attempts: u32,
    /// When hands were shaken.
    pub(super) open_since: Option<Time>,
    pub(super) out: Vec<u8>,
    pub(super) events: VecDeque<Event>,
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
}
