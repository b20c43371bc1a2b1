//! Publishes the lines of a file, each when it is due, and counts the answers.

use super::arguments::{Replay, Speed};
use super::columns::{Columns, TIMES, time};
use super::lines::{Lines, Numbering};
use crate::cli::output::{EXIT_CONFIG, complain, print};
use crate::client::{Client, Error, Event};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often it reports its progress.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How long it waits for the last answers.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// The answers to the lines that were published.
#[derive(Debug, Default)]
struct Answers {
    published: u64,
    refused: u64,
    unanswered: u64,
    /// The reason for the first refusal.
    why: Option<String>,
}

impl Answers {
    fn take(&mut self, event: Event) {
        match event {
            Event::Published { .. } => self.published += 1,
            Event::Unanswered { .. } => self.unanswered += 1,
            Event::Refused { code, message, .. } => {
                self.refused += 1;
                self.why.get_or_insert_with(|| format!("{code} {message}"));
            }
            Event::Disconnected { reason } => complain(format_args!("{reason}; reconnecting")),
            Event::Connected => complain("reconnected"),
            _ => {}
        }
    }

    fn count(&self) -> u64 {
        self.published + self.refused + self.unanswered
    }
}

/// Runs to the end of the file; 1 if the server did not accept every line.
pub fn run(replay: &Replay) -> ExitCode {
    let mut answers = Answers::default();
    let result = publish_all(replay, &mut answers);
    let Answers { published, refused, unanswered, why } = answers;
    let mut line = format!("published {published}");
    if refused > 0 {
        let _ = write!(line, ", refused {refused} ({})", why.unwrap_or_default());
    }
    if unanswered > 0 {
        let _ = write!(line, ", unanswered {unanswered}");
    }
    // The exit code reports it too.
    let _ = print(&format!("{line}\n"));
    match result {
        Ok(()) if refused + unanswered == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(Problem::File(why)) => {
            complain(format_args!("{}: {why}", replay.file));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Problem::Server(error)) => {
            complain(format_args!("{}: {error}", replay.url));
            ExitCode::FAILURE
        }
    }
}

/// A fault, by the side that made it.
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

fn publish_all(replay: &Replay, answers: &mut Answers) -> Result<(), Problem> {
    let mut rounds = if replay.r#loop { u64::MAX } else { 1 };
    if replay.r#loop && replay.file == "-" {
        return Err(Problem::File(
            "--loop needs a file: the standard input can't be read again".into(),
        ));
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
        if let Err(problem) = publish_file(replay, file, &mut client, answers, &mut asked) {
            // Lines published before the error are still counted.
            wait_for_answers(&mut client, answers, asked)?;
            return Err(problem);
        }
        if asked == before {
            return Err(Problem::File("the file has no lines below the column names".into()));
        }
        rounds -= 1;
    }
    wait_for_answers(&mut client, answers, asked)?;
    client.close();
    Ok(())
}

/// The error for a line that can't be read, with its number.
fn broken(error: &csv::Error, lines: &RefCell<Lines>) -> Problem {
    Problem::File(match error.kind() {
        csv::ErrorKind::Utf8 { pos: Some(position), .. } => {
            format!("line {} is not UTF-8", lines.borrow_mut().number(position.byte()))
        }
        _ => error.to_string(),
    })
}

/// Whether a line repeats the column names, as where one file was appended to another, perhaps
/// with a byte order mark.
fn is_header(line: &csv::StringRecord, header: &csv::StringRecord) -> bool {
    line.iter().map(|field| field.trim_start_matches('\u{feff}')).eq(header.iter())
}

/// Waits for the last answers.
fn wait_for_answers(client: &mut Client, answers: &mut Answers, asked: u64) -> Result<(), Error> {
    let end = Instant::now() + ANSWER_WAIT;
    while answers.count() < asked {
        let left = end.saturating_duration_since(Instant::now());
        match client.next_within(left)? {
            Some(event) => answers.take(event),
            None => break,
        }
    }
    answers.unanswered += asked - answers.count();
    Ok(())
}

fn publish_file(
    replay: &Replay,
    file: Box<dyn Read>,
    client: &mut Client,
    answers: &mut Answers,
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
            "no column is named {}: name one with --time, or pass --speed max",
            TIMES.join(", ")
        );
        return Err(Problem::File(why));
    }
    let start = Instant::now();
    let mut first = None;
    let mut reported_at = start;
    let mut line = csv::StringRecord::new();
    while lines.read_record(&mut line).map_err(|error| broken(&error, &numbers))? {
        let number = line.position().map_or(0, |at| numbers.borrow_mut().number(at.byte()));
        if line.len() != header.len() {
            let (fields, columns) = (line.len(), header.len());
            let why = format!("line {number} has {fields} fields, but there are {columns} columns");
            return Err(Problem::File(why));
        }
        if is_header(&line, &header) {
            complain(format_args!("line {number} repeats the column names: skipped"));
            continue;
        }
        if let (Some(column), Speed::Times(times)) = (columns.time, replay.speed) {
            let value = line.get(column).unwrap_or_default();
            let at = time(value)
                .ok_or_else(|| Problem::File(format!("line {number}: {value:?} is not a time")))?;
            let after = at.saturating_sub(*first.get_or_insert(at)).div_f64(times);
            let when = start.checked_add(after).ok_or_else(|| {
                Problem::File(format!("line {number}: {value:?} is too far from the first time"))
            })?;
            wait_until(when, client, answers)?;
        }
        let (channel, json) = (columns.channel(&line), columns.json(&line));
        let key = columns.key.and_then(|column| line.get(column));
        loop {
            match client.publish(&channel, key, &json) {
                Ok(_) => break,
                // Too many requests are in flight: wait for an answer.
                Err(Error::Full) => answers.take(client.next()?),
                Err(error) => return Err(error.into()),
            }
        }
        *asked += 1;
        while let Some(event) = client.next_within(Duration::ZERO)? {
            answers.take(event);
        }
        if reported_at.elapsed() >= REPORT_EVERY {
            reported_at = Instant::now();
            complain(format_args!("{asked} lines"));
        }
    }
    Ok(())
}

/// Counts answers until a line is due.
fn wait_until(when: Instant, client: &mut Client, answers: &mut Answers) -> Result<(), Error> {
    loop {
        let left = when.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if let Some(event) = client.next_within(left)? {
            answers.take(event);
        }
    }
}
