//! Homes report topics to the shards that watch patterns: those that exist when a pattern comes,
//! those that appear, and those that become idle.

use crate::base::{ShardId, work};
use crate::hub::Hub;
use crate::hub::ids::PatternRef;
use crate::hub::past::Since;
use crate::hub::policy::matches;
use crate::hub::post::HubMessage;
use std::sync::Arc;

/// Messages that may wait for a shard, or meetings here, while topics are looked through for
/// it.
const WAITING_MAX: usize = 1_024;

impl Hub {
    /// At home: a shard begins to watch a pattern, or no longer watches it.
    pub(super) fn set_watcher(
        &mut self,
        from: ShardId,
        pattern: Arc<str>,
        reader: PatternRef,
        wanted: bool,
    ) {
        self.context.charge(work::PATTERN / 2);
        self.homes.watchers.remove(from, &pattern, reader);
        if wanted {
            self.homes.watchers.add(from, pattern, reader);
            self.context.is_fresh = true;
        }
    }

    /// At home: looks through some more topics for those that new patterns match.
    pub(super) fn scan_topics(&mut self) {
        let mut held_up = 0;
        while !self.context.is_exhausted() && held_up < self.homes.watchers.scans() {
            let Some(mut scan) = self.homes.watchers.take_scan() else { return };
            self.context.charge(work::MATCH);
            let Some(watcher) = self.homes.watchers.watcher(scan) else { continue };
            let (shard, reader) = (watcher.shard, watcher.reader);
            let pattern = Arc::clone(&watcher.pattern);
            // A shard that has yet to take earlier reports does not delay the others.
            while self.has_room_to_report(shard)
                && scan.next < self.topics.index_end()
                && !self.context.is_exhausted()
            {
                self.context.charge(work::SCAN);
                if let Some(topic) = self.topics.at(scan.next)
                    && topic.home.as_ref().is_some_and(|home| home.log.next() > 1)
                    && matches(&pattern, &topic.name)
                {
                    let (topic, pattern) = (Arc::clone(&topic.name), Some(reader));
                    self.context.charge(work::MAIL);
                    self.answer(shard, HubMessage::Appeared { pattern, topic, since: None });
                }
                scan.next += 1;
            }
            if scan.next < self.topics.index_end() {
                self.homes.watchers.put_scan_back(scan);
                held_up += 1;
            }
        }
    }

    /// Whether a shard takes reports of more topics that were found for it.
    fn has_room_to_report(&self, shard: ShardId) -> bool {
        let waiting = if shard == self.context.shard {
            self.patterns.meetings.len()
        } else {
            self.outgoing.len(shard)
        };
        waiting <= WAITING_MAX
    }

    /// At home: notifies the shards that have released a topic of its messages behind number `seq`.
    pub(super) fn announce_to_released(&mut self, index: u32, seq: u64) {
        let released = self.topics.home_mut(index).map(|home| home.take_released());
        self.announce(index, seq, Some(&released.unwrap_or_default()));
    }

    /// At home: a topic has messages behind number `seq`, and the shards that watch a pattern
    /// which it matches, all or only some, are to be notified of it.
    pub(super) fn announce(&mut self, index: u32, seq: u64, only: Option<&[ShardId]>) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        let Some(home) = &mut topic.home else { return };
        home.is_announced = true;
        if let Some(unannounced) = &mut home.unannounced {
            unannounced.released.clear();
        }
        let since = Some(Since { epoch: home.log.epoch, seq });
        let name = Arc::clone(&topic.name);
        let (shards, steps) = self.homes.watchers.of(&name, only);
        // A publisher pays for a few of the patterns that others watch, not for all of them.
        self.context.charge(work::MATCH * steps.min(64) + work::MAIL * shards.len() as u64);
        for shard in shards {
            let topic = Arc::clone(&name);
            self.answer(shard, HubMessage::Appeared { pattern: None, topic, since });
        }
    }

    /// At home: a topic without messages is idle; shards that read it only because of patterns
    /// can release it.
    pub(super) fn report_idle(&mut self, index: u32) {
        let Some(home) = self.topics.home_mut(index).filter(|home| home.log.len() == 0) else {
            return;
        };
        home.unannounced().idle_after = Some(home.log.next() - 1);
        let readers: Vec<_> = home.readers.iter().map(|known| (known.shard, known.topic)).collect();
        for (shard, topic) in readers {
            self.answer(shard, HubMessage::Idle { topic });
        }
    }
}
