//! A bound on a value of the report, as `--fail-if 'p99>5ms'` and `--find-max 'p99<5ms'` take
//! it. Reading one checks the name and the unit; whether a run keeps it is for `verdict`.

use super::named::{NAMES, Unit, full_name, unit};
use std::fmt;
use std::str::FromStr;
use tapecast::settings::nearest;

/// A named value, above or below a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    text: String,
    /// The full name of the value.
    value: String,
    is_above: bool,
    number: f64,
}

/// A bound that makes a run a failure if it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct FailIf(Bound);

/// A bound that the highest rate still has to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective(Bound);

impl Bound {
    /// The full name of the value in the report.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The number that the value is compared with. Times are in microseconds.
    pub fn number(&self) -> f64 {
        self.number
    }

    /// Whether `value` is on the side of the number that the bound names.
    pub fn holds(&self, value: f64) -> bool {
        if self.is_above { value > self.number } else { value < self.number }
    }
}

impl FailIf {
    /// The bound that must not hold.
    pub fn bound(&self) -> &Bound {
        &self.0
    }

    /// The group whose value it is, unless it is that of all groups.
    pub fn group(&self) -> Option<&str> {
        Some(self.0.value.rsplit_once('.')?.0)
    }
}

impl Objective {
    /// The bound that has to hold.
    pub fn bound(&self) -> &Bound {
        &self.0
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Display for FailIf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
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
        // The values of a group are named GROUP.NAME.
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
        let is_above = text.as_bytes()[at] == b'>';
        Ok(Bound { text: text.to_owned(), value, is_above, number: number * factor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_names_a_value_of_the_report_in_its_unit() {
        let check = |text: &str, value: &str, is_above: bool, number: f64| {
            let bound: Bound = text.parse().unwrap();
            assert_eq!((bound.value.as_str(), bound.is_above), (value, is_above));
            assert_eq!(bound.number, number);
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
