//! Topics and subscriptions to patterns meet, a few with each flush.
//!
//! Each topic and each subscription gets a *ticket* when it comes, and the one that comes later
//! looks for the other: a topic for the subscriptions that were there before it, from the
//! message with which it appeared, and a subscription for the topics that were, from now on. So
//! however slowly that goes, each pair meets once, and no message is missed.

use crate::hub::ids::PatternRef;
use crate::hub::past::Since;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Names of topics that are remembered beyond twice those that the shard has.
const SPARE_TOPICS: usize = 1_024;

/// The work that is left for a topic or a subscription that has come.
#[derive(Debug)]
pub enum Meeting {
    /// A topic, for the subscriptions to patterns that it matches.
    Topic(Appeared),
    /// A subscription to a pattern, for the remembered topics behind this one.
    Subscriber(PatternRef, Option<Arc<str>>),
    /// Topics that the shard does not have are forgotten, from behind this one on.
    Forgetting(Option<Arc<str>>),
}

/// A topic that a home has reported.
#[derive(Debug)]
pub struct Appeared {
    pub name: Arc<str>,
    pub since: Option<Since>,
    pub ticket: u64,
    /// The patterns that it matches, once that is known.
    pub patterns: Option<Vec<PatternRef>>,
    /// The next of them, and the ticket behind which its subscribers are left.
    pub next: usize,
    pub behind: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Meetings {
    meetings: VecDeque<Meeting>,
    last_ticket: u64,
    /// Topics that homes have reported, with their tickets.
    known: BTreeMap<Arc<str>, u64>,
    is_forgetting: bool,
}

impl Meetings {
    /// A ticket for one that comes.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// How many meetings are left.
    pub fn len(&self) -> usize {
        self.meetings.len()
    }

    pub fn is_empty(&self) -> bool {
        self.meetings.is_empty()
    }

    /// How many topics are remembered.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// The next meeting.
    pub fn take(&mut self) -> Option<Meeting> {
        self.meetings.pop_front()
    }

    /// A meeting is not finished. One of a subscription may take long: others come first.
    pub fn put_back(&mut self, meeting: Meeting) {
        match meeting {
            Meeting::Subscriber(..) => self.meetings.push_back(meeting),
            Meeting::Topic(_) | Meeting::Forgetting(_) => self.meetings.push_front(meeting),
        }
    }

    pub fn subscriber_came(&mut self, own: PatternRef) {
        self.meetings.push_back(Meeting::Subscriber(own, None));
    }

    /// A topic exists that matches some watched pattern, or just this one.
    pub fn topic_appeared(
        &mut self,
        pattern: Option<PatternRef>,
        name: Arc<str>,
        since: Option<Since>,
    ) {
        let ticket = self.ticket();
        if pattern.is_some() {
            // Subscriptions to other patterns may have met it already.
            self.known.entry(Arc::clone(&name)).or_insert(ticket);
        } else {
            self.known.insert(Arc::clone(&name), ticket);
        }
        let patterns = pattern.map(|pattern| vec![pattern]);
        let (next, behind) = (0, 0);
        let appeared = Appeared { name, since, ticket, patterns, next, behind };
        self.meetings.push_back(Meeting::Topic(appeared));
    }

    /// Remembers a topic that meets subscriptions, if it was forgotten since it was reported.
    pub fn remember(&mut self, appeared: &Appeared) {
        self.known.entry(Arc::clone(&appeared.name)).or_insert(appeared.ticket);
    }

    /// Forgets one topic.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// No pattern is watched any more.
    pub fn forget_all(&mut self) {
        self.known.clear();
        self.meetings.clear();
        self.is_forgetting = false;
    }

    /// Begins to forget topics, if far more are remembered than the `topics` that the shard has.
    pub fn begin_to_forget(&mut self, topics: usize) -> bool {
        let begins = self.known.len() > 2 * topics + SPARE_TOPICS && !self.is_forgetting;
        if begins {
            self.is_forgetting = true;
            self.meetings.push_back(Meeting::Forgetting(None));
        }
        begins
    }

    /// All remembered topics have been looked at.
    pub fn end_forgetting(&mut self) {
        self.is_forgetting = false;
    }

    /// The first topic from `prefix` on in the order of names, and its ticket.
    pub fn known_from(&self, prefix: &str) -> Option<(Arc<str>, u64)> {
        let next = self.known.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
        next.map(|(name, ticket)| (Arc::clone(name), *ticket))
    }

    /// The topic behind `name` in that order, or the first one, and its ticket.
    pub fn known_behind(&self, name: Option<&Arc<str>>) -> Option<(Arc<str>, u64)> {
        let from = name.map_or(Bound::Unbounded, |name| Bound::Excluded(Arc::clone(name)));
        let next = self.known.range((from, Bound::Unbounded)).next();
        next.map(|(name, ticket)| (Arc::clone(name), *ticket))
    }
}
