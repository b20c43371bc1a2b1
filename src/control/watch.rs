//! Watches the shards: one whose handler blocks is named, with how long it has
//! been busy with one turn. The supervisor hears that all is well only while no
//! shard is stuck.

use crate::app::Shards;
use std::time::{Duration, Instant};

/// How often to look, unless the supervisor wants to hear more often.
const PERIOD: Duration = Duration::from_millis(500);
/// A turn this long is worth a line.
const STUCK: Duration = Duration::from_secs(1);
/// A shard stuck this long is as good as dead: the supervisor is told no more.
const DEAD: Duration = Duration::from_secs(10);

/// A shard as it was seen last.
struct Seen {
    turns: u64,
    /// When the turn was first seen.
    since: Instant,
    /// When a line about it is due again.
    next_line: Duration,
}

/// Looks at the shards for ever.
pub async fn watch(shards: Shards, supervised: Option<(Duration, Box<dyn Fn() + Send>)>) {
    let now = Instant::now();
    let mut seen: Vec<Seen> = shards
        .counters
        .iter()
        .map(|counters| Seen { turns: counters.turns.get(), since: now, next_line: STUCK })
        .collect();
    let mut told = now;
    let period = supervised.as_ref().map_or(PERIOD, |(every, _)| PERIOD.min(*every / 2));
    loop {
        tokio::time::sleep(period).await;
        let now = Instant::now();
        let mut longest = Duration::ZERO;
        for (shard, (seen, counters)) in seen.iter_mut().zip(&*shards.counters).enumerate() {
            let turns = counters.turns.get();
            if turns != seen.turns || counters.is_waiting.get() == 1 {
                if seen.next_line > STUCK {
                    tracing::warn!(shard, "the shard goes on");
                }
                *seen = Seen { turns, since: now, next_line: STUCK };
                continue;
            }
            let stuck = now - seen.since;
            longest = longest.max(stuck);
            if stuck >= seen.next_line {
                let ms = stuck.as_millis() as u64;
                tracing::warn!(shard, ms, "a shard is stuck in one turn: does a handler block?");
                seen.next_line *= 4;
            }
        }
        if let Some((every, tell)) = &supervised
            && longest < DEAD
            && now - told + period > *every
        {
            told = now;
            tell();
        }
    }
}
