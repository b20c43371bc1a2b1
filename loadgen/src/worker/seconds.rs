//! What was counted, second by second, for those who watch and for charts.

use super::Worker;
use crate::measure::{Sums, histogram};
use crate::profile::Scenario;
use hdrhistogram::Histogram;
use std::time::Duration;
use tapecast::base::Time;

/// One second of one thread.
#[derive(Clone, Debug)]
pub struct Second {
    /// Counted from the start of measuring; before that there is none.
    pub number: Option<u64>,
    pub lasting: Duration,
    /// Connections that are open at its end.
    pub open: u32,
    pub sums: Sums,
    pub latency: Histogram<u64>,
    /// What this thread's core did for it, and how much of that was waiting for a
    /// planned time.
    pub cpu: Duration,
    pub spun: Duration,
}

/// The sums at the end of the last second.
#[derive(Debug, Default)]
pub struct Seconds {
    from: Option<Time>,
    last: Time,
    next: Time,
    sums: Sums,
    latency: Option<Histogram<u64>>,
    cpu: Duration,
    spinning: Duration,
    spun: Duration,
}

impl Seconds {
    /// The load starts.
    pub fn begin(&mut self, now: Time) {
        (self.last, self.next) = (now, now + SECOND);
    }

    /// Whether a second is over.
    pub fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// So long was spent waiting for a planned time.
    pub fn spun(&mut self, lasting: Duration) {
        self.spinning += lasting;
    }

    /// Measuring starts, and all sums with it but that of the faults, which are
    /// counted from the very beginning.
    pub fn start(&mut self, from: Time) {
        let (spinning, cpu) = (self.spinning, thread_cpu());
        let next = from + SECOND;
        let sums = Sums { faults: self.sums.faults, ..Sums::default() };
        *self = Seconds { from: Some(from), last: from, next, sums, ..Seconds::default() };
        (self.spinning, self.spun, self.cpu) = (spinning, spinning, cpu);
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Worker<'_> {
    /// Ends a second, and hands it to those who collect them.
    pub(super) fn cut_second(&mut self, now: Time) {
        let mut latency = histogram();
        let mut sums = Sums::default();
        for share in &mut self.shares {
            let counted = &mut share.counted;
            latency.add(counted.latency.histogram()).expect("the same bounds");
            let of_stalled = share.stalled.as_ref().map_or(0, |stalled| stalled.faults.total());
            let connects = share.group.scenario == Scenario::Connect;
            sums += Sums {
                sent: counted.sent,
                messages: counted.messages,
                bytes: counted.bytes,
                // Those who are there from the start are not news.
                opened: if connects { counted.opened } else { 0 },
                faults: counted.faults.total() + of_stalled,
            };
        }
        let seconds = &mut self.seconds;
        let mut of_second = latency.clone();
        if let Some(before) = &seconds.latency {
            of_second.subtract(before).expect("it only grows");
        }
        let cpu = thread_cpu();
        let second = Second {
            // A moment after the last whole one still belongs to it.
            number: seconds
                .from
                .map(|from| ((now - from).as_secs_f64().round() as u64).saturating_sub(1)),
            lasting: now - seconds.last,
            open: self.open,
            sums: sums - seconds.sums,
            latency: of_second,
            cpu: cpu - seconds.cpu,
            spun: seconds.spinning - seconds.spun,
        };
        seconds.last = now;
        while seconds.next <= now {
            seconds.next = seconds.next + SECOND;
        }
        (seconds.sums, seconds.cpu, seconds.spun) = (sums, cpu, seconds.spinning);
        seconds.latency = Some(latency);
        self.shared.second(self.thread, second);
    }
}
