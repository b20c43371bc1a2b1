//! Layer 8: builder, topology, listeners, and the threads.

mod address;
mod error;
mod listener;
mod topology;

pub use address::Address;
pub use error::ServerError;
#[cfg(feature = "cli")]
pub(crate) use error::unlistenable;

use crate::admission::Addresses;
use crate::app::{CommandQueue, CommandSender, Handler, Publisher, Shards};
use crate::base::{Counters, Limits, ShardId, Wake};
use crate::driver::{Driver, Setup, SetupError, Uring};
use crate::hub::{Rule, Rules};
use crate::mailbox::Doorbell;
use crate::shard::links::{Bell, Links};
use crate::shard::{Command, Parts, Shard};
use crate::tls::Acceptor;
use listener::{Bound, Source};
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// What is taken for the memory of a machine that does not say how much it has.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;
/// The least that connections are given of it: some large messages.
const CONNECTIONS_BYTES_MIN: usize = 16 << 20;
/// How many publications from other threads a shard's inbox holds.
const INBOX_PUBLICATIONS: usize = 16 << 10;

/// A server that is being put together.
///
/// ```
/// use std::num::NonZeroU16;
/// use tapecast::{Limits, Server, ServerError, routes};
///
/// let builder = Server::builder()
///     .listen("127.0.0.1:9001")?
///     .shards(NonZeroU16::MIN)
///     .limits(Limits { connections_max: 0, ..Limits::default() });
/// // Refused before anything is bound.
/// let error = builder.start(|_shard| routes::Echo).unwrap_err();
/// assert!(matches!(error, ServerError::Limits(_)));
/// # Ok::<(), ServerError>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    sources: Vec<Source>,
    shards: Option<NonZeroU16>,
    limits: Limits,
    rules: Vec<Rule>,
    tls: Option<Acceptor>,
}

impl Builder {
    /// Listens on this address, `[ws://|wss://]HOST:PORT` or `unix:PATH`, as
    /// [`Address::resolve`] reads it; port 0 takes a free one. May be called several times.
    /// `wss://` needs [`Builder::tls`].
    ///
    /// # Errors
    /// [`ServerError::Address`] if it is not an address.
    pub fn listen(mut self, address: &str) -> Result<Builder, ServerError> {
        let addresses = Address::resolve(address).map_err(ServerError::Address)?;
        self.sources.extend(addresses.into_iter().map(Source::Address));
        Ok(self)
    }

    /// Accepts from a socket that listens already, as one that a supervisor has
    /// passed on. All shards share it.
    ///
    /// # Errors
    /// [`ServerError::Thread`] if it has no address.
    pub fn listener(mut self, listener: TcpListener) -> Result<Builder, ServerError> {
        let address = Address::Ip(listener.local_addr().map_err(ServerError::Thread)?);
        self.sources.push(Source::Socket(address, listener.into()));
        Ok(self)
    }

    /// As [`Builder::listener`], with TLS.
    ///
    /// # Errors
    /// As there.
    pub fn secure_listener(mut self, listener: TcpListener) -> Result<Builder, ServerError> {
        let address = Address::Secure(listener.local_addr().map_err(ServerError::Thread)?);
        self.sources.push(Source::Socket(address, listener.into()));
        Ok(self)
    }

    /// As [`Builder::listener`], with a Unix socket.
    ///
    /// # Errors
    /// As there.
    pub fn unix_listener(mut self, listener: UnixListener) -> Result<Builder, ServerError> {
        let name = listener.local_addr().map_err(ServerError::Thread)?;
        let path = name.as_pathname().unwrap_or("unnamed".as_ref()).to_owned();
        self.sources.push(Source::Socket(Address::Unix(path), listener.into()));
        Ok(self)
    }

