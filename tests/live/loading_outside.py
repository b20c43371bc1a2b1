"""The load generator against servers that are not ours: `websockets` of Python, `ws`
of npm, and nginx in front of one. Its reports have to be true there too.
"""

import asyncio
import collections
import contextlib
import itertools
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import websockets

from .loading_outputs import load, near, report
from .outside import NODE_MODULES, nginx, stop
from .ports import free_port
from .server import ROOT, expect

HERE = pathlib.Path(__file__).resolve().parent
# The share of a short run's messages that may be in flight at its end on a busy machine.
BUSY = 0.2
WS_PEER = ROOT / "benches" / "compare" / "ws-peer.mjs"


@contextlib.contextmanager
def program(*command, environment=None):
    """A server that prints where it listens, for that long; its port."""
    process = subprocess.Popen(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=os.environ | (environment or {}),
        text=True,
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 10)
        line = process.stdout.readline() if ready else ""
        expect(line.startswith("listening on 127.0.0.1:"), f"{command}: {line!r}")
        yield int(line.rsplit(":", 1)[1])
    finally:
        stop(process)
        process.stdout.close()


def python_server():
    return program(sys.executable, HERE / "loading_peer.py")


def npm_server():
    environment = {"COMPARE_NODE_MODULES": str(NODE_MODULES)}
    return program("node", WS_PEER, 0, environment=environment)


def found(like, profile, url, *words, duration="800ms", warmup="200ms"):
    """The values of a run without errors, and its report."""
    words = (profile, "--url", url, "--warmup", warmup, "--duration", duration, *words)
    written = report(like, *words)
    values = written["values"]
    faults = [group["figures"]["faults"] for group in written["groups"]]
    expect(values["errors"] == 0, f"{words}: {faults}")
    expect(values.get("other", 0) == 0, f"{words}: {values}")
    return values, written


def check_order(values, words):
    for name in ("gaps", "duplicates", "reordered"):
        expect(values[name] == 0, f"{words}: {name} is {values[name]}")


def together(*checks):
    """A few at a time: they take longer than they have to do."""
    with ThreadPoolExecutor(4) as pool:
        for check in [pool.submit(check) for check in checks]:
            check.result()


def every_profile(like, port):
    """Each of the built-in profiles, small, against an echo and a broadcast."""
    echo, broadcast = (f"ws://127.0.0.1:{port}/{path}" for path in ("echo", "broadcast"))
    together(
        partial(every_echo, like, echo),
        partial(every_broadcast, like, broadcast),
        partial(every_connection, like, echo),
    )


def every_echo(like, echo, rate=300):
    values, written = found(like, "echo", echo, "--rate", rate, "--connections", 10)
    expect(near(values["throughput"], rate, BUSY), f"echo: {values}")
    expect(near(values["messages"], rate * written["seconds"], BUSY), f"echo: {values}")
    expect(near(values["payload"] * 1e6, 64 * values["throughput"], 1e-6), f"echo: {values}")
    values, written = found(like, "pipeline", echo, "--connections", 5)
    (group,) = written["groups"]
    # In flight at the start and at the end: 16 of each connection.
    under_way = abs(group["figures"]["sent"] - values["messages"])
    is_right = values["messages"] > 500 and under_way <= 5 * 16
    expect(is_right, f"pipeline: {group['figures']['sent']} sent, {values['messages']}")


def every_broadcast(like, broadcast):
    # One after the other: each would hear the others.
    for profile, words, deliveries in (
        ("broadcast", ("--connections", 20, "--rate", 50), 20 * 50),
        (
            "chat",
            ("--scenario", "broadcast", "--connections", 10, "--rate", "10/connection"),
            10 * 10 * 10,
        ),
    ):
        values, _ = found(like, profile, broadcast, *words, "--arrivals", "constant")
        expect(near(values["throughput"], deliveries, BUSY), f"{profile}: {values}")
        check_order(values, profile)
    # Little enough for the kernel to keep for those that stall.
    words = ("--connections", 20, "--rate", 50, "--size", 100)
    values, written = found(like, "slow-reader", broadcast, *words)
    seconds = written["seconds"]
    check_order(values, "slow-reader")
    expect(near(values["messages"], 18 * 50 * seconds, BUSY), f"slow-reader: {values}")
    is_right = values["stalled_gaps"] == values["stalled_errors"] == 0
    expect(is_right and near(values["stalled_messages"], 2 * 50 * seconds, BUSY), f"{values}")


