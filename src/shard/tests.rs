//! The shard on the simulated ring: random clients and faults from seeds, with
//! the promises as oracles; and planted bugs, to see that the oracles bite.

mod pacing;
mod publishing;
mod securing;
mod third;
mod wire;

use super::state::Slot;
use super::*;
use crate::admission::Addresses;
use crate::app::Handler;
use crate::app::{Conn, Notice, Publish, Request, Upgrade};
use crate::base::Limits;
use crate::base::planted::{Bug, plant};
use crate::base::{ConnectionId, Random, entropy};
use crate::connection::Close;
use crate::connection::client::{Client, ClientError};
use crate::driver::sim::{Faults, SimRing, World};
use crate::hub::{Delivery, Rule, SlowReader};
use crate::protocol::deflate::{Contexts, Deflater, Offered};
use crate::protocol::handshake::Offer;
use crate::protocol::{Incoming, Input, Message, Opcode, Workspace};
use crate::testing::assemble;
use crate::tls::Acceptor;
use crate::tls::Connector;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use third::Third;
use wire::Wire;

/// Opened and closed sessions of all shards.
#[derive(Clone, Default)]
struct Sessions {
    opened: Rc<Cell<u64>>,
    closed: Rc<Cell<u64>>,
}

/// Obeys the first character of each message.
struct Words {
    sessions: Sessions,
    /// The connection that opened last, on any shard: the receiver of direct messages.
    last: Rc<Cell<Option<ConnectionId>>>,
}

impl Handler for Words {
    type Session = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        if request.path() == "/none" {
            return Upgrade::reject(404);
        }
        self.sessions.opened.set(self.sessions.opened.get() + 1);
        Upgrade::accept(())
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        // Its own name comes first, so that a client recognises direct messages to it.
        let id = conn.id().to_string();
        let _ = conn.send(format!("i{id}").as_str());
        if let Some(last) = self.last.replace(Some(conn.id())) {
            let _ = conn.send_to(last, format!("l{last}").as_str());
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        match message.payload().first() {
            Some(b's') => {
                let slow_reader = Some(SlowReader::Close);
                let delivery = Delivery { slow_reader, ..Delivery::default() };
                for topic in ["topic.a", "topic.b"] {
                    let _ = conn.subscribe_with(topic, &delivery);
                }
            }
            Some(b'm') => {
                conn.unsubscribe("topic.c");
                let _ = conn.subscribe_with("topic.c", &third::delivery(message));
            }
            Some(b'a') => drop(conn.acknowledge("topic.c", third::number(&message.payload()[1..]))),
            Some(b'k') => {
                let key = third::key(message);
                let keyed = Publish { key: Some(&key), ..Publish::default() };
                if conn.publish_with("topic.c", message, &keyed).is_err() {
                    conn.close(1013, "behind");
                }
            }
            Some(b'p') => publish(conn, "topic.a", message),
            Some(b'q') => publish(conn, "topic.b", message),
            Some(b'c') => conn.close(4000, "asked to"),
            Some(b'l') => {
                if let Some(last) = self.last.get() {
                    let _ = conn.send_to(last, format!("l{last}").as_str());
                }
            }
            Some(b'P') => panic!("asked to"),
            _ => drop(conn.send(message)),
        }
    }

    fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: Notice<'_>) {
        if let Notice::Subscribed { topic: "topic.c", epoch, seq, recovered } = notice {
            let _ = conn.send(format!("t{epoch} {seq} {recovered}").as_str());
        }
    }

    fn close(&mut self, (): (), _close: Close) {
        self.sessions.closed.set(self.sessions.closed.get() + 1);
    }
}

/// Publishes, and closes the publisher if the publication is refused.
fn publish(conn: &mut Conn<'_, ()>, topic: &str, message: Message<'_>) {
    if conn.publish(topic, message).is_err() {
        conn.close(1013, "behind");
    }
}

/// A client that speaks legal WebSocket and checks every message.
struct Talker {
    wire: Wire,
    client: Client,
    name: Option<String>,
    /// Echoes: sent, and received in order.
    echoes_sent: u64,
    echoes_received: u64,
    /// The last number seen per topic.
    topics: [Option<u64>; 2],
    third: Third,
    closed: bool,
    stalled: bool,
    over: bool,
}

struct Simulation {
    addresses: Arc<Addresses>,
    world: World,
    shards: Vec<Shard<Words, SimRing>>,
    talkers: Vec<Talker>,
    pool: Workspace,
    random: Random,
    sessions: Sessions,
    /// How clients connect, where that is over TLS.
    connector: Option<Connector>,
    /// Numbers published so far by the first client, the only one that does, so
    /// that they are the order.
    published: [u64; 3],
}

