//! Points of time as RFC 3339 writes them.

use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// The time since 1970 of a date with a time of day, or of a date alone, which is its
/// midnight. Without an offset it is UTC.
pub fn rfc3339(text: &str) -> Option<Duration> {
    let date_bytes = "2026-11-30".len();
    text.get(..date_bytes)?;
    let utc = if text.len() == date_bytes { "T00:00Z" } else { "Z" };
    let at: Timestamp = text.parse().or_else(|_| format!("{text}{utc}").parse()).ok()?;
    Duration::try_from(at.as_duration()).ok()
}

/// The time in UTC, to the millisecond, as [`rfc3339`] reads it.
pub fn show_time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_count_and_utc_is_the_default() {
        let expected = Some(Duration::from_millis(1_795_300_138_500));
        for text in [
            "2026-11-21T22:28:58.5Z",
            "2026-11-21 22:28:58.5",
            "2026-11-21T22:28:58.5+00:00",
            "2026-11-21T23:28:58.5+01:00",
            "2026-11-22 03:58:58.5+0530",
            "2026-11-21T14:28:58.5-08:00",
        ] {
            assert_eq!(rfc3339(text), expected, "{text}");
        }
        assert_eq!(rfc3339("2026-11-21"), Some(Duration::from_secs(1_795_219_200)));
        assert_eq!(rfc3339("2026-11-21T12:00"), rfc3339("2026-11-21T13:00:00+01:00"));
        for text in ["", "noon", "yesterday", "2026-13-01", "2026-11-21T22:28:58+99:00"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_is_read_as_it_is_shown() {
        let after = Duration::from_millis(1_795_300_138_500);
        assert_eq!(rfc3339(&show_time(SystemTime::UNIX_EPOCH + after)), Some(after));
    }
}
