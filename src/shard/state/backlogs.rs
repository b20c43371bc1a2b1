//! The work of a turn, and the backlogs: input of connections beyond their share of it.
//!
//! Work is counted in constants ([`crate::base::work`]), not measured.

use crate::base::work::{UNIT, Work};
use crate::base::{Limits, Time};
use crate::driver::Token;
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

/// The bounds of a connection's share: at least this part of a turn's work, and no more than
/// this much. Below that, switching connections costs more than it is worth.
const SHARES_MAX: Work = 64;
const SHARE_MIN: Work = 16 * UNIT;
/// Sixteenths of a turn's work for received bytes, and for these and backlogs together. Messages
/// from other shards, flushes, replays and timers have theirs beside it.
const RECEIVED: Work = 6;
const BACKLOGS: Work = 10;
const MAIL: Work = 3;
const FLUSH: Work = 5;
const REPLAYS: Work = 2;
const TIMERS: Work = 2;
/// While the hub is behind, received bytes get this part of their own.
const BEHIND: Work = 4;

/// Bytes that a connection has brought and that are yet to be served.
#[derive(Debug)]
pub struct Backlog {
    pub token: Token,
    pub bytes: Vec<u8>,
    /// `served <= bytes.len()`
    pub served: usize,
    is_queued: bool,
    /// Its handler continues with a request before that.
    pub resumes: bool,
    /// The peer has sent its last byte behind that.
    pub peer_ended: bool,
    /// The connection is in debt until this time.
    pub due: Time,
}

impl Backlog {
    fn new(token: Token) -> Backlog {
        Backlog {
            token,
            bytes: Vec::new(),
            served: 0,
            is_queued: false,
            resumes: false,
            peer_ended: false,
            due: Time::ZERO,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Budget {
    turn: Work,
    /// Where `Core::spent` ends the part of received bytes, and that of backlogs.
    received_end: Work,
    backlogs_end: Work,
    /// When the turn has taken too long.
    late: Time,
    backlogs: HashMap<u32, Backlog, RandomState>,
    /// Backlogs to serve, the longest waiting first.
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

    /// A turn begins after `spent` work. While the hub `is_behind`, less is received.
    pub fn begin_turn(&mut self, spent: Work, is_behind: bool, limits: &Limits, now: Time) {
        let slower = if is_behind { BEHIND } else { 1 };
        self.turn = Work::from(limits.turn_work_max) * UNIT;
        self.received_end = spent + self.part(RECEIVED) / slower;
        self.backlogs_end = spent + self.part(BACKLOGS) / slower;
        self.late = now.plus_millis(limits.turn_ms_max);
    }

    /// Whether the turn has taken too long at `now`, and whether that was not known before.
    pub fn is_late(&mut self, now: Time) -> (bool, bool) {
        let is_late = now >= self.late;
        let is_new = is_late && self.late != Time::ZERO;
        if is_new {
            // Once a turn; every look after this one finds the same.
            self.late = Time::ZERO;
        }
        (is_late, is_new)
    }

    /// The share of the connection that is served next, of the work that is left when `count`
    /// are to get one; none if nothing is left, unless it `must` get the smallest there is.
    pub fn share_of_received(&self, spent: Work, count: usize, must: bool) -> Option<Work> {
        self.share(self.received_end, spent, count, must)
    }

    /// The same for backlogs.
    pub fn share_of_backlogs(&self, spent: Work, count: usize, must: bool) -> Option<Work> {
        self.share(self.backlogs_end, spent, count, must)
    }

    #[inline]
    fn share(&self, end: Work, spent: Work, count: usize, must: bool) -> Option<Work> {
        let left = end.saturating_sub(spent);
        let least = SHARE_MIN.min(self.turn / SHARES_MAX).max(1);
        (left > 0 || must).then(|| (left / count.max(1) as Work).max(least))
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

    /// Backlogs that wait to be served.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The backlog to serve next.
    pub fn take_queued(&mut self) -> Option<Token> {
        self.queue.pop_front()
    }

    /// Puts a connection's backlog behind those that wait to be served.
    pub fn enqueue(&mut self, index: u32) {
        if let Some(backlog) = self.backlogs.get_mut(&index)
            && !std::mem::replace(&mut backlog.is_queued, true)
        {
            self.queue.push_back(backlog.token);
        }
    }

    /// The backlog that was taken from the queue.
    pub fn dequeued(&mut self, token: Token) -> Option<&mut Backlog> {
        let backlog = self.backlogs.get_mut(&token.index);
        let backlog = backlog.filter(|backlog| backlog.token == token)?;
        backlog.is_queued = false;
        Some(backlog)
    }

    /// The backlog of a connection, which gets one if it has none.
    pub fn backlog(&mut self, token: Token) -> &mut Backlog {
        let backlog = self.backlogs.entry(token.index).or_insert_with(|| Backlog::new(token));
        debug_assert_eq!(backlog.token, token, "a backlog goes with its connection");
        backlog
    }

    /// The backlog of a connection that has one.
    pub fn known(&mut self, index: u32) -> Option<&mut Backlog> {
        self.backlogs.get_mut(&index)
    }

    pub fn remove(&mut self, index: u32) -> Option<Backlog> {
        self.backlogs.remove(&index)
    }

    /// How many connections have a backlog.
    pub fn len(&self) -> usize {
        self.backlogs.len()
    }

    /// Bytes of a connection's backlog.
    pub fn backlog_bytes(&self, index: u32) -> usize {
        self.backlogs.get(&index).map_or(0, |backlog| backlog.bytes.len())
    }

    /// A connection owes so much work: it is not served for as long.
    pub fn owe(&mut self, index: u32, work: Work, now: Time) {
        let Some(backlog) = self.backlogs.get_mut(&index) else { return };
        backlog.due = backlog.due.max(now) + Duration::from_nanos(work);
        self.indebted.push(Reverse((backlog.due, index, backlog.token.generation)));
    }

    /// When the first debt will be paid.
    pub fn next(&self) -> Time {
        self.indebted.peek().map_or(Time::NEVER, |Reverse((due, ..))| *due)
    }

    /// A connection that has paid its debt by `now`, if it still has a backlog.
    pub fn take_paid(&mut self, now: Time) -> Option<u32> {
        while let Some(Reverse((due, index, generation))) = self.indebted.peek().copied()
            && due <= now
        {
            self.indebted.pop();
            let backlog = self.backlogs.get(&index);
            if backlog.is_some_and(|backlog| backlog.token.generation == generation) {
                return Some(index);
            }
        }
        None
    }

    /// Buffers that backlogs have.
    #[cfg(test)]
    pub fn buffers(&self) -> usize {
        self.backlogs.values().filter(|backlog| backlog.bytes.capacity() > 0).count()
    }
}
