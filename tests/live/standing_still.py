"""Something stands still: the reader of the log, the process itself, a reader; or a shard
has nothing left to do but to be the home of others' topics."""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import tempfile
import threading
import time

from . import peer as wire
from .administration import Admin
from .peer import Peer, frame
from .ports import free_port
from .server import Server, expect, serving

F_SETPIPE_SZ = 1031
CONNECTIONS = 300


@contextlib.contextmanager
def full_pipe():
    """A pipe that takes nothing more; yields its ends."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 512)
        os.set_blocking(writer, True)
        yield reader, writer
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.close(writer)


def log_reader(server):
    """Nobody reads standard error: every shard still echoes, the control thread answers,
    SIGTERM is obeyed, and the dropped lines are counted."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory, full_pipe() as (_, writer):
        path = pathlib.Path(directory, "tapecast.toml")
        path.write_text("[limits]\ndrain_notice_ms = 0\nclose_ms = 500\n")
        flags = ["--config", str(path), "--admin", f"127.0.0.1:{port}"]
        with Server(server.shards, server.binary, flags=flags, stderr=writer) as own:
            admin = Admin(port)
            peers = [Peer.open(own.port) for _ in range(12)]
            # On every shard a line is due.
            for _ in range(12):
                with Peer.open(own.port) as rude:
                    rude.send_frame(wire.TEXT, b"naked", masked=False)
                    rude.receive_to_end()
            for peer in peers:
                peer.send_frame(wire.TEXT, b"on")
                expect(peer.receive_frame().payload == b"on", "no echo")
            # More lines than are kept.
            path.write_text("".join(f"unknown_{number} = 1\n" for number in range(5_000)))

            def dropped():
                return admin.metrics()["tapecast_log_lines_dropped_total", ()]

            own.process.send_signal(signal.SIGHUP)
            own.wait_for(lambda: dropped() > 0, 5, "nothing was dropped")
            count = dropped()
            for peer in peers:
                peer.send_frame(wire.TEXT, b"still on")
                expect(peer.receive_frame().payload == b"still on", "no echo")
            started = time.monotonic()
            code = own.stop()
            seconds = time.monotonic() - started
            expect(code == 0, f"it ended with {code}")
            expect(seconds < 10, f"it ended after {seconds:.1f}s")
    return f"{count:.0f} lines dropped, ended after {seconds:.1f} s"


def stopped_process(server):
    """The process stands still for longer than a pong may take: no connection is lost that has
    answered."""
    limits = {"idle_ping_ms": 500, "pong_ms": 700}
    with serving(server, limits=limits) as own:
        peers = [Peer.open(own.port) for _ in range(CONNECTIONS)]
        # Everybody answers pings, and says nothing else.
        is_over = threading.Event()

        def answer():
            while not is_over.wait(0.02):
                for peer in peers:
                    peer.socket.setblocking(False)
                    with contextlib.suppress(BlockingIOError, ConnectionError):
                        for _ in range(peer.socket.recv(4096).count(b"\x89\x08")):
                            peer.socket.send(frame(wire.PONG, b"any byte will do"))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            for _ in range(3):
                # Some are asked right before.
                time.sleep(0.55)
                own.process.send_signal(signal.SIGSTOP)
                time.sleep(2)
                own.process.send_signal(signal.SIGCONT)
                time.sleep(0.2)
        finally:
            is_over.set()
            thread.join()
        left = own.connections()
        expect(left == CONNECTIONS, f"{CONNECTIONS - left} of {CONNECTIONS} were lost")
        for peer in peers:
            peer.socket.close()
    return f"{left} connections"


def slow_reader(server):
    """A reader that takes 40 KB/s of 1.2 MB is not lost, although its pong comes last."""
    limits = {"idle_ping_ms": 1_000, "pong_ms": 1_500, "socket_send_bytes": 64 << 10}
    with serving(server, limits=limits) as own:
        with Peer.open(own.port, receive_buffer_bytes=16 << 10) as slow:
            slow.send_frame(wire.BINARY, bytes(1_200_000))
            got, started = 0, time.monotonic()
            while got < 1_200_000:
                piece = slow.socket.recv(8_000)
                expect(piece, f"lost after {got} bytes and {time.monotonic() - started:.1f}s")
                got += len(piece)
                time.sleep(max(0, got / 80_000 - (time.monotonic() - started)))
            slow.rest = b""
            expect(own.connections() == 1, "it was lost at the end")
    return f"{time.monotonic() - started:.1f} s"


def homes_in_a_drain(server):
    """One shard's connections have left when a drain begins: topics whose home it is stay live
    for the readers of the other."""
    port = free_port()
    limits = {"drain_notice_ms": 0, "drain_ms": 3_000}
    with Server(2, server.binary, flags=["--admin", f"127.0.0.1:{port}"], limits=limits) as own:
        admin = Admin(port)
        peers = {}
        for _ in range(40):
            before = {each["id"] for each in admin.ask("GET", "/connections")[1]["connections"]}
            peer = Peer.open(own.port, path="/")
            now = admin.ask("GET", "/connections")[1]["connections"]
            name = next(each["id"] for each in now if each["id"] not in before)
            peers.setdefault(name.split(".")[0], []).append(peer)
        expect(len(peers) == 2, f"all connections are on one shard: {list(peers)}")
        (_, gone), (_, readers) = sorted(peers.items(), key=lambda item: len(item[1]))
        channels = [f"c{number}" for number in range(8)]
        for reader in readers:
            for channel in channels:
                words = {"type": "subscribe", "channel": channel}
                reader.send_frame(wire.TEXT, json.dumps(words).encode())
        for peer in gone:
            peer.socket.close()
        own.wait_for(lambda: own.connections() == len(readers), 5, "connections are left")
        time.sleep(0.3)
        own.process.send_signal(signal.SIGTERM)
        # The first that came is the last to be closed.
        publisher, number = readers[0], 0
        end = time.monotonic() + 2
        while time.monotonic() < end:
            number += 1
            for channel in channels:
                words = {"type": "publish", "channel": channel, "message": number}
                with contextlib.suppress(OSError):
                    publisher.send_frame(wire.TEXT, json.dumps(words).encode())
            time.sleep(0.05)
        # A reader that is still there has got all that was published while it was.
        best = {}
        for reader in readers:
            with contextlib.suppress(OSError, AssertionError):
                while received := reader.receive_frame():
                    if received.opcode == wire.CLOSE:
                        break
                    words = json.loads(received.payload)
                    if words.get("type") == "message":
                        best.setdefault(words["channel"], set()).add(words["message"])
        code = own.process.wait(15)
        expect(code == 0, f"exit code {code}")
    numbers = {channel: max(best.get(channel, {0})) for channel in channels}
    most = max(numbers.values())
    expect(most > 5, f"nothing was published in the drain: {numbers}")
    silent = [channel for channel, number in numbers.items() if number < most - 2]
    expect(not silent, f"topics fell silent in the drain: {numbers}")
    return f"{most} messages of each of {len(channels)} topics"
