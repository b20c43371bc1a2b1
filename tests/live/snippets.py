"""What the README and the pages beside it say to type, typed: every block of code is run, or
there is a reason here why not. Those in Rust are tests of `cargo test --doc`.
"""

import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile

import urllib.request

from . import peer as wire
from .loading import PROGRAM
from .outside import NODE_MODULES, free_port
from .peer import Peer
from .server import ROOT, command, environment_of, expect, serving
from .tls_peer import server_identity

PAGES = (
    "README.md", "OPERATING.md", "CLIENTS.md", "PROTOCOL.md", "CONTRIBUTING.md", "RELEASING.md",
    "profiles/README.md", "profiles/container/README.md",
)
# Commands that are not run, by the word that a line begins with, and why.
LEFT_OUT = {
    "tests/run": "it is what runs this",
    "docker": "there is none on a machine of tests",
    "podman": "the same",
    "install": "it changes the machine",
    "systemctl": "the same",
    "cargo build": "tests/run does so",
    "target/release/tapecast-compare": "a comparison takes minutes; cargo test runs its parts",
    "mkdir": "of a release: packaging.py makes what is in it",
    "target/release/tapecast man": "the same",
    "target/release/tapecast completions": "the same",
    "cargo deb": "needs a program of its own",
}


def blocks(kind):
    """(page, text) of every block of this kind."""
    for page in PAGES:
        text = (ROOT / page).read_text()
        for found in re.finditer(r"^ *```(\w+)[^\n]*\n(.*?)^ *```", text, re.M | re.S):
            if found[1] == kind:
                yield page, found[2]


