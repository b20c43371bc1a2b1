"""Every way to read a topic, over the wire: which messages come, in which order, and which
are left out. `tapecast-topics` serves them; half a dozen readers do the same each
time, so that with two shards some are on each.
"""

import asyncio
import contextlib
import re
import time

import websockets

from .echoing import connect
from .server import expect
from .words import serving_topics

READERS = 6
# So long nothing must come.
QUIET_SECONDS = 0.3
PAYLOADS = ("text", "", "Grüße, 世界 🦀", " with  spaces ", "l" * 70_000, bytes(range(256)), b"")


@contextlib.asynccontextmanager
async def crowd(server):
    """A publisher and the readers."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(server, "/words"))
            for _ in range(READERS + 1)
        ]
        yield clients[0], clients[1:]


async def receive(client):
    return await asyncio.wait_for(client.recv(), 5)


async def told(client, command, *answers):
    """Sends a command and returns what its answer matches."""
    await client.send(command)
    received = await receive(client)
    match = re.fullmatch(answers[0], received) if answers else None
    expect(not answers or match, f"{command!r} was answered with {received!r}")
    return match


async def subscribe(client, topic, *options, recovered=False):
    """Returns epoch and number."""
    words = " ".join(("sub", topic, *options))
    told_by = rf"subscribed {re.escape(topic)} (\d+) (\d+) {str(recovered).lower()}"
    match = await told(client, words, told_by)
    return int(match[1]), int(match[2])


async def publish(client, topic, *messages):
    """Each is KEY PAYLOAD; returns once the last has its number, which is returned."""
    for message in messages[:-1]:
        key, payload = message.split(" ", 1)
        await client.send(f"pub {topic} {key} - {payload}")
    key, payload = messages[-1].split(" ", 1)
    return int((await told(client, f"pub {topic} {key} 7 {payload}", r"published 7 (\d+)"))[1])


async def check(client, *expected):
    """Next comes exactly this, in which times stand as `*`."""
    for words in expected:
        received = await receive(client)
        if isinstance(received, str):
            received = re.sub(r"^(M \S+ \d+) \d+ ", r"\1 * ", received)
        expect(received == words, f"expected {words[:90]!r}, received {received[:90]!r}")


async def check_quiet(*clients):
    """Nothing comes."""
    await asyncio.sleep(QUIET_SECONDS)
    for client in clients:
        with contextlib.suppress(TimeoutError):
            received = await asyncio.wait_for(client.recv(), 0.001)
            expect(False, f"received {received[:90]!r}")


async def every_message(server):
    with serving_topics(server) as small:
        async with crowd(small) as (publisher, readers):
            for reader in readers:
                await subscribe(reader, "news")
            for number, payload in enumerate(PAYLOADS, 1):
                key = ("-", "key")[number % 2]
                command = f"pub news {key} {number} "
                is_text = isinstance(payload, str)
                command = command + payload if is_text else command.encode() + payload
                await told(publisher, command, f"published {number} {number}")
                head = f"M news {number} \\d+ {key} "
                whole = re.escape(payload)
                pattern = head + whole if is_text else head.encode() + whole
                for reader in readers:
                    received = await receive(reader)
                    expect(type(received) is type(payload), f"{payload[:20]!r} is {type(received)}")
                    expect(re.fullmatch(pattern, received), f"received {received[:60]!r}")
            # As it was published, beside an envelope.
            await subscribe(readers[0], "plain", "raw")
            await told(publisher, b"pub plain - 1 \xff\xfe", "published 1 1")
            await check(readers[0], b"\xff\xfe")
            await told(readers[1], "unsub news", "unsubscribed news")
            await publish(publisher, "news", "- last")
            await check(readers[0], f"M news {len(PAYLOADS) + 1} * - last")
            await check_quiet(readers[1])


async def refused(server):
    """An impossible request is refused with its reason, and changes nothing."""
    bad_name = "refused {} a topic's name is 1 to 255 bytes"
    table = (
        ("sub a..b", bad_name.format("sub")),
        ("sub >.a", bad_name.format("sub")),
        ("pub a.* - - x", bad_name.format("pub")),
        ("sub a rate=0", "refused sub max_rate is 1 to 1000 a second"),
        ("sub a window=0", "refused sub a window is 1 to 65536 messages"),
        ("sub a window=65537", "refused sub a window is 1 to 65536 messages"),
        ("sub a faster", 'refused sub "faster": expected'),
        ("ack a 1", "refused ack not subscribed to a"),
        ("unsub a", "refused unsub not subscribed to a"),
        (f"pub a {'k' * 256} - x", "refused pub a key is at most 255 bytes"),
        ("pub keyless k - x", "refused pub a key is at most 255 bytes, and this topic may"),
        ("pub $SYS.a - - x", "refused pub not allowed on this topic"),
        ("sub " + "n" * 256, bad_name.format("sub")),
    )
    with serving_topics(server, ["keyless:keys_max=0"], subscriptions_max=3) as small:
        async with connect(small, "/words") as client:
            for command, answer in table:
                await client.send(command)
                received = await receive(client)
                expect(received.startswith(answer), f"{command[:40]!r}: {received!r}")
            for topic in "abc":
                await subscribe(client, topic)
            await told(client, "sub a", "refused sub already subscribed to this topic")
            await told(client, "sub d", "refused sub too many subscriptions on this connection")
        for query, code in (("", 1008), ("topic=a..b", 1008), ("topic=a&rate=0", 1008)):
            async with connect(small, f"/tape?{query}") as client:
                with contextlib.suppress(websockets.ConnectionClosed):
                    await client.send("x")
                    await receive(client)
                expect(client.close_code == code, f"{query}: closed with {client.close_code}")


async def latest(server):
    """A message that is superseded before it could leave is skipped: the home gathers for long
    enough that three messages of two keys are."""
    with serving_topics(server, ["gathered:flush_ms=400"]) as small:
        async with crowd(small) as (publisher, readers):
            for reader in readers[1:]:
                await subscribe(reader, "gathered", "latest")
            await subscribe(readers[0], "gathered")
            await publish(publisher, "gathered", "a 1", "b 2", "a 3", "- 4", "- 5")
            every = [f"M gathered {seq} * {key} {seq}" for seq, key in enumerate("aba--", 1)]
            await check(readers[0], *every)
            for reader in readers[1:]:
                await check(reader, every[1], every[2], every[4])
            await check_quiet(*readers)


async def rated(server):
    """At most so many moves a second, each with all that is there, and the last comes."""
    rate, messages, every_seconds = 4, 30, 0.05
    with serving_topics(server, ["held:rate_max=4"]) as small:
        async with crowd(small) as (publisher, readers):
            for index, reader in enumerate(readers):
                mode = ("", "latest")[index % 2]
                # A rule holds those too that do not ask for it.
                topic, asked = (("free", f"rate={rate}"), ("held", "rate=1000"))[index // 3]
                await subscribe(reader, topic, *filter(None, (mode, asked)))

            async def bursts(client, is_latest):
                """How often something came, with a pause before."""
                count, last, seqs = 0, 0.0, []
                while not seqs or seqs[-1] < messages:
                    words = await receive(client)
                    now = time.monotonic()
                    count += now - last > 0.5 / rate
                    last = now
                    seqs.append(int(words.split(" ")[2]))
                expect(seqs == sorted(set(seqs)), f"received {seqs}")
                if is_latest:
                    # One key: a move brings one message.
                    expect(len(seqs) == count, f"{len(seqs)} messages in {count} moves")
                else:
                    expect(len(seqs) == messages, f"{len(seqs)} of {messages}")
                return count

            moves = asyncio.gather(
                *(bursts(reader, index % 2) for index, reader in enumerate(readers))
            )
            for _ in range(messages):
                await publisher.send("pub free k - x")
                await publisher.send("pub held k - x")
                await asyncio.sleep(every_seconds)
            counts = await moves
            # The first and the last may be cut, and the machine slow.
            expected = rate * messages * every_seconds
            for count in counts:
                expect(3 <= count <= expected + 2, f"{count} moves, not {expected:.0f}")
    return f"{counts} moves in {messages * every_seconds:.1f}s"


async def since(server):
    """A reader that returns resumes where it was, or learns that it can't."""
    with serving_topics(server, ["short:retention_messages=3"]) as small:
        async with crowd(small) as (publisher, readers):
            for topic in ("long", "short"):
                for reader in readers:
                    epoch, seq = await subscribe(reader, topic)
                    expect(seq == 0, f"a new topic begins at {seq}")
                first = [f"{'ab'[number % 2]} {number}" for number in range(1, 6)]
                await publish(publisher, topic, *first)
                lines = [f"M {topic} {seq} * {words}" for seq, words in enumerate(first, 1)]
                for reader in readers:
                    await check(reader, *lines)
                    await told(reader, f"unsub {topic}", f"unsubscribed {topic}")
                more = ["a 6", "a 7", "b 8", "a 9", "c 10"]
                await publish(publisher, topic, *more)
                lines += [f"M {topic} {seq} * {words}" for seq, words in enumerate(more, 6)]
                newest = [lines[7], lines[8], lines[9]]
                snapshot = [f"S {topic} 3", *newest, f"E {topic} 10"]
                # Where it asks to resume, in which mode, and the messages that it gets.
                table = [
                    (f"since={epoch}:10", "", True, []),
                    (f"since={epoch}:7", "", True, lines[7:]),
                    (f"since={epoch}:7", "latest", True, newest),
                    (f"since={epoch}:3", "", topic == "long", lines[3:]),
                    (f"since={epoch}:3", "latest", True, newest),
                    (f"since={epoch}:0", "", topic == "long", lines),
                    (f"since={epoch}:11", "", False, None),
                    (f"since={epoch + 1}:7", "", False, None),
                ]
                for where, mode, recovered, expected in table:
                    for reader in readers:
                        options = filter(None, (where, mode))
                        _, seq = await subscribe(reader, topic, *options, recovered=recovered)
                        asked = int(where.rpartition(":")[2])
                        expect(seq == (asked if recovered else 10), f"{where}: from {seq} on")
                        await check(reader, *(expected if recovered else snapshot))
                        await told(reader, f"unsub {topic}", f"unsubscribed {topic}")
                # And then it is live.
                for reader in readers:
                    await subscribe(reader, topic, f"since={epoch}:10", recovered=True)
                seq = await publish(publisher, topic, "c 11")
                expect(seq == 11, f"the eleventh message is {seq}")
                for reader in readers:
                    await check(reader, f"M {topic} 11 * c 11")
            await check_since_of_each(small)


