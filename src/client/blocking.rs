//! The client on a blocking socket: it moves the bytes of a [`Session`].

use super::event::{Error, Event, Options, Position, RequestId, Subscribe};
use super::session::{Need, Session};
use super::url::Url;
use crate::base::{BufferPool, Time};
use crate::connection::{Channel, SERVER_HANDSHAKE_BYTES_MAX};
use crate::protocol::handshake::check_header;
use crate::tls::Connector;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Events in the queue above which nothing more is read.
const EVENTS_MAX: usize = 16 << 10;

/// A client on a blocking socket. It works only inside the calls of its methods: they
/// send without waiting, except that reconnecting may take as long as
/// [`Options::connect`]. [`Client::next`] waits for the next event.
///
/// Call [`Client::next`] regularly, also in a publisher: it reads answers and answers the
/// server's pings.
///
/// ```no_run
/// use tapecast::client::{Client, Event, Subscribe};
///
/// let mut client = Client::connect("ws://127.0.0.1:9001/")?;
/// client.subscribe("trades", &Subscribe { snapshot: true, ..Subscribe::default() })?;
/// client.publish("trades", Some("BTC"), r#"{"price":64000.5}"#)?;
/// loop {
///     match client.next()? {
///         Event::Message(message) => println!("{} {}", message.seq, message.body),
///         Event::Gap { from, to, .. } => println!("missed {from} to {to}"),
///         Event::Disconnected { reason } => println!("{reason}; trying again"),
///         _ => {}
///     }
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), tapecast::client::Error>(())
/// ```
#[derive(Debug)]
pub struct Client {
    session: Session,
    stream: Option<TcpStream>,
    connector: Option<Connector>,
    /// The TLS of the stream, for `wss://`.
    channel: Option<Channel>,
    pool: BufferPool,
    plain: Vec<u8>,
    origin: Instant,
    buffer: Box<[u8]>,
}

impl Client {
    /// Connects. A server that can't be reached now is an error. A connection that is lost later
    /// is an [`Event::Disconnected`], and the client reconnects.
    ///
    /// # Errors
    /// The URL is malformed; the server can't be reached or refuses the handshake.
    pub fn connect(url: &str) -> Result<Client, Error> {
        Client::with_options(url, Options::default())
    }

    /// As [`Client::connect`], with options.
    ///
    /// # Errors
    /// As there.
    pub fn with_options(url: &str, options: Options) -> Result<Client, Error> {
        let url: Url = url.parse().map_err(Error::Url)?;
        for (name, value) in &options.headers {
            check_header(name, value).map_err(Error::Header)?;
        }
        let connector = if url.is_secure() {
            Some(Connector::new(&options.trust, true).map_err(Error::Trust)?)
        } else {
            None
        };
        // Random per process and moment, which is enough to spread delays.
        let seed = RandomState::new().hash_one(Instant::now());
        let mut client = Client {
            session: Session::new(url, options, seed),
            stream: None,
            connector,
            channel: None,
            pool: BufferPool::new(1 << 20),
            plain: Vec::new(),
            origin: Instant::now(),
            buffer: vec![0; READ_BYTES].into(),
        };
        match client.next()? {
            Event::Connected => Ok(client),
            Event::Disconnected { reason } => Err(Error::Connect(reason)),
            other => unreachable!("{other:?} before a connection"),
        }
    }

    /// Subscribes now, or once connected, and again after every reconnect. [`Event::Subscribed`]
    /// or [`Event::Refused`] follows.
    ///
    /// # Errors
    /// There is a subscription to this channel already.
    pub fn subscribe(&mut self, channel: &str, how: &Subscribe) -> Result<(), Error> {
        self.session.subscribe(channel, how)?;
        self.send()
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// There is no such subscription.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<(), Error> {
        self.session.unsubscribe(channel)?;
        self.send()
    }

    /// Publishes JSON, with `key` as the new value of that key. The answer is an
    /// [`Event::Published`] or [`Event::Refused`]; or [`Event::Unanswered`], if the
    /// connection is lost before it arrives.
    ///
    /// # Errors
    /// It is not JSON. [`Error::Full`], if too many requests are in flight: take events first.
    pub fn publish(
        &mut self,
        channel: &str,
        key: Option<&str>,
        json: &str,
    ) -> Result<RequestId, Error> {
        let request = self.session.publish(channel, key, json)?;
        self.send()?;
        Ok(request)
    }

    /// Publishes the removal of a key. Otherwise as [`Client::publish`].
    ///
    /// # Errors
    /// As there.
    pub fn remove(&mut self, channel: &str, key: &str) -> Result<RequestId, Error> {
        let request = self.session.remove(channel, key)?;
        self.send()?;
        Ok(request)
    }

    /// Pings the server. The answer is an [`Event::Pong`].
    ///
    /// # Errors
    /// [`Error::Full`], if too many requests are in flight.
    pub fn ping(&mut self) -> Result<RequestId, Error> {
        let request = self.session.ping()?;
        self.send()?;
        Ok(request)
    }

    /// Acknowledges all messages of `channel` up to `seq`, or up to the last message taken: for
    /// subscriptions with `manual_ack`.
    ///
    /// # Errors
    /// There is no subscription for it.
    pub fn ack(&mut self, channel: &str, seq: Option<u64>) -> Result<(), Error> {
        self.session.ack(channel, seq)?;
        self.send()
    }

