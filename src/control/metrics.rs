//! The counters of the shards in the format of Prometheus. A scrape reads them in place and
//! costs the data path nothing.

use crate::app::Shards;
use crate::base::Counters;
use crate::base::counters::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// The text of all metrics. `lines_dropped` is the number of dropped log lines.
pub fn text(shards: &Shards, lines_dropped: u64) -> String {
    let mut registry = Registry::with_prefix("tapecast");
    registry.register_collector(Box::new(Reading(Arc::clone(&shards.counters))));
    let help = "Log lines dropped because standard error was not read fast enough";
    let dropped: Counter = Counter::default();
    dropped.inc_by(lines_dropped);
    registry.register("log_lines_dropped", help, dropped);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// A scrape of all shards.
struct Reading(Arc<[Counters]>);

impl fmt::Debug for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reading").finish_non_exhaustive()
    }
}

const GAUGE: &str = "Gauge: ";

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards: Vec<String> = (0..self.0.len()).map(|shard| shard.to_string()).collect();
        let values: Vec<_> = self.0.iter().map(Counters::all).collect();
        for (place, (name, text)) in Counters::TEXTS.iter().enumerate() {
            let (kind, text) = match text.trim().strip_prefix(GAUGE) {
                Some(text) => (MetricType::Gauge, text),
                None => (MetricType::Counter, text.trim()),
            };
            let help = text.trim_end_matches('.');
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (shard, values) in shards.iter().zip(&values) {
                let labels = [("shard", shard.as_str())];
                number(metric.encode_family(&labels)?, kind, values[place].1)?;
            }
        }
        let mut by = |name, help, kind, label, values: &dyn Fn(&Counters) -> Vec<(String, u64)>| {
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for (shard, counters) in shards.iter().zip(&*self.0) {
                for (value, count) in values(counters) {
                    let labels = [("shard", shard.as_str()), (label, value.as_str())];
                    number(metric.encode_family(&labels)?, kind, count)?;
                }
            }
            fmt::Result::Ok(())
        };
        let owned = |(name, count): (&str, u64)| (name.to_owned(), count);
        let help = "Times that each limit was hit, by its name";
        by("limit_hits", help, MetricType::Counter, "limit", &|counters| {
            counters.limits_hit.all().map(owned).collect()
        })?;
        let help = "Open sessions, by route";
        by("route_sessions", help, MetricType::Gauge, "route", &|counters| {
            counters.routes.all().map(owned).collect()
        })?;
        let help = "Responses by HTTP status: 101 is an accepted handshake";
        by("responses", help, MetricType::Counter, "status", &|counters| {
            counters.statuses.all().collect()
        })?;
        let help = "Ended sessions, by close code";
        by("closes", help, MetricType::Counter, "code", &|counters| {
            counters.close_codes.all().collect()
        })?;
        let help = "Seconds of work between two waits in the kernel";
        let mut metric =
            encoder.encode_descriptor("turn_seconds", help, None, MetricType::Histogram)?;
        for (shard, counters) in shards.iter().zip(&*self.0) {
            let labels = [("shard", shard.as_str())];
            histogram(metric.encode_family(&labels)?, &counters.turn_ns, 1e-9)?;
        }
        let help = "Events handled in one turn";
        let mut metric =
            encoder.encode_descriptor("turn_events", help, None, MetricType::Histogram)?;
        for (shard, counters) in shards.iter().zip(&*self.0) {
            let labels = [("shard", shard.as_str())];
            histogram(metric.encode_family(&labels)?, &counters.turn_events, 1.0)?;
        }
        Ok(())
    }
}

fn number(metric: MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Gauge => ConstGauge::new(value as i64).encode(metric),
        _ => ConstCounter::new(value).encode(metric),
    }
}

fn histogram(mut metric: MetricEncoder<'_>, values: &Histogram, unit: f64) -> fmt::Result {
    let mut buckets: Vec<(f64, u64)> =
        values.all().map(|(below, count)| (below as f64 * unit, count)).collect();
    if let Some(last) = buckets.last_mut() {
        last.0 = f64::INFINITY;
    }
    let count = buckets.iter().map(|bucket| bucket.1).sum();
    metric.encode_histogram::<[(&str, &str); 0]>(values.sum() as f64 * unit, count, &buckets, None)
}
