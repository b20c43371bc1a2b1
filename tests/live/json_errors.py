"""The numbered errors of tapecast.v1.json, each provoked over the wire."""

import asyncio
import contextlib
import itertools
import json
import re
import time

from . import peer as wire
from .json_topics import ask, connect, expect_answer, receive
from .server import ROOT, configured, expect, serving
from .words import Listening, unmasked

RULES = """
[[topics]]
pattern = "closed.>"
publish = "server"
subscribe = "server"

[[topics]]
pattern = "newest"
delivery = ["latest"]

[[topics]]
pattern = "keyless"
keys_max = 0
"""

REQUEST_BYTES_MAX = 256 << 10

# Ids of requests, one after the other.
IDS = (1, "text", {"a": [1]}, [1, None], True, 1.5, 'é"\\', 0, 1 << 64, "x" * 254)

# Publications of one connection whose answers may be under way, as the error says.
UNANSWERED_MAX = 1_024
# Enough that some have their homes on another shard, whatever the seed.
ROOMS = 40


def publish(channel="open", **fields):
    return {"type": "publish", "channel": channel, "message": 1} | fields


def subscribe(channel="open", **fields):
    return {"type": "subscribe", "channel": channel} | fields


# A request that can't be read is answered with its id if that stands before the fault.
WITH_ID = (
    (101, '{"type":"ping","id":1} {}', 1, "at byte 23"),
    (101, '{"id":"first","type":ping}', "first", "at byte 21"),
    (101, '{"id":[2],"a":' + "[" * 100 + "}", [2], "deep"),
    (107, json.dumps({"type": "ping", "id": [2], "x": "y" * REQUEST_BYTES_MAX}), [2], "bytes"),
)
# Else there is none.
WITHOUT_ID = (
    (100, b"bytes", "expected text"),
    (100, b'{"type":"ping","id":1}', "expected text"),
    (101, "", "at byte 0"),
    (101, "{", "at byte 1"),
    (101, "nul", "at byte 0"),
    (101, '{"type":"ping","id":1', "at byte 21"),
    (101, '{"type":"ping","id":01}', "at byte 21"),
    (101, "[" * 100_000, "at byte"),
    (102, "[]", "an object"),
    (102, "7", "an object"),
    (102, '"ping"', "an object"),
    (102, "null", "an object"),
    (102, '[{"type":"ping","id":1}]', "an object"),
    (105, json.dumps({"type": "ping", "id": "x" * 255}), "at most 256"),
    (107, json.dumps({"type": "ping", "x": "y" * REQUEST_BYTES_MAX, "id": 1}), "at most 262144"),
)

# `taken`, `taken.*` and the room `joined` are subscribed to.
REFUSED = (
    (103, {"type": "dance"}, "unknown type"),
    (103, {"type": "Ping"}, "unknown type"),
    (103, {"type": 7}, "unknown type"),
    (104, {}, "type"),
    (104, {"type": None}, "type"),
    (104, {"type": "subscribe"}, "channel"),
    (104, {"type": "unsubscribe"}, "channel"),
    (104, {"type": "join", "channel": "open"}, "room"),
    (104, {"type": "leave"}, "room"),
    (104, {"type": "publish", "message": 1}, "channel"),
    (104, {"type": "publish", "channel": "open"}, "message"),
    (104, {"type": "ack", "seq": 1}, "channel"),
    (104, {"type": "ack", "channel": "taken"}, "seq"),
    (105, subscribe(7), "channel"),
    (105, {"type": "subscribe", "channels": "open"}, "channels"),
    (105, {"type": "subscribe", "channels": []}, "channels"),
    (105, {"type": "subscribe", "channels": ["open", 7]}, "channels"),
    (105, {"type": "join", "room": ["open"]}, "room"),
    (105, subscribe(mode="most"), "mode"),
    (105, subscribe(max_rate=-1), "max_rate"),
    (105, subscribe(window=1.5), "window"),
    (105, subscribe(since=5), "since"),
    (105, subscribe(since={"epoch": 1}), "since"),
    (105, subscribe(snapshot="yes"), "snapshot"),
    (105, publish(key=5), "key"),
    (105, publish(key="k", remove="yes"), "remove"),
    (105, {"type": "ack", "channel": "taken", "seq": -1}, "seq"),
    (110, subscribe(""), "name"),
    (110, subscribe("a..b"), "a..b"),
    (110, subscribe("a.>.b"), "a.>.b"),
    (110, subscribe("line\n"), "name"),
    (110, subscribe("x" * 256), "name"),
    (110, subscribe("é" * 128), "name"),
    (110, publish("open.*"), "name"),
    (110, publish(".open"), "name"),
    (110, {"type": "join", "room": "open.*"}, "name"),
    (110, {"type": "join", "room": "open."}, "name"),
    (111, subscribe("taken"), "taken"),
    (111, subscribe("taken.*"), "taken.*"),
    (111, subscribe("joined"), "joined"),
    (111, {"type": "join", "room": "taken"}, "taken"),
    (112, {"type": "unsubscribe", "channel": "open"}, "open"),
    (112, {"type": "unsubscribe", "channel": "open.*"}, "open.*"),
    (112, {"type": "leave", "room": "open"}, "open"),
    (112, {"type": "ack", "channel": "open", "seq": 1}, "open"),
    (114, subscribe(max_rate=0), "max_rate"),
    (114, subscribe(max_rate=1_001), "max_rate"),
    (114, subscribe(window=0), "window"),
    (114, subscribe(window=65_537), "window"),
    (114, subscribe("open.*", since={"epoch": 1, "seq": 1}), "since"),
    (115, publish("closed.a"), "closed.a"),
    (115, subscribe("closed.a"), "closed.a"),
    (115, subscribe("newest"), "newest"),
    (115, publish("$presence.open"), "$presence.open"),
    (116, publish(key="k" * 256), "key"),
    (116, publish(key="é" * 128), "key"),
    (116, publish("keyless", key="k"), "keyless"),
)


