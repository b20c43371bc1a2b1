"""Handshakes that are refused, and plain HTTP: status, headers, and that the
response is received whole and followed by the end of the stream.
"""

import socket

from . import peer as wire
from .peer import Peer
from .server import expect

# The start of a TLS 1.2 hello: what comes when somebody says wss:// here.
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(200)
UPGRADE_HEADERS = ("Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version")


def plain(path, method="GET"):
    return wire.head(path, method, drop=UPGRADE_HEADERS)


# name, request, status, header lines that have to be in the response
TABLE = [
    ("key too short", wire.head(Sec_WebSocket_Key="c2hvcnQ="), 400, []),
    ("key not base64", wire.head(Sec_WebSocket_Key="!" * 24), 400, []),
    ("key missing", wire.head(drop=("Sec-WebSocket-Key",)), 400, []),
    ("TLS hello", TLS_HELLO, 400, []),
    ("garbage", b"\x00\x01\x02 garbage\r\n\r\n", 400, []),
    ("POST", wire.head(method="POST"), 405, ["Allow: GET, HEAD"]),
    ("plain POST", plain("/echo", "POST"), 405, ["Allow: GET, HEAD"]),
    (
        "version 8",
        wire.head(Sec_WebSocket_Version="8"),
        426,
        ["Sec-WebSocket-Version: 13"],
    ),
    (
        "no version",
        wire.head(drop=("Sec-WebSocket-Version",)),
        426,
        ["Sec-WebSocket-Version: 13"],
    ),
    ("plain GET", plain("/echo"), 426, ["Sec-WebSocket-Version: 13"]),
    ("head of 20 KiB", wire.head(X_Long="x" * (20 << 10)), 431, []),
    ("unknown path", wire.head("/nowhere"), 404, []),
    ("unknown path, plain", plain("/nowhere"), 404, []),
    ("healthz", plain("/healthz"), 200, []),
    ("healthz with a query", plain("/healthz?verbose"), 200, []),
    ("readyz", plain("/readyz"), 200, []),
]


def check(server, name, request, status, lines, connect=Peer):
    with connect(server.port) as peer:
        peer.send(request)
        received, text = peer.receive_head()
        expect(received == status, f"{name}: expected {status}, received {text!r}")
        headers = dict(line.lower().split(": ", 1) for line in text.split("\r\n")[1:])
        for line in lines:
            name_of, value = line.lower().split(": ")
            expect(headers.get(name_of) == value, f"{name}: {line!r} is not in {text!r}")
        body = peer.receive_to_end()
        expect(
            int(headers.get("content-length", -1)) == len(body),
            f"{name}: a body of {len(body)} for {text!r}",
        )


def refused(server, connect=Peer):
    for row in TABLE:
        check(server, *row, connect)


def refused_unread(server):
    """A long request that is refused at its first byte: the answer must not be
    lost to a reset over the bytes that were not read."""
    for _ in range(20):
        with Peer(server.port) as peer:
            peer.send(plain("/echo", "POST") + b"b" * 200_000)
            status, _ = peer.receive_head()
            expect(status == 405, f"answered with {status}")
    with Peer(server.port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000)
        status, _ = peer.receive_head()
        expect(status == 431, f"answered with {status}")


def bad_handshake_of_every_length(server):
    """A handshake that ends after each of its bytes: the server forgets it."""
    before = server.connections()
    whole = wire.head()
    for length in range(len(whole)):
        with Peer(server.port) as peer:
            peer.send(whole[:length])
            peer.socket.shutdown(socket.SHUT_WR)
            received = peer.receive_to_end()
            expect(b" 101 " not in received, f"accepted {length} of {len(whole)} bytes")
    server.wait_for(
        lambda: server.connections() <= before, 5, "half handshakes are still connected"
    )
