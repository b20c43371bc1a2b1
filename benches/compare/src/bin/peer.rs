//! The servers that Tapecast is measured against, in one program: they share an allocator, a
//! build profile and a listening socket, and differ in nothing but the library under test. One
//! thread serves all connections. `tapecast-compare` starts one process per run, waits for the
//! line `listening on 127.0.0.1:PORT`, and ends the process when it has its numbers.

use clap::{Parser, ValueEnum};
use peer::{bare_ring, fast_web_sockets, listener, tokio_ring, tungstenite};
use std::convert::Infallible;

/// One file per server, two for the bare ring's. Those without a library of
/// their own share `frames` and `handshake`; all share `listener`.
mod peer {
    pub mod bare_connection;
    pub mod bare_ring;
    pub mod fast_web_sockets;
    pub mod frames;
    pub mod handshake;
    pub mod listener;
    pub mod tokio_ring;
    pub mod tungstenite;
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The floor: frames echoed straight on an io_uring, without a library
    BareRing,
    /// Written by hand on tokio-uring: a task and a buffer per connection
    TokioUring,
    /// tokio-tungstenite with small buffers; also serves /broadcast
    Tungstenite,
    /// fastwebsockets on tokio
    Fastwebsockets,
}

/// Echoes WebSocket messages on one thread, as a baseline to measure against.
#[derive(Debug, Parser)]
#[command(name = "tapecast-peer")]
struct Arguments {
    /// Which server to be
    kind: Kind,
    /// The port on 127.0.0.1; 0 picks one
    #[arg(long)]
    port: u16,
}

fn serve(arguments: &Arguments) -> std::io::Result<Infallible> {
    listener::raise_descriptor_limit();
    let listener = listener::bind(arguments.port)?;
    match arguments.kind {
        Kind::BareRing => bare_ring::serve(listener),
        Kind::TokioUring => tokio_ring::serve(listener),
        Kind::Tungstenite => tungstenite::serve(listener),
        Kind::Fastwebsockets => fast_web_sockets::serve(listener),
    }
}

fn main() {
    let Err(error) = serve(&Arguments::parse());
    eprintln!("tapecast-peer: {error}");
    std::process::exit(1);
}
