"""tapecast.v1.json on `/` of the release binary, as clients in Python and a browser
speak it.
"""

import asyncio
import contextlib
import json
import pathlib
import random
import subprocess
import tempfile

import websockets

from .outside import page_in_chromium
from .server import BINARY, Server, expect

SUBPROTOCOL = "tapecast.v1.json"
# More than there are shards, so that some are on each.
READERS = 6
STORM_CLIENTS = 100
STORM_WORDS = 300


def connect(server, **options):
    return websockets.connect(
        server.url("/"), ssl=server.context, max_size=None, proxy=None, **options
    )


@contextlib.asynccontextmanager
async def clients(server, count, **options):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(server, **options)) for _ in range(count)]


async def receive(client):
    return json.loads(await asyncio.wait_for(client.recv(), 5))


async def ask(client, **request):
    """Sends a request and returns what comes next."""
    await client.send(json.dumps(request))
    return await receive(client)


def expect_answer(answer, **fields):
    """The answer has these fields with these values, whatever else it has."""
    found = {name: answer.get(name) for name in fields}
    expect(found == fields, f"expected {fields}, received {answer}")


async def everybody(server):
    """A client that negotiates the subprotocol gets the same as one that names none."""
    async with (
        clients(server, READERS, subprotocols=[SUBPROTOCOL]) as named,
        clients(server, READERS) as plain,
    ):
        expect(named[0].subprotocol == SUBPROTOCOL, f"{named[0].subprotocol}")
        readers = named + plain
        for number, reader in enumerate(readers):
            channels = ["everybody.news", "everybody.quotes"]
            answer = await ask(reader, type="subscribe", channels=channels, id=number)
            expect_answer(answer, type="subscribed", seq=0, recovered=False, id=number)
            expect_answer(await receive(reader), type="subscribed", id=number)
        body = {"text": "Grüße 🦀", "list": [1, 2.5, None, True], "nested": {"a": {}}}
        publish = {"type": "publish", "channel": "everybody.news", "key": "k", "message": body}
        await plain[0].send(json.dumps(publish, ensure_ascii=False))
        for reader in readers:
            message = await receive(reader)
            expect_answer(message, type="message", channel=publish["channel"], seq=1, key="k",
                          message=body)
        answer = await ask(named[0], type="publish", channel="everybody.else", message=1, id="x")
        expect_answer(answer, type="published", channel="everybody.else", seq=1, id="x")
        expect_answer(await ask(plain[0], type="ping"), type="pong")
        for reader in readers:
            await ask(reader, type="unsubscribe", channels=["everybody.news"])


async def resumes(server):
    """Replay joins live, also for a client that reconnects to another shard."""
    async with clients(server, READERS) as readers:
        first = await ask(readers[0], type="subscribe", channel="resume")
        for number in range(1, 101):
            await readers[1].send(
                json.dumps({"type": "publish", "channel": "resume", "message": number})
            )
        for number in range(1, 101):
            expect_answer(await receive(readers[0]), seq=number, message=number)
        for seq, reader in ((0, readers[1]), (40, readers[2]), (100, readers[3])):
            since = {"epoch": first["epoch"], "seq": seq}
            answer = await ask(reader, type="subscribe", channel="resume", since=since)
            expect_answer(answer, type="subscribed", seq=seq, recovered=True)
            for number in range(seq + 1, 101):
                expect_answer(await receive(reader), seq=number, message=number)
        answer = await ask(
            readers[4], type="subscribe", channel="resume", since={"epoch": 1, "seq": 5}
        )
        expect_answer(answer, recovered=False, seq=100)
        expect_answer(await receive(readers[4]), type="snapshot", count=1)
        expect_answer(await receive(readers[4]), type="message", seq=100)
        expect_answer(await receive(readers[4]), type="snapshot_end", seq=100)


