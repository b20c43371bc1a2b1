//! Responses that end their connection: whole documents, and the refusals.

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
    /// 401: the client has not authenticated.
    Unauthorized,
    /// 403: the client may not.
    Forbidden,
    /// 404: no such route.
    NotFound,
    /// 405: neither GET nor HEAD.
    MethodNotAllowed,
    /// 408: the head did not come in time.
    Timeout,
    /// 426: a WebSocket handshake of version 13 is needed.
    UpgradeRequired,
    /// 431: the head is too long.
    HeadTooLarge,
    /// 431: the head has too many header fields.
    TooManyFields,
    /// 503: the server is full or draining.
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

    /// Appends the whole response, after which the connection ends. If the request `is_head`, the
    /// body is left out.
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

/// The reason phrase of a status; empty for uncommon ones.
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
    /// The type of the body. The response forbids browsers to guess another.
    pub content_type: &'a str,
    /// Further header lines, each with its line ending.
    pub headers: &'a str,
    /// The document.
    pub body: &'a str,
}

impl Answer<'_> {
    /// Appends the response. If the request `is_head`, the body is left out.
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
