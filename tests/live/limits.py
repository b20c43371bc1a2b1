"""Limits: each is hit on a server that has it small. The stated consequence follows, no other
connection notices, and the server recovers.

Times have a lower bound that holds on any machine and an upper one that is
generous, for the machine may be busy.
"""

import contextlib
import select
import socket
import threading
import time

from . import peer as wire
from .peer import Peer, frame
from .raw import check_closed_with
from .server import command, expect, serving

KIBIBYTE = 1 << 10
# A busy machine may be late by so much.
LATE_SECONDS = 1.0


class Bystander:
    """A healthy connection that echoes all the time, in a thread of its own. At the
    end of its `with` nothing may have been lost, late by more than `late_seconds`,
    or cut."""

    def __init__(self, port, late_seconds=LATE_SECONDS, every_seconds=0.02, kind=Peer, **options):
        self.late_seconds = late_seconds
        self.every_seconds = every_seconds
        self.peer = kind.open(port, **options)
        self.echoes = 0
        self.slowest = 0.0
        self.failure = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._echo, daemon=True)

    def _echo(self):
        try:
            while not self.done.wait(self.every_seconds):
                started = time.monotonic()
                message = b"bystander %d" % self.echoes
                self.peer.send_frame(wire.TEXT, message)
                while (received := self.peer.receive_frame()) and received.opcode == wire.PING:
                    self.peer.send_frame(wire.PONG, received.payload)
                expect(received == (True, wire.TEXT, message), f"received {received}")
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.echoes += 1
        except (AssertionError, OSError) as failure:
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *_):
        # Also a while after what the test did.
        enough = self.echoes + 5
        end = time.monotonic() + self.late_seconds + 5 * self.every_seconds
        while kind is None and self.echoes < enough and time.monotonic() < end:
            time.sleep(self.every_seconds)
        self.done.set()
        self.thread.join(wire.TIMEOUT_SECONDS)
        self.peer.socket.close()
        if kind is None:
            expect(self.failure is None, f"a bystander was harmed: {self.failure}")
            expect(self.echoes >= enough, f"a bystander echoed {self.echoes} times")
            expect(self.slowest < self.late_seconds, f"a bystander waited {self.slowest:.2f}s")


@contextlib.contextmanager
def limited(server, **limits):
    """A server with these limits, whose drain does not wait for anybody."""
    quick = {"drain_ms": 0, "close_ms": 500}
    with serving(server, limits=quick | limits) as small:
        yield small


def echo(peer, message=b"echo"):
    peer.send_frame(wire.BINARY, message)
    received = peer.receive_frame()
    expect(
        received == (True, wire.BINARY, message),
        f"sent {len(message)}, received {received and (received[:2], received.payload[:40])}",
    )


def check_refused(port, status, line=None, **options):
    with Peer(port, **options) as peer:
        peer.send(wire.head())
        received, text = peer.receive_head()
        expect(received == status, f"expected {status}, received {text!r}")
        expect(line is None or line in text.split("\r\n"), f"{line!r} is not in {text!r}")
        peer.receive_to_end()