async def check_since_of_each(small):
    """Every place of a history, by a connection that comes for it alone."""
    async with connect(small, "/words") as publisher:
        await publish(publisher, "each", "- 1")
        before, _ = await subscribe(publisher, "each")
        await told(publisher, "unsub each", "unsubscribed each")
        await publish(publisher, "each", *(f"- {number}" for number in range(2, 21)))
        epoch, _ = await subscribe(publisher, "each")
        expect(epoch == before, "who comes back finds other numbers")
        for seq in range(21):
            async with connect(small, "/words") as reader:
                _, at = await subscribe(reader, "each", f"since={epoch}:{seq}", recovered=True)
                expect(at == seq, f"asked for {seq}, is at {at}")
                await check(reader, *(f"M each {n} * - {n}" for n in range(seq + 1, 21)))


async def snapshot(server):
    """The newest value of each key, in the order of their numbers, between marks; what
    was removed is not there. Then everything."""
    with serving_topics(server, ["few:keys_max=2"], replay_bytes_max=512) as small:
        async with crowd(small) as (publisher, readers):
            for reader in readers:
                await subscribe(reader, "new", "snapshot")
                await check(reader, "S new 0", "E new 0")
            await publish(publisher, "values", "a 1", "b 2", "c 3", "a 4", "- 5")
            await told(publisher, "remove values b 7 6", "published 7 6")
            values = ["M values 3 * c 3", "M values 4 * a 4", "M values 5 * - 5"]
            for reader in readers:
                for options in (("snapshot",), ("snapshot", "latest"), ("snapshot", "rate=50")):
                    await subscribe(reader, "values", *options)
                    await check(reader, "S values 3", *values, "E values 6")
                    if options[-1] != "rate=50":
                        await told(reader, "unsub values", "unsubscribed values")
            await publish(publisher, "values", "b 7", "b 8")
            for reader in readers:
                await check(reader, "M values 7 * b 7", "M values 8 * b 8")
            # More keys than the rule has room for: the oldest value goes.
            await publish(publisher, "few", "a 1", "b 2", "c 3", "b 4")
            for reader in readers:
                await subscribe(reader, "few", "snapshot")
                await check(reader, "S few 2", "M few 3 * c 3", "M few 4 * b 4", "E few 4 of some")
            # Too long for one portion.
            long = [f"k{number} {number} {'x' * 100}" for number in range(1, 31)]
            await publish(publisher, "long", *long)
            await asyncio.gather(*(check_portions(reader, long) for reader in readers))


