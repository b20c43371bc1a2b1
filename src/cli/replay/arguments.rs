//! The arguments of `tapecast replay`.

use clap::Args;

/// Publishes the lines of a CSV file to a running server, at their original pace or another.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The file, whose first line names its columns; `-` is the standard input.
    pub file: String,
    /// URL of the server.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/")]
    pub url: String,
    /// Channel to publish to. {COLUMN} stands for the line's value in that column.
    #[arg(long, value_name = "NAME", default_value = "trades")]
    pub channel: String,
    /// Column of keys; none publishes without keys. [default: symbol, ticker, sym, instrument
    /// or pair, if the file has one]
    #[arg(long, value_name = "COLUMN")]
    pub key: Option<String>,
    /// Column of time. [default: time, timestamp, ts, date or datetime]
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Speed relative to the original pace, like 10 or 0.5; max publishes as fast as the
    /// server accepts.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    pub speed: Speed,
    /// Starts over at the end of the file, until it is interrupted.
    #[arg(long)]
    pub r#loop: bool,
}

/// The pace of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times the original pace.
    Times(f64),
    /// As fast as the server accepts.
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if (1e-6..=1e6).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("expected a factor from 0.000001 to 1000000, or max".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_max_or_a_positive_factor() {
        assert_eq!(speed("max"), Ok(Speed::Max));
        assert_eq!(speed("0.5"), Ok(Speed::Times(0.5)));
        assert!(speed("0").is_err() && speed("-1").is_err() && speed("inf").is_err());
    }
}