def open_when_possible(port, seconds=3, **options):
    """A peer that is accepted within this time."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Peer.open(port, **options)
        except (AssertionError, OSError):
            expect(time.monotonic() < end, f"not let in within {seconds}s")
            time.sleep(0.05)


def close_all(peers):
    for peer in peers:
        peer.socket.close()


def connections_max(server):
    most = 20
    with limited(server, connections_max=most) as small, Bystander(small.port):
        peers = [Peer.open(small.port, ("/echo", "/broadcast")[i % 2]) for i in range(most - 1)]
        for _ in range(10):
            check_refused(small.port, 503, "Retry-After: 1")
        for peer in peers:
            echo(peer) if peer is not peers[1] else None
        # Each that leaves makes room for one, and for one only.
        for leaving in (0, 1, 2):
            peers[leaving].socket.close()
            peers.append(open_when_possible(small.port))
            echo(peers[-1])
            check_refused(small.port, 503)
        close_all(peers)
        peers = [open_when_possible(small.port) for _ in range(most - 1)]
        close_all(peers)


def connections_refusing_max(server):
    """So many are kept for their 503; the others wait, and get their answer once there is room
    to give it."""
    most, refusing = 4, 6
    limits = {"connections_max": most, "connections_refusing_max": refusing}
    with limited(server, accepts_in_flight=1, handshake_stall_ms=20_000, **limits) as small:
        with Bystander(small.port):
            peers = [Peer.open(small.port) for _ in range(most - 1)]
            # Each shard has an accept under way until somebody comes to it: enough for
            # chance to send one to each.
            silent = [Peer(small.port) for _ in range(refusing + 16 * server.shards)]
            # Until all are accepted that will be.
            time.sleep(1)
            with Peer(small.port) as waiting:
                waiting.send(wire.head())
                readable, _, _ = select.select([waiting.socket], [], [], 0.5)
                expect(not readable, "more were taken than may be kept for a refusal")
                close_all(silent)
                status, _ = waiting.receive_head()
                expect(status == 503, f"answered with {status}")
            close_all(peers)
            open_when_possible(small.port).socket.close()


def connections_per_address_max(server):
    most = 5
    with limited(server, connections_per_address_max=most) as small:
        with Bystander(small.port, source="127.0.0.9"):
            peers = [Peer.open(small.port, source="127.0.0.2") for _ in range(most)]
            for _ in range(20):
                check_refused(small.port, 503, "Retry-After: 1", source="127.0.0.2")
            others = [
                Peer.open(small.port, source=f"127.0.0.{last}")
                for last in (3, 4, 5)
                for _ in range(most)
            ]
            for peer in (*peers, *others):
                echo(peer)
            # However they leave: closed, cut, or in the middle of a handshake.
            peers[0].send(wire.close_frame(1000))
            peers[0].receive_to_end()
            peers[1].reset()
            peers[2].socket.close()
            again = [open_when_possible(small.port, source="127.0.0.2") for _ in range(3)]
            check_refused(small.port, 503, source="127.0.0.2")
            close_all([*again, *peers])
            for _ in range(3 * most):
                with Peer(small.port, source="127.0.0.2") as half:
                    half.send(wire.head()[:30])
            # Nothing of all that is still counted.
            full = [open_when_possible(small.port, source="127.0.0.2") for _ in range(most)]
            check_refused(small.port, 503, source="127.0.0.2")
            close_all([*full, *others])


def handshakes_per_second_max(server):
    """A burst is spread: a second's worth at once, the others at the rate."""
    rate, burst = 40, 120
    limits = {"handshakes_per_second_max": rate, "accepts_in_flight": 1}
    with limited(server, **limits) as small, Bystander(small.port):
        # The bucket is full again, but for the bystander.
        time.sleep(0.2)
        started = time.monotonic()
        waiting = {}
        for _ in range(burst):
            peer = Peer(small.port)
            peer.send(wire.head())
            waiting[peer.socket] = peer
        peers, times = list(waiting.values()), []
        while waiting:
            readable, _, _ = select.select(list(waiting), [], [], 8)
            expect(readable, f"{len(waiting)} of {burst} were forgotten")
            for ready in readable:
                status, text = waiting.pop(ready).receive_head()
                expect(status == 101, f"answered with {text!r}")
                times.append(time.monotonic() - started)
        # Shards have equal shares, but the kernel does not give them equal numbers.
        least = (burst - rate) / rate
        most = least if server.shards == 1 else 2 * least
        expect(times[-1] > 0.8 * least, f"{burst} were let in within {times[-1]:.2f}s")
        expect(times[-1] < 1.2 * most + 1, f"{burst} were let in within {times[-1]:.2f}s")
        soon = sum(seconds < 0.5 for seconds in times)
        expect(soon <= 1.6 * rate + 4, f"{soon} within half a second")
        expect(soon >= 0.5 * rate, f"{soon} within half a second: the first second is free")
        close_all(peers)
        time.sleep(1.1)
        started = time.monotonic()
        with Peer.open(small.port) as peer:
            echo(peer)
        expect(time.monotonic() - started < 0.5, "no room again after a quiet second")
    return f"{burst} within {times[-1]:.2f}s, {soon} of them in the first half second"


