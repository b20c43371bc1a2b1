//! `--find-max 'p99<5ms'`: the search for the highest rate that keeps an objective.
//!
//! The rate is doubled until the objective is lost, then the gap is halved until it is within
//! a twentieth. Every step is a run of its own, with fresh connections. A step that is lost by
//! little is run again, because chance may have decided it. The groups of a mix keep their
//! proportion: all rates are scaled by one factor.

use super::bounds::{Standing, standing};
use super::curve::{Curve, Step};
use crate::profile::bound::Objective;
use crate::profile::values::{self, Rate};
use crate::profile::{Group, Profile, Scenario};
use crate::report::{Report, amount};

/// The first rate where the profile has none.
const START: f64 = 1_000.0;
/// Steps after which the search ends: each doubles or halves.
const STEPS_MAX: usize = 40;
/// How close the highest rate that kept the objective and the lowest that lost it have to be.
const WITHIN: f64 = 0.05;
/// A step that is lost by less than this share of the bound is run again.
const LITTLE: f64 = 0.2;
/// The highest rate of a profile.
const RATE_MAX: f64 = 1e9;
/// The search ends below this share of the first rate.
const RATE_SHARE_MIN: f64 = 1.0 / 1_024.0;

/// How a step has ended.
enum Outcome {
    Kept,
    Lost { why: String, by_little: bool },
}

/// The groups that send.
fn sending(profile: &Profile) -> impl Iterator<Item = &Group> {
    profile.groups.iter().filter(|group| group.scenario != Scenario::Idle)
}

/// Whether every group that sends can be scaled.
///
/// # Errors
/// Some groups have a rate, and one has none: its load would be the same in every step.
pub fn check(profile: &Profile) -> Result<(), String> {
    match sending(profile).find(|group| group.load.rate.is_none()) {
        Some(group) if sending(profile).any(|group| group.load.rate.is_some()) => Err(format!(
            "--find-max scales the rates of all groups, and group {} has none: give it a rate",
            group.name
        )),
        _ => Ok(()),
    }
}

/// Searches. `run` runs a profile that [`check`] accepts, and returns none if the user stopped
/// it before it measured anything.
///
/// # Errors
/// A run had no result.
pub fn search<E>(
    profile: &Profile,
    objective: &Objective,
    mut run: impl FnMut(&Profile) -> Result<Option<Report>, E>,
) -> Result<Curve, E> {
    let first = profile.groups.iter().find_map(|group| group.load.rate.as_ref());
    let start = first.map_or(START, |rate| rate.steps[0].per_second);
    let mut curve = Curve {
        steps: Vec::new(),
        is_per_connection: first.is_some_and(|rate| rate.per_connection),
        is_mix: sending(profile).count() > 1,
        is_interrupted: false,
    };
    let (mut kept, mut lost): (Option<f64>, Option<f64>) = (None, None);
    let mut rate = start;
    for _ in 0..STEPS_MAX {
        // A step that was stopped half-way does not count.
        let mut step = || {
            let report = run(&scaled(profile, rate / start))?;
            Ok(report.filter(|report| !report.is_interrupted))
        };
        let Some(mut report) = step()? else {
            curve.is_interrupted = true;
            break;
        };
        let mut outcome = judge(objective, &report);
        let is_repeated = matches!(outcome, Outcome::Lost { by_little: true, .. });
        if is_repeated {
            let Some(again) = step()? else {
                curve.is_interrupted = true;
                break;
            };
            (outcome, report) = (judge(objective, &again), again);
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
        curve.steps.push(Step { rate, lost: why, is_repeated, report });
        rate = match (kept, lost) {
            (Some(kept), Some(lost)) if lost / kept < 1.0 + WITHIN => break,
            (Some(kept), Some(lost)) => (kept * lost).sqrt(),
            (Some(kept), None) if kept >= RATE_MAX => break,
            (Some(kept), None) => kept * 2.0,
            (None, Some(lost)) if lost <= start * RATE_SHARE_MIN => break,
            (None, lost) => lost.unwrap_or(rate) / 2.0,
        };
    }
    curve.steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    Ok(curve)
}

/// Whether a run kept the objective. A run with errors, with missing or duplicate messages, or
/// that did not send what was planned has not.
fn judge(objective: &Objective, report: &Report) -> Outcome {
    let value = |name: &str| report.values.get(name).copied().unwrap_or(0.0);
    for name in ["errors", "gaps", "duplicates"] {
        let count = value(name);
        if count > 0.0 {
            let why = format!("{name} is {}", amount(count));
            return Outcome::Lost { why, by_little: false };
        }
    }
    if !report.keeps_rate() {
        let (sent, planned) = (value("rate_sent"), value("rate_planned"));
        let why =
            format!("{} of {} a second were sent", amount(sent.round()), amount(planned.round()));
        return Outcome::Lost { why, by_little: sent > planned * (1.0 - LITTLE) };
    }
    match standing(objective, report) {
        Standing::Kept => Outcome::Kept,
        Standing::Missed { by, text } => Outcome::Lost { why: text, by_little: by < LITTLE },
    }
}

/// The profile with all its rates multiplied by `factor`. Where no group has a rate, all
/// groups that send have the same one.
fn scaled(profile: &Profile, factor: f64) -> Profile {
    let mut profile = profile.clone();
    for group in profile.groups.iter_mut().filter(|group| group.scenario != Scenario::Idle) {
        let (per_second, per_connection) = match &group.load.rate {
            Some(rate) => (rate.steps[0].per_second, rate.per_connection),
            None => (START, false),
        };
        let steps = vec![values::Step { per_second: per_second * factor, duration: None }];
        group.load.rate = Some(Rate { steps, per_connection });
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    /// A search against a server whose p99 is 1 ms up to `limit` messages a second, and grows
    /// tenfold beyond it. Returns the curve's text.
    fn searched(limit: f64, stop_after: usize) -> (Option<f64>, String) {
        let objective: Objective = "errors<1".parse().unwrap();
        let mut runs = 0;
        let curve = search(&Profile::default(), &objective, |profile| -> Result<_, String> {
            runs += 1;
            let rate = profile.groups[0].load.rate.as_ref().unwrap().steps[0].per_second;
            let mut found = report(Some(rate), rate as u64, &[0.1], None);
            found.name_values();
            found.values.insert("errors".into(), if rate > limit { 5.0 } else { 0.0 });
            Ok((runs <= stop_after).then_some(found))
        });
        let curve = curve.unwrap();
        (curve.best().map(|best| best.rate), curve.text(&objective))
    }

    #[test]
    fn the_search_ends_within_a_twentieth_of_the_limit() {
        for limit in [70.0, 999.0, 3_000.0, 123_456.0] {
            let (best, text) = searched(limit, usize::MAX);
            let best = best.unwrap();
            assert!(best <= limit && best * 1.06 >= limit, "{best} of {limit}\n{text}");
            assert!(text.contains("lost: errors is 5"), "{text}");
        }
        let (best, text) = searched(0.1, usize::MAX);
        assert!(best.is_none() && text.ends_with("no rate tried keeps errors<1\n"), "{text}");
    }

    #[test]
    fn a_search_that_is_stopped_has_the_curve_until_then() {
        let (best, text) = searched(1e6, 3);
        assert_eq!(best, Some(4_000.0));
        assert!(text.contains("stopped before it was done"), "{text}");
        let (best, text) = searched(1e6, 0);
        assert!(best.is_none() && text.contains("no rate was tried to its end"), "{text}");
    }
}
