"""Clients whose few bytes are much work: others do not notice, whatever these send.

A server on one core, the attackers and a bystander on the other, in processes of their
own. The bystander echoes, publishes to itself, and connects anew; what it waits for
beside an attack is compared with what it waited for before.

In the gate each attack is short, and its bound is generous, for the machine may be busy:
without shares of a turn these took seconds. `work: at full size` is the attacks as they
were reported, with the bound that is promised, and prints a table; `work: charged and
spent` compares what requests are charged with the CPU time that they take.
"""

import json
import multiprocessing
import os
import select
import time
import zlib
from functools import cache
from random import Random
from typing import Callable, NamedTuple

from . import peer as wire
from .administration import Admin
from .peer import Peer, head
from .ports import free_port
from .server import expect, serving

NAMES = [f"room{number}" for number in range(1_000)]
# Memory that the server may keep of an attack that is over: its buffers, and pages in use here
# and there.
KEPT_BYTES_MAX = 32 << 20
REQUEST_BYTES_MAX = 256 << 10
SHORT_SECONDS = 1.2
LONG_SECONDS = 6
QUIET_SECONDS = 0.6
# A short attack may add so much on a machine that is busy; and the bound that is promised.
BUSY_MS = 50.0
PROMISED_MS = 5.0
PROMISED_TIMES = 3
NEW_CLIENT_MS = 50.0


def words(**fields):
    return text(json.dumps(fields, separators=(",", ":")))


def text(octets, compressed=False):
    """A frame that is masked with nothing, so that making it costs little."""
    payload = octets.encode() if isinstance(octets, str) else octets
    whole = bytearray(wire.frame(wire.TEXT, b"\0" * len(payload), masked=False))
    whole[len(whole) - len(payload) :] = payload
    start = len(whole) - len(payload)
    whole[1] |= 0x80
    if compressed:
        whole[0] |= 0x40
    return bytes(whole[:start]) + b"\0\0\0\0" + payload


def every(kind, **more):
    """A request of a kind for each name."""
    return b"".join(words(type=kind, **{"room" if kind == "join" else "channel": name}, **more)
                    for name in NAMES)


def at_once(kind):
    """One request of a kind for all names."""
    return words(type=kind, channels=NAMES)


