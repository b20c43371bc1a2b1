//! One second of the run, over all threads.

use super::histogram::coarse_histogram;
use super::process::Sample;
use super::second::{Second, Sums};
use hdrhistogram::Histogram;
use std::time::Duration;

/// One second of all threads, and of the server's process.
#[derive(Clone, Debug)]
pub struct Row {
    /// Counted from the start of measuring; none before it.
    pub number: Option<u64>,
    /// Its length: the last one may be shorter than a second.
    pub lasting: Duration,
    pub sums: Sums,
    pub latency: Histogram<u64>,
    /// Connections of each thread that were open at its end.
    pub open: Vec<u32>,
    /// The server at its end.
    pub server: Option<Sample>,
    /// CPU time of the server since the last sample.
    pub server_cpu: Duration,
    /// CPU time of each thread of this program, without waiting for planned times.
    pub busy: Vec<Duration>,
}

impl Row {
    /// A row that no thread has added to.
    pub fn empty(number: Option<u64>, threads: u32) -> Row {
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

    /// Adds a second of one thread.
    pub fn add_second(&mut self, thread: u32, second: &Second) {
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

    /// Adds the rest of the same second.
    pub fn add(&mut self, other: &Row) {
        self.lasting += other.lasting;
        self.sums += other.sums;
        self.latency.add(&other.latency).expect("the same bounds");
        for (busy, other) in self.busy.iter_mut().zip(&other.busy) {
            *busy += *other;
        }
    }
}
