//! A run from outside: its phases, its threads, and what is seen second by second.

use crate::measure::{Counted, Sums, coarse_histogram};
use crate::payload::Stamp;
use crate::process::{Process, Sample};
use crate::profile::{Profile, Scenario};
use crate::traffic::{Rooms, Stream};
use crate::worker::{self, Failure, Second};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tapecast::base::{Random, Time};

/// How often the coordinator looks.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server that is about to start is waited for, where connections are made again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Connections are opened.
    Opening,
    /// The load has started, and is not measured yet.
    WarmingUp,
    Measuring,
    Over,
}

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    origin: Instant,
    phase: AtomicU8,
    measuring_from: AtomicU64,
    /// Threads whose connections have all opened, or failed to.
    settled: AtomicU32,
    open: AtomicI64,
    /// Threads that have nothing left to do, and when the last of them said so.
    done: AtomicU32,
    done_at: AtomicU64,
    /// A thread can't go on.
    failed: AtomicBool,
    rooms: Vec<Rooms>,
    streams: Vec<Arc<[Stream]>>,
    seconds: Mutex<Vec<(u32, Second)>>,
    seed: u64,
}

/// The first run's beginning, also for those after it: rings count from the first of
/// them too, and are never ahead of a run.
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

impl Shared {
    fn new(profile: &Profile) -> Shared {
        let rooms: Vec<Rooms> = profile
            .groups
            .iter()
            .map(|group| Rooms {
                connections: group.connections,
                rooms: group.rooms,
                publishers: match (group.scenario, group.publishers) {
                    (Scenario::Broadcast | Scenario::Topics, 0) => group.connections,
                    (Scenario::Broadcast | Scenario::Topics, publishers) => publishers,
                    _ => 0,
                },
            })
            .collect();
        let streams = rooms
            .iter()
            .map(|rooms| (0..rooms.publishers).map(|_| Stream::default()).collect())
            .collect();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Shared {
            origin: origin(),
            phase: AtomicU8::new(Phase::Opening as u8),
            measuring_from: AtomicU64::new(0),
            settled: AtomicU32::new(0),
            open: AtomicI64::new(0),
            done: AtomicU32::new(0),
            done_at: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            rooms,
            streams,
            seconds: Mutex::default(),
            seed: since.map_or(1, |since| since.as_nanos() as u64),
        }
    }

    /// The time since the first run began, the same on every thread.
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

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// When measuring started.
    pub fn measuring_from(&self) -> Time {
        Time::from_nanos(self.measuring_from.load(Ordering::Acquire))
    }

    /// A thread's connections have all opened, or failed to.
    pub fn thread_is_settled(&self) {
        self.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// A thread has nothing left to do.
    pub fn thread_is_done(&self) {
        self.done_at.fetch_max(self.now().as_nanos(), Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Release);
    }

    /// So many more connections are open.
    pub fn opened(&self, count: i64) {
        self.open.fetch_add(count, Ordering::Relaxed);
    }

    /// Who is in which room of a group.
    pub fn rooms(&self, group: usize) -> Rooms {
        self.rooms[group]
    }

    /// The publishers of a group.
    pub fn streams(&self, group: usize) -> Arc<[Stream]> {
        Arc::clone(&self.streams[group])
    }

    /// A second of a thread is over.
    pub fn second(&self, thread: u32, second: Second) {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner).push((thread, second));
    }

    /// Tells the publications of this run from those of others.
    pub fn number(&self) -> u16 {
        Random::new(self.seed).number() as u16 & Stamp::RUN_MAX
    }
}

/// One second of the run, over all threads.
#[derive(Clone, Debug)]
pub struct Row {
    /// From the start of measuring; none before.
    pub number: Option<u64>,
    /// How long it was: the last one may be shorter.
    pub lasting: Duration,
    pub sums: Sums,
    pub latency: Histogram<u64>,
    /// Connections of each thread that were open at its end.
    pub open: Vec<u32>,
    /// The server at its end, and what it spent since the last look.
    pub server: Option<Sample>,
    pub server_cpu: Duration,
    /// What each thread of this program spent, without waiting for planned times.
    pub busy: Vec<Duration>,
}

/// What is told while a run goes on.
pub enum News<'a> {
    /// So many of the connections are open.
    Opening { open: i64, of: u32 },
    /// A second is over.
    Second(&'a Row),
    /// A moment has passed in this phase, of so long.
    Progress { phase: Phase, elapsed: Duration, of: Duration },
}

/// What a run found.
#[derive(Debug)]
pub struct Found {
    /// When measuring started, and how long it took.
    pub started: SystemTime,
    pub elapsed: Duration,
    /// Of each group, over all threads.
    pub groups: Vec<GroupFound>,
    pub rows: Vec<Row>,
    /// The server before it was connected to, and at the start and the end of
    /// measuring.
    pub server: Option<[Sample; 3]>,
    /// This program before it connected, and with all connections.
    pub own: [Sample; 2],
    /// How busy each thread was while measuring, from 0 to 1: without waiting for
    /// planned times.
    pub threads: Vec<f64>,
    /// It was ended before its time.
    pub is_interrupted: bool,
    /// How long after `start_at` the load started, because connections were still
    /// being opened.
    pub late: Duration,
    /// Connections that were open when measuring started.
    pub open: i64,
}

