//! Cursors move along tapes: what a connection has yet to get, and where its cursors
//! stand once that, or a part of it, has been sent. The hot path.

use super::log::Entry;
use super::subscriptions::{NONE, State, Subscription, Subscriptions};
use super::tape::{Span, Tape};
use super::{Hub, Signal};

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
        let mut own = subscriptions.first;
        for _ in 0..subscriptions.count {
            let subscription = self.at(own);
            if let Some((tape, span)) = self.span_of(subscription) {
                for run in tape.runs(span) {
                    if bytes >= bytes_max || slices >= slices_max {
                        return;
                    }
                    bytes += run.bytes.len();
                    slices += 1;
                    take(run.bytes);
                }
            }
            own = subscription.next;
        }
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
        let superseded = reader.superseded().filter(|_| subscription.is_latest);
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
        let mut messages = 0;
        let mut own = subscriptions.first;
        let mut rest = Some(rest);
        let mut delivered = std::mem::take(&mut self.delivered);
        for _ in 0..subscriptions.count {
            let subscription = self.at(own);
            let next = subscription.next;
            if let Some((tape, span)) = self.span_of(subscription) {
                let guide = subscription.guide;
                let mut cursor = subscription.cursor;
                let end = tape.end();
                for run in tape.runs(span) {
                    if bytes == 0 {
                        break;
                    }
                    let behind = if bytes >= run.bytes.len() {
                        bytes -= run.bytes.len();
                        run.first + run.count
                    } else {
                        let (behind, left) = tape.cut(&run, bytes);
                        bytes = 0;
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
                self.subscriptions.at_mut(own).expect("linked").cursor = cursor;
                if let Some(guide) = self.guides.at_mut(guide) {
                    guide.delivered(&delivered);
                    if !delivered.is_empty() {
                        guide.moved(end);
                    }
                    delivered.clear();
                }
            }
            own = next;
            if bytes == 0 {
                break;
            }
        }
        self.delivered = delivered;
        // The next turn starts behind the last that was served.
        if subscriptions.count > 1 {
            subscriptions.first = own;
        }
        messages
    }

    /// Whether a connection has something to get.
    pub fn has_pending(&self, subscriptions: Subscriptions) -> bool {
        let mut own = subscriptions.first;
        (0..subscriptions.count).any(|_| {
            let subscription = self.at(own);
            own = subscription.next;
            self.span_of(subscription).is_some_and(|(tape, span)| tape.runs(span).next().is_some())
        })
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

    /// Subscriptions with a rate whose tick has come may move to the end.
    pub(super) fn move_rated(&mut self) {
        let mut moved = std::mem::take(&mut self.moved);
        self.rates.expire(self.now, &mut moved);
        for (own, generation) in moved.drain(..) {
            let Some(subscription) = self.subscriptions.get(own, generation) else { continue };
            let Some(guide) = self.guides.at_mut(subscription.guide) else { continue };
            let topic = self.topics.at(subscription.topic).expect("a subscription has its topic");
            let Some(reader) = &topic.reader else { continue };
            guide.tick(reader.tape(subscription.lane).end(), subscription.is_latest);
            let subscriber = subscription.subscriber;
            let signal = match subscription.state {
                State::Live => Signal::Pending(subscriber),
                State::Fallen => Signal::Attend(subscriber),
                State::Joining | State::CatchingUp => continue,
            };
            self.is_fresh = true;
            self.signals.push(signal);
        }
        self.moved = moved;
    }
}
