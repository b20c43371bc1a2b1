//! `--find-max 'p99<5ms'`: the highest rate that keeps an objective.
//!
//! The rate is doubled until it does not, then the gap is halved until it is within
//! a twentieth. Every step is a run of its own, with fresh connections.

use crate::profile::values::{Rate, Step};
use crate::profile::{Profile, Scenario};
use crate::report::{Report, amount, time};
use crate::run::RunError;
use crate::verdict::Objective;
use std::fmt::Write;

/// Steps after which it is given up: each halves or doubles.
const STEPS_MAX: usize = 40;
/// How near the highest rate is wanted.
const WITHIN: f64 = 0.05;

/// One step of the search.
pub struct Tried {
    /// As profiles have it: in all, or of each connection.
    pub rate: f64,
    pub is_kept: bool,
    pub report: Report,
}

/// What the search found: its curve by rate.
pub struct Curve {
    tried: Vec<Tried>,
    is_per_connection: bool,
    /// It was stopped before it was done; the step that was under way is no part of it.
    is_interrupted: bool,
}

/// Searches; `run` makes a run of a profile.
///
/// # Errors
/// A run had no result; unless it was stopped, behind others.
pub fn search(
    profile: &Profile,
    objective: &Objective,
    mut run: impl FnMut(&Profile) -> Result<Report, RunError>,
) -> Result<Curve, RunError> {
    let first = profile.groups.iter().find_map(|group| group.rate.as_ref());
    let start = first.map_or(1_000.0, |rate| rate.steps[0].per_second);
    let is_per_connection = first.is_some_and(|rate| rate.per_connection);
    let mut is_interrupted = false;
    let mut tried = Vec::new();
    let (mut kept, mut lost): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = start;
    for _ in 0..STEPS_MAX {
        let report = match run(&at_rate(profile, rate)) {
            Err(RunError::Interrupted) if !tried.is_empty() => None,
            result => Some(result?).filter(|report| !report.is_interrupted),
        };
        let Some(report) = report else {
            is_interrupted = true;
            break;
        };
        let is_kept = is_kept(objective, &report);
        match is_kept {
            true => kept = Some(kept.map_or(rate, |kept| kept.max(rate))),
            false => lost = Some(lost.map_or(rate, |lost| lost.min(rate))),
        }
        tried.push(Tried { rate, is_kept, report });
        rate = match (kept, lost) {
            (Some(kept), Some(lost)) if lost / kept < 1.0 + WITHIN => break,
            (Some(kept), Some(lost)) => (kept * lost).sqrt(),
            (Some(kept), None) if kept >= 1e9 => break,
            (Some(kept), None) => kept * 2.0,
            (None, Some(lost)) if lost <= start / 1_024.0 => break,
            (None, lost) => lost.unwrap_or(rate) / 2.0,
        };
    }
    tried.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    Ok(Curve { tried, is_per_connection, is_interrupted })
}

/// Errors, messages that are lost or doubled, and those that did not leave are no way to
/// keep an objective.
fn is_kept(objective: &Objective, report: &Report) -> bool {
    let value = |name: &str| report.values.get(name).copied().unwrap_or(0.0);
    let is_whole = ["errors", "gaps", "duplicates"].iter().all(|name| value(name) == 0.0);
    objective.is_kept(report) && report.keeps_rate() && is_whole
}

/// The profile with this rate in every group that sends.
fn at_rate(profile: &Profile, rate: f64) -> Profile {
    let mut profile = profile.clone();
    for group in profile.groups.iter_mut().filter(|group| group.scenario != Scenario::Idle) {
        let per_connection = group.rate.as_ref().is_some_and(|rate| rate.per_connection);
        let steps = vec![Step { per_second: rate, duration: None }];
        group.rate = Some(Rate { steps, per_connection });
    }
    profile
}

impl Curve {
    /// The run at the highest rate that kept the objective.
    pub fn best(&self) -> Option<&Tried> {
        self.tried.iter().rev().find(|tried| tried.is_kept)
    }

    /// The curve as a table, and the result under it.
    pub fn text(&self, objective: &Objective) -> String {
        let mut text = format!(
            "{:>14} {:>14} {:>10} {:>10} {:>10} {:>10} {:>12}\n",
            "rate planned", "sent", "p50", "p99", "p99.9", "max", "server CPU"
        );
        for tried in &self.tried {
            let value = |name: &str| tried.report.values.get(name).copied();
            let at = |name: &str| value(name).map_or("-".into(), time);
            let _ = writeln!(
                text,
                "{:>14} {:>14} {:>10} {:>10} {:>10} {:>10} {:>12} {}",
                amount(value("rate_planned").unwrap_or(tried.rate).round()),
                amount(value("rate_sent").unwrap_or_default().round()),
                at("latency_p50"),
                at("latency_p99"),
                at("latency_p99_9"),
                at("latency_max"),
                value("server_cpu").map_or("-".into(), |busy| format!("{busy:.0} %")),
                if tried.is_kept { "kept" } else { "lost" }
            );
        }
        if self.is_interrupted {
            text.push_str("stopped before it was done: the step under way does not count\n");
        }
        let unit = if self.is_per_connection { "a second and connection" } else { "a second" };
        let _ = match self.best() {
            Some(best) => {
                // Of each connection it may be little.
                let rate = if best.rate < 100.0 { best.rate } else { best.rate.round() };
                writeln!(text, "highest rate that keeps {objective}: {} {unit}", amount(rate))
            }
            None if self.tried.is_empty() => writeln!(text, "no rate was tried to its end"),
            None => writeln!(text, "no rate tried keeps {objective}"),
        };
        text
    }
}
