//! The keys of a group of connections. Each is defined here and nowhere else.

use super::group::{Arrivals, Check, Group, Scenario};
use super::values::{bytes, header, share};
use tapecast::settings::Takes::{One, Several, Switch};
use tapecast::settings::{
    Key, all, choice, duration, list, one, or_none, put, quoted, show_duration, within, word,
};

const SCENARIOS: &[(&str, Scenario)] = &[
    ("echo", Scenario::Echo),
    ("broadcast", Scenario::Broadcast),
    ("topics", Scenario::Topics),
    ("connect", Scenario::Connect),
    ("idle", Scenario::Idle),
];
const ARRIVALS: &[(&str, Arrivals)] =
    &[("constant", Arrivals::Constant), ("poisson", Arrivals::Poisson)];
const CHECKS: &[(&str, Check)] =
    &[("content", Check::Content), ("length", Check::Length), ("any", Check::Any)];
const SWITCHES: &[(&str, bool)] = &[("false", false), ("true", true)];
const KINDS: &[(&str, bool)] = &[("binary", false), ("text", true)];

/// A key that is on or off, at this place of the group.
macro_rules! switch {
    ($name:literal, $($place:ident).+, $text:literal) => {
        Key {
            name: $name,
            takes: Switch,
            text: $text,
            set: |group, values| put(&mut group.$($place).+, choice(one(values)?, SWITCHES)),
            get: |group| group.$($place).+.to_string(),
        }
    };
}

/// A key whose value is a count, at this place of the group.
macro_rules! count {
    ($name:literal, $($place:ident).+, $range:expr, $text:literal) => {
        Key {
            name: $name,
            takes: One("N"),
            text: $text,
            set: |group, values| put(&mut group.$($place).+, count(values, $range)),
            get: |group| group.$($place).+.to_string(),
        }
    };
}

/// A key whose value is any text, at this place of the group.
macro_rules! text {
    ($name:literal, $($place:ident).+, $takes:literal, $text:literal) => {
        Key {
            name: $name,
            takes: One($takes),
            text: $text,
            set: |group, values| put(&mut group.$($place).+, one(values).map(str::to_owned)),
            get: |group| quoted(&group.$($place).+),
        }
    };
}