@cache
def bomb(filler):
    """A compressed request of 16 MiB, less a little."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b'{"type":"ping","x":"' + filler * ((16 << 20) // len(filler) - 10) + b'"}'
    packed = packer.compress(body) + packer.flush(zlib.Z_SYNC_FLUSH)
    return text(packed[:-4], compressed=True)


@cache
def prose():
    """Text that becomes some ninety times as long when it is inflated: it is not refused."""
    random = Random(1)
    lines = [bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=200)) for _ in range(40)]
    return b"".join(random.choices(lines, k=4_000))


def long_request(elements):
    """As long as a request may be, and slow to read."""
    body = '{"type":"ping","x":[' + elements * ((REQUEST_BYTES_MAX - 30) // len(elements))
    return text(body + "0]}")


@cache
def of_any_kind(number):
    """Every request of the protocol, one after the other, about a few channels or many."""
    random, said = Random(number), []
    for _ in range(3_000):
        channel = random.choice((f"mix.{random.randrange(100)}", f"mix.*.{random.randrange(30)}"))
        said.append(random.choice((
            {"type": "subscribe", "channel": channel, "snapshot": random.random() < 0.5},
            {"type": "subscribe", "channels": random.sample(NAMES, 20), "max_rate": 10},
            {"type": "subscribe", "channel": channel, "since": {"epoch": 1, "seq": 0}, "window": 9},
            {"type": "unsubscribe", "channel": channel},
            {"type": "unsubscribe", "channels": random.sample(NAMES, 20)},
            {"type": "publish", "channel": f"mix.{random.randrange(100)}", "message": "x" * 500},
            {"type": "publish", "channel": f"mix.{random.randrange(9)}", "message": 1, "id": 1,
             "key": str(random.randrange(1_000))},
            {"type": "ack", "channel": channel, "seq": random.randrange(1_000)},
            {"type": "join", "room": random.choice(NAMES), "name": "somebody"},
            {"type": "leave", "room": random.choice(NAMES)},
            {"message": "hi"},
            {"type": "ping", "id": "x" * 200},
            {"type": "none"},
        )))
    return b"".join(words(**fields) for fields in said)


def patterns(kind, of, count):
    return b"".join(words(type=kind, channel=f"p{of}x{number}.*") for number in range(count))


class Attack(NamedTuple):
    """The bytes that each of `connections` sends at first, and then over and over."""

    first: Callable
    again: Callable
    connections: int = 50
    reads: bool = True
    deflates: bool = False
    path: str = "/"


def nothing(_):
    return b""


ATTACKS = {
    "a chat message to 1,000 rooms": Attack(
        lambda _: every("join"), lambda _: text('{"message":1}') * 7_000, 1
    ),
    "a long chat message to 1,000 rooms": Attack(
        lambda _: every("join"), lambda _: text('{"message":"%s"}' % ("x" * 60_000)) * 20, 2
    ),
    "rooms that nobody reads": Attack(
        lambda _: every("join"), lambda _: text('{"message":1}') * 7_000, 4, reads=False
    ),
    "1,000 names, come and go": Attack(
        nothing, lambda _: at_once("subscribe") + at_once("unsubscribe")
    ),
    "1,000 acknowledgements": Attack(
        lambda _: at_once("subscribe"), lambda _: every("ack", seq=1)
    ),
    "patterns, come and go": Attack(
        nothing,
        lambda number: patterns("subscribe", number, 1_000) + patterns("unsubscribe", number, 1_000),
        4,
    ),
    "new topics": Attack(
        nothing,
        lambda number: b"".join(
            words(type="publish", channel=f"n{number}.t{topic}", message=1)
            for topic in range(30_000)
        ),
        4,
    ),
    "new topics beside patterns": Attack(
        lambda number: b"".join(
            words(type="subscribe", channel=f"new.*.p{number}x{pattern}" if pattern else "new.>")
            for pattern in range(60)
        ),
        lambda number: b"".join(
            words(type="publish", channel=f"new.t{topic}.c{number}", message=1)
            for topic in range(3_000)
        ),
        60,
    ),
    "bombs": Attack(nothing, lambda _: bomb(b" ") * 4, 100, deflates=True),
    "compressed, not a bomb": Attack(nothing, lambda _: bomb(prose()) * 4, 100, deflates=True),
    "echoes, not a bomb": Attack(
        nothing, lambda _: bomb(prose()) * 4, 100, deflates=True, path="/echo"
    ),
    "long requests": Attack(nothing, lambda _: long_request("0,")),
    "long requests, not JSON": Attack(nothing, lambda _: long_request("0,").replace(b"{", b"[")),
    "snapshots": Attack(
        lambda number: b"".join(
            words(type="publish", channel="snap", key=f"k{key}", message="x" * 100)
            for key in range(10_000)
        ) if number == 0 else b"",
        lambda _: words(type="subscribe", channel="snap", snapshot=True)
        + words(type="unsubscribe", channel="snap"),
    ),
    "requests of any kind": Attack(nothing, of_any_kind, 20),
    "requests that are none": Attack(nothing, lambda _: text('{"type":"x"}') * 5_000),
    "escapes without end": Attack(
        nothing, lambda _: text('{"a":"' + "\\u0041" * 5_000) * 50
    ),
    "pings": Attack(nothing, lambda _: wire.frame(wire.PING) * 20_000, 20),
    "publications": Attack(
        nothing,
        lambda number: b"".join(
            words(type="publish", channel=f"c{number}", message=count) for count in range(5_000)
        ),
    ),
}


def connect(port, deflates=False, path="/"):
    extension = {"Sec_WebSocket_Extensions": "permessage-deflate"} if deflates else {}
    peer = Peer(port)
    protocol = {"Sec_WebSocket_Protocol": "tapecast.v1.json"} if path == "/" else {}
    peer.send(head(path, **protocol, **extension))
    status, _ = peer.receive_head()
    expect(status == 101, f"the handshake was answered with {status}")
    return peer


def flood(port, attack, seconds):
    """Sends as much as is taken, in a process of its own."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.nice(5)
    again = [attack.again(number) for number in range(attack.connections)]
    senders = []
    for number in range(attack.connections):
        peer = connect(port, attack.deflates, attack.path)
        peer.socket.setblocking(False)
        senders.append([peer.socket, attack.first(number), 0, again[number]])
    end = time.monotonic() + seconds
    while senders and time.monotonic() < end:
        sockets = [sender[0] for sender in senders]
        readable, writable, _ = select.select(sockets if attack.reads else (), sockets, (), 0.1)
        for sender in list(senders):
            try:
                if sender[0] in readable and not sender[0].recv(1 << 20):
                    senders.remove(sender)
                    continue
                if sender[0] in writable:
                    if sender[2] >= len(sender[1]):
                        sender[1], sender[2] = sender[3], 0
                    sender[2] += sender[0].send(sender[1][sender[2] : sender[2] + (1 << 18)])
            except BlockingIOError:
                pass
            except OSError:
                senders.remove(sender)


