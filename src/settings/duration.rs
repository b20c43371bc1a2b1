//! Spans of time: `5s`, `100ms`, `1m 30s`, or a number of seconds.

use std::time::Duration;

/// A span with units, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("{text:?}: expected a duration, like 5s or 100ms"));
    }
    with_units(text).map_err(|error| format!("{text:?}: {error}, like 5s or 100ms"))
}

/// A span in which every number has a unit.
pub fn with_units(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// The span as [`duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_shown() {
        for (text, milliseconds) in
            [("1m 30s", 90_000), ("0.5", 500), ("0s", 0), ("250 ms", 250), ("1.5s", 1_500)]
        {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(duration(text), Ok(expected), "{text}");
            assert_eq!(duration(&show_duration(expected)), Ok(expected), "{text}");
        }
        for wrong in ["", "five", "-1", "5 parsecs", "inf"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
