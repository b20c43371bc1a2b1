//! A histogram as JSON: pairs of a value in nanoseconds and how often it was recorded.

use crate::measure::histogram;
use hdrhistogram::Histogram;
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeSeq, Serializer};

/// A histogram that can be written as JSON and read again.
#[derive(Clone, Debug)]
pub struct Recorded(pub Histogram<u64>);

impl Default for Recorded {
    fn default() -> Self {
        Recorded(histogram())
    }
}

impl Recorded {
    /// At two digits instead of three: a tenth of the pairs.
    pub fn coarse(fine: &Histogram<u64>) -> Recorded {
        let (low, high) = (fine.low(), fine.high());
        let mut coarse = Histogram::new_with_bounds(low, high, 2).expect("as before");
        for step in fine.iter_recorded() {
            coarse.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        Recorded(coarse)
    }

    /// Adds the values of another histogram.
    pub fn merge(&mut self, other: &Recorded) {
        self.0.add(&other.0).expect("the same range");
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A percentile in microseconds; none if nothing was recorded.
    pub fn us(&self, percentile: f64) -> Option<f64> {
        let value = || self.0.value_at_percentile(percentile) as f64 / 1e3;
        (self.count() > 0).then(value)
    }

    /// The largest value in microseconds; none if nothing was recorded.
    pub fn max_us(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.0.max() as f64 / 1e3)
    }
}

impl Serialize for Recorded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pairs = serializer.serialize_seq(None)?;
        for step in self.0.iter_recorded() {
            pairs.serialize_element(&(step.value_iterated_to(), step.count_at_value()))?;
        }
        pairs.end()
    }
}

impl<'de> Deserialize<'de> for Recorded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Recorded, D::Error> {
        let mut recorded = Recorded::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            recorded.0.saturating_record_n(value, count);
        }
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_every_value_to_three_digits() {
        let mut recorded = Recorded::default();
        for value in (1_000..50_000_000).step_by(12_345) {
            recorded.0.saturating_record(value);
        }
        recorded.0.saturating_record(u64::MAX);
        let json = serde_json::to_string(&recorded).unwrap();
        let again: Recorded = serde_json::from_str(&json).unwrap();
        assert_eq!(again.count(), recorded.count());
        for percentile in [0.0, 1.0, 50.0, 99.0, 99.9, 100.0] {
            assert_eq!(again.us(percentile), recorded.us(percentile));
        }
        let coarse = Recorded::coarse(&recorded.0);
        let (one, other) = (coarse.us(50.0).unwrap(), recorded.us(50.0).unwrap());
        assert!((one / other - 1.0).abs() < 0.02);
    }
}
