"""A thousand clients of tapecast.v1.json that say random words, come and go: every answer
is one that docs/protocol.md has, every request with an id is answered as it says there, and
nothing of them stays behind.
"""

import asyncio
import collections
import itertools
import json
import random
import re
import time

from . import peer as wire
from .administration import Admin
from .json_topics import random_request
from .ports import free_port
from .server import ROOT, expect, serving
from .words import Client

CLIENTS = 1_000
# Clients that share channels: one that subscribes to all of them hears so many.
GROUP = 10
HALF_SECONDS = 30
# A client says so many words, with so many seconds between two, and leaves.
WORDS = 40
PAUSE_SECONDS_MAX = 0.8
ANSWERED_SECONDS_MAX = 30
SETTLED_SECONDS_MAX = 20
GROWTH_BYTES_MAX = 4 << 20
LIMITS = {
    # Topics are forgotten soon.
    "log_ms": 1_000,
    "heartbeat_ms": 1_000,
    "subscriptions_max": 4,
    "publishes_per_second_max": 4,
    "topics_max": 1 << 16,
}


def is_text(value):
    return isinstance(value, str)


def is_count(value):
    return type(value) is int and 0 <= value < 1 << 64


def is_truth(value):
    return isinstance(value, bool)


def is_positions(value):
    return isinstance(value, dict) and value and all(map(is_count, value.values()))


def is_anything(_):
    return True


# Fields that a message must have and, with `?`, those that it may have: as in docs/protocol.md.
FIELDS = {
    "subscribed": {
        "channel": is_text,
        "epoch?": is_count,
        "seq?": is_count,
        "recovered?": is_truth,
        "id?": is_anything,
    },
    "unsubscribed": {"channel": is_text, "id?": is_anything},
    "published": {"channel": is_text, "seq": is_count, "id": is_anything},
    "pong": {"id?": is_anything},
    "message": {
        "channel": is_text,
        "seq": is_count,
        "time": is_count,
        "key?": is_text,
        "removed?": is_truth,
        "message": is_anything,
    },
    "snapshot": {"channel": is_text, "count": is_count},
    "snapshot_end": {"channel": is_text, "seq": is_count, "complete?": is_truth},
    "gap": {"channel": is_text, "from": is_count, "to": is_count},
    "conflated": {"channel": is_text, "from": is_count, "to": is_count},
    "heartbeat": {"channels": is_positions},
    "error": {"code": is_count, "message": is_text, "id?": is_anything},
}


# The answers to requests, where there are any.
ANSWERS = {
    "subscribe": "subscribed",
    "join": "subscribed",
    "unsubscribe": "unsubscribed",
    "leave": "unsubscribed",
    "publish": "published",
    "ping": "pong",
}


def documented():
    """The types of messages from the server, and the numbers of errors."""
    page = (ROOT / "docs/protocol.md").read_text()
    answers = re.findall(r'\| `\{"type":"(\w+)"[^|]*\|$', page.split("## From the server")[0], re.M)
    answers += re.findall(r'`\{"type":"(published)"', page)
    told = re.findall(r'^\| `\{"type":"(\w+)"', page.split("## From the server")[1], re.M)
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page.split("## Errors")[1], re.M)}
    return set(answers) | set(told), codes


def check_fields(answer, codes):
    fields = FIELDS.get(answer.get("type"))
    expect(fields is not None, f"an unknown type: {answer}")
    left = set(answer) - {"type"}
    for name, is_right in fields.items():
        if name in left or not name.endswith("?") and name not in answer:
            expect(name in answer and is_right(answer[name]), f"{name} of {answer}")
            left.discard(name)
        elif name.removesuffix("?") in left:
            name = name.removesuffix("?")
            expect(is_right(answer[name]), f"{name} of {answer}")
            left.discard(name)
    expect(not left, f"{sorted(left)} of {answer}")
    if answer["type"] == "subscribed":
        # A pattern is answered without a position.
        is_pattern = re.search(r"(^|\.)(\*|>)(\.|$)", answer["channel"]) is not None
        has = [name in answer for name in ("epoch", "seq", "recovered")]
        expect(not any(has) if is_pattern else all(has), f"{answer}")
    if answer["type"] == "error":
        expect(answer["code"] in codes and answer["message"], f"{answer}")


