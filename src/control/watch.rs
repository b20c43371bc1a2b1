//! Watches the shards: it logs a shard whose handler blocks, and for how long. It reports to the
//! supervisor only while no shard is stuck. At the same interval it reports dropped log lines and
//! returns free memory to the system.

use super::lines::LinesDropped;
use crate::app::Shards;
use crate::base::Counters;
use std::time::{Duration, Instant};

/// How often to look, unless the supervisor expects more frequent reports.
const PERIOD: Duration = Duration::from_millis(500);
/// A turn of this length is logged.
const STUCK: Duration = Duration::from_secs(1);
/// A shard that is stuck this long counts as dead: the reports to the supervisor stop.
const DEAD: Duration = Duration::from_secs(10);

/// Watches the shards forever.
pub async fn watch(
    shards: Shards,
    supervised: Option<(Duration, Box<dyn Fn() + Send>)>,
    give_back: fn(),
    lines_dropped: LinesDropped,
) {
    let period = supervised.as_ref().map_or(PERIOD, |(every, _)| PERIOD.min(*every / 2));
    let mut reported_at = Instant::now();
    let mut watch = Watch::new(&shards.counters, reported_at);
    let mut dropped_before = 0;
    loop {
        tokio::time::sleep(period).await;
        // An idle shard frees no memory, which is what makes the allocator return some.
        give_back();
        let dropped = lines_dropped();
        if dropped > dropped_before {
            let lines = dropped - dropped_before;
            tracing::warn!(
                lines,
                "log lines were dropped: standard error was not read fast enough"
            );
            // If this line was dropped too, the next one reports it again.
            if lines_dropped() == dropped {
                dropped_before = dropped;
            }
        }
        let now = Instant::now();
        let longest = watch.look(&shards.counters, now, |shard, state| match state {
            State::Stuck(stuck) => {
                let ms = stuck.as_millis() as u64;
                tracing::warn!(
                    shard,
                    ms,
                    "a shard is stuck in one turn: check for blocking handlers"
                );
            }
            State::Recovered => tracing::warn!(shard, "the shard has recovered"),
        });
        if let Some((every, report)) = &supervised
            && longest < DEAD
            && now - reported_at + period > *every
        {
            reported_at = now;
            report();
        }
    }
}

/// A change of a shard that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has been stuck for this long.
    Stuck(Duration),
    /// It was stuck and continues.
    Recovered,
}

/// A shard at the last look.
struct Seen {
    turns: u64,
    /// When this turn was first seen.
    since: Instant,
    /// How long it has to be stuck for the next log line.
    next_line: Duration,
}

struct Watch(Vec<Seen>);

impl Watch {
    fn new(counters: &[Counters], now: Instant) -> Watch {
        let seen = |counters: &Counters| Seen {
            turns: counters.turns.get(),
            since: now,
            next_line: STUCK,
        };
        Watch(counters.iter().map(seen).collect())
    }

    /// Calls `log` for every change that is logged; returns for how long the shard that is stuck
    /// longest has been stuck.
    fn look(
        &mut self,
        counters: &[Counters],
        now: Instant,
        mut log: impl FnMut(usize, State),
    ) -> Duration {
        let mut longest = Duration::ZERO;
        for (shard, (seen, counters)) in self.0.iter_mut().zip(counters).enumerate() {
            let turns = counters.turns.get();
            if turns != seen.turns || counters.is_waiting.get() == 1 {
                if seen.next_line > STUCK {
                    log(shard, State::Recovered);
                }
                *seen = Seen { turns, since: now, next_line: STUCK };
                continue;
            }
            let stuck = now - seen.since;
            longest = longest.max(stuck);
            if stuck >= seen.next_line {
                log(shard, State::Stuck(stuck));
                // The intervals between lines grow.
                seen.next_line *= 4;
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_shard_is_logged_and_a_sleeping_one_is_not() {
        let counters = [Counters::default(), Counters::default()];
        counters[1].is_waiting.set(1);
        let start = Instant::now();
        let mut watch = Watch::new(&counters, start);
        let mut look = |ms: u64| {
            let mut logged = Vec::new();
            let now = start + Duration::from_millis(ms);
            let longest = watch.look(&counters, now, |shard, state| logged.push((shard, state)));
            (longest.as_millis() as u64, logged)
        };
        let stuck = |ms| vec![(0, State::Stuck(Duration::from_millis(ms)))];
        assert_eq!(look(500), (500, vec![]));
        assert_eq!(look(1_000), (1_000, stuck(1_000)));
        assert_eq!(look(2_000), (2_000, vec![]));
        assert_eq!(look(4_500), (4_500, stuck(4_500)));
        counters[0].turns.add(1);
        assert_eq!(look(5_000), (0, vec![(0, State::Recovered)]));
        assert_eq!(look(5_500), (500, vec![]));
    }
}
