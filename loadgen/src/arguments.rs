//! The command line.

use crate::schedule::Arrivals;
use crate::verdict::FailIf;
use clap::{Parser, ValueEnum};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Drives a WebSocket server in closed loop, or at a rate, and checks every reply.
#[derive(Clone, Debug, Parser)]
#[command(name = "tapecast-loadgen", version, about)]
pub struct Arguments {
    /// What to do.
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// Where to: ws://HOST:PORT/PATH.
    #[arg(long, value_parser = url)]
    pub url: Url,
    /// Connections, over all threads. For broadcast: subscribers.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Threads, each with a ring of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Messages a second, in total: the open model, in which messages leave when they
    /// are planned and latency runs from then. For broadcast: publications.
    #[arg(long, value_name = "N", conflicts_with = "in_flight", value_parser = rate)]
    pub rate: Option<f64>,
    /// How messages are spread over time, with --rate.
    #[arg(long, value_enum, default_value = "constant", requires = "rate")]
    pub arrivals: Arrivals,
    /// Closed loop: messages that a connection has under way (echo), or publications that the
    /// publisher has (broadcast).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub in_flight: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 20)]
    pub size: usize,
    /// Send text; binary otherwise.
    #[arg(long)]
    pub text: bool,
    /// Seconds to measure.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub duration: Duration,
    /// Seconds to run before that.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub warmup: Duration,
    /// The server's process, if it is local: its CPU time, memory and descriptors
    /// are reported.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// The core for the first thread; the others follow.
    #[arg(long)]
    pub core: Option<usize>,
    /// Exit with 1 if a value of the report is above or below a bound, like p99>5ms
    /// or throughput<1000; may be given several times.
    #[arg(long, value_name = "EXPRESSION")]
    pub fail_if: Vec<FailIf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// What connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Every connection sends and awaits the echo.
    Echo,
    /// One connection publishes, everyone receives. A publication is in flight until
    /// its publisher has it back.
    Broadcast,
    /// Connections are held open: what do they cost?
    Idle,
}

/// A server's address and the target of the request.
#[derive(Clone, Debug)]
pub struct Url {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header.
    pub host: String,
    /// Path and query.
    pub target: String,
}

fn url(text: &str) -> Result<Url, String> {
    let rest = text.strip_prefix("ws://").ok_or("expected ws://HOST:PORT/PATH")?;
    let (host, target) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = with_port
        .to_socket_addrs()
        .map_err(|error| format!("{with_port}: {error}"))?
        .next()
        .ok_or_else(|| format!("{with_port} has no address"))?;
    Ok(Url { address, host: host.to_owned(), target: target.to_owned() })
}

fn rate(text: &str) -> Result<f64, String> {
    match text.replace('_', "").parse() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("expected messages a second, 0.001 to 1000000000".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
