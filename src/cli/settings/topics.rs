//! The rules of topics: `[[topics]]` of a configuration file or profile.

use super::{Assignment, Origin, Problem, one};
use crate::base::Limits;
use crate::cli::text;
use crate::hub::{Access, Rule, Rules, SlowReader};

/// The prefix of the keys of rules: `topics.0.pattern` is the first one's.
pub const TOPICS: &str = "topics.";

/// A key of a rule.
struct Key {
    name: &'static str,
    text: &'static str,
    set: fn(&mut Rule, &[String]) -> Result<(), String>,
    /// As a TOML value.
    get: fn(&Rule) -> String,
}

/// A key whose value is a number and that has the name of its field.
macro_rules! count {
    ($field:ident, $text:literal) => {
        Key {
            name: stringify!($field),
            text: $text,
            set: |rule, values| {
                let unit = text::Unit::of(stringify!($field));
                let value = text::number(one(values)?, unit)?;
                rule.$field = value.try_into().map_err(|_| format!("{value} is too large"))?;
                Ok(())
            },
            get: |rule| rule.$field.to_string(),
        }
    };
}

/// A key whose value is one of a few words and that has the name of its field.
macro_rules! word {
    ($field:ident, $text:literal, $words:expr) => {
        Key {
            name: stringify!($field),
            text: $text,
            set: |rule, values| {
                rule.$field = choose(&$words, one(values)?)?;
                Ok(())
            },
            get: |rule| {
                let found = $words.into_iter().find(|word| word.1 == rule.$field);
                text::quoted(found.expect("every value has its word").0)
            },
        }
    };
}

const ACCESS: [(&str, Access); 3] =
    [("anyone", Access::Anyone), ("local", Access::Local), ("server", Access::Server)];
const SLOW_READER: [(&str, SlowReader); 3] =
    [("gap", SlowReader::Gap), ("conflate", SlowReader::Conflate), ("close", SlowReader::Close)];

const KEYS: &[Key] = &[
    Key {
        name: "pattern",
        text: "The topics that the rule is for: a name, in which * stands for one segment, and \
               > at the end for one or more. Of several that match the first holds.",
        set: |rule, values| {
            rule.pattern = one(values)?.to_owned();
            Ok(())
        },
        get: |rule| text::quoted(&rule.pattern),
    },
    count!(retention_messages, "Messages of history to keep, at most log_messages_max."),
    count!(retention_bytes, "Bytes of history to keep, at most log_bytes_max."),
    count!(
        retention_ms,
        "Milliseconds that a message stays in the history; a topic that nobody reads is \
         forgotten with its last message."
    ),
    count!(
        keys_max,
        "Keys whose newest value is kept outside of the history. Above it: the value that has \
         not changed for longest goes. 0: no keys."
    ),
    Key {
        name: "delivery",
        text: "What may be asked for: all, latest, or both.",
        set: |rule, values| {
            let words = [("all", true), ("latest", false)];
            let chosen: Vec<bool> =
                values.iter().map(|value| choose(&words, value)).collect::<Result<_, _>>()?;
            (rule.allow_all, rule.allow_latest) = (chosen.contains(&true), chosen.contains(&false));
            Ok(())
        },
        get: |rule| {
            let words = [("\"all\"", rule.allow_all), ("\"latest\"", rule.allow_latest)];
            let allowed: Vec<&str> =
                words.into_iter().filter(|word| word.1).map(|word| word.0).collect();
            format!("[{}]", allowed.join(", "))
        },
    },
    word!(
        slow_reader,
        "What becomes of a reader that falls off its tape: gap (it is told and goes on), \
         conflate (it gets the newest values) or close (4009).",
        SLOW_READER
    ),
    count!(
        flush_ms,
        "Milliseconds for which messages are gathered before they are sent on. 0: a turn."
    ),
    count!(
        rate_max,
        "Times a second that a subscription moves at most. 0: as often as it asks for."
    ),
    word!(
        publish,
        "Who may publish: anyone, local (peers on this machine) or server (no peer).",
        ACCESS
    ),
    word!(subscribe, "Who may subscribe: anyone, local or server.", ACCESS),
    count!(
        members_max,
        "Members that $presence.TOPIC lists at most: who subscribes with a name. 0: no list."
    ),
];

fn choose<T: Copy>(words: &[(&str, T)], value: &str) -> Result<T, String> {
    let found = words.iter().find(|word| word.0 == value);
    found.map(|word| word.1).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|word| word.0).collect();
        let near = text::nearest(value, names.iter().copied());
        format!("{value:?}: expected {}{near}", names.join(", "))
    })
}

/// What holds where a configuration says nothing: a browser that comes from anywhere may
/// read, but who publishes is on this machine, unless a rule says otherwise.
fn default_rule(pattern: &str, limits: &Limits) -> Rule {
    Rule { publish: Access::Local, ..Rule::new(pattern, limits) }
}

/// The rules of the program: those that are configured, and the default for all other topics,
/// that of `/broadcast` among them.
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
        let set = match KEYS.iter().find(|known| known.name == key) {
            Some(known) => {
                (known.set)(&mut rule, values).map_err(|error| format!("{key}: {error}"))
            }
            None => {
                let near = text::nearest(key, KEYS.iter().map(|known| known.name));
                Err(format!("unknown key {key}{near}"))
            }
        };
        if let Err(message) = set {
            problems.push(problem(message, origin));
        }
    }
    if problems.is_empty()
        && let Err(error) = Rules::new(vec![rule.clone()], limits)
    {
        // The place of the key that the message begins with, or of the first.
        let named = table.iter().find(|given| error.message.starts_with(&given.key));
        let origin = named.or(table.first()).map_or(&Origin::Default, |given| &given.origin);
        problems.push(problem(error.message, origin));
    }
    if problems.is_empty() { Ok(rule) } else { Err(problems) }
}

fn problem(message: String, origin: &Origin) -> Problem {
    Problem { origin: origin.clone(), message: format!("topics: {message}") }
}

/// The rules as a configuration file has them; `comment` says where a key of one was
/// set.
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
