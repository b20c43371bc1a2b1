//! Layer 9: the command line.
//!
//! | file | what is there |
//! |---|---|
//! | `settings` | what can be set, and where each value came from |
//! | `serve` | runs the server: sockets, the supervisor, what a command shows on it |
//! | `logs` | log lines, which nobody waits for |
//! | `demo` | a market on it, and a page to look at |
//! | `replay` | publishes the lines of a file |
//! | `doctor` | looks at the machine |
//! | `supervisor` | what systemd is told |
//! | `text` | words and numbers |

mod demo;
mod doctor;
mod lines;
mod logs;
mod replay;
mod serve;
mod settings;
mod supervisor;
mod text;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use settings::{Problem, Settings, Sources};
use std::io;
use std::process::ExitCode;

/// `EX_CONFIG` of sysexits: there is no io_uring, or the configuration is wrong.
const EXIT_CONFIG: u8 = 78;

/// A WebSocket server for Linux: thread per core, one io_uring per core.
#[derive(Debug, Parser)]
#[command(name = "tapecast", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server with a simulated market on it, and a page to look at.
    Demo {
        #[command(flatten)]
        config: Config,
        /// Events of the market a second.
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
    },
    /// Runs the server: /echo and /ws echo, /broadcast sends to everyone.
    #[command(after_help = SERVE_HELP)]
    Serve(Config),
    /// Publishes the lines of a CSV file to a running server, at the pace at which they
    /// happened or another.
    Replay(replay::Replay),
    /// Prints what `serve` would run with and where each value came from, or
    /// everything that is wrong with it.
    CheckConfig(Config),
    /// Looks at kernel, io_uring, limits and memory: a line each, and the fix for
    /// each that fails. Exits with 0 if all is well but for notes, 1 if something that was
    /// configured is lost, 78 if the server can't run.
    Doctor(Config),
    /// Prints every key of the configuration with its default and consequence.
    Limits {
        /// The limits alone, as the table of ARCHITECTURE.md.
        #[arg(long)]
        markdown: bool,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Prints the manual page.
    Man,
}

/// What can be configured. Everything else has a key in the configuration file
/// (`tapecast limits` lists them), a variable (`TAPECAST_LIMITS_HEAD_BYTES_MAX`),
/// and `--limit`. Flags win over variables, over the file, over the profile.
#[derive(Args, Clone, Debug)]
struct Config {
    /// Address to listen on, [ws://]HOST:PORT, wss://HOST:PORT or unix:PATH; may be
    /// given several times. Without HOST, all of the machine; port 0 takes a free one.
    /// [default: 127.0.0.1:9001]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// A route that is there, of /echo, /ws and /broadcast; may be given several times. "" is
    /// none of them. [default: all]
    #[arg(long, value_name = "PATH")]
    routes: Vec<String>,
    /// PEM file with the certificate for wss:// addresses and what leads to its
    /// authority; may be given several times, for several names.
    #[arg(long, value_name = "FILE")]
    tls_cert: Vec<String>,
    /// PEM file with the key of that certificate.
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<String>,
    /// PEM file of the authorities whose certificates clients have to show.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
    /// Whether they have to. [default: required, where there are authorities]
    #[arg(long, value_name = "required|optional|none")]
    tls_client_auth: Option<String>,
    /// How many shards, each on a core of its own: a number, or per-core for one
    /// on every core that this process may use. [default: per-core]
    #[arg(long, value_name = "N|per-core")]
    shards: Option<String>,
    /// A set of settings for a purpose: throughput, latency, memory, container,
    /// or a file that ends in .toml.
    #[arg(long, value_name = "NAME|FILE")]
    profile: Option<String>,
    /// A configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Compress messages for peers that offer permessage-deflate, at a level from 1,
    /// fast, to 9, small: 1 unless it is given. [default: no compression]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "1", require_equals = true)]
    compression: Option<String>,
    /// Address of the administration server. [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// File with the token that the administration server asks for.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<String>,
    /// A limit, like head_bytes_max=8KiB; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = limit)]
    limit: Vec<(String, String)>,
    /// What is logged: error, warn, info, debug, trace, or a filter by module.
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// How log lines look. [default: text]
    #[arg(long, value_name = "text|json")]
    log_format: Option<String>,
}

/// What else a person wants to know who runs the server.
const SERVE_HELP: &str = "\
Once it listens it prints one line, `listening on ws://127.0.0.1:9001 (2 shards)`; logs go to
standard error. GET /healthz says alive, GET /readyz says taking connections.

