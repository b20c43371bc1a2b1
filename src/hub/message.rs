//! A message: a publication on its way to the topic's home, and the numbered entry that the home
//! makes of it.

use super::policy::Caller;
use crate::base::{ConnectionId, Time};
use crate::protocol::{Kind, Message, Opcode};
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

/// The weight of an entry beside its payload and key, in bytes.
pub const ENTRY_OVERHEAD_BYTES: usize = 128;

/// A message for a topic.
///
/// ```
/// use tapecast::hub::{Hub, Publication};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let quote = Publication { key: Some("BTC"), ..Publication::new("quotes", "64000") };
/// assert!(hub.publish(&quote).is_ok());
/// // Delisted: snapshots no longer contain it.
/// let gone = Publication { removes_key: true, ..Publication { message: "".into(), ..quote } };
/// assert!(hub.publish(&gone).is_ok());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The key that it is the newest value of, in at most [`KEY_BYTES_MAX`] bytes. Messages
    /// without one share one key.
    pub key: Option<&'a str>,
    /// From this message on its key has no value: the message is delivered, and no
    /// snapshot contains it.
    pub removes_key: bool,
    /// The message.
    pub message: Message<'a>,
    /// It is a text that is JSON: lanes of JSON carry it as it was written.
    pub is_json: bool,
    /// The connection that gets its outcome (`Signal::Published`).
    pub receipt: Option<Receipt>,
    /// On whose behalf.
    pub caller: Caller,
}

impl<'a> Publication<'a> {
    /// A message without a key, by the server itself.
    pub fn new(topic: &'a str, message: impl Into<Message<'a>>) -> Publication<'a> {
        Publication {
            topic,
            key: None,
            removes_key: false,
            message: message.into(),
            is_json: false,
            receipt: None,
            caller: Caller::Server,
        }
    }

    /// The connection that waits for its number.
    pub(super) fn awaited(&self) -> Option<Receipt> {
        self.receipt.filter(|receipt| receipt.token.is_some())
    }

    pub(super) fn kind(&self) -> EntryKind {
        if self.is_json { EntryKind::Json } else { self.message.kind().into() }
    }
}

/// The outcome of a publication that was accepted.
///
/// ```
/// use tapecast::ShardId;
/// use tapecast::hub::{Hub, Outbox, Publication, Published};
///
/// let ShardId(home) = Hub::home_of("news", 1, 2);
/// let mut elsewhere = Hub::for_tests(ShardId(1 - home), 2);
/// assert_eq!(elsewhere.publish(&Publication::new("news", "first")), Ok(Published::Queued));
/// elsewhere.flush(&mut Outbox { room: 0, ..Outbox::default() }, &mut Vec::new());
/// let second = elsewhere.publish(&Publication::new("news", "second"));
/// assert_eq!(second, Ok(Published::Backpressure));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is in flight.
    Queued,
    /// It waits until the topic's home catches up. The shard stops reading from the
    /// publishing connection until then.
    Backpressure,
}

/// The connection that gets the outcome of a publication: that it was refused, and with a
/// token its number too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The publishing connection.
    pub connection: ConnectionId,
    /// Its own name for the publication.
    pub token: Option<u64>,
    /// Its network, as [`Caller`] has it.
    pub network: u64,
}

/// The kind of a message's payload.
///
/// ```
/// use tapecast::hub::EntryKind;
/// use tapecast::protocol::Kind;
///
/// assert_eq!(EntryKind::from(Kind::Binary), EntryKind::Binary);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// JSON, validated.
    Json,
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl EntryKind {
    /// The opcode of a frame that carries it unchanged.
    pub fn opcode(self) -> Opcode {
        match self {
            EntryKind::Json | EntryKind::Text => Opcode::Text,
            EntryKind::Binary => Opcode::Binary,
        }
    }
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> EntryKind {
        match kind {
            Kind::Text => EntryKind::Text,
            Kind::Binary => EntryKind::Binary,
        }
    }
}

/// One numbered message of a topic.
///
/// ```
/// use tapecast::hub::Entry;
///
/// fn line(entry: &Entry) -> String {
///     format!("{} {} {}", entry.seq, entry.key.as_deref().unwrap_or("-"), entry.payload.len())
/// }
/// # let _ = line;
/// ```
#[derive(Debug)]
pub struct Entry {
    /// Its number: from 1, without holes.
    pub seq: u64,
    /// When its home numbered it, in milliseconds since 1970.
    pub time_ms: u64,
    /// The key that it is the newest value of.
    pub key: Option<Arc<str>>,
    /// From this message on its key has no value.
    pub removes_key: bool,
    /// The kind of the payload.
    pub kind: EntryKind,
    /// The payload.
    pub payload: Bytes,
    /// The same moment on the monotonic clock: retention counts from there.
    pub(crate) since: Age,
}

impl Entry {
    /// About what it takes in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        let key_bytes = self.key.as_ref().map_or(0, |key| key.len());
        self.payload.len() + key_bytes + ENTRY_OVERHEAD_BYTES
    }
}

/// A point of time in steps of 16 ms; two of them within a year can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age(u32);

/// Milliseconds of a step.
pub(super) const AGE_STEP_MS: u64 = 16;

impl Age {
    pub fn at(now: Time) -> Age {
        Age((now.as_millis() / AGE_STEP_MS) as u32)
    }

    /// Milliseconds from it until `now`: never too many, and too few by at most two steps.
    pub fn until(self, now: Time) -> u64 {
        let steps = Age::at(now).0.wrapping_sub(self.0);
        u64::from(steps.saturating_sub(1)) * AGE_STEP_MS
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message for tests.
    pub fn entry(seq: u64, key: Option<&str>, payload: &str) -> Entry {
        Entry {
            seq,
            time_ms: seq,
            key: key.map(Arc::from),
            removes_key: false,
            kind: EntryKind::Text,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            since: Age::at(Time::ZERO.plus_millis(AGE_STEP_MS * seq)),
        }
    }
}
