//! `tapecast replay`: publishes the lines of a CSV file to a running server, at the pace
//! at which they happened or another.
//!
//! The first line names the columns. An error in the file names its
//! line, and how much was published before it. A line becomes a JSON object of its columns, in
//! which what is a number in JSON stays one as it is written. Of time there is a column
//! of seconds, milliseconds, microseconds or nanoseconds since 1970 (told apart by their
//! size) or of RFC 3339, whose offset counts, and which is UTC without one; lines leave as far
//! apart as they happened.

use super::lines::{Lines, Numbering};
use super::{EXIT_CONFIG, text};
use crate::client::{Client, Error, Event};
use crate::protocol::json::{Scanner, write_string};
use clap::Args;
use jiff::Timestamp;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Names that a column of time may have.
const TIMES: &[&str] = &["time", "timestamp", "ts", "date", "datetime"];
/// Names that a column of symbols may have.
const SYMBOLS: &[&str] = &["symbol", "ticker", "sym", "instrument", "pair"];
/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long it waits for the last answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes the lines of a CSV file, at the pace at which they happened.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The file, with names of columns in its first line; `-` is the standard input.
    file: String,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:9001/")]
    url: String,
    /// Where to publish. {COLUMN} stands for what the line has there.
    #[arg(long, value_name = "NAME", default_value = "trades")]
    channel: String,
    /// The column of keys. [default: symbol, if there is one; none for no keys]
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// The column of time. [default: time, timestamp, ts, date or datetime]
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// How much faster than it happened, like 10 or 0.5; max for as fast as the server
    /// takes it.
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = speed)]
    speed: Speed,
    /// Begins anew at the end.
    #[arg(long)]
    r#loop: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(times) if (1e-6..=1e6).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("expected a factor from 0.000001 to 1000000, or max".into()),
    }
}

/// Which column is what.
#[derive(Debug, PartialEq)]
struct Columns {
    names: Vec<String>,
    time: Option<usize>,
    key: Option<usize>,
    channel: Vec<Part>,
}

/// A part of a channel's name.
#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// What the line has there.
    Column(usize),
}

impl Columns {
    fn new(names: Vec<String>, replay: &Replay) -> Result<Columns, String> {
        let is_value = |name: &String| is_number(name) || time(name).is_some();
        // A column may be called 2024.
        let is_year = |name: &String| name.parse().is_ok_and(|year: u16| year < 10_000);
        let are_values = names.iter().all(is_value);
        for (place, name) in names.iter().enumerate() {
            if is_value(name) && (are_values || !is_year(name)) {
                return Err(format!(
                    "line 1 has {name:?}, which is no name of a column: put a line with names \
                     before the others, like time,symbol,price"
                ));
            }
            if names[..place].contains(name) {
                return Err(format!("line 1: two columns are called {name:?}"));
            }
        }
        let find = |name: &str| names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let wanted = |name: &str| {
            find(name).ok_or_else(|| format!("no column is called {name}: {}", names.join(", ")))
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
                .ok_or_else(|| format!("{:?}: a brace that has no end", replay.channel))?;
            channel.extend([Part::Text(text.to_owned()), Part::Column(wanted(name)?)]);
            rest = behind;
        }
        channel.push(Part::Text(rest.to_owned()));
        Ok(Columns { names, time, key, channel })
    }

    /// The line as a JSON object.
    fn json(&self, line: &csv::StringRecord) -> String {
        let mut out = Vec::from(*b"{");
        for (name, value) in self.names.iter().zip(line) {
            if out.len() > 1 {
                out.push(b',');
            }
            write_string(name, &mut out);
            out.push(b':');
            match is_number(value) {
                true => out.extend_from_slice(value.as_bytes()),
                false => write_string(value, &mut out),
            }
        }
        out.push(b'}');
        String::from_utf8(out).expect("written from text")
    }

    /// The channel's name, with what the line has in place of names of columns.
    fn channel(&self, line: &csv::StringRecord) -> String {
        let parts = self.channel.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Column(column) => line.get(*column).unwrap_or_default(),
        });
        parts.collect()
    }
}

/// Whether JSON has this number.
fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && Scanner::new(value).whole().is_ok()
}

