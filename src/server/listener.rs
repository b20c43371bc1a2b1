//! Listening sockets.
//!
//! A TCP address has one socket per shard, all on the same port, and the kernel spreads
//! connections over them. A Unix socket and an inherited socket exist once, and every shard
//! accepts from them.

use super::address::Address;
use super::error::ServerError;
use crate::base::Limits;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The source of a listening socket.
#[derive(Debug)]
pub enum Source {
    /// An address to bind.
    Address(Address),
    /// A socket that is listening already.
    Socket(Address, OwnedFd),
}

/// The addresses that a server listens on. Dropping it removes the files of its Unix sockets.
#[derive(Debug)]
pub struct Bound {
    /// The addresses in their configured order, with the chosen ports.
    pub addresses: Vec<Address>,
    files: Vec<PathBuf>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        for file in &self.files {
            // The file may be gone already.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Binds every source. Returns the bound addresses, and the listeners of each shard.
pub fn bind(
    sources: Vec<Source>,
    limits: &Limits,
    shards: usize,
) -> Result<(Bound, Vec<Vec<OwnedFd>>), ServerError> {
    let mut bound = Bound { addresses: Vec::new(), files: Vec::new() };
    let mut listeners: Vec<Vec<OwnedFd>> = (0..shards).map(|_| Vec::new()).collect();
    for source in sources {
        match source {
            Source::Address(Address::Ip(asked)) => {
                bound.addresses.push(bind_ip(Address::Ip, asked, limits, &mut listeners)?);
            }
            Source::Address(Address::Secure(asked)) => {
                bound.addresses.push(bind_ip(Address::Secure, asked, limits, &mut listeners)?);
            }
            Source::Address(Address::Unix(path)) => {
                let failed = |error| ServerError::Listen(Address::Unix(path.clone()), error);
                let socket = bind_unix(&path).map_err(failed)?;
                bound.files.push(path.clone());
                share(socket.into(), limits, &mut listeners).map_err(failed)?;
                bound.addresses.push(Address::Unix(path));
            }
            Source::Socket(address, socket) => {
                share(socket, limits, &mut listeners)
                    .map_err(|error| ServerError::Listen(address.clone(), error))?;
                bound.addresses.push(address);
            }
        }
    }
    Ok((bound, listeners))
}

/// Binds one socket per shard; returns the address with the chosen port.
fn bind_ip(
    kind: fn(SocketAddr) -> Address,
    asked: SocketAddr,
    limits: &Limits,
    listeners: &mut [Vec<OwnedFd>],
) -> Result<Address, ServerError> {
    let bound = bind_tcp(asked, limits, listeners);
    bound.map(kind).map_err(|error| ServerError::Listen(kind(asked), error))
}

fn bind_tcp(
    asked: SocketAddr,
    limits: &Limits,
    listeners: &mut [Vec<OwnedFd>],
) -> io::Result<SocketAddr> {
    // Without SO_REUSEPORT at first: another server on this port must be an error, and not take a
    // share of the connections. A killed server may hold its sockets for
    // some 20 ms, until the kernel has torn its ring down.
    let mut tries = 0;
    while let Err(error) = tcp_socket(asked, false)?.bind(&asked.into()) {
        tries += 1;
        if error.kind() != io::ErrorKind::AddrInUse || tries > 10 {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut address = asked;
    for shard in listeners {
        let socket = tcp_socket(address, true)?;
        prepare(&socket, limits)?;
        socket.bind(&address.into())?;
        socket.listen(limits.listen_backlog)?;
        let listener = TcpListener::from(socket);
        // For port 0, the first shard chooses the port.
        address = listener.local_addr()?;
        shard.push(listener.into());
    }
    Ok(address)
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until connections of the last run time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        // Allows [::] and 0.0.0.0 side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Sets the options that accepted sockets inherit. Those are direct
/// descriptors, on which no options can be set.
fn prepare(socket: &Socket, limits: &Limits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if limits.socket_send_bytes > 0 {
        // The kernel doubles the value, for its own overhead.
        socket.set_send_buffer_size(limits.socket_send_bytes / 2)?;
    }
    if limits.socket_unsent_bytes > 0 {
        socket.set_tcp_notsent_lowat(limits.socket_unsent_bytes)?;
    }
    Ok(())
}

/// Binds a Unix socket, and replaces one whose server is gone.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Connecting to a file that is not a socket is refused too.
            let is_socket = std::fs::symlink_metadata(path)?.file_type().is_socket();
            let is_abandoned = UnixStream::connect(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_socket || !is_abandoned {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        result => result,
    }
}

/// Gives every shard the same socket.
fn share(socket: OwnedFd, limits: &Limits, listeners: &mut [Vec<OwnedFd>]) -> io::Result<()> {
    let reference = SockRef::from(&socket);
    if reference.domain()? != Domain::UNIX {
        prepare(&reference, limits)?;
    }
    // On a listening socket, this sets the backlog.
    reference.listen(limits.listen_backlog)?;
    for shard in listeners {
        shard.push(socket.try_clone()?);
    }
    Ok(())
}
