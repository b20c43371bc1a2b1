"""The memory of topics: a thousand stalled readers, a million topics that are quiet, and a
million that are forgotten.
"""

import contextlib
import os
import time

from . import peer as wire
from .crowd import connect_batch, raise_descriptor_limit
from .loading import load
from .peer import Peer
from .server import expect
from .words import serving_topics, unmasked

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20
MILLION = 1_000_000
# Topics that are published to in one write.
BATCH = 2_000


def ask(peer, words):
    """Sends a command and returns the words of its answer."""
    peer.send_frame(wire.TEXT, words.encode())
    received = peer.receive_frame()
    expect(received and received.opcode == wire.TEXT, f"{words!r}: received {received}")
    return received.payload.decode().split(" ")


def publish_to(peer, names):
    """One small message to each; returns once the last has its number."""
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        frames = [unmasked(wire.TEXT, b"pub %s - - small" % name) for name in batch]
        peer.send(b"".join(frames))
    answer = ask(peer, "pub last - 1 x")
    expect(answer[:2] == ["published", "1"], f"answered with {answer}")


def names_of(series):
    return [b"%s.%d" % (series, number) for number in range(MILLION)]


def a_million_quiet(server):
    """A message each, and kept: for the name, the number, the message and its place."""
    with serving_topics(server, log_ms=600_000, topics_per_connection_max=4 * MILLION) as small:
        with Peer.open(small.port, "/words") as peer:
            ask(peer, "pub first - 1 x")
            before = small.resident_bytes()
            started = time.monotonic()
            publish_to(peer, names_of(b"quiet"))
            seconds = time.monotonic() - started
            # On their way to another shard they are not all numbered yet.
            time.sleep(1)
            resident = small.resident_bytes()
            for number in range(0, MILLION, MILLION // 50):
                answer = ask(peer, f"sub quiet.{number} snapshot")
                expect(answer[3] == "1", f"topic {number} is at {answer[3]}")
                marks = [peer.receive_frame().payload.split(b" ", 5) for _ in range(3)]
                expect([words[0] for words in marks] == [b"S", b"M", b"E"], f"received {marks}")
                expect(marks[1][5] == b"small", f"its message is {marks[1]}")
    expect(resident < 512 * MEBIBYTE, f"{resident / MEBIBYTE:.0f} MiB")
    each = (resident - before) / MILLION
    return f"{resident / MEBIBYTE:.0f} MiB, {each:.0f} B each, made in {seconds:.1f}s"


def a_million_forgotten(server):
    """Nobody reads them and their history ends: they are gone, and their memory serves
    the next million."""
    # Longer than it takes to make them, so that all are there at once.
    keep_ms = 8_000
    limits = {"log_ms": keep_ms, "topics_per_connection_max": 4 * MILLION}
    with serving_topics(server, **limits) as small:
        with Peer.open(small.port, "/words") as peer:
            ask(peer, "pub first - 1 x")
            rounds, seconds = [], []
            for series in (b"a", b"b", b"c"):
                small.reset_peak()
                started = time.monotonic()
                publish_to(peer, names_of(series))
                seconds.append(time.monotonic() - started)
                time.sleep(keep_ms / 1_000)
                # A look at a topic keeps it, so that each look takes another.
                looked_at = iter(range(MILLION - 1, 0, -1))
                small.wait_for(
                    lambda: ask(peer, f"sub {series.decode()}.{next(looked_at)}")[3] == "0",
                    10,
                    "the last topics are still there",
                )
                for number in (0, MILLION // 2):
                    answer = ask(peer, f"sub {series.decode()}.{number}")
                    expect(answer[3] == "0", f"topic {number} is still at {answer[3]}")
                rounds.append((small.resident_bytes_peak(), small.resident_bytes()))
    peaks = [peak for peak, _ in rounds]
    shown = ", ".join(f"{peak >> 20} then {after >> 20}" for peak, after in rounds)
    expect(max(seconds) * 1_000 < keep_ms, f"made in {seconds}: some were gone by then")
    # Memory that a topic left behind would be there at each later peak. The first million is made
    # in memory that is fresh, the others between what is in use here and there.
    first, second, third = peaks
    expect(third < second + 16 * MEBIBYTE, f"another million took more: {shown}")
    expect(second < first + 48 * MEBIBYTE, f"the second million took more: {shown}")
    return f"MiB at most and after each: {shown}; made in {max(seconds):.1f}s"


STALLED, HEALTHY, RATE, PAYLOAD_BYTES = 1_000, 20, 10_000, 64
PAIRS = 2
TAPE_BYTES_MAX = MEBIBYTE


def measured(small, duration):
    """Healthy readers in an open loop; the generator's values."""
    loaded = load(
        "broadcast", small.url("/tape?topic=hot&publish=hot"), "--connections", HEALTHY,
        "--rate", RATE, "--size", PAYLOAD_BYTES, "--warmup", "2s", "--duration", duration,
        "--server-pid", small.pid, "--fail-if", "gaps>0", "--fail-if", "errors>0",
    )
    expect(loaded.code == 0, loaded.errors)
    return loaded.values


@contextlib.contextmanager
def stalled_readers(small):
    sockets = []
    try:
        while len(sockets) < STALLED:
            sockets += connect_batch(small.port, 250, "/tape?topic=hot")
        yield
        expect(small.connections() >= STALLED, "a stalled reader was closed")
    finally:
        for stalled in sockets:
            stalled.close()
    small.wait_for(lambda: small.connections() == 0, 15, "connections are left")


def stalled_crowd(server):
    """A stalled reader costs its connection, and delays nobody that reads.

    The bytes that it was sent lie in the kernel, in the send buffer of its socket, which is
    not in a process's resident memory. Those that it was not sent lie on the tape, once for
    all readers, until that is full; then they fall off it. Each may keep the rest of one
    frame from when its socket was full. So the bound is, for each
    shard, a tape and the chunks of one that are kept for the next (16 of each size,
    2 MiB), and for each reader 2 KiB: its connection and that rest of a frame.
    """
    raise_descriptor_limit()
    # Times say something only if the generator has a core for itself.
    is_timed = len(os.sched_getaffinity(0)) > server.shards
    limits = {"socket_send_bytes": 16 * KIBIBYTE, "tape_bytes_max": TAPE_BYTES_MAX}
    with serving_topics(server, **limits) as small:
        measured(small, "1s")
        without, beside, growths = [], [], []
        for _ in range(PAIRS if is_timed else 1):
            without.append(measured(small, "7s"))
            small.reset_peak()
            before = small.resident_bytes()
            with stalled_readers(small):
                beside.append(measured(small, "7s"))
            growths.append(small.resident_bytes_peak() - before)
    bound = server.shards * (TAPE_BYTES_MAX + 2 * MEBIBYTE) + STALLED * 2 * KIBIBYTE
    growth = max(growths)
    expect(growth < bound, f"memory grew by {growth / MEBIBYTE:.1f} MiB, {bound >> 20} at most")
    numbers = f"{growth / MEBIBYTE:.1f} MiB of {bound >> 20}; " + compared(without, beside)
    if not is_timed:
        numbers += "; times are not compared without a core for the generator"
    # Less than a fifth beyond what it varies by on its own; or, of a time, two milliseconds,
    # by which a machine with other tenants holds anybody up.
    for name, beyond in (("latency_p99", 2_000), ("server_cpu_per_message", 0)) if is_timed else ():
        least, most = min(run[name] for run in beside), max(run[name] for run in without)
        expect(least < 1.2 * most + beyond, f"{name}: {numbers}")
    return numbers


def compared(without, beside):
    """The runs without stalled readers and beside them, in words."""
    texts = []
    for name, unit, text in (
        ("latency_p50", 1_000, "p50 {} ms and beside them {} ms"),
        ("latency_p99", 1_000, "p99 {} ms and {} ms"),
        ("server_cpu_per_message", 1, "{} us and {} us of CPU a message"),
    ):
        sides = ([f"{run[name] / unit:.2f}" for run in runs] for runs in (without, beside))
        texts.append(text.format(*map("/".join, sides)))
    return ", ".join(texts)
