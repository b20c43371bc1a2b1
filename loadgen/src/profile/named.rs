//! The names of the values that a report has: the vocabulary of bounds like `p99>5ms`. The
//! report computes the values; a bound can be checked for its name before the run.

/// Every name, with its meaning; an empty meaning is that of the name before it. If there are
/// several groups, each has its own values too, named `GROUP.NAME`.
pub const NAMES: &[(&str, &str)] = &[
    ("server_cpu_per_message", "server CPU per reply or delivery, µs"),
    ("server_cpu", "server CPU, % of a core"),
    ("server_resident", "resident memory of the server at the end, MB"),
    ("server_resident_per_connection", "growth of that while connections opened, bytes each"),
    ("server_descriptors", "descriptors of the server at the end"),
    ("server_threads", "threads of the server at the end"),
    ("messages", "replies, deliveries, or (connect) connections that completed"),
    ("throughput", "messages a second"),
    ("payload", "payload of messages, MB/s"),
    ("latency_p50", "from the planned time to the reply, µs; also p90, p99, p99_9, p99_99, max"),
    ("latency_p90", ""),
    ("latency_p99", ""),
    ("latency_p99_9", ""),
    ("latency_p99_99", ""),
    ("latency_max", ""),
    ("uncorrected_p50", "what a closed loop would report, µs; also p99, p99_9, max"),
    ("uncorrected_p99", ""),
    ("uncorrected_p99_9", ""),
    ("uncorrected_max", ""),
    ("rate_planned", "messages planned a second"),
    ("rate_sent", "messages sent a second"),
    ("lateness_p99", "from the planned time to the send, µs; also max"),
    ("lateness_max", ""),
    ("unanswered", "messages without an answer at the end"),
    ("gaps", "numbers that never arrived, over all readers"),
    ("duplicates", "messages that arrived twice"),
    ("reordered", "messages that arrived after a later one"),
    ("other", "messages that nothing awaited"),
    ("stalled_messages", "deliveries to readers that stalled"),
    ("stalled_gaps", "numbers that those readers missed"),
    ("stalled_errors", "faults of their connections"),
    ("opened", "accepted handshakes"),
    ("handshakes", "accepted handshakes a second, for connect"),
    ("handshake_p50", "from the planned time to the accepted handshake, µs; also p99, max"),
    ("handshake_p99", ""),
    ("handshake_max", ""),
    ("connection_min", "messages of the connection with the fewest"),
    ("connection_median", "messages of the median connection"),
    ("errors", "faults of all kinds"),
    ("generator_cpu", "how busy the busiest thread of the generator was, %"),
    ("generator_bytes_per_connection", "memory of the generator per connection, bytes"),
];

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Time,
    Percent,
    /// Anything else.
    Number,
}

/// The unit of the value of this name, or of a group's.
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

/// The values that have percentiles.
const DISTRIBUTIONS: [&str; 4] = ["latency", "uncorrected", "lateness", "handshake"];

/// The distribution and the percentile, from 0 to 100, that a name like latency_p97_5 means.
pub fn percentile(name: &str) -> Option<(&'static str, f64)> {
    let (distribution, percentile) = name.split_once("_p")?;
    let distribution = DISTRIBUTIONS.into_iter().find(|known| *known == distribution)?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let percentile = Some(percentile).filter(|text| is_number(text))?.replacen('_', ".", 1);
    percentile.parse().ok().filter(|it| (0.0..=100.0).contains(it)).map(|it| (distribution, it))
}

/// The full name for a short one: a percentile of latency needs neither "latency_" nor
/// underscores.
pub(super) fn full_name(name: &str) -> Option<String> {
    let latency = format!("latency_{}", name.replace('.', "_"));
    let is_known =
        |name: &str| NAMES.iter().any(|(known, _)| *known == name) || percentile(name).is_some();
    let names = [name.to_owned(), name.replace('.', "_"), latency];
    names.into_iter().find(|name| is_known(name))
}
