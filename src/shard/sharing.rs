//! Shares a turn's work out: each connection gets a share, and its input beyond that waits.
//!
//! Bytes beyond a connection's share are its *backlog*: kept, and served in the turns that
//! follow, backlogs one after the other and each its share again, until nothing is left.
//! Meanwhile the connection is not read from, so it keeps no more than what had been received.
//! Its messages stay in their order, and a request that its handler does in steps
//! ([`Conn::resume_later`]) comes before what follows it.
//!
//! A step that can't be divided may take more than the share. That is a *debt*: for as long as it
//! has taken, others have their turns, and then the connection is read from again.
//!
//! A turn that takes too long by the clock, whatever has been counted, ends at once and leaves
//! the rest for the next one.
//!
//! [`Conn::resume_later`]: crate::Conn::resume_later

use super::parts::{Engine, Shard};
use super::state::{Holds, Note, Peer, Phase};
use crate::app::{Handler, Notice};
use crate::base::Limits;
use crate::base::planted::{Bug, planted};
use crate::base::work::{UNIT, Work};
use crate::driver::Driver;

/// Work above its share that a connection may do before it counts as a debt.
const DEBT_MIN: Work = 250 * UNIT;
/// Work that another shard has done for it in one turn, before that counts as a debt.
const OWED_MIN: Work = 10 * UNIT;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Begins a turn, now.
    pub(super) fn begin_budget(&mut self) {
        let Engine { core, budget, .. } = &mut self.engine;
        // The hub's publications come first.
        budget.begin_turn(core.spent(), core.hub.is_behind(), &core.limits, core.now);
        while let Some(index) = self.engine.budget.take_paid(self.engine.core.now) {
            self.with_at(index, |engine, peer| engine.serve_later(peer));
        }
    }

    /// Serves backlogs, each its share.
    pub(super) fn serve_backlogs(&mut self) {
        let mut count = self.engine.budget.queued();
        if count > 0 {
            self.engine.hit(const { Limits::index_of("turn_work_max") });
        }
        // One in every turn, whatever else there is.
        let mut must = true;
        while count > 0 && !self.engine.is_late() {
            let Engine { core, budget, .. } = &mut self.engine;
            let spent = core.spent();
            let share = budget.share_of_backlogs(spent, count, must);
            core.begin_share(spent, share.unwrap_or(0));
            if share.is_none() {
                return;
            }
            must = false;
            let Some(token) = budget.take_queued() else { return };
            self.with(token, |engine, peer| engine.serve_backlog(peer));
            self.deliver_direct();
            count -= 1;
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// Whether the turn has taken too long by the clock.
    pub fn is_late(&mut self) -> bool {
        let (is_late, is_new) = self.budget.is_late(self.driver.now());
        if is_new {
            self.hit(const { Limits::index_of("turn_ms_max") });
            self.counters().turns_long.add(1);
            self.note(Note::Late, "a turn takes longer than turn_ms_max: the rest waits");
        }
        is_late
    }

    /// Gives the connection that is served next its share of the work that is left, when `count`
    /// are to get one; if it `must` get one, at least the smallest there is. Returns whether it
    /// has a share.
    #[inline]
    pub fn share_received(&mut self, count: usize, must: bool) -> bool {
        let spent = self.core.spent();
        let share = self.budget.share_of_received(spent, count, must);
        self.core.begin_share(spent, share.unwrap_or(0));
        share.is_some()
    }

    /// Keeps bytes that a connection has brought beyond its share.
    pub fn fall_behind(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &[u8]) {
        if peer.phase >= Phase::Flushing {
            return;
        }
        peer.holds.add(Holds::WORK);
        let Engine { core, budget, .. } = self;
        let backlog = budget.backlog(peer.token);
        if !bytes.is_empty() {
            if backlog.bytes.capacity() == 0 {
                backlog.bytes = core.pool.take();
            }
            backlog.bytes.extend_from_slice(bytes);
        }
        let is_due = backlog.due <= core.now;
        let is_long = backlog.bytes.len() - backlog.served > core.limits.receive_buffer_bytes;
        if is_due {
            self.serve_later(peer);
        }
        self.weigh(peer, false);
        self.count_backlogs();
        if is_long {
            self.read_on(peer);
        }
    }

    fn count_backlogs(&self) {
        self.counters().backlogs.set(self.budget.len() as u64);
    }

    /// Its handler continues with a request when the connection is served next.
    pub fn resume_later(&mut self, peer: &mut Peer<'_, H::Session>) {
        self.fall_behind(peer, &[]);
        if let Some(backlog) = self.budget.known(peer.index()) {
            backlog.resumes = true;
        }
    }

    /// Charges a connection for a step that took much more than its share.
    #[inline]
    pub fn incur(&mut self, peer: &mut Peer<'_, H::Session>) {
        let work = self.core.overdraft();
        if work >= DEBT_MIN {
            self.owe(peer, work);
        }
    }

    /// A connection owes so much work, and is not read from for as long.
    pub fn owe(&mut self, peer: &mut Peer<'_, H::Session>, work: Work) {
        if work < OWED_MIN || peer.phase != Phase::Open {
            return;
        }
        self.fall_behind(peer, &[]);
        self.budget.owe(peer.index(), work, self.core.now);
        self.counters().debts.add(1);
        self.hit(const { Limits::index_of("turn_work_max") });
        self.read_on(peer);
    }

    /// Its backlog is served when it is its turn, unless something else holds it up.
    pub fn serve_later(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.holds.is_only(Holds::WORK) {
            self.budget.enqueue(peer.index());
        }
    }

    fn serve_backlog(&mut self, peer: &mut Peer<'_, H::Session>) {
        // Another reason that holds it up queues it again when it is over.
        let is_held = !peer.holds.is_only(Holds::WORK);
        let Some(backlog) = self.budget.dequeued(peer.token) else { return };
        if is_held || backlog.due > self.core.now {
            return;
        }
        let resumes = std::mem::take(&mut backlog.resumes);
        let mut bytes = std::mem::take(&mut backlog.bytes);
        let served = std::mem::take(&mut backlog.served);
        peer.holds.end(Holds::WORK);
        // One that is closing is done with its requests.
        if resumes && peer.phase == Phase::Open {
            self.call(peer, |handler, conn| handler.notice(conn, Notice::Resume));
        }
        let (left, is_behind) = if peer.holds.is_empty() {
            // Without bytes too: an unfinished message may be complete already.
            self.process(peer, &mut bytes[served..])
        } else {
            // Its handler has more to do, or its effects hold the connection up.
            (bytes.len() - served, true)
        };
        if self.budget.known(peer.index()).is_none() {
            // The connection has ended, and its backlog with it.
            return self.give_back(bytes);
        }
        // Its requests may hold it up, before its last bytes or behind them.
        if is_behind || peer.holds.has(Holds::WORK) {
            let served = bytes.len() - left;
            return self.put_back(peer, bytes, served);
        }
        self.give_back(bytes);
        let backlog = self.budget.remove(peer.index()).expect("just looked up");
        self.weigh(peer, false);
        self.count_backlogs();
        if backlog.peer_ended {
            return self.peer_ended(peer);
        }
        self.incur(peer);
        self.read_on(peer);
    }

    /// Puts a connection whose backlog is not yet served behind the others.
    fn put_back(&mut self, peer: &mut Peer<'_, H::Session>, bytes: Vec<u8>, served: usize) {
        let Some(backlog) = self.budget.known(peer.index()) else { return };
        debug_assert!(backlog.bytes.is_empty(), "nothing comes while it is served");
        (backlog.bytes, backlog.served) = (bytes, served);
        peer.holds.add(Holds::WORK);
        if planted(Bug::ForgottenBacklog) {
            return;
        }
        self.weigh(peer, false);
        self.serve_later(peer);
        self.incur(peer);
        self.read_on(peer);
    }

    /// The peer has sent its last byte. Returns whether that counts only behind a backlog.
    pub fn ends_behind_backlog(&mut self, peer: &mut Peer<'_, H::Session>) -> bool {
        let backlog = self.budget.known(peer.index()).filter(|_| peer.holds.has(Holds::WORK));
        match backlog {
            Some(backlog) => {
                backlog.peer_ended = true;
                true
            }
            None => false,
        }
    }

    /// The connection ends: its backlog is dropped.
    pub fn drop_backlog(&mut self, peer: &mut Peer<'_, H::Session>) {
        if peer.holds.end(Holds::WORK)
            && let Some(backlog) = self.budget.remove(peer.index())
        {
            self.give_back(backlog.bytes);
            self.count_backlogs();
        }
    }

    /// Gives a backlog's buffer back to the pool; an empty backlog has none.
    fn give_back(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            self.core.pool.put(bytes);
        }
    }
}
