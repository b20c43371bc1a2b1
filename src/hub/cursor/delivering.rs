//! Cursors move along tapes: the frames that a connection has yet to get, and the places of its
//! cursors once these frames, or a part of them, were sent. This is the hot path.

use super::connections::Connection;
use super::cursors::Cursors;
use super::subscription::{State, Subscription, Subscriptions};
use crate::base::work::{self, Work};
use crate::hub::context::Context;
use crate::hub::ids::NONE;
use crate::hub::reader::{Span, Tape};
use crate::hub::signal::Signal;
use crate::hub::topic::Topics;

impl Cursors {
    /// See `Hub::pending`.
    #[inline]
    pub fn pending<'t>(
        &self,
        topics: &'t Topics,
        subscriptions: Subscriptions,
        bytes_max: usize,
        slices_max: usize,
        mut take: impl FnMut(&'t [u8]),
    ) {
        let (mut bytes, mut slices) = (0, 0);
        for own in self.ready(subscriptions) {
            let Some((tape, span)) = self.span_of(self.at(own), topics) else { continue };
            for run in tape.runs(span) {
                if bytes >= bytes_max || slices >= slices_max {
                    return;
                }
                bytes += run.bytes.len();
                slices += 1;
                take(run.bytes);
            }
        }
    }

    /// The ready subscriptions of a connection, each once.
    #[inline]
    fn ready(&self, subscriptions: Subscriptions) -> impl Iterator<Item = u32> {
        let first = self.of(subscriptions).map_or(NONE, Connection::first_ready);
        let mut next = first;
        std::iter::from_fn(move || {
            let own = (next != NONE).then_some(next)?;
            next = self.at(own).next_ready;
            if next == first {
                next = NONE;
            }
            Some(own)
        })
    }

