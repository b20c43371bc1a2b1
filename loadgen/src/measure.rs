//! What is counted, in fixed memory: histograms, sums, and faults by kind.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};
use std::time::Duration;
use tapecast::base::Time;

/// The longest time a histogram tells apart; longer ones count as this.
const LONGEST_NS: u64 = 60_000_000_000;
/// Kinds of faults that are told apart.
const KINDS_MAX: usize = 64;

/// From 1 µs to a minute at three digits: a fixed 150 KiB.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST_NS, 3).expect("the bounds are in order")
}

/// The same at two digits, a seventh of that: of every second one is kept.
pub fn coarse_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST_NS, 2).expect("the bounds are in order")
}

/// A histogram that takes a value which comes many times in a row as one: what is
/// sent in one turn and received in one turn is of one age.
#[derive(Clone, Debug)]
pub struct Recorder {
    histogram: Histogram<u64>,
    value: u64,
    times: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { histogram: histogram(), value: 0, times: 0 }
    }
}

impl Recorder {
    /// Records a value.
    #[inline]
    pub fn record(&mut self, value: Duration) {
        self.record_n(value, 1);
    }

    /// Records a value so many times.
    #[inline]
    pub fn record_n(&mut self, value: Duration, times: u64) {
        let value = value.as_nanos() as u64;
        if value != self.value {
            self.flush();
            self.value = value;
        }
        self.times += times;
    }

    fn flush(&mut self) {
        // None at all would still count as a largest value.
        if self.times > 0 {
            self.histogram.saturating_record_n(self.value, self.times);
            self.times = 0;
        }
    }

    /// Everything that was recorded.
    pub fn histogram(&mut self) -> &Histogram<u64> {
        self.flush();
        &self.histogram
    }
}

/// What the connections of one group on one thread did. Everything but the faults
/// starts anew when measuring does.
#[derive(Clone, Debug)]
pub struct Counted {
    /// From the planned time to the reply or delivery, in nanoseconds.
    pub latency: Recorder,
    /// From the time at which a closed loop would have sent it: after it was
    /// planned, and after the reply before it. What such a loop would have seen.
    pub uncorrected: Recorder,
    /// How late messages left.
    pub lateness: Histogram<u64>,
    /// From the first packet to the accepted handshake.
    pub handshake: Histogram<u64>,
    /// Messages that left.
    pub sent: u64,
    /// Replies, deliveries, or for connect: connections that did what they came for.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// Sent, and without an answer. Their time so far is in `latency`.
    pub unanswered: u64,
    /// Of those, what was planned and never left.
    pub unsent: u64,
    /// Came, and are nothing that is awaited: greetings, acknowledgements.
    pub other: u64,
    /// Numbers that were passed over, per topic and reader; one that comes late is
    /// taken off again.
    pub gaps: i64,
    /// Came twice.
    pub duplicates: u64,
    /// Came after a later one.
    pub reordered: u64,
    /// Accepted handshakes.
    pub opened: u64,
    pub faults: Faults,
}

impl Default for Counted {
    fn default() -> Self {
        Counted {
            latency: Recorder::default(),
            uncorrected: Recorder::default(),
            lateness: histogram(),
            handshake: histogram(),
            sent: 0,
            messages: 0,
            bytes: 0,
            unanswered: 0,
            unsent: 0,
            other: 0,
            gaps: 0,
            duplicates: 0,
            reordered: 0,
            opened: 0,
            faults: Faults::default(),
        }
    }
}

impl Counted {
    /// A reply or delivery.
    #[inline]
    pub fn message(&mut self, latency: Duration, uncorrected: Duration, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.latency.record(latency);
        self.uncorrected.record(uncorrected);
    }

    /// So many replies or deliveries of the same age and length.
    #[inline]
    pub fn messages(&mut self, latency: Duration, uncorrected: Duration, bytes: usize, count: u64) {
        self.messages += count;
        self.bytes += bytes as u64 * count;
        self.latency.record_n(latency, count);
        self.uncorrected.record_n(uncorrected, count);
    }

    /// A number came in this order; whether it was not here before.
    #[inline]
    pub fn order(&mut self, order: Order) -> bool {
        match order {
            Order::Next => {}
            Order::After(missed) => self.gaps += missed as i64,
            Order::Late => {
                self.gaps -= 1;
                self.reordered += 1;
            }
            Order::Again => self.duplicates += 1,
        }
        order != Order::Again
    }

    /// So many messages left, so much later than planned.
    #[inline]
    pub fn left(&mut self, late: Duration, count: u64) {
        if count > 0 {
            self.sent += count;
            self.lateness.saturating_record_n(late.as_nanos() as u64, count);
        }
    }

    /// So many messages have waited for their answers so long, and will get none.
    pub fn unanswered(&mut self, waited: Duration, count: u64) {
        self.unanswered += count;
        self.latency.record_n(waited, count);
    }

