//! Broadcast: some connections publish, and every connection in their room receives.
//!
//! A publication carries its publisher, its number and its time, so that a reader on any
//! thread knows how old it is and whether one is missing.
//!
//! In a closed loop a publication is in flight until its own publisher receives it. Other
//! readers' copies may still be in flight when the next one is sent. Each copy is checked and
//! counted.

use super::exchange::{Received, Send, send_all};
use super::stream::Stream;
use crate::measure::{Counted, Order, Track};
use crate::plan::{Following, Group, Payload, Stamp};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tapecast::base::Time;

/// The connections of one thread.
#[derive(Debug)]
pub struct Broadcast {
    payload: Payload,
    /// Marks the publications of this run.
    run: u16,
    /// Publications in flight per publisher, in a closed loop.
    window: u64,
    streams: Arc<[Stream]>,
    readers: Vec<Reader>,
    /// One per reader and publisher of its room; those of a reader are adjacent.
    tracks: Vec<Track>,
    /// The load has started.
    has_started: bool,
}

#[derive(Debug)]
struct Reader {
    /// Its number among the publishers, if it is one.
    publisher: Option<u32>,
    /// The publishers of its room.
    streams: Range<u32>,
    first_track: usize,
    /// It stops reading when measuring starts.
    stalls: bool,
    /// A publication that never arrives is missing.
    wants_all: bool,
    /// Deliveries since measuring began.
    counted: u64,
}

impl Broadcast {
    /// For the group's connections with these numbers.
    pub fn new(
        payload: Payload,
        run: u16,
        window: u32,
        group: &Group,
        streams: Arc<[Stream]>,
        connections: &[u32],
    ) -> Broadcast {
        let mut tracks = 0;
        let readers = connections
            .iter()
            .map(|&connection| {
                let streams = group.rooms.publishers(group.rooms.of(connection));
                let first_track = tracks;
                tracks += streams.len();
                Reader {
                    publisher: group.rooms.publisher(connection),
                    streams,
                    first_track,
                    stalls: group.stalls(connection),
                    wants_all: true,
                    counted: 0,
                }
            })
            .collect();
        let tracks = vec![Track::ANYWHERE; tracks];
        let (window, has_started) = (window.into(), false);
        Broadcast { payload, run, window, streams, readers, tracks, has_started }
    }

    /// The connection subscribes to the newest message only: skipped messages are not missing.
    pub fn wants_newest(&mut self, connection: usize) {
        self.readers[connection].wants_all = false;
    }

    /// Whether this connection publishes.
    pub fn publishes(&self, connection: usize) -> bool {
        self.readers[connection].publisher.is_some()
    }

    /// A connection is open. If the load has not started, its first number of every publisher
    /// is 0; later only a publisher's own next number is known.
    pub fn opened(&mut self, connection: usize) {
        let start = if self.has_started { Track::ANYWHERE } else { Track::START };
        self.tracks_of(connection).fill(start);
        let Reader { publisher, streams, .. } = &self.readers[connection];
        if let Some(publisher) = *publisher {
            let published = self.streams[publisher as usize].published();
            let own = (publisher - streams.start) as usize;
            self.tracks_of(connection)[own] = Track::from(published);
        }
    }

    fn tracks_of(&mut self, connection: usize) -> &mut [Track] {
        let Reader { first_track, streams, .. } = &self.readers[connection];
        &mut self.tracks[*first_track..*first_track + streams.len()]
    }

    /// The load starts: a connection that opens later has missed publications.
    pub fn start(&mut self) {
        self.has_started = true;
    }

    /// Publications that their own publisher has not received.
    fn in_flight(&self, connection: usize, publisher: u32) -> u64 {
        let Reader { first_track, streams, .. } = &self.readers[connection];
        let track = &self.tracks[first_track + (publisher - streams.start) as usize];
        let published = self.streams[publisher as usize].published();
        published - track.next().unwrap_or(published).min(published)
    }

    /// Whether this connection publishes in a closed loop and its window has room.
    pub fn is_due(&self, connection: usize) -> bool {
        let publisher = self.readers[connection].publisher;
        publisher.is_some_and(|publisher| self.in_flight(connection, publisher) < self.window)
    }

