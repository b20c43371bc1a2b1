//! Layer 8: a shard without a kernel, to test handlers with.
//!
//! [`TestShard`] runs a handler on the simulated ring: the same event loop,
//! handshake, protocol and hub as a server's, with virtual time and no threads.
//!
//! ```
//! use tapecast::routes::Broadcast;
//! use tapecast::testing::{Received, TestShard};
//!
//! let mut shard = TestShard::new(Broadcast);
//! let mut alice = shard.connect("/");
//! let mut bob = shard.connect("/");
//! shard.run();
//! alice.send("hello");
//! shard.run();
//! assert_eq!(bob.receive(), Some(Received::Text("hello".into())));
//! assert_eq!(alice.receive(), Some(Received::Text("hello".into())));
//! ```

mod assembly;
mod envelope;

pub(crate) use assembly::assemble;
pub use envelope::{ENVELOPE, Envelope};

use crate::app::{Handler, Publisher};
use crate::base::{Counters, Limits, Random, Time};
use crate::connection::client::{Client, ClientError};
use crate::driver::sim::{Faults, SimClient, SimRing, World};
use crate::hub::Rule;
use crate::protocol::handshake::Offer;
use crate::protocol::{CloseCode, Incoming, Input, Message, Opcode, Workspace};
use crate::shard::{Command, Parts, Shard};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes that a test client's socket holds until they are read.
const SOCKET_BYTES: usize = 256 << 10;

/// One shard with a handler, in virtual time.
///
/// ```
/// use std::time::Duration;
/// use tapecast::routes::Echo;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Echo);
/// let mut client = shard.connect("/");
/// shard.run();
/// assert_eq!(shard.counters().handshakes.get(), 1);
/// shard.drain();
/// shard.advance(Duration::from_secs(3));
/// let close = Received::Close(Some((1001, "server is going away".into())));
/// assert_eq!(client.receive(), Some(close));
/// ```
pub struct TestShard<H: Handler> {
    world: World,
    shard: Shard<H, SimRing>,
    publisher: Publisher,
    random: Random,
}

/// An item that a test client has received.
///
/// ```
/// use tapecast::routes::Echo;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Echo);
/// let mut client = shard.connect("/");
/// client.send(b"bytes");
/// client.write(b"\xC1\x80\0\0\0\0");
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Binary(b"bytes".into())));
/// let close = Received::Close(Some((1002, "a reserved bit is set".into())));
/// assert_eq!(client.receive(), Some(close));
/// assert_eq!(client.receive(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A close frame, with its code and reason if it had them.
    Close(Option<(u16, String)>),
    /// The handshake was refused, or the server broke the protocol: how.
    Failed(String),
}

/// A client of a [`TestShard`]. It answers pings and close frames by itself.
///
/// ```
/// use tapecast::CloseCode;
/// use tapecast::routes::Echo;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Echo);
/// let mut client = shard.connect("/");
/// client.close(CloseCode::NORMAL);
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Close(Some((1000, "".into())))));
/// assert!(client.is_ended());
/// ```
pub struct TestClient {
    wire: SimClient,
    client: Client,
    pool: Workspace,
    received: VecDeque<Received>,
    stalled: bool,
    closed: bool,
}

impl<H: Handler> TestShard<H> {
    /// A shard with default limits.
    pub fn new(handler: H) -> TestShard<H> {
        TestShard::with_limits(handler, Limits::default())
    }

    /// A shard with these limits.
    ///
    /// # Panics
    /// If the limits contradict each other.
    pub fn with_limits(handler: H, limits: Limits) -> TestShard<H> {
        TestShard::with_rules(handler, limits, Vec::new())
    }

    /// A shard with these limits and rules of topics.
    ///
    /// # Panics
    /// If the limits contradict each other, or a rule can't be.
    pub fn with_rules(handler: H, limits: Limits, rules: Vec<Rule>) -> TestShard<H> {
        TestShard::build(handler, limits, rules, |_| ())
    }

    /// A shard with other parts than the usual ones.
    #[cfg(test)]
    pub(crate) fn with_parts(
        handler: H,
        limits: Limits,
        adjust: impl FnOnce(&mut Parts),
    ) -> TestShard<H> {
        TestShard::build(handler, limits, Vec::new(), adjust)
    }

    fn build(
        handler: H,
        limits: Limits,
        rules: Vec<Rule>,
        adjust: impl FnOnce(&mut Parts),
    ) -> TestShard<H> {
        let world = World::new(0, Faults::default(), SOCKET_BYTES);
        let (mut adjust, mut handler) = (Some(adjust), Some(handler));
        let (mut shards, publisher) = assemble(
            &world,
            &limits,
            rules,
            1,
            |parts| adjust.take().expect("one shard")(parts),
            || handler.take().expect("one shard"),
        );
        let shard = shards.pop().expect("one shard");
        TestShard { world, shard, publisher, random: Random::new(1) }
    }

    /// Connects a client and sends its handshake for `target`.
    pub fn connect(&mut self, target: &str) -> TestClient {
        self.connect_offering(target, &[])
    }

