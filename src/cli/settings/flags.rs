//! The flags of the commands that take settings. Each key has one of its name; four more
//! say where else settings stand, and are short for limits.

use super::keys::{KEYS, LIMITS};
use super::sources::Sources;
use super::values::Settings;
use crate::settings::{Assignment, Origin, Problem};
use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// Flags that are no keys, by the key that each assigns to. `--config` is none either: it
/// names a source.
const SHORTCUTS: &[(&str, &str)] =
    &[("profile", "profile"), ("compression", "limits.deflate_level")];

/// The flags that were given.
#[derive(Clone, Debug)]
pub struct Flags {
    config: Option<String>,
    assignments: Vec<Assignment>,
}

impl Flags {
    /// The settings that follow, with the environment and the files that are named.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the sources.
    pub fn resolve(self) -> Result<Settings, Vec<Problem>> {
        let Flags { config, assignments: flags } = self;
        Sources { config, flags, ..Sources::default() }.with_environment().resolve()
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let defaults = Settings::default();
        command.args(KEYS.iter().map(|key| key.argument(&defaults))).args([
            Arg::new("profile").long("profile").value_name("NAME|FILE").help(
                "Set of settings for a purpose: throughput, latency, memory, container, or a \
                 file that ends in .toml.",
            ),
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("Configuration file in TOML, with the keys that `tapecast limits` lists."),
            Arg::new("compression")
                .long("compression")
                .value_name("LEVEL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("1")
                .help(
                    "Compress messages for peers that offer permessage-deflate, at a level from \
                     1 (fast) to 9 (small); without LEVEL, 1. Short for --limit \
                     deflate_level=LEVEL. [default: no compression]",
                ),
            Arg::new("limit")
                .long("limit")
                .value_name("NAME=VALUE")
                .value_parser(limit)
                .action(ArgAction::Append)
                .help("A limit, like head_bytes_max=8KiB. May be given several times."),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, Error> {
        let one = |name: &str| matches.get_one::<String>(name).cloned();
        let mut assignments: Vec<Assignment> =
            KEYS.iter().filter_map(|key| key.given(matches)).collect();
        let mut assign = |flag: &str, key: String, value: String| {
            let origin = Origin::Flag(format!("--{flag}"));
            assignments.push(Assignment { key, values: vec![value], origin });
        };
        for (flag, key) in SHORTCUTS {
            if let Some(value) = one(flag) {
                assign(flag, (*key).to_owned(), value);
            }
        }
        let limits = matches.get_many::<(String, String)>("limit");
        for (name, value) in limits.into_iter().flatten() {
            assign("limit", format!("{LIMITS}{name}"), value.clone());
        }
        Ok(Flags { config: one("config"), assignments })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn limit(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err("expected NAME=VALUE, like head_bytes_max=8KiB".into()),
    }
}
