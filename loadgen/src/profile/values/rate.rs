//! The rate at which messages are planned.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tapecast::settings::{duration, show_duration};

/// The rate at which messages are planned, in steps. The last step has no end.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    pub steps: Vec<Step>,
    /// The rates are those of each connection, instead of the total.
    pub per_connection: bool,
}

/// A rate for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub per_second: f64,
    /// How long it lasts; none for the last step.
    pub duration: Option<Duration>,
}

impl Rate {
    /// One step without an end.
    pub fn constant(per_second: f64) -> Rate {
        Rate { steps: vec![Step { per_second, duration: None }], per_connection: false }
    }

    /// The steps in total, over so many connections.
    pub fn total(&self, connections: u32) -> Vec<Step> {
        let factor = if self.per_connection { f64::from(connections) } else { 1.0 };
        let scaled = |step: &Step| Step { per_second: step.per_second * factor, ..*step };
        self.steps.iter().map(scaled).collect()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let expected = || {
            format!(
                "{text:?}: expected messages a second, like 1000, 5/connection, or steps like \
                 1000@10s,2000@10s,5000"
            )
        };
        let (rates, per_connection) = match text.trim().strip_suffix("/connection") {
            Some(rates) => (rates, true),
            None => (text, false),
        };
        let mut steps = Vec::new();
        for step in rates.split(',') {
            let (number, lasting) = match step.split_once('@') {
                Some((number, lasting)) => (number, Some(duration(lasting.trim())?)),
                None => (step, None),
            };
            let per_second: f64 = number.trim().replace('_', "").parse().map_err(|_| expected())?;
            if !(0.001..=1e9).contains(&per_second) {
                return Err(format!("{text:?}: a rate is from 0.001 to 1000000000 a second"));
            }
            steps.push(Step { per_second, duration: lasting });
        }
        let (_, before) = steps.split_last().ok_or_else(expected)?;
        if before.iter().any(|step| step.duration.is_none_or(|lasting| lasting.is_zero())) {
            return Err(format!(
                "{text:?}: every step but the last needs a duration, like 1000@10s"
            ));
        }
        Ok(Rate { steps, per_connection })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(formatter, "{comma}{}", step.per_second)?;
            if let Some(lasting) = step.duration {
                write!(formatter, "@{}", show_duration(lasting).replace(' ', ""))?;
            }
        }
        formatter.write_str(if self.per_connection { "/connection" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        let constant: Rate = "1_000".parse().unwrap();
        assert_eq!(constant, Rate::constant(1_000.0));
        let steps: Rate = "1000@10s,2000@1m 30s,0.5/connection".parse().unwrap();
        assert_eq!(steps.to_string(), "1000@10s,2000@1m30s,0.5/connection");
        assert_eq!(steps.to_string().parse::<Rate>(), Ok(steps.clone()));
        assert_eq!(steps.total(10)[2].per_second, 5.0);
        for wrong in ["", "0", "-1", "nan", "1e10", "1000,2000", "5@", "5@0s,6", "5/second"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
