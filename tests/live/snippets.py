"""What the documents say to type, typed: every block of code of every document is run, or
LEFT_OUT says why not. Those in Rust are tests of `cargo test --doc`, and tests/documents.rs
checks links and the kinds of blocks.
"""

import ast
import json
import pathlib
import re
import shlex
import shutil
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

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "profiles/**/*.md")
    for path in ROOT.glob(pattern)
)
# Commands that are not run, by the words that a line begins with, and why.
LEFT_OUT = {
    "tests/run": "it is what runs this",
    "docker": "the machine of the tests has none",
    "podman": "the same as docker",
    "install": "it changes the machine",
    "systemctl": "it changes the machine, too",
    "cargo build": "tests/run does so",
    "target/release/tapecast-compare": "a comparison takes minutes; cargo test runs its parts",
    "mkdir": "of a release: packaging.py makes what is in it",
    "target/release/tapecast man": "of a release, the same",
    "target/release/tapecast completions": "of a release, the same again",
    "cargo deb": "it needs a program of its own",
}
# The load generator's exit code where something that was promised did not arrive.
EXIT_SUSPICIOUS = 3
CHANCES = 3
# What blocks are made of. `text` is what a program prints; one that begins with `> ` is a
# conversation. `yaml` is for an orchestrator, and there is none here. Without a kind it is a
# drawing.
KINDS = {"sh", "toml", "js", "python", "rust", "text", "yaml", ""}


def blocks(kind):
    """(page, text) of every block of this kind."""
    for page in PAGES:
        text = (ROOT / page).read_text()
        for found in re.finditer(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.M | re.S):
            expect(found[1] in KINDS, f"{page}: nothing runs a block of kind {found[1]!r}")
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


def put(words, flag, value):
    """Gives a flag another value, or gives it at all."""
    if flag in words:
        words[words.index(flag) + 1] = value
    else:
        words += [flag, value]


def shortened(words):
    """A command of the load generator such that it ends soon, and holds on a slow machine."""
    if words[1] == "merge" or "--print-profile" in words:
        return words
    put(words, "--duration", "1s")
    put(words, "--warmup", "0s")
    if "--find-max" in words:
        # The search ends after a few steps, far below what any machine does.
        put(words, "--find-max", "rate_sent<700")
    for flag, most in (("--connections", 50), ("--rate", 500)):
        if flag in words:
            put(words, flag, str(min(int(words[words.index(flag) + 1]), most)))
    return ["p99>5s" if word == "p99>5ms" else word for word in words] + ["--no-tui"]


def prepare(folder):
    """The files that commands name."""
    identity = server_identity()
    (folder / "FILE").write_text("shards = 1\n")
    (folder / "chain.pem").write_bytes(pathlib.Path(identity.chain).read_bytes())
    (folder / "key.pem").write_bytes(pathlib.Path(identity.key).read_bytes())
    (folder / "trades.csv").write_text("time,symbol,price\n1,BTC,2\n2,BTC,3\n")


