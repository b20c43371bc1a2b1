//! Histograms of times, all with the same bounds, so that any two of them add up.

use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest time that a histogram distinguishes; a longer one counts as this.
pub(super) const LONGEST_NS: u64 = 60_000_000_000;

/// From 1 µs to a minute at three digits: a fixed 150 KiB.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST_NS, 3).expect("the bounds are in order")
}

/// The same at two digits, a seventh of the size: every second keeps one.
pub fn coarse_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST_NS, 2).expect("the bounds are in order")
}

/// A histogram that records a run of equal values in one step: messages that are sent in one
/// turn and received in one turn have the same age.
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

    /// Records a value `times` times.
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
        // Recording a value zero times would still raise the maximum.
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

    /// Adds what `other` recorded.
    pub fn merge(&mut self, other: &mut Recorder) {
        self.flush();
        self.histogram.add(other.histogram()).expect("the same bounds");
    }
}
