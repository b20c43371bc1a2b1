//! Layer 6: the event loop, where ring, connections and hub meet.
//!
//! A [`Shard`] is generic over its driver, so that the same code runs over the
//! kernel and over the simulation. [`Shard::turn`] is one turn; the parts of it
//! lie in files of their own:
//!
//! | file | what happens there |
//! |---|---|
//! | `accepting` | connections come in, up to the limits |
//! | `receiving` | bytes come in: how they are read, and when not |
//! | `budget` | how much of it a turn does, and what waits |
//! | `memory` | how much connections hold together, and who has to let go |
//! | `pacing` | publishers that are read once a millisecond |
//! | `serving` | what they mean: the handshake, messages, handlers |
//! | `sending` | what leaves: direct replies and tapes, in one send |
//! | `securing` | TLS, between the two above and the wire |
//! | `ending` | the three steps of an end: terminate, join, close |
//! | `topics` | what the hub has for connections |
//! | `errands` | what threads that are not shards ask for |
//! | `timing` | deadlines, keep-alive, the drain |
//!
//! What always holds: a slot is given back only after every operation on it has
//! ended; an event whose token names an earlier generation only gives its buffer
//! back; a connection between two messages owns no buffer.

mod accepting;
mod budget;
mod ending;
mod errands;
pub(crate) mod links;
mod memory;
mod notes;
mod pacing;
mod receiving;
mod securing;
mod sending;
mod serving;
mod slot;
mod timing;
mod topics;

#[cfg(test)]
mod tests;

use crate::admission::{Addresses, Rates};
use crate::app::{Core, Handler};
use crate::base::planted::{Bug, planted};
use crate::base::work::{self, Work};
use crate::base::{Counters, Limits, ShardId, Slab, Spare, Time, TimerWheel};
use crate::driver::{Batch, Driver, Errno, Event, Token};
use crate::hub::{self, Hub, Rules, Signal, Step};
use crate::tls::Acceptor;
use accepting::Accepting;
use budget::Budget;
use links::{Links, ShardMail};
use memory::Memory;
use notes::{Note, Notes};
use pacing::Pacing;
use slot::{Slot, token};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use timing::Drain;

/// How often a shard looks whether the wall clock was set, in milliseconds.
const WALL_CLOCK_MS: u64 = 1_000;

/// What the server has told its shards to do; it only grows.
#[derive(Debug, Default)]
pub(crate) struct Command(AtomicU8);

impl Command {
    /// End connections over the drain window, then stop.
    pub const DRAIN: u8 = 1;
    /// Stop at once.
    pub const STOP: u8 = 2;

    pub fn give(&self, command: u8) {
        self.0.fetch_max(command, Ordering::Release);
    }

    pub fn get(&self) -> u8 {
        self.0.load(Ordering::Acquire)
    }
}

/// What a shard is made of, besides its driver and handler.
pub(crate) struct Parts {
    pub id: ShardId,
    pub limits: Limits,
    /// Of each listener that the driver has, whether TLS is spoken there.
    pub listeners: Vec<bool>,
    /// Needed if it is anywhere.
    pub tls: Option<Acceptor>,
    /// Slots, and so sockets, that the driver has room for.
    pub slots_max: usize,
    pub links: Links,
    /// All shards' counters; the own ones are written.
    pub counters: Arc<[Counters]>,
    pub command: Arc<Command>,
    /// Connections per address, of all shards.
    pub addresses: Arc<Addresses>,
    /// The same for all shards of a server.
    pub home_seed: u64,
    pub epoch_seed: u64,
    /// What holds for topics; the same for all shards.
    pub rules: Arc<Rules>,
}

