"""Hostile and broken peers of a `wss://` port. Others are served meanwhile, and afterwards
memory, descriptors and connections are what they were.
"""

import contextlib
import random
import re
import socket
import ssl
import time

from . import peer as wire
from .limits import Bystander
from .peer import Peer, frame
from .raw import send_until_stuck
from .server import expect
from .tls_peer import (
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    Memory,
    SecurePeer,
    authority,
    check_served,
    hello,
    secure,
)
from .tls_records import (
    ALERT,
    CHANGE,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    USER_CANCELED,
    RecordPeer,
    key_update,
    record,
)

KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20
BYSTANDERS = 4
# They, and one more that echoes all the time.
STANDING = BYSTANDERS + 1
# For an echo beside an attack; generous, for the machine is small and the tests are many.
PROMPT_SECONDS = 1.0
GROWTH_BYTES_MAX = 8 * MEBIBYTE
OPEN_HELLOS = 500
# More than a client's hello may be (RFC 8446 has 16 bits for its extensions).
EXTENSIONS_TOO_MANY = 70_000


class Bystanders:
    """Connections that were there before, on each of the shards."""

    def __init__(self, own):
        self.own = own
        self.peers = [SecurePeer.open(own.port) for _ in range(BYSTANDERS)]
        for peer in self.peers:
            peer.socket.settimeout(3 * PROMPT_SECONDS)
        self.slowest = 0.0

    def echo(self):
        for peer in self.peers:
            started = time.monotonic()
            peer.echo(b"bystander")
            self.slowest = max(self.slowest, time.monotonic() - started)
        expect(self.slowest < PROMPT_SECONDS, f"a bystander waited {self.slowest:.1f}s")


@contextlib.contextmanager
def attacked(server, *flags, seconds=5, growth_max=GROWTH_BYTES_MAX, identity=None, **limits):
    """A server, and its bystanders; afterwards all is as before, within these seconds."""
    limits = {"close_ms": 1_000, "linger_ms": 500, "drain_ms": 100} | limits
    with (
        secure(server, *flags, identity=identity, limits=limits) as own,
        contextlib.ExitStack() as stack,
    ):
        bystanders = Bystanders(own)
        steady = stack.enter_context(Bystander(own.port, PROMPT_SECONDS, kind=SecurePeer))
        # Memory that a shard needs once is touched before.
        for _ in range(100):
            bystanders.echo()
        for _ in range(20):
            check_served(own.port)
        own.wait_for(lambda: own.connections() == STANDING, 5, "connections are left at first")
        descriptors = own.descriptors()
        own.reset_peak()
        before = own.resident_bytes_peak()
        yield own, bystanders
        bystanders.echo()
        check_served(own.port, PROMPT_SECONDS)
        own.wait_for(
            lambda: own.connections() == STANDING,
            seconds,
            lambda: f"{own.connections() - STANDING} connections are left",
        )
        growth = own.resident_bytes_peak() - before
        expect(growth < growth_max, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
        now = own.descriptors()
        expect(now == descriptors, f"{now} descriptors, before {descriptors}")
        bystanders.echo()
        stack.close()
        bystanders.slowest = max(bystanders.slowest, steady.slowest)
        for peer in bystanders.peers:
            peer.socket.close()


def check_ended(peer, what, seconds=3, alerts=None):
    """The stream ends, with an alert or without; nothing of HTTP is in it. Returns what
    came."""
    peer.socket.settimeout(seconds)
    try:
        came = peer.receive_to_end()
    except TimeoutError:
        raise AssertionError(f"{what}: after {seconds} s it has not ended") from None
    expect(b"101 Switching" not in came, f"{what}: {came[:80]!r}")
    if alerts:
        found = came[6:7] if came[:1] == bytes([ALERT]) else b""
        expect(found and found[0] in alerts, f"{what}: no alert of {alerts}, but {came!r}")
    return came


def plain_on_tls(server):
    """HTTP on the port of TLS is answered with 400, in plain text, and the right scheme."""
    with attacked(server) as (own, bystanders):
        for request in (
            wire.head(),
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000),
            b"GET / HTTP/1.0\r\n\r\n",
        ):
            for _ in range(10):
                with Peer(own.port) as peer:
                    peer.send(request)
                    status, text = peer.receive_head()
                    body = peer.receive_to_end()
                    expect(status == 400 and b"wss://" in body, f"answered with {text!r} {body!r}")
        # Byte by byte, and not even a whole line.
        with Peer(own.port) as peer:
            for place in range(len(wire.head())):
                with contextlib.suppress(ConnectionError):
                    peer.send(wire.head()[place : place + 1])
            expect(b"400" in peer.receive_to_end(), "no answer to a dripped request")
        bystanders.echo()


