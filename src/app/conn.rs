//! A connection as its handler sees it, for the length of a call.

use super::core::{Core, Link};
use crate::base::work::Work;
use crate::base::{ConnectionId, Limits, ShardId, Time};
use crate::connection::{Close, SendOutcome};
use crate::hub::{Delivery, HubError, Listed, Publication, Published, Receipt};
use crate::protocol::{CloseCode, Kind, Message};
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Messages at least this long are sent straight out of the buffer they were
/// received in when a handler echoes them; shorter ones are cheaper to copy. The
/// simulated shards' messages are short.
const STRAIGHT_BYTES_MIN: usize = if cfg!(test) { 256 } else { 4 << 10 };

/// What a call leaves to be done once it has returned.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// The received message is to be sent back from where it lies.
    pub straight: Option<Kind>,
    /// Messages for other connections.
    pub letters: Vec<(ConnectionId, Kind, Bytes)>,
    /// A publication waits for room at this shard: pause this connection.
    pub congested: Option<ShardId>,
    /// A message was refused room, or the pause threshold was passed: tell when
    /// everything has left.
    pub wants_writable: bool,
    /// The application has closed the connection, and how.
    pub close: Option<Box<Close>>,
    /// The application has set the connection's timer.
    pub timer_set: bool,
    /// Data messages queued, and how many of them are text.
    pub messages: u64,
    pub texts: u64,
    /// Publications accepted, and refused for want of room.
    pub publications: u64,
    pub publications_refused: u64,
    /// Of these, for want of memory.
    pub publications_over_budget: u64,
    /// Subscriptions above the limit.
    pub subscriptions_refused: u64,
    /// The handler has more to do: call it again with `Notice::Resume`.
    pub resumes: bool,
}

impl Link<'_> {
    /// Whether `message` is the very message being handled, and long enough to be
    /// worth sending from where it lies.
    #[inline]
    fn is_straight(&self, message: Message<'_>) -> bool {
        let payload = message.payload();
        let may_deflate = payload.len() <= self.core.limits.deflate_bytes_max
            && self.own.outbound.compression().is_agreed();
        payload.len() >= STRAIGHT_BYTES_MIN
            && self.core.deferred.straight.is_none()
            && !may_deflate
            && self.received.is_some_and(|received| std::ptr::eq(received.payload(), payload))
    }

    /// What was to be sent from where it lies must go first after all: copy it.
    #[inline]
    fn settle_straight(&mut self) {
        let Core { deferred, pool, .. } = &mut *self.core;
        if let (Some(kind), Some(received)) = (deferred.straight.take(), self.received) {
            self.own.outbound.frame(pool, kind.opcode(), received.payload(), None);
        }
    }
}

/// How a message is published, beside to where.
///
/// ```
/// use tapecast::Publish;
///
/// let quote = Publish { key: Some("BTC"), ..Publish::default() };
/// # assert_eq!(quote.token, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// What it is the newest value of, in at most 255 bytes. Messages without a key
    /// are all of one.
    pub key: Option<&'a str>,
    /// From this message on its key has no value: it is delivered, and no snapshot
    /// has it.
    pub removes_key: bool,
    /// It is a text that is JSON: in lanes of JSON it stands as it was written.
    pub json: bool,
    /// On a connection: `Notice::Published` tells, with this token, what number it got.
    pub token: Option<u64>,
}

/// A connection and its session, borrowed for one call of a handler.
///
/// ```
/// use tapecast::testing::{Received, TestShard};
/// # use tapecast::{Conn, Handler, Message, Request, Upgrade};
///
/// struct Counting;
///
/// impl Handler for Counting {
///     type Session = u32;
/// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<u32> {
/// #         Upgrade::accept(0)
/// #     }
///     fn message(&mut self, conn: &mut Conn<'_, u32>, _message: Message<'_>) {
///         *conn.session() += 1;
///         let count = conn.session().to_string();
///         let _ = conn.send(&count);
///     }
/// }
///
/// let mut shard = TestShard::new(Counting);
/// let mut client = shard.connect("/");
/// client.send("a message");
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Text("1".into())));
/// ```
pub struct Conn<'a, S> {
    session: &'a mut S,
    link: Link<'a>,
}

