//! Everything that can be set, and where each value came from.
//!
//! There is one table of keys. Flags, environment, configuration file and
//! profile are all turned into assignments to its keys ([`sources`]), which are
//! carried out in the order of their precedence: a profile first, flags last.

mod file;
mod sources;
mod tls;
mod topics;

pub use sources::Sources;
pub use topics::with_defaults as rules_with_defaults;

use super::text;
use crate::base::Limits;
use crate::base::limits::LimitError;
use crate::hub::Rule;
use crate::routes::OPTIONAL;
use crate::server::Address;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use tls::{CLIENT_AUTHS, Tls};
use topics::TOPICS;

/// How many shards to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One on every core that the process may use.
    PerCore,
    /// So many.
    Count(NonZeroU16),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the server runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Vec<Address>,
    /// Which of the routes that can be left out there are.
    pub routes: Vec<String>,
    pub tls: Tls,
    pub shards: Shards,
    pub admin: Option<SocketAddr>,
    pub admin_token_file: Option<PathBuf>,
    pub log: String,
    pub log_format: LogFormat,
    pub limits: Limits,
    /// What holds for topics, in the order in which it is looked through.
    pub rules: Vec<Rule>,
    /// The assignments that make the rules.
    topics: Vec<Vec<Assignment>>,
    /// Where the keys that were set got their values.
    origins: BTreeMap<String, Origin>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            listen: vec![Address::Ip(SocketAddr::from(([127, 0, 0, 1], 9001)))],
            routes: OPTIONAL.map(str::to_owned).to_vec(),
            tls: Tls::default(),
            shards: Shards::PerCore,
            admin: None,
            admin_token_file: None,
            log: "info".into(),
            log_format: LogFormat::Text,
            limits: Limits::default(),
            rules: Vec::new(),
            topics: Vec::new(),
            origins: BTreeMap::new(),
        }
    }
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In a profile or configuration file, at this line.
    File { name: String, line: usize },
    /// In this variable.
    Environment(String),
    /// With this flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { name, line } => write!(formatter, "{name}:{line}"),
            Origin::Environment(name) => formatter.write_str(name),
            Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

impl Origin {
    fn is_of_same_file(&self, other: &Origin) -> bool {
        match (self, other) {
            (Origin::File { name: one, .. }, Origin::File { name: other, .. }) => one == other,
            _ => false,
        }
    }
}

/// A key is given a value, or several.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub key: String,
    pub values: Vec<String>,
    pub origin: Origin,
}

/// What is wrong with a setting, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.message)
    }
}

/// A key that is not a limit.
struct Key {
    name: &'static str,
    text: &'static str,
    set: fn(&mut Settings, &[String]) -> Result<(), String>,
    /// As a TOML value.
    get: fn(&Settings) -> String,
}

/// The prefix of the keys that are limits.
const LIMITS: &str = "limits.";

