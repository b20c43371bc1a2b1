//! The command line.

use crate::servers::{self, External, Kind};
use clap::Parser;

/// Measures Tapecast beside its baselines and peers.
#[derive(Debug, Parser)]
#[command(name = "tapecast-compare", about)]
pub struct Arguments {
    /// Repeats per cell.
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// The core for the servers.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core for the load generator.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Only servers of these kinds.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// A running server: NAME=PORT:PID. May be given several times.
    #[arg(long, value_parser = servers::external)]
    pub external: Vec<External>,
    /// Only cells whose name contains this.
    #[arg(long, default_value = "")]
    pub cell: String,
    /// One short repeat of a few cells: shows whether it runs, not how fast.
    #[arg(long)]
    pub quick: bool,
}