/// A time since 1970.
fn time(value: &str) -> Option<Duration> {
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
    let (date_bytes, utc) = ("2026-11-30".len(), if value.len() == 10 { "T00:00Z" } else { "Z" });
    value.get(..date_bytes)?;
    let at: Timestamp = value.parse().or_else(|_| format!("{value}{utc}").parse()).ok()?;
    Duration::try_from(at.as_duration()).ok()
}

/// What becomes of the lines.
#[derive(Debug, Default)]
struct Told {
    published: u64,
    refused: u64,
    unanswered: u64,
    /// Of the first refusal.
    why: Option<String>,
}

impl Told {
    fn take(&mut self, event: Event) {
        match event {
            Event::Published { .. } => self.published += 1,
            Event::Unanswered { .. } => self.unanswered += 1,
            Event::Refused { code, message, .. } => {
                self.refused += 1;
                self.why.get_or_insert_with(|| format!("{code} {message}"));
            }
            Event::Disconnected { reason } => eprintln!("tapecast: {reason}; trying again"),
            Event::Connected => eprintln!("tapecast: connected again"),
            _ => {}
        }
    }

    fn answered(&self) -> u64 {
        self.published + self.refused + self.unanswered
    }
}

/// Runs to the end of the file; 1 if a line did not get its number.
pub fn run(replay: &Replay) -> ExitCode {
    let mut told = Told::default();
    let result = publish_all(replay, &mut told);
    let Told { published, refused, unanswered, why } = told;
    let mut line = format!("published {published}");
    if refused > 0 {
        let _ = write!(line, ", refused {refused} ({})", why.unwrap_or_default());
    }
    if unanswered > 0 {
        let _ = write!(line, ", without an answer {unanswered}");
    }
    // Whoever does not read it knows by the exit code.
    let _ = text::print(&format!("{line}\n"));
    match result {
        Ok(()) if refused + unanswered == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(Problem::File(why)) => {
            eprintln!("tapecast: {}: {why}", replay.file);
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Problem::Server(error)) => {
            eprintln!("tapecast: {}: {error}", replay.url);
            ExitCode::FAILURE
        }
    }
}

/// Whose fault it is.
enum Problem {
    File(String),
    Server(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Server(error)
    }
}

fn open(file: &str) -> io::Result<Box<dyn Read>> {
    Ok(match file {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path)?),
    })
}

fn publish_all(replay: &Replay, told: &mut Told) -> Result<(), Problem> {
    // Before anything is published.
    let mut rounds = if replay.r#loop { u64::MAX } else { 1 };
    if replay.r#loop && replay.file == "-" {
        return Err(Problem::File("the standard input can't begin anew".into()));
    }
    let mut input = Some(open(&replay.file).map_err(|error| Problem::File(error.to_string()))?);
    let mut client = Client::connect(&replay.url)?;
    let mut asked = 0;
    while rounds > 0 {
        let file = match input.take() {
            Some(file) => file,
            None => open(&replay.file).map_err(|error| Problem::File(error.to_string()))?,
        };
        let before = asked;
        if let Err(problem) = publish_file(replay, file, &mut client, told, &mut asked) {
            // What was published before it is not lost.
            answers(&mut client, told, asked)?;
            return Err(problem);
        }
        if asked == before {
            return Err(Problem::File("there are no lines below the names of columns".into()));
        }
        rounds -= 1;
    }
    answers(&mut client, told, asked)?;
    client.close();
    Ok(())
}

/// The error for a file that can't be read, with the number of the line.
fn broken(error: &csv::Error, lines: &RefCell<Lines>) -> Problem {
    Problem::File(match error.kind() {
        csv::ErrorKind::Utf8 { pos: Some(position), .. } => {
            format!("line {} is not UTF-8", lines.borrow_mut().number(position.byte()))
        }
        _ => error.to_string(),
    })
}

/// Whether a line has the names of columns: one file may be put behind another, each with them
/// and with a byte order mark.
fn is_header(line: &csv::StringRecord, header: &csv::StringRecord) -> bool {
    line.iter().map(|field| field.trim_start_matches('\u{feff}')).eq(header.iter())
}

/// Waits for the last answers.
fn answers(client: &mut Client, told: &mut Told, asked: u64) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    while told.answered() < asked {
        let left = end.saturating_duration_since(Instant::now());
        match client.next_within(left)? {
            Some(event) => told.take(event),
            None => break,
        }
    }
    told.unanswered += asked - told.answered();
    Ok(())
}

