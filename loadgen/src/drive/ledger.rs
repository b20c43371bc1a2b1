//! Makes rows of the seconds that threads end, and samples the server's process for each.

use super::failure::RunError;
use super::phase::News;
use crate::measure::{Process, Row, Sample, Second};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that are complete, and those that still lack a thread.
pub struct Ledger {
    threads: u32,
    server: Option<Process>,
    /// The last sample of the server.
    sample: Option<Sample>,
    /// Rows by number, with how many threads have added to each.
    pending: BTreeMap<Option<u64>, (u32, Row)>,
    /// Complete rows of the measuring phase.
    rows: Vec<Row>,
}

impl Ledger {
    pub fn new(threads: u32, server: Option<Process>) -> Ledger {
        Ledger { threads, server, sample: None, pending: BTreeMap::new(), rows: Vec::new() }
    }

    /// A sample of the server.
    ///
    /// # Errors
    /// The server can't be sampled.
    pub fn sample(&self) -> Result<Option<Sample>, RunError> {
        sample(self.server)
    }

    /// Starts measuring: earlier rows are dropped. Returns a sample of the server.
    ///
    /// # Errors
    /// The server can't be sampled.
    pub fn start(&mut self) -> Result<Option<Sample>, RunError> {
        self.sample = sample(self.server)?;
        self.pending.clear();
        self.rows.clear();
        Ok(self.sample)
    }

    /// A sample of the server at the end: the last one, if its process has ended.
    pub fn last_sample(&self) -> Option<Sample> {
        sample(self.server).ok().flatten().or(self.sample)
    }

    /// Takes the seconds that threads have ended, and reports each complete row.
    pub fn take(&mut self, seconds: Vec<(u32, Second)>, observe: &mut dyn FnMut(News<'_>)) {
        for (thread, second) in seconds {
            let number = second.number;
            let is_same = |row: &&mut Row| row.number == number && number.is_some();
            if let Some(last) = self.rows.iter_mut().rfind(is_same) {
                last.add_second(thread, &second);
                continue;
            }
            let new = || (0, Row::empty(number, self.threads));
            let (count, row) = self.pending.entry(number).or_insert_with(new);
            *count += 1;
            row.add_second(thread, &second);
            if *count < self.threads {
                continue;
            }
            let (_, mut row) = self.pending.remove(&number).expect("just added to");
            if let Ok(Some(sample)) = sample(self.server) {
                let before = self.sample.map_or(sample.cpu_ns, |before| before.cpu_ns);
                row.server_cpu = Duration::from_nanos(sample.cpu_ns.saturating_sub(before));
                row.server = Some(sample);
                self.sample = Some(sample);
            }
            observe(News::Second(&row));
            if row.number.is_some() {
                self.rows.push(row);
            }
        }
    }

    /// All rows, also those that lack a thread.
    pub fn close(mut self) -> Vec<Row> {
        for (_, (_, row)) in self.pending {
            match self.rows.last_mut() {
                Some(last) if last.number == row.number => last.add(&row),
                _ if row.number.is_some() => self.rows.push(row),
                _ => {}
            }
        }
        self.rows
    }
}

/// Samples a process, if there is one.
///
/// # Errors
/// It has ended, or can't be sampled.
pub fn sample(process: Option<Process>) -> Result<Option<Sample>, RunError> {
    let Some(process) = process else { return Ok(None) };
    process.sample().map(Some).map_err(|error| RunError::Process(process.pid(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Sums, histogram};

    fn second(number: Option<u64>, sent: u64) -> Second {
        Second {
            number,
            lasting: Duration::from_secs(1),
            open: 5,
            sums: Sums { sent, ..Sums::default() },
            latency: histogram(),
            cpu: Duration::from_millis(30),
            spun: Duration::from_millis(10),
        }
    }

    #[test]
    fn a_row_has_the_seconds_of_all_threads_and_the_last_one_the_rest() {
        let mut ledger = Ledger::new(2, None);
        let mut seen = 0;
        let mut take = |ledger: &mut Ledger, seconds| {
            ledger.take(seconds, &mut |_| seen += 1);
        };
        // A second of the warm-up is shown and not kept.
        take(&mut ledger, vec![(0, second(None, 1)), (1, second(None, 1))]);
        take(&mut ledger, vec![(0, second(Some(0), 10)), (0, second(Some(1), 10))]);
        take(&mut ledger, vec![(1, second(Some(0), 20))]);
        // A thread that ends a second twice adds to the same row.
        take(&mut ledger, vec![(1, second(Some(0), 3))]);
        assert_eq!(seen, 2);
        let rows = ledger.close();
        let sent: Vec<u64> = rows.iter().map(|row| row.sums.sent).collect();
        assert_eq!(sent, [33, 10]);
        assert_eq!((rows[0].open(), rows[1].open()), (10, 5));
        assert_eq!(rows[0].lasting, Duration::from_secs(1));
        assert_eq!(rows[0].busy, [20, 40].map(Duration::from_millis));
    }
}