/// What a group found.
#[derive(Debug, Default)]
pub struct GroupFound {
    pub counted: Counted,
    pub stalled: Option<Counted>,
    pub per_connection: Vec<u64>,
}

/// Why a run has no result.
#[derive(Debug)]
pub enum RunError {
    Worker(Failure),
    /// The server's process, or this one, can't be looked at.
    Process(u32, std::io::Error),
    /// A thread could not be started.
    Thread(std::io::Error),
    /// It was ended before measuring began.
    Interrupted,
}

impl std::fmt::Display for RunError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::Worker(failure) => failure.fmt(formatter),
            RunError::Process(pid, error) => write!(formatter, "process {pid}: {error}"),
            RunError::Thread(error) => write!(formatter, "can't start a thread: {error}"),
            RunError::Interrupted => formatter.write_str("ended before measuring began"),
        }
    }
}

/// Runs `profile` until its end, or until `stop` is set; tells `tell` what happens.
///
/// # Errors
/// There is no result. Whatever servers do wrong is part of one.
pub fn run(
    profile: &Profile,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<Found, RunError> {
    raise_descriptor_limit();
    let shared = Shared::new(profile);
    let result = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let started = (0..profile.threads).try_for_each(|thread| {
            let shared = &shared;
            let name = format!("load-{thread}");
            let work = move || {
                let result = worker::run(profile, shared, thread);
                if result.is_err() {
                    shared.failed.store(true, Ordering::Relaxed);
                }
                result
            };
            threads.push(std::thread::Builder::new().name(name).spawn_scoped(scope, work)?);
            Ok(())
        });
        let watched = started.map_err(RunError::Thread).and_then(|()| {
            Coordinator {
                profile,
                shared: &shared,
                stop,
                tell,
                rows: BTreeMap::new(),
                looked: None,
            }
            .watch()
        });
        // Also when something went wrong: the threads wait for it.
        shared.enter(Phase::Over);
        let outcomes: Result<Vec<_>, Failure> = threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker does not panic"))
            .collect();
        let outcomes = outcomes.map_err(RunError::Worker)?;
        Ok((watched?, outcomes))
    });
    let (mut found, outcomes): (Found, Vec<_>) = result?;
    found.groups = profile.groups.iter().map(|_| GroupFound::default()).collect();
    for outcome in outcomes {
        for (group, mut outcome) in found.groups.iter_mut().zip(outcome) {
            group.counted.merge(&mut outcome.counted);
            group.per_connection.extend(outcome.per_connection);
            if let Some(mut stalled) = outcome.stalled {
                group.stalled.get_or_insert_default().merge(&mut stalled);
            }
        }
    }
    Ok(found)
}

/// Leads a run through its phases.
struct Coordinator<'a> {
    profile: &'a Profile,
    shared: &'a Shared,
    stop: &'a AtomicBool,
    tell: &'a mut dyn FnMut(News<'_>),
    /// Seconds that not every thread has ended, by number.
    rows: BTreeMap<Option<u64>, (u32, Row)>,
    looked: Option<Sample>,
}

