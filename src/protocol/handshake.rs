//! The opening handshake (RFC 6455, 4), both sides, and the refusals.

use super::deflate::{self, Accepted, Offered};
use super::extensions;
use super::head::{self, HEADERS_MAX, Request};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD as BASE64};
use sha1::{Digest, Sha1};
use std::fmt;

/// Why a request is answered with something other than 101 or the application's
/// own response. Each has one status.
///
/// ```
/// use tapecast::protocol::Refusal;
///
/// let mut out = Vec::new();
/// Refusal::UpgradeRequired.write(false, &mut out);
/// let response = String::from_utf8(out).unwrap();
/// assert!(response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
/// assert!(response.contains("Sec-WebSocket-Version: 13\r\n"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the head or a WebSocket header is malformed, and how.
    BadRequest(&'static str),
    /// 401: who are you?
    Unauthorized,
    /// 403: not you.
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 405: neither GET nor HEAD.
    MethodNotAllowed,
    /// 408: the head did not come in time.
    Timeout,
    /// 426: a WebSocket of version 13 is needed here.
    UpgradeRequired,
    /// 431: the head is too long.
    HeadTooLarge,
    /// 431: the head has too many fields.
    TooManyFields,
    /// 503: full, or going away.
    Unavailable,
    /// 500: the handler panicked.
    Internal,
}

impl Refusal {
    /// The status code.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::BadRequest(_) => 400,
            Refusal::Unauthorized => 401,
            Refusal::Forbidden => 403,
            Refusal::NotFound => 404,
            Refusal::MethodNotAllowed => 405,
            Refusal::Timeout => 408,
            Refusal::UpgradeRequired => 426,
            Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
            Refusal::Internal => 500,
            Refusal::Unavailable => 503,
        }
    }

    /// Appends the whole response, after which the connection ends; without its body if the
    /// request `is_head`.
    pub fn write(self, is_head: bool, out: &mut Vec<u8>) {
        let headers = match self {
            // RFC 6455, 4.4: name the versions that are understood.
            Refusal::UpgradeRequired => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            Refusal::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            Refusal::Unavailable => "Retry-After: 1\r\n",
            _ => "",
        };
        let body = self.to_string();
        let content_type = "text/plain; charset=utf-8";
        let answer = Answer { status: self.status(), content_type, headers, body: &body };
        answer.write(is_head, out);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadRequest(why) => formatter.write_str(why),
            Refusal::UpgradeRequired => {
                formatter.write_str("a WebSocket handshake of version 13 is needed here")
            }
            Refusal::TooManyFields => formatter.write_str("Too Many Request Header Fields"),
            other => formatter.write_str(reason_phrase(other.status())),
        }
    }
}

/// The phrase of a status; empty for one that is not used often.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// A whole response that ends its connection.
///
/// ```
/// use tapecast::protocol::handshake::Answer;
///
/// let content_type = "text/plain; charset=utf-8";
/// let answer = Answer { status: 200, content_type, headers: "X-A: b\r\n", body: "hello" };
/// let mut out = Vec::new();
/// answer.write(false, &mut out);
/// let text = String::from_utf8(out).unwrap();
/// assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
/// assert!(text.contains("Content-Length: 5\r\n"));
/// assert!(text.ends_with("Connection: close\r\n\r\nhello"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// Of the body. A browser is told to believe it.
    pub content_type: &'a str,
    /// Further header lines, each with its line end.
    pub headers: &'a str,
    /// The document.
    pub body: &'a str,
}

impl Answer<'_> {
    /// Appends the response; without its body if the request `is_head`.
    pub fn write(&self, is_head: bool, out: &mut Vec<u8>) {
        let Answer { status, content_type, headers, body } = self;
        let phrase = reason_phrase(*status);
        let length = body.len();
        // RFC 9110, 7.8: Upgrade is named in Connection.
        let connection = if *status == 426 { "Upgrade, close" } else { "close" };
        let head = format!(
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\nX-Content-Type-Options: nosniff\r\n{headers}\
             Connection: {connection}\r\n\r\n",
        );
        out.extend_from_slice(head.as_bytes());
        // RFC 9110, 9.3.2: the answer to a HEAD has the same header fields and no body.
        if !is_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// A client's key may have any bits behind its last byte, as encoders leave them.
const LENIENT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455, 4.2.2).
pub fn accept_value(key: &str) -> String {
    let mut digest = Sha1::new();
    digest.update(key.as_bytes());
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(digest.finalize())
}

