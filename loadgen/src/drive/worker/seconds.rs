//! The counts of all groups, second by second, for the live view and for charts.

use super::state::Worker;
use crate::measure::{Sums, histogram};
use tapecast::base::Time;

impl Worker<'_> {
    /// Ends a second, and hands it to the coordinator.
    pub(super) fn cut_second(&mut self, now: Time) {
        let mut latency = histogram();
        let mut sums = Sums::default();
        for share in &mut self.shares {
            let counted = &mut share.counted;
            latency.add(counted.latency.histogram()).expect("the same bounds");
            let of_stalled = share.stalled.as_ref().map_or(0, |stalled| stalled.faults.total());
            let connects = share.group.connects();
            sums += Sums {
                sent: counted.sent,
                messages: counted.messages,
                bytes: counted.bytes,
                // Elsewhere connections open before the load, and are no news.
                opened: if connects { counted.opened } else { 0 },
                faults: counted.faults.total() + of_stalled,
            };
        }
        let second = self.stopwatch.cut(now, self.census.open, sums, latency);
        self.shared.add_second(self.thread, second);
    }
}
