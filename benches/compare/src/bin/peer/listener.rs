//! The listening socket of every peer, so that none differs by its backlog or by Nagle's
//! algorithm; the line that a peer prints when it is ready; and the pause after a failed
//! accept.

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Thousands of clients connect at once; the kernel caps this at `somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long a peer that is out of descriptors leaves the backlog alone.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The kernel takes an io_uring down some 20 ms after its process has ended. Until then the
/// last peer's listener holds the port.
const BIND_PATIENCE: Duration = Duration::from_secs(5);
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// A blocking listener on 127.0.0.1 whose connections send without delay:
/// accepted sockets inherit `TCP_NODELAY`.
pub fn bind(port: u16) -> io::Result<TcpListener> {
    let started = Instant::now();
    loop {
        match bind_once(port) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && started.elapsed() < BIND_PATIENCE =>
            {
                std::thread::sleep(BIND_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn bind_once(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Prints that connections are accepted.
pub fn announce(address: SocketAddr) {
    println!("listening on {address}");
}

/// Raises the soft limit of descriptors to the hard one. If that fails, fewer connections fit.
pub fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The limit of descriptors of this process.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
