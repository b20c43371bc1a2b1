"""Bytes that no library sends: broken rules, half-closed and reset sockets, floods without
reading, and false lengths. The server's memory is watched.
"""

import socket
import struct
import time

from . import peer as wire
from .peer import Peer, frame
from .server import expect

MEBIBYTE = 1 << 20
FRAGMENTS_MAX = 128 << 10


def check_alive(server, seconds_max=2):
    """Another client is served, and soon."""
    started = time.monotonic()
    with Peer.open(server.port) as other:
        other.send_frame(wire.TEXT, b"others")
        reply = other.receive_frame()
    expect(reply == (True, wire.TEXT, b"others"), f"another client received {reply}")
    seconds = time.monotonic() - started
    expect(seconds < seconds_max, f"another client waited {seconds:.1f}s")


def check_closed_with(peer, code):
    """The next frame is a close frame with `code`, and then the stream ends."""
    received = peer.receive_frame()
    expect(received is not None, f"end of stream instead of close {code}")
    expect(
        received.opcode == wire.CLOSE and received.close_code == code,
        f"expected close {code}, received {received.opcode:#x} {received.payload[:60]!r}",
    )
    rest = peer.receive_to_end()
    expect(rest == b"", f"bytes after the close frame: {rest[:40]!r}")


def send_until_stuck(peer, octets, stuck_seconds=2):
    """Sends without reading until all has left or the server stops taking it;
    says how many bytes left."""
    view = memoryview(octets)
    peer.socket.settimeout(stuck_seconds)
    sent = 0
    try:
        while sent < len(view):
            sent += peer.socket.send(view[sent : sent + MEBIBYTE])
    except TimeoutError:
        pass
    peer.socket.settimeout(wire.TIMEOUT_SECONDS)
    return sent


def half_closed(server):
    for payload in (b"last words", b"l" * 65536, b"L" * (4 * MEBIBYTE)):
        with Peer(server.port) as peer:
            peer.send(wire.head() + frame(wire.BINARY, payload))
            peer.socket.shutdown(socket.SHUT_WR)
            status, _ = peer.receive_head()
            expect(status == 101, f"the handshake was answered with {status}")
            received = peer.receive_frame()
            expect(received is not None, f"no echo of {len(payload)} after shutdown(SHUT_WR)")
            expect(received.payload == payload, "the echo differs")
            peer.receive_to_end()