Settings: flags win over variables (TAPECAST_SHARDS, TAPECAST_LIMITS_HEAD_BYTES_MAX, ...) over the
file of --config over --profile over defaults. `tapecast limits` lists every key, `tapecast
check-config` prints what would run and where each value comes from. A file looks like this:

    listen = [\"0.0.0.0:9001\", \"unix:/run/tapecast/socket\"]
    admin = \"127.0.0.1:9090\"
    [limits]
    message_bytes_max = \"64 KiB\"

Signals: SIGTERM or SIGINT drains (/readyz 503, then closes with 1001 over drain_ms), a second one
cuts; SIGHUP reads the configuration and the certificates again.

Exit codes: 0 drained, 1 it could not start or a shard failed, 2 the command line is wrong, 78 the
configuration is wrong or there is no io_uring (`tapecast doctor` says more).";

fn limit(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err("expected NAME=VALUE, like head_bytes_max=8KiB".into()),
    }
}

impl Config {
    fn resolve(self) -> Result<Settings, Vec<Problem>> {
        let mut sources = Sources { config: self.config, ..Sources::default() };
        sources.flag("--listen", "listen", self.listen);
        sources.flag("--routes", "routes", self.routes);
        sources.flag("--tls-cert", "tls_cert", self.tls_cert);
        sources.flag("--tls-key", "tls_key", self.tls_key);
        for (flag, key, value) in [
            ("--shards", "shards", self.shards),
            ("--profile", "profile", self.profile),
            ("--tls-client-ca", "tls_client_ca", self.tls_client_ca),
            ("--tls-client-auth", "tls_client_auth", self.tls_client_auth),
            ("--compression", "limits.deflate_level", self.compression),
            ("--admin", "admin", self.admin),
            ("--admin-token-file", "admin_token_file", self.admin_token_file),
            ("--log", "log", self.log),
            ("--log-format", "log_format", self.log_format),
        ] {
            sources.flag(flag, key, value.into_iter().collect());
        }
        for (name, value) in self.limit {
            sources.flag("--limit", &format!("limits.{name}"), vec![value]);
        }
        sources.with_environment().resolve()
    }
}

/// The version, the commit it was built from, and what the kernel under it has.
fn long_version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let commit = env!("COMMIT_OF_TAPECAST");
    format!("{version} ({commit})\n{}", doctor::summary())
}

/// Runs the program, whose allocator gives memory back that has been free for some time when
/// `give_back` is called.
pub fn main(give_back: fn()) -> ExitCode {
    let mut command = Cli::command();
    if std::env::args().nth(1).is_some_and(|word| word == "--version") {
        // Looks at the kernel, so not at every start.
        command = command.long_version(long_version());
    }
    let matches = command.get_matches();
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command {
        Command::Serve(config) => run_server(config, serve::plain(), give_back),
        Command::Demo { config, rate } => run_server(config, demo::show(rate), give_back),
        Command::Replay(what) => replay::run(&what),
        Command::CheckConfig(config) => {
            with_settings(config, |settings| print(&settings.effective()))
        }
        Command::Doctor(config) => with_settings(config, doctor::run),
        Command::Limits { markdown: false } => print(&settings::reference()),
        Command::Limits { markdown: true } => print(&settings::limits_table()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tapecast", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Man => match manual() {
            Ok(manual) => print(&String::from_utf8_lossy(&manual)),
            Err(error) => fail(&error),
        },
    }
}

fn run_server(config: Config, show: serve::Show, give_back: fn()) -> ExitCode {
    let again = config.clone();
    let again = move || again.clone().resolve();
    with_settings(config, |settings| serve::run(settings, again, show, give_back))
}

fn manual() -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out)?;
    for command in Cli::command().get_subcommands_mut() {
        let manual = clap_mangen::Man::new(command.clone());
        manual.render_synopsis_section(&mut out)?;
        manual.render_description_section(&mut out)?;
        manual.render_options_section(&mut out)?;
    }
    Ok(out)
}

/// Prints what the command is for. A reader that has seen enough is no failure.
fn print(text: &str) -> ExitCode {
    match text::print(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(error: &io::Error) -> ExitCode {
    eprintln!("tapecast: {error}");
    ExitCode::FAILURE
}

fn with_settings(config: Config, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match config.resolve() {
        Ok(settings) => run(settings),
        Err(problems) => {
            for problem in problems {
                eprintln!("tapecast: {problem}");
            }
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
