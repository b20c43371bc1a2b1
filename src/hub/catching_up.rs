//! Cursors that are not on their tape: new ones that start in the past, those that
//! want a snapshot first, and those that fell off.
//!
//! They get what lies before their cursor in portions of the home's log or values,
//! copied, each when the one before it has left. Meanwhile the cursor holds a place
//! on the tape: once everything before it has been handed over, it goes on from
//! there as if it had never been away. If the tape has let go of that place, another
//! round follows, and until then it holds nothing up. Who is to be closed when too slow
//! is that if as much is published as a tape may hold before it takes its portion.

use super::catch_up::CatchUp;
use super::log::{Past, Portion, TopicRef, View};
use super::mail::Mail;
use super::rates::{Rates, SubscriptionRef};
use super::subscriptions::{NONE, Policy, State, Subscription, Subscriptions, moves};
use super::tape::Tape;
use super::window::Window;
use super::{Hub, Mark, Outgoing, Signal, Since, SlowReader};
use crate::base::planted::{Bug, planted};
use crate::base::{Time, work};

/// Messages of a portion at most.
const PORTION_MESSAGES: u64 = 4_096;

/// Portions that a connection has asked other shards for, or holds until there is room in
/// its queue, at most: of one that has many topics and stalls, no more is kept.
const PULLS_MAX: u16 = 4;

/// What holds a cursor back or leads it.
#[derive(Debug)]
pub(super) struct Guide {
    rate: Option<Rate>,
    window: Option<Window>,
    start: Start,
    catch_up: Option<CatchUp>,
    /// Who it is on the list of the topic's members, if on it.
    pub member: u32,
}

/// Where a subscription wants to start, until it does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub since: Option<Since>,
    pub snapshot: bool,
}

#[derive(Debug)]
struct Rate {
    per_second: u32,
    /// Up to this message it may move now.
    to: u64,
    is_waiting: bool,
}

impl Guide {
    /// A guide, if there is need of one.
    pub fn new(max_rate: Option<u32>, window: Option<u32>, start: Start) -> Option<Guide> {
        let is_needed =
            max_rate.is_some() || window.is_some() || start.since.is_some() || start.snapshot;
        is_needed.then(|| Guide {
            rate: max_rate.map(|per_second| Rate { per_second, to: 0, is_waiting: false }),
            window: window.map(Window::new),
            start,
            catch_up: None,
            member: NONE,
        })
    }

    /// The number behind the last message that it lets pass, on a tape that ends at
    /// `end`, and how many messages.
    #[inline]
    pub fn bounds(&self, end: u64) -> (u64, u64) {
        let to = self.rate.as_ref().map_or(end, |rate| rate.to.min(end));
        (to, self.credit())
    }

    /// Where it has asked to go on.
    pub fn asked_for(&self) -> Option<Since> {
        self.start.since
    }

    /// Up to which message everything has been handed over, or was before it came, while
    /// it is catching up with all that was said.
    pub fn handed_over(&self) -> Option<u64> {
        let catch_up = self.catch_up.as_ref()?;
        (catch_up.view != View::Snapshot).then_some(catch_up.next - 1)
    }

