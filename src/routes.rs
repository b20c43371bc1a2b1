//! Layer 5: the handlers of the binary's own routes, written with the public API
//! and nothing else.

use crate::app::{Conn, Handler, Request, Router, Upgrade};
use crate::hub::{Delivery, SlowReader};
use crate::protocol::Message;

/// The topic behind `/broadcast`.
pub const BROADCAST_TOPIC: &str = "broadcast";

/// Answers every message with itself.
///
/// ```
/// use tapecast::routes::Echo;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Echo);
/// let mut client = shard.connect("/");
/// client.send("hello");
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Text("hello".into())));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    #[inline]
    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        // A peer that does not read is paused and at last closed by the limits.
        let _ = conn.send(message);
    }
}

/// Sends every message to everyone who is connected, the sender included.
///
/// ```
/// use tapecast::routes::Broadcast;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Broadcast);
/// let mut clients = [shard.connect("/"), shard.connect("/")];
/// shard.run();
/// clients[0].send("hello");
/// shard.run();
/// for client in &mut clients {
///     assert_eq!(client.receive(), Some(Received::Text("hello".into())));
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Broadcast;

impl Handler for Broadcast {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        let slow_reader = Some(SlowReader::Close);
        let delivery = Delivery { slow_reader, ..Delivery::default() };
        conn.subscribe_with(BROADCAST_TOPIC, &delivery)
            .expect("the first subscription of a connection");
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        if conn.publish(BROADCAST_TOPIC, message).is_err() {
            // 1013: try again later. Never dropped in silence.
            conn.close(1013, "the topic is behind");
        }
    }
}

/// Answers a plain GET with a fixed text: for health checks.
///
/// ```
/// use tapecast::routes::Document;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Document("ok\n"));
/// let mut client = shard.connect("/healthz");
/// shard.run();
/// // It asked for a WebSocket and got a document.
/// let answered = Received::Failed("handshake: the server answered 200".into());
/// assert_eq!(client.receive(), Some(answered));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Document(pub &'static str);

impl Handler for Document {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::respond(200, "text/plain; charset=utf-8", self.0)
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

/// Answers a plain GET with 200, or with 503 while the server drains: for whoever
/// balances load.
///
/// ```
/// use tapecast::routes::Readiness;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Readiness);
/// let mut client = shard.connect("/readyz");
/// shard.run();
/// let answered = Received::Failed("handshake: the server answered 200".into());
/// assert_eq!(client.receive(), Some(answered));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness;

impl Handler for Readiness {
    type Session = ();

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
        match request.is_draining() {
            false => Upgrade::respond(200, "text/plain; charset=utf-8", "ready\n"),
            true => Upgrade::respond(503, "text/plain; charset=utf-8", "draining\n"),
        }
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

/// The routes of `tapecast serve`: `/echo` and `/ws` echo, `/broadcast` sends to
/// everyone, `/healthz` says alive and `/readyz` says taking connections.
pub fn builtin() -> Router {
    Router::new()
        .route("/echo", Echo)
        .route("/ws", Echo)
        .route("/broadcast", Broadcast)
        .route("/healthz", Document("ok\n"))
        .route("/readyz", Readiness)
}
