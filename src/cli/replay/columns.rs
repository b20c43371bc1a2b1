//! The columns of a file: those of the time, the key and the channel; and a line as JSON.

use super::arguments::Replay;
use crate::protocol::json::{Scanner, write_string};
use crate::settings::rfc3339;
use std::time::Duration;

/// Names that the column of time may have.
pub const TIMES: &[&str] = &["time", "timestamp", "ts", "date", "datetime"];
/// Names that the column of keys may have.
const SYMBOLS: &[&str] = &["symbol", "ticker", "sym", "instrument", "pair"];

/// The columns of a file, and which of them is what.
#[derive(Debug, PartialEq)]
pub struct Columns {
    names: Vec<String>,
    /// The place of the column of time.
    pub time: Option<usize>,
    /// The place of the column of keys.
    pub key: Option<usize>,
    channel: Vec<Part>,
}

/// A part of a channel's name.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// The line's value in this column.
    Column(usize),
}

impl Columns {
    /// The columns with these names.
    ///
    /// # Errors
    /// A name is none, or the command line names a column that is not there.
    pub fn new(names: Vec<String>, replay: &Replay) -> Result<Columns, String> {
        let is_value = |name: &String| is_number(name) || time(name).is_some();
        // A column may be named 2024.
        let is_year = |name: &String| name.parse().is_ok_and(|year: u16| year < 10_000);
        let are_values = names.iter().all(is_value);
        for (place, name) in names.iter().enumerate() {
            if is_value(name) && (are_values || !is_year(name)) {
                return Err(format!(
                    "line 1 has {name:?}, which is not a column name: put a line with column \
                     names first, like time,symbol,price"
                ));
            }
            if names[..place].contains(name) {
                return Err(format!("line 1: two columns are named {name:?}"));
            }
        }
        let find = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let wanted = |name: &str| {
            find(name).ok_or_else(|| {
                format!("no column is named {name}: the columns are {}", names.join(", "))
            })
        };
        let time = match &replay.time {
            Some(name) => Some(wanted(name)?),
            None => TIMES.iter().find_map(|name| find(name)),
        };
        let key = match replay.key.as_deref() {
            Some("none") => None,
            Some(name) => Some(wanted(name)?),
            None => SYMBOLS.iter().find_map(|name| find(name)),
        };
        let mut channel = Vec::new();
        let mut rest = replay.channel.as_str();
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .ok_or_else(|| format!("{:?}: expected }} after {{", replay.channel))?;
            channel.extend([Part::Text(text.to_owned()), Part::Column(wanted(name)?)]);
            rest = behind;
        }
        channel.push(Part::Text(rest.to_owned()));
        Ok(Columns { names, time, key, channel })
    }

    /// The line as a JSON object.
    pub fn json(&self, line: &csv::StringRecord) -> String {
        let mut out = Vec::from(*b"{");
        for (name, value) in self.names.iter().zip(line) {
            if out.len() > 1 {
                out.push(b',');
            }
            write_string(name, &mut out);
            out.push(b':');
            if is_number(value) {
                out.extend_from_slice(value.as_bytes());
            } else {
                write_string(value, &mut out);
            }
        }
        out.push(b'}');
        String::from_utf8(out).expect("written from text")
    }

    /// The channel's name, with the line's values in place of the names of columns.
    pub fn channel(&self, line: &csv::StringRecord) -> String {
        let parts = self.channel.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Column(column) => line.get(*column).unwrap_or_default(),
        });
        parts.collect()
    }
}

/// Whether this is a number in JSON.
fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && Scanner::new(value).whole().is_ok()
}

/// A time since 1970: a number, whose size tells its unit, or RFC 3339.
pub fn time(value: &str) -> Option<Duration> {
    if let Ok(number) = value.parse::<f64>() {
        // 1e11 seconds are in the year 5138, 1e11 milliseconds in 1973.
        let per_second = match number {
            0.0..1e11 => 1.0,
            1e11..1e14 => 1e3,
            1e14..1e17 => 1e6,
            1e17.. => 1e9,
            _ => return None,
        };
        return Duration::try_from_secs_f64(number / per_second).ok();
    }
    rfc3339(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        replay: Replay,
    }

    fn replay(words: &[&str]) -> Replay {
        Alone::parse_from(["replay", "a.csv"].iter().chain(words)).replay
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn columns_are_found_by_name_and_mistakes_are_named() {
        let all = || names(&["Timestamp", "Symbol", "price"]);
        let found = Columns::new(all(), &replay(&[])).unwrap();
        assert_eq!((found.time, found.key), (Some(0), Some(1)));
        let words = ["--key", "none", "--time", "price", "--channel", "t.{symbol}"];
        let found = Columns::new(all(), &replay(&words)).unwrap();
        assert_eq!((found.time, found.key), (Some(2), None));
        let line = csv::StringRecord::from(vec!["1", "A\"B", "1.50"]);
        assert_eq!(found.channel(&line), "t.A\"B");
        assert_eq!(found.json(&line), r#"{"Timestamp":1,"Symbol":"A\"B","price":1.50}"#);
        let odd = csv::StringRecord::from(vec!["007", "-", "1e3"]);
        assert_eq!(found.json(&odd), r#"{"Timestamp":"007","Symbol":"-","price":1e3}"#);
        for words in
            [["--key", "x"], ["--time", "x"], ["--channel", "t.{x}"], ["--channel", "t.{symbol"]]
        {
            assert!(Columns::new(all(), &replay(&words)).is_err(), "{words:?}");
        }
        let wrong = |all: &[&str]| Columns::new(names(all), &replay(&[])).unwrap_err();
        assert!(wrong(&["time", "price", "price"]).contains("two columns are named \"price\""));
        assert!(wrong(&["1795300138", "BTC", "64000"]).starts_with("line 1 has \"1795300138\""));
        assert!(wrong(&["2026-11-21T22:28:58Z", "BTC"]).contains("not a column name"));
        assert!(wrong(&["1", "2"]).contains("not a column name"));
        assert!(Columns::new(names(&["country", "2023", "2024"]), &replay(&[])).is_ok());
    }

    #[test]
    fn a_time_is_read_in_any_usual_unit() {
        let seconds = Some(Duration::from_millis(1_795_300_138_500));
        for text in [
            "1795300138.5",
            "1795300138500",
            "1795300138500000",
            "1795300138500000000",
            "2026-11-21T22:28:58.5Z",
        ] {
            assert_eq!(time(text), seconds, "{text}");
        }
        for text in ["", "yesterday", "-5", "NaN"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
