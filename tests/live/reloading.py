"""SIGHUP: a running server reads its configuration again."""

import contextlib
import pathlib
import re
import signal
import time

from . import peer as wire
from .configuring import files
from .limits import check_refused
from .peer import Peer
from .server import expect, serving
from .tls_peer import server_identity


class Reloading:
    """A running server whose file changes."""

    def __init__(self, running, path):
        self.running = running
        self.path = pathlib.Path(path)

    def reload(self, text, expected):
        """Gives it this file; returns the lines that it then logs, in which there has
        to be what is expected."""
        told = len(self.running.errors())
        self.path.write_text(text)
        self.running.process.send_signal(signal.SIGHUP)
        self.running.wait_for(
            lambda: re.search(expected, self.running.errors()[told:]),
            3,
            lambda: f"{expected!r} is not in {self.running.errors()[told:]!r}",
        )
        # Every shard has heard of it.
        time.sleep(0.1)
        return self.running.errors()[told:]

    def status_of(self, head_bytes):
        """The status of the answer to a request head of this length."""
        with Peer(self.running.port) as peer:
            peer.send(wire.head(X_Fill="f" * (head_bytes - len(wire.head(X_Fill="")))))
            return peer.receive_head()[0]


@contextlib.contextmanager
def reloading(server, text, *flags, **options):
    with files(served=text) as paths:
        flags = ["--config", paths["served"], *flags]
        with serving(server, flags=flags, **options) as running:
            yield Reloading(running, paths["served"])


def settings(server):
    """SIGHUP changes the settings that can change and names the others; a file with a mistake
    changes nothing; every connection stays."""
    small = "[limits]\nhead_bytes_max = 300\n"
    with reloading(server, small, "--limit", "close_ms=700") as it:
        with Peer.open(it.running.port) as staying:
            expect(it.status_of(400) == 431, "a head above the limit was taken")
            lines = it.reload(
                '[limits]\nhead_bytes_max = "1 KiB"\nreceive_buffers = 128\nclose_ms = 900\n',
                r"reloaded: .*\n",
            )
            expect("reloaded: limits.head_bytes_max = 1024 (was 300)" in lines, lines)
            expect("needs a restart: limits.receive_buffers = 128 (stays 64)" in lines, lines)
            expect(lines.count("reloaded") == 1, f"it is said once: {lines}")
            expect("close_ms" not in lines, f"the file won over a flag: {lines}")
            expect(it.status_of(1_024) == 101, "the new limit is not obeyed")
            expect(it.status_of(1_025) == 431, "the new limit is not obeyed")
            it.reload("[limits]\nhead_bytes_max = 9_000\nx = 1\n", r"not reloaded: .*:3: ")
            expect(it.status_of(1_025) == 431, "a part of a file with a mistake was taken")
            it.reload("log = 'error'\n", r"reloaded: log ")
            told = len(it.running.errors())
            with Peer.open(it.running.port) as peer:
                peer.send_frame(wire.TEXT, b"naked", masked=False)
                peer.receive_to_end()
            logged = it.running.errors()[told:]
            expect(logged == "", f"at the level error it logs {logged!r}")
            staying.send_frame(wire.TEXT, b"stayed")
            received = staying.receive_frame()
            expect(received and received.payload == b"stayed", f"received {received}")


def connections(server):
    """Room for connections is made at the start: another limit is reported as one that needs
    a restart, and the old one holds."""
    most = 10
    with reloading(server, f"[limits]\nconnections_max = {most}\n") as it:
        lines = it.reload("[limits]\nconnections_max = 1000\n", r"reloaded: .*\n")
        report = f"needs a restart: limits.connections_max = 1000 (stays {most})"
        expect(report in lines, f"{report!r} is not in {lines}")
        expect("reloaded: nothing has changed" in lines, lines)
        with contextlib.ExitStack() as stack:
            for _ in range(most):
                stack.enter_context(Peer.open(it.running.port))
            check_refused(it.running.port, 503)


def silence(server):
    """A new limit of silence holds for connections that were silent before, too."""
    with reloading(server, "") as it, Peer.open(it.running.port) as silent:
        it.reload("[limits]\nidle_ping_ms = 300\n", r"reloaded: limits\.idle_ping_ms = 300")
        silent.socket.settimeout(3)
        try:
            received = silent.receive_frame()
        except TimeoutError:
            received = None
        expect(received and received.opcode == wire.PING, f"received {received} within 3 s")


def contradiction(server):
    """Limits that are good for each other, but not with one that needs a restart: it
    is not said of the same reload that it was carried out and that it was not."""
    text = (
        "[limits]\nmessage_bytes_max = 1000\nqueued_bytes_max = 2000\n"
        "queued_bytes_pause = 500\n"
    )
    with reloading(server, "") as it:
        lines = it.reload(text, r"needs a restart: limits.message_bytes_max = 1000")
        expect("not reloaded: queued_bytes_max is 2000" in lines, f"not refused: {lines}")
        expect(" reloaded: limits." not in lines and "nothing has" not in lines, f"refused, and also reported as done: {lines}")
        message = b"m" * 100_000
        with Peer.open(it.running.port) as peer:
            peer.send_frame(wire.BINARY, message)
            received = peer.receive_frame()
            expect(received.payload == message, f"received {received[:2]}")


def certificates(server):
    """Certificates for a server that has no TLS: it is not said that it has it now."""
    identity = server_identity()
    listening = 'listen = ["127.0.0.1:0"{}]\n'
    text = listening.format(', "wss://127.0.0.1:0"')
    text += f'tls_cert = ["{identity.chain}"]\ntls_key = ["{identity.key}"]\n'
    with reloading(server, listening.format(""), listen=None) as it:
        lines = it.reload(text, r"needs a restart: .*tls_cert = .*\n")
        expect(" reloaded: tls_" not in lines, lines)
        # Nor of limits that are taken with it, that they are not.
        lines = it.reload(text + "[limits]\nhead_bytes_max = 300\n", r"reloaded: limits\.head_")
        expect("not reloaded" not in lines and "tls_cert" in lines, lines)
        expect(it.status_of(400) == 431, "a head above the limit was taken")
