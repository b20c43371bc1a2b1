"""The edges of HTTP and of the handshake: what an RFC lets a client write in more than one way,
and what must not pass unseen.
"""

import contextlib
import json
import re

from . import peer as wire
from .peer import Peer
from .server import configured, expect, serving

BEHIND = b"\r\n\r\n"


def with_line(request, *lines):
    """The request with further header lines, as bytes."""
    return request.replace(BEHIND, b"\r\n" + b"\r\n".join(lines) + BEHIND, 1)


def plain(path="/healthz", method="GET", **changed):
    drop = ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")
    return wire.head(path, method, drop=drop, **changed)


def answer(server, request):
    """Status, headers and body of the answer; a body only if the connection ends."""
    with Peer(server.port) as peer:
        peer.send(request)
        status, text = peer.receive_head()
        headers = dict(line.split(": ", 1) for line in text.split("\r\n")[1:])
        return status, headers, b"" if status == 101 else peer.receive_to_end()


def written_otherwise(server):
    """Equal spellings are accepted; a field that is there twice or hidden is refused."""
    key = wire.KEY.encode()
    # The last byte of the key leaves four bits that mean nothing.
    loose = wire.KEY[:-3] + chr(ord(wire.KEY[-3]) + 1) + "=="
    table = [
        ("an empty protocol", with_line(wire.head(), b"Sec-WebSocket-Protocol: x, "), 101),
        ("only commas", with_line(wire.head(), b"Sec-WebSocket-Protocol: , ,"), 101),
        ("an empty extension", with_line(wire.head(), b"Sec-WebSocket-Extensions: , x,,"), 101),
        ("an empty Connection", wire.head(Connection=", keep-alive, , Upgrade ,"), 101),
        ("an empty Upgrade", wire.head(Upgrade=" ,websocket"), 101),
        ("two Connections", with_line(wire.head(Connection="x"), b"Connection: Upgrade"), 101),
        ("loose bits in the key", wire.head(Sec_WebSocket_Key=loose), 101),
        ("an absolute target", wire.head(f"http://127.0.0.1:{server.port}/echo"), 101),
        ("an absolute target in capitals", wire.head("WS://x/echo"), 101),
        ("an absolute target without a path", plain("http://x?a"), 426),
        ("a target of another scheme", wire.head("ftp://x/echo"), 400),
        ("a target with a password", wire.head("http://a:b@x/echo"), 400),
        ("a target of no kind", wire.head("echo"), 400),
        ("two versions", with_line(wire.head(), b"Sec-WebSocket-Version: 13"), 400),
        ("two keys", with_line(wire.head(), b"Sec-WebSocket-Key: " + key), 400),
        ("a second key that is not text", with_line(wire.head(), b"Sec-WebSocket-Key: \xff"), 400),
        ("a second host that is not text", with_line(wire.head(), b"Host: \xff"), 400),
        ("a host that is not text", wire.head(Host="\x00").replace(b"\x00", b"\xff"), 101),
        ("a coding that is not text", with_line(plain(), b"Transfer-Encoding: \xffchunked"), 400),
        ("a length that is not text", with_line(plain(), b"Content-Length: \xff5"), 400),
        ("a protocol that is not text", with_line(wire.head(), b"Sec-WebSocket-Protocol: \xff"), 400),
        ("a field that is not text", with_line(wire.head(), b"X-Any: caf\xe9"), 101),
    ]
    for name, request, expected in table:
        status, _, body = answer(server, request)
        expect(status == expected, f"{name}: {status} {body!r}")


def head_is_get(server):
    """HEAD has the header fields of GET, and no body, on every document and refusal."""
    for path in ("/healthz", "/readyz", "/tapecast.js", "/tapecast.d.ts", "/console.js",
                 "/style.css", "/nowhere", "/echo", "/ws", "/broadcast"):
        status, headers, body = answer(server, plain(path))
        status_of, headers_of, nothing = answer(server, plain(path, "HEAD"))
        expect((status_of, headers_of) == (status, headers), f"{path}: {headers_of} for {headers}")
        expect(nothing == b"", f"{path}: HEAD is answered with {nothing[:60]!r}")
        expect(int(headers["Content-Length"]) == len(body), f"{path}: {headers}")
    page = plain("/", "HEAD", Accept="text/html")
    status, headers, body = answer(server, page)
    expect(status == 200 and body == b"" and int(headers["Content-Length"]) > 500, f"{headers}")
    status, _, body = answer(server, b"\r\n" + plain("/healthz", "HEAD"))
    expect(status == 200 and body == b"", f"HEAD behind an empty line: {status} {body!r}")
    status, _, body = answer(server, wire.head(method="HEAD"))
    expect(status == 400 and body == b"", f"an upgrade by HEAD: {status} {body!r}")


