//! Posts the messages that wait for other shards, as far as there is room and work allows.

use crate::base::ShardId;
use crate::base::planted::{Bug, planted};
use crate::base::work::{self, Work};
use crate::hub::Hub;
use crate::hub::cursor::Membership;
use crate::hub::ids::{PatternRef, TopicRef};
use crate::hub::post::{HubMessage, Post, Pull, Waiting};
use std::sync::Arc;

impl Hub {
    /// Posts the messages that wait for all shards. Each shard gets its part of the work. Then
    /// those with a longer queue share the work that the others have left.
    pub(super) fn post_all(&mut self, work: Work, post: &mut dyn Post) {
        let (start, shards) = (self.context.work(), self.context.shards);
        for shard in 0..shards {
            self.context.begin_part(work / u64::from(shards));
            self.post_waiting(ShardId(shard), post);
        }
        // Posting has ended for want of work, and not of room.
        let has_more: Vec<ShardId> = self
            .outgoing
            .stuck()
            .filter_map(|(shard, weight)| (weight == 0).then_some(shard))
            .collect();
        let left = work.saturating_sub(self.context.work() - start);
        for shard in &has_more {
            self.context.begin_part(left / has_more.len() as u64);
            self.outgoing.set_stuck(*shard, None);
            self.post_waiting(*shard, post);
        }
    }

    fn post_waiting(&mut self, to: ShardId, post: &mut dyn Post) {
        loop {
            if self.context.is_exhausted() && self.outgoing.len(to) > 0 {
                // Nothing overtakes what is left.
                return self.outgoing.set_stuck(to, Some(0));
            }
            let Some(waiting) = self.outgoing.pop(to) else { return };
            self.context.charge(work::MAIL / 2);
            // Its weight for backpressure, and its weight in flight.
            let (message, reserved, weight) = match waiting {
                Waiting::Message(message, weight) => (message, weight, weight),
                Waiting::Answer(message, weight) => (message, 0, weight),
                Waiting::Pull(pull) => {
                    let (message, weight) = self.answer_pull(to, pull);
                    (message, 0, weight)
                }
                state => match self.settle(to, &state) {
                    Some(message) => (message, 0, 0),
                    None => continue,
                },
            };
            if to == self.context.shard {
                self.receive(to, message);
                continue;
            }
            match post.post(to, message, weight) {
                Ok(()) => self.outgoing.release(to, reserved),
                Err(message) => {
                    self.outgoing.set_stuck(to, Some(weight));
                    let again = if reserved == weight {
                        Waiting::Message(message, weight)
                    } else {
                        Waiting::Answer(message, weight)
                    };
                    return self.outgoing.put_back(to, again);
                }
            }
        }
    }

    /// The message that brings a shard up to date with a state; none if it knows it.
    fn settle(&mut self, to: ShardId, state: &Waiting) -> Option<HubMessage> {
        match *state {
            Waiting::Interest(topic) => self.settle_interest(topic),
            Waiting::Watch(pattern) => self.settle_watch(to, pattern),
            Waiting::Member(member) => {
                let Membership { topic, key, name, is_present } = self.members.settle(member)?;
                Some(HubMessage::Member { topic, key, name, is_present })
            }
            Waiting::Pull(_) | Waiting::Message(..) | Waiting::Answer(..) => None,
        }
    }

    /// The message that brings a topic's home up to date with this shard's interest.
    fn settle_interest(&mut self, reference: TopicRef) -> Option<HubMessage> {
        let topic = self.topics.get_mut(reference)?;
        let name = Arc::clone(&topic.name);
        let reader = topic.reader.as_mut()?;
        let wanted = reader.is_wanted();
        let changed = wanted != reader.interest.posted;
        reader.interest.queued = false;
        reader.interest.posted = wanted;
        if !wanted {
            topic.reader = None;
            self.topics.forget_if_unused(reference.index, &mut self.budget);
        }
        let changed = changed && !(wanted && planted(Bug::LostInterest));
        changed.then_some(HubMessage::Interest { topic: name, reader: reference, wanted })
    }

    /// The message that brings a home up to date with a pattern.
    pub(super) fn settle_watch(&mut self, home: ShardId, reader: PatternRef) -> Option<HubMessage> {
        let (pattern, wanted) = self.patterns.settle(home, reader)?;
        Some(HubMessage::Watch { pattern, reader, wanted })
    }

    /// The interest of this shard in a topic may have changed: its home is to be notified.
    pub(super) fn queue_interest(&mut self, index: u32) {
        self.context.is_fresh = true;
        let reference = self.topics.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let home = topic.home_shard;
        if home == self.context.shard {
            return self.settle_interest_at_home(index);
        }
        let reader = topic.reader.as_mut().expect("a topic whose interest may have changed");
        if !std::mem::replace(&mut reader.interest.queued, true) {
            self.outgoing.push(home, Waiting::Interest(reference));
        }
    }

    /// The answer to a shard's request for a topic's past, and its weight.
    fn answer_pull(&mut self, to: ShardId, pull: Pull) -> (HubMessage, usize) {
        let Pull { topic, subscription, connection, reader, view, portion } = pull;
        let home = self.topics.get(topic).and_then(|topic| topic.home.as_ref());
        let past = home.and_then(|home| home.past(to, view, portion));
        let entries = past.as_ref().map_or(&[][..], |past| &past.entries);
        let weight = entries.iter().map(|entry| entry.weight()).sum();
        self.context.charge(work::REPLAY * entries.len() as u64);
        (HubMessage::Pulled { topic: reader, subscription, connection, past }, weight)
    }

    /// Answers up to `count` requests of a shard for topics up to their last message, which it
    /// is sent first. Everything else that waited for it has been posted by then, a welcome to
    /// the topic too.
    pub(super) fn answer_asking(&mut self, to: ShardId, count: usize, post: &mut dyn Post) {
        for _ in 0..count {
            if self.outgoing.stuck_at(to).is_some() || self.context.is_exhausted() {
                return;
            }
            let Some(pull) = self.outgoing.pop_asking(to) else { return };
            if !self.forward_all(pull.topic, to, post) {
                // The others come first the next time.
                return self.outgoing.push_asking(to, pull);
            }
            let (message, weight) = self.answer_pull(to, pull);
            if post.post(to, message, weight).is_err() {
                self.outgoing.set_stuck(to, Some(weight));
                return self.outgoing.put_asking_back(to, pull);
            }
        }
    }

    /// The shards that had no room at the last flush, and the weight of the message that found
    /// none.
    pub fn stuck(&self) -> impl Iterator<Item = (ShardId, usize)> {
        self.outgoing.stuck()
    }

    /// Bytes of publications that wait for room.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.all_waiting_bytes()
    }
}
