//! Retention: a topic stays at its home while shards read it, and then as long as its rule keeps
//! messages.

use crate::base::{ShardId, work};
use crate::hub::Hub;
use crate::hub::home::Welcome;
use crate::hub::ids::TopicRef;
use crate::hub::message::AGE_STEP_MS;
use crate::hub::policy::is_reserved;
use crate::hub::post::HubMessage;
use std::sync::Arc;

impl Hub {
    /// At home: a shard begins to read a topic, or no longer reads it.
    pub(super) fn set_interest(
        &mut self,
        from: ShardId,
        name: &str,
        reader: TopicRef,
        wanted: bool,
    ) {
        let known = self.topics.find(name);
        if known.is_none() && !wanted {
            return;
        }
        // The shard that subscribes has checked the limits.
        let index =
            known.unwrap_or_else(|| self.topics.make(name, &mut self.budget, &self.context));
        let topic = self.topics.at_mut(index).expect("just looked up");
        debug_assert_eq!(topic.home_shard, self.context.shard, "interest goes to the home");
        if wanted {
            let home = topic.home.get_or_insert_with(|| self.homes.new_topic());
            let Welcome { epoch, last, is_idle } = home.add_reader(from, reader);
            self.answer(from, HubMessage::Welcome { topic: reader, epoch, last });
            if is_idle {
                self.answer(from, HubMessage::Idle { topic: reader });
            }
            return;
        }
        if let Some(home) = &mut topic.home {
            let watches = self.homes.watchers.is_watching(from);
            if let Some(idle_after) = home.remove_reader(from, watches) {
                self.announce_to_released(index, idle_after);
            }
        }
        self.forget_later(index);
    }

    /// A topic without readers is forgotten after the time for which its rule keeps messages,
    /// so that a reader that returns finds the same numbers; at once if it never had a message.
    fn forget_later(&mut self, index: u32) {
        let Hub { topics, homes, context, .. } = self;
        let Some(topic) = topics.at_mut(index) else { return };
        let retention_ms = context.rules.get(topic.rule).retention_ms;
        let Some(home) = topic.home.as_mut().filter(|home| home.readers.is_empty()) else {
            return;
        };
        if home.log.next() == 1 {
            // There is no number to find again.
            self.end_if_over(index);
        } else {
            homes.look_later(index, home, context.now, retention_ms);
        }
    }

    /// Ends the home part of a topic that has neither readers nor messages, and with it, if
    /// nobody reads it here, the topic. A list of members stays while it has members.
    fn end_if_over(&mut self, index: u32) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        if let Some(home) = &topic.home
            && home.readers.is_empty()
            && home.log.len() == 0
            && !(is_reserved(&topic.name) && home.log.values.count() > 0)
        {
            self.budget.log_changed(home.log.weight(), 0);
            self.end_home(index);
        }
        self.topics.forget_if_unused(index, &mut self.budget);
    }

    fn end_home(&mut self, index: u32) {
        let topic = self.topics.at_mut(index);
        if let Some(home) = topic.and_then(|topic| topic.home.take()) {
            self.intake.quotas.release_topic(home.owner);
            self.homes.release(index);
        }
    }

    /// Looks at some more of the topics whose retention timer has expired.
    pub(super) fn expire_topics(&mut self) {
        let now = self.context.now;
        while !self.context.is_exhausted()
            && let Some(index) = self.homes.take_due()
        {
            self.context.charge(work::LOOK_UP);
            let Some(topic) = self.topics.at_mut(index) else { continue };
            let rule = self.context.rules.get(topic.rule);
            let Some(home) = &mut topic.home else { continue };
            home.has_timer = false;
            let before = home.log.weight();
            home.trim(rule, now);
            self.budget.log_changed(before, home.log.weight());
            if let Some(age_ms) = home.log.oldest_age_ms(now) {
                // A message that a reader shard has yet to be sent outlives its time: look again.
                let left_ms = rule.retention_ms.saturating_sub(age_ms).max(AGE_STEP_MS);
                self.homes.look_again(index, home, now, left_ms);
            }
            self.report_idle(index);
            self.end_if_over(index);
        }
    }

    /// This shard's own interest in a topic that is homed here needs no message: the home must
    /// know it before the next publication.
    pub(super) fn settle_interest_at_home(&mut self, index: u32) {
        let reference = self.topics.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let name = Arc::clone(&topic.name);
        let Some(reader) = &mut topic.reader else { return };
        let wanted = reader.is_wanted();
        let changed = wanted != reader.interest.posted;
        reader.interest.posted = wanted;
        if !wanted {
            topic.reader = None;
        }
        if changed {
            self.set_interest(self.context.shard, &name, reference, wanted);
        }
        self.topics.forget_if_unused(index, &mut self.budget);
    }
}
