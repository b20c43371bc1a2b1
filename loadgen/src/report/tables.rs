//! The report as tables for other programs.

use super::contents::Report;
use super::recorded::Recorded;
use crate::profile::NAMES;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::AtomicU64;

/// A row a second. Times are in microseconds; a value that was not measured is empty.
pub fn csv(report: &Report) -> String {
    let mut text = String::from(
        "second,unix_time,sent,messages,bytes,opened,errors,open_connections,p50_us,p90_us,p99_us,\
         p99_9_us,max_us,server_cpu_percent,server_resident_bytes,server_descriptors,\
         server_threads,generator_cpu_percent\n",
    );
    for row in &report.rows {
        let or_empty = |value: Option<f64>, precision: usize| {
            value.map_or(String::new(), |value| format!("{value:.precision$}"))
        };
        let percentiles: Vec<String> = [50.0, 90.0, 99.0, 99.9]
            .into_iter()
            .map(|percentile| or_empty(row.latency.us(percentile), 1))
            .chain([or_empty(row.latency.max_us(), 1)])
            .collect();
        let server = row.server.map_or(",,".to_owned(), |sample| {
            format!("{},{},{}", sample.resident_bytes, sample.descriptors, sample.threads)
        });
        let busiest = row.busiest().unwrap_or(0.0) * 100.0;
        let _ = writeln!(
            text,
            "{:.3},{:.3},{},{},{},{},{},{},{},{},{server},{busiest:.1}",
            row.at,
            report.started + row.at,
            row.sums.sent,
            row.sums.messages,
            row.sums.bytes,
            row.sums.opened,
            row.sums.faults,
            row.open,
            percentiles.join(","),
            or_empty(row.server_busy.map(|busy| busy * 100.0), 1),
        );
    }
    text
}

/// The table of percentiles that HdrHistogram's plotter reads, in milliseconds.
pub fn hgrm(latency: &Recorded) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let histogram = &latency.0;
    let milliseconds = |value: u64| value as f64 / 1e6;
    let mut count = 0;
    for step in histogram.iter_quantiles(5) {
        count += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let _ = write!(
            text,
            "{:>12.3} {quantile:>2.12} {count:>10}",
            milliseconds(step.value_iterated_to())
        );
        if quantile < 1.0 {
            let _ = write!(text, " {:>14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.mean() / 1e6,
        histogram.stdev() / 1e6,
        milliseconds(histogram.max()),
        histogram.len(),
        histogram.buckets(),
        2048,
    );
    text
}

type Labels = Vec<(&'static str, String)>;

/// The values as gauges, for a textfile collector or a push gateway.
pub fn prometheus(report: &Report) -> String {
    let mut registry = Registry::with_prefix("tapecast_loadgen");
    let groups: Vec<String> =
        report.groups.iter().map(|group| format!("{}.", group.name)).collect();
    let mut families = BTreeMap::<&str, Family<Labels, Gauge<f64, AtomicU64>>>::new();
    for (full, number) in &report.values {
        let group = groups.iter().find(|group| full.starts_with(*group));
        let name = group.map_or(full.as_str(), |group| &full[group.len()..]);
        let mut labels = vec![("profile", report.name.clone())];
        labels.extend(group.map(|group| ("group", group.trim_end_matches('.').to_owned())));
        families.entry(name).or_default().get_or_create(&labels).set(*number);
    }
    for (name, family) in families {
        let help = NAMES.iter().find(|(known, _)| *known == name).map_or("", |(_, help)| help);
        let help = if help.is_empty() { "another percentile of the value before it" } else { help };
        registry.register(name, help, family);
    }
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a string");
    text
}
