//! Presence: the members of a topic, as a topic beside it.
//!
//! `$presence.lobby` has a key per member of `lobby` whose subscription gave a name: a snapshot
//! of it is the list, and the messages that follow are changes. Each message is JSON,
//! `{"join":NAME,"members":COUNT}` or `{"leave":NAME,"members":COUNT}`, where the count is that
//! of the list after it.

use super::publishing::Unnumbered;
use crate::base::{ShardId, work};
use crate::hub::Hub;
use crate::hub::cursor::Subscriptions;
use crate::hub::error::HubError;
use crate::hub::home::{Change, change_of_list};
use crate::hub::ids::NONE;
use crate::hub::message::EntryKind;
use crate::hub::policy::{
    Caller, Delivery, PRESENCE, TOPIC_NAME_BYTES_MAX, is_member_name, is_reserved, is_topic_name,
};
use crate::hub::post::Waiting;
use std::sync::Arc;

/// Messages that may wait for a list's home before no more members can be listed.
const WAITING_MAX: usize = 64 << 10;

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
    /// Unique among all listed members.
    pub key: &'a str,
    /// Its name, in 1 to 255 bytes without control characters.
    pub name: &'a str,
}

impl Hub {
    /// Whether the topic's rule has it list its members.
    pub fn lists_members(&self, topic: &str) -> bool {
        !is_reserved(topic) && self.context.rules.of(topic).members_max > 0
    }

    /// Subscribes a connection, as [`Hub::subscribe_for`], and lists it as a member of the topic
    /// for as long as the subscription lasts.
    ///
    /// # Errors
    /// As there, [`HubError::NotAllowed`] if the topic's rule has no list or the topic is one,
    /// and [`HubError::BadKey`] for an invalid name.
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
        if !self.lists_members(topic) {
            return Err(HubError::NotAllowed);
        }
        if !is_member_name(name) {
            return Err(HubError::BadKey);
        }
        if self.outgoing.len(self.home_of_list(topic)) > WAITING_MAX {
            return Err(HubError::Full);
        }
        self.subscribe_for(caller, subscriber, subscriptions, topic, delivery)?;
        let Some(own) = self.cursors.find(*subscriptions, topic, &self.topics) else {
            return Ok(());
        };
        let topic = self.topics.at(self.cursors.at(own).topic);
        let topic = Arc::clone(&topic.expect("a subscription has its topic").name);
        let member = self.members.add(topic, key, name);
        self.cursors.flow(own).member = member;
        self.queue_membership(member);
        Ok(())
    }

    /// The home of the list of a topic's members.
    fn home_of_list(&self, topic: &str) -> ShardId {
        self.context.home_of(&format!("{PRESENCE}{topic}"))
    }

    /// A subscription has ended, which may have been listed.
    pub(super) fn leave_list(&mut self, member: u32) {
        if member != NONE {
            self.members.leave(member);
            self.queue_membership(member);
        }
    }

    /// The home of a list is to be notified of a member's state.
    fn queue_membership(&mut self, member: u32) {
        self.context.is_fresh = true;
        // It becomes a message at the list's home.
        self.context.charge(work::MAIL + work::PUBLICATION);
        if let Some((reference, topic)) = self.members.queue(member) {
            self.outgoing.push(self.home_of_list(&topic), Waiting::Member(reference));
        }
    }

    /// At the list's home: a member joins or leaves.
    pub(super) fn change_list(&mut self, topic: &str, key: Arc<str>, name: &str, is_present: bool) {
        let Hub { topics, budget, context, .. } = self;
        let members_max = context.rules.of(topic).members_max;
        let list = format!("{PRESENCE}{topic}");
        let Ok(index) = topics.find_or_make(&list, budget, context) else { return };
        match change_of_list(topics.home(index), &key, name, is_present, members_max) {
            Change::Message(payload) => {
                let (key, removes_key) = (Some(key), !is_present);
                let kind = EntryKind::Json;
                self.number(index, Unnumbered { key, removes_key, kind, payload });
            }
            Change::Known => topics.forget_if_unused(index, budget),
            Change::Full => {
                context.tally.members_refused += 1;
                topics.forget_if_unused(index, budget);
            }
        }
    }
}
