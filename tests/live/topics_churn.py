"""Readers and publishers that come and go in the middle of something: everything that was
published stays whole, a reader that resumes loses nothing, and nothing is left behind.
"""

import asyncio
import random
import socket
import threading
import time

from . import peer as wire
from .peer import Peer
from .promises import Promises, Topic
from .server import expect
from .topics_memory import MEBIBYTE, ask
from .words import Listening, serving_topics, told, unmasked

ENDS = ("close", "reset", "shut", "unsub and close")


def end(peer, how):
    """Ends the connection of a publisher right behind its last message."""
    if how == "reset":
        return peer.reset()
    if how == "shut":
        peer.socket.shutdown(socket.SHUT_WR)
    else:
        peer.send(wire.close_frame(1000))
    peer.receive_to_end()
    peer.socket.close()


def publish_and_close(server):
    """A publisher that is subscribed itself ends right behind its messages: all of
    them are delivered, in order, to the others; of one that resets, the first."""
    rounds, messages = 400, 40
    with serving_topics(server) as small:
        with Peer.open(small.port, "/words") as reader:
            expect(ask(reader, "sub hot")[0] == "subscribed", "not subscribed")
            counts = [0] * rounds
            reading = threading.Thread(target=read_to_the_end, args=(reader, counts), daemon=True)
            reading.start()
            for number in range(rounds):
                how = ENDS[number % len(ENDS)]
                peer = Peer.open(small.port, "/words")
                # More than is read at once, so that some is lost with a reset.
                filler = "x" * (32 << 10 if how == "reset" else 1)
                commands = ["sub hot"] if number % 3 else []
                commands += [f"pub hot - - {number} {index} {filler}" for index in range(messages)]
                commands += ["unsub hot"] if how.startswith("unsub") else []
                peer.send(b"".join(unmasked(wire.TEXT, words.encode()) for words in commands))
                end(peer, how)
            small.wait_for(lambda: small.connections() == 1, 10, "connections are left")
            time.sleep(0.2)
            with Peer.open(small.port, "/words") as last:
                seq = int(ask(last, "pub hot - 1 end")[2])
            reading.join(10)
            expect(not reading.is_alive(), "the last message did not come in order")
            expect(sum(counts) == seq - 1, f"{sum(counts)} messages, and the last is {seq}")
            for number, count in enumerate(counts):
                how = ENDS[number % len(ENDS)]
                whole = count == messages or how == "reset" and count < messages
                expect(whole, f"{count} of {messages} messages of one that ended by {how}")
            resident = small.resident_bytes()
    resets = [count for number, count in enumerate(counts) if ENDS[number % 4] == "reset"]
    return f"{sum(resets)} of {len(resets) * messages} by those that reset, {resident >> 20} MiB"


def read_to_the_end(reader, counts):
    """Reads up to `end`, and counts the messages of each publisher."""
    expected = 0
    while True:
        words = reader.receive_frame().payload[:100].decode().split(" ")
        expected += 1
        expect(words[0] == "M" and int(words[2]) == expected, f"{words} instead of {expected}")
        if words[5] == "end":
            return
        number, index = int(words[5]), int(words[6])
        expect(index == counts[number], f"message {index} of {number} after {counts[number]}")
        counts[number] += 1


