//! The address behind a URL. It is found once, before the first connection, so that no
//! connection waits for a name.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tapecast::client::Url;

/// How long one address of several may take to accept a connection.
const ACCEPT_MAX: Duration = Duration::from_secs(2);

/// Where a connection goes.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    pub address: SocketAddr,
}

impl Target {
    /// Resolves a URL. Of several addresses it takes the first that accepts a connection.
    ///
    /// # Errors
    /// The name has no address.
    pub fn resolve(url: &Url) -> Result<Target, String> {
        let addresses = url.resolve().map_err(|error| format!("{}: {error}", url.name()))?;
        let accepts = |address: &&SocketAddr| {
            addresses.len() == 1 || TcpStream::connect_timeout(address, ACCEPT_MAX).is_ok()
        };
        // Where no address accepts, the run reports why.
        let address = *addresses.iter().find(accepts).unwrap_or(&addresses[0]);
        Ok(Target { url: url.clone(), address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_own_target() {
        let url: Url = "ws://127.0.0.1:9001/echo?a=b".parse().unwrap();
        assert_eq!((url.host(), url.target()), ("127.0.0.1:9001", "/echo?a=b"));
        for wrong in ["http://a", "127.0.0.1:9001", "wss://", "ws://", "ws://a:b@127.0.0.1"] {
            assert!(wrong.parse::<Url>().is_err(), "{wrong}");
        }
        let target = Target::resolve(&"ws://[::1]".parse().unwrap()).unwrap();
        assert_eq!((target.address, target.url.target()), ("[::1]:80".parse().unwrap(), "/"));
    }
}
