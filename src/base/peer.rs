//! A peer's address in few bytes, since every connection has one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The network that counts as one peer: an IPv4 address, or the /64 of an IPv6 host. Never 0.
pub fn network_of(address: IpAddr) -> u64 {
    // No /64 has this prefix: it is the block of IPv4-mapped addresses.
    let of_v4 = |address: Ipv4Addr| u64::from(address.to_bits()) | 0xFFFF << 32;
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => of_v4(address),
            None => ((address.to_bits() >> 64) as u64).max(1),
        },
    }
}

/// An `Option<SocketAddr>` in 24 bytes instead of 32. The flow label is left out: it does not
/// distinguish peers.
///
/// ```
/// use tapecast::base::PeerAddress;
///
/// let peer = PeerAddress::new("[fe80::7%3]:9001".parse().ok());
/// assert_eq!(peer.get().unwrap().to_string(), "[fe80::7%3]:9001");
/// assert_eq!(PeerAddress::new(None).get(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerAddress {
    /// An IPv4 address uses the first four.
    octets: [u8; 16],
    scope: u32,
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Family {
    /// There is no address: a Unix socket has none.
    #[default]
    None,
    V4,
    V6,
}

impl PeerAddress {
    /// Packs `address`.
    pub fn new(address: Option<SocketAddr>) -> PeerAddress {
        let Some(address) = address else { return PeerAddress::default() };
        let (octets, scope, family) = match address {
            SocketAddr::V4(address) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&address.ip().octets());
                (octets, 0, Family::V4)
            }
            SocketAddr::V6(address) => (address.ip().octets(), address.scope_id(), Family::V6),
        };
        PeerAddress { octets, scope, port: address.port(), family }
    }

    /// The network that counts as one peer, as a number: an IPv4 address or a /64; 0 if
    /// there is no address.
    pub fn network(&self) -> u64 {
        self.get().map_or(0, |address| network_of(address.ip()))
    }

    /// The address that was packed.
    pub fn get(&self) -> Option<SocketAddr> {
        let [a, b, c, d, ..] = self.octets;
        match self.family {
            Family::None => None,
            Family::V4 => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), self.port)),
            Family::V6 => {
                let address = Ipv6Addr::from(self.octets);
                Some(SocketAddrV6::new(address, self.port, 0, self.scope).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_address_is_the_address_that_was_given() {
        for text in ["127.0.0.1:1", "255.254.253.252:65535", "[::1]:80", "[::ffff:1.2.3.4]:5"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(PeerAddress::new(Some(address)).get(), Some(address));
        }
        assert_eq!(size_of::<PeerAddress>(), 24);
    }
}
