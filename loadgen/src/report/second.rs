//! One second in a report.

use super::recorded::Recorded;
use crate::measure::{Row, Sample, Sums};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One second of all threads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Second {
    /// From the start of measuring to its end, in seconds.
    pub at: f64,
    pub lasting: f64,
    #[serde(flatten)]
    pub sums: Sums,
    /// Connections that were open at its end.
    pub open: u64,
    pub latency: Recorded,
    pub server: Option<Sample>,
    /// Cores that the server used, and the share of a core that each thread of the generator
    /// used.
    pub server_busy: Option<f64>,
    pub busy: Vec<f64>,
}

impl Second {
    /// The second after `at`, which it moves to its end.
    pub(super) fn new(row: &Row, at: &mut f64) -> Second {
        let lasting = row.lasting.as_secs_f64();
        *at += lasting;
        let share = |spent: Duration| spent.as_secs_f64() / lasting.max(1e-9);
        Second {
            at: *at,
            lasting,
            sums: row.sums,
            open: row.open(),
            latency: Recorded::coarse(&row.latency),
            server: row.server,
            server_busy: row.server.map(|_| share(row.server_cpu)),
            busy: row.busy.iter().map(|busy| share(*busy)).collect(),
        }
    }

    /// The share of a core that the busiest thread of the generator used.
    pub(super) fn busiest(&self) -> Option<f64> {
        self.busy.iter().copied().reduce(f64::max)
    }

    /// Adds the same second of another machine.
    pub(super) fn merge(&mut self, other: &Second) {
        self.sums += other.sums;
        self.open += other.open;
        self.latency.merge(&other.latency);
        self.server = self.server.or(other.server);
        self.server_busy = self.server_busy.or(other.server_busy);
        self.busy.extend(&other.busy);
    }
}
