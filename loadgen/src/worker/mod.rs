//! One thread: a ring, its share of every group's connections, and the loop.
//!
//! | file | what is there |
//! |---|---|
//! | here | the loop: when what happens |
//! | `opening` | connections that begin |
//! | `events` | what the kernel says, and what follows from it |
//! | `ending` | connections that end, and why |
//! | `peer` | a connection |
//! | `seconds` | what was counted, second by second |

mod ending;
mod events;
mod opening;
mod peer;
mod seconds;

pub use seconds::Second;

use crate::measure::Counted;
use crate::payload::{Payload, fill_in};
use crate::profile::{Group, Profile, Scenario};
use crate::run::{Phase, Shared};
use crate::schedule::Schedule;
use crate::traffic::{Broadcast, Echo, Rooms, Topics, Traffic};
use peer::{Peer, State};
use seconds::Seconds;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tapecast::base::{Limits, Time};
use tapecast::driver::{
    Batch, Driver, Errno, Event, Interest, Setup, SetupError, Token, Uring, UringBuffer,
};
use tapecast::protocol::deflate::{Contexts, Deflater};
use tapecast::protocol::{Opcode, Workspace};
use tapecast::tls::{CertificateError, Connector};

/// This close to a planned time a thread looks for completions instead of sleeping.
const SPIN: Duration = Duration::from_micros(100);
/// The longest that a thread sleeps without looking at what the others do.
const NAP: Duration = Duration::from_millis(10);
/// Bytes that wait in one connection for the server to take them, from which on it sends
/// nothing more: in the open model what is planned waits, in a closed loop what is due.
const OUT_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message that is worth compressing.
const DEFLATE_BYTES_MIN: usize = 128;
/// The same where it may look back at earlier ones.
const CONTEXT_BYTES_MIN: usize = 32;
/// Handshakes that a thread has under way, before the load starts.
const OPENING_MAX: usize = 256;
/// How long the server may take to close what was closed.
const LEAVING: Duration = Duration::from_secs(1);
/// How long what stalled readers missed may take to arrive.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// Why a thread can't go on.
#[derive(Debug)]
pub enum Failure {
    /// There is no ring.
    Ring(SetupError),
    /// There is nobody to trust any more.
    Tls(CertificateError),
    /// The ring broke.
    Turn(std::io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Ring(error) => error.fmt(formatter),
            Failure::Tls(error) => error.fmt(formatter),
            Failure::Turn(error) => write!(formatter, "the ring broke: {error}"),
        }
    }
}

/// What a group's connections on one thread found.
#[derive(Debug)]
pub struct Outcome {
    pub counted: Counted,
    /// Of readers that stopped reading.
    pub stalled: Option<Counted>,
    /// Messages per connection.
    pub per_connection: Vec<u64>,
}

/// A group's share on this thread.
struct Share<'a> {
    group: &'a Group,
    traffic: Traffic,
    counted: Counted,
    stalled: Option<Counted>,
    /// When those who stall read again.
    stall_ends: Option<Time>,
    schedule: Option<Schedule>,
    /// Connections that messages are planned for, and whose turn it is.
    senders: Vec<u32>,
    turn: usize,
    /// Of a group that connects: places for connections, and how many are under way.
    absent: Vec<u32>,
    under_way: u32,
    rooms: Rooms,
    sources: Vec<IpAddr>,
    /// How connections begin TLS, where they do.
    connector: Option<Connector>,
}