impl Coordinator<'_> {
    fn watch(mut self) -> Result<Found, RunError> {
        let own = Process::own();
        let server = self.profile.server_pid.map(Process::new);
        let server_before = look(server)?;
        let own_before = look(Some(own))?.unwrap_or_default();
        self.until(Phase::Opening, None, &mut Vec::new(), server, |shared, profile| {
            shared.settled.load(Ordering::Relaxed) == profile.threads
        })?;
        let groups = &self.profile.groups;
        let all_stay = groups.iter().all(|group| group.scenario != Scenario::Connect);
        if all_stay && groups.iter().any(|group| group.reconnect.is_some()) {
            let is_there = |shared: &Shared, _: &Profile| shared.open.load(Ordering::Relaxed) > 0;
            self.until(Phase::Opening, Some(PATIENCE), &mut Vec::new(), server, is_there)?;
        }
        let mut late = Duration::ZERO;
        if let Some(at) = self.profile.start_at {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            late = SystemTime::now().duration_since(at).unwrap_or_default();
            self.until(Phase::Opening, Some(left), &mut Vec::new(), server, |_, _| false)?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        let open = self.shared.open.load(Ordering::Relaxed);
        let own_with = look(Some(own))?.unwrap_or_default();
        self.shared.enter(Phase::WarmingUp);
        // Where not one connection could be opened there is nothing to wait for.
        let is_alone = open == 0 && all_stay;
        let warmup = if is_alone { Duration::ZERO } else { self.profile.warmup };
        self.until(Phase::WarmingUp, Some(warmup), &mut Vec::new(), server, |_, _| false)?;
        let server_start = look(server)?;
        self.looked = server_start;
        let (started, from) = (SystemTime::now(), self.shared.now());
        self.shared.measuring_from.store(from.as_nanos(), Ordering::Release);
        self.shared.enter(Phase::Measuring);
        self.rows.clear();
        let mut rows = Vec::new();
        let lasting = if is_alone { LOOK } else { self.profile.duration };
        let is_done = |shared: &Shared, profile: &Profile| {
            shared.done.load(Ordering::Acquire) == profile.threads
        };
        self.until(Phase::Measuring, Some(lasting), &mut rows, server, is_done)?;
        let end = match is_done(self.shared, self.profile) {
            true => Time::from_nanos(self.shared.done_at.load(Ordering::Relaxed)),
            false => self.shared.now(),
        };
        let elapsed = end - from;
        let server_end = look(server).ok().flatten().or(self.looked);
        self.shared.enter(Phase::Over);
        // The last second of every thread comes with its end.
        std::thread::sleep(2 * LOOK);
        self.collect(&mut rows, server);
        for (_, (_, row)) in std::mem::take(&mut self.rows) {
            match rows.last_mut() {
                Some(last) if last.number == row.number => last.add(&row),
                _ if row.number.is_some() => rows.push(row),
                _ => {}
            }
        }
        let threads = (0..self.profile.threads as usize).map(|thread| {
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

    /// Waits for the end of a phase, which comes after a time, when it is done, or
    /// when the run is stopped or a thread has failed.
    fn until(
        &mut self,
        phase: Phase,
        lasting: Option<Duration>,
        rows: &mut Vec<Row>,
        server: Option<Process>,
        is_done: impl Fn(&Shared, &Profile) -> bool,
    ) -> Result<(), RunError> {
        let start = Instant::now();
        let over = |elapsed: Duration| lasting.is_some_and(|lasting| elapsed >= lasting);
        loop {
            let elapsed = start.elapsed();
            let is_stopped = self.stop.load(Ordering::Relaxed);
            let has_failed = self.shared.failed.load(Ordering::Relaxed);
            if over(elapsed) || is_stopped || has_failed || is_done(self.shared, self.profile) {
                return Ok(());
            }
            self.collect(rows, server);
            let open = self.shared.open.load(Ordering::Relaxed);
            (self.tell)(match phase {
                Phase::Opening => News::Opening { open, of: self.profile.connections() },
                phase => News::Progress { phase, elapsed, of: lasting.unwrap_or_default() },
            });
            let left = lasting.map_or(LOOK, |lasting| lasting - elapsed);
            std::thread::sleep(LOOK.min(left));
        }
    }

    /// Takes in the seconds that threads have ended.
    fn collect(&mut self, rows: &mut Vec<Row>, server: Option<Process>) {
        let seconds = std::mem::take(
            &mut *self.shared.seconds.lock().unwrap_or_else(PoisonError::into_inner),
        );
        for (thread, second) in seconds {
            let number = second.number;
            if let Some(last) =
                rows.iter_mut().rfind(|row| row.number == number && number.is_some())
            {
                last.add_second(thread, &second);
                continue;
            }
            let (count, row) = self
                .rows
                .entry(number)
                .or_insert_with(|| (0, Row::empty(number, self.profile.threads)));
            *count += 1;
            row.add_second(thread, &second);
            if *count < self.profile.threads {
                continue;
            }
            let (_, mut row) = self.rows.remove(&number).expect("just added to");
            if let Ok(Some(sample)) = look(server) {
                let before = self.looked.map_or(sample.cpu_ns, |before| before.cpu_ns);
                row.server_cpu = Duration::from_nanos(sample.cpu_ns.saturating_sub(before));
                row.server = Some(sample);
                self.looked = Some(sample);
            }
            (self.tell)(News::Second(&row));
            if row.number.is_some() {
                rows.push(row);
            }
        }
    }
}

impl Row {
    fn empty(number: Option<u64>, threads: u32) -> Row {
        Row {
            number,
            lasting: Duration::ZERO,
            sums: Sums::default(),
            latency: coarse_histogram(),
            open: vec![0; threads as usize],
            server: None,
            server_cpu: Duration::ZERO,
            busy: vec![Duration::ZERO; threads as usize],
        }
    }

    /// Connections of all threads that were open at its end.
    pub fn open(&self) -> u64 {
        self.open.iter().map(|open| u64::from(*open)).sum()
    }

    fn add_second(&mut self, thread: u32, second: &Second) {
        // Threads end their seconds together.
        if thread == 0 {
            self.lasting += second.lasting;
        }
        // A thread may hand in the end of a second by itself.
        self.open[thread as usize] = second.open;
        self.sums += second.sums;
        self.latency.add(&second.latency).expect("the same bounds");
        self.busy[thread as usize] += second.cpu.saturating_sub(second.spun);
    }

    fn add(&mut self, other: &Row) {
        self.lasting += other.lasting;
        self.sums += other.sums;
        self.latency.add(&other.latency).expect("the same bounds");
        for (busy, other) in self.busy.iter_mut().zip(&other.busy) {
            *busy += *other;
        }
    }
}

fn look(process: Option<Process>) -> Result<Option<Sample>, RunError> {
    let Some(process) = process else { return Ok(None) };
    process.sample().map(Some).map_err(|error| RunError::Process(process.pid(), error))
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
