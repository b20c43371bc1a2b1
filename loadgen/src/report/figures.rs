//! The counts of a group's connections, over all threads.

use super::recorded::Recorded;
use crate::measure::{Counted, Fault, Faults};
use serde::{Deserialize, Serialize};

/// Counts of connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
    pub unanswered: u64,
    /// Those of `unanswered` that were planned and never sent.
    #[serde(default)]
    pub unsent: u64,
    pub other: u64,
    pub gaps: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub opened: u64,
    pub latency: Recorded,
    pub uncorrected: Recorded,
    pub lateness: Recorded,
    pub handshake: Recorded,
    pub faults: Vec<FaultFound>,
}

/// A kind of fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FaultFound {
    pub kind: String,
    pub count: u64,
    pub example: String,
}

impl Figures {
    pub(super) fn new(counted: &mut Counted) -> Figures {
        Figures {
            sent: counted.sent,
            messages: counted.messages,
            bytes: counted.bytes,
            unanswered: counted.unanswered,
            unsent: counted.unsent,
            other: counted.other,
            gaps: counted.gaps.max(0) as u64,
            duplicates: counted.duplicates,
            reordered: counted.reordered,
            opened: counted.opened,
            latency: Recorded(counted.latency.histogram().clone()),
            uncorrected: Recorded(counted.uncorrected.histogram().clone()),
            lateness: Recorded(counted.lateness.clone()),
            handshake: Recorded(counted.handshake.clone()),
            faults: FaultFound::all(&counted.faults),
        }
    }

    /// Whether the planned messages were sent, up to 1 %, or up to the few messages that the last
    /// moment of a run may hold up.
    pub fn keeps_rate(&self) -> bool {
        self.unsent <= 2 || self.unsent * 100 <= self.sent + self.unsent
    }

    /// How many faults there were.
    pub fn errors(&self) -> u64 {
        self.faults.iter().map(|fault| fault.count).sum()
    }

    /// Adds the counts of other connections.
    pub(super) fn merge(&mut self, other: &Figures) {
        self.sent += other.sent;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.other += other.other;
        self.gaps += other.gaps;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.opened += other.opened;
        self.latency.merge(&other.latency);
        self.uncorrected.merge(&other.uncorrected);
        self.lateness.merge(&other.lateness);
        self.handshake.merge(&other.handshake);
        self.merge_faults(other);
    }

    /// Adds the faults of other connections.
    pub(super) fn merge_faults(&mut self, other: &Figures) {
        let mut faults = Faults::default();
        for found in self.faults.iter().chain(&other.faults) {
            let fault = Fault { count: found.count, example: found.example.clone() };
            faults.insert(&found.kind, fault);
        }
        self.faults = FaultFound::all(&faults);
    }
}

impl FaultFound {
    fn all(faults: &Faults) -> Vec<FaultFound> {
        let found = |(kind, fault): (&str, &Fault)| FaultFound {
            kind: kind.to_owned(),
            count: fault.count,
            example: fault.example.clone(),
        };
        faults.iter().map(found).collect()
    }
}
