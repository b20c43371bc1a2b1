//! Frames that repeat the one before them: the same bytes but for a number that counts up.
//!
//! An echo at full rate answers with runs of such frames. Comparing them whole costs a
//! fraction of decoding them one by one.

/// A frame whose message was correct, and the bytes received after it.
#[derive(Clone, Copy, Debug)]
pub struct Following<'a> {
    /// The whole frame.
    pub frame: &'a [u8],
    /// The length of its header.
    pub header_bytes: usize,
    /// The bytes after it.
    pub rest: &'a [u8],
}

impl<'a> Following<'a> {
    /// The message of the frame.
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[self.header_bytes..]
    }

    /// How many frames follow that repeat this one, each with the next number. At most
    /// `most` of them.
    #[inline]
    pub(super) fn repeats(&self, most: u64) -> u64 {
        let &Following { frame, header_bytes, rest } = self;
        if rest.get(..header_bytes) != Some(&frame[..header_bytes]) {
            return 0;
        }
        let front = header_bytes..frame.len().min(header_bytes + size_of::<u64>());
        let number = |frame: &[u8]| match frame[front.clone()].first_chunk() {
            Some(number) => u64::from_le_bytes(*number),
            None => frame[front.clone()].iter().rfold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        // A message shorter than a number carries its low bytes.
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
}

/// Whether two slices of one length are equal. Inlined, for the slices are short and many.
#[inline]
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let (ones, one_rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    let difference =
        |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other);
    let all = ones.iter().zip(others).map(|(one, other)| difference(one, other));
    // One branch after the loop instead of one in it lets the compiler vectorize.
    all.fold(0, |all, one| all | one) == 0
        && one_rest.iter().zip(other_rest).all(|(one, other)| one == other)
}
