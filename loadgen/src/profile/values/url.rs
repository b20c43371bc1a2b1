//! The servers to connect to.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;
use tapecast::client;

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct Url {
    url: client::Url,
    address: Option<SocketAddr>,
}

/// How long each of several addresses may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

impl Url {
    /// Finds the address to use: of several, the first that accepts a connection.
    ///
    /// # Errors
    /// The name has no address.
    pub fn resolve(&mut self) -> Result<(), String> {
        let addresses =
            self.url.resolve().map_err(|error| format!("{}: {error}", self.url.name()))?;
        let accepts = |address: &&SocketAddr| {
            addresses.len() == 1 || TcpStream::connect_timeout(address, CONNECT_MAX).is_ok()
        };
        // If none does, the run reports why.
        self.address = Some(*addresses.iter().find(accepts).unwrap_or(&addresses[0]));
        Ok(())
    }

    /// The address that [`Url::resolve`] found, which comes before any measurement.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("resolved before a run")
    }
}

impl Deref for Url {
    type Target = client::Url;

    fn deref(&self) -> &client::Url {
        &self.url
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        Ok(Url { url: text.parse()?, address: None })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_hosts_targets_and_addresses() {
        let url: Url = "ws://127.0.0.1:9001/echo?a=b".parse().unwrap();
        assert_eq!((url.host(), url.target()), ("127.0.0.1:9001", "/echo?a=b"));
        let mut url: Url = "ws://[::1]".parse().unwrap();
        url.resolve().unwrap();
        assert_eq!((url.address(), url.target()), ("[::1]:80".parse().unwrap(), "/"));
        for wrong in ["http://a", "127.0.0.1:9001", "wss://", "ws://", "ws://a:b@127.0.0.1"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
    }
}
