//! Receives bytes: how connections are read from, and when not.
//!
//! Most connections have a receive armed that the kernel serves as bytes arrive, into buffers of
//! the shared ring. One that sends large frames, or more in a turn than its share, is *metered*:
//! it is polled, and then read in portions into one warm buffer, or straight into the message
//! that is arriving, and its replies leave from there before the next connection is read. That
//! keeps large messages in the cache, and no connection waits behind a flood.
//! A connection with compression is always metered, in small portions: bytes that are few on the
//! wire may be many once inflated, and count as what they become.

use super::parts::{Engine, Shard};
use super::state::{Holds, Operations, Peer, Phase};
use crate::app::Handler;
use crate::base::planted::{Bug, planted};
use crate::base::{Limits, ShardId, work};
use crate::driver::{Driver, Errno, Interest, ReceiveEnd, Token};
use crate::protocol::CloseCause;

/// Bytes of the buffer that metered connections are read into. It shares the second-level cache
/// with what is done to them.
const HOT_BYTES: usize = 256 << 10;
/// A metered connection that brings no more than this, so many times in a row, is read by the
/// kernel again.
const SMALL_READ_BYTES: usize = 8 << 10;
const SMALL_READS: u8 = 16;
/// Bytes that arrived before the receive was stopped may inflate to the bytes of so many turns.
const EARLY_TURNS: usize = 16;
/// Bytes read at once from a connection with compression. They may become a thousand times as
/// many before others have their turn.
const DEFLATE_READ_BYTES: usize = 16 << 10;

/// The result of reading a connection's share of a turn.
pub(super) enum Share {
    /// The connection is not to be read from, or has ended.
    Nothing,
    /// All that was there, in bytes.
    All(usize),
    /// All of its share, and there is more.
    More,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    /// The kernel has received bytes into a buffer.
    #[inline]
    pub(super) fn received(&mut self, token: Token, mut buffer: D::Buffer) {
        self.with(token, |engine, peer| engine.received(peer, &mut buffer));
        self.engine.driver.release(buffer);
    }

    /// At the turn's end the buffers of the turn are back: arms receives that found none, those
    /// first that have waited longest. More of them than there are buffers would find none
    /// again.
    pub(super) fn rearm_starved(&mut self) {
        for _ in 0..self.engine.core.limits.receive_buffers {
            let Some(token) = self.engine.queues.starved.pop_front() else { return };
            self.with(token, |engine, peer| {
                peer.waits_to_read = false;
                engine.counters().receives_rearmed.add(1);
                engine.read_on(peer);
            });
        }
    }

    /// Reads every metered connection that has something, each its share.
    pub(super) fn read_metered(&mut self) {
        let readable = self.engine.queues.readable.len();
        for count in (1..=readable).rev() {
            // Connections without a share are read by the next turn; one is read in any turn.
            let is_first = count == readable;
            if !self.engine.share_received(count, is_first) || self.engine.is_late() {
                return;
            }
            let Some(token) = self.engine.queues.readable.pop_front() else {
                break;
            };
            self.with(token, |engine, peer| {
                peer.waits_to_read = false;
                match engine.take_share(peer) {
                    Share::Nothing => {}
                    Share::All(bytes) => engine.has_read(peer, bytes),
                    Share::More => engine.reads_more(peer),
                }
            });
            self.deliver_direct();
        }
    }

    /// Reads again from connections whose publications have room now: a few at a time, the
    /// longest waiting first. All at once would bring more than there is room for.
    pub(super) fn resume_congested(&mut self) {
        let Shard { engine, .. } = self;
        let limits = &engine.core.limits;
        // Each brings a receive buffer at first; short publications weigh several times their
        // bytes.
        let bytes_each = 4 * limits.receive_buffer_bytes;
        let most = (limits.publish_overflow_bytes_max / bytes_each).max(1);
        engine.queues.resumes_more = false;
        for home in 0..self.engine.queues.congested.len() {
            let Shard { engine, .. } = self;
            let shard = ShardId(home as u16);
            let is_full = engine.core.hub.is_congested(shard) || engine.links.has_waiting(shard);
            if engine.queues.congested[home].is_empty() || is_full {
                continue;
            }
            for _ in 0..most {
                let Some(token) = self.engine.queues.congested[home].pop_front() else { break };
                if planted(Bug::ForgottenPublisher) {
                    continue;
                }
                self.with(token, |engine, peer| {
                    peer.holds.end(Holds::PUBLICATIONS);
                    engine.read_on(peer);
                });
            }
            let queues = &mut self.engine.queues;
            queues.resumes_more |= !queues.congested[home].is_empty();
        }
    }
}