    /// Connects a client that offers subprotocols, its favourite first.
    pub fn connect_offering(&mut self, target: &str, protocols: &[&str]) -> TestClient {
        TestClient::start(self.world.connect(0), target, protocols, self.random.bytes16())
    }

    /// A socket that is connected.
    #[cfg(test)]
    pub(crate) fn dial(&mut self) -> SimClient {
        self.world.connect(0)
    }

    /// One turn, if there is something to do, and then `time` passes.
    #[cfg(test)]
    pub(crate) fn turn(&mut self, time: Duration) {
        if self.world.is_runnable(0) {
            self.shard.turn().expect("the simulated ring does not break");
        }
        self.world.advance_to(self.world.now() + time);
    }

    /// Bytes that are queued for all connections.
    #[cfg(test)]
    pub(crate) fn queued_bytes(&self) -> usize {
        self.shard.queued_bytes()
    }

    /// Turns until nothing more happens without new input or time.
    ///
    /// # Panics
    /// If the shard does not become idle.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            if self.shard.is_stopped() {
                return;
            }
            if !self.world.is_runnable(0) {
                // A connection in debt is read from again once others have had as much time.
                match self.shard.debts_paid_at() {
                    Time::NEVER => return,
                    paid => self.world.advance_to(paid),
                }
            }
            self.shard.turn().expect("the simulated ring does not break");
        }
        panic!("the shard never becomes idle");
    }

    /// Advances the time, and runs everything that is due by then.
    pub fn advance(&mut self, time: Duration) {
        let end = self.world.now() + time;
        self.run();
        while self.world.waits_until(0) <= end && !self.shard.is_stopped() {
            self.world.advance_to(self.world.waits_until(0));
            self.run();
        }
        self.world.advance_to(end);
        self.run();
    }

    /// Publishes as another thread would.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Drains the server, as SIGTERM does; let time pass after it.
    pub fn drain(&mut self) {
        self.shard.command(Command::DRAIN);
    }

    /// The shard's counters.
    pub fn counters(&self) -> &Counters {
        self.shard.counters()
    }
}

impl TestClient {
    /// A client on `wire`, which sends its handshake.
    pub(crate) fn start(
        wire: SimClient,
        target: &str,
        protocols: &[&str],
        nonce: [u8; 16],
    ) -> TestClient {
        let mut out = Vec::new();
        let protocols: Vec<String> = protocols.iter().map(|name| name.to_string()).collect();
        let offer = Offer { protocols: &protocols, ..Offer::new("test", target) };
        let client = Client::start(&mut out, &offer, nonce);
        wire.write(&out);
        TestClient {
            wire,
            client,
            pool: Workspace::new(1 << 20),
            received: VecDeque::new(),
            stalled: false,
            closed: false,
        }
    }

    /// Sends a message.
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) {
        let mut out = Vec::new();
        self.client.message(&mut out, message.into());
        self.wire.write(&out);
    }

    /// Sends a close frame.
    pub fn close(&mut self, code: CloseCode) {
        self.closed = true;
        self.frame(Opcode::Close, &code.get().to_be_bytes());
    }

    /// Sends bytes as they are, legal or not.
    pub fn write(&mut self, bytes: &[u8]) {
        self.wire.write(bytes);
    }

    /// Breaks the connection.
    pub fn reset(&mut self) {
        self.wire.reset();
    }

    /// Stops reading (a slow reader), or resumes.
    pub fn stall(&mut self, stalled: bool) {
        self.stalled = stalled;
    }

    /// The next thing that was received.
    pub fn receive(&mut self) -> Option<Received> {
        if !self.stalled {
            self.read();
        }
        self.received.pop_front()
    }

    /// Whether the server has ended the connection and everything is read.
    pub fn is_ended(&self) -> bool {
        self.wire.is_ended()
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.frame(&mut out, opcode, true, payload);
        self.wire.write(&out);
    }

    fn read(&mut self) {
        let mut bytes = self.wire.read(usize::MAX);
        let mut input = Input::new(&mut bytes);
        loop {
            let mut answer = None;
            let received = match self.client.next(&mut self.pool, &mut input) {
                Ok(None) => return,
                Ok(Some(Incoming::Message(Message::Text(text)))) => Received::Text(text.into()),
                Ok(Some(Incoming::Message(Message::Binary(bytes)))) => {
                    Received::Binary(bytes.into())
                }
                Ok(Some(Incoming::Ping(payload))) => {
                    let payload = payload.to_vec();
                    self.frame(Opcode::Pong, &payload);
                    continue;
                }
                Ok(Some(Incoming::Pong(_))) => continue,
                Ok(Some(Incoming::Close(close))) => {
                    answer = Some(
                        close.map_or(Vec::new(), |(code, _)| code.get().to_be_bytes().to_vec()),
                    );
                    Received::Close(close.map(|(code, reason)| (code.get(), reason.to_owned())))
                }
                Err(error @ (ClientError::Handshake(_) | ClientError::Protocol(_))) => {
                    self.received.push_back(Received::Failed(error.to_string()));
                    return;
                }
            };
            self.received.push_back(received);
            if let Some(payload) = answer
                && !std::mem::replace(&mut self.closed, true)
            {
                self.frame(Opcode::Close, &payload);
            }
        }
    }
}

#[cfg(test)]
mod tests;
