//! Requests, and the answers to them.

use crate::protocol;
use std::net::SocketAddr;
use std::ops::Deref;

/// A request and its origin. It dereferences to [`protocol::Request`], which has the path, the
/// query, the headers and the offered subprotocols.
///
/// ```
/// use tapecast::testing::{Received, TestShard};
/// # use tapecast::{Conn, Handler, Message, Request, Upgrade};
///
/// struct Chat;
///
/// impl Handler for Chat {
/// #     type Session = ();
/// #     fn message(&mut self, _conn: &mut Conn<'_, ()>, _message: Message<'_>) {}
///     fn upgrade(&mut self, request: &Request<'_>) -> Upgrade<()> {
///         assert!(request.peer().is_none_or(|peer| peer.ip().is_loopback()));
///         match request.protocols().position(|name| name == "chat.v2") {
///             Some(offered) => Upgrade::accept(()).protocol(offered),
///             None => Upgrade::reject(400),
///         }
///     }
/// }
///
/// let mut shard = TestShard::new(Chat);
/// let mut old_client = shard.connect_offering("/", &["chat.v1"]);
/// shard.run();
/// let refused = Received::Failed("handshake: the server answered 400".into());
/// assert_eq!(old_client.receive(), Some(refused));
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a protocol::Request<'a>,
    peer: Option<SocketAddr>,
    client_certificate: Option<&'a [u8]>,
    is_draining: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        head: &'a protocol::Request<'a>,
        peer: Option<SocketAddr>,
        client_certificate: Option<&'a [u8]>,
        is_draining: bool,
    ) -> Request<'a> {
        Request { head, peer, client_certificate, is_draining }
    }

    /// Whether the server is draining. A draining server still answers plain requests, and refuses
    /// handshakes before the handler sees them.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// The address of the client; `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The certificate of the client, in DER (X.509), also if its TLS session was resumed. The
    /// server has verified it: an authority that it trusts has signed it
    /// ([`ClientCertificates`](crate::tls::ClientCertificates)), it was valid at the full
    /// handshake, and the client has its key. The handler decides what its owner may do. `None`
    /// over plain connections, if the server does not ask for certificates, and if the client
    /// has none.
    ///
    /// ```
    /// use tapecast::{Request, Upgrade};
    ///
    /// fn upgrade(request: &Request<'_>) -> Upgrade<Vec<u8>> {
    ///     match request.client_certificate() {
    ///         Some(certificate) => Upgrade::accept(certificate.to_vec()),
    ///         None => Upgrade::reject(403),
    ///     }
    /// }
    /// ```
    pub fn client_certificate(&self) -> Option<&'a [u8]> {
        self.client_certificate
    }
}

impl<'a> Deref for Request<'a> {
    type Target = protocol::Request<'a>;
    fn deref(&self) -> &Self::Target {
        self.head
    }
}

/// The answer to a request: accept a WebSocket with a session of type `S`, or respond and close.
///
/// ```
/// use tapecast::{Request, Upgrade};
///
/// fn upgrade(request: &Request<'_>) -> Upgrade<u32> {
///     match request.query() {
///         Some("token=secret") => Upgrade::accept(7).header("X-Server", "tapecast"),
///         Some(_) => Upgrade::reject(403),
///         None => Upgrade::respond(200, "text/plain", "hello"),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Upgrade<S> {
    pub(crate) decision: Decision<S>,
}

#[derive(Debug)]
pub(crate) enum Decision<S> {
    Accept {
        session: S,
        protocol: Option<usize>,
        /// The names that the handler speaks, if it chose among names.
        spoken: &'static [&'static str],
        headers: String,
    },
    Respond {
        status: u16,
        content_type: String,
        headers: String,
        body: String,
    },
}

impl<S> Upgrade<S> {
    /// Accepts the handshake. The connection owns `session` until [`Handler::close`] takes it.
    ///
    /// [`Handler::close`]: crate::Handler::close
    pub fn accept(session: S) -> Upgrade<S> {
        let (protocol, spoken, headers) = (None, &[][..], String::new());
        Upgrade { decision: Decision::Accept { session, protocol, spoken, headers } }
    }

    /// Chooses the first of the client's offers that is among `names`. If none is, the server
    /// accepts the handshake without a subprotocol and logs the offers.
    ///
    /// ```
    /// use tapecast::{Request, Upgrade};
    ///
    /// fn upgrade(request: &Request<'_>) -> Upgrade<()> {
    ///     Upgrade::accept(()).speaks(request, &["chat.v2", "chat.v1"])
    /// }
    /// ```
    #[must_use]
    pub fn speaks(mut self, request: &Request<'_>, names: &'static [&'static str]) -> Upgrade<S> {
        if let Decision::Accept { protocol, spoken, .. } = &mut self.decision {
            *protocol = request.protocols().position(|offered| names.contains(&offered));
            *spoken = names;
        }
        self
    }

    /// Chooses the client's offer with this index, counted from 0 in the order of
    /// `Request::protocols`. An index beyond the offers chooses none.
    #[must_use]
    pub fn protocol(mut self, offered: usize) -> Upgrade<S> {
        if let Decision::Accept { protocol, .. } = &mut self.decision {
            *protocol = Some(offered);
        }
        self
    }

    /// Adds a header to the response, whatever its status.
    ///
    /// # Panics
    /// If the name or the value contains a line break or a NUL.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Upgrade<S> {
        let is_clean = |text: &str| !text.contains(['\r', '\n', '\0']);
        assert!(is_clean(name) && is_clean(value), "a header must not contain a line break");
        let (Decision::Accept { headers, .. } | Decision::Respond { headers, .. }) =
            &mut self.decision;
        *headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Refuses the request with this HTTP status, 400 to 599, and an empty body, and closes the
    /// connection.
    pub fn reject(status: u16) -> Upgrade<S> {
        Upgrade::respond(status, "text/plain; charset=utf-8", "")
    }

    /// Answers a plain GET or HEAD with a document, and closes the connection. The answer to a
    /// HEAD has no body.
    ///
    /// # Panics
    /// If `content_type` contains a line break.
    pub fn respond(status: u16, content_type: &str, body: &str) -> Upgrade<S> {
        assert!(!content_type.contains(['\r', '\n']), "a header must not contain a line break");
        Upgrade {
            decision: Decision::Respond {
                status,
                content_type: content_type.into(),
                headers: String::new(),
                body: body.into(),
            },
        }
    }

    pub(crate) fn map<T>(self, map: impl FnOnce(S) -> T) -> Upgrade<T> {
        let decision = match self.decision {
            Decision::Accept { session, protocol, spoken, headers } => {
                Decision::Accept { session: map(session), protocol, spoken, headers }
            }
            Decision::Respond { status, content_type, headers, body } => {
                Decision::Respond { status, content_type, headers, body }
            }
        };
        Upgrade { decision }
    }
}
