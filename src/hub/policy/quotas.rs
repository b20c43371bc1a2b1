//! Limits per connection and per network: how many topics a connection has made by publishing
//! to them, and how many topics and patterns the connections of one network have.
//!
//! The home of a topic counts it until it is forgotten, whether or not the connection that has
//! made it is still there. A connection that reconnects begins anew, its network does not.

use super::rules::Caller;
use crate::base::{ConnectionId, Limits, Slab};
use crate::hub::error::HubError;
use crate::hub::ids::NONE;
use foldhash::quality::RandomState;
use std::collections::HashMap;

/// A connection that has made topics which still exist.
#[derive(Debug)]
struct Owner {
    connection: ConnectionId,
    network: u64,
    topics: u32,
}

/// The counts of a network.
#[derive(Debug, Default)]
struct Network {
    topics: usize,
    patterns: usize,
}

/// The counts of all connections and networks.
#[derive(Debug, Default)]
pub struct Quotas {
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
    /// A connection makes a topic. Returns the owner to name in [`Quotas::release_topic`].
    pub fn make_topic(&mut self, connection: ConnectionId, network: u64) -> u32 {
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

    /// A topic is forgotten.
    pub fn release_topic(&mut self, owner: u32) {
        let Some(known) = self.owners.at_mut(owner).filter(|_| owner != NONE) else { return };
        known.topics -= 1;
        let network = known.network;
        if known.topics == 0 {
            self.connections.remove(&known.connection);
            self.owners.remove(owner);
        }
        self.leave_network(network, |network| network.topics -= 1);
    }

    /// A subscription to a pattern begins.
    pub fn add_pattern(&mut self, caller: Caller) {
        if caller.network() != 0 {
            self.networks.entry(caller.network()).or_default().patterns += 1;
        }
    }

    /// It ends.
    pub fn release_pattern(&mut self, caller: Caller) {
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

    /// Whether the connection and its network may make another topic. The limits are the
    /// process's; `share` returns this home's share of one.
    ///
    /// # Errors
    /// [`HubError::QuotaReached`].
    pub fn check_topic(
        &self,
        connection: ConnectionId,
        network: u64,
        limits: &Limits,
        share: impl Fn(usize) -> usize,
    ) -> Result<(), HubError> {
        let owner = self.connections.get(&connection).and_then(|owner| self.owners.at(*owner));
        let topics = owner.map_or(0, |owner| owner.topics) as usize;
        if topics >= share(limits.topics_per_connection_max) {
            return Err(HubError::QuotaReached("topics_per_connection_max"));
        }
        let of_network = self.networks.get(&network).map_or(0, |network| network.topics);
        let most = limits.topics_per_address_max;
        if most > 0 && network != 0 && of_network >= share(most) {
            return Err(HubError::QuotaReached("topics_per_address_max"));
        }
        Ok(())
    }

    /// Whether the caller's network may have another pattern.
    ///
    /// # Errors
    /// [`HubError::QuotaReached`].
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
