//! `tapecast-compare`: measures Tapecast beside its baselines and peers.
//!
//! Every server is pinned to one core and the load generator to another. The servers take
//! turns within each repeat, so that a noisy minute affects all of them. Medians are quoted
//! with their spread. Server CPU per message is the first value: throughput is often the
//! generator's limit.
//!
//! A server that this program does not start joins by name, port and process:
//! `--external uwebsockets=9102:4711`. Pin it to the server's core yourself.

mod arguments;
mod cell;
mod measure;
mod servers;
mod table;

use arguments::Arguments;
use cell::{Cell, Layer};
use clap::Parser;
use measure::{Run, measure};
use servers::{Folder, Server};
use std::process::ExitCode;
use table::Table;

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
    let cells: Vec<Cell> = cell::all()
        .into_iter()
        .filter(|cell| cell.name.contains(&arguments.cell))
        .filter(|cell| !arguments.quick || cell.is_quick)
        .collect();
    let kinds = servers::available(&arguments.only);
    let folder = Folder::new()?;
    let mut failed = Vec::new();
    for cell in &cells {
        let mut table = Table::new(cell);
        for repeat in 0..arguments.repeat {
            for &kind in kinds.iter().filter(|kind| kind.can(cell)) {
                eprintln!("{} {} {}/{}", cell.name, kind, repeat + 1, arguments.repeat);
                let server = servers::start(kind, cell, arguments.server_core, &folder.0)?;
                let run = measure(cell, &server, arguments);
                keep(&mut table, &mut failed, &kind.to_string(), run);
            }
            for external in arguments.external.iter().filter(|_| cell.layer == Layer::None) {
                eprintln!("{} {} {}/{}", cell.name, external.name, repeat + 1, arguments.repeat);
                let server = Server::of(external);
                let run = measure(cell, &server, arguments);
                keep(&mut table, &mut failed, &external.name, run);
            }
        }
        print!("{}", table.markdown());
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("not everything was measured:\n{}", failed.join("\n")))
}

/// Keeps a run. One that failed is reported at the end; the others continue.
fn keep(table: &mut Table<'_>, failed: &mut Vec<String>, server: &str, run: Result<Run, String>) {
    match run {
        Ok(run) => table.add(server, run),
        Err(error) => failed.push(format!("{}, {server}: {}", table.cell(), error.trim_end())),
    }
}
