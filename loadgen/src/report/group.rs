//! A group of connections in a report.

use super::figures::Figures;
use serde::{Deserialize, Serialize};

/// A group of connections: its load and its results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub scenario: String,
    pub connections: u32,
    /// Connections that were to be open at the end: all, without those that are opened over
    /// and over, and those that stall, which the server may close.
    #[serde(default)]
    pub staying: u32,
    /// Messages planned a second, if the rate is constant.
    pub rate: Option<f64>,
    /// Closed loop: messages in flight per connection.
    pub in_flight: Option<u32>,
    /// Connections that send.
    #[serde(default)]
    pub senders: u32,
    /// Replies or deliveries that the sent messages promise; 0 if that is unknown.
    #[serde(default)]
    pub promised: u64,
    pub figures: Figures,
    /// Readers that stalled.
    pub stalled: Option<Figures>,
    /// Messages of the connection with the fewest, and of the median one. A merged report has
    /// the smaller ones.
    pub connection_min: u64,
    pub connection_median: u64,
}

impl Group {
    /// Adds the same group of a run on another machine.
    pub(super) fn merge(&mut self, other: &Group) {
        self.connections += other.connections;
        self.staying += other.staying;
        self.rate = self.rate.zip(other.rate).map(|(rate, other)| rate + other);
        self.senders += other.senders;
        self.promised += other.promised;
        self.figures.merge(&other.figures);
        self.stalled = match (self.stalled.take(), &other.stalled) {
            (Some(mut stalled), Some(other)) => {
                stalled.merge(other);
                Some(stalled)
            }
            (mine, other) => mine.or_else(|| other.clone()),
        };
        self.connection_min = self.connection_min.min(other.connection_min);
        self.connection_median = self.connection_median.min(other.connection_median);
    }
}
