"""A server that goes wrong in a known way, and counts how often it did.

One thread, so that a pause of it is a pause for everybody. A failure is a
subclass: it overrides what happens at a handshake, at a message, or in between.
"""

import base64
import hashlib
import json
import selectors
import socket
import struct
import threading
import time
import zlib

from . import peer as wire

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Connection:
    def __init__(self, server, client, number):
        self.server, self.socket, self.number = server, client, number
        self.received = bytearray()
        self.out = bytearray()
        self.is_open = False
        self.closes_when_sent = False
        self.messages = 0
        # A reply that comes after the next one.
        self.late = b""

    def send(self, octets):
        """Sends what the kernel takes, and the rest when it can."""
        self.out += octets
        self.flush()

    def send_frame(self, opcode, payload=b"", **options):
        self.send(wire.frame(opcode, payload, masked=False, **options))

    def flush(self):
        try:
            while self.out:
                del self.out[: self.socket.send(memoryview(self.out)[: 1 << 18])]
        except BlockingIOError:
            pass
        except OSError:
            self.server.forget(self)
            return
        if self.closes_when_sent and not self.out:
            self.server.forget(self)

    def end(self):
        self.closes_when_sent = True
        self.flush()

    def reset(self):
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.server.forget(self)


class FaultyServer:
    """`with FaultyServer() as server:` echoes on a port of its own."""

    def __init__(self, port=0):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.connections = {}
        self.accepted = 0
        # The faults by kind, and how often each was.
        self.counts = {}
        self.done = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def url(self, path="/"):
        return f"ws://127.0.0.1:{self.port}{path}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.done.set()
        self.thread.join(10)
        for connection in list(self.connections.values()):
            connection.socket.close()
        self.listener.close()
        if kind is None and self.failure:
            raise self.failure

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def forget(self, connection):
        if self.connections.pop(connection.socket.fileno(), None):
            self.selector.unregister(connection.socket)
            connection.socket.close()

    def _run(self):
        try:
            while not self.done.is_set():
                self._turn()
        except Exception as failure:
            self.failure = failure

    def _turn(self):
        for key, events in self.selector.select(0.01):
            if key.fileobj is self.listener:
                self._accept()
                continue
            connection = self.connections.get(key.fd)
            if connection and events & selectors.EVENT_WRITE:
                connection.flush()
            if connection and events & selectors.EVENT_READ:
                self._receive(connection)
        for connection in list(self.connections.values()):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.out else 0)
            if self.selector.get_key(connection.socket).events != events:
                self.selector.modify(connection.socket, events)
        self.tick()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except BlockingIOError:
                return
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, client, self.accepted)
            self.accepted += 1
            self.connections[client.fileno()] = connection
            self.selector.register(client, selectors.EVENT_READ)

    def _receive(self, connection):
        try:
            chunk = connection.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.forget(connection)
            return
        connection.received += chunk
        if not connection.is_open:
            head, found, rest = bytes(connection.received).partition(b"\r\n\r\n")
            if not found:
                return
            connection.received = bytearray(rest)
            self.handshake(connection, head)
        while connection.is_open and connection.socket.fileno() >= 0:
            frame = self._frame(connection.received)
            if frame is None:
                return
            self.frame(connection, *frame)

    @staticmethod
    def _frame(octets):
        """Takes a masked frame off: its opcode and payload."""
        if len(octets) < 6:
            return None
        start, length = 2, octets[1] & 0x7F
        if length == 126:
            start, length = 4, int.from_bytes(octets[2:4], "big")
        elif length == 127:
            start, length = 10, int.from_bytes(octets[2:10], "big")
        if len(octets) < start + 4 + length:
            return None
        mask = bytes(octets[start : start + 4])
        payload = bytes(octets[start + 4 : start + 4 + length])
        opcode = octets[0] & 0x0F
        del octets[: start + 4 + length]
        return opcode, wire.xor(payload, mask)

    @staticmethod
    def accept_value(head):
        lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest()
        return base64.b64encode(digest)

    def frame(self, connection, opcode, payload):
        if opcode == wire.CLOSE:
            connection.send_frame(wire.CLOSE, payload[:2])
            connection.end()
        elif opcode in (wire.TEXT, wire.BINARY):
            connection.messages += 1
            self.message(connection, opcode, payload)

    # Subclasses override these.

    def handshake(self, connection, head):
        connection.is_open = True
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + self.accept_value(head) + b"\r\n"
            + self.agreed() + b"\r\n"
        )

    def agreed(self):
        """Further lines of the answer to a handshake."""
        return b""

    def message(self, connection, opcode, payload):
        connection.send_frame(opcode, payload)

    def tick(self):
        pass


