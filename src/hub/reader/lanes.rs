//! The lanes in use on a shard, by number.

use crate::hub::lane::{Lane, Mark, Raw};
use crate::hub::message::Entry;
use crate::protocol::deflate::Deflater;
use crate::protocol::{Opcode, frame};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Every lane has two numbers: an even one for its frames as they are, and the odd one behind
/// it for the same frames compressed. The raw lane has the numbers 0 and 1.
#[derive(Debug)]
pub struct Lanes {
    known: Vec<&'static dyn Lane>,
    deflater: Deflater,
    /// Frames that are to be compressed.
    plain: Vec<u8>,
    /// Messages and marks whose encoding has panicked.
    panics: u64,
}

impl Lanes {
    /// The raw lane alone; the deflater makes the compressed ones.
    pub fn new(deflater: Deflater) -> Lanes {
        Lanes { known: vec![&Raw], deflater, plain: Vec::new(), panics: 0 }
    }

    /// The number of a lane, compressed or not; `None` if all numbers are taken.
    pub fn number(&mut self, lane: Option<&'static dyn Lane>, deflates: bool) -> Option<u8> {
        let place = lane.map_or(0, |lane| {
            let known = self.known.iter().position(|known| known.name() == lane.name());
            known.unwrap_or_else(|| {
                self.known.push(lane);
                self.known.len() - 1
            })
        });
        u8::try_from(2 * place + usize::from(deflates)).ok()
    }

    /// Appends a message as frames of the lane with this number.
    #[inline]
    pub fn encode(&mut self, number: u8, topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        if number.is_multiple_of(2) {
            return self.message(number, topic, entry, out);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        self.message(number, topic, entry, &mut plain);
        self.deflater.frames(&plain, out);
        self.plain = plain;
    }

    /// Appends a message, not compressed. If the lane panics over it, it becomes a gap.
    #[inline]
    pub fn message(&mut self, number: u8, topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        let lane = self.known[usize::from(number / 2)];
        let begin = out.len();
        if !self.try_encode(out, |out| lane.message(topic, entry, out)) {
            self.mark(number, topic, &Mark::Gap { from: entry.seq, to: entry.seq }, out);
        }
        if out.len() == begin {
            // A message takes room on its tape. RFC 6455, 5.5.3: an unsolicited pong is a
            // heartbeat that expects no answer.
            out.extend_from_slice(frame::encode(Opcode::Pong, true, 0, None).as_bytes());
        }
    }

    /// Appends a mark, not compressed. If the lane panics over it, it is left out.
    pub fn mark(&mut self, number: u8, topic: &str, mark: &Mark, out: &mut Vec<u8>) {
        let lane = self.known[usize::from(number / 2)];
        self.try_encode(out, |out| lane.mark(topic, mark, out));
    }

    /// Has a lane append something, and returns whether it did so without a panic. Bytes
    /// that a panicking lane has appended are removed.
    #[inline]
    fn try_encode(&mut self, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let begin = out.len();
        let is_encoded = catch_unwind(AssertUnwindSafe(|| encode(out))).is_ok();
        if !is_encoded {
            out.truncate(begin);
            self.panics += 1;
        }
        is_encoded
    }

    /// How often a lane has panicked since the last call.
    pub fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }
}
