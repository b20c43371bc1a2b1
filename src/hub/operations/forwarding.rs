//! New messages of logs go to the shards that read them: onto the tapes of this shard, and as
//! messages to the others, as far as there is room.

use crate::base::ShardId;
use crate::hub::Hub;
use crate::hub::home::{Forward, Forwarding, HomeTopic};
use crate::hub::ids::TopicRef;
use crate::hub::post::{HubMessage, Post, weight};
use std::sync::Arc;

impl Hub {
    /// Topics whose batch is due are forwarded with this flush.
    pub(super) fn end_batches(&mut self) {
        while let Some((index, generation)) = self.homes.take_batched(self.context.now) {
            let topic = self.topics.get_mut(TopicRef { index, generation });
            if let Some(topic) = topic {
                if let Some(home) = &mut topic.home {
                    self.homes.forward_soon(index, home);
                }
                self.context.is_fresh = true;
            }
        }
    }

    /// Forwards the batch of a log to the tapes of this shard before it is so long that readers
    /// would miss messages.
    pub(super) fn relieve_pressure(&mut self, index: u32) {
        let home = self.topics.home(index);
        if home.is_some_and(|home| home.is_pressing(&self.context.limits)) {
            self.forward_here(index);
            let home = self.topics.home_mut(index).expect("it is pressing");
            home.mark_forwarded();
            self.homes.forward_soon(index, home);
        }
    }

    /// Forwards the new messages of a log to the tapes of this shard, which need no room in a
    /// mailbox.
    pub(super) fn forward_here(&mut self, index: u32) {
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(mut home) = topic.home.take() else { return };
        home.forward_to(self.context.shard, |_, topic, forward| self.put_on_tapes(topic, forward));
        self.topics.at_mut(index).expect("a topic").home = Some(home);
    }

    fn put_on_tapes(&mut self, topic: TopicRef, forward: Forward<'_>) -> bool {
        match forward {
            Forward::Entry(entry) => self.append_to_tapes(topic.index, entry),
            Forward::Gap { missed } => self.restart_tapes(topic.index, missed),
        }
        true
    }

    /// Posts a message or a gap of a log to another shard. It never overtakes messages that wait
    /// for room there. Returns whether there was room.
    fn post_forward(
        &mut self,
        to: ShardId,
        topic: TopicRef,
        forward: Forward<'_>,
        post: &mut dyn Post,
    ) -> bool {
        if to == self.context.shard {
            return self.put_on_tapes(topic, forward);
        }
        if self.outgoing.stuck_at(to).is_some() {
            return false;
        }
        let (message, weight) = match forward {
            Forward::Entry(entry) => {
                let entry = Arc::clone(entry);
                let weight = weight(entry.payload.len());
                (HubMessage::Entry { topic, entry }, weight)
            }
            Forward::Gap { missed } => (HubMessage::Gap { topic, missed }, 0),
        };
        let is_posted = post.post(to, message, weight).is_ok();
        if !is_posted {
            self.outgoing.set_stuck(to, Some(weight));
        }
        is_posted
    }

    /// Forwards the new messages of all logs.
    pub(super) fn forward_logs(&mut self, post: &mut dyn Post) {
        for shard in 0..self.context.shards {
            self.forward_waiting(ShardId(shard), post);
        }
        for index in self.homes.take_unsent() {
            let Some(topic) = self.topics.at_mut(index) else { continue };
            let Some(mut home) = topic.home.take() else { continue };
            home.forwarding = Forwarding::Done;
            let waiting =
                home.forward(|to, topic, forward| self.post_forward(to, topic, forward, post));
            self.put_back(index, home);
            let reference = self.topics.reference(index);
            for shard in waiting {
                self.outgoing.push_topic(shard, reference);
            }
        }
    }

    /// Forwards topics that wait for room at a shard, those first that have waited longest. As
    /// soon as one finds no room, the others are not looked at.
    fn forward_waiting(&mut self, to: ShardId, post: &mut dyn Post) {
        while self.outgoing.stuck_at(to).is_none()
            && let Some(topic) = self.outgoing.pop_topic(to)
        {
            if !self.forward_all(topic, to, post) {
                // It took the last room, and comes last the next time.
                self.outgoing.push_topic(to, topic);
            }
        }
    }

    /// Forwards all that a topic has for a shard that reads it. Returns whether there was room;
    /// a topic that is gone needs none.
    pub(super) fn forward_all(
        &mut self,
        topic: TopicRef,
        to: ShardId,
        post: &mut dyn Post,
    ) -> bool {
        let known = self.topics.get_mut(topic);
        let Some(mut home) = known.and_then(|topic| topic.home.take()) else { return true };
        let is_all =
            home.forward_to(to, |to, topic, forward| self.post_forward(to, topic, forward, post));
        self.put_back(topic.index, home);
        is_all
    }

    /// A topic has its home part back after forwarding; its rule may drop what was forwarded.
    fn put_back(&mut self, index: u32, mut home: Box<HomeTopic>) {
        let topic = self.topics.at_mut(index).expect("no topic is forgotten meanwhile");
        let before = home.log.weight();
        home.trim(self.context.rules.get(topic.rule), self.context.now);
        self.budget.log_changed(before, home.log.weight());
        topic.home = Some(home);
    }
}
