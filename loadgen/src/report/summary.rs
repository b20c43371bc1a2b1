//! The report for a terminal.

use super::contents::Report;
use super::figures::Figures;
use super::format::{amount, time};
use super::group::Group;
use super::judgement::Judgement;
use super::recorded::Recorded;
use std::fmt::Write;

/// With fewer connections, one-time allocations of a thread hide the cost of a connection.
const CONNECTIONS_MIN: u32 = 1_000;

/// Everything that matters, on one screen.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let several = report.groups.len() > 1;
    for group in &report.groups {
        let _ = writeln!(text, "{}", heading(report, group, several));
        table(&mut text, group);
        let _ = writeln!(text, "{}", counts(report, group));
        if let Some(stalled) = &group.stalled {
            let _ = writeln!(text, "{}", stalled_readers(stalled));
        }
        text.push('\n');
    }
    if let Some(line) = server(report) {
        let _ = writeln!(text, "server       {line}");
    }
    let threads: Vec<String> =
        report.threads.iter().map(|busy| format!("{:.0} %", busy * 100.0)).collect();
    let connections: u32 = report.groups.iter().map(|group| group.connections).sum();
    let memory = match report.own_bytes_per_connection {
        Some(each) if connections >= CONNECTIONS_MIN => {
            format!("; {each:.0} B of memory per connection")
        }
        _ => String::new(),
    };
    let _ = writeln!(text, "generator    threads busy {} of the time{memory}", threads.join(", "));
    let faults = report.faults();
    if faults.is_empty() {
        let _ = writeln!(text, "errors       none");
    }
    for fault in &faults {
        let _ = writeln!(text, "errors       {} x {}", amount(fault.count as f64), fault.kind);
        let _ = writeln!(text, "             first: {}", fault.example);
    }
    for warning in report.warnings() {
        let _ = writeln!(text, "warning      {warning}");
    }
    let Judgement { verdict, reasons } = &report.judgement;
    let _ = writeln!(text, "verdict      {verdict}");
    for reason in reasons {
        let _ = writeln!(text, "             {reason}");
    }
    text
}

/// A group's name, connections, load and duration.
pub(super) fn heading(report: &Report, group: &Group, several: bool) -> String {
    let name =
        if several { format!("{} ({})", group.name, group.scenario) } else { report.name.clone() };
    let model = match (group.rate, group.scenario.as_str()) {
        (_, "idle") => "held open".to_owned(),
        (Some(rate), _) => format!("open model, {} a second planned", amount(rate)),
        (None, _) => match group.in_flight {
            Some(count) => format!("closed loop, {count} in flight"),
            None => "open model, in steps".to_owned(),
        },
    };
    format!(
        "{name}: {} connections, {model}, {:.1} s measured",
        amount(f64::from(group.connections)),
        report.seconds
    )
}

fn table(text: &mut String, group: &Group) {
    let figures = &group.figures;
    let is_open = group.in_flight.is_none() && group.scenario != "idle";
    // Without replies there is no latency.
    let has_replies = figures.messages > 0;
    let rows: [(&str, &Recorded, bool); 4] = [
        ("latency", &figures.latency, has_replies),
        ("uncorrected", &figures.uncorrected, is_open && group.scenario != "connect"),
        ("lateness", &figures.lateness, is_open),
        ("handshake", &figures.handshake, true),
    ];
    if rows.iter().all(|(_, recorded, shown)| !shown || recorded.count() == 0) {
        return;
    }
    const PERCENTILES: [(&str, f64); 5] =
        [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];
    let _ = write!(text, "{:<12}", "");
    for (name, _) in PERCENTILES {
        let _ = write!(text, " {name:>9}");
    }
    let _ = writeln!(text, " {:>9}", "max");
    for (name, recorded, shown) in rows {
        if !shown || recorded.count() == 0 {
            continue;
        }
        let _ = write!(text, "{name:<12}");
        for (_, percentile) in PERCENTILES {
            let _ = write!(text, " {:>9}", time(recorded.us(percentile).unwrap_or_default()));
        }
        let _ = writeln!(text, " {:>9}", time(recorded.max_us().unwrap_or_default()));
    }
}

fn counts(report: &Report, group: &Group) -> String {
    let figures = &group.figures;
    let a_second = |count: u64| amount(count as f64 / report.seconds);
    let line = match group.scenario.as_str() {
        "idle" => {
            return format!("opened       {} connections", amount(figures.opened as f64));
        }
        "connect" => format!(
            "handshakes   {}, {} a second; {} connections completed, {} a second",
            amount(figures.opened as f64),
            a_second(figures.opened),
            amount(figures.messages as f64),
            a_second(figures.messages)
        ),
        "broadcast" | "topics" => format!(
            "deliveries   {}, {} a second, {:.2} MB/s; {} published",
            amount(figures.messages as f64),
            a_second(figures.messages),
            figures.bytes as f64 / 1e6 / report.seconds,
            amount(figures.sent as f64)
        ),
        _ => format!(
            "replies      {}, {} a second, {:.2} MB/s",
            amount(figures.messages as f64),
            a_second(figures.messages),
            figures.bytes as f64 / 1e6 / report.seconds
        ),
    };
    let Figures { gaps, duplicates, reordered, .. } = figures;
    // Echoes are in order unless something went wrong.
    let has_order = matches!(group.scenario.as_str(), "broadcast" | "topics");
    let order = if has_order || gaps + duplicates + reordered > 0 {
        format!("\norder        {gaps} gaps, {duplicates} duplicates, {reordered} reordered")
    } else {
        String::new()
    };
    let unanswered = match figures.unanswered {
        0 => String::new(),
        count => format!(
            "\nunanswered   {} at the end; counted with their time so far",
            amount(count as f64)
        ),
    };
    format!("{line}{order}{unanswered}")
}

fn stalled_readers(stalled: &Figures) -> String {
    let p99 = stalled.latency.us(99.0).map_or("-".into(), time);
    format!(
        "stalled      {} deliveries, p99 {p99}, {} gaps, {} errors",
        amount(stalled.messages as f64),
        stalled.gaps,
        stalled.errors()
    )
}

fn server(report: &Report) -> Option<String> {
    let [_, _, end] = report.server?;
    let value = |name: &str| report.values.get(name).copied();
    let mut parts = Vec::new();
    if let Some(each) = value("server_cpu_per_message") {
        parts.push(format!("{} CPU per message", time(each)));
    }
    if let Some(busy) = value("server_cpu") {
        parts.push(format!("{busy:.1} % of a core"));
    }
    let mut memory = format!("{:.1} MB", end.resident_bytes as f64 / 1e6);
    if let Some(each) = value("server_resident_per_connection") {
        memory += &format!(" ({each:.0} B per connection)");
    }
    parts.push(memory);
    parts.push(format!("{} descriptors, {} threads", end.descriptors, end.threads));
    Some(parts.join(", "))
}
