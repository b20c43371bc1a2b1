//! One turn of a shard, top to bottom: enter the kernel once, handle its events, and leave
//! work that does not fit to the next turn.

use super::links::ShardMessage;
use super::parts::{Command, Engine, Shard};
use super::state::Drain;
use crate::app::Handler;
use crate::base::work::{self, Work};
use crate::base::{Limits, ShardId, Time};
use crate::driver::{Driver, Event};
use std::time::Duration;

impl<H: Handler, D: Driver> Shard<H, D> {
    /// Turns until the server stops.
    ///
    /// # Errors
    /// The driver is broken.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.is_stopped() {
            self.turn()?;
        }
        // The watch over the shards sees that this one is not stuck.
        self.counters().is_waiting.set(1);
        for (counter, value) in self.counters().all() {
            tracing::debug!(shard = self.engine.core.id.0, counter, value);
        }
        Ok(())
    }

    /// One turn.
    ///
    /// # Errors
    /// The driver is broken.
    pub fn turn(&mut self) -> std::io::Result<()> {
        let until = self.engine.sleep_until();
        let mut events = self.enter(until)?;
        // Handshakes have a limit of their own.
        self.shake_hands();
        self.begin_budget();
        let mut count = events.len() + self.engine.queues.readable.len();
        for event in events.drain(..) {
            self.engine.share_received(count, false);
            self.event(event);
            count -= 1;
        }
        self.engine.scratch.events = events;
        self.read_metered();
        self.read_paced();
        self.serve_backlogs();
        self.take_messages();
        self.flush_hub();
        self.catch_up();
        self.expire_timers();
        self.rearm_starved();
        self.keep_memory();
        self.obey();
        self.engine.show_sizes();
        // Once, for all that the turn has posted.
        self.engine.links.ring();
        Ok(())
    }

    /// Enters the kernel once: submits all queued operations, and collects events.
    fn enter(&mut self, until: Time) -> std::io::Result<Vec<Event<D::Buffer>>> {
        let engine = &mut self.engine;
        let mut events = std::mem::take(&mut engine.scratch.events);
        let entered = engine.driver.now();
        let busy = entered - engine.core.now;
        let late = entered - engine.core.now.max(engine.clock.waits_until);
        engine.clock.waits_until = until;
        engine.counters().turn_ns.add(busy.as_nanos() as u64);
        engine.counters().is_waiting.set(1);
        let result = self.exchange(until, &mut events);
        let engine = &mut self.engine;
        engine.counters().is_waiting.set(0);
        engine.counters().turn_events.add(events.len() as u64);
        // A wait that brought nothing leaves the shard dozing until it looks for messages
        // again, at the start of the next turn.
        if !events.is_empty() {
            engine.links.rouse();
        }
        let now = engine.driver.now();
        engine.core.now = now;
        engine.timers.notice_stall(late.max(now - entered.max(until)), now);
        engine.pacing.settle(now);
        if !events.is_empty() && engine.core.limits.spin_us > 0 {
            let spin_us = engine.core.limits.spin_us.into();
            engine.clock.awake_until = now + Duration::from_micros(spin_us);
        }
        engine.clock.turn = engine.clock.turn.wrapping_add(1);
        engine.counters().turns.add(1);
        result?;
        self.complete_sends();
        let engine = &mut self.engine;
        // Not before: it moves bounds that the sends were planned by.
        engine.core.hub.tick(now);
        if engine.clock.looks_at_wall_clock(now) {
            let unix_ms = engine.driver.unix_ms();
            engine.core.hub.set_wall_clock(unix_ms);
            engine.give_spare_back();
        }
        Ok(events)
    }

    fn event(&mut self, event: Event<D::Buffer>) {
        match event {
            Event::Received { token, buffer } => self.received(token, buffer),
            Event::ReceiveEnded { token, end } => {
                self.with(token, |engine, peer| engine.receive_ended(peer, end));
            }
            Event::Polled { token, interest } => {
                self.with(token, |engine, peer| engine.polled(peer, interest));
            }
            Event::Accepted { listener, socket, peer } => self.accepted(listener, socket, peer),
            Event::AcceptFailed { listener, error } => self.accept_failed(listener, error),
            Event::ShutDown { token } => {
                self.with(token, |engine, peer| engine.shut_down(peer));
            }
            Event::Closed { token } => self.closed(token),
            Event::Woken => {}
        }
        self.deliver_direct();
    }

    /// Takes the messages of other shards and the commands of other threads.
    fn take_messages(&mut self) {
        self.take_orders();
        let Shard { engine, .. } = self;
        let mails_max = engine.core.limits.mails_per_turn;
        let start = engine.core.spent();
        let share = engine.budget.mail() / engine.counters.len() as Work;
        // Each its part, and then those that have sent more share what is left.
        let mut more: Vec<ShardId> = Vec::new();
        for from in engine.links.others() {
            if engine.take_messages_of(from, share) {
                more.push(from);
            }
        }
        let left = engine.budget.mail().saturating_sub(engine.core.spent() - start + share);
        for &from in &more {
            engine.take_messages_of(from, left / more.len() as Work);
        }
        self.deliver_direct();
        let end = self.engine.core.spent() + share;
        for _ in 0..mails_max {
            if self.engine.core.spent() >= end {
                break;
            }
            let Some(command) = self.engine.links.commands.inbox.pop() else {
                break;
            };
            self.engine.core.work += work::MAIL;
            self.run_command(command);
            self.deliver_direct();
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// The time until which the turn may sleep; `Time::ZERO` if there is work. If it may sleep,
    /// other threads know from now on that they have to wake this one.
    fn sleep_until(&mut self) -> Time {
        let now = self.core.now;
        let has_work = self.queues.has_work()
            || self.timers.may_expire(now)
            || self.drain.as_ref().is_some_and(Drain::has_notices)
            || self.budget.queued() > 0
            || self.core.hub.is_fresh();
        if has_work || now < self.clock.awake_until {
            return Time::ZERO;
        }
        self.links.doze();
        // Looks for messages, a command, or room at another shard that came before the flag was
        // set. Other threads see the flag from now on.
        if self.links.has_messages()
            || self.has_command()
            || self.links.has_room_for_direct()
            || self.core.hub.needs_flush() && !self.hub_waits_for_room()
        {
            return Time::ZERO;
        }
        // Timers that are due have left the wheel.
        let next = self.timers.next().min(self.core.hub.next_time());
        let drain = self.drain.as_ref().map_or(Time::NEVER, |drain| drain.next_step);
        next.min(self.accepting.next())
            .min(drain)
            .min(self.pacing.settle(now))
            .min(self.budget.next())
            .min(self.memory.next())
    }

    /// Whether everything that the hub has yet to move waits for room at other shards, which
    /// will wake this one when they have made some.
    fn hub_waits_for_room(&mut self) -> bool {
        let Engine { core, links, .. } = self;
        let (mut waits, mut has_room, mut is_full) = (false, false, true);
        for (shard, weight) in core.hub.stuck() {
            waits = true;
            has_room |= links.await_room(shard, weight);
            is_full &= links.is_full(shard);
        }
        if waits && !has_room {
            self.counters().mailbox_stalls.add(1);
            self.hit(if is_full {
                const { Limits::index_of("mailbox_mails_max") }
            } else {
                const { Limits::index_of("mailbox_bytes_max") }
            });
        }
        waits && !has_room
    }

    /// Takes messages from another shard, as far as that work goes. Returns whether there may
    /// be more.
    fn take_messages_of(&mut self, from: ShardId, work_max: Work) -> bool {
        let mails_max = self.core.limits.mails_per_turn;
        let (hub, direct) = (&mut self.core.hub, &mut self.queues.direct);
        let (mut taken, mut work, mut is_over) = (0, 0, false);
        let end = hub.work() + work_max;
        self.links.take(from, mails_max, |message| {
            taken += 1;
            match message {
                ShardMessage::Hub(message) => hub.receive(from, message),
                ShardMessage::Direct(message) => {
                    work += work::MAIL + work::copy(message.payload.len());
                    direct.push(message);
                }
            }
            is_over = hub.work() + work >= end;
            !is_over
        });
        self.core.work += work;
        self.counters().mails_received.add(taken);
        if taken == mails_max as u64 {
            self.hit(const { Limits::index_of("mails_per_turn") });
        }
        is_over
    }

    /// Whether there is a command that the shard has not begun to obey.
    fn has_command(&self) -> bool {
        match self.command.get() {
            0 => false,
            Command::DRAIN => self.drain.is_none(),
            _ => !self.clock.stopped,
        }
    }

    /// Sets the gauges of held memory.
    fn show_sizes(&self) {
        let counters = self.counters();
        // Other cores write their ends: not to be looked at every turn.
        if self.clock.turn.is_multiple_of(256) {
            counters.mailbox_mails.set(self.links.in_flight() as u64);
        }
        let (topics, subscriptions) = self.core.hub.sizes();
        counters.work_units.set(self.core.spent() / work::UNIT);
        counters.topics.set(topics as u64);
        counters.subscriptions.set(subscriptions as u64);
        counters.mail_waiting_bytes.set(self.core.hub.waiting_bytes() as u64);
        let (tape_bytes, log_bytes) = self.core.hub.held_bytes();
        counters.tape_bytes.set(tape_bytes as u64);
        counters.log_bytes.set(log_bytes as u64);
        counters.pool_kept_bytes.set(self.core.pool.kept_bytes() as u64);
    }

    /// Lists that were long in a burst become short.
    fn give_spare_back(&mut self) {
        self.core.hub.give_spare_back();
        self.links.give_spare_back();
        self.queues.give_spare_back();
        self.scratch.give_spare_back();
    }
}
