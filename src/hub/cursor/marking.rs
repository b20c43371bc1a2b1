//! Marking: when a topic has grown, it finds the subscribers that have something to get, those
//! that fell behind, and the messages that the tapes have to keep.
//!
//! A subscriber that fell behind and wants nothing of the tape is parked until its connection
//! has room: new messages do not concern it, and it costs them nothing.

use super::cursors::Cursors;
use super::flow_control::FlowControl;
use super::subscription::{State, Subscription, moves};
use crate::base::planted::{Bug, planted};
use crate::base::work;
use crate::hub::context::Context;
use crate::hub::ids::NONE;
use crate::hub::reader::ReaderTopic;
use crate::hub::signal::Signal;

/// Whether new messages concern a subscriber.
enum Marked {
    Active,
    Parked,
}

impl Cursors {
    /// Reports the active subscribers of a topic that have something to get, and collects what
    /// the tapes have to keep for them.
    pub fn mark_subscribers(&mut self, topic: &mut ReaderTopic, context: &mut Context) {
        let mut place = 0;
        while let Some(own) = topic.subscribers.active_at(place) {
            match self.mark(own, topic, context) {
                Marked::Active => place += 1,
                // Another one takes its place.
                Marked::Parked => topic.subscribers.park(place, moves(&mut self.subscriptions)),
            }
        }
        context.charge(work::MARK * u64::from(1 + place));
    }

    #[inline]
    fn mark(&mut self, own: u32, topic: &mut ReaderTopic, context: &mut Context) -> Marked {
        let &Subscription { state, cursor, lane, flow, .. } = self.at(own);
        let tape = topic.tape(lane);
        match state {
            State::Live if cursor >= tape.begin() => {
                let end = tape.end();
                if cursor < end {
                    match flow {
                        NONE => self.report(own, Signal::Pending, context),
                        _ => self.mark_with_flow(own, end, context),
                    }
                }
            }
            // One that has yet to begin, too: that may be a few flushes later.
            State::CatchingUp | State::Joining if cursor >= tape.begin() => {}
            State::Live => return self.fall_behind(own, topic, context),
            State::CatchingUp => return self.lose_place(own, topic, context),
            State::Behind => return self.stay_behind(own, topic),
            State::Joining => return Marked::Active,
        }
        if !planted(Bug::EarlyFree) {
            topic.wanted_from(lane, cursor);
        }
        Marked::Active
    }

    /// It has something before it, and flow control that may hold it back.
    fn mark_with_flow(&mut self, own: u32, end: u64, context: &mut Context) {
        let reference = self.reference(own);
        let &Subscription { cursor, flow, .. } = self.at(own);
        let flow = self.flows.at_mut(flow).expect("the flow control of a subscription");
        let (to, messages_max) = flow.bounds(end);
        flow.wait_for_tick(end, reference, &mut self.rates, context.now);
        if cursor < to && messages_max > 0 {
            self.report(own, Signal::Pending, context);
        }
    }

    /// The tape has dropped what it was to get next.
    fn fall_behind(&mut self, own: u32, topic: &mut ReaderTopic, context: &mut Context) -> Marked {
        let reference = self.reference(own);
        let subscription = self.at_mut(own);
        subscription.state = State::Behind;
        let is_latest = subscription.is_latest();
        let &mut Subscription { lane, flow, .. } = subscription;
        if subscription.is_closed_when_slow() {
            self.report(own, Signal::FellBehind, context);
            return Marked::Active;
        }
        let (begin, end) = (topic.tape(lane).begin(), topic.tape(lane).end());
        // Catching up is a move as any other: at its rate.
        let waits = self.flows.at_mut(flow).is_some_and(|flow| {
            flow.wait_for_tick(end, reference, &mut self.rates, context.now);
            flow.is_waiting()
        });
        if !waits {
            self.report(own, Signal::CatchUp, context);
        } else if !is_latest {
            topic.wanted_from(lane, begin);
        }
        Marked::Active
    }

    /// It has yet to catch up. One that moves at a rate may still get what is on the tape.
    fn stay_behind(&mut self, own: u32, topic: &mut ReaderTopic) -> Marked {
        let Some(begin) = self.still_gets(own, topic) else { return Marked::Parked };
        topic.wanted_from(self.at(own).lane, begin);
        Marked::Active
    }

    /// Where the tape begins, if a subscription that is behind still gets what is on it.
    fn still_gets(&self, own: u32, topic: &ReaderTopic) -> Option<u64> {
        let subscription = self.at(own);
        let begin = topic.tape(subscription.lane).begin();
        let still_gets = |flow: &FlowControl| flow.still_gets(begin);
        let is_meant =
            !subscription.is_latest() && self.flows.at(subscription.flow).is_some_and(still_gets);
        is_meant.then_some(begin)
    }

    /// It is catching up, and the tape has dropped its place: it needs another round, and the
    /// tape keeps nothing for it.
    fn lose_place(&mut self, own: u32, topic: &ReaderTopic, context: &mut Context) -> Marked {
        let subscription = self.at(own);
        if !subscription.is_closed_when_slow() {
            return Marked::Parked;
        }
        let flow = self.flows.at(subscription.flow).expect("it is catching up");
        if flow.is_stalled(topic.tape(subscription.lane)) {
            self.at_mut(own).state = State::Behind;
            self.report(own, Signal::FellBehind, context);
        }
        Marked::Active
    }

    /// Collects what the tapes have to keep for a topic's active subscribers, and reports
    /// nothing.
    pub fn mark_wanted(&self, topic: &mut ReaderTopic, context: &mut Context) {
        let mut place = 0;
        while let Some(own) = topic.subscribers.active_at(place) {
            place += 1;
            let &Subscription { state, lane, cursor, .. } = self.at(own);
            let begin = topic.tape(lane).begin();
            match state {
                State::Live | State::CatchingUp | State::Joining if cursor >= begin => {
                    topic.wanted_from(lane, cursor);
                }
                State::Behind => {
                    if let Some(begin) = self.still_gets(own, topic) {
                        topic.wanted_from(lane, begin);
                    }
                }
                _ => {}
            }
        }
        context.charge(work::STEP * u64::from(place));
    }

    /// The subscriptions of an idle topic that only patterns have made and that have got
    /// everything, and whether some have yet to. Without such subscriptions, nothing.
    pub fn releasable(&self, topic: &ReaderTopic) -> Option<(Vec<u32>, bool)> {
        let subscribers = || topic.subscribers.iter().map(|own| (own, self.at(own)));
        if !subscribers().any(|(_, subscription)| subscription.is_matched()) {
            return None;
        }
        if subscribers().any(|(_, subscription)| !subscription.is_matched()) {
            return Some((Vec::new(), true));
        }
        let has_all = |subscription: &Subscription| {
            subscription.state == State::Live && subscription.cursor > topic.last()
        };
        let (through, left): (Vec<_>, Vec<_>) =
            subscribers().partition(|(_, subscription)| has_all(subscription));
        Some((through.into_iter().map(|(own, _)| own).collect(), !left.is_empty()))
    }
}
