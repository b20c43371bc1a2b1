//! The verdict of a run: passed, failed or suspicious.
//!
//! It has failed if an objective of the user's (`--fail-if`) was missed. It is suspicious if
//! the scenario did not deliver all that it promises: a run in which nothing arrives would otherwise end as
//! well as one in which everything does. Messages that may be under way at the end are
//! not held against it.

use super::{Figures, Group, Report, amount};
use crate::verdict::FailIf;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a run has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Passed,
    /// An objective was missed.
    Failed,
    /// The scenario did not deliver all that it promises.
    Suspicious,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Suspicious => "suspicious",
        })
    }
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judgement {
    pub verdict: Verdict,
    /// Nothing where it has passed.
    pub reasons: Vec<String>,
}

/// The share of the promised messages that may be missing.
const MISSING_MAX: f64 = 0.05;
/// Connections or messages that may go wrong, as a share.
const FAULTS_MAX: f64 = 0.01;
/// A silence at the end of a run says something if so many messages would have come in it.
const SILENT_MESSAGES_MIN: f64 = 20.0;
/// In the open model the same, of messages that were sent in it.
const SILENT_SENT_MIN: u64 = 5;
/// In the open model, messages that may be under way at the end whatever the latency is.
const UNDER_WAY_MIN: f64 = 2.0;
/// A connection without a reply says something if the one in the middle has so many.
const USUAL_MIN: u64 = 20;

/// Judges a report by the objectives and by what its scenarios promise.
pub fn judge(report: &Report, fail_if: &[FailIf]) -> Judgement {
    let mut reasons: Vec<String> = fail_if.iter().filter_map(|it| it.failure(report)).collect();
    let has_failed = !reasons.is_empty();
    let missed = shortfalls(report);
    let verdict = match (has_failed, missed.is_empty()) {
        (true, _) => Verdict::Failed,
        (false, true) => Verdict::Passed,
        (false, false) => Verdict::Suspicious,
    };
    reasons.extend(missed);
    Judgement { verdict, reasons }
}

/// The ways in which a run fell short of its scenarios, in words.
fn shortfalls(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    for group in &report.groups {
        let name = match report.groups.len() {
            1 => String::new(),
            _ => format!("{}: ", group.name),
        };
        missed.extend(of_group(group, report.seconds).into_iter().map(|it| name.clone() + &it));
    }
    missed.extend(connections_at_the_end(report));
    missed.extend(silence_at_the_end(report));
    missed
}

fn of_group(group: &Group, seconds: f64) -> Vec<String> {
    let figures = &group.figures;
    let mut missed = Vec::new();
    let is_idle = group.scenario == "idle";
    let what = match group.scenario.as_str() {
        "broadcast" | "topics" => "deliveries",
        "connect" => "connections that did what they came for",
        _ => "replies",
    };
    if is_idle && figures.opened == 0 {
        missed.push("no connection was opened".to_owned());
    } else if !is_idle && figures.messages == 0 {
        let is_early = group.in_flight.is_none()
            && (figures.sent, figures.unanswered, figures.errors()) == (0, 0, 0);
        missed.push(match is_early {
            true => "no message was due".to_owned(),
            false => format!("there were no {what}"),
        });
    } else if let Some(share) = missing_share(group, seconds) {
        let (got, promised) = (figures.messages as f64, group.promised as f64);
        missed.push(format!(
            "{:.0} % of the {what} did not come: {} of {}",
            share * 100.0,
            amount(got),
            amount(promised)
        ));
    }
    // Of one that was never open, there is an error.
    let is_alike = group.connection_min > 0 || group.connection_median < USUAL_MIN;
    if group.scenario == "echo" && !is_alike && figures.errors() == 0 {
        let usual = amount(group.connection_median as f64);
        missed.push(format!("a connection got no reply, and the one in the middle {usual}"));
    }
    if figures.gaps > 0 {
        missed.push(format!("{} messages were passed over", amount(figures.gaps as f64)));
    }
    if figures.duplicates > 0 {
        missed.push(format!("{} messages came twice", amount(figures.duplicates as f64)));
    }
    let faults = figures.errors() as f64;
    let attempts = f64::from(group.connections).max(figures.opened as f64 + faults);
    let of_connections = match group.scenario.as_str() {
        "connect" => attempts,
        _ => f64::from(group.connections),
    };
    if faults >= 1.0
        && faults >= FAULTS_MAX * of_connections
        && let Some(first) = figures.faults.iter().max_by_key(|fault| fault.count)
    {
        missed.push(format!("{} errors, most often: {}", amount(faults), first.kind));
    }
    missed
}

/// The share of what was promised that did not come, where it is more than may be under way
/// at the end.
fn missing_share(group: &Group, seconds: f64) -> Option<f64> {
    let Figures { messages, sent, .. } = group.figures;
    if group.promised == 0 {
        return None;
    }
    let missing = group.promised.saturating_sub(messages) as f64;
    let fan_out = group.promised as f64 / sent.max(1) as f64;
    let under_way = match group.in_flight {
        Some(in_flight) => f64::from(in_flight) * f64::from(group.senders),
        // As many as leave in the time that the slow ones took of those which came.
        None => {
            let slow_us = group.figures.uncorrected.us(99.0).unwrap_or_default();
            sent as f64 / seconds * slow_us / 1e6 + UNDER_WAY_MIN
        }
    };
    let share = missing / group.promised as f64;
    (share > MISSING_MAX && missing > under_way * fan_out.max(1.0)).then_some(share)
}