    /// Whether it has taken nothing of what it is to catch up with while as much has gone
    /// onto its tape as that may hold.
    pub fn is_stalled(&self, tape: &Tape) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| {
            let waits = catch_up.is_pulling || catch_up.is_behind_others;
            !waits && tape.appended_bytes() - catch_up.at > tape.bytes_max() as u64
        })
    }

    /// Whether it has asked for a portion of the past that has not come.
    #[cfg(test)]
    pub fn is_asking(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_pulling)
    }

    /// Whether it holds a portion of the past.
    pub fn holds_portion(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.pulled.is_some())
    }

    fn credit(&self) -> u64 {
        self.window.as_ref().map_or(u64::MAX, Window::credit)
    }

    /// Runs of messages were delivered: first number and count.
    pub fn delivered(&mut self, runs: &[(u64, u64)]) {
        if let Some(window) = &mut self.window {
            runs.iter().for_each(|&(first, count)| window.delivered(first, count));
        }
    }

    /// A move has begun: it ends where the tape does now.
    pub fn moved(&mut self, end: u64) {
        if let Some(rate) = &mut self.rate {
            rate.to = rate.to.min(end);
        }
    }

    /// Everything up to `seq` is acknowledged. Says whether that made room.
    pub fn acknowledge(&mut self, seq: u64) -> bool {
        self.window.as_mut().is_some_and(|window| window.acknowledge(seq))
    }

    /// Whether it has fallen only as it waited for the tick of a rate, or for its turn after
    /// that: with this move it gets what is on a tape that begins at `begin`.
    pub fn still_gets(&self, begin: u64) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.is_waiting || rate.to > begin)
    }

    /// Whether it waits for the next tick of a rate.
    pub fn is_waiting(&self) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.is_waiting)
    }

    /// Has `own` wait from now on for the next tick of its rate, if that has to come before
    /// it lets everything up to `end` pass.
    pub fn wait_for_tick(&mut self, end: u64, own: SubscriptionRef, rates: &mut Rates, now: Time) {
        if let Some(rate) = self.rate.as_mut().filter(|rate| !rate.is_waiting && rate.to < end) {
            rate.is_waiting = true;
            rates.wait(rate.per_second, own, now);
        }
    }

    /// The tick has come. Where only the newest counts, it is what is the newest when
    /// the move begins: older ones are superseded by then.
    pub fn tick(&mut self, end: u64, is_latest: bool) {
        let end = if is_latest { u64::MAX } else { end };
        if let Some(rate) = &mut self.rate {
            rate.is_waiting = planted(Bug::LostLastValue);
            rate.to = end;
        }
    }
}

/// What [`Hub::attend`] gives a connection, in this order.
///
/// ```
/// use tapecast::hub::{Delivery, Hub, Outbox, Publication, Step, Subscriptions};
///
/// let mut hub = Hub::alone(&tapecast::Limits::default());
/// hub.publish(&Publication::new("news", "yesterday's")).unwrap();
/// let mut subscriptions = Subscriptions::default();
/// let delivery = Delivery { snapshot: true, ..Delivery::default() };
/// hub.subscribe(7, &mut subscriptions, "news", &delivery).unwrap();
/// hub.flush(&mut Outbox::default(), &mut Vec::new());
///
/// let (mut frames, mut steps) = (Vec::new(), Vec::new());
/// hub.attend(&mut subscriptions, &mut frames, &mut steps);
/// assert!(steps.contains(&Step::Frames { end: frames.len(), messages: 1 }));
/// assert_eq!(frames, b"\x81\x0byesterday's");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frames up to `end` are to be sent now.
    Frames {
        /// Where they end.
        end: usize,
        /// How many messages they are.
        messages: u64,
    },
    /// A mark, whose frames, if its lane has any, came before.
    Marked {
        /// Of which topic.
        topic: TopicRef,
        /// What it says.
        mark: Mark,
    },
    /// A subscription is live.
    Subscribed {
        /// To what.
        topic: TopicRef,
        /// The topic's incarnation.
        epoch: u64,
        /// It gets what comes after message `seq`.
        seq: u64,
        /// That is where it had asked to go on.
        recovered: bool,
    },
    /// It fell off its tape, and its policy is to be closed.
    FellBehind,
}

/// Where the frames and steps of one call go.
struct Hand<'a> {
    frames: &'a mut Vec<u8>,
    steps: &'a mut Vec<Step>,
}

impl Hand<'_> {
    /// What was added to the frames is to be sent before what follows.
    fn send(&mut self, messages: u64) {
        let end = self.frames.len();
        self.steps.push(Step::Frames { end, messages });
    }
}

