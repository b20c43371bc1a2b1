//! Mail between this hub and the others: what comes is handed to whom it concerns,
//! and what goes waits in its order for room. States (interest, what is watched, who
//! is a member) and answers about the past are made out when they are posted, so that
//! they are never out of date and wait as one.

use super::log::{Portion, TopicRef, View};
use super::mail::{Mail, Post, Receipt};
use super::rates::SubscriptionRef;
use super::{Hub, HubError, Signal};
use crate::base::ShardId;
use crate::base::planted::{Bug, planted};
use crate::base::work::{self, Work};
use std::sync::Arc;

/// What a shard has asked of the past of a topic that is homed here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pull {
    from: TopicRef,
    subscription: SubscriptionRef,
    connection: (u32, u32),
    reader: TopicRef,
    view: View,
    portion: Portion,
}

/// Mail that waits for room.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// Whatever the topic's interest is when this is posted.
    Interest(TopicRef),
    /// Whether the pattern is watched when this is posted.
    Watch((u32, u32)),
    /// Whether the member is there when this is posted.
    Member((u32, u32)),
    /// Whatever the topic's past is when this is answered.
    Pull(Pull),
    Mail(Mail, usize),
    /// An answer about the past that found no room; nobody is held up for it.
    Answer(Mail, usize),
}

/// What a publication of `bytes` bytes is charged where it is sent to its home on another
/// shard: what it costs there, if its topic is known and has one reader shard.
pub(super) fn sent_work(bytes: usize) -> Work {
    work::MAIL + work::PUBLICATION + work::FORWARD + 2 * work::keep(bytes)
}

impl Hub {
    /// Mails to other shards what their connections owe for what they have published here.
    pub(super) fn mail_what_is_owed(&mut self) {
        let mut owed = std::mem::take(&mut self.owed);
        owed.sort_unstable_by_key(|(connection, _)| *connection);
        for of_one in owed.chunk_by(|one, other| one.0 == other.0) {
            let (connection, work) = (of_one[0].0, of_one.iter().map(|owed| owed.1).sum());
            self.answer(connection.shard, Mail::Owed { connection, work });
        }
        owed.clear();
        self.owed = owed;
    }

    /// Takes mail from another hub.
    pub fn receive(&mut self, from: ShardId, mail: Mail) {
        self.is_fresh = true;
        self.charge(work::MAIL / 2);
        match mail {
            Mail::Interest { topic, reader, wanted } => self.interest(from, &topic, reader, wanted),
            Mail::Publish { topic, key, removes_key, kind, payload, receipt } => {
                let paid = self.work + sent_work(payload.len());
                let known = self.topic_named(&topic);
                let result = match self.has_room(known, payload.len()) {
                    true => known.map_or_else(|| self.topic_for(&topic, receipt), Ok),
                    false => Err(HubError::OverBudget),
                };
                let result = result.map(|index| {
                    let key = key.map(|key| self.shared_key(index, &key));
                    self.number(index, key, removes_key, kind, payload)
                });
                self.tally.publications_refused += u64::from(result.is_err());
                if let Some(from) = receipt.filter(|_| self.work > paid) {
                    self.owed.push((from.connection, self.work - paid));
                }
                if let Some(receipt) =
                    receipt.filter(|receipt| receipt.token.is_some() || result.is_err())
                {
                    self.answer(from, Mail::Published { receipt, result });
                }
            }
            Mail::Pull { topic, reader, subscription, connection, view, portion } => {
                match self.topic_named(&topic) {
                    Some(index) => {
                        let from_topic = self.reference(index);
                        let pull = Pull {
                            from: from_topic,
                            reader,
                            subscription,
                            connection,
                            view,
                            portion,
                        };
                        match view.is_of_all() {
                            true => self.asking[from.index()].push_back(pull),
                            false => self.outgoing[from.index()].push_back(Outgoing::Pull(pull)),
                        }
                    }
                    None => {
                        let (topic, past) = (reader, None);
                        self.answer(from, Mail::Pulled { topic, subscription, connection, past });
                    }
                }
            }
            Mail::Welcome { topic, epoch, last } => self.welcome(topic, epoch, last),
            Mail::Entry { topic, entry } => {
                if self.topics.get(topic.index, topic.generation).is_some() {
                    self.append_to_tapes(topic.index, &entry);
                }
            }
            Mail::Gap { topic, missed } => {
                if self.topics.get(topic.index, topic.generation).is_some() {
                    self.restart_tapes(topic.index, missed);
                }
            }
            Mail::Pulled { subscription, connection, past, .. } => {
                self.pulled(subscription, connection, past);
            }
            Mail::Watch { pattern, reader, wanted } => self.watch(from, pattern, reader, wanted),
            Mail::Appeared { pattern, topic, since } => self.appeared(pattern, topic, since),
            Mail::Silent { topic } => self.fell_silent(topic),
            Mail::Member { topic, key, name, is_present } => {
                self.member(&topic, key, &name, is_present);
            }
            Mail::Owed { connection, work } => {
                self.signals.push(Signal::Owes { connection, work });
            }
            Mail::Published { receipt: Receipt { connection, token, .. }, result } => {
                self.signals.push(Signal::Published { connection, token, result });
            }
        }
    }

    /// The interest of this shard in a topic may have changed: tell its home.
    pub(super) fn want(&mut self, index: u32) {
        self.is_fresh = true;
        let reference = self.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let home = topic.home;
        if home == self.shard {
            self.settle_interest_at_home(index);
        } else if !topic.interest_queued {
            topic.interest_queued = true;
            self.outgoing[home.index()].push_back(Outgoing::Interest(reference));
        }
    }

