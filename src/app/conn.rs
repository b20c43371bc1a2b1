//! A connection as its handler sees it, for the length of a call.

use super::context::{CallContext, Core};
use super::deferred::DirectMessage;
use super::message::{Publish, SendToError};
use crate::base::work::Work;
use crate::base::{ConnectionId, Limits, Time};
use crate::connection::{Close, SendOutcome};
use crate::hub::{Delivery, HubError, Listed, Publication, Published, Receipt};
use crate::protocol::{CloseCode, Kind, Message};
use bytes::Bytes;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

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
    context: CallContext<'a>,
}

impl<'a, S> Conn<'a, S> {
    pub(crate) fn new(session: &'a mut S, context: CallContext<'a>) -> Conn<'a, S> {
        Conn { session, context }
    }

    /// The same connection with a part of its session.
    pub(crate) fn map<T>(&mut self, part: impl FnOnce(&mut S) -> &mut T) -> Conn<'_, T> {
        Conn { session: part(self.session), context: self.context.reborrow() }
    }

    /// The connection's name, unique for as long as the server runs.
    pub fn id(&self) -> ConnectionId {
        self.context.id
    }

    /// The other end; none on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.context.state.peer.get()
    }

    /// The target of the request, path and query, as it was sent.
    pub fn target(&self) -> &str {
        &self.context.state.target
    }

    /// The last round trip that the keep-alive measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.context.round_trip_us.map(|us| Duration::from_micros(us.into()))
    }

    /// The application's session.
    pub fn session(&mut self) -> &mut S {
        self.session
    }

    /// Queues a message, which leaves at the end of the turn. Sending the message being handled
    /// back to its sender costs no copy from 4 KiB on.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> SendOutcome {
        let message = message.into();
        let is_echo_in_place = self.context.is_echo_in_place(message);
        if !is_echo_in_place {
            self.context.settle_echo();
        }
        let outbound = &mut self.context.state.outbound;
        let Core { limits, pool, deferred, .. } = &mut *self.context.core;
        let outcome = if is_echo_in_place {
            outbound.may_queue(limits, message.payload().len())
        } else {
            outbound.message(pool, limits, message)
        };
        let is_queued = outcome != SendOutcome::Dropped;
        if is_echo_in_place && is_queued {
            deferred.echo_in_place = Some(message.kind());
        }
        deferred.wants_writable |= outcome != SendOutcome::Queued;
        deferred.messages += u64::from(is_queued);
        deferred.texts += u64::from(is_queued && message.kind() == Kind::Text);
        outcome
    }

    /// Queues a message to another connection, once this call has returned. If the shard of that
    /// connection is overloaded, the message waits, and this connection is not read from. The
    /// message is dropped, and counted (`letters_dropped`), if the receiver has ended by then or
    /// can't take it, or if `publish_overflow_bytes_max` bytes wait already.
    ///
    /// # Errors
    /// [`SendToError`] if the message is longer than `message_bytes_max`.
    pub fn send_to<'m>(
        &mut self,
        to: ConnectionId,
        message: impl Into<Message<'m>>,
    ) -> Result<(), SendToError> {
        let message = message.into();
        if message.payload().len() > self.context.core.limits.message_bytes_max {
            return Err(SendToError);
        }
        let payload = Bytes::copy_from_slice(message.payload());
        let message = DirectMessage { to, kind: message.kind(), payload };
        self.context.core.deferred.direct.push(message);
        Ok(())
    }

    /// Subscribes to every message of `topic`; `Notice::Subscribed` reports from which number
    /// on. `trades.*` matches every topic with one segment more than `trades`, `trades.>` with
    /// one or more: existing topics and those to come.
    ///
    /// # Errors
    /// The name is invalid, the subscription exists, a limit is reached, or the topic's rule does
    /// not allow it.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), HubError> {
        self.subscribe_with(topic, &Delivery::default())
    }

    /// Subscribes to `topic` with these options of delivery.
    ///
    /// # Errors
    /// As [`Conn::subscribe`], or the delivery contradicts itself.
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
        let caller = self.context.caller();
        let CallContext { core, state, id, .. } = &mut self.context;
        let subscriptions = &mut state.subscriptions;
        let subscribed = core.hub.subscribe_for(caller, id.index, subscriptions, topic, delivery);
        core.count_subscription(subscribed)
    }

    /// Subscribes to `topic` as a member called `name`, for as long as the subscription lasts:
    /// `$presence.TOPIC` reports members that join and leave, and its snapshot lists them. The
    /// topic's rule says how many it lists.
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
        let caller = self.context.caller();
        let CallContext { core, state, id, .. } = &mut self.context;
        let key = id.to_string();
        let listed = Listed { key: &key, name };
        let (hub, own) = (&mut core.hub, &mut state.subscriptions);
        let subscribed = hub.subscribe_as(caller, id.index, own, topic, delivery, listed);
        core.count_subscription(subscribed)
    }

    /// Whether the rule of `topic` has it list subscribers with a name.
    pub fn lists_members(&self, topic: &str) -> bool {
        self.context.core.hub.lists_members(topic)
    }

    /// Acknowledges every message of `topic` up to `seq`, which makes room in the window of the
    /// subscription. Returns `false` if there is no subscription.
    pub fn acknowledge(&mut self, topic: &str, seq: u64) -> bool {
        self.context.core.hub.acknowledge(self.context.state.subscriptions, topic, seq)
    }

    /// Whether this connection reads `topic`, by its name or by a pattern that it matches.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.context.core.hub.is_subscribed(self.context.state.subscriptions, topic)
    }

    /// The number of the last message of `topic` that has left for this connection, or
    /// was skipped for it; none while it has no subscription that is live.
    pub fn position(&self, topic: &str) -> Option<u64> {
        self.context.core.hub.position(self.context.state.subscriptions, topic)
    }

    /// Reports the names and positions of the connection's topics without a message since the
    /// last call.
    pub(crate) fn quiet(&mut self, each: impl FnMut(&str, u64)) {
        self.context.core.hub.quiet(self.context.state.subscriptions, each);
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
        &self.context.core.limits
    }

    /// The time since the server's start.
    pub(crate) fn now(&self) -> Time {
        self.context.core.now
    }

    /// Ends a subscription; `false` if there was none.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        self.context.core.hub.unsubscribe(&mut self.context.state.subscriptions, topic)
    }

    /// Publishes a message to every subscriber of `topic`, on every shard, this
    /// connection included if it is one.
    ///
    /// # Errors
    /// The name is invalid, or the message is too long; [`HubError::Full`] when the topic's home is
    /// overloaded although publishers are paused; or [`HubError::OverBudget`]. If the home is
    /// another shard, its refusals arrive as [`Notice::Published`](super::Notice::Published).
    pub fn publish<'m>(
        &mut self,
        topic: &str,
        message: impl Into<Message<'m>>,
    ) -> Result<Published, HubError> {
        self.publish_with(topic, message, &Publish::default())
    }

    /// Publishes a message with options: a key, or a token with which `Notice::Published`
    /// reports its number.
    ///
    /// # Errors
    /// As [`Conn::publish`], or the key is invalid.
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
        let connection = self.context.id;
        let publication = Publication {
            topic,
            key,
            removes_key,
            message,
            is_json: json,
            receipt: Some(Receipt {
                connection,
                token,
                network: self.context.state.peer.network(),
            }),
            caller: self.context.caller(),
        };
        let hub = &mut self.context.core.hub;
        let published =
            if is_checked { hub.publish_checked(&publication) } else { hub.publish(&publication) };
        match published {
            Ok(outcome) => {
                self.context.core.deferred.publications += 1;
                if outcome == Published::Backpressure {
                    self.context.core.deferred.congested = Some(self.context.core.hub.home(topic));
                }
            }
            Err(error @ (HubError::Full | HubError::OverBudget)) => {
                let deferred = &mut self.context.core.deferred;
                deferred.publications_refused += 1;
                deferred.publications_over_budget += u64::from(error == HubError::OverBudget);
            }
            Err(_) => {}
        }
        published
    }

    /// Whether the connection has used up its share of this turn. A handler with a long request
    /// then stops between two steps of it, remembers what is left, and calls
    /// [`Conn::resume_later`].
    pub fn is_exhausted(&self) -> bool {
        self.context.core.is_exhausted()
    }

    /// Has the handler called again, with `Notice::Resume`, when other connections have had
    /// their turns: it continues with its request then. Messages of this connection wait until
    /// after that.
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
        self.context.core.deferred.resumes = true;
    }

    /// Reports that the handler has worked for so long, beside the calls of this type; that counts
    /// against the connection's share. Time that no handler reports is not counted.
    pub fn spend(&mut self, time: Duration) {
        self.charge(time.as_nanos() as Work);
    }

    #[inline]
    pub(crate) fn charge(&mut self, work: Work) {
        self.context.core.work += work;
    }

    /// Bytes that are queued for the peer and that the kernel has not taken.
    pub fn queued_bytes(&self) -> usize {
        self.context.state.outbound.queued_bytes()
    }

    /// Sets the connection's timer, in place of an earlier setting: `Notice::Timer`
    /// follows after `delay`, up to 32 ms later.
    pub fn set_timer(&mut self, delay: Duration) {
        self.context.state.timer = self.context.core.now + delay;
        self.context.core.deferred.timer_set = true;
    }

    /// Closes the connection with a code that may stand in a close frame (1000 for
    /// a normal end, 3000 to 4999 for the application's own) and a reason of up to 123 bytes.
    /// Messages sent before still leave; messages sent after are dropped.
    ///
    /// # Panics
    /// If the code must not stand in a close frame (RFC 6455, 7.4).
    pub fn close(&mut self, code: u16, reason: &str) {
        let code = CloseCode::new(code).expect("a code that may stand in a close frame");
        self.context.settle_echo();
        if !self.context.state.outbound.is_ended() {
            self.context.state.outbound.close_with(
                &mut self.context.core.pool,
                Some((code, reason)),
                None,
            );
            let close = Close { code, reason: reason.into(), by_peer: false };
            self.context.core.deferred.close = Some(Box::new(close));
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Conn<'_, S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Conn")
            .field("id", &self.context.id)
            .field("peer", &self.peer())
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
