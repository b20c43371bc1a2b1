//! Shrinking lists that have grown in a burst.

use std::collections::VecDeque;

/// The capacity that a list always keeps.
const KEPT: usize = 1_024;

/// A list with room to spare.
///
/// ```
/// use tapecast::base::Spare;
///
/// let mut burst: Vec<u64> = (0..1_000_000).collect();
/// burst.truncate(10);
/// burst.give_spare_back();
/// assert!(burst.capacity() < 10_000 && burst.len() == 10);
/// ```
pub trait Spare {
    /// Frees most of the unused capacity, if there is much.
    fn give_spare_back(&mut self);
}

/// The capacity to keep, if it is less than there is.
fn kept(len: usize, capacity: usize) -> Option<usize> {
    let used = len.max(KEPT);
    (capacity > 4 * used).then_some(2 * used)
}

impl<T> Spare for Vec<T> {
    fn give_spare_back(&mut self) {
        if let Some(kept) = kept(self.len(), self.capacity()) {
            self.shrink_to(kept);
        }
    }
}

impl<T> Spare for VecDeque<T> {
    fn give_spare_back(&mut self) {
        if let Some(kept) = kept(self.len(), self.capacity()) {
            self.shrink_to(kept);
        }
    }
}