impl Hub {
    /// Subscriptions begin whose home has answered: not before this flush, so that
    /// their connections hear of it before they get anything.
    pub(super) fn begin_all(&mut self) {
        while !self.is_exhausted()
            && let Some((own, generation)) = self.beginning.pop_front()
        {
            self.charge(work::BEGINNING);
            if let Some(subscription) = self.subscriptions.get(own, generation) {
                let topic = self.topics.at(subscription.topic);
                // It may have been left by everybody, and asked for again.
                if let Some(live) = topic.expect("a subscription has its topic").live {
                    self.begin(own, live.epoch);
                }
            }
        }
    }

    /// A subscription begins at its cursor, or where it has asked to.
    fn begin(&mut self, own: u32, epoch: u64) {
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        if subscription.state != State::Joining {
            return;
        }
        let is_latest = subscription.is_latest();
        let &mut Subscription { topic: index, connection, lane, guide, .. } = subscription;
        let subscriber = self.connections.at(connection).subscriber;
        if subscriber == NONE {
            return;
        }
        let last = subscription.cursor - 1;
        let start = self.guides.at(guide).map_or(Start::default(), |guide| guide.start);
        let reader = self.topics.at(index).and_then(|topic| topic.reader.as_ref());
        let tape = reader.expect("somebody reads").tape(lane);
        let (begin, appended) = (tape.begin(), tape.appended_bytes());
        // Numbers stay far below that, even at a billion messages a second.
        let is_known = |since: &Since| since.epoch == epoch && since.seq < 1 << 53;
        // Before the first message nothing is missed, whatever became of the topic meanwhile.
        let is_empty = |since: &Since| since.seq == 0 && last == 0;
        let since = start.since.filter(|since| is_known(since) || is_empty(since));
        let topic = self.reference(index);
        let subscribed =
            |seq, recovered| Signal::Subscribed { subscriber, topic, epoch, seq, recovered };
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        match (since, self.guides.at_mut(guide)) {
            // Whoever wants the newest only asks the home, which knows what that is.
            (Some(since), _)
                if since.seq == last
                    || since.seq < last && since.seq + 1 >= begin && !is_latest =>
            {
                subscription.cursor = since.seq + 1;
                self.signals.push(subscribed(since.seq, true));
                self.join(own);
            }
            (Some(since), Some(guide)) => {
                let view = if is_latest { View::Changes } else { View::Messages };
                let recovering = Some(since.seq);
                let next = since.seq + 1 + u64::from(planted(Bug::ReplayJoin));
                guide.catch_up = Some(CatchUp { recovering, ..CatchUp::new(view, next, appended) });
                // It may be ahead of this shard: only the home knows whether that can be.
                subscription.cursor = (since.seq + 1).max(last + 1);
                subscription.state = State::CatchingUp;
                self.activate(own, Signal::Attend);
            }
            (None, Some(guide)) if start.snapshot || start.since.is_some() => {
                guide.catch_up = Some(CatchUp::new(View::Snapshot, 1, appended));
                subscription.state = State::CatchingUp;
                self.signals.push(subscribed(last, false));
                self.activate(own, Signal::Attend);
            }
            _ => {
                self.signals.push(subscribed(last, false));
                self.join(own);
            }
        }
    }

    /// A subscription goes on along its tape from its cursor: at a rate, with its next move.
    fn join(&mut self, own: u32) {
        let &Subscription { cursor, guide, .. } = self.at(own);
        if let Some(rate) = self.guides.at_mut(guide).and_then(|guide| guide.rate.as_mut()) {
            rate.to = cursor;
        }
        self.go_on(own);
    }

    /// A subscription goes on along its tape from its cursor.
    fn go_on(&mut self, own: u32) {
        let generation = self.subscriptions.generation(own).expect("listed");
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        subscription.state = State::Live;
        subscription.has_moved = true;
        let cursor = subscription.cursor;
        let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
        let end = topic.reader.as_ref().expect("somebody reads").tape(subscription.lane).end();
        if cursor < end {
            self.activate(own, Signal::Pending);
        }
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        let Some(guide) = self.guides.at_mut(subscription.guide) else { return };
        guide.catch_up = None;
        if guide.rate.is_some() {
            guide.wait_for_tick(end, (own, generation), &mut self.rates, self.now);
        } else if guide.window.is_none() && guide.member == NONE {
            self.guides.remove(std::mem::replace(&mut subscription.guide, NONE));
        }
    }

