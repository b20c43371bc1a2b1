"""How runs of the load generator end: passed, failed or suspicious, in words, as JSON and HTML,
and by the exit code.
"""

import contextlib
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

from .faulty import FaultyServer
from .loading import PROGRAM, load
from .server import Server, expect

PASSED, FAILED, USAGE, SUSPICIOUS = 0, 1, 2, 3
SHORT = ("--warmup", "200ms", "--duration", "1s", "--connections", "10")


def program(*words, seconds=40):
    return subprocess.run(
        [PROGRAM, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds,
    )


def verdict_of(loaded):
    return loaded.report["verdict"], " ".join(loaded.report["reasons"])


def check(loaded, code, verdict, *reasons):
    found, text = verdict_of(loaded)
    expect((loaded.code, found) == (code, verdict), f"{loaded.code}, {found}: {text}")
    for reason in reasons:
        expect(re.search(reason, text), f"{reason!r} is not in {text!r}")
    # On the standard error too, where JSON takes the standard output.
    expect(all(f"{verdict}: " in loaded.errors for _ in reasons), loaded.errors)


def of_every_kind(server):
    """A good run passes; where nothing, or too little, arrives, it is suspicious; an objective
    that is missed is a failure, whatever arrived."""
    echo, ours = server.url("/echo"), server.url("/")
    check(load("echo", echo, *SHORT, "--rate", 500), PASSED, "passed")
    missed = load("echo", echo, *SHORT, "--rate", 500, "--fail-if", "p75<10s")
    check(missed, FAILED, "failed", r"p75<10s: latency_p75 is")
    # Nobody but the publisher has its message back.
    alone = load("broadcast", echo, *SHORT, "--rate", 100)
    check(alone, SUSPICIOUS, "suspicious", r"90 % of the deliveries are missing: \d+ of")
    other = load("ticker", echo, *SHORT, "--publishers", 2, "--rate", 100)
    check(other, SUSPICIOUS, "suspicious", "there were no deliveries")
    closed = load("broadcast", ours, *SHORT, "--rate", 100)
    check(closed, SUSPICIOUS, "suspicious")
    good = load("ticker", ours, *SHORT, "--publishers", 2, "--rate", 200)
    check(good, PASSED, "passed")
    brief = SHORT[:-2]
    few = load(
        "broadcast", echo, *brief, "--publishers", 0, "--connections", 200, "--rate", 100
    )
    check(few, SUSPICIOUS, "suspicious", "deliveries are missing")
    slow = load("echo", echo, *brief, "--connections", 1, "--rate", 0.5)
    check(slow, SUSPICIOUS, "suspicious", "no message was due")
    # Rates that fall, and readers that the server closes as it may, are nothing to suspect.
    falls = load("echo", echo, "--rate", "1000@1s,0.3", "--duration", "3s", "--warmup", "0s")
    check(falls, PASSED, "passed")
    expect(load("idle", echo, *SHORT).code == PASSED, "idle connections")
    expect(load("connect-storm", echo, *SHORT).code == PASSED, "a storm")


def refused(_server):
    """Where all connections are refused, it ends within seconds, and makes up no latency; a
    server that is about to start is waited for."""
    started = time.monotonic()
    loaded = load("echo", "ws://127.0.0.1:1/", "--connections", 20, "--duration", "10s")
    seconds = time.monotonic() - started
    check(loaded, SUSPICIOUS, "suspicious", "there were no replies", "0 of 20 connections")
    expect("latency_p50" not in loaded.values, f"{loaded.values.get('latency_p50')}")
    expect(seconds < 6, f"it took {seconds:.1f} s")
    bare = program("echo", "--url", "ws://127.0.0.1:1/", "--no-tui", "--connections", 3)
    expect("p50" not in bare.stdout and "verdict      suspicious" in bare.stdout, bare.stdout)
    started = time.monotonic()
    loaded = load("echo", "ws://127.0.0.1:1/", *SHORT, "--reconnect", "none")
    expect(loaded.code == SUSPICIOUS and time.monotonic() - started < 2, "without reconnecting")
    with FaultyServer() as gone:
        port = gone.port
    with contextlib.ExitStack() as stack:
        soon = threading.Timer(1.2, lambda: stack.enter_context(FaultyServer(port)))
        soon.start()
        late = load("echo", f"ws://127.0.0.1:{port}/", *SHORT, "--rate", 100)
        soon.join()
        replies = late.report["groups"][0]["figures"]["messages"]
    expect(replies > 50, f"{replies} replies: {late.report['reasons']}")


def killed(server):
    """A server that is killed half-way has no connections at the end; one that hangs has them,
    and nothing comes."""
    for how, reason in (
        (signal.SIGKILL, "0 of 20 connections were open at the end"),
        (signal.SIGSTOP, r"nothing arrived in the last [12]\.\d s"),
    ):
        own = Server(server.shards, server.binary)
        with own:
            timer = threading.Timer(1.5, lambda: own.process.send_signal(how))
            timer.start()
            loaded = load(
                "echo", own.url(), "--connections", 20, "--rate", 500, "--warmup", "0s",
                "--duration", "4s",
            )
            timer.join()
            own.process.kill()
        check(loaded, SUSPICIOUS, "suspicious", reason)


def silent(_server):
    """A server that accepts, and answers nothing."""
    class Silent(FaultyServer):
        def message(self, connection, opcode, payload):
            pass

    with Silent() as own:
        loaded = load("pipeline", own.url(), *SHORT)
    check(loaded, SUSPICIOUS, "suspicious", "there were no replies")


def silent_to_some(_server):
    """A server that answers every second connection only."""
    class Choosy(FaultyServer):
        def message(self, connection, opcode, payload):
            if connection.number % 2:
                super().message(connection, opcode, payload)

    with Choosy() as own:
        loaded = load("echo", own.url(), *SHORT, "--rate", 500)
        check(loaded, SUSPICIOUS, "suspicious", r"5\d % of the replies are missing|49 %")
        loaded = load("pipeline", own.url(), *SHORT)
        check(loaded, SUSPICIOUS, "suspicious")


def everywhere_alike(server):
    """The terminal, JSON and the page say the same."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        html, data = pathlib.Path(directory, "a.html"), pathlib.Path(directory, "a.json")
        done = program(
            "broadcast", "--url", server.url("/echo"), *SHORT, "--rate", 100, "--no-tui",
            "--html", html, "--json", data,
        )
        expect(done.returncode == SUSPICIOUS, f"exit code {done.returncode}: {done.stderr}")
        report = json.loads(data.read_text())
        reason = report["reasons"][0]
        expect(report["verdict"] == "suspicious", f"{report['verdict']}")
        expect("verdict      suspicious" in done.stdout and reason in done.stdout, done.stdout)
        page = html.read_text()
        expect("Verdict: <b>suspicious</b>" in page and reason in page, page[:2000])
        merged = program("merge", data, data, "--fail-if", "errors>5")
        expect(merged.returncode == SUSPICIOUS, f"{merged.returncode}: {merged.stderr}")


MIX = """
duration = "500ms"
warmup = "100ms"
[[group]]
name = "one"
scenario = "echo"
connections = 5
rate = 400
[[group]]
name = "two"
scenario = "echo"
connections = 5
rate = 100
"""


def find_max(server):
    """The groups of a mix keep their proportion; a bound that was lost is named; a step that was
    lost by a little is run again."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        profile = pathlib.Path(directory, "mix.toml")
        profile.write_text(MIX)
        data = pathlib.Path(directory, "best.json")
        done = program(
            profile, "--url", server.url("/echo"), "--find-max", "throughput<3000", "--no-tui",
            "--json", data, seconds=120,
        )
        expect(done.returncode == PASSED, f"{done.returncode}: {done.stdout} {done.stderr}")
        lost = re.findall(r"lost: (.*)", done.stdout)
        expect(lost and all("throughput is" in it for it in lost), done.stdout)
        expect("(run again)" in done.stdout, done.stdout)
        rates = [group["rate"] for group in json.loads(data.read_text())["groups"]]
        expect(abs(rates[0] / rates[1] - 4) < 0.01, f"one and two at {rates}")
        told = re.search(r"keeps throughput<3000: ([\d,]+) a second in all", done.stdout)
        expect(told and abs(int(told[1].replace(",", "")) - sum(rates)) < 2, done.stdout)
        profile.write_text(MIX.replace("rate = 100", 'rate = "none"'))
        done = program(profile, "--url", server.url("/echo"), "--find-max", "p99<1s", "--no-tui")
        expect(done.returncode == USAGE and "group two has none" in done.stderr, done.stderr)
    return f"{len(lost)} steps were lost"


def words(server):
    """--help has defaults, a profile can be looked at without a target, every key has
    underscores, and headers of the handshake are the handshake's."""
    text = program("--help").stdout
    expect(re.search(r"--connections <N>.*?\[default: 50\]", text, re.S), text[:3000])
    shown = program("echo", "--print-profile")
    expect(shown.returncode == PASSED, shown.stderr)
    keys = re.findall(r"^(?:# )?([a-z_-]+) ", shown.stdout, re.M)
    expect(not [key for key in keys if "-" in key], f"{keys}")
    for header in ("Upgrade: h2c", "Sec-WebSocket-Key: x", "Connection: close"):
        done = program("echo", "--url", server.url(), "--header", header, *SHORT)
        expect(done.returncode == USAGE and "handshake" in done.stderr, f"{header}: {done.stderr}")
    done = load("echo", server.url(), *SHORT, "--rate", 100, "--header", "Host: other.example")
    expect(done.code == PASSED, done.errors)
    # localhost is ::1 first on many machines, and the server is not there.
    named = server.url().replace("127.0.0.1", "localhost").replace("ws://", "WS://")
    expect(load("echo", named, *SHORT, "--rate", 100).code == PASSED, "localhost")


def marks(_server):
    """A byte order mark before the first line of a file is not payload."""
    class Noting(FaultyServer):
        seen = set()

        def message(self, connection, opcode, payload):
            self.seen.add(bytes(payload))
            super().message(connection, opcode, payload)

    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory, Noting() as own:
        lines = pathlib.Path(directory, "lines.txt")
        lines.write_bytes(b"\xef\xbb\xbffirst\r\nsecond\r\n")
        loaded = load("echo", own.url(), *SHORT, "--rate", 100, "--payload", f"@{lines}")
    expect(loaded.code == PASSED, loaded.errors)
    expect(own.seen == {b"first", b"second"}, f"{own.seen}")
