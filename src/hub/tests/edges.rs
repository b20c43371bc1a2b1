//! Shards that stall, clocks that are set, lanes that panic.

use super::*;
use crate::hub::lane::Lane;
use crate::protocol::{Opcode, frame};

/// Room for so many messages. It counts the attempts to post one.
struct Room {
    left: usize,
    tries: usize,
    messages: Vec<(ShardId, HubMessage)>,
}

impl Post for Room {
    fn post(&mut self, to: ShardId, message: HubMessage, _weight: usize) -> Result<(), HubMessage> {
        self.tries += 1;
        if self.left == 0 {
            return Err(message);
        }
        self.left -= 1;
        self.messages.push((to, message));
        Ok(())
    }
}

#[test]
fn topics_that_wait_for_a_stalled_shard_cost_one_attempt_a_flush() {
    const TOPICS: usize = 500;
    let home = ShardId(0);
    let names: Vec<String> = (0..).map(|number| format!("t{number}")).collect_homed(home, TOPICS);
    let (mut there, mut here) = (Hub::for_tests(home, 2), Hub::for_tests(ShardId(1), 2));
    let mut own = Subscriptions::default();
    for name in &names {
        here.subscribe(0, &mut own, name, &Delivery::default()).unwrap();
    }
    let mut room = Room { left: usize::MAX, tries: 0, messages: Vec::new() };
    here.flush(&mut room, &mut Vec::new());
    room.messages.drain(..).for_each(|(_, message)| there.receive(ShardId(1), message));
    there.flush(&mut room, &mut Vec::new());
    room.messages.drain(..).for_each(|(_, message)| here.receive(home, message));
    // The reader's shard stalls.
    (room.left, room.tries) = (0, 0);
    for round in 0..3 {
        for name in &names {
            there.publish(&Publication::new(name, format!("{round}").as_str())).unwrap();
        }
        there.flush(&mut room, &mut Vec::new());
    }
    assert_eq!(room.tries, 3, "a full mailbox is tried once a flush");
    // The shard resumes: room comes a little at a time, and everything arrives in its order.
    let mut flushes = 0;
    while there.needs_flush() {
        room.left = 100;
        there.flush(&mut room, &mut Vec::new());
        flushes += 1;
        assert!(flushes < 100, "it never ends");
    }
    let mut last = std::collections::HashMap::new();
    let entries = room.messages.iter().filter_map(|(_, message)| match message {
        HubMessage::Entry { topic, entry } => Some((topic.index, entry.seq)),
        _ => None,
    });
    for (topic, seq) in entries {
        let last = last.entry(topic).or_insert(0);
        assert_eq!(seq, *last + 1, "in order, and once");
        *last = seq;
    }
    assert_eq!((last.len(), last.values().all(|&seq| seq == 3)), (TOPICS, true));
}

trait CollectHomed: Iterator<Item = String> + Sized {
    /// The first `count` names whose home, of two shards, is this.
    fn collect_homed(self, home: ShardId, count: usize) -> Vec<String> {
        self.filter(|name| Hub::home_of(name, 1, 2) == home).take(count).collect()
    }
}

impl<I: Iterator<Item = String>> CollectHomed for I {}

#[test]
fn setting_the_wall_clock_does_not_change_retention() {
    let limits = Limits { log_ms: 10_000, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let mut times = Vec::new();
    let publish = |hub: &mut Hub, ms: u64| {
        hub.tick(at(ms));
        hub.publish(&Publication::new("q", "x")).unwrap();
        flush(hub);
    };
    hub.tick(at(0));
    for (ms, unix_ms) in [(0, 5_000_000), (1_000, 5_001_000), (2_000, 9_000_000), (3_000, 70)] {
        hub.tick(at(ms));
        hub.set_wall_clock(unix_ms);
        publish(&mut hub, ms);
        let index = hub.topics.find("q").unwrap();
        let log = &hub.topics.home(index).unwrap().log;
        let portion =
            Portion { from: 1, to: u64::MAX - 1, messages_max: usize::MAX, bytes_max: usize::MAX };
        times = log.past(View::Messages, portion).entries.iter().map(|it| it.time_ms).collect();
    }
    assert_eq!(times, [5_000_000, 5_001_000, 9_000_000, 70]);
    let kept = |hub: &Hub| {
        let index = hub.topics.find("q");
        index.and_then(|index| hub.topics.home(index)).map_or(0, |home| home.log.len())
    };
    for (ms, expected) in [(9_900, 4), (10_200, 3), (12_200, 1), (13_200, 0)] {
        hub.tick(at(ms));
        flush(&mut hub);
        assert_eq!(kept(&hub), expected, "after {ms} ms");
    }
}

/// Panics over messages with a `!`, and over any mark but a gap; leaves something behind.
#[derive(Debug)]
struct Fragile;

impl Lane for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn message(&self, _topic: &str, entry: &Entry, out: &mut Vec<u8>) {
        frame::encode(Opcode::Text, true, entry.payload.len(), None).append(out, &entry.payload);
        assert!(!entry.payload.contains(&b'!'), "a message that it does not encode");
    }

    fn mark(&self, _topic: &str, mark: &Mark, out: &mut Vec<u8>) {
        let Mark::Gap { from, to } = mark else { panic!("a mark that it can't stand") };
        let text = format!("?{from}-{to}");
        frame::encode(Opcode::Text, true, text.len(), None).append(out, text.as_bytes());
    }
}

