"""Two hundred readers of every kind, four publishers, two hundred thousand messages:
every reader checks its own promises.
"""

import asyncio
import contextlib
import re

from . import peer as wire
from .promises import Promises, Topic
from .server import Failure, expect
from .words import Client, serving_topics

TOPICS, PUBLISHERS, KEYS = 8, 4, 50
MESSAGES = 200_000
MESSAGES_PER_SECOND = 8_000
# Of each publisher, one in so many asks for its number.
RECEIPTS_EVERY = 50
SETTLE_SECONDS_MAX = 20
STALL_SECONDS = 1.5
FILLER = "f" * 80
# A topic's messages of a second are about 150 KB: a stall of that length loses some,
# and what a busy machine does to all readers at once does so rarely.
LIMITS = {"tape_bytes_max": 128 << 10, "socket_send_bytes": 16 << 10, "replay_bytes_max": 16 << 10}


class Publisher(Client):
    """Publishes to the topics in turn, and hears what number some of it got."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.numbers = {}
        self.failure = None

    def received(self, _opcode, payload):
        match = re.fullmatch(rb"published (\d+) (\d+)", payload)
        if not match:
            self.failure = Failure(f"publisher {self.name} received {payload!r}")
            return
        self.numbers[int(match[1])] = int(match[2])

    def publish(self, number):
        """Text and binary by turns."""
        token = number if number % RECEIPTS_EVERY == 0 else "-"
        topic, key = number % TOPICS, number // TOPICS * 7 % KEYS
        words = f"pub hot.{topic} k{key} {token} {self.name} {number} {FILLER}"
        self.tell(words if number % 3 else words.encode())

    async def publish_all(self, count):
        """At its share of the rate; a publisher whose socket is full waits."""
        loop = asyncio.get_running_loop()
        started, each = loop.time(), MESSAGES_PER_SECOND / PUBLISHERS
        number = 0
        while number < count:
            due = min(count, int((loop.time() - started) * each) + 1)
            while number < due:
                await self.writable.wait()
                self.publish(number)
                number += 1
            await asyncio.sleep(0.005)


def roles(topic):
    """The readers of one topic, and what is done to each while it reads."""
    return [
        *((Promises(topic), None) for _ in range(5)),
        *((Promises(topic), stalls) for _ in range(2)),
        (Promises(topic, policy="conflate"), None),
        *((Promises(topic, policy="conflate"), stalls) for _ in range(2)),
        *((Promises(topic, "latest"), None) for _ in range(2)),
        *((Promises(topic, "latest"), stalls) for _ in range(2)),
        (Promises(topic, rate=4), None),
        (Promises(topic, "latest", rate=4), None),
        (Promises(topic, "latest", rate=5), stalls),
        *((Promises(topic, window=64), None) for _ in range(2)),
        (Promises(topic, "latest", window=16), None),
        *((Promises(topic, "snapshot"), comes_late) for _ in range(2)),
        (Promises(topic, "snapshot latest"), comes_late),
        *((Promises(topic), comes_and_goes) for _ in range(2)),
    ]


async def stalls(reader):
    """Stops reading for a while, twice."""
    for _ in range(2):
        await asyncio.sleep(4)
        reader.transport.pause_reading()
        await asyncio.sleep(STALL_SECONDS)
        reader.transport.resume_reading()


async def comes_late(reader):
    """In the middle of it all, again and again."""
    for _ in range(5):
        await asyncio.sleep(1.5)
        if reader.is_subscribed:
            await reader.unsubscribe()
        reader.values.clear()
        reader.conflated_to = 0
        reader.subscribe()
        await reader.subscribed()


async def comes_and_goes(reader):
    """Leaves, and resumes where it was."""
    for _ in range(20):
        await asyncio.sleep(0.7)
        await reader.unsubscribe()
        await asyncio.sleep(0.1)
        epoch = reader.epoch.decode()
        reader.subscribe(f"since={epoch}:{reader.last}")
        await reader.subscribed()


async def settle(readers):
    """Everybody gets up to the last message."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS_MAX):
            while any(
                reader.last < reader.topic.messages and not reader.failure for reader in readers
            ):
                await asyncio.sleep(0.1)


