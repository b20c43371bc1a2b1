//! The commands, and which code runs each.

use super::output::{EXIT_CONFIG, complain, finish};
use super::settings::{self, Flags, Settings};
use super::{demo, doctor, replay, serve};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use std::io;
use std::process::ExitCode;

/// A WebSocket server for Linux: thread per core, one io_uring per core.
#[derive(Debug, Parser)]
#[command(name = "tapecast", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server with a simulated market, and a page to look at it.
    Demo {
        #[command(flatten)]
        flags: Flags,
        /// Market events per second.
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
    },
    /// Runs the server: / serves topics in JSON, /echo and /ws echo, /broadcast sends to
    /// everyone.
    #[command(after_help = SERVE_HELP)]
    Serve(Flags),
    /// Publishes the lines of a CSV file to a running server, at their original pace or
    /// another.
    Replay(replay::Replay),
    /// Prints the settings that `serve` would run with and the origin of each, or every
    /// mistake in them.
    CheckConfig(Flags),
    /// Checks kernel, io_uring, limits and memory: one line each, with a fix for each check
    /// that fails. Exits with 0 if all is well but for notes, 1 if the machine cannot give
    /// something that is configured, 78 if the server can't run.
    Doctor(Flags),
    /// Prints every key of the configuration with its default and its consequence.
    Limits {
        /// Prints the limits only, as the table of docs/limits.md.
        #[arg(long)]
        markdown: bool,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual page.
    Man,
}

/// The rest of what an operator needs to know.
const SERVE_HELP: &str = "\
Once the server listens it prints one line, `listening on ws://127.0.0.1:9001 (2 shards)`. Logs go
to standard error. GET /healthz answers whether it is alive, GET /readyz whether it accepts
connections.

Settings: flags override variables (TAPECAST_SHARDS, TAPECAST_LIMITS_HEAD_BYTES_MAX, ...), which
override the file of --config, which overrides --profile, which overrides the defaults. Flags but
--config, --compression and --limit are also keys of the file, with _ for -. `tapecast limits` lists
every key, `tapecast check-config` prints the settings in effect and the origin of each. A file
looks like this:

    listen = [\"0.0.0.0:9001\", \"unix:/run/tapecast/socket\"]
    admin = \"127.0.0.1:9090\"
    [limits]
    message_bytes_max = \"64 KiB\"

Signals: SIGTERM or SIGINT drains the server (/readyz answers 503, then connections are closed with
1001 over drain_ms); a second one closes them at once. SIGHUP reloads certificates and settings
without dropping connections.

Exit codes: 0 drained, 1 the server could not start or a shard failed, 2 the command line is wrong,
78 the configuration is wrong or there is no io_uring (run `tapecast doctor`).";

/// The version, the commit it was built from, and what the running kernel offers.
fn long_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = env!("COMMIT_OF_TAPECAST");
    format!("{version} ({commit})\n{}", doctor::summary())
}

/// Runs the program. `give_back` makes its allocator return memory to the system that has
/// been free for some time.
pub fn main(give_back: fn()) -> ExitCode {
    let mut command = Cli::command();
    if std::env::args().nth(1).is_some_and(|word| word == "--version") {
        // It asks the kernel, which a start need not wait for.
        command = command.long_version(long_version());
    }
    let matches = command.get_matches();
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Serve(flags) => run_server(flags, serve::plain(), give_back),
        Command::Demo { flags, rate } => run_server(flags, demo::show(rate), give_back),
        Command::Replay(what) => replay::run(&what),
        Command::CheckConfig(flags) => {
            with_settings(flags, |settings| finish(&settings.effective()))
        }
        Command::Doctor(flags) => with_settings(flags, doctor::run),
        Command::Limits { markdown: false } => finish(&settings::reference()),
        Command::Limits { markdown: true } => finish(&settings::limits_table()),
        Command::Completions { shell } => finish(&completions(shell)),
        Command::Man => match manual() {
            Ok(manual) => finish(&manual),
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        },
    }
}

fn run_server(flags: Flags, show: serve::Show, give_back: fn()) -> ExitCode {
    let again = flags.clone();
    let again = move || again.clone().resolve();
    with_settings(flags, |settings| serve::run(settings, again, show, give_back))
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tapecast", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

fn manual() -> io::Result<String> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out)?;
    for command in Cli::command().get_subcommands_mut() {
        let manual = clap_mangen::Man::new(command.clone());
        manual.render_synopsis_section(&mut out)?;
        manual.render_description_section(&mut out)?;
        manual.render_options_section(&mut out)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn with_settings(flags: Flags, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match flags.resolve() {
        Ok(settings) => run(settings),
        Err(problems) => {
            problems.iter().for_each(complain);
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::Flags;
    use clap::Args;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Each in the help of the commands that take settings, in completions and the manual.
    #[test]
    fn every_flag_is_in_help_completions_and_manual() {
        let flags: Vec<String> = Flags::augment_args(clap::Command::new("flags"))
            .get_arguments()
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .collect();
        assert!(flags.len() > 10 && flags.contains(&"admin-token-file".to_owned()), "{flags:?}");
        let script = completions(Shell::Bash);
        let manual = manual().unwrap().replace("\\-", "-");
        for flag in flags {
            let flag = format!("--{flag}");
            for name in ["serve", "demo", "check-config", "doctor"] {
                let mut all = Cli::command();
                let help = all.find_subcommand_mut(name).unwrap().render_long_help().to_string();
                assert!(help.contains(&flag), "{name} --help lacks {flag}");
            }
            assert!(script.contains(&flag), "completions lack {flag}");
            assert!(manual.contains(&flag), "the manual lacks {flag}");
        }
    }
}
