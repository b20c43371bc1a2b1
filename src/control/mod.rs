//! Layer 7: the control thread, on tokio-uring, beside the shards.
//!
//! It owns what is slow, rare and asynchronous, so that no shard ever waits for
//! it: for now the signals. It knows no connection.

use std::io;
use std::sync::mpsc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first SIGTERM or SIGINT: end gracefully.
    Drain,
    /// A further one: end now.
    Stop,
}

/// Starts the control thread, which calls `obey` for every signal that ends the
/// process, for as long as it lives. When this returns, no signal is missed.
///
/// # Errors
/// The thread could not be started, or signals can't be watched.
pub fn start(obey: impl Fn(Order) + Send + 'static) -> io::Result<()> {
    let (ready, is_ready) = mpsc::channel();
    std::thread::Builder::new().name("tapecast-control".into()).spawn(move || {
        tokio_uring::start(async move {
            match Signals::watch() {
                Ok(signals) => {
                    // The caller waits for it.
                    let _ = ready.send(Ok(()));
                    signals.obey(obey).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the control thread ended")))
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn obey(mut self, obey: impl Fn(Order)) {
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
