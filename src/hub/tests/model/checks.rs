//! The checks at the end of a run, of the sequence that every reader got.

use super::*;

/// The messages that a reader got, put together by key, are those of the twin: every key's newest
/// value, and none of a key that was removed.
#[track_caller]
fn check_content(truth: &[Truth], had: &[bool], record: &Record) {
    let (mut wanted, mut got) = (BTreeMap::new(), BTreeMap::new());
    for (index, one) in truth.iter().enumerate() {
        let seq = index as u64 + 1;
        let change = |values: &mut BTreeMap<_, _>| {
            if one.removes_key {
                values.remove(&one.key);
            } else {
                values.insert(one.key.clone(), seq);
            }
        };
        change(&mut wanted);
        if had[seq as usize] {
            change(&mut got);
        }
    }
    assert_eq!(got, wanted, "the snapshot of {record:?}");
}

impl World {
    /// Everybody has a subscription to each topic that a pattern of theirs means.
    pub(super) fn check_patterns(&self) {
        for reader in self.readers.iter().flatten().filter(|reader| self.is_roomy && !reader.fell) {
            for (topic, epoch) in self.truth.keys() {
                let is_meant = reader.patterns.iter().any(|pattern| matches(pattern, topic));
                let is_there = !self.truth[&(*topic, *epoch)].is_empty();
                let has = |record: &Record| record.topic == *topic && !record.is_over;
                let missing = is_meant && is_there && !reader.records.iter().any(has);
                assert!(!missing, "{topic} is missing to {:?}", reader.patterns);
            }
        }
    }

    /// The list of members of `a` has exactly the subscribers by its name.
    pub(super) fn check_members(&self) {
        let mut present = Vec::new();
        for (shard, readers) in self.readers.iter().enumerate() {
            for (number, reader) in readers.iter().enumerate() {
                let is_member = |record: &Record| {
                    record.topic == "a" && !record.is_over && record.pattern.is_none()
                };
                if reader.records.iter().any(is_member) {
                    present.push(format!("{shard}-{number}"));
                }
            }
        }
        let list = format!("{}a", PRESENCE);
        let hub = &self.hubs[Hub::home_of(&list, self.seed, self.hubs.len() as u16).index()];
        let topic = hub.topics.find(&list).and_then(|index| hub.topics.home(index));
        let log = topic.map(|home| &home.log);
        let everything =
            Portion { from: 1, to: u64::MAX - 1, messages_max: 99, bytes_max: usize::MAX };
        let past = log.map(|log| log.past(View::Snapshot, everything).entries);
        let mut listed: Vec<String> = past
            .iter()
            .flatten()
            .map(|entry| entry.key.as_deref().expect("every member has a key").to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, present);
    }

