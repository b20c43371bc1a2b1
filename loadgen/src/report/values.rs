//! Named values with units. Server CPU per message stands first: where it is
//! missing, throughput may be the generator's, not the server's.

use super::{Figures, Group, Recorded, Report};

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: String,
    pub number: f64,
    pub unit: &'static str,
}

/// Every name there can be. Of several groups, each has them too, after its name and
/// a dot.
pub const NAMES: &[(&str, &str)] = &[
    ("server_cpu_per_message", "server CPU per reply or delivery, µs"),
    ("server_cpu", "server CPU, % of a core"),
    ("server_resident", "the server's resident memory at the end, MB"),
    ("server_resident_per_connection", "what that grew by with the connections, bytes each"),
    ("server_descriptors", "the server's descriptors at the end"),
    ("server_threads", "the server's threads at the end"),
    ("messages", "replies, deliveries, or connections that did what they came for"),
    ("throughput", "the same a second"),
    ("payload", "their payload, MB/s"),
    ("latency_p50", "from the planned time to the reply, µs; also p90, p99, p99_9, p99_99, max"),
    ("latency_p90", ""),
    ("latency_p99", ""),
    ("latency_p99_9", ""),
    ("latency_p99_99", ""),
    ("latency_max", ""),
    ("uncorrected_p50", "what a closed loop would have seen, µs; also p99, p99_9, max"),
    ("uncorrected_p99", ""),
    ("uncorrected_p99_9", ""),
    ("uncorrected_max", ""),
    ("rate_planned", "messages planned a second"),
    ("rate_sent", "messages sent a second"),
    ("lateness_p99", "how late they left, µs; also max"),
    ("lateness_max", ""),
    ("unanswered", "sent and without an answer at the end"),
    ("gaps", "numbers that never came, over all readers"),
    ("duplicates", "messages that came twice"),
    ("reordered", "messages that came after a later one"),
    ("other", "messages that are nothing awaited"),
    ("stalled_messages", "deliveries to readers that had stalled"),
    ("stalled_gaps", "what they missed"),
    ("stalled_errors", "what went wrong with their connections"),
    ("opened", "accepted handshakes"),
    ("handshakes", "accepted handshakes a second, for connect"),
    ("handshake_p50", "from the planned time to the accepted handshake, µs; also p99, max"),
    ("handshake_p99", ""),
    ("handshake_max", ""),
    ("connection_min", "messages of the connection that got the fewest"),
    ("connection_median", "messages of the connection in the middle"),
    ("errors", "faults of all kinds"),
    ("generator_cpu", "how busy the busiest thread of the generator was, %"),
    ("generator_bytes_per_connection", "its own memory per connection, bytes"),
];

/// What a value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Time,
    Percent,
    /// Anything else.
    Number,
}

/// What the value of this name, or of a group's, is measured in.
pub fn unit(name: &str) -> Unit {
    let name = name.rsplit('.').next().unwrap_or(name);
    let is_time = ["latency_", "uncorrected_", "lateness_", "handshake_"];
    match name {
        "server_cpu_per_message" => Unit::Time,
        "server_cpu" | "generator_cpu" => Unit::Percent,
        _ if is_time.iter().any(|start| name.starts_with(start)) => Unit::Time,
        _ => Unit::Number,
    }
}

/// What collects values.
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

/// The values that have percentiles.
const DISTRIBUTIONS: [&str; 4] = ["latency", "uncorrected", "lateness", "handshake"];

/// Which distribution and percentile a name means, like latency_p97_5: any from 0 to 100.
pub fn percentile(name: &str) -> Option<(&'static str, f64)> {
    let (distribution, percentile) = name.split_once("_p")?;
    let distribution = DISTRIBUTIONS.into_iter().find(|known| *known == distribution)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let percentile = Some(percentile).filter(|text| is_number(text))?.replacen('_', ".", 1);
    percentile.parse().ok().filter(|it| (0.0..=100.0).contains(it)).map(|it| (distribution, it))
}

impl Report {
    /// The value of this name, of all groups or of one (`GROUP.NAME`): one of [`NAMES`], or any
    /// percentile of a distribution.
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

    /// The values of all groups together, then, if there are several, of each.
    pub fn values(&self) -> Vec<Value> {
        let mut values = Values::default();
        let total = self.total();
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
        self.figures(&mut values, &total, &self.groups);
        let errors: u64 = self.faults().iter().map(|fault| fault.count).sum();
        values.add("errors", errors as f64, "");
        let busiest = self.threads.iter().copied().fold(0.0, f64::max);
        values.add("generator_cpu", busiest * 100.0, "% of its busiest core");
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

    fn figures(&self, values: &mut Values, figures: &Figures, groups: &[Group]) {
        let has = |scenario: &str| groups.iter().any(|group| group.scenario == scenario);
        let has_order = has("broadcast") || has("topics") || has("echo");
        if has_order || has("connect") {
            let messages = figures.messages as f64;
            values.add("messages", messages, "");
            values.add("throughput", messages / self.seconds, "/s");
            values.add("payload", figures.bytes as f64 / 1e6 / self.seconds, "MB/s");
            if figures.messages > 0 {
                // Of replies that never came there is none.
                values.percentiles("latency", &figures.latency, &[50.0, 90.0, 99.0, 99.9, 99.99]);
            }
        }
        let sending = || groups.iter().filter(|group| group.scenario != "idle");
        // Without a number where the rate changes.
        let is_open = sending().any(|group| group.in_flight.is_none());
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
