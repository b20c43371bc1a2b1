//! The charts of the page, and their lines.

use super::chart::{Chart, Series};
use super::text::{escaped, time, trimmed};
use crate::report::contents::Report;
use crate::report::format::amount;
use crate::report::recorded::Recorded;
use crate::report::second::Second;

/// All charts. A chart without points is not drawn.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let rows = &report.rows;
    let over_time = |name: &str, of: &dyn Fn(&Second) -> Option<f64>| Series {
        name: name.to_owned(),
        points: rows.iter().filter_map(|row| Some((row.at, of(row)?))).collect(),
    };
    let a_second = |count: u64, row: &Second| Some(count as f64 / row.lasting.max(1e-9));
    let seconds: fn(f64) -> String = |at| trimmed(&format!("{at:.1} s"));
    let percentile = |percentile: f64| move |row: &Second| row.latency.us(percentile);
    vec![
        Chart {
            title: "Messages a second",
            x: "time",
            series: vec![
                over_time("received", &|row| a_second(row.sums.messages, row)),
                over_time("sent", &|row| a_second(row.sums.sent, row)),
            ],
            show_x: seconds,
            show_y: amount,
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Errors a second",
            x: "time",
            series: if rows.iter().any(|row| row.sums.faults > 0) {
                vec![over_time("errors", &|row| a_second(row.sums.faults, row))]
            } else {
                Vec::new()
            },
            show_x: seconds,
            show_y: amount,
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Latency over time",
            x: "time",
            series: vec![
                over_time("p50", &percentile(50.0)),
                over_time("p90", &percentile(90.0)),
                over_time("p99", &percentile(99.0)),
                over_time("p99.9", &percentile(99.9)),
                over_time("max", &|row| row.latency.max_us()),
            ],
            show_x: seconds,
            show_y: time,
            step_min: 0.1,
            is_logarithmic: true,
        },
        Chart {
            title: "Latency by percentile",
            x: "percentile",
            // Several groups do different things: each has a line.
            series: match &report.groups[..] {
                [group] => vec![
                    by_percentile("from the planned time", &group.figures.latency),
                    by_percentile("uncorrected", &group.figures.uncorrected),
                ],
                groups => groups
                    .iter()
                    .map(|group| by_percentile(&escaped(&group.name), &group.figures.latency))
                    .collect(),
            },
            show_x: |nines| {
                let digits = nines.ceil() as usize;
                trimmed(&format!("{:.digits$} %", 100.0 - 100.0 / 10f64.powf(nines)))
            },
            show_y: time,
            step_min: 1.0,
            is_logarithmic: true,
        },
        Chart {
            title: "CPU, % of a core",
            x: "time",
            series: vec![
                over_time("server", &|row| row.server_busy.map(|busy| busy * 100.0)),
                over_time("busiest thread of the generator", &|row| {
                    row.busiest().map(|busy| busy * 100.0)
                }),
            ],
            show_x: seconds,
            show_y: |percent| trimmed(&format!("{percent:.1} %")),
            step_min: 0.1,
            is_logarithmic: false,
        },
        Chart {
            title: "Resident memory of the server",
            x: "time",
            series: vec![over_time("resident", &|row| {
                Some(row.server?.resident_bytes as f64 / 1e6)
            })],
            show_x: seconds,
            show_y: |megabytes| trimmed(&format!("{megabytes:.1} MB")),
            step_min: 0.1,
            is_logarithmic: false,
        },
    ]
}

/// A distribution over the nines of its percentiles: 1 is 90 %, 2 is 99 %.
fn by_percentile(name: &str, recorded: &Recorded) -> Series {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-7).log10();
    let points = recorded
        .0
        .iter_quantiles(5)
        .take_while(|step| step.quantile_iterated_to() < 1.0)
        .map(|step| (nines(step.quantile_iterated_to()), step.value_iterated_to() as f64 / 1e3))
        .collect();
    Series { name: name.to_owned(), points }
}
