//! One thread: a ring, its connections, and the loop.

use crate::arguments::{Arguments, Scenario};
use crate::broadcast::Broadcast;
use crate::echo::Echo;
use crate::payload::Payload;
use crate::process::{Process, Sample};
use crate::schedule::Schedule;
use hdrhistogram::Histogram;
use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tapecast::base::{BufferPool, Limits, Random, Time};
use tapecast::connection::client::{Client, ClientError};
use tapecast::protocol::{Incoming, Input, Message};
use tapecast::ring::{
    Batch, Driver, Errno, Event, Interest, ReceiveEnd, Setup, SetupError, Socket, Token, Uring,
};

/// How long connecting and shaking hands may take, for all connections.
const OPENING: Duration = Duration::from_secs(60);

/// This close to a planned time a thread looks for completions instead of sleeping.
const SPIN: Duration = Duration::from_micros(100);
/// Bytes that wait in one connection for the server to take them, in the open model.
const OUT_BYTES_MAX: usize = 1 << 20;

/// Why a run has no result.
#[derive(Debug)]
pub enum Failure {
    /// A connection could not be made.
    Connect(std::io::Error),
    /// There is no ring.
    Ring(SetupError),
    /// The ring broke.
    Turn(std::io::Error),
    /// A server broke the protocol or refused the handshake.
    Client(ClientError),
    /// A connection ended.
    Ended(usize, String),
    /// A reply is not what was sent.
    Wrong(usize, usize),
    /// Not all connections opened in time.
    Opening(usize),
    /// The server's process can't be looked at.
    Process(u32, std::io::Error),
    /// Memory is measured at a process.
    NoServerPid,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(error) => write!(formatter, "can't connect: {error}"),
            Failure::Ring(error) => error.fmt(formatter),
            Failure::Turn(error) => write!(formatter, "the ring broke: {error}"),
            Failure::Client(error) => error.fmt(formatter),
            Failure::Ended(connection, why) => {
                write!(formatter, "connection {connection} was ended by the server: {why}")
            }
            Failure::Wrong(connection, bytes) => write!(
                formatter,
                "connection {connection} got a message of {bytes} bytes that is not the one awaited"
            ),
            Failure::Opening(count) => write!(formatter, "{count} connections did not open"),
            Failure::Process(pid, error) => write!(formatter, "process {pid}: {error}"),
            Failure::NoServerPid => formatter.write_str("idle measures memory: give --server-pid"),
        }
    }
}

/// What connections send and expect.
pub trait Traffic {
    /// Hands `send` what is to be sent on this connection now.
    fn due(&mut self, connection: usize, now: Time, send: &mut dyn FnMut(&[u8], bool));

    /// Hands `send` the message that was planned for `planned` and leaves now.
    fn planned(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        send: &mut dyn FnMut(&[u8], bool),
    );

    /// The run is over: counts what was sent and has no answer yet.
    fn unanswered(&mut self, now: Time, counted: &mut Counted);

    /// A message came: checks it, and counts it. `false` if it is wrong.
    fn received(
        &mut self,
        connection: usize,
        now: Time,
        bytes: &[u8],
        counted: &mut Counted,
    ) -> bool;

    /// Whether connection 0 has something to send because of what others got.
    fn wants_publisher_turn(&self) -> bool {
        false
    }

    /// Messages counted, per connection.
    fn per_connection(&self) -> Vec<u64>;
}

/// What was counted while measuring.
#[derive(Debug)]
pub struct Counted {
    /// Latency from the planned time, in nanoseconds.
    pub latency: Histogram<u64>,
    /// Latency from the time of sending: what a closed loop would have seen.
    pub uncorrected: Histogram<u64>,
    /// How late messages left, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// Sent, with no answer when the run was over. Their time so far is in `latency`.
    pub unanswered: u64,
    /// Messages, or deliveries.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// Messages per connection.
    pub per_connection: Vec<u64>,
    measuring: bool,
}

impl Default for Counted {
    fn default() -> Self {
        // 1 µs to a minute at three digits: a fixed 150 KiB.
        let histogram = || {
            Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
        };
        Counted {
            latency: histogram(),
            uncorrected: histogram(),
            lateness: histogram(),
            unanswered: 0,
            messages: 0,
            bytes: 0,
            per_connection: Vec::new(),
            measuring: false,
        }
    }
}

