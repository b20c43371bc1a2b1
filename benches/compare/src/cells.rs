//! What is measured: the cells of the table, and one run of the load generator.

use crate::{Arguments, servers};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

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
            is_quick: in_flight == 64,
        });
    }
    cells.push(Cell {
        name: "memory, 10000 idle connections".into(),
        scenario: "idle",
        connections: 10_000,
        size: 0,
        in_flight: 1,
        is_quick: false,
    });
    cells
}

/// Runs the load generator against a server.
///
/// # Errors
/// What it said when it failed.
pub fn measure(cell: &Cell, port: u16, pid: u32, arguments: &Arguments) -> Result<Run, String> {
    let path = if cell.scenario == "broadcast" { "broadcast" } else { "echo" };
    let mut command = Command::new("taskset");
    command
        .args(["-c", &arguments.load_core.to_string()])
        .arg(servers::program("tapecast-loadgen")?)
        .arg(cell.scenario)
        .args(["--url", &format!("ws://127.0.0.1:{port}/{path}")])
        .args(["--connections", &cell.connections.to_string()])
        .args(["--duration", &arguments.seconds.to_string()])
        .args(["--warmup", if arguments.quick { "200ms" } else { "1s" }])
        .args(["--server-pid", &pid.to_string(), "--no-tui", "--json", "-"])
        // What is lost, or wrong, must not count as fast.
        .args(["--fail-if", "errors>0"]);
    if cell.scenario != "idle" {
        command
            .args(["--size", &cell.size.to_string()])
            .args(["--in-flight", &cell.in_flight.to_string()]);
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
