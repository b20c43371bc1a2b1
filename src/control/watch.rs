//! Watches the shards: one whose handler blocks is named, with how long it has
//! been busy with one turn. The supervisor hears that all is well only while no
//! shard is stuck. Log lines that were dropped are reported, and free memory goes back to the system by the same clock.

use super::lines::LinesDropped;
use crate::app::Shards;
use crate::base::Counters;
use std::time::{Duration, Instant};

/// How often to look, unless the supervisor wants to hear more often.
const PERIOD: Duration = Duration::from_millis(500);
/// A turn this long is worth a line.
const STUCK: Duration = Duration::from_secs(1);
/// A shard stuck this long is as good as dead: the supervisor is told no more.
const DEAD: Duration = Duration::from_secs(10);

/// Looks at the shards for ever.
pub async fn watch(
    shards: Shards,
    supervised: Option<(Duration, Box<dyn Fn() + Send>)>,
    give_back: fn(),
    lines_dropped: LinesDropped,
) {
    let period = supervised.as_ref().map_or(PERIOD, |(every, _)| PERIOD.min(*every / 2));
    let mut told = Instant::now();
    let mut watch = Watch::new(&shards.counters, told);
    let mut dropped_before = 0;
    loop {
        tokio::time::sleep(period).await;
        // Shards that have become idle free nothing more, by which they would.
        give_back();
        let dropped = lines_dropped();
        if dropped > dropped_before {
            let lines = dropped - dropped_before;
            tracing::warn!(
                lines,
                "log lines were dropped: standard error was not read fast enough"
            );
            // Where this line was dropped too, the next says so again.
            if lines_dropped() == dropped {
                dropped_before = dropped;
            }
        }
        let now = Instant::now();
        let longest = watch.look(&shards.counters, now, |shard, state| match state {
            State::Stuck(stuck) => {
                let ms = stuck.as_millis() as u64;
                tracing::warn!(shard, ms, "a shard is stuck in one turn: does a handler block?");
            }
            State::GoesOn => tracing::warn!(shard, "the shard goes on"),
        });
        if let Some((every, tell)) = &supervised
            && longest < DEAD
            && now - told + period > *every
        {
            told = now;
            tell();
        }
    }
}

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For so long.
    Stuck(Duration),
    /// After having been stuck.
    GoesOn,
}

/// A shard as it was seen last.
struct Seen {
    turns: u64,
    /// When this turn was first seen.
    since: Instant,
    /// How long it has to be stuck for the next line.
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

    /// Tells `tell` what is worth a line; says how long the shard that is stuck
    /// longest has been.
    fn look(
        &mut self,
        counters: &[Counters],
        now: Instant,
        mut tell: impl FnMut(usize, State),
    ) -> Duration {
        let mut longest = Duration::ZERO;
        for (shard, (seen, counters)) in self.0.iter_mut().zip(counters).enumerate() {
            let turns = counters.turns.get();
            if turns != seen.turns || counters.is_waiting.get() == 1 {
                if seen.next_line > STUCK {
                    tell(shard, State::GoesOn);
                }
                *seen = Seen { turns, since: now, next_line: STUCK };
                continue;
            }
            let stuck = now - seen.since;
            longest = longest.max(stuck);
            if stuck >= seen.next_line {
                tell(shard, State::Stuck(stuck));
                // Less and less often.
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
    fn a_stuck_shard_is_named_and_a_sleeping_one_is_not() {
        let counters = [Counters::default(), Counters::default()];
        counters[1].is_waiting.set(1);
        let start = Instant::now();
        let mut watch = Watch::new(&counters, start);
        let mut look = |ms: u64| {
            let mut told = Vec::new();
            let now = start + Duration::from_millis(ms);
            let longest = watch.look(&counters, now, |shard, state| told.push((shard, state)));
            (longest.as_millis() as u64, told)
        };
        let stuck = |ms| vec![(0, State::Stuck(Duration::from_millis(ms)))];
        assert_eq!(look(500), (500, vec![]));
        assert_eq!(look(1_000), (1_000, stuck(1_000)));
        assert_eq!(look(2_000), (2_000, vec![]));
        assert_eq!(look(4_500), (4_500, stuck(4_500)));
        counters[0].turns.add(1);
        assert_eq!(look(5_000), (0, vec![(0, State::GoesOn)]));
        assert_eq!(look(5_500), (500, vec![]));
    }
}
