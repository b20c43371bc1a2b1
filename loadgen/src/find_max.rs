//! `--find-max 'p99<5ms'`: the highest rate that keeps an objective.
//!
//! The rate is doubled until it does not, then the gap is halved until it is within
//! a twentieth. Every step is a run of its own, with fresh connections. A step that is lost by a
//! little is run again, for chance may have decided it. The groups of a mix keep their
//! proportion: all rates are scaled by one factor.

use crate::profile::values::{Rate, Step};
use crate::profile::{Group, Profile, Scenario};
use crate::report::{Report, amount, time};
use crate::run::RunError;
use crate::verdict::{Objective, Standing};
use std::fmt::Write;

/// The rate that it begins with where the profile has none.
const START: f64 = 1_000.0;
/// Steps after which it is given up: each halves or doubles.
const STEPS_MAX: usize = 40;
/// How near the highest rate is wanted.
const WITHIN: f64 = 0.05;
/// A step that is lost by less than this share of the bound is tried again.
const LITTLE: f64 = 0.2;
/// A share of the time: a generator that is busier than this is late.
const BUSY: f64 = 0.95;

/// One step of the search.
pub struct Tried {
    /// As profiles have it: in all, or of each connection.
    pub rate: f64,
    /// Which bound was lost; none if all are kept.
    pub lost: Option<String>,
    /// It was lost by a little before, and run again.
    pub is_repeated: bool,
    pub report: Report,
}

/// How a step has ended.
enum Outcome {
    Kept,
    Lost { why: String, by_little: bool },
}

/// What the search found: its curve by rate.
pub struct Curve {
    tried: Vec<Tried>,
    is_per_connection: bool,
    /// More than one group sends: their rates are told together.
    is_mix: bool,
    /// It was stopped before it was done; the step that was under way is no part of it.
    is_interrupted: bool,
}

/// The groups that send.
fn sending(profile: &Profile) -> impl Iterator<Item = &Group> {
    profile.groups.iter().filter(|group| group.scenario != Scenario::Idle)
}

/// Whether every group that sends can be scaled.
///
/// # Errors
/// Some have a rate, and one has none: its load would be the same in every step.
pub fn check(profile: &Profile) -> Result<(), String> {
    match sending(profile).find(|group| group.rate.is_none()) {
        Some(group) if sending(profile).any(|group| group.rate.is_some()) => Err(format!(
            "--find-max scales the rates of all groups, and group {} has none: give it a rate",
            group.name
        )),
        _ => Ok(()),
    }
}

