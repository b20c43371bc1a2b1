//! What a run found, as data: it is written as JSON, read again, merged, compared,
//! and shown.
//!
//! | file | what is there |
//! |---|---|
//! | here | the data, and how runs of several machines become one |
//! | `judgement` | the verdict: passed, failed or suspicious |
//! | `values` | named values with units: what verdicts and programs look at |
//! | `recorded` | a histogram as JSON |
//! | `summary` | for people |
//! | `tables` | CSV, HdrHistogram's percentile table, Prometheus' text |
//! | `html` | one page with charts |
//! | `baseline` | what changed beyond noise |

mod baseline;
mod html;
mod judgement;
mod recorded;
mod summary;
mod tables;
mod values;

pub use baseline::compare;
pub use html::html;
pub use judgement::{Judgement, Verdict};
pub use recorded::Recorded;
pub use summary::{amount, summary, time};
pub use tables::{csv, hgrm, prometheus};
pub use values::{NAMES, Unit, percentile, unit};

use crate::measure::{Counted, Fault, Faults, Sums};
use crate::process::Sample;
use crate::profile::{Profile, Scenario};
use crate::run::{Found, GroupFound, Row};
use crate::verdict::FailIf;
use serde::{Deserialize, Serialize};
use std::time::UNIX_EPOCH;
use tapecast::client::Mode;

/// The layout of the JSON; raised when a field changes its meaning.
const FORMAT: u32 = 1;

/// What a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// The name of the profile, and the effective one.
    pub name: String,
    pub profile: String,
    /// When measuring started, in seconds since 1970, and how long it took.
    pub started: f64,
    pub seconds: f64,
    pub is_interrupted: bool,
    /// How many seconds after `start_at` the load started.
    pub late: f64,
    pub groups: Vec<Group>,
    pub rows: Vec<Second>,
    /// Connections that were open when measuring ended.
    #[serde(default)]
    pub open_at_end: Option<u64>,
    /// Before connecting, and at the start and the end of measuring.
    pub server: Option<[Sample; 3]>,
    /// How busy each thread of the generator was, from 0 to 1.
    pub threads: Vec<f64>,
    /// Bytes of its own memory per connection, if they were opened before the load.
    pub own_bytes_per_connection: Option<f64>,
    /// Whether it is as it was to be.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// Named values, for programs: [`Report::values`] as it was written.
    #[serde(default)]
    pub values: std::collections::BTreeMap<String, f64>,
}

/// What a group of connections found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub scenario: String,
    pub connections: u32,
    /// Connections that were to be open at the end: all, without those that are opened over and
    /// over, and those that do not read, which the server may close.
    #[serde(default)]
    pub staying: u32,
    /// Messages a second that were planned, if it is always the same.
    pub rate: Option<f64>,
    /// Closed loop: messages under way per connection.
    pub in_flight: Option<u32>,
    /// Connections that send.
    #[serde(default)]
    pub senders: u32,
    /// Replies or deliveries that what was sent promises; 0 where that is not known.
    #[serde(default)]
    pub promised: u64,
    pub figures: Figures,
    /// Of readers that stopped reading.
    pub stalled: Option<Figures>,
    /// Messages of the connection with the fewest, and of the one in the middle; of
    /// merged reports the smaller ones.
    pub connection_min: u64,
    pub connection_median: u64,
}

/// What connections counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
    pub unanswered: u64,
    /// Of those, what was planned and never left.
    #[serde(default)]
    pub unsent: u64,
    pub other: u64,
    pub gaps: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub opened: u64,
    pub latency: Recorded,
    pub uncorrected: Recorded,
    pub lateness: Recorded,
    pub handshake: Recorded,
    pub faults: Vec<FaultFound>,
}

/// A kind of fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultFound {
    pub kind: String,
    pub count: u64,
    pub example: String,
}

/// One second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Second {
    /// From the start of measuring to its end, in seconds.
    pub at: f64,
    pub lasting: f64,
    #[serde(flatten)]
    pub sums: Sums,
    pub open: u64,
    pub latency: Recorded,
    pub server: Option<Sample>,
    /// Share of a core that the server used, and that each thread of the generator did.
    pub server_busy: Option<f64>,
    pub busy: Vec<f64>,
}

