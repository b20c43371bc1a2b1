"""A client without a library: a blocking socket that can do what no library
lets one do, such as breaking every rule of RFC 6455 or stopping in the middle.

It knows nothing of the server; it speaks only bytes and frames.
"""

import base64
import os
import socket
import struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
TIMEOUT_SECONDS = 15
KEY = base64.b64encode(b"tapecast tester!").decode()


class Frame(NamedTuple):
    fin: bool
    opcode: int
    payload: bytes

    @property
    def close_code(self):
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None


def head(path="/echo", method="GET", drop=(), **changed):
    """A handshake request. `changed` replaces headers (underscores for dashes),
    `drop` leaves some out."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def xor(payload, mask):
    """RFC 6455, 5.3, as one operation on one large number."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(length, "little")


def frame(opcode, payload=b"", fin=True, masked=True, declared=None):
    """One frame. `declared` is a payload length to claim instead of the real one."""
    length = len(payload) if declared is None else declared
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if masked else 0
    if length < 126:
        start = struct.pack("!BB", first, bit | length)
    elif length < 1 << 16:
        start = struct.pack("!BBH", first, bit | 126, length)
    else:
        start = struct.pack("!BBQ", first, bit | 127, length)
    if not masked:
        return start + payload
    mask = os.urandom(4)
    return start + mask + xor(payload, mask)


def close_frame(code, reason=b""):
    return frame(CLOSE, struct.pack("!H", code) + reason)


class Peer:
    """A connected socket and what has been received but not looked at.

    `port` is one of 127.0.0.1, or an (address, port), or the path of a Unix socket;
    `source` is the address to connect from.
    """

    def __init__(self, port, receive_buffer_bytes=None, source=None):
        family, address = socket.AF_INET, ("127.0.0.1", port)
        if isinstance(port, str):
            family, address = socket.AF_UNIX, port
        elif isinstance(port, tuple):
            family, address = socket.AF_INET6 if ":" in port[0] else socket.AF_INET, port
        self.socket = socket.socket(family)
        self.socket.settimeout(TIMEOUT_SECONDS)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.socket.bind((source, 0))
        if receive_buffer_bytes:
            # Before connecting, for the window is agreed on there.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        self.rest = b""

    @classmethod
    def open(cls, port, path="/echo", **options):
        """Connected and through the handshake."""
        peer = cls(port, **options)
        peer.send(head(path))
        status, text = peer.receive_head()
        if status != 101:
            raise AssertionError(f"the handshake was answered with {text!r}")
        return peer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def local_port(self):
        return self.socket.getsockname()[1]

    def send(self, octets):
        self.socket.sendall(octets)

    def send_frame(self, opcode, payload=b"", **options):
        self.send(frame(opcode, payload, **options))

    def fill(self):
        chunk = self.socket.recv(1 << 18)
        self.rest += chunk
        return bool(chunk)

    def receive_head(self):
        """Status and text of a response head; what follows stays in `rest`."""
        while b"\r\n\r\n" not in self.rest:
            if not self.fill():
                raise AssertionError(f"end of stream within a response: {self.rest!r}")
        text, self.rest = self.rest.split(b"\r\n\r\n", 1)
        return int(text.split(b" ", 2)[1]), text.decode()

    def receive_frame(self):
        """The next frame; None at the end of the stream."""
        while True:
            parsed = self._parse()
            if parsed:
                return parsed
            if not self.fill():
                if self.rest:
                    raise AssertionError(f"end of stream within a frame: {self.rest[:20]!r}")
                return None

    def _parse(self):
        rest = self.rest
        if len(rest) < 2:
            return None
        start, length = 2, rest[1] & 0x7F
        if rest[1] & 0x80:
            raise AssertionError("the server masked a frame")
        if length == 126:
            start, length = 4, int.from_bytes(rest[2:4], "big")
        elif length == 127:
            start, length = 10, int.from_bytes(rest[2:10], "big")
        if len(rest) < start or len(rest) < start + length:
            return None
        self.rest = rest[start + length :]
        return Frame(bool(rest[0] & 0x80), rest[0] & 0x0F, rest[start : start + length])

    def receive_to_end(self):
        """All further bytes until the end of the stream or a reset."""
        try:
            while self.fill():
                pass
        except ConnectionResetError:
            pass
        everything, self.rest = self.rest, b""
        return everything

    def reset(self):
        """Ends the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
