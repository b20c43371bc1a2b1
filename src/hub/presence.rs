//! Presence: who is on a topic, as a topic beside it.
//!
//! `$presence.lobby` has a key per member of `lobby` whose subscription gave a name:
//! a snapshot of it is who is there, what follows is who comes and goes. Each message
//! is JSON, `{"join":NAME,"members":COUNT}` or `{"leave":NAME,"members":COUNT}`, where
//! the count is that of the list after it.
//!
//! A shard's membership is a state per subscription, posted to the list's home when
//! there is room, as interest is; what comes and goes in between is never posted.

use super::delivery::Delivery;
use super::log::EntryKind;
use super::mail::Mail;
use super::name::{PRESENCE, TOPIC_NAME_BYTES_MAX, is_reserved, is_topic_name};
use super::rules::Caller;
use super::subscriptions::{NONE, Subscriptions};
use super::{Hub, HubError, KEY_BYTES_MAX, Outgoing};
use crate::base::{ShardId, work};
use crate::protocol::json::write_string;
use bytes::Bytes;
use std::sync::Arc;

/// Mails that may wait for a list's home before nobody more can be listed.
const WAITING_MAX: usize = 64 << 10;

/// One who is listed.
#[derive(Debug)]
pub(super) struct Member {
    /// The topic that it is on.
    topic: Arc<str>,
    key: Arc<str>,
    name: Arc<str>,
    is_present: bool,
    /// What the list's home was told last, and that it will be told anew.
    posted: bool,
    queued: bool,
}

/// How a subscriber is listed.
///
/// ```
/// use tapecast::hub::{Caller, Delivery, Hub, HubError, Listed, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// let alice = Listed { key: "0-7", name: "Alice" };
/// let mut own = Subscriptions::default();
/// let joined =
///     hub.subscribe_as(Caller::Server, 7, &mut own, "lobby", &Delivery::default(), alice);
/// // No rule gives the lobby a list.
/// assert_eq!(joined, Err(HubError::NotAllowed));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// Unique among all that are listed.
    pub key: &'a str,
    /// What it is called, in 1 to 255 bytes without control characters.
    pub name: &'a str,
}

/// Whether a member can be listed under this name: 1 to 255 bytes without control characters.
pub fn is_member_name(name: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

impl Hub {
    /// Whether the topic's rule has it list its members.
    pub fn lists_members(&self, topic: &str) -> bool {
        !is_reserved(topic) && self.rules.of(topic).members_max > 0
    }

    /// Subscribes a connection, as [`Hub::subscribe_for`], and lists it as a member of
    /// the topic for as long as the subscription lasts.
    ///
    /// # Errors
    /// As there, [`HubError::NotAllowed`] if the topic's rule has no list or it is one, and
    /// [`HubError::BadKey`] for a name that can't be.
    pub fn subscribe_as(
        &mut self,
        caller: Caller,
        subscriber: u32,
        subscriptions: &mut Subscriptions,
        topic: &str,
        delivery: &Delivery,
        listed: Listed<'_>,
    ) -> Result<(), HubError> {
        let Listed { key, name } = listed;
        // Lists have none of their own.
        if is_reserved(topic) {
            return Err(HubError::NotAllowed);
        }
        if !is_topic_name(topic) || PRESENCE.len() + topic.len() > TOPIC_NAME_BYTES_MAX {
            return Err(HubError::BadName);
        }
        if self.rules.of(topic).members_max == 0 {
            return Err(HubError::NotAllowed);
        }
        if !is_member_name(name) {
            return Err(HubError::BadKey);
        }
        let home = self.home_of_list(topic);
        if self.outgoing[home.index()].len() > WAITING_MAX {
            return Err(HubError::Full);
        }
        self.subscribe_for(caller, subscriber, subscriptions, topic, delivery)?;
        let Some(own) = self.subscription_to(*subscriptions, topic) else {
            return Ok(());
        };
        let topic = self.topics.at(self.at(own).topic).expect("a subscription has its topic");
        let (member, _) = self.members.insert(Member {
            topic: Arc::clone(&topic.name),
            key: key.into(),
            name: name.into(),
            is_present: true,
            posted: false,
            queued: false,
        });
        self.list(own, member);
        self.tell_list(member);
        Ok(())
    }

    /// The shard that keeps the list of a topic's members.
    fn home_of_list(&self, topic: &str) -> ShardId {
        Hub::home_of(&format!("{PRESENCE}{topic}"), self.home_seed, self.shards)
    }

    /// A listed subscription has ended.
    pub(super) fn leave_list(&mut self, member: u32) {
        if member != NONE {
            self.members.at_mut(member).expect("a subscription's").is_present = false;
            self.tell_list(member);
        }
    }

    fn tell_list(&mut self, index: u32) {
        self.is_fresh = true;
        // It becomes a message at the list's home.
        self.charge(work::MAIL + work::PUBLICATION);
        let generation = self.members.generation(index).expect("a member");
        let member = self.members.at_mut(index).expect("a member");
        if !std::mem::replace(&mut member.queued, true) {
            let topic = Arc::clone(&member.topic);
            let home = self.home_of_list(&topic);
            self.outgoing[home.index()].push_back(Outgoing::Member((index, generation)));
        }
    }

    /// The mail that brings the list's home up to date with a member.
    pub(super) fn settle_member(&mut self, (index, generation): (u32, u32)) -> Option<Mail> {
        let member = self.members.get_mut(index, generation)?;
        member.queued = false;
        let changed = member.is_present != member.posted;
        member.posted = member.is_present;
        let Member { topic, key, name, is_present, .. } = member;
        let mail = Mail::Member {
            topic: Arc::clone(topic),
            key: Arc::clone(key),
            name: Arc::clone(name),
            is_present: *is_present,
        };
        if !*is_present {
            self.members.remove(index);
        }
        changed.then_some(mail)
    }

    /// At the list's home: somebody has come or gone.
    pub(super) fn member(&mut self, topic: &str, key: Arc<str>, name: &str, is_present: bool) {
        let members_max = self.rules.of(topic).members_max;
        let list = format!("{PRESENCE}{topic}");
        let Ok(index) = self.topic_index(&list) else { return };
        let log = self.topics.at(index).and_then(|topic| topic.log.as_ref());
        let members = log.map_or(0, |log| log.values.count());
        let is_known = log.is_some_and(|log| log.values.has(&key));
        if is_known == is_present || is_present && members >= members_max {
            self.tally.members_refused += u64::from(!is_known && is_present);
            return self.forget_if_unused(index);
        }
        let (word, members) = match is_present {
            true => ("join", members + 1),
            false => ("leave", members - 1),
        };
        let mut payload = format!(r#"{{"{word}":"#).into_bytes();
        write_string(name, &mut payload);
        payload.extend_from_slice(format!(r#","members":{members}}}"#).as_bytes());
        self.number(index, Some(key), !is_present, EntryKind::Json, Bytes::from(payload));
    }
}