    /// Posts mail to all shards: each gets its part of the work, and then those for which
    /// there is more share what the others have left.
    pub(super) fn post_all(&mut self, work: Work, post: &mut dyn Post) {
        let (start, shards) = (self.work, self.shards);
        for shard in 0..shards {
            self.may_work(work / u64::from(shards));
            self.post_outgoing(ShardId(shard), post);
        }
        // Posting has ended for want of work, and not of room.
        let has_more = |stuck: &Option<usize>| *stuck == Some(0);
        let count = self.stuck.iter().filter(|stuck| has_more(stuck)).count() as u64;
        let left = work.saturating_sub(self.work - start);
        for shard in (0..shards).filter(|_| count > 0) {
            if has_more(&self.stuck[usize::from(shard)]) {
                self.may_work(left / count);
                self.stuck[usize::from(shard)] = None;
                self.post_outgoing(ShardId(shard), post);
            }
        }
    }

    fn post_outgoing(&mut self, to: ShardId, post: &mut dyn Post) {
        loop {
            if self.is_exhausted() && !self.outgoing[to.index()].is_empty() {
                // Nothing overtakes what is left.
                self.stuck[to.index()] = Some(0);
                return;
            }
            let Some(outgoing) = self.outgoing[to.index()].pop_front() else { return };
            self.charge(work::MAIL / 2);
            // What it adds to `outgoing_bytes`, and what it weighs under way.
            let (mail, waiting, weight) = match outgoing {
                Outgoing::Mail(mail, weight) => (mail, weight, weight),
                Outgoing::Answer(mail, weight) => (mail, 0, weight),
                Outgoing::Interest(topic) => match self.settle_interest(topic) {
                    Some(mail) => (mail, 0, 0),
                    None => continue,
                },
                Outgoing::Watch(pattern) => match self.settle_watch(to, pattern) {
                    Some(mail) => (mail, 0, 0),
                    None => continue,
                },
                Outgoing::Member(member) => match self.settle_member(member) {
                    Some(mail) => (mail, 0, 0),
                    None => continue,
                },
                Outgoing::Pull(pull) => {
                    let (mail, weight) = self.answer_to(to, pull);
                    (mail, 0, weight)
                }
            };
            if to == self.shard {
                self.receive(to, mail);
                continue;
            }
            match post.post(to, mail, weight) {
                Ok(()) => {
                    self.outgoing_bytes[to.index()] -= waiting;
                }
                Err(mail) => {
                    self.stuck[to.index()] = Some(weight);
                    let again = match waiting == weight {
                        true => Outgoing::Mail(mail, weight),
                        false => Outgoing::Answer(mail, weight),
                    };
                    return self.outgoing[to.index()].push_front(again);
                }
            }
        }
    }

    /// The answer to what a shard has asked of a topic's past, and what it weighs.
    fn answer_to(&mut self, to: ShardId, pull: Pull) -> (Mail, usize) {
        let Pull { from, subscription, connection, reader, view, portion } = pull;
        let past = self.past(from, to, view, portion);
        let entries = past.as_ref().map_or(&[][..], |past| &past.entries);
        let weight = entries.iter().map(|entry| entry.weight()).sum();
        self.charge(work::REPLAY * entries.len() as u64);
        (Mail::Pulled { topic: reader, subscription, connection, past }, weight)
    }

    /// Answers what a shard has asked of topics up to their last message, which it is sent
    /// first. All other mail for it has been posted by then, a welcome to the topic too.
    pub(super) fn answer_asking(&mut self, to: ShardId, count: usize, post: &mut dyn Post) {
        for _ in 0..count {
            if self.stuck[to.index()].is_some() || self.is_exhausted() {
                return;
            }
            let Some(pull) = self.asking[to.index()].pop_front() else { return };
            if !self.send_all(pull.from, to, post) {
                // The others come first the next time.
                return self.asking[to.index()].push_back(pull);
            }
            let (mail, weight) = self.answer_to(to, pull);
            if post.post(to, mail, weight).is_err() {
                self.stuck[to.index()] = Some(weight);
                return self.asking[to.index()].push_front(pull);
            }
        }
    }

    /// The mail that brings the home up to date with this shard's interest.
    fn settle_interest(&mut self, reference: TopicRef) -> Option<Mail> {
        let topic = self.topics.get_mut(reference.index, reference.generation)?;
        topic.interest_queued = false;
        let wanted = topic.reader.is_some();
        let changed = wanted != topic.interest_posted;
        topic.interest_posted = wanted;
        let name = Arc::clone(&topic.name);
        if !wanted {
            topic.live = None;
            self.forget_if_unused(reference.index);
        }
        let changed = changed && !(wanted && planted(Bug::LostInterest));
        changed.then_some(Mail::Interest { topic: name, reader: reference, wanted })
    }

    /// Whether publications wait for room at this shard.
    pub fn is_congested(&self, home: ShardId) -> bool {
        self.outgoing_bytes[home.index()] > 0
    }

    /// The shards that had no room at the last flush, and the weight of the mail
    /// that found none.
    pub fn stuck(&self) -> impl Iterator<Item = (ShardId, usize)> {
        let stuck = self.stuck.iter().enumerate();
        stuck.filter_map(|(shard, weight)| Some((ShardId(shard as u16), (*weight)?)))
    }
}
