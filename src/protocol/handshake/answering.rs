//! The server's side: checking a request and accepting it.

use super::key::accept_value;
use crate::protocol::deflate::Accepted;
use crate::protocol::extensions;
use crate::protocol::head::Request;
use crate::protocol::refusal::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, PAD};

/// Accepts keys with any trailing bits, as some encoders leave them.
const LENIENT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&base64::alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// Checks the requirements of RFC 6455, 4.2.1, on a client's handshake.
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
    // RFC 6455, 4.4: a request for another version is answered with the supported one.
    let mut versions = request.all("sec-websocket-version");
    if versions.next() != Some("13") {
        return Err(Refusal::UpgradeRequired);
    }
    // RFC 6455, 11.3.5: it must not appear more than once.
    if versions.next().is_some() {
        return Err(Refusal::BadRequest("Sec-WebSocket-Version appears twice"));
    }
    let mut keys = request.all("sec-websocket-key");
    let key = keys.next().ok_or(Refusal::BadRequest("Sec-WebSocket-Key is missing"))?;
    // RFC 6455, 4.2.1: there is one key, 16 bytes in base64.
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

/// Appends the 101 response to a request that has passed [`check_upgrade`].
/// `headers` is further lines, each with its line ending; `deflate` is the accepted offer of
/// compression.
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
