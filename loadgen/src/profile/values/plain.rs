//! Values without a type of their own: headers, shares, times.

use std::str::FromStr;
use std::time::{Duration, SystemTime};
use tapecast::protocol::handshake::check_header;
use tapecast::settings::{duration, rfc3339};

/// `Name: value`.
pub fn header(text: &str) -> Result<(String, String), String> {
    let expected = || format!("{text:?}: expected a header, like 'Origin: https://example.com'");
    let (name, value) = text.split_once(':').ok_or_else(expected)?;
    let name = http::HeaderName::from_str(name.trim()).map_err(|_| expected())?;
    let value = http::HeaderValue::from_str(value.trim()).map_err(|_| expected())?;
    let value = value.to_str().map_err(|_| expected())?;
    check_header(name.as_str(), value).map_err(|error| match name.as_str() {
        "sec-websocket-protocol" => format!("{error}: use subprotocol"),
        "sec-websocket-extensions" => format!("{error}: use compression"),
        _ => error,
    })?;
    Ok((name.as_str().to_owned(), value.to_owned()))
}

/// A share: `10%` or 0.1.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, divisor) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number / divisor)) => Ok(number / divisor),
        _ => Err(format!("{text:?}: expected a share, like 10%")),
    }
}

/// The last second whose year has four digits.
const LAST_SECOND: Duration = Duration::from_secs(253_402_300_799);

/// A point of time: seconds since 1970, or RFC 3339, which is UTC without an offset.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    let (after, expected) = if text.parse::<f64>().is_ok() {
        let after = Some(duration(text)?).filter(|after| *after <= LAST_SECOND);
        (after, "expected seconds since 1970, before the year 10000")
    } else {
        let expected = "expected a time like 2026-11-21T12:00:00Z or 2026-11-21T13:00:00+01:00";
        (rfc3339(text), expected)
    };
    let when = after.and_then(|after| SystemTime::UNIX_EPOCH.checked_add(after));
    when.ok_or_else(|| format!("{text:?}: {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_shares_and_times_are_read() {
        assert_eq!(header("X-Name:  value "), Ok(("x-name".into(), "value".into())));
        assert!(header("X-Name: a\r\nb").is_err() && header("no colon").is_err());
        assert!(header("Host: b").is_ok() && header("Upgrade: h2c").is_err());
        assert!(header("Sec-WebSocket-Protocol: a").unwrap_err().ends_with(": use subprotocol"));
        assert_eq!((share("10%"), share("1")), (Ok(0.1), Ok(1.0)));
        assert!(share("101%").is_err());
        let noon = moment("2026-11-21T12:00:00Z");
        assert!(noon.is_ok());
        for same in ["2026-11-21T13:00:00+01:00", "2026-11-21T12:00", "1795262400"] {
            assert_eq!(moment(same), noon, "{same}");
        }
        for wrong in ["2026-11-21T12:00:00+99:00", "noon", "-1", "1760000000000"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