/// Checks what RFC 6455, 4.2.1, asks of a client's handshake.
///
/// # Errors
/// The refusal to answer with.
pub fn check_upgrade(request: &Request<'_>) -> Result<(), Refusal> {
    if !request.is_upgrade() || !request.is_http_1_1() {
        return Err(Refusal::UpgradeRequired);
    }
    // RFC 6455, 4.2.1: a handshake is a GET.
    if request.is_head() {
        return Err(Refusal::BadRequest("a WebSocket handshake is a GET, not a HEAD"));
    }
    if !request.names("connection", "upgrade") {
        return Err(Refusal::BadRequest("the Connection header must name Upgrade"));
    }
    // RFC 6455, 4.4: another version is answered with the one that is understood.
    let mut versions = request.all("sec-websocket-version");
    if versions.next() != Some("13") {
        return Err(Refusal::UpgradeRequired);
    }
    // RFC 6455, 11.3.5: it must not be there more than once.
    if versions.next().is_some() {
        return Err(Refusal::BadRequest("Sec-WebSocket-Version is there twice"));
    }
    let mut keys = request.all("sec-websocket-key");
    let key = keys.next().ok_or(Refusal::BadRequest("Sec-WebSocket-Key is missing"))?;
    // RFC 6455, 4.2.1: the key is 16 bytes in base64, and there is one.
    if keys.next().is_some() || !LENIENT_BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return Err(Refusal::BadRequest("Sec-WebSocket-Key must be 16 bytes in base64, once"));
    }
    if !request.protocols().all(extensions::is_token) {
        return Err(Refusal::BadRequest("malformed Sec-WebSocket-Protocol"));
    }
    if request.all("sec-websocket-extensions").any(|value| extensions::parse(value).is_err()) {
        return Err(Refusal::BadRequest("malformed Sec-WebSocket-Extensions"));
    }
    Ok(())
}