impl Report {
    pub fn new(name: &str, profile: &Profile, found: &mut Found) -> Report {
        let started = found.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let [before, with] = found.own;
        let grown = with.resident_bytes.saturating_sub(before.resident_bytes) as f64;
        let mut at = 0.0;
        let rows: Vec<Second> = found.rows.iter().map(|row| second(row, &mut at)).collect();
        let mut report = Report {
            format: FORMAT,
            name: name.to_owned(),
            profile: profile.text(),
            started,
            seconds: found.elapsed.as_secs_f64(),
            is_interrupted: found.is_interrupted,
            late: found.late.as_secs_f64(),
            groups: profile
                .groups
                .iter()
                .zip(&mut found.groups)
                .map(|(group, found)| Group::new(group, found))
                .collect(),
            // The very last row may be of the moment in which they are closed.
            open_at_end: rows.iter().rev().take(2).map(|row| row.open).max(),
            rows,
            server: found.server,
            threads: found.threads.clone(),
            own_bytes_per_connection: (found.open > 0).then_some(grown / found.open as f64),
            judgement: Judgement::default(),
            values: Default::default(),
        };
        report.name_values();
        report.judge(&profile.fail_if);
        report
    }

    /// Judges it, by these objectives beside what its scenarios promise.
    pub fn judge(&mut self, fail_if: &[FailIf]) {
        self.judgement = judgement::judge(self, fail_if);
    }

    fn name_values(&mut self) {
        self.values = self.values().into_iter().map(|value| (value.name, value.number)).collect();
    }

    /// Reads a report that was written as JSON.
    ///
    /// # Errors
    /// It is not one, in words.
    pub fn read(path: &str) -> Result<Report, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let report: Report = serde_json::from_str(&text)
            .map_err(|error| format!("{path}: this is not a report of --json: {error}"))?;
        match report.format {
            FORMAT => Ok(report),
            other => Err(format!("{path}: written in format {other}, and this reads {FORMAT}")),
        }
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text") + "\n"
    }

    /// Adds what another machine found at the same time, and began no earlier.
    ///
    /// # Errors
    /// It ran something else.
    pub fn merge(&mut self, other: &Report) -> Result<(), String> {
        let names = |report: &Report| -> Vec<(String, String)> {
            let name = |group: &Group| (group.name.clone(), group.scenario.clone());
            report.groups.iter().map(name).collect()
        };
        if names(self) != names(other) {
            return Err("the reports are of different groups of connections".into());
        }
        let overlap = (self.started + self.seconds).min(other.started + other.seconds)
            - self.started.max(other.started);
        if overlap < 0.5 * self.seconds.min(other.seconds) {
            return Err(format!(
                "the runs were not at the same time: they share {:.1} of {:.1} seconds \
                 (--start-at lines them up)",
                overlap.max(0.0),
                self.seconds.min(other.seconds)
            ));
        }
        for (group, other) in self.groups.iter_mut().zip(&other.groups) {
            group.merge(other);
        }
        // Seconds of one time are one second.
        let shift = (other.started - self.started).round().max(0.0) as usize;
        for (index, row) in other.rows.iter().enumerate() {
            match self.rows.get_mut(index + shift) {
                Some(mine) => mine.merge(row),
                None => self.rows.push(Second { at: row.at + shift as f64, ..row.clone() }),
            }
        }
        self.open_at_end = self.open_at_end.zip(other.open_at_end).map(|(mine, its)| mine + its);
        self.threads.extend(&other.threads);
        self.started = self.started.min(other.started);
        self.seconds = self.seconds.max(other.seconds);
        self.is_interrupted |= other.is_interrupted;
        self.late = self.late.max(other.late);
        // Only one of them can be on the server's machine.
        self.server = self.server.or(other.server);
        self.own_bytes_per_connection =
            self.own_bytes_per_connection.or(other.own_bytes_per_connection);
        self.name_values();
        Ok(())
    }

    /// The figures of all groups together, without those of stalled readers.
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        for group in &self.groups {
            total.merge(&group.figures);
        }
        total
    }

    /// All faults, also those of stalled readers.
    pub fn faults(&self) -> Vec<FaultFound> {
        let mut all = Figures::default();
        for group in &self.groups {
            all.merge_faults(&group.figures);
            if let Some(stalled) = &group.stalled {
                all.merge_faults(stalled);
            }
        }
        all.faults
    }

    /// What a reader has to know before believing the numbers.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_interrupted {
            warnings.push(format!("ended early, after {:.1} s of measuring", self.seconds));
        }
        if self.late > 0.1 {
            warnings.push(format!(
                "the load started {:.1} s after --start-at: connections were still being opened",
                self.late
            ));
        }
        let sending = || self.groups.iter().filter(|group| group.scenario != "idle");
        let is_closed = sending().any(|group| group.in_flight.is_some());
        let busiest = self.threads.iter().copied().fold(0.0, f64::max);
        let server = self.server_busy();
        if busiest > 0.95 && server.is_none_or(|server| server < 0.9) {
            warnings.push(format!(
                "a thread of the generator was busy {:.0} % of the time: this is its limit, \
                 not the server's; give it more --threads or another machine",
                busiest * 100.0
            ));
        } else if is_closed && server.is_some_and(|server| server < 0.9) {
            warnings.push(
                "the server was not busy: throughput is not its limit; compare CPU per message"
                    .into(),
            );
        }
        for group in self.groups.iter().filter(|group| !group.figures.keeps_rate()) {
            let Figures { sent, unsent, .. } = group.figures;
            let name =
                if self.groups.len() > 1 { format!("{}: ", group.name) } else { String::new() };
            warnings.push(format!(
                "{name}the planned rate was not kept: {:.1} of {:.1} messages a second left; \
                 latency runs from the planned times all the same",
                sent as f64 / self.seconds,
                (sent + unsent) as f64 / self.seconds
            ));
        }
        warnings
    }

    /// Whether each group had as much leave as was planned for it, to 99 %.
    pub fn keeps_rate(&self) -> bool {
        self.groups.iter().all(|group| group.figures.keeps_rate())
    }

    /// Cores that the server used while measuring.
    pub fn server_busy(&self) -> Option<f64> {
        let [_, start, end] = self.server?;
        Some(end.cpu_ns.saturating_sub(start.cpu_ns) as f64 / 1e9 / self.seconds)
    }
}