fn faults(random: &mut Random) -> Faults {
    let mut one = |likely: u64| {
        if random.chance(3) { 0 } else { 2 + random.below(likely) }
    };
    Faults {
        partial: one(4),
        expired: one(10),
        no_buffers: one(10),
        late_cancel: one(4),
        accept: one(10),
        delay: one(5),
        reset: one(3_000) * 20,
    }
}

impl Simulation {
    fn new(seed: u64, tls: Option<&(Acceptor, Connector)>) -> Simulation {
        let mut random = Random::new(seed);
        let count = 1 + random.below(3) as u16;
        let mut limits = Limits::tiny();
        limits.connections_max = 64;
        limits.tape_bytes_max = 512 << random.below(5);
        limits.idle_ping_ms = 100_000;
        let is_limited = random.chance(5);
        if is_limited {
            limits.connections_per_address_max = 12;
            limits.handshakes_per_second_max = 300;
            limits.messages_per_second_max = 100;
            limits.bytes_per_second_max = 20_000;
        }
        let world = World::new(seed, faults(&mut random), 128 << random.below(5));
        let sessions = Sessions::default();
        let last = Rc::new(Cell::new(None));
        let mut gathering = Vec::new();
        if random.chance(2) {
            let flush_ms = 1 + random.below(2) as u32;
            gathering.push(Rule { flush_ms, ..Rule::new("topic.>", &limits) });
        }
        let mut addresses = None;
        let (shards, _) = assemble(
            &world,
            &limits,
            gathering,
            count,
            |parts| {
                parts.listeners = vec![tls.is_some()];
                parts.tls = tls.map(|(acceptor, _)| acceptor.clone());
                (parts.home_seed, parts.epoch_seed) = (seed, seed + parts.id.index() as u64);
                addresses = Some(Arc::clone(&parts.addresses));
            },
            || Words { sessions: sessions.clone(), last: last.clone() },
        );
        Simulation {
            shards,
            addresses: addresses.expect("there is a shard"),
            world,
            talkers: Vec::new(),
            pool: Workspace::new(1 << 20)
                .compressing(Deflater::new(1, 8))
                .with_contexts(Contexts::new(1, 4, 8, usize::MAX)),
            random,
            sessions,
            connector: tls.map(|(_, connector)| connector.clone()),
            published: [0; 3],
        }
    }

    fn connect(&mut self) {
        let shard = self.random.below(self.shards.len() as u64) as usize;
        let session = self.connector.as_ref().map(|it| it.connect("localhost").unwrap());
        let mut wire = Wire::new(self.world.connect(shard), session);
        let mut out = Vec::new();
        let target = if self.random.chance(10) { "/none" } else { "/" };
        let nonce = self.random.bytes16();
        let deflate =
            [Offered::Nothing, Offered::Alone, Offered::Contexts][self.random.below(3) as usize];
        let offer = Offer { deflate, ..Offer::new("sim", target) };
        let client = Client::start(&mut out, &offer, nonce);
        if self.random.chance(10) {
            out.truncate(self.random.below(out.len() as u64) as usize);
        }
        wire.write(&out);
        self.talkers.push(Talker {
            wire,
            client,
            name: None,
            echoes_sent: 0,
            echoes_received: 0,
            topics: [None; 2],
            third: Third::default(),
            closed: false,
            stalled: false,
            over: false,
        });
    }

