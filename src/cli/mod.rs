//! Layer 9: the command line.

use crate::base::Limits;
use crate::control::{self, Order};
use crate::routes;
use crate::server::{Server, ServerError};
use clap::{Args, Parser, Subcommand};
use std::num::NonZeroU16;
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
    /// Runs the server: /echo and /ws echo, /broadcast sends to everyone.
    Serve(Serve),
    /// Prints every limit with its default and consequence.
    Limits,
}

#[derive(Args, Debug)]
struct Serve {
    /// Address to listen on, [ws://]IP:PORT; may be given several times. Port 0
    /// takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001", value_parser = address)]
    listen: Vec<String>,
    /// How many shards, each on a core of its own: a number, or per-core for one
    /// on every core that this process may use.
    #[arg(long, value_name = "N|per-core", default_value = "per-core", value_parser = shards)]
    shards: Shards,
}

#[derive(Clone, Copy, Debug)]
enum Shards {
    PerCore,
    Count(NonZeroU16),
}

fn shards(text: &str) -> Result<Shards, String> {
    match text {
        "per-core" => Ok(Shards::PerCore),
        text => text
            .parse()
            .map(Shards::Count)
            .map_err(|_| "expected a number from 1 to 65535, or per-core".to_owned()),
    }
}

fn address(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("ws://").unwrap_or(text);
    match address.parse::<std::net::SocketAddr>() {
        Ok(_) => Ok(address.to_owned()),
        Err(_) => Err("expected IP:PORT, like 127.0.0.1:9001 or [::1]:9001".to_owned()),
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Limits => {
            print_limits();
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tapecast: {error}");
            match error {
                ServerError::Ring(_) | ServerError::Limits(_) | ServerError::Shards(..) => {
                    ExitCode::from(EXIT_CONFIG)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn serve(arguments: &Serve) -> Result<(), ServerError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TAPECAST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let mut builder = Server::builder();
    for address in &arguments.listen {
        builder = builder.listen(address)?;
    }
    if let Shards::Count(count) = arguments.shards {
        builder = builder.shards(count);
    }
    let server = builder.start(|_shard| routes::builtin())?;
    let handle = server.handle();
    control::start(move |order| match order {
        Order::Drain => {
            tracing::info!("draining");
            handle.drain();
        }
        Order::Stop => handle.stop(),
    })
    .map_err(ServerError::Thread)?;
    let addresses: Vec<String> =
        server.addresses().iter().map(|address| format!("ws://{address}")).collect();
    let shards = server.shards();
    let noun = if shards == 1 { "shard" } else { "shards" };
    println!("listening on {} ({shards} {noun})", addresses.join(", "));
    server.join()
}

fn print_limits() {
    for (name, value, text) in Limits::default().table() {
        println!("{name} = {value}\n    {text}");
    }
}
