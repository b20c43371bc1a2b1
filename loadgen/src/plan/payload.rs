//! Making and checking messages. Every byte of a message follows from its number, so that a
//! reply is checked against nothing that had to be kept.

use super::following::Following;
use super::messages::Messages;
use super::stamp::Stamp;
use crate::profile::Check;
use crate::profile::values::{Content, Sizes};
use tapecast::base::Random;

/// Bytes that random messages are cut from.
const RANDOM_BYTES: usize = 1 << 16;

/// Makes and checks the messages of a group.
///
/// A message is its number, as much of it as fits, and then filling; or a line of a file. A
/// publication carries a [`Stamp`] instead of the number.
#[derive(Debug)]
pub struct Payload {
    is_text: bool,
    sizes: Sizes,
    content: Content,
    check: Check,
    /// As long as the largest message, and [`RANDOM_BYTES`] longer for random ones.
    filling: Vec<u8>,
    /// The message that is being made.
    made: Vec<u8>,
    /// Messages are sent in a template.
    is_wrapped: bool,
    /// Messages differ in their numbers alone.
    can_repeat: bool,
}

impl Payload {
    /// The messages of a group: the same on all connections and threads.
    pub fn new(messages: &Messages) -> Payload {
        let largest = messages.sizes.bounds().1;
        let length = match messages.content {
            Content::Pattern => largest,
            Content::Random => largest + RANDOM_BYTES,
            Content::Lines { .. } => 0,
        };
        let mut random = Random::new(length as u64 | 1);
        // Characters that stand in JSON as they are.
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
        let byte = |random: &mut Random| {
            if messages.is_text {
                letters[random.below(letters.len() as u64) as usize]
            } else {
                random.number() as u8
            }
        };
        Payload {
            is_text: messages.is_text,
            sizes: messages.sizes.clone(),
            content: messages.content.clone(),
            check: messages.check,
            filling: (0..length).map(|_| byte(&mut random)).collect(),
            made: Vec::new(),
            is_wrapped: messages.template.is_some(),
            can_repeat: messages.can_repeat(),
        }
    }

    /// Whether messages are sent in a template, so that answers may wrap them too.
    pub fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// Where in the filling the message `number` begins.
    fn offset(&self, number: u64) -> usize {
        match self.content {
            Content::Random => {
                (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % RANDOM_BYTES
            }
            _ => 0,
        }
    }

    /// The encoded number at the start: little-endian bytes, or the low hexadecimal digits,
    /// the lowest first.
    fn number(&self, number: u64) -> [u8; 8] {
        if !self.is_text {
            return number.to_le_bytes();
        }
        let digit = |digit| b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15];
        std::array::from_fn(digit)
    }

    /// The message `number`.
    pub fn message(&mut self, number: u64) -> &[u8] {
        if let Content::Lines { lines, .. } = &self.content {
            self.made.clear();
            self.made.extend_from_slice(&lines[number as usize % lines.len()]);
            return &self.made;
        }
        let front = self.number(number);
        self.make(number, &front)
    }

    /// The filling of message `number`, with `front` over its start.
    fn make(&mut self, number: u64, front: &[u8]) -> &[u8] {
        let (size, offset) = (self.sizes.of(number), self.offset(number));
        // The last message was as long: its pattern is still in place.
        if self.made.len() != size || !matches!(self.content, Content::Pattern) {
            self.made.clear();
            self.made.extend_from_slice(&self.filling[offset..offset + size]);
        }
        let front = &front[..front.len().min(size)];
        self.made[..front.len()].copy_from_slice(front);
        &self.made
    }

