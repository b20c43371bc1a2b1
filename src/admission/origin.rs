//! The origin of a request: this machine, or a web page in a browser on it.

use crate::protocol::Request;
use std::net::{IpAddr, SocketAddr};

/// Whether a request comes from this machine: from a program on it, or from a page that a
/// server on it has served.
///
/// Loopback alone does not prove it. A web page in a browser on this machine reaches loopback too,
/// because WebSocket has no same-origin policy, and so does a browser behind a proxy on this
/// machine. Both send the origin of their page. It has to be a loopback address or
/// `localhost`: any other name may resolve to loopback, and an attacker can choose it.
pub fn is_from_here(request: &Request<'_>, peer: Option<SocketAddr>) -> bool {
    // A Unix socket has no address, and its peers are on this machine.
    let is_near = peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback());
    is_near && request.header("origin").is_none_or(is_loopback)
}

/// Whether an origin belongs to a page of this machine.
fn is_loopback(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::head::HEADERS_MAX;

    #[test]
    fn web_pages_are_not_from_this_machine() {
        let check = |peer: Option<&str>, origin: Option<&str>, expected| {
            let line = origin.map_or(String::new(), |it| format!("Origin: {it}\r\n"));
            // The requested host does not matter.
            let head = format!("GET / HTTP/1.1\r\nHost: here.example\r\n{line}\r\n");
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let request = Request::parse(head.as_bytes(), &mut headers).unwrap();
            let peer = peer.map(|peer| SocketAddr::new(peer.parse().unwrap(), 1));
            assert_eq!(is_from_here(&request, peer), expected, "{peer:?} {origin:?}");
        };
        for peer in [Some("127.0.0.1"), Some("::1"), Some("::ffff:127.0.0.1"), None] {
            check(peer, None, true);
            for host in ["127.0.0.1:9001", "localhost:3000", "LOCALHOST", "[::1]:9001", "[::1]"] {
                check(peer, Some(&format!("http://{host}")), true);
                check(peer, Some(&format!("https://{host}")), true);
            }
            for origin in [
                "https://example.com",
                "http://here.example",
                "http://192.0.2.1:9001",
                "http://127.0.0.1.evil.example",
                "http://localhost.evil.example:80",
                "https://evil.example/?http://127.0.0.1",
                "null",
                "",
                "127.0.0.1:9001",
            ] {
                check(peer, Some(origin), false);
            }
        }
        check(Some("192.0.2.1"), None, false);
        check(Some("192.0.2.1"), Some("http://127.0.0.1"), false);
    }
}
