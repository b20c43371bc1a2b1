//! Deadlines, keep-alive, and the drain.

use super::slot::{Holds, Phase};
use super::{Command, Shard};
use crate::app::{Handler, Notice};
use crate::base::work::{self, Work};
use crate::base::{Limits, Time};
use crate::connection::Action;
use crate::driver::Driver;
use crate::protocol::{CloseCause, Opcode, Refusal};
use std::time::Duration;

/// Milliseconds between two portions of closes.
const DRAIN_STEP_MS: u64 = 20;

/// A shard that has stood still for so long, stopped or in one turn, finds input that its
/// timers do not know of.
const STALL_MIN: Duration = Duration::from_millis(100);
/// Timers wait for that input as long as the shard has stood still, but no longer than this.
const STALL_WAIT_MAX: Duration = Duration::from_secs(1);

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// When closes begin.
    since: Time,
    /// Nothing is accepted any more.
    is_deaf: bool,
    next_step: Time,
    /// Connections that were open when it began, the last to be closed first.
    open: Vec<u32>,
    total: usize,
    /// Connections whose handlers are yet to be told.
    notices: Vec<u32>,
}

impl Drain {
    /// Whether some handlers are yet to be told.
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }
}

/// When a connection is too old: at its own point of the tenth around the limit, so
/// that connections made together do not end together.
fn too_old(since: Time, index: u32, limits: &Limits) -> Time {
    if limits.age_max_ms == 0 {
        return Time::NEVER;
    }
    // Spread by the fraction of the golden ratio: even for slots in a row.
    let spread = u64::from(index.wrapping_mul(2_654_435_769) >> 16);
    since.plus_millis(limits.age_max_ms * 9 / 10 + limits.age_max_ms * spread / (5 << 16))
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Sets the slot's timer to whatever is due first.
    pub(super) fn set_deadline(&mut self, index: u32) {
        let limits = &self.core.limits;
        let Some(slot) = self.slots.at_mut(index) else { return };
        let deadline = match slot.phase {
            Phase::Open if slot.inbound.expects_head() => {
                let stalled =
                    slot.inbound.keep_alive.heard().plus_millis(limits.handshake_stall_ms);
                match slot.waits_for_us() {
                    true => stalled,
                    false => slot.since.plus_millis(limits.handshake_ms).min(stalled),
                }
            }
            Phase::Open => {
                // Bytes that come move the true deadline; the timer finds out
                // when it fires, so that receiving costs it nothing.
                let idle = slot.inbound.keep_alive.next_check(limits);
                let resume = match slot.holds.has(Holds::RATE) {
                    true => self.rates.resume_at(index),
                    false => Time::NEVER,
                };
                let unused = slot.inbound.keep_alive.unused_at(limits);
                let end = too_old(slot.since, index, limits).min(unused);
                idle.min(slot.own.timer).min(resume).min(end)
            }
            Phase::Closing | Phase::Flushing => slot.since.plus_millis(limits.close_ms),
            Phase::Lingering => slot.since.plus_millis(limits.linger_ms),
            Phase::Ending => return,
        };
        self.wheel.set(index, deadline);
    }

    /// The shard is so much later than it meant to be. If it has stood still, timers wait until
    /// input that has long arrived was taken in, or peers that have answered would be given
    /// up.
    pub(super) fn notice_stall(&mut self, stall: Duration) {
        if stall < STALL_MIN {
            return;
        }
        // However many turns are late, one after the other.
        let last = *self.timers_held_from.get_or_insert(self.core.now) + STALL_WAIT_MAX;
        self.timers_from = (self.core.now + stall.min(STALL_WAIT_MAX)).min(last);
    }

    /// Whether timers have run out, and may.
    pub(super) fn may_expire(&self) -> bool {
        !self.due.is_empty() && self.core.now >= self.timers_from
    }

    pub(super) fn expire_timers(&mut self) {
        if self.accepting.next() <= self.core.now {
            self.accept_more();
        }
        if self.core.now < self.timers_from {
            return;
        }
        self.timers_held_from = None;
        let mut due = std::mem::take(&mut self.due_now);
        self.wheel.expire(self.core.now, &mut due);
        self.due.extend(due.drain(..));
        self.due_now = due;
        let spent = self.core.spent();
        let end = spent + self.budget.timers();
        self.core.begin_share(spent, Work::MAX - spent);
        while let Some(index) = self.due.pop_front() {
            self.core.work += work::LOOK_UP;
            self.expire(index);
            if self.core.spent() >= end || self.is_late() {
                break;
            }
        }
    }

    /// Whether a connection has had its time to end.
    fn is_overdue(&self, index: u32) -> bool {
        let limits = &self.core.limits;
        self.slots.at(index).is_some_and(|slot| {
            let most =
                if slot.phase == Phase::Lingering { limits.linger_ms } else { limits.close_ms };
            slot.since.plus_millis(most) <= self.core.now
        })
    }

    fn expire(&mut self, index: u32) {
        let now = self.core.now;
        let is_overdue = self.is_overdue(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        match slot.phase {
            Phase::Open if slot.inbound.expects_head() => return self.expire_handshake(index),
            Phase::Open if too_old(slot.since, index, &self.core.limits) <= now => {
                self.hit(const { Limits::index_of("age_max_ms") });
                return self.close(index, CloseCause::MaximumAge);
            }
            Phase::Open if slot.inbound.keep_alive.unused_at(&self.core.limits) <= now => {
                self.hit(const { Limits::index_of("idle_max_ms") });
                return self.close(index, CloseCause::Idle);
            }
            Phase::Open => {}
            // It was due in a turn that had no time, and has begun to end since.
            Phase::Closing | Phase::Flushing | Phase::Lingering if !is_overdue => {
                return self.set_deadline(index);
            }
            // The peer does not answer, does not read, or does not stop.
            Phase::Closing | Phase::Flushing => {
                self.hit(const { Limits::index_of("close_ms") });
                return self.terminate(index);
            }
            Phase::Lingering => {
                self.hit(const { Limits::index_of("linger_ms") });
                return self.terminate(index);
            }
            Phase::Ending => return,
        }
        let reasons = [Holds::PUBLICATIONS, Holds::RATE, Holds::WORK, Holds::MEMORY];
        let is_held = reasons.iter().any(|hold| slot.holds.has(*hold));
        // Where its queue is long we wait for it too.
        let is_long = slot.holds.has(Holds::QUEUE);
        if is_held && !(is_long && (slot.holds.has(Holds::WORK) || slot.holds.has(Holds::MEMORY))) {
            // It waits for us, not we for it.
            slot.inbound.keep_alive.hear(now);
        }
        if slot.holds.has(Holds::RATE) && self.rates.resume_at(index) <= now {
            slot.holds.end(Holds::RATE);
            self.read_on(index);
        }
        let slot = self.slots.at_mut(index).expect("looked up above");
        match slot.inbound.keep_alive.check(now, &self.core.limits) {
            Action::Wait(_) => {}
            Action::Ping(payload) => {
                slot.own.outbound.frame(&mut self.core.pool, Opcode::Ping, &payload, None);
                self.mark_dirty(index);
            }
            Action::GiveUp => {
                self.hit(const { Limits::index_of("pong_ms") });
                return self.lost(index);
            }
        }
        let slot = self.slots.at_mut(index).expect("looked up above");
        if slot.own.timer <= now {
            slot.own.timer = Time::NEVER;
            self.call(index, |handler, conn| handler.notice(conn, Notice::Timer));
        }
        self.set_deadline(index);
    }

    /// The request head is not whole: it has had its time, or nothing has come of it
    /// for too long; or neither, and bytes have come since the timer was set.
    fn expire_handshake(&mut self, index: u32) {
        let limits = &self.core.limits;
        let now = self.core.now;
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.waits_for_us() {
            slot.inbound.keep_alive.hear(now);
            return self.set_deadline(index);
        }
        let heard = slot.inbound.keep_alive.heard();
        let limit = if slot.since.plus_millis(limits.handshake_ms) <= self.core.now {
            const { Limits::index_of("handshake_ms") }
        } else if heard.plus_millis(limits.handshake_stall_ms) <= self.core.now {
            const { Limits::index_of("handshake_stall_ms") }
        } else {
            return self.set_deadline(index);
        };
        let is_shaking = slot.channel.as_ref().is_some_and(|channel| channel.is_handshaking());
        self.hit(limit);
        match is_shaking {
            // There is no way to say anything yet.
            true => self.terminate(index),
            false => self.refuse(index, Refusal::Timeout),
        }
    }

    /// The connection has brought something, and may be over its rate now.
    pub(super) fn charge(&mut self, index: u32, messages: u64, bytes: u64) {
        let now = self.core.now;
        let Some(limit) = self.rates.charge(index, messages, bytes, now) else { return };
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase == Phase::Open && slot.holds.add(Holds::RATE) {
            self.hit(limit);
            self.counters().receives_paused.add(1);
            self.read_on(index);
            self.set_deadline(index);
        }
    }

    pub(super) fn has_command(&self) -> bool {
        match self.command.get() {
            0 => false,
            Command::DRAIN => self.drain.is_none(),
            _ => !self.stopped,
        }
    }

    /// Does what the server has told.
    pub(super) fn obey(&mut self) {
        match self.command.get() {
            0 => {}
            Command::DRAIN => self.step_drain(),
            _ => self.stop(),
        }
    }

    /// Ends at once: connections are cut, and the application is told.
    fn stop(&mut self) {
        let left: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        for index in left {
            self.terminate(index);
        }
        self.stopped = true;
    }

    pub(super) fn drain_next(&self) -> Time {
        self.drain.as_ref().map_or(Time::NEVER, |drain| drain.next_step)
    }

    /// Closes the share of connections that is due: evenly over the window, so
    /// that clients do not all come back at once.
    fn step_drain(&mut self) {
        let now = self.core.now;
        if self.drain.is_none() {
            self.begin_drain();
        }
        let limits = &self.core.limits;
        let (window_ms, close_ms) = (limits.drain_ms, limits.close_ms);
        self.give_notices();
        let Some(drain) = &mut self.drain else { return };
        if now >= drain.since && !drain.is_deaf {
            drain.is_deaf = true;
            self.stop_accepting();
        }
        let Some(drain) = &mut self.drain else { return };
        if now >= drain.next_step {
            drain.next_step = now.plus_millis(DRAIN_STEP_MS);
            let elapsed_ms = (now - drain.since).as_millis() as u64;
            let left_ms = window_ms.saturating_sub(elapsed_ms);
            let left = match window_ms {
                0 => 0,
                _ => drain.total * left_ms as usize / window_ms as usize,
            };
            let due = drain.open.split_off(left.min(drain.open.len()));
            let force = elapsed_ms >= window_ms + close_ms;
            for index in due {
                self.close(index, CloseCause::Draining);
            }
            if elapsed_ms >= window_ms {
                self.close_latecomers(force);
            }
        }
        let is_deaf = self.drain.as_ref().is_some_and(|drain| drain.is_deaf);
        // Connections of other shards may read topics whose home this one is: it serves them
        // until the last has gone.
        self.stopped =
            is_deaf && self.slots.is_empty() && self.accepts_nothing() && self.total() == 0;
    }

    fn begin_drain(&mut self) {
        let open: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        // With nobody there, on any shard, nobody needs notice.
        let notice_ms = match self.total() {
            0 => 0,
            _ => self.core.limits.drain_notice_ms,
        };
        let since = self.core.now.plus_millis(notice_ms);
        let total = open.len();
        let notices = open.clone();
        let is_deaf = false;
        self.drain = Some(Drain { since, is_deaf, next_step: since, open, total, notices });
    }

    /// Tells some more handlers that the server is draining: what they queue for that leaves
    /// before there is more of it.
    fn give_notices(&mut self) {
        for _ in 0..self.core.limits.sends_per_turn {
            let Some(index) = self.drain.as_mut().and_then(|drain| drain.notices.pop()) else {
                return;
            };
            self.call(index, |handler, conn| handler.notice(conn, Notice::Draining));
        }
    }

    /// After the window: whoever is still there is closed, or cut.
    fn close_latecomers(&mut self, force: bool) {
        let left: Vec<u32> = self.slots.iter().map(|(index, _)| index).collect();
        for index in left {
            match force {
                true => self.terminate(index),
                false => self.close(index, CloseCause::Draining),
            }
        }
    }
}