/// Searches; `run` makes a run of a profile that [`check`] lets pass.
///
/// # Errors
/// A run had no result; unless it was stopped, behind others.
pub fn search(
    profile: &Profile,
    objective: &Objective,
    mut run: impl FnMut(&Profile) -> Result<Report, RunError>,
) -> Result<Curve, RunError> {
    let first = profile.groups.iter().find_map(|group| group.rate.as_ref());
    let start = first.map_or(START, |rate| rate.steps[0].per_second);
    let is_per_connection = first.is_some_and(|rate| rate.per_connection);
    let is_mix = sending(profile).count() > 1;
    let mut is_interrupted = false;
    let mut tried = Vec::new();
    let (mut kept, mut lost): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = start;
    for _ in 0..STEPS_MAX {
        let mut step = || match run(&scaled(profile, rate / start)) {
            Err(RunError::Interrupted) if !tried.is_empty() => Ok(None),
            result => result.map(|report| Some(report).filter(|report| !report.is_interrupted)),
        };
        let Some(mut report) = step()? else {
            is_interrupted = true;
            break;
        };
        let mut outcome = look(objective, &report);
        let is_repeated = matches!(outcome, Outcome::Lost { by_little: true, .. });
        if is_repeated {
            let Some(again) = step()? else {
                is_interrupted = true;
                break;
            };
            (outcome, report) = (look(objective, &again), again);
        }
        let why = match outcome {
            Outcome::Kept => {
                kept = Some(kept.map_or(rate, |kept| kept.max(rate)));
                None
            }
            Outcome::Lost { why, .. } => {
                lost = Some(lost.map_or(rate, |lost| lost.min(rate)));
                Some(why)
            }
        };
        tried.push(Tried { rate, lost: why, is_repeated, report });
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
    Ok(Curve { tried, is_per_connection, is_mix, is_interrupted })
}

/// Errors, messages that are lost or doubled, and those that did not leave are no way to
/// keep an objective.
fn look(objective: &Objective, report: &Report) -> Outcome {
    for name in ["errors", "gaps", "duplicates"] {
        let count = report.values.get(name).copied().unwrap_or(0.0);
        if count > 0.0 {
            let why = format!("{name} is {}", amount(count));
            return Outcome::Lost { why, by_little: false };
        }
    }
    if !report.keeps_rate() {
        let value = |name: &str| report.values.get(name).copied().unwrap_or(0.0);
        let (sent, planned) = (value("rate_sent"), value("rate_planned"));
        let why = format!("{} of {} a second left", amount(sent.round()), amount(planned.round()));
        return Outcome::Lost { why, by_little: sent > planned * (1.0 - LITTLE) };
    }
    match objective.standing(report) {
        Standing::Kept => Outcome::Kept,
        Standing::Missed { by, text } => Outcome::Lost { why: text, by_little: by < LITTLE },
    }
}

/// Whether the generator itself was late in this run: then the rate is its limit, perhaps, and
/// not the server's.
fn was_late(report: &Report) -> Option<String> {
    let value = |name: &str| report.value(name).unwrap_or(0.0);
    let (late, latency) = (value("lateness_p99"), value("latency_p99"));
    let busy = value("generator_cpu");
    if busy > BUSY * 100.0 {
        Some(format!("the generator was busy {busy:.0} % of the time"))
    } else if late * 2.0 > latency && latency > 0.0 {
        Some(format!("the generator sent late: p99 {} after the planned time", time(late)))
    } else {
        None
    }
}

/// The profile with all its rates multiplied. Where no group has one, each that sends gets the
/// same.
fn scaled(profile: &Profile, factor: f64) -> Profile {
    let mut profile = profile.clone();
    for group in profile.groups.iter_mut().filter(|group| group.scenario != Scenario::Idle) {
        let (per_second, per_connection) = match &group.rate {
            Some(rate) => (rate.steps[0].per_second, rate.per_connection),
            None => (START, false),
        };
        let steps = vec![Step { per_second: per_second * factor, duration: None }];
        group.rate = Some(Rate { steps, per_connection });
    }
    profile
}

impl Tried {
    /// Messages a second of all connections together.
    fn rate_in_all(&self) -> f64 {
        self.report.value("rate_planned").unwrap_or(self.rate)
    }
}

impl Curve {
    /// The run at the highest rate that kept the objective.
    pub fn best(&self) -> Option<&Tried> {
        self.tried.iter().rev().find(|tried| tried.lost.is_none())
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
                amount(tried.rate_in_all().round()),
                amount(value("rate_sent").unwrap_or_default().round()),
                at("latency_p50"),
                at("latency_p99"),
                at("latency_p99_9"),
                at("latency_max"),
                value("server_cpu").map_or("-".into(), |busy| format!("{busy:.0} %")),
                match &tried.lost {
                    None => "kept".to_owned(),
                    Some(why) => format!("lost: {why}"),
                } + if tried.is_repeated { " (run again)" } else { "" }
            );
        }
        for tried in &self.tried {
            if let Some(late) = was_late(&tried.report) {
                let rate = amount(tried.rate_in_all());
                let _ = writeln!(text, "warning: at {rate} a second {late}");
            }
        }
        if self.is_interrupted {
            text.push_str("stopped before it was done: the step under way does not count\n");
        }
        let unit = match (self.is_mix, self.is_per_connection) {
            (true, _) => "a second in all",
            (false, true) => "a second and connection",
            (false, false) => "a second",
        };
        let _ = match self.best() {
            Some(best) => {
                // Of each connection it may be little.
                let rate = if self.is_mix { best.rate_in_all() } else { best.rate };
                let rate = if rate < 100.0 { rate } else { rate.round() };
                writeln!(text, "highest rate that keeps {objective}: {} {unit}", amount(rate))
            }
            None if self.tried.is_empty() => writeln!(text, "no rate was tried to its end"),
            None => writeln!(text, "no rate tried keeps {objective}"),
        };
        text
    }
}
