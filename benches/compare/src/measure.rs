//! One run of the load generator against a server.

use crate::arguments::Arguments;
use crate::cell::{Cell, Layer};
use crate::servers::{self, Server};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use tapecast::protocol::deflate::Deflater;

/// The values that the load generator reports, by name.
pub type Run = BTreeMap<String, f64>;

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

/// Bytes of the payload in the JSON.
const PAYLOAD_BYTES: usize = 64;

/// Bytes of such a message after compression. The letters of its payload are random.
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
/// The load generator's own errors, if it failed.
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
        // A server that loses messages or answers wrongly must not count as fast.
        .args(["--fail-if", "errors>0"]);
    if server.url().starts_with("wss:") {
        command.arg("--insecure");
    }
    // A server without compression sends as many bytes as compression would leave.
    let mut size = cell.size;
    if cell.layer == Layer::Deflate {
        command.args(["--kind", "text"]);
        size = if server.is_plain() {
            compressed_bytes()
        } else {
            command.args(["--compression", "--template", &template("{payload}")]);
            PAYLOAD_BYTES
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