    /// A portion that was asked for has come. Until it has, it counts as asked for, also
    /// where nobody wants it any more: the home works for it all the same.
    pub(super) fn pulled(
        &mut self,
        subscription: SubscriptionRef,
        (connection, generation): (u32, u32),
        past: Option<Past>,
    ) {
        let is_taken = past.is_some_and(|past| self.take_portion(subscription, past));
        if !is_taken && self.connections.is_current(connection, generation) {
            self.pull_is_over(connection);
        }
    }

    /// A subscription gets the portion that it has asked for, if it still waits for it.
    fn take_portion(&mut self, (own, generation): SubscriptionRef, past: Past) -> bool {
        let Some(subscription) = self.subscriptions.get(own, generation) else { return false };
        let appended = self.tape_of(subscription).appended_bytes();
        let Some(guide) = self.guides.at_mut(subscription.guide) else { return false };
        let Some(catch_up) = guide.catch_up.as_mut().filter(|catch_up| catch_up.is_pulling) else {
            return false;
        };
        catch_up.is_pulling = false;
        catch_up.at = appended;
        catch_up.pulled = Some(past);
        self.activate(own, Signal::Attend);
        true
    }

    /// Looks after the subscriptions of a connection that are not on their tapes:
    /// appends to `frames` what is to be sent, and to `steps` in which order, with what
    /// happened. Call it after [`Signal::Attend`], once what was sent before has left.
    /// Says whether to call it again when this has.
    pub fn attend(
        &mut self,
        subscriptions: &mut Subscriptions,
        frames: &mut Vec<u8>,
        steps: &mut Vec<Step>,
    ) -> bool {
        let bytes_max = frames.len() + self.limits.replay_bytes_max;
        let mut hand = Hand { frames, steps };
        let mut again = false;
        let Some(connection) = self.connections.of(*subscriptions) else { return false };
        let mut own = connection.first_active();
        if own == NONE {
            return false;
        }
        let last = self.at(own).previous_active;
        loop {
            let (is_last, next) = (own == last, self.at(own).next_active);
            self.charge(work::LOOK_UP);
            again |= self.attend_one(own, &mut hand);
            // The others come first next time.
            let connection = self.connections.at_mut(subscriptions.connection);
            connection.rotate(&self.subscriptions);
            if !self.has_to_do(own) {
                let connection = self.connections.at_mut(subscriptions.connection);
                connection.deactivate(own, &mut self.subscriptions);
            }
            if hand.frames.len() >= bytes_max || self.is_exhausted() && !is_last {
                return true;
            }
            if is_last {
                return again;
            }
            own = next;
        }
    }

    /// A portion that a connection had asked for was handed over, or came for nobody.
    pub(super) fn pull_is_over(&mut self, connection: u32) {
        self.connections.at_mut(connection).pulls -= 1;
        self.next_may_pull(connection);
    }

    /// If a connection has asked for fewer portions than it may: the next topic that waits
    /// for that can ask.
    pub(super) fn next_may_pull(&mut self, connection: u32) {
        let connection = self.connections.at_mut(connection);
        if connection.pulls >= PULLS_MAX {
            return;
        }
        while let Some((own, generation)) = connection.next_waiting() {
            let waits = |subscription: &Subscription| {
                let guide = self.guides.at(subscription.guide);
                let catch_up = guide.and_then(|guide| guide.catch_up.as_ref());
                catch_up.is_some_and(|catch_up| catch_up.is_behind_others)
            };
            if self.subscriptions.get(own, generation).is_some_and(waits) {
                return self.activate(own, Signal::Attend);
            }
        }
    }