    /// The run of messages that a subscription may get now, and its tape; `None` unless its
    /// cursor is on the tape and has something before it.
    #[inline]
    fn span_of<'t>(
        &self,
        subscription: &Subscription,
        topics: &'t Topics,
    ) -> Option<(&'t Tape, Span<'t>)> {
        if subscription.state != State::Live {
            return None;
        }
        let reader = topics.reader(subscription.topic)?;
        let tape = reader.tape(subscription.lane);
        let from = subscription.cursor;
        let (to, messages_max) = match subscription.flow {
            NONE => (tape.end(), u64::MAX),
            flow => {
                self.flows.at(flow).expect("the flow control of a subscription").bounds(tape.end())
            }
        };
        if from < tape.begin() || from >= to || messages_max == 0 {
            return None;
        }
        let superseded = reader.superseded().filter(|_| subscription.is_latest());
        Some((tape, Span { from, to, messages_max, superseded }))
    }

    /// See `Hub::advance`.
    pub fn advance(
        &mut self,
        topics: &Topics,
        subscriptions: &mut Subscriptions,
        mut bytes: usize,
        rest: impl FnOnce(&[u8]),
    ) -> u64 {
        let Some(connection) = self.of(*subscriptions) else { return 0 };
        let mut own = connection.first_ready();
        if own == NONE {
            return 0;
        }
        let last = self.at(own).previous_ready;
        let mut messages = 0;
        let mut rest = Some(rest);
        while bytes > 0 {
            let is_last = own == last;
            let next = self.at(own).next_ready;
            let (sent, count) = self.advance_one(topics, own, bytes, &mut rest);
            (bytes, messages) = (bytes - sent, messages + count);
            // The next turn starts behind the last that was served.
            let connection = self.connections.at_mut(subscriptions.connection);
            connection.rotate(&self.subscriptions);
            if !self.stays_ready(own, topics) {
                let connection = self.connections.at_mut(subscriptions.connection);
                connection.make_idle(own, &mut self.subscriptions);
            }
            if is_last {
                break;
            }
            own = next;
        }
        messages
    }

    /// Takes this subscription's part of `bytes` bytes that were sent. Returns its bytes and its
    /// messages.
    #[inline]
    fn advance_one(
        &mut self,
        topics: &Topics,
        own: u32,
        bytes: usize,
        rest: &mut Option<impl FnOnce(&[u8])>,
    ) -> (usize, u64) {
        let mut left_bytes = bytes;
        let mut messages = 0;
        let mut delivered = std::mem::take(&mut self.delivered);
        let subscription = self.at(own);
        if let Some((tape, span)) = self.span_of(subscription, topics) {
            let flow = subscription.flow;
            let mut cursor = subscription.cursor;
            for run in tape.runs(span) {
                if left_bytes == 0 {
                    break;
                }
                let behind = if left_bytes >= run.bytes.len() {
                    left_bytes -= run.bytes.len();
                    run.first + run.count
                } else {
                    let (behind, left) = tape.cut(&run, left_bytes);
                    left_bytes = 0;
                    if let Some(rest) = rest.take().filter(|_| !left.is_empty()) {
                        rest(left);
                    }
                    behind
                };
                messages += behind - run.first;
                cursor = behind;
                if flow != NONE {
                    delivered.push((run.first, behind - run.first));
                }
            }
            let subscription = self.at_mut(own);
            subscription.has_moved |= subscription.cursor != cursor;
            subscription.cursor = cursor;
            if let Some(flow) = self.flows.at_mut(flow) {
                flow.delivered(&delivered);
                if !delivered.is_empty() {
                    flow.moved(tape.end());
                }
                delivered.clear();
            }
        }
        self.delivered = delivered;
        (bytes - left_bytes, messages)
    }

    /// Whether a subscription still has something to do.
    #[inline]
    fn stays_ready(&self, own: u32, topics: &Topics) -> bool {
        let subscription = self.at(own);
        match subscription.state {
            State::Live => self.has_run(subscription, topics),
            State::CatchingUp | State::Behind => true,
            State::Joining => false,
        }
    }

    /// Whether a tape has something for it now.
    #[inline]
    pub(super) fn has_run(&self, subscription: &Subscription, topics: &Topics) -> bool {
        let span = self.span_of(subscription, topics);
        span.is_some_and(|(tape, span)| tape.runs(span).next().is_some())
    }

    /// Whether a connection has something to get.
    pub fn has_pending(&self, topics: &Topics, subscriptions: Subscriptions) -> bool {
        self.ready(subscriptions).any(|own| self.has_run(self.at(own), topics))
    }

    /// See `Hub::quiet`.
    pub fn quiet(
        &mut self,
        topics: &Topics,
        subscriptions: Subscriptions,
        mut each: impl FnMut(&str, u64),
        context: &mut Context,
    ) {
        let Some(connection) = self.connections.of(subscriptions) else { return };
        context.charge(work::LOOK_UP * connection.len() as Work);
        for own in connection.iter() {
            let subscription = self.subscriptions.at_mut(own).expect("a live subscription");
            let has_position = matches!(subscription.state, State::Live | State::Behind);
            let has_moved = std::mem::replace(&mut subscription.has_moved, !has_position);
            if has_position && !has_moved {
                let topic = topics.at(subscription.topic);
                let name = &topic.expect("a subscription has its topic").name;
                each(name, subscription.cursor - 1);
            }
        }
    }

    /// The client has everything of `own`'s topic up to message `seq`.
    pub fn acknowledge(&mut self, own: u32, seq: u64, context: &mut Context) {
        let &Subscription { flow, state, .. } = self.at(own);
        let Some(flow) = self.flows.at_mut(flow) else { return };
        if !flow.acknowledge(seq) {
            return;
        }
        let signal = match state {
            State::Live | State::Joining => Signal::Pending,
            State::CatchingUp | State::Behind => Signal::CatchUp,
        };
        self.make_ready(own, signal, context);
    }

    /// Subscriptions with a rate whose tick has come may move to the end of their tape: in this
    /// flush, as far as its work allows.
    pub fn move_ticked(&mut self, topics: &Topics, context: &mut Context) {
        while !context.is_exhausted()
            && let Some((own, generation)) = self.ticked.pop()
        {
            context.charge(work::MARK);
            let Some(subscription) = self.subscriptions.get(own, generation) else { continue };
            let Some(flow) = self.flows.at_mut(subscription.flow) else { continue };
            let reader = topics.reader(subscription.topic);
            let Some(reader) = reader.filter(|reader| reader.is_wanted()) else { continue };
            flow.tick(reader.tape(subscription.lane).end(), subscription.is_latest());
            match subscription.state {
                State::Live => self.make_ready(own, Signal::Pending, context),
                State::Behind => self.make_ready(own, Signal::CatchUp, context),
                State::Joining | State::CatchingUp => {}
            }
        }
    }
}
