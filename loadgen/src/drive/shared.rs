//! The state that the threads of a run share: the phase, a few counters, the publishers, and
//! the seconds that have ended.

use super::phase::Phase;
use super::traffic::Stream;
use crate::measure::Second;
use crate::plan::{Plan, Stamp};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};
use tapecast::base::{Random, Time};

/// The state that the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    origin: Instant,
    phase: AtomicU8,
    measuring_from: AtomicU64,
    /// Threads whose connections have all opened or failed.
    settled: AtomicU32,
    open: AtomicI64,
    /// Threads that have nothing left to do, and when the last of them finished.
    done: AtomicU32,
    done_at: AtomicU64,
    /// A thread can't continue.
    has_failed: AtomicBool,
    /// The publishers of each group.
    streams: Vec<Arc<[Stream]>>,
    /// Seconds that a thread has ended and the coordinator has not taken.
    seconds: Mutex<Vec<(u32, Second)>>,
    /// Marks the publications of this run.
    run: u16,
}

/// The start of the first run. Later runs count from it too: rings count from the first of
/// them, and are never ahead of a run.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// A number that distinguishes the publications of this run from those of others.
fn random_run() -> u16 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = since.map_or(1, |since| since.as_nanos() as u64);
    Random::new(seed).number() as u16 & Stamp::RUN_MAX
}

impl Shared {
    pub fn new(plan: &Plan) -> Shared {
        let streams = |publishers: u32| (0..publishers).map(|_| Stream::default()).collect();
        Shared {
            origin: origin(),
            phase: AtomicU8::new(Phase::Opening as u8),
            measuring_from: AtomicU64::new(0),
            settled: AtomicU32::new(0),
            open: AtomicI64::new(0),
            done: AtomicU32::new(0),
            done_at: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
            streams: plan.groups.iter().map(|group| streams(group.rooms.publishers)).collect(),
            seconds: Mutex::default(),
            run: random_run(),
        }
    }

    /// The time since the first run started, the same on every thread.
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Opening,
            1 => Phase::WarmingUp,
            2 => Phase::Measuring,
            _ => Phase::Over,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Enters the measuring phase. Returns when it starts.
    pub fn measure(&self) -> Time {
        let from = self.now();
        self.measuring_from.store(from.as_nanos(), Ordering::Release);
        self.enter(Phase::Measuring);
        from
    }

    /// When measuring started.
    pub fn measuring_from(&self) -> Time {
        Time::from_nanos(self.measuring_from.load(Ordering::Acquire))
    }

    /// A thread's connections have all opened or failed.
    pub fn thread_is_settled(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// How many threads are settled.
    pub fn settled(&self) -> u32 {
        self.settled.load(Ordering::Relaxed)
    }

    /// A thread has nothing left to do.
    pub fn thread_is_done(&self) {
        self.done_at.fetch_max(self.now().as_nanos(), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Release);
    }

    /// When the last thread finished, if all of them have.
    pub fn done_at(&self, threads: u32) -> Option<Time> {
        let are_done = self.done.load(Ordering::Acquire) == threads;
        are_done.then(|| Time::from_nanos(self.done_at.load(Ordering::Relaxed)))
    }

    /// A thread can't continue.
    pub fn thread_has_failed(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// Whether a thread can't continue.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// `count` more connections are open.
    pub fn opened(&self, count: i64) {
        self.open.fetch_add(count, Ordering::Relaxed);
    }

    /// Connections that are open.
    pub fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// The publishers of a group.
    pub fn streams(&self, group: usize) -> Arc<[Stream]> {
        Arc::clone(&self.streams[group])
    }

    /// Marks the publications of this run.
    pub fn run(&self) -> u16 {
        self.run
    }

    /// A thread has ended a second.
    pub fn add_second(&self, thread: u32, second: Second) {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).push((thread, second));
    }

    /// Takes the seconds that threads have ended.
    pub fn take_seconds(&self) -> Vec<(u32, Second)> {
        std::mem::take(&mut *self.seconds.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
