"""SIGTERM: every client is closed with 1001, spread over time; no new one is accepted; the
server exits with 0.
"""

import asyncio
import signal
import time

import websockets

from . import peer as wire
from .echoing import check_echo, connect, expect_close
from .peer import Peer
from .server import STOP_SECONDS_MAX, Server, expect

CONNECTIONS = 200
# `drain_notice_ms` and `drain_ms` of the limits.
NOTICE_SECONDS = 1.0
SPREAD_SECONDS = 2.0


async def closed_by_server(server):
    clients = [
        await connect(server, ("/echo", "/broadcast")[index % 2]) for index in range(CONNECTIONS)
    ]
    for client in clients[::2]:
        await check_echo(client, "before")
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)

    async def wait_closed(client):
        await expect_close(client, 1001)
        return time.monotonic() - started

    async def nobody_is_let_in():
        attempts = 0
        while server.is_alive():
            try:
                async with connect(server):
                    expect(time.monotonic() - started < 0.2, "let in while draining")
            except (OSError, EOFError, websockets.InvalidHandshake, websockets.ConnectionClosed):
                # Refused by the kernel, cut, or answered with 503; or at the very start
                # still accepted and then closed with 1001.
                attempts += 1
            await asyncio.sleep(0.1)
        return attempts

    outsiders = asyncio.create_task(nobody_is_let_in())
    ends = await asyncio.gather(*(wait_closed(client) for client in clients))
    expect(min(ends) > NOTICE_SECONDS * 0.9, f"the first close came after {min(ends):.2f}s")
    expect(max(ends) < NOTICE_SECONDS + SPREAD_SECONDS + 0.5, f"the last close came after {max(ends):.2f}s")
    expect(max(ends) - min(ends) > SPREAD_SECONDS / 4, "all were closed at once")
    code = await asyncio.to_thread(server.process.wait, STOP_SECONDS_MAX)
    expect(code == 0, f"exit code {code}")
    expect(await outsiders > 3, "hardly anybody tried to come in")
    return f"closes from {min(ends):.2f}s to {max(ends):.2f}s"


def without_connections(server):
    # Not right after the start: that is the next test's subject.
    time.sleep(0.2)
    started = time.monotonic()
    code = server.stop()
    expect(code == 0, f"exit code {code}")
    expect(time.monotonic() - started < 1, "an idle server took its time")


def right_after_the_start(server):
    """A supervisor that has read the line `listening on` may send SIGTERM: from then on the
    server ends in order."""
    for _ in range(20):
        with Server(server.shards, server.binary) as young:
            code = young.stop()
            expect(code == 0, f"exit code {code}")


def unanswered(server):
    """Peers that do not answer the close, do not read, or are in the middle of a
    handshake or a message do not keep the server from ending."""
    peers = [Peer.open(server.port) for _ in range(3)]
    peers[1].send(wire.frame(wire.BINARY, b"some", declared=1000))
    peers.append(Peer(server.port))
    peers[3].send(wire.head()[:50])
    peers.append(Peer.open(server.port, receive_buffer_bytes=4096))
    peers[4].send(wire.frame(wire.BINARY, b"u" * (8 << 20)))
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for silent in peers[:3]:
        received = silent.receive_frame()
        expect(received and received.close_code == 1001, f"received {received}")
    code = server.process.wait(STOP_SECONDS_MAX)
    expect(code == 0, f"exit code {code}")
    for peer in peers:
        peer.receive_to_end()
        peer.socket.close()
    return f"ended after {time.monotonic() - started:.1f}s"


def second_signal(server):
    """A second SIGTERM means now."""
    time.sleep(0.2)
    with Peer.open(server.port), Peer.open(server.port, "/broadcast"):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(STOP_SECONDS_MAX)
        expect(code == 0, f"exit code {code}")
        expect(time.monotonic() - started < 1, "the second signal was not obeyed at once")
