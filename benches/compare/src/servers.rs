//! The servers: started fresh for every run on a port of their own, pinned, and
//! ended by their process.

use crate::cells::Cell;
use clap::ValueEnum;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server that this program can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Tapecast, one shard.
    Tapecast,
    /// The floor: a bare ring that echoes, without limits or an API.
    BareRing,
    /// An echo on tokio-uring: a task and a buffer per connection.
    TokioUring,
    /// tokio-tungstenite with tuned buffers.
    Tungstenite,
    /// fastwebsockets.
    Fastwebsockets,
    /// npm `ws` on Node, if COMPARE_NODE_MODULES says where it is.
    Ws,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Kind::Tapecast => "tapecast",
            Kind::BareRing => "bare-ring",
            Kind::TokioUring => "tokio-uring",
            Kind::Tungstenite => "tungstenite",
            Kind::Fastwebsockets => "fastwebsockets",
            Kind::Ws => "ws",
        })
    }
}

impl Kind {
    /// Whether it serves what the cell asks for.
    pub fn can(self, cell: &Cell) -> bool {
        cell.scenario != "broadcast"
            || matches!(self, Kind::Tapecast | Kind::Tungstenite | Kind::Ws)
    }
}

/// The kinds to measure: all that are asked for and there.
pub fn available(only: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| only.is_empty() || only.contains(kind);
    let has_node = std::env::var_os("COMPARE_NODE_MODULES").is_some();
    Kind::value_variants()
        .iter()
        .copied()
        .filter(wanted)
        .filter(|kind| *kind != Kind::Ws || has_node)
        .collect()
}

/// A server that somebody else has started.
#[derive(Clone, Debug)]
pub struct External {
    pub name: String,
    pub port: u16,
    pub pid: u32,
}

/// Reads NAME=PORT:PID.
pub fn external(text: &str) -> Result<External, String> {
    let parts = text.split_once('=').and_then(|(name, rest)| {
        let (port, pid) = rest.split_once(':')?;
        Some(External { name: name.into(), port: port.parse().ok()?, pid: pid.parse().ok()? })
    });
    parts.ok_or_else(|| "expected NAME=PORT:PID".into())
}

/// A server under measurement; ended when dropped.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A ring's sockets close a moment after its process.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A program of this workspace, built beside this one.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own.with_file_name(name);
    match path.exists() {
        true => Ok(path),
        false => Err(format!(
            "{} is missing: `cargo build --release --workspace` builds it",
            path.display()
        )),
    }
}

/// Starts a server on a free port, pinned to `core`, and waits for its first line.
pub fn start(kind: Kind, core: usize) -> Result<Server, String> {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]);
    // Huge pages of the allocator would move resident memory in steps of 2 MiB.
    command.env("MIMALLOC_ALLOW_THP", "0");
    match kind {
        Kind::Tapecast => {
            command.arg(program("tapecast")?);
            command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "1"]);
        }
        Kind::Ws => {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ws-peer.mjs");
            command.args(["node", script, "0"]);
        }
        kind => {
            command.arg(program("tapecast-peer")?);
            command.args([&kind.to_string(), "--port", "0"]);
        }
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{kind}: {error}"))?;
    let stdout = child.stdout.take().expect("piped");
    let mut server = Server { child, port: 0 };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    let digits = line.split("127.0.0.1:").nth(1).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    server.port = digits[..end].parse().map_err(|_| format!("{kind} did not start: {line:?}"))?;
    Ok(server)
}