class Bystander:
    """Waits of a healthy client, in milliseconds."""

    def __init__(self, port):
        self.port = port
        self.echo = Peer.open(port)
        self.reader = connect(port)
        self.publisher = connect(port)
        self.reader.send_frame(wire.TEXT, b'{"type":"subscribe","channel":"honest"}')
        self.reader.receive_frame()
        self.count = 0

    def watch(self, seconds):
        """Waits for echoes, publications and new connections."""
        echoes, deliveries, new = [], [], []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            started = time.monotonic()
            self.echo.send_frame(wire.TEXT, b"echo")
            expect(self.echo.receive_frame().payload == b"echo", "another echo")
            echoed = time.monotonic()
            self.count += 1
            body = b'{"type":"publish","channel":"honest","message":%d}' % self.count
            self.publisher.send_frame(wire.TEXT, body)
            while b'"message":%d}' % self.count not in self.reader.receive_frame().payload:
                pass
            delivered = time.monotonic()
            echoes.append((echoed - started) * 1e3)
            deliveries.append((delivered - echoed) * 1e3)
            if self.count % 20 == 0:
                with Peer.open(self.port) as peer:
                    peer.send_frame(wire.TEXT, b"new")
                    peer.receive_frame()
                new.append((time.monotonic() - delivered) * 1e3)
            time.sleep(0.002)
        return echoes, deliveries, new


def late(waits, share=0.99):
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * share))] if waits else 0.0


def attacked(server, attack, seconds, **options):
    """The waits of the bystander before and beside the attack; and the server's memory and
    work."""
    flags = ("--compression",) if attack.deflates else ()
    core = min(os.sched_getaffinity(0))
    quick = {"drain_ms": 0, "close_ms": 500}
    admin_port = free_port()
    flags += ("--admin", f"127.0.0.1:{admin_port}")
    before = ("taskset", "-c", str(core))
    with serving(server, flags=flags, limits=quick, before=before, **options) as small:
        bystander = Bystander(small.port)
        bystander.watch(0.2)
        quiet = bystander.watch(QUIET_SECONDS)
        attacker = multiprocessing.get_context("fork").Process(
            target=flood, args=(small.port, attack, seconds + 20), daemon=True
        )
        spent = small.cpu_seconds()
        attacker.start()
        time.sleep(0.3)
        try:
            beside = bystander.watch(seconds)
        finally:
            attacker.terminate()
            attacker.join()
        spent = small.cpu_seconds() - spent
        charged = work_seconds(Admin(admin_port).ask("GET", "/metrics")[1])
        return quiet, beside, small.resident_bytes() >> 20, spent, charged


