"""TLS carries everything that plain connections carry: echoes, broadcasts and topics over
`wss://`, with clients of several makes, and the end of such a connection.
"""

import asyncio
import contextlib
import http.client
import re
import signal
import subprocess
import threading
import time

import websockets

from . import echoing, json_topics, outside, refusals
from . import peer as wire
from .limits import Bystander
from .peer import frame
from .server import expect
from .tls_peer import (
    NAME,
    VERSIONS,
    SecurePeer,
    any_context,
    authority,
    secure,
    server_identity,
    warm_up,
)

MEBIBYTE = 1 << 20
# Around the forms of a frame's header, around a record (16,384 bytes) with and without
# that header, and more than is encrypted at a time.
SIZES = (0, 1, 125, 126, 16_379, 16_380, 16_383, 16_384, 16_385, 65_536, MEBIBYTE, 5 * MEBIBYTE)
BOTH = ("wss://127.0.0.1:0", "ws://127.0.0.1:0")


async def echo(server):
    """Python's `websockets`, every size, with each version of TLS."""
    with secure(server) as own:
        for version in VERSIONS:
            own.context = authority().context(version)
            async with echoing.connect(own) as client:
                for size in SIZES:
                    await echoing.check_echo(client, "x" * size)
                    await echoing.check_echo(client, (bytes(range(251)) * (size // 251 + 1))[:size])
        own.context = any_context()
        for test in (echoing.empty, echoing.ping, echoing.fragmented, echoing.pipelined):
            await test(own)


def in_flight(server):
    """1,000 messages of every size at once, as few large writes and read as they come."""
    messages = [bytes([index % 256]) * (index * 37 % 20_000) for index in range(1_000)]
    octets = b"".join(frame(wire.BINARY, message) for message in messages)
    with secure(server) as own:
        for version in VERSIONS:
            with SecurePeer.open(own.port, context=authority().context(version)) as peer:
                view = memoryview(octets)
                peer.socket.setblocking(False)
                end = time.monotonic() + 15
                while view:
                    expect(time.monotonic() < end, f"{len(view)} bytes were never taken")
                    with contextlib.suppress(BlockingIOError, OSError):
                        view = view[peer.socket.send(view[:50_000]) :]
                    with contextlib.suppress(BlockingIOError, OSError):
                        peer.fill()
                peer.socket.settimeout(wire.TIMEOUT_SECONDS)
                for number, message in enumerate(messages):
                    received = peer.receive_frame()
                    expect(received and received.payload == message, f"echo {number} differs")


def node(server):
    with secure(server) as own:
        return outside.node(own, authority().path)


def in_chromium(server):
    trusted = f"--ignore-certificate-errors-spki-list={server_identity().key_hash()}"
    with secure(server) as own:
        outside.in_chromium(own, trusted)
        # A browser that does not know the authority is refused by itself.
        found = outside.page_in_chromium(own, "page.html")
        expect(found == "closed 1006 not clean", f"without trust the page says {found!r}")


async def broadcast_mixed(server):
    """Readers with and without TLS see one order of what both publish."""
    # Less in total than what a tape keeps: nobody falls behind.
    total = 300
    with secure(server, listen=BOTH) as own:
        urls = [f"{address}/broadcast" for address in own.addresses]
        expect(urls[0].startswith("wss:") and urls[1].startswith("ws:"), f"listens on {urls}")
        async with contextlib.AsyncExitStack() as stack:
            readers = []
            for index in range(12):
                url = urls[index % 2]
                context = own.context if url.startswith("wss:") else None
                connecting = websockets.connect(
                    url, ssl=context, max_size=None, max_queue=None, proxy=None
                )
                readers.append(await stack.enter_async_context(connecting))

            async def publish(which):
                for number in range(total // 2):
                    filler = b"f" * (number * 7_919 % 12_000)
                    await readers[which].send(b"%d %d " % (which, number) + filler)
                    await asyncio.sleep(0)

            async def read(reader):
                return [await reader.recv() for _ in range(total)]

            publishing = asyncio.gather(publish(0), publish(1))
            orders = await asyncio.gather(*(read(reader) for reader in readers))
            await publishing
        for order in orders:
            expect(order == orders[0], "readers saw different orders")
        for which in (0, 1):
            numbers = [int(m.split(b" ")[1]) for m in orders[0] if m.startswith(b"%d " % which)]
            expect(numbers == list(range(total // 2)), f"of publisher {which}: {numbers}")


async def topics(server):
    """tapecast.v1.json, its resumed subscriptions and its refusals."""
    with secure(server) as own:
        await json_topics.everybody(own)
        await json_topics.resumes(own)
        await json_topics.refused(own)


def stalled(server):
    """A reader that stalls delays nobody, costs little, and is closed with the reason;
    everything before that is whole and in order."""
    messages, payload = 1_500, 32 << 10
    # The close frame waits for its reader for as long as the test lasts.
    with secure(server, limits={"tape_bytes_max": MEBIBYTE, "close_ms": 60_000}) as own:
        warm_up(own)
        with (
            SecurePeer.open(own.port, "/broadcast", receive_buffer_bytes=16 << 10) as slow,
            SecurePeer.open(own.port, "/broadcast") as healthy,
        ):
            healthy.send_frame(wire.BINARY, b"warm")
            expect(healthy.receive_frame().payload == b"warm", "not received")
            own.reset_peak()
            before = own.resident_bytes_peak()
            slowest = 0.0
            for number in range(messages):
                message = number.to_bytes(4, "big") * (payload // 4)
                started = time.monotonic()
                healthy.send_frame(wire.BINARY, message)
                expect(healthy.receive_frame().payload == message, f"message {number} differs")
                slowest = max(slowest, time.monotonic() - started)
            growth = own.resident_bytes_peak() - before
            expect(slowest < 2, f"a healthy reader waited {slowest:.1f}s")
            # All of it would be 48; what is freed lingers on a busy machine.
            expect(growth < 42 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
            expect(slow.receive_frame().payload == b"warm", "the first message is lost")
            got = 0
            while (received := slow.receive_frame()).opcode != wire.CLOSE:
                expected = got.to_bytes(4, "big") * (payload // 4)
                expect(received.payload == expected, f"message {got} differs")
                got += 1
            expect(received.close_code == 4009, f"closed with {received.payload!r}")
            expect(0 < got < messages, f"the stalled reader got {got} of {messages}")
    return f"{growth / MEBIBYTE:.1f} MiB, {got} messages for the stalled reader"


def plain_http(server):
    """GET /healthz and all refusals over https; each ends with close_notify."""
    with secure(server) as own:
        connection = http.client.HTTPSConnection(NAME, own.port, context=own.context, timeout=5)
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        expect(response.status == 200, f"healthz: {response.status}")
        connection.close()
        refusals.refused(own, SecurePeer)


def check_end(peer, code):
    """A close frame, and after our answer close_notify (else `fill` raises) and the end."""
    received = peer.receive_frame()
    expect(received and received.close_code == code, f"expected {code}, received {received}")
    peer.send(wire.close_frame(code))
    expect(not peer.fill(), f"bytes after the close frame: {peer.rest[:40]!r}")


def ends(server):
    """close_notify comes last: after a close by the client, a broken rule and a drain."""
    with secure(server, limits={"drain_ms": 500}) as own:
        for version in VERSIONS:
            context = authority().context(version)
            with SecurePeer.open(own.port, context=context) as peer:
                peer.send(frame(wire.TEXT, b"last") + wire.close_frame(3001))
                expect(peer.receive_frame().payload == b"last", "no echo before the close")
                expect(peer.receive_frame().close_code == 3001, "no close frame")
                expect(not peer.fill(), "bytes after the close frame")
                # RFC 8446, 6.1: the other half may be closed then.
                peer.socket.unwrap()
            with SecurePeer.open(own.port, context=context) as peer:
                peer.send_frame(wire.TEXT, b"naked", masked=False)
                check_end_of_violator(peer)
        peers = [
            SecurePeer.open(own.port, path, context=authority().context(version))
            for path in ("/echo", "/broadcast")
            for version in VERSIONS
        ]
        # One is in the middle of a message, and one has just begun.
        peers[0].send(frame(wire.BINARY, b"some", declared=1_000))
        began = SecurePeer(own.port)
        own.process.send_signal(signal.SIGTERM)
        for peer in peers[1:]:
            check_end(peer, 1001)
            peer.socket.close()
        received = peers[0].receive_frame()
        expect(received and received.close_code == 1001, f"received {received}")
        peers[0].socket.close()
        began.socket.close()
        code = own.process.wait(10)
        expect(code == 0, f"exit code {code}")


def check_end_of_violator(peer):
    received = peer.receive_frame()
    expect(received and received.close_code == 1002, f"received {received}")
    expect(not peer.fill(), f"bytes after the close frame: {peer.rest[:40]!r}")


def long_transfer(server):
    """Half a gigabyte to and fro through one connection, byte for byte."""
    messages = 500
    payloads = [bytes([it]) + bytes(range(256)) * 4_095 + b"end" * it for it in range(8)]
    frames = [frame(wire.BINARY, payload) for payload in payloads]
    with secure(server) as own, SecurePeer.open(own.port) as peer:
        started = time.monotonic()
        total = before = 0
        for number in range(messages):
            if number == messages // 2:
                own.reset_peak()
                before = own.resident_bytes_peak()
            peer.send(frames[number % 8])
            pieces, missing = [], 10 + len(payloads[number % 8])
            while missing:
                pieces.append(peer.socket.recv(missing))
                expect(pieces[-1], "end of the stream")
                missing -= len(pieces[-1])
            expected = payloads[number % 8]
            octets = b"".join(pieces)
            header = b"\x82\x7f" + len(expected).to_bytes(8, "big")
            expect(octets[:10] == header and octets[10:] == expected, f"echo {number} differs")
            total += len(expected)
        seconds = time.monotonic() - started
        growth = own.resident_bytes_peak() - before
        # The second half leaves no more behind than the first.
        expect(growth < 8 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
    return f"{total / MEBIBYTE / seconds:.0f} MiB/s each way, {growth / MEBIBYTE:.1f} MiB"


def memory_of_echoes(server):
    """One connection, one message at a time: a thousand leave behind what one of each
    size does."""
    with secure(server) as own, SecurePeer.open(own.port) as peer:
        # Small: a larger message leaves a buffer that would serve the others.
        peer.echo(bytes(1_000))
        before = own.resident_bytes()
        growths = {}
        for length, count in ((2_000, 400), (20_000, 400), (50_000, 400), (MEBIBYTE, 40)):
            message = bytes(length)
            for _ in range(count):
                peer.echo(message)
            growths[length] = f"{(own.resident_bytes() - before) / MEBIBYTE:.1f}"
        growth = own.resident_bytes() - before
    expect(growth < 12 * MEBIBYTE, f"memory grew, in MiB after messages of a size: {growths}")
    return f"{growth / MEBIBYTE:.1f} MiB"


class CommandLine:
    """`openssl s_client` as a connection: what it prints is what was received."""

    def __init__(self, port, *flags):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME]
        command += ["-CAfile", authority().path, "-verify_return_error", "-brief", *flags]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.said = b""
        self.came = b""
        self.reading = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for thread in self.reading:
            thread.start()
        self.until(lambda: b"Verification: OK" in self.said, "no handshake")

    def _read(self, name):
        stream = getattr(self.process, name)
        while chunk := stream.read1(1 << 16):
            if name == "stdout":
                self.came += chunk
            else:
                self.said += chunk

    def until(self, condition, text, seconds=5):
        end = time.monotonic() + seconds
        while not condition():
            expect(time.monotonic() < end, f"{text}: {self.said[-300:]} {self.came[-100:]}")
            time.sleep(0.005)

    def type(self, octets):
        self.process.stdin.write(octets)
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def keys_renewed(server):
    """OpenSSL renews its keys between messages (`k`), and has ours renewed too (`K`)."""
    with secure(server) as own, CommandLine(own.port, "-tls1_3") as client:
        client.type(wire.head())
        client.until(lambda: b"\r\n\r\n" in client.came, "no answer")
        client.came = b""
        for number in range(60):
            said = client.said.count(b"KEYUPDATE")
            client.type((b"k\n", b"K\n")[number % 2])
            # It takes each piece that it reads for a command or for data.
            client.until(lambda: client.said.count(b"KEYUPDATE") > said, "no new keys")
            message = b"number %d" % number
            client.type(frame(wire.TEXT, message))
            echoed = b"\x81" + bytes([len(message)]) + message
            client.until(lambda: client.came == echoed, f"no echo of {number}")
            client.came = b""


def renegotiation(server):
    """TLS 1.2 would let a client begin anew (`R`), at the server's cost: it is refused, and
    nobody else is troubled."""
    with secure(server) as own, Bystander(own.port, 1.0, kind=SecurePeer):
        with CommandLine(own.port, "-tls1_2") as client:
            client.type(wire.head())
            client.until(lambda: b"\r\n\r\n" in client.came, "no answer")
            client.came = b""
            client.type(frame(wire.TEXT, b"before"))
            client.until(lambda: client.came == b"\x81\x06before", "no echo")
            client.type(b"R\n")
            client.until(lambda: client.process.poll() is not None, "it goes on", 8)
            said = client.said.decode(errors="replace")
            expect(re.search("no renegotiation|alert|handshake failure", said), said)
        own.wait_for(lambda: own.connections() == 1, 5, "its connection is left")
    return re.search(r"(no renegotiation|alert [a-z ]+)", said)[1]
