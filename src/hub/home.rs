//! A topic at its home: its messages are numbered, kept, sent on to the shards that
//! read it, and at last forgotten.

use super::log::{
    AGE_STEP_MS, Age, ENTRY_OVERHEAD_BYTES, Entry, EntryKind, Log, Past, Portion, ReaderShard,
    TopicRef, View,
};
use super::mail::{Mail, Post};
use super::name::is_reserved;
use super::{Hub, Outgoing, Sending};
use crate::base::work::{self, Work};
use crate::base::{Random, ShardId, Time};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Topics looked at when memory is short, each time that it is.
const SWEEP_TOPICS: u32 = 3 * 1_024;
/// Topics looked at then with each message that comes.
const SWEEP_TOPICS_PER_MESSAGE: u32 = 4;

/// What topics themselves may take, however small the budget is.
const NAMES_BYTES_MIN: usize = 64 << 10;
/// What a topic takes beside its name, its log and its tapes, in bytes.
const TOPIC_BYTES: usize = 200;

/// What a topic of this name takes by itself.
pub(super) fn topic_bytes(name: &str) -> usize {
    TOPIC_BYTES + name.len()
}

/// What takes memory, in the order in which it goes.
#[derive(Clone, Copy, Debug, Default)]
enum Held {
    #[default]
    History,
    Tapes,
    Values,
}

/// How far memory that is short has been looked for.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// What is let go of now.
    what: Held,
    /// The topic to look at next.
    next: u32,
    /// Topics in a row of which none could let go of it.
    in_vain: u32,
    /// More than the share is held, and this much can't be let go of.
    incompressible_bytes: usize,
}

/// Topics whose messages are gathered before they are sent on, by when that is over.
#[derive(Debug, Default)]
pub(super) struct Flushes(BinaryHeap<Reverse<(Time, u32, u32)>>);

impl Flushes {
    /// When the first is due.
    pub fn next(&self) -> Time {
        self.0.peek().map_or(Time::NEVER, |Reverse((due, ..))| *due)
    }
}

/// The log of a topic's new incarnation.
fn new_log(epochs: &mut Random) -> Box<Log> {
    // 53 bits: a JavaScript number holds them.
    Box::new(Log::new(epochs.number() >> 11))
}

impl Hub {
    /// A key as the topic's values share it already, or anew.
    pub(super) fn shared_key(&self, index: u32, key: &str) -> Arc<str> {
        let log = self.topics.at(index).and_then(|topic| topic.log.as_ref());
        log.and_then(|log| log.values.shared_key(key)).unwrap_or_else(|| key.into())
    }

    /// Numbers a message of a topic that is homed here, and keeps it.
    pub(super) fn number(
        &mut self,
        index: u32,
        key: Option<Arc<str>>,
        removes_key: bool,
        kind: EntryKind,
        payload: Bytes,
    ) -> u64 {
        self.is_fresh = true;
        self.work += work::PUBLICATION + work::keep(payload.len());
        let time_ms = self.now_ms();
        let topic = self.topics.at_mut(index).expect("a topic");
        let rule = self.rules.get(topic.rule);
        let log = topic.log.get_or_insert_with(|| new_log(&mut self.epochs));
        let seq = log.next();
        let keys_max = if is_reserved(&topic.name) { rule.members_max } else { rule.keys_max };
        // A rule without keys keeps what it can't tell apart from others.
        let key = key.filter(|_| keys_max > 0);
        let forward = work::FORWARD + work::keep(payload.len());
        self.work += forward * log.readers.len() as Work;
        let before = log.weight();
        let since = Age::at(self.now);
        let entry = Entry { seq, time_ms, key, removes_key, kind, payload, since };
        log.append(entry, keys_max, &self.limits);
        self.log_bytes = self.log_bytes + log.weight() - before;
        let is_first = topic.sending == Sending::Done;
        if is_first {
            topic.sending = Sending::Gathering;
        }
        match rule.flush_ms.saturating_sub(self.gathered_ms) {
            // If it was gathering, what was to end that may end the next one early.
            0 if topic.sending == Sending::Gathering => self.send_soon(index),
            flush_ms if is_first => {
                let due = self.now.plus_millis(flush_ms.into());
                let generation = self.topics.generation(index).expect("a topic");
                self.flushes.0.push(Reverse((due, index, generation)));
            }
            _ => {}
        }
        let topic = self.topics.at(index).expect("a topic");
        if !topic.is_announced {
            self.announce(index, seq - 1, None);
        } else if topic
            .log
            .as_ref()
            .is_some_and(|log| log.untold.as_ref().is_some_and(|untold| !untold.left.is_empty()))
        {
            self.announce_to_who_left(index, seq - 1);
        }
        let log = self.topics.at(index).and_then(|topic| topic.log.as_ref());
        if log.is_some_and(|log| log.is_pressing(&self.limits)) {
            self.forward_here(index);
            let topic = self.topics.at_mut(index).expect("a topic");
            topic.log.as_mut().expect("it is pressing").spread();
            self.send_soon(index);
        }
        self.make_room();
        self.look_after_retention(index);
        seq
    }

