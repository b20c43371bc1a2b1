"""Many connections over `wss://`: a storm of handshakes beside a working client, the same
session again and again, and a crowd that says nothing.
"""

import contextlib
import selectors
import socket
import ssl
import subprocess
import sys
import time

from . import peer as wire
from .administration import Admin
from .crowd import raise_descriptor_limit
from .ports import free_port
from .server import ROOT, expect
from .tls_peer import (
    VERSIONS,
    Memory,
    SecurePeer,
    any_context,
    authority,
    check_served,
    secure,
    warm_up,
)

MEBIBYTE = 1 << 20
STORM_SECONDS = 5
# Handshakes under way at a time in a storm.
STORM_WIDTH = 100
# Of a bystander's echoes in a storm: generous, for its client shares two cores with it.
P99_SECONDS_MAX = 0.25
RESUMPTIONS, RESUMPTIONS_MIN = 20_000, 2_000
RESUMPTIONS_SECONDS_MAX = 20
IDLE = 2_000
# The memory of a rustls session after its handshake, counted in the allocator of a program
# that holds hundreds (`tests/tls_memory.rs`), and 1.5 KiB for all the rest.
IDLE_BYTES_EACH_MAX = 2_170 + 1_536


class Handshake:
    """One of many, which nobody waits for."""

    def __init__(self, port, selector, context):
        self.memory = Memory(context)
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.selector = selector
        self.is_over = False
        selector.register(self.socket, selectors.EVENT_WRITE, self)

    def go_on(self, events):
        """Says whether it is over."""
        if events & selectors.EVENT_WRITE:
            _, octets = self.memory.step()
            self.selector.modify(self.socket, selectors.EVENT_READ, self)
        else:
            received = self.socket.recv(1 << 16)
            expect(received, "the server ended the stream within a handshake")
            self.is_over, octets = self.memory.step(received)
        expect(self.socket.send(octets) == len(octets), "a handshake was not taken whole")
        return self.is_over

    def leave(self):
        self.selector.unregister(self.socket)
        return self.socket


def storm_for(seconds, port, authority_path):
    """Handshakes as fast as they go, always `STORM_WIDTH` of them; returns how many."""
    context = ssl.create_default_context(cafile=authority_path)
    selector = selectors.DefaultSelector()
    end = time.monotonic() + seconds
    count = 0
    for _ in range(STORM_WIDTH):
        Handshake(port, selector, context)
    while time.monotonic() < end:
        for key, events in selector.select(1):
            if key.data.go_on(events):
                key.data.leave().close()
                count += 1
                Handshake(port, selector, context)
    return count


