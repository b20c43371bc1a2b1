"""The memory that strangers can hold is bounded: messages that never end, echoes that nobody
reads, bodies of the administration server. Small honest traffic continues."""

import contextlib
import os
import socket
import time

from . import peer as wire
from .administration import Admin
from .limits import Bystander
from .peer import Peer, frame
from .ports import free_port
from .server import expect, serving

MEBIBYTE = 1 << 20
BUDGET_BYTES = 32 * MEBIBYTE
# Buffers that are kept for the next message, and what the allocator has not given back.
BESIDE_BYTES = 96 * MEBIBYTE
PROMPT_SECONDS = 1.0


@contextlib.contextmanager
def budgeted(server, **limits):
    """A server with a small budget and a bystander; memory stays within it."""
    limits = {"connections_bytes_max": BUDGET_BYTES, "pool_bytes_max": 8 * MEBIBYTE} | limits
    admin = free_port()
    with serving(server, flags=["--admin", f"127.0.0.1:{admin}"], limits=limits) as own:
        own.reset_peak()
        before = own.resident_bytes_peak()
        with Bystander(own.port, PROMPT_SECONDS):
            yield own, Admin(admin)
        growth = own.resident_bytes_peak() - before
        expect(
            growth < BUDGET_BYTES + BESIDE_BYTES, f"memory grew by {growth / MEBIBYTE:.1f} MiB"
        )
        own.remark = f"{growth / MEBIBYTE:.1f} MiB at most"


def send_some(peer, octets, seconds=0.2):
    """As much of it as the server takes; nothing if it has ended the connection."""
    peer.socket.settimeout(seconds)
    view = memoryview(octets)
    with contextlib.suppress(OSError):
        while view:
            view = view[peer.socket.send(view[: 256 << 10]) :]
    peer.socket.settimeout(wire.TIMEOUT_SECONDS)


def closes(admin):
    return int(admin.metrics()["tapecast_memory_closes_total", ()])


def close_of(peer):
    """The close frame that came, if one did."""
    peer.socket.settimeout(0.2)
    with contextlib.suppress(OSError, AssertionError):
        while received := peer.receive_frame():
            if received.opcode == wire.CLOSE:
                return received
    return None


def unfinished(server):
    """Messages of 4 MiB less one byte, 400 MiB of them: the largest holders get a close frame with the reason."""
    octets = frame(wire.BINARY, bytes(4 * MEBIBYTE))[:-1]
    with budgeted(server) as (own, admin):
        peers = []
        for _ in range(100):
            peers.append(Peer.open(own.port))
            send_some(peers[-1], octets)
        closed = closes(admin)
        expect(closed >= 60, f"only {closed} were closed")
        reasons = [close_of(peer) for peer in peers[:20]]
        told = [received for received in reasons if received and received.close_code == 1013]
        expect(told, f"nobody was told why: {reasons}")
        # A message of that size still comes through, once they have gone.
        for peer in peers:
            peer.socket.close()
        own.wait_for(lambda: own.connections() == 1, 10, "connections are left")
        with Peer.open(own.port) as honest:
            honest.send_frame(wire.BINARY, bytes(4 * MEBIBYTE))
            expect(len(honest.receive_frame().payload) == 4 * MEBIBYTE, "no echo afterwards")
    return f"{own.remark}, {closed} closed"


def unread(server):
    """Echoes of 1 MiB that nobody reads, of 60 connections."""
    octets = frame(wire.BINARY, bytes(MEBIBYTE)) * 6
    with budgeted(server) as (own, admin):
        peers = []
        for _ in range(60):
            peers.append(Peer.open(own.port, receive_buffer_bytes=4096))
            send_some(peers[-1], octets)
        closed = closes(admin)
        expect(closed > 0, "nobody was closed")
        for peer in peers:
            peer.socket.close()
    return f"{own.remark}, {closed} closed"


def deadline(server):
    """A message that is sent drop by drop ends with its deadline."""
    with serving(server, limits={"message_ms": 1_500}) as own:
        with Peer.open(own.port) as peer:
            peer.send(frame(wire.BINARY, bytes(500), fin=True)[:100])
            started = time.monotonic()
            received = None
            while received is None and time.monotonic() - started < 6:
                peer.socket.settimeout(0.3)
                try:
                    received = peer.receive_frame()
                except TimeoutError:
                    peer.send(b"x")
            seconds = time.monotonic() - started
            expect(received and received.close_code == 1008, f"received {received}")
            expect(1.4 < seconds < 4, f"after {seconds:.1f}s")
    return f"after {seconds:.1f} s"


def admin_bodies(server):
    """Twenty bodies that do not end, of the administration server."""
    limits = {"message_bytes_max": MEBIBYTE}
    admin_port = free_port()
    # Six bytes for each of a message, and some more.
    body_max = 6 * MEBIBYTE + (64 << 10)
    with serving(server, flags=["--admin", f"127.0.0.1:{admin_port}"], limits=limits) as own:
        admin = Admin(admin_port)
        admin.metrics()
        own.reset_peak()
        before = own.resident_bytes_peak()
        head = (
            f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1:{admin_port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {body_max}\r\n\r\n"
        ).encode()
        asking = []
        for _ in range(20):
            peer = socket.create_connection(("127.0.0.1", admin_port), timeout=1)
            asking.append(peer)
            with contextlib.suppress(OSError):
                peer.sendall(head + os.urandom(64) * ((body_max - 1) // 64))
        time.sleep(0.5)
        refused = 0
        for peer in asking:
            peer.settimeout(0.05)
            with contextlib.suppress(OSError):
                refused += peer.recv(64).startswith(b"HTTP/1.1 503 ")
        growth = own.resident_bytes_peak() - before
        expect(growth < 80 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
        expect(0 < refused < 20, f"{refused} of 20 were refused")
        # A request without a body is answered all the same; once they leave, so is every other.
        admin.metrics()
        for peer in asking:
            peer.close()

        def is_published():
            return admin.ask("POST", "/publish", {"topic": "t", "text": "x"})[0] == 200

        own.wait_for(is_published, 5, "nothing can be published afterwards")
    return f"{growth / MEBIBYTE:.1f} MiB, {refused} refused"