    /// Publications that topics gather before they are sent on, and whose publishers wait
    /// for no answer, so far: on this shard, wherever their topic's home is.
    #[inline]
    pub fn gathered(&self) -> u64 {
        self.gathered
    }

    /// What is published from now on has waited for so long already.
    pub fn take_as_gathered_for(&mut self, millis: u32) {
        self.gathered_ms = millis;
    }

    /// What is new in a topic's log is sent on at the end of the turn.
    fn send_soon(&mut self, index: u32) {
        let topic = self.topics.at_mut(index).expect("a topic");
        if topic.sending == Sending::Gathering {
            topic.sending = Sending::Due;
            self.unsent.push(index);
        }
    }

    /// When the rule's retention is over, it is looked whether the topic is.
    fn look_after_retention(&mut self, index: u32) {
        let topic = self.topics.at_mut(index).expect("a topic");
        if !topic.has_timer {
            topic.has_timer = true;
            let retention_ms = self.rules.get(topic.rule).retention_ms;
            self.retention.set(index, self.now.plus_millis(retention_ms));
        }
    }

    /// Sends what is new in a log to the tapes of this shard, which need no room in a
    /// mailbox: before so much has been gathered that they would fall off.
    pub(super) fn forward_here(&mut self, index: u32) {
        let topic = self.topics.at_mut(index).expect("a topic");
        let Some(mut log) = topic.log.take() else { return };
        log.forward_to(self.shard, |_, mail, _| self.put_on_tapes(mail));
        self.topics.at_mut(index).expect("a topic").log = Some(log);
    }

    /// What a log has for the tapes of this shard.
    fn put_on_tapes(&mut self, mail: Mail) -> Result<(), Mail> {
        match mail {
            Mail::Entry { topic, entry } => self.append_to_tapes(topic.index, &entry),
            Mail::Gap { topic, missed } => self.restart_tapes(topic.index, missed),
            mail => return Err(mail),
        }
        Ok(())
    }

    /// What a log has for another shard, behind what waits for room there already, or the
    /// order would break.
    fn post_from_log(
        &mut self,
        to: ShardId,
        mail: Mail,
        weight: usize,
        post: &mut dyn Post,
    ) -> Result<(), Mail> {
        if to == self.shard {
            return self.put_on_tapes(mail);
        }
        if self.stuck[to.index()].is_some() {
            return Err(mail);
        }
        post.post(to, mail, weight).inspect_err(|_| self.stuck[to.index()] = Some(weight))
    }

    /// Topics whose messages have been gathered for long enough are sent on.
    pub(super) fn flush_due(&mut self) {
        while let Some(&Reverse((due, index, generation))) = self.flushes.0.peek()
            && due <= self.now
        {
            self.flushes.0.pop();
            if self.topics.get(index, generation).is_some() {
                self.send_soon(index);
                self.is_fresh = true;
            }
        }
    }

