//! Calls of the handler, and their deferred effects. This is the one place that carries them out.
//!
//! Every call goes through `catch_unwind`. A panic closes the connection that it was for with
//! 1011, or refuses its request with 500, and the handler keeps serving the others.

use super::links::Posted;
use super::parts::{Engine, Shard};
use super::state::{Holds, Peer, Phase, token};
use crate::app::{Conn, Deferred, DirectMessage, Handler};
use crate::base::{Limits, ShardId, work};
use crate::connection::SendOutcome;
use crate::driver::Driver;
use crate::protocol::{CloseCause, Kind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    Returned,
    Panicked,
}

/// Makes a call that may panic.
#[inline]
pub(super) fn guard(call: impl FnOnce()) -> Called {
    if catch_unwind(AssertUnwindSafe(call)).is_ok() { Called::Returned } else { Called::Panicked }
}

/// The route that a session counts for; none if the handler panics over that.
pub(super) fn route_of<H: Handler>(handler: &H, session: &H::Session) -> Option<usize> {
    catch_unwind(AssertUnwindSafe(|| handler.route_of(session))).ok()
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Delivers the messages from one connection of this shard to another, and those from other
    /// shards.
    #[inline]
    pub(super) fn deliver_direct(&mut self) {
        if self.engine.queues.direct.is_empty() {
            return;
        }
        for message in std::mem::take(&mut self.engine.queues.direct) {
            // It may arrive long after the connection has ended, and the slot may then belong to
            // another one.
            let name = token(message.to.index, message.to.generation);
            let delivered = self.with(name, |engine, peer| engine.deliver(peer, &message));
            if delivered != Some(true) {
                self.counters().letters_dropped.add(1);
            }
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Calls the handler for a connection that has a session, and carries out the call's
    /// deferred effects.
    pub fn call(
        &mut self,
        peer: &mut Peer<'_, H::Session>,
        call: impl FnOnce(&mut H, &mut Conn<'_, H::Session>),
    ) {
        let name = peer.token;
        let Engine { core, handler, .. } = self;
        let Some((session, context)) = peer.slot().context(core, name) else { return };
        let mut conn = Conn::new(session, context);
        match guard(|| call(handler, &mut conn)) {
            Called::Returned => self.after_call(peer),
            Called::Panicked => self.fail(peer, CloseCause::HandlerPanicked),
        }
    }

    /// Carries out the deferred effects of calls, and checks whether the connection has to
    /// close, to pause or to send.
    pub fn after_call(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.settle_deferred(peer);
        if peer.phase >= Phase::Flushing {
            return;
        }
        if peer.state.outbound.is_overflowed() && peer.phase == Phase::Open {
            return self.close(peer, CloseCause::SlowReader);
        }
        if peer.state.outbound.is_ended() && peer.phase == Phase::Open {
            return self.await_close(peer);
        }
        if peer.state.outbound.queued_bytes() > self.core.limits.queued_bytes_pause
            && peer.holds.add(Holds::QUEUE)
        {
            self.hit(const { Limits::index_of("queued_bytes_pause") });
            self.counters().receives_paused.add(1);
            self.read_on(peer);
        }
        // A queue that an echo in place has emptied is accounted for by a send of nothing.
        if peer.has_queued() || peer.holds.has(Holds::QUEUE) || peer.wants_writable {
            self.mark_dirty(peer);
        }
        // No send follows that would weigh it.
        if peer.is_blocked() {
            self.weigh(peer, false);
        }
    }

    /// Carries out the deferred effects of calls.
    #[inline]
    pub fn settle_deferred(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.core.work += work::deflate(self.core.pool.take_deflated_bytes() as usize);
        self.count_deferred();
        let Deferred { direct, congested, wants_writable, timer_set, resumes, close, .. } =
            &mut self.core.deferred;
        peer.wants_writable |= std::mem::take(wants_writable);
        let (timer_set, resumes) = (std::mem::take(timer_set), std::mem::take(resumes));
        if let Some(close) = close.take() {
            peer.close = Some(close);
        }
        let mut congested = congested.take();
        if !direct.is_empty() {
            for message in std::mem::take(direct) {
                congested = self.send_direct(message).or(congested);
            }
        }
        if let Some(home) = congested
            && peer.holds.add(Holds::PUBLICATIONS)
        {
            self.queues.congested[home.index()].push_back(peer.token);
            self.counters().receives_paused.add(1);
            self.read_on(peer);
        }
        if timer_set {
            self.set_deadline(peer);
        }
        if resumes {
            self.resume_later(peer);
        }
    }

    /// Counts the messages and publications of calls, and those that were refused.
    #[inline]
    fn count_deferred(&mut self) {
        let Engine { core, counters, .. } = self;
        let counters = &counters[core.id.index()];
        let deferred = &mut core.deferred;
        counters.messages_sent.add(std::mem::take(&mut deferred.messages));
        counters.messages_sent_text.add(std::mem::take(&mut deferred.texts));
        counters.publications.add(std::mem::take(&mut deferred.publications));
        let refused = std::mem::take(&mut deferred.publications_refused);
        counters.publications_refused.add(refused);
        let over_budget = std::mem::take(&mut deferred.publications_over_budget);
        if refused > over_budget {
            counters.limits_hit.hit(const { Limits::index_of("publish_overflow_bytes_max") });
        }
        if over_budget > 0 {
            counters.limits_hit.hit(const { Limits::index_of("topics_bytes_max") });
        }
        if std::mem::take(&mut deferred.subscriptions_refused) > 0 {
            counters.limits_hit.hit(const { Limits::index_of("subscriptions_max") });
        }
    }

    /// Sends a message to another connection. Returns the shard at which it waits for room: the
    /// sending connection is not read from until there is some.
    fn send_direct(&mut self, message: DirectMessage) -> Option<ShardId> {
        let shard = message.to.shard;
        if shard == self.core.id {
            self.queues.direct.push(message);
            return None;
        }
        let waiting_bytes_max = self.core.limits.publish_overflow_bytes_max;
        match self.links.send_direct(message, waiting_bytes_max) {
            Posted::Sent => None,
            Posted::Waits => Some(shard),
            Posted::Dropped => {
                self.counters().letters_dropped.add(1);
                self.hit(const { Limits::index_of("publish_overflow_bytes_max") });
                None
            }
        }
    }

    /// Queues a message from another connection. Returns whether there was room for it.
    fn deliver(&mut self, peer: &mut Peer<'_, H::Session>, message: &DirectMessage) -> bool {
        // It came out of a `Message`, so it is one.
        let Some(content) = message.kind.message(&message.payload) else { return true };
        if peer.session.is_none() {
            return false;
        }
        let Engine { core, counters, .. } = self;
        let outcome = peer.state.outbound.message(&mut core.pool, &core.limits, content);
        let is_queued = outcome != SendOutcome::Dropped;
        if is_queued {
            let counters = &counters[core.id.index()];
            counters.messages_sent.add(1);
            counters.messages_sent_text.add(u64::from(message.kind == Kind::Text));
        }
        self.after_call(peer);
        is_queued
    }
}