    /// Whether a subscription that was looked after has more to do: what it waits for
    /// activates it otherwise.
    fn has_to_do(&self, own: u32) -> bool {
        let subscription = self.at(own);
        let guide = self.guides.at(subscription.guide);
        match subscription.state {
            State::Joining => false,
            State::Live => self.has_run(subscription),
            State::Fallen => !guide.is_some_and(Guide::is_waiting),
            State::CatchingUp => {
                let guide = guide.expect("it is catching up");
                let catch_up = guide.catch_up.as_ref().expect("it is catching up");
                let waits = catch_up.is_pulling || catch_up.is_behind_others;
                !waits && (catch_up.is_through(subscription.cursor) || guide.credit() > 0)
            }
        }
    }

    /// Looks after one subscription, up to one portion. Says whether it got one.
    fn attend_one(&mut self, own: u32, hand: &mut Hand<'_>) -> bool {
        self.wake(own);
        loop {
            let subscription = self.at(own);
            let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
            let tape = topic.reader.as_ref().expect("somebody reads").tape(subscription.lane);
            let (begin, end) = (tape.begin(), tape.end());
            match subscription.state {
                State::Joining => return false,
                State::Live | State::Fallen if subscription.cursor >= begin => {
                    self.subscriptions.at_mut(own).expect("listed").state = State::Live;
                    return false;
                }
                State::Fallen
                    if self.guides.at(subscription.guide).is_some_and(Guide::is_waiting) =>
                {
                    return false;
                }
                State::Live | State::Fallen => {
                    if !self.fell(own, begin, end, hand) {
                        return false;
                    }
                }
                State::CatchingUp => {
                    if let Some(got) = self.catch_up(own, begin, end, hand) {
                        return got;
                    }
                }
            }
        }
    }

    /// What is published concerns a subscription again, which may have been at rest.
    fn wake(&mut self, own: u32) {
        let &Subscription { topic, place, .. } = self.at(own);
        let topic = self.topics.at_mut(topic).expect("a subscription has its topic");
        let reader = topic.reader.as_mut().expect("somebody reads");
        reader.subscribers.wake(place, moves(&mut self.subscriptions));
    }

    /// A cursor is before the tape's begin. Says whether it goes on.
    fn fell(&mut self, own: u32, begin: u64, end: u64, hand: &mut Hand<'_>) -> bool {
        let subscription = self.at(own);
        let cursor = subscription.cursor;
        match subscription.policy {
            Policy::Latest => self.start_catching_up(own, View::Changes, end),
            Policy::Slow(SlowReader::Gap) => {
                self.mark(own, Mark::Gap { from: cursor, to: begin - 1 }, hand);
                self.subscriptions.at_mut(own).expect("listed").cursor = begin;
                // What the move that it is in lets pass, it still gets.
                self.go_on(own);
            }
            Policy::Slow(SlowReader::Conflate) => {
                self.mark(own, Mark::Conflated { from: cursor, to: end - 1 }, hand);
                self.start_catching_up(own, View::Changes, end);
            }
            Policy::Slow(SlowReader::Close) => {
                hand.steps.push(Step::FellBehind);
                return false;
            }
        }
        true
    }

    /// From its cursor on it gets a view of the past, up to `place`, where its cursor
    /// waits on the tape.
    fn start_catching_up(&mut self, own: u32, view: View, place: u64) {
        let appended = self.tape_of(self.at(own)).appended_bytes();
        let subscription = self.subscriptions.at_mut(own).expect("listed");
        let catch_up = CatchUp::new(view, subscription.cursor, appended);
        subscription.state = State::CatchingUp;
        subscription.cursor = place;
        self.guide(own).catch_up = Some(catch_up);
    }

    /// A subscription is the one of a member.
    pub(super) fn list(&mut self, own: u32, member: u32) {
        self.guide(own).member = member;
    }

