//! Fuzzes `tapecast.v1.json`: several clients send valid requests and garbage, between
//! stalls, resets and passing time, to a shard with tiny limits.
//!
//! Whatever they send, no handler panics, every text of the server is a message of the
//! protocol, a request with an id is answered at most once, and the remaining clients are still
//! served.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::time::Duration;
use tapecast::Limits;
use tapecast::client::ServerMessage;
use tapecast::hub::{Rule, SlowReader};
use tapecast::subprotocol::json::Json;
use tapecast::testing::{Received, TestClient, TestShard};

const CLIENTS: usize = 3;

#[derive(Arbitrary, Debug)]
enum Step {
    Text { client: u8, text: String },
    Request { client: u8, request: Request },
    Stall { client: u8, stalled: bool },
    Reset { client: u8 },
    Publish { channel: Channel, text: String },
    Wait { ms: u16 },
}

#[derive(Arbitrary, Debug)]
struct Request {
    kind: Kind,
    channel: Channel,
    latest: bool,
    snapshot: bool,
    max_rate: Option<u16>,
    window: Option<u8>,
    since: Option<(bool, u8)>,
    key: Option<u8>,
    remove: bool,
    seq: u8,
    with_id: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Subscribe,
    Unsubscribe,
    Publish,
    Ack,
    Ping,
    Join,
    Leave,
    Say,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Channel {
    A,
    AB,
    Closed,
    Star,
    Rest,
    Bad,
}

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Channel::A => "a",
            Channel::AB => "a.b",
            Channel::Closed => "closed",
            Channel::Star => "a.*",
            Channel::Rest => ">",
            Channel::Bad => "a..b",
        }
    }
}

impl Request {
    fn text(&self, id: u64, epoch: u64) -> String {
        let channel = self.channel.name();
        let mut text = match self.kind {
            Kind::Subscribe => format!(r#"{{"type":"subscribe","channel":"{channel}""#),
            Kind::Unsubscribe => format!(r#"{{"type":"unsubscribe","channel":"{channel}""#),
            Kind::Publish => {
                format!(r#"{{"type":"publish","channel":"{channel}","message":[{id},"é"]"#)
            }
            Kind::Ack => format!(r#"{{"type":"ack","channel":"{channel}","seq":{}"#, self.seq),
            Kind::Ping => r#"{"type":"ping""#.to_owned(),
            Kind::Join => format!(r#"{{"type":"join","room":"{channel}""#),
            Kind::Leave => format!(r#"{{"type":"leave","room":"{channel}""#),
            Kind::Say => r#"{"message":{"text":"hello"}"#.to_owned(),
        };
        if self.latest {
            text += r#","mode":"latest""#;
        }
        if self.snapshot {
            text += r#","snapshot":true"#;
        }
        if let Some(max_rate) = self.max_rate {
            text += &format!(r#","max_rate":{max_rate}"#);
        }
        if let Some(window) = self.window {
            text += &format!(r#","window":{window}"#);
        }
        if let Some((known, seq)) = self.since {
            let epoch = if known { epoch } else { 1 };
            text += &format!(r#","since":{{"epoch":{epoch},"seq":{seq}}}"#);
        }
        if let Some(key) = self.key {
            text += &format!(r#","key":"k{key}""#);
        }
        if self.remove {
            text += r#","remove":true"#;
        }
        if self.with_id {
            text += &format!(r#","id":{id}"#);
        }
        text + "}"
    }
}

/// The answers that a client has received.
#[derive(Default)]
struct Answers {
    /// Answers by the id of their request.
    by_id: BTreeMap<u64, u32>,
    pongs: u64,
    epoch: u64,
}

fn receive(client: &mut TestClient, answers: &mut Answers) {
    while let Some(received) = client.receive() {
        let Received::Text(text) = received else { continue };
        let message =
            ServerMessage::read(&text).unwrap_or_else(|_| panic!("not a message: {text}"));
        let id = match message {
            ServerMessage::Subscribed { id, epoch, .. } => {
                answers.epoch = epoch.unwrap_or(answers.epoch);
                id
            }
            ServerMessage::Unsubscribed { id, .. } | ServerMessage::Published { id, .. } => id,
            ServerMessage::Error { id, code, .. } => {
                assert!((100..=130).contains(&code), "{text}");
                id
            }
            ServerMessage::Pong { id } => {
                answers.pongs += 1;
                id
            }
            ServerMessage::Other => panic!("an unknown message: {text}"),
            _ => None,
        };
        // Ids of garbage are small.
        if let Some(id) = id.filter(|id| *id >= 1 << 40) {
            let count = answers.by_id.entry(id).or_default();
            *count += 1;
            assert!(*count == 1, "answered twice: {text}");
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let limits = Limits {
        subscriptions_max: 4,
        topics_max: 6,
        patterns_max: 4,
        topic_keys_max: 3,
        log_messages_max: 8,
        log_bytes_max: 512,
        tape_bytes_max: 512,
        replay_bytes_max: 128,
        log_ms: 2_000,
        heartbeat_ms: 500,
        ..Limits::default()
    };
    let rules = vec![
        Rule { keys_max: 0, allow_latest: false, ..Rule::new("closed", &limits) },
        Rule { slow_reader: SlowReader::Conflate, flush_ms: 5, ..Rule::new("a.b", &limits) },
        Rule::new(">", &limits),
    ];
    let mut shard = TestShard::with_rules(Json, limits, rules);
    let mut clients: Vec<TestClient> = (0..CLIENTS).map(|_| shard.connect("/")).collect();
    let mut answers: Vec<Answers> = (0..CLIENTS).map(|_| Answers::default()).collect();
    let mut is_reset = [false; CLIENTS];
    shard.run();
    for (number, step) in steps.iter().take(200).enumerate() {
        match step {
            Step::Text { client, text } => {
                let client = usize::from(*client) % CLIENTS;
                if !is_reset[client] {
                    clients[client].send(text.as_str());
                }
            }
            Step::Request { client, request } => {
                let client = usize::from(*client) % CLIENTS;
                if !is_reset[client] {
                    let id = (1 << 40) + number as u64;
                    clients[client].send(request.text(id, answers[client].epoch).as_str());
                }
            }
            Step::Stall { client, stalled } => {
                clients[usize::from(*client) % CLIENTS].stall(*stalled);
            }
            Step::Reset { client } => {
                let client = usize::from(*client) % CLIENTS;
                if !std::mem::replace(&mut is_reset[client], true) {
                    clients[client].reset();
                }
            }
            Step::Publish { channel, text } => {
                let _ = shard.publisher().publish(channel.name(), text.as_str());
            }
            Step::Wait { ms } => shard.advance(Duration::from_millis((*ms % 3_000).into())),
        }
        shard.run();
        clients.iter_mut().zip(&mut answers).for_each(|(client, answers)| receive(client, answers));
    }
    assert_eq!(shard.counters().handler_panics.get(), 0, "a handler panicked");
    for ((client, answers), is_reset) in clients.iter_mut().zip(&mut answers).zip(is_reset) {
        client.stall(false);
        shard.run();
        receive(client, answers);
        if !is_reset && !client.is_ended() {
            let pongs = answers.pongs;
            client.send(r#"{"type":"ping"}"#);
            shard.run();
            receive(client, answers);
            assert_eq!(answers.pongs, pongs + 1, "no answer to the last ping");
        }
    }
});
