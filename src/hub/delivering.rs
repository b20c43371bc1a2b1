//! Cursors move along tapes: what a connection has yet to get, and where its cursors
//! stand once that, or a part of it, has been sent. The hot path.

use super::connections::Connection;
use super::log::Entry;
use super::subscriptions::{NONE, State, Subscription, Subscriptions};
use super::tape::{Span, Tape};
use super::{Hub, Signal};
use crate::base::work::{self, Work};

impl Hub {
    /// What a connection has yet to get from its topics, at most some `bytes_max`
    /// bytes of it in at most `slices_max` slices, in the order in which
    /// [`Hub::advance`] counts them.
    #[inline]
    pub fn pending<'h>(
        &'h self,
        subscriptions: Subscriptions,
        bytes_max: usize,
        slices_max: usize,
        mut take: impl FnMut(&'h [u8]),
    ) {
        let (mut bytes, mut slices) = (0, 0);
        for own in self.active(subscriptions) {
            let Some((tape, span)) = self.span_of(self.at(own)) else { continue };
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

    /// The active subscriptions of a connection, each once.
    #[inline]
    fn active(&self, subscriptions: Subscriptions) -> impl Iterator<Item = u32> {
        let first = self.connections.of(subscriptions).map_or(NONE, Connection::first_active);
        let mut next = first;
        std::iter::from_fn(move || {
            let own = (next != NONE).then_some(next)?;
            next = self.at(own).next_active;
            if next == first {
                next = NONE;
            }
            Some(own)
        })
    }

    /// What a subscription may get now, and from which tape; nothing, unless its
    /// cursor is on it and has something before it.
    #[inline]
    fn span_of(&self, subscription: &Subscription) -> Option<(&Tape, Span<'_>)> {
        if subscription.state != State::Live {
            return None;
        }
        let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
        let reader = topic.reader.as_deref()?;
        let tape = reader.tape(subscription.lane);
        let from = subscription.cursor;
        let (to, messages_max) = match subscription.guide {
            NONE => (tape.end(), u64::MAX),
            guide => self.guides.at(guide).expect("a guide of a subscription").bounds(tape.end()),
        };
        if from < tape.begin() || from >= to || messages_max == 0 {
            return None;
        }
        let superseded = reader.superseded().filter(|_| subscription.is_latest());
        Some((tape, Span { from, to, messages_max, superseded }))
    }

    /// `bytes` bytes of what [`Hub::pending`] gave were sent: moves the cursors.
    /// A frame that has begun counts as delivered; what is left of it goes to
    /// `rest`, and the connection keeps it, so that cursors are always between
    /// two frames. Says how many messages were begun.
    pub fn advance(
        &mut self,
        subscriptions: &mut Subscriptions,
        mut bytes: usize,
        rest: impl FnOnce(&[u8]),
    ) -> u64 {
        let Some(connection) = self.connections.of(*subscriptions) else { return 0 };
        let mut own = connection.first_active();
        if own == NONE {
            return 0;
        }
        let last = self.at(own).previous_active;
        let mut messages = 0;
        let mut rest = Some(rest);
        while bytes > 0 {
            let is_last = own == last;
            let next = self.at(own).next_active;
            let (sent, count) = self.advance_one(own, bytes, &mut rest);
            (bytes, messages) = (bytes - sent, messages + count);
            // The next turn starts behind the last that was served.
            let connection = self.connections.at_mut(subscriptions.connection);
            connection.rotate(&self.subscriptions);
            if !self.is_active(own) {
                let connection = self.connections.at_mut(subscriptions.connection);
                connection.deactivate(own, &mut self.subscriptions);
            }
            if is_last {
                break;
            }
            own = next;
        }
        messages
    }

    /// Of `bytes` bytes that were sent, takes what is this subscription's; says how many
    /// that are, and how many messages.
    #[inline]
    fn advance_one(
        &mut self,
        own: u32,
        bytes: usize,
        rest: &mut Option<impl FnOnce(&[u8])>,
    ) -> (usize, u64) {
        let mut left_bytes = bytes;
        let mut messages = 0;
        let mut delivered = std::mem::take(&mut self.delivered);
        let subscription = self.at(own);
        if let Some((tape, span)) = self.span_of(subscription) {
            let guide = subscription.guide;
            let mut cursor = subscription.cursor;
            let end = tape.end();
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
                if guide != NONE {
                    delivered.push((run.first, behind - run.first));
                }
            }
            let subscription = self.subscriptions.at_mut(own).expect("linked");
            subscription.has_moved |= subscription.cursor != cursor;
            subscription.cursor = cursor;
            if let Some(guide) = self.guides.at_mut(guide) {
                guide.delivered(&delivered);
                if !delivered.is_empty() {
                    guide.moved(end);
                }
                delivered.clear();
            }
        }
        self.delivered = delivered;
        (bytes - left_bytes, messages)
    }

    /// Whether a subscription still has something to do.
    #[inline]
    fn is_active(&self, own: u32) -> bool {
        let subscription = self.at(own);
        match subscription.state {
            State::Live => self.has_run(subscription),
            State::CatchingUp | State::Fallen => true,
            State::Joining => false,
        }
    }

    /// Whether a tape has something for it now.
    #[inline]
    pub(super) fn has_run(&self, subscription: &Subscription) -> bool {
        self.span_of(subscription).is_some_and(|(tape, span)| tape.runs(span).next().is_some())
    }

    /// Whether a connection has something to get.
    pub fn has_pending(&self, subscriptions: Subscriptions) -> bool {
        self.active(subscriptions).any(|own| self.has_run(self.at(own)))
    }

    /// Whether a connection reads `topic`, or is about to.
    pub fn is_subscribed(&self, subscriptions: Subscriptions, topic: &str) -> bool {
        self.subscription_to(subscriptions, topic).is_some()
    }

    /// The number of the last message of `topic` that was handed over to a connection,
    /// or skipped for it, or came before its subscription.
    pub fn position(&self, subscriptions: Subscriptions, topic: &str) -> Option<u64> {
        let subscription = self.at(self.subscription_to(subscriptions, topic)?);
        match subscription.state {
            State::Live | State::Fallen => Some(subscription.cursor - 1),
            State::Joining | State::CatchingUp => None,
        }
    }

    /// Says the names and positions of a connection's topics of which it has got nothing
    /// since this was last asked, and was subscribed to then.
    pub fn quiet(&mut self, subscriptions: Subscriptions, mut each: impl FnMut(&str, u64)) {
        let Some(connection) = self.connections.of(subscriptions) else { return };
        self.work += work::LOOK_UP * connection.len() as Work;
        for own in connection.iter() {
            let subscription = self.subscriptions.at_mut(own).expect("linked");
            let has_position = matches!(subscription.state, State::Live | State::Fallen);
            let has_moved = std::mem::replace(&mut subscription.has_moved, !has_position);
            if has_position && !has_moved {
                let topic = self.topics.at(subscription.topic);
                let name = &topic.expect("a subscription has its topic").name;
                each(name, subscription.cursor - 1);
            }
        }
    }

    /// A message of a topic has arrived on this shard.
    pub(super) fn append_to_tapes(&mut self, index: u32, entry: &Entry) {
        let topic = self.topics.at_mut(index).expect("a topic");
        if let Some(live) = &mut topic.live {
            live.last = entry.seq;
        }
        if std::mem::take(&mut topic.fell_silent) {
            self.speaks_again(index, entry.seq - 1);
        }
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(reader) = &mut topic.reader else { return };
        let held = reader.held_bytes();
        reader.append(entry, &topic.name, &mut self.lanes, &mut self.chunks);
        self.tape_bytes = self.tape_bytes + reader.held_bytes() - held;
        self.has_grown(index);
    }

    /// This shard fell off the home's log: every tape begins anew, and whoever had
    /// yet to get something has fallen off it.
    pub(super) fn restart_tapes(&mut self, index: u32, missed: u64) {
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(live) = &mut topic.live else { return };
        live.last += missed;
        let Some(reader) = &mut topic.reader else { return };
        self.tape_bytes -= reader.held_bytes();
        reader.restart(live.last + 1, &mut self.chunks);
        self.has_grown(index);
    }

    /// Subscriptions with a rate whose tick has come may move to the end: in this flush, or
    /// as far as its work allows.
    pub(super) fn move_rated(&mut self) {
        while !self.is_exhausted()
            && let Some((own, generation)) = self.moved.pop()
        {
            self.charge(work::MARK);
            let Some(subscription) = self.subscriptions.get(own, generation) else { continue };
            let Some(guide) = self.guides.at_mut(subscription.guide) else { continue };
            let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
            let Some(reader) = &topic.reader else { continue };
            guide.tick(reader.tape(subscription.lane).end(), subscription.is_latest());
            match subscription.state {
                State::Live => self.activate(own, Signal::Pending),
                State::Fallen => self.activate(own, Signal::Attend),
                State::Joining | State::CatchingUp => {}
            }
        }
    }
}