def reset(server):
    before = server.connections()
    large = frame(wire.BINARY, b"r" * MEBIBYTE)
    for index in range(200):
        peer = Peer.open(server.port, ("/echo", "/broadcast")[index % 2])
        # Nothing sent; an echo under way; in the middle of a message.
        peer.send((b"", frame(wire.TEXT, b"echo"), large[: len(large) // 2])[index % 3])
        peer.reset()
    server.wait_for(
        lambda: server.connections() <= before, 10, "connections that were reset are still there"
    )
    check_alive(server)


def bystanders(server):
    """Peers that are refused or break a rule, and go at once, take the place of
    nobody else: the next connection gets its slot, and must not get its end."""
    refused = b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000
    violation = wire.head() + frame(wire.TEXT, b"naked", masked=False)
    for index in range(2_000):
        with Peer(server.port) as offender:
            try:
                offender.send((refused, violation)[index % 2])
                offender.receive_head()
            except ConnectionError:
                pass
            except AssertionError as failure:
                raise AssertionError(f"offender {index} was not answered: {failure}") from None
        with Peer(server.port) as bystander:
            try:
                bystander.send(wire.head() + frame(wire.TEXT, b"innocent"))
                bystander.receive_head()
                received = bystander.receive_frame()
            except (AssertionError, ConnectionError) as failure:
                raise AssertionError(f"bystander {index} was cut off: {failure}") from None
            expect(
                received and received.payload == b"innocent",
                f"bystander {index} received {received}",
            )


def dripped_handshake(server):
    with Peer(server.port) as peer:
        for octet in wire.head() + frame(wire.TEXT, b"drip"):
            peer.send(bytes([octet]))
            time.sleep(0.001)
        status, _ = peer.receive_head()
        expect(status == 101, f"answered with {status}")
        received = peer.receive_frame()
        expect(received == (True, wire.TEXT, b"drip"), f"received {received}")


def dripped_frames(server):
    with Peer.open(server.port) as peer:
        for octet in frame(wire.TEXT, "ü".encode() * 100) + frame(wire.PING, b"p"):
            peer.send(bytes([octet]))
        expect(peer.receive_frame().payload == "ü".encode() * 100, "the echo differs")
        expect(peer.receive_frame() == (True, wire.PONG, b"p"), "no pong")


def after_close_ignored(server):
    with Peer.open(server.port) as peer:
        # In one write, so that the server has them in one read.
        peer.send(
            frame(wire.TEXT, b"before")
            + wire.close_frame(3001, b"enough")
            + frame(wire.TEXT, b"after") * 100
            + frame(wire.PING, b"after")
        )
        expect(peer.receive_frame().payload == b"before", "no echo of what came before")
        check_closed_with(peer, 3001)


def violations(server):
    """Each a rule of RFC 6455; the echo of what came before is still received."""
    table = [
        ("unmasked", frame(wire.TEXT, b"naked", masked=False), 1002),
        ("reserved bit", b"\xc1" + frame(wire.TEXT, b"bit")[1:], 1002),
        ("reserved opcode", frame(0x3, b"opcode"), 1002),
        ("reserved control opcode", frame(0xB, b""), 1002),
        ("64-bit length with its top bit", struct.pack("!BBQI", 0x82, 0xFF, 1 << 63, 0), 1002),
        ("length not minimal, 16 bits", struct.pack("!BBHI", 0x82, 0xFE, 125, 0), 1002),
        ("length not minimal, 64 bits", struct.pack("!BBQI", 0x82, 0xFF, 65535, 0), 1002),
        ("ping in fragments", frame(wire.PING, b"", fin=False), 1002),
        ("ping of 126", frame(wire.PING, b"p" * 126), 1002),
        ("continuation of nothing", frame(wire.CONTINUATION, b"c"), 1002),
        (
            "a message inside another",
            frame(wire.TEXT, b"a", fin=False) + frame(wire.TEXT, b"b"),
            1002,
        ),
        ("close of one byte", frame(wire.CLOSE, b"\x03"), 1002),
        ("close with 1005", wire.close_frame(1005), 1002),
        ("text that is not UTF-8", frame(wire.TEXT, b"\xff"), 1007),
        ("declared above the limit", frame(wire.BINARY, b"few", declared=(16 << 20) + 1), 1009),
        ("declared far above the limit", frame(wire.BINARY, b"few", declared=1 << 62), 1009),
    ]
    for name, octets, code in table:
        with Peer.open(server.port) as peer:
            peer.send(frame(wire.TEXT, b"good") + octets)
            received = peer.receive_frame()
            expect(received == (True, wire.TEXT, b"good"), f"{name}: first received {received}")
            try:
                check_closed_with(peer, code)
            except AssertionError as failure:
                raise AssertionError(f"{name}: {failure}") from None


def fragments_of_one_byte(server):
    opening = frame(wire.BINARY, b"f", fin=False)
    further = frame(wire.CONTINUATION, b"f", fin=False)
    with Peer.open(server.port) as peer:
        # Up to the limit it is a message ...
        last = frame(wire.CONTINUATION, b"f")
        peer.send(opening + further * (FRAGMENTS_MAX - 2) + last)
        received = peer.receive_frame()
        expect(
            received is not None and received.payload == b"f" * FRAGMENTS_MAX,
            f"{FRAGMENTS_MAX} fragments were not echoed: {received and received[:2]}",
        )
        # ... and above it an abuse.
        peer.send(opening + further * 139_999)
        check_closed_with(peer, 1008)


def ping_flood(server):
    check_alive(server)
    server.reset_peak()
    before = server.resident_bytes_peak()
    flood = frame(wire.PING, b"f" * 125) * 100_000
    with Peer.open(server.port) as peer:
        sent = send_until_stuck(peer, flood)
        check_alive(server)
        growth = server.resident_bytes_peak() - before
        expect(growth < 50 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
        # Reading at last: an answer to every ping that left (RFC 6455, 5.5.3,
        # would allow an answer to the latest only; it has to be there).
        peer.socket.setblocking(False)
        pongs, view = 0, memoryview(flood)[sent:]
        end = time.monotonic() + 30
        while pongs < 100_000 and time.monotonic() < end:
            try:
                view = view[peer.socket.send(view[:65536]) :] if view else view
            except BlockingIOError:
                pass
            try:
                expect(peer.fill(), "the server ended the flood's connection")
            except BlockingIOError:
                time.sleep(0.001)
            # A pong of 125 bytes is 127 bytes on the wire.
            whole = len(peer.rest) // 127
            expect(
                peer.rest[: whole * 127] == (b"\x8a\x7d" + b"f" * 125) * whole, "not a pong of ours"
            )
            pongs += whole
            peer.rest = peer.rest[whole * 127 :]
        expect(pongs == 100_000, f"{pongs} pongs for 100000 pings")
        peer.socket.settimeout(wire.TIMEOUT_SECONDS)
        peer.send_frame(wire.TEXT, b"still here")
        expect(peer.receive_frame().payload == b"still here", "no echo after the flood")
    return f"{sent} of {len(flood)} bytes taken unread, {growth / MEBIBYTE:.1f} MiB"


def pong_flood(server):
    check_alive(server)
    server.reset_peak()
    before = server.resident_bytes_peak()
    with Peer.open(server.port) as peer:
        piece = frame(wire.PONG, b"") * 100_000
        for _ in range(10):
            peer.send(piece)
        peer.send_frame(wire.TEXT, b"after")
        expect(peer.receive_frame().payload == b"after", "no echo after the pongs")
    growth = server.resident_bytes_peak() - before
    expect(growth < 20 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
    return f"{growth / MEBIBYTE:.1f} MiB"


def huge_declared(server):
    check_alive(server)
    server.reset_peak()
    before = server.resident_bytes_peak()
    peers = [Peer.open(server.port) for _ in range(200)]
    # Flat: what is kept is of the order of what came, not of what was announced.
    # Each has sent at most 22 bytes.
    for index, peer in enumerate(peers):
        # Whole and fragmented; a header only, and a header with some bytes.
        fin = index % 2 == 0
        peer.send(frame(wire.BINARY, b"few bytes"[: index % 9], fin=fin, declared=16 << 20))
    check_alive(server)
    time.sleep(0.5)
    growth = server.resident_bytes_peak() - before
    for peer in peers:
        peer.socket.close()
    expect(
        growth < 8 * MEBIBYTE,
        f"memory grew by {growth / MEBIBYTE:.1f} MiB: {growth / 200 / 1024:.0f} KiB each",
    )
    return f"{growth / MEBIBYTE:.1f} MiB"


def echo_unread(server):
    """A client that sends without reading: the server stops taking it, or cuts
    it, but does not pile up its echoes."""
    check_alive(server)
    server.reset_peak()
    before = server.resident_bytes_peak()
    with Peer.open(server.port) as peer:
        sent = send_until_stuck(peer, frame(wire.BINARY, b"e" * MEBIBYTE) * 100)
        check_alive(server)
        growth = server.resident_bytes_peak() - before
        expect(sent < 100 * MEBIBYTE, "100 MiB of echoes were taken and not read")
        expect(growth < 50 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
    return f"{sent / MEBIBYTE:.0f} MiB taken unread, {growth / MEBIBYTE:.1f} MiB"
