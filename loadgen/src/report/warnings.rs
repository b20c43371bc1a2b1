//! Warnings that a reader needs before believing the numbers.

use super::contents::Report;
use super::figures::Figures;

/// A load that starts this many seconds after `start_at` is late.
const LATE_MAX: f64 = 0.1;
/// A thread of the generator that is busier than this may be the limit.
const BUSY_MAX: f64 = 0.95;
/// A server that is less busy than this is not the limit.
const SERVER_BUSY_MIN: f64 = 0.9;

impl Report {
    /// Reasons to doubt the numbers, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_interrupted {
            warnings.push(format!("ended early, after {:.1} s of measuring", self.seconds));
        }
        if self.late > LATE_MAX {
            warnings.push(format!(
                "the load started {:.1} s after --start-at: connections were still being opened",
                self.late
            ));
        }
        warnings.extend(self.limit());
        for group in self.groups.iter().filter(|group| !group.figures.keeps_rate()) {
            let Figures { sent, unsent, .. } = group.figures;
            warnings.push(format!(
                "{}the planned rate was not kept: {:.1} of {:.1} messages a second were sent; \
                 latency still runs from the planned times",
                self.place(group),
                sent as f64 / self.seconds,
                (sent + unsent) as f64 / self.seconds
            ));
        }
        warnings
    }

    /// The limit of the throughput, if it was not the server.
    fn limit(&self) -> Option<String> {
        let is_closed = self.sending().any(|group| group.in_flight.is_some());
        let (busiest, server) = (self.busiest(), self.server_busy());
        if busiest > BUSY_MAX && server.is_none_or(|server| server < SERVER_BUSY_MIN) {
            Some(format!(
                "a thread of the generator was busy {:.0} % of the time: the generator is the \
                 limit, not the server; pass more --threads, or use another machine",
                busiest * 100.0
            ))
        } else if is_closed && server.is_some_and(|server| server < SERVER_BUSY_MIN) {
            Some(
                "the server was not busy: it does not limit the throughput; compare CPU per \
                 message"
                    .to_owned(),
            )
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn numbers_that_mean_less_than_they_seem_carry_a_warning() {
        let check = |report: Report, expected: &[&str]| {
            let warnings = report.warnings();
            assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
            for (warning, words) in warnings.iter().zip(expected) {
                assert!(warning.contains(words), "{warning}");
            }
        };
        check(report(Some(100.0), 1_000, &[0.5], Some(2)), &[]);
        let mut late = report(Some(100.0), 900, &[0.5], None);
        late.groups[0].figures.unsent = 100;
        check(late.clone(), &["90.0 of 100.0 messages a second were sent"]);
        // A group that kept its rate does not make up for another.
        let kept = report(Some(10_000.0), 100_000, &[0.5], None).groups.remove(0);
        late.groups.push(kept);
        check(late, &["1: the planned rate was not kept: 90.0 of 100.0"]);
        // Random arrivals may be so few.
        check(report(Some(1.0), 4, &[0.5], None), &[]);
        let limit = "busy 97 % of the time: the generator is the limit, not the server";
        check(report(None, 1_000, &[0.5, 0.97], Some(5)), &[limit]);
        check(report(None, 1_000, &[0.97], None), &[limit]);
        // A server without any time left may be the limit.
        check(report(None, 1_000, &[0.97], Some(10)), &[]);
        check(report(None, 1_000, &[0.5], Some(5)), &["the server was not busy"]);
        let early = Report { is_interrupted: true, late: 2.0, ..report(None, 1, &[0.1], None) };
        check(early, &["ended early", "started 2.0 s after"]);
    }
}