    /// A client does something.
    fn act(&mut self) {
        if self.talkers.is_empty() || self.random.chance(8) {
            if self.talkers.iter().filter(|talker| !talker.over).count() < 12 {
                self.connect();
            }
            return;
        }
        let publishes = self.random.chance(3);
        let chosen = self.random.below(self.talkers.len() as u64) as usize;
        let index = if publishes { 0 } else { chosen };
        let talker = &mut self.talkers[index];
        if talker.over {
            return;
        }
        if !talker.is_open() {
            if self.random.chance(10) {
                talker.wire.reset();
                talker.over = true;
            }
            return;
        }
        let mut out = Vec::new();
        match self.random.below(40) {
            _ if publishes => {
                let topic = self.random.below(3) as usize;
                let payload = format!("{}{} ", ['p', 'q', 'k'][topic], self.published[topic] + 1);
                let padding = "x".repeat(self.random.below(200) as usize);
                self.published[topic] += 1;
                let payload = payload + &padding;
                talker.client.deflated(&mut out, &mut self.pool, Opcode::Text, payload.as_bytes());
            }
            0..20 => {
                talker.echoes_sent += 1;
                let large = self.random.chance(8);
                let padding = self.random.below(if large { 4_000 } else { 100 }) as usize;
                let payload = format!("e{} {}", talker.echoes_sent, "y".repeat(padding));
                if self.random.chance(4) {
                    let (head, tail) = payload.split_at(payload.len() / 2);
                    talker.client.frame(&mut out, Opcode::Text, false, head.as_bytes());
                    talker.client.frame(&mut out, Opcode::Ping, true, b"between");
                    talker.client.frame(&mut out, Opcode::Continuation, true, tail.as_bytes());
                } else {
                    let (pool, text) = (&mut self.pool, Opcode::Text);
                    talker.client.deflated(&mut out, pool, text, payload.as_bytes());
                }
            }
            // The publisher does nothing that would end it.
            29.. if index == 0 => {}
            20..25 => talker.client.frame(&mut out, Opcode::Ping, true, b"ping"),
            25..27 => talker.client.message(&mut out, Message::Text("s")),
            27..29 if talker.third.is_answered() => {
                let words = talker.third.subscribe(&mut self.random);
                talker.client.message(&mut out, Message::Text(&words));
            }
            27..31 => talker.client.message(&mut out, Message::Text("l")),
            31..33 => talker.stalled ^= true,
            33 => {
                talker.client.frame(&mut out, Opcode::Close, true, &1000u16.to_be_bytes());
                talker.closed = true;
            }
            34 => {
                talker.wire.reset();
                talker.over = true;
            }
            35 => {
                talker.wire.end();
                talker.closed = true;
            }
            36 => {
                talker.client.message(&mut out, Message::Text("c"));
                talker.closed = true;
            }
            37 => {
                talker.client.message(&mut out, Message::Text("P"));
                talker.closed = true;
            }
            38 => {
                // A continuation of nothing: closed with 1002.
                talker.client.frame(&mut out, Opcode::Continuation, true, b"");
                talker.closed = true;
            }
            _ => {
                // Half a frame.
                talker.client.message(&mut out, Message::Text("never whole"));
                out.truncate(5);
                talker.closed = true;
            }
        }
        talker.wire.write(&out);
    }

    /// Every client reads a random amount and checks it; returns whether anything
    /// arrived.
    fn read_all(&mut self) -> bool {
        let mut found = false;
        for talker in &mut self.talkers {
            if talker.over || talker.stalled {
                continue;
            }
            let (mut bytes, has_read) = talker.wire.read(1 + self.random.below(600) as usize);
            found |= has_read;
            let mut input = Input::new(&mut bytes);
            loop {
                let mut reply = None;
                match talker.client.next(&mut self.pool, &mut input) {
                    Ok(None) => break,
                    Ok(Some(Incoming::Message(Message::Text(text)))) => {
                        let text = text.to_owned();
                        reply = talker.check(&text).map(|words| (Opcode::Text, words));
                    }
                    Ok(Some(Incoming::Message(Message::Binary(_)))) => panic!("nobody sent that"),
                    Ok(Some(Incoming::Ping(payload))) => {
                        reply = Some((Opcode::Pong, payload.to_vec()));
                    }
                    Ok(Some(Incoming::Pong(payload))) => {
                        assert!(payload == b"ping" || payload == b"between");
                    }
                    Ok(Some(Incoming::Close(_))) => talker.answer_close(),
                    Err(ClientError::Handshake(_)) => {
                        talker.over = true;
                        talker.wire.end();
                        break;
                    }
                    Err(error) => panic!("the server broke the protocol: {error}"),
                }
                if let Some((opcode, payload)) = reply.filter(|_| !talker.closed) {
                    let mut out = Vec::new();
                    talker.client.frame(&mut out, opcode, true, &payload);
                    talker.wire.write(&out);
                }
            }
            if talker.wire.is_ended() {
                talker.over = true;
                talker.wire.end();
            }
        }
        found
    }

    /// Runs every shard that would not wait; returns whether one did.
    fn run_shards(&mut self) -> bool {
        let mut ran = false;
        for number in 0..self.shards.len() {
            if !self.shards[number].is_stopped() && self.world.is_runnable(number) {
                self.shards[number].turn().unwrap();
                self.check_shard(number);
                ran = true;
            }
        }
        ran
    }

