//! The trait that an application implements.

use super::conn::Conn;
use super::upgrade::{Request, Upgrade};
use crate::connection::Close;
use crate::hub::{HubError, Mark};
use crate::protocol::Message;

/// The behaviour of an application on its connections. Each shard has one value, and only that
/// shard's thread calls it.
///
/// A handler that blocks stalls all connections of its shard. If a call panics, its connection is
/// closed with 1011, and the handler keeps serving the others.
///
/// ```
/// use tapecast::{Conn, Handler, Message, Request, Upgrade};
///
/// /// Answers every message with itself.
/// struct Echo;
///
/// impl Handler for Echo {
///     type Session = ();
///     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
///         Upgrade::accept(())
///     }
///     fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
///         // The limits pause, and finally close, a peer that does not read.
///         let _ = conn.send(message);
///     }
/// }
/// ```
pub trait Handler {
    /// The application's state of a connection; it lives in the connection's slot.
    type Session;

    /// Decides on a request, for a WebSocket or for a document: accepts it with a session, rejects
    /// it with a status, or answers it with a document.
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Self::Session>;

    /// Called once, when the connection is open: after 101, before the first message.
    fn open(&mut self, conn: &mut Conn<'_, Self::Session>) {
        let _ = conn;
    }

    /// Called for every message of the peer, in order: text is valid UTF-8, and the payload has at
    /// most `message_bytes_max` bytes.
    fn message(&mut self, conn: &mut Conn<'_, Self::Session>, message: Message<'_>);

    /// Called for every event that is not a message.
    fn notice(&mut self, conn: &mut Conn<'_, Self::Session>, notice: Notice<'_>) {
        let _ = (conn, notice);
    }

    /// The names by which metrics count its connections: none, unless the handler consists of
    /// several.
    fn routes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The index in [`Handler::routes`] of the session's route.
    fn route_of(&self, session: &Self::Session) -> usize {
        let _ = session;
        0
    }

    /// Called when the connection has ended, with the cause: exactly once for every session that
    /// `upgrade` returned, and last.
    fn close(&mut self, session: Self::Session, close: Close) {
        let _ = (session, close);
    }
}

/// An event on a connection that is not a message.
///
/// ```
/// use std::time::Duration;
/// use tapecast::testing::{Received, TestShard};
/// # use tapecast::{Conn, Handler, Message, Notice, Request, Upgrade};
///
/// struct Alarm;
///
/// impl Handler for Alarm {
/// #     type Session = ();
/// #     fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
/// #         Upgrade::accept(())
/// #     }
/// #     fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
///     fn open(&mut self, conn: &mut Conn<'_, ()>) {
///         conn.set_timer(Duration::from_secs(5));
///     }
///     fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: Notice<'_>) {
///         if notice == Notice::Timer {
///             let _ = conn.send("time is up");
///         }
///     }
/// }
///
/// let mut shard = TestShard::new(Alarm);
/// let mut client = shard.connect("/");
/// shard.advance(Duration::from_secs(6));
/// assert_eq!(client.receive(), Some(Received::Text("time is up".into())));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// A subscription is live: the connection gets every message of `topic` with
    /// a number above `seq`.
    Subscribed {
        /// The topic's name.
        topic: &'a str,
        /// The topic's incarnation, below 2^53.
        epoch: u64,
        /// The number of the last message before.
        seq: u64,
        /// Whether the subscription resumed at the position in `Delivery::since`. If it had one
        /// and this is `false`, a snapshot follows.
        recovered: bool,
    },
    /// A mark among the messages of a subscription: a gap, a conflation, or the bounds of a
    /// snapshot. Lanes that encode marks also send it to the client, in its place among the
    /// messages.
    Marked {
        /// The topic's name.
        topic: &'a str,
        /// The mark.
        mark: Mark,
    },
    /// A topic matches a pattern of the connection, and the connection can't be subscribed to it.
    Refused {
        /// The topic's name.
        topic: &'a str,
        /// The reason.
        error: HubError,
    },
    /// The outcome of a publication with a token. A publication without a token has this notice
    /// only if the topic's home is another shard and refuses it.
    Published {
        /// The token.
        token: Option<u64>,
        /// The message's number in its topic, or the reason why it was refused.
        result: Result<u64, HubError>,
    },
    /// After `SendOutcome::Backpressure`: every queued message has left.
    Writable,
    /// After `Conn::resume_later`: other connections have had their turns.
    Resume,
    /// The timer of `Conn::set_timer` has expired.
    Timer,
    /// The server is draining: it closes the connection with 1001, at the latest after
    /// `drain_notice_ms` and `drain_ms`.
    Draining,
}
