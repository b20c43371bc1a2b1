//! Carries the hub's signals to connections: after a flush, marks those that have something to
//! send; and queues portions of the past for those that catch up.

use super::parts::{Engine, Shard};
use super::state::{CatchUp, Note, Peer, Phase, token};
use crate::app::{Handler, Notice, Publication};
use crate::base::work::Work;
use crate::base::{ConnectionId, Limits};
use crate::driver::Driver;
use crate::hub::{self, Caller, HubError, Signal, Step, Tally, TopicRef};

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Moves the hub one step, and applies its signals to connections.
    pub(super) fn flush_hub(&mut self) {
        let engine = &mut self.engine;
        let waited = engine.links.has_any_waiting();
        engine.links.post_direct();
        if !engine.core.hub.needs_flush() && !engine.core.hub.is_fresh() {
            if engine.queues.resumes_more || waited {
                self.resume_congested();
            }
            return;
        }
        let mut signals = std::mem::take(&mut engine.scratch.signals);
        let work = engine.budget.flush();
        engine.core.hub.flush_within(work, &mut engine.links, &mut signals);
        let spent = engine.core.spent();
        engine.core.begin_share(spent, Work::MAX - spent);
        for signal in signals.drain(..) {
            self.signal(signal);
        }
        self.deliver_direct();
        self.engine.scratch.signals = signals;
        self.resume_congested();
        self.engine.count_tally();
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Pending(index) => {
                self.with_at(index, |engine, peer| engine.mark_dirty(peer));
            }
            Signal::CatchUp(index) => {
                self.with_at(index, |engine, peer| engine.needs_to_catch_up(peer));
            }
            Signal::FellBehind(index) => {
                self.with_at(index, |engine, peer| engine.fell_behind(peer));
            }
            Signal::Subscribed { subscriber, topic, epoch, seq, recovered } => {
                self.with_at(subscriber, |engine, peer| {
                    engine.notify_subscribed(peer, topic, epoch, seq, recovered);
                });
            }
            Signal::Refused { subscriber, topic, error } => {
                self.with_at(subscriber, |engine, peer| {
                    engine.hit(const { Limits::index_of("subscriptions_max") });
                    let topic = &topic;
                    engine.call(peer, |handler, conn| {
                        handler.notice(conn, Notice::Refused { topic, error });
                    });
                });
            }
            Signal::Debt { connection, work } => {
                self.with_named(connection, |engine, peer| engine.owe(peer, work));
            }
            Signal::Published { connection, token, result } => {
                self.with_named(connection, |engine, peer| {
                    if peer.phase == Phase::Open {
                        engine.call(peer, |handler, conn| {
                            handler.notice(conn, Notice::Published { token, result });
                        });
                    }
                });
            }
        }
    }

    /// Works on a connection that the hub names, if it is still there.
    fn with_named(
        &mut self,
        ConnectionId { index, generation, .. }: ConnectionId,
        step: impl FnOnce(&mut Engine<H, D>, &mut Peer<'_, H::Session>),
    ) {
        if self.slots.at(index).is_some() {
            self.with(token(index, generation), step);
        }
    }

    /// Connections that are to catch up get their next portion.
    pub(super) fn catch_up(&mut self) {
        let engine = &mut self.engine;
        if engine.queues.catching_up.is_empty() {
            return;
        }
        let end = engine.core.spent() + engine.budget.replays();
        for _ in 0..engine.queues.catching_up.len() {
            let engine = &mut self.engine;
            if engine.core.spent() >= end || engine.is_late() {
                break;
            }
            let Some(index) = engine.queues.catching_up.pop_front() else { break };
            // The list may name it twice, or it may have ended meanwhile.
            self.with_at(index, |engine, peer| engine.catch_up(peer));
            self.deliver_direct();
        }
        self.engine.count_tally();
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// A connection has subscriptions that are not on their tapes. They catch up once everything
    /// that it was sent before has left, so that no connection has more than a portion in its
    /// queue.
    fn needs_to_catch_up(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.catch_up == CatchUp::None {
            peer.catch_up = CatchUp::Due;
        }
        self.may_catch_up(peer);
    }

    /// If a connection has to catch up and has nothing queued, it does so in this turn: unless
    /// its tapes are next, and have something.
    #[inline]
    pub fn may_catch_up(&mut self, peer: &mut Peer<'_, H::Session>) {
        let is_due = match peer.catch_up {
            CatchUp::None => false,
            CatchUp::Due => true,
            CatchUp::AfterTapes => !self.core.hub.has_pending(peer.state.subscriptions),
        };
        if is_due && !peer.is_blocked() && !peer.has_queued() {
            self.queues.catching_up.push_back(peer.index());
        }
    }

    fn catch_up(&mut self, peer: &mut Peer<'_, H::Session>) {
        // Its queue is sent first, and then this is called again.
        if peer.catch_up == CatchUp::None || peer.is_blocked() || peer.has_queued() {
            return;
        }
        let mut frames = std::mem::take(&mut self.scratch.frames);
        let mut steps = std::mem::take(&mut self.scratch.steps);
        frames.clear();
        let subscriptions = &mut peer.state.subscriptions;
        let again = self.core.hub.catch_up(subscriptions, &mut frames, &mut steps);
        peer.catch_up = match (again, frames.is_empty()) {
            (false, _) => CatchUp::None,
            (true, true) => CatchUp::Due,
            (true, false) => CatchUp::AfterTapes,
        };
        let mut start = 0;
        for step in steps.drain(..) {
            if let Step::Frames { end, messages } = step {
                self.queue_frames(peer, &frames[start..end], messages);
                start = end;
            } else {
                self.step(peer, step);
            }
        }
        self.mark_dirty(peer);
        (self.scratch.frames, self.scratch.steps) = (frames, steps);
    }

    fn queue_frames(&mut self, peer: &mut Peer<'_, H::Session>, frames: &[u8], messages: u64) {
        if !peer.state.outbound.is_ended() && !frames.is_empty() {
            peer.state.outbound.bytes(&mut self.core.pool, frames);
            self.counters().deliveries.add(messages);
        }
    }

    fn step(&mut self, peer: &mut Peer<'_, H::Session>, step: Step) {
        match step {
            Step::Frames { .. } => {}
            Step::Subscribed { topic, epoch, seq, recovered } => {
                self.notify_subscribed(peer, topic, epoch, seq, recovered);
            }
            Step::Marked { topic, mark } => {
                let Some(name) = self.core.hub.name(topic) else { return };
                let name = name.to_owned();
                self.call(peer, |handler, conn| {
                    handler.notice(conn, Notice::Marked { topic: &name, mark });
                });
            }
            Step::FellBehind => self.fell_behind(peer),
        }
    }

    fn notify_subscribed(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        topic: TopicRef,
        epoch: u64,
        seq: u64,
        recovered: bool,
    ) {
        let Some(name) = self.core.hub.name(topic) else { return };
        let name = name.to_owned();
        self.call(peer, |handler, conn| {
            handler.notice(conn, Notice::Subscribed { topic: &name, epoch, seq, recovered });
        });
    }

    /// Another thread has published a message; this shard is the topic's home. That thread does
    /// not know whether the topic has keys: without an answer, the message goes without one.
    pub fn publish_for_thread(
        &mut self,
        publication: Publication,
        may_drop_key: bool,
    ) -> Result<u64, HubError> {
        let Publication { topic, key, removes_key, is_json, kind, payload } = publication;
        let message = kind.message(&payload).expect("it was a message at its publisher");
        let publication = hub::Publication {
            topic: &topic,
            key: key.as_deref(),
            removes_key,
            message,
            is_json,
            receipt: None,
            caller: Caller::Server,
        };
        let published = match self.core.hub.publish_at_home(&publication) {
            Err(HubError::BadKey) if may_drop_key => {
                let keyless = hub::Publication { key: None, removes_key: false, ..publication };
                self.core.hub.publish_at_home(&keyless)
            }
            published => published,
        };
        match published {
            Ok(_) => self.counters().publications.add(1),
            Err(_) => self.counters().publications_refused.add(1),
        }
        published
    }

    /// Counts the hub's events.
    fn count_tally(&mut self) {
        let tally = self.core.hub.tally();
        let Tally { topics_refused, budget_exceeded, gaps, conflations, replayed, .. } = tally;
        let counters = self.counters();
        counters.gaps.add(gaps);
        counters.handler_panics.add(tally.lane_panics);
        counters.conflations.add(conflations);
        counters.replayed.add(replayed);
        counters.members_refused.add(tally.members_refused);
        counters.publications_refused.add(tally.publications_refused);
        if gaps + conflations > 0 {
            self.hit(const { Limits::index_of("tape_bytes_max") });
        }
        if tally.lane_panics > 0 {
            self.note(Note::Panicked, "a lane panicked: its readers get a gap instead");
        }
        if topics_refused > 0 {
            self.hit(const { Limits::index_of("topics_max") });
        }
        if budget_exceeded > 0 {
            self.hit(const { Limits::index_of("topics_bytes_max") });
        }
    }
}
