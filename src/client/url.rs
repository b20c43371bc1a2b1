//! Where a server is.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The address of a WebSocket server: `ws://HOST[:PORT][/PATH]`, or `wss://` for TLS.
///
/// ```
/// use tapecast::client::Url;
///
/// let url: Url = "ws://127.0.0.1:9001/echo?a=b".parse()?;
/// assert_eq!((url.host(), url.target()), ("127.0.0.1:9001", "/echo?a=b"));
/// assert!("http://127.0.0.1".parse::<Url>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    is_secure: bool,
    name: String,
    port: u16,
    host: String,
    target: String,
}

impl Url {
    /// The `Host` header: the name, and the port if it was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is `wss://`.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The server's name or IP address, without brackets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Asks for the name's first address.
    ///
    /// # Errors
    /// It has none, or nobody knows.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let mut addresses = (self.name.as_str(), self.port).to_socket_addrs()?;
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        addresses.next().ok_or_else(none)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let failed = |why: &str| format!("{text:?}: {why}");
        let expected = || failed("expected ws://HOST[:PORT][/PATH] or wss://");
        let uri: http::Uri = text.parse().map_err(|_| expected())?;
        let is_secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') {
            return Err(failed("a password does not belong into a URL"));
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| expected())?,
            None if authority.as_str() != authority.host() => return Err(expected()),
            None if is_secure => 443,
            None => 80,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = if target.is_empty() { "/" } else { target };
        Ok(Url {
            text: text.to_owned(),
            is_secure,
            name: name.to_owned(),
            port,
            host: authority.as_str().to_owned(),
            target: target.to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url: Url = "ws://[::1]".parse().unwrap();
        assert_eq!((url.resolve().unwrap(), url.target()), ("[::1]:80".parse().unwrap(), "/"));
        let url: Url = "wss://[::1]/a".parse().unwrap();
        assert_eq!((url.resolve().unwrap(), url.name()), ("[::1]:443".parse().unwrap(), "::1"));
        assert!(url.is_secure());
        for text in ["http://a", "127.0.0.1:9001", "ws://", "ws://a:b@c", "ws://a:99999"] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