/// One event loop with its connections.
pub(crate) struct Shard<H: Handler, D: Driver> {
    driver: D,
    handler: H,
    core: Core,
    slots: Slab<Slot<H::Session>>,
    wheel: TimerWheel,
    links: Links,
    counters: Arc<[Counters]>,
    command: Arc<Command>,
    accepting: Accepting,
    rates: Rates,
    budget: Budget,
    memory: Memory,
    notes: Notes,
    drain: Option<Drain>,
    /// Connections whose timer has run out, the longest waiting first.
    due: VecDeque<u32>,
    /// Connections with something to send, the longest waiting first.
    dirty: VecDeque<u32>,
    /// Connections with subscriptions that are not on their tapes.
    attended: VecDeque<u32>,
    /// Connections whose receive waits for a buffer.
    starved: VecDeque<Token>,
    /// Metered connections with bytes to read.
    readable: VecDeque<Token>,
    pacing: Pacing,
    /// By shard: connections that wait until publications have room there.
    congested: Vec<VecDeque<Token>>,
    /// Some of them can be read from with the next turn.
    resumes_more: bool,
    /// Where metered connections are read into: one buffer, always warm.
    hot: Vec<u8>,
    /// What was decrypted, or is to be encrypted: likewise.
    plain: Vec<u8>,
    /// Connections whose TLS handshake waits its turn.
    shaking: VecDeque<Token>,
    /// TLS handshakes that this turn may still work on.
    handshakes_left: usize,
    /// Counts turns, to tell what a connection received in this one.
    turn: u32,
    /// It does not sleep before this time: more work is likely to follow.
    awake_until: Time,
    /// Until when it meant to wait with the last turn: no timer was due before.
    waits_until: Time,
    /// When the wall clock is looked at again.
    wall_clock_at: Time,
    /// No timer runs out before this time: the shard has stood still, and what has come
    /// meanwhile goes first.
    timers_from: Time,
    /// Since when that has been so.
    timers_held_from: Option<Time>,
    stopped: bool,
    // Memory of the last turn, reused.
    events: Vec<Event<D::Buffer>>,
    signals: Vec<Signal>,
    frames: Vec<u8>,
    steps: Vec<Step>,
    due_now: Vec<u32>,
    batch: Batch<'static>,
    sending: Vec<u32>,
    /// Per send of the turn: what became of it, and its bytes.
    outcomes: Vec<(Result<usize, Errno>, usize)>,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    pub fn new(mut driver: D, handler: H, parts: Parts) -> Shard<H, D> {
        let now = driver.now();
        let shards = parts.counters.len() as u16;
        let hub = Hub::new(hub::Setup {
            shard: parts.id,
            shards,
            limits: parts.limits.clone(),
            rules: parts.rules.clone(),
            home_seed: parts.home_seed,
            epoch_seed: parts.epoch_seed,
            unix_ms: driver.unix_ms().saturating_sub(now.as_millis()),
        });
        let mut shard = Shard {
            driver,
            handler,
            accepting: Accepting::new(&parts, now),
            rates: Rates::new(&parts.limits),
            budget: Budget::new(),
            memory: Memory::new(),
            notes: Notes::default(),
            core: Core::new(parts.id, shards, now, parts.limits, hub),
            slots: Slab::new(),
            wheel: TimerWheel::new(now),
            links: parts.links,
            counters: parts.counters,
            command: parts.command,
            drain: None,
            due: VecDeque::new(),
            dirty: VecDeque::new(),
            attended: VecDeque::new(),
            starved: VecDeque::new(),
            readable: VecDeque::new(),
            pacing: Pacing::default(),
            congested: vec![VecDeque::new(); usize::from(shards)],
            resumes_more: false,
            hot: Vec::new(),
            plain: Vec::new(),
            shaking: VecDeque::new(),
            handshakes_left: 0,
            turn: 0,
            awake_until: Time::ZERO,
            waits_until: Time::ZERO,
            wall_clock_at: now.plus_millis(WALL_CLOCK_MS),
            timers_from: Time::ZERO,
            timers_held_from: None,
            stopped: false,
            events: Vec::new(),
            signals: Vec::new(),
            frames: Vec::new(),
            steps: Vec::new(),
            due_now: Vec::new(),
            batch: Batch::new(),
            sending: Vec::new(),
            outcomes: Vec::new(),
        };
        shard.counters().routes.name(shard.handler.routes());
        shard.accept_more();
        shard
    }

