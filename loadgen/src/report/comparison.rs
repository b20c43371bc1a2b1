//! Changes against an earlier run, beyond noise.
//!
//! The noise is that of the seconds of both runs. A difference of means is a change if it is
//! larger than three of its standard errors, and at least a hundredth.

use super::contents::Report;
use super::second::Second;
use std::fmt::Write;

/// A value of one second.
type OfSecond = fn(&Second) -> Option<f64>;

const MEASURES: &[(&str, &str, OfSecond)] = &[
    ("server_cpu_per_message", "us", |second| {
        let busy = second.server_busy.filter(|_| second.sums.messages > 0)?;
        Some(busy * second.lasting * 1e6 / second.sums.messages as f64)
    }),
    ("throughput", "/s", |second| Some(second.sums.messages as f64 / second.lasting)),
    ("latency_p50", "us", |second| second.latency.us(50.0)),
    ("latency_p99", "us", |second| second.latency.us(99.0)),
    ("latency_p99_9", "us", |second| second.latency.us(99.9)),
    ("server_resident", "MB", |second| Some(second.server?.resident_bytes as f64 / 1e6)),
    ("generator_cpu", "%", |second| second.busiest().map(|busy| busy * 100.0)),
    ("errors", "/s", |second| Some(second.sums.faults as f64 / second.lasting)),
];

/// A mean and its spread.
#[derive(Clone, Copy, Debug)]
struct Mean {
    mean: f64,
    /// The square of the mean's standard error.
    error2: f64,
}

fn mean(rows: &[Second], of: OfSecond) -> Option<Mean> {
    // The last second may be short.
    let values: Vec<f64> = rows.iter().filter(|row| row.lasting > 0.5).filter_map(of).collect();
    if values.len() < 3 {
        return None;
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(Mean { mean, error2: variance / count })
}

/// A table of the baseline's values and this run's.
pub fn compare(baseline: &Report, report: &Report) -> String {
    let mut text = format!(
        "{:<24} {:>12} {:>12} {:>9} {:>9}\n",
        "against the baseline", "was", "is", "change", "noise"
    );
    let mut missing = 0;
    for (name, unit, of) in MEASURES {
        let (Some(was), Some(is)) = (mean(&baseline.rows, *of), mean(&report.rows, *of)) else {
            missing += 1;
            continue;
        };
        let noise = 3.0 * (was.error2 + is.error2).sqrt();
        let difference = is.mean - was.mean;
        let percent = |part: f64| {
            if was.mean == 0.0 {
                return "-".to_owned();
            }
            format!("{:.1} %", part / was.mean * 100.0)
        };
        let has_changed = difference.abs() > noise && difference.abs() > 0.01 * was.mean.abs();
        let verdict = if !has_changed {
            "within noise"
        } else if difference > 0.0 {
            "HIGHER"
        } else {
            "LOWER"
        };
        let _ = writeln!(
            text,
            "{:<24} {:>12.3} {:>12.3} {:>9} {:>9} {verdict}",
            format!("{name}, {unit}"),
            was.mean,
            is.mean,
            percent(difference),
            percent(noise),
        );
    }
    if missing == MEASURES.len() {
        text += "nothing to compare: both runs have to measure for at least three seconds\n";
    }
    if baseline.name != report.name {
        let _ = writeln!(text, "warning      the baseline is of profile {}", baseline.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report as empty, second};
    use super::*;
    use crate::measure::Sums;

    fn report(throughput: &[u64]) -> Report {
        let row = |messages: &u64| Second {
            sums: Sums { messages: *messages, ..Sums::default() },
            ..second()
        };
        let rows = throughput.iter().map(row).collect();
        Report { rows, ..empty(None, 0, &[0.5], None) }
    }

    #[test]
    fn a_difference_within_noise_is_no_change() {
        let steady = report(&[1000, 1010, 990, 1005, 995, 1000]);
        let noisy = report(&[1000, 1300, 800, 1100, 700, 1400]);
        let faster = report(&[1200, 1210, 1190, 1205, 1195, 1200]);
        let line = |one: &Report, other: &Report| {
            let text = compare(one, other);
            text.lines().find(|line| line.starts_with("throughput")).unwrap().to_owned()
        };
        assert!(line(&steady, &faster).ends_with("HIGHER"), "{}", line(&steady, &faster));
        assert!(line(&faster, &steady).ends_with("LOWER"));
        assert!(line(&steady, &noisy).ends_with("within noise"));
        assert!(line(&steady, &steady).ends_with("within noise"));
        assert!(compare(&report(&[1]), &report(&[2])).contains("at least three seconds"));
    }

    #[test]
    fn a_report_without_newer_fields_is_read() {
        let text = r#"{"format":1,"name":"echo","profile":"","started":0,"seconds":10,
            "is_interrupted":false,"late":0,"groups":[],"rows":[],"server":null,"threads":[0.5],
            "own_bytes_per_connection":null}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!((report.name.as_str(), report.open_at_end), ("echo", None));
    }
}
