//! The open model: when messages are planned, however the earlier ones fare.
//!
//! Latency runs from the planned time. A message that is sent late, because the server or
//! this program was held up, has waited since its planned time, as a user would have. A
//! closed loop would have sent it later and called it fast.

use crate::profile::Arrivals;
use crate::profile::values::Step;
use tapecast::base::{Random, Time};

/// Messages that were never sent share a planned time if they are closer together than this.
const TOGETHER_NS: f64 = 10_000.0;

/// The planned times of one thread.
#[derive(Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    /// The rates still to come, the last one first.
    steps: Vec<Step>,
    /// Mean nanoseconds between two messages, and until when that holds.
    interval_ns: f64,
    until_ns: f64,
    start_ns: f64,
    /// When the next is planned, in nanoseconds.
    next_ns: f64,
    random: Random,
}

impl Schedule {
    /// Plans messages from `start` on at the rates of `steps`, which are not empty. Threads
    /// start a share of an interval apart, so that together they are as even as one thread.
    pub fn new(
        arrivals: Arrivals,
        mut steps: Vec<Step>,
        start: Time,
        thread: u32,
        threads: u32,
    ) -> Self {
        steps.reverse();
        let start_ns = start.as_nanos() as f64;
        let mut schedule = Schedule {
            arrivals,
            steps,
            interval_ns: 0.0,
            until_ns: start_ns,
            start_ns,
            next_ns: start_ns,
            random: Random::new(u64::from(thread) + 77),
        };
        schedule.step();
        schedule.next_ns += schedule.interval_ns * f64::from(thread) / f64::from(threads);
        schedule
    }

    /// Moves a schedule that nothing was taken from to another start.
    pub fn from(mut self, start: Time) -> Schedule {
        let moved_ns = start.as_nanos() as f64 - self.start_ns;
        self.next_ns += moved_ns;
        self.until_ns += moved_ns;
        self.start_ns += moved_ns;
        self
    }

    /// Enters the next step where the last one ends.
    fn step(&mut self) {
        while self.next_ns >= self.until_ns
            && let Some(step) = self.steps.pop()
        {
            self.interval_ns = 1e9 / step.per_second;
            self.next_ns = self.until_ns;
            let lasting_ns = step.duration.map(|lasting| lasting.as_nanos() as f64);
            // The last step never ends.
            self.until_ns += lasting_ns.filter(|_| !self.steps.is_empty()).unwrap_or(f64::INFINITY);
        }
    }

    /// When the next message is planned.
    pub fn next(&self) -> Time {
        Time::from_nanos(self.next_ns as u64)
    }

    /// Takes the next message. Returns its planned time.
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
        self.step();
        planned
    }

    /// Takes the next messages until `now` that are so close together that they share a
    /// planned time. Returns that time and their number.
    pub fn take_together(&mut self, now: Time) -> (Time, u64) {
        let left_ns = (now.as_nanos() as f64 - self.next_ns).clamp(0.0, TOGETHER_NS);
        let count = (left_ns / self.interval_ns) as u64;
        if count <= 1 {
            return (self.take(), 1);
        }
        let planned = self.next();
        self.next_ns += count as f64 * self.interval_ns;
        self.step();
        (planned, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::values::Rate;

    fn steps(text: &str) -> Vec<Step> {
        text.parse::<Rate>().unwrap().total(1)
    }

    #[test]
    fn rates_are_kept() {
        for (arrivals, spread) in [(Arrivals::Constant, 0.0), (Arrivals::Poisson, 1.0)] {
            let mut schedule = Schedule::new(arrivals, steps("2000"), Time::ZERO, 1, 4);
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

    #[test]
    fn messages_that_were_never_sent_are_counted_quickly() {
        for (arrivals, rate) in [(Arrivals::Constant, 1e9), (Arrivals::Poisson, 3e3)] {
            let steps = steps(&rate.to_string());
            let mut schedule = Schedule::new(arrivals, steps, Time::ZERO, 0, 1);
            let now = Time::ZERO.plus_millis(1_000);
            let (mut total, mut takes) = (0, 0);
            while schedule.next() <= now {
                let (planned, count) = schedule.take_together(now);
                assert!(planned <= now);
                (total, takes) = (total + count, takes + 1);
            }
            assert!((total as f64 / rate - 1.0).abs() < 0.1, "{total} of {rate}");
            assert!(takes < 200_000, "{takes}");
        }
    }

    #[test]
    fn steps_follow_one_another() {
        let steps = steps("100@1s,0.5@2s,1000");
        let mut schedule = Schedule::new(Arrivals::Constant, steps, Time::ZERO, 0, 1);
        let times: Vec<f64> = std::iter::repeat_with(|| schedule.take().as_nanos() as f64 / 1e9)
            .take_while(|time| *time < 3.9995)
            .collect();
        let within =
            |from: f64, to: f64| times.iter().filter(|time| (from..to).contains(*time)).count();
        assert_eq!((within(0.0, 0.9999), within(0.9999, 2.9999)), (100, 1));
        assert_eq!(within(2.9999, 3.9999), 1_000);
    }
}
