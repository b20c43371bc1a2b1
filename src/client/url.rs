//! The address of a server.
//!
//! The crate http parses the generic syntax. Forms that people write and it does not accept
//! (capital letters in the scheme, a query without a path, letters beyond ASCII) are normalised
//! first.

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
    /// The `Host` header: the name, and the port if the URL has one.
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

    /// Resolves the name to its addresses: at least one, in the order in which to try them.
    ///
    /// # Errors
    /// The name can't be resolved.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (self.name.as_str(), self.port).to_socket_addrs()?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the host name has no address"));
        }
        Ok(addresses)
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let failed = |why: &str| format!("{text:?}: {why}");
        let expected = || failed("expected ws://HOST[:PORT][/PATH] or wss://");
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(expected)?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            _ => return Err(expected()),
        };
        // RFC 6455, 3: a fragment has no meaning here.
        let rest = rest.split('#').next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !host.is_ascii() {
            return Err(failed("write a host name beyond ASCII in its xn-- form"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let plain = format!("ws://{host}{slash}{}", percent_encoded(path));
        let uri: http::Uri = plain.parse().map_err(|_| expected())?;
        let authority = uri.authority().ok_or_else(expected)?;
        if authority.as_str().contains('@') {
            return Err(failed("a URL can't carry a user name or password"));
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| expected())?,
            None if authority.as_str() != authority.host() => return Err(expected()),
            None if is_secure => 443,
            None => 80,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
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

/// Percent-encodes characters that can't stand in a request (RFC 3986, 2.1): UTF-8 in
/// hexadecimal.
fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~'
                if !matches!(
                    byte,
                    b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
                ) =>
            {
                out.push(char::from(byte));
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
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
    fn urls_are_parsed_as_people_write_them() {
        let url: Url = "ws://[::1]".parse().unwrap();
        assert_eq!(url.resolve().unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(url.target(), "/");
        let url: Url = "wss://[::1]/a".parse().unwrap();
        assert_eq!(url.resolve().unwrap(), ["[::1]:443".parse().unwrap()]);
        assert_eq!(url.name(), "::1");
        assert!(url.is_secure());
        for (text, host, target) in [
            ("ws://a?b=c", "a", "/?b=c"),
            ("WS://a/", "a", "/"),
            ("Wss://a:1/b#c", "a:1", "/b"),
            ("ws://a/caf\u{e9}?\u{20ac}=1", "a", "/caf%C3%A9?%E2%82%AC=1"),
            ("ws://a/b c", "a", "/b%20c"),
            ("ws://a/b%20c", "a", "/b%20c"),
            ("ws://a/?x={1}|2", "a", "/?x=%7B1%7D%7C2"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host(), url.target()), (host, target), "{text}");
            assert_eq!(url.is_secure(), text.to_lowercase().starts_with("wss"));
        }
        for text in
            ["ws://caf\u{e9}/", "http://a", "127.0.0.1:9001", "ws://", "ws://a:b@c", "ws://a:99999"]
        {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }
}