/// The keys that take a list: commas separate its values in a variable.
const LISTS: [&str; 4] = ["listen", "routes", "tls_cert", "tls_key"];

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        text: "Addresses to listen on: [ws://]HOST:PORT, wss://HOST:PORT for TLS, or unix:PATH. \
               HOST is an IP address, a name for all its addresses, or left out for all of this \
               machine. Port 0 takes a free one.",
        set: |settings, values| {
            let mut listen = Vec::new();
            for value in values {
                for address in Address::resolve(value)? {
                    // 127.0.0.1 beside localhost is no contradiction.
                    if !listen.contains(&address) {
                        listen.push(address);
                    }
                }
            }
            settings.listen = listen;
            Ok(())
        },
        get: |settings| text::list(&settings.listen),
    },
    Key {
        name: "routes",
        text: "Which of the routes /echo, /ws and /broadcast there are; the others are always \
               there.",
        set: |settings, values| {
            if values == [""] {
                settings.routes.clear();
                return Ok(());
            }
            for value in values {
                if !OPTIONAL.contains(&value.as_str()) {
                    let near = text::nearest(value, OPTIONAL);
                    return Err(format!("{value:?}: expected {}{near}", OPTIONAL.join(", ")));
                }
            }
            settings.routes = values.to_vec();
            Ok(())
        },
        get: |settings| text::list(&settings.routes),
    },
    Key {
        name: "tls_cert",
        text: "PEM files, each with a certificate and what leads from it to its authority, for \
               wss:// addresses. A client that names a host gets the first that is for it.",
        set: |settings, values| {
            settings.tls.certificates = tls::paths(values);
            Ok(())
        },
        get: |settings| tls::printed(&settings.tls.certificates),
    },
    Key {
        name: "tls_key",
        text: "PEM files with the private keys of tls_cert, in the same order.",
        set: |settings, values| {
            settings.tls.keys = tls::paths(values);
            Ok(())
        },
        get: |settings| tls::printed(&settings.tls.keys),
    },
    Key {
        name: "tls_client_ca",
        text: "PEM file of the authorities whose certificates clients are asked for; none unless \
               it is given.",
        set: |settings, values| {
            let value = one(values)?;
            settings.tls.client_authorities = (!value.is_empty()).then(|| value.into());
            Ok(())
        },
        get: |settings| {
            let path = settings.tls.client_authorities.as_ref();
            text::quoted(&path.map_or(String::new(), |path| path.display().to_string()))
        },
    },
    Key {
        name: "tls_client_auth",
        text: "Whether clients show a certificate of tls_client_ca: required, optional, or none. \
               Required, where that is given.",
        set: |settings, values| {
            let value = one(values)?;
            let known = CLIENT_AUTHS.iter().find(|(name, _)| *name == value);
            let expected = || format!("{value:?}: expected required, optional or none");
            settings.tls.client_auth = Some(known.ok_or_else(expected)?.1);
            Ok(())
        },
        get: |settings| {
            let effective = settings.tls.client_auth();
            let known = CLIENT_AUTHS.iter().find(|(_, known)| *known == effective);
            text::quoted(known.expect("each has its word").0)
        },
    },
    Key {
        name: "shards",
        text: "Shards, each on a core of its own: a number, or per-core for one on every core \
               that the process may use.",
        set: |settings, values| {
            settings.shards = match one(values)? {
                "per-core" => Shards::PerCore,
                value => Shards::Count(value.parse().map_err(|_| {
                    format!("{value:?}: expected a number from 1 to 65535, or per-core")
                })?),
            };
            Ok(())
        },
        get: |settings| match settings.shards {
            Shards::PerCore => text::quoted("per-core"),
            Shards::Count(count) => count.to_string(),
        },
    },
    Key {
        name: "admin",
        text: "Address of the administration server, HOST:PORT; none unless it is given. Of \
               several addresses that HOST has, the first.",
        set: |settings, values| {
            let value = one(values)?;
            if value.is_empty() {
                settings.admin = None;
                return Ok(());
            }
            let port = value.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            let expected = || format!("{value:?}: expected HOST:PORT, like 127.0.0.1:9090");
            if !matches!(port, Some(Ok(_))) {
                return Err(expected());
            }
            settings.admin = match Address::resolve(value)?.first() {
                Some(Address::Ip(address)) => Some(*address),
                _ => return Err(expected()),
            };
            Ok(())
        },
        get: |settings| text::quoted(&settings.admin.map_or(String::new(), |it| it.to_string())),
    },
    Key {
        name: "admin_token_file",
        text: "File whose first line is the token that the administration server asks for. \
               Required when it does not listen on loopback.",
        set: |settings, values| {
            let value = one(values)?;
            settings.admin_token_file = (!value.is_empty()).then(|| value.into());
            Ok(())
        },
        get: |settings| {
            let path = settings.admin_token_file.as_ref();
            text::quoted(&path.map_or(String::new(), |path| path.display().to_string()))
        },
    },
    Key {
        name: "log",
        text: "What is logged: error, warn, info, debug, trace, or a filter by module.",
        set: |settings, values| {
            let value = one(values)?;
            tracing_subscriber::EnvFilter::try_new(value)
                .map_err(|error| format!("{value:?}: {error}"))?;
            settings.log = value.to_owned();
            Ok(())
        },
        get: |settings| text::quoted(&settings.log),
    },
    Key {
        name: "log_format",
        text: "How log lines look: text or json.",
        set: |settings, values| {
            settings.log_format = match one(values)? {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                value => return Err(format!("{value:?}: expected text or json")),
            };
            Ok(())
        },
        get: |settings| match settings.log_format {
            LogFormat::Text => text::quoted("text"),
            LogFormat::Json => text::quoted("json"),
        },
    },
];

