//! The result of a search for the highest rate: its steps by rate, as a table, and the best.

use crate::profile::bound::Objective;
use crate::report::{Report, amount, time};
use std::fmt::Write;

/// A generator that is busier than this share of the time is late.
const BUSY_MAX: f64 = 0.95;

/// One step of the search.
pub struct Step {
    /// As profiles have it: over all connections, or per connection.
    pub rate: f64,
    /// Which bound was lost; none if all were kept.
    pub lost: Option<String>,
    /// It was lost by little at first, and run again.
    pub is_repeated: bool,
    pub report: Report,
}

/// The steps of a search, by rate.
pub struct Curve {
    pub(super) steps: Vec<Step>,
    pub(super) is_per_connection: bool,
    /// More than one group sends: their rates are shown as a sum.
    pub(super) is_mix: bool,
    /// The user stopped it before it was done. The step in flight is not part of it.
    pub(super) is_interrupted: bool,
}

impl Step {
    /// Messages a second over all connections.
    fn rate_in_all(&self) -> f64 {
        self.report.value("rate_planned").unwrap_or(self.rate)
    }

    /// Why the rate may be the limit of the generator instead of the server, if it may.
    fn was_late(&self) -> Option<String> {
        let value = |name: &str| self.report.value(name).unwrap_or(0.0);
        let (late, latency) = (value("lateness_p99"), value("latency_p99"));
        let busy = value("generator_cpu");
        if busy > BUSY_MAX * 100.0 {
            Some(format!("the generator was busy {busy:.0} % of the time"))
        } else if late * 2.0 > latency && latency > 0.0 {
            Some(format!("the generator sent late: p99 {} after the planned time", time(late)))
        } else {
            None
        }
    }
}

impl Curve {
    /// The step with the highest rate that kept the objective.
    pub fn best(&self) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.lost.is_none())
    }

    /// The curve as a table, with the result under it.
    pub fn text(&self, objective: &Objective) -> String {
        let mut text = format!(
            "{:>14} {:>14} {:>10} {:>10} {:>10} {:>10} {:>12}\n",
            "rate planned", "sent", "p50", "p99", "p99.9", "max", "server CPU"
        );
        for step in &self.steps {
            let value = |name: &str| step.report.values.get(name).copied();
            let at = |name: &str| value(name).map_or("-".into(), time);
            let _ = writeln!(
                text,
                "{:>14} {:>14} {:>10} {:>10} {:>10} {:>10} {:>12} {}{}",
                amount(step.rate_in_all().round()),
                amount(value("rate_sent").unwrap_or_default().round()),
                at("latency_p50"),
                at("latency_p99"),
                at("latency_p99_9"),
                at("latency_max"),
                value("server_cpu").map_or("-".into(), |busy| format!("{busy:.0} %")),
                step.lost.as_ref().map_or("kept".to_owned(), |why| format!("lost: {why}")),
                if step.is_repeated { " (run again)" } else { "" }
            );
        }
        for step in &self.steps {
            if let Some(late) = step.was_late() {
                let rate = amount(step.rate_in_all());
                let _ = writeln!(text, "warning: at {rate} a second {late}");
            }
        }
        if self.is_interrupted {
            text.push_str("stopped before it was done: the step in flight does not count\n");
        }
        let unit = match (self.is_mix, self.is_per_connection) {
            (true, _) => "a second in all",
            (false, true) => "a second and connection",
            (false, false) => "a second",
        };
        let _ = match self.best() {
            Some(best) => {
                let rate = if self.is_mix { best.rate_in_all() } else { best.rate };
                // The rate of one connection may be small.
                let rate = if rate < 100.0 { rate } else { rate.round() };
                writeln!(text, "highest rate that keeps {objective}: {} {unit}", amount(rate))
            }
            None if self.steps.is_empty() => writeln!(text, "no rate was tried to its end"),
            None => writeln!(text, "no rate tried keeps {objective}"),
        };
        text
    }
}
