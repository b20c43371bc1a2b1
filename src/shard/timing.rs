//! Deadlines and keep-alive.

use super::parts::{Engine, Shard};
use super::state::{Holds, Peer, Phase};
use crate::app::{Handler, Notice};
use crate::base::work::{self, Work};
use crate::base::{Limits, Time};
use crate::connection::Action;
use crate::driver::Driver;
use crate::protocol::{CloseCause, Opcode, Refusal};

/// When a connection is too old: at its own point of the tenth around the limit, so that
/// connections made together do not end together.
fn too_old(since: Time, index: u32, limits: &Limits) -> Time {
    if limits.age_max_ms == 0 {
        return Time::NEVER;
    }
    // Spread by the fraction of the golden ratio: even for slots in a row.
    let spread = u64::from(index.wrapping_mul(2_654_435_769) >> 16);
    since.plus_millis(limits.age_max_ms * 9 / 10 + limits.age_max_ms * spread / (5 << 16))
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Handles the timers that have expired.
    pub(super) fn expire_timers(&mut self) {
        if self.engine.accepting.next() <= self.engine.core.now {
            self.accept_more();
        }
        let engine = &mut self.engine;
        if !engine.timers.expire(engine.core.now) {
            return;
        }
        let spent = engine.core.spent();
        let end = spent + engine.budget.timers();
        engine.core.begin_share(spent, Work::MAX - spent);
        while let Some(index) = self.engine.timers.due.pop_front() {
            self.engine.core.work += work::LOOK_UP;
            self.with_at(index, |engine, peer| engine.expire(peer));
            self.deliver_direct();
            if self.engine.core.spent() >= end || self.engine.is_late() {
                break;
            }
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Sets a connection's timer to whatever is due first.
    pub fn set_deadline(&mut self, peer: &mut Peer<'_, H::Session>) {
        let limits = &self.core.limits;
        let keep_alive = &peer.inbound.keep_alive;
        let deadline = match peer.phase {
            Phase::Open if peer.inbound.expects_head() => {
                let stalled = keep_alive.heard().plus_millis(limits.handshake_stall_ms);
                if peer.waits_for_us() {
                    stalled
                } else {
                    peer.since.plus_millis(limits.handshake_ms).min(stalled)
                }
            }
            Phase::Open => {
                // Received bytes move the true deadline; the timer finds out when it expires,
                // so that receiving costs it nothing.
                let idle = keep_alive.next_check(limits);
                let resume = if peer.holds.has(Holds::RATE) {
                    self.rates.resume_at(peer.index())
                } else {
                    Time::NEVER
                };
                let unused = keep_alive.unused_at(limits);
                let end = too_old(peer.since, peer.index(), limits).min(unused);
                idle.min(peer.state.timer).min(resume).min(end)
            }
            Phase::Closing | Phase::Flushing => peer.since.plus_millis(limits.close_ms),
            Phase::Lingering => peer.since.plus_millis(limits.linger_ms),
            Phase::Ending => return,
        };
        self.timers.wheel.set(peer.index(), deadline);
    }

    /// Whether a connection has had its time to end.
    fn is_overdue(&self, peer: &Peer<'_, H::Session>) -> bool {
        let limits = &self.core.limits;
        let is_lingering = peer.phase == Phase::Lingering;
        let most = if is_lingering { limits.linger_ms } else { limits.close_ms };
        peer.since.plus_millis(most) <= self.core.now
    }

    fn expire(&mut self, peer: &mut Peer<'_, H::Session>) {
        let (now, index) = (self.core.now, peer.index());
        match peer.phase {
            Phase::Open if peer.inbound.expects_head() => return self.expire_handshake(peer),
            Phase::Open if too_old(peer.since, index, &self.core.limits) <= now => {
                self.hit(const { Limits::index_of("age_max_ms") });
                return self.close(peer, CloseCause::MaximumAge);
            }
            Phase::Open if peer.inbound.keep_alive.unused_at(&self.core.limits) <= now => {
                self.hit(const { Limits::index_of("idle_max_ms") });
                return self.close(peer, CloseCause::Idle);
            }
            Phase::Open => {}
            // It was due in a turn that had no time, and has begun to end since.
            Phase::Closing | Phase::Flushing | Phase::Lingering if !self.is_overdue(peer) => {
                return self.set_deadline(peer);
            }
            // The peer does not answer, does not read, or does not stop.
            Phase::Closing | Phase::Flushing => {
                self.hit(const { Limits::index_of("close_ms") });
                return self.terminate(peer);
            }
            Phase::Lingering => {
                self.hit(const { Limits::index_of("linger_ms") });
                return self.terminate(peer);
            }
            Phase::Ending => return,
        }
        let reasons = [Holds::PUBLICATIONS, Holds::RATE, Holds::WORK, Holds::MEMORY];
        let is_held = reasons.iter().any(|hold| peer.holds.has(*hold));
        // If its queue is long, this end waits for it too.
        let is_long = peer.holds.has(Holds::QUEUE);
        if is_held && !(is_long && (peer.holds.has(Holds::WORK) || peer.holds.has(Holds::MEMORY))) {
            // It waits for this end, not this end for it.
            peer.inbound.keep_alive.hear(now);
        }
        if peer.holds.has(Holds::RATE) && self.rates.resume_at(index) <= now {
            peer.holds.end(Holds::RATE);
            self.read_on(peer);
        }
        match peer.inbound.keep_alive.check(now, &self.core.limits) {
            Action::Wait(_) => {}
            Action::Ping(payload) => {
                peer.state.outbound.frame(&mut self.core.pool, Opcode::Ping, &payload, None);
                self.mark_dirty(peer);
            }
            Action::GiveUp => {
                self.hit(const { Limits::index_of("pong_ms") });
                return self.lost(peer);
            }
        }
        if peer.state.timer <= now {
            peer.state.timer = Time::NEVER;
            self.call(peer, |handler, conn| handler.notice(conn, Notice::Timer));
        }
        self.set_deadline(peer);
    }

    /// Handles the timer of an incomplete request head: its time is over, or no byte of it has
    /// arrived for too long; or neither, and bytes have arrived since the timer was set.
    fn expire_handshake(&mut self, peer: &mut Peer<'_, H::Session>) {
        let limits = &self.core.limits;
        let now = self.core.now;
        if peer.waits_for_us() {
            peer.inbound.keep_alive.hear(now);
            return self.set_deadline(peer);
        }
        let heard = peer.inbound.keep_alive.heard();
        let limit = if peer.since.plus_millis(limits.handshake_ms) <= now {
            const { Limits::index_of("handshake_ms") }
        } else if heard.plus_millis(limits.handshake_stall_ms) <= now {
            const { Limits::index_of("handshake_stall_ms") }
        } else {
            return self.set_deadline(peer);
        };
        let is_shaking = peer.channel.as_ref().is_some_and(|channel| channel.is_handshaking());
        self.hit(limit);
        if is_shaking {
            // No answer can be encrypted yet.
            self.terminate(peer);
        } else {
            self.refuse(peer, Refusal::Timeout);
        }
    }

    /// The connection has brought something, and may be over its rate now.
    pub fn charge(&mut self, peer: &mut Peer<'_, H::Session>, messages: u64, bytes: u64) {
        let charged = self.rates.charge(peer.index(), messages, bytes, self.core.now);
        let Some(limit) = charged else { return };
        if peer.phase == Phase::Open && peer.holds.add(Holds::RATE) {
            self.hit(limit);
            self.counters().receives_paused.add(1);
            self.read_on(peer);
            self.set_deadline(peer);
        }
    }
}