def storm(server):
    """New connections of a storm of handshakes wait; an established one hardly does."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); "
        "from live.tls_crowd import storm_for; "
        "print(storm_for(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))"
    )
    port = free_port()
    with secure(server, "--admin", f"127.0.0.1:{port}") as own, SecurePeer.open(own.port) as peer:
        def echoes(seconds):
            times, end = [], time.monotonic() + seconds
            while time.monotonic() < end:
                started = time.monotonic()
                peer.echo(b"working" * 20)
                times.append(time.monotonic() - started)
            return sorted(times)

        quiet = echoes(0.5)
        before = own.resident_bytes()
        storming = subprocess.Popen(
            [sys.executable, "-c", script, str(STORM_SECONDS), str(own.port), authority().path],
            stdout=subprocess.PIPE,
        )
        try:
            # It has to have begun.
            admin = Admin(port)
            name = "tapecast_tls_handshakes_total"
            own.wait_for(lambda: admin.metrics()[name, ()] > STORM_WIDTH, 10, "there is no storm")
            stormy = echoes(STORM_SECONDS - 1)
            count = int(storming.communicate(timeout=30)[0])
        finally:
            storming.kill()
            storming.wait()
        metrics = admin.metrics()
        delayed = metrics["tapecast_tls_handshakes_delayed_total", ()]
        hits = metrics["tapecast_limit_hits_total", (("limit", "tls_handshakes_per_turn"),)]
        check_served(own.port)
        own.wait_for(lambda: own.connections() == 1, 15, "connections of the storm are left")
        growth = own.resident_bytes() - before
    p99 = stormy[len(stormy) * 99 // 100]
    expect(count > 100, f"a storm of {count} handshakes is none")
    text = f"{delayed} were delayed, the limit was hit {hits} times"
    expect(delayed > 0 and hits == delayed, text)
    expect(p99 < P99_SECONDS_MAX, f"a bystander's p99 is {p99 * 1000:.0f} ms")
    expect(growth < 16 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
    return (
        f"{count / STORM_SECONDS:.0f} handshakes/s, {delayed:.0f} delayed, "
        f"echo p50 {stormy[len(stormy) // 2] * 1000:.2f} ms, p99 {p99 * 1000:.1f} ms, "
        f"longest {stormy[-1] * 1000:.0f} ms, "
        f"quiet p99 {quiet[len(quiet) * 99 // 100] * 1000:.2f} ms"
    )


def resumptions(server):
    """Sessions are resumed again and again, for as long as there is time."""
    with secure(server) as own:
        warm_up(own)
        sessions = []
        for version in VERSIONS:
            context = authority().context(version)
            with SecurePeer.open(own.port, context=context) as peer:
                peer.echo()
                sessions.append((context, peer.socket.session))

        def resume(count, deadline):
            for number in range(count):
                context, session = sessions[number % 2]
                with SecurePeer(own.port, context=context, session=session) as again:
                    expect(again.socket.session_reused, f"number {number} was not resumed")
                    # Each third continues, and ends in order.
                    if number % 3 == 0:
                        again.send(wire.head() + wire.close_frame(1000))
                        again.receive_head()
                        expect(again.receive_frame().close_code == 1000, "no close frame")
                if time.monotonic() > deadline:
                    return number + 1
            return count

        def settled():
            own.wait_for(lambda: own.connections() == 0, 10, "connections are left")
            time.sleep(0.3)
            return own.resident_bytes(), own.descriptors()

        deadline = time.monotonic() + RESUMPTIONS_SECONDS_MAX
        resume(1_000, deadline)
        before, descriptors = settled()
        started = time.monotonic()
        count = resume(RESUMPTIONS, deadline)
        seconds = time.monotonic() - started
        after, now = settled()
        expect(count > RESUMPTIONS_MIN, f"only {count} were made in {seconds:.0f}s")
        growth = after - before
        expect(growth < 2 * MEBIBYTE, f"memory grew by {growth / MEBIBYTE:.1f} MiB")
        expect(now == descriptors, f"{now} descriptors, before {descriptors}")
    return f"{count}, {count / seconds:.0f}/s, memory {growth / MEBIBYTE:+.2f} MiB"


def connect_idle(port, count):
    """Sockets whose handshakes, both of them, are over."""
    selector = selectors.DefaultSelector()
    handshakes = [Handshake(port, selector, any_context()) for _ in range(count)]
    waiting = set(handshakes)
    end = time.monotonic() + 20
    while waiting:
        expect(time.monotonic() < end, f"{len(waiting)} of {count} handshakes are not over")
        for key, events in selector.select(1):
            if key.data.go_on(events):
                key.data.leave()
                waiting.discard(key.data)
    selector.close()
    for handshake in handshakes:
        handshake.socket.setblocking(True)
        handshake.socket.settimeout(10)
        handshake.memory.object.write(wire.head())
        handshake.socket.sendall(handshake.memory.outgoing.read())
    for handshake in handshakes:
        read_until(handshake, b"\r\n\r\n")
    return handshakes


def read_until(handshake, last):
    came = b""
    while not came.endswith(last):
        try:
            came += handshake.memory.object.read(1 << 16)
        except ssl.SSLWantReadError:
            received = handshake.socket.recv(1 << 16)
            expect(received, f"end of the stream after {came!r}")
            handshake.memory.incoming.write(received)
    return came


def idle(server):
    """The memory of a connection that has fallen silent."""
    expect(raise_descriptor_limit() > IDLE + 100, "the hard limit of descriptors is too low")
    with secure(server, limits={"drain_ms": 100}) as own:
        warm_up(own)
        for handshake in connect_idle(own.port, 200):
            handshake.socket.close()
        own.wait_for(lambda: own.connections() == 0, 10, "the first batch is left")
        before = own.resident_bytes()
        everybody = []
        try:
            while len(everybody) < IDLE:
                everybody += connect_idle(own.port, 200)
            time.sleep(0.5)
            held = own.connections()
            expect(held == IDLE, f"the server holds {held} connections")
            # They talk once, and are idle again.
            for handshake in everybody:
                handshake.memory.object.write(wire.frame(wire.TEXT, b"awake"))
                handshake.socket.sendall(handshake.memory.outgoing.read())
                read_until(handshake, b"\x81\x05awake")
            each = (own.resident_bytes() - before) / IDLE
        finally:
            for handshake in everybody:
                with contextlib.suppress(OSError):
                    handshake.socket.close()
        own.wait_for(lambda: own.connections() == 0, 15, "connections are left")
    expect(each < IDLE_BYTES_EACH_MAX, f"a connection costs {each:.0f} B")
    return f"{each:.0f} B per connection"
