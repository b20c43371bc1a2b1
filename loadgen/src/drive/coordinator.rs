//! Leads the threads of a run through its phases, and observes them from outside.

use super::failure::RunError;
use super::ledger::{Ledger, sample};
use super::phase::{News, Phase};
use super::shared::Shared;
use crate::measure::{Found, Process, Row};
use crate::plan::{Group, Plan};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How often the coordinator looks at the threads.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server that is about to start is waited for, where connections reconnect.
const PATIENCE: Duration = Duration::from_secs(3);

/// Leads a run through its phases.
pub struct Coordinator<'a> {
    plan: &'a Plan,
    shared: &'a Shared,
    stop: &'a AtomicBool,
    observe: &'a mut dyn FnMut(News<'_>),
    ledger: Ledger,
}

impl<'a> Coordinator<'a> {
    pub fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        stop: &'a AtomicBool,
        observe: &'a mut dyn FnMut(News<'_>),
    ) -> Coordinator<'a> {
        let ledger = Ledger::new(plan.threads, plan.server_pid.map(Process::new));
        Coordinator { plan, shared, stop, observe, ledger }
    }

    /// Leads the run to its end. Returns its findings, without those of the groups.
    ///
    /// # Errors
    /// A process can't be sampled, or the user stopped the run before measuring.
    pub fn lead(mut self) -> Result<Found, RunError> {
        let own = Some(Process::own());
        let server_before = self.ledger.sample()?;
        let own_before = sample(own)?.unwrap_or_default();
        let late = self.open()?;
        let open = self.shared.open();
        let own_with = sample(own)?.unwrap_or_default();
        // Where no connection could be opened there is nothing to wait for.
        let is_alone = open == 0 && self.plan.all_stay();
        self.shared.enter(Phase::WarmingUp);
        let warmup = if is_alone { Duration::ZERO } else { self.plan.warmup };
        self.wait(Phase::WarmingUp, Some(warmup), |_| false);
        let server_start = self.ledger.start()?;
        let started = SystemTime::now();
        let from = self.shared.measure();
        let threads = self.plan.threads;
        let lasting = if is_alone { LOOK } else { self.plan.duration };
        self.wait(Phase::Measuring, Some(lasting), |shared| shared.done_at(threads).is_some());
        let end = self.shared.done_at(threads).unwrap_or_else(|| self.shared.now());
        let elapsed = end - from;
        let server_end = self.ledger.last_sample();
        self.shared.enter(Phase::Over);
        // Each thread ends its last second now.
        std::thread::sleep(2 * LOOK);
        self.collect();
        let rows = self.ledger.close();
        let threads = (0..threads as usize).map(|thread| {
            let busy = |row: &Row| row.busy.get(thread).copied().unwrap_or_default();
            rows.iter().map(busy).sum::<Duration>().as_secs_f64() / elapsed.as_secs_f64()
        });
        Ok(Found {
            started,
            elapsed,
            groups: Vec::new(),
            threads: threads.collect(),
            rows,
            server: match (server_before, server_start, server_end) {
                (Some(before), Some(start), Some(end)) => Some([before, start, end]),
                _ => None,
            },
            own: [own_before, own_with],
            is_interrupted: self.stop.load(Ordering::Relaxed),
            late,
            open,
        })
    }

    /// Waits until the connections are open and the load may start. Returns how long after
    /// `start_at` that is.
    fn open(&mut self) -> Result<Duration, RunError> {
        let threads = self.plan.threads;
        self.wait(Phase::Opening, None, |shared| shared.settled() == threads);
        let reconnects = |group: &Group| group.opening.reconnect.is_some();
        if self.plan.all_stay() && self.plan.groups.iter().any(reconnects) {
            self.wait(Phase::Opening, Some(PATIENCE), |shared| shared.open() > 0);
        }
        let mut late = Duration::ZERO;
        if let Some(at) = self.plan.start_at {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            late = SystemTime::now().duration_since(at).unwrap_or_default();
            self.wait(Phase::Opening, Some(left), |_| false);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        Ok(late)
    }

    /// Waits for the end of a phase: after a time, when `is_done`, or when the run is stopped
    /// or a thread has failed.
    fn wait(&mut self, phase: Phase, lasting: Option<Duration>, is_done: impl Fn(&Shared) -> bool) {
        let start = Instant::now();
        let is_over = |elapsed: Duration| lasting.is_some_and(|lasting| elapsed >= lasting);
        loop {
            let elapsed = start.elapsed();
            let is_stopped = self.stop.load(Ordering::Relaxed) || self.shared.has_failed();
            if is_over(elapsed) || is_stopped || is_done(self.shared) {
                return;
            }
            self.collect();
            let open = self.shared.open();
            (self.observe)(match phase {
                Phase::Opening => News::Opening { open, of: self.plan.connections() },
                phase => News::Progress { phase, elapsed, of: lasting.unwrap_or_default() },
            });
            let left = lasting.map_or(LOOK, |lasting| lasting - elapsed);
            std::thread::sleep(LOOK.min(left));
        }
    }

    /// Takes the seconds that threads have ended.
    fn collect(&mut self) {
        self.ledger.take(self.shared.take_seconds(), self.observe);
    }
}