class Request:
    """The answers that a request with an id may still get."""

    def __init__(self, request):
        self.text = json.dumps(request)
        self.kind = request["type"]
        self.answer = ANSWERS.get(self.kind)
        named = request.get("room" if self.kind in ("join", "leave") else "channel")
        if self.kind in ("subscribe", "unsubscribe") and "channels" in request:
            named = request["channels"]
        named = named if isinstance(named, list) else [named]
        self.channels = collections.Counter(name for name in named if isinstance(name, str))
        self.left = 1 if self.kind == "ping" else len(named)
        self.is_first = True

    def take(self, answer):
        """Returns whether this was the last answer."""
        if answer["type"] == "error":
            about = [name for name in self.channels if answer["message"].startswith(f"{name}: ")]
            if about:
                self.take_channel(about[0], answer)
            else:
                # A fault of the request itself is reported once, not for each channel.
                is_whole = self.is_first and answer["code"] in (103, 104, 105, 113)
                expect(is_whole, f"{self.text} was answered with {answer}")
                self.left = 0
        else:
            expect(answer["type"] == self.answer, f"{self.text} was answered with {answer}")
            if self.kind == "ping":
                self.left = 0
            else:
                self.take_channel(answer["channel"], answer)
        self.is_first = False
        return self.left == 0

    def take_channel(self, channel, answer):
        expect(self.channels[channel] > 0, f"{self.text} was answered with {answer}")
        self.channels[channel] -= 1
        self.left -= 1


class ChatMessage:
    """A message to rooms, with an id: each answers once."""

    def __init__(self, request):
        self.text = json.dumps(request)
        self.rooms = set()

    def take(self, answer):
        expect(answer["type"] in ("published", "error"), f"{self.text}: {answer}")
        # An error begins with its room.
        room = answer.get("channel") or answer["message"].split(": ")[0]
        expect(room not in self.rooms, f"{self.text}: twice {answer}")
        self.rooms.add(room)


class Acknowledgement:
    """It is not answered, unless it is refused, once."""

    def __init__(self, request):
        self.text = json.dumps(request)
        self.is_refused = False

    def take(self, answer):
        is_error = answer["type"] == "error" and not self.is_refused
        expect(is_error, f"{self.text}: {answer}")
        self.is_refused = True


def mended(rng, request):
    """The request without what is wrong with each field by itself."""
    name = next(name for name in ("channel", "channels", "room") if name in request)
    named = request.pop(name)
    if request["type"] in ("join", "leave"):
        request["room"] = named[0] if isinstance(named, list) else named
    elif request["type"] not in ("subscribe", "unsubscribe") and isinstance(named, list):
        request["channel"] = named[0]
    else:
        request["channels" if isinstance(named, list) else "channel"] = named
    rights = {
        "mode": ("all", "latest"),
        "seq": (0, 5),
        "window": (1, 10),
        "max_rate": (1, 100),
        "snapshot": (True,),
        "since": ({"epoch": 1, "seq": 1},),
    }
    for field, values in rights.items():
        if field in request:
            request[field] = rng.choice(values)
    return request


