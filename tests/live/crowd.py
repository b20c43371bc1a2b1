"""The memory that ten thousand idle connections cost, with and without a subscription, while
others are served.
"""

import resource
import selectors
import socket
import time

from . import peer as wire
from .raw import check_alive
from .server import expect

CONNECTIONS = 10_000
BATCH = 250
BYTES_EACH_MAX, SUBSCRIBED_BYTES_EACH_MAX = 320, 384


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def connect_batch(port, count, path="/echo"):
    """`count` non-blocking sockets, all through the handshake."""
    selector = selectors.DefaultSelector()
    sockets = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        selector.register(client, selectors.EVENT_WRITE)
        sockets.append(client)
    waiting, request = count, wire.head(path)
    end = time.monotonic() + 15
    while waiting:
        expect(time.monotonic() < end, f"{waiting} of {count} handshakes are not answered")
        for key, events in selector.select(1):
            client = key.fileobj
            if events & selectors.EVENT_WRITE:
                expect(client.send(request) == len(request), "the request was not taken whole")
                selector.modify(client, selectors.EVENT_READ)
            else:
                answer = client.recv(4096)
                expect(answer.startswith(b"HTTP/1.1 101 "), f"answered with {answer[:80]!r}")
                selector.unregister(client)
                waiting -= 1
    selector.close()
    return sockets


def idle(server):
    def check(sockets):
        for client in sockets[:: CONNECTIONS // 100]:
            client.sendall(wire.frame(wire.TEXT, b"awake"))
            check_received(client, b"\x81\x05awake")

    return crowd(server, "/echo", BYTES_EACH_MAX, check)


def subscribed(server):
    """Each of them to one topic, whose next message all of them get."""

    def check(sockets):
        sockets[0].sendall(wire.frame(wire.TEXT, b"awake"))
        for client in sockets:
            check_received(client, b"\x81\x05awake")

    return crowd(server, "/broadcast", SUBSCRIBED_BYTES_EACH_MAX, check)


def check_received(client, expected):
    client.setblocking(True)
    client.settimeout(5)
    received = client.recv(100)
    expect(received == expected, f"an idle connection received {received}")


def crowd(server, path, bytes_each_max, check_awake):
    limit = raise_descriptor_limit()
    expect(limit > CONNECTIONS + 100, f"the hard limit of descriptors is {limit}")
    # Memory that a shard needs once and not per connection (its receive buffers, its
    # first tables) is touched before, by a batch that comes, talks and goes.
    at_start = server.resident_bytes()
    for client in connect_batch(server.port, BATCH):
        client.setblocking(True)
        client.sendall(wire.frame(wire.BINARY, bytes(65536)))
        client.close()
    server.wait_for(lambda: server.connections() == 0, 15, "the first batch is left")
    check_alive(server)
    before = server.resident_bytes()
    sockets = []
    try:
        while len(sockets) < CONNECTIONS:
            sockets += connect_batch(server.port, BATCH, path)
        check_alive(server)
        time.sleep(0.5)
        held = server.connections()
        expect(held == CONNECTIONS, f"the server holds {held} connections")
        each = (server.resident_bytes() - before) / CONNECTIONS
        check_awake(sockets)
    finally:
        for client in sockets:
            client.close()
    server.wait_for(lambda: server.connections() == 0, 15, "connections are left")
    expect(each < bytes_each_max, f"a connection costs {each:.0f} B, at most {bytes_each_max}")
    from_start = each + (before - at_start) / CONNECTIONS
    return f"{each:.0f} B per connection, {from_start:.0f} B with what is there once"