def tls_on_plain(server):
    """A hello on the plain port is answered at once, and clearly is not TLS."""
    for version in VERSIONS:
        with Peer(server.port) as peer:
            peer.send(hello(authority().context(version)))
            status, _ = peer.receive_head()
            expect(status == 400, f"answered with {status}")
            peer.receive_to_end()
        started = time.monotonic()
        try:
            SecurePeer(server.port, context=authority().context(version))
            expect(False, "a handshake on the plain port")
        except ssl.SSLError as error:
            expect(re.search("wrong version|record", str(error).lower()), str(error))
        expect(time.monotonic() - started < 1, "the answer took its time")


def noise(server):
    """Random bytes, from a seed; as they are, and as the contents of records."""
    randomness = random.Random(20_000)
    with attacked(server, handshake_stall_ms=1_000) as (own, bystanders):
        for number in range(300):
            octets = randomness.randbytes(randomness.choice((1, 4, 5, 6, 100, 2_000, 20_000)))
            if number % 3 == 1:
                octets = record(randomness.choice((20, 21, 22, 23, 24, 0)), octets[:16_000])
            elif number % 3 == 2:
                # A hello with a few bytes that are others.
                octets = bytearray(hello())
                for _ in range(randomness.randrange(1, 6)):
                    octets[randomness.randrange(len(octets))] = randomness.randrange(256)
            with Peer(own.port) as peer:
                with contextlib.suppress(ConnectionError):
                    peer.send(bytes(octets))
                    peer.socket.shutdown(socket.SHUT_WR)
                with contextlib.suppress(OSError):
                    check_ended(peer, f"noise {number}")
            if number % 50 == 0:
                bystanders.echo()


def dripped(server):
    """A handshake, a request and a message, one byte at a time."""
    with attacked(server) as (own, bystanders):
        for version in VERSIONS:
            with Peer(own.port) as peer:
                def drip(octets):
                    for place in range(len(octets)):
                        peer.send(octets[place : place + 1])
                        time.sleep(0.0005)

                memory = Memory(authority().context(version))
                memory.handshake(peer.socket, drip)
                bystanders.echo()
                memory.object.write(wire.head() + frame(wire.TEXT, b"dripped"))
                drip(memory.outgoing.read())
                check_memory_echo(memory, peer, b"dripped")


def check_memory_echo(memory, peer, text):
    came = b""
    while not came.endswith(b"\x81" + bytes([len(text)]) + text):
        try:
            came += memory.object.read(1 << 16)
        except ssl.SSLWantReadError:
            received = peer.socket.recv(1 << 16)
            expect(received, f"end of the stream after {came!r}")
            memory.incoming.write(received)
    expect(came.startswith(b"HTTP/1.1 101 "), f"received {came!r}")


