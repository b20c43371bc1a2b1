//! The order of operations when time passes, and in a flush.

use crate::base::work::{self, Work};
use crate::base::{ShardId, Time};
use crate::hub::Hub;
use crate::hub::post::Post;
use crate::hub::signal::Signal;

/// Work that a tick does at once: the rest waits for the flush.
const TICK_WORK_MAX: Work = 300 * work::UNIT;

impl Hub {
    /// Sets the time to `now`. Timers that are due by then expire at once, or in the next flush.
    pub fn tick(&mut self, now: Time) {
        self.context.now = now;
        self.context.begin_part(TICK_WORK_MAX);
        if self.cursors.rates.next() <= now {
            let cursors = &mut self.cursors;
            cursors.rates.expire(now, &mut cursors.ticked);
            cursors.move_ticked(&self.topics, &mut self.context);
        }
        self.end_batches();
        if self.tapes.next_chores() <= now {
            self.tapes.begin_chores();
            self.do_chores();
        }
        if self.homes.expire(now) {
            self.expire_topics();
        }
        self.context.begin_part(Work::MAX);
    }

    /// When something will be due.
    pub fn next_time(&mut self) -> Time {
        let next = self.cursors.rates.next().min(self.tapes.next_chores());
        next.min(self.homes.next_time())
    }

    /// Moves everything one step: messages to other shards, and logs to the shards that read
    /// them. Reports the subscribers that this concerns in `signals`.
    pub fn flush(&mut self, post: &mut dyn Post, signals: &mut Vec<Signal>) {
        self.flush_within(Work::MAX, post, signals);
    }

    /// As [`Hub::flush`], and ends when so much work is done, or up to four times of it if there
    /// is some of every kind. The flushes that follow do the rest.
    pub fn flush_within(&mut self, work: Work, post: &mut dyn Post, signals: &mut Vec<Signal>) {
        self.context.is_fresh = false;
        self.intake.forget_payload();
        self.context.begin_part(work / 4);
        self.release_all_idle();
        self.cursors.begin_all(&self.topics, &mut self.context);
        self.cursors.move_ticked(&self.topics, &mut self.context);
        self.send_debts();
        self.outgoing.forget_stuck();
        self.post_all(work / 2, post);
        // This comes before more is put on their tapes.
        self.context.begin_part(work);
        self.mark_grown();
        // Requests have their turn, even where there is never room enough.
        if self.outgoing.alternate() {
            self.context.begin_part(work / 4);
            self.answer_all_asking(1, post);
        }
        // The publishers have paid for this.
        self.context.begin_part(Work::MAX);
        self.forward_logs(post);
        self.context.begin_part(work / 4);
        self.answer_all_asking(usize::MAX, post);
        self.context.begin_part(work);
        self.mark_grown();
        self.context.begin_part(work / 2);
        self.meet();
        self.context.begin_part(work / 4);
        self.scan_topics();
        self.context.begin_part(work / 4);
        self.end_left();
        self.context.begin_part(work / 4);
        self.do_chores();
        self.context.begin_part(work / 4);
        self.expire_topics();
        self.context.begin_part(work / 4);
        self.keep_within_budget();
        self.context.begin_part(Work::MAX);
        signals.append(&mut self.context.signals);
    }

    fn answer_all_asking(&mut self, count: usize, post: &mut dyn Post) {
        (0..self.context.shards).for_each(|shard| self.answer_asking(ShardId(shard), count, post));
    }

    /// Reports the subscribers of topics that have grown, and drops the messages that all of
    /// them have.
    fn mark_grown(&mut self) {
        while !self.context.is_exhausted()
            && let Some(index) = self.tapes.take_grown()
        {
            let Hub { topics, tapes, cursors, budget, context, .. } = self;
            let Some(reader) = topics.reader_mut(index) else { continue };
            reader.has_grown = false;
            if !reader.is_wanted() {
                continue;
            }
            cursors.mark_subscribers(reader, context);
            tapes.drop_passed(reader, budget);
            if reader.held_bytes() > 0 && !reader.is_chore {
                let reference = topics.reference(index);
                self.add_chore(reference);
            }
        }
    }

    /// Whether topics have grown whose subscribers are not marked yet: publishers are to be
    /// slower.
    pub fn is_behind(&self) -> bool {
        self.tapes.has_grown()
    }

    /// Whether there is something that [`Hub::flush`] would move.
    pub fn needs_flush(&self) -> bool {
        !self.context.signals.is_empty()
            || self.cursors.has_work()
            || self.tapes.has_work()
            || self.homes.has_work()
            || self.patterns.has_work()
            || self.outgoing.has_work()
    }

    /// Whether something has changed since the last flush, apart from messages that wait for
    /// room.
    pub fn is_fresh(&self) -> bool {
        self.context.is_fresh
    }

    /// How much work it has done so far.
    #[inline]
    pub fn work(&self) -> Work {
        self.context.work()
    }

    /// Sets the wall clock, in milliseconds since 1970. It may have been changed since the last
    /// call. Messages get their times by it.
    pub fn set_wall_clock(&mut self, unix_ms: u64) {
        self.context.set_unix_ms(unix_ms);
    }

    /// Lists that were long in a burst become short.
    pub fn give_spare_back(&mut self) {
        self.context.give_spare_back();
        self.cursors.give_spare_back();
        self.tapes.give_spare_back();
        self.homes.give_spare_back();
        self.intake.give_spare_back();
        self.outgoing.give_spare_back();
    }
}
