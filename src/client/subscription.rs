//! One subscription of a client: its position in its channels, and the messages that it missed.
//!
//! **Invariant: a position is the last message that was received or reported as lost or
//! conflated**, so a subscription that resumes after it receives nothing twice and misses nothing
//! in silence. During a snapshot there is no such position: if the connection is
//! lost then, the subscription restarts with a new snapshot.

use super::event::{Event, Mode, Position, Received, Subscribe};
use super::server_message::ServerMessage;
use crate::protocol::json::Object;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How many channels of one pattern are tracked.
const CHANNELS_MAX: usize = 16_384;

/// The position in a channel.
#[derive(Debug)]
struct Place {
    channel: Arc<str>,
    /// `None` for a channel that a pattern receives without a `subscribed`.
    epoch: Option<u64>,
    seq: u64,
    is_snapshot: bool,
    /// Gaps up to here are announced.
    conflated_to: u64,
    /// Whether a snapshot follows the last `subscribed`.
    begins_anew: bool,
    /// What the caller has taken, perhaps from the previous connection: the channel's
    /// epoch, the position to resume at, and the last message, also of a snapshot.
    taken_epoch: Option<u64>,
    taken: Option<Position>,
    taken_seq: u64,
    unacknowledged: u32,
}

impl Place {
    fn new(channel: Arc<str>, epoch: Option<u64>, seq: u64, is_snapshot: bool) -> Place {
        Place {
            channel,
            epoch,
            seq,
            is_snapshot,
            conflated_to: 0,
            begins_anew: is_snapshot,
            taken_epoch: None,
            taken: None,
            taken_seq: 0,
            unacknowledged: 0,
        }
    }

    fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, seq: self.seq })
    }

    /// In the mode `All`, an unannounced hole before `seq` is a gap too.
    fn expect(&self, mode: Mode, seq: u64, events: &mut VecDeque<Event>) {
        let from = self.seq.max(self.conflated_to).saturating_add(1);
        if mode == Mode::All && seq >= from {
            events.push_back(Event::Gap { channel: self.channel.clone(), from, to: seq });
        }
    }
}

/// A subscription to a channel or a pattern.
#[derive(Debug)]
pub struct Subscription {
    name: Arc<str>,
    how: Subscribe,
    is_pattern: bool,
    /// The id of the last request.
    asked: Option<u64>,
    places: BTreeMap<Arc<str>, Place>,
}

/// The terms of a subscription that has begun or resumed.
struct Begun {
    position: Position,
    recovered: bool,
    is_unlisted: bool,
}

