//! Hands each message from another hub to the part that it concerns.

use super::publishing::Unnumbered;
use crate::base::work;
use crate::base::{ConnectionId, ShardId};
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::hub::ids::TopicRef;
use crate::hub::message::{Entry, Receipt};
use crate::hub::post::{HubMessage, Pull, Waiting, sent_work};
use crate::hub::reader::Live;
use crate::hub::signal::Signal;
use std::sync::Arc;

impl Hub {
    /// Takes a message from another hub.
    pub fn receive(&mut self, from: ShardId, message: HubMessage) {
        self.context.is_fresh = true;
        self.context.charge(work::MAIL / 2);
        match message {
            HubMessage::Interest { topic, reader, wanted } => {
                self.set_interest(from, &topic, reader, wanted);
            }
            HubMessage::Publish { topic, key, removes_key, kind, payload, receipt } => {
                let paid = self.context.work() + sent_work(payload.len());
                let result = self.number_from(&topic, key, receipt, |key| Unnumbered {
                    key,
                    removes_key,
                    kind,
                    payload,
                });
                self.report_publication(from, receipt, paid, result);
            }
            HubMessage::Pull { topic, reader, subscription, connection, view, portion } => {
                let Some(index) = self.topics.find(&topic) else {
                    let (topic, past) = (reader, None);
                    let answer = HubMessage::Pulled { topic, subscription, connection, past };
                    return self.answer(from, answer);
                };
                let topic = self.topics.reference(index);
                let pull = Pull { topic, subscription, connection, reader, view, portion };
                if view.reaches_the_end() {
                    self.outgoing.push_asking(from, pull);
                } else {
                    self.outgoing.push(from, Waiting::Pull(pull));
                }
            }
            HubMessage::Welcome { topic, epoch, last } => self.welcome(topic, epoch, last),
            HubMessage::Entry { topic, entry } => {
                if self.topics.get(topic).is_some() {
                    self.append_to_tapes(topic.index, &entry);
                }
            }
            HubMessage::Gap { topic, missed } => {
                if self.topics.get(topic).is_some() {
                    self.restart_tapes(topic.index, missed);
                }
            }
            HubMessage::Pulled { subscription, connection, past, .. } => {
                let (topics, context) = (&self.topics, &mut self.context);
                self.cursors.pulled(subscription, connection, past, topics, context);
            }
            HubMessage::Watch { pattern, reader, wanted } => {
                self.set_watcher(from, pattern, reader, wanted);
            }
            HubMessage::Appeared { pattern, topic, since } => {
                self.topic_appeared(pattern, topic, since);
            }
            HubMessage::Idle { topic } => self.mark_idle(topic),
            HubMessage::Member { topic, key, name, is_present } => {
                self.change_list(&topic, key, &name, is_present);
            }
            HubMessage::Debt { connection, work } => {
                self.context.signals.push(Signal::Debt { connection, work });
            }
            HubMessage::Published { receipt: Receipt { connection, token, .. }, result } => {
                self.context.signals.push(Signal::Published { connection, token, result });
            }
        }
    }

    /// Numbers a publication from another shard.
    fn number_from(
        &mut self,
        topic: &str,
        key: Option<Arc<str>>,
        receipt: Option<Receipt>,
        message: impl FnOnce(Option<Arc<str>>) -> Unnumbered,
    ) -> Result<u64, HubError> {
        let known = self.topics.find(topic);
        let message = message(None);
        let index = self.topic_to_publish_to(topic, known, message.payload.len(), receipt)?;
        let key = key.map(|key| self.shared_key(index, &key));
        Ok(self.number(index, Unnumbered { key, ..message }))
    }

    /// Reports the outcome of a publication from another shard, and its cost beyond the charge
    /// there.
    fn report_publication(
        &mut self,
        from: ShardId,
        receipt: Option<Receipt>,
        paid: u64,
        result: Result<u64, HubError>,
    ) {
        self.context.tally.publications_refused += u64::from(result.is_err());
        let Some(receipt) = receipt else { return };
        if let Some(work) = self.context.work().checked_sub(paid).filter(|work| *work > 0) {
            self.intake.add_debt(receipt.connection, work);
        }
        if receipt.token.is_some() || result.is_err() {
            self.answer(from, HubMessage::Published { receipt, result });
        }
    }

    /// A message for a shard, which may be this one.
    pub(super) fn answer(&mut self, to: ShardId, message: HubMessage) {
        if to == self.context.shard {
            self.receive(to, message);
        } else {
            self.outgoing.push(to, Waiting::Message(message, 0));
        }
    }

    /// Sends other shards the debts of their connections for publications here.
    pub(super) fn send_debts(&mut self) {
        for (connection, work) in self.intake.take_debts() {
            let ConnectionId { shard, .. } = connection;
            self.answer(shard, HubMessage::Debt { connection, work });
        }
    }

    /// The home has answered this shard's interest.
    fn welcome(&mut self, topic: TopicRef, epoch: u64, last: u64) {
        let known = self.topics.get_mut(topic).and_then(|topic| topic.reader.as_mut());
        let Some(reader) = known else { return };
        reader.live = Some(Live { epoch, last });
        if !reader.is_wanted() {
            return;
        }
        reader.restart(last + 1, &mut self.tapes.chunks);
        self.cursors.welcome(topic, last, &mut self.topics, &mut self.context);
    }

    /// A message of a topic has arrived on this shard.
    pub(super) fn append_to_tapes(&mut self, index: u32, entry: &Entry) {
        let Some(reader) = self.topics.reader_mut(index) else { return };
        if let Some(live) = &mut reader.live {
            live.last = entry.seq;
        }
        if std::mem::take(&mut reader.was_idle) {
            self.reactivate(index, entry.seq - 1);
        }
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(reader) = topic.reader.as_mut().filter(|reader| reader.is_wanted()) else {
            return;
        };
        self.tapes.append(index, &topic.name, reader, entry, &mut self.budget);
        self.context.is_fresh = true;
    }

    /// This shard is behind the home's log: its tapes begin anew, and every cursor that had yet
    /// to get something is behind.
    pub(super) fn restart_tapes(&mut self, index: u32, missed: u64) {
        let Some(reader) = self.topics.reader_mut(index) else { return };
        let Some(live) = &mut reader.live else { return };
        live.last += missed;
        let next = live.last + 1;
        if reader.is_wanted() {
            self.tapes.restart(index, reader, next, &mut self.budget);
            self.context.is_fresh = true;
        }
    }
}
