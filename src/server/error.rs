//! Why a server did not start, or failed.

use super::address::Address;
use crate::base::limits::LimitError;
use crate::driver::SetupError;
use crate::hub::RuleError;
use std::fmt;
use std::io::{self, ErrorKind};

/// An error of a server, and its remedy.
///
/// ```
/// use tapecast::{Server, ServerError};
///
/// let error = Server::builder().listen("localhost").unwrap_err();
/// assert!(matches!(error, ServerError::Address(_)));
/// assert!(error.to_string().starts_with(r#""localhost": expected HOST:PORT"#));
/// ```
#[derive(Debug)]
pub enum ServerError {
    /// The text is not an address: the text, and the expected form.
    Address(String),
    /// No address to listen on is configured.
    NoAddress,
    /// A `wss://` address without a certificate, a certificate without such an address, or
    /// a certificate that can't be used: the reason.
    Certificate(String),
    /// More shards than cores: the shards, and the cores.
    Shards(u16, usize),
    /// A rule of topics is invalid.
    Rule(RuleError),
    /// A limit is invalid.
    Limits(LimitError),
    /// An address can't be listened on.
    Listen(Address, io::Error),
    /// A ring can't be set up.
    Ring(SetupError),
    /// A thread can't be started.
    Thread(io::Error),
    /// The administration server can't be set up: why.
    Admin(String),
    /// A shard has failed.
    Shard(io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Address(expected) => formatter.write_str(expected),
            ServerError::NoAddress => formatter.write_str("no address to listen on: set listen"),
            ServerError::Certificate(what) => formatter.write_str(what),
            ServerError::Shards(asked, cores) => write!(
                formatter,
                "shards is {asked} but this process may use {cores} cores: use at most {cores}, or \
                 \"per-core\""
            ),
            ServerError::Rule(error) => write!(formatter, "rule {}: {error}", error.rule + 1),
            ServerError::Limits(error) => error.fmt(formatter),
            ServerError::Listen(address, error) => {
                formatter.write_str(&unlistenable(address, address, error))
            }
            ServerError::Ring(error) => error.fmt(formatter),
            ServerError::Thread(error) => write!(formatter, "can't start a thread: {error}"),
            ServerError::Admin(why) => write!(formatter, "administration server: {why}"),
            ServerError::Shard(error) => write!(formatter, "a shard has failed: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// Ports below this one are privileged, unless the system is configured otherwise.
const UNPRIVILEGED_PORT: u16 = 1024;

/// The message for an address that can't be listened on: the reason and the remedy.
/// The address is shown as `shown`.
pub(crate) fn unlistenable(
    shown: &dyn fmt::Display,
    address: &Address,
    error: &io::Error,
) -> String {
    format!("can't listen on {shown}: {error}{}", remedy(address, error.kind()))
}

/// The remedy for an address that can't be listened on; empty if none is known.
fn remedy(address: &Address, error: ErrorKind) -> String {
    let port = address.ip().map_or(u16::MAX, |address| address.port());
    match error {
        ErrorKind::PermissionDenied if port < UNPRIVILEGED_PORT => format!(
            ": ports below {UNPRIVILEGED_PORT} need a capability: `sudo setcap \
             cap_net_bind_service=+ep PATH_OF_THIS_PROGRAM`, or in a systemd unit \
             AmbientCapabilities=CAP_NET_BIND_SERVICE; or allow them for all programs: `sudo sysctl \
             net.ipv4.ip_unprivileged_port_start={port}`"
        ),
        ErrorKind::PermissionDenied if address.ip().is_none() => {
            ": make its directory writable for this user".into()
        }
        ErrorKind::AddrInUse if address.ip().is_some() => {
            format!(": another program listens there; `ss -ltnp sport = :{port}` names it")
        }
        ErrorKind::AddrInUse => {
            ": another program listens there, or the file is not a socket".into()
        }
        ErrorKind::AddrNotAvailable => {
            ": no interface of this machine has this address; `ip address` lists them".into()
        }
        _ => String::new(),
    }
}