    /// Checks the invariants that hold between any two turns.
    fn check_shard(&self, number: usize) {
        let shard = &self.shards[number];
        assert_eq!(self.world.buffers_lent(number), 0, "a receive buffer outlived its turn");
        let mut owners = shard.engine.budget.buffers();
        for (_, slot) in shard.slots.iter() {
            owners += usize::from(slot.state.outbound.queued_bytes() > 0);
            if !slot.inbound.is_idle() && !slot.inbound.expects_head() {
                // A compressed message: as it came, and inflated.
                owners += 1 + usize::from(slot.inbound.has_deflate());
            }
            if let Some(channel) = slot.channel.as_deref() {
                owners += channel.buffers();
                // At most four records: sealed bytes have left the tapes.
                assert!(channel.queued_bytes() <= 4 * ((16 << 10) + 32), "sealed too far ahead");
            }
        }
        assert!(shard.engine.core.pool.lent() <= owners, "an idle connection owns a buffer");
    }

    /// Runs until nothing more happens without new input.
    fn settle(&mut self, millis: u64) {
        let end = self.world.now().plus_millis(millis);
        for _ in 0..200_000 {
            if self.run_shards() | self.read_all() {
                continue;
            }
            let next = (0..self.shards.len())
                .filter(|&number| !self.shards[number].is_stopped())
                .map(|number| self.world.waits_until(number))
                .min();
            match next {
                Some(next) if next <= end => self.world.advance_to(next),
                _ => return self.world.advance_to(end),
            }
        }
        panic!("it never settles");
    }

    /// Ends a run: faults stop, every client reads, and every promise is due.
    fn finish(&mut self) {
        self.world.calm();
        for talker in &mut self.talkers {
            talker.stalled = false;
        }
        // Less than any deadline of a connection that is alive: progress must
        // not come from a timer, but for those that a rate holds up.
        self.settle(if self.addresses.is_enabled() { 3_000 } else { 60 });
        let publisher_lives = self.talkers.first().is_some_and(Talker::lives);
        for talker in self.talkers.iter().filter(|talker| talker.lives()) {
            assert_eq!(talker.echoes_received, talker.echoes_sent, "an echo is missing");
            for (last, published) in talker.topics.iter().zip(&self.published) {
                let complete = last.is_none_or(|last| last == *published);
                assert!(complete || !publisher_lives, "the end of a topic is missing");
            }
            if publisher_lives {
                talker.third.check_end(self.published[2]);
            }
        }
        for shard in &self.shards {
            shard.command(Command::DRAIN);
        }
        self.settle(5_000);
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let left: Vec<_> = shard
                .slots
                .iter()
                .map(|(index, slot)| (index, slot.phase, slot.operations, slot.since))
                .collect();
            assert!(
                shard.is_stopped(),
                "the drain does not end: {left:?} {:?}",
                shard.engine.drain
            );
            assert_eq!(shard.slots.len(), 0, "a slot leaked");
            assert_eq!(self.world.sockets_open(number), 0, "a socket leaked");
            assert_eq!(shard.engine.core.pool.lent(), 0, "a buffer leaked");
            let share =
                shard.engine.core.limits.deflate_contexts_bytes_max / shard.engine.counters.len();
            assert_eq!(shard.engine.core.pool.contexts().bytes_left(), share, "a context leaked");
            assert_eq!(shard.engine.core.hub.sizes().1, 0, "a subscription leaked");
            assert!(shard.engine.timers.wheel.is_empty(), "a timer leaked");
            assert_eq!(shard.counters().connections.get(), 0);
        }
        assert!(self.addresses.is_empty(), "an address is counted that has left");
        assert_eq!(self.sessions.opened, self.sessions.closed, "close is called once a session");
    }

    fn run(seed: u64, tls: Option<&(Acceptor, Connector)>) {
        entropy::repeat(seed);
        let mut simulation = Simulation::new(seed, tls);
        for _ in 0..300 {
            simulation.act();
            if simulation.random.chance(3) {
                simulation.run_shards();
                simulation.read_all();
            }
        }
        simulation.finish();
    }
}

impl Talker {
    fn is_open(&self) -> bool {
        !self.over && !self.closed && self.name.is_some()
    }

    fn answer_close(&mut self) {
        if !self.closed {
            let mut out = Vec::new();
            self.client.frame(&mut out, Opcode::Close, true, &[]);
            self.wire.write(&out);
        }
        self.closed = true;
    }