async def receive_but(client, kind):
    """The next that is not of this kind."""
    while (answer := await receive(client))["type"] == kind:
        pass
    return answer


class Provoking:
    """Provokes errors on a connection and notes their numbers."""

    def __init__(self, client, provoked):
        self.client = client
        self.provoked = provoked
        self.ids = itertools.cycle(IDS)

    async def refused(self, code, request, text):
        """The next answer is this error, and the one to a ping behind it is the next."""
        identity = next(self.ids) if isinstance(request, dict) else None
        if isinstance(request, dict):
            request = json.dumps(request | {"id": identity})
        await self.client.send(request)
        answer = await receive(self.client)
        self.check(answer, code, identity, text)
        await self.is_usable()

    def check(self, answer, code, identity, text):
        fields = ["type", "code", "message"] + ["id"] * (identity is not None)
        expect(sorted(answer) == sorted(fields), f"for {code}: {answer}")
        expect_answer(answer, type="error", code=code, id=identity)
        # JSON tells a number from a truth, Python does not.
        expect(type(answer.get("id")) is type(identity), f"for the id {identity}: {answer}")
        expect(text in answer["message"], f"{text!r} is not in {answer}")
        self.provoked.add(code)

    async def is_usable(self):
        identity = next(self.ids)
        answer = await ask(self.client, type="ping", id=identity)
        expect(answer == {"type": "pong", "id": identity}, f"{answer}")


@contextlib.asynccontextmanager
async def provoking(like, provoked, rules="", **limits):
    """A connection to a server of its own with these limits."""
    with configured(like, rules, limits=limits) as server:
        async with connect(server) as client:
            yield Provoking(client, provoked)


async def every_number(server):
    """Each number of docs/protocol.md's table occurs where it should, and no other does."""
    provoked = set()
    await wrong_words(server, provoked)
    await many_subscriptions(server, provoked)
    await many_topics(server, provoked)
    await many_patterns(server, provoked)
    await long_messages(server)
    await fast_publications(server, provoked)
    bursts = await unanswered_publications(server, provoked)
    if server.shards > 1:
        await rooms_elsewhere(server, provoked)
    page = (ROOT / "docs/protocol.md").read_text().split("## Errors")[1]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}
    expect(documented, "docs/protocol.md has no table of errors")
    missing = documented - provoked
    expect(not missing, f"nothing here provokes {sorted(missing)}")
    unknown = provoked - documented
    expect(not unknown, f"not in docs/protocol.md: {sorted(unknown)}")
    return f"{len(provoked)} numbers, {bursts} bursts"


