//! The least of an opening handshake that a client accepts: the end of the request, its key,
//! and the answer. Every path is accepted and all other headers are ignored. It is for the
//! peers without a library that shakes hands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A longer request than this is refused.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

// RFC 6455, 1.3: the string that is appended to the key before it is hashed.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of the request head that `bytes` starts with, blank line included,
/// or `None` as long as it is incomplete.
pub fn head_bytes(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The answer to a complete request head, or `None` if it asks for no WebSocket.
pub fn response(head: &[u8]) -> Option<String> {
    let key = head.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        line[..colon]
            .eq_ignore_ascii_case(b"sec-websocket-key")
            .then(|| line[colon + 1..].trim_ascii())
    })?;
    // RFC 6455, 4.2.2: SHA-1 of key and suffix, in base64.
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = STANDARD.encode(digest);
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_has_its_answer() {
        let request = b"GET /chat HTTP/1.1\r\nHost: a\r\n\
            sec-webSocket-key:  dGhlIHNhbXBsZSBub25jZQ== \r\n\r\nrest";
        assert_eq!(head_bytes(request), Some(request.len() - 4));
        let response = response(request).expect("it has a key");
        assert!(response.contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
    }

    #[test]
    fn only_a_whole_head_with_a_key_is_answered() {
        assert_eq!(head_bytes(b"GET / HTTP/1.1\r\n\r"), None);
        assert_eq!(response(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
    }
}