    /// Whether `bytes` is the reply to the message `number`. Where messages are sent in a
    /// template, the payload may stand anywhere in it.
    #[inline]
    pub fn check(&mut self, bytes: &[u8], number: u64) -> bool {
        match self.check {
            Check::Any => true,
            Check::Length => {
                let length = match &self.content {
                    Content::Lines { lines, .. } => lines[number as usize % lines.len()].len(),
                    _ => self.sizes.of(number),
                };
                length == bytes.len()
            }
            Check::Content if self.is_wrapped => {
                self.message(number);
                contains(bytes, &self.made)
            }
            Check::Content => match &self.content {
                Content::Lines { lines, .. } => *lines[number as usize % lines.len()] == *bytes,
                _ => {
                    let front = self.number(number);
                    self.is_made(bytes, number, &front)
                }
            },
        }
    }

    #[inline]
    fn is_made(&self, bytes: &[u8], number: u64, front: &[u8]) -> bool {
        let (size, offset) = (self.sizes.of(number), self.offset(number));
        let front = &front[..front.len().min(size)];
        // Byte by byte: a call to compare costs more than eight bytes.
        let is_front = |bytes: &[u8]| bytes.iter().zip(front).all(|(one, other)| one == other);
        bytes.len() == size
            && is_front(&bytes[..front.len()])
            && bytes[front.len()..] == self.filling[offset + front.len()..offset + size]
    }

    /// The publication with this stamp.
    pub fn publication(&mut self, stamp: &Stamp) -> &[u8] {
        let (front, length) = stamp.write(self.is_text);
        self.make(stamp.number, &front[..length])
    }

    /// The stamp of a publication, if this is one and every byte of it is intact.
    #[inline]
    pub fn stamp(&self, bytes: &[u8]) -> Option<Stamp> {
        if !self.is_text {
            let stamp = Stamp::read(bytes)?;
            let intact = self.is_filled(bytes, stamp.number, Stamp::BINARY_BYTES);
            return intact.then_some(stamp);
        }
        let start =
            if self.is_wrapped { bytes.iter().position(|&byte| byte == Stamp::MARK)? } else { 0 };
        let stamp = Stamp::read_text(bytes.get(start..)?)?;
        let end = if self.is_wrapped { start + self.sizes.of(stamp.number) } else { bytes.len() };
        let payload = bytes.get(start..end)?;
        self.is_filled(payload, stamp.number, Stamp::TEXT_BYTES).then_some(stamp)
    }

    /// Whether the bytes after the first `front` ones are the filling of the message `number`.
    #[inline]
    fn is_filled(&self, bytes: &[u8], number: u64, front: usize) -> bool {
        let (size, offset) = (self.sizes.of(number), self.offset(number));
        match self.check {
            Check::Any => true,
            Check::Length => bytes.len() == size,
            Check::Content => {
                bytes.len() == size && bytes[front..] == self.filling[offset + front..offset + size]
            }
        }
    }

    /// How many frames follow that are the next messages, at most `most`.
    #[inline]
    pub fn repeats(&self, following: &Following<'_>, most: u64) -> u64 {
        if self.can_repeat { following.repeats(most) } else { 0 }
    }

