//! A server whose routes use every feature of topics, for the live tests and for measurements
//! of the hub alone. It is started and stopped as `tapecast serve` is, and prints the same line
//! once it listens.
//!
//! `/words` takes commands in words and answers in words, for clients that check the answers.
//! `/tape` takes its subscriptions from the query and sends only messages, for load
//! generators.

use clap::{Args, Parser, Subcommand};
use rules::RuleText;
use std::num::NonZeroU16;
use tapecast::{Limits, Router, Server, ServerError, ServerHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use topics::{rules, tape, words};

mod topics {
    pub mod options;
    pub mod rules;
    pub mod tape;
    pub mod words;
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves topics by /words and /tape.
#[derive(Debug, Parser)]
#[command(name = "tapecast-topics")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server until SIGTERM or SIGINT
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// How many shards
    #[arg(long)]
    shards: NonZeroU16,
    /// Where to listen, [ws://]IP:PORT or unix:PATH; repeated for several
    #[arg(long, required = true)]
    listen: Vec<String>,
    /// A limit, NAME=VALUE; repeated for several
    #[arg(long = "limit", value_parser = named_number)]
    limits: Vec<(String, u64)>,
    /// A rule of topics, PATTERN:KEY=VALUE,KEY=VALUE; the first one that matches
    /// applies
    #[arg(long = "rule")]
    rules: Vec<RuleText>,
}

fn named_number(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.parse().map_err(|error| format!("{value:?}: {error}"))?;
    Ok((name.to_owned(), value))
}

/// Any failure, to be printed.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn serve(arguments: Serve) -> Result<(), Failure> {
    let mut limits = Limits::default();
    for (name, value) in &arguments.limits {
        limits.set(name, *value).map_err(|error| error.to_string())?;
    }
    let rules = arguments.rules.iter().map(|rule| rule.resolve(&limits));
    let rules = rules.collect::<Result<Vec<_>, _>>()?;
    let mut builder = Server::builder().shards(arguments.shards).limits(limits).rules(rules);
    for address in &arguments.listen {
        builder = builder.listen(address)?;
    }
    // Before the line is printed: a program that has read it may send a signal.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (terminate, interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let server = builder.start(|_shard| {
        Router::new().route("/words", words::Words).route("/tape", tape::Tape::default())
    })?;
    let handle = server.handle();
    std::thread::spawn(move || runtime.block_on(obey(handle, terminate, interrupt)));
    println!("{}", listening(&server));
    Ok(server.join()?)
}

/// The first signal drains the server, the second stops it.
async fn obey(handle: ServerHandle, mut terminate: Signal, mut interrupt: Signal) {
    for end in [ServerHandle::drain, ServerHandle::stop] {
        tokio::select! {
            _ = terminate.recv() => end(&handle),
            _ = interrupt.recv() => end(&handle),
        }
    }
}

fn listening(server: &Server) -> String {
    let addresses: Vec<String> = server.addresses().iter().map(ToString::to_string).collect();
    let shards = server.shards();
    let noun = if shards == 1 { "shard" } else { "shards" };
    format!("listening on {} ({shards} {noun})", addresses.join(", "))
}

fn main() {
    let Command::Serve(arguments) = Arguments::parse().command;
    if let Err(error) = serve(arguments) {
        eprintln!("tapecast-topics: {error}");
        // 78 is EX_CONFIG, as `tapecast serve` has it.
        let is_configuration = error
            .downcast_ref::<ServerError>()
            .is_none_or(|error| matches!(error, ServerError::Limits(_) | ServerError::Rule(_)));
        std::process::exit(if is_configuration { 78 } else { 1 });
    }
}
