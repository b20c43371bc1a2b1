//! Topics by their names: tables of indices into the hub's topics, which have the names.
//!
//! Many small tables and not one: a table that grows looks at all its entries again, and of
//! a million topics that would take a turn of its own.

use super::Topic;
use crate::base::Slab;
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// How many tables there are: a power of two.
const TABLES: usize = 256;

#[derive(Debug)]
pub(super) struct Names {
    hasher: RandomState,
    tables: Box<[HashTable<u32>]>,
    len: usize,
}

impl Default for Names {
    fn default() -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Names { hasher: RandomState::default(), tables, len: 0 }
    }
}

fn name_of(topics: &Slab<Topic>, index: u32) -> &str {
    &topics.at(index).expect("a named topic is there").name
}

impl Names {
    /// The bits of the hash that choose the table are not those that place an entry in it.
    fn table(hash: u64) -> usize {
        (hash >> 32) as usize % TABLES
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The topic of this name.
    #[inline]
    pub fn find(&self, name: &str, topics: &Slab<Topic>) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let is_it = |index: &u32| name_of(topics, *index) == name;
        self.tables[Names::table(hash)].find(hash, is_it).copied()
    }

    /// Names a topic that is among `topics`, and not named yet.
    pub fn insert(&mut self, index: u32, topics: &Slab<Topic>) {
        let Names { hasher, tables, len } = self;
        let hash = |index: &u32| hasher.hash_one(name_of(topics, *index));
        let own = hash(&index);
        tables[Names::table(own)].insert_unique(own, index, hash);
        *len += 1;
    }

    /// A topic that had this name is gone.
    pub fn remove(&mut self, name: &str, index: u32) {
        let hash = self.hasher.hash_one(name);
        let found = self.tables[Names::table(hash)].find_entry(hash, |known| *known == index);
        if let Ok(entry) = found {
            entry.remove();
            self.len -= 1;
        }
    }
}
