//! What is looked after now and then, and not with every message: the memory of tapes
//! that all have read, and topics that have fallen silent.

use super::Hub;
use super::catching_up::Guide;
use super::log::TopicRef;
use super::subscriptions::{State, Subscription};
use crate::base::{Time, work};

/// Milliseconds between two rounds, while there is something to look after.
const PERIOD_MS: u64 = 1_000;

/// Topics to look after.
#[derive(Debug)]
pub(super) struct Chores {
    /// When the next round is due.
    pub next: Time,
    topics: Vec<TopicRef>,
    /// Those of the round that has begun.
    due: Vec<TopicRef>,
}

impl Default for Chores {
    fn default() -> Self {
        Chores { next: Time::NEVER, topics: Vec::new(), due: Vec::new() }
    }
}

impl Chores {
    /// Whether a round has begun and not ended.
    pub fn has_work(&self) -> bool {
        !self.due.is_empty()
    }
}

impl Hub {
    /// A topic is to be looked after.
    pub(super) fn add_chore(&mut self, index: u32) {
        let reference = self.reference(index);
        let reader = self.topics.at_mut(index).and_then(|topic| topic.reader.as_mut());
        if let Some(reader) = reader.filter(|reader| !reader.is_chore) {
            reader.is_chore = true;
            self.chores.topics.push(reference);
            if self.chores.next == Time::NEVER {
                self.chores.next = self.now.plus_millis(PERIOD_MS);
            }
        }
    }

    /// A round is due.
    pub(super) fn begin_chores(&mut self) {
        self.chores.due.append(&mut self.chores.topics);
        self.chores.next = Time::NEVER;
    }

    /// Looks after some more of the topics of this round.
    pub(super) fn do_chores(&mut self) {
        while !self.is_exhausted()
            && let Some(TopicRef { index, generation }) = self.chores.due.pop()
        {
            self.charge(work::LOOK_UP);
            let topic = self.topics.get_mut(index, generation);
            let Some(reader) = topic.and_then(|topic| topic.reader.as_mut()) else { continue };
            reader.is_chore = false;
            let is_silent = reader.is_silent;
            self.let_go_of_passed(index);
            let again = is_silent && self.let_go_of_silent(index);
            let reader = self.topics.at(index).and_then(|topic| topic.reader.as_ref());
            if again || reader.is_some_and(|reader| reader.held_bytes() > 0) {
                self.add_chore(index);
            }
        }
    }

    /// Lets go of the chunks of a topic's tapes that all cursors have passed.
    fn let_go_of_passed(&mut self, index: u32) {
        let Some(reader) = self.topics.at_mut(index).and_then(|topic| topic.reader.as_mut()) else {
            return;
        };
        let mut place = 0;
        while let Some(own) = reader.subscribers.awake_at(place) {
            place += 1;
            let subscription = self.subscriptions.at(own).expect("listed");
            let is_latest = subscription.is_latest();
            let &Subscription { state, lane, cursor, guide, .. } = subscription;
            let begin = reader.tape(lane).begin();
            let still_gets = |guide: &Guide| !is_latest && guide.still_gets(begin);
            match state {
                State::Live | State::CatchingUp | State::Joining if cursor >= begin => {
                    reader.wanted_from(lane, cursor);
                }
                State::Fallen if self.guides.at(guide).is_some_and(still_gets) => {
                    reader.wanted_from(lane, begin);
                }
                _ => {}
            }
        }
        self.work += work::STEP * u64::from(place);
        let held = reader.held_bytes();
        reader.let_go(&mut self.chunks);
        self.tape_bytes = self.tape_bytes + reader.held_bytes() - held;
    }

    /// Who reads a silent topic only because of a pattern, and has got all of it, lets go
    /// of it, if nobody on this shard has asked for it by name. Says whether to look
    /// again.
    pub(super) fn let_go_of_silent(&mut self, index: u32) -> bool {
        let topic = self.topics.at(index).expect("a topic");
        let Some(reader) = &topic.reader else { return false };
        if !reader.subscribers.iter().any(|own| self.at(own).is_matched()) {
            return false;
        }
        if reader.subscribers.iter().any(|own| !self.at(own).is_matched()) {
            return true;
        }
        let last = topic.live.map_or(0, |live| live.last);
        let mut waits = false;
        let mut silent = Vec::new();
        for own in reader.subscribers.iter() {
            let subscription = self.at(own);
            if subscription.state == State::Live && subscription.cursor > last {
                silent.push((own, self.subscriptions.generation(own).expect("listed")));
            } else {
                waits = true;
            }
        }
        self.charge(work::STEP * silent.len() as u64);
        silent.into_iter().for_each(|own| self.lets_go(own));
        waits
    }
}
