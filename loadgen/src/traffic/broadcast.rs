//! Broadcast: some publish, everyone in their room receives.
//!
//! A publication carries its publisher, its number and its time, so that every
//! reader, on whichever thread, knows how old it is and whether one is missing.
//!
//! In a closed loop a publication is in flight until its publisher has it back, as a
//! publisher in the field sees it: the others' copies may still be under way when
//! the next one leaves. Each of them is checked and counted all the same.

use super::{Received, Send, send_all};
use crate::measure::{Counted, Order, Track};
use crate::payload::{Following, Payload, Stamp};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tapecast::base::Time;

/// Planned times that are kept per publisher, for those who never get it.
const PLANNED_MAX: usize = 4_096;

/// Who is in which room, and who publishes. Connections are counted over all
/// threads.
#[derive(Clone, Copy, Debug)]
pub struct Rooms {
    pub connections: u32,
    pub rooms: u32,
    pub publishers: u32,
}

impl Rooms {
    /// The room of a connection.
    pub fn of(&self, connection: u32) -> u32 {
        (u64::from(connection) * u64::from(self.rooms) / u64::from(self.connections)) as u32
    }

    /// The first connection of a room.
    fn first(&self, room: u32) -> u32 {
        let first = u64::from(room) * u64::from(self.connections);
        first.div_ceil(self.rooms.into()) as u32
    }

    /// The publishers of a room.
    fn publishers(&self, room: u32) -> Range<u32> {
        if self.publishers == self.connections {
            return self.first(room)..self.first(room + 1);
        }
        let first = |room: u32| {
            (u64::from(room) * u64::from(self.publishers)).div_ceil(self.rooms.into()) as u32
        };
        first(room)..first(room + 1)
    }

    /// The number of a connection among the publishers, if it is one: the first
    /// ones of each room are.
    pub fn publisher(&self, connection: u32) -> Option<u32> {
        let room = self.of(connection);
        let publishers = self.publishers(room);
        let number = publishers.start + (connection - self.first(room));
        publishers.contains(&number).then_some(number)
    }
}

/// What all threads know of one publisher.
#[derive(Debug, Default)]
pub struct Stream {
    published: AtomicU64,
    /// When the last ones were planned.
    planned: Mutex<VecDeque<Time>>,
}

/// What the connections of one thread do.
#[derive(Debug)]
pub struct Broadcast {
    payload: Payload,
    /// Marks its publications.
    run: u16,
    window: u64,
    streams: Arc<[Stream]>,
    readers: Vec<Reader>,
    /// Those of a reader stand together.
    tracks: Vec<Track>,
    has_started: bool,
}

#[derive(Debug)]
struct Reader {
    /// Its number among the publishers.
    publisher: Option<u32>,
    /// The publishers of its room.
    streams: Range<u32>,
    first_track: usize,
    /// Stops reading.
    is_stalled: bool,
    /// Everything is to reach it.
    wants_all: bool,
    /// Deliveries since measuring began.
    counted: u64,
}

impl Broadcast {
    /// For the connections with these numbers.
    pub fn new(
        payload: Payload,
        run: u16,
        window: u32,
        rooms: Rooms,
        streams: Arc<[Stream]>,
        connections: impl Iterator<Item = (u32, bool)>,
    ) -> Broadcast {
        let mut tracks = 0;
        let readers = connections
            .map(|(connection, is_stalled)| {
                let streams = rooms.publishers(rooms.of(connection));
                let first_track = tracks;
                tracks += streams.len();
                let publisher = rooms.publisher(connection);
                let wants_all = true;
                Reader { publisher, streams, first_track, is_stalled, wants_all, counted: 0 }
            })
            .collect();
        let tracks = vec![Track::ANYWHERE; tracks];
        let (window, has_started) = (window.into(), false);
        Broadcast { payload, run, window, streams, readers, tracks, has_started }
    }

    /// This one gets the newest only: what never reaches it is not missed.
    pub fn wants_newest(&mut self, connection: usize) {
        self.readers[connection].wants_all = false;
    }

    /// Whether this connection publishes.
    pub fn publishes(&self, connection: usize) -> bool {
        self.readers[connection].publisher.is_some()
    }

    /// A connection is open. Before the load starts it is sure which number comes
    /// first; later it is so only of a publisher's own.
    pub fn opened(&mut self, connection: usize) {
        let start = if self.has_started { Track::ANYWHERE } else { Track::START };
        self.tracks_of(connection).fill(start);
        let Reader { publisher, streams, .. } = &self.readers[connection];
        if let Some(publisher) = *publisher {
            let published = self.streams[publisher as usize].published.load(Ordering::Relaxed);
            let own = (publisher - streams.start) as usize;
            self.tracks_of(connection)[own] = Track::from(published);
        }
    }

