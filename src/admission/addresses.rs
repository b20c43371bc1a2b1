//! Connections per peer address, over all shards.
//!
//! A fixed table of atomic counters, two per address by two hashes: no allocation,
//! no lock, and no growth under a flood of addresses. The smaller of the two counts for the
//! address. Both can be too high, because other addresses share
//! them, but never too low. With an eighth as many addresses as columns, each near its
//! limit, one connection in a hundred is refused early.

use crate::base::peer::network_of;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
// The counters synchronise nothing else.
use std::sync::atomic::Ordering::Relaxed;

/// Counters per row.
const COLUMNS: usize = 1 << 16;

/// The number of connections of each address. Shared by all shards.
#[derive(Debug)]
pub struct Addresses {
    per_address_max: u32,
    /// Two rows; empty while there is no limit.
    counters: Box<[AtomicU32]>,
    hashers: [FixedState; 2],
}

/// The counters of one address, decremented when its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place([u32; 2]);

impl Addresses {
    /// A table that allows `per_address_max` connections per address; 0 for no limit. An attacker
    /// must not know the seed.
    pub fn new(per_address_max: u32, seed: u64) -> Addresses {
        let count = if per_address_max == 0 { 0 } else { 2 * COLUMNS };
        Addresses {
            per_address_max,
            counters: (0..count).map(|_| AtomicU32::new(0)).collect(),
            hashers: [FixedState::with_seed(seed), FixedState::with_seed(!seed)],
        }
    }

    /// Whether addresses are counted.
    pub fn is_enabled(&self) -> bool {
        self.per_address_max > 0
    }

    /// Counts a new connection. `Err` if its address is at the limit; then it is not counted.
    pub fn enter(&self, address: IpAddr) -> Result<Place, TooMany> {
        let place = self.place(address);
        let counts = place.0.map(|index| self.counters[index as usize].fetch_add(1, Relaxed));
        if counts[0].min(counts[1]) >= self.per_address_max {
            self.leave(place);
            return Err(TooMany);
        }
        Ok(place)
    }

    /// Counts the end of a connection.
    pub fn leave(&self, place: Place) {
        for index in place.0 {
            self.counters[index as usize].fetch_sub(1, Relaxed);
        }
    }

    /// Whether no connection is counted.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.counters.iter().all(|counter| counter.load(Relaxed) == 0)
    }

    /// The counters of an address.
    pub fn place(&self, address: IpAddr) -> Place {
        let key = network_of(address);
        let column = |row: usize| self.hashers[row].hash_one(key) as usize % COLUMNS;
        Place([column(0) as u32, (COLUMNS + column(1)) as u32])
    }
}

/// The address is at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn an_address_is_refused_at_its_limit_and_admitted_below_it() {
        let addresses = Addresses::new(2, 7);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let first = addresses.enter(one).unwrap();
        assert!(addresses.enter(mapped).is_ok());
        assert_eq!(addresses.enter(one), Err(TooMany));
        addresses.leave(first);
        assert!(addresses.enter(one).is_ok());
        let host: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        assert_eq!(addresses.place(host), addresses.place(neighbour));
    }

    #[test]
    fn no_address_is_counted_too_low_and_few_too_high() {
        let addresses = Addresses::new(8, 1);
        let mut random = fastrand::Rng::with_seed(3);
        let mut twin: HashMap<u32, Vec<Place>> = HashMap::new();
        let mut refused_early = 0;
        for _ in 0..200_000 {
            let number = random.u32(..COLUMNS as u32 / 8);
            let address = IpAddr::from(number.to_be_bytes());
            let places = twin.entry(number).or_default();
            if random.u8(..3) == 0
                && let Some(place) = places.pop()
            {
                addresses.leave(place);
                continue;
            }
            match addresses.enter(address) {
                Ok(place) => places.push(place),
                Err(TooMany) => refused_early += u32::from(places.len() < 8),
            }
            assert!(places.len() <= 8);
        }
        assert!(refused_early < 2_000, "{refused_early}");
    }
}
