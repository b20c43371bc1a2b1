//! Publishing: a publication goes to its topic's home, which numbers and keeps it.

use crate::base::ShardId;
use crate::base::work::{self, Work};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::home::Forwarding;
use crate::hub::message::{Age, Entry, EntryKind, KEY_BYTES_MAX, Publication, Published, Receipt};
use crate::hub::policy::{Rule, is_reserved, is_topic_name};
use crate::hub::post::{HubMessage, Waiting, sent_work, weight};
use crate::hub::signal::Signal;
use bytes::Bytes;
use std::sync::Arc;

/// Where a publication goes.
struct Destination {
    /// Its topic, if this shard has it.
    index: Option<u32>,
    home: ShardId,
    /// Its topic batches messages before it forwards them.
    is_batched: bool,
}

/// A message that is about to be numbered.
pub(super) struct Unnumbered {
    pub key: Option<Arc<str>>,
    pub removes_key: bool,
    pub kind: EntryKind,
    pub payload: Bytes,
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
        let Destination { index, home, is_batched } = self.destination_of(publication)?;
        self.intake.batched += u64::from(is_batched && publication.awaited().is_none());
        if home != self.context.shard {
            return self.post_publication(publication, index, home);
        }
        let seq = self.number_publication(publication, index)?;
        if let Some(Receipt { connection, token, .. }) = publication.awaited() {
            self.context.signals.push(Signal::Published { connection, token, result: Ok(seq) });
        }
        Ok(Published::Queued)
    }

    /// Publishes a message, JSON if it says so, to a topic that is homed here. Returns its
    /// number.
    pub(crate) fn publish_at_home(
        &mut self,
        publication: &Publication<'_>,
    ) -> Result<u64, HubError> {
        let Destination { index, home, .. } = self.destination_of(publication)?;
        debug_assert_eq!(home, self.context.shard, "publications go to their topic's home");
        self.number_publication(publication, index)
    }

    /// Publications so far whose topics batch (`flush_ms`) and whose publishers wait for no
    /// answer: on this shard, wherever their topic's home is.
    #[inline]
    pub fn batched(&self) -> u64 {
        self.intake.batched
    }

    /// The publications that come from now on have waited for so long already.
    pub fn set_waited_ms(&mut self, millis: u32) {
        self.intake.waited_ms = millis;
    }

    /// Where a publication goes, if it is allowed.
    #[inline]
    fn destination_of(&self, publication: &Publication<'_>) -> Result<Destination, HubError> {
        let &Publication { topic: name, key, message, caller, .. } = publication;
        let index = self.topics.find(name);
        let known = index.and_then(|index| self.topics.at(index));
        if known.is_none() && !is_topic_name(name) {
            return Err(HubError::BadName);
        }
        let rules = &self.context.rules;
        let rule = known.map_or_else(|| rules.number(name), |topic| topic.rule);
        let rule = rules.get(rule);
        if !rule.publish.allows(caller) || is_reserved(name) {
            return Err(HubError::NotAllowed);
        }
        let key_bytes = key.map_or(0, str::len);
        if key_bytes > KEY_BYTES_MAX || key.is_some() && rule.keys_max == 0 {
            return Err(HubError::BadKey);
        }
        if message.payload().len() > self.context.limits.message_bytes_max {
            return Err(HubError::TooBig);
        }
        Ok(Destination {
            index,
            home: known.map_or_else(|| self.context.home_of(name), |topic| topic.home_shard),
            is_batched: rule.flush_ms > 0,
        })
    }

    #[inline]
    fn number_publication(
        &mut self,
        publication: &Publication<'_>,
        index: Option<u32>,
    ) -> Result<u64, HubError> {
        let bytes = publication.message.payload().len();
        let index =
            self.topic_to_publish_to(publication.topic, index, bytes, publication.receipt)?;
        let payload = self.intake.shared_payload(publication.message.payload());
        let key = publication.key.map(|key| self.shared_key(index, key));
        let (removes_key, kind) = (publication.removes_key, publication.kind());
        Ok(self.number(index, Unnumbered { key, removes_key, kind, payload }))
    }

    /// The topic of a publication with `bytes` bytes of payload at its home, if memory and
    /// quotas allow. A topic that does not exist is made for the publishing connection; the
    /// server itself has no quota.
    pub(super) fn topic_to_publish_to(
        &mut self,
        name: &str,
        index: Option<u32>,
        bytes: usize,
        publisher: Option<Receipt>,
    ) -> Result<u32, HubError> {
        let Hub { topics, budget, intake, homes, context, .. } = self;
        let log_bytes = || {
            let home = index.and_then(|index| topics.home(index));
            home.map_or(0, |home| home.log.weight())
        };
        if !budget.has_room_for_message(bytes, log_bytes, context) {
            return Err(HubError::OverBudget);
        }
        if let Some(index) = index {
            return Ok(index);
        }
        let Some(Receipt { connection, network, .. }) = publisher else {
            return topics.find_or_make(name, budget, context);
        };
        let share = |limit| context.share(limit);
        intake.quotas.check_topic(connection, network, &context.limits, share)?;
        let index = topics.find_or_make(name, budget, context)?;
        let owner = intake.quotas.make_topic(connection, network);
        let topic = topics.at_mut(index).expect("just made");
        topic.home.get_or_insert_with(|| homes.new_topic()).owner = owner;
        Ok(index)
    }

    /// A key as the topic's values share it already, or a new one.
    pub(super) fn shared_key(&self, index: u32, key: &str) -> Arc<str> {
        self.topics.home(index).map_or_else(|| key.into(), |home| home.shared_key(key))
    }

    /// Numbers a message of a topic that is homed here, and keeps it. Returns the number.
    pub(super) fn number(&mut self, index: u32, message: Unnumbered) -> u64 {
        let Hub { topics, homes, budget, context, .. } = self;
        let Unnumbered { key, removes_key, kind, payload } = message;
        context.is_fresh = true;
        context.charge(work::PUBLICATION + work::keep(payload.len()));
        let generation = topics.reference(index).generation;
        let topic = topics.at_mut(index).expect("a topic");
        let &Rule { flush_ms, members_max, keys_max, retention_ms, .. } =
            context.rules.get(topic.rule);
        let home = topic.home.get_or_insert_with(|| homes.new_topic());
        let keys_max = if is_reserved(&topic.name) { members_max } else { keys_max };
        // Without keys, a rule keeps the message as one without a key.
        let key = key.filter(|_| keys_max > 0);
        let forward = work::FORWARD + work::keep(payload.len());
        context.charge(forward * home.readers.len() as Work);
        let (seq, before) = (home.log.next(), home.log.weight());
        let (time_ms, since) = (context.unix_ms(), Age::at(context.now));
        let entry = Entry { seq, time_ms, key, removes_key, kind, payload, since };
        home.append(entry, keys_max, &context.limits);
        budget.log_changed(before, home.log.weight());
        let is_first = home.forwarding == Forwarding::Done;
        if is_first {
            home.forwarding = Forwarding::Batching;
        }
        match flush_ms.saturating_sub(self.intake.waited_ms) {
            // The timer of a batch that ends here may end the next one early.
            0 if home.forwarding == Forwarding::Batching => homes.forward_soon(index, home),
            flush_ms if is_first => {
                homes.batch_until(context.now.plus_millis(flush_ms.into()), index, generation);
            }
            _ => {}
        }
        if !home.is_announced {
            self.announce(index, seq - 1, None);
        } else if home.has_released() {
            self.announce_to_released(index, seq - 1);
        }
        self.relieve_pressure(index);
        self.make_room();
        let Hub { topics, homes, context, .. } = self;
        if let Some(home) = topics.home_mut(index) {
            homes.look_later(index, home, context.now, retention_ms);
        }
        seq
    }

    /// Sends a publication to its topic's home.
    fn post_publication(
        &mut self,
        publication: &Publication<'_>,
        index: Option<u32>,
        home: ShardId,
    ) -> Result<Published, HubError> {
        let &Publication { topic: name, key, removes_key, message, receipt, .. } = publication;
        let payload = message.payload();
        let weight = weight(payload.len() + key.map_or(0, str::len));
        let bytes_max = self.context.limits.publish_overflow_bytes_max;
        let reserved = self.outgoing.reserve(home, weight, bytes_max);
        let published = reserved.ok_or(HubError::Full)?;
        let known = index.and_then(|index| self.topics.at(index));
        let topic = known.map_or_else(|| name.into(), |topic| Arc::clone(&topic.name));
        self.context.charge(sent_work(payload.len()));
        self.context.is_fresh = true;
        let message = HubMessage::Publish {
            topic,
            key: key.map(Arc::from),
            removes_key,
            kind: publication.kind(),
            payload: self.intake.shared_payload(payload),
            receipt,
        };
        self.outgoing.push(home, Waiting::Message(message, weight));
        Ok(published)
    }

    /// Whether publications wait for room at this shard.
    pub fn is_congested(&self, home: ShardId) -> bool {
        self.outgoing.waiting_bytes(home) > 0
    }
}