    /// Whether the content of a reply identifies the message that it answers.
    pub fn identifies(&self) -> bool {
        self.check == Check::Content && !matches!(self.content, Content::Lines { .. })
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Group;
    use tapecast::base::Time;

    fn payload(size: &str, text: bool, change: impl Fn(&mut Group)) -> Payload {
        let mut group = Group::default();
        (group.message.size, group.message.text) = (size.parse().unwrap(), text);
        change(&mut group);
        Payload::new(&Messages::new(&group))
    }

    #[test]
    fn a_repeated_frame_differs_in_its_number_alone() {
        use tapecast::protocol::{Opcode, frame};
        for size in [1, 5, 8, 9, 20, 64, 125, 126, 1_000] {
            let mut payload = payload(&size.to_string(), false, |_| {});
            // Over an end of the lowest byte, which is all that the smallest has.
            let frames: Vec<Vec<u8>> = (253..258)
                .map(|number| {
                    let mut bytes = Vec::new();
                    frame::encode(Opcode::Binary, true, size, None)
                        .append(&mut bytes, payload.message(number));
                    bytes
                })
                .collect();
            let header_bytes = frames[0].len() - size;
            let repeats = |rest: &[u8], most| {
                payload.repeats(&Following { frame: &frames[0], header_bytes, rest }, most)
            };
            let rest = frames[1..].concat();
            assert_eq!((repeats(&rest, 9), repeats(&rest, 3), repeats(&[], 9)), (4, 3, 0));
            assert_eq!(repeats(&rest[..rest.len() - 1], 9), 3, "the last is not whole");
            assert_eq!(repeats(&frames[2..].concat(), 9), 0, "one is missing");
            for at in 0..rest.len() {
                let mut wrong = rest.clone();
                wrong[at] ^= 0x10;
                assert_eq!(repeats(&wrong, 9), (at / frames[0].len()) as u64, "{size}: byte {at}");
            }
        }
        let random = payload("64", false, |group| group.message.payload = Content::Random);
        assert!(!random.can_repeat, "their filling differs");
    }

    #[test]
    fn every_byte_of_a_reply_counts() {
        for (size, text) in [("0", false), ("5", false), ("5", true), ("64", false), ("64", true)] {
            for content in ["pattern", "random"] {
                let mut payload =
                    payload(size, text, |group| group.message.payload = content.parse().unwrap());
                let message = payload.message(7).to_vec();
                assert!(payload.check(&message, 7));
                assert!(!text || std::str::from_utf8(&message).is_ok());
                assert_eq!(payload.check(&message, 8), size == "0");
                for index in 0..message.len() {
                    let mut other = message.clone();
                    other[index] ^= 1;
                    assert!(!payload.check(&other, 7), "byte {index} of {size}");
                }
            }
        }
    }

    #[test]
    fn a_reply_is_checked_for_content_length_or_nothing() {
        let mut mixed = payload("0-100", false, |_| {});
        for number in 0..1_000 {
            let message = mixed.message(number).to_vec();
            assert!(mixed.check(&message, number));
        }
        let mut length = payload("5", false, |group| group.message.check = Check::Length);
        assert!(length.check(b"other", 1));
        assert!(!length.check(b"longer", 1));
        let mut any = payload("5", false, |group| group.message.check = Check::Any);
        assert!(any.check(b"whatever", 1));
    }

    #[test]
    fn every_byte_of_a_publication_counts() {
        let planned = Time::from_nanos(123_456_789_012);
        let stamp = Stamp { publisher: 500, run: 4_095, number: 1 << 35, planned, late_ns: 77 };
        for (size, text) in [("20", false), ("64", false), ("41", true), ("120-200", true)] {
            let mut payload = payload(size, text, |_| {});
            let message = payload.publication(&stamp).to_vec();
            assert_eq!(payload.stamp(&message), Some(stamp), "{size}");
            for index in 0..message.len() {
                let mut other = message.clone();
                other[index] ^= 1;
                assert_ne!(payload.stamp(&other), Some(stamp), "byte {index} of {size}");
            }
            assert_eq!(payload.stamp(&message[..message.len() - 1]), None);
            assert_eq!(payload.stamp(b""), None);
        }
    }

    #[test]
    fn a_publication_is_found_in_its_template() {
        let template = r#"{"type":"publish","message":"{payload}"}"#;
        let mut payload = payload("60", true, |group| group.message.template = template.into());
        let stamp =
            Stamp { publisher: 1, run: 1, number: 2, planned: Time::from_nanos(3), late_ns: 4 };
        let message = String::from_utf8(payload.publication(&stamp).to_vec()).unwrap();
        let received = format!(r#"{{"data":"{message}","seq":9}}"#);
        assert_eq!(payload.stamp(received.as_bytes()), Some(stamp));
        assert_eq!(payload.stamp(br#"{"type":"ack"}"#), None);
        let reply = String::from_utf8(payload.message(7).to_vec()).unwrap();
        assert!(payload.check(format!("[{reply}]").as_bytes(), 7));
        assert!(!payload.check(format!("[{reply}]").as_bytes(), 8));
    }
}