    /// Sends what is new in the logs to the shards that read them, as far as there is room.
    pub(super) fn send_logs(&mut self, post: &mut dyn Post) {
        for shard in 0..self.shards {
            self.send_waiting(ShardId(shard), post);
        }
        for index in std::mem::take(&mut self.unsent) {
            let Some(topic) = self.topics.at_mut(index) else { continue };
            topic.sending = Sending::Done;
            let Some(mut log) = topic.log.take() else { continue };
            let waiting =
                log.forward(|to, mail, weight| self.post_from_log(to, mail, weight, post));
            self.put_back(index, log);
            let reference = self.reference(index);
            for shard in waiting {
                self.waiting[shard.index()].push_back(reference);
            }
        }
    }

    /// Topics that wait for room at a shard go on, those first that have waited longest: as
    /// soon as one finds none, the others are not looked at.
    fn send_waiting(&mut self, to: ShardId, post: &mut dyn Post) {
        while self.stuck[to.index()].is_none()
            && let Some(reference) = self.waiting[to.index()].pop_front()
        {
            if !self.send_all(reference, to, post) {
                // It took the last room, and comes last the next time.
                self.waiting[to.index()].push_back(reference);
            }
        }
    }

    /// A log that has sent something on is its topic's again.
    fn put_back(&mut self, index: u32, mut log: Box<Log>) {
        let topic = self.topics.at_mut(index).expect("nothing is forgotten meanwhile");
        let before = log.weight();
        log.trim(self.rules.get(topic.rule), self.now);
        self.log_bytes = self.log_bytes + log.weight() - before;
        topic.log = Some(log);
    }

    /// A shard's interest in a topic that is homed here.
    pub(super) fn interest(&mut self, from: ShardId, name: &str, reader: TopicRef, wanted: bool) {
        let known = self.topic_named(name);
        let index = match (known, wanted) {
            (Some(index), _) => index,
            // Subscriptions are limited where they are made.
            (None, true) => self.new_topic(name),
            (None, false) => return,
        };
        let topic = self.topics.at_mut(index).expect("just looked up");
        debug_assert_eq!(topic.home, self.shard, "interest went to the topic's home");
        if wanted {
            let log = topic.log.get_or_insert_with(|| new_log(&mut self.epochs));
            // If it had let go of it, others there who did are still to hear of what comes.
            log.readers.retain(|known| known.shard != from);
            log.readers.reserve_exact(1);
            log.readers.push(ReaderShard {
                shard: from,
                topic: reader,
                next: log.next(),
                waits: false,
            });
            let welcome = Mail::Welcome { topic: reader, epoch: log.epoch, last: log.next() - 1 };
            // All that was ever said is gone: whoever comes because of a pattern can go.
            let is_silent = log.len() == 0 && log.next() > 1;
            if is_silent {
                log.untold().silent_after = Some(log.next() - 1);
            }
            self.answer(from, welcome);
            if is_silent {
                self.answer(from, Mail::Silent { topic: reader });
            }
            return;
        }
        if let Some(log) = &mut topic.log {
            log.readers.retain(|known| known.shard != from);
            // If it watches a pattern that the topic matches, it is to hear of the next
            // message; or of those that came before it was seen to have let go.
            if self.patterns.is_watching(from) && !log.untold().left.contains(&from) {
                log.untold().left.push(from);
            }
            let last = log.next() - 1;
            let untold = log.untold.as_mut();
            let silent_after =
                untold.and_then(|untold| untold.silent_after.take_if(|after| last > *after));
            if let Some(silent_after) = silent_after {
                self.announce_to_who_left(index, silent_after);
            }
        }
        self.forget_later(index);
    }

    /// A topic that was read is forgotten when it has not been for as long as its rule
    /// keeps messages, so that a reader who comes back finds the same numbers; at once if
    /// nothing was ever published to it.
    fn forget_later(&mut self, index: u32) {
        let log = self.topics.at(index).and_then(|topic| topic.log.as_ref());
        let Some(log) = log.filter(|log| log.readers.is_empty()) else { return };
        if log.next() == 1 {
            // There is no number to find again.
            self.end_if_over(index);
        } else {
            self.look_after_retention(index);
        }
    }

