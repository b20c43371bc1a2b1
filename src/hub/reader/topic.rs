//! A topic on a shard that reads it: its subscribers, a tape per lane in use, and this shard's
//! interest as the topic's home knows it.

use super::lanes::Lanes;
use super::subscribers::Subscribers;
use super::superseded::Superseded;
use super::tape::{ChunkPool, Tape};
use crate::hub::message::Entry;

/// One lane's tape.
#[derive(Debug)]
struct LaneTape {
    number: u8,
    readers: u32,
    tape: Tape,
    /// The least of the cursors that marking has come across.
    slowest: u64,
}

/// How far a topic has come on a shard that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    pub epoch: u64,
    /// The number of the last message that has arrived here.
    pub last: u64,
}

/// This shard's interest as the topic's home knows it: a state, sent when there is room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interest {
    /// The state that the home was sent last.
    pub posted: bool,
    /// The state is queued to be sent again.
    pub queued: bool,
}

/// See the module. It exists from the first subscriber on, until the home has been notified that
/// the last one left.
#[derive(Debug, Default)]
pub struct ReaderTopic {
    pub subscribers: Subscribers,
    lanes: Vec<LaneTape>,
    latest_readers: u32,
    superseded: Option<Box<Superseded>>,
    pub interest: Interest,
    /// Set once the home has answered.
    pub live: Option<Live>,
    /// It is in the list of topics whose subscribers are to be marked.
    pub has_grown: bool,
    /// It is in the list of topics that are due for chores.
    pub is_chore: bool,
    /// The home has reported that no message is left, and none has arrived since.
    pub is_idle: bool,
    /// The same, across a time without subscribers.
    pub was_idle: bool,
}

impl ReaderTopic {
    /// Whether this shard wants the topic's messages.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// The last subscriber has left.
    pub fn close(&mut self) {
        (self.is_chore, self.is_idle) = (false, false);
    }

    /// The number of the last message that has arrived here, 0 without one.
    pub fn last(&self) -> u64 {
        self.live.map_or(0, |live| live.last)
    }

    /// Another subscription reads in `lane`. The next message is number `next`.
    pub fn enter(&mut self, lane: u8, is_latest: bool, next: u64, bytes_max: usize) {
        match self.lanes.iter_mut().find(|known| known.number == lane) {
            Some(known) => known.readers += 1,
            None => {
                let tape = Tape::new(next, bytes_max);
                self.lanes.reserve_exact(1);
                self.lanes.push(LaneTape { number: lane, readers: 1, tape, slowest: u64::MAX });
            }
        }
        if is_latest {
            self.latest_readers += 1;
            self.superseded.get_or_insert_with(|| Box::new(Superseded::new(next)));
        }
    }

    /// A subscription that read in `lane` has ended. Returns by how many bytes the tapes
    /// become shorter.
    pub fn leave(&mut self, lane: u8, is_latest: bool) -> usize {
        if is_latest {
            self.latest_readers -= 1;
            if self.latest_readers == 0 {
                self.superseded = None;
            }
        }
        let Some(place) = self.lanes.iter().position(|known| known.number == lane) else {
            return 0;
        };
        self.lanes[place].readers -= 1;
        if self.lanes[place].readers > 0 {
            return 0;
        }
        self.lanes.swap_remove(place).tape.held_bytes()
    }

    /// The tape of a lane that somebody reads.
    #[inline]
    pub fn tape(&self, lane: u8) -> &Tape {
        let found = self.lanes.iter().find(|known| known.number == lane);
        &found.expect("a subscription has its lane").tape
    }

    /// Which messages a reader of mode `latest` skips.
    #[inline]
    pub fn superseded(&self) -> Option<&Superseded> {
        self.superseded.as_deref()
    }

    /// Appends a message to every lane.
    pub fn append(&mut self, entry: &Entry, topic: &str, lanes: &mut Lanes, pool: &mut ChunkPool) {
        self.is_idle = false;
        for LaneTape { number, tape, .. } in &mut self.lanes {
            tape.append(pool, |out| lanes.encode(*number, topic, entry, out));
        }
        if let Some(superseded) = &mut self.superseded {
            let begin = self.lanes.iter().map(|lane| lane.tape.begin()).min();
            superseded.appended(entry, begin.unwrap_or(entry.seq));
        }
    }

    /// Messages are missing before number `next`: every tape begins anew there.
    pub fn restart(&mut self, next: u64, pool: &mut ChunkPool) {
        for lane in &mut self.lanes {
            lane.tape.restart(next, pool);
        }
        if let Some(superseded) = &mut self.superseded {
            **superseded = Superseded::new(next);
        }
    }

    /// A cursor in `lane` is at `cursor`: the tape keeps what lies behind it.
    #[inline]
    pub fn wanted_from(&mut self, lane: u8, cursor: u64) {
        let found = self.lanes.iter_mut().find(|known| known.number == lane);
        let slowest = &mut found.expect("a subscription has its lane").slowest;
        *slowest = cursor.min(*slowest);
    }

    /// Marking has come across every active cursor since the last call: drops the chunks that
    /// none of them wants.
    pub fn drop_passed(&mut self, pool: &mut ChunkPool) {
        for lane in &mut self.lanes {
            lane.tape.passed(std::mem::replace(&mut lane.slowest, u64::MAX), pool);
        }
    }

    /// Bytes of memory that all tapes take.
    pub fn held_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.tape.held_bytes()).sum()
    }

    /// How many lanes are in use.
    #[cfg(test)]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Evicts half of every tape.
    pub fn halve(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.tape.halve());
    }
}