def fields_of_documents(server):
    """426 names the upgrade and closes; documents are what they say they are, are in no frame of
    others, and the client can be imported by pages of another port."""
    status, headers, _ = answer(server, plain("/echo"))
    expect(status == 426 and headers["Connection"] == "Upgrade, close", f"{headers}")
    expect(headers["Upgrade"] == "websocket", f"{headers}")
    for path in ("/healthz", "/readyz", "/tapecast.js", "/console.js", "/style.css"):
        _, headers, _ = answer(server, plain(path))
        expect(headers["X-Content-Type-Options"] == "nosniff", f"{path}: {headers}")
        expect("frame-ancestors 'self'" in headers["Content-Security-Policy"], f"{path}: {headers}")
        is_shared = headers.get("Access-Control-Allow-Origin") == "*"
        expect(is_shared == path.startswith("/tapecast"), f"{path}: {headers}")


def as_many_fields(server):
    """The number of header fields is a limit with a name, and a reload changes it."""
    with serving(server, limits={"head_fields_max": 10}) as own:
        def with_fields(count):
            lines = [b"X-%d: x" % number for number in range(count - 5)]
            return with_line(wire.head(), *lines) if lines else wire.head()

        status, _, _ = answer(own, with_fields(10))
        expect(status == 101, f"ten fields: {status}")
        status, _, body = answer(own, with_fields(11))
        expect(status == 431 and body == b"Too Many Request Header Fields", f"{status} {body!r}")


def subprotocols(server):
    """The echo speaks whatever is offered first; other routes the first that they know, or none,
    and then a log line names both."""
    def chosen(own, path, offered):
        status, headers, _ = answer(own, with_line(wire.head(path), offered))
        expect(status == 101, f"{path} {offered}: {status}")
        return headers.get("Sec-WebSocket-Protocol")

    with serving(server) as own:
        offered = b"Sec-WebSocket-Protocol: soap, wamp"
        for path in ("/echo", "/ws", "/broadcast"):
            expect(chosen(own, path, offered) == "soap", path)
        known = b"Sec-WebSocket-Protocol: soap, tapecast.v1.json"
        expect(chosen(own, "/", known) == "tapecast.v1.json", "the first that is known")
        expect("speaks" not in own.errors(), own.errors())
        expect(chosen(own, "/", offered) is None, "none is known")
        own.wait_for(lambda: "speaks tapecast.v1.json" in own.errors(), 3, own.errors)
        line = own.errors().splitlines()[-1]
        expect(re.search(r"INFO.* / speaks .* was offered soap, wamp", line), line)


@contextlib.contextmanager
def listening(port, path, origin):
    """A reader of the broadcast, of a page of `origin`."""
    request = wire.head(path) if origin is None else with_line(wire.head(path), b"Origin: " + origin)
    with Peer(port) as peer:
        peer.send(request)
        status, text = peer.receive_head()
        expect(status == 101, text)
        yield peer


def broadcast_has_rules(server):
    """A page of the web does not publish to /broadcast; a rule lets it, or forbids it to all."""
    def publish(own, origin):
        with listening(own.port, "/broadcast", origin) as peer:
            peer.send_frame(wire.TEXT, b"hello")
            return peer.receive_frame()

    cases = [
        ("", None, b"hello"),
        ("", b"http://localhost:3000", b"hello"),
        ("", b"https://example.com", 1008),
        # An origin that can't be read is no page of this machine.
        ("", b"\xff", 1008),
        ('[[topics]]\npattern = ">"\npublish = "anyone"\n', b"https://example.com", b"hello"),
        ('[[topics]]\npattern = "*"\npublish = "server"\n', None, 1008),
        ('[[topics]]\npattern = "broadcast"\nsubscribe = "server"\n', None, 1008),
    ]
    for rules, origin, expected in cases:
        with configured(server, rules) as own:
            frame = publish(own, origin)
            got = frame.close_code if frame.opcode == wire.CLOSE else frame.payload
            expect(got == expected, f"{rules!r} {origin}: {frame}")


def routes_that_are_off(server):
    """Routes that can be left out are, and the others stay."""
    for flags, there in ((["/echo"], {"/echo"}), ([], set())):
        listed = json.dumps(flags)
        with configured(server, f"routes = {listed}\n") as own:
            for path in ("/echo", "/ws", "/broadcast"):
                status, _, _ = answer(own, wire.head(path))
                expect(status == (101 if path in there else 404), f"{listed}: {path} {status}")
            status, _, _ = answer(own, plain("/healthz"))
            expect(status == 200, f"{listed}: /healthz {status}")