/// One thread at work.
pub struct Worker<'a> {
    profile: &'a Profile,
    shared: &'a Shared,
    thread: u32,
    ring: Uring,
    /// The run's time when the ring's was zero.
    skew: Duration,
    pool: Workspace,
    shares: Vec<Share<'a>>,
    peers: Vec<Peer>,
    /// Connections with something to send.
    queued: Vec<u32>,
    /// Those that may send because something came.
    due: Vec<u32>,
    /// When connections are to be made.
    openings: BinaryHeap<Reverse<(Time, u32)>>,
    /// When what is under way is given up: the connection, and which one of that place.
    deadlines: BinaryHeap<Reverse<(Time, u32, u32)>>,
    /// Handshakes under way.
    opening: usize,
    /// Connections that have yet to open or fail before the load starts.
    unsettled: usize,
    open: u32,
    is_loaded: bool,
    is_measuring: bool,
    /// Every group has come to its end by itself.
    is_done: bool,
    /// Only what stalled readers missed is awaited.
    is_over: bool,
    seconds: Seconds,
    /// What was decrypted of a buffer.
    plain: Vec<u8>,
    batch: Option<Batch<'static>>,
    outcomes: Vec<Result<usize, Errno>>,
    events: Vec<Event<UringBuffer>>,
}

/// One thread's run.
///
/// # Errors
/// There is no ring, or it broke. Whatever servers do is counted instead.
pub fn run(profile: &Profile, shared: &Shared, thread: u32) -> Result<Vec<Outcome>, Failure> {
    if let Some(core) = profile.core {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core + thread as usize);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let mut worker = Worker::new(profile, shared, thread)?;
    worker.open_all()?;
    worker.load()?;
    worker.leave()?;
    Ok(worker.shares.into_iter().map(Share::outcome).collect())
}

impl Share<'_> {
    fn outcome(mut self) -> Outcome {
        let per_connection = self.traffic.per_connection();
        Outcome { counted: self.counted, stalled: self.stalled, per_connection }
    }

    /// Whether connecting is what it is about.
    fn connects(&self) -> bool {
        self.group.scenario == Scenario::Connect
    }

    /// This thread's part of what the group plans, from `start` on: the senders' share.
    fn schedule(&self, start: Time, thread: u32, threads: u32) -> Option<Schedule> {
        let rate = self.group.rate.as_ref().filter(|_| !self.senders.is_empty())?;
        let all = match self.group.scenario {
            Scenario::Idle => return None,
            Scenario::Broadcast | Scenario::Topics => self.rooms.publishers,
            Scenario::Echo | Scenario::Connect => self.group.connections,
        };
        let share = self.senders.len() as f64 / f64::from(all);
        let mut steps = rate.total(all);
        steps.iter_mut().for_each(|step| step.per_second *= share);
        Some(Schedule::new(self.group.arrivals, steps, start, thread, threads))
    }

    /// Whether its connections come once, and stay: while they are measured.
    fn stays(&self) -> bool {
        self.connects() && (self.group.messages == 0 || self.group.reconnect.is_none())
    }

    /// Whether there is nothing left to do.
    fn is_done(&self) -> bool {
        self.stays() && self.absent.is_empty() && self.under_way == 0
    }
}

