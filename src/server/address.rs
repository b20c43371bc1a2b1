//! Where a server listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address that a server listens on.
///
/// ```
/// use tapecast::Address;
///
/// let address: Address = "ws://127.0.0.1:9001".parse()?;
/// assert_eq!(address.ip().map(|ip| ip.port()), Some(9001));
/// assert_eq!("unix:/run/tapecast.sock".parse::<Address>()?.to_string(), "unix:/run/tapecast.sock");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// TCP with TLS.
    Secure(SocketAddr),
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl Address {
    /// Whether TLS is spoken there.
    pub fn is_secure(&self) -> bool {
        matches!(self, Address::Secure(_))
    }

    /// Address and port, unless it is a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) | Address::Secure(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if let Some(path) = text.strip_prefix("unix:")
            && !path.is_empty()
        {
            return Ok(Address::Unix(path.into()));
        }
        let (bare, kind): (_, fn(SocketAddr) -> Address) = match text.strip_prefix("wss://") {
            Some(bare) => (bare, Address::Secure),
            None => (text.strip_prefix("ws://").unwrap_or(text), Address::Ip),
        };
        bare.parse().map(kind).map_err(|_| {
            format!(
                "{text:?}: expected IP:PORT, like 127.0.0.1:9001 or [::1]:9001, with wss:// before \
                 it for TLS, or unix:PATH"
            )
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => write!(formatter, "ws://{address}"),
            Address::Secure(address) => write!(formatter, "wss://{address}"),
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}
