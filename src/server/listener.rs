//! Listening sockets: one per address and shard, all on the same port.

use super::ServerError;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, TcpListener};

/// Connections that the kernel holds for a listener until they are accepted.
const BACKLOG: i32 = 4096;

/// Binds every address once per shard with SO_REUSEPORT. Says the addresses as
/// bound, and the listeners of each shard.
pub fn bind(
    addresses: &[SocketAddr],
    shards: usize,
) -> Result<(Vec<SocketAddr>, Vec<Vec<TcpListener>>), ServerError> {
    let mut bound = Vec::new();
    let mut listeners: Vec<Vec<TcpListener>> = (0..shards).map(|_| Vec::new()).collect();
    for &asked in addresses {
        let failed = |error| ServerError::Listen(asked, error);
        // Without SO_REUSEPORT at first: another server there must be an error,
        // not a share of its connections.
        socket(asked, false).and_then(|socket| socket.bind(&asked.into())).map_err(failed)?;
        let mut address = asked;
        for shard in &mut listeners {
            let listener = listen(address).map_err(failed)?;
            // The first shard finds the port, where 0 was asked for.
            address = listener.local_addr().map_err(failed)?;
            shard.push(listener);
        }
        bound.push(address);
    }
    Ok((bound, listeners))
}

fn socket(address: SocketAddr, reuse_port: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        // [::] and 0.0.0.0 side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket(address, true)?;
    // Inherited by accepted sockets, where direct descriptors can't be set.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
