//! One connection of a shard: the machine without I/O, its socket, and what is
//! under way for it in the kernel.

use crate::app::{Core, Link, Own};
use crate::base::{ConnectionId, ShardId, Time};
use crate::connection::{Channel, Close, Inbound};
use crate::driver::{GENERATION_MASK, Socket, Token};
use std::net::SocketAddr;
use std::time::Duration;

/// Where a connection stands on the way to its end. It only moves downward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The handshake, then messages.
    Open,
    /// This end has queued its close frame and waits for the peer's.
    Closing,
    /// The last bytes are queued. Once they have left: shut, or cut.
    Flushing,
    /// The sending side is shut; what still comes is read and dropped.
    Lingering,
    /// Every operation is being ended; then the socket is closed.
    Ending,
}

/// Operations under way in the kernel. The slot lives until there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Operations(u8);

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

/// Reasons for which a connection is not read from. It is again once none is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds(u8);

impl Holds {
    /// Its queue is long: until the peer has taken all of it.
    pub const QUEUE: Holds = Holds(1);
    /// Its publications wait: until they have room.
    pub const PUBLICATIONS: Holds = Holds(2);
    /// It is over its rate: until it is within again.
    pub const RATE: Holds = Holds(4);
    /// It is read at a pace: until the next time.
    pub const PACE: Holds = Holds(8);
    /// It has used up its share of the work: until it is served further, and owes nothing.
    pub const WORK: Holds = Holds(16);

    /// Connections hold much memory, and it is one of the largest: until there is room.
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

    /// Adds a reason; says whether it is new.
    pub fn add(&mut self, hold: Holds) -> bool {
        let is_new = !self.has(hold);
        self.0 |= hold.0;
        is_new
    }

    /// Takes a reason away; says whether it was there.
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

/// Whether a connection's subscriptions that are not on their tapes are to be looked after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    None,
    /// Once what is queued has left.
    Due,
    /// They have had a portion: what is on its tapes goes before the next one.
    AfterTapes,
}

const BLOCKED_STEP_MS: u64 = 16;

pub(super) struct Slot<S> {
    pub inbound: Inbound,
    pub own: Own,
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
    /// It is read with polls and receives of our own, in measured portions,
    /// instead of by the kernel as bytes come.
    pub is_metered: bool,
    /// It is in a list of connections to be read from, or armed, by this turn.
    pub waits_to_read: bool,
    /// Reads in a row that speak for another way of reading: of a metered connection those
    /// that were too small to be worth it, of another those that might have been at a pace.
    pub reads: u8,
    /// The peer has sent its last byte.
    pub peer_ended: bool,
    /// Both close frames are exchanged, and nothing followed the peer's.
    pub is_clean: bool,
    /// It is one too many: answered with 503.
    pub is_refused: bool,
    /// Whether it has subscriptions that are not on their tapes.
    pub attention: Attention,
    /// `Notice::Writable` is owed.
    pub wants_writable: bool,
    /// When its socket had no room, in steps of 16 ms and without all but the lowest bits.
    pub blocked_at: u16,
    /// Bytes received in turn `turn`.
    pub turn_bytes: u32,
    /// Without all but its lowest bits: that it may be an earlier one costs a bit of share.
    pub turn: u16,
}

impl<S> Slot<S> {
    pub fn new(socket: Socket, peer: Option<SocketAddr>, now: Time) -> Slot<S> {
        Slot {
            inbound: Inbound::new(now),
            own: Own::new(peer),
            session: None,
            channel: None,
            socket,
            phase: Phase::Open,
            operations: Operations::default(),
            since: now,
            close: None,
            is_dirty: false,
            holds: Holds::default(),
            is_metered: false,
            waits_to_read: false,
            reads: 0,
            peer_ended: false,
            is_clean: false,
            is_refused: false,
            attention: Attention::None,
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

    /// Its socket has no room: that is waited for.
    pub fn block(&mut self, now: Time) {
        self.operations.begin(Operations::POLL_WRITABLE);
        self.blocked_at = (now.as_millis() / BLOCKED_STEP_MS) as u16;
    }

    /// For how long there was no room: less than 18 minutes are told apart.
    pub fn blocked_for(&self, now: Time) -> Duration {
        let steps = ((now.as_millis() / BLOCKED_STEP_MS) as u16).wrapping_sub(self.blocked_at);
        Duration::from_millis(u64::from(steps) * BLOCKED_STEP_MS)
    }

    /// What a call of its handler works with; none before it has a session.
    #[inline]
    pub fn link<'a>(
        &'a mut self,
        core: &'a mut Core,
        token: Token,
    ) -> Option<(&'a mut S, Link<'a>)> {
        let id = connection_id(core.id, token);
        let round_trip_us = self.inbound.keep_alive.round_trip_us();
        let link = Link { id, round_trip_us, core, own: &mut self.own, received: None };
        Some((self.session.as_mut()?, link))
    }

    /// Bytes of memory that it holds, but for its backlog.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        let channel = self.channel.as_deref().map_or(0, Channel::held_bytes);
        self.inbound.held_bytes() + self.own.outbound.held_bytes() + channel
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

/// What its application calls the connection of this token.
pub(super) fn connection_id(shard: ShardId, token: Token) -> ConnectionId {
    ConnectionId { shard, index: token.index, generation: token.generation }
}

/// The token of a slot: the part of its generation that travels.
pub(super) fn token(index: u32, generation: u32) -> Token {
    Token { index, generation: generation & GENERATION_MASK }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection costs is mostly this: a field more is paid a million
    /// times.
    #[test]
    fn a_slot_stays_small() {
        // With a session of a `Router`, which is as large as this.
        type Session = (Box<dyn std::any::Any>, usize);
        assert!(size_of::<Option<Slot<Session>>>() <= 216);
    }
}
