//! Signals: those that end the process, and the one that reloads.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first SIGTERM or SIGINT: end gracefully.
    Drain,
    /// A further one: end now.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Signals as they come.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on.
    pub fn watch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Passes orders on, for ever.
    pub async fn obey(mut self, obey: impl Fn(Order)) {
        let mut end = Order::Drain;
        loop {
            tokio::select! {
                _ = self.hangup.recv() => obey(Order::Reload),
                _ = self.terminate.recv() => obey(std::mem::replace(&mut end, Order::Stop)),
                _ = self.interrupt.recv() => obey(std::mem::replace(&mut end, Order::Stop)),
            }
        }
    }
}