    /// Checks a received message; returns the answer to send.
    fn check(&mut self, text: &str) -> Option<Vec<u8>> {
        let (word, rest) = text.split_at(1);
        match word {
            "i" => self.name = Some(rest.to_owned()),
            "l" => assert_eq!(self.name.as_deref(), Some(rest), "a message to another client"),
            "e" => {
                self.echoes_received += 1;
                let number = rest.split(' ').next().unwrap().parse();
                assert_eq!(number, Ok(self.echoes_received), "echoes come once and in order");
            }
            "p" | "q" => {
                let topic = usize::from(word == "q");
                let number: u64 = rest.split(' ').next().unwrap().parse().unwrap();
                if let Some(last) = self.topics[topic] {
                    assert_eq!(number, last + 1, "a topic comes without holes, once and in order");
                }
                self.topics[topic] = Some(number);
            }
            "t" => self.third.subscribed(rest),
            "M" | "G" | "C" | "S" | "E" => return self.third.check(text),
            _ => panic!("nobody sent {text}"),
        }
        None
    }

    /// Whether the connection is open to the end: then it must have received everything.
    fn lives(&self) -> bool {
        self.is_open() && !self.wire.is_broken()
    }
}

const SEEDS: u64 = 1_000;

#[test]
fn every_promise_holds_over_many_seeds() {
    quiet_panics();
    for seed in 0..SEEDS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Simulation::run(seed, None))) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Apart from the others: keys are random, so that a seed does not repeat in every byte.
#[test]
fn every_promise_holds_over_tls() {
    quiet_panics();
    let tls = crate::tls::tests::pair();
    for seed in 0..SEEDS / 5 {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Simulation::run(seed, Some(&tls)))) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Whether a planted bug is seen at one of the seeds, and nothing at that seed without it.
fn is_caught(bug: Bug) -> bool {
    quiet_panics();
    let is_seen = |seed| catch_unwind(AssertUnwindSafe(|| Simulation::run(seed, None))).is_err();
    plant(Some(bug));
    let first = (0..SEEDS).find(|&seed| is_seen(seed));
    plant(None);
    eprintln!("{bug:?}: seed {first:?}");
    first.is_some_and(|seed| !is_seen(seed))
}

/// Hides the thousands of expected panics, which would bury an unexpected one.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let asked = info.payload().downcast_ref::<&str>() == Some(&"asked to");
            let planted = [
                Bug::DroppedRearm,
                Bug::StaleGeneration,
                Bug::LostWakeup,
                Bug::InterleavedFrame,
                Bug::LeakedSlot,
                Bug::ReplayJoin,
                Bug::SupersededEarly,
                Bug::LostLastValue,
                Bug::LostInterest,
                Bug::EarlyFree,
                Bug::UnseenFrame,
                Bug::ForgottenPublisher,
                Bug::ForgottenBacklog,
                Bug::OvertakenBacklog,
            ];
            if !asked && !planted.into_iter().any(crate::base::planted::planted) {
                loud(info);
            }
        }));
    });
}

#[test]
fn a_forgotten_backlog_is_caught() {
    assert!(is_caught(Bug::ForgottenBacklog));
}

#[test]
fn a_backlog_that_is_overtaken_is_caught() {
    assert!(is_caught(Bug::OvertakenBacklog));
}

#[test]
fn a_dropped_rearm_is_caught() {
    assert!(is_caught(Bug::DroppedRearm));
}

#[test]
fn a_stale_generation_is_caught() {
    assert!(is_caught(Bug::StaleGeneration));
}

#[test]
fn a_lost_wakeup_is_caught() {
    assert!(is_caught(Bug::LostWakeup));
}

#[test]
fn an_interleaved_frame_is_caught() {
    assert!(is_caught(Bug::InterleavedFrame));
}

#[test]
fn a_context_that_continues_behind_a_tape_is_caught() {
    assert!(is_caught(Bug::UnseenFrame));
}

/// Publishers are held while the mailbox to their topic's home is full, or this would not
/// be seen; and continue afterwards.
#[test]
fn a_forgotten_publisher_is_caught() {
    assert!(is_caught(Bug::ForgottenPublisher));
}

#[test]
fn a_leaked_slot_is_caught() {
    assert!(is_caught(Bug::LeakedSlot));
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Slot<()>>() <= 200, "{}", size_of::<Slot<()>>());
}

#[test]
fn a_replay_that_joins_too_late_is_caught() {
    assert!(is_caught(Bug::ReplayJoin));
}

#[test]
fn a_message_superseded_too_early_is_caught() {
    assert!(is_caught(Bug::SupersededEarly));
}

#[test]
fn a_lost_last_value_is_caught() {
    assert!(is_caught(Bug::LostLastValue));
}

#[test]
fn a_lost_interest_is_caught() {
    assert!(is_caught(Bug::LostInterest));
}

#[test]
fn a_chunk_freed_too_early_is_caught() {
    assert!(is_caught(Bug::EarlyFree));
}
