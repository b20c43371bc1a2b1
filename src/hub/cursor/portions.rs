//! The arithmetic of catching up: the portion of the past that a cursor gets next, and the end.
//! A snapshot is the state at its number.

use crate::hub::past::{Past, View};

/// Maximum rounds of changes that happen while a snapshot is delivered.
const ROUNDS_MAX: u8 = 8;

/// The progress of a cursor that is not on its tape: which portions it has got.
#[derive(Debug)]
pub struct CatchUp {
    pub view: View,
    /// Everything before this message has been delivered.
    pub next: u64,
    /// How many bytes the tape had ever taken when the cursor last made progress.
    pub at: u64,
    /// It waits until the connection's other topics have got their portions.
    pub is_behind_others: bool,
    /// It has asked to continue from this message, and the home has yet to say whether that
    /// is possible.
    pub recovering: Option<u64>,
    /// The home was asked for the next portion.
    pub is_pulling: bool,
    /// The next portion, which has arrived.
    pub pulled: Option<Past>,
    /// A portion of the snapshot was delivered.
    pub has_begun: bool,
    /// None of the values of the snapshot was missing.
    pub is_complete: bool,
    /// The last message when the first portion of the snapshot was made: changes behind it are
    /// delivered after the values up to it. 0 before that portion.
    pub snapshot_to: u64,
    /// The snapshot is not finished.
    pub has_more: bool,
    /// The last message when the present round of those changes began, and how many rounds
    /// there were.
    pub round_to: u64,
    pub rounds: u8,
}

impl CatchUp {
    /// The view of the past that a cursor at `cursor` gets next, and up to which message.
    ///
    /// A snapshot comes in portions, and its number is that of the last one: first the values
    /// when it began, then what has changed since, removals included, until nothing has. If
    /// changes outrun the delivery, it ends after `ROUNDS_MAX` rounds and is marked incomplete.
    pub fn wanted(&self, cursor: u64) -> (View, u64) {
        match self.view {
            View::Snapshot if self.snapshot_to == 0 => (View::Snapshot, u64::MAX - 1),
            View::Snapshot if self.next <= self.snapshot_to => (View::Snapshot, self.snapshot_to),
            View::Snapshot => (View::Update, u64::MAX - 1),
            view => (view, cursor - 1),
        }
    }

    /// Whether everything before its cursor was delivered.
    pub fn is_through(&self, cursor: u64) -> bool {
        self.next >= cursor && self.recovering.is_none() && !self.has_more
    }

    /// Takes a portion of a snapshot into account. Returns the cursor's new place behind it, if
    /// that has changed.
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
            // Removals that the home has forgotten are on the tape, if anywhere.
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
