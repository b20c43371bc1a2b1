//! Settings as text: `check-config`, `limits`, and the changes of a reload.

use super::keys::{KEYS, LIMITS, is_reloadable};
use super::topics;
use super::values::Settings;
use crate::base::Limits;
use crate::settings::Origin;

impl Settings {
    /// Every key with its value and its origin: a configuration file.
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

    /// Whether a reload gives a running server a new value of this key.
    pub fn is_reloadable(key: &str) -> bool {
        is_reloadable(key)
    }
}

/// Every key with its default and its text; those that a reload changes say so.
pub fn reference() -> String {
    let defaults = Settings::default();
    let reload = |key: &str| if is_reloadable(key) { " (reload)" } else { "" };
    let mut out = String::from("# (reload): SIGHUP gives a running server a new value.\n");
    for key in KEYS {
        let (name, text) = (key.name, key.text);
        out += &format!("{name} = {}\n    {text}{}\n", (key.get)(&defaults), reload(name));
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