def lines(text):
    """The commands of a block, with continued lines joined and comments taken off."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def starts(words, prepared, seconds_max=10):
    """Runs a server until it says that it listens, and ends it in order."""
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=prepared, env=environment_of({"TAPECAST_LIMITS_DRAIN_NOTICE_MS": "0"}),
    )
    try:
        line = process.stdout.readline()
        expect(line.startswith("listening on "), f"{words}: {line!r} {process.poll()}")
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=seconds_max)
    expect(process.returncode == 0, f"{words}: {process.returncode} {errors}")


def shell(server):
    """Every command of every page: servers start, programs end with 0."""
    ran, left_out = 0, set()
    identity = server_identity()
    port, admin = free_port(), free_port()
    flags = ["--admin", f"127.0.0.1:{admin}"]
    with serving(server, flags=flags) as own, tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        (folder / "FILE").write_text("shards = 1\n")
        (folder / "chain.pem").write_bytes(pathlib.Path(identity.chain).read_bytes())
        (folder / "key.pem").write_bytes(pathlib.Path(identity.key).read_bytes())
        (folder / "trades.csv").write_text("time,symbol,price\n1,BTC,2\n2,BTC,3\n")

        def placed(word):
            """The word as it is on this machine: ports that are free, a server that runs."""
            word = word.replace("ws://127.0.0.1:9001", f"ws://127.0.0.1:{own.port}")
            word = word.replace("http://127.0.0.1:9090", f"http://127.0.0.1:{admin}")
            word = re.sub(r"(?<=127\.0\.0\.1:)900\d$", "0", word)
            word = re.sub(r"(?<=127\.0\.0\.1:)9090$", str(port), word)
            return re.sub(r"(?<=0\.0\.0\.0:)9443$", "0", word)

        for page, text in blocks("sh"):
            for words in lines(text):
                line = " ".join(words)
                if reason := next((it for it in LEFT_OUT if line.startswith(it)), None):
                    left_out.add(reason)
                    continue
                if line.startswith("cargo run --release -- "):
                    words = ["tapecast", *words[4:]]
                words = [placed(word) for word in words]
                program = {
                    "tapecast": server.binary, "target/release/tapecast-loadgen": PROGRAM,
                }.get(words[0], words[0])
                name = words[1] if len(words) > 1 else ""
                words = [str(program), *words[1:]]
                if program == server.binary and name in ("serve", "demo"):
                    if "--listen" not in words:
                        words += ["--listen", "127.0.0.1:0"]
                    starts(words, folder)
                else:
                    if program == PROGRAM:
                        words += ["--duration", "1s", "--warmup", "0s", "--no-tui"]
                        words[words.index("--rate") + 1] = "500"
                        words[words.index("--fail-if") + 1] = "p99>5s"
                    if name == "replay":
                        words += ["--url", own.url("/")]
                    done = subprocess.run(
                        words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                        timeout=40, cwd=folder, env=environment_of({}),
                    )
                    # The doctor tells what this machine lacks.
                    codes = (0, 1) if name == "doctor" else (0,)
                    expect(done.returncode in codes, f"{page}: {line}: {done}")
                    if program == "curl":
                        expect('"seq"' in done.stdout, f"{page}: {line}: {done.stdout}")
                ran += 1
    expect(left_out == set(LEFT_OUT), f"nowhere: {set(LEFT_OUT) - left_out}")
    return f"{ran} ran"


def configurations(server):
    """Every configuration is one."""
    count = 0
    for page, text in blocks("toml"):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            done = command(server, "check-config", "--config", file.name)
            expect(done.returncode == 0, f"{page}: {done.stderr}")
        count += 1
    return f"{count} configurations"


# Names that the pages' scripts take for granted.
PRELUDE = """
import { createRequire } from 'node:module';
const { WebSocket } = createRequire('%s/')('ws');
globalThis.WebSocket = WebSocket;
globalThis.location = { protocol: 'http:', host: '127.0.0.1:%d' };
const show = () => {}, book = () => {};
"""


def scripts(server):
    """Every script in JavaScript runs to its end, as a module beside the client, and the one in
    Python gets what is published."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        folder = pathlib.Path(directory)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/tapecast.js", timeout=5) as it:
            (folder / "tapecast.mjs").write_bytes(it.read())
        for page, text in blocks("js"):
            text = text.replace("'/tapecast.js'", "'./tapecast.mjs'")
            module = folder / f"snippet{count}.mjs"
            end = "\nsetTimeout(() => { console.log('done'); process.exit(0); }, 300);\n"
            imports = re.findall(r"^import .*$", text, re.M)
            rest = re.sub(r"^import .*$", "", text, flags=re.M)
            prelude = PRELUDE % (NODE_MODULES, server.port)
            module.write_text("\n".join(imports) + prelude + rest + end)
            done = subprocess.run(
                ["node", module], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=20,
            )
            expect(done.returncode == 0 and "done" in done.stdout, f"{page}: {done}")
            count += 1
        for page, text in blocks("python"):
            text = text.replace("127.0.0.1:9001", f"127.0.0.1:{server.port}")
            process = subprocess.Popen(
                [sys.executable, "-u", "-c", text], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            try:
                first = json.loads(process.stdout.readline().replace("'", '"').replace("False", "false"))
                expect(first["type"] == "subscribed", f"{page}: {first}")
            finally:
                process.kill()
                process.communicate()
            count += 1
    return f"{count} scripts"


def answers(server):
    """Every request of PROTOCOL.md's table of requests is one that the server knows."""
    text = (ROOT / "PROTOCOL.md").read_text().split("## From the server")[0]
    kinds = set(re.findall(r'`\{"type":"(\w+)"', text))
    with Peer.open(server.port, path="/") as peer:
        for kind in sorted(kinds - {"subscribed", "unsubscribed", "published", "pong"}):
            peer.send_frame(wire.TEXT, json.dumps({"type": kind, "id": 1}).encode())
            got = json.loads(peer.receive_frame().payload)
            # Known, though it lacks what it is about.
            expect(got["type"] == "pong" or got["code"] in (104, 130), f"{kind}: {got}")
    return f"{len(kinds)} words"
