//! One connection of a shard: the machine without I/O, its socket, and its operations in the
//! kernel.

use crate::app::{CallContext, ConnState, Core};
use crate::base::planted::{Bug, planted};
use crate::base::{ConnectionId, Counters, ShardId, Slab, Time};
use crate::connection::{Channel, Close, Inbound};
use crate::driver::{GENERATION_MASK, Socket, Token};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The phase of a connection's life. It only moves downward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The handshake, then messages.
    Open,
    /// This end has queued its close frame and waits for the peer's.
    Closing,
    /// The last bytes are queued. Once they have left, the socket is shut or cut.
    Flushing,
    /// The sending side is shut; what still arrives is read and dropped.
    Lingering,
    /// Every operation is being ended; then the socket is closed.
    Ending,
}

/// Operations in flight in the kernel. The slot lives until there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations(u8);

impl Operations {
    pub const RECEIVE: Operations = Operations(1);
    pub const POLL_READABLE: Operations = Operations(2);
    pub const POLL_WRITABLE: Operations = Operations(4);
    pub const SHUTDOWN: Operations = Operations(8);
    pub const CLOSE: Operations = Operations(16);

    #[inline]
    pub fn has(self, operation: Operations) -> bool {
        self.0 & operation.0 != 0
    }

    #[inline]
    pub fn begin(&mut self, operation: Operations) {
        debug_assert!(!self.has(operation), "an operation is begun once");
        self.0 |= operation.0;
    }

    #[inline]
    pub fn end(&mut self, operation: Operations) {
        debug_assert!(self.has(operation), "only what was begun ends");
        self.0 &= !operation.0;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Reasons for which a connection is not read from, until none is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds(u8);

impl Holds {
    /// Its queue is long, until the peer has taken all of it.
    pub const QUEUE: Holds = Holds(1);
    /// Its publications wait for room.
    pub const PUBLICATIONS: Holds = Holds(2);
    /// It is over its rate, until it is within again.
    pub const RATE: Holds = Holds(4);
    /// It is read at a pace, until the next time.
    pub const PACE: Holds = Holds(8);
    /// It has used up its share of the work, until it is served further and owes nothing.
    pub const WORK: Holds = Holds(16);

    /// Memory is short and it is one of the largest holders, until there is room.
    pub const MEMORY: Holds = Holds(32);

    /// Whether this is the one reason.
    #[inline]
    pub fn is_only(self, hold: Holds) -> bool {
        self == hold
    }

    #[inline]
    pub fn has(self, hold: Holds) -> bool {
        self.0 & hold.0 != 0
    }

    /// Adds a reason. Returns whether it is new.
    pub fn add(&mut self, hold: Holds) -> bool {
        let is_new = !self.has(hold);
        self.0 |= hold.0;
        is_new
    }

    /// Removes a reason. Returns whether it was there.
    pub fn end(&mut self, hold: Holds) -> bool {
        let was_there = self.has(hold);
        self.0 &= !hold.0;
        was_there
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Whether a connection has subscriptions that are not on their tapes, and when they get their
/// next portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    None,
    /// Once the queued bytes have left.
    Due,
    /// They have had a portion: messages on its tapes leave before the next one.
    AfterTapes,
}

const BLOCKED_STEP_MS: u64 = 16;

pub struct Slot<S> {
    pub inbound: Inbound,
    pub state: ConnState,
    /// The application's, from the handshake on.
    pub session: Option<S>,
    /// TLS, between both halves and the socket.
    pub channel: Option<Box<Channel>>,
    pub socket: Socket,
    pub phase: Phase,
    pub operations: Operations,
    /// When the phase began.
    pub since: Time,
    /// How it ended, once that is known.
    pub close: Option<Box<Close>>,
    /// It is in the list of connections with something to send.
    pub is_dirty: bool,
    /// Why it is not read from.
    pub holds: Holds,
    /// It is metered or paced: read with polls and receives of our own, in portions, instead of
    /// by the kernel as bytes arrive.
    pub is_polled: bool,
    /// It is in a list of connections to be read from, or armed, by this turn.
    pub waits_to_read: bool,
    /// Reads in a row that suggest another way of reading: small ones of a metered connection,
    /// paced ones of another.
    pub reads: u8,
    /// The peer has sent its last byte.
    pub peer_ended: bool,
    /// Both close frames are exchanged, and nothing followed the peer's.
    pub is_clean: bool,
    /// It exceeds a limit and is answered with 503.
    pub is_refused: bool,
    pub catch_up: CatchUp,
    /// `Notice::Writable` is due once the queue is empty.
    pub wants_writable: bool,
    /// When its socket had no room: the lowest bits, in steps of 16 ms.
    pub blocked_at: u16,
    /// Bytes received in turn `turn`.
    pub turn_bytes: u32,
    /// Its lowest bits: mistaking an earlier turn for this one costs a little of the share.
    pub turn: u16,
}

impl<S> Slot<S> {
    pub fn new(socket: Socket, peer: Option<SocketAddr>, now: Time) -> Slot<S> {
        Slot {
            inbound: Inbound::new(now),
            state: ConnState::new(peer),
            session: None,
            channel: None,
            socket,
            phase: Phase::Open,
            operations: Operations::default(),
            since: now,
            close: None,
            is_dirty: false,
            holds: Holds::default(),
            is_polled: false,
            waits_to_read: false,
            reads: 0,
            peer_ended: false,
            is_clean: false,
            is_refused: false,
            catch_up: CatchUp::None,
            wants_writable: false,
            blocked_at: 0,
            turn_bytes: 0,
            turn: 0,
        }
    }

    /// Whether the kernel's refusal to take more is being waited out.
    pub fn is_blocked(&self) -> bool {
        self.operations.has(Operations::POLL_WRITABLE)
    }

    /// Its socket has no room: waits until it has.
    pub fn block(&mut self, now: Time) {
        self.operations.begin(Operations::POLL_WRITABLE);
        self.blocked_at = (now.as_millis() / BLOCKED_STEP_MS) as u16;
    }

    /// For how long there was no room, if that is less than 18 minutes.
    pub fn blocked_for(&self, now: Time) -> Duration {
        let steps = ((now.as_millis() / BLOCKED_STEP_MS) as u16).wrapping_sub(self.blocked_at);
        Duration::from_millis(u64::from(steps) * BLOCKED_STEP_MS)
    }

    /// The session and the context of a call of its handler; none before it has a session.
    #[inline]
    pub fn context<'a>(
        &'a mut self,
        core: &'a mut Core,
        token: Token,
    ) -> Option<(&'a mut S, CallContext<'a>)> {
        let id = connection_id(core.id, token);
        let round_trip_us = self.inbound.keep_alive.round_trip_us();
        let state = &mut self.state;
        let context = CallContext { id, round_trip_us, core, state, received: None };
        Some((self.session.as_mut()?, context))
    }

    /// Bytes of memory that it holds, but for its backlog.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        let channel = self.channel.as_deref().map_or(0, Channel::held_bytes);
        self.inbound.held_bytes() + self.state.outbound.held_bytes() + channel
    }

    /// Whether it should be read from now.
    pub fn wants_input(&self) -> bool {
        !self.peer_ended
            && match self.phase {
                Phase::Open | Phase::Closing => self.holds.is_empty(),
                Phase::Flushing | Phase::Lingering => true,
                Phase::Ending => false,
            }
    }
}

impl<S> Slot<S> {
    /// Whether its TLS handshake or its backlog waits for its turn, and not for the peer.
    #[inline]
    pub fn waits_for_us(&self) -> bool {
        self.holds.has(Holds::WORK)
            || self.channel.as_deref().is_some_and(|channel| channel.waits_since.is_some())
    }

