//! CPU time, memory, descriptors and threads of a local process, from /proc.

use serde::{Deserialize, Serialize};
use std::{fs, io};

/// A process on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Process(u32);

/// One sample of a process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// CPU time of all threads so far, in nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Open descriptors, without those in a ring's own table.
    pub descriptors: u64,
    /// Running threads.
    pub threads: u64,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Process {
        Process(pid)
    }

    /// This process.
    pub fn own() -> Process {
        Process(std::process::id())
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.0
    }

    /// Samples it.
    ///
    /// # Errors
    /// The process has ended, or this one may not read its /proc.
    pub fn sample(&self) -> io::Result<Sample> {
        let mut sample = Sample::default();
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let task = task?;
            sample.threads += 1;
            // A thread may end between the listing and the read.
            let statistics = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let run_ns = statistics.split_whitespace().next().and_then(|word| word.parse().ok());
            sample.cpu_ns += run_ns.unwrap_or(0);
        }
        let pages = fs::read_to_string(format!("/proc/{}/statm", self.0))?;
        let resident = pages.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        sample.resident_bytes = resident.unwrap_or(0) * rustix::param::page_size() as u64;
        sample.descriptors = fs::read_dir(format!("/proc/{}/fd", self.0))?.count() as u64;
        Ok(sample)
    }
}
