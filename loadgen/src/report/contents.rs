//! The report as data, and as JSON. Programs read the JSON: a field that changes its meaning
//! raises [`FORMAT`], and a field that an older report lacks has a default.

use super::figures::{FaultFound, Figures};
use super::group::Group;
use super::judgement::Judgement;
use super::second::Second;
use crate::measure::Sample;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The layout of the JSON.
pub(super) const FORMAT: u32 = 1;

/// The result of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    /// The name of the profile, and the profile in effect.
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
    /// The server before the first connection, and at the start and the end of measuring.
    pub server: Option<[Sample; 3]>,
    /// How busy each thread of the generator was, from 0 to 1.
    pub threads: Vec<f64>,
    /// Bytes of the generator's memory per connection, if connections opened before the load.
    pub own_bytes_per_connection: Option<f64>,
    /// The verdict on the run.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The named values, for programs: [`Report::values`] as it was when the report was made.
    #[serde(default)]
    pub values: BTreeMap<String, f64>,
}

impl Report {
    /// Reads a report that was written as JSON.
    ///
    /// # Errors
    /// It can't be read, or is no report, in words.
    pub fn read(path: &str) -> Result<Report, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let report: Report = serde_json::from_str(&text)
            .map_err(|error| format!("{path}: not a report written with --json: {error}"))?;
        match report.format {
            FORMAT => Ok(report),
            other => Err(format!(
                "{path}: the report has format {other}, expected {FORMAT}: write it with this \
                 version"
            )),
        }
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text") + "\n"
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

    /// Whether each group sent its planned messages, up to 1 %.
    pub fn keeps_rate(&self) -> bool {
        self.groups.iter().all(|group| group.figures.keeps_rate())
    }

    /// Cores that the server used while measuring.
    pub fn server_busy(&self) -> Option<f64> {
        let [_, start, end] = self.server?;
        Some(end.cpu_ns.saturating_sub(start.cpu_ns) as f64 / 1e9 / self.seconds)
    }

    /// How busy the busiest thread of the generator was, from 0 to 1.
    pub fn busiest(&self) -> f64 {
        self.threads.iter().copied().fold(0.0, f64::max)
    }

    /// The groups that send.
    pub fn sending(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.scenario != "idle")
    }

    /// The words before a message about a group: none, if there is only one.
    pub fn place(&self, group: &Group) -> String {
        if self.groups.len() == 1 { String::new() } else { format!("{}: ", group.name) }
    }
}
