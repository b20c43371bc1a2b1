//! The operating system's random numbers, for values that must be unpredictable: masking keys
//! and nonces. A thread takes them in batches, because a call into the kernel costs as much as a
//! hundred keys.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::cell::RefCell;

/// Bytes taken at once.
const BATCH_BYTES: usize = 4 << 10;

thread_local! {
    /// The rest of the thread's batch.
    static BATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `COUNT` random bytes, each of them used once.
///
/// ```
/// use tapecast::base::entropy;
///
/// let (first, second): ([u8; 16], [u8; 16]) = (entropy::bytes(), entropy::bytes());
/// assert_ne!(first, second);
/// ```
#[inline]
pub fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    const { assert!(COUNT <= BATCH_BYTES) };
    BATCH.with_borrow_mut(|batch| {
        if batch.len() < COUNT {
            refill(batch);
        }
        let start = batch.len() - COUNT;
        let bytes = *batch[start..].first_chunk().expect("there are so many");
        batch.truncate(start);
        bytes
    })
}

#[cfg(test)]
thread_local! {
    /// The thread's source of numbers in a simulation, which has to be repeatable.
    static REPEATED: RefCell<Option<super::Random>> = const { RefCell::new(None) };
}

/// From here on the thread's numbers follow from a seed.
#[cfg(test)]
pub fn repeat(seed: u64) {
    REPEATED.set(Some(super::Random::new(seed)));
    BATCH.take();
}

#[cold]
fn refill(batch: &mut Vec<u8>) {
    batch.resize(BATCH_BYTES, 0);
    #[cfg(test)]
    let is_repeated = REPEATED.with_borrow_mut(|random| {
        let Some(random) = random else { return false };
        batch.as_chunks_mut().0.iter_mut().for_each(|chunk| *chunk = random.bytes16());
        true
    });
    #[cfg(test)]
    if is_repeated {
        return;
    }
    let mut filled = 0;
    while filled < BATCH_BYTES {
        match getrandom(&mut batch[filled..], GetRandomFlags::empty()) {
            Ok(bytes) => filled += bytes,
            Err(Errno::INTR) => {}
            // Linux has it since 3.17. Predictable keys are worse than a crash.
            Err(error) => panic!("getrandom failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn random_bytes_do_not_repeat_and_have_no_bias() {
        let all: HashSet<[u8; 8]> = (0..10_000).map(|_| bytes()).collect();
        assert_eq!(all.len(), 10_000);
        // Every bit is set about half of the time.
        let ones: u32 = all.iter().map(|it| u64::from_ne_bytes(*it).count_ones()).sum();
        assert!((310_000..330_000).contains(&ones), "{ones}");
    }
}