def every_connection(like, echo):
    words = ("--connections", 30, "--in-flight", 5)
    values, _ = found(like, "connect-storm", echo, *words)
    is_right = values["handshakes"] > 20 and abs(values["opened"] - values["messages"]) <= 5
    expect(is_right, f"connect-storm: {values}")
    # Planned, and what is said on them is not.
    words = ("--connections", 30, "--rate", 40, "--messages", 2)
    values, _ = found(like, "connect-storm", echo, *words)
    for name in ("handshakes", "rate_sent", "throughput"):
        expect(near(values[name], 40, BUSY), f"connect: {name} is {values[name]}")
    values, _ = found(like, "idle", echo, "--connections", 40, duration="300ms")
    expect(values["opened"] == 40, f"idle: {values}")
    expect("throughput" not in values and "latency_p50" not in values, f"idle: {values}")


def websockets_of_python(server):
    with python_server() as port:
        every_profile(server, port)


def ws_of_npm(server):
    with npm_server() as port:
        every_profile(server, port)


def behind_nginx(server):
    with npm_server() as upstream, nginx(upstream) as port:
        every_profile(server, port)


def messages_of_all_kinds(server):
    """Text and binary, of many sizes and contents, come back as they were."""
    with npm_server() as port, tempfile.TemporaryDirectory() as directory:
        lines = pathlib.Path(directory) / "lines"
        lines.write_text("one\nzwei ü\n\n" + "x" * 70_000 + "\r\nlast")
        means = {"one": 3, "zwei ü": 7, "x": 70_000, "last": 4}
        url = f"ws://127.0.0.1:{port}/echo"
        cases = (
            (("--size", 0), 0),
            (("--size", 1), 1),
            (("--size", "125"), 125),
            (("--size", "126"), 126),
            (("--size", "64KiB"), 65_536),
            (("--size", "20-1000"), 510),
            (("--size", "exponential 200"), 200),
            (("--size", "64:90,4KiB:10"), 467.2),
            (("--size", 300, "--payload", "random"), 300),
            (("--payload", f"@{lines}"), sum(means.values()) / len(means)),
        )

        def check(case, kind):
            words, mean = case
            words = (*words, "--kind", kind, "--rate", 400, "--connections", 4)
            values, written = found(server, "echo", url, *words, duration="300ms")
            # Large ones may take their time.
            latency = written["groups"][0]["figures"]["latency"]
            answered = sum(count for _, count in latency) - values["unanswered"]
            expect(values["messages"] == answered > 30, f"{words}: {values}")
            size = values["payload"] * 1e6 / values["throughput"]
            expect(near(size, mean, 0.3), f"{words}: {size} bytes on average")

        together(*(partial(check, *it) for it in itertools.product(cases, ("text", "binary"))))
        # A megabyte, a few times: it takes several receives and sends.
        words = ("--size", "1MiB", "--in-flight", 2, "--connections", 2)
        values, _ = found(server, "echo", url, *words, duration="500ms")
        expect(values["messages"] > 5, f"{values}")
    return f"{2 * len(cases) + 1} kinds"


@contextlib.contextmanager
def here(handler, **options):
    """A server of `websockets` in this process, in a thread of its own; its port."""
    loop = asyncio.new_event_loop()
    ready, port = threading.Event(), []

    async def serve():
        ended = asyncio.Event()
        async with websockets.serve(
            handler, "127.0.0.1", 0, max_size=None, compression=None, **options
        ) as listening:
            port.extend((listening.sockets[0].getsockname()[1], ended))
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        expect(ready.wait(5), "the server does not start")
        yield port[0]
    finally:
        loop.call_soon_threadsafe(port[1].set)
        thread.join(5)
        loop.close()


def handshakes(server):
    """A server sees the offers, the header fields and the source addresses that were asked for."""
    seen = []

    async def handle(connection):
        request = connection.request
        seen.append((request, connection.subprotocol, connection.remote_address[0]))
        async for message in connection:
            await connection.send(message)

    with here(handle, subprotocols=["second", "first"]) as port:
        words = ("--subprotocol", "first", "--subprotocol", "second", "--connections", 6)
        words = (*words, "--header", "Origin: https://example.com", "--header", "X-Two: a: b, c")
        words = (*words, "--source", "127.0.0.2-127.0.0.3", "--source", "127.0.0.4")
        words = (*words, "--path", "/room/{room}?a=b%20c", "--threads", 2)
        values, _ = found(server, "echo", f"ws://127.0.0.1:{port}/nowhere", *words)
        expect(values["opened"] == 6 and len(seen) == 6, f"{values['opened']} of {len(seen)}")
        for request, subprotocol, _ in seen:
            headers = request.headers
            expect(request.path == "/room/0?a=b%20c", f"{request.path}")
            expect(headers["Origin"] == "https://example.com", f"{headers}")
            expect(headers["X-Two"] == "a: b, c", f"{headers}")
            expect(headers["Host"] == f"127.0.0.1:{port}", f"{headers}")
            expect(headers["Sec-WebSocket-Protocol"] == "first, second", f"{headers}")
            # The server's favourite.
            expect(subprotocol == "second", f"{subprotocol}")
        sources = collections.Counter(address for _, _, address in seen)
        wanted = {f"127.0.0.{last}": 2 for last in (2, 3, 4)}
        expect(sources == wanted, f"{sources}")
        # One that is not offered is no connection.
        words = ("echo", "--url", f"ws://127.0.0.1:{port}/", "--subprotocol", "third")
        words = (*words, "--warmup", "0s", "--duration", "200ms")
        output, _ = load(server, *words, code=3)
        expect("x handshake: " in output, output)


