//! Indices by name, where the names themselves lie elsewhere.
//!
//! Many small tables and not one: a table that grows rehashes all its entries, and with a
//! million topics that would take a turn of its own.

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// How many tables there are: a power of two.
const TABLES: usize = 256;

/// See the module. Every method takes `name_of`, which returns the name of an index.
#[derive(Debug)]
pub struct Names {
    hasher: RandomState,
    tables: Box<[HashTable<u32>]>,
}

impl Default for Names {
    fn default() -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Names { hasher: RandomState::default(), tables }
    }
}

impl Names {
    /// The bits of the hash that choose the table are not those that place an entry in it.
    fn table(hash: u64) -> usize {
        (hash >> 32) as usize % TABLES
    }

    /// The index of this name.
    #[inline]
    pub fn find<'n>(&self, name: &str, name_of: impl Fn(u32) -> &'n str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.tables[Names::table(hash)].find(hash, |index| name_of(*index) == name).copied()
    }

    /// Adds an index whose name is not in the table.
    pub fn insert<'n>(&mut self, index: u32, name_of: impl Fn(u32) -> &'n str) {
        let Names { hasher, tables } = self;
        let hash = |index: &u32| hasher.hash_one(name_of(*index));
        let own = hash(&index);
        tables[Names::table(own)].insert_unique(own, index, hash);
    }

    /// Removes an index that has this name.
    pub fn remove(&mut self, name: &str, index: u32) {
        let hash = self.hasher.hash_one(name);
        let found = self.tables[Names::table(hash)].find_entry(hash, |known| *known == index);
        if let Ok(entry) = found {
            entry.remove();
        }
    }
}
