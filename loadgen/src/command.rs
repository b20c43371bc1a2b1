//! The command line: a flag for every key of a profile, and the files for results.

use crate::profile::bound::{FailIf, Objective};
use crate::profile::{BUILT_IN, GROUP_KEYS, Group, NAMES, Profile, RUN_KEYS};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::path::Path;
use tapecast::settings::Assignment;

/// The order that the command line gives.
#[derive(Debug)]
pub enum Order {
    Run(Run),
    /// Makes one report of several.
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

/// The files that the report is written to, besides the summary.
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
    /// The files to write, each after its flag.
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

    /// Whether a report goes to the standard output.
    pub fn takes_stdout(&self) -> bool {
        self.files().any(|(_, file)| file == "-")
    }

    /// The outputs that can't be written: the program reports them before a run, not after it.
    pub fn problems(&self) -> Vec<String> {
        let to_stdout: Vec<&str> =
            self.files().filter(|(_, file)| *file == "-").map(|(flag, _)| flag).collect();
        let mut problems = Vec::new();
        if to_stdout.len() > 1 {
            problems.push(format!(
                "{} can't both write to the standard output: pass a file to one",
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
  0  passed: everything that the scenario promises arrived, and no --fail-if holds
  1  failed: a --fail-if holds, or there is no result
  2  the command line or a profile is wrong
  3  suspicious: something that the scenario promises is missing (no replies, deliveries that
     did not arrive, connections that were refused or lost)";

/// The whole command line.
pub fn command() -> Command {
    let profiles: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    Command::new("tapecast-loadgen")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Loads any WebSocket server, checks every reply, and measures honestly.")
        .long_about(
            "Loads any WebSocket server, checks every reply, and measures honestly.\n\n\
             Messages leave at their planned times, whatever happened to earlier ones, and \
             latency is measured from the planned time, so a server that stalls can't hide it. \
             The report shows what a closed loop would have measured as \"uncorrected\".",
        )
        .after_help("--help shows more: every value of the report, examples, exit codes.")
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
        .args(keys())
        .arg(
            Arg::new("print-profile")
                .long("print-profile")
                .action(ArgAction::SetTrue)
                .help_heading("Results")
                .help("Print the effective profile with the origin of each value, and exit"),
        )
        .arg(
            Arg::new("find-max")
                .long("find-max")
                .value_name("OBJECTIVE")
                .value_parser(|text: &str| text.parse::<Objective>())
                .help_heading("Results")
                .help(
                    "Find the highest rate that meets an objective like p99<5ms without errors, \
                     in steps of --duration, and print the curve",
                ),
        )
        .arg(
            Arg::new("no-tui")
                .long("no-tui")
                .action(ArgAction::SetTrue)
                .help_heading("Results")
                .help("Print a line a second instead of a live view"),
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
                        .help("Exit with 1 if a value of all runs together is above or below a bound, like \
                               p99>5ms"),
                )
                .args(outputs()),
        )
}

/// The values that bounds and other programs use.
fn value_names() -> String {
    let mut text = String::from(
        "Values, for --fail-if, --find-max and in --json (p50, p99.9 and max mean those of \
         latency; with several groups, each has its own values after its name and a dot):\n",
    );
    for (name, meaning) in NAMES.iter().filter(|(_, meaning)| !meaning.is_empty()) {
        text += &format!("  {name:<32}{meaning}\n");
    }
    text.trim_end().to_owned()
}

/// A flag for every key, of runs and of groups.
fn keys() -> Vec<Arg> {
    let (profile, group) = (Profile::default(), Group::default());
    let run = RUN_KEYS.iter().map(|key| key.argument(&profile));
    let all = run.chain(GROUP_KEYS.iter().map(|key| key.argument(&group)));
    let heading = "Profile: each is also a key of the TOML file, with _ for -; a profile may set \
                   another default (--print-profile)";
    // A template may begin with a dash.
    all.map(|flag| flag.help_heading(heading).allow_hyphen_values(true)).collect()
}

fn outputs() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").help_heading("Results").help(help)
    };
    vec![
        file("json", "Write the whole report as JSON; - is the standard output"),
        file("csv", "Write a row a second"),
        file("hgrm", "Write latency by percentile, for HdrHistogram's plotter"),
        file("prometheus", "Write the values for Prometheus' textfile collector"),
        file("html", "Write one page with charts, without external resources"),
        file("baseline", "Report what changed against an earlier report, beyond noise"),
    ]
}

/// Reads the command line. It exits with 2 if that is wrong, and with 0 after help.
pub fn parse() -> Order {
    let matches = command().get_matches();
    if let Some(("merge", matches)) = matches.subcommand() {
        let files = matches.get_many::<String>("files").into_iter().flatten().cloned().collect();
        let fail_if = matches.get_many::<FailIf>("fail-if").into_iter().flatten().cloned();
        return Order::Merge { files, fail_if: fail_if.collect(), outputs: outputs_of(matches) };
    }
    let run = RUN_KEYS.iter().filter_map(|key| key.given(&matches));
    let flags = run.chain(GROUP_KEYS.iter().filter_map(|key| key.given(&matches)));
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
    fn the_command_line_has_no_contradiction() {
        command().debug_assert();
    }

    #[test]
    fn every_key_has_a_flag_and_is_in_the_help() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let help = words(&command().render_long_help().to_string());
        let run = RUN_KEYS.iter().map(|key| (key.flag(), key.text));
        for (flag, text) in run.chain(GROUP_KEYS.iter().map(|key| (key.flag(), key.text))) {
            let has_flag =
                help.contains(&format!("{flag} <")) || help.contains(&format!("{flag}[="));
            assert!(has_flag && help.contains(&words(text)), "{flag}: {text}");
        }
    }
}