fn second(row: &Row, at: &mut f64) -> Second {
    let lasting = row.lasting.as_secs_f64();
    *at += lasting;
    let share = |spent: std::time::Duration| spent.as_secs_f64() / lasting.max(1e-9);
    Second {
        at: *at,
        lasting,
        sums: row.sums,
        open: row.open(),
        latency: Recorded::coarse(&row.latency),
        server: row.server,
        server_busy: row.server.map(|_| share(row.server_cpu)),
        busy: row.busy.iter().map(|busy| share(*busy)).collect(),
    }
}

impl Second {
    fn merge(&mut self, other: &Second) {
        self.sums += other.sums;
        self.open += other.open;
        self.latency.merge(&other.latency);
        self.server = self.server.or(other.server);
        self.server_busy = self.server_busy.or(other.server_busy);
        self.busy.extend(&other.busy);
    }
}

impl Group {
    fn new(group: &crate::profile::Group, found: &mut GroupFound) -> Group {
        let mut per_connection = found.per_connection.clone();
        per_connection.sort_unstable();
        let at = |index: usize| per_connection.get(index).copied().unwrap_or(0);
        let planned = |steps: Vec<crate::profile::values::Step>| steps[0].per_second;
        let senders = match (group.scenario, group.publishers) {
            (Scenario::Broadcast | Scenario::Topics, publishers) if publishers > 0 => publishers,
            _ => group.connections,
        };
        let rate = group.rate.as_ref().filter(|rate| rate.steps.len() == 1);
        Group {
            name: group.name.clone(),
            scenario: format!("{:?}", group.scenario).to_lowercase(),
            connections: group.connections,
            staying: staying(group),
            rate: rate
                .filter(|_| group.scenario != Scenario::Idle)
                .map(|rate| planned(rate.total(senders))),
            in_flight: group.rate.is_none().then_some(group.in_flight),
            senders,
            promised: promised(group, &found.counted),
            figures: Figures::new(&mut found.counted),
            stalled: found.stalled.as_mut().map(Figures::new),
            connection_min: at(0),
            connection_median: at(per_connection.len() / 2),
        }
    }

