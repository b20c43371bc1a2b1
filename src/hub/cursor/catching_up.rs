//! Cursors that are not on their tape: new ones that start in the past, those that want a
//! snapshot first, and those that fell behind.
//!
//! They get the messages before their cursor in portions, copied from the home's log or values,
//! each when the one before it has left. Meanwhile the cursor holds a place on the tape: once
//! everything before it was delivered, it continues from there as if it had never been away.
//! If the tape has dropped that place, another round follows, and until then the tape keeps
//! nothing for it. A subscription that is closed when slow is closed if as much is published as
//! a tape may hold before it takes its portion.

use super::cursors::Cursors;
use super::flow_control::FlowControl;
use super::portions::CatchUp;
use super::subscription::{Policy, State, Subscription, Subscriptions, moves};
use crate::base::work;
use crate::hub::context::Context;
use crate::hub::ids::{ConnectionRef, NONE, SubscriptionRef};
use crate::hub::lane::Mark;
use crate::hub::past::{Past, Portion, View};
use crate::hub::policy::SlowReader;
use crate::hub::reader::Lanes;
use crate::hub::signal::{Signal, Step};
use crate::hub::topic::Topics;

/// The limit of messages of a portion.
const PORTION_MESSAGES: u64 = 4_096;

/// The limit of portions that a connection has asked other shards for, or holds until there is
/// room in its queue: a stalled connection with many topics makes this side keep no more.
const PULLS_MAX: u16 = 4;

/// A portion that a subscription needs next.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub topic: u32,
    pub subscription: SubscriptionRef,
    pub connection: ConnectionRef,
    pub view: View,
    pub portion: Portion,
}

/// How far one subscription has come.
#[derive(Debug)]
pub enum Progress {
    /// Up to here for now. `true` if a portion was delivered, so that there may be more.
    Paused(bool),
    /// This portion is needed, of a topic whose home is here.
    Needs(Request),
    /// This portion was asked for at the topic's home: send the request there.
    Asks(Request),
}

/// Where the frames and steps of one call go.
#[derive(Debug)]
pub struct Output<'a> {
    pub frames: &'a mut Vec<u8>,
    pub steps: &'a mut Vec<Step>,
}

impl Output<'_> {
    /// The frames added so far are to be sent before what follows.
    fn send(&mut self, messages: u64) {
        let end = self.frames.len();
        self.steps.push(Step::Frames { end, messages });
    }
}

/// The parts of a hub that catching up works with.
#[derive(Debug)]
pub struct CatchingUp<'h> {
    pub cursors: &'h mut Cursors,
    pub topics: &'h mut Topics,
    pub lanes: &'h mut Lanes,
    pub context: &'h mut Context,
}

impl Cursors {
    /// A portion that a connection had asked for was delivered, or nobody wants it any more.
    pub fn end_pull(&mut self, connection: u32, context: &mut Context) {
        self.connections.at_mut(connection).pulls -= 1;
        self.next_may_pull(connection, context);
    }

    /// If a connection has asked for fewer portions than it may, the next topic that waits for
    /// that becomes ready to ask.
    pub(super) fn next_may_pull(&mut self, connection: u32, context: &mut Context) {
        let connection = self.connections.at_mut(connection);
        if connection.pulls >= PULLS_MAX {
            return;
        }
        while let Some((own, generation)) = connection.next_waiting() {
            let waits = |subscription: &Subscription| {
                let flow = self.flows.at(subscription.flow);
                let catch_up = flow.and_then(|flow| flow.catch_up.as_ref());
                catch_up.is_some_and(|catch_up| catch_up.is_behind_others)
            };
            if self.subscriptions.get(own, generation).is_some_and(waits) {
                return self.make_ready(own, Signal::CatchUp, context);
            }
        }
    }

    /// A portion that was asked for has arrived. Until it does, it counts as asked for, even if
    /// nobody wants it any more: the home works for it all the same.
    pub fn pulled(
        &mut self,
        subscription: SubscriptionRef,
        (connection, generation): ConnectionRef,
        past: Option<Past>,
        topics: &Topics,
        context: &mut Context,
    ) {
        let is_taken =
            past.is_some_and(|past| self.take_portion(subscription, past, topics, context));
        if !is_taken && self.connections.is_current(connection, generation) {
            self.end_pull(connection, context);
        }
    }

