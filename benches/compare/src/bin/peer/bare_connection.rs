//! One connection of the bare ring's server: it takes received bytes and collects the echoes
//! to send. It knows frames and the handshake but nothing of the ring, which only has to leave
//! `in_flight` alone while it is being sent.

use super::frames::{self, ECHO_OFFSET, Echo, Parsed};
use super::handshake;

/// Bytes that are reserved for a frame at once. A longer one grows as it arrives.
const RESERVE_BYTES_MAX: usize = 2 << 20;

/// Bytes to send, from `start` on.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub bytes: Vec<u8>,
    pub start: usize,
}

impl Outgoing {
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }
}

/// Emptied buffers. The last one returned is the first one lent, for it is in the cache. There
/// are no more of them than connections were busy at once.
#[derive(Debug, Default)]
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    /// Gives `target` memory if it has none.
    fn lend(&mut self, target: &mut Vec<u8>) {
        if target.capacity() == 0 {
            *target = self.0.pop().unwrap_or_default();
        }
    }

    /// Appends to `target`, which gets its memory from the pool.
    fn append(&mut self, target: &mut Vec<u8>, bytes: &[u8]) {
        self.lend(target);
        target.extend_from_slice(bytes);
    }

    pub fn give(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > 0 {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

#[derive(Debug, Default)]
pub struct Connection {
    /// An incomplete request head or frame.
    pub partial: Vec<u8>,
    /// The echoes of this turn, and those made while a send is in flight.
    pub waiting: Outgoing,
    /// Owned by the kernel while `is_sending`.
    pub in_flight: Outgoing,
    pub is_open: bool,
    is_upgraded: bool,
    /// A multishot receive is armed.
    pub is_receiving: bool,
    pub is_sending: bool,
    /// Listed as having something to send, or as ending, after this turn.
    pub is_dirty: bool,
    /// Received bytes are ignored.
    pub is_ending: bool,
}

impl Connection {
    /// Takes received bytes, in place, and collects the answers.
    pub fn received(&mut self, mut bytes: &mut [u8], pool: &mut Pool) {
        if !self.is_upgraded {
            let Some(rest_bytes) = self.shake_hands(bytes, pool) else {
                return;
            };
            bytes = bytes.split_at_mut(bytes.len() - rest_bytes).1;
        }
        while !self.partial.is_empty() && !self.is_ending {
            match frames::parse(&self.partial) {
                Parsed::Fault => self.is_ending = true,
                Parsed::Frame(frame) => self.echo_partial(frame, pool),
                Parsed::Needs(_) if bytes.is_empty() => return,
                Parsed::Needs(needed) => {
                    let missing = needed - self.partial.len();
                    let (taken, rest) = bytes.split_at_mut(missing.min(bytes.len()));
                    self.partial.reserve(missing.min(RESERVE_BYTES_MAX));
                    self.partial.extend_from_slice(taken);
                    bytes = rest;
                }
            }
        }
        while !bytes.is_empty() && !self.is_ending {
            match frames::parse(bytes) {
                Parsed::Fault => self.is_ending = true,
                Parsed::Needs(needed) => {
                    pool.lend(&mut self.partial);
                    self.partial.reserve(needed.min(RESERVE_BYTES_MAX));
                    return self.partial.extend_from_slice(bytes);
                }
                Parsed::Frame(frame) => {
                    let (whole, rest) = bytes.split_at_mut(frame.bytes());
                    let echo = frame.make_echo(whole);
                    if echo != Echo::Silence {
                        pool.append(&mut self.waiting.bytes, &whole[ECHO_OFFSET..]);
                    }
                    self.is_ending |= echo == Echo::SendAndEnd;
                    bytes = rest;
                }
            }
        }
    }

    /// Answers the request once it is complete. Returns how many of the last bytes follow it,
    /// or `None` as long as it is incomplete.
    fn shake_hands(&mut self, bytes: &[u8], pool: &mut Pool) -> Option<usize> {
        pool.append(&mut self.partial, bytes);
        let Some(head_bytes) = handshake::head_bytes(&self.partial) else {
            self.is_ending |= self.partial.len() > handshake::HEAD_BYTES_MAX;
            return None;
        };
        let head = std::mem::take(&mut self.partial);
        match handshake::response(&head[..head_bytes]) {
            Some(response) => pool.append(&mut self.waiting.bytes, response.as_bytes()),
            None => self.is_ending = true,
        }
        self.is_upgraded = true;
        let rest_bytes = head.len() - head_bytes;
        pool.give(head);
        Some(rest_bytes)
    }

    /// Echoes a frame that arrived in pieces: from the memory in which it was joined, unless
    /// other echoes wait already.
    fn echo_partial(&mut self, frame: frames::Frame, pool: &mut Pool) {
        let mut whole = std::mem::take(&mut self.partial);
        let echo = frame.make_echo(&mut whole);
        self.is_ending |= echo == Echo::SendAndEnd;
        if echo == Echo::Silence {
            pool.give(whole);
        } else if self.waiting.is_empty() {
            let spent = std::mem::replace(&mut self.waiting.bytes, whole);
            self.waiting.start = ECHO_OFFSET;
            pool.give(spent);
        } else {
            pool.append(&mut self.waiting.bytes, &whole[ECHO_OFFSET..]);
            pool.give(whole);
        }
    }
}
