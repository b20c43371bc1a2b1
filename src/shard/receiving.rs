//! Bytes come in: how they are read, and when not.
//!
//! Most connections have a receive armed that the kernel serves as bytes come,
//! into buffers of the shared ring. One that sends large frames, or more in a
//! turn than its share, is *metered*: it is polled, and then read in portions
//! into one warm buffer, or straight into the message that is arriving, and its
//! replies leave from there before the next connection is read. That keeps large
//! messages in the cache and nobody waits behind a flood.
//! Where messages may be compressed it is always so, in small portions: what is small on
//! the wire may be large in here, and counts as what it becomes.

use super::Shard;
use super::slot::{Holds, Operations, Phase};
use crate::app::Handler;
use crate::base::planted::{Bug, planted};
use crate::base::{Limits, ShardId, work};
use crate::driver::{Driver, Errno, Interest, ReceiveEnd, Token};
use crate::protocol::CloseCause;

/// Bytes of the buffer that metered connections are read into. It shares the
/// second-level cache with what is done to them.
const HOT_BYTES: usize = 256 << 10;
/// A metered connection that brings no more than this, so many times in a row, is
/// read by the kernel again.
const SMALL_READ_BYTES: usize = 8 << 10;
const SMALL_READS: u8 = 16;
/// So many turns' bytes may come out of what was received before the receive was stopped.
const EARLY_TURNS: usize = 16;
/// Bytes read at once where messages may be compressed. They may become a thousand times
/// as many, before others have their turn.
const DEFLATE_READ_BYTES: usize = 16 << 10;

/// What came of reading a connection's share of a turn.
pub(super) enum Share {
    /// It is not to be read from, or has ended.
    Nothing,
    /// All that was there, in bytes.
    All(usize),
    /// All that it may have, and there is more.
    More,
}

impl<H: Handler, D: Driver> Shard<H, D> {
    pub(super) fn received(&mut self, token: Token, mut buffer: D::Buffer) {
        let turn = self.turn as u16;
        let bytes_max = EARLY_TURNS * self.core.limits.receive_bytes_per_turn;
        if let Some(slot) = self.slot(token) {
            if slot.turn != turn {
                slot.turn = turn;
                slot.turn_bytes = 0;
            }
            slot.turn_bytes = slot.turn_bytes.saturating_add(buffer.len() as u32);
            let heard = slot.inbound.keep_alive.heard();
            // Received before it could be metered: by a client that did not wait for the
            // handshake's answer, if it is much.
            if slot.inbound.has_deflate() && slot.turn_bytes as usize > bytes_max {
                self.hit(const { Limits::index_of("receive_bytes_per_turn") });
                self.fail(token.index, CloseCause::MessageTooBig);
                self.choose_reading(token.index);
            } else {
                let before = self.before_read();
                self.arrived(token.index, &mut buffer);
                self.choose_reading(token.index);
                self.may_pace(token.index, before, self.core.now - heard);
            }
        }
        self.driver.release(buffer);
    }

    /// Decides, after bytes came, whether and how the connection is read on.
    #[inline]
    fn choose_reading(&mut self, index: u32) {
        let limits = &self.core.limits;
        let (share, buffer_bytes) = (limits.receive_bytes_per_turn, limits.receive_buffer_bytes);
        let Some(slot) = self.slots.at_mut(index) else { return };
        if !slot.is_metered
            && (slot.turn_bytes as usize > share
                || slot.inbound.is_missing(buffer_bytes)
                || slot.inbound.has_deflate())
        {
            slot.is_metered = true;
            slot.reads = 0;
            if slot.turn_bytes as usize > share {
                self.hit(const { Limits::index_of("receive_bytes_per_turn") });
            }
            self.read_on(index);
        }
    }