    /// Turns until the server stops.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.stopped {
            self.turn()?;
        }
        // Whoever looks whether it is stuck sees that it is not.
        self.counters().is_waiting.set(1);
        for (counter, value) in self.counters().all() {
            tracing::debug!(shard = self.core.id.0, counter, value);
        }
        Ok(())
    }

    /// Gives the shard a command, as its server would.
    pub fn command(&self, command: u8) {
        self.command.give(command);
        self.links.ring_own();
    }

    /// Whether the shard has stopped: no connection is left.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Bytes that are queued for all connections.
    #[cfg(test)]
    pub fn queued_bytes(&self) -> usize {
        self.slots.iter().map(|(_, slot)| slot.queued_bytes()).sum()
    }

    /// One turn.
    pub fn turn(&mut self) -> std::io::Result<()> {
        let until = self.until();
        let mut events = self.enter(until)?;
        // Handshakes have a limit of their own.
        self.shake_hands();
        self.begin_budget();
        let mut count = events.len() + self.readable.len();
        for event in events.drain(..) {
            self.share_received(count, false);
            self.event(event);
            count -= 1;
        }
        self.events = events;
        self.read_metered();
        self.read_paced();
        self.serve_backlogs();
        self.take_mail();
        self.flush_hub();
        self.attend();
        self.expire_timers();
        self.rearm_starved();
        self.keep_memory();
        self.obey();
        self.show_sizes();
        // Once, for all that the turn has posted.
        self.links.ring();
        Ok(())
    }

    /// How long the turn may wait: not at all while there is work.
    fn until(&mut self) -> Time {
        let has_work = !self.dirty.is_empty()
            || !self.readable.is_empty()
            || !self.starved.is_empty()
            || !self.shaking.is_empty()
            || !self.attended.is_empty()
            || self.may_expire()
            || self.drain.as_ref().is_some_and(Drain::has_notices)
            || self.budget.has_work()
            || self.resumes_more
            || self.core.hub.is_fresh();
        if has_work {
            return Time::ZERO;
        }
        if self.core.now < self.awake_until {
            return Time::ZERO;
        }
        self.links.doze();
        // What came before the flag was up: mail, a command, or room at another
        // shard. Whoever comes after it sees the flag.
        if self.links.has_mail()
            || self.has_command()
            || self.links.has_room_for_letters()
            || self.core.hub.needs_flush() && !self.hub_waits_for_room()
        {
            return Time::ZERO;
        }
        // Those that are due have left the wheel.
        let timers = match self.due.is_empty() {
            true => self.wheel.next_time().max(self.timers_from),
            false => self.timers_from,
        };
        let next = timers.min(self.core.hub.next_time());
        let paced = self.pacing.settle(self.core.now);
        next.min(self.accepting.next())
            .min(self.drain_next())
            .min(paced)
            .min(self.budget.next())
            .min(self.memory.next())
    }

    /// Whether all that the hub has yet to move waits for room at other shards,
    /// which will wake this one when they have made some.
    fn hub_waits_for_room(&mut self) -> bool {
        let Shard { core, links, .. } = self;
        let (mut waits, mut has_room, mut is_full) = (false, false, true);
        for (shard, weight) in core.hub.stuck() {
            waits = true;
            has_room |= links.await_room(shard, weight);
            is_full &= links.is_full(shard);
        }
        if waits && !has_room {
            self.counters().mailbox_stalls.add(1);
            self.hit(match is_full {
                true => const { Limits::index_of("mailbox_mails_max") },
                false => const { Limits::index_of("mailbox_bytes_max") },
            });
        }
        waits && !has_room
    }

    /// The one entry into the kernel: everything queued goes in, events come out.
    fn enter(&mut self, until: Time) -> std::io::Result<Vec<Event<D::Buffer>>> {
        let mut events = std::mem::take(&mut self.events);
        let entered = self.driver.now();
        let busy = entered - self.core.now;
        let late = entered - self.core.now.max(self.waits_until);
        self.waits_until = until;
        self.counters().turn_ns.add(busy.as_nanos() as u64);
        self.counters().is_waiting.set(1);
        let result = self.exchange(until, &mut events);
        self.counters().is_waiting.set(0);
        self.counters().turn_events.add(events.len() as u64);
        // A wait that brought nothing leaves the shard dozing until it looks at
        // its mail again, at the start of the next turn.
        if !events.is_empty() {
            self.links.rouse();
        }
        self.core.now = self.driver.now();
        self.notice_stall(late.max(self.core.now - entered.max(until)));
        self.pacing.settle(self.core.now);
        if !events.is_empty() && self.core.limits.spin_us > 0 {
            let spin_us = self.core.limits.spin_us.into();
            self.awake_until = self.core.now + Duration::from_micros(spin_us);
        }
        self.turn = self.turn.wrapping_add(1);
        self.counters().turns.add(1);
        result?;
        self.complete_sends();
        // Not before: it moves bounds that the sends were planned by.
        self.core.hub.tick(self.core.now);
        if self.core.now >= self.wall_clock_at {
            self.wall_clock_at = self.core.now.plus_millis(WALL_CLOCK_MS);
            let unix_ms = self.driver.unix_ms();
            self.core.hub.set_wall_clock(unix_ms);
            self.give_spare_back();
        }
        Ok(events)
    }

    fn event(&mut self, event: Event<D::Buffer>) {
        match event {
            Event::Received { token, buffer } => self.received(token, buffer),
            Event::ReceiveEnded { token, end } => self.receive_ended(token, end),
            Event::Polled { token, interest } => self.polled(token, interest),
            Event::Accepted { listener, socket, peer } => self.accepted(listener, socket, peer),
            Event::AcceptFailed { listener, error } => self.accept_failed(listener, error),
            Event::ShutDown { token } => self.shut_down(token),
            Event::Closed { token } => self.closed(token),
            Event::Woken => {}
        }
    }

    fn take_mail(&mut self) {
        self.take_orders();
        let mails_max = self.core.limits.mails_per_turn;
        let start = self.core.spent();
        let share = self.budget.mail() / self.counters.len() as Work;
        // Each its part, and then those who have sent more share what is left.
        let mut more: Vec<ShardId> = Vec::new();
        for from in self.links.others() {
            if self.take_mail_of(from, share) {
                more.push(from);
            }
        }
        let left = self.budget.mail().saturating_sub(self.core.spent() - start + share);
        for &from in &more {
            self.take_mail_of(from, left / more.len() as Work);
        }
        let end = self.core.spent() + share;
        for _ in 0..mails_max {
            if self.core.spent() >= end {
                break;
            }
            let Some(errand) = self.links.entrance.inbox.pop() else {
                break;
            };
            self.core.work += work::MAIL;
            self.run_errand(errand);
        }
    }

    /// Takes mail from another shard, as far as that work goes; says whether there may be more.
    fn take_mail_of(&mut self, from: ShardId, work_max: Work) -> bool {
        let mails_max = self.core.limits.mails_per_turn;
        let mut letters = Vec::new();
        let mut mails = 0;
        let hub = &mut self.core.hub;
        let mut work = 0;
        let end = hub.work() + work_max;
        let mut is_over = false;
        self.links.take(from, mails_max, |mail| {
            mails += 1;
            match mail {
                ShardMail::Hub(mail) => hub.receive(from, mail),
                ShardMail::Letter { to, kind, payload } => {
                    work += work::MAIL + work::copy(payload.len());
                    letters.push((to, kind, payload));
                }
            }
            is_over = hub.work() + work >= end;
            !is_over
        });
        self.core.work += work;
        self.counters().mails_received.add(mails);
        if mails == mails_max as u64 {
            self.hit(const { Limits::index_of("mails_per_turn") });
        }
        for (to, kind, payload) in letters {
            self.deliver_letter(to, kind, &payload);
        }
        is_over
    }

    /// Sets the gauges of what is held.
    fn show_sizes(&self) {
        // Their ends are written by other cores: not to be looked at every turn.
        if self.turn.is_multiple_of(256) {
            self.counters().mailbox_mails.set(self.links.mails_under_way() as u64);
        }
        let (topics, subscriptions) = self.core.hub.sizes();
        let counters = self.counters();
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
        let indices = [&mut self.dirty, &mut self.attended, &mut self.due];
        indices.into_iter().for_each(Spare::give_spare_back);
        let tokens = [&mut self.starved, &mut self.readable, &mut self.shaking];
        tokens.into_iter().chain(&mut self.congested).for_each(Spare::give_spare_back);
        self.signals.give_spare_back();
        self.steps.give_spare_back();
        self.due_now.give_spare_back();
        self.events.give_spare_back();
    }

    /// Logs a notable event, unless one of its kind was logged in this second.
    fn note(&mut self, note: Note, text: &str) {
        if let Some(left_out) = self.notes.allow(note, self.core.now) {
            tracing::warn!(shard = self.core.id.0, left_out, "{text}");
        }
    }

    /// As [`Shard::note`], of what is no fault of the server's or a peer's.
    fn note_info(&mut self, note: Note, text: &str) {
        if let Some(left_out) = self.notes.allow(note, self.core.now) {
            tracing::info!(shard = self.core.id.0, left_out, "{text}");
        }
    }

    /// A limit was hit.
    fn hit(&self, limit: usize) {
        self.counters().limits_hit.hit(limit);
    }

    /// The slot that a token names, unless its owner has ended.
    #[inline]
    fn slot(&mut self, token: Token) -> Option<&mut Slot<H::Session>> {
        if self.is_current(token) { self.slots.at_mut(token.index) } else { None }
    }

    #[inline]
    fn is_current(&self, name: Token) -> bool {
        let generation = self.slots.generation(name.index).unwrap_or_default();
        let is_current = token(name.index, generation) == name || planted(Bug::StaleGeneration);
        if !is_current {
            self.counters().stale_events.add(1);
        }
        is_current
    }

    fn token(&self, index: u32) -> Token {
        token(index, self.slots.generation(index).expect("a slot of this shard"))
    }

    /// What it counts.
    #[inline]
    pub fn counters(&self) -> &Counters {
        &self.counters[self.core.id.index()]
    }
}
