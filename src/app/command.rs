//! Commands of other threads to a shard. They arrive in the shard's inbox, and the shard carries
//! them out between two turns, in bounded steps.

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "most come from the control thread, which is the program's")
)]

use crate::base::{ConnectionId, Limits, Wake};
use crate::hub::{HubError, TopicSummary};
use crate::mailbox::{Doorbell, Inbox, Newest};
use crate::protocol::{CloseCode, Kind};
use crate::tls::Acceptor;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;

/// A publication in flight to its home shard.
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

/// A command to a shard.
pub(crate) enum ShardCommand {
    /// Publish; this shard is the topic's home. The answer is the message's number.
    Publish { publication: Publication, answer: Option<Answer<Result<u64, HubError>>> },
    /// Report a page of its connections, from this slot on.
    Connections { from: u32, count: usize, answer: Answer<Page<ConnectionSummary>> },
    /// Report a page of its topics, from this place on.
    Topics { from: u32, count: usize, answer: Answer<Page<TopicSummary>> },
    /// Close a connection. The answer is whether it existed.
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

/// The queue of commands to one shard, and its newest configuration. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CommandQueue {
    pub inbox: Inbox<ShardCommand>,
    /// The shard takes over those of these limits that can be reloaded.
    pub limits: Newest<Arc<Limits>>,
    /// New connections begin TLS with this.
    pub tls: Newest<Acceptor>,
}

impl CommandQueue {
    /// Room for so many commands, with publications of so many bytes.
    pub fn new(commands_max: usize, publication_bytes_max: usize) -> CommandQueue {
        CommandQueue {
            inbox: Inbox::new(commands_max, publication_bytes_max),
            limits: Newest::default(),
            tls: Newest::default(),
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty() && self.limits.is_empty() && self.tls.is_empty()
    }
}

/// Sends commands to one shard.
pub(crate) struct CommandSender {
    pub commands: CommandQueue,
    pub doorbell: Arc<Doorbell<Box<dyn Wake>>>,
}

impl CommandSender {
    /// Sends a command.
    ///
    /// # Errors
    /// The command, when the inbox is full.
    pub fn post(&self, command: ShardCommand) -> Result<(), ShardCommand> {
        let bytes = match &command {
            ShardCommand::Publish { publication, .. } => publication.weight(),
            _ => 0,
        };
        self.commands.inbox.push(command, bytes)?;
        self.doorbell.ring();
        Ok(())
    }

    /// Gives the shard new limits, without waiting for it.
    pub fn reload(&self, limits: Arc<Limits>) {
        self.commands.limits.put(limits);
        self.doorbell.ring();
    }

    /// Has the shard begin TLS with this, without waiting for it.
    pub fn reload_tls(&self, acceptor: Acceptor) {
        self.commands.tls.put(acceptor);
        self.doorbell.ring();
    }
}