    fn merge(&mut self, other: &Group) {
        self.connections += other.connections;
        self.staying += other.staying;
        self.rate = self.rate.zip(other.rate).map(|(rate, other)| rate + other);
        self.senders += other.senders;
        self.promised += other.promised;
        self.figures.merge(&other.figures);
        self.stalled = match (self.stalled.take(), &other.stalled) {
            (Some(mut stalled), Some(other)) => {
                stalled.merge(other);
                Some(stalled)
            }
            (mine, other) => mine.or_else(|| other.clone()),
        };
        self.connection_min = self.connection_min.min(other.connection_min);
        self.connection_median = self.connection_median.min(other.connection_median);
    }
}

/// Connections that are to be open at the end.
fn staying(group: &crate::profile::Group) -> u32 {
    let stalled = (f64::from(group.connections) * group.stalled).ceil() as u32;
    match group.scenario {
        Scenario::Connect => 0,
        _ => group.connections - stalled.min(group.connections),
    }
}

/// Replies or deliveries that what was sent promises: to a reader that stalls, or wants only
/// the newest, none.
fn promised(group: &crate::profile::Group, counted: &Counted) -> u64 {
    let readers = match group.scenario {
        Scenario::Echo => return counted.sent,
        Scenario::Connect | Scenario::Idle => return 0,
        Scenario::Broadcast => 1.0,
        Scenario::Topics if group.deliveries.is_empty() => 1.0,
        Scenario::Topics => {
            let all = group.deliveries.iter().filter(|delivery| delivery.mode == Mode::All).count();
            all as f64 / group.deliveries.len() as f64
        }
    };
    let each = f64::from(group.connections) * (1.0 - group.stalled) / f64::from(group.rooms);
    (counted.sent as f64 * (readers * each).floor()) as u64
}

impl Figures {
    fn new(counted: &mut Counted) -> Figures {
        let fault = |(kind, fault): (&str, &Fault)| FaultFound {
            kind: kind.to_owned(),
            count: fault.count,
            example: fault.example.clone(),
        };
        Figures {
            sent: counted.sent,
            messages: counted.messages,
            bytes: counted.bytes,
            unanswered: counted.unanswered,
            unsent: counted.unsent,
            other: counted.other,
            gaps: counted.gaps.max(0) as u64,
            duplicates: counted.duplicates,
            reordered: counted.reordered,
            opened: counted.opened,
            latency: Recorded(counted.latency.histogram().clone()),
            uncorrected: Recorded(counted.uncorrected.histogram().clone()),
            lateness: Recorded(counted.lateness.clone()),
            handshake: Recorded(counted.handshake.clone()),
            faults: counted.faults.iter().map(fault).collect(),
        }
    }

    /// Whether what was planned has left, but for 1 %, or what a moment at the end may hold
    /// up of very little.
    fn keeps_rate(&self) -> bool {
        self.unsent <= 2 || self.unsent * 100 <= self.sent + self.unsent
    }

    fn merge(&mut self, other: &Figures) {
        self.sent += other.sent;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.other += other.other;
        self.gaps += other.gaps;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.opened += other.opened;
        self.latency.merge(&other.latency);
        self.uncorrected.merge(&other.uncorrected);
        self.lateness.merge(&other.lateness);
        self.handshake.merge(&other.handshake);
        self.merge_faults(other);
    }

    fn merge_faults(&mut self, other: &Figures) {
        let mut faults = Faults::default();
        for found in self.faults.iter().chain(&other.faults) {
            let fault = Fault { count: found.count, example: found.example.clone() };
            faults.insert(&found.kind, fault);
        }
        self.faults = faults
            .iter()
            .map(|(kind, fault)| FaultFound {
                kind: kind.to_owned(),
                count: fault.count,
                example: fault.example.clone(),
            })
            .collect();
    }

