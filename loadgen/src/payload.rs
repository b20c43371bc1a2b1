//! Messages that can be checked, every byte of them, from their number alone.

use crate::profile::values::{Content, Sizes};
use crate::profile::{Check, Group};
use tapecast::base::{Random, Time};

/// Bytes that random messages are cut out of.
const RANDOM_BYTES: usize = 1 << 16;

/// What the messages of a group look like.
///
/// A message is a number in front, as much of it as fits, then filling; or a line of
/// a file. A publication carries a [`Stamp`] instead of the number.
#[derive(Debug)]
pub struct Payload {
    text: bool,
    sizes: Sizes,
    content: Content,
    check: Check,
    /// Filling, as long as the largest message and more for random ones.
    filling: Vec<u8>,
    /// The message that is being made.
    made: Vec<u8>,
    /// It goes out in a template.
    is_wrapped: bool,
    /// Messages differ in their numbers alone.
    can_repeat: bool,
}

/// A frame whose message was found to be right, and what was received behind it.
#[derive(Clone, Copy, Debug)]
pub struct Following<'a> {
    /// The frame, whole.
    pub frame: &'a [u8],
    /// Of its header.
    pub header_bytes: usize,
    /// What follows it.
    pub rest: &'a [u8],
}

impl<'a> Following<'a> {
    /// Its message.
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[self.header_bytes..]
    }
}

/// Whether two slices of one length are equal: in line, for they are short and many.
#[inline]
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let (ones, one_rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    let difference =
        |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
    let all = ones.iter().zip(others).map(|(one, other)| difference(one, other));
    // Without a branch for each, so that it becomes wide instructions.
    all.fold(0, |all, one| all | one) == 0
        && one_rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

impl Payload {
    /// The messages of `group`. The same for all connections of all threads.
    pub fn new(group: &Group) -> Payload {
        let largest = group.size.bounds().1;
        let length = match group.payload {
            Content::Pattern => largest,
            Content::Random => largest + RANDOM_BYTES,
            Content::Lines { .. } => 0,
        };
        let mut random = Random::new(length as u64 | 1);
        // Text has to survive in JSON.
        let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
        let byte = |random: &mut Random| match group.text {
            true => letters[random.below(letters.len() as u64) as usize],
            false => random.number() as u8,
        };
        let filling = (0..length).map(|_| byte(&mut random)).collect();
        Payload {
            text: group.text,
            sizes: group.size.clone(),
            content: group.payload.clone(),
            check: group.check,
            filling,
            made: Vec::new(),
            is_wrapped: !group.template.is_empty(),
            can_repeat: !group.text
                && group.check == Check::Content
                && group.template.is_empty()
                && matches!(group.payload, Content::Pattern)
                && matches!(group.size, Sizes::Fixed(1..)),
        }
    }

    /// Whether messages go out in a template, and come back in something else.
    pub fn is_wrapped(&self) -> bool {
        self.is_wrapped
    }

    /// Where in the filling message `number` begins.
    fn offset(&self, number: u64) -> usize {
        match self.content {
            Content::Random => {
                (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % RANDOM_BYTES
            }
            _ => 0,
        }
    }

    /// The number as it stands in front: little-endian, or in hexadecimal digits
    /// from the lowest.
    fn number(&self, number: u64) -> [u8; 8] {
        match self.text {
            false => number.to_le_bytes(),
            true => std::array::from_fn(|digit| {
                b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15]
            }),
        }
    }

    /// Message number `number`.
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
        // A pattern is in place already when the last message was as long.
        if self.made.len() != size || !matches!(self.content, Content::Pattern) {
            self.made.clear();
            self.made.extend_from_slice(&self.filling[offset..offset + size]);
        }
        let front = &front[..front.len().min(size)];
        self.made[..front.len()].copy_from_slice(front);
        &self.made
    }

    /// Whether `bytes` is the reply to message number `number`. In a template it may
    /// stand anywhere.
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
        // Byte by byte, for a call costs more than eight of them.
        let is_front = |bytes: &[u8]| bytes.iter().zip(front).all(|(one, other)| one == other);
        bytes.len() == size
            && is_front(&bytes[..front.len()])
            && bytes[front.len()..] == self.filling[offset + front.len()..offset + size]
    }

    /// The publication with this stamp.
    pub fn publication(&mut self, stamp: &Stamp) -> &[u8] {
        let (front, length) = stamp.write(self.text);
        self.make(stamp.number, &front[..length])
    }

    /// The stamp of a publication, if this is one and nothing of it was changed.
    #[inline]
    pub fn stamp(&self, bytes: &[u8]) -> Option<Stamp> {
        if !self.text {
            let stamp = Stamp::read(bytes)?;
            let intact = self.is_filled(bytes, stamp.number, Stamp::BINARY_BYTES);
            return intact.then_some(stamp);
        }
        let start = match self.is_wrapped {
            false => 0,
            true => bytes.iter().position(|&byte| byte == Stamp::MARK)?,
        };
        let stamp = Stamp::read_text(bytes.get(start..)?)?;
        let end = match self.is_wrapped {
            false => bytes.len(),
            true => start + self.sizes.of(stamp.number),
        };
        let payload = bytes.get(start..end)?;
        self.is_filled(payload, stamp.number, Stamp::TEXT_BYTES).then_some(stamp)
    }

    /// Whether what follows the first `front` bytes is the filling of this message.
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

    /// How many frames follow that are the next ones: the same, byte by byte, but for numbers
    /// that count on. At most `most` of them.
    #[inline]
    pub fn repeats(&self, following: &Following<'_>, most: u64) -> u64 {
        let &Following { frame, header_bytes, rest } = following;
        if !self.can_repeat || rest.get(..header_bytes) != Some(&frame[..header_bytes]) {
            return 0;
        }
        let front = header_bytes..frame.len().min(header_bytes + size_of::<u64>());
        let number = |frame: &[u8]| match frame[front.clone()].first_chunk() {
            Some(number) => u64::from_le_bytes(*number),
            None => frame[front.clone()].iter().rfold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        // Of a shorter one, what there is of it.
        let mask = u64::MAX >> (64 - 8 * front.len().max(1));
        let mut awaited = number(frame);
        let mut count = 0;
        for next in rest.chunks_exact(frame.len()).take(most as usize) {
            awaited = awaited.wrapping_add(1) & mask;
            let is_next = number(next) == awaited
                && is_equal(&next[..header_bytes], &frame[..header_bytes])
                && is_equal(&next[front.end..], &frame[front.end..]);
            if !is_next {
                break;
            }
            count += 1;
        }
        count
    }

    /// Whether a reply says by its content which message it answers.
    pub fn tells_apart(&self) -> bool {
        self.check == Check::Content && !matches!(self.content, Content::Lines { .. })
    }
}

