//! The requests of a reader for a topic's past, and the answers of the home. A portion is always a
//! part of one view, and names where the next one begins.

use super::message::Entry;
use std::sync::Arc;

/// The part of a topic's past that a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Every message.
    Messages,
    /// The newest message of each key, removals included.
    Changes,
    /// The value of each key that has one, up to the last message at the home, whether or not
    /// the reader's shard was sent it.
    Snapshot,
    /// The changes while a snapshot was being delivered: as [`View::Changes`], up to the
    /// last message at the home.
    Update,
}

impl View {
    /// Whether it goes up to the last message at the home: the home sends the reader's shard
    /// everything up to there first.
    pub fn reaches_the_end(self) -> bool {
        matches!(self, View::Snapshot | View::Update)
    }
}

/// How much of a topic's past to deliver at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The first number.
    pub from: u64,
    /// The last number.
    pub to: u64,
    /// The limit of messages.
    pub messages_max: usize,
    /// The limit of bytes; one message is always allowed.
    pub bytes_max: usize,
}

/// A portion of a topic's past: up to the limits, or all that is left.
#[derive(Debug)]
pub struct Past {
    /// How many of the first messages asked for are gone.
    pub missed: u64,
    /// The messages that are there, in order.
    pub entries: Vec<Arc<Entry>>,
    /// The number from which to ask next.
    pub next: u64,
    /// The number of the topic's last message.
    pub last: u64,
    /// The value of every key that has one is kept.
    pub has_all_values: bool,
}

/// A place in a topic's history: behind message `seq` of incarnation `epoch`.
///
/// ```
/// use tapecast::hub::{Delivery, Since};
///
/// let resumed = Delivery { since: Some(Since { epoch: 77, seq: 41 }), ..Delivery::default() };
/// # assert_eq!(resumed.since.unwrap().seq, 41);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// The topic's incarnation, as `Notice::Subscribed` reports it.
    pub epoch: u64,
    /// The number of the last message that was seen.
    pub seq: u64,
}
