//! The log of a topic at its home: what numbers it, and its history.

use super::mail::Mail;
use crate::base::{Limits, ShardId};
use crate::protocol::Kind;
use bytes::Bytes;
use std::collections::VecDeque;

/// What a mail weighs beside its payload, in bytes.
pub const MAIL_OVERHEAD_BYTES: usize = 64;

/// A topic on some shard, named by that shard's table.
///
/// ```
/// # use tapecast::hub::{Hub, Mail, Mark, Post, Subscriptions};
/// # use tapecast::{Limits, ShardId};
/// # struct Alone;
/// # impl Post for Alone {
/// #     fn post(&mut self, _to: ShardId, mail: Mail, _weight: usize) -> Result<(), Mail> {
/// #         Err(mail)
/// #     }
/// # }
/// # let mut hub = Hub::new(ShardId(0), 1, Limits::default(), 1, 2);
/// # let (mut subscriptions, mut marks) = (Subscriptions::default(), Vec::new());
/// hub.subscribe(7, &mut subscriptions, "news").unwrap();
/// hub.flush(&mut Alone, &mut marks);
/// let [Mark::Subscribed { topic, .. }] = marks[..] else { panic!("one subscription") };
/// assert_eq!(hub.name(topic), Some("news"));
/// // Once nobody reads it, the topic is forgotten.
/// hub.leave(&mut subscriptions);
/// assert_eq!(hub.name(topic), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRef {
    /// Index into the table.
    pub index: u32,
    /// Generation of the entry.
    pub generation: u32,
}

/// One message of the log. Its number is its place.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Text or binary.
    pub kind: Kind,
    /// The payload, shared with every shard that reads it.
    pub payload: Bytes,
}

/// A shard with readers: a cursor on the log.
#[derive(Debug)]
pub struct ReaderShard {
    /// The shard.
    pub shard: ShardId,
    /// The topic in that shard's table.
    pub topic: TopicRef,
    /// The number of the next message to send it.
    pub next: u64,
}

/// The history of one topic, numbered without holes from 1.
#[derive(Debug)]
pub struct Log {
    /// Random per incarnation of the topic, below 2^53 so that JavaScript can
    /// hold it.
    pub epoch: u64,
    /// Who reads.
    pub readers: Vec<ReaderShard>,
    entries: VecDeque<Entry>,
    /// The number of the oldest entry that is kept.
    first: u64,
    bytes: usize,
}

impl Log {
    /// An empty log.
    pub fn new(epoch: u64) -> Log {
        Log { epoch, readers: Vec::new(), entries: VecDeque::new(), first: 1, bytes: 0 }
    }

    /// The number that the next message gets.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The number of the oldest message that is kept.
    #[cfg(test)]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The message with this number, if it is kept.
    #[cfg(test)]
    fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Appends a message and says its number. What exceeds the limits goes from
    /// the old end; the newest message always stays.
    pub fn append(&mut self, entry: Entry, limits: &Limits) -> u64 {
        let number = self.next();
        self.bytes += entry.payload.len();
        self.entries.push_back(entry);
        while self.entries.len() > 1
            && (self.entries.len() > limits.log_messages_max || self.bytes > limits.log_bytes_max)
        {
            let oldest = self.entries.pop_front().expect("there are two");
            self.bytes -= oldest.payload.len();
            self.first += 1;
        }
        number
    }

    /// Sends every reader shard what it has not been sent, as far as `send` has
    /// room; one that fell off is told what it missed. Says whether all is sent.
    pub fn forward(
        &mut self,
        mut send: impl FnMut(ShardId, Mail, usize) -> Result<(), Mail>,
    ) -> bool {
        let next = self.next();
        let mut all_sent = true;
        for reader in &mut self.readers {
            let &mut ReaderShard { shard, topic, .. } = reader;
            if reader.next < self.first {
                let missed = self.first - reader.next;
                if send(shard, Mail::Gap { topic, missed }, 0).is_err() {
                    all_sent = false;
                    continue;
                }
                reader.next = self.first;
            }
            while reader.next < next {
                let Entry { kind, payload } = &self.entries[(reader.next - self.first) as usize];
                let weight = payload.len() + MAIL_OVERHEAD_BYTES;
                let mail = Mail::Entry { topic, kind: *kind, payload: payload.clone() };
                if send(shard, mail, weight).is_err() {
                    all_sent = false;
                    break;
                }
                reader.next += 1;
            }
        }
        all_sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_holes_and_the_old_end_goes() {
        let limits = Limits { log_messages_max: 3, log_bytes_max: 10, ..Limits::default() };
        let mut log = Log::new(7);
        for expected in 1..=20u64 {
            let payload = Bytes::from(vec![expected as u8; expected as usize]);
            assert_eq!(log.append(Entry { kind: Kind::Text, payload }, &limits), expected);
            let kept: usize = (log.first()..log.next())
                .map(|number| log.get(number).expect("kept").payload.len())
                .sum();
            assert!(kept <= 10 || log.first() == expected, "{expected}");
            assert!(log.next() - log.first() <= 3);
            assert_eq!(log.get(expected).unwrap().payload[0], expected as u8);
        }
        assert!(log.get(1).is_none() && log.get(21).is_none() && log.get(0).is_none());
    }
}