class Saying(Client):
    """Says random words, and checks what it hears."""

    def __init__(self, seed, counts, codes):
        super().__init__()
        self.rng = random.Random(seed)
        group = f"g{seed % (CLIENTS // GROUP)}"
        names = ["a", "a", "a.b", "c", "c.d.e", "*", "a.*", ">"]
        self.names = [f"{group}.{name}" for name in names]
        self.counts = counts
        self.codes = codes
        self.requests = {}
        # Those that may go without an answer.
        self.optional = {}
        self.malformed = 0
        self.failure = None
        self.is_leaving = False
        self.answered = asyncio.Event()

    def received(self, opcode, payload):
        if self.failure or opcode == wire.CLOSE and self.is_leaving:
            return
        try:
            expect(opcode == wire.TEXT, f"opcode {opcode}: {payload[:100]}")
            self.hear(json.loads(payload))
        except Exception as error:
            self.failure = error
            self.answered.set()

    def hear(self, answer):
        check_fields(answer, self.codes)
        kind = answer["type"]
        self.counts[kind] += 1
        if kind == "error":
            self.counts[answer["code"]] += 1
        if kind == "error" and answer["code"] == 101:
            # With an id where one of its words was called so.
            self.malformed -= 1
            expect(self.malformed >= 0, f"nothing was malformed: {answer}")
        elif "id" not in answer:
            # Channels that a pattern matches are announced without a request.
            is_told = kind not in ("unsubscribed", "published", "pong")
            expect(is_told and answer.get("code", 113) == 113, f"without an id: {answer}")
        else:
            name = json.dumps(answer["id"])
            if name in self.optional:
                self.optional[name].take(answer)
            else:
                expect(name in self.requests, f"an answer to nothing, or a second one: {answer}")
                request = self.requests[name]
                if request.take(answer):
                    del self.requests[name]
        if not self.requests and self.malformed == 0:
            self.answered.set()

    def say(self, number):
        names = [*self.names, self.names[0], self.rng.choice(["a..b", "x" * 300, 7])]
        request = random_request(self.rng, names)
        if "channels" in request and self.rng.random() < 0.9:
            request["channels"] = self.rng.choices(names[:-1], k=self.rng.randrange(1, 5))
        if request["type"] == "publish" and self.rng.random() < 0.5:
            request["key"] = self.rng.choice(["k", "l", "k" * 256])
        if self.rng.random() < 0.6:
            request = mended(self.rng, request)
        text = json.dumps(request)
        if self.rng.random() < 0.1:
            self.malformed += 1
            self.tell(text[: self.rng.randrange(len(text))])
            return
        request["id"] = self.rng.choice([number, str(number), [number], {"number": number}])
        name = json.dumps(request["id"])
        if request["type"] == "message":
            self.optional[name] = ChatMessage(request)
        elif request["type"] == "ack":
            self.optional[name] = Acknowledgement(request)
        else:
            self.requests[name] = Request(request)
        self.tell(json.dumps(request))

    async def until_answered(self):
        """All has been answered, and nothing twice."""
        while not self.failure and (self.requests or self.malformed):
            self.answered.clear()
            try:
                await asyncio.wait_for(self.answered.wait(), ANSWERED_SECONDS_MAX)
            except asyncio.TimeoutError:
                waiting = [request.text for request in self.requests.values()]
                expect(False, f"unanswered: {waiting}, and {self.malformed} malformed")
        if self.failure:
            raise self.failure

    async def live(self, port):
        await self.open(port, "/")
        for number in range(WORDS):
            self.say(number)
            # Sometimes without waiting for what becomes of it.
            if self.rng.random() < 0.7:
                await asyncio.sleep(self.rng.random() * PAUSE_SECONDS_MAX)
            expect(not self.closed.done(), "the server has closed a connection")
        await self.until_answered()
        self.counts["lives"] += 1


async def one_after_the_other(port, seeds, counts, codes, end):
    """Clients in one place, until it is time: some leave in the middle of something."""
    while time.monotonic() < end:
        client = Saying(next(seeds), counts, codes)
        await client.live(port)
        for number in range(client.rng.choice([0, 5])):
            client.say(WORDS + number)
        client.is_leaving = True
        if client.rng.random() < 0.5:
            client.transport.write(wire.close_frame(1000))
            await asyncio.wait_for(client.closed, ANSWERED_SECONDS_MAX)
        else:
            client.transport.abort()
        if client.failure:
            raise client.failure


async def forgotten(own, admin):
    """Nobody is there any more, and no topic."""

    def is_over():
        pages = (admin.ask("GET", path)[1] for path in ("/connections", "/topics"))
        return all(not page[name] for page, name in zip(pages, ("connections", "topics")))

    await asyncio.to_thread(
        own.wait_for,
        is_over,
        SETTLED_SECONDS_MAX,
        lambda: f"left: {admin.ask('GET', '/connections')[1]}, {admin.ask('GET', '/topics')[1]}",
    )


async def a_thousand(server):
    types, codes = documented()
    expect(types >= set(FIELDS), f"not in docs/protocol.md: {set(FIELDS) - types}")
    expect(types <= set(FIELDS) | {"shutdown"}, f"nothing here knows {types - set(FIELDS)}")
    port = free_port()
    residents = []
    counts = collections.Counter()
    seeds = itertools.count()
    with serving(server, limits=LIMITS, flags=["--admin", f"127.0.0.1:{port}"]) as own:
        admin = Admin(port)
        for _ in range(2):
            end = time.monotonic() + HALF_SECONDS
            await asyncio.gather(
                *(one_after_the_other(own.port, seeds, counts, codes, end) for _ in range(CLIENTS))
            )
            await forgotten(own, admin)
            residents.append(own.resident_bytes())
    for kind in FIELDS.keys() - {"gap", "conflated"}:
        expect(counts[kind] > 0, f"no {kind} has come")
    growth = residents[1] - residents[0]
    expect(growth < GROWTH_BYTES_MAX, f"memory grew by {growth / 1048576:.1f} MiB: {residents}")
    errors = ", ".join(map(str, sorted(kind for kind in counts if isinstance(kind, int))))
    return (
        f"{counts['lives']} lives, {sum(counts[kind] for kind in FIELDS)} messages, "
        f"errors {errors}, {residents[0] >> 20} MiB {growth / 1048576:+.1f}"
    )
