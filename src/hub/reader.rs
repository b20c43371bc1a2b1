//! A topic on a shard that reads it: its subscribers, and a tape per lane in use.

use super::lane::Lanes;
use super::log::Entry;
use super::subscribers::Subscribers;
use super::superseded::Superseded;
use super::tape::{ChunkPool, Tape};

/// One lane's tape.
#[derive(Debug)]
struct LaneTape {
    number: u8,
    readers: u32,
    tape: Tape,
    /// The least of all cursors, while they are gone through.
    slowest: u64,
}

/// The reading side of a topic on one shard.
#[derive(Debug, Default)]
pub struct Reader {
    pub subscribers: Subscribers,
    lanes: Vec<LaneTape>,
    latest_readers: u32,
    /// It is on the list of topics to look after.
    pub is_chore: bool,
    /// The home has said that nothing of its history is left, and nothing came since.
    pub is_silent: bool,
    superseded: Option<Box<Superseded>>,
}

impl Reader {
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

    /// A subscription that read in `lane` has ended. Says by how many bytes that
    /// makes the tapes shorter.
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
        match self.lanes[place].readers {
            0 => self.lanes.swap_remove(place).tape.held_bytes(),
            _ => 0,
        }
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
        self.is_silent = false;
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

    /// A cursor in `lane` is at `cursor`: what lies behind it is still wanted.
    #[inline]
    pub fn wanted_from(&mut self, lane: u8, cursor: u64) {
        let found = self.lanes.iter_mut().find(|known| known.number == lane);
        let slowest = &mut found.expect("a subscription has its lane").slowest;
        *slowest = cursor.min(*slowest);
    }

    /// Every cursor has said what it wants since this was last called: the rest goes.
    pub fn let_go(&mut self, pool: &mut ChunkPool) {
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

    /// Lets go of half of every tape.
    pub fn halve(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.tape.halve());
    }
}
