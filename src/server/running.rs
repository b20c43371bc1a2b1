//! A running server, and the handle that steers it from any thread.

use super::address::Address;
use super::error::ServerError;
use super::listener::Bound;
use crate::app::{Publisher, Shards};
use crate::base::{Counters, Limits};
use crate::shard::Command;
use crate::shard::links::Bell;
use crate::tls::Acceptor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A running server. Dropping it stops the server at once; [`Server::join`] waits for its end.
///
/// ```no_run
/// use tapecast::{Server, routes};
///
/// let server = Server::builder().listen("127.0.0.1:9001")?.start(|_shard| routes::Echo)?;
/// println!("listening on {}", server.addresses()[0]);
/// server.join()?;
/// # Ok::<(), tapecast::ServerError>(())
/// ```
#[derive(Debug)]
pub struct Server {
    pub(super) handle: ServerHandle,
    pub(super) threads: Vec<JoinHandle<std::io::Result<()>>>,
    pub(super) bound: Bound,
}

/// Steers a running server from any thread. Cheap to clone.
///
/// ```no_run
/// use tapecast::{Server, routes};
///
/// let server = Server::builder().listen("127.0.0.1:9001")?.start(|_shard| routes::Echo)?;
/// let handle = server.handle();
/// std::thread::spawn(move || handle.drain());
/// let handle = server.handle();
/// server.join()?;
/// assert!(handle.counters().iter().all(|shard| shard.connections.get() == 0));
/// # Ok::<(), tapecast::ServerError>(())
/// ```
#[derive(Clone)]
pub struct ServerHandle {
    pub(super) command: Arc<Command>,
    pub(super) bells: Arc<[Bell]>,
    pub(super) shards: Shards,
    pub(super) stopped: Arc<AtomicBool>,
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServerHandle").field("shards", &self.bells.len()).finish()
    }
}

impl ServerHandle {
    /// Drains the server: it accepts no more, closes every connection with 1001, spread
    /// over `Limits::drain_ms`, and cuts connections that do not answer within `close_ms`.
    pub fn drain(&self) {
        self.give(Command::DRAIN);
    }

    /// Stops the server at once: connections are cut.
    pub fn stop(&self) {
        self.give(Command::STOP);
    }

    fn give(&self, command: u8) {
        self.command.give(command);
        for bell in &*self.bells {
            bell.ring();
        }
    }

    /// Applies the reloadable limits ([`Limits::RELOADABLE`]) to the running shards; the others
    /// keep their values.
    ///
    /// # Errors
    /// The limits contradict each other. Then nothing is changed.
    pub fn reload(&self, limits: &Limits) -> Result<(), ServerError> {
        limits.check().map_err(ServerError::Limits)?;
        let limits = Arc::new(limits.clone());
        for sender in &*self.shards.senders {
            sender.reload(Arc::clone(&limits));
        }
        Ok(())
    }

    /// Uses this acceptor for new connections; existing ones are not affected. Without a `wss://`
    /// address it has no effect.
    pub fn reload_tls(&self, acceptor: &Acceptor) {
        for sender in &*self.shards.senders {
            sender.reload_tls(acceptor.clone());
        }
    }

    /// The counters of every shard, indexed by its number.
    pub fn counters(&self) -> &[Counters] {
        &self.shards.counters
    }

    /// A handle that publishes from any thread.
    pub fn publisher(&self) -> Publisher {
        self.shards.publisher.clone()
    }

    /// The shards, for the control thread.
    #[cfg(feature = "cli")]
    pub(crate) fn shards(&self) -> Shards {
        self.shards.clone()
    }
}

impl Server {
    /// The addresses it listens on, in the order in which they were given.
    pub fn addresses(&self) -> &[Address] {
        &self.bound.addresses
    }

    /// How many shards it has.
    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// A handle that steers it from any thread.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// A handle that publishes from any thread.
    pub fn publisher(&self) -> Publisher {
        self.handle.publisher()
    }

    /// Waits until every shard has stopped.
    ///
    /// # Errors
    /// A shard's ring broke, or its thread panicked.
    pub fn join(mut self) -> Result<(), ServerError> {
        let mut first_error = Ok(());
        for thread in self.threads.drain(..) {
            let result = match thread.join() {
                Ok(result) => result.map_err(ServerError::Shard),
                Err(_) => Err(ServerError::Shard(std::io::Error::other("a shard panicked"))),
            };
            first_error = first_error.and(result);
        }
        self.handle.stopped.store(true, Ordering::Relaxed);
        first_error
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.stopped.store(true, Ordering::Relaxed);
        self.handle.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
