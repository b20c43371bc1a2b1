//! `--fail-if 'p99>5ms'` and `--find-max 'p99<5ms'`: a named value and a bound.

use crate::profile::nearest;
use crate::report::{NAMES, Report, Unit, amount, percentile, time, unit};
use std::fmt;
use std::str::FromStr;

/// A value of the report on one side of a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    text: String,
    /// The report's name for it.
    value: String,
    above: bool,
    bound: f64,
}

/// What makes a run a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct FailIf(Bound);

/// What the highest rate still has to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective(Bound);

impl Bound {
    /// The value in the report, if it has it, and whether it is on that side.
    fn look(&self, report: &Report) -> Option<(f64, bool)> {
        let value = report.value(&self.value)?;
        let holds = if self.above { value > self.bound } else { value < self.bound };
        Some((value, holds))
    }
}

impl FailIf {
    /// The group whose value it is, where it is not that of all.
    pub fn group(&self) -> Option<&str> {
        Some(self.0.value.rsplit_once('.')?.0)
    }

    /// Why this run has failed, if it has. A value that was not measured can't have
    /// been good.
    pub fn failure(&self, report: &Report) -> Option<String> {
        match self.0.look(report) {
            None => Some(format!("{}: no {} was measured", self.0.text, self.0.value)),
            Some((value, true)) => Some(format!("{}: {} is {value:.3}", self.0.text, self.0.value)),
            Some((_, false)) => None,
        }
    }
}

/// How a run stands to an objective.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Kept,
    /// By so much of the bound, and what the value is.
    Missed {
        by: f64,
        text: String,
    },
}

impl Objective {
    /// Whether the run kept it, and if not, by how much.
    pub fn standing(&self, report: &Report) -> Standing {
        let Bound { value: name, bound, .. } = &self.0;
        match self.0.look(report) {
            Some((_, true)) => Standing::Kept,
            Some((value, false)) => {
                let by = (value - bound).abs() / bound.abs().max(f64::MIN_POSITIVE);
                let shown = if unit(name) == Unit::Time { time(value) } else { amount(value) };
                Standing::Missed { by, text: format!("{name} is {shown}") }
            }
            None => Standing::Missed { by: f64::INFINITY, text: format!("no {name} was measured") },
        }
    }
}

impl fmt::Display for FailIf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.text)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.text)
    }
}

impl FromStr for FailIf {
    type Err = String;

    fn from_str(text: &str) -> Result<FailIf, String> {
        text.parse().map(FailIf)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Objective, String> {
        text.parse().map(Objective)
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Bound, String> {
        let expected = || {
            format!(
                "{text:?}: expected NAME>NUMBER or NAME<NUMBER, like p99>5ms or throughput<1000"
            )
        };
        let at = text.find(['<', '>']).ok_or_else(expected)?;
        let (name, rest) = (text[..at].trim(), text[at + 1..].trim());
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| expected())?;
        // The report's times are in microseconds.
        let (factor, is_of) = match rest[end..].trim() {
            "" => (1.0, None),
            "%" => (1.0, Some(Unit::Percent)),
            "us" => (1.0, Some(Unit::Time)),
            "ms" => (1e3, Some(Unit::Time)),
            "s" => (1e6, Some(Unit::Time)),
            _ => return Err(expected()),
        };
        // A group's values stand after its name and a dot.
        let of_group = || {
            let mut dots = name.match_indices('.').map(|(dot, _)| name.split_at(dot + 1));
            dots.find_map(|(group, name)| Some(group.to_owned() + &full_name(name)?))
        };
        let value = full_name(name).or_else(of_group).ok_or_else(|| {
            let hint = match nearest(name, NAMES.iter().map(|(known, _)| *known)) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "--help lists the values".to_owned(),
            };
            format!("{text:?}: the report has no {name}; {hint}")
        })?;
        if is_of.is_some_and(|is_of| is_of != unit(&value)) {
            return Err(format!(
                "{text:?}: {name} is {}",
                match unit(&value) {
                    Unit::Time => "a time: expected us, ms or s, or microseconds without a unit",
                    Unit::Percent => "a share: expected %, or nothing",
                    Unit::Number => "a number without a unit",
                }
            ));
        }
        let above = text.as_bytes()[at] == b'>';
        Ok(Bound { text: text.to_owned(), value, above, bound: number * factor })
    }
}

/// The report's name for this one, of which percentiles of latency have short forms.
fn full_name(name: &str) -> Option<String> {
    let latency = format!("latency_{}", name.replace('.', "_"));
    let is_known =
        |name: &str| NAMES.iter().any(|(known, _)| *known == name) || percentile(name).is_some();
    let names = [name.to_owned(), name.replace('.', "_"), latency];
    names.into_iter().find(|name| is_known(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_with_units() {
        let check = |text: &str, value: &str, above: bool, number: f64| {
            let bound: Bound = text.parse().unwrap();
            assert_eq!((bound.value.as_str(), bound.above, bound.bound), (value, above, number));
        };
        check("p99>5ms", "latency_p99", true, 5000.0);
        check("p99.9 > 1 s", "latency_p99_9", true, 1e6);
        check("p95>5ms", "latency_p95", true, 5000.0);
        check("p99.95<5ms", "latency_p99_95", false, 5000.0);
        check("handshake_p90<1s", "handshake_p90", false, 1e6);
        check("lateness_p99.9<1s", "lateness_p99_9", false, 1e6);
        check("throughput<1000", "throughput", false, 1000.0);
        check("readers.p99.99<2ms", "readers.latency_p99_99", false, 2000.0);
        check("echo.errors>0", "echo.errors", true, 0.0);
        check("generator_cpu>90%", "generator_cpu", true, 90.0);
        for wrong in [
            "p99",
            "p99=5",
            "p99>",
            ">5",
            "p99>5km",
            "p101>5ms",
            "p>5ms",
            "payload_p50>5ms",
            "throughputt<5",
            "p99>5%",
            "errors>1ms",
        ] {
            assert!(wrong.parse::<Bound>().is_err(), "{wrong}");
        }
        let error = "thruput<5".parse::<Bound>().unwrap_err();
        assert!(error.ends_with("did you mean throughput?"), "{error}");
    }
}
