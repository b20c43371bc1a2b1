"""permessage-deflate with contexts: messages that look back at earlier ones, for as many
connections as the budget has room for. Real clients keep one window for whatever comes,
so a frame that this side has not counted in breaks their stream.
"""

import asyncio
import contextlib
import functools
import json
import os
import zlib

from . import deflate
from . import peer as wire
from .administration import Admin
from .deflate_hostile import SHARD_BYTES, bomb, check_ended
from .deflate_peer import (
    KIBIBYTE,
    MEBIBYTE,
    OFFER,
    TAIL,
    Deflating,
    compressed_frame,
    compressing,
    fragments,
)
from .json_topics import SUBPROTOCOL
from .limits import close_all
from .peer import Frame
from .ports import free_port
from .raw import check_alive
from .server import expect
from .topics import receive

PLAIN = "permessage-deflate"
WINDOW = "; server_max_window_bits=15"
SERVER, CLIENT = "; server_no_context_takeover", "; client_no_context_takeover"
# To send and to receive.
CONTEXT_BYTES = (372 + 47) * KIBIBYTE
ROOMY = {"deflate_contexts_bytes_max": 256 * MEBIBYTE}


def with_contexts(test, **more):
    """A test of messages by themselves, where they may look back."""
    wrapped = functools.partial(test, **ROOMY, **more)
    # So that it is known for one that is to be awaited.
    if asyncio.iscoroutinefunction(test):

        async def run(server):
            return await wrapped(server)

        return run
    return wrapped