impl Counted {
    /// Whether what comes now counts.
    pub fn is_measuring(&self) -> bool {
        self.measuring
    }

    /// A message with its latency from the planned time, and from that of sending.
    #[inline]
    pub fn message(&mut self, latency: Duration, uncorrected: Duration, bytes: usize) {
        if self.measuring {
            self.latency.saturating_record(latency.as_nanos() as u64);
            self.uncorrected.saturating_record(uncorrected.as_nanos() as u64);
        }
        self.delivery(bytes);
    }

    /// A message that has waited for its answer this long when the run was over.
    pub fn unanswered(&mut self, waited: Duration) {
        self.unanswered += 1;
        self.latency.saturating_record(waited.as_nanos() as u64);
    }

    /// A message has left this much after its time.
    fn left(&mut self, lateness: Duration) {
        if self.measuring {
            self.lateness.saturating_record(lateness.as_nanos() as u64);
        }
    }

    /// A message whose latency is not known here.
    #[inline]
    pub fn delivery(&mut self, bytes: usize) {
        self.messages += u64::from(self.measuring);
        self.bytes += bytes as u64 * u64::from(self.measuring);
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: Counted) {
        for (all, one) in [
            (&mut self.latency, &other.latency),
            (&mut self.uncorrected, &other.uncorrected),
            (&mut self.lateness, &other.lateness),
        ] {
            all.add(one).expect("the bounds are the same");
        }
        self.unanswered += other.unanswered;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.per_connection.extend(other.per_connection);
    }
}

/// Opening, warming up, measuring, over: the same for all threads.
#[derive(Clone, Debug)]
pub struct Phases {
    warmup: Duration,
    duration: Duration,
    phase: Arc<AtomicU8>,
    /// Threads whose connections are not open yet.
    opening: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
}

const WARMING: u8 = 1;
const MEASURING: u8 = 2;
const OVER: u8 = 3;

/// What passed while measuring.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub elapsed: Duration,
    /// The server before and after, if it is known.
    pub server: Option<(Sample, Sample)>,
    /// This process's CPU time.
    pub own_cpu_ns: u64,
}

impl Phases {
    /// `threads` threads have yet to open their connections.
    pub fn new(warmup: Duration, duration: Duration, threads: u32) -> Phases {
        Phases {
            warmup,
            duration,
            phase: Arc::default(),
            opening: Arc::new(AtomicU32::new(threads)),
            failed: Arc::default(),
        }
    }