    /// Runs this many shards, instead of one per core that the process may use.
    #[must_use]
    pub fn shards(mut self, shards: NonZeroU16) -> Builder {
        self.shards = Some(shards);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Builder {
        self.limits = limits;
        self
    }

    /// Sets the rules of topics: of those that match a topic the first holds.
    #[must_use]
    pub fn rules(mut self, rules: Vec<Rule>) -> Builder {
        self.rules = rules;
        self
    }

    /// Who the server is on `wss://` addresses.
    #[must_use]
    pub fn tls(mut self, acceptor: Acceptor) -> Builder {
        self.tls = Some(acceptor);
        self
    }

    /// Starts the server. `make` is called once on each shard's thread for that
    /// shard's handler.
    ///
    /// # Errors
    /// Limits that contradict each other, a rule that can't be, more shards than cores, an address that
    /// can't be bound, or no io_uring: nothing has been left behind then.
    pub fn start<H, F>(self, make: F) -> Result<Server, ServerError>
    where
        H: Handler,
        F: Fn(ShardId) -> H + Send + Sync + 'static,
    {
        self.limits.check().map_err(ServerError::Limits)?;
        let limits = with_memory(self.limits);
        let rules = Rules::new(self.rules, &limits).map_err(ServerError::Rule)?;
        let rules = Arc::new(rules);
        if self.sources.is_empty() {
            return Err(ServerError::NoAddress);
        }
        check_certificate(&self.sources, self.tls.is_some())?;
        let cores = topology::cores(self.shards)?;
        let shards = cores.len();
        let slots_max = topology::slots_max(&limits);
        let (bound, listeners) = listener::bind(self.sources, &limits, shards)?;

        let make = Arc::new(make);
        let mut starting = Vec::new();
        for (id, (core, listeners)) in cores.into_iter().zip(listeners).enumerate() {
            let id = ShardId(id as u16);
            let setup = Setup::new(&limits, slots_max as u32);
            starting.push(Starting::spawn(id, core, setup, listeners, Arc::clone(&make))?);
        }
        // Every ring is there before any shard takes a connection.
        let bells: Vec<Bell> =
            starting.iter().map(Starting::bell).collect::<Result<_, ServerError>>()?;
        let bells: Arc<[Bell]> = bells.into();
        let inbox_bytes_max = limits.publish_overflow_bytes_max;
        let commands = |_| CommandQueue::new(INBOX_PUBLICATIONS, inbox_bytes_max);
        let command_queues: Vec<CommandQueue> = (0..shards).map(commands).collect();
        let counters: Arc<[Counters]> = (0..shards).map(|_| Counters::default()).collect();
        let command = Arc::new(Command::default());
        let home_seed = topology::random_seed();
        let per_address = limits.connections_per_address_max;
        let addresses = Arc::new(Addresses::new(per_address, topology::random_seed()));
        let links = Links::connect(&limits, Arc::clone(&bells), &command_queues);
        let mut threads = Vec::new();
        for (starting, links) in starting.into_iter().zip(links) {
            let parts = Parts {
                id: starting.id,
                limits: limits.clone(),
                listeners: bound.addresses.iter().map(Address::is_secure).collect(),
                tls: self.tls.clone(),
                slots_max,
                links,
                counters: Arc::clone(&counters),
                command: Arc::clone(&command),
                addresses: Arc::clone(&addresses),
                home_seed,
                epoch_seed: topology::random_seed(),
                rules: Arc::clone(&rules),
            };
            let guard = Guard(Some((Arc::clone(&command), Arc::clone(&bells))));
            threads.push(starting.go(parts, guard));
        }
        let senders: Arc<[CommandSender]> = command_queues
            .into_iter()
            .zip(bells.iter())
            .map(|(commands, bell)| CommandSender { commands, doorbell: Arc::clone(bell) })
            .collect();
        let stopped = Arc::new(AtomicBool::new(false));
        let publisher = Publisher::new(
            Arc::clone(&senders),
            home_seed,
            limits.message_bytes_max,
            stopped.clone(),
        );
        let shards = Shards { senders, publisher, counters };
        let handle = ServerHandle { command, bells, shards, stopped };
        Ok(Server { handle, threads, bound })
    }
}

/// The limits, with those that depend on the memory of the machine.
fn with_memory(mut limits: Limits) -> Limits {
    if limits.connections_bytes_max == 0 {
        let memory = topology::memory_bytes().unwrap_or(MEMORY_BYTES_UNKNOWN);
        let quarter = usize::try_from(memory / 4).unwrap_or(usize::MAX);
        limits.connections_bytes_max = quarter.max(CONNECTIONS_BYTES_MIN);
    }
    limits
}

fn check_certificate(sources: &[Source], has_certificate: bool) -> Result<(), ServerError> {
    let is_secure = |source: &Source| match source {
        Source::Address(address) | Source::Socket(address, _) => address.is_secure(),
    };
    match (sources.iter().any(is_secure), has_certificate) {
        (true, false) => {
            Err(ServerError::Certificate("a wss:// address needs a certificate".into()))
        }
        (false, true) => {
            let why = "there is a certificate, but no wss:// address to use it on";
            Err(ServerError::Certificate(why.into()))
        }
        _ => Ok(()),
    }
}

/// Stops the whole server when a shard ends other than by order: its topics are
/// gone, and the others can't go on without it.
struct Guard(Option<(Arc<Command>, Arc<[Bell]>)>);

impl Guard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((command, bells)) = &self.0 else { return };
        command.give(Command::STOP);
        for bell in &**bells {
            bell.ring();
        }
    }
}

