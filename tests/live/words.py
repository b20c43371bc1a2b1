"""`tapecast-topics` and clients of its routes.

`serving_topics` runs it; `Client` speaks to it without a library, which takes ten
times as long for a message, and leaves the server most of the machine.
"""

import asyncio
import contextlib
import socket

from . import peer as wire
from .programs import program
from .server import Server, expect

TOPICS_BINARY = program("tapecast-topics")


@contextlib.contextmanager
def serving_topics(like, rules=(), **limits):
    """A `tapecast-topics` with the number of shards of `like`, which has to live
    through that part and to end in order."""
    flags = [word for rule in rules for word in ("--rule", rule)]
    limits = {"drain_notice_ms": 0, "drain_ms": 100, "close_ms": 500} | limits
    with Server(like.shards, TOPICS_BINARY, limits=limits, flags=flags) as server:
        yield server
        code = server.stop()
        expect(code == 0, f"the server ended with {code}: {server.errors()[-500:]}")
    expect("panicked" not in server.errors(), f"it panicked: {server.errors()[-500:]}")


def unmasked(opcode, payload):
    """A frame masked with zeros, which costs nothing; the server can't tell."""
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length, 0, 0, 0, 0)) + payload
    return wire.frame(opcode, declared=length)[:-4] + b"\0\0\0\0" + payload


class Client(asyncio.Protocol):
    """A connection whose frames are given to `received(opcode, payload)`."""

    def __init__(self):
        self.transport = None
        self.rest = b""
        self.is_open = False
        self.opened = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()

    async def open(self, port, path="/words", receive_buffer_bytes=None):
        client = socket.socket()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer_bytes:
            # Before connecting, for the window is agreed on there.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=client)
        self.transport.write(wire.head(path))
        await asyncio.wait_for(self.opened, 10)
        return self

    def received(self, opcode, payload):
        raise NotImplementedError

    def tell(self, words):
        """Sends a command, text or binary."""
        opcode = wire.TEXT if isinstance(words, str) else wire.BINARY
        payload = words.encode() if isinstance(words, str) else words
        self.transport.write(unmasked(opcode, payload))

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def connection_lost(self, error):
        if not self.closed.done():
            self.closed.set_result(error)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("ended before it was open"))

    def data_received(self, octets):
        rest = self.rest + octets if self.rest else octets
        if not self.is_open:
            head, blank, rest = rest.partition(b"\r\n\r\n")
            if not blank:
                self.rest = head
                return
            expect(head.startswith(b"HTTP/1.1 101 "), f"answered with {head!r}")
            self.is_open = True
            self.opened.set_result(None)
        start, end = 0, len(rest)
        while end - start >= 2:
            length, body = rest[start + 1], start + 2
            if length == 126:
                body += 2
            elif length == 127:
                body += 8
            if body > end:
                break
            if length > 125:
                length = int.from_bytes(rest[start + 2 : body], "big")
            if body + length > end:
                break
            opcode = rest[start] & 0x0F
            payload = rest[body : body + length]
            start = body + length
            if opcode == wire.PING:
                self.transport.write(unmasked(wire.PONG, payload))
            else:
                self.received(opcode, payload)
        self.rest = rest[start:]


class Listening(Client):
    """Keeps what it receives, for a test to await."""

    def __init__(self):
        super().__init__()
        self.frames = asyncio.Queue()

    def received(self, opcode, payload):
        self.frames.put_nowait(payload.decode() if opcode == wire.TEXT else payload)

    async def words(self, seconds_max=5):
        return await asyncio.wait_for(self.frames.get(), seconds_max)


async def told(client, words):
    """The number that a `pub` with a token was given, or the answer to `words`."""
    client.tell(words)
    return await client.words()