def of_json(server):
    """A server with a protocol of its own: rooms that are subscribed to, and messages
    that carry who said them."""
    rooms, problems = collections.defaultdict(set), []

    async def handle(connection):
        mine = None
        try:
            async for text in connection:
                message = json.loads(text)
                match message:
                    case {"type": "subscribe", "room": room, "as": str()} if mine is None:
                        mine = rooms[room]
                        mine.add(connection)
                        await connection.send(json.dumps({"type": "subscribed", "room": room}))
                    case {"type": "say", "room": room, "text": words, "from": who}:
                        expect(rooms[room] is mine, f"{who} is not in {room}")
                        said = json.dumps({"type": "said", "from": who, "text": words})
                        websockets.broadcast(mine, said)
                    case {"type": "ask", "text": words}:
                        await connection.send(json.dumps({"type": "answer", "to": words}))
                    case _:
                        expect(False, f"unknown: {text}")
        except websockets.ConnectionClosed:
            pass
        except Exception as error:
            problems.append(error)
            raise
        finally:
            if mine is not None:
                mine.discard(connection)

    with here(handle) as port:
        url = f"ws://127.0.0.1:{port}/"
        subscribe = '{"type":"subscribe","room":"r{room}","as":"c{connection}"}'
        say = '{"type":"say","room":"r{room}","from":{connection},"text":"{payload}"}'
        words = ("broadcast", "--url", url, "--rooms", 3, "--connections", 12, "--publishers", 3)
        words += ("--kind", "text", "--size", "80-120", "--on-open", subscribe, "--template", say)
        words += ("--rate", 60, "--warmup", "200ms", "--duration", "1s", "--threads", 2)
        values = report(server, *words)["values"]
        expect(not problems and values["errors"] == 0, f"{problems}, {values}")
        check_order(values, "JSON")
        # Each of 60 a second goes to the four in its room.
        expect(near(values["throughput"], 240, BUSY), f"{values}")
        ask = '{"type":"ask","text":"{payload}"}'
        words = ("echo", "--url", url, "--kind", "text", "--template", ask, "--rate", 200)
        words += ("--warmup", "200ms", "--duration", "500ms")
        words += ("--size", "0-90", "--payload", "random")
        values = report(server, *words)["values"]
        expect(not problems and values["errors"] == 0, f"{problems}, {values}")
        expect(near(values["throughput"], 200, BUSY), f"{values}")
        expect(not any(rooms.values()), "somebody is still in a room")


def several_places(server):
    """Two URLs take turns, threads share, and a rate goes in steps."""
    with python_server() as one, npm_server() as other:
        urls = [f"ws://127.0.0.1:{port}/echo" for port in (one, other)]
        words = ("--url", urls[1], "--rate", "200@1s,600@1s,300", "--connections", 20)
        words = (*words, "--threads", 2)
        values, written = found(server, "echo", urls[0], *words, duration="3s", warmup="0s")
        rows = [row["messages"] / row["lasting"] for row in written["rows"]]
        for rate, wanted in zip(rows, (200, 600, 300), strict=True):
            expect(near(rate, wanted, BUSY), f"steps: {rows}")
        expect(len(written["threads"]) == 2 and all(written["threads"]), f"{written['threads']}")
        for name in ("lateness_p99", "uncorrected_p99", "unanswered"):
            expect(name in values, f"a rate in steps has no {name}")
        expect("rate_planned" not in values, "a rate in steps is not one rate")
        # To each came half of them: of one that is gone, half fail.
        words = ("--url", f"ws://127.0.0.1:{free_port()}/", "--connections", 20)
        words = ("echo", "--url", urls[0], *words, "--warmup", "200ms", "--duration", "300ms")
        values = report(server, *words, code=3)["values"]
        is_right = values["opened"] == 10 and near(values["throughput"], 1000, BUSY)
        expect(values["errors"] >= 10 and is_right, f"{values}")