def shell(server):
    """Every command of every page: servers start, programs end with 0."""
    ran, left_out = 0, set()
    port, admin = free_port(), free_port()
    flags = ["--admin", f"127.0.0.1:{admin}"]
    with serving(server, flags=flags) as own, tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory)
        prepare(folder)

        def placed(word):
            """The word as it is on this machine: ports that are free, a server that runs."""
            word = word.replace("ws://127.0.0.1:9001", f"ws://127.0.0.1:{own.port}")
            word = word.replace("http://127.0.0.1:9090", f"http://127.0.0.1:{admin}")
            word = re.sub(r"(?<=127\.0\.0\.1:)900\d$", "0", word)
            word = re.sub(r"(?<=127\.0\.0\.1:)9090$", str(port), word)
            return re.sub(r"(?<=0\.0\.0\.0:)9443$", "0", word)

        def run(page, words):
            line = " ".join(words)
            if line.startswith("cargo run --release -- "):
                words = ["tapecast", *words[4:]]
            words = [placed(word) for word in words]
            program = words[0].removeprefix("target/release/")
            program = {"tapecast": server.binary, "tapecast-loadgen": PROGRAM}.get(program, program)
            name = words[1] if len(words) > 1 else ""
            words = [str(program), *words[1:]]
            if program == server.binary and name in ("serve", "demo"):
                if "--listen" not in words:
                    words += ["--listen", "127.0.0.1:0"]
                return starts(words, folder)
            if program == PROGRAM:
                words = shortened(words)
                if name == "merge":
                    # The other machine's report.
                    shutil.copy(folder / "a.json", folder / "b.json")
            if name == "replay":
                words += ["--url", own.url("/")]
            for _ in range(CHANCES):
                done = subprocess.run(
                    words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                    timeout=40, cwd=folder, env=environment_of({}),
                )
                # A run is also suspicious where something else held the machine up.
                if program != PROGRAM or done.returncode != EXIT_SUSPICIOUS:
                    break
            # The doctor reports what this machine lacks.
            codes = (0, 1) if name == "doctor" else (0,)
            expect(done.returncode in codes, f"{page}: {line}: {done}")
            if program == "curl":
                expect('"seq"' in done.stdout, f"{page}: {line}: {done.stdout}")

        for page, text in blocks("sh"):
            for words in lines(text.replace("$(pidof tapecast)", str(own.pid))):
                line = " ".join(words)
                if reason := next((it for it in LEFT_OUT if line.startswith(it)), None):
                    left_out.add(reason)
                    continue
                run(page, words)
                ran += 1
    expect(left_out == set(LEFT_OUT), f"nowhere: {set(LEFT_OUT) - left_out}")
    return f"{ran} ran"


def depends(page, text, folder):
    """A dependency on this crate is one that cargo resolves, features included."""
    package = '[package]\nname = "snippet"\nversion = "0.0.0"\nedition = "2024"\n'
    text, count = re.subn(r'path = "[^"]*"', f'path = "{ROOT}"', text)
    expect(count == 1, f"{page}: the crate is not where {text} says")
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "lib.rs").write_text("")
    (folder / "Cargo.toml").write_text(package + text)
    shutil.copy(ROOT / "Cargo.lock", folder / "Cargo.lock")
    return subprocess.run(
        ["cargo", "metadata", "--offline", "--format-version", "1"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=40, cwd=folder,
    )


def configurations(server):
    """Every configuration, profile and dependency is one."""
    count = 0
    for page, text in blocks("toml"):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "snippet.toml")
            path.write_text(text)
            if text.startswith("[dependencies]"):
                done = depends(page, text, pathlib.Path(directory))
            elif page == "docs/loadgen.md":
                done = subprocess.run(
                    [PROGRAM, path, "--print-profile"],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
                )
            else:
                done = command(server, "check-config", "--config", str(path))
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


def script(server, page, text, module):
    """A script in JavaScript runs to its end, as a module beside the client."""
    text = text.replace("'/tapecast.js'", "'./tapecast.mjs'")
    end = "\nsetTimeout(() => { console.log('done'); process.exit(0); }, 300);\n"
    imports = re.findall(r"^import .*$", text, re.M)
    rest = re.sub(r"^import .*$", "", text, flags=re.M)
    prelude = PRELUDE % (NODE_MODULES, server.port)
    module.write_text("\n".join(imports) + prelude + rest + end)
    done = subprocess.run(
        ["node", module], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
    )
    expect(done.returncode == 0 and "done" in done.stdout, f"{page}: {done}")


def subscriber(server, page, text):
    """A program in Python prints that it is subscribed, and then what is published."""
    text = text.replace("127.0.0.1:9001", f"127.0.0.1:{server.port}")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", text], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )

    def printed():
        line = process.stdout.readline()
        expect(line, f"{page}: it has ended")
        return json.loads(line) if line.startswith('{"') else ast.literal_eval(line)

    try:
        first = printed()
        expect(first["type"] == "subscribed", f"{page}: {first}")
        request = {"type": "publish", "channel": first["channel"], "message": "from the test"}
        with Peer.open(server.port, path="/") as peer:
            peer.send_frame(wire.TEXT, json.dumps(request).encode())
            while (message := printed())["message"] != "from the test":
                expect(message["type"] == "message", f"{page}: {message}")
    finally:
        process.kill()
        process.communicate()


