//! The stamp of a publication: its publisher, its run, its number and its time. It stands at
//! the start of the message, as 20 bytes or, in text, as a mark and 40 digits.

use crate::profile::stamp_bytes;
use tapecast::base::Time;

// As text, each byte is two digits, after the mark.
const _: () = assert!(Stamp::TEXT_BYTES == 1 + 2 * Stamp::BINARY_BYTES);

/// The identity and the time of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The publisher's number, counted over all threads.
    pub publisher: u16,
    /// The run that published it, below 2^12. Other runs may publish to the same topic, by
    /// other clocks.
    pub run: u16,
    /// Its number among those of the publisher, below 2^36.
    pub number: u64,
    /// When it was planned, in the run's time.
    pub planned: Time,
    /// Nanoseconds from `planned` until it was sent.
    pub late_ns: u32,
}

impl Stamp {
    /// The largest run.
    pub const RUN_MAX: u16 = (1 << 12) - 1;
    pub(super) const BINARY_BYTES: usize = stamp_bytes(false);
    pub(super) const TEXT_BYTES: usize = stamp_bytes(true);
    /// Starts a stamp in text. The filling of messages never contains it.
    pub(super) const MARK: u8 = b'~';

    fn binary(&self) -> [u8; Self::BINARY_BYTES] {
        let mut bytes = [0; Self::BINARY_BYTES];
        let name = u64::from(self.publisher) << 48 | u64::from(self.run) << 36 | self.number;
        bytes[..8].copy_from_slice(&name.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.planned.as_nanos().to_le_bytes());
        bytes[16..].copy_from_slice(&self.late_ns.to_le_bytes());
        bytes
    }

    /// The encoded stamp at the start of a message, and its length.
    pub(super) fn write(&self, text: bool) -> ([u8; Self::TEXT_BYTES], usize) {
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

    /// Reads a stamp from the start of a binary message.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<Stamp> {
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

    /// Reads a stamp from the start of a text.
    pub(super) fn read_text(bytes: &[u8]) -> Option<Stamp> {
        let (&mark, digits) = bytes.first_chunk::<{ Self::TEXT_BYTES }>()?.split_first()?;
        let mut binary = [0; Self::BINARY_BYTES];
        for (byte, pair) in binary.iter_mut().zip(digits.chunks(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        (mark == Self::MARK).then(|| Self::read(&binary))?
    }
}
