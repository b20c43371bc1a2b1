//! Layer 7: the control thread, on tokio-uring, beside the shards.
//!
//! It owns what is slow, rare and asynchronous, so that no shard ever waits for
//! it: for now the signals. It knows no connection.

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
/// process, for as long as it lives.
///
/// # Errors
/// The thread could not be started.
pub fn start(obey: impl Fn(Order) + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("tapecast-control".into());
    thread
        .spawn(move || {
            tokio_uring::start(async move {
                if let Err(error) = watch_signals(obey).await {
                    tracing::error!(%error, "signals can't be watched: SIGTERM ends at once");
                }
            });
        })
        .map(drop)
}

async fn watch_signals(obey: impl Fn(Order)) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    next(&mut terminate, &mut interrupt).await;
    obey(Order::Drain);
    loop {
        next(&mut terminate, &mut interrupt).await;
        obey(Order::Stop);
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