    /// One step of catching up. Says whether a portion was handed over, or nothing if
    /// the next step can be made at once.
    fn catch_up(&mut self, own: u32, begin: u64, end: u64, hand: &mut Hand<'_>) -> Option<bool> {
        let generation = self.subscriptions.generation(own).expect("listed");
        let is_latest = self.at(own).is_latest();
        let &Subscription { cursor, topic: index, connection, .. } = self.at(own);
        let guide = self.guide(own);
        let credit = guide.credit();
        let catch_up = guide.catch_up.as_mut().expect("it is catching up");
        catch_up.is_behind_others = false;
        if let Some(past) = catch_up.pulled.take() {
            self.pull_is_over(connection);
            return self.hand_over(own, past, hand);
        }
        if catch_up.is_pulling {
            return Some(false);
        }
        let CatchUp { view, next, has_begun, is_complete, .. } = *catch_up;
        let (wanted, to) = catch_up.wanted(cursor);
        if catch_up.is_through(cursor) {
            if view == View::Snapshot {
                if !has_begun {
                    self.mark(own, Mark::Snapshot { count: 0 }, hand);
                }
                self.mark(own, Mark::SnapshotEnd { seq: cursor - 1, is_complete }, hand);
            }
            if cursor < begin {
                // The tape has let go of its place: another round.
                let view = if is_latest { View::Changes } else { View::Messages };
                self.start_catching_up(own, view, end);
                return None;
            }
            self.join(own);
            return Some(true);
        }
        if credit == 0 {
            return Some(false);
        }
        let portion = Portion {
            from: next,
            to,
            messages_max: credit.min(PORTION_MESSAGES) as usize,
            bytes_max: self.limits.replay_bytes_max,
        };
        let reference = self.reference(index);
        let topic = self.topics.at(index).expect("a subscription has its topic");
        if topic.home == self.shard {
            if wanted.is_of_all() {
                self.forward_here(index);
            }
            let past = self.past(reference, self.shard, wanted, portion);
            return self.hand_over(own, past.expect("what is read has a log"), hand);
        }
        // Those before it come in, and then it is asked again.
        let (name, home) = (topic.name.clone(), topic.home);
        let pulls = self.connections.at(connection).pulls;
        let catch_up = self.guide(own).catch_up.as_mut().expect("it is catching up");
        catch_up.is_behind_others = pulls >= PULLS_MAX;
        if catch_up.is_behind_others {
            self.connections.at_mut(connection).wait((own, generation), &self.subscriptions);
            return Some(false);
        }
        self.connections.at_mut(connection).pulls = pulls + 1;
        // Another may have been woken for this and have ended before.
        self.next_may_pull(connection);
        let subscription = (own, generation);
        let connection = self.connections.reference(connection);
        let (topic, reader) = (name, reference);
        let view = wanted;
        let pull = Mail::Pull { topic, reader, subscription, connection, view, portion };
        self.outgoing[home.index()].push_back(Outgoing::Mail(pull, 0));
        self.is_fresh = true;
        self.guide(own).catch_up.as_mut().expect("it is catching up").is_pulling = true;
        Some(false)
    }

