//! Makes a report of a plan and the measurements.

use super::contents::{FORMAT, Report};
use super::figures::Figures;
use super::group::Group;
use super::judgement::Judgement;
use super::second::Second;
use crate::measure::{Found, GroupFound};
use crate::plan::{self, Pace, Plan};
use crate::profile::Scenario;
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

impl Report {
    /// The result of a run of `plan`. `name` is that of its profile, `profile` the profile in
    /// effect, as text. It is not judged yet.
    pub fn new(name: &str, profile: String, plan: &Plan, found: &mut Found) -> Report {
        let started = found.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let [before, with] = found.own;
        let grown = with.resident_bytes.saturating_sub(before.resident_bytes) as f64;
        let mut at = 0.0;
        let rows: Vec<Second> = found.rows.iter().map(|row| Second::new(row, &mut at)).collect();
        let groups = plan.groups.iter().zip(&mut found.groups);
        let mut report = Report {
            format: FORMAT,
            name: name.to_owned(),
            profile,
            started,
            seconds: found.elapsed.as_secs_f64(),
            is_interrupted: found.is_interrupted,
            late: found.late.as_secs_f64(),
            groups: groups.map(|(group, found)| Group::new(group, found)).collect(),
            // The very last row may be of the moment in which connections are closed.
            open_at_end: rows.iter().rev().take(2).map(|row| row.open).max(),
            rows,
            server: found.server,
            threads: found.threads.clone(),
            own_bytes_per_connection: (found.open > 0).then_some(grown / found.open as f64),
            judgement: Judgement::default(),
            values: BTreeMap::new(),
        };
        report.name_values();
        report
    }
}

impl Group {
    fn new(group: &plan::Group, found: &mut GroupFound) -> Group {
        let mut per_connection = found.per_connection.clone();
        per_connection.sort_unstable();
        let at = |index: usize| per_connection.get(index).copied().unwrap_or(0);
        let (rate, in_flight) = match &group.pace {
            Pace::Open { steps, .. } => match &steps[..] {
                [step] => (Some(step.per_second), None),
                _ => (None, None),
            },
            Pace::Closed { in_flight } => (None, Some(*in_flight)),
        };
        Group {
            name: group.name.clone(),
            scenario: format!("{:?}", group.scenario).to_lowercase(),
            connections: group.connections(),
            staying: group.staying(),
            rate: rate.filter(|_| group.scenario != Scenario::Idle),
            in_flight,
            senders: group.senders(),
            promised: group.promised(found.counted.sent),
            figures: Figures::new(&mut found.counted),
            stalled: found.stalled.as_mut().map(Figures::new),
            connection_min: at(0),
            connection_median: at(per_connection.len() / 2),
        }
    }
}