    /// At home no mail is needed: what is published next must already be read.
    pub(super) fn settle_interest_at_home(&mut self, index: u32) {
        let reference = self.reference(index);
        let topic = self.topics.at_mut(index).expect("a topic");
        let wanted = topic.reader.is_some();
        if wanted != topic.interest_posted {
            topic.interest_posted = wanted;
            let name = Arc::clone(&topic.name);
            if !wanted {
                topic.live = None;
            }
            self.interest(self.shard, &name, reference, wanted);
        }
        self.forget_if_unused(index);
    }

    /// Ends the log of a topic that no shard reads and that has no history, and with
    /// it, it may be, the topic. A list of members stays while there are any.
    fn end_if_over(&mut self, index: u32) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        if let Some(log) = &topic.log
            && log.readers.is_empty()
            && log.len() == 0
            && !(is_reserved(&topic.name) && log.values.count() > 0)
        {
            self.log_bytes -= log.weight();
            topic.log = None;
        }
        self.forget_if_unused(index);
    }

    /// Looks at some more of the topics whose history may be over.
    pub(super) fn expire_topics(&mut self) {
        let now = self.now;
        while !self.is_exhausted()
            && let Some(index) = self.due.pop()
        {
            self.charge(work::LOOK_UP);
            let Some(topic) = self.topics.at_mut(index) else { continue };
            topic.has_timer = false;
            let rule = self.rules.get(topic.rule);
            let Some(log) = &mut topic.log else { continue };
            let before = log.weight();
            log.trim(rule, now);
            self.log_bytes = self.log_bytes + log.weight() - before;
            if let Some(age_ms) = log.oldest_age_ms(now) {
                // What a reader shard has yet to be sent outlives its time: look again.
                let left_ms = rule.retention_ms.saturating_sub(age_ms).max(AGE_STEP_MS);
                topic.has_timer = true;
                self.retention.set(index, self.now.plus_millis(left_ms));
            }
            self.tell_silence(index);
            self.end_if_over(index);
        }
    }

    /// The history of a topic is over: shards that read it only because of patterns can
    /// let go of it.
    fn tell_silence(&mut self, index: u32) {
        let log = self.topics.at_mut(index).and_then(|topic| topic.log.as_mut());
        let Some(log) = log.filter(|log| log.len() == 0) else { return };
        log.untold().silent_after = Some(log.next() - 1);
        let readers: Vec<_> = log.readers.iter().map(|known| (known.shard, known.topic)).collect();
        for (shard, topic) in readers {
            self.answer(shard, Mail::Silent { topic });
        }
    }

    /// Mail for a reader shard, which may be this one.
    pub(super) fn answer(&mut self, to: ShardId, mail: Mail) {
        match to == self.shard {
            true => self.receive(to, mail),
            false => self.outgoing[to.index()].push_back(Outgoing::Mail(mail, 0)),
        }
    }

    /// A portion of the past of a topic that is homed here, for a reader shard: never
    /// ahead of what that has been sent.
    pub(super) fn past(
        &self,
        topic: TopicRef,
        reader: ShardId,
        view: View,
        portion: Portion,
    ) -> Option<Past> {
        let log = self.topics.get(topic.index, topic.generation)?.log.as_ref()?;
        let sent = log.readers.iter().find(|known| known.shard == reader)?.next - 1;
        debug_assert!(!view.is_of_all() || sent == log.next() - 1, "it was sent all");
        Some(log.past(view, Portion { to: portion.to.min(sent), ..portion }))
    }

    /// Sends a shard that reads a topic all that there is. Says whether there was room; a
    /// topic that is gone needs none.
    pub(super) fn send_all(&mut self, topic: TopicRef, to: ShardId, post: &mut dyn Post) -> bool {
        let known = self.topics.get_mut(topic.index, topic.generation);
        let Some(mut log) = known.and_then(|topic| topic.log.take()) else { return true };
        let is_all =
            log.forward_to(to, |to, mail, weight| self.post_from_log(to, mail, weight, post));
        self.put_back(topic.index, log);
        is_all
    }

    /// What of the budget is this shard's.
    fn budget_share(&self) -> usize {
        self.limits.topics_bytes_max / usize::from(self.shards)
    }

    /// What topics themselves may take of that: half, and a few of them in any case. The rest
    /// is left for their messages.
    pub(super) fn names_share(&self) -> usize {
        (self.budget_share() / 2).max(NAMES_BYTES_MIN)
    }

    /// What counts towards the budget: of the topics themselves, what is more than a few of
    /// them take.
    fn budgeted_bytes(&self) -> usize {
        let names = self.name_bytes.saturating_sub(NAMES_BYTES_MIN);
        names + self.log_bytes + self.tape_bytes
    }

    /// While more is held than the share, whoever publishes pays for what has to go: the
    /// histories of a few topics are looked at for each message.
    fn make_room(&mut self) {
        for _ in 0..SWEEP_TOPICS_PER_MESSAGE {
            if self.budgeted_bytes() <= self.budget_share() {
                return;
            }
            self.charge(work::STEP);
            let next = self.sweep.next;
            self.halve(next, Held::History);
            self.sweep.next = (next + 1) % self.topics.index_end().max(1);
        }
    }

    /// While logs and tapes together take more than their share, the longest kept of
    /// them goes: histories first, then tapes, whose readers are there, and at last the
    /// values of most keys, each once nothing of the one before it is left to go.
    pub(super) fn keep_within_budget(&mut self) {
        let share = self.budget_share();
        let held = self.budgeted_bytes();
        if held <= share {
            self.sweep = Sweep { next: self.sweep.next, ..Sweep::default() };
            return;
        }
        // What could not be let go of a moment ago can't be now.
        if held <= self.sweep.incompressible_bytes {
            return;
        }
        self.tally.budget_exceeded += 1;
        for _ in 0..SWEEP_TOPICS {
            if self.is_exhausted() {
                return;
            }
            let held = self.budgeted_bytes();
            let count = self.topics.index_end().max(1);
            if held <= share {
                return;
            }
            if self.sweep.in_vain >= count {
                self.sweep.in_vain = 0;
                self.sweep.what = match self.sweep.what {
                    Held::History => Held::Tapes,
                    Held::Tapes => Held::Values,
                    Held::Values => {
                        self.sweep.incompressible_bytes = held;
                        Held::History
                    }
                };
                if self.sweep.incompressible_bytes == held {
                    return;
                }
            }
            self.charge(work::STEP);
            let Sweep { what, next, .. } = self.sweep;
            self.halve(next, what);
            self.sweep.next = (next + 1) % count;
            let is_less = self.budgeted_bytes() < held;
            self.sweep.in_vain = if is_less { 0 } else { self.sweep.in_vain + 1 };
        }
    }

    /// Whether a message of `bytes` bytes may be kept: while more is held than may be and
    /// can't be let go of, only in the place of what its topic has.
    #[inline]
    pub(super) fn has_room(&self, index: Option<u32>, bytes: usize) -> bool {
        let is_over = || self.budgeted_bytes() > self.budget_share();
        if self.sweep.incompressible_bytes == 0 || !is_over() {
            return true;
        }
        let log = index.and_then(|index| self.topics.at(index)?.log.as_ref());
        log.is_some_and(|log| bytes + ENTRY_OVERHEAD_BYTES <= log.weight())
    }

    fn halve(&mut self, index: u32, what: Held) {
        let Some(topic) = self.topics.at_mut(index) else { return };
        match (what, &mut topic.log, &mut topic.reader) {
            (Held::Tapes, _, Some(reader)) => {
                let before = reader.held_bytes();
                reader.halve();
                let after = reader.held_bytes();
                self.tape_bytes = self.tape_bytes + after - before;
                if after < before {
                    self.has_grown(index);
                }
            }
            (Held::History, Some(log), _) => {
                let (before, messages) = (log.weight(), log.len());
                log.halve();
                self.log_bytes = self.log_bytes + log.weight() - before;
                self.charge(work::LOOK_UP * (messages / 2) as u64);
            }
            // A list of members is not what a publisher has filled.
            (Held::Values, Some(log), _) if !is_reserved(&topic.name) => {
                let before = log.weight();
                log.halve_values();
                self.log_bytes = self.log_bytes + log.weight() - before;
            }
            _ => {}
        }
    }
}
