//! What threads that are not shards ask of a shard. It comes through the shard's
//! inbox and is done between two turns, in bounded steps.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "most is asked by the control thread, which is the program's")
)]

use super::Publisher;
use crate::base::{ConnectionId, Counters, Limits, Wake};
use crate::hub::{HubError, TopicSummary};
use crate::mailbox::{Doorbell, Inbox, Newest};
use crate::protocol::{CloseCode, Kind};
use crate::tls::Acceptor;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// A publication on its way to its home shard.
#[derive(Debug)]
pub(crate) struct Publication {
    pub topic: Arc<str>,
    pub key: Option<Arc<str>>,
    pub removes_key: bool,
    pub is_json: bool,
    pub kind: Kind,
    pub payload: Bytes,
}

impl Publication {
    /// Bytes that it takes while it waits.
    fn weight(&self) -> usize {
        let key_bytes = self.key.as_ref().map_or(0, |key| key.len());
        self.payload.len() + self.topic.len() + key_bytes + size_of::<Publication>()
    }
}

/// Called once, on the shard's thread: it must not block.
pub(crate) type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// What a shard is asked to do.
pub(crate) enum Errand {
    /// Publish; this shard is the topic's home. Who asks is told the message's number.
    Publish { publication: Publication, answer: Option<Answer<Result<u64, HubError>>> },
    /// Tell a page of its connections, from this slot on.
    Connections { from: u32, count: usize, answer: Answer<Page<ConnectionSummary>> },
    /// Tell a page of its topics, from this place on.
    Topics { from: u32, count: usize, answer: Answer<Page<TopicSummary>> },
    /// Close a connection; the answer says whether it was there.
    Disconnect { id: ConnectionId, code: CloseCode, reason: String, answer: Answer<bool> },
}

/// Some of many.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins, if there is one.
    pub next: Option<u32>,
}

/// A connection as its operator sees it.
#[derive(Debug)]
pub(crate) struct ConnectionSummary {
    pub id: ConnectionId,
    pub peer: Option<SocketAddr>,
    /// The target of the request; empty before the handshake.
    pub target: String,
    pub state: &'static str,
    /// Since it entered its state.
    pub state_ms: u64,
    /// Since a byte was last received.
    pub idle_ms: u64,
    pub queued_bytes: usize,
    pub subscriptions: u32,
    pub round_trip_us: Option<u32>,
}

/// By what threads that are not shards reach one. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Entrance {
    pub inbox: Inbox<Errand>,
    /// The reloadable ones of these are taken over.
    pub limits: Newest<Arc<Limits>>,
    /// New connections begin TLS like this from now on.
    pub tls: Newest<Acceptor>,
}

impl Entrance {
    /// Room for so many errands, with publications of so many bytes.
    pub fn new(errands_max: usize, publication_bytes_max: usize) -> Entrance {
        Entrance {
            inbox: Inbox::new(errands_max, publication_bytes_max),
            limits: Newest::default(),
            tls: Newest::default(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.limits.is_empty() && self.tls.is_empty()
    }
}

/// Where errands for one shard go.
pub(crate) struct Outlet {
    pub entrance: Entrance,
    pub doorbell: Arc<Doorbell<Box<dyn Wake>>>,
}

impl Outlet {
    /// Hands an errand over.
    ///
    /// # Errors
    /// The errand, when the inbox is full.
    pub fn post(&self, errand: Errand) -> Result<(), Errand> {
        let bytes = match &errand {
            Errand::Publish { publication, .. } => publication.weight(),
            _ => 0,
        };
        self.entrance.inbox.push(errand, bytes)?;
        self.doorbell.ring();
        Ok(())
    }

    /// Gives the shard new limits, and does not wait for it.
    pub fn reload(&self, limits: Arc<Limits>) {
        self.entrance.limits.put(limits);
        self.doorbell.ring();
    }

    /// Has the shard begin TLS like this, and does not wait for it.
    pub fn reload_tls(&self, acceptor: Acceptor) {
        self.entrance.tls.put(acceptor);
        self.doorbell.ring();
    }
}

/// All shards, as threads that are none reach them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shards {
    pub outlets: Arc<[Outlet]>,
    pub publisher: Publisher,
    /// What each shard counts.
    pub counters: Arc<[Counters]>,
}
