//! The verdict of a run: passed, failed or suspicious.
//!
//! A run has failed if a `--fail-if` of the user holds. It is suspicious if the scenario did
//! not deliver all that it promises: otherwise a run in which nothing arrives would end as well
//! as one in which everything does.

use super::bounds::failure;
use super::shortfalls::shortfalls;
use crate::profile::bound::FailIf;
use crate::report::{Judgement, Report, Verdict};

/// Judges a report by the user's bounds and by what its scenarios promise.
pub fn judge(report: &mut Report, fail_if: &[FailIf]) {
    let mut reasons: Vec<String> =
        fail_if.iter().filter_map(|fail_if| failure(fail_if, report)).collect();
    let missed = shortfalls(report);
    let verdict = match (reasons.is_empty(), missed.is_empty()) {
        (false, _) => Verdict::Failed,
        (true, false) => Verdict::Suspicious,
        (true, true) => Verdict::Passed,
    };
    reasons.extend(missed);
    report.judgement = Judgement { verdict, reasons };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Sums;
    use crate::report::tests::{fault, report, second};

    /// Ten seconds at a hundred a second, of which `messages` were answered.
    fn echoes(messages: u64) -> Report {
        let mut report = report(Some(100.0), 1_000, &[0.1], None);
        let group = &mut report.groups[0];
        (group.promised, group.senders, group.figures.messages) = (1_000, 10, messages);
        group.staying = 10;
        report.open_at_end = Some(10);
        report.rows = (1..=10)
            .map(|at| {
                let mut row = second();
                (row.at, row.open) = (f64::from(at), 10);
                row.sums = Sums { messages: messages / 10, sent: 100, ..Sums::default() };
                row
            })
            .collect();
        report.name_values();
        report
    }

    #[track_caller]
    fn check(report: &Report, fail_if: &[&str], verdict: Verdict, reasons: &[&str]) {
        let fail_if: Vec<FailIf> = fail_if.iter().map(|text| text.parse().unwrap()).collect();
        let mut report = report.clone();
        judge(&mut report, &fail_if);
        let judgement = report.judgement;
        assert_eq!(judgement.verdict, verdict, "{judgement:?}");
        assert_eq!(judgement.reasons.len(), reasons.len(), "{judgement:?}");
        for (reason, words) in judgement.reasons.iter().zip(reasons) {
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn promised_messages_that_are_missing_are_suspicious() {
        use Verdict::{Failed, Passed, Suspicious};
        check(&echoes(1_000), &[], Passed, &[]);
        // These may be in flight.
        check(&echoes(990), &[], Passed, &[]);
        check(&echoes(0), &[], Suspicious, &["there were no replies"]);
        check(&echoes(500), &[], Suspicious, &["50 % of the replies are missing: 500 of 1,000"]);
        check(&echoes(1_000), &["errors>0"], Passed, &[]);
        check(&echoes(500), &["throughput<90"], Failed, &["throughput", "50 %"]);
        let mut killed = echoes(1_000);
        killed.rows[5..].iter_mut().for_each(|row| row.sums.messages = 0);
        killed.open_at_end = Some(0);
        let expected = ["0 of 10 connections were open at the end", "the last 5.0 s"];
        check(&killed, &[], Suspicious, &expected);
        let mut broken = echoes(1_000);
        broken.groups[0].figures.faults = vec![fault("closed by the server: 1011", 1)];
        check(&broken, &[], Suspicious, &["1 errors, most often: closed by the server: 1011"]);
        // One fault of many connections is not suspicious.
        broken.groups[0].connections = 1_000;
        check(&broken, &[], Passed, &[]);
    }

    #[test]
    fn a_broadcast_promises_every_reader_every_message() {
        let mut report = echoes(1_000);
        let group = &mut report.groups[0];
        (group.scenario, group.promised, group.senders) = ("broadcast".into(), 10_000, 1);
        let few = "90 % of the deliveries are missing: 1,000 of 10,000";
        check(&report, &[], Verdict::Suspicious, &[few]);
        let group = &mut report.groups[0];
        (group.figures.messages, group.figures.gaps) = (9_995, 5);
        check(&report, &[], Verdict::Suspicious, &["5 messages are missing"]);
    }
}