/// Appends nothing at all.
#[derive(Debug)]
struct Mute;

impl Lane for Mute {
    fn name(&self) -> &'static str {
        "mute"
    }

    fn message(&self, _topic: &str, _entry: &Entry, _out: &mut Vec<u8>) {}

    fn mark(&self, _topic: &str, _mark: &Mark, _out: &mut Vec<u8>) {}
}

#[test]
fn a_lane_that_panics_has_a_gap_and_others_have_the_message() {
    let mut hub = Hub::alone(&Limits::default());
    let mut own = [Subscriptions::default(); 3];
    let lanes: [Option<&'static dyn Lane>; 3] = [None, Some(&Fragile), Some(&Mute)];
    for (number, lane) in (0..).zip(lanes) {
        let delivery = Delivery { lane, ..Delivery::default() };
        hub.subscribe(number, &mut own[number as usize], "q", &delivery).unwrap();
    }
    flush(&mut hub);
    for text in ["a", "b!", "c"] {
        hub.publish(&Publication::new("q", text)).unwrap();
    }
    flush(&mut hub);
    assert_eq!(pending(&hub, own[0]), b"\x81\x01a\x81\x02b!\x81\x01c");
    assert_eq!(pending(&hub, own[1]), b"\x81\x01a\x81\x04?2-2\x81\x01c");
    // A message takes room, or nobody could tell whether it was passed.
    assert_eq!(pending(&hub, own[2]), b"\x8a\0\x8a\0\x8a\0");
    for own in &mut own {
        let bytes = pending(&hub, *own).len();
        assert_eq!(hub.advance(own, bytes, |_| ()), 3);
        assert!(!hub.has_pending(*own));
    }
    // From the log: a replay, with a snapshot's marks.
    let mut late = Subscriptions::default();
    let delivery = Delivery { lane: Some(&Fragile), snapshot: true, ..Delivery::default() };
    let keyed = Publication { key: Some("k"), ..Publication::new("q", "d!") };
    hub.publish(&keyed).unwrap();
    flush(&mut hub);
    hub.subscribe(7, &mut late, "q", &delivery).unwrap();
    let (mut frames, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        flush(&mut hub);
        catch_up_all(&mut hub, &mut late, &mut frames, &mut steps);
    }
    // The newest without a key, and that of the key.
    assert_eq!(frames, b"\x81\x01c\x81\x04?4-4", "{frames:?}");
    assert!(hub.tally().lane_panics >= 3);
}

#[test]
fn a_message_for_many_topics_is_kept_once() {
    let mut hub = Hub::alone(&Limits::default());
    let message = vec![7; 64 << 10];
    let pointers: std::collections::HashSet<usize> = (0..20)
        .map(|number| {
            let name = format!("room.{number}");
            hub.publish(&Publication::new(&name, message.as_slice())).unwrap();
            let index = hub.topics.find(&name).unwrap();
            let log = &hub.topics.home(index).unwrap().log;
            let portion = Portion { from: 1, to: 9, messages_max: 9, bytes_max: usize::MAX };
            log.past(View::Messages, portion).entries[0].payload.as_ptr() as usize
        })
        .collect();
    assert_eq!(pointers.len(), 1, "each topic has a copy of its own");
    // Nothing of it is kept for the next.
    flush(&mut hub);
    assert!(!hub.intake.keeps_payload());
    hub.publish(&Publication::new("a", "short")).unwrap();
    assert!(!hub.intake.keeps_payload());
}

#[test]
fn names_and_empty_topics_count_towards_the_budget() {
    let limits = Limits { topics_bytes_max: 1 << 20, topics_max: 1 << 20, ..Limits::default() };
    let mut hub = Hub::alone(&limits);
    let long = "n".repeat(200);
    let mut own = Subscriptions::default();
    let (mut made, mut refused) = (0, None);
    for number in 0..10_000 {
        match hub.subscribe(0, &mut own, &format!("{long}{number}"), &Delivery::default()) {
            Ok(_) => made += 1,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
        if made % 1_000 == 0 {
            own = Subscriptions::default();
        }
    }
    assert_eq!(refused, Some(HubError::OverBudget), "after {made}");
    assert!((1_000..1_500).contains(&made), "{made} topics in half a megabyte");
    // Existing topics continue.
    hub.publish(&Publication::new(&format!("{long}1"), "x")).unwrap();
}
