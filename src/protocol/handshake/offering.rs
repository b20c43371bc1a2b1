//! The client's request: what it offers, and the headers that a user may add.

use crate::protocol::deflate::Offered;
use crate::protocol::extensions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The handshake request of a client.
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
    /// Subprotocols, the preferred one first.
    pub protocols: &'a [String],
    /// Further headers that have passed [`check_header`]. They are sent unchanged, and a
    /// `Host` replaces the one above.
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
/// bytes. Returns the key made of them, for [`check_response`](super::check_response).
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

/// The header fields of the handshake itself: a user can't add them.
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

/// Checks a header that a user adds to a request. `Host` is allowed: it replaces the one of the
/// URL.
///
/// ```
/// use tapecast::protocol::handshake::check_header;
///
/// assert!(check_header("Authorization", "Bearer x").is_ok());
/// assert!(check_header("Upgrade", "h2c").is_err());
/// ```
///
/// # Errors
/// The header is invalid, or belongs to the handshake.
pub fn check_header(name: &str, value: &str) -> Result<(), String> {
    if !extensions::is_token(name) {
        return Err(format!("{name:?} is not a header name"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("{name}: the value contains a control character"));
    }
    if OF_THE_HANDSHAKE.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(format!("{name} is set by the handshake and can't be added"));
    }
    Ok(())
}
