//! The table of keys: name, what it means, how it is set, how it is shown.

use super::values::{self, show};
use super::{Arrivals, Check, Group, Profile, Scenario};
use std::time::Duration;

/// In less than this a rate says nothing.
const DURATION_MIN: Duration = Duration::from_millis(100);

/// A key of a profile, and a flag of that name with dashes.
pub struct Key {
    pub name: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
    pub text: &'static str,
    /// Takes several values.
    pub is_list: bool,
    pub access: Access,
}

/// How a key is set from text and shown as a TOML value; an empty one means that it
/// is not set.
#[derive(Clone, Copy)]
pub enum Access {
    Run { set: fn(&mut Profile, &[String]) -> Result<(), String>, get: fn(&Profile) -> String },
    Group { set: fn(&mut Group, &[String]) -> Result<(), String>, get: fn(&Group) -> String },
}

impl Key {
    /// Its value where nothing sets it, as TOML; empty if it has none.
    pub fn default(&self) -> String {
        match self.access {
            Access::Run { get, .. } => get(&Profile::default()),
            Access::Group { get, .. } => get(&Group::default()),
        }
    }
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err("expected one value".into()),
    }
}

fn all<T>(values: &[String], parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    values.iter().map(|value| parse(value)).collect()
}

fn small(values: &[String], least: u64, most: u32) -> Result<u32, String> {
    values::number(one(values)?, least, most.into()).map(|number| number as u32)
}

/// "none", or a value.
fn or_none<T>(
    values: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match one(values)? {
        "none" => Ok(None),
        value => parse(value).map(Some),
    }
}

fn choice<T: Copy>(values: &[String], known: &[(&str, T)]) -> Result<T, String> {
    let value = one(values)?;
    known.iter().find(|(name, _)| *name == value).map(|(_, it)| *it).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("{value:?}: expected {}", names.join(", "))
    })
}

