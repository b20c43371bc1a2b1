"""Readers that fall off their tape, each treated by its policy; and the route that takes its
subscriptions from the query.
"""

import asyncio
import contextlib
import time

from . import peer as wire
from .echoing import connect
from .peer import Peer
from .server import expect
from .topics import check, receive, subscribe
from .words import serving_topics

KIBIBYTE = 1 << 10
MESSAGES, PAYLOAD_BYTES, KEYS = 400, 4 * KIBIBYTE, 7
# A tape holds 16 of the messages, a socket about as many.
LIMITS = {"tape_bytes_max": 64 * KIBIBYTE, "socket_send_bytes": 16 * KIBIBYTE}


def command(peer, words):
    peer.send_frame(wire.TEXT, words.encode())


def line(peer):
    """The words of the next frame, or the code of a close."""
    received = peer.receive_frame()
    expect(received, "the end of the stream without a close frame")
    if received.opcode == wire.CLOSE:
        return received.close_code
    return received.payload.decode().split(" ", 5)


def publish(publisher, first, last):
    """Numbered messages; returns once the last has its number."""
    for number in range(first, last + 1):
        token = number if number == last else "-"
        filler = "x" * PAYLOAD_BYTES
        command(publisher, f"pub hot k{number % KEYS} {token} {number} {filler}")
    expect(line(publisher) == ["published", str(last), str(last)], "another number")


# Options of a subscription, and whether it has to get a gap, a conflation, or
# to be closed.
SLOW = (
    ("slow=gap", "G"),
    ("slow=conflate", "C"),
    ("slow=close", 4009),
    ("", "C"),
    ("latest", None),
    ("slow=gap window=100", "G"),
    ("slow=close window=5", 4009),
    ("slow=conflate rate=20", "C"),
    ("slow=close rate=1", 4009),
)


def falls_off(server):
    """One of each does not read while far more is published than a tape holds."""
    with serving_topics(server, ["hot:slow_reader=conflate"], **LIMITS) as small:
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context
            publisher = opened(Peer.open(small.port, "/words"))
            healthy = opened(Peer.open(small.port, "/words"))
            stalled = [
                (opened(Peer.open(small.port, "/words", receive_buffer_bytes=4096)), *expected)
                for expected in SLOW * 2
            ]
            for reader, options, _ in [*stalled, (healthy, "slow=close", None)]:
                command(reader, f"sub hot {options}".rstrip())
                expect(line(reader)[0] == "subscribed", "not subscribed")
            for number in range(1, MESSAGES + 1):
                publish(publisher, number, number)
                expect(line(healthy)[2] == str(number), "the healthy reader missed something")
            for reader, options, mark in stalled:
                try:
                    check_fallen(reader, options, mark)
                except AssertionError as failure:
                    raise AssertionError(f"{options!r}: {failure}") from None
            # Nothing of that has touched the one that reads.
            publish(publisher, MESSAGES + 1, MESSAGES + 1)
            expect(line(healthy)[2] == str(MESSAGES + 1), "the healthy reader missed something")


def check_fallen(reader, options, mark):
    """Reads on to the last message or to the close."""
    last, marks, loose, values = 0, [], 0, {}
    if "window" in options:
        # So that what it has not got is not only for want of room.
        command(reader, "ack hot 3")
    while last < MESSAGES:
        words = line(reader)
        if isinstance(words, int):
            expect(words == mark, f"closed with {words} after {last}")
            return
        if words[0] in "GC":
            first, end = int(words[2]), int(words[3])
            expect(first == last + 1 and first <= end, f"{words} after {last}")
            marks.append(words[0])
            last, loose = (end, loose) if words[0] == "G" else (last, end)
            continue
        seq, number = int(words[2]), words[5].split(" ")[0]
        is_next = seq == last + 1 or last < seq <= loose or "latest" in options
        expect(seq > last and is_next, f"{seq} after {last}, conflated to {loose}")
        expect(number == str(seq), f"message {seq} is number {number}")
        values[words[4]] = last = seq
        if "window" in options:
            command(reader, f"ack hot {seq}")
    expect(mark in marks if mark else not marks, f"it was told {marks}")
    if mark != "G":
        newest = {f"k{seq % KEYS}": seq for seq in range(1, MESSAGES + 1)}
        expect(values == newest, f"the newest values are {values}, not {newest}")


async def by_the_query(server):
    """`/tape`, as load generators use it."""
    with serving_topics(server) as small:
        async with contextlib.AsyncExitStack() as stack:

            async def opened(query):
                return await stack.enter_async_context(connect(small, f"/tape?{query}"))

            marked = await stack.enter_async_context(connect(small, "/words"))
            await subscribe(marked, "b")
            publisher = await opened("publish=a&publish=b&keys=2")
            both, latest = await opened("topic=a&topic=b"), await opened("topic=b&mode=latest")
            # Elsewhere subscribed, it takes a moment.
            await asyncio.sleep(0.1)
            for number in range(4):
                await publisher.send(f"{number}")
                expect(await receive(both) == f"{number}", "another message")
            await check(marked, "M b 1 * 1 1", "M b 2 * 1 3")
            expect([await receive(latest), await receive(latest)] == ["1", "3"], "not the latest")
            # Ten topics; each connection reads the next three.
            readers = [await opened("topics=10&each=3") for _ in range(20)]
            everything = await opened("topics=10")
            await asyncio.sleep(0.1)
            counts = [0] * 10
            for number in range(10):
                await everything.send(f"{number}")
            for reader in readers:
                found = sorted([int(await receive(reader)) for _ in range(3)])
                for number in found:
                    counts[number] += 1
                steps = {(right - left) % 10 for left, right in zip(found, found[1:] + found[:1])}
                expect(steps == {1, 8}, f"a reader has {found}")
            expect(min(counts) > 0, f"topics were read by {counts}")
            got = sorted([await receive(everything) for _ in range(10)])
            expect(got == [str(number) for number in range(10)], f"received {got}")
        # A slow reader of a query is closed.
        query = "topic=hot&slow=close&publish=hot"
        with Peer.open(small.port, f"/tape?{query}", receive_buffer_bytes=4096) as slow:
            await fall_off_by_query(small, slow)


async def fall_off_by_query(small, slow):
    async with connect(small, "/tape?publish=hot") as publisher:
        for _ in range(60):
            await publisher.send(b"x" * (256 * KIBIBYTE))
        # Until all of it is published.
        await publisher.ping()
        started = time.monotonic()
        await asyncio.sleep(0.2)
        codes = set()
        while received := await asyncio.to_thread(slow.receive_frame):
            if received.opcode == wire.CLOSE:
                codes.add(received.close_code)
                break
            expect(time.monotonic() - started < 10, "never closed")
        expect(codes == {4009}, f"closed with {codes}")
