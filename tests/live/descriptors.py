"""Twenty thousand connections come where there are descriptors for a thousand: those
beyond wait, no accepted one is harmed, and afterwards there is room again.
"""

import contextlib
import multiprocessing
import resource
import select
import socket
import time

from . import peer as wire
from .crowd import raise_descriptor_limit
from .limits import Bystander, echo, open_when_possible
from .server import expect, serving

CONNECTIONS = 20_000
# Each of them has descriptors of its own.
CLIENT_PROCESSES = 5
DESCRIPTORS = 1_024
TRY_SECONDS = 3


def crowd(port, source, count, channel):
    """Runs in a process of its own: connects `count` times, sends how many were
    accepted, how many got another answer, and how many are served later; then it ends."""
    raise_descriptor_limit()
    poll = select.epoll()
    clients, request = {}, wire.head()
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.bind((source, 0))
        client.connect_ex(("127.0.0.1", port))
        clients[client.fileno()] = client
        poll.register(client, select.EPOLLOUT)
    let_in, refused, end = [], 0, time.monotonic() + TRY_SECONDS
    while time.monotonic() < end:
        for number, events in poll.poll(0.1):
            client = clients[number]
            try:
                if events & select.EPOLLOUT:
                    client.send(request)
                    poll.modify(client, select.EPOLLIN)
                    continue
                is_in = client.recv(4096).startswith(b"HTTP/1.1 101 ")
            except OSError:
                is_in = False
            poll.unregister(client)
            if is_in:
                let_in.append(client)
            else:
                refused += 1
    channel.send((len(let_in), refused))
    # Every accepted connection is served.
    channel.recv()
    served = 0
    for client in let_in:
        with contextlib.suppress(OSError):
            client.setblocking(True)
            client.settimeout(5)
            client.sendall(wire.frame(wire.TEXT, b"in"))
            served += client.recv(100) == b"\x81\x02in"
    channel.send(served)
    channel.recv()
    for client in clients.values():
        client.close()
    channel.send(None)


def more_than_descriptors(server):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    each = CONNECTIONS // CLIENT_PROCESSES
    expect(hard > each + 100, f"the hard limit of descriptors is {hard}")
    # Forked before there are threads.
    context = multiprocessing.get_context("fork")
    limits = {"drain_ms": 0, "drain_notice_ms": 0, "close_ms": 500, "idle_ping_ms": 0}
    limits["handshake_stall_ms"] = 60_000
    with serving(server, limits=limits, descriptors_hard=DESCRIPTORS) as small:
        # Accepted before the crowd comes, which leaves no room.
        healthy = Bystander(small.port, late_seconds=3)
        crowds = []
        for index in range(CLIENT_PROCESSES):
            channel, theirs = context.Pipe()
            words = (small.port, f"127.0.1.{index + 1}", each, theirs)
            process = context.Process(target=crowd, args=words, daemon=True)
            crowds.append((process, channel))
        try:
            for process, _ in crowds:
                process.start()
            return check_crowded(small, healthy, [channel for _, channel in crowds])
        finally:
            for process, _ in crowds:
                process.kill()
                process.join()


def check_crowded(small, healthy, channels):
    def hear(channel):
        expect(channel.poll(20), "a crowd does not come to its end")
        return channel.recv()

    with healthy:
        tried = [hear(channel) for channel in channels]
        let_in, refused = (sum(counts) for counts in zip(*tried))
        echoed_while_crowded = healthy.echoes
        for channel in channels:
            channel.send("talk")
        served = sum(hear(channel) for channel in channels)
        expect(small.is_alive(), "the server died")
        room = DESCRIPTORS * small.shards
        expect(room / 2 < let_in <= room, f"{let_in} were let in, and there is room for {room}")
        expect(served == let_in, f"{served} of {let_in} that were let in are served")
        expect(echoed_while_crowded > 10, f"a bystander echoed {echoed_while_crowded} times")
        expect(small.threads() < 64, f"{small.threads()} threads")
        for channel in channels:
            channel.send("go")
        for channel in channels:
            hear(channel)
        started = time.monotonic()
        peers = [open_when_possible(small.port, 5) for _ in range(100)]
        for peer in peers:
            echo(peer)
        seconds = time.monotonic() - started
        for peer in peers:
            peer.socket.close()
    small.wait_for(
        lambda: small.connections() == 0, 5, lambda: f"{small.connections()} connections are left"
    )
    waited = CONNECTIONS - let_in - refused
    return (
        f"{let_in} let in, {refused} refused, {waited} waited; "
        f"room for 100 others after {seconds:.2f}s"
    )