class Stalling(FaultyServer):
    """Does nothing for `stall` seconds in every `every`, and knows when it answered."""

    def __init__(self, stall, every):
        super().__init__()
        self.stall, self.every = stall, every
        self.next = time.monotonic() + every
        self.lasted = []
        self.answered = []

    def tick(self):
        if time.monotonic() >= self.next:
            self.next += self.every
            began = time.monotonic()
            time.sleep(self.stall)
            # A machine that is held up makes it longer than it was meant to be.
            self.lasted.append(time.monotonic() - began)

    def message(self, connection, opcode, payload):
        super().message(connection, opcode, payload)
        self.answered.append(time.monotonic())

    def waits(self, rate, warmup):
        """How long each message of a constant rate has waited for its answer, in seconds
        and sorted, but for those answered in the first `warmup` seconds. By the times at
        which it was answered: a machine that is held up makes a stall, and the work that
        it leaves behind, longer than they were meant to be."""
        planned = [number / rate for number in range(len(self.answered))]
        began = min(at - plan for at, plan in zip(self.answered, planned))
        return sorted(
            at - plan - began
            for at, plan in zip(self.answered, planned)
            if at - began >= warmup
        )


class Serving(FaultyServer):
    """Takes `seconds` for a message, one after another: so many a second at most."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def message(self, connection, opcode, payload):
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass
        super().message(connection, opcode, payload)


class Relaying(FaultyServer):
    """Sends what anybody says to everybody, but for what is planted in `plan`:
    {number of the publication: "drop", "twice" or "late"}; a late one comes after
    the next."""

    def __init__(self, plan):
        super().__init__()
        self.plan = plan
        self.published = 0
        self.late = None

    def message(self, connection, opcode, payload):
        what = self.plan.get(self.published)
        self.published += 1
        octets = wire.frame(opcode, payload, masked=False)
        if what == "drop":
            return
        if what == "late":
            self.late = octets
            return
        if what == "twice":
            octets += octets
        octets += self.late or b""
        self.late = None
        for reader in list(self.connections.values()):
            if reader.is_open:
                reader.send(octets)


class Replying(FaultyServer):
    """Echoes, but for what is planted in `plan`: {number of a connection's message: "drop",
    "twice" or "late"}; a late one comes after the next."""

    def __init__(self, plan):
        super().__init__()
        self.plan = plan

    def message(self, connection, opcode, payload):
        what = self.plan.get(connection.messages)
        if what:
            self.count(what)
        if what == "drop":
            return
        octets = wire.frame(opcode, payload, masked=False)
        if what == "late":
            connection.late = octets
            return
        if what == "twice":
            octets += octets
        octets += connection.late
        connection.late = b""
        connection.send(octets)


class Bombing(FaultyServer):
    """Agrees to compression, and answers every tenth message with one that inflates to a
    gibibyte."""

    def __init__(self):
        super().__init__()
        deflate = zlib.compressobj(wbits=-15)
        parts = [deflate.compress(bytes(1 << 20)) for _ in range(1_024)]
        bomb = b"".join([*parts, deflate.flush(zlib.Z_SYNC_FLUSH)])[:-4]
        # The reserved bit that says so.
        self.bomb = bytearray(wire.frame(wire.BINARY, bomb, masked=False))
        self.bomb[0] |= 0x40

    def agreed(self):
        both = b"; server_no_context_takeover; client_no_context_takeover"
        return b"Sec-WebSocket-Extensions: permessage-deflate" + both + b"\r\n"

    def message(self, connection, opcode, payload):
        if connection.messages % 10:
            return super().message(connection, opcode, payload)
        self.count("bomb")
        connection.send(self.bomb)

    def frame(self, connection, opcode, payload):
        # Messages arrive compressed and stay so: the answers are checked by length.
        super().frame(connection, opcode, bytes(64) if opcode == wire.BINARY else payload)


class Numbering(Relaying):
    """The same in the words of tapecast.v1.json, with one channel: what is dropped has
    had its number."""

    def message(self, connection, opcode, payload):
        request = json.loads(payload)
        channel, answer = request["channel"], {"type": "error", "code": 103, "message": "?"}
        if request["type"] == "publish":
            message = {"type": "message", "channel": channel, "seq": self.published + 1}
            message |= {"time": 1, "message": request["message"]}
            return super().message(connection, opcode, json.dumps(message).encode())
        if request["type"] == "subscribe":
            answer = {"type": "subscribed", "channel": channel, "epoch": 7}
            answer |= {"seq": self.published, "recovered": False}
        connection.send_frame(opcode, json.dumps(answer).encode())


class RefusingHalf(FaultyServer):
    """Every other handshake is answered with 503."""

    def handshake(self, connection, head):
        if connection.number % 2 == 0:
            return super().handshake(connection, head)
        self.count("refused")
        connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        connection.end()


class Misbehaving(FaultyServer):
    """Does `what` instead of answering every tenth message of a connection."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def message(self, connection, opcode, payload):
        if connection.messages % 10:
            return super().message(connection, opcode, payload)
        self.count(self.what)
        getattr(self, self.what)(connection, opcode, payload)

    def closes(self, connection, _opcode, _payload):
        connection.send_frame(wire.CLOSE, struct.pack("!H", 1001) + b"maintenance")
        # The end of the stream follows the client's answer, or the next message.

    def ends(self, connection, _opcode, _payload):
        connection.end()

    def resets(self, connection, _opcode, _payload):
        connection.reset()

    def stays_silent(self, connection, _opcode, _payload):
        pass

    def sends_garbage(self, connection, _opcode, _payload):
        connection.send(b"\xff\xff\xff\xff garbage")

    def masks(self, connection, opcode, payload):
        connection.send(wire.frame(opcode, payload, masked=True))

    def inflates(self, connection, opcode, _payload):
        # A compressed frame, which nobody asked for: a bomb of a kilobyte.
        connection.send(bytes([0x40 | 0x80 | opcode, 126, 4, 0]) + b"\xed" * 1024)

    def answers_wrongly(self, connection, opcode, payload):
        connection.send_frame(opcode, payload[:-1] + bytes([payload[-1] ^ 1]))

    def answers_twice(self, connection, opcode, payload):
        connection.send_frame(opcode, payload)
        connection.send_frame(opcode, payload)

    def answers_in_fragments(self, connection, opcode, payload):
        connection.send_frame(opcode, payload[:1], fin=False)
        for index in range(1, len(payload)):
            connection.send_frame(wire.PING, b"in between")
            connection.send_frame(wire.CONTINUATION, payload[index : index + 1], fin=False)
        connection.send_frame(wire.CONTINUATION, b"")

    def answers_16_mib(self, connection, opcode, payload):
        connection.send_frame(opcode, bytes(16 << 20))

    def promises_4_gib(self, connection, opcode, _payload):
        connection.send(wire.frame(opcode, b"x" * 1000, masked=False, declared=4 << 30))

    def floods_with_pings(self, connection, opcode, payload):
        connection.send(wire.frame(wire.PING, b"?" * 125, masked=False) * 1000)
        connection.send_frame(opcode, payload)
