//! The state of a session: the phase of its connection, subscriptions, requests in flight, and
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
    /// There is no connection, and none is needed until then.
    Waiting { until: Time },
    /// The caller was asked to connect.
    Connecting,
    /// The handshake is in progress.
    Handshaking { until: Time },
    Open {
        heard: Time,
        /// When the unanswered ping was sent.
        asked: Option<Time>,
    },
    /// The close frame is queued: received bytes are dropped, until the server ends the
    /// connection or `until` has passed. The next connection is not made before `next`.
    Closing { until: Time, next: Time },
    /// The caller has to drop the connection.
    Dropping { until: Time },
}

/// The WebSocket codec, and the buffers of its messages in pieces.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) codec: Codec,
    pub(super) pool: Workspace,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: RequestKind,
    /// Its text, until it is sent.
    pub(super) unsent: Option<String>,
}

#[derive(Debug)]
pub(super) enum RequestKind {
    Subscribe(Arc<str>),
    /// Also a subscription that has ended since.
    Unsubscribe,
    /// A request whose id the caller knows.
    Other,
}

/// A client without I/O: its subscriptions, its requests, and when to do what.
///
/// The caller does what [`Session::need`] says, writes the bytes in
/// [`Session::outgoing`], passes on the bytes that it reads, and takes the events.
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
    /// Short connections that were lost in a row.
    pub(super) attempts: u32,
    /// When the handshake succeeded.
    pub(super) open_since: Option<Time>,
    pub(super) out: Vec<u8>,
    pub(super) events: VecDeque<Event>,
}

impl Session {
    /// A session that is not connected. The seed spreads delays.
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

    /// The address of the server.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether requests are sent at once.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }
}
