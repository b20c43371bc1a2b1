//! A connection that publishes often to a topic that batches is read once a millisecond.

use crate::base::Limits;
use crate::hub::Rule;
use crate::routes::{BROADCAST_TOPIC, Broadcast};
use crate::testing::{Received, TestClient, TestShard};
use std::time::Duration;

const STEP: Duration = Duration::from_micros(100);

struct Stage {
    shard: TestShard<Broadcast>,
    publisher: TestClient,
    reader: TestClient,
    sent: u64,
    received: u64,
}

impl Stage {
    fn new(flush_ms: u32) -> Stage {
        let limits = Limits::default();
        let rule = Rule { flush_ms, ..Rule::new(BROADCAST_TOPIC, &limits) };
        let mut shard = TestShard::with_rules(Broadcast, limits, vec![rule]);
        let (publisher, reader) = (shard.connect("/"), shard.connect("/"));
        shard.run();
        Stage { shard, publisher, reader, sent: 0, received: 0 }
    }

    /// Publishes a message a step; returns how late the latest one reached the reader, in
    /// steps, and the number of turns.
    fn publish(&mut self, steps: u64) -> (u64, u64) {
        let turns = self.shard.counters().turns.get();
        let mut latest = 0;
        for _ in 0..steps {
            self.sent += 1;
            self.publisher.send(self.sent.to_string().as_str());
            self.shard.run();
            self.shard.advance(STEP);
            while let Some(message) = self.reader.receive() {
                self.received += 1;
                assert_eq!(message, Received::Text(self.received.to_string()));
                latest = latest.max(self.sent - self.received);
            }
        }
        (latest, self.shard.counters().turns.get() - turns)
    }

    fn paced_reads(&self) -> u64 {
        self.shard.counters().paced_reads.get()
    }
}

#[test]
fn many_publications_wake_the_shard_once_a_millisecond() {
    let mut stage = Stage::new(1);
    stage.publish(50);
    assert!(stage.paced_reads() > 0);
    let before = stage.paced_reads();
    let (latest, turns) = stage.publish(1_000);
    // A hundred milliseconds have passed, and each message is at most one of them late.
    let reads = stage.paced_reads() - before;
    assert!((90..=101).contains(&reads), "{reads} reads");
    assert!(latest <= 11 && turns < 500, "{latest} steps late, {turns} turns");
    // The last messages arrive too, and the next ones are read at once again.
    stage.shard.advance(Duration::from_millis(5));
    while stage.reader.receive().is_some() {
        stage.received += 1;
    }
    assert_eq!(stage.received, stage.sent);
    let reads = stage.paced_reads();
    stage.shard.advance(Duration::from_millis(50));
    assert_eq!(stage.paced_reads(), reads);
}

#[test]
fn other_publishers_are_not_paced() {
    // A topic that does not batch.
    let mut stage = Stage::new(0);
    let (latest, _) = stage.publish(200);
    assert_eq!((latest, stage.paced_reads()), (0, 0));
    // A publisher with long pauses.
    let mut stage = Stage::new(1);
    for _ in 0..50 {
        stage.publish(1);
        stage.shard.advance(Duration::from_millis(1));
    }
    assert_eq!(stage.paced_reads(), 0);
}

#[test]
fn a_paced_publisher_is_answered_and_ends() {
    let mut stage = Stage::new(1);
    stage.publish(50);
    assert!(stage.paced_reads() > 0);
    // A ping: answered with the next read, after which nothing keeps it from being read.
    stage.publisher.write(b"\x89\x80\0\0\0\0");
    stage.shard.advance(Duration::from_millis(2));
    let reads = stage.paced_reads();
    stage.shard.advance(Duration::from_millis(20));
    assert_eq!(stage.paced_reads(), reads);
    stage.publish(50);
    assert!(stage.paced_reads() > reads);
    stage.publisher.reset();
    stage.shard.advance(Duration::from_millis(5));
    assert_eq!(stage.shard.counters().connections.get(), 1);
}