def head_bytes_max(server):
    """431 from the first byte that is too many; a head of the limit is taken."""
    most = 1_000
    with limited(server, head_bytes_max=most) as small, Bystander(small.port):
        bare = len(wire.head(X_Fill=""))
        for length, status in ((most - 1, 101), (most, 101), (most + 1, 431), (8 * most, 431)):
            request = wire.head(X_Fill="f" * (length - bare))
            expect(len(request) == length, f"a head of {len(request)}")
            for pieces in (1, 7):
                with Peer(small.port) as peer:
                    size = -(-length // pieces)
                    with contextlib.suppress(ConnectionError):
                        for start in range(0, length, size):
                            peer.send(request[start : start + size])
                            time.sleep(0.005 if pieces > 1 else 0)
                    received, _ = peer.receive_head()
                    expect(received == status, f"{length} bytes: answered with {received}")
        # Bytes behind a head are not part of it.
        with Peer(small.port) as peer:
            peer.send(wire.head() + frame(wire.BINARY, b"b" * most))
            expect(peer.receive_head()[0] == 101, "a message was counted to the head")
            expect(peer.receive_frame().payload == b"b" * most, "no echo")


def check_408_after(peer, started, seconds):
    status, text = peer.receive_head()
    took = time.monotonic() - started
    expect(status == 408, f"answered with {text!r}")
    expect(0.95 * seconds <= took < seconds + LATE_SECONDS, f"408 after {took:.2f}s")
    peer.receive_to_end()
    return took


def handshake_times(server):
    """408 after `handshake_stall_ms` without a byte, and after `handshake_ms` in any
    case; an accepted connection is not affected."""
    stall, whole = 0.5, 1.2
    limits = {"handshake_stall_ms": int(stall * 1000), "handshake_ms": int(whole * 1000)}
    with limited(server, **limits) as small, Bystander(small.port):
        quiet = Peer.open(small.port)
        request = wire.head()
        for sent in (0, 1, len(request) - 1):
            started = time.monotonic()
            with Peer(small.port) as peer:
                peer.send(request[:sent])
                check_408_after(peer, started, stall)
        # A byte at a time, each soon enough.
        with Peer(small.port) as slow:
            started = time.monotonic()
            position = 0
            while not select.select([slow.socket], [], [], 0.1)[0]:
                expect(time.monotonic() - started < whole + LATE_SECONDS, "still not refused")
                slow.send(request[position : position + 1])
                position += 1
            took = check_408_after(slow, started, whole)
        # Just in time.
        with Peer(small.port) as slow:
            third = len(request) // 3
            for piece in (request[:third], request[third : 2 * third]):
                slow.send(piece)
                time.sleep(0.3)
            slow.send(request[2 * third :])
            expect(slow.receive_head()[0] == 101, "a slow handshake was refused")
            time.sleep(stall)
            echo(slow)
        echo(quiet)
        quiet.socket.close()
    return f"a dripped head was refused after {took:.2f}s"


def message_bytes_max(server):
    most = 1_000
    with limited(server, message_bytes_max=most) as small, Bystander(small.port):
        with Peer.open(small.port) as peer:
            for size in (most - 1, most):
                echo(peer, b"m" * size)
            peer.send(frame(wire.BINARY, b"m" * 600, fin=False))
            peer.send_frame(wire.CONTINUATION, b"m" * 400)
            expect(peer.receive_frame().payload == b"m" * most, "a message of the limit")
        for octets in (
            frame(wire.BINARY, b"m" * (most + 1)),
            frame(wire.BINARY, b"", declared=most + 1),
            frame(wire.BINARY, b"m" * most, fin=False) + frame(wire.CONTINUATION, b"m"),
            frame(wire.TEXT, b"m", fin=False) + frame(wire.CONTINUATION, b"m" * most),
        ):
            for path in ("/echo", "/broadcast"):
                with Peer.open(small.port, path) as peer:
                    peer.send(octets)
                    check_closed_with(peer, 1009)
        with Peer.open(small.port) as peer:
            echo(peer, b"m" * most)


def message_fragments_max(server):
    most = 10
    first = frame(wire.BINARY, b"f", fin=False)
    further, last = frame(wire.CONTINUATION, b"f", fin=False), frame(wire.CONTINUATION, b"f")
    with limited(server, message_fragments_max=most) as small, Bystander(small.port):
        with Peer.open(small.port) as peer:
            # It is counted per message, and control frames do not count.
            for _ in range(3):
                pings = frame(wire.PING, b"p") * 5
                peer.send(first + pings + further * (most - 2) + pings + last)
                received = peer.receive_frame()
                while received and received.opcode == wire.PONG:
                    received = peer.receive_frame()
                expect(received == (True, wire.BINARY, b"f" * most), f"received {received}")
        for octets in (first + further * (most - 1) + last, first + further * 1_000):
            with Peer.open(small.port) as peer:
                peer.send(octets)
                check_closed_with(peer, 1008)
        with Peer.open(small.port) as peer:
            peer.send(first + last)
            expect(peer.receive_frame().payload == b"ff", "no echo")


def echoes_timed(port, count, payload_bytes):
    """Sends as fast as it is taken, then ends its side; all echoes have to come, in
    order, before the server's end. Returns when each came, in seconds."""
    with Peer.open(port) as peer:
        started = time.monotonic()

        def send():
            for index in range(count):
                peer.send_frame(wire.BINARY, index.to_bytes(4, "big") + b"r" * (payload_bytes - 4))
            peer.socket.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        times = []
        for index in range(count):
            received = peer.receive_frame()
            expect(
                received and received.opcode == wire.BINARY,
                f"{received and received.payload[:40]!r} instead of echo {index} of {count}",
            )
            number = int.from_bytes(received.payload[:4], "big")
            expect(number == index, f"echo {number} instead of {index}")
            times.append(time.monotonic() - started)
        sending.join(1)
        expect(peer.receive_to_end() == b"", "bytes after the last echo")
        return times


def check_rate(times, units_each, per_second):
    """A second's worth is free, then the rate is kept: over the whole, and in the
    second half as well."""
    units = len(times) * units_each
    expected = (units - per_second) / per_second
    expect(
        0.8 * expected <= times[-1] <= 1.2 * expected + 0.2,
        f"{units} at {per_second} a second took {times[-1]:.2f}s, expected {expected:.2f}s",
    )
    half = len(times) // 2
    seconds = times[-1] - times[half]
    rate = (len(times) - half - 1) * units_each / seconds
    expect(
        0.8 * per_second <= rate <= 1.2 * per_second,
        f"{rate:.0f} a second in the second half, expected {per_second}",
    )
    return f"{units} in {times[-1]:.2f}s, expected {expected:.2f}s"


def messages_per_second_max(server):
    # Bytes that were received are handled: small buffers show the rate finely.
    buffers = {"receive_buffers": 4, "receive_buffer_bytes": 2 * KIBIBYTE}
    with limited(server, messages_per_second_max=200, **buffers) as small:
        # Slower than the rate, it does not notice it.
        with Bystander(small.port):
            return check_rate(echoes_timed(small.port, 800, KIBIBYTE), 1, 200)


def bytes_per_second_max(server):
    """Messages that fit into a receive buffer, and large ones, of which more is read
    at once."""
    remarks = []
    buffers = {"receive_buffers": 4, "receive_buffer_bytes": 4 * KIBIBYTE}
    for frame_bytes, rate in ((2 * KIBIBYTE, 256 * KIBIBYTE), (64 * KIBIBYTE, 4096 * KIBIBYTE)):
        with limited(server, bytes_per_second_max=rate, **buffers) as small:
            with Bystander(small.port):
                # A mask, and two or eight bytes of length.
                payload_bytes = frame_bytes - (8 if frame_bytes < 64 * KIBIBYTE else 14)
                times = echoes_timed(small.port, 4 * rate // frame_bytes, payload_bytes)
                remarks.append(check_rate(times, frame_bytes, rate))
    return "; ".join(remarks)


def rate_and_keep_alive(server):
    """A peer that has to wait for its rate is not given up: the server itself does not read
    its pongs meanwhile. Everything that it sent comes through, its close too."""
    rate, count = 100, 400
    debt_seconds = (count - rate) / rate
    limits = {"messages_per_second_max": rate, "idle_ping_ms": 200, "pong_ms": 200}
    with limited(server, **limits) as small, Bystander(small.port):
        with Peer.open(small.port) as peer:
            started = time.monotonic()
            # In one receive, so it is handled, and the debt is made.
            peer.send(frame(wire.TEXT, b"r") * count)
            for index in range(count):
                received = peer.receive_frame()
                expect(received == (True, wire.TEXT, b"r"), f"echo {index}: {received}")
            peer.send_frame(wire.TEXT, b"after the debt")
            peer.send(wire.close_frame(1000, b"done"))
            pings = 0
            while (received := peer.receive_frame()) and received.opcode == wire.PING:
                peer.send_frame(wire.PONG, received.payload)
                pings += 1
            seconds = time.monotonic() - started
            expect(received, f"given up after {seconds:.2f}s of waiting for its rate")
            expect(received.payload == b"after the debt", f"received {received}")
            expect(
                0.8 * debt_seconds < seconds < 1.2 * debt_seconds + LATE_SECONDS,
                f"a debt of {debt_seconds:.1f}s was paid in {seconds:.2f}s",
            )
            check_closed_with(peer, 1000)
    return f"{seconds:.2f}s and {pings} pings"


def age_max(server):
    """Every connection is closed with 1001 between nine and eleven tenths of the age, spread,
    however busy; its client may reconnect."""
    age = 2.0
    with limited(server, age_max_ms=int(age * 1000)) as small:
        peers, ends = [], []
        for index in range(60):
            peer = Peer.open(small.port, ("/echo", "/broadcast")[index % 2])
            peers.append((peer, time.monotonic()))
        waiting = {peer.socket: (peer, since) for peer, since in peers}
        busy, busy_since = peers[0]
        while waiting:
            readable, _, _ = select.select(list(waiting), [], [], 0.05)
            expect(time.monotonic() - busy_since < 1.1 * age + LATE_SECONDS, "some grow older")
            for ready in readable:
                peer, since = waiting[ready]
                received = peer.receive_frame()
                # An echo, and what came with it.
                while received and received.opcode == wire.TEXT and peer.rest:
                    received = peer.receive_frame()
                if received and received.opcode == wire.TEXT:
                    continue
                seconds = time.monotonic() - since
                expect(received and received.close_code == 1001, f"received {received}")
                expect(b"age" in received.payload, f"the reason is {received.payload[2:]}")
                peer.send(wire.close_frame(1001))
                expect(peer.receive_to_end() == b"", "bytes after the close frame")
                ends.append(seconds)
                del waiting[ready]
            if busy.socket in waiting:
                busy.send_frame(wire.TEXT, b"busy")
        # The clock starts at the accept, a moment before ours.
        expect(min(ends) > 0.9 * age - 0.1, f"closed after {min(ends):.2f}s already")
        expect(max(ends) < 1.1 * age + LATE_SECONDS / 2, f"closed after {max(ends):.2f}s only")
        spread = max(ends) - min(ends)
        expect(spread > 0.1 * age, f"all were closed within {spread:.2f}s")
        close_all(peer for peer, _ in peers)
        with Peer.open(small.port) as again:
            echo(again)
    return f"from {min(ends):.2f}s to {max(ends):.2f}s"


def idle_max(server):
    """A peer that answers every ping but sends no message is closed with 1001; one that sends
    a message now and then stays."""
    idle = 1.0
    limits = {"idle_max_ms": int(idle * 1000), "idle_ping_ms": 200, "pong_ms": 2000}
    with limited(server, **limits) as small, Bystander(small.port):
        with Peer.open(small.port) as silent:
            echo(silent)
            started, pings = time.monotonic(), 0
            while (received := silent.receive_frame()) and received.opcode == wire.PING:
                silent.send_frame(wire.PONG, received.payload)
                pings += 1
            seconds = time.monotonic() - started
            expect(received and received.close_code == 1001, f"received {received}")
            expect(b"idle" in received.payload, f"the reason is {received.payload[2:]}")
            # In whole seconds, and one more.
            expect(
                0.9 * idle < seconds < idle + 1 + LATE_SECONDS, f"closed after {seconds:.2f}s"
            )
            expect(pings > 0, "it was not pinged")
    return f"after {seconds:.2f}s and {pings} pings"


AGE_MS_MAX = 1 << 40


def age_max_beyond_time(server):
    """An age that would overflow is refused; the longest that is accepted is never reached."""
    for age in (AGE_MS_MAX + 1, (1 << 64) // 9 + 1, (1 << 64) // 3, (1 << 63) - 1):
        checked = command(server, "check-config", "--limit", f"age_max_ms={age}")
        expect(checked.returncode == 78, f"{age}: exit code {checked.returncode}")
        expect(f"expected 0 to {AGE_MS_MAX}" in checked.stderr, f"{age}: {checked.stderr}")
    with limited(server, age_max_ms=AGE_MS_MAX) as small:
        peers = [Peer.open(small.port) for _ in range(8)]
        time.sleep(0.3)
        for peer in peers:
            echo(peer)
        close_all(peers)


def keep_alive(server):
    """A silent peer is pinged after `idle_ping_ms`, and cut without a close frame
    `pong_ms` later; a peer that answers, in whatever way, stays."""
    idle, pong = 0.4, 0.6
    limits = {"idle_ping_ms": int(idle * 1000), "pong_ms": int(pong * 1000)}
    with limited(server, **limits) as small, Bystander(small.port):
        silent, answering, talking = (Peer.open(small.port) for _ in range(3))
        started = time.monotonic()
        received = silent.receive_frame()
        asked = time.monotonic() - started
        expect(received.opcode == wire.PING and received.fin, f"received {received}")
        expect(len(received.payload) <= 125, f"a ping of {len(received.payload)}")
        expect(0.9 * idle < asked < idle + LATE_SECONDS, f"pinged after {asked:.2f}s")
        answering.send_frame(wire.PONG, answering.receive_frame().payload)
        talking.receive_frame()
        talking.send_frame(wire.TEXT, b"no pong, but alive")
        expect(talking.receive_frame().payload == b"no pong, but alive", "no echo")
        expect(silent.receive_to_end() == b"", "bytes for a peer that is lost")
        lost = time.monotonic() - started
        expect(
            0.9 * (idle + pong) < lost < idle + pong + LATE_SECONDS, f"lost after {lost:.2f}s"
        )
        for _ in range(3):
            for peer in (answering, talking):
                received = peer.receive_frame()
                expect(received and received.opcode == wire.PING, f"received {received}")
                peer.send_frame(wire.PONG, received.payload)
        for peer in (answering, talking):
            echo(peer)
            peer.socket.close()
        silent.socket.close()
    # 0: nobody is asked.
    with limited(server, idle_ping_ms=0, pong_ms=100) as small, Peer.open(small.port) as peer:
        expect(not select.select([peer.socket], [], [], 1)[0], "pinged, against the limit")
    return f"pinged after {asked:.2f}s, lost after {lost:.2f}s"


def queued_bytes_max(server):
    """A peer that does not read its echoes gets 4008 behind the queued ones, once it reads on;
    with a pause below the limit it is paused, not closed."""
    message = b"q" * (64 * KIBIBYTE)
    sizes = {"message_bytes_max": len(message), "socket_send_bytes": 16 * KIBIBYTE}
    # As good as no pause: its queue is let grow.
    limits = {"queued_bytes_max": 256 * KIBIBYTE, "queued_bytes_pause": 256 * KIBIBYTE - 1}
    with limited(server, close_ms=5_000, **sizes, **limits) as small, Bystander(small.port):
        with Peer.open(small.port, receive_buffer_bytes=4096) as slow:
            sent = 0
            slow.socket.settimeout(0.5)
            with contextlib.suppress(TimeoutError, ConnectionError):
                for _ in range(40):
                    slow.send_frame(wire.BINARY, message)
                    sent += 1
            slow.socket.settimeout(wire.TIMEOUT_SECONDS)
            received, echoes = slow.receive_frame(), 0
            while received and received.opcode == wire.BINARY:
                expect(received.payload == message, "an echo in pieces")
                echoes += 1
                received = slow.receive_frame()
            expect(received, "cut without a close frame")
            expect(received.close_code == 4008, f"closed with {received.payload!r}")
            # The queue's worth is delivered before.
            expect(3 <= echoes < sent, f"{echoes} echoes of {sent}")
        with Peer.open(small.port) as again:
            echo(again, message)
    # With a pause it is never closed, and loses nothing.
    limits["queued_bytes_pause"] = 32 * KIBIBYTE
    with limited(server, **sizes, **limits) as small, Bystander(small.port):
        with Peer.open(small.port, receive_buffer_bytes=4096) as slow:
            # Bytes in flight must not fit into this side's buffer.
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * KIBIBYTE)
            count = 40
            sending = threading.Thread(
                target=lambda: [slow.send_frame(wire.BINARY, message) for _ in range(count)],
                daemon=True,
            )
            sending.start()
            time.sleep(0.5)
            expect(sending.is_alive(), "it was read from although its queue was full")
            for index in range(count):
                received = slow.receive_frame()
                expect(received and received.payload == message, f"echo {index} is not it")
    return f"{echoes} echoes, then 4008"


def tape_bytes_max(server):
    """A reader that is further behind than a tape is long is closed with 4009; one that is
    behind by less, and all others, get everything."""
    message = 16 * KIBIBYTE
    sizes = {"tape_bytes_max": 512 * KIBIBYTE, "socket_send_bytes": 16 * KIBIBYTE}

    def publish(small, count):
        """Publishes so many to a stalled reader and one that reads; returns the
        numbers that the stalled one received, and its last frame."""
        with (
            Peer.open(small.port, "/broadcast", receive_buffer_bytes=4096) as stalled,
            Peer.open(small.port, "/broadcast") as publisher,
        ):
            # Subscribed on another shard, it takes a moment.
            time.sleep(0.1)
            for number in range(count):
                payload = number.to_bytes(4, "big") + b"t" * (message - 4)
                publisher.send_frame(wire.BINARY, payload)
                expect(publisher.receive_frame().payload == payload, f"{number} was not received")
            numbers = []
            stalled.socket.settimeout(2)
            try:
                while (received := stalled.receive_frame()) and received.opcode == wire.BINARY:
                    expect(len(received.payload) == message, "a message in pieces")
                    numbers.append(int.from_bytes(received.payload[:4], "big"))
                    if len(numbers) == count:
                        break
            except TimeoutError:
                raise AssertionError(f"it got {len(numbers)} of {count}, and no close") from None
            return numbers, received

    with limited(server, close_ms=5_000, **sizes) as small, Bystander(small.port):
        numbers, received = publish(small, 24)
        expect(numbers == list(range(24)), f"behind by less than a tape, it got {numbers}")
        numbers, received = publish(small, 120)
        expect(received, f"cut without a close frame after {len(numbers)}")
        expect(received.close_code == 4009, f"after {numbers}: {received.payload[:40]!r}")
        expect(numbers == list(range(len(numbers))), f"with a gap: {numbers}")
        expect(len(numbers) < 120, "it got everything")
        numbers, _ = publish(small, 24)
        expect(len(numbers) == 24, "the next reader got less")


def close_time(server):
    """A peer that does not answer a close frame is cut `close_ms` later; one that answers, at
    once."""
    close = 1.0
    limits = {"age_max_ms": 200, "close_ms": int(close * 1000)}
    with limited(server, **limits) as small:
        with Peer.open(small.port) as silent, Peer.open(small.port) as answering:
            for peer in (silent, answering):
                received = peer.receive_frame()
                expect(received and received.close_code == 1001, f"received {received}")
            started = time.monotonic()
            answering.send(wire.close_frame(1001))
            answering.receive_to_end()
            clean = time.monotonic() - started
            expect(clean < 0.3, f"a clean close took {clean:.2f}s")
            silent.receive_to_end()
            cut = time.monotonic() - started
            expect(0.8 * close < cut < close + LATE_SECONDS, f"cut after {cut:.2f}s")
        small.wait_for(lambda: small.connections() == 0, 2, "connections are left")
    return f"cut after {cut:.2f}s"


def linger_time(server):
    """A refused peer's bytes are read and dropped for `linger_ms`, then it is cut."""
    linger = 0.8
    with limited(server, linger_ms=int(linger * 1000)) as small, Bystander(small.port):
        with Peer(small.port) as peer:
            peer.send(b"G" * 20 * KIBIBYTE)
            status, _ = peer.receive_head()
            started = time.monotonic()
            expect(status == 431, f"answered with {status}")
            peer.receive_to_end()
            expect(time.monotonic() - started < 0.3, "the answer's end was late")
            cut = None
            while cut is None:
                expect(time.monotonic() - started < linger + LATE_SECONDS, "never cut")
                try:
                    peer.send(b"more")
                    time.sleep(0.02)
                except ConnectionError:
                    cut = time.monotonic() - started
            expect(cut > 0.8 * linger, f"cut after {cut:.2f}s")
    return f"cut after {cut:.2f}s"


def drain_time(server):
    """Closes begin after `drain_notice_ms`, spread over `drain_ms`."""
    notice, drain = 0.3, 0.6
    limits = {"drain_notice_ms": int(notice * 1000), "drain_ms": int(drain * 1000)}
    with limited(server, **limits) as small:
        peers = [Peer.open(small.port) for _ in range(30)]
        started = time.monotonic()
        small.process.terminate()
        waiting, ends = {peer.socket: peer for peer in peers}, []
        while waiting:
            readable, _, _ = select.select(list(waiting), [], [], 3)
            expect(readable, f"{len(waiting)} were not told")
            for ready in readable:
                peer = waiting.pop(ready)
                received = peer.receive_frame()
                expect(received and received.close_code == 1001, f"received {received}")
                ends.append(time.monotonic() - started)
                peer.socket.close()
        expect(small.process.wait(5) == 0, f"ended with {small.process.returncode}")
        expect(ends[0] > 0.9 * notice, f"the first was closed after {ends[0]:.2f}s")
        expect(ends[-1] - ends[0] > drain / 3, f"closes from {ends[0]:.2f}s to {ends[-1]:.2f}s")
        expect(ends[-1] < notice + drain + LATE_SECONDS, f"the last after {ends[-1]:.2f}s")
    return f"closes from {ends[0]:.2f}s to {ends[-1]:.2f}s"