/// Appends the 101 response to a request that [`check_upgrade`] has passed.
/// `headers` is further lines, each with its line end; `deflate` an offer of compression
/// that is accepted.
pub fn write_accept(
    out: &mut Vec<u8>,
    request: &Request<'_>,
    protocol: Option<&str>,
    headers: &str,
    deflate: Option<Accepted>,
) {
    let key = request.header("sec-websocket-key").unwrap_or_default();
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_value(key).as_bytes());
    if let Some(protocol) = protocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol.as_bytes());
    }
    if let Some(accepted) = deflate {
        out.extend_from_slice(b"\r\nSec-WebSocket-Extensions: ");
        out.extend_from_slice(accepted.answer().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(headers.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What a client asks a server for.
///
/// ```
/// use tapecast::protocol::handshake::{Offer, write_request};
///
/// let headers = [("Origin".to_owned(), "https://example.com".to_owned())];
/// let offer = Offer { headers: &headers, ..Offer::new("example.com", "/chat") };
/// let mut head = Vec::new();
/// write_request(&mut head, &offer, [7; 16]);
/// assert!(head.starts_with(b"GET /chat HTTP/1.1\r\nHost: example.com\r\n"));
/// assert!(head.ends_with(b"Origin: https://example.com\r\n\r\n"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The `Host` header.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Subprotocols, the favourite first.
    pub protocols: &'a [String],
    /// Further headers, as [`check_header`] lets them pass: they go out as they are, and
    /// `Host` in place of the other.
    pub headers: &'a [(String, String)],
    /// How messages may be compressed.
    pub deflate: Offered,
}

impl<'a> Offer<'a> {
    /// Neither subprotocols nor further headers.
    pub fn new(host: &'a str, target: &'a str) -> Offer<'a> {
        Offer { host, target, protocols: &[], headers: &[], deflate: Offered::Nothing }
    }
}

/// Appends a client's handshake request (RFC 6455, 4.1). `nonce` is 16 random
/// bytes; the key made of them is returned, for [`check_response`].
pub fn write_request(out: &mut Vec<u8>, offer: &Offer<'_>, nonce: [u8; 16]) -> String {
    let Offer { host, target, protocols, headers, deflate } = offer;
    let key = BASE64.encode(nonce);
    let own_host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = own_host.map_or(*host, |(_, host)| host);
    let mut head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\n"
    );
    if !protocols.is_empty() {
        head += &format!("Sec-WebSocket-Protocol: {}\r\n", protocols.join(", "));
    }
    if let Some(extensions) = deflate.header() {
        head += &format!("Sec-WebSocket-Extensions: {extensions}\r\n");
    }
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    out.extend_from_slice(head.as_bytes());
    key
}

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
    /// TLS, where plain text was expected.
    Secure,
    /// More bytes, or header fields, than are read.
    TooLong,
    /// Another status than 101.
    Status(u16),
    /// The response leads elsewhere: its status, and where to.
    Redirect(u16, String),
    /// A header that has to be there is not.
    Missing(&'static str),
    /// A header, and how it is wrong.
    Header(&'static str, &'static str),
    /// A subprotocol was chosen that was not offered.
    Subprotocol(String),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::Malformed => formatter.write_str("the response is not HTTP/1.1"),
            ResponseError::Secure => {
                formatter.write_str("the server speaks TLS there: the URL has to begin with wss://")
            }
            ResponseError::TooLong => formatter.write_str("the head of the response is too long"),
            ResponseError::Status(status) => write!(formatter, "the server answered {status}"),
            ResponseError::Redirect(status, to) => {
                write!(formatter, "the server answered {status} and leads to {to}")
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

/// The terms that a server has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// How messages may be compressed, if they may.
    pub deflate: Option<Accepted>,
    /// One of the subprotocols that were offered was chosen.
    pub has_subprotocol: bool,
}

/// Checks a server's whole response head against the key that was sent, and the
/// subprotocols and the compression that were offered (RFC 6455, 4.1).
///
/// # Errors
/// What is wrong with it.
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
    // The one field of this name.
    let one = |name: &'static str| {
        let mut values = all(name);
        match (values.next(), values.next()) {
            (found, None) => Ok(found),
            _ => Err(ResponseError::Header(name, "is there twice")),
        }
    };
    let required = |name| one(name)?.ok_or(ResponseError::Missing(name));
    if response.version == Some(0) {
        return Err(ResponseError::Malformed);
    }
    // RFC 6455, 4.1: what the client has to look at, in this order.
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
            "is not that of the key that was sent: another request was answered",
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

/// The fields that a handshake is made of: a client can't add its own.
const OF_THE_HANDSHAKE: [&str; 11] = [
    "upgrade",
    "connection",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
];

/// Checks a header that is to be added to a request. `Host` may: it takes the place of the one
/// that the URL makes.
///
/// ```
/// use tapecast::protocol::handshake::check_header;
///
/// assert!(check_header("Authorization", "Bearer x").is_ok());
/// assert!(check_header("Upgrade", "h2c").is_err());
/// ```
///
/// # Errors
/// It is no header, or belongs to the handshake.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    if !extensions::is_token(name) {
        return Err(format!("{name:?} is no name of a header"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("{name}: a value has no control characters"));
    }
    match OF_THE_HANDSHAKE.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        true => Err(format!("{name} belongs to the handshake and can't be given")),
        false => Ok(()),
    }
}

