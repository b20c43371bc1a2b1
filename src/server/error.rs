//! Why a server did not start, or ended.

use crate::base::limits::LimitError;
use crate::ring::SetupError;
use std::fmt;
use std::net::SocketAddr;

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub enum ServerError {
    /// Not an address of the form `IP:PORT`.
    Address(String),
    /// No address to listen on was given.
    NoAddress,
    /// More shards than cores: asked for, there.
    Shards(u16, usize),
    /// A limit that can't be.
    Limits(LimitError),
    /// An address can't be listened on.
    Listen(SocketAddr, std::io::Error),
    /// There is no ring.
    Ring(SetupError),
    /// A thread can't be started.
    Thread(std::io::Error),
    /// A shard has failed.
    Shard(std::io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Address(address) => {
                write!(
                    formatter,
                    "{address:?} is no address: expected IP:PORT, like 127.0.0.1:9001"
                )
            }
            ServerError::NoAddress => formatter.write_str("no address to listen on was given"),
            ServerError::Shards(asked, cores) => write!(
                formatter,
                "shards is {asked} but this process may use {cores} cores: use at most {cores}, or \
                 \"per-core\""
            ),
            ServerError::Limits(error) => error.fmt(formatter),
            ServerError::Listen(address, error) => {
                write!(formatter, "can't listen on {address}: {error}")
            }
            ServerError::Ring(error) => error.fmt(formatter),
            ServerError::Thread(error) => write!(formatter, "can't start a thread: {error}"),
            ServerError::Shard(error) => write!(formatter, "a shard has failed: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}
