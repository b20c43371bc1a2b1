//! Messages that can be checked: a number in front, then bytes that the number
//! does not change. Short messages carry as much of the number as fits.

use tapecast::base::Random;

/// What the messages of one run look like.
#[derive(Debug)]
pub struct Payload {
    bytes: Vec<u8>,
    /// Bytes of the number: eight, or fewer in short messages.
    number_bytes: usize,
    text: bool,
}

impl Payload {
    /// Messages of `size` bytes. The same for all connections of all threads.
    pub fn new(size: usize, text: bool) -> Payload {
        let mut random = Random::new(size as u64);
        let byte = |random: &mut Random| match text {
            true => b' ' + random.below(95) as u8,
            false => random.number() as u8,
        };
        let bytes = (0..size).map(|_| byte(&mut random)).collect();
        Payload { bytes, number_bytes: size.min(8), text }
    }

    /// Whether messages are text.
    pub fn is_text(&self) -> bool {
        self.text
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
        let digits = self.number(number);
        self.bytes[..self.number_bytes].copy_from_slice(&digits[..self.number_bytes]);
        &self.bytes
    }

    /// Whether `bytes` is message number `number`, every byte of it.
    pub fn is(&self, bytes: &[u8], number: u64) -> bool {
        let digits = self.number(number);
        bytes.len() == self.bytes.len()
            && bytes[..self.number_bytes] == digits[..self.number_bytes]
            && bytes[self.number_bytes..] == self.bytes[self.number_bytes..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        for (size, text) in [(0, false), (5, false), (5, true), (64, false), (64, true)] {
            let mut payload = Payload::new(size, text);
            let message = payload.message(7).to_vec();
            assert!(payload.is(&message, 7));
            assert!(!text || std::str::from_utf8(&message).is_ok());
            assert_eq!(payload.is(&message, 8), size == 0);
            for index in 0..size {
                let mut other = message.clone();
                other[index] ^= 1;
                assert!(!payload.is(&other, 7), "byte {index} of {size} is not checked");
            }
        }
    }
}
