//! What is measured: the cells of the table, and one run of the load generator.

use crate::servers::Server;
use crate::{Arguments, servers};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use tapecast::protocol::deflate::Deflater;

/// What lies between the messages and the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    None,
    Tls,
    Deflate,
}

/// One line of the comparison.
#[derive(Debug)]
pub struct Cell {
    /// How it is called in the table.
    pub name: String,
    /// What the load generator does.
    pub scenario: &'static str,
    connections: u32,
    size: usize,
    in_flight: u32,
    /// In the open model: so many messages a second instead.
    rate: Option<u32>,
    /// Compared with the same without it.
    pub layer: Layer,
    /// Part of the quick form.
    pub is_quick: bool,
}

/// What the load generator found, by name.
pub type Run = BTreeMap<String, f64>;

/// Every cell.
pub fn all() -> Vec<Cell> {
    let echo = [
        (50, 20, 1),
        (500, 64, 1),
        (200, 20, 10),
        (512, 5, 16),
        (200, 1 << 10, 1),
        (50, 16 << 10, 1),
        (200, 64 << 10, 1),
        (20, 1 << 20, 1),
    ];
    let broadcast = [(64, 1), (64, 16), (64, 24), (64, 64), (64, 256), (1 << 10, 16)];
    let mut cells = Vec::new();
    for (connections, size, in_flight) in echo {
        cells.push(Cell {
            name: format!("echo {connections} x {size} B, {in_flight} in flight"),
            scenario: "echo",
            connections,
            size,
            in_flight,
            rate: None,
            layer: Layer::None,
            is_quick: size == 20 && in_flight == 1,
        });
    }
    for (size, in_flight) in broadcast {
        cells.push(Cell {
            name: format!("broadcast 500 x {size} B, window {in_flight}"),
            scenario: "broadcast",
            connections: 500,
            size,
            in_flight,
            rate: None,
            layer: Layer::None,
            is_quick: in_flight == 64,
        });
    }
    cells.push(Cell {
        name: "memory, 10000 idle connections".into(),
        scenario: "idle",
        connections: 10_000,
        size: 0,
        in_flight: 1,
        rate: None,
        layer: Layer::None,
        is_quick: false,
    });
    let tls = [
        ("echo", 200, 64, 10),
        ("echo", 50, 16 << 10, 1),
        ("broadcast", 500, 64, 64),
        ("connect-storm", 1_000, 64, 32),
    ];
    for (scenario, connections, size, in_flight) in tls {
        cells.push(Cell {
            name: format!("wss {scenario} {connections} x {size} B, {in_flight} in flight"),
            scenario,
            connections,
            size,
            in_flight,
            rate: None,
            layer: Layer::Tls,
            is_quick: in_flight == 10,
        });
    }
    cells.push(Cell {
        name: format!("deflate broadcast 500 x 1024 B of JSON, {DEFLATE_RATE} a second"),
        scenario: "broadcast",
        connections: 500,
        size: 1 << 10,
        in_flight: 1,
        rate: Some(DEFLATE_RATE),
        layer: Layer::Deflate,
        is_quick: true,
    });
    cells
}

/// Publications a second of what is compressed: half of what a core of readers can inflate.
/// With as many as they can, they would be what is measured, and their server send less.
const DEFLATE_RATE: u32 = 400;

/// A kibibyte of JSON around a payload of the load generator.
fn template(payload: &str) -> String {
    let mut text = format!("{{\"payload\":\"{payload}\",\"quotes\":[");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    while text.len() < 1_000 - PAYLOAD_BYTES {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let symbol = ["BTC", "ETH", "SOL", "ADA"][(random >> 50) as usize % 4];
        let (price, cents, size) = (random % 90_000, random % 100, random >> 32 & 0xFFF);
        text += &format!("{{\"symbol\":\"{symbol}\",\"bid\":{price}.{cents},\"size\":{size}}},");
    }
    text.pop();
    text + "]}"
}

/// Bytes of the payload in it.
const PAYLOAD_BYTES: usize = 64;

/// Bytes of such a message once it is compressed. A payload has letters at random.
fn compressed_bytes() -> usize {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    let letter = |at: usize| char::from(letters[at * at * 31 % letters.len()]);
    let payload: String = (0..PAYLOAD_BYTES).map(letter).collect();
    let text = template(&payload);
    Deflater::new(1, 1).deflate(text.as_bytes()).map_or(text.len(), <[u8]>::len)
}

/// Runs the load generator against a server.
///
/// # Errors
/// What it said when it failed.
pub fn measure(cell: &Cell, server: &Server, arguments: &Arguments) -> Result<Run, String> {
    let path = if cell.scenario == "broadcast" { "broadcast" } else { "echo" };
    let mut command = Command::new("taskset");
    command
        .args(["-c", &arguments.load_core.to_string()])
        .arg(servers::program("tapecast-loadgen")?)
        .arg(cell.scenario)
        .args(["--url", &format!("{}/{path}", server.url())])
        .args(["--connections", &cell.connections.to_string()])
        .args(["--duration", &arguments.seconds.to_string()])
        .args(["--warmup", if arguments.quick { "200ms" } else { "1s" }])
        .args(["--server-pid", &server.pid().to_string(), "--no-tui", "--json", "-"])
        // What is lost, or wrong, must not count as fast.
        .args(["--fail-if", "errors>0"]);
    if server.url().starts_with("wss:") {
        command.arg("--insecure");
    }
    // Without compression, as many bytes as would be left of it.
    let mut size = cell.size;
    if cell.layer == Layer::Deflate {
        command.args(["--kind", "text"]);
        size = match server.is_plain() {
            true => compressed_bytes(),
            false => {
                command.args(["--compression", "--template", &template("{payload}")]);
                PAYLOAD_BYTES
            }
        };
    }
    if cell.scenario != "idle" {
        let (key, value) = match cell.rate {
            None => ("--in-flight", cell.in_flight),
            Some(rate) => ("--rate", rate),
        };
        command.args(["--size", &size.to_string(), key, &value.to_string()]);
    }
    if cell.scenario == "broadcast" {
        command.args(["--fail-if", "gaps>0"]);
    }
    let output = command.output().map_err(|error| format!("taskset: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let report: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let values = report["values"].as_object().ok_or("the load generator's report has no values")?;
    Ok(values.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect())
}
