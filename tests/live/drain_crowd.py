"""SIGTERM in the middle of a broadcast to ten thousand readers: everybody gets the
messages in order and without a hole up to their own end, then 1001.
"""

import selectors
import signal
import struct
import time

from . import peer as wire
from .crowd import BATCH, connect_batch, raise_descriptor_limit
from .server import expect

READERS = 10_000
PERIOD_SECONDS = 0.4


class Reader:
    """Takes frames apart as far as they are there, and checks each."""

    def __init__(self, client):
        self.client = client
        self.bytes = b""
        self.next = 0
        self.code = None

    def take(self, received):
        self.bytes += received
        while len(self.bytes) >= 2 and len(self.bytes) >= 2 + self.bytes[1]:
            length = self.bytes[1]
            opcode, payload = self.bytes[0], self.bytes[2 : 2 + length]
            self.bytes = self.bytes[2 + length :]
            if opcode == 0x88:
                self.code = struct.unpack("!H", payload[:2])[0]
                continue
            expect(opcode == 0x82 and length == 8, f"a frame {opcode:#x} of {length} bytes")
            number = struct.unpack("!Q", payload)[0]
            if self.next == 0:
                self.next = number
            expect(number == self.next, f"number {number} where {self.next} was due")
            self.next += 1


def drain_in_broadcast(server):
    limit = raise_descriptor_limit()
    expect(limit > READERS + 100, f"the hard limit of descriptors is {limit}")
    clients = []
    while len(clients) < READERS:
        clients += connect_batch(server.port, BATCH, "/broadcast")
    publisher = connect_batch(server.port, 1, "/broadcast")[0]
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client, selectors.EVENT_READ, Reader(client))
    readers = [key.data for key in selector.get_map().values()]
    close = wire.frame(wire.CLOSE, struct.pack("!H", 1001))
    started = time.monotonic()
    published, open_readers, told = 0, READERS, None
    while open_readers:
        now = time.monotonic() - started
        expect(now < 40, f"{open_readers} readers are left")
        if told is None and now > 2:
            server.process.send_signal(signal.SIGTERM)
            told = now
        if now > published * PERIOD_SECONDS and publisher:
            published += 1
            try:
                publisher.send(wire.frame(wire.BINARY, struct.pack("!Q", published)))
            except OSError:
                # It is closed like everybody else, at its own time.
                publisher = None
        for key, _ in selector.select(0.05):
            reader = key.data
            received = reader.client.recv(65536)
            reader.take(received)
            if reader.code is not None or not received:
                if reader.code is not None:
                    reader.client.send(close)
                selector.unregister(reader.client)
                reader.client.close()
                open_readers -= 1
    codes = {reader.code for reader in readers}
    expect(codes == {1001}, f"readers ended with {codes}")
    # From the first message after the last reader came.
    expect(min(reader.next for reader in readers) > 4, "a reader got hardly anything")
    expect(server.process.wait(15) == 0, "the drain did not end with 0")
    seconds = time.monotonic() - started - told
    return f"{published} publications, ended {seconds:.1f} s after SIGTERM"
