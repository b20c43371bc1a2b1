"""/broadcast: every subscriber receives every message, in one order, and a subscriber that
does not read delays no other.
"""

import asyncio
import time

from . import peer as wire
from .echoing import connect
from .peer import Peer
from .server import expect

MEBIBYTE = 1 << 20


async def everybody(server):
    async with connect(server, "/broadcast") as first, connect(server, "/broadcast") as second:
        for message in ("text", b"binary", "", b"", "l" * MEBIBYTE):
            await first.send(message)
            for client in (first, second):
                received = await client.recv()
                expect(received == message, f"expected {message[:20]!r}, got {received[:20]!r}")
    # A subscriber that has left is not waited for.
    async with connect(server, "/broadcast") as third:
        await third.send("alone")
        expect(await third.recv() == "alone", "no message to the sender itself")


async def one_order(server):
    """Shards have their subscribers, and a topic has one order for all of them."""
    subscribers, publishers, messages_each = 50, 4, 500
    total = publishers * messages_each
    clients = [await connect(server, "/broadcast") for _ in range(subscribers + publishers)]

    async def publish(number):
        for index in range(messages_each):
            await clients[number].send(f"{number} {index} " + "m" * 80)
            if index % 20 == 0:
                # Lets the others in between: else the order is no question.
                await asyncio.sleep(0)

    async def receive(client):
        return [await client.recv() for _ in range(total)]

    receiving = [asyncio.create_task(receive(client)) for client in clients]
    await asyncio.gather(*(publish(number) for number in range(publishers)))
    orders = await asyncio.gather(*receiving)
    for index, order in enumerate(orders):
        expect(order == orders[0], f"client {index} saw another order than client 0")
    for number in range(publishers):
        own = [message for message in orders[0] if message.startswith(f"{number} ")]
        expected = [f"{number} {index} " + "m" * 80 for index in range(messages_each)]
        expect(own == expected, f"the messages of publisher {number} are not in its order")
    senders = [message.split(" ", 1)[0] for message in orders[0]]
    changes = sum(left != right for left, right in zip(senders, senders[1:]))
    expect(changes > publishers, "the publishers were never interleaved: nothing was tested")
    await asyncio.gather(*(client.close() for client in clients))


async def slow_reader(server):
    readers, messages, payload = 20, 2_000, 16 << 10
    # Messages in flight at most. Less than a tape keeps (4 MiB), so that only a reader
    # that does not read at all falls behind.
    window = 64
    server.reset_peak()
    slow = Peer.open(server.port, "/broadcast", receive_buffer_bytes=64 << 10)
    slow_port = slow.local_port
    clients = [await connect(server, "/broadcast") for _ in range(readers)]
    received = [0] * readers
    progress = asyncio.Event()

    async def receive(index):
        for number in range(messages):
            message = await clients[index].recv()
            expect(len(message) == payload, f"a message of {len(message)}")
            expect(
                int.from_bytes(message[:4], "big") == number,
                f"reader {index} received {int.from_bytes(message[:4], 'big')}, not {number}",
            )
            received[index] = number + 1
            progress.set()

    async def publish():
        for number in range(messages):
            while number - min(received) >= window:
                progress.clear()
                await progress.wait()
            await clients[0].send(number.to_bytes(4, "big") + b"s" * (payload - 4))

    started = time.monotonic()
    await asyncio.gather(publish(), *(receive(index) for index in range(readers)))
    seconds = time.monotonic() - started
    peak = server.resident_bytes_peak()
    expect(peak < 200 * MEBIBYTE, f"the server's memory rose to {peak / MEBIBYTE:.0f} MiB")
    await asyncio.gather(*(client.close() for client in clients))
    # The close frame can't be delivered to a reader that does not read: the connection is
    # cut after the time that a peer has to answer it.
    await asyncio.to_thread(
        server.wait_for,
        lambda: server.connections(slow_port) == 0,
        20,
        "the slow reader was not closed",
    )
    rest = await asyncio.to_thread(slow.receive_to_end)
    slow.socket.close()
    expect(len(rest) < messages * payload, "the slow reader received everything")
    expect(rest[:1] == b"\x82", "the slow reader received no messages at all")
    return f"{messages * readers / seconds:.0f} msg/s, peak {peak / MEBIBYTE:.0f} MiB"


def slow_reader_told(server):
    """A reader that falls behind and then reads on is closed with 4009."""
    with Peer.open(server.port, "/broadcast", receive_buffer_bytes=64 << 10) as slow:
        with Peer.open(server.port, "/broadcast") as publisher:
            payload = b"t" * (64 << 10)
            for _ in range(400):
                publisher.send_frame(wire.BINARY, payload)
                expect(publisher.receive_frame().payload == payload, "not received")
        while True:
            received = slow.receive_frame()
            expect(received is not None, "the end of the stream without a close frame")
            if received.opcode == wire.CLOSE:
                break
            expect(received.payload == payload, "a message in pieces")
        expect(received.close_code == 4009, f"closed with {received.payload!r}")
