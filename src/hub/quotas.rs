//! Limits that are not shared with strangers: how many topics a connection has made by
//! publishing to them, and how many topics and patterns those of one network have.
//!
//! A topic is counted at its home for as long as it is there, whether or not the connection
//! that has made it still is: one that comes again begins anew, its network does not.

use super::rules::Caller;
use super::subscriptions::NONE;
use super::{Hub, HubError, Receipt};
use crate::base::{ConnectionId, Limits, Slab};
use foldhash::quality::RandomState;
use std::collections::HashMap;

/// A connection that has made topics which are still there.
#[derive(Debug)]
struct Owner {
    connection: ConnectionId,
    network: u64,
    topics: u32,
}

/// What is counted of a network.
#[derive(Debug, Default)]
struct Network {
    topics: usize,
    patterns: usize,
}

/// Who has made how much.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    owners: Slab<Owner>,
    connections: HashMap<ConnectionId, u32, RandomState>,
    networks: HashMap<u64, Network, RandomState>,
}

impl Caller {
    /// The peer's network, 0 if it has none.
    fn network(self) -> u64 {
        match self {
            Caller::Server => 0,
            Caller::Peer { network, .. } => network,
        }
    }
}

impl Quotas {
    /// Counts in a topic that a connection makes; what is to be given back when it is gone.
    fn make(&mut self, connection: ConnectionId, network: u64) -> u32 {
        let owner = *self
            .connections
            .entry(connection)
            .or_insert_with(|| self.owners.insert(Owner { connection, network, topics: 0 }).0);
        self.owners.at_mut(owner).expect("a known owner").topics += 1;
        if network != 0 {
            self.networks.entry(network).or_default().topics += 1;
        }
        owner
    }

    /// A topic is gone.
    pub fn gone(&mut self, owner: u32) {
        let Some(known) = self.owners.at_mut(owner).filter(|_| owner != NONE) else { return };
        known.topics -= 1;
        let network = known.network;
        if known.topics == 0 {
            self.connections.remove(&known.connection);
            self.owners.remove(owner);
        }
        self.leave_network(network, |network| network.topics -= 1);
    }

    /// A subscription to a pattern has come.
    pub fn pattern_came(&mut self, caller: Caller) {
        if caller.network() != 0 {
            self.networks.entry(caller.network()).or_default().patterns += 1;
        }
    }

    /// It has ended.
    pub fn pattern_went(&mut self, caller: Caller) {
        self.leave_network(caller.network(), |network| network.patterns -= 1);
    }

    fn leave_network(&mut self, network: u64, leave: impl FnOnce(&mut Network)) {
        if let Some(known) = self.networks.get_mut(&network) {
            leave(known);
            if known.topics == 0 && known.patterns == 0 {
                self.networks.remove(&network);
            }
        }
    }

    /// Whether the caller's network may have another pattern.
    pub fn check_pattern(&self, caller: Caller, limits: &Limits) -> Result<(), HubError> {
        let patterns = self.networks.get(&caller.network()).map_or(0, |network| network.patterns);
        let most = limits.patterns_per_address_max;
        if most > 0 && patterns >= most {
            return Err(HubError::QuotaReached("patterns_per_address_max"));
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty() && self.connections.is_empty() && self.networks.is_empty()
    }
}

impl Hub {
    /// Finds a topic, or makes it for the connection that publishes to it, if that and its
    /// network may; the server itself always may.
    pub(super) fn topic_for(
        &mut self,
        name: &str,
        publisher: Option<Receipt>,
    ) -> Result<u32, HubError> {
        if let Some(known) = self.topic_named(name) {
            return Ok(known);
        }
        let Some(Receipt { connection, network, .. }) = publisher else {
            return self.topic_index(name);
        };
        // The limits are the process's; each home has its share.
        let share = |most: usize| (most / usize::from(self.shards)).max(1);
        let quotas = &self.quotas;
        let owner = quotas.connections.get(&connection).and_then(|owner| quotas.owners.at(*owner));
        if owner.map_or(0, |owner| owner.topics) as usize
            >= share(self.limits.topics_per_connection_max)
        {
            return Err(HubError::QuotaReached("topics_per_connection_max"));
        }
        let of_network = quotas.networks.get(&network).map_or(0, |network| network.topics);
        let most = self.limits.topics_per_address_max;
        if most > 0 && network != 0 && of_network >= share(most) {
            return Err(HubError::QuotaReached("topics_per_address_max"));
        }
        let index = self.topic_index(name)?;
        let owner = self.quotas.make(connection, network);
        self.topics.at_mut(index).expect("just made").owner = owner;
        Ok(index)
    }
}