impl<'a> Worker<'a> {
    fn new(profile: &'a Profile, shared: &'a Shared, thread: u32) -> Result<Worker<'a>, Failure> {
        let mut peers = Vec::new();
        let mut shares = Vec::new();
        for (number, group) in profile.groups.iter().enumerate() {
            let first = peers.len() as u32;
            let rooms = shared.rooms(number);
            let stalled_from =
                group.connections - (f64::from(group.connections) * group.stalled).round() as u32;
            let own = (thread..group.connections).step_by(profile.threads as usize);
            // The last ones stall, for the first ones publish.
            let stalls = |connection: u32| {
                connection >= stalled_from && rooms.publisher(connection).is_none()
            };
            let own: Vec<(u32, bool)> = own.map(|number| (number, stalls(number))).collect();
            for (index, (_, stalls)) in own.iter().enumerate() {
                peers.push(Peer::new(number as u16, index as u32, *stalls));
            }
            let payload = Payload::new(group);
            // In the open model nothing is sent because something came back.
            let window = if group.rate.is_some() { 0 } else { group.in_flight };
            let all = first..peers.len() as u32;
            let mut senders: Vec<u32> = all.clone().collect();
            let traffic = match group.scenario {
                Scenario::Echo => Traffic::Echo(Echo::new(payload, own.len(), window)),
                Scenario::Broadcast | Scenario::Topics => {
                    senders
                        .retain(|peer| rooms.publisher(own[(peer - first) as usize].0).is_some());
                    let streams = shared.streams(number);
                    let all = own.iter().copied();
                    let broadcast =
                        Broadcast::new(payload, shared.number(), window, rooms, streams, all);
                    match group.scenario {
                        Scenario::Topics => Traffic::Topics(Topics::new(
                            broadcast,
                            &group.channel,
                            group.keys,
                            &group.deliveries,
                            own.iter().map(|(number, _)| (rooms.of(*number), *number)),
                        )),
                        _ => Traffic::Broadcast(broadcast),
                    }
                }
                Scenario::Connect => Traffic::Connect {
                    echo: Echo::new(payload, own.len(), 1),
                    messages: group.messages.into(),
                    connections: vec![(Time::ZERO, 0); own.len()],
                },
                Scenario::Idle => Traffic::Idle,
            };
            shares.push(Share {
                group,
                traffic,
                counted: Counted::default(),
                stalled: own.iter().any(|(_, stalls)| *stalls).then(Counted::default),
                stall_ends: None,
                schedule: None,
                senders,
                turn: 0,
                absent: match group.scenario {
                    Scenario::Connect => all.rev().collect(),
                    _ => Vec::new(),
                },
                under_way: 0,
                rooms,
                sources: group.sources.iter().flat_map(|it| it.addresses.clone()).collect(),
                connector: group.connector().map_err(Failure::Tls)?,
            });
        }
        let limits = Limits { receive_buffers: 128, ..Limits::default() };
        // Some close while others come.
        let setup = Setup::new(&limits, peers.len() as u32 + 64);
        let mut ring = Uring::new(&setup).map_err(Failure::Ring)?;
        let skew = shared.now() - ring.now();
        Ok(Worker {
            profile,
            shared,
            thread,
            ring,
            skew,
            pool: Workspace::new(64 << 20)
                .compressing(Deflater::new(1, DEFLATE_BYTES_MIN))
                .with_contexts(Contexts::new(1, CONTEXT_BYTES_MIN, DEFLATE_BYTES_MIN, usize::MAX)),
            unsettled: peers.len(),
            shares,
            peers,
            queued: Vec::new(),
            due: Vec::new(),
            openings: BinaryHeap::new(),
            deadlines: BinaryHeap::new(),
            opening: 0,
            open: 0,
            is_loaded: false,
            is_measuring: false,
            is_done: false,
            is_over: false,
            seconds: Seconds::default(),
            plain: Vec::new(),
            batch: Some(Batch::new()),
            outcomes: Vec::new(),
            events: Vec::new(),
        })
    }

    fn now(&mut self) -> Time {
        self.ring.now() + self.skew
    }

    /// The connection's number over all threads.
    fn number(&self, peer: &Peer) -> u32 {
        self.thread + peer.index * self.profile.threads
    }

    /// Opens every connection of the groups that have them open from the beginning,
    /// over the ramp; returns when the load starts.
    fn open_all(&mut self) -> Result<(), Failure> {
        let start = self.now();
        let total = self.peers.len().max(1) as u32;
        for connection in 0..self.peers.len() as u32 {
            if self.shares[usize::from(self.peers[connection as usize].group)].connects() {
                self.unsettled -= 1;
                continue;
            }
            let after = self.profile.ramp * connection / total;
            self.openings.push(Reverse((start + after, connection)));
        }
        let mut is_settled = false;
        while self.shared.phase() == Phase::Opening {
            if self.unsettled == 0 && !is_settled {
                is_settled = true;
                self.shared.thread_is_settled();
            }
            let now = self.now();
            self.tend(now);
            let until = self.until(now);
            self.turn(until)?;
        }
        Ok(())
    }

    /// The load: from its start to the end of measuring.
    fn load(&mut self) -> Result<(), Failure> {
        let start = self.now();
        self.is_loaded = true;
        self.seconds.begin(start);
        for share in &mut self.shares {
            share.traffic.start();
            share.schedule = share.schedule(start, self.thread, self.profile.threads);
        }
        self.due.extend(0..self.peers.len() as u32);
        loop {
            let phase = self.shared.phase();
            let now = self.now();
            if phase == Phase::Over {
                break;
            }
            if phase == Phase::Measuring && !self.is_measuring {
                self.is_measuring = true;
                self.start_measuring();
            }
            if self.seconds.is_due(now) {
                self.cut_second(now);
            }
            self.send_due(now);
            self.send_planned(now);
            self.tend(now);
            let until = self.until(now);
            self.turn(until)?;
            if !self.is_done && self.openings.is_empty() && self.shares.iter().all(Share::is_done) {
                self.is_done = true;
                self.shared.thread_is_done();
            }
        }
        let now = self.now();
        self.cut_second(now);
        for peer in &self.peers {
            // Connections that were begun and have not done what counts.
            let share = &mut self.shares[usize::from(peer.group)];
            let is_awaited = match peer.state {
                State::Connecting | State::ShakingHands => share.connects(),
                State::Open => share.traffic.awaits_first(peer.index as usize),
                State::Leaving | State::Ending | State::Absent => false,
            };
            if is_awaited {
                share.counted.unanswered(now - peer.planned, 1);
            }
        }
        for share in &mut self.shares {
            share.traffic.finish(now, false, &mut share.counted);
            // What was planned and never left has waited too.
            let is_done = share.is_done();
            while let Some(schedule) = &mut share.schedule
                && !is_done
                && schedule.next() <= now
            {
                let (planned, count) = schedule.take_together(now);
                share.counted.unanswered(now - planned, count);
                share.counted.unsent += count;
            }
        }
        Ok(())
    }

    fn start_measuring(&mut self) {
        let from = self.shared.measuring_from();
        for share in &mut self.shares {
            share.counted.start_measuring(!share.connects());
            share.traffic.start_measuring();
            if let Some(stalled) = &mut share.stalled {
                stalled.start_measuring(true);
            }
        }
        for share in self.shares.iter_mut().filter(|share| share.stays()) {
            // It had to wait.
            share.schedule = share.schedule.take().map(|schedule| schedule.from(from));
        }
        self.seconds.start(from);
        self.stall(from);
    }

    /// Readers that stall stop reading.
    fn stall(&mut self, now: Time) {
        for share in &mut self.shares {
            share.stall_ends = share.group.stall.map(|stall| now + stall);
        }
        for (connection, peer) in self.peers.iter_mut().enumerate().filter(|it| it.1.stalls) {
            peer.is_stalled = true;
            if peer.is_receiving {
                self.ring.stop_receive(token(connection as u32));
            }
        }
    }

    /// Those of a group read again.
    fn resume(&mut self, group: usize) {
        self.shares[group].stall_ends = None;
        let stalled = |peer: &Peer| peer.is_stalled && usize::from(peer.group) == group;
        for (connection, peer) in self.peers.iter_mut().enumerate().filter(|it| stalled(it.1)) {
            peer.is_stalled = false;
            let reads = matches!(peer.state, State::Open | State::Leaving);
            if reads && !peer.is_receiving {
                peer.is_receiving = true;
                self.ring.receive(peer.socket.expect("it is open"), token(connection as u32));
            }
        }
    }

    /// Lets stalled readers catch up, then closes every connection.
    fn leave(&mut self) -> Result<(), Failure> {
        self.is_over = true;
        self.openings.clear();
        if self.peers.iter().any(|peer| peer.stalls) {
            (0..self.shares.len()).for_each(|group| self.resume(group));
            let end = self.now() + CATCHING_UP;
            let mut quiet_at = self.now() + CATCHING_UP / 10;
            while self.now() < end.min(quiet_at) {
                let until = self.now() + NAP;
                if self.turn(until)? {
                    quiet_at = self.now() + CATCHING_UP / 10;
                }
            }
            let now = self.now();
            for share in &mut self.shares {
                if let Some(stalled) = &mut share.stalled {
                    share.traffic.finish(now, true, stalled);
                }
            }
        }
        let end = self.now() + LEAVING;
        for connection in 0..self.peers.len() as u32 {
            self.say_goodbye(connection);
        }
        while self.now() < end && self.peers.iter().any(|peer| peer.state != State::Absent) {
            let until = self.now() + NAP;
            self.turn(until)?;
        }
        Ok(())
    }

    /// Closed loop: what may leave because something came.
    fn send_due(&mut self, now: Time) {
        let mut due = std::mem::take(&mut self.due);
        for connection in due.drain(..) {
            let peer = &self.peers[connection as usize];
            let share = &self.shares[usize::from(peer.group)];
            if peer.state == State::Open && (share.group.rate.is_none() || share.connects()) {
                self.say(connection, Duration::ZERO, |traffic, index, send| {
                    traffic.due(index, now, send)
                });
            }
        }
        self.due = due;
        for number in 0..self.shares.len() {
            let share = &self.shares[number];
            let may = share.connects() && (self.is_measuring || !share.stays());
            if may && share.group.rate.is_none() {
                self.connect_more(number, now);
            }
        }
    }

    /// Closed loop: as many handshakes as may be under way.
    fn connect_more(&mut self, number: usize, now: Time) {
        loop {
            let share = &mut self.shares[number];
            if share.under_way >= share.group.in_flight {
                return;
            }
            let Some(connection) = share.absent.pop() else { return };
            share.under_way += 1;
            self.open(connection, now, now);
        }
    }

    /// Open model: what was planned for a time that has come.
    fn send_planned(&mut self, now: Time) {
        for number in 0..self.shares.len() {
            if self.shares[number].stays() && !self.is_measuring {
                continue;
            }
            while let Some(planned) = self.shares[number].schedule.as_ref().map(Schedule::next)
                && planned <= now
            {
                let late = now - planned;
                let share = &mut self.shares[number];
                if share.connects() {
                    // The schedule falls behind, and that is reported.
                    let Some(connection) = share.absent.pop() else { break };
                    share.schedule.as_mut().map(Schedule::take);
                    share.counted.left(late, 1);
                    share.under_way += 1;
                    self.open(connection, planned, now);
                    continue;
                }
                let Some(connection) = self.next_sender(number) else { break };
                self.shares[number].schedule.as_mut().map(Schedule::take);
                self.say(connection, late, |traffic, index, send| {
                    traffic.planned(index, planned, now, send);
                    1
                });
            }
        }
    }

    /// The next connection of the group that is open and has room: what a server
    /// does not take must not fill this program's memory.
    fn next_sender(&mut self, number: usize) -> Option<u32> {
        let share = &mut self.shares[number];
        for _ in 0..share.senders.len() {
            let connection = share.senders[share.turn];
            share.turn = (share.turn + 1) % share.senders.len();
            let peer = &self.peers[connection as usize];
            if peer.state == State::Open && peer.unsent_bytes() < OUT_BYTES_MAX {
                return Some(connection);
            }
        }
        None
    }

    /// Has a connection's traffic say something, so much later than planned. `say`
    /// tells how many messages it was.
    fn say(
        &mut self,
        connection: u32,
        late: Duration,
        say: impl FnOnce(&mut Traffic, usize, &mut crate::traffic::Send<'_>) -> u64,
    ) {
        let number = self.number(&self.peers[connection as usize]);
        let Peer { group, index, client, out, sent, .. } = &mut self.peers[connection as usize];
        let share = &mut self.shares[usize::from(*group)];
        let Some(client) = client else { return };
        let opcode = if share.group.text { Opcode::Text } else { Opcode::Binary };
        let template = (!share.group.template.is_empty()).then_some(&share.group.template);
        let (rooms, pool) = (share.rooms, &mut self.pool);
        let unsent = *sent;
        let count = say(&mut share.traffic, *index as usize, &mut |payload| {
            match template {
                None => client.deflated(out, pool, opcode, payload),
                Some(template) => {
                    let payload = std::str::from_utf8(payload).unwrap_or_default();
                    let text = fill_in(template, rooms.of(number), number);
                    let text = text.replace("{payload}", payload);
                    client.deflated(out, pool, opcode, text.as_bytes());
                }
            }
            out.len() - unsent < OUT_BYTES_MAX
        });
        // Where connections are planned, what they say is not.
        if !(share.connects() && share.schedule.is_some()) {
            share.counted.left(late, count);
        }
        self.queue(connection);
    }

    /// Has what a connection wants to send leave with the next turn.
    fn queue(&mut self, connection: u32) {
        let peer = &mut self.peers[connection as usize];
        if peer.can_send() && !peer.is_queued && !peer.is_polling {
            peer.is_queued = true;
            self.queued.push(connection);
        }
    }

    /// Until when there is nothing to do but to wait for the kernel.
    fn until(&mut self, now: Time) -> Time {
        let mut until = now + NAP;
        if let Some(Reverse((when, _))) = self.openings.peek() {
            until = until.min(*when);
        }
        if self.opening >= OPENING_MAX && !self.is_loaded {
            until = now + NAP;
        }
        for schedule in self.shares.iter().filter_map(|share| share.schedule.as_ref()) {
            // A sleep may last longer than it was meant to.
            until = match schedule.next() - now {
                left if left < SPIN => return Time::ZERO,
                left => until.min(now + (left - SPIN)),
            };
        }
        until
    }

    /// Sends what is queued, takes what came, and acts on it. Says whether anything
    /// happened.
    fn turn(&mut self, until: Time) -> Result<bool, Failure> {
        let began = self.now();
        let mut batch = self.batch.take().unwrap_or_default();
        for &connection in &self.queued {
            self.peers[connection as usize].seal(&mut self.pool);
        }
        for &connection in &self.queued {
            let peer = &self.peers[connection as usize];
            batch.begin(peer.socket.expect("what is queued has a socket"));
            batch.slice(peer.wire());
        }
        let has_sent = !batch.is_empty();
        let mut events = std::mem::take(&mut self.events);
        let ring_until = Time::ZERO + (until - (Time::ZERO + self.skew));
        self.ring.turn(&mut batch, ring_until, &mut events).map_err(Failure::Turn)?;
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.extend((0..batch.len()).map(|send| batch.outcome(send)));
        self.batch = Some(batch.recycle());
        let mut queued = std::mem::take(&mut self.queued);
        for (connection, outcome) in queued.drain(..).zip(outcomes.drain(..)) {
            self.sent(connection, outcome);
        }
        // What made room for more of TLS.
        queued.append(&mut self.queued);
        (self.queued, self.outcomes) = (queued, outcomes);
        let now = self.now();
        let is_idle = events.is_empty() && !has_sent;
        if is_idle && until == Time::ZERO {
            self.seconds.spun(now - began);
        }
        for event in events.drain(..) {
            self.event(event, now);
        }
        self.events = events;
        Ok(!is_idle)
    }
}

fn token(connection: u32) -> Token {
    Token { index: connection, generation: 0 }
}

/// Waits for room to send.
fn poll(ring: &mut Uring, connection: u32, peer: &mut Peer) {
    peer.is_polling = true;
    ring.poll(peer.socket.expect("it is open"), token(connection), Interest::Writable);
}
