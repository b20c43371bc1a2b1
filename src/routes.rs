//! Layer 5: the handlers of the binary's own routes, written with the public API
//! and nothing else.

use crate::app::{Conn, Handler, Notice, Request, Router, Upgrade};
use crate::connection::Close;
use crate::hub::{Delivery, HubError, SlowReader};
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
        // Chooses the first offer: a browser fails the connection if none is chosen.
        Upgrade::accept(()).protocol(0)
    }

    #[inline]
    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        // A peer that does not read is paused and at last closed by the limits.
        let _ = conn.send(message);
    }
}

/// Sends every message to every connected peer, the sender included. The rule of
/// [`BROADCAST_TOPIC`] says which peers may publish and subscribe; a peer that may not is closed
/// with 1008.
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
        Upgrade::accept(()).protocol(0)
    }

    fn open(&mut self, conn: &mut Conn<'_, ()>) {
        let slow_reader = Some(SlowReader::Close);
        let delivery = Delivery { slow_reader, ..Delivery::default() };
        if let Err(error) = conn.subscribe_with(BROADCAST_TOPIC, &delivery) {
            refused(conn, error);
        }
    }

    fn message(&mut self, conn: &mut Conn<'_, ()>, message: Message<'_>) {
        if let Err(error) = conn.publish(BROADCAST_TOPIC, message) {
            refused(conn, error);
        }
    }

    fn notice(&mut self, conn: &mut Conn<'_, ()>, notice: Notice<'_>) {
        if let Notice::Published { result: Err(error), .. } = notice {
            refused(conn, error);
        }
    }
}

/// Closes a peer whose publication is refused, so that no message is dropped unreported.
fn refused(conn: &mut Conn<'_, ()>, error: HubError) {
    match error {
        HubError::NotAllowed => conn.close(1008, "the rule of the topic broadcast forbids it"),
        // 1013: try again later.
        _ => conn.close(1013, "the topic is behind"),
    }
}

/// Answers a plain GET with a fixed document.
///
/// ```
/// use tapecast::routes::Document;
/// use tapecast::testing::{Received, TestShard};
///
/// let mut shard = TestShard::new(Document::text("ok\n"));
/// let mut client = shard.connect("/healthz");
/// shard.run();
/// // It asked for a WebSocket and got a document.
/// let answered = Received::Failed("handshake: the server answered 200".into());
/// assert_eq!(client.receive(), Some(answered));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Document {
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub body: &'static str,
    /// Pages of other origins may load it.
    is_shared: bool,
}

impl Document {
    /// Plain text.
    pub const fn text(body: &'static str) -> Document {
        Document { content_type: "text/plain; charset=utf-8", body, is_shared: false }
    }

    /// A page for browsers.
    pub const fn html(body: &'static str) -> Document {
        Document { content_type: "text/html; charset=utf-8", ..Document::text(body) }
    }

    /// A style sheet.
    pub const fn css(body: &'static str) -> Document {
        Document { content_type: "text/css; charset=utf-8", ..Document::text(body) }
    }

    /// A module in JavaScript.
    pub const fn javascript(body: &'static str) -> Document {
        Document { content_type: "text/javascript; charset=utf-8", ..Document::text(body) }
    }

    /// Pages of any origin may load it, as a script, a module or by `fetch`.
    #[must_use]
    pub const fn shared(self) -> Document {
        Document { is_shared: true, ..self }
    }

    fn answer<S>(&self) -> Upgrade<S> {
        let answer = Upgrade::respond(200, self.content_type, self.body)
            // No page of another site may show it in a frame, against clickjacking.
            .header("Content-Security-Policy", "frame-ancestors 'self'");
        if self.is_shared {
            // Modules are always fetched with CORS, also from another port of this machine.
            answer
                .header("Access-Control-Allow-Origin", "*")
                .header("Cross-Origin-Resource-Policy", "cross-origin")
        } else {
            answer
        }
    }
}

impl Handler for Document {
    type Session = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        self.answer()
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

/// A handler with a page for browsers: a plain GET that accepts HTML gets the page.
///
/// ```
/// use tapecast::routes::{Document, Echo, Paged};
/// use tapecast::testing::{Received, TestShard};
///
/// let page = Document::html("<!doctype html><title>Echo</title>");
/// let mut shard = TestShard::new(Paged { page, handler: Echo });
/// let mut client = shard.connect("/");
/// client.send("hello");
/// shard.run();
/// assert_eq!(client.receive(), Some(Received::Text("hello".into())));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Paged<H> {
    /// The page for browsers.
    pub page: Document,
    /// The handler of all other requests.
    pub handler: H,
}

impl<H: Handler> Handler for Paged<H> {
    type Session = H::Session;

    fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<H::Session> {
        // `text/html;q=0.9` is one of the ways to name it.
        let accepts_html = request.elements("accept").any(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"))
        });
        if accepts_html && !request.is_upgrade() {
            self.page.answer()
        } else {
            self.handler.upgrade(request)
        }
    }

    fn open(&mut self, conn: &mut Conn<'_, H::Session>) {
        self.handler.open(conn);
    }

    #[inline]
    fn message(&mut self, conn: &mut Conn<'_, H::Session>, message: Message<'_>) {
        self.handler.message(conn, message);
    }

    fn notice(&mut self, conn: &mut Conn<'_, H::Session>, notice: Notice<'_>) {
        self.handler.notice(conn, notice);
    }

    fn close(&mut self, session: H::Session, close: Close) {
        self.handler.close(session, close);
    }
}

/// Answers a plain GET with 200, or with 503 while the server drains: a load balancer's probe.
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
        if request.is_draining() {
            Upgrade::respond(503, "text/plain; charset=utf-8", "draining\n")
        } else {
            Document::text("ready\n").answer()
        }
    }

    fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
}

/// The client in JavaScript, and its types.
const CLIENT: Document = Document::javascript(include_str!("web/tapecast.js")).shared();
const CLIENT_TYPES: Document = Document::text(include_str!("web/tapecast.d.ts")).shared();

/// The routes of [`builtin`] that can be left out.
pub const OPTIONAL: [&str; 3] = ["/echo", "/ws", "/broadcast"];

/// The routes of `tapecast serve` but `/`: `/healthz` answers while the server is alive, and
/// `/readyz` while it accepts connections; the client in JavaScript; and those of [`OPTIONAL`]
/// that are `wanted`: `/echo` and `/ws` echo, `/broadcast` sends to everyone.
///
/// ```
/// use tapecast::Handler;
/// use tapecast::routes;
///
/// let router = routes::builtin(&["/echo".to_owned()]);
/// assert!(router.routes().contains(&"/echo".to_owned()));
/// assert!(!router.routes().contains(&"/broadcast".to_owned()));
/// ```
pub fn builtin(wanted: &[String]) -> Router {
    let is_wanted = |path: &str| wanted.iter().any(|wanted| wanted == path);
    let mut router = Router::new()
        .route("/healthz", Document::text("ok\n"))
        .route("/readyz", Readiness)
        .route("/tapecast.js", CLIENT)
        .route("/tapecast.d.ts", CLIENT_TYPES);
    for path in OPTIONAL.into_iter().filter(|path| is_wanted(path)) {
        router = match path {
            "/broadcast" => router.route(path, Broadcast),
            _ => router.route(path, Echo),
        };
    }
    router
}
