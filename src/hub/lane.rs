//! Lanes: how messages and marks become frames. A tape holds the frames of one lane; each
//! message is encoded once per lane, whatever the number of readers.

use super::message::Entry;
use crate::protocol::frame;
use std::fmt;

/// A notice between two runs of messages.
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
    /// Of messages `from` to `to` the reader gets only the newest of each key.
    Conflated {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The next `count` messages are the newest values of as many keys. A long snapshot
    /// comes in several such portions.
    Snapshot {
        /// How many.
        count: u64,
    },
    /// The snapshot is over: what follows is what comes after message `seq`.
    SnapshotEnd {
        /// The last message that it takes into account.
        seq: u64,
        /// It contained the value of every key. If not, a limit may have evicted some.
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
    /// Its name, which identifies it.
    fn name(&self) -> &'static str;

    /// Appends a message as whole frames of a server. If it panics, readers of this lane get
    /// a gap in place of the message.
    fn message(&self, topic: &str, entry: &Entry, out: &mut Vec<u8>);

    /// Appends a mark as whole frames of a server, or nothing.
    fn mark(&self, topic: &str, mark: &Mark, out: &mut Vec<u8>);
}

/// Messages as they were published; only the handler gets marks.
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
