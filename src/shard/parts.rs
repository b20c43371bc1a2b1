//! A shard and its parts: the connections, and the engine that works on them. The two are apart
//! so that a step on a connection looks its slot up once and has everything else at hand.

use super::links::Links;
use super::state::{
    Accepting, Budget, Clock, Drain, Memory, Note, Notes, Pacing, Peer, Queues, Scratch, Slot,
    Timers,
};
use crate::admission::{Addresses, Rates};
use crate::app::{Core, Handler};
use crate::base::{Counters, Limits, ShardId, Slab, Time};
use crate::driver::{Driver, Token};
use crate::hub::{self, Hub, Rules};
use crate::tls::Acceptor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The order of the server to its shards; it only grows.
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

/// The parts that a shard is built from, besides its driver and handler.
pub(crate) struct Parts {
    pub id: ShardId,
    pub limits: Limits,
    /// For each listener of the driver, whether it speaks TLS.
    pub listeners: Vec<bool>,
    /// Needed if one does.
    pub tls: Option<Acceptor>,
    /// Slots, and so sockets, that the driver has room for.
    pub slots_max: usize,
    pub links: Links,
    /// All shards' counters; the shard writes its own.
    pub counters: Arc<[Counters]>,
    pub command: Arc<Command>,
    /// Connections per address, of all shards.
    pub addresses: Arc<Addresses>,
    /// The same for all shards of a server.
    pub home_seed: u64,
    pub epoch_seed: u64,
    /// The rules of topics; the same for all shards.
    pub rules: Arc<Rules>,
}

/// One event loop with its connections.
pub(crate) struct Shard<H: Handler, D: Driver> {
    pub(super) slots: Slab<Slot<H::Session>>,
    pub(super) engine: Engine<H, D>,
}

/// All of a shard but its connections.
pub(super) struct Engine<H: Handler, D: Driver> {
    pub driver: D,
    pub handler: H,
    pub core: Core,
    pub links: Links,
    pub counters: Arc<[Counters]>,
    pub command: Arc<Command>,
    pub accepting: Accepting,
    pub rates: Rates,
    pub budget: Budget,
    pub memory: Memory,
    pub pacing: Pacing,
    pub drain: Option<Drain>,
    pub timers: Timers,
    pub queues: Queues,
    pub clock: Clock,
    pub notes: Notes,
    pub scratch: Scratch<D::Buffer>,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    pub fn new(mut driver: D, handler: H, parts: Parts) -> Shard<H, D> {
        let now = driver.now();
        let Parts { id, limits, counters, .. } = parts;
        let shards = counters.len() as u16;
        let hub = Hub::new(hub::Setup {
            shard: id,
            shards,
            limits: limits.clone(),
            rules: parts.rules,
            home_seed: parts.home_seed,
            epoch_seed: parts.epoch_seed,
            unix_ms: driver.unix_ms().saturating_sub(now.as_millis()),
        });
        let engine = Engine {
            driver,
            accepting: Accepting::new(
                parts.listeners,
                parts.tls,
                parts.slots_max,
                parts.addresses,
                counters.len(),
                &limits,
                now,
            ),
            rates: Rates::new(&limits),
            core: Core::new(id, shards, now, limits, hub),
            links: parts.links,
            command: parts.command,
            budget: Budget::new(),
            memory: Memory::new(),
            pacing: Pacing::default(),
            drain: None,
            timers: Timers::new(now),
            queues: Queues::new(shards),
            clock: Clock::new(now),
            notes: Notes::default(),
            scratch: Scratch::new(),
            counters,
            handler,
        };
        let mut shard = Shard { slots: Slab::new(), engine };
        shard.counters().routes.name(shard.engine.handler.routes());
        shard.accept_more();
        shard
    }

    /// Gives the shard a command, as its server would.
    pub fn command(&self, command: u8) {
        self.engine.command.give(command);
        self.engine.links.ring_own();
    }

    /// Whether the shard has stopped: no connection is left.
    pub fn is_stopped(&self) -> bool {
        self.engine.clock.stopped
    }

    /// When the next debt is paid.
    pub fn debts_paid_at(&self) -> Time {
        self.engine.budget.next()
    }

    /// Bytes that are queued for all connections.
    #[cfg(test)]
    pub fn queued_bytes(&self) -> usize {
        self.slots.iter().map(|(_, slot)| slot.queued_bytes()).sum()
    }

    /// Its own counters.
    #[inline]
    pub fn counters(&self) -> &Counters {
        self.engine.counters()
    }

    /// Looks a connection up by its token and works on it; nothing if its owner has ended.
    #[inline]
    pub(super) fn with<R>(
        &mut self,
        token: Token,
        step: impl FnOnce(&mut Engine<H, D>, &mut Peer<'_, H::Session>) -> R,
    ) -> Option<R> {
        let Shard { slots, engine } = self;
        let mut peer = Peer::named(slots, token, engine.counters())?;
        Some(step(engine, &mut peer))
    }

    /// As [`Shard::with`], for the connection at `index`, whatever its generation.
    #[inline]
    pub(super) fn with_at<R>(
        &mut self,
        index: u32,
        step: impl FnOnce(&mut Engine<H, D>, &mut Peer<'_, H::Session>) -> R,
    ) -> Option<R> {
        let Shard { slots, engine } = self;
        let mut peer = Peer::at(slots, index)?;
        Some(step(engine, &mut peer))
    }

    /// Works on every connection, or as many as there are now.
    pub(super) fn for_each(
        &mut self,
        mut step: impl FnMut(&mut Engine<H, D>, &mut Peer<'_, H::Session>),
    ) {
        for index in 0..self.slots.index_end() {
            self.with_at(index, &mut step);
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    /// The shard's own counters.
    #[inline]
    pub fn counters(&self) -> &Counters {
        &self.counters[self.core.id.index()]
    }

    /// Counts that a limit was hit.
    #[inline]
    pub fn hit(&self, limit: usize) {
        self.counters().limits_hit.hit(limit);
    }

    /// Logs a notable event, unless one of its kind was logged in this second.
    pub fn note(&mut self, note: Note, text: &str) {
        if let Some(left_out) = self.notes.allow(note, self.core.now) {
            tracing::warn!(shard = self.core.id.0, left_out, "{text}");
        }
    }

    /// As [`Engine::note`], for an event that is no fault of the server or a peer.
    pub fn note_info(&mut self, note: Note, text: &str) {
        if let Some(left_out) = self.notes.allow(note, self.core.now) {
            tracing::info!(shard = self.core.id.0, left_out, "{text}");
        }
    }

    /// Connections of all shards.
    pub fn total(&self) -> usize {
        self.counters.iter().map(|counters| counters.connections.get()).sum::<u64>() as usize
    }
}
