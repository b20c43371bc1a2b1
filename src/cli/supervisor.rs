//! Notifications to a supervisor that speaks systemd's protocol, and the watchdog it asks for.
//!
//! Written by hand, since the crate for it can't send to abstract sockets, which
//! sd_notify(3) allows.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message waits for room in the supervisor's socket.
const SEND_WAIT: Duration = Duration::from_secs(1);

/// Notifies the supervisor, if there is one. A failure is logged.
pub fn notify(message: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    let sent = address(name.as_encoded_bytes()).and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        // A stalled supervisor must not block the control thread.
        socket.set_write_timeout(Some(SEND_WAIT))?;
        socket.send_to_addr(message.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "can't notify the supervisor");
    }
}

/// A path, or `@` and an abstract name.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(String::from_utf8_lossy(name).as_ref()),
    }
}

/// The interval within which the supervisor expects `WATCHDOG=1`, if it does.
pub fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros)
}
