//! The client's check of the server's response.

use super::key::accept_value;
use crate::protocol::deflate::{self, Accepted, Offered};
use crate::protocol::head::{self, HEADERS_MAX};
use std::fmt;

/// Why a server's response is not an accepted handshake.
///
/// ```
/// use tapecast::protocol::deflate::Offered;
/// use tapecast::protocol::handshake::{ResponseError, check_response};
///
/// let head = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
/// let error = check_response(head, "the key that was sent", &[], Offered::Nothing).unwrap_err();
/// assert_eq!(error, ResponseError::Status(503));
/// assert_eq!(error.to_string(), "the server answered 503");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Not an HTTP response.
    Malformed,
    /// TLS, where plaintext was expected.
    Secure,
    /// The head has too many bytes or header fields.
    TooLong,
    /// Another status than 101.
    Status(u16),
    /// The response redirects: its status, and the location.
    Redirect(u16, String),
    /// A required header is missing.
    Missing(&'static str),
    /// A header, and what is wrong with it.
    Header(&'static str, &'static str),
    /// The server chose a subprotocol that was not offered.
    Subprotocol(String),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::Malformed => formatter.write_str("the response is not HTTP/1.1"),
            ResponseError::Secure => {
                formatter.write_str("the server speaks TLS on this port: use a wss:// URL")
            }
            ResponseError::TooLong => formatter.write_str("the head of the response is too long"),
            ResponseError::Status(status) => write!(formatter, "the server answered {status}"),
            ResponseError::Redirect(status, to) => {
                write!(formatter, "the server answered {status} and redirects to {to}")
            }
            ResponseError::Missing(name) => write!(formatter, "the response has no {name}"),
            ResponseError::Header(name, wrong) => {
                write!(formatter, "{name} of the response {wrong}")
            }
            ResponseError::Subprotocol(chosen) => {
                write!(
                    formatter,
                    "the server chose the subprotocol {chosen:?}, which was not offered"
                )
            }
        }
    }
}

impl std::error::Error for ResponseError {}

/// The terms that the server has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How messages may be compressed, if they may.
    pub deflate: Option<Accepted>,
    /// Whether the server chose one of the offered subprotocols.
    pub has_subprotocol: bool,
}

/// Checks a server's whole response head against the key that was sent, and the
/// subprotocols and the compression that were offered (RFC 6455, 4.1).
///
/// # Errors
/// The fault of the response.
pub fn check_response(
    head: &[u8],
    key: &str,
    protocols: &[String],
    offered: Offered,
) -> Result<Response, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLong),
        _ => return Err(ResponseError::Malformed),
    }
    let status = response.code.unwrap_or_default();
    let all = |name| head::named(response.headers, name).map(head::as_text);
    if status != 101 {
        let to = (300..400).contains(&status).then(|| all("location").next()).flatten();
        return Err(match to {
            Some(to) => ResponseError::Redirect(status, to.to_owned()),
            None => ResponseError::Status(status),
        });
    }
    // The only field of this name.
    let one = |name: &'static str| {
        let mut values = all(name);
        match (values.next(), values.next()) {
            (found, None) => Ok(found),
            _ => Err(ResponseError::Header(name, "appears twice")),
        }
    };
    let required = |name| one(name)?.ok_or(ResponseError::Missing(name));
    if response.version == Some(0) {
        return Err(ResponseError::Malformed);
    }
    // RFC 6455, 4.1: the client checks these headers, in this order.
    if !required("Upgrade")?.eq_ignore_ascii_case("websocket") {
        return Err(ResponseError::Header("Upgrade", "is not websocket"));
    }
    if all("Connection").next().is_none() {
        return Err(ResponseError::Missing("Connection"));
    }
    if !all("Connection").flat_map(head::elements).any(|it| it.eq_ignore_ascii_case("upgrade")) {
        return Err(ResponseError::Header("Connection", "does not name Upgrade"));
    }
    if required("Sec-WebSocket-Accept")? != accept_value(key) {
        return Err(ResponseError::Header(
            "Sec-WebSocket-Accept",
            "does not match the key that was sent: the response belongs to another request",
        ));
    }
    let Some(accepted) = deflate::check_accepted(all("Sec-WebSocket-Extensions"), offered) else {
        return Err(ResponseError::Header(
            "Sec-WebSocket-Extensions",
            "accepts what was not offered",
        ));
    };
    match one("Sec-WebSocket-Protocol")? {
        Some(chosen) if !protocols.iter().any(|it| it == chosen) => {
            Err(ResponseError::Subprotocol(chosen.to_owned()))
        }
        chosen => Ok(Response { deflate: accepted, has_subprotocol: chosen.is_some() }),
    }
}

/// Checks whether `start` can begin a response head.
///
/// # Errors
/// It can't: it is TLS, or not HTTP.
pub fn check_beginning(start: &[u8]) -> Result<(), ResponseError> {
    const BEGINNING: &[u8] = b"HTTP/1.";
    // RFC 8446, 5.1: an alert or a handshake, of TLS 1.x.
    if let [0x15 | 0x16, 3, ..] = start {
        return Err(ResponseError::Secure);
    }
    // RFC 9112, 2.2: empty lines before a message may be ignored.
    let start = start.trim_ascii_start();
    let bytes = start.len().min(BEGINNING.len());
    // The second byte of a TLS record may not have arrived yet.
    if start[..bytes] == BEGINNING[..bytes] || matches!(start, [0x15 | 0x16]) {
        return Ok(());
    }
    Err(ResponseError::Malformed)
}

/// Whether a whole response head belongs to an interim response (RFC 9110, 15.2), which the
/// final one follows.
pub fn is_interim(head: &[u8]) -> bool {
    let status = head.trim_ascii_start().get(9..12);
    status.is_some_and(|status| status.starts_with(b"1") && status != b"101")
}
