//! The command line: a flag for every key of a profile, and where results go.

use crate::profile::{Assignment, BUILT_IN, KEYS, Key, Origin, SWITCH};
use crate::report::NAMES;
use crate::verdict::{FailIf, Objective};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;

/// What to do.
#[derive(Debug)]
pub enum Order {
    Run(Run),
    /// Make one report of several.
    Merge {
        files: Vec<String>,
        fail_if: Vec<FailIf>,
        outputs: Outputs,
    },
}

/// A run.
#[derive(Debug)]
pub struct Run {
    pub profile: String,
    pub flags: Vec<Assignment>,
    pub print_profile: bool,
    pub find_max: Option<Objective>,
    pub is_plain: bool,
    pub outputs: Outputs,
}

/// Where the report goes, besides the summary.
#[derive(Debug, Default)]
pub struct Outputs {
    pub json: Option<String>,
    pub csv: Option<String>,
    pub hgrm: Option<String>,
    pub prometheus: Option<String>,
    pub html: Option<String>,
    pub baseline: Option<String>,
}

impl Outputs {
    /// The files that are wanted, each after its flag.
    fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("--json", &self.json),
            ("--csv", &self.csv),
            ("--hgrm", &self.hgrm),
            ("--prometheus", &self.prometheus),
            ("--html", &self.html),
        ];
        all.into_iter().filter_map(|(flag, file)| Some((flag, file.as_deref()?)))
    }

    /// Whether something but the summary goes to the standard output.
    pub fn takes_stdout(&self) -> bool {
        self.files().any(|(_, file)| file == "-")
    }

    /// What can't be written: it is a pity to learn that after a run.
    pub fn problems(&self) -> Vec<String> {
        let to_stdout: Vec<&str> =
            self.files().filter(|(_, file)| *file == "-").map(|(flag, _)| flag).collect();
        let mut problems = Vec::new();
        if to_stdout.len() > 1 {
            problems.push(format!(
                "{} can't both go to the standard output: give one a file",
                to_stdout.join(" and ")
            ));
        }
        for (flag, file) in self.files().filter(|(_, file)| *file != "-") {
            let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                problems.push(format!("{flag}: {file}: there is no such folder"));
            }
        }
        problems
    }
}

const EXAMPLES: &str = "\
Examples:
  tapecast-loadgen echo --url ws://127.0.0.1:9001/echo
  tapecast-loadgen echo --url ws://127.0.0.1:9001/echo --rate 20000 --connections 500 \\
      --fail-if 'p99>5ms' --fail-if 'errors>0' --html report.html
  tapecast-loadgen pipeline --url ws://127.0.0.1:9001/echo --server-pid $(pidof tapecast)
  tapecast-loadgen broadcast --url ws://127.0.0.1:9001/broadcast --find-max 'p99<10ms'
  tapecast-loadgen my-profile.toml --duration 1m --csv seconds.csv --no-tui
  tapecast-loadgen merge machine-a.json machine-b.json --html both.html

Exit codes:
  0  passed: what the scenario promises came, and no --fail-if holds
  1  failed: a --fail-if holds; or there is no result
  2  the command line or a profile is wrong
  3  suspicious: what the scenario promises did not come (no replies, deliveries that are
     missing, connections that were refused or lost)";

