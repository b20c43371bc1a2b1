//! Everything that a run measured, before a report is made of it.

use super::counted::Counted;
use super::process::Sample;
use super::row::Row;
use std::time::{Duration, SystemTime};

/// Everything that a run measured.
#[derive(Debug)]
pub struct Found {
    /// When measuring started, and how long it took.
    pub started: SystemTime,
    pub elapsed: Duration,
    /// Each group, over all threads.
    pub groups: Vec<GroupFound>,
    pub rows: Vec<Row>,
    /// The server before the first connection, and at the start and the end of measuring.
    pub server: Option<[Sample; 3]>,
    /// This program before the first connection, and with all connections.
    pub own: [Sample; 2],
    /// How busy each thread was while measuring, from 0 to 1, without waiting for planned
    /// times.
    pub threads: Vec<f64>,
    /// The user ended it early.
    pub is_interrupted: bool,
    /// How long after `start_at` the load started, because connections were still being
    /// opened.
    pub late: Duration,
    /// Connections that were open when measuring started.
    pub open: i64,
}

/// Everything that the connections of one group counted.
#[derive(Debug, Default)]
pub struct GroupFound {
    pub counted: Counted,
    /// Readers that stalled.
    pub stalled: Option<Counted>,
    /// Messages of each connection.
    pub per_connection: Vec<u64>,
}

impl GroupFound {
    /// Adds the findings of the group's connections on another thread.
    pub fn merge(&mut self, mut other: GroupFound) {
        self.counted.merge(&mut other.counted);
        self.per_connection.extend(other.per_connection);
        if let Some(mut stalled) = other.stalled {
            self.stalled.get_or_insert_default().merge(&mut stalled);
        }
    }
}
