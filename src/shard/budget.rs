//! Work is budgeted: a turn does so much of it, and each connection gets a share.
//!
//! A connection has its share of what was received in this turn. What it brings beyond that
//! is its *backlog*: kept, and served in the turns that follow, those with a backlog one
//! after the other and each its share again, until nothing is left. Meanwhile it is not read
//! from, so it keeps no more than what had been received. Its messages stay in their order,
//! and a request that its handler does in steps ([`Conn::resume_later`]) goes on before what
//! comes behind it.
//!
//! What can't be divided may take more than the share. That is a *debt*: for as long as it
//! has taken the others have their turns, and then it is read from again.
//!
//! Work is counted in constants ([`crate::base::work`]), not measured. A turn that takes too
//! long by the clock, whatever has been counted, goes on to its end with what is left of it
//! for the next one.
//!
//! [`Conn::resume_later`]: crate::Conn::resume_later

use super::Shard;
use super::notes::Note;
use super::slot::{Holds, Phase};
use crate::app::{Handler, Notice};
use crate::base::planted::{Bug, planted};
use crate::base::work::{UNIT, Work};
use crate::base::{Limits, Time};
use crate::driver::{Driver, Token};
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

/// A connection's share is at least this part of a turn's work, and no more than this much:
/// below that, going from one to the next costs more than it is worth.
const SHARES_MAX: Work = 64;
const SHARE_MIN: Work = 16 * UNIT;
/// What was received may take this part of a turn's work, in sixteenths, and with backlogs
/// this much; mail from other shards, flushes, replays and timers have theirs beside it.
const RECEIVED: Work = 6;
const BACKLOGS: Work = 10;
const MAIL: Work = 3;
const FLUSH: Work = 5;
const REPLAYS: Work = 2;
const TIMERS: Work = 2;
/// And what was received this part of its own, while the hub does not keep up.
const BEHIND: Work = 4;
/// Work above its share that a connection may do before it counts as a debt.
const DEBT_MIN: Work = 250 * UNIT;
/// Work that another shard has done for it in one turn, before that counts as a debt.
const OWED_MIN: Work = 10 * UNIT;

/// What a connection has brought and is yet to be served.
#[derive(Debug)]
struct Backlog {
    token: Token,
    bytes: Vec<u8>,
    /// `served <= bytes.len()`
    served: usize,
    is_queued: bool,
    /// Its handler goes on with a request before that.
    resumes: bool,
    /// The peer has sent its last byte behind that.
    peer_ended: bool,
    /// Not before this time: until then it is in debt.
    due: Time,
}

/// The work of this turn, and what was left for it.
#[derive(Debug)]
pub(super) struct Budget {
    turn: Work,
    /// Where `Core::spent` may come to with what was received, and with backlogs too.
    received_end: Work,
    backlogs_end: Work,
    /// When the turn has taken too long.
    late: Time,
    backlogs: HashMap<u32, Backlog, RandomState>,
    /// Backlogs to be served, the longest waiting first.
    queue: VecDeque<Token>,
    indebted: BinaryHeap<Reverse<(Time, u32, u32)>>,
}

impl Budget {
    pub fn new() -> Budget {
        Budget {
            turn: 0,
            received_end: 0,
            backlogs_end: 0,
            late: Time::NEVER,
            backlogs: HashMap::default(),
            queue: VecDeque::new(),
            indebted: BinaryHeap::new(),
        }
    }

    /// Whether there are backlogs to be served now.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When the first debt will be paid.
    pub fn next(&self) -> Time {
        self.indebted.peek().map_or(Time::NEVER, |Reverse((due, ..))| *due)
    }

    /// A part of the turn's work.
    fn part(&self, sixteenths: Work) -> Work {
        self.turn / 16 * sixteenths
    }

    pub fn mail(&self) -> Work {
        self.part(MAIL)
    }

    pub fn flush(&self) -> Work {
        self.part(FLUSH)
    }

    pub fn replays(&self) -> Work {
        self.part(REPLAYS)
    }

    pub fn timers(&self) -> Work {
        self.part(TIMERS)
    }

    /// Bytes of a connection's backlog.
    pub fn backlog_bytes(&self, index: u32) -> usize {
        self.backlogs.get(&index).map_or(0, |backlog| backlog.bytes.len())
    }

