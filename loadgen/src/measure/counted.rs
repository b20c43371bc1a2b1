//! The counts of one group's connections on one thread. Threads count alone; their counts are
//! merged when the run is over.

use super::faults::Faults;
use super::histogram::{Recorder, histogram};
use super::track::Order;
use hdrhistogram::Histogram;
use std::time::Duration;

/// Counts of one group on one thread. Everything but the faults starts at zero when measuring
/// starts.
#[derive(Clone, Debug)]
pub struct Counted {
    /// From the planned time to the reply or delivery, in nanoseconds.
    pub latency: Recorder,
    /// From the time at which a closed loop would have sent the message: after its planned
    /// time, and after the reply before it. A closed loop would have reported this.
    pub uncorrected: Recorder,
    /// How late messages were sent.
    pub lateness: Histogram<u64>,
    /// From the first packet to the accepted handshake.
    pub handshake: Histogram<u64>,
    /// Messages sent.
    pub sent: u64,
    /// Replies or deliveries; for connect, connections that completed.
    pub messages: u64,
    /// Payload bytes of `messages`.
    pub bytes: u64,
    /// Messages without an answer. Their wait so far is in `latency`.
    pub unanswered: u64,
    /// Those of `unanswered` that were planned and never sent.
    pub unsent: u64,
    /// Messages that nothing awaited: greetings, acknowledgements.
    pub other: u64,
    /// Numbers that were skipped, per topic and reader; a late arrival is subtracted again.
    pub gaps: i64,
    /// Messages that arrived twice.
    pub duplicates: u64,
    /// Messages that arrived after a later one.
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
    /// Counts a reply or delivery.
    #[inline]
    pub fn message(&mut self, latency: Duration, uncorrected: Duration, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.latency.record(latency);
        self.uncorrected.record(uncorrected);
    }

    /// Counts `count` replies or deliveries of the same age and length.
    #[inline]
    pub fn messages(&mut self, latency: Duration, uncorrected: Duration, bytes: usize, count: u64) {
        self.messages += count;
        self.bytes += bytes as u64 * count;
        self.latency.record_n(latency, count);
        self.uncorrected.record_n(uncorrected, count);
    }

    /// Counts the order in which a number arrived. Returns false for a duplicate.
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

    /// Counts `count` messages that were sent, each `late` after its planned time.
    #[inline]
    pub fn sent(&mut self, late: Duration, count: u64) {
        if count > 0 {
            self.sent += count;
            self.lateness.saturating_record_n(late.as_nanos() as u64, count);
        }
    }

    /// Counts `count` messages that have waited this long and will get no answer.
    pub fn unanswered(&mut self, waited: Duration, count: u64) {
        self.unanswered += count;
        self.latency.record_n(waited, count);
    }

    /// Starts measuring. Faults count from the very beginning, handshakes only if
    /// `keeps_handshakes` is set.
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
        self.latency.merge(&mut other.latency);
        self.uncorrected.merge(&mut other.uncorrected);
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

#[cfg(test)]
mod tests {
    use super::super::histogram::LONGEST_NS;
    use super::*;

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
