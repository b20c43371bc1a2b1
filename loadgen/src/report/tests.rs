//! Reports for tests.

use super::contents::{FORMAT, Report};
use super::figures::{FaultFound, Figures};
use super::group::Group;
use super::judgement::Judgement;
use super::recorded::Recorded;
use super::second::Second;
use crate::measure::{Sample, Sums};

/// A report of one group with this rate, or in a closed loop, over ten seconds.
pub fn report(rate: Option<f64>, sent: u64, threads: &[f64], server_cpu_s: Option<u64>) -> Report {
    let group = Group {
        name: "1".into(),
        scenario: "echo".into(),
        connections: 10,
        staying: 0,
        rate,
        in_flight: rate.is_none().then_some(1),
        senders: 0,
        promised: 0,
        figures: Figures { sent, ..Figures::default() },
        stalled: None,
        connection_min: 0,
        connection_median: 0,
    };
    let sample = |cpu_s| Sample { cpu_ns: cpu_s * 1_000_000_000, ..Sample::default() };
    Report {
        format: FORMAT,
        name: "echo".into(),
        profile: String::new(),
        started: 1e9,
        seconds: 10.0,
        is_interrupted: false,
        late: 0.0,
        groups: vec![group],
        rows: Vec::new(),
        open_at_end: None,
        server: server_cpu_s.map(|cpu_s| [sample(0), sample(0), sample(cpu_s)]),
        threads: threads.to_vec(),
        own_bytes_per_connection: None,
        judgement: Judgement::default(),
        values: Default::default(),
    }
}

/// A second in which nothing happened.
pub fn second() -> Second {
    Second {
        at: 0.0,
        lasting: 1.0,
        sums: Sums::default(),
        open: 0,
        latency: Recorded::default(),
        server: None,
        server_busy: None,
        busy: vec![0.5],
    }
}

/// A kind of fault.
pub fn fault(kind: &str, count: u64) -> FaultFound {
    FaultFound { kind: kind.to_owned(), count, example: String::new() }
}
