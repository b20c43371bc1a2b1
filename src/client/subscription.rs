//! One subscription of a client: its position in its channels, and the messages that it missed.
//!
//! **Invariant: a position is the last message that was received or reported as lost or
//! conflated**, so a subscription that resumes after it receives nothing twice and misses nothing
//! unreported. During a snapshot there is no such position: if the connection is
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
    /// The caller's progress, perhaps from the previous connection: the channel's epoch, the
    /// position to resume at, and the last message taken, also of a snapshot.
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
mod tests;
