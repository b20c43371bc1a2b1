//! Messages come in: what is published on this shard goes to its topic's home.

use super::log::EntryKind;
use super::mail::{Mail, Receipt};
use super::name::{is_reserved, is_topic_name};
use super::posting::{Outgoing, sent_work};
use super::rules::Caller;
use super::{Hub, HubError, MAIL_OVERHEAD_BYTES, Signal};
use crate::base::ShardId;
use crate::protocol::Message;
use bytes::Bytes;
use std::sync::Arc;

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 255;

/// A payload that is worth being compared with the one before.
const SHARED_BYTES_MIN: usize = 512;

/// What became of a publication that was accepted.
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
    /// It is on its way.
    Queued,
    /// It waits until the topic's home catches up. The publishing connection is
    /// not read from until then.
    Backpressure,
}

/// A message for a topic.
///
/// ```
/// use tapecast::hub::{Hub, Publication};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let quote = Publication { key: Some("BTC"), ..Publication::new("quotes", "64000") };
/// assert!(hub.publish(&quote).is_ok());
/// // Delisted: who asks for a snapshot does not get it any more.
/// let gone = Publication { removes_key: true, ..Publication { message: "".into(), ..quote } };
/// assert!(hub.publish(&gone).is_ok());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// What it is the newest value of, in at most [`KEY_BYTES_MAX`] bytes. Messages
    /// without a key are all of one.
    pub key: Option<&'a str>,
    /// From this message on its key has no value: it is delivered, and no snapshot
    /// has it.
    pub removes_key: bool,
    /// The message.
    pub message: Message<'a>,
    /// It is a text that is JSON: in lanes of JSON it stands as it was written.
    pub is_json: bool,
    /// Who is told what became of it ([`Signal::Published`]).
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

    /// Who waits for its number.
    fn awaited(&self) -> Option<Receipt> {
        self.receipt.filter(|receipt| receipt.token.is_some())
    }

    fn kind(&self) -> EntryKind {
        if self.is_json { EntryKind::Json } else { self.message.kind().into() }
    }
}

/// Where a publication goes.
struct Place {
    /// Its topic, if that is known.
    index: Option<u32>,
    home: ShardId,
    /// Its topic gathers before it sends on.
    is_gathered: bool,
}

impl Hub {
    /// Publishes a message.
    ///
    /// # Errors
    /// [`HubError::BadName`], [`HubError::BadKey`], [`HubError::BadJson`], [`HubError::TooBig`],
    /// [`HubError::NotAllowed`], [`HubError::TooManyTopics`], [`HubError::Full`],
    /// [`HubError::OverBudget`].
    pub fn publish(&mut self, publication: &Publication<'_>) -> Result<Published, HubError> {
        if publication.is_json && !publication.message.is_json() {
            return Err(HubError::BadJson);
        }
        self.publish_checked(publication)
    }

    /// Publishes a message that is JSON if it says so.
    pub(crate) fn publish_checked(
        &mut self,
        publication: &Publication<'_>,
    ) -> Result<Published, HubError> {
        let Place { index, home, is_gathered } = self.place_for(publication)?;
        self.gathered += u64::from(is_gathered && publication.awaited().is_none());
        if home != self.shard {
            return self.post_publication(publication, index, home);
        }
        let seq = self.number_publication(publication, index)?;
        if let Some(Receipt { connection, token, .. }) = publication.awaited() {
            self.signals.push(Signal::Published { connection, token, result: Ok(seq) });
        }
        Ok(Published::Queued)
    }

    /// Publishes a message, JSON if it says so, to a topic that is homed here; says its
    /// number.
    pub(crate) fn publish_at_home(
        &mut self,
        publication: &Publication<'_>,
    ) -> Result<u64, HubError> {
        let Place { index, home, .. } = self.place_for(publication)?;
        debug_assert_eq!(home, self.shard, "publications go to their topic's home");
        self.number_publication(publication, index)
    }

    /// Where a publication goes, if it may be.
    #[inline]
    fn place_for(&self, publication: &Publication<'_>) -> Result<Place, HubError> {
        let &Publication { topic: name, key, message, caller, .. } = publication;
        let index = self.topic_named(name);
        let known = index.and_then(|index| self.topics.at(index));
        if known.is_none() && !is_topic_name(name) {
            return Err(HubError::BadName);
        }
        let rule = known.map_or_else(|| self.rules.number(name), |topic| topic.rule);
        let rule = self.rules.get(rule);
        if !rule.publish.allows(caller) || is_reserved(name) {
            return Err(HubError::NotAllowed);
        }
        let key_bytes = key.map_or(0, str::len);
        if key_bytes > KEY_BYTES_MAX || key.is_some() && rule.keys_max == 0 {
            return Err(HubError::BadKey);
        }
        if message.payload().len() > self.limits.message_bytes_max {
            return Err(HubError::TooBig);
        }
        Ok(Place {
            index,
            home: known.map_or_else(|| self.home(name), |topic| topic.home),
            is_gathered: rule.flush_ms > 0,
        })
    }

    #[inline]
    fn number_publication(
        &mut self,
        publication: &Publication<'_>,
        index: Option<u32>,
    ) -> Result<u64, HubError> {
        let bytes = publication.message.payload().len();
        if !self.has_room(index, bytes) {
            return Err(HubError::OverBudget);
        }
        let from = publication.receipt;
        let index = index.map_or_else(|| self.topic_for(publication.topic, from), Ok)?;
        let payload = self.shared_payload(publication.message.payload());
        let key = publication.key.map(|key| self.shared_key(index, key));
        Ok(self.number(index, key, publication.removes_key, publication.kind(), payload))
    }

    /// A payload of its own, or the one of the publication before if that is the same: a message
    /// for many topics is kept once.
    fn shared_payload(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() < SHARED_BYTES_MIN {
            return Bytes::copy_from_slice(payload);
        }
        if self.last_payload != payload {
            self.last_payload = Bytes::copy_from_slice(payload);
        }
        self.last_payload.clone()
    }

    /// Mails it to its topic's home.
    fn post_publication(
        &mut self,
        publication: &Publication<'_>,
        index: Option<u32>,
        home: ShardId,
    ) -> Result<Published, HubError> {
        let &Publication { topic: name, key, removes_key, message, receipt, .. } = publication;
        let payload = message.payload();
        let known = index.and_then(|index| self.topics.at(index));
        let weight = payload.len() + key.map_or(0, str::len) + MAIL_OVERHEAD_BYTES;
        // One message fits always, whatever its size, or it could never be sent.
        let bytes_max = self.limits.publish_overflow_bytes_max;
        let name = match known {
            Some(topic) => Arc::clone(&topic.name),
            None => name.into(),
        };
        let waiting_bytes = &mut self.outgoing_bytes[home.index()];
        if *waiting_bytes > 0 && *waiting_bytes + weight > bytes_max {
            return Err(HubError::Full);
        }
        *waiting_bytes += weight;
        self.work += sent_work(payload.len());
        let is_behind = self.stuck[home.index()].is_some() || *waiting_bytes > bytes_max / 2;
        self.is_fresh = true;
        let mail = Mail::Publish {
            topic: name,
            key: key.map(Arc::from),
            removes_key,
            kind: publication.kind(),
            payload: self.shared_payload(payload),
            receipt,
        };
        self.outgoing[home.index()].push_back(Outgoing::Mail(mail, weight));
        Ok(if is_behind { Published::Backpressure } else { Published::Queued })
    }
}
