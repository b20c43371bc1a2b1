//! Rules by topic name: retention, limits, and the right to publish and subscribe.

use super::mode::{Mode, RATE_MAX, SlowReader};
use super::name;
use crate::base::Limits;

/// Which connections may do something. Code of the server may do everything.
///
/// ```
/// use tapecast::hub::{Access, Caller};
///
/// assert!(Access::Local.allows(Caller::Peer { is_local: true, network: 0 }));
/// assert!(!Access::Local.allows(Caller::Peer { is_local: false, network: 0 }));
/// assert!(Access::Server.allows(Caller::Server));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Every peer.
    #[default]
    Anyone,
    /// Peers on this machine: a loopback address or a Unix socket, and no page of the web.
    Local,
    /// No peer.
    Server,
}

/// On whose behalf something is done.
///
/// ```
/// use tapecast::hub::{Access, Caller};
///
/// assert!(!Access::Server.allows(Caller::Peer { is_local: true, network: 0 }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The server's own.
    Server,
    /// A peer's.
    Peer {
        /// It is on this machine.
        is_local: bool,
        /// Its IPv4 address, or its /64, as a number; 0 without one.
        network: u64,
    },
}

impl Access {
    /// Whether `caller` may.
    pub fn allows(self, caller: Caller) -> bool {
        match (self, caller) {
            (_, Caller::Server) | (Access::Anyone, _) => true,
            (Access::Local, Caller::Peer { is_local, .. }) => is_local,
            (Access::Server, _) => false,
        }
    }
}

/// The rule for the topics that a pattern matches.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::hub::{Rule, Rules, SlowReader};
///
/// let limits = Limits::default();
/// let quotes = Rule { slow_reader: SlowReader::Conflate, ..Rule::new("quotes.*", &limits) };
/// let rules = Rules::new(vec![quotes], &limits).unwrap();
/// assert_eq!(rules.of("quotes.BTC").slow_reader, SlowReader::Conflate);
/// assert_eq!(rules.of("trades.BTC").slow_reader, SlowReader::Gap);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A topic's name or a pattern.
    pub pattern: String,
    /// Messages of history to keep.
    pub retention_messages: usize,
    /// Bytes of history to keep; the newest message always stays.
    pub retention_bytes: usize,
    /// Milliseconds that a message stays in the history. A topic that nobody reads
    /// is forgotten with its last message.
    pub retention_ms: u64,
    /// Keys whose newest value is kept outside of the history. Above it, the value that has
    /// not changed for longest is evicted. 0: no keys, and a publication with one is refused.
    pub keys_max: usize,
    /// Whether `Mode::All` may be asked for.
    pub allow_all: bool,
    /// Whether `Mode::Latest` may be asked for.
    pub allow_latest: bool,
    /// The treatment of a reader that falls behind its tape.
    pub slow_reader: SlowReader,
    /// Milliseconds for which the home batches messages before it forwards them.
    /// 0: a turn.
    pub flush_ms: u32,
    /// Maximum moves per second of every subscription. 0: what the subscription asks for.
    pub rate_max: u32,
    /// The connections that may publish.
    pub publish: Access,
    /// The connections that may subscribe.
    pub subscribe: Access,
    /// Members of a presence list. Above it: new members are not listed. 0: no list.
    pub members_max: usize,
}

impl Rule {
    /// The rule that holds where none is given, for `pattern`.
    pub fn new(pattern: &str, limits: &Limits) -> Rule {
        Rule {
            pattern: pattern.to_owned(),
            retention_messages: limits.log_messages_max,
            retention_bytes: limits.log_bytes_max,
            retention_ms: limits.log_ms,
            keys_max: limits.topic_keys_max,
            allow_all: true,
            allow_latest: true,
            slow_reader: SlowReader::default(),
            flush_ms: 0,
            rate_max: 0,
            publish: Access::default(),
            subscribe: Access::default(),
            members_max: 0,
        }
    }

    /// Whether a subscription may be in this mode.
    pub fn allows(&self, mode: Mode) -> bool {
        match mode {
            Mode::All => self.allow_all,
            Mode::Latest => self.allow_latest,
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), String> {
        let at_most = |key: &str, value: u64, most: u64| {
            if value <= most {
                return Ok(());
            }
            Err(format!("{key} is {value}: expected at most {most}"))
        };
        if !name::is_topic_name(&self.pattern) && !name::is_pattern(&self.pattern) {
            return Err(format!(
                "pattern is {:?}: expected a topic's name, in which * stands for a segment, and > \
                 at the end for one or more",
                self.pattern
            ));
        }
        let messages_max = limits.log_messages_max as u64;
        at_most("retention_messages", self.retention_messages as u64, messages_max)?;
        at_most("retention_bytes", self.retention_bytes as u64, limits.log_bytes_max as u64)?;
        at_most("retention_ms", self.retention_ms, 365 * 24 * 3_600_000)?;
        at_most("keys_max", self.keys_max as u64, 1 << 24)?;
        at_most("flush_ms", self.flush_ms.into(), 60_000)?;
        at_most("rate_max", self.rate_max.into(), RATE_MAX.into())?;
        at_most("members_max", self.members_max as u64, 1 << 24)?;
        if !self.allow_all && !self.allow_latest {
            return Err("delivery is empty: expected all, latest, or both".into());
        }
        Ok(())
    }
}

/// An invalid rule, and why it is.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::hub::{Rule, Rules};
///
/// let limits = Limits::default();
/// let error = Rules::new(vec![Rule::new("a..b", &limits)], &limits).unwrap_err();
/// assert_eq!(error.rule, 0);
/// assert!(error.to_string().starts_with("pattern is \"a..b\": expected"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Its place in the list.
    pub rule: usize,
    /// The fault of the value, and the values that are expected.
    pub message: String,
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for RuleError {}

/// All rules: of those that match a topic the first holds, and where none does the
/// default.
///
/// ```
/// use tapecast::Limits;
/// use tapecast::hub::Rules;
///
/// let rules = Rules::new(Vec::new(), &Limits::default()).unwrap();
/// assert_eq!(rules.of("news").retention_ms, Limits::default().log_ms);
/// ```
#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Checks the rules and puts the default behind them.
    ///
    /// # Errors
    /// The first invalid rule.
    pub fn new(mut rules: Vec<Rule>, limits: &Limits) -> Result<Rules, RuleError> {
        for (rule, found) in rules.iter().enumerate() {
            found.check(limits).map_err(|message| RuleError { rule, message })?;
        }
        if rules.len() >= usize::from(u16::MAX) {
            let message = "expected at most 65534 rules".into();
            return Err(RuleError { rule: rules.len() - 1, message });
        }
        rules.push(Rule::new(">", limits));
        Ok(Rules(rules))
    }

    /// The rule of the topic of this name.
    pub fn of(&self, name: &str) -> &Rule {
        self.get(self.number(name))
    }

    /// The place of the rule of the topic of this name.
    pub fn number(&self, name: &str) -> u16 {
        // The list of a topic's members has the topic's rule.
        let name = name.strip_prefix(name::PRESENCE).unwrap_or(name);
        let found = self.0.iter().position(|rule| name::matches(&rule.pattern, name));
        // The last is for what no other matches, reserved names included.
        found.unwrap_or(self.0.len() - 1) as u16
    }

    /// The rule at a place.
    #[inline]
    pub fn get(&self, number: u16) -> &Rule {
        &self.0[usize::from(number)]
    }
}
