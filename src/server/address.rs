//! The addresses of a server.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
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
    /// Whether the address uses TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self, Address::Secure(_))
    }

    /// IP address and port, unless it is a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) | Address::Secure(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }
}

/// Strips the scheme, which decides what an IP address and port become.
fn split_scheme(text: &str) -> (&str, fn(SocketAddr) -> Address) {
    let begins = |scheme: &str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    match (begins("wss://"), begins("ws://")) {
        (true, _) => (&text[6..], Address::Secure),
        (_, true) => (&text[5..], Address::Ip),
        _ => (text, Address::Ip),
    }
}

fn expected(text: &str) -> String {
    format!(
        "{text:?}: expected HOST:PORT, like 127.0.0.1:9001, [::1]:9001, localhost:9001 or :9001, \
         with wss:// before it for TLS, or unix:PATH"
    )
}

impl Address {
    /// The addresses that a text names. It accepts what [`Address::from_str`] reads. In addition, a
    /// host name means all its addresses, and an empty one (`:9001`) all addresses of this
    /// machine.
    ///
    /// ```
    /// use tapecast::Address;
    ///
    /// let all = Address::resolve("localhost:9001")?;
    /// assert!(all.iter().all(|address| address.ip().unwrap().ip().is_loopback()));
    /// assert!(Address::resolve(":9001")?.contains(&"0.0.0.0:9001".parse()?));
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// The text names no address; the error states the expected form.
    pub fn resolve(text: &str) -> Result<Vec<Address>, String> {
        if let Ok(address) = text.parse() {
            return Ok(vec![address]);
        }
        let (bare, kind) = split_scheme(text);
        let (host, port) = bare.rsplit_once(':').ok_or_else(|| expected(text))?;
        let port: u16 = port.parse().map_err(|_| expected(text))?;
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let mut found: Vec<SocketAddr> = match host {
            "" => vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()],
            name if name.chars().all(is_name) => (name, port)
                .to_socket_addrs()
                .map_err(|error| format!("{text:?}: {name} can't be resolved: {error}"))?
                .collect(),
            _ => return Err(expected(text)),
        };
        found.sort();
        found.dedup();
        // A name may have an address of a family that the machine lacks.
        let has_family = |address: &SocketAddr| UdpSocket::bind((address.ip(), 0)).is_ok();
        if found.iter().any(has_family) {
            found.retain(has_family);
        }
        Ok(found.into_iter().map(kind).collect())
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
        let (bare, kind) = split_scheme(text);
        bare.parse().map(kind).map_err(|_| expected(text))
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
