//! The definition of a key, and its flag and help on the command line.

use super::{Assignment, Origin};
use clap::{Arg, ArgAction, ArgMatches};

/// How many values a key takes, and the placeholder for one in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One.
    One(&'static str),
    /// Any number: the flag is repeated, a variable separates them by commas.
    Several(&'static str),
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

/// A setting of a `T`. This is the only definition of a key: everything that a program says
/// about it, and everything that sets it, is made from it.
pub struct Key<T: 'static> {
    /// The name in files, with `_` between its words.
    pub name: &'static str,
    /// The values that it takes.
    pub takes: Takes,
    /// Its meaning, in whole sentences.
    pub text: &'static str,
    /// Sets it from text, or says what was expected.
    pub set: fn(&mut T, &[String]) -> Result<(), String>,
    /// Its value as TOML, which `set` reads back; empty where it has none.
    pub get: fn(&T) -> String,
}

/// The key of this name.
pub fn find<'a, T>(keys: &'a [Key<T>], name: &str) -> Option<&'a Key<T>> {
    keys.iter().find(|key| key.name == name)
}

impl<T> Key<T> {
    /// Whether it takes any number of values.
    pub fn is_list(&self) -> bool {
        matches!(self.takes, Takes::Several(_))
    }

    /// The placeholder for a value in the help.
    pub fn placeholder(&self) -> &'static str {
        match self.takes {
            Takes::One(value) | Takes::Several(value) => value,
            Takes::Switch => "BOOL",
        }
    }

    /// The flag, like `--log-format`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The value without the marks of TOML; nothing where there is none.
    fn plain(&self, target: &T) -> String {
        let value = (self.get)(target);
        let inner = value.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(&value);
        let items = inner.split(", ").map(|item| item.trim_matches('"'));
        items.collect::<Vec<_>>().join(", ")
    }

    /// The help of the flag: the text, and the default where there is one.
    pub fn help(&self, default: &T) -> String {
        let mut help = self.text.to_owned();
        if self.is_list() {
            help += " May be given several times.";
        }
        match self.plain(default).as_str() {
            "" => help,
            default => format!("{help} [default: {default}]"),
        }
    }

    /// The flag as a program's command line takes it. Its values are checked by `set`, with
    /// those of all other sources.
    pub fn argument(&self, default: &T) -> Arg {
        let argument = Arg::new(self.name)
            .long(self.name.replace('_', "-"))
            .value_name(self.placeholder())
            .help(self.help(default))
            .action(if self.is_list() { ArgAction::Append } else { ArgAction::Set });
        if self.takes == Takes::Switch {
            // `--flag=false` overrides a profile.
            argument.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            argument
        }
    }

    /// The assignment of the command line, if the key's flag was given.
    pub fn given(&self, matches: &ArgMatches) -> Option<Assignment> {
        let values = matches.get_many::<String>(self.name)?.cloned().collect();
        Some(Assignment { key: self.name.to_owned(), values, origin: Origin::Flag(self.flag()) })
    }
}