    /// A subscription gets the portion that it has asked for, if it still waits for it.
    fn take_portion(
        &mut self,
        (own, generation): SubscriptionRef,
        past: Past,
        topics: &Topics,
        context: &mut Context,
    ) -> bool {
        let Some(subscription) = self.subscriptions.get(own, generation) else { return false };
        let appended = self.tape(own, topics).appended_bytes();
        let Some(flow) = self.flows.at_mut(subscription.flow) else { return false };
        let Some(catch_up) = flow.catch_up.as_mut().filter(|catch_up| catch_up.is_pulling) else {
            return false;
        };
        catch_up.is_pulling = false;
        catch_up.at = appended;
        catch_up.pulled = Some(past);
        self.make_ready(own, Signal::CatchUp, context);
        true
    }

    /// Whether a subscription that has just caught up a little has more to do now; what it
    /// waits for makes it ready otherwise.
    fn has_more(&self, own: u32, topics: &Topics) -> bool {
        let subscription = self.at(own);
        let flow = self.flows.at(subscription.flow);
        match subscription.state {
            State::Joining => false,
            State::Live => self.has_run(subscription, topics),
            State::Behind => !flow.is_some_and(FlowControl::is_waiting),
            State::CatchingUp => {
                let flow = flow.expect("it is catching up");
                let catch_up = flow.catch_up.as_ref().expect("it is catching up");
                let waits = catch_up.is_pulling || catch_up.is_behind_others;
                !waits && (catch_up.is_through(subscription.cursor) || flow.credit() > 0)
            }
        }
    }

    /// A ready subscription had its turn: the next one comes first, and it leaves the ring if
    /// it has nothing more to do.
    pub fn end_turn(&mut self, own: u32, subscriptions: Subscriptions, topics: &Topics) {
        let connection = self.connections.at_mut(subscriptions.connection);
        connection.rotate(&self.subscriptions);
        if !self.has_more(own, topics) {
            let connection = self.connections.at_mut(subscriptions.connection);
            connection.make_idle(own, &mut self.subscriptions);
        }
    }

    fn catch_up(&mut self, own: u32) -> &mut CatchUp {
        self.flow(own).catch_up.as_mut().expect("it is catching up")
    }
}