    fn get(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    /// Waits for all threads to open, and takes them through the phases.
    pub fn measure(&self, server: Option<&Process>) -> Result<Spent, Failure> {
        let own = Process::new(std::process::id());
        let look = || server.map(Process::sample).transpose();
        let deadline = Instant::now() + OPENING + Duration::from_secs(1);
        loop {
            let opening = self.opening.load(Ordering::Relaxed);
            if opening == 0 {
                break;
            }
            if self.failed.load(Ordering::Relaxed) > 0 || Instant::now() > deadline {
                self.phase.store(OVER, Ordering::Relaxed);
                return Err(Failure::Opening(opening as usize));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.phase.store(WARMING, Ordering::Relaxed);
        std::thread::sleep(self.warmup);
        let (before, own_before, start) = (look()?, own.sample()?, Instant::now());
        self.phase.store(MEASURING, Ordering::Relaxed);
        std::thread::sleep(self.duration);
        let (after, own_after, elapsed) = (look()?, own.sample()?, start.elapsed());
        self.phase.store(OVER, Ordering::Relaxed);
        Ok(Spent {
            elapsed,
            server: before.zip(after),
            own_cpu_ns: own_after.cpu_ns - own_before.cpu_ns,
        })
    }
}

/// One thread's run.
///
/// # Errors
/// Anything that makes the numbers worthless: a refused or broken connection, a
/// wrong reply.
pub fn run(arguments: &Arguments, number: u32, phases: &Phases) -> Result<Counted, Failure> {
    let result = run_thread(arguments, number, phases);
    if result.is_err() {
        phases.failed.fetch_add(1, Ordering::Relaxed);
    }
    result
}

fn run_thread(arguments: &Arguments, number: u32, phases: &Phases) -> Result<Counted, Failure> {
    if let Some(core) = arguments.core {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core + number as usize);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    let share = |thread: u32| {
        (arguments.connections / arguments.threads)
            + u32::from(thread < arguments.connections % arguments.threads)
    };
    let connections = share(number) as usize;
    let mut worker = Worker::open(arguments, connections, number)?;
    phases.opening.fetch_sub(1, Ordering::Relaxed);
    let payload = Payload::new(arguments.size, arguments.text);
    // In the open model nothing is sent because something came back.
    let in_flight = if arguments.rate.is_some() { 0 } else { arguments.in_flight };
    let (threads, arrivals) = (arguments.threads, arguments.arrivals);
    match arguments.scenario {
        Scenario::Broadcast => {
            let traffic = Broadcast::new(payload, connections, in_flight, number == 0);
            let rate = arguments.rate.filter(|_| number == 0);
            worker.drive(traffic, phases, 1, |now| {
                rate.map(|rate| Schedule::new(arrivals, rate, now, 0, 1))
            })
        }
        _ => {
            let traffic = Echo::new(payload, connections, in_flight);
            let rate = arguments
                .rate
                .map(|rate| rate * connections as f64 / f64::from(arguments.connections));
            worker.drive(traffic, phases, connections, |now| {
                rate.map(|rate| Schedule::new(arrivals, rate, now, number, threads))
            })
        }
    }
}

/// Opens connections and sends nothing.
///
/// # Errors
/// As [`run`].
pub fn open_idle(arguments: &Arguments, connections: u32) -> Result<Held, Failure> {
    Worker::open(arguments, connections as usize, 0).map(Held)
}

/// Idle connections.
pub struct Held(Worker);

impl Held {
    pub fn len(&self) -> usize {
        self.0.peers.len()
    }

    /// Closes them, and returns when this end has none left.
    ///
    /// # Errors
    /// The ring broke.
    pub fn close(mut self) -> Result<(), Failure> {
        self.0.close()
    }
}

/// One connection.
struct Peer {
    socket: Socket,
    client: Client,
    /// Bytes to send, and how many of them the kernel has.
    out: Vec<u8>,
    sent: usize,
    is_queued: bool,
    is_blocked: bool,
}

struct Worker {
    ring: Uring,
    peers: Vec<Peer>,
    pool: BufferPool,
    /// Connections with something to send.
    queued: Vec<usize>,
    starved: Vec<usize>,
}

/// Takes a message: its connection, when it came, its payload.
type Each<'a> = dyn FnMut(usize, Time, &[u8]) -> Result<(), Failure> + 'a;

fn message(bytes: &[u8], is_text: bool) -> Message<'_> {
    match is_text {
        true => Message::Text(std::str::from_utf8(bytes).expect("made of ASCII")),
        false => Message::Binary(bytes),
    }
}

fn token(connection: usize) -> Token {
    Token { index: connection as u32, generation: 0 }
}

impl Worker {
    /// Connects, shakes hands, and waits until every connection is open.
    fn open(arguments: &Arguments, connections: usize, seed: u32) -> Result<Worker, Failure> {
        let limits = Limits { receive_buffers: 128, ..Limits::default() };
        raise_descriptor_limit();
        let setup = Setup::new(&limits, connections as u32 + 16);
        let mut worker = Worker {
            ring: Uring::new(&setup).map_err(Failure::Ring)?,
            peers: Vec::with_capacity(connections),
            pool: BufferPool::new(64 << 20),
            queued: Vec::new(),
            starved: Vec::new(),
        };
        let mut random = Random::new(u64::from(seed) + 1);
        let url = &arguments.url;
        for connection in 0..connections {
            let stream = TcpStream::connect(url.address).map_err(Failure::Connect)?;
            stream.set_nodelay(true).map_err(Failure::Connect)?;
            let socket =
                worker.ring.adopt(stream.into()).map_err(|error| Failure::Connect(error.into()))?;
            let mut out = Vec::new();
            let offer = tapecast::protocol::handshake::Offer::new(&url.host, &url.target);
            let client = Client::start(&mut out, &offer, random.bytes16());
            worker.ring.receive(socket, token(connection));
            worker.peers.push(Peer {
                socket,
                client,
                out,
                sent: 0,
                is_queued: true,
                is_blocked: false,
            });
            worker.queued.push(connection);
            // A backlog that overflows costs a second per connection.
            if connection % 256 == 255 {
                worker.shake_hands()?;
            }
        }
        worker.shake_hands()?;
        Ok(worker)
    }

    fn shake_hands(&mut self) -> Result<(), Failure> {
        let deadline = self.ring.now() + OPENING;
        while self.peers.iter().any(|peer| !peer.client.is_open()) {
            if self.ring.now() > deadline {
                let closed = self.peers.iter().filter(|peer| !peer.client.is_open()).count();
                return Err(Failure::Opening(closed));
            }
            let until = self.ring.now() + Duration::from_millis(100);
            self.turn(until, &mut |_, _, bytes| Err(Failure::Wrong(0, bytes.len())))?;
        }
        Ok(())
    }

    /// Ends the receive of every connection, and closes it once that has ended.
    fn close(&mut self) -> Result<(), Failure> {
        let mut left = self.peers.len();
        for connection in 0..left {
            self.ring.stop_receive(token(connection));
        }
        let deadline = self.ring.now() + OPENING;
        while left > 0 && self.ring.now() < deadline {
            let until = self.ring.now() + Duration::from_millis(100);
            let mut events = Vec::new();
            self.ring.turn(&mut Batch::new(), until, &mut events).map_err(Failure::Turn)?;
            for event in events {
                match event {
                    Event::Received { buffer, .. } => self.ring.release(buffer),
                    Event::ReceiveEnded { token, .. } => {
                        self.ring.close(self.peers[token.index as usize].socket, token);
                    }
                    Event::Closed { .. } => left -= 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Runs `traffic`. In the open model, planned messages go to the first `senders`
    /// connections in turn.
    fn drive(
        &mut self,
        mut traffic: impl Traffic,
        phases: &Phases,
        senders: usize,
        schedule: impl FnOnce(Time) -> Option<Schedule>,
    ) -> Result<Counted, Failure> {
        let mut counted = Counted::default();
        // The publisher must not start before everybody is there.
        while phases.get() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut due: Vec<usize> = (0..self.peers.len()).collect();
        let mut schedule = schedule(self.ring.now());
        let mut sender = 0;
        loop {
            let phase = phases.get();
            counted.measuring = phase == MEASURING;
            let now = self.ring.now();
            if phase == OVER {
                break;
            }
            for connection in due.drain(..) {
                self.send_due(connection, now, &mut traffic);
            }
            let mut until = now + Duration::from_millis(10);
            if let Some(schedule) = &mut schedule {
                while schedule.next() <= now && self.has_room(sender) {
                    let planned = schedule.take();
                    counted.left(now - planned);
                    self.send_planned(sender, planned, now, &mut traffic);
                    sender = (sender + 1) % senders;
                }
                // A sleep may last longer than it was meant to.
                until = match schedule.next() - now {
                    left if left < SPIN => Time::ZERO,
                    left => until.min(now + (left - SPIN)),
                };
            }
            self.turn(until, &mut |connection, now, bytes| {
                if due.last() != Some(&connection) {
                    due.push(connection);
                }
                match traffic.received(connection, now, bytes, &mut counted) {
                    true => Ok(()),
                    false => Err(Failure::Wrong(connection, bytes.len())),
                }
            })?;
            if traffic.wants_publisher_turn() {
                due.clear();
                due.push(0);
            }
        }
        traffic.unanswered(self.ring.now(), &mut counted);
        counted.per_connection = traffic.per_connection();
        Ok(counted)
    }

    fn send_due(&mut self, connection: usize, now: Time, traffic: &mut impl Traffic) {
        let Peer { client, out, .. } = &mut self.peers[connection];
        traffic.due(connection, now, &mut |bytes, is_text| {
            client.message(out, message(bytes, is_text));
        });
        self.queue(connection);
    }

    /// Whether a connection may be given another message: what a server does not take
    /// must not fill this program's memory. The schedule then falls behind, and that
    /// is reported.
    fn has_room(&self, connection: usize) -> bool {
        let peer = &self.peers[connection];
        peer.out.len() - peer.sent < OUT_BYTES_MAX
    }

    fn send_planned(
        &mut self,
        connection: usize,
        planned: Time,
        now: Time,
        traffic: &mut impl Traffic,
    ) {
        let Peer { client, out, .. } = &mut self.peers[connection];
        traffic.planned(connection, planned, now, &mut |bytes, is_text| {
            client.message(out, message(bytes, is_text));
        });
        self.queue(connection);
    }

    /// Has what a connection wants to send leave with the next turn.
    fn queue(&mut self, connection: usize) {
        let peer = &mut self.peers[connection];
        if peer.sent < peer.out.len() && !peer.is_queued && !peer.is_blocked {
            peer.is_queued = true;
            self.queued.push(connection);
        }
    }

    /// Sends what is queued, takes what came, and gives every message to `each`.
    fn turn(&mut self, until: Time, each: &mut Each<'_>) -> Result<(), Failure> {
        let mut batch = Batch::new();
        for &connection in &self.queued {
            let peer = &self.peers[connection];
            batch.begin(peer.socket);
            batch.slice(&peer.out[peer.sent..]);
        }
        let mut events = Vec::new();
        self.ring.turn(&mut batch, until, &mut events).map_err(Failure::Turn)?;
        let outcomes: Vec<_> = (0..batch.len()).map(|send| batch.outcome(send)).collect();
        drop(batch);
        let queued = std::mem::take(&mut self.queued);
        for (&connection, outcome) in queued.iter().zip(outcomes) {
            self.sent(connection, outcome)?;
        }
        let now = self.ring.now();
        for event in events {
            self.event(event, now, each)?;
        }
        for connection in std::mem::take(&mut self.starved) {
            self.ring.receive(self.peers[connection].socket, token(connection));
        }
        Ok(())
    }

    fn sent(&mut self, connection: usize, outcome: Result<usize, Errno>) -> Result<(), Failure> {
        let peer = &mut self.peers[connection];
        peer.is_queued = false;
        peer.sent += match outcome {
            Ok(bytes) => bytes,
            Err(Errno::AGAIN) => 0,
            Err(error) => return Err(Failure::Ended(connection, error.to_string())),
        };
        if peer.sent == peer.out.len() {
            peer.out.clear();
            peer.sent = 0;
        } else {
            peer.is_blocked = true;
            self.ring.poll(peer.socket, token(connection), Interest::Writable);
        }
        Ok(())
    }

    fn event(
        &mut self,
        event: Event<<Uring as Driver>::Buffer>,
        now: Time,
        each: &mut Each<'_>,
    ) -> Result<(), Failure> {
        match event {
            Event::Received { token, mut buffer } => {
                let connection = token.index as usize;
                let client = &mut self.peers[connection].client;
                let mut input = Input::new(&mut buffer);
                while let Some(incoming) =
                    client.next(&mut self.pool, &mut input).map_err(Failure::Client)?
                {
                    match incoming {
                        Incoming::Message(message) => each(connection, now, message.payload())?,
                        Incoming::Close(close) => {
                            let why = format!("{:?}", close.map(|(code, _)| code.get()));
                            return Err(Failure::Ended(connection, why));
                        }
                        // Runs are shorter than any keep-alive.
                        Incoming::Ping(_) | Incoming::Pong(_) => {}
                    }
                }
                self.ring.release(buffer);
            }
            Event::ReceiveEnded { token, end } => match end {
                ReceiveEnd::NoBuffers | ReceiveEnd::Expired | ReceiveEnd::Stopped => {
                    self.starved.push(token.index as usize);
                }
                end => return Err(Failure::Ended(token.index as usize, format!("{end:?}"))),
            },
            Event::Polled { token, .. } => {
                let connection = token.index as usize;
                let peer = &mut self.peers[connection];
                peer.is_blocked = false;
                if !peer.is_queued {
                    peer.is_queued = true;
                    self.queued.push(connection);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
