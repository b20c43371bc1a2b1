//! Both sides of the handshake, apart and against each other.

use super::*;
use crate::protocol::deflate::Offered;
use crate::protocol::head::{HEADERS_MAX, Request};
use crate::protocol::refusal::Refusal;

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
fn the_accept_value_is_that_of_the_rfc() {
    // RFC 6455, 1.3.
    assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn upgrades_are_checked() {
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
fn responses_are_checked() {
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
    check("\r\n\r\n", "\r\nUpgrade: websocket\r\n\r\n", "Upgrade of the response appears twice");
    check("HTTP/1.1", "HTTP/1.0", "the response is not HTTP/1.1");
    check(
        "101 Switching Protocols\r\n",
        "302 Found\r\nLocation: wss://there/\r\n",
        "the server answered 302 and redirects to wss://there/",
    );
    let many = "a: b\r\n".repeat(HEADERS_MAX);
    check("Upgrade: W", &format!("{many}Upgrade: W"), "the head of the response is too long");
}

#[test]
fn other_protocols_are_recognised_by_their_first_bytes() {
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
fn a_host_header_of_the_user_replaces_the_one_of_the_url() {
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
fn both_sides_agree_on_a_handshake() {
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
    let check =
        |response: &[u8], key: &str| check_response(response, key, &protocols, Offered::Nothing);
    let accepted = Response { deflate: None, has_subprotocol: true };
    assert_eq!(check(&response, &key), Ok(accepted));
    let wrong = |response: &[u8], key: &str| check(response, key).unwrap_err().to_string();
    assert!(wrong(&response, "other").starts_with("Sec-WebSocket-Accept of the response does"));
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