fn name_of<T: PartialEq>(value: &T, known: &[(&'static str, T)]) -> String {
    quoted(known.iter().find(|(_, it)| it == value).map_or("", |(name, _)| name))
}

/// As TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<T: ToString>(values: &[T]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

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
/// What stands for the value of a key that is on or off: its flag alone means on.
pub const SWITCH: &str = "BOOL";
const SWITCHES: &[(&str, bool)] = &[("false", false), ("true", true)];
const KINDS: &[(&str, bool)] = &[("binary", false), ("text", true)];

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "threads",
        value: "N",
        text: "Threads, each with a ring and its share of every group's connections.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| put(&mut profile.threads, small(values, 1, 256)),
            get: |profile| profile.threads.to_string(),
        },
    },
    Key {
        name: "core",
        value: "N",
        text: "The core for the first thread; the others follow.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| {
                let core = |text: &str| values::number(text, 0, 1023).map(|core| core as usize);
                put(&mut profile.core, or_none(values, core))
            },
            get: |profile| profile.core.map_or(String::new(), |core| core.to_string()),
        },
    },
    Key {
        name: "ramp",
        value: "TIME",
        text: "Time over which connections are opened, before the load starts; 0s is as fast as \
               the server lets them in, 256 at a time and thread.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| put(&mut profile.ramp, values::duration(one(values)?)),
            get: |profile| quoted(&show(profile.ramp)),
        },
    },
    Key {
        name: "warmup",
        value: "TIME",
        text: "Time under load before anything is counted.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| put(&mut profile.warmup, values::duration(one(values)?)),
            get: |profile| quoted(&show(profile.warmup)),
        },
    },
    Key {
        name: "duration",
        value: "TIME",
        text: "Time to measure.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| match values::duration(one(values)?)? {
                short if short < DURATION_MIN => {
                    Err(format!("{:?}: expected at least {}", show(short), show(DURATION_MIN)))
                }
                duration => put(&mut profile.duration, Ok(duration)),
            },
            get: |profile| quoted(&show(profile.duration)),
        },
    },
    Key {
        name: "start_at",
        value: "WHEN",
        text: "When the load starts, to line up several machines: seconds since 1970, or like \
               2026-11-21T12:00:00Z or 2026-11-21T13:00:00+01:00, UTC without an offset. \
               Connections are opened before.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| {
                let when = |text: &str| match text.parse::<f64>() {
                    Ok(_) => values::since_1970(text),
                    Err(_) => values::rfc3339(text),
                };
                put(&mut profile.start_at, or_none(values, when))
            },
            get: |profile| {
                let when = profile.start_at.map(humantime::format_rfc3339_millis);
                when.map_or(String::new(), |when| quoted(&when.to_string()))
            },
        },
    },
    Key {
        name: "server_pid",
        value: "PID",
        text: "The server's process, if it is local: its CPU time per message, memory, threads \
               and descriptors are reported over time.",
        is_list: false,
        access: Access::Run {
            set: |profile, values| {
                put(&mut profile.server_pid, Ok(Some(small(values, 1, u32::MAX)?)))
            },
            get: |profile| profile.server_pid.map_or(String::new(), |pid| pid.to_string()),
        },
    },
    Key {
        name: "fail_if",
        value: "EXPRESSION",
        text: "Exit with 1 if a line of the report is above or below a bound, like p99>5ms, \
               errors>0, gaps>0, rate_sent<990 or handshakes<100. May be given several times.",
        is_list: true,
        access: Access::Run {
            set: |profile, values| put(&mut profile.fail_if, all(values, str::parse)),
            get: |profile| list(&profile.fail_if),
        },
    },
    Key {
        name: "name",
        value: "NAME",
        text: "What a group is called in the report.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.name, Ok(one(values)?.to_owned())),
            get: |group| quoted(&group.name),
        },
    },
    Key {
        name: "scenario",
        value: "SCENARIO",
        text: "echo: every connection sends and awaits the reply. broadcast: some publish, all \
               receive. topics: the same over tapecast.v1.json. connect: they connect, perhaps say something, perhaps leave and come \
               again. idle: they are held open.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.scenario, choice(values, SCENARIOS)),
            get: |group| name_of(&group.scenario, SCENARIOS),
        },
    },
    Key {
        name: "url",
        value: "URL",
        text: "Where to: ws://HOST[:PORT][/PATH], or wss:// for TLS. Of several, connections take turns.",
        is_list: true,
        access: Access::Group {
            set: |group, values| put(&mut group.urls, all(values, str::parse)),
            get: |group| list(&group.urls),
        },
    },
    Key {
        name: "path",
        value: "PATH",
        text: "Path and query instead of the URL's. {room} stands for the connection's room.",
        is_list: false,
        access: Access::Group {
            set: |group, values| {
                let path = one(values)?;
                let sample = path.replace("{room}", "0");
                match path.is_empty()
                    || (path.starts_with('/') && sample.parse::<http::Uri>().is_ok())
                {
                    true => put(&mut group.path, Ok(path.to_owned())),
                    false => Err(format!("{path:?}: expected a path, like /echo")),
                }
            },
            get: |group| quoted(&group.path),
        },
    },
    Key {
        name: "compression",
        value: SWITCH,
        text: "Offer permessage-deflate, and send messages of 128 bytes or more compressed if the \
               server agrees: true or false.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.compression, choice(values, SWITCHES)),
            get: |group| group.compression.to_string(),
        },
    },
    Key {
        name: "compression_contexts",
        value: SWITCH,
        text: "The same, and offer that messages look back at earlier ones, in both directions: \
               true or false. Those of 32 bytes or more are then compressed, and a connection \
               takes 420 KiB.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.compression_contexts, choice(values, SWITCHES)),
            get: |group| group.compression_contexts.to_string(),
        },
    },
    Key {
        name: "ca",
        value: "FILE",
        text: "A PEM file of the authorities that vouch for servers of wss://, instead of the \
               machine's own.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.ca, Ok(one(values)?.to_owned())),
            get: |group| quoted(&group.ca),
        },
    },
    Key {
        name: "insecure",
        value: SWITCH,
        text: "Take any certificate of a server of wss://: true or false.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.insecure, choice(values, SWITCHES)),
            get: |group| group.insecure.to_string(),
        },
    },
    Key {
        name: "tls_resume",
        value: SWITCH,
        text: "Take TLS sessions up again, as browsers do that come back, instead of a full \
               handshake each time: true or false.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.tls_resume, choice(values, SWITCHES)),
            get: |group| group.tls_resume.to_string(),
        },
    },
    Key {
        name: "connections",
        value: "N",
        text: "Connections of the group, over all threads.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.connections, small(values, 1, 10_000_000)),
            get: |group| group.connections.to_string(),
        },
    },
    Key {
        name: "source",
        value: "ADDRESS",
        text: "Addresses to connect from, like 127.0.0.2-127.0.0.20, used in turn: each gives as \
               many connections as there are local ports. Beyond half of them the kernel takes \
               ever longer to find a free one, some 2 ms: more addresses open faster.",
        is_list: true,
        access: Access::Group {
            set: |group, values| put(&mut group.sources, all(values, str::parse)),
            get: |group| list(&group.sources),
        },
    },
    Key {
        name: "subprotocol",
        value: "NAME",
        text: "A subprotocol to offer; of several, the favourite first.",
        is_list: true,
        access: Access::Group {
            set: |group, values| {
                let token = |text: &str| match http::HeaderName::try_from(text) {
                    Ok(_) => Ok(text.to_owned()),
                    Err(_) => Err(format!("{text:?}: expected a name without spaces or commas")),
                };
                put(&mut group.subprotocols, all(values, token))
            },
            get: |group| list(&group.subprotocols),
        },
    },
    Key {
        name: "header",
        value: "HEADER",
        text: "A header of the handshake, like 'Origin: https://example.com'.",
        is_list: true,
        access: Access::Group {
            set: |group, values| put(&mut group.headers, all(values, values::header)),
            get: |group| {
                let lines = group.headers.iter().map(|(name, value)| format!("{name}: {value}"));
                list(&lines.collect::<Vec<_>>())
            },
        },
    },
    Key {
        name: "on_open",
        value: "MESSAGE",
        text: "A message to send once a connection is open, as text: to subscribe, for example. \
               {room} stands for the connection's room, {connection} for its number.",
        is_list: true,
        access: Access::Group {
            set: |group, values| put(&mut group.on_open, Ok(values.to_vec())),
            get: |group| list(&group.on_open),
        },
    },
    Key {
        name: "rate",
        value: "RATE",
        text: "Open model: messages a second, in total (1000) or each connection's \
               (5/connection), or in steps from the start of the load, warm-up included \
               (1000@10s,2000@10s,5000). They leave when they are \
               planned, whatever becomes of the earlier ones, and latency runs from the planned \
               time. For connect: handshakes a second.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.rate, or_none(values, str::parse)),
            get: |group| {
                group.rate.as_ref().map_or(String::new(), |rate| quoted(&rate.to_string()))
            },
        },
    },
    Key {
        name: "arrivals",
        value: "HOW",
        text: "How planned messages are spread over time: constant, or poisson as independent \
               users would.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.arrivals, choice(values, ARRIVALS)),
            get: |group| name_of(&group.arrivals, ARRIVALS),
        },
    },
    Key {
        name: "in_flight",
        value: "N",
        text: "Closed loop instead of a rate: messages that each connection has under way, or \
               publications that each publisher has (it must get its own back), or handshakes. \
               A server that is slow is asked less: good for the highest throughput, misleading \
               for latency.",
        is_list: false,
        access: Access::Group {
            set: |group, values| {
                group.in_flight = small(values, 1, 65_536)?;
                put(&mut group.rate, Ok(None))
            },
            get: |group| match group.rate {
                Some(_) => String::new(),
                None => group.in_flight.to_string(),
            },
        },
    },
    Key {
        name: "size",
        value: "BYTES",
        text: "Bytes of a message: 64 or 16KiB, evenly 20-1000, exponential 200 (a mean), or \
               64:90,4KiB:10 with weights.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.size, one(values)?.parse()),
            get: |group| quoted(&group.size.to_string()),
        },
    },
    Key {
        name: "payload",
        value: "WHAT",
        text: "pattern: a number in front, then the same bytes; random: other bytes in every \
               message; @FILE: its lines in turn.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.payload, one(values)?.parse()),
            get: |group| quoted(&group.payload.to_string()),
        },
    },
    Key {
        name: "kind",
        value: "KIND",
        text: "binary or text messages.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.text, choice(values, KINDS)),
            get: |group| name_of(&group.text, KINDS),
        },
    },
    Key {
        name: "template",
        value: "TEXT",
        text: "What to wrap a payload into, with {payload}, {room} and {connection}, for servers \
               with a protocol of their own. Of what comes back, the payload is looked for \
               anywhere in the message.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.template, Ok(one(values)?.to_owned())),
            get: |group| quoted(&group.template),
        },
    },
    Key {
        name: "check",
        value: "HOW",
        text: "How replies are checked: content, every byte; length; or any, one per message, \
               for servers that answer with something else.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.check, choice(values, CHECKS)),
            get: |group| name_of(&group.check, CHECKS),
        },
    },
    Key {
        name: "publishers",
        value: "N",
        text: "broadcast: how many of the connections publish; 0 is all of them.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.publishers, small(values, 0, 65_536)),
            get: |group| group.publishers.to_string(),
        },
    },
    Key {
        name: "rooms",
        value: "N",
        text: "broadcast: rooms that the connections are divided into, each with its share of the \
               publishers: what is published in one must not come out in another.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.rooms, small(values, 1, 65_536)),
            get: |group| group.rooms.to_string(),
        },
    },
    Key {
        name: "channel",
        value: "NAME",
        text: "topics: the channel. {room} stands for the connection's room.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.channel, Ok(one(values)?.to_owned())),
            get: |group| quoted(&group.channel),
        },
    },
    Key {
        name: "keys",
        value: "N",
        text: "topics: publications carry one of so many keys; 0: none.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.keys, small(values, 0, 1_000_000)),
            get: |group| group.keys.to_string(),
        },
    },
    Key {
        name: "delivery",
        value: "DELIVERY",
        text: "topics: what readers ask for, all or latest, with a rate like latest@10. Of \
               several, they take turns. Who publishes wants all.",
        is_list: true,
        access: Access::Group {
            set: |group, values| put(&mut group.deliveries, all(values, str::parse)),
            get: |group| list(&group.deliveries),
        },
    },
    Key {
        name: "messages",
        value: "N",
        text: "connect: messages that a connection sends, one after another, before it leaves and \
               comes again; with reconnect = none it stays instead. 0 connects, sends nothing \
               and stays.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.messages, small(values, 0, u32::MAX)),
            get: |group| group.messages.to_string(),
        },
    },
    Key {
        name: "stalled",
        value: "SHARE",
        text: "broadcast: the share of readers that stop reading when measuring starts, like 10%. \
               They are reported apart.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.stalled, values::share(one(values)?)),
            get: |group| quoted(&format!("{}%", group.stalled * 100.0)),
        },
    },
    Key {
        name: "stall",
        value: "TIME",
        text: "How long they do not read; none is until the end.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.stall, or_none(values, values::duration)),
            get: |group| quoted(&group.stall.map_or("none".into(), show)),
        },
    },
    Key {
        name: "reconnect",
        value: "TIME",
        text: "How long after its end a connection is made again; none is never.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.reconnect, or_none(values, values::duration)),
            get: |group| quoted(&group.reconnect.map_or("none".into(), show)),
        },
    },
    Key {
        name: "handshake_timeout",
        value: "TIME",
        text: "How long connecting and shaking hands may take.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.handshake_timeout, values::duration(one(values)?)),
            get: |group| quoted(&show(group.handshake_timeout)),
        },
    },
    Key {
        name: "message_bytes_max",
        value: "BYTES",
        text: "Bytes of a message from the server; a larger one ends its connection.",
        is_list: false,
        access: Access::Group {
            set: |group, values| put(&mut group.message_bytes_max, values::bytes(one(values)?)),
            get: |group| group.message_bytes_max.to_string(),
        },
    },
];