impl<H: Handler, D: Driver> Engine<H, D> {
    #[inline]
    fn received(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &mut [u8]) {
        let turn = self.clock.turn as u16;
        let bytes_max = EARLY_TURNS * self.core.limits.receive_bytes_per_turn;
        if peer.turn != turn {
            peer.turn = turn;
            peer.turn_bytes = 0;
        }
        peer.turn_bytes = peer.turn_bytes.saturating_add(bytes.len() as u32);
        let heard = peer.inbound.keep_alive.heard();
        // Received before it could be metered: by a client that did not wait for the
        // handshake's answer, if it is much.
        if peer.inbound.has_deflate() && peer.turn_bytes as usize > bytes_max {
            self.hit(const { Limits::index_of("receive_bytes_per_turn") });
            self.fail(peer, CloseCause::MessageTooBig);
            self.choose_reading(peer);
        } else {
            let before = self.before_read();
            self.arrived(peer, bytes);
            self.choose_reading(peer);
            self.may_pace(peer, before, self.core.now - heard);
        }
    }

    /// Takes bytes as they came from the socket.
    #[inline]
    fn arrived(&mut self, peer: &mut Peer<'_, H::Session>, bytes: &mut [u8]) {
        self.counters().bytes_received.add(bytes.len() as u64);
        if peer.channel.is_none() {
            self.ingest(peer, bytes);
        } else {
            self.unseal(peer, bytes);
        }
        // Charged after they were served: they are here, and need not wait for a share.
        self.core.work += work::receive(bytes.len());
    }

    /// Decides, after bytes came, whether the connection is metered from now on.
    #[inline]
    fn choose_reading(&mut self, peer: &mut Peer<'_, H::Session>) {
        let limits = &self.core.limits;
        let (share, buffer_bytes) = (limits.receive_bytes_per_turn, limits.receive_buffer_bytes);
        if !peer.is_polled
            && (peer.turn_bytes as usize > share
                || peer.inbound.is_missing(buffer_bytes)
                || peer.inbound.has_deflate())
        {
            peer.is_polled = true;
            peer.reads = 0;
            if peer.turn_bytes as usize > share {
                self.hit(const { Limits::index_of("receive_bytes_per_turn") });
            }
            self.read_on(peer);
        }
    }

    /// Brings what is armed in the kernel in line with what the connection wants.
    pub fn read_on(&mut self, peer: &mut Peer<'_, H::Session>) {
        let wanted = match (peer.wants_input(), peer.is_polled) {
            (false, _) => None,
            (true, false) => Some(Operations::RECEIVE),
            (true, true) => Some(Operations::POLL_READABLE),
        };
        let operations = peer.operations;
        if operations.has(Operations::RECEIVE) {
            // Its end brings us here again.
            self.serve_later(peer);
            if wanted != Some(Operations::RECEIVE) {
                self.driver.stop_receive(peer.token);
            }
            return;
        }
        if peer.holds.is_only(Holds::WORK) {
            return self.serve_later(peer);
        }
        if operations.has(Operations::POLL_READABLE) || peer.waits_to_read {
            return;
        }
        match wanted {
            Some(Operations::RECEIVE) => {
                peer.operations.begin(Operations::RECEIVE);
                self.driver.receive(peer.socket, peer.token);
            }
            Some(_) => {
                peer.operations.begin(Operations::POLL_READABLE);
                self.driver.poll(peer.socket, peer.token, Interest::Readable);
            }
            None => {}
        }
    }

    /// The kernel no longer receives for a connection.
    pub fn receive_ended(&mut self, peer: &mut Peer<'_, H::Session>, end: ReceiveEnd) {
        peer.operations.end(Operations::RECEIVE);
        if peer.phase == Phase::Ending {
            return self.try_close(peer);
        }
        match end {
            ReceiveEnd::EndOfStream => self.peer_ended(peer),
            ReceiveEnd::Broken(_) => self.lost(peer),
            ReceiveEnd::Stopped => self.read_on(peer),
            ReceiveEnd::Expired => {
                self.counters().receives_rearmed.add(1);
                if !planted(Bug::DroppedRearm) {
                    self.read_on(peer);
                }
            }
            ReceiveEnd::NoBuffers => {
                peer.waits_to_read = true;
                self.counters().receive_buffers_exhausted.add(1);
                self.hit(const { Limits::index_of("receive_buffers") });
                self.queues.starved.push_back(peer.token);
            }
        }
    }

