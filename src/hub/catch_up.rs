//! A cursor that is not on its tape gets the past in portions: which one comes next, and when
//! it has all of them. This is the arithmetic of [`super::catching_up`]. A snapshot is the
//! state at its number.

use super::log::{Past, View};

/// How often what has changed while a snapshot was handed over is begun anew, at most.
const ROUNDS_MAX: u8 = 8;

/// On the way to its cursor.
#[derive(Debug)]
pub struct CatchUp {
    pub view: View,
    /// Everything before this message has been handed over.
    pub next: u64,
    /// How many bytes had gone onto its tape when it last got something, or what it waited
    /// for came.
    pub at: u64,
    /// It waits until the connection's other topics have the portions that they have asked
    /// for.
    pub is_behind_others: bool,
    /// It has asked to go on behind this message, and it is not known yet whether
    /// that can be.
    pub recovering: Option<u64>,
    /// The home was asked for the next portion.
    pub is_pulling: bool,
    /// The next portion, which has come.
    pub pulled: Option<Past>,
    /// A portion of the snapshot was handed over.
    pub has_begun: bool,
    /// None of the values of the snapshot was missing.
    pub is_complete: bool,
    /// The last message when the first portion of the snapshot was made: what changed behind
    /// it is handed over after the values up to it. 0 before that portion.
    pub snapshot_to: u64,
    /// There is more for the snapshot than was handed over.
    pub has_more: bool,
    /// The last message when what is handed over of those changes was begun, and how often
    /// that was.
    pub round_to: u64,
    pub rounds: u8,
}

impl CatchUp {
    /// The view of the past that it gets next, and up to which message. Its cursor is at
    /// `cursor`.
    ///
    /// A snapshot comes in portions, and its number is that of the last: first the values when
    /// it began, then what has changed since, removals too, until nothing has. Where more
    /// changes all the time than is handed over, it ends nevertheless, and says that it is not
    /// complete.
    pub fn wanted(&self, cursor: u64) -> (View, u64) {
        match self.view {
            View::Snapshot if self.snapshot_to == 0 => (View::Snapshot, u64::MAX - 1),
            View::Snapshot if self.next <= self.snapshot_to => (View::Snapshot, self.snapshot_to),
            View::Snapshot => (View::Update, u64::MAX - 1),
            view => (view, cursor - 1),
        }
    }

    /// Whether everything before its cursor was handed over.
    pub fn is_through(&self, cursor: u64) -> bool {
        self.next >= cursor && self.recovering.is_none() && !self.has_more
    }

    /// Takes a portion of a snapshot into account. Returns where the cursor goes on behind it,
    /// if that has changed.
    pub fn take_portion(&mut self, past: &mut Past, cursor: u64) -> Option<u64> {
        if self.snapshot_to == 0 {
            self.snapshot_to = past.last;
            self.has_more = past.next <= past.last;
            return Some(past.last + 1);
        }
        let is_update = self.next > self.snapshot_to;
        self.has_more = past.next <= past.last;
        if !is_update {
            return None;
        }
        if past.missed > 0 {
            // Removals that the home knows of no more are on the tape, if anywhere.
            past.entries.clear();
            past.next = self.next.max(cursor);
            (self.is_complete, self.has_more) = (false, false);
            return Some(past.next);
        }
        if !self.has_more {
            return Some(past.next);
        }
        if past.next > self.round_to {
            self.round_to = past.last;
            self.rounds += 1;
        }
        if self.rounds < ROUNDS_MAX {
            return None;
        }
        (self.is_complete, self.has_more) = (false, false);
        Some(past.next)
    }

    pub fn new(view: View, next: u64, at: u64) -> CatchUp {
        CatchUp {
            view,
            next,
            at,
            is_behind_others: false,
            recovering: None,
            is_pulling: false,
            pulled: None,
            has_begun: false,
            is_complete: true,
            snapshot_to: 0,
            has_more: false,
            round_to: 0,
            rounds: 0,
        }
    }
}
