//! Request heads (RFC 9112, as far as a WebSocket server needs it).

use super::extensions;
use super::refusal::Refusal;
use std::borrow::Cow;

/// Header fields of one head at most.
pub const HEADERS_MAX: usize = 96;

/// The text that replaces a header field's value that is not UTF-8. It equals no meaningful
/// value, and the field is still present.
pub const NOT_TEXT: &str = "\u{FFFD}";

/// The schemes that a target in absolute form may have.
const SCHEMES: [&str; 4] = ["http://", "https://", "ws://", "wss://"];

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
    is_head: bool,
    /// The authority of a target in absolute form.
    authority: Option<&'a str>,
    /// Path and query; begins with a slash, or with the query of an absolute target that
    /// has no path.
    target: &'a str,
    minor_version: u8,
    headers: &'a [httparse::Header<'a>],
}

/// Finds the end of a head in a stream that arrives in pieces, reading each
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
                // A bare line feed ends a line too, as in httparse.
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

/// Whether `first` can begin a request. Other bytes, such as a TLS hello, are refused
/// at once.
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
        headers: &'a mut [httparse::Header<'a>],
    ) -> Result<Request<'a>, Refusal> {
        let mut parsed = httparse::Request::new(headers);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::BadRequest("incomplete head")),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Err(_) => return Err(Refusal::BadRequest("malformed request head")),
        }
        let is_head = match parsed.method.unwrap_or_default() {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Refusal::MethodNotAllowed),
        };
        let (authority, target) = split_target(parsed.path.unwrap_or_default())?;
        let minor_version = parsed.version.unwrap_or_default();
        let headers = parsed.headers;
        let request = Request { is_head, authority, target, minor_version, headers };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Refusal> {
        // RFC 9112, 3.2: a request of HTTP/1.1 has exactly one Host.
        let hosts = self.all("host").count();
        if hosts > 1 || (self.minor_version > 0 && hosts == 0) {
            return Err(Refusal::BadRequest("exactly one Host header is needed"));
        }
        // A body would be decoded as frames.
        if self.all("transfer-encoding").next().is_some()
            || self.all("content-length").any(|length| length.trim() != "0")
        {
            return Err(Refusal::BadRequest("a request with a body"));
        }
        Ok(())
    }

    /// Whether the client wants only the head of the answer: the method is HEAD, not GET.
    pub fn is_head(&self) -> bool {
        self.is_head
    }

    /// The host and port that the client requests: those of a target in absolute form, else those
    /// of the `Host` header. `None` only for HTTP/1.0.
    pub fn host(&self) -> Option<&'a str> {
        // RFC 9112, 3.2.2: the target replaces the Host header.
        self.authority.or_else(|| self.header("host"))
    }

    /// Path and query as they were sent. An absolute target without a path yields the query alone:
    /// [`Request::path_and_query`] adds the slash.
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// Path and query, not decoded.
    pub fn path_and_query(&self) -> Cow<'a, str> {
        if self.target.starts_with('/') {
            Cow::Borrowed(self.target)
        } else {
            Cow::Owned(format!("/{}", self.target))
        }
    }

    /// The path, not decoded.
    pub fn path(&self) -> &'a str {
        match self.target.split_once('?').map_or(self.target, |(path, _)| path) {
            "" => "/",
            path => path,
        }
    }

    /// The part behind the first `?`, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first field of this name, in any case. A value that is not UTF-8 reads as
    /// [`NOT_TEXT`].
    ///
    /// ```
    /// use tapecast::protocol::Request;
    /// use tapecast::protocol::head::{HEADERS_MAX, NOT_TEXT};
    ///
    /// let head = b"GET / HTTP/1.1\r\nHost: here\r\nOrigin: caf\xe9\r\n\r\n";
    /// let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    /// let request = Request::parse(head, &mut headers).unwrap();
    /// assert_eq!(request.header("origin"), Some(NOT_TEXT));
    /// assert_eq!(request.header_bytes("origin"), Some(&b"caf\xe9"[..]));
    /// ```
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// The first field of this name, in any case, as it was sent.
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        named(self.headers, name).next()
    }

    /// Every field of this name, in order. A value that is not UTF-8 reads as [`NOT_TEXT`].
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        named(self.headers, name).map(as_text)
    }

    /// The elements of a comma-separated field that may be repeated, trimmed. Empty ones are
    /// ignored (RFC 9110, 5.6.1.2).
    pub fn elements<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        self.all(name).flat_map(elements)
    }

    /// Whether a comma-separated field contains this word, in any case.
    pub fn names(&self, name: &str, word: &str) -> bool {
        self.elements(name).any(|element| element.eq_ignore_ascii_case(word))
    }

    /// The subprotocols that the client offers, in the order of its preference.
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

