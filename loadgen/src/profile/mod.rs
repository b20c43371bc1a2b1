//! What a run does: everything that can be set, and where each value came from.
//!
//! There is one table of keys. A profile and the flags are turned into assignments
//! to its keys, which are carried out in that order. Keys of the run stand once;
//! keys of a group stand once for every group of connections, of which most
//! profiles have one.

mod file;
mod keys;
pub mod values;

pub use keys::{KEYS, Key, SWITCH};

use crate::verdict::FailIf;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};
use tapecast::tls::{CertificateError, Connector, Trust};
use values::{Content, Delivery, Rate, Sizes, Sources, Url};

/// What connections of a group do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Every connection sends and awaits the reply.
    Echo,
    /// Some publish, all receive.
    Broadcast,
    /// The same, in the words of `tapecast.v1.json`.
    Topics,
    /// They connect, perhaps say something, perhaps leave and come again.
    Connect,
    /// They are held open.
    Idle,
}

/// How messages are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// At random distances, as independent users would.
    Poisson,
}

/// How a reply is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is what was sent, every byte of it.
    Content,
    /// It has as many bytes as what was sent.
    Length,
    /// One came.
    Any,
}

/// A group of connections that do the same.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    pub scenario: Scenario,
    pub urls: Vec<Url>,
    pub path: String,
    /// permessage-deflate is offered.
    pub compression: bool,
    /// Also that its messages look back at earlier ones.
    pub compression_contexts: bool,
    /// A PEM file of authorities instead of the machine's.
    pub ca: String,
    /// Any certificate will do.
    pub insecure: bool,
    /// TLS sessions are taken up again.
    pub tls_resume: bool,
    pub connections: u32,
    pub sources: Vec<Sources>,
    pub subprotocols: Vec<String>,
    pub headers: Vec<(String, String)>,
    pub on_open: Vec<String>,
    pub rate: Option<Rate>,
    pub arrivals: Arrivals,
    /// Closed loop, if there is no rate.
    pub in_flight: u32,
    pub size: Sizes,
    pub payload: Content,
    pub text: bool,
    pub template: String,
    pub check: Check,
    pub publishers: u32,
    pub rooms: u32,
    pub channel: String,
    pub keys: u32,
    pub deliveries: Vec<Delivery>,
    pub messages: u32,
    pub stalled: f64,
    pub stall: Option<Duration>,
    pub reconnect: Option<Duration>,
    pub handshake_timeout: Duration,
    pub message_bytes_max: usize,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            name: String::new(),
            scenario: Scenario::Echo,
            urls: Vec::new(),
            path: String::new(),
            compression: false,
            compression_contexts: false,
            ca: String::new(),
            insecure: false,
            tls_resume: false,
            connections: 50,
            sources: Vec::new(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            on_open: Vec::new(),
            rate: Some(Rate::constant(1_000.0)),
            arrivals: Arrivals::Constant,
            in_flight: 1,
            size: Sizes::Fixed(64),
            payload: Content::Pattern,
            text: false,
            template: String::new(),
            check: Check::Content,
            publishers: 1,
            rooms: 1,
            channel: "load.{room}".into(),
            keys: 0,
            deliveries: Vec::new(),
            messages: 0,
            stalled: 0.0,
            stall: None,
            reconnect: Some(Duration::from_secs(1)),
            handshake_timeout: Duration::from_secs(10),
            message_bytes_max: values::SIZE_MAX,
        }
    }
}

impl Group {
    /// Who publishes and who hears it, over all pairs of them, for broadcast and topics.
    fn tracks(&self) -> u64 {
        let publishers = match self.publishers {
            0 => self.connections,
            some => some,
        };
        u64::from(self.connections) * u64::from(publishers).div_ceil(self.rooms.max(1).into())
    }

    /// How its connections begin TLS, if one of its servers speaks that.
    ///
    /// # Errors
    /// There is no authority where one was to be.
    pub fn connector(&self) -> Result<Option<Connector>, CertificateError> {
        if !self.urls.iter().any(|url| url.is_secure()) {
            return Ok(None);
        }
        let trust = match (self.insecure, self.ca.as_str()) {
            (true, _) => Trust::Anybody,
            (false, "") => Trust::System,
            (false, file) => Trust::Authorities(file.into()),
        };
        Connector::new(&trust, self.tls_resume).map(Some)
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Profile {
    pub threads: u32,
    pub core: Option<usize>,
    pub ramp: Duration,
    pub warmup: Duration,
    pub duration: Duration,
    pub start_at: Option<SystemTime>,
    pub server_pid: Option<u32>,
    pub fail_if: Vec<FailIf>,
    pub groups: Vec<Group>,
    /// Where the keys that were set got their values: those of the run, and those of
    /// each group.
    origins: Vec<BTreeMap<&'static str, Origin>>,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            threads: 1,
            core: None,
            ramp: Duration::ZERO,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            start_at: None,
            server_pid: None,
            fail_if: Vec::new(),
            groups: vec![Group::default()],
            origins: vec![BTreeMap::new(); 2],
        }
    }
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a profile, at this line.
    File { name: String, line: usize },
    /// With a flag.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { name, line } => write!(formatter, "{name}:{line}"),
            Origin::Flag => formatter.write_str("flag"),
        }
    }
}

