//! The values that a server runs with. It knows no key and no source.

use super::tls::Tls;
use crate::base::Limits;
use crate::hub::Rule;
use crate::routes::OPTIONAL;
use crate::server::Address;
use crate::settings::{Assignment, Origin};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

/// The number of shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One on every core that the process may use.
    PerCore,
    /// So many.
    Count(NonZeroU16),
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The values that the server runs with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: Vec<Address>,
    /// The optional routes that are served.
    pub routes: Vec<String>,
    pub tls: Tls,
    pub shards: Shards,
    pub admin: Option<SocketAddr>,
    pub admin_token_file: Option<PathBuf>,
    pub log: String,
    pub log_format: LogFormat,
    pub limits: Limits,
    /// The rules of topics, of which the first that matches applies.
    pub rules: Vec<Rule>,
    /// The assignments that make the rules, by rule.
    pub(super) topics: Vec<Vec<Assignment>>,
    /// The origins of the keys that were set.
    pub(super) origins: BTreeMap<String, Origin>,
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

impl Settings {
    /// Where a key got its value.
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// Whether a key was given a value.
    pub fn is_set(&self, key: &str) -> bool {
        *self.origin(key) != Origin::Default
    }
}
