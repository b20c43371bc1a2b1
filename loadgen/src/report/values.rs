//! The named values of a report. Server CPU per message is first: where it is missing, the
//! throughput may be the generator's limit, not the server's.

use super::contents::Report;
use super::figures::Figures;
use super::group::Group;
use super::recorded::Recorded;
use crate::profile::percentile;

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: String,
    pub number: f64,
    pub unit: &'static str,
}

/// Collects values.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn add(&mut self, name: &str, number: impl Into<Option<f64>>, unit: &'static str) {
        if let Some(number) = number.into() {
            self.0.push(Value { name: name.to_owned(), number, unit });
        }
    }

    fn percentiles(&mut self, name: &str, recorded: &Recorded, percentiles: &[f64]) {
        for percentile in percentiles {
            let digits = percentile.to_string().replace('.', "_");
            self.add(&format!("{name}_p{digits}"), recorded.us(*percentile), "us");
        }
        self.add(&format!("{name}_max"), recorded.max_us(), "us");
    }
}

impl Report {
    /// Stores the named values with the report.
    pub fn name_values(&mut self) {
        self.values = self.values().into_iter().map(|value| (value.name, value.number)).collect();
    }

    /// The value of this name, of all groups or of one (`GROUP.NAME`): one of
    /// [`NAMES`](crate::profile::NAMES), or any percentile of a distribution.
    pub fn value(&self, name: &str) -> Option<f64> {
        if let Some(number) = self.values.get(name) {
            return Some(*number);
        }
        let (group, name) = match name.rsplit_once('.') {
            Some((group, name)) => (Some(group), name),
            None => (None, name),
        };
        let (distribution, at) = percentile(name)?;
        let figures = match group {
            None => self.total(),
            Some(name) => self.groups.iter().find(|group| group.name == name)?.figures.clone(),
        };
        match distribution {
            "latency" if figures.messages == 0 => None,
            "latency" => figures.latency.us(at),
            "uncorrected" => figures.uncorrected.us(at),
            "lateness" => figures.lateness.us(at),
            _ => figures.handshake.us(at),
        }
    }

    /// The values of all groups together, then, if there are several groups, of each.
    pub fn values(&self) -> Vec<Value> {
        let mut values = Values::default();
        let total = self.total();
        self.server_values(&mut values, &total);
        self.figures(&mut values, &total, &self.groups);
        let errors: u64 = self.faults().iter().map(|fault| fault.count).sum();
        values.add("errors", errors as f64, "");
        values.add("generator_cpu", self.busiest() * 100.0, "% of its busiest core");
        values.add("generator_bytes_per_connection", self.own_bytes_per_connection, "bytes");
        if self.groups.len() > 1 {
            for group in &self.groups {
                let mut of_group = Values::default();
                self.figures(&mut of_group, &group.figures, std::slice::from_ref(group));
                of_group.add("errors", group.figures.errors() as f64, "");
                values.0.extend(of_group.0.into_iter().map(|mut value| {
                    value.name = format!("{}.{}", group.name, value.name);
                    value
                }));
            }
        }
        values.0
    }

    /// CPU and memory of the server's process, if it was sampled.
    fn server_values(&self, values: &mut Values, total: &Figures) {
        if let Some([before, start, end]) = self.server {
            let cpu_us = end.cpu_ns.saturating_sub(start.cpu_ns) as f64 / 1e3;
            if total.messages > 0 {
                values.add("server_cpu_per_message", cpu_us / total.messages as f64, "us");
            }
            values.add("server_cpu", self.server_busy().map(|busy| busy * 100.0), "% of a core");
            values.add("server_resident", end.resident_bytes as f64 / 1e6, "MB");
            let opened: u32 = self.groups.iter().map(|group| group.connections).sum();
            let grown = start.resident_bytes as f64 - before.resident_bytes as f64;
            let is_held = self.groups.iter().all(|group| group.scenario == "idle");
            let each = is_held.then_some(grown / f64::from(opened));
            values.add("server_resident_per_connection", each, "bytes");
            values.add("server_descriptors", end.descriptors as f64, "");
            values.add("server_threads", end.threads as f64, "");
        }
    }

    /// The counts of the connections of these groups.
    fn figures(&self, values: &mut Values, figures: &Figures, groups: &[Group]) {
        let has = |scenario: &str| groups.iter().any(|group| group.scenario == scenario);
        let has_order = has("broadcast") || has("topics") || has("echo");
        if has_order || has("connect") {
            let messages = figures.messages as f64;
            values.add("messages", messages, "");
            values.add("throughput", messages / self.seconds, "/s");
            values.add("payload", figures.bytes as f64 / 1e6 / self.seconds, "MB/s");
            if figures.messages > 0 {
                // Without replies there is no latency.
                values.percentiles("latency", &figures.latency, &[50.0, 90.0, 99.0, 99.9, 99.99]);
            }
        }
        let sending = || groups.iter().filter(|group| group.scenario != "idle");
        let is_open = sending().any(|group| group.in_flight.is_none());
        // A rate that changes is not one number.
        let planned: Option<f64> = sending().map(|group| group.rate).sum();
        if is_open {
            values.percentiles("uncorrected", &figures.uncorrected, &[50.0, 99.0, 99.9]);
            values.add("rate_planned", planned, "/s");
        }
        if sending().count() > 0 {
            values.add("rate_sent", figures.sent as f64 / self.seconds, "/s");
        }
        if is_open {
            values.percentiles("lateness", &figures.lateness, &[99.0]);
        }
        if is_open || has("connect") || figures.unanswered > 0 {
            values.add("unanswered", figures.unanswered as f64, "messages");
        }
        if has_order {
            values.add("gaps", figures.gaps as f64, "messages");
            values.add("duplicates", figures.duplicates as f64, "messages");
            values.add("reordered", figures.reordered as f64, "messages");
        }
        if figures.other > 0 {
            values.add("other", figures.other as f64, "messages");
        }
        let stalled: Vec<&Figures> =
            groups.iter().filter_map(|group| group.stalled.as_ref()).collect();
        if !stalled.is_empty() {
            let sum = |of: fn(&Figures) -> u64| stalled.iter().map(|it| of(it)).sum::<u64>() as f64;
            values.add("stalled_messages", sum(|stalled| stalled.messages), "messages");
            values.add("stalled_gaps", sum(|stalled| stalled.gaps), "messages");
            values.add("stalled_errors", sum(Figures::errors), "");
        }
        values.add("opened", figures.opened as f64, "connections");
        if groups.iter().all(|group| group.scenario == "connect") {
            values.add("handshakes", figures.opened as f64 / self.seconds, "/s");
        }
        values.percentiles("handshake", &figures.handshake, &[50.0, 99.0]);
        if let ([group], true) = (groups, has_order) {
            values.add("connection_min", group.connection_min as f64, "messages");
            values.add("connection_median", group.connection_median as f64, "messages");
        }
    }
}