/// The one value of a key that takes no list.
fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err("expected one value, not a list".into()),
    }
}

/// The names of all keys.
fn names() -> Vec<String> {
    let limits = Limits::default().table().into_iter().map(|(name, ..)| format!("{LIMITS}{name}"));
    KEYS.iter().map(|key| key.name.to_owned()).chain(limits).collect()
}

impl Settings {
    /// Carries out an assignment.
    fn assign(&mut self, assignment: Assignment) -> Result<(), Problem> {
        if let Some(key) = assignment.key.strip_prefix(TOPICS) {
            let key = key.to_owned();
            return self.assign_topic(&key, assignment);
        }
        let Assignment { key, values, origin } = assignment;
        let result = if let Some(name) = key.strip_prefix(LIMITS)
            && self.limits.table().iter().any(|limit| limit.0 == name)
        {
            one(&values)
                .and_then(|value| text::number(value, text::Unit::of(name)))
                .and_then(|value| self.limits.set(name, value).map_err(|error| error.message))
        } else if let Some(known) = KEYS.iter().find(|known| known.name == key) {
            (known.set)(self, &values)
        } else {
            let near = text::nearest(&key, names().iter().map(String::as_str));
            let message = format!("unknown key {key}{near}");
            return Err(Problem { origin, message });
        };
        match result {
            Ok(()) => {
                self.origins.insert(key, origin);
                Ok(())
            }
            Err(error) => Err(Problem { message: format!("{key}: {error}"), origin }),
        }
    }

