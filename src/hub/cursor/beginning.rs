//! Subscriptions begin: at their cursor, or in the past where they have asked to. And they
//! continue along their tape once they have caught up.

use super::cursors::Cursors;
use super::flow_control::Start;
use super::portions::CatchUp;
use super::subscription::{State, Subscription};
use crate::base::planted::{Bug, planted};
use crate::base::work;
use crate::hub::context::Context;
use crate::hub::ids::{NONE, TopicRef};
use crate::hub::past::{Since, View};
use crate::hub::signal::Signal;
use crate::hub::topic::Topics;

impl Cursors {
    /// Begins the subscriptions whose home has answered: not before this flush, so that their
    /// connections are notified before they get anything.
    pub fn begin_all(&mut self, topics: &Topics, context: &mut Context) {
        while !context.is_exhausted()
            && let Some((own, generation)) = self.beginning.pop_front()
        {
            context.charge(work::BEGINNING);
            if let Some(subscription) = self.subscriptions.get(own, generation) {
                // Everybody may have left the topic, and somebody may have asked for it again.
                if let Some(live) = topics.reader(subscription.topic).and_then(|it| it.live) {
                    self.begin(own, live.epoch, topics, context);
                }
            }
        }
    }

    /// A subscription begins at its cursor, or where it has asked to.
    fn begin(&mut self, own: u32, epoch: u64, topics: &Topics, context: &mut Context) {
        let subscription = self.at_mut(own);
        if subscription.state != State::Joining {
            return;
        }
        let is_latest = subscription.is_latest();
        let &mut Subscription { topic: index, connection, cursor, flow, .. } = subscription;
        let subscriber = self.connections.at(connection).subscriber;
        if subscriber == NONE {
            return;
        }
        let last = cursor - 1;
        let start = self.flows.at(flow).map_or(Start::default(), |flow| flow.start);
        let tape = self.tape(own, topics);
        let (begin, appended) = (tape.begin(), tape.appended_bytes());
        // Numbers stay far below that, even at a billion messages a second.
        let is_known = |since: &Since| since.epoch == epoch && since.seq < 1 << 53;
        // Before the first message nothing is missed, whatever became of the topic meanwhile.
        let is_empty = |since: &Since| since.seq == 0 && last == 0;
        let since = start.since.filter(|since| is_known(since) || is_empty(since));
        let topic = topics.reference(index);
        let subscribed =
            |seq, recovered| Signal::Subscribed { subscriber, topic, epoch, seq, recovered };
        let subscription = self.subscriptions.at_mut(own).expect("a live subscription");
        match (since, self.flows.at_mut(flow)) {
            // A reader of the newest always asks the home, which alone knows what that is.
            (Some(since), _)
                if since.seq == last
                    || since.seq < last && since.seq + 1 >= begin && !is_latest =>
            {
                subscription.cursor = since.seq + 1;
                context.signals.push(subscribed(since.seq, true));
                self.join(own, topics, context);
            }
            (Some(since), Some(flow)) => {
                let view = if is_latest { View::Changes } else { View::Messages };
                let recovering = Some(since.seq);
                let next = since.seq + 1 + u64::from(planted(Bug::ReplayJoin));
                flow.catch_up = Some(CatchUp { recovering, ..CatchUp::new(view, next, appended) });
                // It may be ahead of this shard: only the home knows whether that is possible.
                subscription.cursor = (since.seq + 1).max(last + 1);
                subscription.state = State::CatchingUp;
                self.make_ready(own, Signal::CatchUp, context);
            }
            (None, Some(flow)) if start.snapshot || start.since.is_some() => {
                flow.catch_up = Some(CatchUp::new(View::Snapshot, 1, appended));
                subscription.state = State::CatchingUp;
                context.signals.push(subscribed(last, false));
                self.make_ready(own, Signal::CatchUp, context);
            }
            _ => {
                context.signals.push(subscribed(last, false));
                self.join(own, topics, context);
            }
        }
    }

    /// A subscription continues along its tape from its cursor: at a rate, with its next move.
    pub(super) fn join(&mut self, own: u32, topics: &Topics, context: &mut Context) {
        let &Subscription { cursor, flow, .. } = self.at(own);
        if let Some(flow) = self.flows.at_mut(flow) {
            flow.join(cursor);
        }
        self.resume(own, topics, context);
    }

    /// A subscription continues along its tape from its cursor.
    pub(super) fn resume(&mut self, own: u32, topics: &Topics, context: &mut Context) {
        let reference = self.reference(own);
        let end = self.tape(own, topics).end();
        let subscription = self.at_mut(own);
        subscription.state = State::Live;
        subscription.has_moved = true;
        if subscription.cursor < end {
            self.make_ready(own, Signal::Pending, context);
        }
        let subscription = self.subscriptions.at_mut(own).expect("a live subscription");
        let Some(flow) = self.flows.at_mut(subscription.flow) else { return };
        flow.catch_up = None;
        flow.wait_for_tick(end, reference, &mut self.rates, context.now);
        if flow.is_unused() {
            self.flows.remove(std::mem::replace(&mut subscription.flow, NONE));
        }
    }

    /// The home has answered: the subscriptions that waited for that begin.
    pub fn welcome(
        &mut self,
        topic: TopicRef,
        last: u64,
        topics: &mut Topics,
        context: &mut Context,
    ) {
        let Some(reader) = topics.reader_mut(topic.index) else { return };
        // Those that had lost their place on the tape may find it again.
        reader.subscribers.unpark_all();
        context.charge(work::STEP * reader.subscribers.len() as u64);
        for own in reader.subscribers.iter() {
            let generation = self.subscriptions.generation(own).expect("a live subscription");
            // The messages behind this answer are for them already.
            let subscription = self.subscriptions.at_mut(own).expect("a live subscription");
            if subscription.state == State::Joining {
                subscription.cursor = last + 1;
            }
            self.beginning.push_back((own, generation));
        }
    }
}