def told_of(reader):
    return f"{reader.topic.name} {reader.options!r}"


def check_reader(reader):
    if reader.failure:
        raise Failure(f"{told_of(reader)}: {reader.failure}") from reader.failure
    expect(not reader.closed.done(), f"{told_of(reader)} was closed")
    last, messages = reader.last, reader.topic.messages
    expect(last == messages, f"{told_of(reader)} is at {last} of {messages}: {reader.counts}")
    try:
        reader.check_rate()
    except Failure as failure:
        raise Failure(f"{told_of(reader)}: {failure}") from None
    if reader.counts["G"] == 0:
        newest = reader.topic.newest()
        wrong = {key for key in newest if reader.values.get(key) != newest[key]}
        expect(not wrong, f"{told_of(reader)}: not the newest of {sorted(wrong)[:5]}")


def check_contents(topics, publishers):
    """Each message of each publisher once, in its order, with the number of its answer,
    and as it was published."""
    for index, topic in enumerate(topics):
        nexts = dict.fromkeys(range(PUBLISHERS), index)
        for seq, (opcode, words) in enumerate(topic.contents[1:], 1):
            *_, key, name, number, filler = words.decode().split(" ")
            name, number = int(name), int(number)
            expect(number == nexts[name], f"{topic.name} {seq}: {number} of {name} out of turn")
            nexts[name] += TOPICS
            expected = wire.TEXT if number % 3 else wire.BINARY
            expect(opcode == expected, f"{topic.name} {seq} has opcode {opcode}")
            expect(key == f"k{number // TOPICS * 7 % KEYS}", f"{topic.name} {seq} has key {key}")
            expect(filler == FILLER, f"{topic.name} {seq} is in pieces")
            if number % RECEIPTS_EVERY == 0:
                told = publishers[name].numbers.get(number)
                expect(told == seq, f"{topic.name} {seq} was told to be {told}")


async def every_promise(server):
    topics = [Topic(f"hot.{number}", MESSAGES // TOPICS) for number in range(TOPICS)]
    readers = [reader for topic in topics for reader in roles(topic)]
    expect(len(readers) == 200, f"{len(readers)} readers")
    with serving_topics(server, **LIMITS) as small:
        for reader, happens in readers:
            size = 8 << 10 if happens is stalls else None
            await reader.open(small.port, receive_buffer_bytes=size)
            if happens is not comes_late:
                reader.subscribe()
        for reader, happens in readers:
            if happens is not comes_late:
                await reader.subscribed()
        publishers = [await Publisher(name).open(small.port) for name in range(PUBLISHERS)]
        happening = [
            asyncio.create_task(happens(reader)) for reader, happens in readers if happens
        ]
        count = MESSAGES // PUBLISHERS
        await asyncio.gather(*(publisher.publish_all(count) for publisher in publishers))
        await asyncio.gather(*happening)
        readers = [reader for reader, _ in readers]
        await settle(readers)
        for publisher in publishers:
            expect(not publisher.failure, f"{publisher.failure}")
        for topic in topics:
            missing = topic.contents[1:].count(None)
            expect(not missing, f"{missing} messages of {topic.name} reached nobody")
        for reader in readers:
            check_reader(reader)
        check_contents(topics, publishers)
        total = {what: sum(reader.counts[what] for reader in readers) for what in readers[0].counts}
        # Everything that was to be tested has happened.
        for what, count in total.items():
            expect(count >= 10, f"{what} happened {count} times")
        for client in (*readers, *publishers):
            client.transport.abort()
    kinds = {"M": "deliveries", "G": "gaps", "C": "conflations", "S": "portions"}
    share = max(reader.busy_share() for reader in readers)
    happened = ", ".join(f"{count:,} {kinds.get(what, what)}" for what, count in total.items())
    return f"{happened}; who has a rate got something in {share:.0%} of the time at most"