impl Subscription {
    pub fn new(name: &str, how: Subscribe) -> Subscription {
        let is_pattern = name.split('.').any(|segment| matches!(segment, "*" | ">"));
        Subscription { name: name.into(), how, is_pattern, asked: None, places: BTreeMap::new() }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it receives publications to `channel`, if that has no subscription of its own.
    pub fn matches(&self, channel: &str) -> bool {
        if self.is_pattern { matches(&self.name, channel) } else { *self.name == *channel }
    }

    /// The request with this id: for a new subscription, or to resume.
    pub fn request(&mut self, id: u64) -> Object {
        self.asked = Some(id);
        self.current_request()
    }

    fn current_request(&self) -> Object {
        match self.places.get(&self.name) {
            None => self.how.request(&self.name, self.how.since, self.how.snapshot),
            Some(place) => {
                let from = place.position().filter(|_| !place.is_snapshot);
                self.how.request(&self.name, from, true)
            }
        }
    }

    /// The position behind the last message that the caller has taken.
    pub fn position(&self, channel: &str) -> Option<Position> {
        self.places.get(channel)?.taken
    }

    /// Takes a message of the server about one of its channels.
    pub fn receive(&mut self, message: ServerMessage<'_>, events: &mut VecDeque<Event>) {
        match message {
            // An answer with another id belongs to an earlier subscription of this name.
            ServerMessage::Subscribed { id: Some(id), .. } if self.asked != Some(id) => {}
            ServerMessage::Subscribed {
                channel,
                epoch: Some(epoch),
                seq,
                recovered,
                is_unlisted,
                ..
            } => {
                let how = Begun { position: Position { epoch, seq }, recovered, is_unlisted };
                self.subscribed(&channel, &how, events);
            }
            ServerMessage::Publication { channel, seq, time_ms, key, is_removed, body } => {
                let mode = self.how.mode;
                let Some(place) = self.place(&channel, seq) else { return };
                if !place.is_snapshot {
                    if seq <= place.seq {
                        return;
                    }
                    place.expect(mode, seq.saturating_sub(1), events);
                    place.seq = seq;
                }
                let (channel, is_snapshot) = (place.channel.clone(), place.is_snapshot);
                let key = key.map(|key| Box::from(&*key));
                let body = body.into();
                let received =
                    Received { channel, seq, time_ms, key, is_removed, is_snapshot, body };
                events.push_back(Event::Message(received));
            }
            ServerMessage::Snapshot { channel, count } => {
                let Some(place) = self.places.get_mut(&*channel) else { return };
                place.is_snapshot = true;
                events.push_back(Event::Snapshot { channel: place.channel.clone(), count });
            }
            ServerMessage::SnapshotEnd { channel, seq, complete } => {
                let Some(place) = self.places.get_mut(&*channel) else { return };
                (place.is_snapshot, place.seq) = (false, seq);
                let channel = place.channel.clone();
                events.push_back(Event::SnapshotEnd { channel, seq, complete });
            }
            ServerMessage::Gap { channel, from, to } => {
                let Some(place) = self.places.get_mut(&*channel) else { return };
                place.seq = place.seq.max(to);
                events.push_back(Event::Gap { channel: place.channel.clone(), from, to });
            }
            ServerMessage::Conflated { channel, from, to } => {
                let Some(place) = self.places.get_mut(&*channel) else { return };
                place.conflated_to = place.conflated_to.max(to);
                events.push_back(Event::Conflated { channel: place.channel.clone(), from, to });
            }
            _ => {}
        }
    }

    /// Notes that the server has sent all messages of `channel` up to `seq`.
    pub fn heartbeat(&mut self, channel: &str, seq: u64, events: &mut VecDeque<Event>) {
        let mode = self.how.mode;
        let Some(place) = self.places.get_mut(channel) else { return };
        if !place.is_snapshot && seq > place.seq {
            place.expect(mode, seq, events);
            place.seq = seq;
        }
    }

    fn subscribed(&mut self, channel: &str, begun: &Begun, events: &mut VecDeque<Event>) {
        let Begun { position, recovered, is_unlisted } = *begun;
        let before = self.places.remove(channel);
        let asks_past = self.how.snapshot || self.how.since.is_some() || before.is_some();
        let is_snapshot = !recovered && !self.is_pattern && asks_past;
        let Position { epoch, seq } = position;
        let channel: Arc<str> = if self.is_pattern { channel.into() } else { self.name.clone() };
        let mut place = Place::new(channel.clone(), Some(epoch), seq, is_snapshot);
        if let Some(before) = &before {
            // Events that are not taken yet belong to the earlier place.
            place.taken_epoch = before.taken_epoch;
            (place.taken, place.taken_seq) = (before.taken, before.taken_seq);
        }
        if self.is_pattern && self.places.len() >= CHANNELS_MAX {
            // A pattern may match an unbounded number of channels.
            self.places.pop_first();
        }
        self.places.insert(channel.clone(), place);
        let channel_of = channel.clone();
        let event = Event::Subscribed { channel: channel_of, position, recovered, is_unlisted };
        events.push_back(event);
        // An interrupted snapshot may contain later messages than its place.
        let was_snapshot = before.as_ref().is_some_and(|place| place.is_snapshot);
        let Some(previous) = before.and_then(|place| place.position()) else { return };
        if self.is_pattern && previous.epoch == epoch {
            // Messages that were published while disconnected.
            if seq > previous.seq {
                events.push_back(Event::Gap { channel, from: previous.seq + 1, to: seq });
            }
        } else if (previous != position || was_snapshot) && (self.is_pattern || !recovered) {
            // The server chooses the start of a pattern's channel, and reports it as recovered.
            events.push_back(Event::Reset { channel, previous, position });
        }
    }

    /// The place of `channel` for its message `seq`; `None` for messages of a subscription that
    /// has ended.
    fn place(&mut self, channel: &str, seq: u64) -> Option<&mut Place> {
        if self.is_pattern && !self.places.contains_key(channel) {
            // The channel had a subscription by name, and continues with this one.
            let channel: Arc<str> = channel.into();
            self.places
                .insert(channel.clone(), Place::new(channel, None, seq.saturating_sub(1), false));
        }
        self.places.get_mut(channel)
    }

    /// Notes that the caller takes an event. Returns the message up to which to acknowledge now:
    /// half a window at a time, so that the server need not wait.
    pub fn take_event(&mut self, event: &Event) -> Option<u64> {
        let (Event::Message(Received { channel, .. })
        | Event::Subscribed { channel, .. }
        | Event::Snapshot { channel, .. }
        | Event::SnapshotEnd { channel, .. }
        | Event::Gap { channel, .. }) = event
        else {
            return None;
        };
        let place = self.places.get_mut(channel)?;
        let epoch = place.taken_epoch;
        let at = |seq| epoch.map(|epoch| Position { epoch, seq });
        match event {
            Event::Subscribed { position, .. } => {
                if place.taken_epoch.replace(position.epoch) != Some(position.epoch) {
                    place.taken_seq = 0;
                }
                place.taken = Some(*position).filter(|_| !place.begins_anew);
            }
            // During a snapshot there is no position to resume at.
            Event::Snapshot { .. } => place.taken = None,
            Event::SnapshotEnd { seq, .. } => place.taken = at(*seq),
            Event::Gap { to, .. } => place.taken = place.taken.and(at(*to)),
            Event::Message(message) => {
                place.taken_seq = message.seq;
                if !message.is_snapshot {
                    place.taken = at(message.seq);
                }
                // A number of another epoch would acknowledge messages that have not arrived.
                if place.taken_epoch != place.epoch {
                    return None;
                }
                let window = self.how.window.filter(|_| !self.how.manual_ack)?;
                place.unacknowledged += 1;
                if place.unacknowledged.saturating_mul(2) >= window {
                    place.unacknowledged = 0;
                    return Some(message.seq);
                }
            }
            _ => {}
        }
        None
    }

    /// The last message of the present epoch of `channel` that the caller has taken, 0 for none.
    pub fn last_taken(&self, channel: &str) -> Option<u64> {
        let place = self.places.get(channel)?;
        Some(if place.taken_epoch == place.epoch { place.taken_seq } else { 0 })
    }
}

/// Matches a pattern: `*` is one segment, `>` at the end one or more.
fn matches(pattern: &str, channel: &str) -> bool {
    let mut segments = channel.split('.');
    let mut parts = pattern.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(segment) = segments.next() else { return false };
        match part {
            ">" if parts.peek().is_none() => return true,
            "*" => {}
            _ if part == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(subscription: &mut Subscription, texts: &[&str]) -> Vec<String> {
        let mut events = VecDeque::new();
        for text in texts {
            subscription.receive(ServerMessage::read(text).unwrap(), &mut events);
        }
        let short = |event| match event {
            Event::Message(Received { seq, is_snapshot, .. }) => {
                format!("{seq}{}", if is_snapshot { "s" } else { "" })
            }
            Event::Subscribed { recovered, .. } => format!("subscribed {recovered}"),
            Event::Reset { previous, .. } => format!("reset {}", previous.seq),
            Event::Snapshot { count, .. } => format!("snapshot {count}"),
            Event::SnapshotEnd { seq, .. } => format!("end {seq}"),
            Event::Gap { from, to, .. } => format!("gap {from} {to}"),
            Event::Conflated { from, to, .. } => format!("conflated {from} {to}"),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(short).collect()
    }

    fn message(seq: u64) -> String {
        format!(r#"{{"type":"message","channel":"a","seq":{seq},"time":1,"message":1}}"#)
    }

    fn subscribed(epoch: u64, seq: u64, recovered: bool) -> String {
        format!(
            r#"{{"type":"subscribed","channel":"a","epoch":{epoch},"seq":{seq},"recovered":{recovered}}}"#
        )
    }

    #[test]
    fn every_gap_is_reported_and_nothing_is_received_twice() {
        let mut all = Subscription::new("a", Subscribe::default());
        assert_eq!(apply(&mut all, &[&message(1)]), [""; 0]);
        assert_eq!(apply(&mut all, &[&subscribed(1, 4, false)]), ["subscribed false"]);
        let came = apply(&mut all, &[&message(5), &message(5), &message(4), &message(8)]);
        assert_eq!(came, ["5", "gap 6 7", "8"]);
        let gap = r#"{"type":"gap","channel":"a","from":9,"to":12}"#;
        assert_eq!(apply(&mut all, &[gap, &message(13)]), ["gap 9 12", "13"]);
        let conflated = r#"{"type":"conflated","channel":"a","from":14,"to":20}"#;
        let came = apply(&mut all, &[conflated, &message(16), &message(20), &message(22)]);
        assert_eq!(came, ["conflated 14 20", "16", "20", "gap 21 21", "22"]);
        let mut events = VecDeque::new();
        all.heartbeat("a", 22, &mut events);
        assert_eq!(events, []);
        all.heartbeat("a", 24, &mut events);
        assert_eq!(events, [Event::Gap { channel: "a".into(), from: 23, to: 24 }]);
        let latest = Subscribe { mode: Mode::Latest, ..Subscribe::default() };
        let mut latest = Subscription::new("a", latest);
        let came = apply(&mut latest, &[&subscribed(1, 0, false), &message(7), &message(9)]);
        assert_eq!(came, ["subscribed false", "7", "9"]);
    }

    #[test]
    fn a_subscription_resumes_at_its_position() {
        let snapshot = Subscribe { snapshot: true, ..Subscribe::default() };
        let mut subscription = Subscription::new("a", snapshot);
        let asks = |subscription: &Subscription| subscription.current_request().end();
        let plain = r#"{"type":"subscribe","channel":"a","snapshot":true}"#;
        assert_eq!(asks(&subscription), plain);
        let begin = r#"{"type":"snapshot","channel":"a","count":1}"#;
        let end = r#"{"type":"snapshot_end","channel":"a","seq":6}"#;
        let came = apply(&mut subscription, &[&subscribed(1, 6, false), begin, &message(3)]);
        assert_eq!(came, ["subscribed false", "snapshot 1", "3s"]);
        // Within a snapshot there is no position to resume at.
        assert_eq!(asks(&subscription), plain);
        assert_eq!(apply(&mut subscription, &[end, &message(7)]), ["end 6", "7"]);
        let since = r#"{"type":"subscribe","channel":"a","since":{"epoch":1,"seq":7}}"#;
        assert_eq!(asks(&subscription), since);
        let came = apply(&mut subscription, &[&subscribed(1, 7, true), &message(8)]);
        assert_eq!(came, ["subscribed true", "8"]);
        let came = apply(&mut subscription, &[&subscribed(2, 1, false), begin, &message(1)]);
        assert_eq!(came, ["subscribed false", "reset 8", "snapshot 1", "1s"]);
        assert_eq!(asks(&subscription), plain);
    }

    #[test]
    fn a_name_is_sent_with_every_request() {
        let how = Subscribe { name: Some("Alice".into()), ..Subscribe::default() };
        let mut listed = Subscription::new("a", how);
        let asks = r#"{"type":"subscribe","channel":"a","name":"Alice"}"#;
        assert_eq!(listed.current_request().end(), asks);
        apply(&mut listed, &[&subscribed(1, 4, false)]);
        let again =
            r#"{"type":"subscribe","channel":"a","name":"Alice","since":{"epoch":1,"seq":4}}"#;
        assert_eq!(listed.current_request().end(), again);
    }

    #[test]
    fn half_a_window_of_taken_messages_is_acknowledged() {
        let window = Subscribe { window: Some(4), ..Subscribe::default() };
        let mut subscription = Subscription::new("a", window);
        let mut events = VecDeque::new();
        for text in [subscribed(1, 0, false), message(1), message(2), message(3)] {
            subscription.receive(ServerMessage::read(&text).unwrap(), &mut events);
        }
        assert_eq!(subscription.position("a"), None);
        let mut take = || subscription.take_event(&events.pop_front().unwrap());
        assert_eq!([take(), take(), take()], [None, None, Some(2)]);
        // The third has arrived, and was not taken.
        assert_eq!(subscription.position("a"), Some(Position { epoch: 1, seq: 2 }));
        assert_eq!(subscription.last_taken("a"), Some(2));
        // It belongs to the old epoch of the channel, and acknowledges nothing of the new one.
        for text in [subscribed(2, 0, true), message(1), message(2)] {
            subscription.receive(ServerMessage::read(&text).unwrap(), &mut events);
        }
        let mut take = || {
            let event = events.pop_front().unwrap();
            let acknowledged = subscription.take_event(&event);
            (acknowledged, subscription.position("a").unwrap())
        };
        assert_eq!(take(), (None, Position { epoch: 1, seq: 3 }));
        assert_eq!(subscription.last_taken("a"), Some(0));
        let mut take = || {
            let event = events.pop_front().unwrap();
            let acknowledged = subscription.take_event(&event);
            (acknowledged, subscription.position("a").unwrap())
        };
        assert_eq!(take(), (None, Position { epoch: 2, seq: 0 }));
        assert_eq!(take(), (None, Position { epoch: 2, seq: 1 }));
        assert_eq!(take(), (Some(2), Position { epoch: 2, seq: 2 }));
    }

    #[test]
    fn patterns_match_and_resume() {
        for (pattern, channel, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            ("*.b", "a.b", true),
            ("*.b", "a.c", false),
        ] {
            assert_eq!(matches(pattern, channel), expected, "{pattern} {channel}");
        }
        let mut subscription = Subscription::new("*", Subscribe::default());
        assert_eq!(apply(&mut subscription, &[&message(5), &message(6)]), ["5", "6"]);
        assert_eq!(subscription.position("a"), None);
        // After a disconnect, the channel resumes behind its earlier position.
        let came = apply(&mut subscription, &[&subscribed(1, 6, true), &message(7)]);
        assert_eq!(came, ["subscribed true", "7"]);
        let came = apply(&mut subscription, &[&subscribed(1, 9, true), &message(10)]);
        assert_eq!(came, ["subscribed true", "gap 8 9", "10"]);
        // Another epoch, of which the server sends the first message.
        let came = apply(&mut subscription, &[&subscribed(2, 3, true)]);
        assert_eq!(came, ["subscribed true", "reset 10"]);
        // Numbers that no server sends.
        let mut named = Subscription::new("a", Subscribe::default());
        apply(
            &mut named,
            &[&subscribed(1, 0, false), &message(0), &message(u64::MAX), &message(1)],
        );
    }

    #[test]
    fn answers_to_an_earlier_subscription_of_this_name_are_ignored() {
        let mut second = Subscription::new("a", Subscribe::default());
        second.request(8);
        let answer =
            |id| format!(r#"{{"type":"subscribed","channel":"a","epoch":1,"seq":4,"id":{id}}}"#);
        assert_eq!(apply(&mut second, &[&answer(7), &message(5)]), [""; 0]);
        assert_eq!(
            apply(&mut second, &[&answer(8), &message(6)]),
            ["subscribed false", "gap 5 5", "6"]
        );
    }
}