/// The whole command line, for help and completion of words.
pub fn command() -> Command {
    let profiles: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    Command::new("tapecast-loadgen")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Loads any WebSocket server, checks every reply, and measures honestly.")
        .long_about(
            "Loads any WebSocket server, checks every reply, and measures honestly.\n\n\
             Messages leave when they are planned, whatever becomes of the earlier ones, and \
             latency runs from the planned time: a server that stalls can't hide it. What it would \
             have looked like otherwise stands beside it as \"uncorrected\".",
        )
        .after_help("--help says more: every value of the report, examples, exit codes.")
        .after_long_help(format!("{}\n\n{EXAMPLES}", value_names()))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .subcommand_precedence_over_arg(true)
        .arg(
            Arg::new("profile")
                .value_name("PROFILE")
                .required(true)
                .help(format!("A built-in profile, or a TOML file: {}", profiles.join(", "))),
        )
        .args(KEYS.iter().map(flag))
        .arg(
            Arg::new("print-profile")
                .long("print-profile")
                .action(ArgAction::SetTrue)
                .help_heading("Results")
                .help("Print the effective profile, with where each value came from, and end"),
        )
        .arg(
            Arg::new("find-max")
                .long("find-max")
                .value_name("OBJECTIVE")
                .value_parser(|text: &str| text.parse::<Objective>())
                .help_heading("Results")
                .help(
                    "Raise the rate in steps to the highest that keeps an objective like p99<5ms, \
                     without errors, and print the curve; each step lasts --duration",
                ),
        )
        .arg(
            Arg::new("no-tui")
                .long("no-tui")
                .action(ArgAction::SetTrue)
                .help_heading("Results")
                .help("A line a second instead of a view that is redrawn"),
        )
        .args(outputs())
        .subcommand(
            Command::new("merge")
                .about("Makes one report of runs made on several machines at the same time")
                .arg(
                    Arg::new("files")
                        .value_name("FILE.json")
                        .num_args(2..)
                        .required(true)
                        .help("Reports written with --json"),
                )
                .arg(
                    Arg::new("fail-if")
                        .long("fail-if")
                        .value_name("BOUND")
                        .action(ArgAction::Append)
                        .value_parser(|text: &str| text.parse::<FailIf>())
                        .help_heading("Results")
                        .help("End with 1 if a value of all runs together is on that side, like p99>5ms"),
                )
                .args(outputs()),
        )
}

/// The values that verdicts and programs look at.
fn value_names() -> String {
    let mut text = String::from(
        "Values, for --fail-if, --find-max and in --json (p50, p99.9, max mean latency_…; of \
         several groups, each has its own after its name and a dot):\n",
    );
    for (name, meaning) in NAMES.iter().filter(|(_, meaning)| !meaning.is_empty()) {
        text += &format!("  {name:<32}{meaning}\n");
    }
    text.trim_end().to_owned()
}

fn flag(key: &Key) -> Arg {
    let flag = key.name.replace('_', "-");
    let help = match key.default().as_str() {
        "" | "[]" | "\"\"" => key.text.to_owned(),
        default => format!("{} [default: {}]", key.text, default.trim_matches('"')),
    };
    let argument = Arg::new(key.name)
        .long(flag)
        .value_name(key.value)
        .help(help)
        .help_heading(
            "Profile: each is also a key of the TOML file, with _ for -; a profile may set \
             another default (--print-profile)",
        )
        .allow_hyphen_values(true)
        .action(if key.is_list { ArgAction::Append } else { ArgAction::Set });
    match key.value == SWITCH {
        // The flag alone, or with =false against a profile.
        true => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        false => argument,
    }
}

fn outputs() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").help_heading("Results").help(help)
    };
    vec![
        file("json", "Write the whole report as JSON; - is the standard output"),
        file("csv", "Write a row a second"),
        file("hgrm", "Write latency by percentile as HdrHistogram's plotter reads it"),
        file("prometheus", "Write the values for Prometheus' textfile collector"),
        file("html", "Write one page with charts, without outside resources"),
        file("baseline", "Say what changed against an earlier report, beyond noise"),
    ]
}

/// Reads the command line; ends the process with 2 if it is wrong, and with 0 after
/// help.
pub fn parse() -> Order {
    let matches = command().get_matches();
    if let Some(("merge", matches)) = matches.subcommand() {
        let files = matches.get_many::<String>("files").into_iter().flatten().cloned().collect();
        let fail_if = matches.get_many::<FailIf>("fail-if").into_iter().flatten().cloned();
        return Order::Merge { files, fail_if: fail_if.collect(), outputs: outputs_of(matches) };
    }
    let flags = KEYS.iter().filter_map(|key| {
        let values = matches.get_many::<String>(key.name)?.cloned().collect();
        Some(Assignment { key: key.name.to_owned(), values, origin: Origin::Flag, group: None })
    });
    Order::Run(Run {
        profile: matches.get_one::<String>("profile").cloned().unwrap_or_default(),
        flags: flags.collect(),
        print_profile: matches.get_flag("print-profile"),
        find_max: matches.get_one::<Objective>("find-max").cloned(),
        is_plain: matches.get_flag("no-tui"),
        outputs: outputs_of(&matches),
    })
}

fn outputs_of(matches: &ArgMatches) -> Outputs {
    let file = |name: &str| matches.get_one::<String>(name).cloned();
    Outputs {
        json: file("json"),
        csv: file("csv"),
        hgrm: file("hgrm"),
        prometheus: file("prometheus"),
        html: file("html"),
        baseline: file("baseline"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