    /// Publishes until the window is full. Returns how many messages it sent.
    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        send_all(|| self.is_due(connection).then(|| self.send(connection, now, now, send)))
    }

    /// Publishes one message. Returns whether there is room for more.
    pub fn send(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut Send<'_>,
    ) -> bool {
        match self.publish(connection, planned, now) {
            Some((_, publication)) => send(publication),
            None => false,
        }
    }

    /// Makes the next publication of this connection, which counts as sent. Returns its number
    /// and its payload; none if the connection does not publish.
    pub fn publish(&mut self, connection: usize, planned: Time, now: Time) -> Option<(u64, &[u8])> {
        let publisher = self.readers[connection].publisher?;
        let stream = &self.streams[publisher as usize];
        let number = stream.published();
        let late_ns = (now - planned).as_nanos().try_into().unwrap_or(u32::MAX);
        let (publisher, run) = (publisher as u16, self.run);
        let stamp = Stamp { publisher, run, number, planned, late_ns };
        stream.publish(number, planned);
        Some((number, self.payload.publication(&stamp)))
    }

    #[inline]
    pub fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> Received {
        let Some(stamp) = self.payload.stamp(bytes) else {
            if self.payload.is_wrapped() {
                counted.other += 1;
                return Received::Fine;
            }
            return Received::Wrong;
        };
        if !self.is_own(&stamp) {
            counted.other += 1;
            return Received::Fine;
        }
        match self.take(connection, &stamp) {
            Some(order) if counted.order(order) => {
                self.count(connection, &stamp, now, bytes.len(), counted);
                Received::Fine
            }
            Some(_) => Received::Fine,
            None => Received::Wrong,
        }
    }

    /// Takes the publications after one that was fine, of the same publisher and time.
    #[inline]
    pub fn repeated(
        &mut self,
        connection: usize,
        now: Time,
        following: &Following<'_>,
        counted: &mut Counted,
    ) -> u64 {
        let count = self.payload.repeats(following, u64::MAX);
        if count == 0 {
            return 0;
        }
        let Some(stamp) = self.payload.stamp(following.payload()) else { return 0 };
        let reader = &mut self.readers[connection];
        if stamp.run != self.run || !reader.streams.contains(&stamp.publisher.into()) {
            return 0;
        }
        let own = u32::from(stamp.publisher) - reader.streams.start;
        let track = &mut self.tracks[reader.first_track + own as usize];
        // After a late or duplicate one, each is checked by itself.
        if track.next() != Some(stamp.number + 1) {
            return 0;
        }
        track.take_next(count);
        reader.counted += count;
        let age = now - stamp.planned;
        let late = Duration::from_nanos(stamp.late_ns.into());
        counted.messages(age, age.saturating_sub(late), following.payload().len(), count);
        count
    }

    /// The stamp of a publication, if every byte of it is intact.
    pub fn stamp(&self, bytes: &[u8]) -> Option<Stamp> {
        self.payload.stamp(bytes)
    }

    /// Whether this run published it, and no other run that shares the topic.
    #[inline]
    pub fn is_own(&self, stamp: &Stamp) -> bool {
        stamp.run == self.run
    }

    /// Notes that a publication arrived. Returns none if its publisher is not in the room.
    #[inline]
    pub fn take(&mut self, connection: usize, stamp: &Stamp) -> Option<Order> {
        let Reader { streams, first_track, .. } = &self.readers[connection];
        let publisher = u32::from(stamp.publisher);
        let is_known = streams.contains(&publisher);
        is_known.then(|| {
            self.tracks[first_track + (publisher - streams.start) as usize].take(stamp.number)
        })
    }

    /// Counts a delivery with its age.
    #[inline]
    pub fn count(
        &mut self,
        connection: usize,
        stamp: &Stamp,
        now: Time,
        bytes: usize,
        counted: &mut Counted,
    ) {
        let age = now - stamp.planned;
        let late = Duration::from_nanos(stamp.late_ns.into());
        counted.message(age, age.saturating_sub(late), bytes);
        self.readers[connection].counted += 1;
    }

    /// A connection has ended: messages published until it reconnects are not missing.
    pub fn lost(&mut self, connection: usize) {
        self.tracks_of(connection).fill(Track::ANYWHERE);
    }

    /// The run is over for the readers that stall, or for all others.
    pub fn finish(&mut self, now: Time, stalled: bool, counted: &mut Counted) {
        let all = self.readers.iter().filter(|reader| reader.wants_all);
        for reader in all.filter(|reader| reader.stalls == stalled) {
            for (index, publisher) in reader.streams.clone().enumerate() {
                let Some(next) = self.tracks[reader.first_track + index].next() else { continue };
                let stream = &self.streams[publisher as usize];
                stream.missing(next, now, |waited, count| counted.unanswered(waited, count));
            }
        }
    }

    /// Measuring starts.
    pub fn start_measuring(&mut self) {
        for reader in &mut self.readers {
            reader.counted = 0;
        }
    }

    /// Deliveries counted, per connection that does not stall.
    pub fn per_connection(&self) -> Vec<u64> {
        let reading = self.readers.iter().filter(|reader| !reader.stalls);
        reading.map(|reader| reader.counted).collect()
    }
}