class Remembering(Deflating):
    """A peer that keeps its windows."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.decompressor = zlib.decompressobj(-15)
        self.received_bytes = 0

    def deflated(self, payload):
        octets = self.compressor.compress(payload)
        octets += self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return octets.removesuffix(TAIL)

    def receive_message(self):
        while received := self.receive_frame():
            if received.opcode in (wire.PONG, wire.PING) or not self.was_compressed:
                return received
            self.received_bytes += len(received.payload)
            payload = self.decompressor.decompress(received.payload + TAIL)
            return Frame(received.fin, received.opcode, payload)
        return None

    def check_echo(self, payload, opcode=wire.BINARY):
        self.send(compressed_frame(opcode, self.deflated(payload)))
        self.check_received(payload, opcode)


def offers(server):
    """All that an offer leaves open is taken, as long as there is room."""
    with compressing(server, **ROOMY) as own:
        for offer in (
            PLAIN, PLAIN + SERVER, PLAIN + CLIENT, PLAIN + WINDOW, PLAIN + SERVER + CLIENT,
            PLAIN + SERVER + WINDOW, PLAIN + CLIENT + WINDOW, PLAIN + SERVER + CLIENT + WINDOW,
        ):
            with Deflating.open(own.port, offer=offer) as peer:
                expect(peer.answer == offer, f"{offer!r}: {peer.answer!r}")
        for offer in (PLAIN + "; client_max_window_bits", PLAIN + "; client_max_window_bits=9"):
            with Deflating.open(own.port, offer=offer) as peer:
                expect(peer.answer == PLAIN, f"{offer!r}: {peer.answer!r}")
        for offer in deflate.DECLINED:
            with Deflating.open(own.port, offer=offer, is_agreed=False) as peer:
                peer.send_frame(wire.BINARY, b"declined " * 200)
                peer.check_received(b"declined " * 200)


def raw_frames(server):
    """Messages that look back, whole, in fragments and byte by byte, long and short, with
    others in between that are not compressed, or end their block."""
    quote = json.dumps({"symbol": "BTC", "bid": [64000.5, 3], "ask": [64001.0, 1]}).encode()
    with compressing(server, **ROOMY) as own, Remembering.open(own.port, offer=PLAIN) as peer:
        peer.check_echo(quote)
        first = peer.received_bytes
        for number in range(200):
            peer.check_echo(quote + str(number).encode(), wire.TEXT)
        each = (peer.received_bytes - first) / 200
        expect(each * 3 < first, f"{each:.0f} bytes each after {first}")
        for size in deflate.SIZES:
            for payload in (b"abcdefg" * (size // 7), os.urandom(size)):
                peer.check_echo(payload)
            peer.send_frame(wire.BINARY, quote)
            peer.check_received(quote)
        for sizes in ([0], [1] * 20, [0, 3, 0, 5, 0]):
            text = quote * 20 + str(sizes).encode()
            peer.send(fragments(wire.TEXT, peer.deflated(text), sizes))
            peer.check_received(text, wire.TEXT)
        # More than what is kept as it came, of one that has no decompressor.
        large = os.urandom(1_000) * 2 + os.urandom(200 * KIBIBYTE) + bytes(300 * KIBIBYTE)
        for step in (1_000, 60 * KIBIBYTE, 70 * KIBIBYTE):
            small = peer.deflated(large)
            peer.send(fragments(wire.BINARY, small, [step] * (len(small) // step)))
            peer.check_received(large)
        for octet in compressed_frame(wire.TEXT, peer.deflated(quote)):
            peer.send(bytes([octet]))
        peer.check_received(quote, wire.TEXT)
    return f"{first} bytes at first, then {each:.0f}"


def budget(server):
    """As many connections as there is room for get a context, the others do without; what
    one gives back the next has. Memory stays within the budget, whatever is said."""
    port = free_port()
    most = 16 * MEBIBYTE
    limits = {"deflate_contexts_bytes_max": most, "deflate_bytes_min": 1}
    fits = server.shards * (most // server.shards // CONTEXT_BYTES)
    payload = os.urandom(600) * 2
    with compressing(server, "--admin", f"127.0.0.1:{port}", **limits) as own:
        admin = Admin(port)

        def crowd(count):
            peers = [Remembering.open(own.port, offer=PLAIN) for _ in range(count)]
            alone = [peer for peer in peers if peer.answer != PLAIN]
            expect(all(peer.answer == OFFER for peer in alone), "another answer")
            return peers, count - len(alone)

        peers, _ = crowd(20)
        for peer in peers:
            peer.check_echo(payload)
        close_all(peers)
        own.wait_for(lambda: own.connections() == 0, 10, "connections are left")
        before = own.resident_bytes()
        grown = []
        for _ in range(3):
            # Shards have a share each, and connections come to one or the other.
            peers, granted = crowd(4 * fits)
            expect(granted == fits, f"{granted} of {len(peers)} have a context, not {fits}")
            for _ in range(3):
                for peer in peers:
                    if peer.answer == PLAIN:
                        peer.check_echo(payload)
                    else:
                        Deflating.check_echo(peer, payload)
            grown.append(own.resident_bytes() - before)
            for peer in peers[::2]:
                peer.reset()
            close_all(peers[1::2])
            own.wait_for(lambda: own.connections() == 0, 10, "connections are left")
        # Of a single moment it is some MiB more, with what the allocator has then.
        growth = sorted(grown)[1]
        expect(growth < most + server.shards * SHARD_BYTES, f"memory grew by {grown}")
        now = admin.metrics()
        granted = now["tapecast_handshakes_deflate_context_total", ()]
        hits = now["tapecast_limit_hits_total", (("limit", "deflate_contexts_bytes_max"),)]
        expect(granted >= 3 * fits and hits >= 9 * fits, f"{granted} granted, {hits} hits")
    return f"{fits} of {4 * fits} at a time, memory {growth / MEBIBYTE:.1f} MiB"


async def between_topics(server):
    """Answers to a connection, which look back, come between the messages of tapes,
    which does not, and replays: through one window."""
    with compressing(server, **ROOMY) as own:
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(4):
                opened = deflate.connect(own, "/", subprotocols=[SUBPROTOCOL])
                clients.append(await stack.enter_async_context(opened))
            (agreed,) = clients[0].protocol.extensions
            expect(not agreed.remote_no_context_takeover, f"agreed on {agreed}")

            async def ask(client, **words):
                await client.send(json.dumps(words))

            for client in clients:
                await ask(client, type="subscribe", channel="mixed")
                answer = json.loads(await receive(client))
                expect(answer["type"] == "subscribed", f"{answer}")
            count = 300
            seen = [0] * len(clients)
            for number in range(count):
                body = {"number": number, "text": deflate.WORDS * (number % 40)}
                await ask(clients[0], type="publish", channel="mixed", message=body, id=number)
                for client in clients:
                    # Answered with an error of some length, which names what came.
                    await ask(client, type=f"nonsense-{number % 7}-" + "x" * 60, id=number)
                for index, client in enumerate(clients):
                    wanted = {"message", "error"} | ({"published"} if index == 0 else set())
                    while wanted:
                        received = json.loads(await receive(client))
                        wanted.remove(received["type"])
                        if received["type"] == "message":
                            expect(received["message"] == body, f"client {index}: another body")
                            seen[index] += 1
                        else:
                            expect(received["id"] == number, f"{received}")
            expect(seen == [count] * len(clients), f"{seen}")


def hostile(server):
    """A reference beyond the beginning is closed with 1007, and the output has its limit."""
    most = 4 * MEBIBYTE
    limits = ROOMY | {"message_bytes_max": most}
    with compressing(server, **limits) as own:
        with Remembering.open(own.port, offer=PLAIN) as peer:
            peer.check_echo(b"first " * 100)
            peer.send(compressed_frame(wire.BINARY, bomb(most + 1)))
            check_ended(peer, 1009, "a bomb")
        with Remembering.open(own.port, offer=PLAIN) as one:
            one.check_echo(b"a secret of one " * 100)
            octets = one.deflated(b"a secret of one " * 100)
            with Remembering.open(own.port, offer=PLAIN) as other:
                other.send(compressed_frame(wire.BINARY, octets))
                check_ended(other, 1007, "what another has sent")
            one.send(compressed_frame(wire.BINARY, octets))
            one.check_received(b"a secret of one " * 100)
            # Half a message, and gone.
            one.send(fragments(wire.TEXT, one.deflated(os.urandom(200)), [50])[:90])
        check_alive(own)