/// Whether a response head that begins like this can still be one.
///
/// # Errors
/// It can't: it is TLS, or no HTTP.
pub fn check_beginning(start: &[u8]) -> Result<(), ResponseError> {
    const BEGINNING: &[u8] = b"HTTP/1.";
    // RFC 8446, 5.1: an alert or a handshake, of TLS 1.x.
    if let [0x15 | 0x16, 3, ..] = start {
        return Err(ResponseError::Secure);
    }
    // RFC 9112, 2.2: empty lines before a message may be left out.
    let start = start.trim_ascii_start();
    let bytes = start.len().min(BEGINNING.len());
    match start[..bytes] == BEGINNING[..bytes] {
        true => Ok(()),
        // The record's length may still be to come.
        false if matches!(start, [0x15 | 0x16]) => Ok(()),
        false => Err(ResponseError::Malformed),
    }
}

/// Whether a whole response head is of an interim response (RFC 9110, 15.2), behind which the
/// final one follows.
pub fn is_interim(head: &[u8]) -> bool {
    let status = head.trim_ascii_start().get(9..12);
    status.is_some_and(|status| status.starts_with(b"1") && status != b"101")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::head::HEADERS_MAX;

    const HEAD: &str = "GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    #[track_caller]
    fn check(head: &str, expected: Result<(), u16>) {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let request = Request::parse(head.as_bytes(), &mut headers).unwrap();
        assert_eq!(check_upgrade(&request).map_err(Refusal::status), expected, "{head}");
    }

    #[test]
    fn the_accept_value_of_the_rfc() {
        // RFC 6455, 1.3.
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn upgrades() {
        check(HEAD, Ok(()));
        check(&HEAD.replace("websocket", "WebSocket"), Ok(()));
        check(&HEAD.replace("Upgrade: websocket\r\n", ""), Err(426));
        check(&HEAD.replace("HTTP/1.1", "HTTP/1.0"), Err(426));
        check(&HEAD.replace("keep-alive, Upgrade", "keep-alive"), Err(400));
        check(&HEAD.replace("Version: 13", "Version: 8"), Err(426));
        check(&HEAD.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), Err(400));
        check(&HEAD.replace("dGhlIHNhbXBsZSBub25jZQ==", "not base64"), Err(400));
        let with = |line: &str| HEAD.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        check(&with("Sec-WebSocket-Protocol: a, b"), Ok(()));
        check(&with("Sec-WebSocket-Protocol: a,, b,"), Ok(()));
        check(&with("Sec-WebSocket-Protocol: ,"), Ok(()));
        check(&with("Sec-WebSocket-Protocol: a b"), Err(400));
        check(&with("Sec-WebSocket-Extensions: , permessage-deflate,,"), Ok(()));
        check(&with("Sec-WebSocket-Version: 13"), Err(400));
        check(&HEAD.replace("bXBsZSBub25jZQ==", "bXBsZSBub25jZR=="), Ok(()));
        check(&HEAD.replace("GET", "HEAD"), Err(400));
        check(&with("Sec-WebSocket-Extensions: permessage-deflate; x=\"1\""), Ok(()));
        check(&with("Sec-WebSocket-Extensions: ;"), Err(400));
        check(&with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Err(400));
    }

    #[test]
    fn responses() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let check = |old: &str, new: &str, expected: &str| {
            assert!(accepted.contains(old), "{old}");
            let head = accepted.replace(old, new);
            let checked = check_response(head.as_bytes(), key, &[], Offered::Nothing);
            let found = checked.err().map_or(String::new(), |error| error.to_string());
            assert_eq!(found, expected, "{head}");
        };
        check("", "", "");
        check("Connection: Upgrade", "Connection: , keep-alive\r\nconnection: Upgrade,", "");
        check("\r\n\r\n", "\r\nSec-WebSocket-Extensions: ,\r\n\r\n", "");
        check("Upgrade: WebSocket\r\n", "", "the response has no Upgrade");
        check("WebSocket", "h2c", "Upgrade of the response is not websocket");
        check("Connection: Upgrade\r\n", "", "the response has no Connection");
        check(
            "Connection: Upgrade",
            "Connection: \u{fc}",
            "Connection of the response does not name Upgrade",
        );
        check(
            "\r\n\r\n",
            "\r\nUpgrade: websocket\r\n\r\n",
            "Upgrade of the response is there twice",
        );
        check("HTTP/1.1", "HTTP/1.0", "the response is not HTTP/1.1");
        check(
            "101 Switching Protocols\r\n",
            "302 Found\r\nLocation: wss://there/\r\n",
            "the server answered 302 and leads to wss://there/",
        );
        let many = "a: b\r\n".repeat(HEADERS_MAX);
        check("Upgrade: W", &format!("{many}Upgrade: W"), "the head of the response is too long");
    }

    #[test]
    fn what_is_no_response_is_seen_at_its_start() {
        for fine in [&b""[..], b"H", b"HTTP/1.1 200", b"\r\nHTTP/1.0 ", b"\x15", b"\r\n"] {
            assert_eq!(check_beginning(fine), Ok(()), "{fine:?}");
        }
        assert_eq!(check_beginning(b"\x15\x03\x03\x00\x02"), Err(ResponseError::Secure));
        for bad in [&b"SSH-2.0-x"[..], b"HTTP/2 200", b"\x15\x05", b"\x81\x05"] {
            assert_eq!(check_beginning(bad), Err(ResponseError::Malformed), "{bad:?}");
        }
        assert!(is_interim(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
        assert!(!is_interim(b"HTTP/1.1 101 Switching\r\n\r\n") && !is_interim(b"HTTP/1.1 200"));
    }

    #[test]
    fn a_host_of_the_users_own_replaces_ours() {
        let headers = [("HOST".to_owned(), "b".to_owned()), ("X".to_owned(), "y".to_owned())];
        let mut head = Vec::new();
        write_request(&mut head, &Offer { headers: &headers, ..Offer::new("a", "/") }, [7; 16]);
        let text = String::from_utf8(head).unwrap();
        assert!(text.starts_with("GET / HTTP/1.1\r\nHost: b\r\n"), "{text}");
        assert!(text.matches("b\r\n").count() == 1 && text.ends_with("X: y\r\n\r\n"), "{text}");
        for own in ["Sec-WebSocket-Key", "upgrade", "Connection", "Content-Length", "a b", ""] {
            assert!(check_header(own, "x").is_err(), "{own}");
        }
        assert!(check_header("x", "a\r\nb").is_err());
    }

    #[test]
    fn both_sides_agree() {
        let mut head = Vec::new();
        let protocols = ["p".to_owned(), "q".to_owned()];
        let offer = Offer { protocols: &protocols, ..Offer::new("h:1", "/echo?a=b") };
        let key = write_request(&mut head, &offer, [7; 16]);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let request = Request::parse(&head, &mut headers).unwrap();
        assert_eq!(check_upgrade(&request), Ok(()));
        assert_eq!((request.query(), request.protocols().next()), (Some("a=b"), Some("p")));
        let mut response = Vec::new();
        write_accept(&mut response, &request, Some("p"), "X-A: b\r\n", None);
        let check = |response: &[u8], key: &str| {
            check_response(response, key, &protocols, Offered::Nothing)
        };
        let accepted = Response { deflate: None, has_subprotocol: true };
        assert_eq!(check(&response, &key), Ok(accepted));
        let wrong = |response: &[u8], key: &str| check(response, key).unwrap_err().to_string();
        assert!(wrong(&response, "other").starts_with("Sec-WebSocket-Accept of the response is"));
        response.clear();
        write_accept(&mut response, &request, Some("r"), "", None);
        assert_eq!(check(&response, &key), Err(ResponseError::Subprotocol("r".into())));
        response.clear();
        write_accept(&mut response, &request, None, "Sec-WebSocket-Extensions: x\r\n", None);
        assert!(wrong(&response, &key).starts_with("Sec-WebSocket-Extensions of the response"));
        response.clear();
        Refusal::Unavailable.write(false, &mut response);
        assert_eq!(check(&response, &key), Err(ResponseError::Status(503)));
        let text = String::from_utf8(response).unwrap();
        assert!(text.contains("Retry-After: 1\r\n") && text.contains("Connection: close\r\n"));
    }
}