    /// How many faults there were.
    pub fn errors(&self) -> u64 {
        self.faults.iter().map(|fault| fault.count).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A report of one group with this rate, or in a closed loop, in ten seconds.
    pub(super) fn report(
        rate: Option<f64>,
        sent: u64,
        threads: &[f64],
        server_cpu_s: Option<u64>,
    ) -> Report {
        let group = Group {
            name: "1".into(),
            scenario: "echo".into(),
            connections: 10,
            staying: 0,
            rate,
            in_flight: rate.is_none().then_some(1),
            senders: 0,
            promised: 0,
            figures: Figures { sent, ..Figures::default() },
            stalled: None,
            connection_min: 0,
            connection_median: 0,
        };
        let sample = |cpu_s| Sample { cpu_ns: cpu_s * 1_000_000_000, ..Sample::default() };
        Report {
            format: FORMAT,
            name: "echo".into(),
            profile: String::new(),
            started: 1e9,
            seconds: 10.0,
            is_interrupted: false,
            late: 0.0,
            groups: vec![group],
            rows: Vec::new(),
            open_at_end: None,
            server: server_cpu_s.map(|cpu_s| [sample(0), sample(0), sample(cpu_s)]),
            threads: threads.to_vec(),
            own_bytes_per_connection: None,
            judgement: Judgement::default(),
            values: Default::default(),
        }
    }

    #[test]
    fn what_makes_numbers_worth_less_is_said() {
        let check = |report: Report, expected: &[&str]| {
            let warnings = report.warnings();
            assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
            for (warning, words) in warnings.iter().zip(expected) {
                assert!(warning.contains(words), "{warning}");
            }
        };
        check(report(Some(100.0), 1_000, &[0.5], Some(2)), &[]);
        let mut late = report(Some(100.0), 900, &[0.5], None);
        late.groups[0].figures.unsent = 100;
        check(late.clone(), &["90.0 of 100.0 messages a second left"]);
        // One group that has kept its rate does not make up for another.
        let kept = report(Some(10_000.0), 100_000, &[0.5], None).groups.remove(0);
        late.groups.push(kept);
        check(late, &["1: the planned rate was not kept: 90.0 of 100.0"]);
        // Random arrivals may be so few.
        check(report(Some(1.0), 4, &[0.5], None), &[]);
        let limit = "busy 97 % of the time: this is its limit, not the server's";
        check(report(None, 1_000, &[0.5, 0.97], Some(5)), &[limit]);
        check(report(None, 1_000, &[0.97], None), &[limit]);
        // Where the server has no time left either, it may be the limit.
        check(report(None, 1_000, &[0.97], Some(10)), &[]);
        check(report(None, 1_000, &[0.5], Some(5)), &["the server was not busy"]);
        let early = Report { is_interrupted: true, late: 2.0, ..report(None, 1, &[0.1], None) };
        check(early, &["ended early", "started 2.0 s after"]);
    }

    #[test]
    fn merged_seconds_are_those_of_one_time() {
        let row = |at: f64, messages: u64| Second {
            at,
            lasting: 1.0,
            sums: Sums { messages, ..Sums::default() },
            open: 1,
            latency: Recorded::default(),
            server: None,
            server_busy: None,
            busy: vec![0.5],
        };
        let mut first = report(Some(1.0), 10, &[0.5], Some(1));
        first.rows = (1..=10).map(|at| row(at.into(), 1)).collect();
        let mut second = Report { started: first.started + 2.0, ..first.clone() };
        second.rows.iter_mut().for_each(|row| row.sums.messages = 10);
        first.merge(&second).unwrap();
        let messages: Vec<u64> = first.rows.iter().map(|row| row.sums.messages).collect();
        assert_eq!(messages, [1, 1, 11, 11, 11, 11, 11, 11, 11, 11, 10, 10]);
        assert_eq!((first.rows[11].at, first.threads.len()), (12.0, 2));
        let total = first.total();
        assert_eq!((total.sent, first.groups[0].rate), (20, Some(2.0)));
        let apart = Report { started: first.started + 9.0, ..second };
        assert!(first.merge(&apart).unwrap_err().contains("not at the same time"));
    }
}
