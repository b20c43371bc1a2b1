"""`tapecast replay`: a file of trades, published as it happened, faster, and not at all."""

import asyncio
import json
import pathlib
import signal
import subprocess
import tempfile
import time

import websockets

from .server import command, configured, expect

TRADES = 200
# From the first to the last.
SECONDS = 2


def trades(directory):
    """A file of trades of two symbols, ten milliseconds apart."""
    path = pathlib.Path(directory, "trades.csv")
    lines = ["time,symbol,price,size,note"]
    for number in range(TRADES):
        at = 1_795_300_000_000 + number * 1_000 * SECONDS // (TRADES - 1)
        symbol = ("BTC", "ETH")[number % 2]
        lines.append(f'{at},{symbol},{64000 + number}.50,{number},"said ""{number}"""')
    path.write_text("\n".join(lines) + "\n")
    return path


def replay(server, path, *words, port=None, **options):
    url = f"ws://127.0.0.1:{port or server.port}/"
    return command(server, "replay", str(path), "--url", url, *words, **options)


async def hear(server, channel, count, task):
    """The first messages of a channel, so many, and the result of the task."""
    async with websockets.connect(server.url("/"), proxy=None) as reader:
        await reader.send(json.dumps({"type": "subscribe", "channel": channel}))
        await reader.recv()
        running = asyncio.create_task(asyncio.to_thread(task))
        heard = []
        while len(heard) < count:
            message = json.loads(await asyncio.wait_for(reader.recv(), 15))
            if message["type"] == "message":
                heard.append(message)
        return heard, await running


async def paces(server):
    """Every line in its order, as fast as it was asked for."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = trades(directory)
        for speed, least, most in (("1", SECONDS, 3 * SECONDS), ("10", 0.2, 2), ("max", 0, 2)):
            began = time.monotonic()
            heard, done = await hear(
                server, f"replay.{speed}", TRADES,
                lambda: replay(server, path, "--speed", speed, "--channel", f"replay.{speed}"),
            )
            seconds = time.monotonic() - began
            expect(least <= seconds <= most, f"speed {speed} took {seconds:.2f}s")
            expect(done.returncode == 0, done.stderr)
            expect("published 200\n" == done.stdout, f"{done.stdout}")
            for number, message in enumerate(heard):
                body = message["message"]
                expect(body["size"] == number and body["note"] == f'said "{number}"', f"{message}")
                expect(body["price"] == 64000.5 + number, f"{message}")
                expect(message["key"] == body["symbol"], f"{message}")
        heard, done = await hear(
            server, "by.ETH", TRADES // 2,
            lambda: replay(server, path, "--speed", "max", "--channel", "by.{symbol}"),
        )
        expect({message["message"]["symbol"] for message in heard} == {"ETH"}, "another symbol")


async def again_and_again(server):
    """With `--loop` the file begins anew, until it is stopped."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = trades(directory)
        url = f"ws://127.0.0.1:{server.port}/"
        words = ("replay", str(path), "--url", url, "--channel", "loop", "--speed", "max", "--loop")
        async with websockets.connect(server.url("/"), proxy=None, close_timeout=1) as reader:
            await reader.send(json.dumps({"type": "subscribe", "channel": "loop"}))
            await reader.recv()
            process = subprocess.Popen(
                [server.binary, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                for number in range(3 * TRADES):
                    message = json.loads(await asyncio.wait_for(reader.recv(), 15))
                    size = message["message"]["size"]
                    expect(size == number % TRADES, f"number {number} has {size}")
                expect(process.poll() is None, f"it ended with {process.returncode}")
            finally:
                process.send_signal(signal.SIGTERM)
                ended = process.wait(10)
        expect(ended == -signal.SIGTERM, f"it ended with {ended}")


def refused(server):
    """An impossible replay is refused, with an exit code."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = trades(directory)
        rules = '[[topics]]\npattern = "closed"\npublish = "server"\n'
        with configured(server, rules) as own:
            done = replay(own, path, "--speed", "max", "--channel", "closed")
            expect(done.returncode == 1, f"{done}")
            expect("published 0, refused 200 (115 closed: " in done.stdout, f"{done.stdout}")
        for text, words, code, why in (
            ("a,b\n1,2\n", (), 78, "no column is named time, timestamp"),
            ("a,b\n1,2\n", ("--key", "c"), 78, "no column is named c: the columns are a, b"),
            ("time,b\nsoon,2\n", (), 78, 'line 2: "soon" is not a time'),
            ("time,b\n1,2\n\n3,4,5\n", (), 78, "line 4 has 3 fields, but there are 2 columns"),
            ("time,b,b\n1,2,3\n", (), 78, 'line 1: two columns are named "b"'),
            ("1795300138,BTC\n1795300139,ETH\n", (), 78, 'line 1 has "1795300138", which is not a column name'),
            ("time,b\n2026-11-21T00:00:00+99:00,2\n", (), 78, "+99:00\" is not a time"),
            ("time,b\n", (), 78, "the file has no lines"),
            ("time,b\n1,2\n", ("--speed", "0"), 2, "expected a factor from"),
        ):
            path.write_text(text)
            done = replay(server, path, *words)
            expect(done.returncode == code, f"{text!r} {words}: exit code {done.returncode}")
            expect(why in done.stderr, f"{text!r} {words}: {done.stderr}")
        done = replay(server, pathlib.Path(directory, "nowhere.csv"))
        expect(done.returncode == 78 and "nowhere.csv: " in done.stderr, f"{done}")
        path.write_text("time,b\n1,2\n")
        done = replay(server, path, port=1)
        expect(done.returncode == 1 and "can't connect" in done.stderr, f"{done}")


async def files_of_others(server):
    """A file that others have made: with a mark before its first line, with times of another
    zone, with its column names repeated; and how much was published before a mistake is said."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = pathlib.Path(directory, "trades.csv")
        # Half a second apart, in three zones; naively they would be hours apart.
        text = (
            "\ufefftime,symbol\n2026-11-21T12:00:00.0Z,A\n2026-11-21T13:00:00.5+01:00,B\n"
            "time,symbol\n2026-11-21T04:00:01.0-08:00,C\n"
        )
        path.write_text(text, encoding="utf-8")
        began = time.monotonic()
        heard, done = await hear(
            server, "replay.zones", 3, lambda: replay(server, path, "--channel", "replay.zones")
        )
        seconds = time.monotonic() - began
        expect(done.returncode == 0 and done.stdout == "published 3\n", f"{done}")
        expect("line 4 repeats the column names" in done.stderr, done.stderr)
        expect(0.9 <= seconds <= 3, f"it took {seconds:.2f} s")
        expect([it["message"]["symbol"] for it in heard] == ["A", "B", "C"], f"{heard}")
        path.write_text("time,symbol\n1,A\n2,B\nsoon,C\n")
        done = replay(server, path, "--channel", "replay.part", "--speed", "100")
        expect(done.returncode == 78 and done.stdout == "published 2\n", f"{done}")
        expect('line 4: "soon" is not a time' in done.stderr, done.stderr)
        # Of spreadsheets, and one file behind another.
        path.write_bytes("\ufefftime,symbol\r\n1,A\r\n\ufefftime,symbol\r\n1.1,B\r\nsoon,C".encode())
        done = replay(server, path, "--channel", "replay.part", "--speed", "100")
        expect(done.returncode == 78 and done.stdout == "published 2\n", f"{done}")
        expect("line 3 repeats the column names" in done.stderr and "line 5: " in done.stderr, done.stderr)
