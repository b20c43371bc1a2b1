"""Clients beside servers that misbehave: one that greets and goes, one that speaks something
else, one whose words can't be read.
"""

import asyncio
import base64
import contextlib
import hashlib
import subprocess
import time

import websockets

from . import peer as wire
from .client_js import IMPATIENT, client
from .loading import PROGRAM
from .server import expect

NAME = "tapecast.v1.json"


def accept_value(key):
    """RFC 6455, 4.2.2."""
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(key.encode() + guid).digest())


class Other:
    """A server of a test's own."""

    def __init__(self, serve, subprotocols=(NAME,)):
        self._serve, self._subprotocols = serve, subprotocols
        self.handshakes = []

    async def __aenter__(self):
        async def handle(socket):
            self.handshakes.append(time.monotonic())
            await self._serve(socket)

        self._server = await websockets.serve(
            handle, "127.0.0.1", 0, subprotocols=list(self._subprotocols) or None,
            ping_interval=None,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()


async def backs_off(server):
    """A server that greets and closes with 1013 sees few handshakes, and its code and reason
    are reported."""
    async def greet(socket):
        await socket.send('{"type":"pong"}')
        await socket.close(1013, "try again later")

    async with Other(greet) as other, client(server, other.port) as it:
        told = await it.next("disconnect")
        expect((told["code"], told["reason"]) == (1013, "try again later"), f"{told}")
        await asyncio.sleep(5)
        count = len(other.handshakes)
        expect(2 <= count <= 12, f"{count} handshakes in 5 s")
    return f"{count} handshakes in 5 s"


async def what_can_not_be_read(server):
    """Messages that can't be read are reported, and do not end the process."""
    words = ["no JSON", "[]", "null", '{"type":"heartbeat"}', '{"type":5}', "{}", b"\x00binary"]
    seen = []

    async def babble(socket):
        await socket.send(words[len(seen) % len(words)])
        seen.append(None)
        await socket.wait_closed()

    async with Other(babble) as other, client(server, other.port, **IMPATIENT) as it:
        it.do("subscribe", channel="a", options={})
        for _ in words:
            error = await it.next("error")
            expect(error["code"] == "protocol" and NAME in error["message"], f"{error}")
            await it.next("disconnect")


async def something_else(server):
    """A server that speaks something else is named, whether it chooses no subprotocol or
    refuses."""
    async def echo(socket):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                await socket.send(message)

    async with Other(echo, ()) as other, client(server, other.port, **IMPATIENT) as it:
        it.do("publish", channel="a", message=1)
        told = await it.next("disconnect")
        expect(told["code"] == 1006, f"{told}")
        expect(not [it for it in it.events if it["event"] == "published"], "an echo is no answer")


async def unlisted(server):
    """A name on a channel that lists nobody: the subscription is there, and says so."""
    async with client(server) as it:
        it.do("subscribe", channel="edges.unlisted", options={"name": "Alice"})
        told = await it.next("subscribed")
        expect(told["listed"] is False, f"{told}")


async def masks(server):
    """No two masking keys are alike, nor do they follow from the nonce: what xorshift makes of
    it, as before, is not among them."""
    keys, nonce = [], None

    async def take(reader, writer):
        nonlocal nonce
        head = await reader.readuntil(b"\r\n\r\n")
        text = head.decode()
        key = text.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
        nonce = base64.b64decode(key)
        accept = accept_value(key).decode()
        writer.write(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        while len(keys) < 200:
            frame = await reader.readexactly(2 + 4 + 8)
            keys.append(frame[2:6])
            payload = wire.xor(frame[6:], frame[2:6])
            writer.write(bytes([0x82, 8]) + payload)
        writer.close()

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    words = [PROGRAM, "pipeline", "--url", f"ws://127.0.0.1:{port}/", "--connections", "1"]
    words += ["--in-flight", "1", "--size", "8", "--warmup", "0s", "--duration", "2s", "--no-tui"]
    run = asyncio.create_task(
        asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=20)
    )
    while len(keys) < 200:
        await asyncio.sleep(0.05)
    await run
    listener.close()
    expect(len(set(keys)) == len(keys), "a key came twice")
    mask = int.from_bytes(nonce[:4], "little") | 1
    for _ in range(3):
        mask ^= (mask << 13) & 0xFFFFFFFF
        mask ^= mask >> 17
        mask ^= (mask << 5) & 0xFFFFFFFF
        expect(mask.to_bytes(4, "little") not in keys, "a key follows from the nonce")


async def closes(server):
    """The load generator closes a server that breaks the protocol with its code, and answers
    a close frame."""
    async def run(first):
        """The close code that a server gets in answer to a frame of its own."""
        got = asyncio.get_running_loop().create_future()

        async def serve(reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            key = head.split("Sec-WebSocket-Key: ")[1].split("\r\n")[0]
            accept = accept_value(key)
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n" + first
            )
            rest = b""
            while b"\x88" not in rest[:1]:
                rest += await reader.read(1 << 16)
                # Data frames before it are short.
                while len(rest) >= 6 and rest[0] != 0x88:
                    rest = rest[6 + (rest[1] & 0x7F):]
            if not got.done():
                got.set_result(rest)
            writer.close()

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        words = [PROGRAM, "echo", "--url", f"ws://127.0.0.1:{port}/", "--connections", "1"]
        words += ["--rate", "1", "--warmup", "0s", "--duration", "1s", "--no-tui"]
        done = asyncio.create_task(
            asyncio.to_thread(subprocess.run, words, capture_output=True, timeout=20)
        )
        frame = await asyncio.wait_for(got, 10)
        result = await done
        listener.close()
        payload = wire.xor(frame[6:6 + (frame[1] & 0x7F)], frame[2:6])
        return int.from_bytes(payload[:2], "big"), result

    # A reserved bit; a masked frame; a close frame.
    for first, code in ((b"\xf2\x01x", 1002), (b"\x82\x81\0\0\0\0x", 1002),
                        (b"\x88\x02\x03\xe9", 1001)):
        got, result = await run(first)
        expect(got == code, f"{first!r}: the server was told {got}")
        expect(result.returncode == 3, f"{first!r}: exit code {result.returncode}")
