//! The opening handshake (RFC 6455, 4), both sides, and the refusals.

use super::deflate::{self, Accepted, Offered};
use super::extensions;
use super::head::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};
use std::fmt;

/// Why a request is answered with something other than 101 or the application's
/// own response. Each has one status.
///
/// ```
/// use tapecast::protocol::Refusal;
///
/// let mut out = Vec::new();
/// Refusal::UpgradeRequired.write(&mut out);
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
    /// 405: not a GET.
    MethodNotAllowed,
    /// 408: the head did not come in time.
    Timeout,
    /// 426: a WebSocket of version 13 is needed here.
    UpgradeRequired,
    /// 431: the head is too long or has too many fields.
    HeadTooLarge,
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
            Refusal::HeadTooLarge => 431,
            Refusal::Internal => 500,
            Refusal::Unavailable => 503,
        }
    }

    /// Appends the whole response, after which the connection ends.
    pub fn write(self, out: &mut Vec<u8>) {
        let extra = match self {
            // RFC 6455, 4.4: name the versions that are understood.
            Refusal::UpgradeRequired => {
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            }
            Refusal::MethodNotAllowed => "Allow: GET\r\n",
            Refusal::Unavailable => "Retry-After: 1\r\n",
            _ => "",
        };
        write_response(out, self.status(), "text/plain; charset=utf-8", extra, &self.to_string());
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadRequest(why) => formatter.write_str(why),
            Refusal::UpgradeRequired => {
                formatter.write_str("a WebSocket handshake of version 13 is needed here")
            }
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

/// Appends a whole response that ends its connection. `extra` is further header
/// lines, each with its line end.
pub fn write_response(out: &mut Vec<u8>, status: u16, content_type: &str, extra: &str, body: &str) {
    let phrase = reason_phrase(status);
    let length = body.len();
    out.extend_from_slice(
        format!(
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {length}\r\n{extra}{close}\r\n{body}",
            // RFC 9110, 7.6.1: one Connection field is enough; 426 names the upgrade in it.
            close = if extra.contains("Connection:") { "" } else { "Connection: close\r\n" },
        )
        .as_bytes(),
    );
}

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
    if !request.names("connection", "upgrade") {
        return Err(Refusal::BadRequest("the Connection header must name Upgrade"));
    }
    // RFC 6455, 4.4: another version is answered with the one that is understood.
    if request.header("sec-websocket-version") != Some("13") {
        return Err(Refusal::UpgradeRequired);
    }
    let mut keys = request.all("sec-websocket-key");
    let key = keys.next().ok_or(Refusal::BadRequest("Sec-WebSocket-Key is missing"))?;
    // RFC 6455, 4.2.1: the key is 16 bytes in base64, and there is one.
    if keys.next().is_some() || !BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
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
    /// Further headers. Names and values go out as they are.
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
    for (name, value) in *headers {
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
    /// Another status than 101.
    Status(u16),
    /// A header is missing or wrong.
    Header(&'static str),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseError::Malformed => formatter.write_str("the response is not HTTP/1.1"),
            ResponseError::Status(status) => write!(formatter, "the server answered {status}"),
            ResponseError::Header(name) => write!(formatter, "{name} is missing or wrong"),
        }
    }
}

impl std::error::Error for ResponseError {}

/// Checks a server's whole response head against the key that was sent, and the
/// subprotocols and the compression that were offered (RFC 6455, 4.1). Says how messages
/// may be compressed, if they may.
///
/// # Errors
/// What is wrong with it.
pub fn check_response(
    head: &[u8],
    key: &str,
    protocols: &[String],
    offered: Offered,
) -> Result<Option<Accepted>, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; super::head::HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    if !matches!(response.parse(head), Ok(httparse::Status::Complete(_))) {
        return Err(ResponseError::Malformed);
    }
    let status = response.code.unwrap_or_default();
    if status != 101 {
        return Err(ResponseError::Status(status));
    }
    let header = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| std::str::from_utf8(header.value).unwrap_or_default())
    };
    let value = |name: &str| header(name).unwrap_or_default();
    if !value("upgrade").eq_ignore_ascii_case("websocket") {
        return Err(ResponseError::Header("Upgrade"));
    }
    if !value("connection").split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade")) {
        return Err(ResponseError::Header("Connection"));
    }
    if value("sec-websocket-accept") != accept_value(key) {
        return Err(ResponseError::Header("Sec-WebSocket-Accept"));
    }
    // What was not asked for may not be answered with.
    let extensions = response
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("sec-websocket-extensions"))
        .map(|header| std::str::from_utf8(header.value).unwrap_or(";"));
    let Some(accepted) = deflate::check_accepted(extensions, offered) else {
        return Err(ResponseError::Header("Sec-WebSocket-Extensions"));
    };
    if header("sec-websocket-protocol")
        .is_some_and(|chosen| !protocols.iter().any(|it| it == chosen))
    {
        return Err(ResponseError::Header("Sec-WebSocket-Protocol"));
    }
    Ok(accepted)
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
        check(&with("Sec-WebSocket-Protocol: a,, b"), Err(400));
        check(&with("Sec-WebSocket-Extensions: permessage-deflate; x=\"1\""), Ok(()));
        check(&with("Sec-WebSocket-Extensions: ;"), Err(400));
        check(&with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Err(400));
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
        assert_eq!(check(&response, &key), Ok(None));
        let wrong = |header| Err(ResponseError::Header(header));
        assert_eq!(check(&response, "other"), wrong("Sec-WebSocket-Accept"));
        response.clear();
        write_accept(&mut response, &request, Some("r"), "", None);
        assert_eq!(check(&response, &key), wrong("Sec-WebSocket-Protocol"));
        response.clear();
        write_accept(&mut response, &request, None, "Sec-WebSocket-Extensions: x\r\n", None);
        assert_eq!(check(&response, &key), wrong("Sec-WebSocket-Extensions"));
        response.clear();
        Refusal::Unavailable.write(&mut response);
        assert_eq!(check(&response, &key), Err(ResponseError::Status(503)));
        let text = String::from_utf8(response).unwrap();
        assert!(text.contains("Retry-After: 1\r\n") && text.contains("Connection: close\r\n"));
    }
}
