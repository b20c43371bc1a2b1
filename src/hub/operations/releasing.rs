//! Chores that run now and then, not with every message: they free the memory of tapes that all
//! cursors have passed, and idle topics, which subscriptions by pattern release.

use crate::base::work;
use crate::hub::Hub;
use crate::hub::cursor::State;
use crate::hub::ids::TopicRef;
use crate::hub::past::Since;
use std::sync::Arc;

impl Hub {
    /// Runs the chores of some more topics of this round.
    pub(super) fn do_chores(&mut self) {
        while !self.context.is_exhausted()
            && let Some(topic) = self.tapes.take_chore()
        {
            self.context.charge(work::LOOK_UP);
            let known = self.topics.get_mut(topic).and_then(|topic| topic.reader.as_mut());
            let Some(reader) = known.filter(|reader| reader.is_wanted()) else { continue };
            reader.is_chore = false;
            self.cursors.mark_wanted(reader, &mut self.context);
            self.tapes.drop_passed(reader, &mut self.budget);
            let again = reader.is_idle && self.release_idle(topic.index);
            let reader = self.topics.reader(topic.index);
            if again || reader.is_some_and(|reader| reader.held_bytes() > 0) {
                self.add_chore(topic);
            }
        }
    }

    /// A topic is due in the next round.
    pub(super) fn add_chore(&mut self, topic: TopicRef) {
        if let Some(reader) = self.topics.reader_mut(topic.index) {
            self.tapes.add_chore(topic, reader, self.context.now);
        }
    }

    /// A home reports that a topic is idle: subscriptions that only a pattern has made release
    /// it, unless a connection on this shard has asked for it by name.
    pub(super) fn mark_idle(&mut self, topic: TopicRef) {
        let Some(known) = self.topics.get_mut(topic) else { return };
        let Some(reader) = known.reader.as_mut().filter(|reader| reader.is_wanted()) else {
            return;
        };
        (reader.is_idle, reader.was_idle) = (true, true);
        self.patterns.meetings.forget(&known.name);
        if self.release_idle(topic.index) {
            self.add_chore(topic);
        }
    }

    /// An idle topic has messages again, behind number `seq`, and this shard reads it. Its home
    /// does not report it again, so subscriptions that have released it, or have come since,
    /// are notified here.
    pub(super) fn reactivate(&mut self, index: u32, seq: u64) {
        let topic = self.topics.at(index).expect("a topic");
        let Some(live) = topic.reader.as_ref().and_then(|reader| reader.live) else { return };
        if !self.patterns.watched.is_empty() {
            let name = Arc::clone(&topic.name);
            let since = Some(Since { epoch: live.epoch, seq });
            self.patterns.meetings.topic_appeared(None, name, since);
        }
    }

    /// The subscriptions to an idle topic that only patterns have made, and that have got all of
    /// it, release it with the next flush, if no connection on this shard has asked for it by
    /// name: everything that this flush reports comes before that. Returns whether to look again.
    fn release_idle(&mut self, index: u32) -> bool {
        let Some(reader) = self.topics.reader(index) else { return false };
        let Some((through, has_more)) = self.cursors.releasable(reader) else { return false };
        self.context.charge(work::STEP * through.len() as u64);
        self.context.is_fresh |= !through.is_empty();
        let references = through.into_iter().map(|own| self.cursors.reference(own));
        self.patterns.releasing.extend(references);
        has_more
    }

    /// Subscriptions release their idle topic, unless a message has come meanwhile.
    pub(super) fn release_all_idle(&mut self) {
        while !self.context.is_exhausted()
            && let Some((own, generation)) = self.patterns.releasing.pop()
        {
            let subscription = self.cursors.subscriptions.get(own, generation);
            let Some(subscription) = subscription else { continue };
            let reader = self.topics.reader(subscription.topic);
            let reader = reader.expect("a topic with a subscriber");
            let has_all = subscription.state == State::Live && subscription.cursor > reader.last();
            if subscription.is_matched() && reader.is_idle && has_all {
                self.unlink(own);
            }
        }
    }
}
