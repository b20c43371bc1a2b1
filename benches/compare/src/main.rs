//! `tapecast-compare`: Tapecast beside its baselines and peers, measured so that
//! the numbers can be trusted.
//!
//! Every server is pinned to one core and the load generator to another; the
//! servers take turns within each repeat, so that a noisy minute hits all of them;
//! medians are quoted with their spread. Server CPU per message comes first: it is
//! the server's, whereas throughput is often the generator's.
//!
//! A server that this program does not start joins by name, port and process:
//! `--external uwebsockets=9102:4711` (pin it to the server's core yourself).

mod cells;
mod servers;
mod table;

use cells::{Cell, Layer};
use clap::Parser;
use servers::{External, Folder, Kind, Server};
use std::process::ExitCode;

/// Measures Tapecast beside its baselines and peers.
#[derive(Debug, Parser)]
#[command(name = "tapecast-compare", about)]
struct Arguments {
    /// Repeats per cell.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The core for the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The core for the load generator.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Only servers of these kinds.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// A running server: NAME=PORT:PID. May be given several times.
    #[arg(long, value_parser = servers::external)]
    external: Vec<External>,
    /// Only cells whose name contains this.
    #[arg(long, default_value = "")]
    cell: String,
    /// One short repeat of a few cells: whether it runs, not how fast.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.repeat = 1;
        arguments.seconds = 0.5;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tapecast-compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let cells: Vec<Cell> = cells::all()
        .into_iter()
        .filter(|cell| cell.name.contains(&arguments.cell))
        .filter(|cell| !arguments.quick || cell.is_quick)
        .collect();
    let kinds = servers::available(&arguments.only);
    let folder = Folder::new()?;
    let mut failed = Vec::new();
    for cell in &cells {
        let mut table = table::Table::new(cell);
        for repeat in 0..arguments.repeat {
            for &kind in kinds.iter().filter(|kind| kind.can(cell)) {
                eprintln!("{} {} {}/{}", cell.name, kind, repeat + 1, arguments.repeat);
                let server = servers::start(kind, cell, arguments.server_core, &folder.0)?;
                let run = cells::measure(cell, &server, arguments);
                keep(&mut table, &mut failed, &kind.to_string(), run);
            }
            for external in arguments.external.iter().filter(|_| cell.layer == Layer::None) {
                eprintln!("{} {} {}/{}", cell.name, external.name, repeat + 1, arguments.repeat);
                let server = Server::of(external);
                let run = cells::measure(cell, &server, arguments);
                keep(&mut table, &mut failed, &external.name, run);
            }
        }
        print!("{}", table.markdown());
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("not everything was measured:\n{}", failed.join("\n"))),
    }
}

/// Keeps a run; one that failed is told at the end, and the others go on.
fn keep(
    table: &mut table::Table<'_>,
    failed: &mut Vec<String>,
    server: &str,
    run: Result<cells::Run, String>,
) {
    match run {
        Ok(run) => table.add(server, run),
        Err(error) => failed.push(format!("{}, {server}: {}", table.cell(), error.trim_end())),
    }
}