/// A message could not be sent to another connection: it is too long.
///
/// ```
/// use tapecast::testing::{Received, TestShard};
/// # use tapecast::{Conn, Handler, Limits, Message, Request, Upgrade};
///
/// struct Padding;
///
/// impl Handler for Padding {
/// #     type Session = ();
/// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
/// #         Upgrade::accept(())
/// #     }
///     fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
///         let padded = [message.payload(), &[0; 4096]].concat();
///         if let Err(error) = conn.send_to(conn.id(), &padded) {
///             conn.close(4000, &error.to_string());
///         }
///     }
/// }
///
/// let limits = Limits { message_bytes_max: 4096, ..Limits::default() };
/// let mut shard = TestShard::with_limits(Padding, limits);
/// let mut client = shard.connect("/");
/// client.send("one byte is too many");
/// shard.run();
/// let close = Received::Close(Some((4000, "the message is too big".into())));
/// assert_eq!(client.receive(), Some(close));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendToError;

impl fmt::Display for SendToError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the message is too big")
    }
}

impl std::error::Error for SendToError {}

impl<'a, S> Conn<'a, S> {
    pub(crate) fn new(session: &'a mut S, link: Link<'a>) -> Conn<'a, S> {
        Conn { session, link }
    }

    /// The same connection with a part of its session.
    pub(crate) fn map<T>(&mut self, part: impl FnOnce(&mut S) -> &mut T) -> Conn<'_, T> {
        Conn { session: part(self.session), link: self.link.reborrow() }
    }

    /// The connection's name, unique for as long as the server runs.
    pub fn id(&self) -> ConnectionId {
        self.link.id
    }

    /// The other end; none on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.link.own.peer.get()
    }

    /// The target of the request, path and query, as it was sent.
    pub fn target(&self) -> &str {
        &self.link.own.target
    }

    /// The last round trip that the keep-alive measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip_us.map(|us| Duration::from_micros(us.into()))
    }

    /// The application's session.
    pub fn session(&mut self) -> &mut S {
        self.session
    }

    /// Queues a message; it leaves with the end of the turn. Sending back the
    /// very message being handled costs no copy.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        let message = message.into();
        let is_straight = self.link.is_straight(message);
        if !is_straight {
            self.link.settle_straight();
        }
        let outbound = &mut self.link.own.outbound;
        let Core { limits, pool, deferred, .. } = &mut *self.link.core;
        let outcome = match is_straight {
            true => outbound.may_queue(limits, message.payload().len()),
            false => outbound.message(pool, limits, message),
        };
        let is_queued = outcome != SendOutcome::Dropped;
        if is_straight && is_queued {
            deferred.straight = Some(message.kind());
        }
        deferred.wants_writable |= outcome != SendOutcome::Queued;
        deferred.messages += u64::from(is_queued);
        deferred.texts += u64::from(is_queued && message.kind() == Kind::Text);
        outcome
    }

    /// Queues a message to another connection, once this call has returned. Where the shard
    /// of that connection is behind, it waits, and this connection is not read from. It is
    /// dropped, and counted (`letters_dropped`), if that connection has ended by then or can't
    /// take it, or if `publish_overflow_bytes_max` bytes wait already.
    ///
    /// # Errors
    /// [`SendToError`] if the message is longer than `message_bytes_max`.
    pub fn send_to<'m>(
        &mut self,
        to: ConnectionId,
        message: impl Into<Message<'m>>,
    ) -> Result<(), SendToError> {
        let message = message.into();
        if message.payload().len() > self.link.core.limits.message_bytes_max {
            return Err(SendToError);
        }
        let payload = Bytes::copy_from_slice(message.payload());
        self.link.core.deferred.letters.push((to, message.kind(), payload));
        Ok(())
    }

    /// Subscribes to every message of `topic`; `Notice::Subscribed` tells from
    /// which number on. `trades.*` means every topic with one segment more than
    /// `trades`, `trades.>` with one or more: those that are there and those that
    /// will be.
    ///
    /// # Errors
    /// A bad name, a subscription that is there already, too many of them, or a rule
    /// that does not allow it.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), HubError> {
        self.subscribe_with(topic, &Delivery::default())
    }

    /// Subscribes to `topic` in another way than to every message from now on.
    ///
    /// # Errors
    /// As [`Conn::subscribe`], or a delivery that can't be.
    ///
    /// ```
    /// use tapecast::hub::{Delivery, Mode};
    /// use tapecast::testing::{Received, TestShard};
    /// # use tapecast::{Conn, Handler, Message, Publish, Request, Upgrade};
    ///
    /// /// The newest quote of each symbol.
    /// struct Board;
    ///
    /// impl Handler for Board {
    /// #     type Session = ();
    /// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
    /// #         Upgrade::accept(())
    /// #     }
    /// #     fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
    ///     fn open(&mut self, conn: &mut Conn<'_, ()>) {
    ///         let delivery =
    ///             Delivery { mode: Mode::Latest, snapshot: true, ..Delivery::default() };
    ///         conn.subscribe_with("quotes", &delivery).expect("a good name, once");
    ///     }
    /// }
    ///
    /// let mut shard = TestShard::new(Board);
    /// for quote in ["BTC 1", "ETH 7", "BTC 2"] {
    ///     let key = Some(&quote[..3]);
    ///     let keyed = Publish { key, ..Publish::default() };
    ///     shard.publisher().publish_with("quotes", quote, &keyed)?;
    /// }
    /// let mut client = shard.connect("/");
    /// shard.run();
    /// assert_eq!(client.receive(), Some(Received::Text("ETH 7".into())));
    /// assert_eq!(client.receive(), Some(Received::Text("BTC 2".into())));
    /// # Ok::<(), tapecast::HubError>(())
    /// ```
    pub fn subscribe_with(&mut self, topic: &str, delivery: &Delivery) -> Result<(), HubError> {
        let caller = self.link.caller();
        let Link { core, own, id, .. } = &mut self.link;
        let subscriptions = &mut own.subscriptions;
        let subscribed = core.hub.subscribe_for(caller, id.index, subscriptions, topic, delivery);
        core.count_subscription(subscribed)
    }

    /// Subscribes to `topic` as a member called `name`, for as long as the subscription
    /// lasts: `$presence.TOPIC` tells who comes and goes, and its snapshot who is there.
    /// The topic's rule says how many it lists.
    ///
    /// # Errors
    /// As [`Conn::subscribe_with`], `NotAllowed` where the rule has no list, and `BadKey`
    /// for a name that is empty, longer than 255 bytes or has control characters.
    ///
    /// ```
    /// use tapecast::hub::{Delivery, Rule};
    /// use tapecast::testing::{Received, TestShard};
    /// # use tapecast::{Conn, Handler, Limits, Message, Request, Upgrade};
    ///
    /// struct Lobby;
    ///
    /// impl Handler for Lobby {
    /// #     type Session = ();
    /// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
    /// #         Upgrade::accept(())
    /// #     }
    ///     fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
    ///         let Message::Text(name) = message else { return };
    ///         let from_now_on = Delivery::default();
    ///         let with_snapshot = Delivery { snapshot: true, ..from_now_on };
    ///         conn.subscribe_as("lobby", name, &from_now_on).expect("a list");
    ///         conn.subscribe_with("$presence.lobby", &with_snapshot).expect("a list");
    ///     }
    /// }
    ///
    /// let limits = Limits::default();
    /// let rule = Rule { members_max: 1_000, ..Rule::new("lobby", &limits) };
    /// let mut shard = TestShard::with_rules(Lobby, limits, vec![rule]);
    /// let (mut alice, mut bob) = (shard.connect("/"), shard.connect("/"));
    /// alice.send("Alice");
    /// shard.run();
    /// bob.send("Bob");
    /// shard.run();
    /// alice.reset();
    /// shard.run();
    /// let mut next = || bob.receive();
    /// let text = |text: &str| Some(Received::Text(text.into()));
    /// assert_eq!(next(), text(r#"{"join":"Alice","members":1}"#));
    /// assert_eq!(next(), text(r#"{"join":"Bob","members":2}"#));
    /// assert_eq!(next(), text(r#"{"leave":"Alice","members":1}"#));
    /// ```
    pub fn subscribe_as(
        &mut self,
        topic: &str,
        name: &str,
        delivery: &Delivery,
    ) -> Result<(), HubError> {
        let caller = self.link.caller();
        let Link { core, own, id, .. } = &mut self.link;
        let key = id.to_string();
        let listed = Listed { key: &key, name };
        let (hub, own) = (&mut core.hub, &mut own.subscriptions);
        let subscribed = hub.subscribe_as(caller, id.index, own, topic, delivery, listed);
        core.count_subscription(subscribed)
    }

    /// Whether the rule of `topic` has it list who subscribes with a name.
    pub fn lists_members(&self, topic: &str) -> bool {
        self.link.core.hub.lists_members(topic)
    }

    /// The client has everything of `topic` up to message `seq`, so that a
    /// subscription with a window goes on. `false` if there is no subscription.
    pub fn acknowledge(&mut self, topic: &str, seq: u64) -> bool {
        self.link.core.hub.acknowledge(self.link.own.subscriptions, topic, seq)
    }

    /// Whether this connection reads `topic`, by its name or by a pattern that it matches.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.link.core.hub.is_subscribed(self.link.own.subscriptions, topic)
    }

    /// The number of the last message of `topic` that has left for this connection, or
    /// was skipped for it; none while it has no subscription that is live.
    pub fn position(&self, topic: &str) -> Option<u64> {
        self.link.core.hub.position(self.link.own.subscriptions, topic)
    }

    /// Says the names and positions of the connection's topics of which it has got nothing
    /// since this was last asked.
    pub(crate) fn quiet(&mut self, each: impl FnMut(&str, u64)) {
        self.link.core.hub.quiet(self.link.own.subscriptions, each);
    }

    /// Publishes a text that the caller knows to be JSON, on behalf of the peer.
    pub(crate) fn publish_json(
        &mut self,
        topic: &str,
        json: &str,
        publish: &Publish<'_>,
    ) -> Result<Published, HubError> {
        self.publish_any(topic, Message::Text(json), &Publish { json: true, ..*publish }, true)
    }

    /// The server's limits.
    pub fn limits(&self) -> &Limits {
        &self.link.core.limits
    }

    /// The time since the server's start.
    pub(crate) fn now(&self) -> Time {
        self.link.core.now
    }

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.link.core.hub.unsubscribe(&mut self.link.own.subscriptions, topic)
    }

    /// Publishes a message to every subscriber of `topic`, on every shard, this
    /// connection included if it is one.
    ///
    /// # Errors
    /// A bad name, a message that is too long, `HubError::Full` when the topic's home is
    /// behind although publishers are paused, or `HubError::OverBudget`. If the home is
    /// another shard, its refusals come as `Notice::Published`.
    pub fn publish<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<Published, HubError> {
        self.publish_with(topic, message, &Publish::default())
    }

    /// Publishes a message with a key, or such that `Notice::Published` tells its
    /// number.
    ///
    /// # Errors
    /// As [`Conn::publish`], or a bad key.
    pub fn publish_with<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
        publish: &Publish<'_>,
    ) -> Result<Published, HubError> {
        self.publish_any(topic, message.into(), publish, false)
    }

    fn publish_any(
        &mut self,
        topic: &str,
        message: Message<'_>,
        publish: &Publish<'_>,
        is_checked: bool,
    ) -> Result<Published, HubError> {
        let &Publish { key, removes_key, json, token } = publish;
        let connection = self.link.id;
        let publication = Publication {
            topic,
            key,
            removes_key,
            message,
            is_json: json,
            receipt: Some(Receipt { connection, token, network: self.link.own.peer.network() }),
            caller: self.link.caller(),
        };
        let published = match is_checked {
            true => self.link.core.hub.publish_checked(&publication),
            false => self.link.core.hub.publish(&publication),
        };
        match published {
            Ok(outcome) => {
                self.link.core.deferred.publications += 1;
                if outcome == Published::Backpressure {
                    self.link.core.deferred.congested = Some(self.link.core.hub.home(topic));
                }
            }
            Err(error @ (HubError::Full | HubError::OverBudget)) => {
                let deferred = &mut self.link.core.deferred;
                deferred.publications_refused += 1;
                deferred.publications_over_budget += u64::from(error == HubError::OverBudget);
            }
            Err(_) => {}
        }
        published
    }

    /// Whether the connection has used up its share of this turn. A handler with a long
    /// request to do stops between two steps of it then, remembers what is left, and calls
    /// [`Conn::resume_later`].
    pub fn is_exhausted(&self) -> bool {
        self.link.core.is_exhausted()
    }

    /// Has the handler called again, with `Notice::Resume`, when others have had their
    /// turns: it goes on with a request then. No other message of this connection comes
    /// before that.
    ///
    /// ```
    /// use tapecast::testing::{Received, TestShard};
    /// # use tapecast::{Conn, Handler, Message, Notice, Request, Upgrade};
    ///
    /// /// Counts down, a step at a time.
    /// struct Countdown;
    ///
    /// impl Handler for Countdown {
    ///     type Session = u32;
    /// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<u32> {
    /// #         Upgrade::accept(0)
    /// #     }
    ///     fn message(&mut self, conn: &mut Conn<'_, u32>, _message: Message<'_>) {
    ///         *conn.session() = 3;
    ///         conn.resume_later();
    ///     }
    ///     fn notice(&mut self, conn: &mut Conn<'_, u32>, notice: Notice<'_>) {
    ///         if notice == Notice::Resume {
    ///             let left = conn.session().to_string();
    ///             let _ = conn.send(&left);
    ///             *conn.session() -= 1;
    ///             if *conn.session() > 0 {
    ///                 conn.resume_later();
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// let mut shard = TestShard::new(Countdown);
    /// let mut client = shard.connect("/");
    /// client.send("begin");
    /// shard.run();
    /// for left in ["3", "2", "1"] {
    ///     assert_eq!(client.receive(), Some(Received::Text(left.into())));
    /// }
    /// ```
    pub fn resume_later(&mut self) {
        self.link.core.deferred.resumes = true;
    }

    /// The handler has worked for so long, beside what the calls of this type take: a part
    /// of it that is long counts against the connection's share then. Time that no handler
    /// reports is not counted.
    pub fn spend(&mut self, time: Duration) {
        self.charge(time.as_nanos() as Work);
    }

    #[inline]
    pub(crate) fn charge(&mut self, work: Work) {
        self.link.core.work += work;
    }

    /// Bytes that are queued for the peer and that the kernel has not taken.
    pub fn queued_bytes(&self) -> usize {
        self.link.own.outbound.queued_bytes()
    }

    /// Sets the connection's timer, instead of what it was set to: `Notice::Timer`
    /// follows after `delay`, up to 32 ms later.
    pub fn set_timer(&mut self, delay: Duration) {
        self.link.own.timer = self.link.core.now + delay;
        self.link.core.deferred.timer_set = true;
    }

    /// Closes the connection with a code that may stand in a close frame (1000 for
    /// a normal end, 3000 to 4999 for the application's own) and a reason of up to
    /// 123 bytes. What was sent before still
    /// leaves; what is sent after is dropped.
    ///
    /// # Panics
    /// If the code must not stand in a close frame (RFC 6455, 7.4).
    pub fn close(&mut self, code: u16, reason: &str) {
        let code = CloseCode::new(code).expect("a code that may stand in a close frame");
        self.link.settle_straight();
        if !self.link.own.outbound.is_ended() {
            self.link.own.outbound.close_with(&mut self.link.core.pool, Some((code, reason)), None);
            let close = Close { code, reason: reason.into(), by_peer: false };
            self.link.core.deferred.close = Some(Box::new(close));
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Conn<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Conn")
            .field("id", &self.link.id)
            .field("peer", &self.peer())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