/// Connections that stay were to be there at the end, too.
fn connections_at_the_end(report: &Report) -> Option<String> {
    if report.is_interrupted {
        return None;
    }
    let staying: u32 = report.groups.iter().map(|group| group.staying).sum();
    let open = report.open_at_end?;
    let is_short = (open as f64) < f64::from(staying) * (1.0 - FAULTS_MAX);
    let (open, planned) = (amount(open as f64), amount(f64::from(staying)));
    is_short.then(|| format!("{open} of {planned} connections were open at the end"))
}

/// A server that dies or hangs half-way answers nothing from there on.
fn silence_at_the_end(report: &Report) -> Option<String> {
    let messages: u64 = report.rows.iter().map(|row| row.sums.messages).sum();
    let rows = report.rows.iter().rev().take_while(|row| row.sums.messages == 0);
    let silent: f64 = rows.clone().map(|row| row.lasting).sum();
    if messages == 0 || silent < (report.seconds * 0.1).max(0.5) {
        return None;
    }
    // In a closed loop a silent server stops what is sent to it. Groups that connect end by
    // themselves.
    let is_closed = |group: &Group| group.in_flight.is_some();
    let mut sending = report
        .groups
        .iter()
        .filter(|group| !["connect", "idle"].contains(&group.scenario.as_str()));
    let is_told = if sending.any(is_closed) {
        let loud = report.seconds - silent;
        messages as f64 / loud.max(0.1) * silent >= SILENT_MESSAGES_MIN
    } else {
        rows.map(|row| row.sums.sent).sum::<u64>() >= SILENT_SENT_MIN
    };
    is_told.then(|| format!("nothing came in the last {silent:.1} s"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;
    use crate::report::{FaultFound, Recorded, Second};

    /// Ten seconds at a hundred a second, of which so many were answered.
    fn echoes(messages: u64) -> Report {
        let mut report = report(Some(100.0), 1_000, &[0.1], None);
        let group = &mut report.groups[0];
        (group.promised, group.senders, group.figures.messages) = (1_000, 10, messages);
        group.staying = 10;
        report.open_at_end = Some(10);
        report.rows = (1..=10)
            .map(|at| Second {
                at: f64::from(at),
                lasting: 1.0,
                sums: crate::measure::Sums {
                    messages: messages / 10,
                    sent: 100,
                    ..Default::default()
                },
                open: 10,
                latency: Recorded::default(),
                server: None,
                server_busy: None,
                busy: vec![0.1],
            })
            .collect();
        report.name_values();
        report
    }

    #[track_caller]
    fn check(report: &Report, fail_if: &[&str], verdict: Verdict, reasons: &[&str]) {
        let fail_if: Vec<FailIf> = fail_if.iter().map(|text| text.parse().unwrap()).collect();
        let judgement = judge(report, &fail_if);
        assert_eq!(judgement.verdict, verdict, "{judgement:?}");
        assert_eq!(judgement.reasons.len(), reasons.len(), "{judgement:?}");
        for (reason, words) in judgement.reasons.iter().zip(reasons) {
            assert!(reason.contains(words), "{reason}");
        }
    }

    #[test]
    fn what_was_promised_and_did_not_come_is_suspicious() {
        use Verdict::{Failed, Passed, Suspicious};
        check(&echoes(1_000), &[], Passed, &[]);
        // These may be under way.
        check(&echoes(990), &[], Passed, &[]);
        check(&echoes(0), &[], Suspicious, &["there were no replies"]);
        check(&echoes(500), &[], Suspicious, &["50 % of the replies did not come: 500 of 1,000"]);
        check(&echoes(1_000), &["errors>0"], Passed, &[]);
        check(&echoes(500), &["throughput<90"], Failed, &["throughput", "50 %"]);
        let mut killed = echoes(1_000);
        killed.rows[5..].iter_mut().for_each(|row| row.sums.messages = 0);
        killed.open_at_end = Some(0);
        let expected = ["0 of 10 connections were open at the end", "the last 5.0 s"];
        check(&killed, &[], Suspicious, &expected);
        let mut broken = echoes(1_000);
        let kind = "closed by the server: 1011".to_owned();
        broken.groups[0].figures.faults =
            vec![FaultFound { kind, count: 1, example: String::new() }];
        check(&broken, &[], Suspicious, &["1 errors, most often: closed by the server: 1011"]);
        // One of many is none that the verdict is about.
        broken.groups[0].connections = 1_000;
        check(&broken, &[], Passed, &[]);
    }

    #[test]
    fn a_broadcast_promises_every_reader_every_message() {
        let mut report = echoes(1_000);
        let group = &mut report.groups[0];
        (group.scenario, group.promised, group.senders) = ("broadcast".into(), 10_000, 1);
        let few = "90 % of the deliveries did not come: 1,000 of 10,000";
        check(&report, &[], Verdict::Suspicious, &[few]);
        let group = &mut report.groups[0];
        (group.figures.messages, group.figures.gaps) = (9_995, 5);
        check(&report, &[], Verdict::Suspicious, &["5 messages were passed over"]);
    }
}
