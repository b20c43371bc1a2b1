//! The builder of a server.

use super::address::Address;
use super::error::ServerError;
use super::listener::{self, Source};
use super::running::{Server, ServerHandle};
use super::starting::{Guard, Starting};
use super::topology;
use crate::admission::Addresses;
use crate::app::{CommandQueue, CommandSender, Handler, Publisher, Shards};
use crate::base::{Counters, Limits, ShardId};
use crate::driver::Setup;
use crate::hub::{Rule, Rules};
use crate::shard::links::{Bell, Links};
use crate::shard::{Command, Parts};
use crate::tls::Acceptor;
use std::net::TcpListener;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The assumed memory of a machine whose memory can't be determined.
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;
/// The least memory for connections: room for some large messages.
const CONNECTIONS_BYTES_MIN: usize = 16 << 20;
/// How many publications from other threads a shard's inbox holds.
const INBOX_PUBLICATIONS: usize = 16 << 10;

/// The builder of a server.
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

    /// Accepts from a listening socket, such as one that a supervisor has passed on. All shards
    /// share it.
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

    /// Runs this many shards. The default is one per core that the process may use.
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

    /// Sets the rules of topics: the first matching rule applies.
    #[must_use]
    pub fn rules(mut self, rules: Vec<Rule>) -> Builder {
        self.rules = rules;
        self
    }

    /// Sets the certificates for `wss://` addresses.
    #[must_use]
    pub fn tls(mut self, acceptor: Acceptor) -> Builder {
        self.tls = Some(acceptor);
        self
    }

    /// Starts the server. `make` is called once on each shard's thread for that
    /// shard's handler.
    ///
    /// # Errors
    /// Limits that contradict each other, an invalid rule, more shards than cores, an address
    /// that can't be bound, or no io_uring. Then nothing is left behind.
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

        let setup = Setup::new(&limits, slots_max as u32);
        let (starting, bells) = start_threads(cores, listeners, &setup, make)?;
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

impl Server {
    /// Builds a server.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Starts one thread per shard. Returns once every ring is set up, so that no shard accepts a
/// connection before.
fn start_threads<H, F>(
    cores: Vec<topology::Core>,
    listeners: Vec<Vec<OwnedFd>>,
    setup: &Setup,
    make: F,
) -> Result<(Vec<Starting>, Arc<[Bell]>), ServerError>
where
    H: Handler,
    F: Fn(ShardId) -> H + Send + Sync + 'static,
{
    let make = Arc::new(make);
    let mut starting = Vec::new();
    for (id, (core, listeners)) in cores.into_iter().zip(listeners).enumerate() {
        let id = ShardId(id as u16);
        starting.push(Starting::spawn(id, core, setup.clone(), listeners, Arc::clone(&make))?);
    }
    let bells: Result<Vec<Bell>, ServerError> = starting.iter().map(Starting::bell).collect();
    Ok((starting, bells?.into()))
}

/// Sets the limits that depend on the memory of the machine.
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
            let why = "a certificate is set, but no wss:// address uses it";
            Err(ServerError::Certificate(why.into()))
        }
        _ => Ok(()),
    }
}
