//! The options of a publication, and the error of a direct message.

use std::fmt;

/// How a message is published.
///
/// ```
/// use tapecast::Publish;
///
/// let quote = Publish { key: Some("BTC"), ..Publish::default() };
/// # assert_eq!(quote.token, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The key of which the message is the newest value, at most 255 bytes. Messages without a
    /// key share one key.
    pub key: Option<&'a str>,
    /// From this message on its key has no value: the message is delivered, and no snapshot
    /// contains it.
    pub removes_key: bool,
    /// The message is a text that is JSON: lanes of JSON carry it as it was written.
    pub json: bool,
    /// On a connection: `Notice::Published` reports the message's number with this token.
    pub token: Option<u64>,
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