    /// Carries out an assignment to a rule of topics, `PLACE.KEY`. The rules of a later
    /// source take the place of all earlier ones.
    fn assign_topic(&mut self, key: &str, assignment: Assignment) -> Result<(), Problem> {
        let place = key.split_once('.').and_then(|(place, key)| Some((place.parse().ok()?, key)));
        let Some((place, key)) = place else {
            let Assignment { origin, .. } = assignment;
            let message = "topics: expected [[topics]] tables of a configuration file".into();
            return Err(Problem { origin, message });
        };
        let first = self.topics.iter().flatten().next();
        if first.is_some_and(|first| !first.origin.is_of_same_file(&assignment.origin)) {
            self.topics.clear();
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, Vec::new());
        }
        self.topics[place].push(Assignment { key: key.to_owned(), ..assignment });
        Ok(())
    }

    /// The contradictions between settings, once everything is known. Of keys that were given `mistaken`
    /// values nothing is known.
    fn contradictions(&self, mistaken: &[String]) -> Vec<Problem> {
        let is_known = |start: &str| !mistaken.iter().any(|key| key.starts_with(start));
        let limit = |error: LimitError| {
            // Of two limits that contradict each other, the one that was set.
            let others = Limits::NAMES.iter().filter(|name| error.message.contains(**name));
            let set = [error.name].into_iter().chain(others.copied());
            let set = set.map(|name| self.origin(&format!("{LIMITS}{name}")));
            let origin = set.clone().find(|origin| **origin != Origin::Default);
            let origin = origin.unwrap_or(&Origin::Default).clone();
            Problem { origin, message: format!("{LIMITS}{error}") }
        };
        // Nor of limits that contradict those.
        let mentions = |error: &LimitError, key: &String| {
            let name = key.strip_prefix(LIMITS).unwrap_or(key);
            Limits::NAMES.contains(&name) && (error.name == name || error.message.contains(name))
        };
        let mut wrong = self.limits.problems();
        wrong.retain(|error| !mistaken.iter().any(|key| mentions(error, key)));
        let mut problems: Vec<Problem> = wrong.into_iter().map(limit).collect();
        if self.listen.is_empty() {
            let message = "listen: expected at least one address".to_owned();
            problems.push(Problem { origin: self.origin("listen").clone(), message });
        }
        if is_known("listen") && is_known("tls_") {
            problems.extend(self.acceptor(None).err());
        }
        if let Some(admin) = self.admin
            && !admin.ip().is_loopback()
            && self.admin_token_file.is_none()
        {
            let message = format!(
                "admin: {admin} is not a loopback address: set admin_token_file, whose token \
                 every request then has to carry"
            );
            problems.push(Problem { origin: self.origin("admin").clone(), message });
        }
        problems
    }

    /// The keys whose values differ in `other`, each with both values.
    pub fn differences(&self, other: &Settings) -> Vec<(String, String, String)> {
        let keys = KEYS.iter().map(|key| (key.name.to_owned(), (key.get)(self), (key.get)(other)));
        let (limits, others) = (self.limits.table(), other.limits.table());
        let limits = limits.into_iter().zip(others).map(|(limit, other)| {
            (format!("{LIMITS}{}", limit.0), limit.1.to_string(), other.1.to_string())
        });
        let rules = |settings: &Settings| format!("{} rules", settings.rules.len());
        let changed = self.rules != other.rules;
        let rules = changed.then(|| ("topics".to_owned(), rules(self), rules(other)));
        keys.chain(limits).filter(|(_, one, other)| one != other).chain(rules).collect()
    }

    /// Whether a running server can be given a new value of this key.
    pub fn is_reloadable(key: &str) -> bool {
        key == "log"
            || key.starts_with("tls_")
            || key.strip_prefix(LIMITS).is_some_and(|name| Limits::RELOADABLE.contains(&name))
    }

    /// Whether a key was given a value.
    pub fn is_set(&self, key: &str) -> bool {
        *self.origin(key) != Origin::Default
    }

    /// Where a key got its value.
    fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Every key with its value and where that came from: a configuration file.
    pub fn effective(&self) -> String {
        let line = |key: &str, name: &str, value: &str| {
            format!("{:<40} # {}\n", format!("{name} = {value}"), self.origin(key))
        };
        let mut out: String =
            KEYS.iter().map(|key| line(key.name, key.name, &(key.get)(self))).collect();
        out += "\n[limits]\n";
        for (name, value, _) in self.limits.table() {
            out += &line(&format!("{LIMITS}{name}"), name, &value.to_string());
        }
        out += &topics::printed(&self.rules, |place, key| {
            let given = self.topics[place].iter().find(|given| given.key == key);
            given.map_or(&Origin::Default, |given| &given.origin).to_string()
        });
        out
    }
}

/// Every key with its default and its text; those that a reload can change say so.
pub fn reference() -> String {
    let defaults = Settings::default();
    let reload = |key: &str| if Settings::is_reloadable(key) { " (reload)" } else { "" };
    let mut out = String::from("# (reload): SIGHUP gives a running server a new value.\n");
    for Key { name, text, get, .. } in KEYS {
        out += &format!("{name} = {}\n    {text}{}\n", get(&defaults), reload(name));
    }
    out += "\n[limits]\n";
    for (name, value, text) in defaults.limits.table() {
        let reload = reload(&format!("{LIMITS}{name}"));
        out += &format!("{name} = {value}\n    {text}{reload}\n");
    }
    out += &topics::reference(&defaults.limits);
    out
}

/// The limits as a table in Markdown.
pub fn limits_table() -> String {
    let mut out = String::from(
        "| limit | default | unit | reload | what it is, and what happens above it |\n\
         |---|---|---|---|---|\n",
    );
    for (name, value, text) in Limits::default().table() {
        let unit = Limits::unit(name);
        let reload = if Limits::RELOADABLE.contains(&name) { "yes" } else { "" };
        out += &format!("| `{name}` | {value} | {unit} | {reload} | {text} |\n");
    }
    out
}

#[cfg(test)]
mod tests;