    /// Brings what is armed in the kernel in line with what the connection wants.
    pub(super) fn read_on(&mut self, index: u32) {
        let token = self.token(index);
        let Some(slot) = self.slots.at_mut(index) else { return };
        let wanted = match (slot.wants_input(), slot.is_metered) {
            (false, _) => None,
            (true, false) => Some(Operations::RECEIVE),
            (true, true) => Some(Operations::POLL_READABLE),
        };
        let operations = slot.operations;
        if operations.has(Operations::RECEIVE) {
            // Its end brings us here again.
            self.serve_later(index);
            if wanted != Some(Operations::RECEIVE) {
                self.driver.stop_receive(token);
            }
            return;
        }
        if slot.holds.is_only(Holds::WORK) {
            return self.serve_later(index);
        }
        if operations.has(Operations::POLL_READABLE) || slot.waits_to_read {
            return;
        }
        match wanted {
            Some(Operations::RECEIVE) => {
                slot.operations.begin(Operations::RECEIVE);
                self.driver.receive(slot.socket, token);
            }
            Some(_) => {
                slot.operations.begin(Operations::POLL_READABLE);
                self.driver.poll(slot.socket, token, Interest::Readable);
            }
            None => {}
        }
    }

    pub(super) fn receive_ended(&mut self, token: Token, end: ReceiveEnd) {
        let Some(slot) = self.slot(token) else { return };
        slot.operations.end(Operations::RECEIVE);
        if slot.phase == Phase::Ending {
            return self.try_close(token.index);
        }
        match end {
            ReceiveEnd::EndOfStream => self.peer_ended(token.index),
            ReceiveEnd::Broken(_) => self.lost(token.index),
            ReceiveEnd::Stopped => self.read_on(token.index),
            ReceiveEnd::Expired => {
                self.counters().receives_rearmed.add(1);
                if !planted(Bug::DroppedRearm) {
                    self.read_on(token.index);
                }
            }
            ReceiveEnd::NoBuffers => {
                slot.waits_to_read = true;
                self.counters().receive_buffers_exhausted.add(1);
                self.hit(const { Limits::index_of("receive_buffers") });
                self.starved.push_back(token);
            }
        }
    }

    /// At the turn's end the buffers of the turn are back: arms receives that found none,
    /// those first that have waited longest. More of them than there are buffers would find
    /// none again.
    pub(super) fn rearm_starved(&mut self) {
        for _ in 0..self.core.limits.receive_buffers {
            let Some(token) = self.starved.pop_front() else { return };
            if let Some(slot) = self.slot(token) {
                slot.waits_to_read = false;
                self.counters().receives_rearmed.add(1);
                self.read_on(token.index);
            }
        }
    }

    pub(super) fn polled(&mut self, token: Token, interest: Interest) {
        let now = self.core.now;
        let Some(slot) = self.slot(token) else { return };
        slot.operations.end(match interest {
            Interest::Readable => Operations::POLL_READABLE,
            Interest::Writable => Operations::POLL_WRITABLE,
        });
        if slot.phase == Phase::Ending {
            return self.try_close(token.index);
        }
        match interest {
            Interest::Readable => {
                slot.waits_to_read = true;
                self.readable.push_back(token);
            }
            Interest::Writable => {
                // It takes what it was sent, and answers only behind that.
                let took = slot.blocked_for(now);
                slot.inbound.keep_alive.take(now, took);
                self.mark_dirty(token.index);
                // Before its tapes fill the socket again.
                self.may_attend(token.index);
            }
        }
    }

    /// Reads every metered connection that has something, each its share.
    pub(super) fn read_metered(&mut self) {
        for count in (1..=self.readable.len()).rev() {
            // Connections without a share are read by the next turn; one is read in any turn.
            let is_first = count == self.readable.len();
            if !self.share_received(count, is_first) || self.is_late() {
                return;
            }
            let Some(token) = self.readable.pop_front() else {
                break;
            };
            let Some(slot) = self.slot(token) else { continue };
            slot.waits_to_read = false;
            match self.take_share(token) {
                Share::Nothing => {}
                Share::All(bytes) => self.has_read(token, bytes),
                Share::More => self.reads_more(token),
            }
        }
    }