def half_a_handshake(server):
    """A peer that falls silent within its handshake is cut after `handshake_stall_ms`, one that
    never finishes after `handshake_ms`, at whatever stage."""
    limits = {"handshake_ms": 1_500, "handshake_stall_ms": 500}
    with attacked(server, **limits) as (own, bystanders):
        begun = hello()
        silent = {
            "nothing at all": b"",
            "a byte": begun[:1],
            "a header": begun[:5],
            "half a hello": begun[: len(begun) // 2],
            "all but a byte": begun[:-1],
            "a hello and no more": begun,
        }
        started = time.monotonic()
        peers = {name: Peer(own.port) for name in silent}
        for name, octets in silent.items():
            peers[name].send(octets)
        inside = {
            version.name: SecurePeer(own.port, authority().context(version))
            for version in VERSIONS
        }
        for name, peer in peers.items():
            check_ended(peer, name, 1.5)
            expect(time.monotonic() - started > 0.4, f"{name}: cut too soon")
            peer.socket.close()
        for name, peer in inside.items():
            # TLS is there, so there is an answer: 408.
            status, _ = peer.receive_head()
            expect(status == 408, f"{name}: {status}")
            peer.socket.close()
        seconds = time.monotonic() - started
        expect(seconds < 1.4, f"silence was cut after {seconds:.1f}s")
        lying = record(HANDSHAKE, begun[5:300], declared=16_000)
        for octets, pause in ((begun, 0.1), (lying, 0.02)):
            started = time.monotonic()
            with Peer(own.port) as peer:
                peer.socket.settimeout(0.001)
                ended = False
                for place in range(len(octets)):
                    try:
                        peer.send(octets[place : place + 1])
                        time.sleep(pause)
                        ended = peer.socket.recv(100) == b""
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        ended = True
                    if ended:
                        break
                seconds = time.monotonic() - started
                expect(ended and 1.3 < seconds < 3, f"a slow hello: {ended} after {seconds:.1f}s")
        bystanders.echo()


def resets(server):
    """A thousand hellos, each with a reset behind it, at once or after the answer."""
    with attacked(server) as (own, bystanders):
        octets = hello()
        for number in range(1_000):
            peer = Peer(own.port)
            peer.send((octets, octets[:100], octets * 2)[number % 3])
            if number % 6 == 0:
                # Only a whole hello is answered.
                peer.socket.recv(100)
            peer.reset()
            if number % 100 == 0:
                bystanders.echo()
        return f"slowest bystander {bystanders.slowest * 1000:.0f} ms"


def lengths(server):
    """Records that claim what they may not, or are cut short."""
    decode = (10, 22, 47, 50, 51, 20)
    begun = hello()
    with attacked(server) as (own, bystanders):
        for name, octets in [
            ("length 0xffff", record(HANDSHAKE, b"\1\0\1\0", declared=0xFFFF)),
            ("length 0xffff of data", record(DATA, b"", declared=0xFFFF)),
            ("length above 2^14 + 2^11", record(HANDSHAKE, b"", declared=18_433)),
            ("an unknown type", record(200, b"abc")),
            ("version 9.9", b"\x16\x09\x09\0\5abcde"),
            ("data first", record(DATA, bytes(100))),
            ("an empty handshake record", record(HANDSHAKE, b"") + begun),
            ("a hello of 2^24 bytes", record(HANDSHAKE, b"\1\xff\xff\xff" + bytes(100))),
            ("a finished message first", record(HANDSHAKE, b"\x14\0\0\x0c" + bytes(12))),
            ("two hellos", begun + begun),
        ]:
            with Peer(own.port) as peer:
                peer.send(octets)
                is_told = name not in ("two hellos", "a hello of 2^24 bytes")
                check_ended(peer, name, alerts=decode if is_told else None)
        for length in range(0, len(begun), 7):
            with Peer(own.port) as peer:
                peer.send(begun[:length])
                peer.socket.shutdown(socket.SHUT_WR)
                check_ended(peer, f"{length} bytes of a hello and FIN")
        bystanders.echo()
        # The same when it is encrypted.
        with RecordPeer.open(own.port) as peer:
            peer.send_raw(record(DATA, b"", declared=0xFFFF))
            check_alert(peer, "length 0xffff within")
        for cut in (1, 4, 5, 6, 20, -1):
            with RecordPeer.open(own.port) as peer:
                sealed = peer.sealed(frame(wire.TEXT, b"never to be heard"))
                peer.send_raw(sealed[:cut])
                peer.socket.shutdown(socket.SHUT_WR)
                check_no_echo(peer, f"a record cut at {cut} and FIN")
        with RecordPeer.open(own.port) as peer:
            sealed = bytearray(peer.sealed(frame(wire.TEXT, b"changed on its way")))
            sealed[20] ^= 1
            peer.send_raw(bytes(sealed))
            check_alert(peer, "a bit that is another", (20,))


def check_no_echo(peer, what):
    peer.socket.settimeout(3)
    try:
        while True:
            peer.fill()
            received = peer.rest
            expect(b"never" not in received, f"{what}: {received!r}")
            if peer.alert:
                return
    except TimeoutError:
        raise AssertionError(f"{what}: it has not ended") from None
    except (AssertionError, ConnectionError) as end:
        expect("without an alert" in str(end) or isinstance(end, ConnectionError), str(end))


def check_alert(peer, what, alerts=None):
    """It ends with a fatal alert; if no kind of alert is asked for, it may end without one,
    but not as if all were well. Nothing else is said."""
    peer.socket.settimeout(3)
    try:
        while peer.fill():
            pass
    except TimeoutError:
        raise AssertionError(f"{what}: it has not ended") from None
    except (AssertionError, ConnectionError) as end:
        expect(not alerts, f"{what}: {end}")
    expect(peer.rest == b"", f"{what}: {peer.rest[:60]!r}")
    expect(peer.alert is None or peer.alert[0] == 2, f"{what}: the alert is {peer.alert}")
    expect(not alerts or peer.alert[1] in alerts, f"{what}: the alert is {peer.alert}")


def cut_records(server):
    """A record that comes in two pieces, cut at each of its bytes; and three in one piece."""
    with attacked(server) as (own, bystanders), RecordPeer.open(own.port) as peer:
        message = b"cut everywhere"
        # A header of five bytes, the type within, and a tag of sixteen.
        length = len(frame(wire.TEXT, message)) + 22
        for cut in range(length + 1):
            sealed = peer.sealed(frame(wire.TEXT, message))
            expect(len(sealed) == length, f"a record of {len(sealed)}")
            # With whole ones around it, too.
            before = b""
            if cut % 2:
                before, sealed = sealed, peer.sealed(frame(wire.TEXT, message))
            peer.send_raw(before + sealed[:cut])
            time.sleep(0.002)
            peer.send_raw(sealed[cut:])
            for _ in range(1 + cut % 2):
                received = peer.receive_frame()
                expect(received and received.payload == message, f"cut at {cut}: {received}")
        # A frame in records of one byte each, with padding.
        octets = frame(wire.TEXT, b"byte by byte")
        for place in range(len(octets)):
            peer.send_raw(peer.out.seal(DATA, octets[place : place + 1], place * 9))
        expect(peer.receive_frame().payload == b"byte by byte", "no echo of records of a byte")
        peer.echo(b"x" * 100_000)


def broken_behind_a_message(server):
    """A message, and behind it a record that can't be decrypted: nothing can follow the
    alert, the message's answer neither, and nobody works on that while the peer stays."""
    with attacked(server) as (own, bystanders), RecordPeer.open(own.port) as peer:
        before = own.cpu_seconds()
        message = peer.sealed(frame(wire.TEXT, b"never answered"))
        peer.send_raw(message + record(DATA, bytes(40)))
        check_alert(peer, "a record that can't be decrypted")
        # Less than it has to close.
        time.sleep(0.8)
        spent = own.cpu_seconds() - before
        expect(spent < 0.3, f"{spent:.2f} s of CPU")
        bystanders.echo()


def nothing_within(server):
    """Records with nothing in them, or with padding alone: allowed (RFC 8446, 5.4), and of
    no use. In a flood they cost nobody but their sender."""
    with attacked(server) as (own, bystanders):
        for padding, count in ((0, 20_000), (1_000, 2_000)):
            with RecordPeer.open(own.port) as peer:
                # Some are borne ...
                for _ in range(10):
                    for _ in range(10):
                        peer.send_raw(peer.out.seal(DATA, b"", padding))
                    peer.echo(b"after a few")
                # ... and of more than that the sender may be rid.
                with contextlib.suppress(ConnectionError):
                    flood = (peer.out.seal(DATA, b"", padding) for _ in range(count))
                    peer.send_raw(b"".join(flood))
                bystanders.echo()
                with contextlib.suppress(ConnectionError):
                    peer.send_frame(wire.TEXT, b"?")
                    check_alert(peer, "a flood of empty records")
        # Before the handshake nothing is allowed to be empty.
        with Peer(own.port) as peer:
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    peer.send(record(HANDSHAKE, b"") * 100)
            with contextlib.suppress(ConnectionError):
                check_ended(peer, "empty records of the handshake")
        with Peer(own.port) as peer:
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    peer.send(record(CHANGE, b"\1") * 100)
            with contextlib.suppress(ConnectionError):
                check_ended(peer, "changes of the cipher without end")
        return f"slowest bystander {bystanders.slowest * 1000:.0f} ms"


def alerts(server):
    """close_notify as the first word, warnings in a flood, fatal ones at any time."""
    with attacked(server, handshake_stall_ms=1_000) as (own, bystanders):
        for name, octets in [
            ("close_notify first", record(ALERT, CLOSE_NOTIFY)),
            ("a fatal alert first", record(ALERT, b"\2\x28")),
            ("half an alert", record(ALERT, b"\1")),
            ("an alert of no level", record(ALERT, b"\7\x28")),
            ("hello, then close_notify", hello() + record(ALERT, CLOSE_NOTIFY)),
        ]:
            with Peer(own.port) as peer:
                peer.send(octets)
                check_ended(peer, name)
        for warning in (USER_CANCELED, b"\1\x6e"):
            with Peer(own.port) as peer:
                with contextlib.suppress(ConnectionError):
                    for _ in range(100):
                        peer.send(record(ALERT, warning) * 1_000)
                with contextlib.suppress(ConnectionError):
                    check_ended(peer, f"warnings of {warning} in the clear")
        bystanders.echo()
        with RecordPeer.open(own.port) as peer:
            peer.echo()
            with contextlib.suppress(ConnectionError):
                for _ in range(50):
                    flood = (peer.out.seal(ALERT, USER_CANCELED) for _ in range(500))
                    peer.send_raw(b"".join(flood))
            bystanders.echo()
            # It is cut: so many warnings are no conversation.
            peer.socket.settimeout(3)
            with contextlib.suppress(ConnectionError):
                peer.send_frame(wire.TEXT, b"never to be heard")
                check_no_echo(peer, "warnings without end")
        with RecordPeer.open(own.port) as peer:
            peer.send_raw(peer.out.seal(ALERT, b"\2\x50"))
            check_no_echo(peer, "a fatal alert within")


def hello_too_long(server):
    """More extensions than fit into a hello, whole or in tiny records: refused, and soon."""
    begun = hello()
    body = begun[9:]
    # Behind version, random, session, suites and compression.
    place = 34
    place += 1 + body[place]
    place += 2 + int.from_bytes(body[place : place + 2], "big")
    place += 1 + body[place]
    filler = b"\xfa\xfa" + (16_000).to_bytes(2, "big") + bytes(16_000)
    extensions = body[place + 2 :] + filler * (EXTENSIONS_TOO_MANY // 16_000 + 1)
    message = body[:place] + (len(extensions) % 65_536).to_bytes(2, "big") + extensions
    message = b"\1" + len(message).to_bytes(3, "big") + message
    pieces = {
        size: [message[i : i + size] for i in range(0, len(message), size)] for size in (1, 16_000)
    }
    with attacked(server) as (own, bystanders):
        before = own.cpu_seconds()
        for size, parts in pieces.items():
            octets = b"".join(record(HANDSHAKE, part) for part in parts)
            for _ in range(5):
                with Peer(own.port) as peer:
                    with contextlib.suppress(ConnectionError):
                        for start in range(0, len(octets), 1_000):
                            peer.send(octets[start : start + 1_000])
                    with contextlib.suppress(ConnectionError):
                        check_ended(peer, f"a hello of {len(octets)} bytes in records of {size}")
                bystanders.echo()
        seconds = own.cpu_seconds() - before
        expect(seconds < 2, f"ten hellos that are too long took {seconds:.1f}s of a processor")
    return f"{seconds * 100:.0f} ms of a processor each"


def hellos_left_open(server):
    """A hello that is to be 64 KiB, of which so much comes as is kept, and from others more:
    what one peer can have kept is `tls_handshake_bytes_max`, and only until it has had its
    time."""
    most = 20 * KIBIBYTE
    limits = {"tls_handshake_bytes_max": most, "handshake_stall_ms": 3_000}
    body = b"\1\0\xff\xff" + bytes(70_000)
    records = b"".join(record(HANDSHAKE, body[i : i + 1_000]) for i in range(0, 64_000, 1_000))
    # Free buffers that a shard keeps are not what peers hold.
    growth_max = OPEN_HELLOS * (most + 8 * KIBIBYTE) + GROWTH_BYTES_MAX
    with attacked(server, seconds=10, growth_max=growth_max, **limits) as (own, _):
        before = own.resident_bytes()
        peers = [Peer(own.port) for _ in range(OPEN_HELLOS)]
        for peer in peers:
            peer.send(records[:15_000])
        own.wait_for(lambda: own.connections() == STANDING + OPEN_HELLOS, 5, "some are cut")
        held = (own.resident_bytes() - before) // OPEN_HELLOS
        # A buffer that grows has up to twice the room.
        expect(held < 30_000, f"{held} bytes for 15,000")
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                peer.send(records[15_000:])
        own.wait_for(lambda: own.connections() == STANDING, 2, "too much is kept, and no end")
        for peer in peers:
            peer.socket.close()
    return f"{OPEN_HELLOS} held {held} bytes each for 15,000, and were cut at {most}"


def tiny_records(server):
    """Every message of the handshake in records of one byte, sent at once and dripped."""
    with attacked(server) as (own, bystanders):
        begun = hello()[5:]
        for count in range(2, 6):
            for pause in (0, 0.01):
                with Peer(own.port) as peer:
                    peer.socket.settimeout(3)
                    size = len(begun) // count + 1
                    places = range(0, len(begun), size)
                    pieces = [record(HANDSHAKE, begun[i : i + size]) for i in places]
                    for piece in pieces if pause else [b"".join(pieces)]:
                        peer.send(piece)
                        time.sleep(pause)
                    expect(peer.socket.recv(1)[:1] == b"\x16", f"no answer to {count} records")
        for version in VERSIONS:
            for pause in (0, 0.0002):
                with Peer(own.port) as peer:
                    peer.socket.settimeout(3)
                    memory = Memory(authority().context(version))
                    memory.handshake(peer.socket, lambda octets: send_tiny(peer, octets, pause))
                    memory.object.write(wire.head() + frame(wire.TEXT, b"tiny"))
                    peer.send(memory.outgoing.read())
                    check_memory_echo(memory, peer, b"tiny")
        bystanders.echo()


def send_tiny(peer, octets, pause):
    """Sends records; those of the handshake that are in the clear as records of a byte."""
    is_clear = True
    while octets:
        end = 5 + int.from_bytes(octets[3:5], "big")
        whole, octets = octets[:end], octets[end:]
        # RFC 8446, 5: what follows this is encrypted.
        is_clear = is_clear and whole[0] != CHANGE
        if is_clear and whole[0] == HANDSHAKE:
            for place in range(5, end):
                peer.send(record(HANDSHAKE, whole[place : place + 1]))
                time.sleep(pause)
        else:
            peer.send(whole)


def ends_early(server):
    """FIN without close_notify, and data after it."""
    with attacked(server) as (own, bystanders):
        for version in VERSIONS:
            context = authority().context(version)
            with SecurePeer.open(own.port, context=context) as peer:
                peer.send_frame(wire.TEXT, b"heard")
                peer.cut()
                with contextlib.suppress(ssl.SSLEOFError, ConnectionError):
                    received = peer.receive_frame()
                    expect(received is None or received.payload == b"heard", f"{received}")
                    peer.socket.settimeout(3)
                    peer.receive_to_end()
            with SecurePeer.open(own.port, "/broadcast", context=context) as peer:
                peer.cut()
                with contextlib.suppress(ssl.SSLEOFError, ConnectionError):
                    peer.socket.settimeout(3)
                    peer.receive_to_end()
        with RecordPeer.open(own.port) as peer:
            peer.echo()
            closing = peer.out.seal(ALERT, CLOSE_NOTIFY)
            peer.send_raw(closing + peer.sealed(frame(wire.TEXT, b"never to be heard")))
            check_no_echo(peer, "data behind close_notify")
        with RecordPeer.open(own.port) as peer:
            last = peer.sealed(frame(wire.TEXT, b"in time"))
            peer.send_raw(last + peer.out.seal(ALERT, CLOSE_NOTIFY))
            expect(peer.receive_frame().payload == b"in time", "what came before is lost")
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    peer.send_raw(peer.sealed(bytes(1_000)))
        bystanders.echo()


def half_a_message(server):
    """Half of a message that renews keys, then a broadcast to its sender: it is received,
    and when the other half comes the keys are new. A record that may not come in between ends it."""
    with attacked(server) as (own, bystanders):
        for cut in range(1, 5):
            with (
                RecordPeer.open(own.port, "/broadcast") as peer,
                SecurePeer.open(own.port, "/broadcast") as other,
            ):
                message = key_update(is_answered=True)
                peer.send_raw(peer.out.seal(HANDSHAKE, message[:cut]))
                time.sleep(0.05)
                for number in range(20):
                    text = b"published %d" % number * 1_000
                    other.send_frame(wire.BINARY, text)
                    for reader in (other, peer):
                        received = reader.receive_frame()
                        expect(received and received.payload == text, f"cut at {cut}: {received}")
                peer.send_raw(peer.out.seal(HANDSHAKE, message[cut:]))
                peer.out.renew()
                for number in range(3):
                    peer.send_frame(wire.TEXT, b"under new keys")
                    for reader in (other, peer):
                        expect(reader.receive_frame().payload == b"under new keys", "not received")
                expect(peer.updates == 1, f"{peer.updates} updates came back")
        # In as many records as it has bytes, together and one by one.
        for pause in (0, 0.01):
            with RecordPeer.open(own.port) as peer:
                peer.socket.settimeout(3)
                message = key_update(is_answered=True)
                pieces = [peer.out.seal(HANDSHAKE, message[i : i + 1]) for i in range(len(message))]
                for piece in pieces if pause else [b"".join(pieces)]:
                    peer.send_raw(piece)
                    time.sleep(pause)
                peer.out.renew()
                peer.echo(b"under new keys")
        # RFC 8446, 5.1: nothing comes between the halves of a message.
        with RecordPeer.open(own.port) as peer:
            peer.send_raw(peer.out.seal(HANDSHAKE, key_update()[:3]))
            peer.send_frame(wire.TEXT, b"never to be heard")
            check_alert(peer, "data within a message")
        # RFC 8446, 5.1: what is behind a KeyUpdate in its record is under the wrong keys.
        for name, message in [
            ("two updates in one record", key_update() * 2),
            ("an update of another length", b"\x18\0\0\2\0\0"),
            ("an update of no kind", b"\x18\0\0\1\7"),
            ("a hello within", hello()[5:]),
            ("a message of 2^24 bytes", b"\x18\xff\xff\xff" + bytes(1_000)),
            ("a certificate that nobody asked for", b"\x0b\0\0\4\0\0\0\0"),
        ]:
            with RecordPeer.open(own.port) as peer:
                peer.send_raw(peer.out.seal(HANDSHAKE, message))
                check_alert(peer, name)
        # A message that begins and never ends, as long as it is let.
        with RecordPeer.open(own.port) as peer:
            with contextlib.suppress(ConnectionError):
                peer.send_raw(peer.out.seal(HANDSHAKE, b"\x18\0\xff\xff"))
                for number in range(400):
                    peer.send_raw(peer.out.seal(HANDSHAKE, bytes(1)))
                    # Some come together, and some alone.
                    time.sleep(0.002 if number < 50 else 0)
            bystanders.echo()


def renewed_keys(server):
    """New keys a thousand times, answered each time, with echoes under all of them; then a
    flood of requests for new keys whose answers are not read."""
    with attacked(server) as (own, bystanders):
        with RecordPeer.open(own.port) as peer:
            for number in range(1_000):
                peer.send_raw(peer.update(is_answered=number % 2 == 0))
                peer.echo(b"under key %d" % number)
            expect(peer.updates == 500, f"{peer.updates} updates for 500 that were asked for")
        bystanders.echo()
        with RecordPeer.open(own.port) as peer:
            flood = b"".join(peer.update(is_answered=True) for _ in range(20_000))
            sent = send_until_stuck_raw(peer, flood)
            bystanders.echo()
        return f"{sent} of {len(flood)} bytes of a flood were taken"


def send_until_stuck_raw(peer, octets):
    class Raw:
        """As `send_until_stuck` wants it."""

        socket = peer.socket

    try:
        return send_until_stuck(Raw, octets)
    except ConnectionError:
        return 0


def second_version(server):
    """Versions that are no longer good are refused with the alert for it."""
    with attacked(server) as (own, _):
        for version in (b"\x03\x01", b"\x03\x02", b"\x03\x00"):
            body = version + bytes(32) + b"\0" + b"\0\4\xc0\x2f\0\x2f" + b"\1\0"
            message = b"\1" + len(body).to_bytes(3, "big") + body
            with Peer(own.port) as peer:
                peer.send(record(HANDSHAKE, message))
                check_ended(peer, f"version {version}", alerts=(70, 40, 50, 109))
        for version in (TLS_1_2, TLS_1_3):
            check_served(own.port, context=authority().context(version))
