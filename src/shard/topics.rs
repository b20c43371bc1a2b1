//! What the hub has for connections: after a flush, who has something to get; for
//! cursors that are not on their tapes, portions of the past, into the queue.

use super::Shard;
use super::notes::Note;
use super::slot::{Attention, Phase, token};
use crate::app::{Handler, Notice, Publication};
use crate::base::work::Work;
use crate::base::{ConnectionId, Limits};
use crate::driver::Driver;
use crate::hub::{self, Caller, HubError, Signal, Step, Tally, TopicRef};

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Moves the hub one step on, and does what that means for connections.
    pub(super) fn flush_hub(&mut self) {
        let waited = self.links.has_any_waiting();
        self.links.post_letters();
        if !self.core.hub.needs_flush() && !self.core.hub.is_fresh() {
            if self.resumes_more || waited {
                self.resume_congested();
            }
            return;
        }
        let mut signals = std::mem::take(&mut self.signals);
        self.core.hub.flush_within(self.budget.flush(), &mut self.links, &mut signals);
        let spent = self.core.spent();
        self.core.begin_share(spent, Work::MAX - spent);
        for signal in signals.drain(..) {
            match signal {
                Signal::Pending(index) => self.mark_dirty(index),
                Signal::CatchUp(index) => self.needs_attention(index),
                Signal::FellBehind(index) => self.fell_off(index),
                Signal::Subscribed { subscriber, topic, epoch, seq, recovered } => {
                    self.notify_subscribed(subscriber, topic, epoch, seq, recovered);
                }
                Signal::Refused { subscriber, topic, error } => {
                    self.notify_refused(subscriber, &topic, error);
                }
                Signal::Debt { connection, work } => {
                    let ConnectionId { index, generation, .. } = connection;
                    if self.slots.at(index).is_some() && self.is_current(token(index, generation)) {
                        self.owe(index, work);
                    }
                }
                Signal::Published { connection, token, result } => {
                    self.notify_published(connection, token, result);
                }
            }
        }
        self.signals = signals;
        self.resume_congested();
        self.count_tally();
    }

    /// A connection has subscriptions that are not on their tapes. They are looked
    /// after once everything that it was sent before has left, so that nobody has more
    /// than a portion in the queue.
    fn needs_attention(&mut self, index: u32) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.attention == Attention::None {
            slot.attention = Attention::Due;
        }
        self.may_attend(index);
    }

    /// If a connection needs attention and has nothing queued, this turn gives it: unless
    /// its tapes are next, and have something.
    #[inline]
    pub(super) fn may_attend(&mut self, index: u32) {
        let Some(slot) = self.slots.at(index) else { return };
        let is_due = match slot.attention {
            Attention::None => false,
            Attention::Due => true,
            Attention::AfterTapes => !self.core.hub.has_pending(slot.own.subscriptions),
        };
        if is_due && !slot.is_blocked() && !slot.has_queued() {
            self.attended.push_back(index);
        }
    }

    /// Looks after the connections that need it.
    pub(super) fn attend(&mut self) {
        if self.attended.is_empty() {
            return;
        }
        let end = self.core.spent() + self.budget.replays();
        let count = self.attended.len();
        let mut frames = std::mem::take(&mut self.frames);
        let mut steps = std::mem::take(&mut self.steps);
        for _ in 0..count {
            if self.core.spent() >= end || self.is_late() {
                break;
            }
            let Some(index) = self.attended.pop_front() else { break };
            let Shard { slots, core, .. } = self;
            // It may be there twice, or have ended meanwhile.
            let Some(slot) = slots.at_mut(index) else { continue };
            // Its queue is sent first, and then this is called again.
            if slot.attention == Attention::None || slot.is_blocked() || slot.has_queued() {
                continue;
            }
            frames.clear();
            let subscriptions = &mut slot.own.subscriptions;
            let again = core.hub.catch_up(subscriptions, &mut frames, &mut steps);
            slot.attention = match (again, frames.is_empty()) {
                (false, _) => Attention::None,
                (true, true) => Attention::Due,
                (true, false) => Attention::AfterTapes,
            };
            let name = self.token(index);
            let mut start = 0;
            for step in steps.drain(..) {
                if !self.is_current(name) {
                    break;
                }
                if let Step::Frames { end, messages } = step {
                    self.queue_frames(index, &frames[start..end], messages);
                    start = end;
                    continue;
                }
                self.step(index, step);
            }
            self.mark_dirty(index);
        }
        (self.frames, self.steps) = (frames, steps);
        self.count_tally();
    }

    fn queue_frames(&mut self, index: u32, frames: &[u8], messages: u64) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if !slot.own.outbound.is_ended() && !frames.is_empty() {
            slot.own.outbound.bytes(&mut self.core.pool, frames);
            self.counters().deliveries.add(messages);
        }
    }

    fn step(&mut self, index: u32, step: Step) {
        match step {
            Step::Frames { .. } => {}
            Step::Subscribed { topic, epoch, seq, recovered } => {
                self.notify_subscribed(index, topic, epoch, seq, recovered);
            }
            Step::Marked { topic, mark } => {
                let Some(name) = self.core.hub.name(topic) else { return };
                let name = name.to_owned();
                self.call(index, |handler, conn| {
                    handler.notice(conn, Notice::Marked { topic: &name, mark });
                });
            }
            Step::FellBehind => self.fell_off(index),
        }
    }

    fn notify_subscribed(
        &mut self,
        index: u32,
        topic: TopicRef,
        epoch: u64,
        seq: u64,
        recovered: bool,
    ) {
        let Some(name) = self.core.hub.name(topic) else { return };
        let name = name.to_owned();
        self.call(index, |handler, conn| {
            handler.notice(conn, Notice::Subscribed { topic: &name, epoch, seq, recovered });
        });
    }

    /// A topic matches a pattern of a connection, and there is no room for it.
    fn notify_refused(&mut self, index: u32, topic: &str, error: HubError) {
        self.hit(const { Limits::index_of("subscriptions_max") });
        self.call(index, |handler, conn| {
            handler.notice(conn, Notice::Refused { topic, error });
        });
    }

    fn notify_published(
        &mut self,
        connection: ConnectionId,
        receipt: Option<u64>,
        result: Result<u64, HubError>,
    ) {
        let ConnectionId { index, generation, .. } = connection;
        let is_open = self.slots.at(index).is_some_and(|slot| slot.phase == Phase::Open);
        if is_open && self.is_current(token(index, generation)) {
            self.call(index, |handler, conn| {
                handler.notice(conn, Notice::Published { token: receipt, result });
            });
        }
    }

    /// A thread that is no shard published something; this shard is its home. Whether the
    /// topic has keys was not known there: where nobody could be told, it goes without.
    pub(super) fn publish_for_thread(
        &mut self,
        publication: Publication,
        goes_without_key: bool,
    ) -> Result<u64, HubError> {
        let Publication { topic, key, removes_key, is_json, kind, payload } = publication;
        let message = kind.message(&payload).expect("it was a message where it came from");
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
            Err(HubError::BadKey) if goes_without_key => {
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

    /// Counts what happened in the hub.
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
            self.note(Note::Panicked, "a lane panicked: for those who read in it that is a gap");
        }
        if topics_refused > 0 {
            self.hit(const { Limits::index_of("topics_max") });
        }
        if budget_exceeded > 0 {
            self.hit(const { Limits::index_of("topics_bytes_max") });
        }
    }
}