    /// Bytes that are queued and not with the kernel yet.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        let sealed = self.channel.as_deref().map_or(0, Channel::queued_bytes);
        self.state.outbound.queued_bytes() + sealed
    }

    /// Whether there are any.
    #[inline]
    pub fn has_queued(&self) -> bool {
        self.queued_bytes() > 0
    }

    /// Whether more of tapes is to be sent. Not while a portion for a subscription that catches
    /// up waits for the queue to leave: tapes that never end would keep it waiting for ever.
    /// They have their turn between two portions.
    #[inline]
    pub fn takes_from_tapes(&self) -> bool {
        !(self.state.outbound.is_ended() || self.catch_up != CatchUp::None && self.has_queued())
    }

    /// Whether the last byte is with the kernel; over TLS, whether the peer knows that.
    pub fn is_flushed(&self) -> bool {
        let is_open = |channel: &Channel| !channel.is_closed();
        !self.has_queued() && !self.channel.as_deref().is_some_and(is_open)
    }
}

/// A connection that was looked up: its slot, for the length of a step, and its token.
pub struct Peer<'s, S> {
    pub token: Token,
    slot: &'s mut Slot<S>,
}

impl<'s, S> Peer<'s, S> {
    /// The connection at `index`, whatever its generation.
    #[inline]
    pub fn at(slots: &'s mut Slab<Slot<S>>, index: u32) -> Option<Peer<'s, S>> {
        let (generation, slot) = slots.named_mut(index)?;
        Some(Peer { token: token(index, generation), slot })
    }

    /// The connection that a token names. If its owner has ended, that is counted.
    #[inline]
    pub fn named(
        slots: &'s mut Slab<Slot<S>>,
        name: Token,
        counters: &Counters,
    ) -> Option<Peer<'s, S>> {
        let found = Peer::at(slots, name.index)
            .filter(|peer| peer.token == name || planted(Bug::StaleGeneration));
        if found.is_none() {
            counters.stale_events.add(1);
        }
        found
    }

    #[inline]
    pub fn index(&self) -> u32 {
        self.token.index
    }

    /// The slot itself, whose fields can be borrowed one by one.
    #[inline]
    pub fn slot(&mut self) -> &mut Slot<S> {
        self.slot
    }
}

impl<S> Deref for Peer<'_, S> {
    type Target = Slot<S>;

    #[inline]
    fn deref(&self) -> &Slot<S> {
        self.slot
    }
}

impl<S> DerefMut for Peer<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Slot<S> {
        self.slot
    }
}

/// The name of a connection for its application.
pub fn connection_id(shard: ShardId, token: Token) -> ConnectionId {
    ConnectionId { shard, index: token.index, generation: token.generation }
}

/// The token of a slot: its index and the low bits of its generation.
pub fn token(index: u32, generation: u32) -> Token {
    Token { index, generation: generation & GENERATION_MASK }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most of an idle connection's memory is its slot: one more field is paid for a million
    /// times.
    #[test]
    fn a_slot_stays_small() {
        // With a session of a `Router`, which is as large as this.
        type Session = (Box<dyn std::any::Any>, usize);
        assert!(size_of::<Option<Slot<Session>>>() <= 216);
    }
}
