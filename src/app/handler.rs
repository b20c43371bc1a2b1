//! The trait that an application implements.

use super::conn::Conn;
use super::upgrade::{Request, Upgrade};
use crate::connection::Close;
use crate::hub::{HubError, Mark};
use crate::protocol::Message;

/// What an application does with its connections. One value per shard, called by
/// that shard's thread only.
///
/// A handler that blocks stalls its shard's connections. One that panics loses
/// the connection it was called for (closed with 1011) and lives on.
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
///         // A peer that does not read is dealt with by the limits.
///         let _ = conn.send(message);
///     }
/// }
/// ```
pub trait Handler {
    /// What the application keeps for a connection; lives in its slot.
    type Session;

    /// A request came in, for a WebSocket or for a document: accept, reject or
    /// answer it.
    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<Self::Session>;

    /// The connection is open.
    fn open(&mut self, conn: &mut Conn<'_, Self::Session>) {
        let _ = conn;
    }

    /// A message came in.
    fn message(&mut self, conn: &mut Conn<'_, Self::Session>, message: Message<'_>);

    /// Something else happened.
    fn notice(&mut self, conn: &mut Conn<'_, Self::Session>, notice: Notice<'_>) {
        let _ = (conn, notice);
    }

    /// The names of what its connections are counted by, in metrics: none, unless the
    /// handler is made of several.
    fn routes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Which of [`Handler::routes`] a session belongs to.
    fn route_of(&self, session: &Self::Session) -> usize {
        let _ = session;
        0
    }

    /// The connection has ended. Called exactly once for every session that
    /// `upgrade` gave, and last.
    fn close(&mut self, session: Self::Session, close: Close) {
        let _ = (session, close);
    }
}

/// What happens on a connection besides messages.
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
        /// That is where `Delivery::since` had asked to go on. If it had asked and
        /// this is false, a snapshot follows.
        recovered: bool,
    },
    /// A subscription was told what it does not get, or gets beside its messages. In
    /// lanes that encode marks the client was told in its place among them.
    Marked {
        /// The topic's name.
        topic: &'a str,
        /// What it was told.
        mark: Mark,
    },
    /// A topic matches a pattern that the connection is subscribed to, and it can't be
    /// subscribed to the topic.
    Refused {
        /// The topic's name.
        topic: &'a str,
        /// Why.
        error: HubError,
    },
    /// What became of a publication that was given a token; of one without, that it was
    /// refused by the shard that is its topic's home.
    Published {
        /// The token.
        token: Option<u64>,
        /// The message's number, or why it has none.
        result: Result<u64, HubError>,
    },
    /// After `SendOutcome::Backpressure`: everything queued has left.
    Writable,
    /// After `Conn::resume_later`: others have had their turns.
    Resume,
    /// The timer that was set has run out.
    Timer,
    /// The server is draining: the connection will be closed with 1001 soon.
    Draining,
}