    /// Measuring starts. Handshakes and faults count from the very beginning.
    pub fn start_measuring(&mut self, keeps_handshakes: bool) {
        let fresh = Counted::default();
        let (faults, opened) = (std::mem::take(&mut self.faults), self.opened);
        let handshake = std::mem::replace(&mut self.handshake, histogram());
        *self = Counted { faults, ..fresh };
        if keeps_handshakes {
            (self.handshake, self.opened) = (handshake, opened);
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &mut Counted) {
        let add = |one: &mut Histogram<u64>, other| one.add(other).expect("the same bounds");
        add(&mut self.latency.histogram, other.latency.histogram());
        add(&mut self.uncorrected.histogram, other.uncorrected.histogram());
        add(&mut self.lateness, &other.lateness);
        add(&mut self.handshake, &other.handshake);
        self.sent += other.sent;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.other += other.other;
        self.gaps += other.gaps;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.opened += other.opened;
        self.faults.merge(&other.faults);
    }
}

/// What is told of every second: counts that only grow.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    pub sent: u64,
    pub messages: u64,
    pub bytes: u64,
    pub opened: u64,
    pub faults: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.sent += other.sent;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.opened += other.opened;
        self.faults += other.faults;
    }
}

impl Sub for Sums {
    type Output = Sums;

    /// What was added since `earlier`.
    fn sub(self, earlier: Sums) -> Sums {
        Sums {
            sent: self.sent - earlier.sent,
            messages: self.messages - earlier.messages,
            bytes: self.bytes - earlier.bytes,
            opened: self.opened - earlier.opened,
            faults: self.faults - earlier.faults,
        }
    }
}

/// What went wrong, by kind, with an example of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<String, Fault>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub count: u64,
    /// The first of its kind: which connection, when, what exactly.
    pub example: String,
}

impl Faults {
    /// Counts one; `example` is called for the first of its kind.
    pub fn add(&mut self, kind: &str, example: impl FnOnce() -> String) {
        if let Some(fault) = self.0.get_mut(kind) {
            fault.count += 1;
            return;
        }
        let kind = if self.0.len() < KINDS_MAX { kind } else { "others" };
        let fault = self.0.entry(kind.to_owned()).or_default();
        fault.count += 1;
        if fault.example.is_empty() {
            fault.example = example().chars().take(200).collect();
        }
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: &Faults) {
        for (kind, fault) in &other.0 {
            self.insert(kind, fault.clone());
        }
    }

    /// Adds `fault`.
    pub fn insert(&mut self, kind: &str, fault: Fault) {
        let mine = self.0.entry(kind.to_owned()).or_default();
        mine.count += fault.count;
        if mine.example.is_empty() {
            mine.example = fault.example;
        }
    }

    /// All kinds.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fault)> {
        self.0.iter().map(|(kind, fault)| (kind.as_str(), fault))
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.values().map(|fault| fault.count).sum()
    }
}

/// Who counts what came of one stream of numbered messages.
///
/// A number that is passed over is a gap until it comes after all; what came is
/// remembered for the last 64 numbers.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    next: u64,
    /// Bit `n`: the number `next - 1 - n` came.
    seen: u64,
}

/// What a numbered message is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The one after the last.
    Next,
    /// So many between it and the last are missing.
    After(u64),
    /// It had been missing.
    Late,
    /// It had come before.
    Again,
}

impl Track {
    /// From number 0 on.
    pub const START: Track = Track::from(0);
    /// From whichever number comes first.
    pub const ANYWHERE: Track = Track::from(u64::MAX);

    /// From this number on.
    pub const fn from(next: u64) -> Track {
        Track { next, seen: 0 }
    }

    /// The number that is awaited, once it is known.
    pub fn next(&self) -> Option<u64> {
        (self.next != u64::MAX).then_some(self.next)
    }

    /// Takes in the next so many numbers.
    #[inline]
    pub fn take_next(&mut self, count: u64) {
        self.next += count;
        self.seen = if count < 64 { !(!self.seen << count) } else { u64::MAX };
    }

    /// Takes a number in.
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

/// A process's or a run's time, for examples of faults.
pub fn seconds(time: Time) -> String {
    format!("{:.3}s", time.as_nanos() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_duplicates_and_reorderings_are_told_apart() {
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

    #[test]
    fn kinds_of_faults_are_bounded_and_keep_their_first_example() {
        let mut faults = Faults::default();
        for number in 0..1_000 {
            faults.add(&format!("kind {}", number % 100), || format!("example {number}"));
        }
        assert_eq!(faults.total(), 1_000);
        assert!(faults.iter().count() <= KINDS_MAX + 1);
        assert_eq!(
            faults.iter().find(|(kind, _)| *kind == "kind 5").unwrap().1.example,
            "example 5"
        );
    }

    #[test]
    fn the_longest_time_saturates() {
        let mut counted = Counted::default();
        counted.message(Duration::from_secs(3_600), Duration::ZERO, 1);
        let latency = counted.latency.histogram();
        assert!(latency.max() >= LONGEST_NS && latency.len() == 1);
        counted.unanswered(Duration::from_secs(5), 0);
        assert_eq!(counted.uncorrected.histogram().max(), 0);
    }
}
