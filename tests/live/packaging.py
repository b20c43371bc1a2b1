"""The files in `profiles/` for containers and systemd, each used as it will be: the seccomp
profile is loaded around the server, systemd's own tool judges the units, and a supervisor
passes a socket on and gets the notifications.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import websockets

from . import peer as wire
from .echoing import expect_close
from .peer import Peer
from .server import ROOT, STOP_SECONDS_MAX, Server, expect

HERE = pathlib.Path(__file__).resolve().parent
SECCOMP = ROOT / "profiles" / "container" / "seccomp.json"
UNITS = ROOT / "profiles" / "systemd"
RING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
# EX_CONFIG of sysexits.
EXIT_CONFIG = 78
# `systemd-analyze security` gives the service 1.2 to 1.4, depending on its version, and 10
# to one without any hardening.
EXPOSURE_MAX = 1.5
WATCHDOG_SECONDS = 2


def sandboxed(profile):
    return (sys.executable, HERE / "sandbox.py", profile)


def seccomp_mode(server):
    text = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return re.search(r"^Seccomp:\s+(\d)", text, re.M)[1]


async def under_seccomp(server):
    """The profile that is shipped, exactly as it is: start, echo, a broadcast that
    crosses shards, drain."""
    options = ("--profile", "container", "--limit", "drain_ms=500")
    with Server(server.shards, server.binary, sandboxed(SECCOMP), options) as boxed:
        expect(seccomp_mode(boxed) == "2", "the server runs without a filter")
        async with websockets.connect(boxed.url("/echo"), max_size=None, proxy=None) as client:
            # From a single receive buffer, and metered.
            for size in (0, 100, 1 << 16, 4 << 20):
                await client.send(b"e" * size)
                expect(await client.recv() == b"e" * size, f"no echo of {size} bytes")
        # So many that each shard has some.
        clients = [
            await websockets.connect(boxed.url("/broadcast"), proxy=None) for _ in range(32)
        ]
        for sender in clients[:4]:
            await sender.send("to everybody")
            for client in clients:
                expect(await client.recv() == "to everybody", "a broadcast was not received")
        boxed.process.send_signal(signal.SIGTERM)
        for client in clients:
            await expect_close(client, 1001)
        code = boxed.process.wait(STOP_SECONDS_MAX)
        expect(code == 0, f"exit code {code}: {boxed.errors()[-500:]}")


def without_the_ring(server):
    """The profile without its one purpose: the server says what is in its way. This
    also shows that the filter of the test above does filter."""
    profile = json.loads(SECCOMP.read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name not in RING]
    # As Docker's default profile refuses them.
    refused = {"names": sorted(RING), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    profile["syscalls"].append(refused)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(profile, file)
        file.flush()
        done = subprocess.run(
            [*sandboxed(file.name), server.binary, "serve", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=15,
        )
    expect(done.returncode == EXIT_CONFIG, f"exit code {done.returncode}: {done.stderr}")
    expect("seccomp" in done.stderr, f"the message does not name seccomp: {done.stderr}")


def supervised(server):
    """tapecast.service and tapecast.socket rely on these: the socket at descriptor 3,
    READY, the watchdog, STOPPING, and exit 0."""
    with tempfile.TemporaryDirectory() as directory:
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(f"{directory}/notify")
        told.settimeout(10)
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def pass_listener():
            # sd_listen_fds(3): descriptors are numbered from 3.
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)

        process = subprocess.Popen(
            # LISTEN_PID has to be the server's own: a shell knows it and becomes it.
            ["sh", "-c", 'LISTEN_PID=$$ WATCHDOG_PID=$$ exec "$0" "$@"', server.binary, "serve"]
            + ["--shards", str(server.shards)],
            env=os.environ
            | {
                "LISTEN_FDS": "1",
                "NOTIFY_SOCKET": f"{directory}/notify",
                "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=pass_listener,
            close_fds=False,
        )

        def wait_for(word):
            others = []
            while True:
                try:
                    lines = told.recv(4096).decode().splitlines()
                except TimeoutError:
                    expect(False, f"no {word} within 10 s, but {others}; it ended: {process.poll()}")
                if word in lines:
                    return lines
                others.append(lines)

        try:
            lines = wait_for("READY=1")
            expect(any(f":{port} " in line for line in lines), f"told {lines}")
            with Peer.open(port) as peer:
                peer.send_frame(wire.TEXT, b"inherited")
                expect(peer.receive_frame().payload == b"inherited", "no echo")
            for _ in range(3):
                started = time.monotonic()
                wait_for("WATCHDOG=1")
                seconds = time.monotonic() - started
                expect(seconds < WATCHDOG_SECONDS, f"no sign of life for {seconds:.2f}s")
            process.send_signal(signal.SIGTERM)
            wait_for("STOPPING=1")
            code = process.wait(STOP_SECONDS_MAX)
            expect(code == 0, f"exit code {code}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            told.close()
            listener.close()


def units(server):
    """systemd accepts the units without a complaint, and rates them."""
    with tempfile.TemporaryDirectory() as directory:
        # A root with the program where ExecStart= looks for it, which is checked too.
        root = pathlib.Path(directory)
        system = root / "usr" / "lib" / "systemd" / "system"
        binaries = root / "usr" / "bin"
        system.mkdir(parents=True)
        binaries.mkdir()
        shutil.copy(server.binary, binaries / "tapecast")
        # ExecReload= starts it.
        shutil.copy("/bin/sh", binaries / "sh")
        (root / "bin").symlink_to("usr/bin")
        # Units that ours name, and that systemd itself would bring.
        for target in ("network-online", "sysinit", "basic", "shutdown", "sockets", "multi-user"):
            (system / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
        for slice_ in ("-", "system"):
            (system / f"{slice_}.slice").write_text("[Unit]\nDescription=slice\n")
        (system / "-.mount").write_text("[Mount]\nWhat=/dev/null\nWhere=/\n")
        names = ["tapecast.service", "tapecast.socket"]
        for name in names:
            shutil.copy(UNITS / name, system)
        verified = analyze("verify", "--man=no", f"--root={root}", *names)
        # Exit code 0 comes with unknown keys as well, and says so in a line.
        complaints = [line for line in verified.stderr.splitlines() if "tapecast" in line]
        expect(verified.returncode == 0, f"verify: {verified.stderr}")
        expect(not complaints, f"verify: {complaints}")
        threshold = str(round(EXPOSURE_MAX * 10))
        rated = analyze(
            "security", "--offline=true", f"--threshold={threshold}", f"--root={root}", names[0]
        )
        overall = re.search(r"exposure level for tapecast.service: ([\d.]+)", rated.stdout)
        expect(overall, f"security: {rated.stdout[-300:]} {rated.stderr}")
        expect(rated.returncode == 0, f"exposure {overall[1]}, expected at most {EXPOSURE_MAX}")
        return f"exposure {overall[1]}"


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        env=os.environ | {"SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
    )