    /// A socket has become readable or writable.
    pub fn polled(&mut self, peer: &mut Peer<'_, H::Session>, interest: Interest) {
        peer.operations.end(match interest {
            Interest::Readable => Operations::POLL_READABLE,
            Interest::Writable => Operations::POLL_WRITABLE,
        });
        if peer.phase == Phase::Ending {
            return self.try_close(peer);
        }
        match interest {
            Interest::Readable => {
                peer.waits_to_read = true;
                self.queues.readable.push_back(peer.token);
            }
            Interest::Writable => {
                // The peer reads, and answers only behind the bytes in its socket.
                let took = peer.blocked_for(self.core.now);
                peer.inbound.keep_alive.take(self.core.now, took);
                self.mark_dirty(peer);
                // Before its tapes fill the socket again.
                self.may_catch_up(peer);
            }
        }
    }

    /// A metered connection has more than its share: the others go first.
    pub fn reads_more(&mut self, peer: &mut Peer<'_, H::Session>) {
        peer.waits_to_read = true;
        self.queues.readable.push_back(peer.token);
    }

    /// A metered connection has brought all that it had, so many bytes.
    fn has_read(&mut self, peer: &mut Peer<'_, H::Session>, bytes: usize) {
        peer.reads = if bytes <= SMALL_READ_BYTES { peer.reads.saturating_add(1) } else { 0 };
        peer.is_polled = peer.reads < SMALL_READS || peer.inbound.has_deflate();
        if !peer.is_polled {
            peer.reads = 0;
        }
        self.read_on(peer);
    }

    /// Reads one connection's share of this turn.
    pub fn take_share(&mut self, peer: &mut Peer<'_, H::Session>) -> Share {
        let mut share = self.core.limits.receive_bytes_per_turn;
        let mut total = 0;
        loop {
            if !peer.wants_input() {
                return Share::Nothing;
            }
            self.core.inflated_bytes = 0;
            let (result, asked) = self.read_once(peer);
            match result {
                Ok(0) => {
                    self.peer_ended(peer);
                    return Share::Nothing;
                }
                Ok(bytes) => {
                    total += bytes;
                    share = share.saturating_sub(bytes + self.core.inflated_bytes);
                    if bytes < asked {
                        return Share::All(total);
                    }
                    // More bytes would only wait in a backlog.
                    if share == 0 || self.core.is_exhausted() {
                        return Share::More;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return Share::All(total),
                Err(_) => {
                    self.lost(peer);
                    return Share::Nothing;
                }
            }
        }
    }

    /// One read: straight into the message that is arriving if much of it is missing, else into
    /// the warm buffer. Returns the result, and the number of bytes requested.
    fn read_once(&mut self, peer: &mut Peer<'_, H::Session>) -> (Result<usize, Errno>, usize) {
        let socket = peer.socket;
        // Not over TLS: there the socket's bytes are records, not the message's bytes.
        if peer.channel.is_none()
            && peer.inbound.is_missing(HOT_BYTES / 2)
            && let Some(room) = peer.inbound.room()
        {
            let asked = room.len();
            let result = self.driver.receive_now(socket, room);
            if let Ok(bytes @ 1..) = result {
                match peer.inbound.received(bytes) {
                    Ok(()) => self.ingest(peer, &mut []),
                    Err(cause) => self.fail(peer, cause),
                }
                // Charged after they were served: they are here, and need not wait for a share.
                self.core.work += work::receive(bytes);
                self.counters().bytes_received.add(bytes as u64);
            }
            return (result, asked);
        }
        let asked = if peer.inbound.has_deflate() { DEFLATE_READ_BYTES } else { HOT_BYTES };
        let mut hot = std::mem::take(&mut self.scratch.hot);
        hot.resize(HOT_BYTES, 0);
        let result = self.driver.receive_now(socket, &mut hot[..asked]);
        if let Ok(bytes @ 1..) = result {
            self.arrived(peer, &mut hot[..bytes]);
        }
        self.scratch.hot = hot;
        (result, asked)
    }
}