async def refused(server):
    """A wrong request is answered with an error number, and the connection stays."""
    async with connect(server) as client:
        for code, request in (
            (101, "{"),
            (102, "[]"),
            (103, {"type": "dance"}),
            (104, {"type": "publish", "channel": "a"}),
            (105, {"type": "subscribe", "channel": 7}),
            (110, {"type": "subscribe", "channel": "a..b"}),
            (112, {"type": "unsubscribe", "channel": "a"}),
            (114, {"type": "subscribe", "channel": "a", "window": 0}),
            (130, {"message": "hi"}),
            (101, "[" * 100_000),
        ):
            text = request if isinstance(request, str) else json.dumps(request | {"id": 1})
            await client.send(text)
            answer = await receive(client)
            expect_answer(answer, type="error", code=code)
            expect(isinstance(request, str) or answer["id"] == 1, f"{answer}")
        await client.send(b"bytes")
        expect_answer(await receive(client), type="error", code=100)
        expect_answer(await ask(client, type="ping"), type="pong")


def rules_of_topics(_server):
    """The configuration decides who may publish and subscribe; an impossible rule is refused."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = pathlib.Path(directory, "rules.toml")
        path.write_text('[[topics]]\npattern = "closed.*"\npublish = "server"\nkeys_max = 0\n')
        with Server(2, flags=["--config", str(path)]) as server:
            asyncio.run(keeps_rules(server))
        path.write_text('[[topics]]\npattern = "a..b"\n')
        command = [BINARY, "check-config", "--config", str(path)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=10)
        expect(checked.returncode == 78, f"exit code {checked.returncode}")
        expect(f"{path}:2: topics: pattern" in checked.stderr, checked.stderr)


async def keeps_rules(server):
    async with connect(server) as client:
        answer = await ask(client, type="publish", channel="closed.a", message=1)
        expect_answer(answer, type="error", code=115)
        expect_answer(await ask(client, type="subscribe", channel="closed.a"), type="subscribed")


def chat(server):
    """The page's own code is all that a chat needs."""
    heard = page_in_chromium(server, "chat.html")
    one = "message lobby Hello, message lobby Hi"
    expect(heard == f"{one}; {one}", f"the page says {heard!r}")


CHANNELS = ("a", "b.c", "d", "b.*", ">", "a..b", 7, "x" * 300)


def random_request(rng, channels=CHANNELS):
    """A request: legal, nearly, or not at all."""
    request = {
        "type": rng.choice(
            ["subscribe", "unsubscribe", "publish", "ack", "ping", "join", "leave", "message", "x"]
        ),
        rng.choice(["channel", "channel", "channels", "room"]): rng.choice(channels),
        "message": rng.choice([1, "text", {"deep": [{}]}, None]),
        "mode": rng.choice(["all", "latest", "most"]),
        "seq": rng.choice([0, 5, 1 << 60, -1]),
        "id": rng.choice([1, "id", {"a": 1}]),
    }
    if rng.random() < 0.3:
        request["window"] = rng.choice([1, 10, 0])
    if rng.random() < 0.3:
        request["max_rate"] = rng.choice([1, 100, 100_000])
    if rng.random() < 0.3:
        request["snapshot"] = rng.choice([True, "yes"])
    if rng.random() < 0.2:
        request["since"] = rng.choice([{"epoch": 1, "seq": 1}, {}, 5])
    return request


def random_words(rng):
    """A request, or a part of one."""
    text = json.dumps(random_request(rng))
    return text if rng.random() < 0.9 else text[: rng.randrange(len(text))]


async def storm(server):
    """Random requests of many clients: every answer is a legal one, and all get their pong."""

    async def one(seed):
        rng = random.Random(seed)
        async with connect(server) as client:

            async def hear():
                async for text in client:
                    answer = json.loads(text)
                    expect(isinstance(answer["type"], str), text)
                    if answer["type"] == "error":
                        expect(100 <= answer["code"] <= 130 and answer["message"], text)
                    if answer.get("id") == "the last":
                        return

            hearing = asyncio.create_task(hear())
            for _ in range(STORM_WORDS):
                await client.send(random_words(rng))
                await asyncio.sleep(0)
            await client.send(json.dumps({"type": "ping", "id": "the last"}))
            await asyncio.wait_for(hearing, 60)

    await asyncio.gather(*(one(seed) for seed in range(STORM_CLIENTS)))
