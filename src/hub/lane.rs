//! Lanes: how a tape's messages are encoded. A lane's tape exists while somebody on
//! the shard reads it; each message is then encoded once, whatever the number of
//! readers.

use super::log::Entry;
use crate::protocol::deflate::Deflater;
use crate::protocol::{Opcode, frame};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What is said between two runs of messages.
///
/// ```
/// use tapecast::hub::Mark;
///
/// let mark = Mark::Gap { from: 7, to: 9 };
/// assert_eq!(mark, Mark::Gap { from: 7, to: 9 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Messages `from` to `to` are gone for this reader.
    Gap {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Of messages `from` to `to` it gets only the newest of each key.
    Conflated {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The next `count` messages are the newest values of as many keys. A snapshot
    /// that is long comes in several such portions.
    Snapshot {
        /// How many.
        count: u64,
    },
    /// The snapshot is over: what follows is what comes after message `seq`.
    SnapshotEnd {
        /// The last message that it takes into account.
        seq: u64,
        /// Every key's value was in it. If not, some may have gone to stay within a limit.
        is_complete: bool,
    },
}

/// An encoding of messages and marks into frames.
///
/// ```
/// use tapecast::hub::{Entry, Lane, Mark};
/// use tapecast::protocol::{Opcode, frame};
///
/// /// A message with its number before it; a gap as `?from-to`.
/// #[derive(Debug)]
/// struct Numbered;
///
/// impl Lane for Numbered {
///     fn name(&self) -> &'static str {
///         "numbered"
///     }
///
///     fn message(&self, _topic: &str, entry: &Entry, out: &mut Vec<u8>) {
///         let number = format!("{} ", entry.seq);
///         let bytes = number.len() + entry.payload.len();
///         out.extend_from_slice(frame::encode(Opcode::Binary, true, bytes, None).as_bytes());
///         out.extend_from_slice(number.as_bytes());
///         out.extend_from_slice(&entry.payload);
///     }
///
///     fn mark(&self, _topic: &str, mark: &Mark, out: &mut Vec<u8>) {
///         if let Mark::Gap { from, to } = mark {
///             let text = format!("?{from}-{to}");
///             out.extend_from_slice(frame::encode(Opcode::Text, true, text.len(), None).as_bytes());
///             out.extend_from_slice(text.as_bytes());
///         }
///     }
/// }
/// # let mut out = Vec::new();
/// # Numbered.mark("news", &Mark::Gap { from: 1, to: 2 }, &mut out);
/// # assert_eq!(out, b"\x81\x04?1-2");
/// ```
pub trait Lane: Sync + fmt::Debug {
    /// Its name, by which lanes are told apart.
    fn name(&self) -> &'static str;

    /// Appends a message as whole frames of a server. Should it panic, the message is a gap
    /// for those who read in this lane.
    fn message(&self, topic: &str, entry: &Entry, out: &mut Vec<u8>);

    /// Appends a mark as whole frames of a server, or nothing.
    fn mark(&self, topic: &str, mark: &Mark, out: &mut Vec<u8>);
}

/// Messages as they were published; marks are only told to the handler.
///
/// ```
/// use tapecast::hub::{Lane, Raw};
///
/// assert_eq!(Raw.name(), "raw");
/// ```
#[derive(Debug)]
pub struct Raw;

impl Lane for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn message(&self, _topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        frame::encode(entry.kind.opcode(), true, entry.payload.len(), None)
            .append(out, &entry.payload);
    }

    fn mark(&self, _topic: &str, _mark: &Mark, _out: &mut Vec<u8>) {}
}

/// The lanes in use on a shard, by number: each is there twice, as it is and compressed.
/// The raw one has the numbers 0 and 1.
#[derive(Debug)]
pub(super) struct Lanes {
    known: Vec<&'static dyn Lane>,
    deflater: Deflater,
    /// Frames that are to be compressed.
    plain: Vec<u8>,
    /// Messages and marks over which a lane has panicked.
    panics: u64,
}

impl Lanes {
    /// The raw lane alone; the deflater makes the compressed ones.
    pub fn new(deflater: Deflater) -> Lanes {
        Lanes { known: vec![&Raw], deflater, plain: Vec::new(), panics: 0 }
    }

    /// The number of a lane, compressed or not; `None` when there are too many.
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

    /// Appends a message, not compressed. One over which the lane panics is a gap in it.
    #[inline]
    pub fn message(&mut self, number: u8, topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        let lane = self.known[usize::from(number / 2)];
        let begin = out.len();
        if !self.is_encoded(out, |out| lane.message(topic, entry, out)) {
            self.mark(number, topic, &Mark::Gap { from: entry.seq, to: entry.seq }, out);
        }
        if out.len() == begin {
            // A message takes room on its tape. RFC 6455, 5.5.3: a pong that nothing has asked
            // for is no more than a sign of life.
            out.extend_from_slice(frame::encode(Opcode::Pong, true, 0, None).as_bytes());
        }
    }

    /// Appends a mark, not compressed. One over which the lane panics is not told.
    pub fn mark(&mut self, number: u8, topic: &str, mark: &Mark, out: &mut Vec<u8>) {
        let lane = self.known[usize::from(number / 2)];
        self.is_encoded(out, |out| lane.mark(topic, mark, out));
    }

    /// Has a lane append something; says whether it did so without a panic. Of one that
    /// panics, nothing is left.
    #[inline]
    fn is_encoded(&mut self, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        let begin = out.len();
        let is_encoded = catch_unwind(AssertUnwindSafe(|| encode(out))).is_ok();
        if !is_encoded {
            out.truncate(begin);
            self.panics += 1;
        }
        is_encoded
    }

    /// How often a lane has panicked since this was last asked.
    pub fn take_panics(&mut self) -> u64 {
        std::mem::take(&mut self.panics)
    }
}