async def wrong_words(server, provoked):
    """Faults of a request by itself, or for this connection's subscriptions."""
    async with provoking(server, provoked, RULES) as provoking_one:
        client = provoking_one.client
        await provoking_one.refused(130, {"message": "hi"}, "join")
        await provoking_one.refused(130, {"type": "message", "message": "hi"}, "join")
        expect_answer(await ask(client, **subscribe("taken")), type="subscribed")
        expect_answer(await ask(client, **subscribe("taken.*")), type="subscribed")
        expect_answer(await ask(client, type="join", room="joined"), type="subscribed")
        for code, request, text in WITHOUT_ID + REFUSED:
            await provoking_one.refused(code, request, text)
        for code, request, identity, text in WITH_ID:
            await client.send(request)
            provoking_one.check(await receive(client), code, identity, text)
        # Names and ids of the greatest length are accepted.
        for channel in ("x" * 255, "é" * 127):
            answer = await ask(client, **subscribe(channel))
            expect_answer(answer, type="subscribed", channel=channel)
        answer = await ask(client, **publish(key="k" * 255), id=1)
        expect_answer(answer, type="published", seq=1)
        identity = "x" * 254
        expect_answer(await ask(client, type="ping", id=identity), type="pong", id=identity)
        # Nothing of all that was published, and a refused subscription left the first one alone.
        expect_answer(await ask(client, **publish("taken")), channel="taken", seq=1)
        await provoking_one.is_usable()
        # A fault of one of several channels does not stop the others.
        channels = ["taken", "a..b", "open", "open"]
        await client.send(json.dumps({"type": "subscribe", "channels": channels, "id": 7}))
        answers = [await receive(client) for _ in channels]
        errors = [answer["code"] for answer in answers if answer["type"] == "error"]
        expect(sorted(errors) == [110, 111, 111], f"{answers}")
        expect(all(answer["id"] == 7 for answer in answers), f"{answers}")
        subscribed = [answer for answer in answers if answer["type"] == "subscribed"]
        expect([answer["channel"] for answer in subscribed] == ["open"], f"{answers}")
        await provoking_one.is_usable()


async def many_subscriptions(server, provoked):
    async with provoking(server, provoked, subscriptions_max=3) as provoking_one:
        client = provoking_one.client
        for channel in ("a", "b", "c"):
            expect_answer(await ask(client, **subscribe(channel)), type="subscribed")
        for request in (subscribe("d"), subscribe("d.>"), {"type": "join", "room": "d"}):
            await provoking_one.refused(113, request, "too many")
        for kind in ("subscribe", "unsubscribe"):
            # More names than there may be subscriptions are not looked at.
            request = {"type": kind, "channels": ["d", "e", "f", "g"]}
            await provoking_one.refused(113, request, "at most 3")
        expect_answer(await ask(client, type="unsubscribe", channel="a"), type="unsubscribed")
        expect_answer(await ask(client, **subscribe("d")), type="subscribed")
        await provoking_one.refused(113, subscribe("a"), "too many")


async def many_patterns(server, provoked):
    """As many as this connection may have, and as many as there may be."""
    for limit, code, text in (
        ("patterns_per_connection_max", 118, "patterns_per_connection_max"),
        ("patterns_max", 119, "patterns_max"),
    ):
        async with provoking(server, provoked, **{limit: 1}) as provoking_one:
            client = provoking_one.client
            expect_answer(await ask(client, **subscribe("a.*")), type="subscribed")
            await provoking_one.refused(code, subscribe("b.*"), text)
            expect_answer(await ask(client, type="unsubscribe", channel="a.*"), type="unsubscribed")
            expect_answer(await ask(client, **subscribe("b.*")), type="subscribed")


async def many_topics(server, provoked):
    """The first subscription takes what this shard may have."""
    async with provoking(server, provoked, topics_max=1) as provoking_one:
        client = provoking_one.client
        expect_answer(await ask(client, **subscribe("first")), type="subscribed")
        await provoking_one.refused(117, subscribe("second"), "second")
        await provoking_one.refused(117, {"type": "join", "room": "second"}, "second")
        # Publications are refused by their channel's home, which may be elsewhere and have
        # room for one.
        accepted = []
        for number in range(16):
            answer = await ask(client, **publish(f"c{number}"), id=number)
            if answer["type"] == "published":
                accepted.append(answer)
                continue
            provoking_one.check(answer, 117, number, f"c{number}: ")
            await provoking_one.is_usable()
        expect(len(accepted) < server.shards, f"too many topics: {accepted}")
        answer = await ask(client, **publish("first"))
        expect_answer(answer, type="message", channel="first", seq=1)


async def long_messages(server):
    """Up to the limit a message is taken whole, and above it never looked at: no error has
    to say that a body is too long."""
    bytes_max = 1_000
    whole = len(json.dumps(publish(message="")))
    async with provoking(server, set(), message_bytes_max=bytes_max) as provoking_one:
        client = provoking_one.client
        await client.send(json.dumps(publish(message="x" * (bytes_max - whole))))
        await provoking_one.is_usable()
        expect_answer(await ask(client, **publish(), id=1), type="published", seq=2)
        await client.send(json.dumps(publish(message="x" * (bytes_max - whole + 1))))
        await client.wait_closed()
        expect(client.close_code == 1009, f"closed with {client.close_code}")


