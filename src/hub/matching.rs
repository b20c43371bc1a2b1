//! Topics and subscriptions to patterns come together, a few with each flush.
//!
//! Who comes gets a *ticket*, topic and subscription alike, and of the two the one that
//! comes later looks for the other: a topic for the subscriptions that were there before it,
//! from the message with which it appeared, and a subscription for the topics that were, from
//! now on. So however slowly that goes, each pair meets once, and no message is missed.

use super::Hub;
use super::delivery::Since;
use super::name::{literal_prefix, matches};
use super::rates::SubscriptionRef;
use crate::base::work;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Names of topics that are known beyond twice those that the shard reads or is home of.
const SPARE_TOPICS: usize = 1_024;

/// What is left to be done for one that has come.
#[derive(Debug)]
enum Meeting {
    /// A topic, for those who watch a pattern that it matches.
    Topic(Appeared),
    /// A subscription to a pattern, for the topics that are known behind this one.
    Subscriber(SubscriptionRef, Option<Arc<str>>),
    /// Topics that the shard does not have are forgotten, from behind this one on.
    Forgetting(Option<Arc<str>>),
}

#[derive(Debug)]
struct Appeared {
    name: Arc<str>,
    since: Option<Since>,
    ticket: u64,
    /// The patterns that it matches, once that is known.
    patterns: Option<Vec<(u32, u32)>>,
    /// Which of them is next, and behind which ticket its subscribers.
    next: usize,
    behind: u64,
}

/// Who has yet to meet whom.
#[derive(Debug, Default)]
pub(super) struct Matching {
    meetings: VecDeque<Meeting>,
    last_ticket: u64,
    /// Topics that homes have told of, with their tickets.
    known: BTreeMap<Arc<str>, u64>,
    is_forgetting: bool,
}

impl Matching {
    /// A ticket for one that comes.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// How many have yet to meet others.
    pub fn len(&self) -> usize {
        self.meetings.len()
    }

    /// How many topics homes have told of.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.meetings.is_empty()
    }

    pub fn subscriber_came(&mut self, own: SubscriptionRef) {
        self.meetings.push_back(Meeting::Subscriber(own, None));
    }

    /// A topic that matches some watched pattern, or just this one, is there.
    pub fn topic_appeared(
        &mut self,
        pattern: Option<(u32, u32)>,
        name: Arc<str>,
        since: Option<Since>,
    ) {
        let ticket = self.ticket();
        match pattern {
            // It may be known to others, who have met it.
            Some(_) => drop(self.known.entry(Arc::clone(&name)).or_insert(ticket)),
            None => drop(self.known.insert(Arc::clone(&name), ticket)),
        }
        let patterns = pattern.map(|pattern| vec![pattern]);
        let (next, behind) = (0, 0);
        self.meetings.push_back(Meeting::Topic(Appeared {
            name,
            since,
            ticket,
            patterns,
            next,
            behind,
        }));
    }

    pub fn fell_silent(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Nobody watches a pattern any more.
    pub fn forget(&mut self) {
        self.known.clear();
        self.meetings.clear();
        self.is_forgetting = false;
    }

    /// The first topic from `prefix` on in the order of names, and its ticket.
    fn known_from(&self, prefix: &str) -> Option<(Arc<str>, u64)> {
        let next = self.known.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
        next.map(|(name, ticket)| (Arc::clone(name), *ticket))
    }

    /// The topic behind `name` in that order, or the first one, and its ticket.
    fn known_behind(&self, name: Option<&Arc<str>>) -> Option<(Arc<str>, u64)> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(Arc::clone(name)));
        let next = self.known.range((from, Bound::Unbounded)).next();
        next.map(|(name, ticket)| (Arc::clone(name), *ticket))
    }
}

impl Hub {
    /// A home tells of a topic that a pattern matches.
    pub(super) fn appeared(
        &mut self,
        pattern: Option<(u32, u32)>,
        topic: Arc<str>,
        since: Option<Since>,
    ) {
        // The last who watched it may have left meanwhile.
        if self.patterns.watched.is_empty() {
            return;
        }
        let matching = &mut self.patterns.matching;
        matching.topic_appeared(pattern, topic, since);
        if matching.known.len() > 2 * self.names.len() + SPARE_TOPICS && !matching.is_forgetting {
            // Names of topics that nobody here reads, of which nothing more will be heard.
            // Whoever comes next has the homes asked again.
            matching.is_forgetting = true;
            matching.meetings.push_back(Meeting::Forgetting(None));
            self.ask_homes_again();
        }
    }

    /// Brings topics and subscriptions together, as far as this flush's work allows.
    pub(super) fn meet(&mut self) {
        while !self.is_exhausted()
            && let Some(meeting) = self.patterns.matching.meetings.pop_front()
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
            match left {
                None => {}
                // There may be many topics: others come first.
                Some(left @ Meeting::Subscriber(..)) => {
                    self.patterns.matching.meetings.push_back(left);
                }
                Some(left) => self.patterns.matching.meetings.push_front(left),
            }
        }
    }

    /// A topic meets the subscriptions that were there before it; what is left of it, if not
    /// all.
    fn meet_subscribers(&mut self, mut appeared: Appeared) -> Option<Appeared> {
        // It may have been forgotten since: whoever comes next is to find it.
        let known = &mut self.patterns.matching.known;
        known.entry(Arc::clone(&appeared.name)).or_insert(appeared.ticket);
        let mut patterns = appeared.patterns.take().unwrap_or_else(|| {
            let (watched, mut found) = (&self.patterns.watched, Vec::new());
            let steps = self.patterns.index.matching(&appeared.name, |pattern| {
                found.push((pattern, watched.generation(pattern).expect("indexed")));
                ControlFlow::Continue(())
            });
            self.work += work::MATCH * steps;
            found
        });
        while let Some(&(pattern, generation)) = patterns.get(appeared.next) {
            if self.is_exhausted() {
                appeared.patterns = Some(std::mem::take(&mut patterns));
                return Some(appeared);
            }
            self.charge(work::MATCH);
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

    /// A subscription to a pattern meets the topics that were there before it, behind one;
    /// says which was the last, if not all.
    fn meet_topics(
        &mut self,
        (own, generation): SubscriptionRef,
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
                Some(behind) => self.patterns.matching.known_behind(Some(behind))?,
                None => self.patterns.matching.known_from(prefix)?,
            };
            // They are in the order of their names: nothing that matches is behind this.
            if !name.starts_with(prefix) {
                return None;
            }
            self.charge(work::MATCH);
            if ticket < own_ticket && matches(&pattern, &name) {
                self.subscribe_matched(own, &name, None);
            }
            behind = Some(name);
            if self.is_exhausted() {
                return behind;
            }
        }
    }

    /// Forgets topics that the shard does not have, behind one; says which was the last, if
    /// not all.
    fn forget_unknown(&mut self, mut behind: Option<Arc<str>>) -> Option<Arc<str>> {
        while let Some((name, _)) = self.patterns.matching.known_behind(behind.as_ref()) {
            if self.is_exhausted() {
                return behind;
            }
            self.charge(work::LOOK_UP);
            if self.topic_named(&name).is_none() {
                self.patterns.matching.known.remove(&name);
            }
            behind = Some(name);
        }
        self.patterns.matching.is_forgetting = false;
        None
    }
}