/// Splits a request target into its authority, if it has one, and path and query.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    // RFC 9112, 3.2.2: a server also accepts the absolute form, which is meant for proxies.
    let begins = |scheme: &str| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    let Some(scheme) = SCHEMES.into_iter().find(|scheme| begins(scheme)) else {
        return Err(Refusal::BadRequest("the target must be a path, or an absolute http URL"));
    };
    let rest = &target[scheme.len()..];
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // RFC 9110, 4.2.1 and 4.2.4: a host is required; a user name and password are not allowed.
    if authority.is_empty() || authority.starts_with(':') || authority.contains('@') {
        return Err(Refusal::BadRequest("the target's host is malformed"));
    }
    Ok((Some(authority), if path.is_empty() { "/" } else { path }))
}

/// The values of the fields of this name, in any case and in order.
pub(super) fn named<'a, 's>(
    headers: &'s [httparse::Header<'a>],
    name: &'s str,
) -> impl Iterator<Item = &'a [u8]> + use<'a, 's> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// A field's value as text, or [`NOT_TEXT`].
pub(super) fn as_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or(NOT_TEXT)
}

/// The elements of a comma-separated value, trimmed, without empty ones (RFC 9110, 5.6.1.2).
pub(super) fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|element| !element.is_empty())
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
    fn heads_are_parsed_or_refused() {
        check("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", Ok("/a"));
        check("GET / HTTP/1.0\r\n\r\n", Ok("/"));
        check("POST / HTTP/1.1\r\nHost: x\r\n\r\n", Err(Refusal::MethodNotAllowed));
        check("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n", Ok("/a"));
        check("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", Err(Refusal::MethodNotAllowed));
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
        check(&many, Err(Refusal::TooManyFields));
    }

    #[test]
    fn values_that_are_not_text_are_seen_by_name() {
        let refusal_of = |line: &[u8]| {
            let head = [b"GET / HTTP/1.1\r\nHost: x\r\n", line, b"\r\n\r\n"].concat();
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            Request::parse(&head, &mut headers).err()
        };
        for line in [&b"Host: \xff"[..], b"Transfer-Encoding: \xffchunked", b"Content-Length: \xff"]
        {
            assert!(matches!(refusal_of(line), Some(Refusal::BadRequest(_))), "{line:?}");
        }
        assert_eq!(refusal_of(b"X-Anything: \xff"), None);
    }

    #[test]
    fn targets_in_absolute_form_name_their_host() {
        let check = |target: &str, expected: Option<(&str, &str, Option<&str>)>| {
            let head = format!("GET {target} HTTP/1.1\r\nHost: other\r\n\r\n");
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let request = Request::parse(head.as_bytes(), &mut headers).ok();
            if let Some(request) = &request {
                let query = request.query().map_or(String::new(), |query| format!("?{query}"));
                assert_eq!(request.path_and_query(), request.path().to_owned() + &query);
            }
            let found = request.map(|it| (it.host().unwrap(), it.path(), it.query()));
            assert_eq!(found, expected, "{target}");
        };
        check("http://here:9001/a?b=c", Some(("here:9001", "/a", Some("b=c"))));
        check("WSS://[::1]/", Some(("[::1]", "/", None)));
        check("ws://here", Some(("here", "/", None)));
        check("ws://here?b=/", Some(("here", "/", Some("b=/"))));
        check("/http://x/", Some(("other", "/http://x/", None)));
        for bad in ["ftp://here/", "http:///a", "http://:80/", "http://me@here/", "here:80", "*"] {
            check(bad, None);
        }
    }

    #[test]
    fn elements_that_are_empty_are_left_out() {
        let head =
            b"GET / HTTP/1.1\r\nHost: x\r\nAccept: , a,,\t b ,\r\nAccept: ,\r\nAccept: c\r\n\r\n";
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let request = Request::parse(head, &mut headers).unwrap();
        assert!(request.elements("accept").eq(["a", "b", "c"]));
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
