//! Request heads (RFC 9112, as far as a WebSocket server needs it).

use super::extensions;
use super::handshake::Refusal;

/// Header fields of one request.
pub const HEADERS_MAX: usize = 96;

/// A request head, borrowed from the bytes it arrived in.
///
/// ```
/// use tapecast::protocol::Request;
/// use tapecast::protocol::head::HEADERS_MAX;
///
/// let head = b"GET /chat?room=1 HTTP/1.1\r\nHost: here\r\nSec-WebSocket-Protocol: b, a\r\n\r\n";
/// let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
/// let request = Request::parse(head, &mut headers).unwrap();
/// assert_eq!((request.path(), request.query()), ("/chat", Some("room=1")));
/// assert_eq!(request.header("HOST"), Some("here"));
/// assert!(request.protocols().eq(["b", "a"]));
/// assert!(!request.is_upgrade());
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    minor_version: u8,
    headers: &'a [httparse::Header<'a>],
}

/// Finds the end of a head in a stream that arrives in pieces, looking at each
/// byte once.
///
/// ```
/// use tapecast::protocol::head::HeadEnd;
///
/// let mut end = HeadEnd::default();
/// assert_eq!(end.find(b"GET / HTTP/1.1\r\n\r"), None);
/// // One byte of the next piece still belongs to the head.
/// assert_eq!(end.find(b"\nwhat follows"), Some(1));
/// ```
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadEnd {
    /// How many bytes of the terminator have been seen, `0..=4`.
    seen: u8,
}

impl HeadEnd {
    /// The number of bytes of `piece` up to the end of the head, if it ends there.
    pub fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (index, &byte) in piece.iter().enumerate() {
            self.seen = match (byte, self.seen) {
                (b'\r', 0 | 2) => self.seen + 1,
                (b'\n', 1 | 3) => self.seen + 1,
                // A bare line feed ends a line too, as httparse has it.
                (b'\n', 2) => 4,
                (b'\n', _) => 2,
                (b'\r', _) => 1,
                _ => 0,
            };
            if self.seen == 4 {
                return Some(index + 1);
            }
        }
        None
    }
}

/// Whether `first` can begin a request. What can't (a TLS hello, say) is refused
/// at once instead of waited for.
pub fn can_begin(first: u8) -> bool {
    extensions::is_token_byte(first) || matches!(first, b'\r' | b'\n')
}

impl<'a> Request<'a> {
    /// Parses a whole head. `headers` is room for the fields.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn parse(
        bytes: &'a [u8],
        headers: &'a mut [httparse::Header<'a>; HEADERS_MAX],
    ) -> Result<Request<'a>, Refusal> {
        let mut parsed = httparse::Request::new(headers);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::BadRequest("incomplete head")),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
            Err(_) => return Err(Refusal::BadRequest("malformed request head")),
        }
        let request = Request {
            method: parsed.method.unwrap_or_default(),
            target: parsed.path.unwrap_or_default(),
            minor_version: parsed.version.unwrap_or_default(),
            headers: parsed.headers,
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.method != "GET" {
            return Err(Refusal::MethodNotAllowed);
        }
        if !self.target.starts_with('/') {
            return Err(Refusal::BadRequest("the target must be a path"));
        }
        // RFC 9112, 3.2: a request of HTTP/1.1 has exactly one Host.
        let hosts = self.all("host").count();
        if hosts > 1 || (self.minor_version > 0 && hosts == 0) {
            return Err(Refusal::BadRequest("exactly one Host header is needed"));
        }
        // A body would be read as frames.
        if self.all("transfer-encoding").next().is_some()
            || self.all("content-length").any(|length| length.trim() != "0")
        {
            return Err(Refusal::BadRequest("a request with a body"));
        }
        Ok(())
    }

    /// The target as it was sent: path and query.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path, not decoded.
    pub fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// What follows the first `?`, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first field of this name, in any case; `None` also when its value is
    /// not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// Every field of this name, in order.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .filter_map(|header| std::str::from_utf8(header.value).ok())
    }

    /// The elements of a comma-separated field that may be repeated, trimmed.
    pub fn elements<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    /// Whether a comma-separated field contains this word, in any case.
    pub fn names(&self, name: &str, word: &str) -> bool {
        self.elements(name).any(|element| element.eq_ignore_ascii_case(word))
    }

    /// The subprotocols that the client offers, by its preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.elements("sec-websocket-protocol")
    }

    /// Whether the client asks for a WebSocket rather than for a document.
    pub fn is_upgrade(&self) -> bool {
        self.names("upgrade", "websocket")
    }

    /// Whether it is HTTP/1.1 or later.
    pub(crate) fn is_http_1_1(&self) -> bool {
        self.minor_version > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Result<&str, Refusal>) {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let request = Request::parse(head.as_bytes(), &mut headers);
        assert_eq!(request.map(|request| request.path().to_owned()), expected.map(str::to_owned));
    }

    #[test]
    fn heads() {
        check("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", Ok("/a"));
        check("GET / HTTP/1.0\r\n\r\n", Ok("/"));
        check("POST / HTTP/1.1\r\nHost: x\r\n\r\n", Err(Refusal::MethodNotAllowed));
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
            "\u{16}\u{3}\u{1} / HTTP/1.1\r\n\r\n",
        ] {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let refusal = Request::parse(bad.as_bytes(), &mut headers).unwrap_err();
            assert!(matches!(refusal, Refusal::BadRequest(_)), "{bad} gave {refusal:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX));
        check(&many, Err(Refusal::HeadTooLarge));
    }

    #[test]
    fn the_end_is_found_in_any_split() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        let expected = head.len() - 4;
        for split in 0..head.len() {
            let mut end = HeadEnd::default();
            let found = match end.find(&head[..split]) {
                Some(index) => index,
                None => split + end.find(&head[split..]).unwrap(),
            };
            assert_eq!(found, expected, "split at {split}");
        }
        assert_eq!(HeadEnd::default().find(b"GET / HTTP/1.1\n\nx"), Some(16));
        assert_eq!(HeadEnd::default().find(b"\r\r\n\r\n"), Some(5));
    }
}