/// A shard's thread whose ring is being set up.
struct Starting {
    id: ShardId,
    bell: mpsc::Receiver<Result<Bell, SetupError>>,
    parts: mpsc::Sender<(Parts, Guard)>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Starting {
    /// A ring may be used by the thread alone that has made it.
    fn spawn<H, F>(
        id: ShardId,
        core: topology::Core,
        setup: Setup,
        listeners: Vec<OwnedFd>,
        make: Arc<F>,
    ) -> Result<Starting, ServerError>
    where
        H: Handler,
        F: Fn(ShardId) -> H + Send + Sync + 'static,
    {
        let (bell_sender, bell) = mpsc::channel();
        let (parts, parts_receiver) = mpsc::channel::<(Parts, Guard)>();
        let thread = std::thread::Builder::new().name(format!("tapecast-{id}"));
        let thread = thread.spawn(move || {
            core.pin();
            let mut ring = match Uring::new(&setup) {
                Ok(ring) => ring,
                Err(error) => {
                    // The receiver is there until it has heard from every shard.
                    let _ = bell_sender.send(Err(error));
                    return Ok(());
                }
            };
            ring.listen(listeners, setup.accepts_in_flight);
            let waker: Box<dyn Wake> = Box::new(ring.waker());
            let _ = bell_sender.send(Ok(Arc::new(Doorbell::new(waker))));
            // Fails when another shard could not start: the server gives up.
            let Ok((parts, guard)) = parts_receiver.recv() else { return Ok(()) };
            let handler = make(id);
            Shard::new(ring, handler, parts).run()?;
            guard.disarm();
            Ok(())
        });
        let thread = thread.map_err(ServerError::Thread)?;
        Ok(Starting { id, bell, parts, thread })
    }

    fn bell(&self) -> Result<Bell, ServerError> {
        match self.bell.recv() {
            Ok(result) => result.map_err(ServerError::Ring),
            Err(_) => Err(ServerError::Thread(std::io::Error::other("a shard's thread ended"))),
        }
    }

    fn go(self, parts: Parts, guard: Guard) -> JoinHandle<std::io::Result<()>> {
        // It waits for them.
        let _ = self.parts.send((parts, guard));
        self.thread
    }
}

/// A running server. Dropping it stops it at once; [`Server::join`] waits.
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
    handle: ServerHandle,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    bound: Bound,
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
    command: Arc<Command>,
    bells: Arc<[Bell]>,
    shards: Shards,
    stopped: Arc<AtomicBool>,
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServerHandle").field("shards", &self.bells.len()).finish()
    }
}

impl ServerHandle {
    /// Ends gracefully: accepts no more, closes every connection with 1001, spread
    /// over `Limits::drain_ms`, and cuts who does not answer in `close_ms`.
    pub fn drain(&self) {
        self.give(Command::DRAIN);
    }

    /// Ends at once: connections are cut.
    pub fn stop(&self) {
        self.give(Command::STOP);
    }

    fn give(&self, command: u8) {
        self.command.give(command);
        for bell in &*self.bells {
            bell.ring();
        }
    }

    /// Gives the running shards the reloadable ones of these limits
    /// ([`Limits::RELOADABLE`]); the others are left as they are.
    ///
    /// # Errors
    /// Limits that contradict each other: nothing has changed then.
    pub fn reload(&self, limits: &Limits) -> Result<(), ServerError> {
        limits.check().map_err(ServerError::Limits)?;
        let limits = Arc::new(limits.clone());
        for sender in &*self.shards.senders {
            sender.reload(Arc::clone(&limits));
        }
        Ok(())
    }

    /// Has connections from now on begin TLS like this; those that are there go on as they
    /// are. Without a `wss://` address nothing comes of it.
    pub fn reload_tls(&self, acceptor: &Acceptor) {
        for sender in &*self.shards.senders {
            sender.reload_tls(acceptor.clone());
        }
    }

    /// The counters of every shard, by its number.
    pub fn counters(&self) -> &[Counters] {
        &self.shards.counters
    }

    /// Publishes from any thread.
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
    /// A server to be put together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The addresses it listens on, in the order in which they were given.
    pub fn addresses(&self) -> &[Address] {
        &self.bound.addresses
    }

    /// How many shards it has.
    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// Steers it from elsewhere.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Publishes from any thread.
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