fn publish_file(
    replay: &Replay,
    file: Box<dyn Read>,
    client: &mut Client,
    told: &mut Told,
    asked: &mut u64,
) -> Result<(), Problem> {
    let (file, numbers) = Numbering::new(file);
    let mut lines = csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(file);
    let names = lines.headers().map_err(|error| broken(&error, &numbers))?.clone();
    let header = names.clone();
    let names = names.iter().map(str::to_owned).collect();
    let columns = Columns::new(names, replay).map_err(Problem::File)?;
    if columns.time.is_none() && replay.speed != Speed::Max {
        let why = format!(
            "no column is called {}: name one with --time, or give --speed max",
            TIMES.join(", ")
        );
        return Err(Problem::File(why));
    }
    let start = Instant::now();
    let mut first = None;
    let mut told_at = start;
    let mut line = csv::StringRecord::new();
    while lines.read_record(&mut line).map_err(|error| broken(&error, &numbers))? {
        let number = line.position().map_or(0, |at| numbers.borrow_mut().number(at.byte()));
        if line.len() != header.len() {
            let (fields, columns) = (line.len(), header.len());
            let why = format!("line {number} has {fields} fields, and there are {columns} columns");
            return Err(Problem::File(why));
        }
        if is_header(&line, &header) {
            eprintln!("tapecast: line {number} has the names of columns again: it is left out");
            continue;
        }
        if let (Some(column), Speed::Times(times)) = (columns.time, replay.speed) {
            let value = line.get(column).unwrap_or_default();
            let at = time(value)
                .ok_or_else(|| Problem::File(format!("line {number}: {value:?} is no time")))?;
            let after = at.saturating_sub(*first.get_or_insert(at)).div_f64(times);
            let when = start.checked_add(after).ok_or_else(|| {
                Problem::File(format!("line {number}: {value:?} is too long after the first time"))
            })?;
            wait_until(when, client, told)?;
        }
        let (channel, json) = (columns.channel(&line), columns.json(&line));
        let key = columns.key.and_then(|column| line.get(column));
        loop {
            match client.publish(&channel, key, &json) {
                Ok(_) => break,
                // It is faster than the server: until something is answered.
                Err(Error::Full) => told.take(client.next()?),
                Err(error) => return Err(error.into()),
            }
        }
        *asked += 1;
        while let Some(event) = client.next_within(Duration::ZERO)? {
            told.take(event);
        }
        if told_at.elapsed() >= TELL_EVERY {
            told_at = Instant::now();
            eprintln!("tapecast: {asked} lines");
        }
    }
    Ok(())
}

/// Takes answers until it is time.
fn wait_until(when: Instant, client: &mut Client, told: &mut Told) -> Result<(), Error> {
    loop {
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if let Some(event) = client.next_within(left)? {
            told.take(event);
        }
    }
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
    fn columns() {
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
        assert!(wrong(&["time", "price", "price"]).contains("two columns are called \"price\""));
        assert!(wrong(&["1795300138", "BTC", "64000"]).starts_with("line 1 has \"1795300138\""));
        assert!(wrong(&["2026-11-21T22:28:58Z", "BTC"]).contains("no name of a column"));
        assert!(wrong(&["1", "2"]).contains("no name of a column"));
        assert!(Columns::new(names(&["country", "2023", "2024"]), &replay(&[])).is_ok());
    }

    #[test]
    fn times() {
        let seconds = Some(Duration::from_millis(1_795_300_138_500));
        for text in [
            "1795300138.5",
            "1795300138500",
            "1795300138500000",
            "1795300138500000000",
            "2026-11-21T22:28:58.5Z",
            "2026-11-21 22:28:58.5",
            "2026-11-21T22:28:58.5+00:00",
            "2026-11-21T23:28:58.5+01:00",
            "2026-11-22 03:58:58.5+0530",
            "2026-11-21T14:28:58.5-08:00",
        ] {
            assert_eq!(time(text), seconds, "{text}");
        }
        assert_eq!(time("2026-11-21"), Some(Duration::from_secs(1_795_219_200)));
        for text in ["", "yesterday", "-5", "NaN", "2026-13-01", "2026-11-21T22:28:58+99:00"] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(speed("max"), Ok(Speed::Max));
        assert!(speed("0").is_err() && speed("-1").is_err() && speed("inf").is_err());
    }
}
