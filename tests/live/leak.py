"""A hundred thousand connections that come and end in every way; afterwards the
server has the descriptors and threads it had before, and its memory is what it
was after the first ten thousand.
"""

import socket
import struct
import time

from . import peer as wire
from .raw import check_alive
from .server import expect

WARM_UP = 10_000
CONNECTIONS = 100_000
SECONDS_MAX = 90
# Connections that are open at the same time.
BATCH = 200
GROWTH_BYTES_MAX = 8 << 20

REQUEST = wire.head()
REQUEST_BROADCAST = wire.head("/broadcast")
REFUSED = (
    wire.head("/nowhere"),
    wire.head(Sec_WebSocket_Key="short"),
    wire.head(Sec_WebSocket_Version="8"),
    wire.head(method="POST"),
    b"\x16\x03\x01 TLS",
)
ECHO = wire.frame(wire.TEXT, b"echo")
CLOSE = wire.close_frame(1000)
LARGE = wire.frame(wire.BINARY, b"l" * 70_000)
FRAGMENT = wire.frame(wire.TEXT, b"begun", fin=False)
RESET = struct.pack("ii", 1, 0)

# The bytes that are sent first, whether their answer is awaited, the bytes that follow,
# whether the end of the stream is awaited, and whether the socket is reset at the end.
KINDS = (
    ("clean close", REQUEST, True, ECHO + CLOSE, True, False),
    ("clean close of a subscriber", REQUEST_BROADCAST, True, CLOSE, True, False),
    ("abrupt close", REQUEST, True, ECHO, False, False),
    ("abrupt close of a subscriber", REQUEST_BROADCAST, True, b"", False, False),
    ("reset", REQUEST, True, ECHO, False, True),
    ("reset of a subscriber", REQUEST_BROADCAST, True, b"", False, True),
    ("refused", None, True, b"", True, False),
    ("refused and reset", None, True, b"", False, True),
    ("nothing sent", b"", False, b"", False, False),
    ("in the middle of a handshake", REQUEST[:60], False, b"", False, False),
    ("reset in the middle of a handshake", REQUEST[:60], False, b"", False, True),
    ("reset before the answer", REQUEST, False, b"", False, True),
    ("in the middle of a header", REQUEST, True, LARGE[:3], False, False),
    ("in the middle of a message", REQUEST, True, LARGE[:40_000], False, False),
    ("reset in the middle of a message", REQUEST, True, LARGE[:40_000], False, True),
    ("in the middle of a fragmented message", REQUEST, True, FRAGMENT, False, False),
    ("a broken rule", REQUEST, True, b"\xff\xff", True, False),
)


def connect_and_end(port, first):
    """One batch: all connect, all are answered, all end. `first` picks kinds."""
    batch = []
    for index in range(first, first + BATCH):
        _, opening, *rest = KINDS[index % len(KINDS)]
        client = socket.socket()
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(REFUSED[index // len(KINDS) % len(REFUSED)] if opening is None else opening)
        batch.append((client, *rest))
    for client, awaits_answer, then, *_ in batch:
        if awaits_answer:
            expect(client.recv(4096).startswith(b"HTTP/1.1 "), "no answer to a handshake")
        if then:
            client.sendall(then)
    for client, _, _, awaits_end, is_reset in batch:
        while awaits_end and client.recv(4096):
            pass
        if is_reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()


def connect_many(port, count, deadline):
    for first in range(0, count, BATCH):
        expect(time.monotonic() < deadline, f"only {first} of {count} connections in time")
        connect_and_end(port, first)


def settle(server):
    """All of them have ended on the server's side too."""
    server.wait_for(
        lambda: server.connections() == 0,
        15,
        lambda: f"{server.connections()} connections are left",
    )
    # Its last bookkeeping.
    time.sleep(0.5)


def leak(server):
    deadline = time.monotonic() + SECONDS_MAX
    connect_many(server.port, BATCH, deadline)
    settle(server)
    descriptors, threads = server.descriptors(), server.threads()
    connect_many(server.port, WARM_UP, deadline)
    settle(server)
    warm = server.resident_bytes()
    started = time.monotonic()
    connect_many(server.port, CONNECTIONS, deadline)
    rate = CONNECTIONS / (time.monotonic() - started)
    settle(server)
    growth = server.resident_bytes() - warm
    check_alive(server)
    settle(server)
    expect(
        server.descriptors() == descriptors,
        f"{server.descriptors()} descriptors, before {descriptors}",
    )
    expect(server.threads() == threads, f"{server.threads()} threads, before {threads}")
    expect(growth < GROWTH_BYTES_MAX, f"memory grew by {growth / 1048576:.1f} MiB")
    return f"{rate:.0f} connections/s, memory {growth / 1048576:+.1f} MiB"
