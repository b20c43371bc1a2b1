//! The page: the verdict, tiles with the most important values, charts, and tables.

use super::charts::charts;
use super::text::{escaped, time};
use crate::profile::NAMES;
use crate::report::contents::Report;
use crate::report::format::amount;
use crate::report::judgement::Judgement;
use crate::report::summary::heading;
use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    let name = escaped(&report.name);
    let started = UNIX_EPOCH + Duration::from_secs_f64(report.started);
    let started = humantime::format_rfc3339_seconds(started);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name} · tapecast-loadgen</title><style>{STYLE}</style></head><body><main>\
         <h1>{name}</h1><p>Measured from {started}.</p>"
    );
    let is_several = report.groups.len() > 1;
    for group in &report.groups {
        let _ = write!(page, "<p>{}.</p>", escaped(&heading(report, group, is_several)));
    }
    let Judgement { verdict, reasons } = &report.judgement;
    let _ = write!(page, "<p class=\"verdict {verdict}\">Verdict: <b>{verdict}</b>");
    for reason in reasons {
        let _ = write!(page, "<br>{}", escaped(reason));
    }
    page.push_str("</p>");
    for warning in report.warnings() {
        let _ = write!(page, "<p class=\"warning\">{}</p>", escaped(&warning));
    }
    tiles(&mut page, report);
    faults(&mut page, report);
    for chart in charts(report) {
        if chart.series.iter().any(|series| !series.points.is_empty()) {
            chart.draw(&mut page);
        }
    }
    values(&mut page, report);
    let _ = writeln!(
        page,
        "<details><summary>Profile</summary><pre>{}</pre></details></main>\
         <script>{SCRIPT}</script></body></html>",
        escaped(&report.profile)
    );
    page
}

/// The values that most readers look for first.
fn tiles(page: &mut String, report: &Report) {
    type Tile = (&'static str, &'static str, fn(f64) -> String);
    let tiles: [Tile; 9] = [
        ("throughput", "throughput", |it| format!("{} /s", amount(it))),
        ("p50", "latency_p50", time),
        ("p99", "latency_p99", time),
        ("p99.9", "latency_p99_9", time),
        ("server CPU per message", "server_cpu_per_message", time),
        ("handshakes", "handshakes", |it| format!("{} /s", amount(it))),
        ("memory per connection", "server_resident_per_connection", |it| format!("{it:.0} B")),
        ("gaps", "gaps", amount),
        ("errors", "errors", amount),
    ];
    page.push_str("<div class=\"tiles\">");
    for (title, name, show) in tiles {
        if let Some(number) = report.values.get(name) {
            let is_bad = matches!(name, "errors" | "gaps") && *number > 0.0;
            let class = if is_bad { " class=\"bad\"" } else { "" };
            let _ = write!(page, "<div{class}><b>{}</b><span>{title}</span></div>", show(*number));
        }
    }
    page.push_str("</div>");
}

/// A row for every value; if there are several groups, each has a column.
fn values(page: &mut String, report: &Report) {
    let values = report.values();
    let mut columns = vec![String::new()];
    page.push_str("<h2>Values</h2><div class=\"wide\"><table>");
    if report.groups.len() > 1 {
        page.push_str("<tr><th></th><th>all</th>");
        for group in &report.groups {
            let _ = write!(page, "<th>{}</th>", escaped(&group.name));
            columns.push(format!("{}.", group.name));
        }
        page.push_str("</tr>");
    }
    for (name, _) in NAMES {
        let of = |column: &String| {
            let full = format!("{column}{name}");
            values.iter().find(|value| value.name == full)
        };
        if columns.iter().all(|column| of(column).is_none()) {
            continue;
        }
        let _ = write!(page, "<tr><td>{name}</td>");
        for column in &columns {
            let text = of(column).map_or(String::new(), |value| match value.unit {
                "us" => time(value.number),
                unit if unit.starts_with('%') => format!("{} %", amount(value.number)),
                // The names of these values contain their unit.
                "messages" | "connections" => amount(value.number),
                unit => format!("{} {unit}", amount(value.number)),
            });
            let _ = write!(page, "<td class=\"number\">{text}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

/// A table of faults, if there are any.
fn faults(page: &mut String, report: &Report) {
    let faults = report.faults();
    if faults.is_empty() {
        return;
    }
    page.push_str("<h2>Errors</h2><table>");
    for fault in faults {
        let _ = write!(
            page,
            "<tr><td>{}<br><small>first: {}</small></td><td class=\"number\">{}</td></tr>",
            escaped(&fault.kind),
            escaped(&fault.example),
            amount(fault.count as f64)
        );
    }
    page.push_str("</table>");
}