    #[track_caller]
    pub(super) fn check_record(&self, record: &Record) {
        let Some((epoch, start, recovered)) = record.subscribed else {
            assert!(record.is_over, "never subscribed: {record:?}");
            return;
        };
        // An incarnation in which nothing was numbered was never looked at.
        let truth = self.truth.get(&(record.topic, epoch)).map_or(&[][..], Vec::as_slice);
        let Delivery { mode, since, snapshot, .. } = record.delivery;
        let is_matched = record.pattern.is_some();
        // Nothing is missed before the first message, whichever incarnation that is of.
        let is_empty = |since: Since| since.seq == 0 && start == 0;
        let is_asked =
            is_matched || since == Some(Since { epoch, seq: start }) || since.is_some_and(is_empty);
        assert!(!recovered || is_asked, "{record:?}");
        if let Some(since) = since
            && self.is_roomy
        {
            let is_known = since.epoch == epoch || is_empty(since);
            assert_eq!(recovered, is_known, "all history is there: {record:?}");
        }
        // The snapshot, if there is one, comes first.
        let mut got = record.got.iter().copied().peekable();
        let mut start = start;
        let mut last = 0;
        let mut had = vec![false; truth.len() + 1];
        let is_wanted = snapshot || since.is_some();
        // A gap in it would be that of a subscriber that fell behind at its start.
        let begins_so = matches!(record.got[..], [Got::Snapshot(_), ..])
            && !matches!(record.got[..], [_, Got::Gap(..), ..]);
        if !recovered && (is_wanted || is_matched && begins_so) {
            while let Some(&Got::Snapshot(count)) = got.peek() {
                got.next();
                for _ in 0..count {
                    let Some(next) = got.next() else { break };
                    let Got::Message(seq) = next else { panic!("{next:?} in {record:?}") };
                    assert!(seq > last, "{seq} in the snapshot of {record:?}");
                    (last, had[seq as usize]) = (seq, true);
                }
            }
            match got.next() {
                Some(Got::SnapshotEnd(seq, is_complete)) => {
                    assert!(seq >= start && seq >= last, "{seq} ends the snapshot of {record:?}");
                    start = seq;
                    if is_complete {
                        check_content(&truth[..seq as usize], &had, record);
                    }
                }
                None => assert!(record.is_over, "a snapshot without an end: {record:?}"),
                other => panic!("{other:?} ends the snapshot of {record:?}"),
            }
        }
        // Everything before `next` is accounted for, or known to be conflated.
        let mut next = start + 1;
        let mut conflated_to = 0;
        let (mut in_snapshot, mut has_gap) = (false, false);
        // The policy does not matter where only the newest message counts.
        let policy = record.delivery.slow_reader.filter(|_| mode == Mode::All);
        for got in got {
            match (got, policy) {
                (Got::Gap(..), Some(SlowReader::Close)) => panic!("not closed: {record:?}"),
                (Got::Conflated(..), Some(SlowReader::Close | SlowReader::Gap)) => {
                    panic!("conflated against its policy: {record:?}");
                }
                (Got::Gap(..), Some(SlowReader::Conflate)) => {
                    assert!(conflated_to >= next, "a gap against its policy: {record:?}");
                }
                _ => {}
            }
            match got {
                Got::Message(seq) if in_snapshot => {
                    assert!(seq > last, "{record:?}");
                    (last, had[seq as usize]) = (seq, true);
                }
                Got::Message(seq) => {
                    assert!(seq >= next, "{seq} comes late or twice: {record:?}");
                    let is_in_order = seq == next || mode == Mode::Latest || seq <= conflated_to;
                    let follows_conflation = seq == conflated_to + 1 && conflated_to >= next;
                    assert!(is_in_order || follows_conflation, "a hole before {seq}: {record:?}");
                    (next, had[seq as usize]) = (seq + 1, true);
                }
                Got::Gap(from, to) => {
                    assert!(!self.is_roomy, "a gap without need: {record:?}");
                    assert!(from >= next && to >= from, "{from} to {to} of {record:?}");
                    let is_in_order =
                        from == next || mode == Mode::Latest || from <= conflated_to + 1;
                    assert!(is_in_order, "a hole before the gap from {from}: {record:?}");
                    (next, has_gap) = (to + 1, true);
                }
                Got::Conflated(from, to) => {
                    assert!(!self.is_roomy, "conflated without need: {record:?}");
                    let follows = from == next || from <= conflated_to + 1;
                    assert!(follows && from >= next && to >= from, "{from}: {record:?}");
                    conflated_to = to;
                }
                // A reader that can't get the changes gets a snapshot.
                Got::Snapshot(_) => {
                    assert!(!self.is_roomy, "a snapshot without need: {record:?}");
                    (in_snapshot, last) = (true, if in_snapshot { last } else { 0 });
                }
                Got::SnapshotEnd(seq, is_complete) => {
                    assert!(is_complete || !self.is_roomy, "there is room for all: {record:?}");
                    assert!(in_snapshot && seq + 1 >= next, "the end of none: {record:?}");
                    assert!(has_gap, "a snapshot without a gap: {record:?}");
                    (in_snapshot, next) = (false, seq + 1);
                }
            }
        }
        assert!(!in_snapshot || record.is_over, "a snapshot without an end: {record:?}");
        if record.is_over {
            return;
        }
        let end = truth.len() as u64;
        if mode == Mode::All {
            assert_eq!(next.max(conflated_to + 1), end + 1, "the end is missing: {record:?}");
        }
        // The last value of every key has arrived, if it is newer than the start.
        // With all of them, a gap is a gap; and a budget that is too small takes values too,
        // but says so.
        let ends = record.got.iter().filter_map(|got| match got {
            Got::SnapshotEnd(_, is_complete) => Some(*is_complete),
            _ => None,
        });
        let (has_snapshot, is_complete) = (ends.clone().count() > 0, ends.clone().all(|it| it));
        let is_conflated = record.got.iter().any(|got| matches!(got, Got::Conflated(..)));
        let is_excused = has_gap && (!is_complete || mode == Mode::All && !is_conflated);
        for (index, one) in truth.iter().enumerate() {
            let seq = index as u64 + 1;
            let is_last = truth[seq as usize..].iter().all(|later| later.key != one.key);
            let in_snapshot = has_snapshot && is_complete && !one.removes_key;
            let is_wanted = seq > start || in_snapshot;
            // A removal that is evicted from the history is implied by a snapshot without its key.
            let is_implied = one.removes_key && has_gap;
            if is_last && is_wanted && !is_excused && !is_implied {
                assert!(had[seq as usize], "the last value, {seq}, is missing: {record:?}");
            }
        }
    }
}
