//! When a second of a thread ends, and the totals at the end of the last one.

use crate::measure::{Second, Sums};
use hdrhistogram::Histogram;
use std::time::Duration;
use tapecast::base::Time;

const SECOND: Duration = Duration::from_secs(1);

/// Divides totals that only grow into seconds.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// The start of measuring, if it has started.
    from: Option<Time>,
    /// The end of the last second, and that of this one.
    last: Time,
    next: Time,
    /// Totals at the end of the last second.
    sums: Sums,
    latency: Option<Histogram<u64>>,
    cpu: Duration,
    spun: Duration,
    /// All time spent waiting for planned times.
    spinning: Duration,
}

impl Stopwatch {
    /// The load starts.
    pub fn begin(&mut self, now: Time) {
        (self.last, self.next) = (now, now + SECOND);
    }

    /// Whether a second is over.
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// The thread waited this long for a planned time.
    pub fn spun(&mut self, lasting: Duration) {
        self.spinning += lasting;
    }

    /// Measuring starts. All totals start at zero, except that of the faults, which are
    /// counted from the very beginning.
    pub fn start(&mut self, from: Time) {
        let (spinning, cpu) = (self.spinning, thread_cpu());
        let next = from + SECOND;
        let sums = Sums { faults: self.sums.faults, ..Sums::default() };
        *self = Stopwatch { from: Some(from), last: from, next, sums, ..Stopwatch::default() };
        (self.spinning, self.spun, self.cpu) = (spinning, spinning, cpu);
    }

    /// Ends a second at these totals.
    pub fn cut(&mut self, now: Time, open: u32, sums: Sums, latency: Histogram<u64>) -> Second {
        let mut of_second = latency.clone();
        if let Some(before) = &self.latency {
            of_second.subtract(before).expect("it only grows");
        }
        let cpu = thread_cpu();
        let second = Second {
            // A moment after the last whole second still belongs to it.
            number: self
                .from
                .map(|from| ((now - from).as_secs_f64().round() as u64).saturating_sub(1)),
            lasting: now - self.last,
            open,
            sums: sums - self.sums,
            latency: of_second,
            cpu: cpu - self.cpu,
            spun: self.spinning - self.spun,
        };
        self.last = now;
        while self.next <= now {
            self.next = self.next + SECOND;
        }
        (self.sums, self.cpu, self.spun) = (sums, cpu, self.spinning);
        self.latency = Some(latency);
        second
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
