//! `--fail-if 'p99>5ms'`: what makes a run a failure.

use std::fmt;
use std::str::FromStr;

/// A value of the report and the bound that it must not pass.
#[derive(Clone, Debug, PartialEq)]
pub struct FailIf {
    text: String,
    /// The report's name for it.
    pub value: String,
    above: bool,
    bound: f64,
}

impl FailIf {
    /// Whether a run with this value has failed.
    pub fn is_met(&self, value: f64) -> bool {
        if self.above { value > self.bound } else { value < self.bound }
    }
}

impl fmt::Display for FailIf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for FailIf {
    type Err = String;

    fn from_str(text: &str) -> Result<FailIf, String> {
        let expected = || {
            format!(
                "{text:?}: expected NAME>NUMBER or NAME<NUMBER, like p99>5ms or throughput<1000; \
                 NAME is a line of the report, or p50, p90, p99, p99.9, p99.99, max"
            )
        };
        let at = text.find(['<', '>']).ok_or_else(expected)?;
        let (name, rest) = (text[..at].trim(), text[at + 1..].trim());
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| expected())?;
        // The report's times are in microseconds.
        let factor = match rest[end..].trim() {
            "" | "us" | "%" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(expected()),
        };
        let value = match name {
            "" => return Err(expected()),
            "p99.9" => "latency_p99_9".to_owned(),
            "p99.99" => "latency_p99_99".to_owned(),
            "p50" | "p90" | "p99" | "max" => format!("latency_{name}"),
            name => name.to_owned(),
        };
        let above = text.as_bytes()[at] == b'>';
        Ok(FailIf { text: text.to_owned(), value, above, bound: number * factor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_with_units() {
        let check = |text: &str, value: &str, passes: f64, fails: f64| {
            let bound: FailIf = text.parse().unwrap();
            assert_eq!(bound.value, value);
            assert!(!bound.is_met(passes) && bound.is_met(fails), "{text}");
        };
        check("p99>5ms", "latency_p99", 5000.0, 5001.0);
        check("p99.9 > 1 s", "latency_p99_9", 1e6, 1e6 + 1.0);
        check("throughput<1000", "throughput", 1000.0, 999.0);
        for wrong in ["p99", "p99=5", "p99>", ">5", "p99>5km"] {
            assert!(wrong.parse::<FailIf>().is_err(), "{wrong}");
        }
    }
}
