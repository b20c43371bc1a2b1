//! Numbers for people and programs. Server CPU per message stands first: where it
//! is missing, throughput may be the generator's, not the server's.

use crate::arguments::Arguments;
use crate::process::Sample;
use crate::verdict::FailIf;
use crate::worker::{Counted, Spent};
use hdrhistogram::Histogram;
use std::fmt::Write;

/// What a run found: names, values and units in order.
pub struct Report {
    rows: Vec<(&'static str, f64, &'static str)>,
    warning: Option<&'static str>,
}

impl Report {
    /// A measured run.
    pub fn new(arguments: &Arguments, counted: &Counted, spent: Spent) -> Report {
        let seconds = spent.elapsed.as_secs_f64();
        let messages = counted.messages.max(1) as f64;
        let microseconds =
            |percentile| counted.latency.value_at_percentile(percentile) as f64 / 1e3;
        let mut per_connection = counted.per_connection.clone();
        per_connection.sort_unstable();
        let mut rows = Vec::new();
        let mut server_busy = 0.0;
        if let Some((before, after)) = spent.server {
            let cpu_ns = (after.cpu_ns - before.cpu_ns) as f64;
            server_busy = cpu_ns / 1e9 / seconds;
            rows.push(("server_cpu_per_message", cpu_ns / 1e3 / messages, "us"));
            rows.push(("server_cpu", server_busy * 100.0, "% of a core"));
            rows.push(("server_resident", after.resident_bytes as f64 / 1e6, "MB"));
            rows.push(("server_descriptors", after.descriptors as f64, ""));
            rows.push(("server_threads", after.threads as f64, ""));
        }
        rows.extend([
            ("messages", counted.messages as f64, ""),
            ("throughput", messages / seconds, "/s"),
            ("payload", counted.bytes as f64 / 1e6 / seconds, "MB/s"),
            ("latency_p50", microseconds(50.0), "us"),
            ("latency_p90", microseconds(90.0), "us"),
            ("latency_p99", microseconds(99.0), "us"),
            ("latency_p99_9", microseconds(99.9), "us"),
            ("latency_p99_99", microseconds(99.99), "us"),
            ("latency_max", counted.latency.max() as f64 / 1e3, "us"),
            ("connection_min", per_connection.first().copied().unwrap_or(0) as f64, "messages"),
            (
                "connection_median",
                per_connection.get(per_connection.len() / 2).copied().unwrap_or(0) as f64,
                "messages",
            ),
            (
                "generator_cpu",
                spent.own_cpu_ns as f64 / 1e7 / seconds / f64::from(arguments.threads),
                "% of its cores",
            ),
        ]);
        if let Some(rate) = arguments.rate {
            let of = |histogram: &Histogram<u64>, percentile| {
                histogram.value_at_percentile(percentile) as f64 / 1e3
            };
            let sent = counted.lateness.len() as f64 / seconds;
            rows.extend([
                ("rate_planned", rate, "/s"),
                ("rate_sent", sent, "/s"),
                ("lateness_p99", of(&counted.lateness, 99.0), "us"),
                ("lateness_max", counted.lateness.max() as f64 / 1e3, "us"),
                ("unanswered", counted.unanswered as f64, "messages"),
                ("uncorrected_p50", of(&counted.uncorrected, 50.0), "us"),
                ("uncorrected_p99", of(&counted.uncorrected, 99.0), "us"),
                ("uncorrected_p99_9", of(&counted.uncorrected, 99.9), "us"),
            ]);
            let warning = (sent < 0.99 * rate).then_some(
                "the planned rate was not kept: latency runs from the planned times all the same",
            );
            return Report { rows, warning };
        }
        let warning = (spent.server.is_some() && server_busy < 0.9).then_some(
            "the server was not busy: throughput is the generator's limit; compare CPU per message",
        );
        Report { rows, warning }
    }

    /// Memory of idle connections.
    pub fn idle(connections: usize, without: &Sample, with: &Sample) -> Report {
        let grown = with.resident_bytes as f64 - without.resident_bytes as f64;
        let rows = vec![
            ("resident_per_connection", grown / connections as f64, "bytes"),
            ("connections", connections as f64, ""),
            ("server_resident_without", without.resident_bytes as f64 / 1e6, "MB"),
            ("server_resident_with", with.resident_bytes as f64 / 1e6, "MB"),
            ("server_descriptors", with.descriptors as f64, ""),
        ];
        Report { rows, warning: None }
    }

    /// What of `bounds` is met, in words.
    pub fn failures(&self, bounds: &[FailIf]) -> Vec<String> {
        let of = |bound: &FailIf| {
            let row = self.rows.iter().find(|row| row.0 == bound.value);
            match row {
                None => Some(format!("{bound}: the report has no {}", bound.value)),
                Some((name, value, unit)) => {
                    bound.is_met(*value).then(|| format!("{bound}: {name} is {value:.3} {unit}"))
                }
            }
        };
        bounds.iter().filter_map(of).collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value, unit) in &self.rows {
            let precision = if *value < 10.0 && value.fract() != 0.0 { 3 } else { 0 };
            let _ = writeln!(text, "{name:<24} {value:>14.precision$} {unit}");
        }
        if let Some(warning) = self.warning {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    /// For programs: one flat object.
    pub fn json(&self) -> String {
        let fields: Vec<String> =
            self.rows.iter().map(|(name, value, _)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }
}