async def check_portions(reader, values):
    await subscribe(reader, "long", "snapshot")
    portions, left, expected = 0, 0, iter(enumerate(values, 1))
    while (words := await receive(reader)) != f"E long {len(values)}":
        if not left:
            expect(words.startswith("S long "), f"{words!r} instead of a mark")
            left, portions = int(words.split(" ")[2]), portions + 1
            continue
        seq, value = next(expected)
        expect(re.fullmatch(rf"M long {seq} \d+ {value}", words), f"{words!r}, not {value!r}")
        left -= 1
    expect(not left and next(expected, None) is None, "values are missing")
    expect(portions > 3, f"{portions} portions")


async def window(server):
    """Never more than so many that are not acknowledged, live and from the past."""
    with serving_topics(server) as small:
        async with crowd(small) as (publisher, readers):
            await publish(publisher, "work", "- 1", "- 2", "- 3", "- 4", "- 5")
            epoch, _ = await subscribe(publisher, "work")
            lines = [f"M work {number} * - {number}" for number in range(1, 13)]
            await told(publisher, "unsub work", "unsubscribed work")
            for reader in readers:
                where = f"since={epoch}:0"
                await subscribe(reader, "work", "window=3", where, recovered=True)
                await check(reader, *lines[:3])
            await publish(publisher, "work", *(f"- {number}" for number in range(6, 13)))
            await check_quiet(*readers)
            for reader in readers:
                await reader.send("ack work 1")
                await check(reader, lines[3])
                # A second acknowledgement of the same message changes nothing.
                await reader.send("ack work 1")
            await check_quiet(*readers)
            for reader in readers:
                await reader.send("ack work 4")
                await check(reader, *lines[4:7])
            await check_quiet(*readers)
            for reader in readers:
                for seq in (7, 10, 12):
                    await reader.send(f"ack work {seq}")
                    await check(reader, *lines[seq : seq + 3])
            await check_quiet(*readers)
