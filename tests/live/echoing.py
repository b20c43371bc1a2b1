"""Echo through the `websockets` client library, as its users would write it:
every size at which the header changes, fragments, pipelines and closes.
"""

import asyncio

import websockets

from .server import Failure, expect

MESSAGE_BYTES_MAX = 16 << 20
# Around every change of the header's form (RFC 6455, 5.2).
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537)
PIPELINED = 10_000


def connect(server, path="/echo"):
    """A client that sets no limits of its own; compression stays offered."""
    return websockets.connect(
        server.url(path), ssl=server.context, max_size=None, max_queue=None, proxy=None
    )


async def check_echo(client, message):
    await client.send(message)
    reply = await client.recv()
    expect(type(reply) is type(message), f"sent {type(message)}, received {type(reply)}")
    expect(reply == message, f"the echo of {len(message)} differs ({len(reply)})")


async def expect_close(client, code, reason=None):
    """A close frame with this code comes next. A message in its place is a failure, as is an
    end without a close frame."""
    try:
        message = await client.recv()
    except websockets.ConnectionClosed as closed:
        received = closed.rcvd
    else:
        raise Failure(f"{message[:80]!r} instead of a close with {code}")
    expect(received is not None, f"closed without a close frame instead of with {code}")
    expect(received.code == code, f"closed with {received} instead of with {code}")
    expect(reason is None or received.reason == reason, f"closed with {received}: {reason!r}?")


async def text(server):
    async with connect(server) as client:
        await check_echo(client, "Grüße, 世界 🦀")
        for size in SIZES:
            await check_echo(client, "x" * size)


async def binary(server):
    async with connect(server) as client:
        await check_echo(client, bytes(range(256)))
        for size in SIZES:
            await check_echo(client, bytes(index % 251 for index in range(size)))


async def empty(server):
    async with connect(server, "/ws") as client:
        for message in ("", b"", "", b""):
            await check_echo(client, message)


async def ping(server):
    async with connect(server) as client:
        for payload in (b"", b"x", b"y" * 125):
            await (await client.ping(payload))


async def largest(server):
    async with connect(server) as client:
        await check_echo(client, bytes(range(256)) * (MESSAGE_BYTES_MAX // 256))
        await check_echo(client, "y" * MESSAGE_BYTES_MAX)


async def check_too_large(server, message):
    # Not `async with`: its close() would call abort() on the transport, which
    # asyncio of Python 3.11 does not survive after a close by the other side
    # with much still unsent.
    client = await connect(server)
    try:
        await client.send(message)
        await client.recv()
    except websockets.ConnectionClosed as closed:
        expect(closed.rcvd is not None, "closed without a close frame")
        expect(closed.rcvd.code == 1009, f"closed with {closed.rcvd}")
    except AttributeError:
        # The same defect of asyncio, from within send() or recv().
        received = client.protocol.close_rcvd
        expect(received is not None, "closed without a close frame")
        expect(received.code == 1009, f"closed with {received}")
    else:
        expect(False, "a message above the limit was echoed")


async def too_large(server):
    await check_too_large(server, b"z" * (MESSAGE_BYTES_MAX + 1))


async def too_large_in_fragments(server):
    await check_too_large(server, [b"z" * (1 << 20)] * 16 + [b"z"])


async def fragmented(server):
    async with connect(server) as client:
        pongs = []

        async def parts():
            for index in range(50):
                yield f"{index}é,"
                # RFC 6455, 5.4: control frames may come in the middle of a message.
                pongs.append(await client.ping())
                if index % 10 == 0:
                    # Answered before the message has ended.
                    await pongs[-1]

        await client.send(parts())
        expected = "".join(f"{index}é," for index in range(50))
        expect(await client.recv() == expected, "the echo of fragments differs")
        for pong in pongs:
            await pong


async def pipelined(server):
    async with connect(server) as client:

        async def publish():
            for index in range(PIPELINED):
                await client.send(f"{index} " + "p" * (index % 200))

        sending = asyncio.create_task(publish())
        for index in range(PIPELINED):
            reply = await client.recv()
            expected = f"{index} " + "p" * (index % 200)
            expect(reply == expected, f"reply {index} is {reply[:20]!r}")
        await sending


async def client_closes(server):
    for code, reason in ((1000, ""), (1001, "bye"), (3000, "ü"), (4999, "r" * 123)):
        async with connect(server) as client:
            await check_echo(client, "before")
            await client.close(code, reason)
            received = client.protocol.close_rcvd
            expect(received is not None, f"no close frame in answer to {code}")
            expect(received.code == code, f"{code} was answered with {received}")
            expect(not client.protocol.close_rcvd_then_sent, "the server closed first")