/// Puts a connection's own words into a text.
pub fn fill_in(text: &str, room: u32, connection: u32) -> String {
    text.replace("{room}", &room.to_string()).replace("{connection}", &connection.to_string())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// What a publication says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who published it, counted over all threads.
    pub publisher: u16,
    /// Of which run, below 2^12: others may publish to the same topic, by other clocks.
    pub run: u16,
    /// Its number among the publisher's, below 2^36.
    pub number: u64,
    /// When it was planned, in the run's time.
    pub planned: Time,
    /// How many nanoseconds later it left.
    pub late_ns: u32,
}

impl Stamp {
    /// The largest run.
    pub const RUN_MAX: u16 = (1 << 12) - 1;
    const BINARY_BYTES: usize = 20;
    const TEXT_BYTES: usize = 1 + 2 * Self::BINARY_BYTES;
    /// Starts a stamp in text; nothing of the filling is like it.
    const MARK: u8 = b'~';

    /// How many bytes a publication has at least.
    pub fn bytes(text: bool) -> usize {
        if text { Self::TEXT_BYTES } else { Self::BINARY_BYTES }
    }

    fn binary(&self) -> [u8; Self::BINARY_BYTES] {
        let mut bytes = [0; Self::BINARY_BYTES];
        let name = u64::from(self.publisher) << 48 | u64::from(self.run) << 36 | self.number;
        bytes[..8].copy_from_slice(&name.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.planned.as_nanos().to_le_bytes());
        bytes[16..].copy_from_slice(&self.late_ns.to_le_bytes());
        bytes
    }

    /// As it stands in front of a message, and how long that is.
    fn write(&self, text: bool) -> ([u8; Self::TEXT_BYTES], usize) {
        let mut front = [Self::MARK; Self::TEXT_BYTES];
        let binary = self.binary();
        if !text {
            front[..binary.len()].copy_from_slice(&binary);
            return (front, binary.len());
        }
        for (index, byte) in binary.iter().enumerate() {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            front[1 + 2 * index] = digit(byte >> 4);
            front[2 + 2 * index] = digit(byte & 15);
        }
        (front, front.len())
    }

    #[inline]
    fn read(bytes: &[u8]) -> Option<Stamp> {
        let bytes: &[u8; Self::BINARY_BYTES] = bytes.first_chunk()?;
        let number = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight"));
        let late = u32::from_le_bytes(*bytes[16..].first_chunk().expect("four"));
        Some(Stamp {
            publisher: (number(0) >> 48) as u16,
            run: (number(0) >> 36) as u16 & Self::RUN_MAX,
            number: number(0) & ((1 << 36) - 1),
            planned: Time::from_nanos(number(8)),
            late_ns: late,
        })
    }

    fn read_text(bytes: &[u8]) -> Option<Stamp> {
        let (&mark, digits) = bytes.first_chunk::<{ Self::TEXT_BYTES }>()?.split_first()?;
        let mut binary = [0; Self::BINARY_BYTES];
        for (byte, pair) in binary.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        (mark == Self::MARK).then(|| Self::read(&binary))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(size: &str, text: bool, change: impl Fn(&mut Group)) -> Payload {
        let mut group = Group { size: size.parse().unwrap(), text, ..Group::default() };
        change(&mut group);
        Payload::new(&group)
    }

    #[test]
    fn what_repeats_is_right_in_every_byte() {
        use tapecast::protocol::{Opcode, frame};
        for size in [1, 5, 8, 9, 20, 64, 125, 126, 1_000] {
            let group = Group { size: Sizes::Fixed(size), ..Group::default() };
            let mut payload = Payload::new(&group);
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
        let random = Group { payload: Content::Random, ..Group::default() };
        assert!(!Payload::new(&random).can_repeat, "what fills them differs");
    }

    #[test]
    fn every_byte_of_a_reply_counts() {
        for (size, text) in [("0", false), ("5", false), ("5", true), ("64", false), ("64", true)] {
            for content in ["pattern", "random"] {
                let mut payload =
                    payload(size, text, |group| group.payload = content.parse().unwrap());
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
    fn sizes_and_lengths() {
        let mut mixed = payload("0-100", false, |_| {});
        for number in 0..1_000 {
            let message = mixed.message(number).to_vec();
            assert!(mixed.check(&message, number));
        }
        let mut length = payload("5", false, |group| group.check = Check::Length);
        assert!(length.check(b"other", 1));
        assert!(!length.check(b"longer", 1));
        let mut any = payload("5", false, |group| group.check = Check::Any);
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
        let mut payload = payload("60", true, |group| group.template = template.into());
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