    fn tracks_of(&mut self, connection: usize) -> &mut [Track] {
        let Reader { first_track, streams, .. } = &self.readers[connection];
        &mut self.tracks[*first_track..*first_track + streams.len()]
    }

    /// The load starts: who connects later has missed something.
    pub fn start(&mut self) {
        self.has_started = true;
    }

    /// Publications that this publisher has not got back.
    fn in_flight(&self, connection: usize, publisher: u32) -> u64 {
        let Reader { first_track, streams, .. } = &self.readers[connection];
        let track = &self.tracks[first_track + (publisher - streams.start) as usize];
        let published = self.streams[publisher as usize].published.load(Ordering::Relaxed);
        published - track.next().unwrap_or(published).min(published)
    }

    /// Whether it publishes in a closed loop and may do so now.
    pub fn is_due(&self, connection: usize) -> bool {
        let publisher = self.readers[connection].publisher;
        publisher.is_some_and(|publisher| self.in_flight(connection, publisher) < self.window)
    }

    pub fn due(&mut self, connection: usize, now: Time, send: &mut Send<'_>) -> u64 {
        send_all(|| self.is_due(connection).then(|| self.send(connection, now, now, send)))
    }

    /// Says whether there is room for more.
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

    /// The next publication of this connection and its number, which counts as sent;
    /// none if it does not publish.
    pub fn publish(&mut self, connection: usize, planned: Time, now: Time) -> Option<(u64, &[u8])> {
        let publisher = self.readers[connection].publisher?;
        let stream = &self.streams[publisher as usize];
        let number = stream.published.load(Ordering::Relaxed);
        let late_ns = (now - planned).as_nanos().try_into().unwrap_or(u32::MAX);
        let (publisher, run) = (publisher as u16, self.run);
        let stamp = Stamp { publisher, run, number, planned, late_ns };
        let mut kept = stream.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == PLANNED_MAX {
            kept.pop_front();
        }
        kept.push_back(planned);
        stream.published.store(number + 1, Ordering::Relaxed);
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

    /// Publications that follow one that was fine, and are of its run and its moment.
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
        // It is known, and whose it is.
        let Some(stamp) = self.payload.stamp(following.payload()) else { return 0 };
        let reader = &mut self.readers[connection];
        if stamp.run != self.run || !reader.streams.contains(&stamp.publisher.into()) {
            return 0;
        }
        let own = u32::from(stamp.publisher) - reader.streams.start;
        let track = &mut self.tracks[reader.first_track + own as usize];
        // Behind one that came late or twice, they are to be looked at one by one.
        if track.next() != Some(stamp.number + 1) {
            return 0;
        }
        track.take_next(count);
        reader.counted += count;
        let age = now - stamp.planned;
        let late = std::time::Duration::from_nanos(stamp.late_ns.into());
        counted.messages(age, age.saturating_sub(late), following.payload().len(), count);
        count
    }

    /// The stamp of a publication, if nothing of it was changed.
    pub fn stamp(&self, bytes: &[u8]) -> Option<Stamp> {
        self.payload.stamp(bytes)
    }

    /// Whether this run has published it, and not another beside it.
    #[inline]
    pub fn is_own(&self, stamp: &Stamp) -> bool {
        stamp.run == self.run
    }

    /// Takes note of a publication that came; none if its publisher is not of the room.
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
        let late = std::time::Duration::from_nanos(stamp.late_ns.into());
        counted.message(age, age.saturating_sub(late), bytes);
        self.readers[connection].counted += 1;
    }

    /// What is published before it is back is not missing.
    pub fn lost(&mut self, connection: usize) {
        self.tracks_of(connection).fill(Track::ANYWHERE);
    }

    pub fn finish(&mut self, now: Time, stalled: bool, counted: &mut Counted) {
        let all = self.readers.iter().filter(|reader| reader.wants_all);
        for reader in all.filter(|reader| reader.is_stalled == stalled) {
            for (index, publisher) in reader.streams.clone().enumerate() {
                let Some(next) = self.tracks[reader.first_track + index].next() else { continue };
                let stream = &self.streams[publisher as usize];
                let planned = stream.planned.lock().unwrap_or_else(PoisonError::into_inner);
                let published = stream.published.load(Ordering::Relaxed);
                // Of those that came before what is kept, the oldest time that is.
                let kept_from = published - planned.len() as u64;
                let Some(oldest) = planned.front() else { continue };
                counted.unanswered(now - *oldest, kept_from.saturating_sub(next));
                for number in next.max(kept_from)..published {
                    counted.unanswered(now - planned[(number - kept_from) as usize], 1);
                }
            }
        }
    }

    pub fn start_measuring(&mut self) {
        for reader in &mut self.readers {
            reader.counted = 0;
        }
    }

    /// Of those who read.
    pub fn per_connection(&self) -> Vec<u64> {
        let reading = self.readers.iter().filter(|reader| !reader.is_stalled);
        reading.map(|reader| reader.counted).collect()
    }
}
