//! The patterns that shards watch, at a home: the shards that are notified of a topic, and the
//! topics that have yet to be matched against a pattern.

use crate::base::{ShardId, Slab};
use crate::hub::ids::PatternRef;
use crate::hub::policy::PatternIndex;
use foldhash::quality::RandomState;
use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A pattern that a shard watches.
#[derive(Debug)]
pub struct Watcher {
    pub shard: ShardId,
    pub pattern: Arc<str>,
    /// Its name on that shard.
    pub reader: PatternRef,
}

/// The topics of this home are being looked through for a watcher, by index and generation.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    watcher: (u32, u32),
    /// The index of the topic to look at next.
    pub next: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Watchers {
    slab: Slab<Watcher>,
    names: HashMap<(ShardId, PatternRef), u32, RandomState>,
    index: PatternIndex,
    /// How many patterns each shard watches.
    counts: Vec<u32>,
    scans: VecDeque<Scan>,
}

impl Watchers {
    /// Whether a shard watches some pattern.
    pub fn is_watching(&self, shard: ShardId) -> bool {
        self.counts.get(shard.index()).is_some_and(|count| *count > 0)
    }

    /// Whether scans are left.
    pub fn is_scanning(&self) -> bool {
        !self.scans.is_empty()
    }

    /// How many scans are left.
    pub fn scans(&self) -> usize {
        self.scans.len()
    }

    /// A shard watches a pattern.
    pub fn add(&mut self, shard: ShardId, pattern: Arc<str>, reader: PatternRef) {
        let index = pattern.clone();
        let watcher = self.slab.insert(Watcher { shard, pattern, reader });
        self.names.insert((shard, reader), watcher.0);
        self.index.insert(&index, watcher.0);
        if self.counts.len() <= shard.index() {
            self.counts.resize(shard.index() + 1, 0);
        }
        self.counts[shard.index()] += 1;
        self.scans.push_back(Scan { watcher, next: 0 });
        if self.scans.len() > 2 * self.slab.len() + 64 {
            let Watchers { slab, scans, .. } = self;
            scans.retain(|scan| slab.get(scan.watcher.0, scan.watcher.1).is_some());
        }
    }

    /// A shard no longer watches a pattern, if it did. A scan for it ends when it has its turn.
    pub fn remove(&mut self, shard: ShardId, pattern: &Arc<str>, reader: PatternRef) {
        if let Some(known) = self.names.remove(&(shard, reader)) {
            self.slab.remove(known);
            self.index.remove(pattern, known);
            self.counts[shard.index()] -= 1;
        }
    }

    /// The scan whose turn it is.
    pub fn take_scan(&mut self) -> Option<Scan> {
        self.scans.pop_front()
    }

    /// A scan is not finished: the others have their turn first.
    pub fn put_scan_back(&mut self, scan: Scan) {
        self.scans.push_back(scan);
    }

    /// The watcher of a scan, if it still watches.
    pub fn watcher(&self, scan: Scan) -> Option<&Watcher> {
        self.slab.get(scan.watcher.0, scan.watcher.1)
    }

    /// The shards that watch a pattern which a name matches, of all shards or only of some, in
    /// ascending order; and how many steps the search took.
    pub fn of(&self, name: &str, only: Option<&[ShardId]>) -> (Vec<ShardId>, u64) {
        if self.slab.is_empty() {
            return (Vec::new(), 0);
        }
        let is_meant = |shard: &ShardId| only.is_none_or(|only| only.contains(shard));
        let watching = (0..self.counts.len() as u16).map(ShardId);
        let watching = watching.filter(|shard| self.is_watching(*shard) && is_meant(shard));
        let mut left = watching.count();
        let mut found = Vec::with_capacity(left);
        let steps = self.index.matching(name, |watcher| {
            let shard = self.slab.at(watcher).expect("indexed").shard;
            if is_meant(&shard) && !found.contains(&shard) {
                found.push(shard);
                left -= 1;
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found.sort_unstable();
        (found, steps)
    }

    /// How many patterns are watched, by all shards together.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slab.len()
    }
}
