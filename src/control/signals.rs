//! The signals that end the process.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first SIGTERM or SIGINT: end gracefully.
    Drain,
    /// A further one: end now.
    Stop,
}

/// Signals as they come.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on.
    pub fn watch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Passes orders on, for ever.
    pub async fn obey(mut self, obey: impl Fn(Order)) {
        self.next().await;
        obey(Order::Drain);
        loop {
            self.next().await;
            obey(Order::Stop);
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