async def leave_while_replaying(server):
    """A reader that leaves in the middle of a replay and resumes, again and again, has
    everything once at the end; one that never returns harms nobody."""
    history, live, readers = 6_000, 3_000, 16
    randomness = random.Random(7)
    with serving_topics(server, replay_bytes_max=4 << 10) as small:
        publisher = await Listening().open(small.port)
        topic = Topic("past", history + live)
        for number in range(history):
            publisher.tell(f"pub past k{number % 9} - {number} {'p' * 60}")
        await told(publisher, "pub past - 1 mark")
        publisher.tell("sub past")
        epoch = (await publisher.words()).split(" ")[2]
        await told(publisher, "unsub past")

        async def come_and_go(index):
            reader, leaves = Promises(topic, window=(None, None, 500)[index % 3]), 0
            await reader.open(small.port)
            while reader.last < topic.messages and not reader.failure:
                reader.subscribe(f"since={epoch}:{reader.last}")
                await asyncio.sleep(randomness.random() * 0.02)
                await reader.unsubscribe()
                leaves += 1
            reader.transport.abort()
            if reader.failure:
                raise reader.failure
            expect(reader.counts["G"] == 0, "it was told a gap")
            return leaves

        async def vanish():
            """In the middle of a replay, by a reset."""
            while topic.contents[-1] is None:
                reader = await Promises(topic).open(small.port)
                reader.last = randomness.randrange(history)
                reader.subscribe(f"since={epoch}:{reader.last}")
                await asyncio.sleep(randomness.random() * 0.01)
                reader.transport.abort()
                if reader.failure:
                    raise reader.failure

        async def publish():
            for number in range(live - 1):
                publisher.tell(f"pub past k{number % 9} - live {number}")
                if number % 20 == 0:
                    await asyncio.sleep(0.005)

        coming = (come_and_go(index) for index in range(readers))
        *leaves, _, _, _ = await asyncio.gather(*coming, publish(), vanish(), vanish())
        publisher.transport.abort()
    expect(min(leaves) > 3, f"they left {leaves} times")
    return f"left {sum(leaves)} times"


async def churn(server):
    """Subscribed and unsubscribed in one breath, with publications in between; then
    everybody gets what it is subscribed to and nothing else, and memory is flat."""
    clients, topics, rounds = 40, 200, 25
    randomness = random.Random(11)
    residents = []
    with serving_topics(server, log_ms=200) as small:
        for _ in range(4):
            listeners = [await Listening().open(small.port) for _ in range(clients)]
            for number in range(rounds):
                for listener in listeners:
                    batch = []
                    for _ in range(10):
                        name = f"t.{randomness.randrange(topics)}"
                        batch += [f"sub {name}", f"pub {name} k - x", f"unsub {name}"]
                    frames = (unmasked(wire.TEXT, words.encode()) for words in batch)
                    listener.transport.write(b"".join(frames))
                if number % 5 == 0:
                    await asyncio.sleep(0.01)
            await check_clean(listeners, topics, randomness)
            for listener in listeners:
                listener.transport.abort()
            await asyncio.to_thread(
                small.wait_for, lambda: small.connections() == 0, 10, "connections are left"
            )
            await asyncio.sleep(0.5)
            residents.append(small.resident_bytes())
    growth = residents[-1] - residents[0]
    expect(growth < 4 * MEBIBYTE, f"memory grew by {growth} bytes: {residents}")
    return f"MiB after each round: {', '.join(str(size >> 20) for size in residents)}"


async def check_clean(listeners, topics, randomness):
    """From here on each gets the topics that it asks for, whatever came before."""
    wanted = []
    for index, listener in enumerate(listeners):
        names = {f"t.{randomness.randrange(topics)}" for _ in range(4)}
        wanted.append(names)
        for name in sorted(names):
            listener.tell(f"sub {name}")
        # Once this is answered, so is everything before.
        listener.tell(f"sub own.{index}")
        while not (await listener.words()).startswith(f"subscribed own.{index} "):
            pass
    await asyncio.sleep(0.2)
    for listener in listeners:
        while not listener.frames.empty():
            words = listener.frames.get_nowait()
            expect(words.startswith(("subscribed", "M ")), f"received {words!r}")
    publisher = listeners[0]
    for number in range(topics):
        publisher.tell(f"pub t.{number} - - check")
    for index in range(len(listeners)):
        publisher.tell(f"pub own.{index} - - end")
    await asyncio.sleep(0.5)
    for index, listener in enumerate(listeners):
        names = wanted[index] | {f"own.{index}"}
        found = []
        while not listener.frames.empty():
            found.append(listener.frames.get_nowait().split(" ")[1])
        expect(sorted(found) == sorted(names), f"subscribed to {names}, got {found}")
