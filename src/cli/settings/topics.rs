//! The rules of topics: the keys of `[[topics]]`, and the rules that tables of them make.

use crate::base::Limits;
use crate::hub::{Access, Rule, Rules, SlowReader};
use crate::settings::Takes::{One, Several};
use crate::settings::{
    Assignment, Key, Origin, Problem, Unit, all, choice, did_you_mean, find, list, number, one,
    put, quoted, word,
};

/// The name of the tables: `topics.0.pattern` is a key of the first.
pub const TOPICS: &str = "topics";

/// A key whose value is a number and that has the name of its field.
macro_rules! count {
    ($field:ident, $unit:literal, $text:literal) => {
        Key {
            name: stringify!($field),
            takes: One($unit),
            text: $text,
            set: |rule, values| {
                let value = number(one(values)?, Unit::of(stringify!($field)))?;
                let fits = value.try_into().map_err(|_| format!("{value} is too large"));
                put(&mut rule.$field, fits)
            },
            get: |rule| rule.$field.to_string(),
        }
    };
}

/// A key whose value is one of a few words and that has the name of its field.
macro_rules! word {
    ($field:ident, $takes:literal, $words:expr, $text:literal) => {
        Key {
            name: stringify!($field),
            takes: One($takes),
            text: $text,
            set: |rule, values| put(&mut rule.$field, choice(one(values)?, $words)),
            get: |rule| word(&rule.$field, $words),
        }
    };
}

const ACCESS: &[(&str, Access)] =
    &[("anyone", Access::Anyone), ("local", Access::Local), ("server", Access::Server)];
const SLOW_READER: &[(&str, SlowReader)] =
    &[("gap", SlowReader::Gap), ("conflate", SlowReader::Conflate), ("close", SlowReader::Close)];
/// The modes, by whether they deliver every message.
const DELIVERIES: &[(&str, bool)] = &[("all", true), ("latest", false)];

/// Every key of a rule.
pub const KEYS: &[Key<Rule>] = &[
    Key {
        name: "pattern",
        takes: One("PATTERN"),
        text: "Topics that the rule is for: a name, in which * stands for one segment, and > at \
               the end for one or more. The first rule that matches a topic applies.",
        set: |rule, values| put(&mut rule.pattern, one(values).map(str::to_owned)),
        get: |rule| quoted(&rule.pattern),
    },
    count!(
        retention_messages,
        "N",
        "Messages that the history of a topic retains, at most log_messages_max."
    ),
    count!(
        retention_bytes,
        "BYTES",
        "Bytes that the history of a topic retains, at most log_bytes_max."
    ),
    count!(
        retention_ms,
        "MS",
        "Milliseconds that a message stays in the history. A topic without subscribers is \
         deleted with its last message."
    ),
    count!(
        keys_max,
        "N",
        "Keys of a topic whose newest values are retained outside the history. Above it, the \
         value that has not changed for longest is evicted. 0: no keys."
    ),
    Key {
        name: "delivery",
        takes: Several("all|latest"),
        text: "Delivery modes that subscribers may ask for: all, latest, or both.",
        set: |rule, values| {
            let chosen = all(values, |value| choice(value, DELIVERIES))?;
            (rule.allow_all, rule.allow_latest) = (chosen.contains(&true), chosen.contains(&false));
            Ok(())
        },
        get: |rule| {
            let is_allowed = |all| if all { rule.allow_all } else { rule.allow_latest };
            let allowed = DELIVERIES.iter().filter(|(_, all)| is_allowed(*all));
            list(&allowed.map(|(word, _)| *word).collect::<Vec<_>>())
        },
    },
    word!(
        slow_reader,
        "gap|conflate|close",
        SLOW_READER,
        "Treatment of a subscriber that falls behind its tape: gap (it is notified and continues), \
         conflate (it receives the newest values) or close (close code 4009)."
    ),
    count!(
        flush_ms,
        "MS",
        "Milliseconds for which messages are batched before they are sent. 0: one turn."
    ),
    count!(
        rate_max,
        "N",
        "Maximum updates of a subscription per second. 0: as many as the subscriber asks for."
    ),
    word!(
        publish,
        "anyone|local|server",
        ACCESS,
        "Peers that may publish: anyone, local (peers on this machine) or server (no peer)."
    ),
    word!(
        subscribe,
        "anyone|local|server",
        ACCESS,
        "Peers that may subscribe: anyone, local (peers on this machine) or server (no peer)."
    ),
    count!(
        members_max,
        "N",
        "Maximum members that $presence.TOPIC lists: subscribers that gave a name. 0: no list."
    ),
];

/// The rule of topics that no configured rule matches: anyone may subscribe, only peers on
/// this machine may publish.
pub fn default_rule(pattern: &str, limits: &Limits) -> Rule {
    Rule { publish: Access::Local, ..Rule::new(pattern, limits) }
}

/// The configured rules, and behind them the default for all other topics, among them the
/// one of `/broadcast`.
pub fn with_defaults(configured: &[Rule], limits: &Limits) -> Vec<Rule> {
    let mut rules = configured.to_vec();
    rules.push(default_rule(">", limits));
    rules
}

/// The rules that tables of assignments make, once the limits are known.
///
/// # Errors
/// Everything that is wrong with them.
pub fn rules(tables: &[Vec<Assignment>], limits: &Limits) -> Result<Vec<Rule>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut rules = Vec::new();
    for table in tables {
        match rule(table, limits) {
            Ok(rule) => rules.push(rule),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

fn rule(table: &[Assignment], limits: &Limits) -> Result<Rule, Vec<Problem>> {
    let mut rule = default_rule("", limits);
    let mut problems = Vec::new();
    for assignment in table {
        let Assignment { key, values, origin } = assignment;
        let set = match find(KEYS, key) {
            Some(known) => {
                (known.set)(&mut rule, values).map_err(|error| format!("{key}: {error}"))
            }
            None => {
                let hint = did_you_mean(key, KEYS.iter().map(|known| known.name));
                Err(format!("unknown key {key}{hint}"))
            }
        };
        if let Err(message) = set {
            problems.push(problem(message, origin));
        }
    }
    if problems.is_empty()
        && let Err(error) = Rules::new(vec![rule.clone()], limits)
    {
        // The origin of the key that the message begins with, or of the rule's first key.
        let named = table.iter().find(|given| error.message.starts_with(&given.key));
        let origin = named.or(table.first()).map_or(&Origin::Default, |given| &given.origin);
        problems.push(problem(error.message, origin));
    }
    if problems.is_empty() { Ok(rule) } else { Err(problems) }
}

fn problem(message: String, origin: &Origin) -> Problem {
    Problem { origin: origin.clone(), message: format!("topics: {message}") }
}

/// The rules as a configuration file has them, each key with a `comment`.
pub fn printed(rules: &[Rule], comment: impl Fn(usize, &str) -> String) -> String {
    let mut out = String::new();
    for (place, rule) in rules.iter().enumerate() {
        out += "\n[[topics]]\n";
        for key in KEYS {
            let line = format!("{} = {}", key.name, (key.get)(rule));
            out += &format!("{line:<40} # {}\n", comment(place, key.name));
        }
    }
    out
}

/// Every key with its default and its text.
pub fn reference(limits: &Limits) -> String {
    let rule = default_rule(">", limits);
    let lines =
        KEYS.iter().map(|key| format!("{} = {}\n    {}\n", key.name, (key.get)(&rule), key.text));
    format!("\n[[topics]]\n{}", lines.collect::<String>())
}
