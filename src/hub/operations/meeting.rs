//! Topics that homes report meet the subscriptions to patterns, a few with each flush.

use crate::base::work;
use crate::hub::Hub;
use crate::hub::cursor::{Appeared, Meeting};
use crate::hub::ids::PatternRef;
use crate::hub::past::Since;
use crate::hub::policy::{literal_prefix, matches};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Hub {
    /// A home reports a topic that a pattern matches.
    pub(super) fn topic_appeared(
        &mut self,
        pattern: Option<PatternRef>,
        topic: Arc<str>,
        since: Option<Since>,
    ) {
        // The last subscription to it may have ended meanwhile.
        if self.patterns.watched.is_empty() {
            return;
        }
        self.patterns.meetings.topic_appeared(pattern, topic, since);
        // Names of topics that nobody here reads, and that homes may never report again, are
        // forgotten. Homes are asked again for the sake of the subscriptions that come next.
        if self.patterns.meetings.begin_to_forget(self.topics.len()) {
            self.patterns.ask_homes_again();
        }
    }

    /// Topics and subscriptions meet, as far as this flush's work allows.
    pub(super) fn meet(&mut self) {
        while !self.context.is_exhausted()
            && let Some(meeting) = self.patterns.meetings.take()
        {
            let left = match meeting {
                Meeting::Topic(appeared) => self.meet_subscribers(appeared).map(Meeting::Topic),
                Meeting::Subscriber(own, behind) => {
                    let behind = self.meet_topics(own, behind);
                    behind.map(|behind| Meeting::Subscriber(own, Some(behind)))
                }
                Meeting::Forgetting(behind) => {
                    self.forget_unknown(behind).map(|behind| Meeting::Forgetting(Some(behind)))
                }
            };
            if let Some(left) = left {
                self.patterns.meetings.put_back(left);
            }
        }
    }

    /// A topic meets the subscriptions that were there before it. Returns what is left of it, if
    /// it has not met all.
    fn meet_subscribers(&mut self, mut appeared: Appeared) -> Option<Appeared> {
        self.patterns.meetings.remember(&appeared);
        let patterns = appeared.patterns.take();
        let patterns = patterns.unwrap_or_else(|| self.patterns_of(&appeared.name));
        while let Some(&(pattern, generation)) = patterns.get(appeared.next) {
            if self.context.is_exhausted() {
                appeared.patterns = Some(patterns);
                return Some(appeared);
            }
            self.context.charge(work::MATCH);
            let watched = self.patterns.watched.get(pattern, generation);
            let range = appeared.behind + 1..appeared.ticket;
            let next = watched.filter(|_| !range.is_empty());
            let next = next.and_then(|watched| watched.subscribers.range(range).next());
            let Some((&ticket, &own)) = next else {
                (appeared.next, appeared.behind) = (appeared.next + 1, 0);
                continue;
            };
            appeared.behind = ticket;
            self.subscribe_matched(own, &appeared.name, appeared.since);
        }
        None
    }

    /// The watched patterns that match a name.
    fn patterns_of(&mut self, name: &str) -> Vec<PatternRef> {
        let (watched, mut found) = (&self.patterns.watched, Vec::new());
        let steps = self.patterns.index.matching(name, |pattern| {
            found.push((pattern, watched.generation(pattern).expect("indexed")));
            ControlFlow::Continue(())
        });
        self.context.charge(work::MATCH * steps);
        found
    }

    /// A subscription to a pattern meets the topics that were there before it, behind one.
    /// Returns the last of them, if it has not met all.
    fn meet_topics(
        &mut self,
        (own, generation): PatternRef,
        mut behind: Option<Arc<str>>,
    ) -> Option<Arc<str>> {
        loop {
            let subscription = self.patterns.subscriptions.get(own, generation)?;
            let own_ticket = subscription.ticket;
            if self.has_no_room(own) {
                return None;
            }
            let pattern = self.patterns.text(own);
            let prefix = literal_prefix(&pattern);
            let (name, ticket) = match &behind {
                Some(behind) => self.patterns.meetings.known_behind(Some(behind))?,
                None => self.patterns.meetings.known_from(prefix)?,
            };
            // They are in the order of their names: nothing that matches is behind this.
            if !name.starts_with(prefix) {
                return None;
            }
            self.context.charge(work::MATCH);
            if ticket < own_ticket && matches(&pattern, &name) {
                self.subscribe_matched(own, &name, None);
            }
            behind = Some(name);
            if self.context.is_exhausted() {
                return behind;
            }
        }
    }

    /// Forgets topics that the shard does not have, behind one. Returns the last of them, if
    /// not all were looked at.
    fn forget_unknown(&mut self, mut behind: Option<Arc<str>>) -> Option<Arc<str>> {
        while let Some((name, _)) = self.patterns.meetings.known_behind(behind.as_ref()) {
            if self.context.is_exhausted() {
                return behind;
            }
            self.context.charge(work::LOOK_UP);
            if self.topics.find(&name).is_none() {
                self.patterns.meetings.forget(&name);
            }
            behind = Some(name);
        }
        self.patterns.meetings.end_forgetting();
        None
    }
}