/// Every key of a group.
pub const GROUP_KEYS: &[Key<Group>] = &[
    text!("name", name, "NAME", "Name of the group in the report."),
    Key {
        name: "scenario",
        takes: One("SCENARIO"),
        text: "Traffic of the group. echo: every connection sends and awaits replies. broadcast: \
               some publish, all receive. topics: the same over tapecast.v1.json. connect: \
               connections open, may send messages, and may close and reconnect. idle: \
               connections stay open.",
        set: |group, values| put(&mut group.scenario, choice(one(values)?, SCENARIOS)),
        get: |group| word(&group.scenario, SCENARIOS),
    },
    Key {
        name: "url",
        takes: Several("URL"),
        text: "URL of the server: ws://HOST[:PORT][/PATH], or wss:// for TLS. Connections use \
               several URLs in turn.",
        set: |group, values| put(&mut group.opening.urls, all(values, str::parse)),
        get: |group| list(&group.opening.urls),
    },
    Key {
        name: "path",
        takes: One("PATH"),
        text: "Path and query instead of those of the URL. {room} stands for the connection's \
               room.",
        set: |group, values| put(&mut group.opening.path, path(one(values)?)),
        get: |group| quoted(&group.opening.path),
    },
    switch!(
        "compression",
        opening.compression,
        "Offer permessage-deflate, and compress messages of 128 bytes or more if the server \
         agrees: true or false."
    ),
    switch!(
        "compression_contexts",
        opening.compression_contexts,
        "Offer compression with context takeover in both directions: true or false. Messages of \
         32 bytes or more are then compressed, and a connection takes 420 KiB."
    ),
    text!(
        "ca",
        opening.tls.ca,
        "FILE",
        "PEM file of the authorities that sign certificates of wss:// servers, instead of those \
         of the machine."
    ),
    switch!(
        "insecure",
        opening.tls.insecure,
        "Accept any certificate of a wss:// server: true or false."
    ),
    switch!(
        "tls_resume",
        opening.tls.resume,
        "Resume TLS sessions, as browsers do when they reconnect, instead of a full handshake \
         each time: true or false."
    ),
    count!(
        "connections",
        connections,
        1..=10_000_000,
        "Connections of the group, over all threads."
    ),
    Key {
        name: "source",
        takes: Several("ADDRESS"),
        text: "Local address to connect from, or a range like 127.0.0.2-127.0.0.20, used in \
               turn. Each address allows as many connections as there are local ports. Once half \
               of them are in use, the kernel needs about 2 ms to find a free one: more addresses \
               open faster.",
        set: |group, values| put(&mut group.opening.sources, all(values, str::parse)),
        get: |group| list(&group.opening.sources),
    },
    Key {
        name: "subprotocol",
        takes: Several("NAME"),
        text: "Subprotocol to offer, in the order of preference.",
        set: |group, values| put(&mut group.opening.subprotocols, all(values, token)),
        get: |group| list(&group.opening.subprotocols),
    },
    Key {
        name: "header",
        takes: Several("HEADER"),
        text: "Header of the handshake, like 'Origin: https://example.com'.",
        set: |group, values| put(&mut group.opening.headers, all(values, header)),
        get: |group| {
            let lines =
                group.opening.headers.iter().map(|(name, value)| format!("{name}: {value}"));
            list(&lines.collect::<Vec<_>>())
        },
    },
    Key {
        name: "on_open",
        takes: Several("MESSAGE"),
        text: "Text message to send once a connection is open, for example to subscribe. {room} \
               stands for the connection's room, {connection} for its number.",
        set: |group, values| put(&mut group.opening.on_open, Ok(values.to_vec())),
        get: |group| list(&group.opening.on_open),
    },
    Key {
        name: "rate",
        takes: One("RATE"),
        text: "Open model: messages per second, in total (1000), per connection (5/connection), \
               or in steps from the start of the load, warm-up included (1000@10s,2000@10s,5000). \
               Messages leave at their planned times, whatever happened to earlier ones, and \
               latency is measured from the planned time. For connect: handshakes per second.",
        set: |group, values| put(&mut group.load.rate, or_none(values, str::parse)),
        get: |group| {
            group.load.rate.as_ref().map_or(String::new(), |rate| quoted(&rate.to_string()))
        },
    },
    Key {
        name: "arrivals",
        takes: One("HOW"),
        text: "Distribution of planned messages over time: constant, or poisson as from \
               independent users.",
        set: |group, values| put(&mut group.load.arrivals, choice(one(values)?, ARRIVALS)),
        get: |group| word(&group.load.arrivals, ARRIVALS),
    },
    Key {
        name: "in_flight",
        takes: One("N"),
        text: "Closed loop instead of a rate: messages in flight per connection, or publications \
               per publisher, which has to receive its own, or handshakes. A slow server receives \
               less load: good for the maximum throughput, misleading for latency.",
        set: |group, values| {
            group.load.in_flight = count(values, 1..=65_536)?;
            put(&mut group.load.rate, Ok(None))
        },
        get: |group| match group.load.rate {
            Some(_) => String::new(),
            None => group.load.in_flight.to_string(),
        },
    },
    Key {
        name: "size",
        takes: One("BYTES"),
        text: "Bytes of a message: 64 or 16KiB, evenly distributed 20-1000, exponential 200 (the \
               mean), or 64:90,4KiB:10 with weights.",
        set: |group, values| put(&mut group.message.size, one(values)?.parse()),
        get: |group| quoted(&group.message.size.to_string()),
    },
    Key {
        name: "payload",
        takes: One("WHAT"),
        text: "Bytes that messages are filled with. pattern: a number, then the same bytes; \
               random: different bytes in every message; @FILE: the lines of a file in turn.",
        set: |group, values| put(&mut group.message.payload, one(values)?.parse()),
        get: |group| quoted(&group.message.payload.to_string()),
    },
    Key {
        name: "kind",
        takes: One("KIND"),
        text: "Kind of messages: binary or text.",
        set: |group, values| put(&mut group.message.text, choice(one(values)?, KINDS)),
        get: |group| word(&group.message.text, KINDS),
    },
    text!(
        "template",
        message.template,
        "TEXT",
        "Text around a payload, with {payload}, {room} and {connection}, for servers with a \
         protocol of their own. The payload of a reply may be anywhere in it."
    ),
    Key {
        name: "check",
        takes: One("HOW"),
        text: "Check of replies. content: every byte; length: the length; any: one reply per \
               message, for servers that do not echo.",
        set: |group, values| put(&mut group.message.check, choice(one(values)?, CHECKS)),
        get: |group| word(&group.message.check, CHECKS),
    },
    count!(
        "publishers",
        broadcast.publishers,
        0..=65_536,
        "broadcast: connections that publish; 0 is all of them."
    ),
    count!(
        "rooms",
        broadcast.rooms,
        1..=65_536,
        "broadcast: rooms that the connections are divided into, each with its share of the \
         publishers. A message of one room must not arrive in another."
    ),
    text!(
        "channel",
        broadcast.channel,
        "NAME",
        "topics: the channel. {room} stands for the connection's room."
    ),
    count!(
        "keys",
        broadcast.keys,
        0..=1_000_000,
        "topics: number of different keys of publications; 0: no keys."
    ),
    Key {
        name: "delivery",
        takes: Several("DELIVERY"),
        text: "topics: delivery that readers ask for, all or latest, with a maximum rate like \
               latest@10. Readers use several in turn. Publishers ask for all.",
        set: |group, values| put(&mut group.broadcast.deliveries, all(values, str::parse)),
        get: |group| list(&group.broadcast.deliveries),
    },
    count!(
        "messages",
        load.messages,
        0..=u32::MAX.into(),
        "connect: messages that a connection sends, one after another, before it closes and \
         reconnects; with reconnect = none it stays open instead. 0: it sends nothing and stays \
         open."
    ),
    Key {
        name: "stalled",
        takes: One("SHARE"),
        text: "broadcast: share of readers that stop reading when the measurement starts, like \
               10%. They are reported separately.",
        set: |group, values| put(&mut group.broadcast.stalled, share(one(values)?)),
        get: |group| quoted(&format!("{}%", group.broadcast.stalled * 100.0)),
    },
    Key {
        name: "stall",
        takes: One("TIME"),
        text: "Time for which stalled readers do not read; none is until the end.",
        set: |group, values| put(&mut group.broadcast.stall, or_none(values, duration)),
        get: |group| quoted(&group.broadcast.stall.map_or("none".into(), show_duration)),
    },
    Key {
        name: "reconnect",
        takes: One("TIME"),
        text: "Time between the end of a connection and its next handshake; none is never.",
        set: |group, values| put(&mut group.opening.reconnect, or_none(values, duration)),
        get: |group| quoted(&group.opening.reconnect.map_or("none".into(), show_duration)),
    },
    Key {
        name: "handshake_timeout",
        takes: One("TIME"),
        text: "Maximum time of connecting and of the handshake.",
        set: |group, values| put(&mut group.opening.handshake_timeout, duration(one(values)?)),
        get: |group| quoted(&show_duration(group.opening.handshake_timeout)),
    },
    Key {
        name: "message_bytes_max",
        takes: One("BYTES"),
        text: "Maximum bytes of a message from the server; a larger one ends its connection.",
        set: |group, values| put(&mut group.opening.message_bytes_max, bytes(one(values)?)),
        get: |group| group.opening.message_bytes_max.to_string(),
    },
];

fn count(values: &[String], range: std::ops::RangeInclusive<u64>) -> Result<u32, String> {
    within(one(values)?, range).map(|count| count as u32)
}

fn path(path: &str) -> Result<String, String> {
    let sample = path.replace("{room}", "0");
    let is_path = path.starts_with('/') && sample.parse::<http::Uri>().is_ok();
    if path.is_empty() || is_path {
        Ok(path.to_owned())
    } else {
        Err(format!("{path:?}: expected a path, like /echo"))
    }
}

fn token(text: &str) -> Result<String, String> {
    match http::HeaderName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{text:?}: expected a name without spaces or commas")),
    }
}