    /// Hands a portion over. Says what [`Hub::catch_up`] does.
    fn hand_over(&mut self, own: u32, mut past: Past, hand: &mut Hand<'_>) -> Option<bool> {
        let &Subscription { cursor, topic: index, lane, policy, .. } = self.at(own);
        let topic = self.reference(index);
        let appended = self.tape_of(self.at(own)).appended_bytes();
        let catch_up = self.guide(own).catch_up.as_mut().expect("it is catching up");
        catch_up.at = appended;
        let &mut CatchUp { view, next, recovering, has_begun, .. } = catch_up;
        let is_whole = past.missed == 0 && recovering.is_none_or(|seq| seq <= past.last);
        if let Some(seq) = recovering {
            catch_up.recovering = None;
            if !is_whole {
                *catch_up = CatchUp::new(View::Snapshot, 1, appended);
            }
            let live = self.topics.at(index).and_then(|topic| topic.live);
            let live = live.expect("a topic that is read");
            let epoch = live.epoch;
            let seq = if is_whole { seq } else { cursor.min(live.last + 1) - 1 };
            self.subscriptions.at_mut(own).expect("listed").cursor =
                if is_whole { cursor } else { seq + 1 };
            hand.steps.push(Step::Subscribed { topic, epoch, seq, recovered: is_whole });
            if !is_whole {
                return None;
            }
        } else if !is_whole && view != View::Snapshot {
            match (view, policy) {
                (View::Messages, Policy::Slow(SlowReader::Close)) => {
                    hand.steps.push(Step::FellBehind);
                    return Some(false);
                }
                (View::Messages, Policy::Slow(SlowReader::Conflate)) => {
                    catch_up.view = View::Changes;
                    self.mark(own, Mark::Conflated { from: next, to: cursor - 1 }, hand);
                    return None;
                }
                _ => {
                    let gap = Mark::Gap { from: next, to: next + past.missed - 1 };
                    if view == View::Changes {
                        // Who changed in the meantime is not known any more, or who was
                        // removed: it gets all that there is. That begins before the gap is
                        // told, for who is lost in between can't go on behind that.
                        self.mark(own, Mark::Snapshot { count: 0 }, hand);
                        self.mark(own, gap, hand);
                        let anew = CatchUp::new(View::Snapshot, 1, appended);
                        let anew = CatchUp { has_begun: true, ..anew };
                        self.guide(own).catch_up = Some(anew);
                        return None;
                    }
                    self.mark(own, gap, hand);
                }
            }
        }
        if view == View::Snapshot {
            let catch_up = self.guide(own).catch_up.as_mut().expect("it is catching up");
            if let Some(cursor) = catch_up.take_portion(&mut past, cursor) {
                self.subscriptions.at_mut(own).expect("listed").cursor = cursor;
            }
        }
        let count = past.entries.len() as u64;
        if view == View::Snapshot && (count > 0 || !has_begun) {
            self.mark(own, Mark::Snapshot { count }, hand);
        }

        let guide = self.guide(own);
        for entry in &past.entries {
            guide.delivered(&[(entry.seq, 1)]);
        }
        let catch_up = guide.catch_up.as_mut().expect("it is catching up");
        catch_up.next = past.next;
        catch_up.has_begun = true;
        catch_up.is_complete &= past.has_all_values;
        let name = &self.topics.at(index).expect("a subscription has its topic").name;
        for entry in &past.entries {
            self.lanes.message(lane, name, entry, hand.frames);
        }
        hand.send(count);
        self.tally.replayed += count;
        self.work += work::REPLAY * count;
        Some(true)
    }

    /// The tape of a subscription.
    fn tape_of(&self, subscription: &Subscription) -> &Tape {
        let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
        topic.reader.as_ref().expect("somebody reads").tape(subscription.lane)
    }

    /// Says a mark to a subscriber, in its lane and to its handler.
    fn mark(&mut self, own: u32, mark: Mark, hand: &mut Hand<'_>) {
        let &Subscription { topic: index, lane, .. } = self.at(own);
        match mark {
            Mark::Gap { .. } => self.tally.gaps += 1,
            Mark::Conflated { .. } => self.tally.conflations += 1,
            Mark::Snapshot { .. } | Mark::SnapshotEnd { .. } => {}
        }
        let name = &self.topics.at(index).expect("a subscription has its topic").name;
        self.lanes.mark(lane, name, &mark, hand.frames);
        hand.send(0);
        hand.steps.push(Step::Marked { topic: self.reference(index), mark });
    }

    /// The guide of a subscription, which it gets if it has none.
    fn guide(&mut self, own: u32) -> &mut Guide {
        let guide = &mut self.subscriptions.at_mut(own).expect("listed").guide;
        if *guide == NONE {
            let (rate, window, catch_up) = (None, None, None);
            let start = Start::default();
            *guide = self.guides.insert(Guide { rate, window, start, catch_up, member: NONE }).0;
        }
        self.guides.at_mut(*guide).expect("a guide of a subscription")
    }
}
