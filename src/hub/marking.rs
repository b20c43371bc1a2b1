//! When a topic has grown: who has something to get, who has fallen off the tape, and
//! from where on it is still wanted.
//!
//! Whoever has fallen and holds nothing of the tape rests until its connection has room
//! again: new messages do not concern it, and it costs them nothing.

use super::catching_up::Guide;
use super::connections::Connections;
use super::rates::Rates;
use super::reader::Reader;
use super::subscriptions::{NONE, State, Subscription, moves};
use super::{Hub, Signal};
use crate::base::planted::{Bug, planted};
use crate::base::{Slab, Time, work};

/// What the subscribers of a topic are marked with.
struct Marking<'a> {
    subscriptions: &'a mut Slab<Subscription>,
    connections: &'a mut Connections,
    guides: &'a mut Slab<Guide>,
    rates: &'a mut Rates,
    now: Time,
    signals: &'a mut Vec<Signal>,
}

/// Whether a subscriber is concerned by what comes next.
enum Marked {
    Awake,
    Rests,
}

impl Hub {
    /// The subscribers of a topic are to be gone through at the next flush.
    pub(super) fn has_grown(&mut self, index: u32) {
        let topic = self.topics.at_mut(index).expect("a topic");
        self.is_fresh = true;
        if !topic.has_grown {
            topic.has_grown = true;
            self.grown.push_back(index);
        }
    }

    /// Says which subscribers of a topic have something to get, and lets go of
    /// what all of them have.
    pub(super) fn mark_readers(&mut self, index: u32, signals: &mut Vec<Signal>) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        topic.has_grown = false;
        let Some(reader) = topic.reader.as_deref_mut() else { return };
        let Hub { subscriptions, connections, guides, rates, now, .. } = self;
        let now = *now;
        let mut marking = Marking { subscriptions, connections, guides, rates, now, signals };
        let mut place = 0;
        while let Some(own) = reader.subscribers.awake_at(place) {
            match marking.mark(own, reader) {
                Marked::Awake => place += 1,
                // Another is there now.
                Marked::Rests => reader.subscribers.rest(place, moves(marking.subscriptions)),
            }
        }
        self.work += work::MARK * u64::from(1 + place);
        let held = reader.held_bytes();
        reader.let_go(&mut self.chunks);
        self.tape_bytes = self.tape_bytes + reader.held_bytes() - held;
        if reader.held_bytes() > 0 && !reader.is_chore {
            self.add_chore(index);
        }
    }
}

impl Marking<'_> {
    #[inline]
    fn mark(&mut self, own: u32, reader: &mut Reader) -> Marked {
        let subscription = self.subscriptions.at(own).expect("listed");
        let &Subscription { state, cursor, lane, guide, .. } = subscription;
        let tape = reader.tape(lane);
        match state {
            State::Live if cursor >= tape.begin() => {
                let end = tape.end();
                if cursor < end {
                    match guide {
                        NONE => self.signal(own, Signal::Pending),
                        _ => self.guided(own, end),
                    }
                }
            }
            // One that has yet to begin, too: that may be a few flushes later.
            State::CatchingUp | State::Joining if cursor >= tape.begin() => {}
            State::Live => return self.falls(own, reader),
            State::CatchingUp => return self.has_lost_its_place(own, reader),
            State::Fallen => return self.has_fallen(own, reader),
            State::Joining => return Marked::Awake,
        }
        if !planted(Bug::EarlyFree) {
            reader.wanted_from(lane, cursor);
        }
        Marked::Awake
    }

    /// It has something before it, and a guide that may hold it back.
    fn guided(&mut self, own: u32, end: u64) {
        let generation = self.subscriptions.generation(own).expect("listed");
        let &Subscription { cursor, guide, .. } = self.at(own);
        let guide = self.guides.at_mut(guide).expect("a guide of a subscription");
        let (to, messages_max) = guide.bounds(end);
        guide.wait_for_tick(end, (own, generation), self.rates, self.now);
        if cursor < to && messages_max > 0 {
            self.signal(own, Signal::Pending);
        }
    }

    /// The tape has let go of what it was to get next.
    fn falls(&mut self, own: u32, reader: &mut Reader) -> Marked {
        let generation = self.subscriptions.generation(own).expect("listed");
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        subscription.state = State::Fallen;
        let is_latest = subscription.is_latest();
        let &mut Subscription { lane, guide, .. } = subscription;
        if subscription.is_closed_when_slow() {
            self.signal(own, Signal::FellBehind);
            return Marked::Awake;
        }
        let (begin, end) = (reader.tape(lane).begin(), reader.tape(lane).end());
        let guide = self.guides.at_mut(guide);
        // To be brought up to date is a move as any other: at its rate.
        let waits = guide.is_some_and(|guide| {
            guide.wait_for_tick(end, (own, generation), self.rates, self.now);
            guide.is_waiting()
        });
        if !waits {
            self.signal(own, Signal::Attend);
        } else if !is_latest {
            reader.wanted_from(lane, begin);
        }
        Marked::Awake
    }

    /// It has yet to be brought up to date. Who moves at a rate may still get what is on
    /// the tape.
    fn has_fallen(&mut self, own: u32, reader: &mut Reader) -> Marked {
        let subscription = self.at(own);
        let (lane, guide, is_latest) =
            (subscription.lane, subscription.guide, subscription.is_latest());
        let begin = reader.tape(lane).begin();
        let guide = self.guides.at(guide).filter(|_| !is_latest);
        if !guide.is_some_and(|guide| guide.still_gets(begin)) {
            return Marked::Rests;
        }
        reader.wanted_from(lane, begin);
        Marked::Awake
    }

    /// It is catching up, and has to go another round: there is nothing to hold.
    fn has_lost_its_place(&mut self, own: u32, reader: &Reader) -> Marked {
        let subscription = self.at(own);
        if !subscription.is_closed_when_slow() {
            return Marked::Rests;
        }
        let guide = self.guides.at(subscription.guide).expect("it is catching up");
        if guide.is_stalled(reader.tape(subscription.lane)) {
            let subscription = self.subscriptions.at_mut(own).expect("listed");
            subscription.state = State::Fallen;
            self.signal(own, Signal::FellBehind);
        }
        Marked::Awake
    }

    fn at(&self, own: u32) -> &Subscription {
        self.subscriptions.at(own).expect("listed")
    }

    /// It has something to do: says so to its connection, unless that has left.
    #[inline]
    fn signal(&mut self, own: u32, signal: impl FnOnce(u32) -> Signal) {
        let subscriber = self.connections.activate(own, self.subscriptions);
        if subscriber != NONE {
            self.signals.push(signal(subscriber));
        }
    }
}