    /// A metered connection has more than its share: the others go first.
    pub(super) fn reads_more(&mut self, token: Token) {
        let Some(slot) = self.slot(token) else { return };
        slot.waits_to_read = true;
        self.readable.push_back(token);
    }

    /// A metered connection has brought all that it had, so many bytes.
    fn has_read(&mut self, token: Token, bytes: usize) {
        let Some(slot) = self.slot(token) else { return };
        slot.reads = if bytes <= SMALL_READ_BYTES { slot.reads.saturating_add(1) } else { 0 };
        slot.is_metered = slot.reads < SMALL_READS || slot.inbound.has_deflate();
        if !slot.is_metered {
            slot.reads = 0;
        }
        self.read_on(token.index);
    }

    /// Reads one connection's share of this turn.
    pub(super) fn take_share(&mut self, token: Token) -> Share {
        let index = token.index;
        let mut share = self.core.limits.receive_bytes_per_turn;
        let mut total = 0;
        loop {
            let Some(slot) = self.slot(token) else {
                return Share::Nothing;
            };
            if !slot.wants_input() {
                return Share::Nothing;
            }
            self.core.inflated_bytes = 0;
            let (result, asked) = self.read_once(index);
            match result {
                Ok(0) => {
                    self.peer_ended(index);
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
                    self.lost(index);
                    return Share::Nothing;
                }
            }
        }
    }

    /// One read, straight into the message that is arriving if much of it is
    /// missing, else into the warm buffer. Says what came and what was asked for.
    fn read_once(&mut self, index: u32) -> (Result<usize, Errno>, usize) {
        let slot = self.slots.at_mut(index).expect("a metered connection");
        let socket = slot.socket;
        // Not over TLS: what is missing there is not what comes.
        if slot.channel.is_none()
            && slot.inbound.is_missing(HOT_BYTES / 2)
            && let Some(room) = slot.inbound.room()
        {
            let asked = room.len();
            let result = self.driver.receive_now(socket, room);
            if let Ok(bytes @ 1..) = result {
                match slot.inbound.received(bytes) {
                    Ok(()) => self.ingest(index, &mut []),
                    Err(cause) => self.fail(index, cause),
                }
                // Not before: these bytes are here and need not wait for a share.
                self.core.work += work::receive(bytes);
                self.counters().bytes_received.add(bytes as u64);
            }
            return (result, asked);
        }
        let asked = match slot.inbound.has_deflate() {
            true => DEFLATE_READ_BYTES,
            false => HOT_BYTES,
        };
        let mut hot = std::mem::take(&mut self.hot);
        hot.resize(HOT_BYTES, 0);
        let result = self.driver.receive_now(socket, &mut hot[..asked]);
        if let Ok(bytes @ 1..) = result {
            self.arrived(index, &mut hot[..bytes]);
        }
        self.hot = hot;
        (result, asked)
    }

    /// Where publications have room again, whoever waited for it is read from: a few at a
    /// time, those who have waited longest. All at once would bring more than there is room
    /// for.
    pub(super) fn resume_congested(&mut self) {
        let limits = &self.core.limits;
        // What each brings at first is a receive buffer, and more with what a short
        // publication weighs beside its bytes.
        let bytes_each = 4 * limits.receive_buffer_bytes;
        let most = (limits.publish_overflow_bytes_max / bytes_each).max(1);
        self.resumes_more = false;
        for home in 0..self.congested.len() {
            let shard = ShardId(home as u16);
            let is_full = self.core.hub.is_congested(shard) || self.links.has_waiting(shard);
            if self.congested[home].is_empty() || is_full {
                continue;
            }
            for _ in 0..most {
                let Some(token) = self.congested[home].pop_front() else { break };
                if planted(Bug::ForgottenPublisher) {
                    continue;
                }
                if let Some(slot) = self.slot(token) {
                    slot.holds.end(Holds::PUBLICATIONS);
                    self.read_on(token.index);
                }
            }
            self.resumes_more |= !self.congested[home].is_empty();
        }
    }
}
