//! One report of runs that several machines made at the same time.

use super::contents::Report;
use super::group::Group;
use super::second::Second;

/// The share of the shorter run that both runs have to have in common.
const OVERLAP_MIN: f64 = 0.5;

impl Report {
    /// Adds the findings of another machine at the same time. Its run began no earlier.
    ///
    /// # Errors
    /// It ran something else, or at another time.
    pub fn merge(&mut self, other: &Report) -> Result<(), String> {
        let names = |report: &Report| -> Vec<(String, String)> {
            let name = |group: &Group| (group.name.clone(), group.scenario.clone());
            report.groups.iter().map(name).collect()
        };
        if names(self) != names(other) {
            return Err("the reports are of different groups of connections".into());
        }
        let overlap = (self.started + self.seconds).min(other.started + other.seconds)
            - self.started.max(other.started);
        if overlap < OVERLAP_MIN * self.seconds.min(other.seconds) {
            return Err(format!(
                "the runs were not at the same time: they share {:.1} of {:.1} seconds; \
                 --start-at lines them up",
                overlap.max(0.0),
                self.seconds.min(other.seconds)
            ));
        }
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            group.merge(other);
        }
        // Seconds of one time become one second.
        let shift = (other.started - self.started).round().max(0.0) as usize;
        for (index, row) in other.rows.iter().enumerate() {
            match self.rows.get_mut(index + shift) {
                Some(mine) => mine.merge(row),
                None => self.rows.push(Second { at: row.at + shift as f64, ..row.clone() }),
            }
        }
        self.open_at_end = self.open_at_end.zip(other.open_at_end).map(|(mine, its)| mine + its);
        self.threads.extend(&other.threads);
        self.started = self.started.min(other.started);
        self.seconds = self.seconds.max(other.seconds);
        self.is_interrupted |= other.is_interrupted;
        self.late = self.late.max(other.late);
        // Only one of the machines can be that of the server.
        self.server = self.server.or(other.server);
        self.own_bytes_per_connection =
            self.own_bytes_per_connection.or(other.own_bytes_per_connection);
        self.name_values();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, second};
    use super::*;
    use crate::measure::Sums;

    #[test]
    fn merged_seconds_are_those_of_one_time() {
        let row = |at: f64, messages: u64| Second {
            at,
            sums: Sums { messages, ..Sums::default() },
            open: 1,
            ..second()
        };
        let mut first = report(Some(1.0), 10, &[0.5], Some(1));
        first.rows = (1..=10).map(|at| row(at.into(), 1)).collect();
        let mut second = Report { started: first.started + 2.0, ..first.clone() };
        second.rows.iter_mut().for_each(|row| row.sums.messages = 10);
        first.merge(&second).unwrap();
        let messages: Vec<u64> = first.rows.iter().map(|row| row.sums.messages).collect();
        assert_eq!(messages, [1, 1, 11, 11, 11, 11, 11, 11, 11, 11, 10, 10]);
        assert_eq!((first.rows[11].at, first.threads.len()), (12.0, 2));
        let total = first.total();
        assert_eq!((total.sent, first.groups[0].rate), (20, Some(2.0)));
        let apart = Report { started: first.started + 9.0, ..second };
        assert!(first.merge(&apart).unwrap_err().contains("not at the same time"));
    }
}