def work_seconds(metrics):
    """The work that all shards have counted: a unit is about a microsecond."""
    lines = [line for line in metrics.splitlines() if line.startswith("tapecast_work_units_total")]
    expect(lines, "the work is not among the metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) / 1e6


def short(name):
    """The attack of this name, as a test of the gate."""

    def test(server):
        quiet, beside, *_ = attacked(server, ATTACKS[name], SHORT_SECONDS)
        found = []
        for what, before, now in zip(("echo", "publication", "new client"), quiet, beside):
            bound = PROMISED_TIMES * late(before) + BUSY_MS
            expect(late(now) < bound, f"p99 of an {what}: {late(now):.1f} ms, {bound:.1f} expected")
            found.append(f"{late(before):.1f} to {late(now):.1f} ms")
        return ", ".join(found)

    return test


def memory_returns(server):
    """The memory that an attack has made the server take goes back to the system when the
    attack is over, and nobody has to send anything for that."""
    limits = {"log_ms": 1_000, "drain_ms": 0, "close_ms": 500}
    attack = ATTACKS["a chat message to 1,000 rooms"]
    with serving(server, limits=limits) as small:
        with connect(small.port) as peer:
            peer.send_frame(wire.TEXT, b'{"type":"ping"}')
            peer.receive_frame()
        before = small.resident_bytes()
        attacker = multiprocessing.get_context("fork").Process(
            target=flood, args=(small.port, attack, 20), daemon=True
        )
        attacker.start()
        try:
            small.wait_for(
                lambda: small.resident_bytes() - before > 4 * KEPT_BYTES_MAX,
                12,
                lambda: f"it took no more than {small.resident_bytes() - before >> 20} MiB",
            )
            beside = small.resident_bytes() - before
        finally:
            attacker.terminate()
            attacker.join()
        end = time.monotonic() + 15
        while (kept := small.resident_bytes() - before) > KEPT_BYTES_MAX:
            expect(time.monotonic() < end, f"{kept >> 20} MiB of {beside >> 20} are kept")
            time.sleep(0.2)
    return f"{beside >> 20} MiB, {kept >> 20} MiB later"


def at_full_size(server):
    """Every attack, with the bound that is promised."""
    print(f"{'p99 in ms, before and beside':36} {'echo':>14} {'publication':>14} {'new':>12}"
          f" {'MiB':>6} {'CPU s':>6} {'charged':>8}")
    missed = []
    for name, attack in ATTACKS.items():
        quiet, beside, resident, spent, charged = attacked(server, attack, LONG_SECONDS)
        pairs = [(late(before), late(now)) for before, now in zip(quiet, beside)]
        told = " ".join(f"{before:6.2f} {now:7.2f}" for before, now in pairs)
        print(f"{name:36} {told} {resident:6} {spent:6.2f} {charged:8.2f}", flush=True)
        bounds = [PROMISED_TIMES * before + PROMISED_MS for before, _ in pairs[:2]]
        if any(now > bound for (_, now), bound in zip(pairs, bounds + [NEW_CLIENT_MS])):
            missed.append(name)
    expect(not missed, f"above the bound: {', '.join(missed)}")


def charged_and_spent(server):
    """The charge for requests is within a factor of two of the CPU time that they take."""
    kinds = {
        "ping": (nothing, lambda _: words(type="ping") * 3_000),
        "publish, no reader": (nothing, lambda _: words(type="publish", channel="c", message=1) * 3_000),
        "publish, an id": (nothing, lambda _: words(type="publish", channel="c", message=1, id=1) * 900),
        "subscribe and unsubscribe": (nothing, lambda _: at_once("subscribe") + at_once("unsubscribe")),
        "one by one": (nothing, lambda _: every("subscribe") + every("unsubscribe")),
        "ack": (lambda _: at_once("subscribe"), lambda _: every("ack", seq=1)),
        "chat to 1,000 rooms": (lambda _: every("join"), lambda _: text('{"message":1}') * 100),
        "patterns": (nothing, lambda _: patterns("subscribe", 0, 60) + patterns("unsubscribe", 0, 60)),
        "unknown type": (nothing, lambda _: text('{"type":"x"}') * 3_000),
        "not JSON": (nothing, lambda _: text("x" * 1_000) * 300),
        "JSON of 10 KB": (nothing, lambda _: words(type="ping", x=list(range(2_000))) * 30),
    }
    wrong = []
    for name, (first, again) in kinds.items():
        *_, spent, charged = attacked(server, Attack(first, again, 4), 2)
        print(f"{name:28} {spent:6.2f} s spent, {charged:6.2f} s charged, {charged / spent:5.2f}", flush=True)
        if not 0.5 < charged / spent < 2:
            wrong.append(name)
    expect(not wrong, f"not within a factor of two: {', '.join(wrong)}")
