//! Gaps, duplicates and reorderings in one stream of numbered messages, as one reader sees
//! them, in 16 bytes.

/// The part of one stream that one reader has received.
///
/// A number that is skipped is a gap until it arrives after all. The last 64 numbers are
/// remembered one by one: within them, late and duplicate messages are distinguished exactly.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    next: u64,
    /// Bit `n`: the number `next - 1 - n` has arrived.
    seen: u64,
}

/// How a numbered message relates to the messages before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It follows the last one.
    Next,
    /// This many numbers between it and the last one are missing.
    After(u64),
    /// It had been missing.
    Late,
    /// It has arrived before.
    Again,
}

impl Track {
    /// Expects number 0 first.
    pub const START: Track = Track::from(0);
    /// Accepts any number as the first.
    pub const ANYWHERE: Track = Track::from(u64::MAX);

    /// Expects this number first.
    pub const fn from(next: u64) -> Track {
        Track { next, seen: 0 }
    }

    /// The next expected number, once one is known.
    pub fn next(&self) -> Option<u64> {
        (self.next != u64::MAX).then_some(self.next)
    }

    /// Takes the next `count` numbers.
    #[inline]
    pub fn take_next(&mut self, count: u64) {
        self.next += count;
        self.seen = if count < 64 { !(!self.seen << count) } else { u64::MAX };
    }

    /// Takes one number.
    #[inline]
    pub fn take(&mut self, number: u64) -> Order {
        if number == self.next || self.next == u64::MAX {
            self.next = number + 1;
            self.seen = self.seen << 1 | 1;
            return Order::Next;
        }
        if number > self.next {
            let missed = number - self.next;
            self.next = number + 1;
            self.seen = if missed < 63 { self.seen << (missed + 1) | 1 } else { 1 };
            return Order::After(missed);
        }
        let back = self.next - 1 - number;
        if back >= 64 || self.seen >> back & 1 == 1 {
            return Order::Again;
        }
        self.seen |= 1 << back;
        Order::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_duplicates_and_reorderings_are_distinguished() {
        let mut track = Track::START;
        let orders: Vec<Order> =
            [0, 1, 4, 2, 2, 4, 5, 3, 200, 199, 5].map(|number| track.take(number)).into();
        use Order::*;
        let expected =
            [Next, Next, After(2), Late, Again, Again, Next, Late, After(194), Late, Again];
        assert_eq!(orders, expected);
        assert_eq!(track.next(), Some(201));
        let mut track = Track::ANYWHERE;
        assert_eq!((track.next(), track.take(7), track.take(9)), (None, Next, After(1)));
        for count in [0, 1, 2, 63, 64, 65, 1_000] {
            let (mut one, mut other) = (track, track);
            one.take_next(count);
            (0..count).for_each(|number| assert_eq!(other.take(10 + number), Next));
            assert_eq!((one.next, one.seen), (other.next, other.seen), "{count}");
        }
    }
}
