//! The open model: when messages are to leave, whatever becomes of the earlier
//! ones.
//!
//! Latency runs from the planned time. A message that leaves late because the
//! server, or this program, was held up has waited since then, as a user would
//! have; a closed loop would have sent it later and called it fast.

use tapecast::base::{Random, Time};

/// How messages are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// At random distances, as independent users would.
    Poisson,
}

/// The planned times of one thread.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    /// Mean nanoseconds between two messages.
    interval_ns: f64,
    /// When the next is planned, in nanoseconds.
    next_ns: f64,
    random: Random,
}

impl Schedule {
    /// `per_second` messages a second from `start` on. Threads begin apart by their
    /// share of an interval, so that together they are as even as one.
    pub fn new(
        arrivals: Arrivals,
        per_second: f64,
        start: Time,
        thread: u32,
        threads: u32,
    ) -> Self {
        let interval_ns = 1e9 / per_second;
        let offset = interval_ns * f64::from(thread) / f64::from(threads);
        let next_ns = start.as_nanos() as f64 + offset;
        Schedule { arrivals, interval_ns, next_ns, random: Random::new(u64::from(thread) + 77) }
    }

    /// When the next message is to leave.
    pub fn next(&self) -> Time {
        Time::from_nanos(self.next_ns as u64)
    }

    /// The planned time of the next message, which leaves now.
    pub fn take(&mut self) -> Time {
        let planned = self.next();
        self.next_ns += match self.arrivals {
            Arrivals::Constant => self.interval_ns,
            Arrivals::Poisson => {
                // Uniform in (0, 1], in steps of 2^-53.
                let uniform = ((self.random.number() >> 11) + 1) as f64 / (1u64 << 53) as f64;
                -uniform.ln() * self.interval_ns
            }
        };
        planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kept() {
        for (arrivals, spread) in [(Arrivals::Constant, 0.0), (Arrivals::Poisson, 1.0)] {
            let mut schedule = Schedule::new(arrivals, 2_000.0, Time::ZERO, 1, 4);
            let times: Vec<u64> = (0..100_000).map(|_| schedule.take().as_nanos()).collect();
            assert_eq!(times[0], 125_000);
            let seconds = times[99_999] as f64 / 1e9;
            assert!((seconds - 50.0).abs() < 0.5, "{arrivals:?}: {seconds}");
            let gaps: Vec<f64> =
                times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 500_000.0).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / mean;
            // Of exponential gaps the deviation is the mean.
            let deviation = (variance / gaps.len() as f64).sqrt();
            assert!((deviation - spread).abs() < 0.02, "{arrivals:?}: {deviation}");
        }
    }
}