async def fast_publications(server, provoked):
    """A second's publications are taken, the others refused, with their ids; the next
    second is a new one."""
    per_second_max, count = 5, 200
    async with provoking(server, provoked, publishes_per_second_max=per_second_max) as one:
        expect_answer(await ask(one.client, **subscribe("a")), type="subscribed")
        started = time.monotonic()
        for number in range(count):
            await one.client.send(json.dumps(publish("a", id=number)))
        published, refused, messages = [], [], 0
        while len(published) + len(refused) < count or messages < len(published):
            answer = await receive(one.client)
            if answer["type"] == "message":
                messages += 1
            elif answer["type"] == "published":
                published.append(answer["id"])
            else:
                one.check(answer, 122, answer.get("id"), f"more than {per_second_max} ")
                refused.append(answer["id"])
        seconds = time.monotonic() - started
        expect(sorted(published + refused) == list(range(count)), f"{published}, {refused}")
        # Seconds are the server's, and what takes one may touch two of them.
        allowed = per_second_max * (int(seconds) + 2)
        expect(per_second_max <= len(published) <= allowed, f"{published} in {seconds:.1f}s")
        await one.is_usable()
        end = time.monotonic() + 10
        while (await ask(one.client, **publish("a")))["type"] == "error":
            expect(time.monotonic() < end, "no second is a new one")
            await asyncio.sleep(0.3)
        await one.is_usable()


async def unanswered_publications(server, provoked):
    """A client that sends more publications with an id than may be unanswered gets an error
    for each of them, and may continue. How many are taken before the first is answered is the kernel's
    and the clock's, so that it may take some bursts."""
    frames = [
        unmasked(wire.TEXT, json.dumps(publish("busy", id=number)).encode())
        for number in range(8 * UNANSWERED_MAX)
    ]
    # All that has arrived is taken in one turn.
    limits = {
        "receive_buffer_bytes": 1 << 20,
        "receive_bytes_per_turn": 1 << 30,
        "turn_work_max": 1_000_000,
    }
    with serving(server, limits=limits) as own:
        client = await Listening().open(own.port, "/")
        for bursts in range(1, 21):
            client.transport.write(b"".join(frames))
            answers = [json.loads(await client.words(20)) for _ in frames]
            expect(
                sorted(answer["id"] for answer in answers) == list(range(len(frames))),
                "an id came back twice, or not at all",
            )
            published = [answer for answer in answers if answer["type"] == "published"]
            errors = [answer for answer in answers if answer["type"] != "published"]
            for answer in errors:
                expect_answer(answer, type="error", code=120)
            expect(len(published) >= UNANSWERED_MAX, f"only {len(published)} were taken")
            client.tell(json.dumps({"type": "ping", "id": "behind"}))
            expect_answer(json.loads(await client.words()), type="pong", id="behind")
            if errors:
                expect("retry" in errors[0]["message"], f"{errors[0]}")
                provoked.add(120)
                client.tell(json.dumps(publish("busy", id="again")))
                answer = json.loads(await client.words())
                expect_answer(answer, type="published", id="again")
                client.transport.abort()
                return bursts
    raise AssertionError("every publication was taken")


async def rooms_elsewhere(server, provoked):
    """Of one message to rooms whose homes are on another shard, no more may wait for it
    than the limit says; what is said next finds room again."""
    async with provoking(server, provoked, publish_overflow_bytes_max=1) as one:
        for number in range(ROOMS):
            answer = await ask(one.client, type="join", room=f"room.{number}")
            expect_answer(answer, type="subscribed")
        await one.client.send(json.dumps({"message": "hi"}))
        # One waits for the other shard; those behind it are refused, each on its own.
        await one.client.send(json.dumps({"type": "ping"}))
        refused = []
        while (answer := await receive_but(one.client, "message"))["type"] != "pong":
            expect_answer(answer, type="error", code=120)
            expect("retry later" in answer["message"], f"{answer}")
            refused.append(answer["message"].split(": ")[0])
        expect(0 < len(refused) == len(set(refused)) < ROOMS, f"{refused}")
        provoked.add(120)
        for number in range(ROOMS):
            request = publish(f"room.{number}", id=number)
            await one.client.send(json.dumps(request))
            answer = await receive_but(one.client, "message")
            expect_answer(answer, type="published", id=number)