impl CatchingUp<'_> {
    /// Messages concern a subscription again that may have been parked.
    pub fn unpark(&mut self, own: u32) {
        let &Subscription { topic, place, .. } = self.cursors.at(own);
        let reader = self.topics.reader_mut(topic).expect("a topic with a subscriber");
        reader.subscribers.unpark(place, moves(&mut self.cursors.subscriptions));
    }

    /// Takes a subscription forward, up to one portion.
    pub fn proceed(&mut self, own: u32, output: &mut Output<'_>) -> Progress {
        loop {
            let tape = self.cursors.tape(own, self.topics);
            let (begin, end) = (tape.begin(), tape.end());
            let &Subscription { state, cursor, flow, .. } = self.cursors.at(own);
            let waits = || self.cursors.flows.at(flow).is_some_and(FlowControl::is_waiting);
            match state {
                State::Joining => return Progress::Paused(false),
                State::Live | State::Behind if cursor >= begin => {
                    self.cursors.at_mut(own).state = State::Live;
                    return Progress::Paused(false);
                }
                State::Behind if waits() => return Progress::Paused(false),
                State::Live | State::Behind => {
                    if !self.apply_policy(own, begin, end, output) {
                        return Progress::Paused(false);
                    }
                }
                State::CatchingUp => {
                    if let Some(progress) = self.next_portion(own, begin, end, output) {
                        return progress;
                    }
                }
            }
        }
    }

    /// A cursor is behind the tape's begin. Returns whether the subscription continues.
    fn apply_policy(&mut self, own: u32, begin: u64, end: u64, output: &mut Output<'_>) -> bool {
        let &Subscription { cursor, policy, .. } = self.cursors.at(own);
        match policy {
            Policy::Latest => self.start(own, View::Changes, end),
            Policy::Slow(SlowReader::Gap) => {
                self.mark(own, Mark::Gap { from: cursor, to: begin - 1 }, output);
                self.cursors.at_mut(own).cursor = begin;
                // It still gets what its present move lets pass.
                self.cursors.resume(own, self.topics, self.context);
            }
            Policy::Slow(SlowReader::Conflate) => {
                self.mark(own, Mark::Conflated { from: cursor, to: end - 1 }, output);
                self.start(own, View::Changes, end);
            }
            Policy::Slow(SlowReader::Close) => {
                output.steps.push(Step::FellBehind);
                return false;
            }
        }
        true
    }

    /// From its cursor on, a subscription gets a view of the past up to `place`, where its
    /// cursor waits on the tape.
    fn start(&mut self, own: u32, view: View, place: u64) {
        let appended = self.cursors.tape(own, self.topics).appended_bytes();
        let subscription = self.cursors.at_mut(own);
        let catch_up = CatchUp::new(view, subscription.cursor, appended);
        subscription.state = State::CatchingUp;
        subscription.cursor = place;
        self.cursors.flow(own).catch_up = Some(catch_up);
    }

    /// One step of catching up; nothing if the next step can follow at once.
    fn next_portion(
        &mut self,
        own: u32,
        begin: u64,
        end: u64,
        output: &mut Output<'_>,
    ) -> Option<Progress> {
        let is_latest = self.cursors.at(own).is_latest();
        let &Subscription { cursor, topic: index, connection, .. } = self.cursors.at(own);
        let flow = self.cursors.flow(own);
        let credit = flow.credit();
        let catch_up = flow.catch_up.as_mut().expect("it is catching up");
        catch_up.is_behind_others = false;
        if let Some(past) = catch_up.pulled.take() {
            self.cursors.end_pull(connection, self.context);
            return self.deliver(own, past, output).map(Progress::Paused);
        }
        if catch_up.is_pulling {
            return Some(Progress::Paused(false));
        }
        let CatchUp { view, next, has_begun, is_complete, .. } = *catch_up;
        let (wanted, to) = catch_up.wanted(cursor);
        if catch_up.is_through(cursor) {
            if view == View::Snapshot {
                if !has_begun {
                    self.mark(own, Mark::Snapshot { count: 0 }, output);
                }
                self.mark(own, Mark::SnapshotEnd { seq: cursor - 1, is_complete }, output);
            }
            if cursor < begin {
                // The tape has dropped its place: another round.
                let view = if is_latest { View::Changes } else { View::Messages };
                self.start(own, view, end);
                return None;
            }
            self.cursors.join(own, self.topics, self.context);
            return Some(Progress::Paused(true));
        }
        if credit == 0 {
            return Some(Progress::Paused(false));
        }
        let request = Request {
            topic: index,
            subscription: self.cursors.reference(own),
            connection: self.cursors.connections.reference(connection),
            view: wanted,
            portion: Portion {
                from: next,
                to,
                messages_max: credit.min(PORTION_MESSAGES) as usize,
                bytes_max: self.context.limits.replay_bytes_max,
            },
        };
        let topic = self.topics.at(index).expect("a subscription has its topic");
        if topic.home_shard == self.context.shard {
            return Some(Progress::Needs(request));
        }
        // Too many are asked for already: it is made ready when one of them has arrived.
        let pulls = self.cursors.connections.at(connection).pulls;
        let is_behind_others = pulls >= PULLS_MAX;
        self.cursors.catch_up(own).is_behind_others = is_behind_others;
        let Cursors { connections, subscriptions, .. } = &mut *self.cursors;
        let known = connections.at_mut(connection);
        if is_behind_others {
            known.wait(request.subscription, subscriptions);
            return Some(Progress::Paused(false));
        }
        known.pulls = pulls + 1;
        // Another one may have been made ready for this and have ended before.
        self.cursors.next_may_pull(connection, self.context);
        self.context.is_fresh = true;
        self.cursors.catch_up(own).is_pulling = true;
        Some(Progress::Asks(request))
    }

    /// Delivers a portion. Returns whether there may be more, or nothing if the next step can
    /// follow at once.
    pub fn deliver(&mut self, own: u32, mut past: Past, output: &mut Output<'_>) -> Option<bool> {
        let &Subscription { cursor, topic: index, policy, .. } = self.cursors.at(own);
        let appended = self.cursors.tape(own, self.topics).appended_bytes();
        let catch_up = self.cursors.catch_up(own);
        catch_up.at = appended;
        let &mut CatchUp { view, next, recovering, has_begun, .. } = catch_up;
        let is_whole = past.missed == 0 && recovering.is_none_or(|seq| seq <= past.last);
        if let Some(seq) = recovering {
            catch_up.recovering = None;
            if !is_whole {
                *catch_up = CatchUp::new(View::Snapshot, 1, appended);
            }
            let live = self.topics.reader(index).and_then(|reader| reader.live);
            let live = live.expect("a topic that is read");
            let seq = if is_whole { seq } else { cursor.min(live.last + 1) - 1 };
            self.cursors.at_mut(own).cursor = if is_whole { cursor } else { seq + 1 };
            let (topic, epoch) = (self.topics.reference(index), live.epoch);
            output.steps.push(Step::Subscribed { topic, epoch, seq, recovered: is_whole });
            if !is_whole {
                return None;
            }
        } else if !is_whole && view != View::Snapshot {
            match (view, policy) {
                (View::Messages, Policy::Slow(SlowReader::Close)) => {
                    output.steps.push(Step::FellBehind);
                    return Some(false);
                }
                (View::Messages, Policy::Slow(SlowReader::Conflate)) => {
                    catch_up.view = View::Changes;
                    self.mark(own, Mark::Conflated { from: next, to: cursor - 1 }, output);
                    return None;
                }
                _ => {}
            }
            let gap = Mark::Gap { from: next, to: next + past.missed - 1 };
            if view == View::Changes {
                // The keys that have changed meanwhile, or were removed, are not known: it
                // gets a snapshot. That begins before the gap mark, since a reader that is lost
                // between the two could not continue behind the gap.
                self.mark(own, Mark::Snapshot { count: 0 }, output);
                self.mark(own, gap, output);
                let anew = CatchUp::new(View::Snapshot, 1, appended);
                *self.cursors.catch_up(own) = CatchUp { has_begun: true, ..anew };
                return None;
            }
            self.mark(own, gap, output);
        }
        if view == View::Snapshot
            && let Some(cursor) = self.cursors.catch_up(own).take_portion(&mut past, cursor)
        {
            self.cursors.at_mut(own).cursor = cursor;
        }
        if view == View::Snapshot && (!past.entries.is_empty() || !has_begun) {
            self.mark(own, Mark::Snapshot { count: past.entries.len() as u64 }, output);
        }
        self.encode(own, &past, output);
        Some(true)
    }

    /// Appends a portion as frames, and notes that it was delivered.
    fn encode(&mut self, own: u32, past: &Past, output: &mut Output<'_>) {
        let &Subscription { topic, lane, .. } = self.cursors.at(own);
        let flow = self.cursors.flow(own);
        for entry in &past.entries {
            flow.delivered(&[(entry.seq, 1)]);
        }
        let catch_up = flow.catch_up.as_mut().expect("it is catching up");
        catch_up.next = past.next;
        catch_up.has_begun = true;
        catch_up.is_complete &= past.has_all_values;
        let name = &self.topics.at(topic).expect("a subscription has its topic").name;
        for entry in &past.entries {
            self.lanes.message(lane, name, entry, output.frames);
        }
        let count = past.entries.len() as u64;
        output.send(count);
        self.context.tally.replayed += count;
        self.context.charge(work::REPLAY * count);
    }

    /// Reports a mark to a subscriber, in its lane and to its handler.
    fn mark(&mut self, own: u32, mark: Mark, output: &mut Output<'_>) {
        let &Subscription { topic: index, lane, .. } = self.cursors.at(own);
        match mark {
            Mark::Gap { .. } => self.context.tally.gaps += 1,
            Mark::Conflated { .. } => self.context.tally.conflations += 1,
            Mark::Snapshot { .. } | Mark::SnapshotEnd { .. } => {}
        }
        let name = &self.topics.at(index).expect("a subscription has its topic").name;
        self.lanes.mark(lane, name, &mark, output.frames);
        output.send(0);
        output.steps.push(Step::Marked { topic: self.topics.reference(index), mark });
    }
}

/// The first ready subscription of a connection and the last one, if there are any.
pub fn ready_range(cursors: &Cursors, subscriptions: Subscriptions) -> Option<(u32, u32)> {
    let first = cursors.of(subscriptions)?.first_ready();
    (first != NONE).then(|| (first, cursors.at(first).previous_ready))
}
