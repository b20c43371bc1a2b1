//! Fuzzes `tapecast.v1.json`: what several clients say, in words and in garbage, between
//! stalls, resets and passing time, to a shard with tiny limits.
//!
//! Whatever they say, no handler panics, every text that comes back is a word of the
//! protocol, a request with an id is answered at most once, and who stays can still be
//! talked to.

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

/// What a client has been told.
#[derive(Default)]
struct Heard {
    /// Answers by the id of their request.
    answers: BTreeMap<u64, u32>,
    pongs: u64,
    epoch: u64,
}

fn hear(client: &mut TestClient, heard: &mut Heard) {
    while let Some(received) = client.receive() {
        let Received::Text(text) = received else { continue };
        let word = ServerMessage::read(&text).unwrap_or_else(|_| panic!("no word: {text}"));
        let id = match word {
            ServerMessage::Subscribed { id, epoch, .. } => {
                heard.epoch = epoch.unwrap_or(heard.epoch);
                id
            }
            ServerMessage::Unsubscribed { id, .. } | ServerMessage::Published { id, .. } => id,
            ServerMessage::Error { id, code, .. } => {
                assert!((100..=130).contains(&code), "{text}");
                id
            }
            ServerMessage::Pong { id } => {
                heard.pongs += 1;
                id
            }
            ServerMessage::Other => panic!("another word: {text}"),
            _ => None,
        };
        // Ids of garbage are small.
        if let Some(id) = id.filter(|id| *id >= 1 << 40) {
            let answers = heard.answers.entry(id).or_default();
            *answers += 1;
            assert!(*answers == 1, "answered twice: {text}");
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
    let mut heard: Vec<Heard> = (0..CLIENTS).map(|_| Heard::default()).collect();
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
                    clients[client].send(request.text(id, heard[client].epoch).as_str());
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
        clients.iter_mut().zip(&mut heard).for_each(|(client, heard)| hear(client, heard));
    }
    assert_eq!(shard.counters().handler_panics.get(), 0, "a handler panicked");
    for ((client, heard), is_reset) in clients.iter_mut().zip(&mut heard).zip(is_reset) {
        client.stall(false);
        shard.run();
        hear(client, heard);
        if !is_reset && !client.is_ended() {
            let pongs = heard.pongs;
            client.send(r#"{"type":"ping"}"#);
            shard.run();
            hear(client, heard);
            assert_eq!(heard.pongs, pongs + 1, "no answer to the last ping");
        }
    }
});