    /// Buffers that backlogs have.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        self.backlogs.values().filter(|backlog| backlog.bytes.capacity() > 0).count()
    }

    fn enqueue(&mut self, index: u32) {
        if let Some(backlog) = self.backlogs.get_mut(&index)
            && !std::mem::replace(&mut backlog.is_queued, true)
        {
            self.queue.push_back(backlog.token);
        }
    }
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// A turn begins, now.
    pub(super) fn begin_budget(&mut self) {
        let spent = self.core.spent();
        let limits = &self.core.limits;
        // What was published comes first, where the hub does not keep up with it.
        let slower = if self.core.hub.is_behind() { BEHIND } else { 1 };
        let budget = &mut self.budget;
        budget.turn = Work::from(limits.turn_work_max) * UNIT;
        budget.received_end = spent + budget.part(RECEIVED) / slower;
        budget.backlogs_end = spent + budget.part(BACKLOGS) / slower;
        budget.late = self.core.now.plus_millis(limits.turn_ms_max);
        while let Some(Reverse((due, index, generation))) = self.budget.indebted.peek().copied()
            && due <= self.core.now
        {
            self.budget.indebted.pop();
            let backlog = self.budget.backlogs.get(&index);
            if backlog.is_some_and(|backlog| backlog.token.generation == generation) {
                self.serve_later(index);
            }
        }
    }

    /// When the next debt is paid.
    pub fn debts_paid_at(&self) -> Time {
        self.budget.next()
    }

    /// Whether the turn has taken too long by the clock.
    pub(super) fn is_late(&mut self) -> bool {
        let is_late = self.driver.now() >= self.budget.late;
        if is_late && self.budget.late != Time::ZERO {
            // Once a turn; every look after this one finds the same.
            self.budget.late = Time::ZERO;
            self.hit(const { Limits::index_of("turn_ms_max") });
            self.counters().turns_long.add(1);
            self.note(Note::Late, "a turn takes longer than turn_ms_max: what is left waits");
        }
        is_late
    }

    /// Gives the connection that is served next its share of the work that is left, where
    /// `count` are to have one; if it `must` have one, at least the smallest there is. Says
    /// whether it has a share.
    #[inline]
    pub(super) fn share_received(&mut self, count: usize, must: bool) -> bool {
        let end = self.budget.received_end;
        self.share(end, count, must)
    }

    #[inline]
    fn share(&mut self, end: Work, count: usize, must: bool) -> bool {
        let spent = self.core.spent();
        let left = end.saturating_sub(spent);
        let least = SHARE_MIN.min(self.budget.turn / SHARES_MAX).max(1);
        let has_share = left > 0 || must;
        let share = if has_share { (left / count.max(1) as Work).max(least) } else { 0 };
        self.core.begin_share(spent, share);
        has_share
    }

    /// A connection has brought bytes for which it has no share, or had one: they wait.
    pub(super) fn fall_behind(&mut self, index: u32, bytes: &[u8]) {
        let token = self.token(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        if slot.phase >= Phase::Flushing {
            return;
        }
        slot.holds.add(Holds::WORK);
        let fresh = || Backlog {
            token,
            bytes: Vec::new(),
            served: 0,
            is_queued: false,
            resumes: false,
            peer_ended: false,
            due: Time::ZERO,
        };
        let backlog = self.budget.backlogs.entry(index).or_insert_with(fresh);
        debug_assert_eq!(backlog.token, token, "a backlog goes with its connection");
        if !bytes.is_empty() {
            if backlog.bytes.capacity() == 0 {
                backlog.bytes = self.core.pool.take();
            }
            backlog.bytes.extend_from_slice(bytes);
        }
        let is_due = backlog.due <= self.core.now;
        let is_long = backlog.bytes.len() - backlog.served > self.core.limits.receive_buffer_bytes;
        if is_due {
            self.serve_later(index);
        }
        self.weigh(index, false);
        self.counters().backlogs.set(self.budget.backlogs.len() as u64);
        if is_long {
            self.read_on(index);
        }
    }

    /// Its handler goes on with a request when the connection is served next.
    pub(super) fn resume_later(&mut self, index: u32) {
        self.fall_behind(index, &[]);
        if let Some(backlog) = self.budget.backlogs.get_mut(&index) {
            backlog.resumes = true;
        }
    }

    /// A connection that has done much more than its share in one piece pays for it.
    pub(super) fn incur(&mut self, index: u32) {
        let work = self.core.overdraft();
        if work >= DEBT_MIN {
            self.owe(index, work);
        }
    }

    /// A connection owes so much work, and is not read from for as long.
    pub(super) fn owe(&mut self, index: u32, work: Work) {
        let Some(slot) = self.slots.at_mut(index) else { return };
        if work < OWED_MIN || slot.phase != Phase::Open {
            return;
        }
        self.fall_behind(index, &[]);
        let Some(backlog) = self.budget.backlogs.get_mut(&index) else { return };
        backlog.due = backlog.due.max(self.core.now) + Duration::from_nanos(work);
        self.budget.indebted.push(Reverse((backlog.due, index, backlog.token.generation)));
        self.counters().debts.add(1);
        self.hit(const { Limits::index_of("turn_work_max") });
        self.read_on(index);
    }

    /// Its backlog is served when it is its turn, unless something else holds it up.
    pub(super) fn serve_later(&mut self, index: u32) {
        if self.slots.at(index).is_some_and(|slot| slot.holds.is_only(Holds::WORK)) {
            self.budget.enqueue(index);
        }
    }

    /// Serves backlogs, each its share.
    pub(super) fn serve_backlogs(&mut self) {
        let mut count = self.budget.queue.len();
        if count > 0 {
            self.hit(const { Limits::index_of("turn_work_max") });
        }
        // One in every turn, whatever else there is.
        let mut must = true;
        while count > 0 && !self.is_late() {
            let end = self.budget.backlogs_end;
            if !self.share(end, count, must) {
                return;
            }
            must = false;
            let Some(token) = self.budget.queue.pop_front() else { return };
            self.serve_backlog(token);
            count -= 1;
        }
    }

    fn serve_backlog(&mut self, token: Token) {
        let (index, now) = (token.index, self.core.now);
        // What else holds it up has it queued again when that is over.
        let is_held = self.slots.at(index).is_none_or(|slot| !slot.holds.is_only(Holds::WORK));
        let backlog = self.budget.backlogs.get_mut(&index);
        let Some(backlog) = backlog.filter(|backlog| backlog.token == token) else { return };
        backlog.is_queued = false;
        if is_held || backlog.due > now {
            return;
        }
        let resumes = std::mem::take(&mut backlog.resumes);
        let mut bytes = std::mem::take(&mut backlog.bytes);
        let served = std::mem::take(&mut backlog.served);
        if let Some(slot) = self.slots.at_mut(index) {
            slot.holds.end(Holds::WORK);
        }
        // One that is closing is done with its requests.
        if resumes && self.slots.at(index).is_some_and(|slot| slot.phase == Phase::Open) {
            self.call(index, |handler, conn| handler.notice(conn, Notice::Resume));
        }
        let (left, is_behind) = self.serve_bytes(token, &mut bytes[served..]);
        let is_over = !self.is_current(token) || !self.budget.backlogs.contains_key(&index);
        if is_over {
            // So does what it has brought.
            return self.give_back(bytes);
        }
        // Its requests may hold it up, before its last bytes or behind them.
        let has_work = self.slots.at(index).is_some_and(|slot| slot.holds.has(Holds::WORK));
        if is_behind || has_work {
            let served = bytes.len() - left;
            return self.put_back(index, bytes, served);
        }
        self.give_back(bytes);
        let backlog = self.budget.backlogs.remove(&index).expect("just looked up");
        self.weigh(index, false);
        self.counters().backlogs.set(self.budget.backlogs.len() as u64);
        if backlog.peer_ended {
            return self.peer_ended(index);
        }
        self.incur(index);
        self.read_on(index);
    }

    /// Serves bytes of a backlog. Says how many are left, and whether the connection is to be
    /// served further even if none is.
    fn serve_bytes(&mut self, token: Token, bytes: &mut [u8]) -> (usize, bool) {
        let Some(slot) = self.slots.at(token.index).filter(|_| self.is_current(token)) else {
            return (0, false);
        };
        if !slot.holds.is_empty() {
            // Its handler has more to do, or what it has done holds it up.
            return (bytes.len(), true);
        }
        // Without bytes too: a message may have become whole where it is put together.
        self.process(token.index, bytes)
    }

    /// It has not been served to the end, and goes on behind the others.
    fn put_back(&mut self, index: u32, bytes: Vec<u8>, served: usize) {
        let Some(backlog) = self.budget.backlogs.get_mut(&index) else { return };
        debug_assert!(backlog.bytes.is_empty(), "nothing comes while it is served");
        (backlog.bytes, backlog.served) = (bytes, served);
        if let Some(slot) = self.slots.at_mut(index) {
            slot.holds.add(Holds::WORK);
        }
        if planted(Bug::ForgottenBacklog) {
            return;
        }
        self.weigh(index, false);
        self.serve_later(index);
        self.incur(index);
        self.read_on(index);
    }

    /// The peer has sent its last byte. Says whether that counts only behind a backlog.
    pub(super) fn ends_behind_backlog(&mut self, index: u32) -> bool {
        let has_backlog = self.slots.at(index).is_some_and(|slot| slot.holds.has(Holds::WORK));
        match self.budget.backlogs.get_mut(&index).filter(|_| has_backlog) {
            Some(backlog) => {
                backlog.peer_ended = true;
                true
            }
            None => false,
        }
    }

    /// What a connection has brought does not matter any more.
    pub(super) fn drop_backlog(&mut self, index: u32) {
        if let Some(slot) = self.slots.at_mut(index)
            && slot.holds.end(Holds::WORK)
            && let Some(backlog) = self.budget.backlogs.remove(&index)
        {
            self.give_back(backlog.bytes);
            self.counters().backlogs.set(self.budget.backlogs.len() as u64);
        }
    }

    /// Gives a backlog's buffer back to the pool; one that brought nothing has none.
    fn give_back(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            self.core.pool.put(bytes);
        }
    }
}
