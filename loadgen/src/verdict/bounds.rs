//! Whether a report keeps a bound. A value that was not measured can't have been good: it is a
//! failure, and it misses every objective.

use crate::profile::bound::{FailIf, Objective};
use crate::profile::{Unit, unit};
use crate::report::{Report, amount, time};

/// Why a run has failed, if this bound holds.
pub(super) fn failure(fail_if: &FailIf, report: &Report) -> Option<String> {
    let bound = fail_if.bound();
    let name = bound.value();
    match report.value(name) {
        None => Some(format!("{bound}: no {name} was measured")),
        Some(value) if bound.holds(value) => Some(format!("{bound}: {name} is {value:.3}")),
        Some(_) => None,
    }
}

/// How a run compares with an objective.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    Kept,
    /// By this share of the bound, and the value in words.
    Missed {
        by: f64,
        text: String,
    },
}

/// Whether the run kept an objective, and if not, by how much it missed.
pub(super) fn standing(objective: &Objective, report: &Report) -> Standing {
    let bound = objective.bound();
    let name = bound.value();
    match report.value(name) {
        None => Standing::Missed { by: f64::INFINITY, text: format!("no {name} was measured") },
        Some(value) if bound.holds(value) => Standing::Kept,
        Some(value) => {
            let by = (value - bound.number()).abs() / bound.number().abs().max(f64::MIN_POSITIVE);
            let shown = if unit(name) == Unit::Time { time(value) } else { amount(value) };
            Standing::Missed { by, text: format!("{name} is {shown}") }
        }
    }
}
