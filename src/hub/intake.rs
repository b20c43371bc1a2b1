//! The state of a shard about publications that come in: the quotas of publishers, the number of
//! batched messages, and the debts of publishers on other shards.

use super::policy::Quotas;
use crate::base::ConnectionId;
use crate::base::Spare;
use crate::base::work::Work;
use bytes::Bytes;

/// Bytes of a payload that is worth comparing with the one before.
const SHARED_BYTES_MIN: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Intake {
    pub quotas: Quotas,
    /// Publications so far whose topics batch (`flush_ms`) and whose publishers wait for no
    /// answer.
    pub batched: u64,
    /// Milliseconds for which the publications that come now have waited already.
    pub waited_ms: u32,
    /// The payload of the last publication until the next flush: others may have the same.
    last_payload: Bytes,
    /// The work that publications from other shards have cost here beyond what they were
    /// charged there, until it is sent.
    debts: Vec<(ConnectionId, Work)>,
}

impl Intake {
    /// A payload of its own, or the one of the publication before if it is the same: a message
    /// for many topics is kept once.
    pub fn shared_payload(&mut self, payload: &[u8]) -> Bytes {
        if payload.len() < SHARED_BYTES_MIN {
            return Bytes::copy_from_slice(payload);
        }
        if self.last_payload != payload {
            self.last_payload = Bytes::copy_from_slice(payload);
        }
        self.last_payload.clone()
    }

    /// A flush begins: the last payload is no longer kept for others.
    pub fn forget_payload(&mut self) {
        self.last_payload = Bytes::new();
    }

    /// A connection elsewhere owes work.
    pub fn add_debt(&mut self, connection: ConnectionId, work: Work) {
        self.debts.push((connection, work));
    }

    /// The debts, one per connection.
    pub fn take_debts(&mut self) -> Vec<(ConnectionId, Work)> {
        self.debts.sort_unstable_by_key(|(connection, _)| *connection);
        let by_connection = self.debts.chunk_by(|one, other| one.0 == other.0);
        let sum = |debts: &[(ConnectionId, Work)]| debts.iter().map(|debt| debt.1).sum();
        let debts = by_connection.map(|debts| (debts[0].0, sum(debts))).collect();
        self.debts.clear();
        debts
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.debts.give_spare_back();
    }

    #[cfg(test)]
    pub fn keeps_payload(&self) -> bool {
        !self.last_payload.is_empty()
    }
}