    /// The position behind the last message taken of `channel`, for a later `since`.
    pub fn position(&self, channel: &str) -> Option<Position> {
        self.session.position(channel)
    }

    /// Whether there is a connection now.
    pub fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// A local error of the socket. A lost connection is an event.
    #[expect(clippy::should_implement_trait, reason = "it has no end and can fail")]
    pub fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.next_within(Duration::from_secs(3_600))? {
                return Ok(event);
            }
        }
    }

    /// Waits for the next event, at most for this time.
    ///
    /// # Errors
    /// As [`Client::next`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Event>, Error> {
        let end = self.now() + patience;
        loop {
            if let Some(event) = self.session.next_event() {
                return Ok(Some(event));
            }
            if !self.turn(end)? {
                return Ok(self.session.next_event());
            }
        }
    }

    /// Closes the connection with a close frame. Dropping a client only closes its socket.
    pub fn close(mut self) {
        self.session.close();
        let _ = self.send();
        if let Some(channel) = &mut self.channel {
            channel.close(&mut self.pool);
            self.exchange();
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// Sends and receives without waiting.
    fn send(&mut self) -> Result<(), Error> {
        let now = self.now();
        self.turn(now)?;
        Ok(())
    }

    /// Does what the session needs, or waits for it until `end`. Returns `false` once `end` has
    /// passed without an event.
    fn turn(&mut self, end: Time) -> Result<bool, Error> {
        // Received bytes count before deadlines.
        self.exchange();
        let now = self.now();
        match self.session.need(now) {
            Need::Connect => {
                match self.open() {
                    Ok((stream, channel)) => {
                        (self.stream, self.channel) = (Some(stream), channel);
                        self.session.connected(now);
                    }
                    Err(error) => self.session.lost(self.now(), &error.to_string()),
                }
                Ok(true)
            }
            Need::Disconnect => {
                self.stream = None;
                Ok(true)
            }
            Need::Wait(until) => {
                let until = until.min(end);
                if self.session.events() == 0 && until > now {
                    self.wait(until - now)?;
                }
                Ok(self.session.events() > 0 || self.now() < end)
            }
        }
    }

    fn open(&mut self) -> io::Result<(TcpStream, Option<Channel>)> {
        let addresses = self.session.url().resolve()?;
        let stream = connect(&addresses, self.session.options().connect)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let Some(connector) = &self.connector else { return Ok((stream, None)) };
        let session = connector.connect(self.session.url().name()).map_err(io::Error::other)?;
        let mut channel = Channel::new(session, SERVER_HANDSHAKE_BYTES_MAX);
        // A client speaks first.
        channel.receive(&mut self.pool, &mut [], &mut self.plain).map_err(io::Error::other)?;
        Ok((stream, Some(channel)))
    }

    /// Waits until the socket is readable, or writable if bytes are queued.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let Some(stream) = &self.stream else {
            std::thread::sleep(patience);
            return Ok(());
        };
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.session.events() < EVENTS_MAX);
        let has_outgoing = match &self.channel {
            None => !self.session.outgoing().is_empty(),
            Some(channel) => channel.queued_bytes() > 0,
        };
        wanted.set(PollFlags::OUT, has_outgoing);
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut [PollFd::new(stream, wanted)], Some(&timeout)) {
            // A signal handler ran: the caller's loop checks the time.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes and reads without waiting.
    fn exchange(&mut self) {
        let mut result = self.write();
        if result.is_ok() && self.session.events() < EVENTS_MAX {
            result = self.read();
        }
        if let Err(error) = result
            && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        {
            self.stream = None;
            if let Some(mut channel) = self.channel.take() {
                channel.release(&mut self.pool);
            }
            self.session.lost(self.now(), &error.to_string());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let out = self.session.outgoing();
        let Some(channel) = &mut self.channel else {
            return write(stream, out).map(|written| drop(out.drain(..written)));
        };
        let bytes = out.len().min(channel.room());
        channel.seal(&mut self.pool, &out[..bytes]);
        out.drain(..bytes);
        let written = write(stream, channel.queued())?;
        channel.advance(&mut self.pool, written);
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let read = match stream.read(&mut self.buffer)? {
            0 => return Err(io::Error::other("closed by the server")),
            read => read,
        };
        let now = Time::ZERO + self.origin.elapsed();
        let bytes = &mut self.buffer[..read];
        let Some(channel) = &mut self.channel else {
            self.session.receive(now, bytes);
            // Sends pongs and a close frame now: the caller may not call again.
            return self.write();
        };
        self.plain.clear();
        let received = channel.receive(&mut self.pool, bytes, &mut self.plain);
        // Plaintext may come with the end of the handshake.
        if !self.plain.is_empty() {
            self.session.receive(now, &mut self.plain);
        }
        match received {
            Ok(false) => self.write(),
            Ok(true) => Err(io::Error::other("closed by the server")),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// Connects to the first address that accepts. On many machines `localhost` is `[::1]` first,
/// while a server may listen on 127.0.0.1 only.
fn connect(addresses: &[SocketAddr], patience: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + patience;
    let mut error = io::Error::from(ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        // The remaining addresses share the remaining time.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / (addresses.len() - tried) as u32;
        match TcpStream::connect_timeout(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return Ok(stream),
            Err(failed) => error = failed,
        }
    }
    Err(error)
}

/// Writes without waiting; returns the number of bytes written.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match stream.write(bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        written => written,
    }
}
