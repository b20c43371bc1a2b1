//! Log lines for notable events: at most one a second of each kind, with the number of those
//! that were left out. They contain no payload and no header.

use crate::base::Time;

/// The kinds of notable events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Connections are answered with 503, or wait.
    Refused,
    /// Accepting failed for want of descriptors or memory.
    AcceptFailed,
    /// A peer broke the protocol.
    Violation,
    /// A peer was too slow, or fell behind a topic.
    Slow,
    /// A handler panicked.
    Panicked,
    /// A connection's TLS has failed.
    Insecure,
    /// A turn took too long.
    Late,
    /// Connections hold more memory than they may.
    Memory,
    /// A client offered subprotocols, and the route speaks none of them.
    Unspoken,
}

const KINDS: usize = 9;
const PERIOD_MS: u64 = 1_000;

/// When which kind may be logged again.
#[derive(Debug, Default)]
pub struct Notes([Kind; KINDS]);

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    next: Time,
    left_out: u64,
}

impl Notes {
    /// Whether a line may be logged now; if so, how many were left out before it.
    pub fn allow(&mut self, note: Note, now: Time) -> Option<u64> {
        let kind = &mut self.0[note as usize];
        if now < kind.next {
            kind.left_out += 1;
            return None;
        }
        kind.next = now.plus_millis(PERIOD_MS);
        Some(std::mem::take(&mut kind.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_logged_at_most_once_a_second() {
        let mut notes = Notes::default();
        let at = |ms| Time::ZERO.plus_millis(ms);
        assert_eq!(notes.allow(Note::Refused, at(0)), Some(0));
        assert_eq!(notes.allow(Note::Refused, at(1)), None);
        assert_eq!(notes.allow(Note::Panicked, at(1)), Some(0));
        assert_eq!(notes.allow(Note::Refused, at(999)), None);
        assert_eq!(notes.allow(Note::Refused, at(1_000)), Some(2));
    }
}
