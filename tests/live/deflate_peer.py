"""A client that agrees on permessage-deflate without a library: it compresses with
zlib what it likes, and shows which frames came compressed.
"""

import contextlib
import zlib

from . import peer as wire
from .peer import Frame, Peer, frame
from .server import expect, serving

OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
# RFC 7692, 7.2.1: the end of a compressed message, which is not sent.
TAIL = b"\x00\x00\xff\xff"
COMPRESSED = 0x40
KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20


@contextlib.contextmanager
def compressing(like, *flags, level="", **limits):
    """A server that compresses, whose drain does not wait for anybody."""
    quick = {"drain_ms": 0, "close_ms": 500, "linger_ms": 200}
    word = f"--compression={level}" if level else "--compression"
    with serving(like, flags=[word, *flags], limits=quick | limits) as server:
        yield server


def deflated(payload, level=6, window=15, final=False):
    """The payload of a compressed message."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -window)
    octets = compressor.compress(payload)
    if final:
        # RFC 7692, 7.2.3.4: a last block, and a byte for the empty one behind it.
        return octets + compressor.flush() + b"\x00"
    octets += compressor.flush(zlib.Z_SYNC_FLUSH)
    expect(octets.endswith(TAIL), "zlib has ended it otherwise")
    return octets[: -len(TAIL)]


def inflated(payload):
    """Inflates a message by itself: nothing before it is known."""
    decompressor = zlib.decompressobj(-15)
    octets = decompressor.decompress(payload + TAIL)
    expect(not decompressor.unconsumed_tail, "bytes behind the message")
    return octets


def marked(octets):
    """A frame with RSV1 set."""
    return bytes([octets[0] | COMPRESSED]) + octets[1:]


def compressed_frame(opcode, payload, fin=True):
    """A first frame with a payload that is compressed already."""
    return marked(frame(opcode, payload, fin=fin))


def fragments(opcode, payload, sizes, between=b""):
    """Compressed bytes in frames of these sizes, and the rest in a last one; `between`
    is put after each but the last."""
    if not sizes:
        return compressed_frame(opcode, payload)
    octets, start = [], 0
    for index, size in enumerate(sizes):
        piece = payload[start : start + size]
        made = frame(opcode if index == 0 else wire.CONTINUATION, piece, fin=False)
        octets += [marked(made) if index == 0 else made, between]
        start += size
    octets.append(frame(wire.CONTINUATION, payload[start:]))
    return b"".join(octets)


class Deflating(Peer):
    """A peer for which compression was agreed on, unless `is_agreed` says otherwise."""

    is_agreed = True
    # Whether the last frame had RSV1.
    was_compressed = False
    answer = None

    @classmethod
    def open(cls, port, path="/echo", offer=OFFER, is_agreed=True, **options):
        peer = cls(port, **options)
        peer.send(wire.head(path, Sec_WebSocket_Extensions=offer))
        status, text = peer.receive_head()
        expect(status == 101, f"the handshake was answered with {text!r}")
        peer.answer = extension(text)
        expect((peer.answer is not None) == is_agreed, f"{offer[:90]!r}: {peer.answer}")
        return peer

    def receive_frame(self):
        while len(self.rest) < 1:
            if not self.fill():
                return None
        first = self.rest[0]
        self.was_compressed = bool(first & COMPRESSED)
        expect(not first & 0x30, f"a reserved bit is set: {first:#x}")
        return super().receive_frame()

    def receive_message(self):
        """The next message as it was; pongs are passed over."""
        while received := self.receive_frame():
            if received.opcode in (wire.PONG, wire.PING):
                expect(not self.was_compressed, "a compressed control frame")
                continue
            if not self.was_compressed:
                return received
            expect(received.opcode in (wire.TEXT, wire.BINARY), f"RSV1 on {received}")
            return Frame(received.fin, received.opcode, inflated(received.payload))
        return None

    def send_compressed(self, opcode, payload, **options):
        self.send(compressed_frame(opcode, deflated(payload, **options)))

    def check_echo(self, payload, opcode=wire.BINARY, **options):
        self.send_compressed(opcode, payload, **options)
        self.check_received(payload, opcode)

    def check_received(self, payload, opcode=wire.BINARY):
        received = self.receive_message()
        expect(received, f"the end of the stream instead of an echo of {len(payload)}")
        expect(
            received == (True, opcode, payload),
            f"sent {len(payload)}, received {received.opcode:#x} of {len(received.payload)}: "
            f"{received.payload[:60]!r}",
        )


def extension(head):
    """The extensions of a response, or None."""
    lines = [line.split(": ", 1) for line in head.split("\r\n")[1:]]
    found = [value for name, value in lines if name.lower() == "sec-websocket-extensions"]
    expect(len(found) <= 1, f"the header is there more than once: {found}")
    return found[0] if found else None
