//! Signals that end the process, and the one that reloads it.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An order of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first SIGTERM or SIGINT: drain.
    Drain,
    /// Another SIGTERM or SIGINT: stop at once.
    Stop,
    /// SIGHUP: reload the configuration.
    Reload,
}

/// The signals of the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches signals from now on.
    pub fn watch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Passes orders on forever.
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
