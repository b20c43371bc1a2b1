//! The life of a thread: it opens the connections, carries the load, and closes everything.

use super::super::failure::RunError;
use super::super::phase::Phase;
use super::super::shared::Shared;
use super::peer::State;
use super::share::Share;
use super::state::{LEAVING, NAP, Worker};
use crate::measure::GroupFound;
use crate::plan::Plan;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::cmp::Reverse;
use std::time::Duration;

/// How long the backlog of stalled readers may take to arrive.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Runs one thread. Returns the findings of each group's connections on it.
///
/// # Errors
/// There is no ring, or it failed. Faults of servers are counted instead.
pub fn run(plan: &Plan, shared: &Shared, thread: u32) -> Result<Vec<GroupFound>, RunError> {
    if let Some(core) = plan.core {
        let mut set = CpuSet::new();
        set.set(core + thread as usize);
        let _ = sched_setaffinity(None, &set);
    }
    let mut worker = Worker::new(plan, shared, thread)?;
    worker.open_all()?;
    worker.load()?;
    worker.leave()?;
    Ok(worker.shares.into_iter().map(Share::found).collect())
}

impl Worker<'_> {
    /// Opens the connections of all groups but those that connect, over the ramp. Returns when
    /// the load starts.
    fn open_all(&mut self) -> Result<(), RunError> {
        let start = self.now();
        let total = self.peers.len().max(1) as u32;
        for connection in 0..self.peers.len() as u32 {
            if self.shares[usize::from(self.peers[connection as usize].group)].connects() {
                self.census.unsettled -= 1;
                continue;
            }
            let after = self.plan.ramp * connection / total;
            self.agenda.openings.push(Reverse((start + after, connection)));
        }
        let mut is_settled = false;
        while self.shared.phase() == Phase::Opening {
            if self.census.unsettled == 0 && !is_settled {
                is_settled = true;
                self.shared.thread_is_settled();
            }
            let now = self.now();
            self.tend(now);
            let until = self.until(now);
            self.turn(until)?;
        }
        Ok(())
    }

    /// Carries the load, until measuring ends.
    fn load(&mut self) -> Result<(), RunError> {
        let start = self.now();
        self.is_loaded = true;
        self.stopwatch.begin(start);
        for share in &mut self.shares {
            share.traffic.start();
            share.schedule = share.schedule(start, self.thread, self.plan.threads);
        }
        self.agenda.due.extend(0..self.peers.len() as u32);
        loop {
            let phase = self.shared.phase();
            let now = self.now();
            if phase == Phase::Over {
                break;
            }
            if phase == Phase::Measuring && !self.is_measuring {
                self.is_measuring = true;
                self.start_measuring();
            }
            if self.stopwatch.is_due(now) {
                self.cut_second(now);
            }
            self.send_due(now);
            self.send_planned(now);
            self.tend(now);
            let until = self.until(now);
            self.turn(until)?;
            let has_openings = !self.agenda.openings.is_empty();
            if !self.is_done && !has_openings && self.shares.iter().all(Share::is_done) {
                self.is_done = true;
                self.shared.thread_is_done();
            }
        }
        self.count_unanswered();
        Ok(())
    }

    /// Measuring starts: all counts start at zero, and readers that stall stop reading.
    fn start_measuring(&mut self) {
        let from = self.shared.measuring_from();
        for share in &mut self.shares {
            share.counted.start_measuring(!share.connects());
            share.traffic.start_measuring();
            if let Some(stalled) = &mut share.stalled {
                stalled.start_measuring(true);
            }
        }
        for share in self.shares.iter_mut().filter(|share| share.opens_once()) {
            // It was held back until now.
            share.schedule = share.schedule.take().map(|schedule| schedule.from(from));
        }
        self.stopwatch.start(from);
        self.stall(from);
    }

    /// The load is over: counts the messages and connections without an answer.
    fn count_unanswered(&mut self) {
        let now = self.now();
        self.cut_second(now);
        for peer in &self.peers {
            // Connections that were begun and did not complete.
            let share = &mut self.shares[usize::from(peer.group)];
            let is_awaited = match peer.state {
                State::Connecting | State::ShakingHands => share.connects(),
                State::Open => share.traffic.awaits_first(peer.index as usize),
                State::Leaving | State::Ending | State::Absent => false,
            };
            if is_awaited {
                share.counted.unanswered(now - peer.planned, 1);
            }
        }
        for share in &mut self.shares {
            share.traffic.finish(now, false, &mut share.counted);
            // A message that was planned and never sent has waited too.
            let is_done = share.is_done();
            while let Some(schedule) = &mut share.schedule
                && !is_done
                && schedule.next() <= now
            {
                let (planned, count) = schedule.take_together(now);
                share.counted.unanswered(now - planned, count);
                share.counted.unsent += count;
            }
        }
    }

    /// Lets stalled readers catch up, then closes every connection.
    fn leave(&mut self) -> Result<(), RunError> {
        self.is_over = true;
        self.agenda.openings.clear();
        if self.peers.iter().any(|peer| peer.stalls) {
            self.catch_up()?;
        }
        let end = self.now() + LEAVING;
        for connection in 0..self.peers.len() as u32 {
            self.close(connection);
        }
        while self.now() < end && self.peers.iter().any(|peer| peer.state != State::Absent) {
            let until = self.now() + NAP;
            self.turn(until)?;
        }
        Ok(())
    }

    /// Readers that stalled read until nothing more arrives.
    fn catch_up(&mut self) -> Result<(), RunError> {
        (0..self.shares.len()).for_each(|group| self.resume(group));
        let end = self.now() + CATCHING_UP;
        let mut quiet_at = self.now() + CATCHING_UP / 10;
        while self.now() < end.min(quiet_at) {
            let until = self.now() + NAP;
            if self.turn(until)? {
                quiet_at = self.now() + CATCHING_UP / 10;
            }
        }
        let now = self.now();
        for share in &mut self.shares {
            if let Some(stalled) = &mut share.stalled {
                share.traffic.finish(now, true, stalled);
            }
        }
        Ok(())
    }
}