def scripts(server):
    """Every script in JavaScript runs, and those in Python receive what is published."""
    count = 0
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        folder = pathlib.Path(directory)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/tapecast.js", timeout=5) as it:
            (folder / "tapecast.mjs").write_bytes(it.read())
        for page, text in blocks("js"):
            script(server, page, text, folder / f"snippet{count}.mjs")
            count += 1
        for page, text in blocks("python"):
            subscriber(server, page, text)
            count += 1
    return f"{count} scripts"


# What differs from one server and moment to the next.
VOLATILE = ("epoch", "time")


def converse(page, text, peer):
    """Says what stands behind `>`, and expects what stands behind `<`."""
    # Epochs as they are printed, and as this server has them.
    epochs = {}
    for line in text.splitlines():
        direction, said = line.split(" ", 1)
        if direction == ">":
            for printed, epoch in epochs.items():
                said = said.replace(printed, epoch)
            peer.send_frame(wire.TEXT, said.encode())
            continue
        got, expected = json.loads(peer.receive_frame().payload), json.loads(said)
        if "epoch" in got and "epoch" in expected:
            epochs[str(expected["epoch"])] = str(got["epoch"])
        expect(list(got) == list(expected), f"{page}: {said}: {got}")
        same = [name for name in expected if name not in VOLATILE]
        differs = [name for name in same if got[name] != expected[name]]
        expect(not differs, f"{page}: {said}: {differs} of {got}")


def conversations(server):
    """Every conversation goes as it is printed."""
    count = 0
    for page, text in blocks("text"):
        if text.startswith("> "):
            with serving(server) as own, Peer.open(own.port, path="/") as peer:
                converse(page, text, peer)
            count += 1
    expect(count, "there is no conversation: the documents are read wrongly")
    return f"{count} conversations"


def answers(server):
    """Every request of the protocol's table is one that the server knows."""
    text = (ROOT / "docs/protocol.md").read_text().split("## From the server")[0]
    kinds = set(re.findall(r'`\{"type":"(\w+)"', text))
    with Peer.open(server.port, path="/") as peer:
        for kind in sorted(kinds - {"subscribed", "unsubscribed", "published", "pong"}):
            peer.send_frame(wire.TEXT, json.dumps({"type": kind, "id": 1}).encode())
            got = json.loads(peer.receive_frame().payload)
            # Known, though it lacks what it is about.
            expect(got["type"] == "pong" or got["code"] in (104, 130), f"{kind}: {got}")
    return f"{len(kinds)} words"


def named(page, names):
    """Every name stands in the page, as code."""
    text = (ROOT / page).read_text()
    missing = [name for name in names if not re.search(rf"`[^`]*(?<![\w-]){name}(?![\w-])", text)]
    expect(names and not missing, f"{page} lacks {missing} of {len(names)}")
    return len(names)


def reference(server):
    """The documents name every option of the load generator and its profiles, every key of a
    topic's rule, and every command and path of the server."""
    printed = subprocess.run(
        [PROGRAM, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
    ).stdout
    options = set(re.findall(r"^ {2,}(?:-\w, )?(--[a-z-]+)", printed, re.M)) - {"--help", "--version"}
    count = named("docs/loadgen.md", sorted(options))
    profiles = sorted(path.stem for path in (ROOT / "profiles/load").glob("*.toml"))
    count += named("docs/loadgen.md", profiles)
    printed = command(server, "limits").stdout.split("[[topics]]")[1]
    count += named("docs/operating.md", re.findall(r"^(\w+) = ", printed, re.M))
    printed = command(server, "--help").stdout.split("Commands:")[1]
    commands = re.findall(r"^ {2}([a-z-]+) {2}", printed.split("Options:")[0], re.M)
    count += named("docs/operating.md", sorted(set(commands) - {"help"}))
    paths = json.loads((ROOT / "src/control/openapi.json").read_text())["paths"]
    count += named("docs/operating.md", sorted(paths))
    return f"{count} names"