/// A key is given a value, or several.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub key: String,
    pub values: Vec<String>,
    pub origin: Origin,
    /// The group, where the profile has several and it concerns one.
    pub group: Option<usize>,
}

/// Pairs of a reader and a publisher of its room: 2 GiB of what each has had.
const TRACKS_MAX: u64 = 1 << 27;

/// The profiles that are built in, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("echo", include_str!("../../../profiles/load/echo.toml")),
    ("pipeline", include_str!("../../../profiles/load/pipeline.toml")),
    ("broadcast", include_str!("../../../profiles/load/broadcast.toml")),
    ("ticker", include_str!("../../../profiles/load/ticker.toml")),
    ("chat", include_str!("../../../profiles/load/chat.toml")),
    ("connect-storm", include_str!("../../../profiles/load/connect-storm.toml")),
    ("idle", include_str!("../../../profiles/load/idle.toml")),
    ("slow-reader", include_str!("../../../profiles/load/slow-reader.toml")),
    ("mixed", include_str!("../../../profiles/load/mixed.toml")),
];

impl Profile {
    /// The profile called `name`, built in or a file, and the flags on top of it.
    ///
    /// # Errors
    /// What is wrong, with its place; all of it.
    pub fn load(name: &str, flags: Vec<Assignment>) -> Result<Profile, Vec<String>> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(name).map_err(|error| {
                let known: Vec<&str> = BUILT_IN.iter().map(|(known, _)| *known).collect();
                let nearest = nearest(name, known.iter().copied());
                let hint = match nearest {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => format!("built in are {}", known.join(", ")),
                };
                vec![format!(
                    "{name}: no profile is called so, nor can it be read ({error}); {hint}"
                )]
            })?,
        };
        let mut assignments = file::assignments(name, &text).map_err(|problem| vec![problem])?;
        let groups =
            assignments.iter().filter_map(|given| given.group).max().map_or(1, |it| it + 1);
        let mut profile = Profile {
            groups: (0..groups)
                .map(|group| Group { name: (group + 1).to_string(), ..Group::default() })
                .collect(),
            origins: vec![BTreeMap::new(); groups + 1],
            ..Profile::default()
        };
        assignments.extend(flags);
        let mut problems: Vec<String> =
            assignments.iter().filter_map(|given| profile.assign(given).err()).collect();
        if problems.is_empty() {
            problems.extend(profile.check());
        }
        match problems.is_empty() {
            true => Ok(profile),
            false => Err(problems),
        }
    }

    fn assign(&mut self, given: &Assignment) -> Result<(), String> {
        let place = |message: String| match &given.origin {
            Origin::Flag => format!("--{}: {message}", given.key.replace('_', "-")),
            origin => format!("{origin}: {message}"),
        };
        let Some(key) = KEYS.iter().find(|key| key.name == given.key) else {
            let hint = match nearest(&given.key, KEYS.iter().map(|key| key.name)) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "--help lists all".into(),
            };
            return Err(place(format!("there is no key {}; {hint}", given.key)));
        };
        match key.access {
            keys::Access::Run { set, .. } => {
                if given.group.is_some() {
                    return Err(place(format!("{} is of the run, not of a group", given.key)));
                }
                set(self, &given.values).map_err(place)?;
                self.origins[0].insert(key.name, given.origin.clone());
            }
            keys::Access::Group { set, .. } => {
                let all = match given.group {
                    Some(group) => group..group + 1,
                    None => 0..self.groups.len(),
                };
                for group in all {
                    set(&mut self.groups[group], &given.values).map_err(place)?;
                    let origins = &mut self.origins[group + 1];
                    // The one replaces the other, unless both were given together.
                    let other = match key.name {
                        "rate" => Some("in_flight"),
                        "in_flight" => Some("rate"),
                        _ => None,
                    };
                    if let Some(was) = other.and_then(|other| origins.remove(other))
                        && is_same_source(&was, &given.origin)
                    {
                        let message = "rate and in_flight exclude each other: open or closed loop";
                        return Err(place(message.into()));
                    }
                    origins.insert(key.name, given.origin.clone());
                }
            }
        }
        Ok(())
    }

    /// What does not go together.
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut problem =
            |group: &Group, message: String| problems.push(self.place(group) + &message);
        for group in &self.groups {
            // The report's values stand after the name and a dot.
            let namesakes = self.groups.iter().filter(|other| other.name == group.name);
            if group.name.contains('.') || namesakes.count() > 1 {
                problem(group, "a group has a name of its own, without dots".into());
            }
            if group.connections < self.threads {
                let Group { connections, .. } = group;
                let threads = self.threads;
                problem(
                    group,
                    format!("{connections} connections are fewer than {threads} threads"),
                );
            }
            let reads = matches!(group.scenario, Scenario::Broadcast | Scenario::Topics);
            if group.stalled > 0.0 && !reads {
                problem(group, "only readers of broadcast and topics stall".into());
            }
            if reads && group.tracks() > TRACKS_MAX {
                problem(
                    group,
                    format!(
                        "every reader keeps 16 bytes for every publisher of its room, here \
                         {} MiB: give it fewer publishers, or more rooms",
                        group.tracks() >> 16
                    ),
                );
            }
            if group.rooms > group.connections {
                problem(group, "more rooms than connections".into());
            }
            if group.publishers > group.connections {
                problem(group, "more publishers than connections".into());
            }
            let has_placeholder = group.template.contains("{payload}");
            if !group.template.is_empty() && !has_placeholder {
                problem(group, "the template has no {payload}".into());
            }
            if !group.template.is_empty() && !group.text {
                problem(group, "a template makes text: give kind = \"text\" too".into());
            }
            if !group.template.is_empty() && group.check == Check::Length {
                problem(group, "in a template, replies are checked for content, or any".into());
            }
            if group.scenario == Scenario::Topics && !group.text {
                problem(group, "topics are text: give kind = \"text\" too".into());
            }
            if group.scenario == Scenario::Topics && !group.template.is_empty() {
                problem(group, "topics have words of their own: no template".into());
            }
            if reads {
                if group.publishers > 0 && group.publishers < group.rooms {
                    problem(group, "more rooms than publishers: some would stay silent".into());
                }
                if group.publishers == 0 && group.connections > 65_536 {
                    problem(group, "more than 65536 publishers".into());
                }
                let least = crate::payload::Stamp::bytes(group.text);
                if group.size.bounds().0 < least {
                    problem(
                        group,
                        format!(
                            "a publication carries who sent it, its number and its time: size \
                             is at least {least} bytes, and there are some of {}",
                            group.size.bounds().0
                        ),
                    );
                }
                if matches!(group.payload, Content::Lines { .. }) {
                    problem(
                        group,
                        "lines of a file can't carry a time: use pattern or random".into(),
                    );
                }
            }
            if let (true, Content::Lines { path, lines }) = (group.text, &group.payload)
                && lines.iter().any(|line| std::str::from_utf8(line).is_err())
            {
                problem(group, format!("{path} is not UTF-8, as text has to be"));
            }
        }
        // Only where there are several, each has values of its own.
        let names = || self.groups.iter().map(|group| group.name.as_str());
        for group in self.fail_if.iter().filter_map(FailIf::group) {
            if self.groups.len() == 1 || !names().any(|name| name == group) {
                let hint = match nearest(group, names()).filter(|_| self.groups.len() > 1) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "of one group, values stand without its name".into(),
                };
                problems.push(format!("fail_if: there is no group {group}; {hint}"));
            }
        }
        problems
    }

    /// The words before a message about a group: none, if there is only one.
    fn place(&self, group: &Group) -> String {
        match self.groups.len() {
            1 => String::new(),
            _ => format!("group {}: ", group.name),
        }
    }

    /// Looks for the servers, which a run needs, and a print of the profile does not.
    pub fn find_targets(&mut self) -> Vec<String> {
        let places: Vec<String> = self.groups.iter().map(|group| self.place(group)).collect();
        let mut problems = Vec::new();
        for (group, of_group) in self.groups.iter_mut().zip(places) {
            if group.urls.is_empty() {
                problems.push(format!("{of_group}where to? Give --url ws://HOST:PORT/PATH"));
            }
            for url in &mut group.urls {
                problems.extend(url.resolve().err().map(|error| format!("{of_group}{error}")));
            }
            if let Err(error) = group.connector() {
                problems.push(format!("{of_group}{error}"));
            }
        }
        problems
    }

    /// The effective profile, which is a profile itself, with the origin of each
    /// value.
    pub fn text(&self) -> String {
        let line = |key: &Key, value: String, origins: &BTreeMap<&'static str, Origin>| {
            let origin = origins.get(key.name).unwrap_or(&Origin::Default);
            match value.is_empty() {
                // There is no way to write "none".
                true => format!("# {} is not set\n", key.name),
                false => format!("{} = {value} # {origin}\n", key.name),
            }
        };
        let mut text = String::new();
        for key in KEYS {
            if let keys::Access::Run { get, .. } = key.access {
                text += &line(key, get(self), &self.origins[0]);
            }
        }
        for (group, origins) in self.groups.iter().zip(&self.origins[1..]) {
            text += "\n[[group]]\n";
            for key in KEYS {
                if let keys::Access::Group { get, .. } = key.access {
                    text += &line(key, get(group), origins);
                }
            }
        }
        text
    }

    /// Connections of all groups.
    pub fn connections(&self) -> u32 {
        self.groups.iter().map(|group| group.connections).sum()
    }
}

fn is_same_source(one: &Origin, other: &Origin) -> bool {
    match (one, other) {
        (Origin::Flag, Origin::Flag) => true,
        (Origin::File { name, .. }, Origin::File { name: other, .. }) => name == other,
        _ => false,
    }
}

/// The name that is most like `name`, if one is like it.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, known)| known)
}
