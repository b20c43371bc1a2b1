"""How a server starts and ends in its surroundings: addresses, Unix sockets, sockets that a
supervisor passes on, notifications to the supervisor, and logs.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import tempfile
import time

from . import peer as wire
from .configuring import check_echo
from .peer import Peer
from .server import Server, command, expect, serving

# The first descriptor that is passed on (sd_listen_fds(3)).
LISTEN_FDS_START = 3
# Of a start that fails, other than over its settings.
EXIT_STARTING = 1


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory(prefix="tapecast-") as path:
        yield path


def several_addresses(server):
    """TCP over both families and a Unix socket at once; each echoes, and what is
    published over one arrives over the others."""
    with directory() as path:
        file = f"{path}/serve.sock"
        listen = ["127.0.0.1:0", "ws://[::1]:0", f"unix:{file}", "127.0.0.2:0"]
        with serving(server, listen=listen) as several:
            ports = [address.rsplit(":", 1)[-1] for address in several.addresses]
            expect(
                several.addresses
                == [
                    f"ws://127.0.0.1:{ports[0]}",
                    f"ws://[::1]:{ports[1]}",
                    f"unix:{file}",
                    f"ws://127.0.0.2:{ports[3]}",
                ],
                f"listens on {several.addresses}",
            )
            places = [
                ("127.0.0.1", int(ports[0])),
                ("::1", int(ports[1])),
                file,
                ("127.0.0.2", int(ports[3])),
            ]
            for place in places:
                for size in (9, 70_000, 3 << 20):
                    check_echo(place, message=b"e" * size)
            readers = [Peer.open(place, "/broadcast") for place in places]
            # A client is subscribed before its first message is handled; on another shard
            # that takes a moment longer.
            time.sleep(0.1)
            for index, publisher in enumerate(readers):
                publisher.send_frame(wire.TEXT, b"from %d" % index)
                for reader in readers:
                    received = reader.receive_frame()
                    expect(received.payload == b"from %d" % index, f"received {received}")
            for reader in readers:
                reader.socket.close()


def await_abandoned(file):
    """Waits until nobody listens on this Unix socket: the kernel releases a ring, and
    the sockets that it accepts from, some milliseconds after its process has ended."""
    end = time.monotonic() + 2
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            Peer(file).socket.close()
            expect(time.monotonic() < end, "a process that was killed still listens")
            time.sleep(0.01)


def unix_socket(server):
    """Made, replaced if its server is gone, left alone if it is in use or is no
    socket, and removed at the end."""
    with directory() as path:
        file = f"{path}/serve.sock"
        with serving(server, listen=[f"unix:{file}"]) as first:
            expect(first.port is None, f"listens on {first.addresses}")
            expect(stat.S_ISSOCK(os.stat(file).st_mode), "no socket is there")
            held = [Peer.open(file) for _ in range(20)]
            second = command(server, "serve", f"--listen=unix:{file}", "--shards=1")
            expect(second.returncode == EXIT_STARTING, f"the second ended with {second.returncode}")
            expect(
                second.stderr.count("\n") == 1 and f"unix:{file}" in second.stderr,
                f"the second said {second.stderr!r}",
            )
            # Nobody has noticed.
            check_echo(file)
            for peer in held:
                peer.send_frame(wire.TEXT, b"unharmed")
                expect(peer.receive_frame().payload == b"unharmed", "a connection is harmed")
                peer.socket.close()
        expect(not os.path.exists(file), "the socket is left behind")

        # One that nobody listens on any more.
        with Server(server.shards, server.binary, listen=[f"unix:{file}"]) as killed:
            killed.stop(signal.SIGKILL)
        expect(os.path.exists(file), "nothing is left of the server that was killed")
        await_abandoned(file)
        with serving(server, listen=[f"unix:{file}"]):
            check_echo(file)
        expect(not os.path.exists(file), "the socket that was replaced is left behind")

        # At the end of a drain with connections, too.
        with serving(server, listen=[f"unix:{file}"], limits={"drain_ms": 200}) as draining:
            with Peer.open(file) as peer:
                draining.process.send_signal(signal.SIGTERM)
                expect(peer.receive_frame().close_code == 1001, "not told to go")
                peer.send(wire.close_frame(1001))
                peer.receive_to_end()
        expect(not os.path.exists(file), "the socket is left behind by a drain")


def unix_path_taken(server):
    """A path that is no socket is not touched, whatever it is; where one of several addresses
    can't be had, nothing of the others is left."""
    with directory() as path:
        file = pathlib.Path(path, "notes.txt")
        file.write_text("not to be lost")
        failed = []

        def check_refused(listen, why):
            words = ["--shards=1", *[f"--listen={address}" for address in listen]]
            try:
                result = command(server, "serve", *words, seconds_max=2)
            except subprocess.TimeoutExpired:
                failed.append(f"{why}: it serves")
                return
            if result.returncode != EXIT_STARTING or result.stderr.count("\n") != 1:
                failed.append(f"{why}: {result.returncode}, {result.stderr!r}")

        check_refused([f"unix:{file}"], "a file")
        if not file.is_file() or file.read_text() != "not to be lost":
            failed.append("a file that is no socket was deleted")
        check_refused([f"unix:{path}"], "a directory")
        check_refused([f"unix:{path}/none/serve.sock"], "no directory")
        check_refused([f"unix:{path}/{'x' * 120}"], "a path above 108 bytes")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            check_refused([f"unix:{path}/first.sock", f"127.0.0.1:{port}"], "a port that is taken")
            if os.path.exists(f"{path}/first.sock"):
                failed.append("the socket of a server that did not start is left behind")
        expect(not failed, "; ".join(failed))


def port_taken(server):
    """A second server on the same port is an error, not a share of its
    connections."""
    result = command(server, "serve", f"--listen=127.0.0.1:{server.port}", "--shards=1")
    expect(result.returncode == EXIT_STARTING, f"exit code {result.returncode}")
    expect(
        result.stderr.count("\n") == 1 and f"127.0.0.1:{server.port}" in result.stderr,
        f"said {result.stderr!r}",
    )
    check_echo(server.port)


def activated(server, listeners, listen=None, process_id=None, **options):
    """A server that `listeners` are passed on to, as systemd does it."""
    environment = {"LISTEN_FDS": str(len(listeners)), "LISTEN_PID": "0000000000"}
    numbers = [listener.fileno() for listener in listeners]

    def pass_on():
        for place, number in enumerate(numbers):
            # Above all that it could collide with.
            os.dup2(number, 200 + place)
        for place in range(len(numbers)):
            os.dup2(200 + place, LISTEN_FDS_START + place)
            os.set_inheritable(LISTEN_FDS_START + place, True)

    # The process's id is known only in the process itself: a shell becomes it.
    script = f'export LISTEN_PID={process_id or "$$"}; exec "$0" "$@"'
    return Server(
        server.shards,
        server.binary,
        before=["sh", "-c", script],
        listen=listen,
        environment=environment,
        prepare=pass_on,
        close_fds=False,
        **options,
    )


def counters(server):
    """The counters of each shard, from its log at the end: {shard: {name: value}}."""
    found = {}
    for line in server.errors().splitlines():
        fields = json.loads(line)["fields"]
        if "counter" in fields:
            found.setdefault(fields["shard"], {})[fields["counter"]] = fields["value"]
    return found


def socket_activation(server):
    """A listener that is passed on is served by every shard, in place of what is
    configured; and it still listens when the server has gone."""
    flags = ["--log", "debug", "--log-format", "json"]
    with directory() as path, socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        file = f"{path}/passed.sock"
        with socket.socket(socket.AF_UNIX) as local:
            local.bind(file)
            local.listen()
            place = listener.getsockname()
            listen = ["127.0.0.1:1"]
            with activated(server, [listener, local], listen, flags=flags) as passed:
                expect(
                    passed.addresses == [f"ws://127.0.0.1:{place[1]}", f"unix:{file}"],
                    f"listens on {passed.addresses}",
                )
                check_echo(file, message=b"u" * 5_000)
                peers = []
                for number in range(200):
                    peers.append(Peer.open(place))
                    # A shard that does not run for a while must not miss all of them.
                    if number % 10 == 0:
                        time.sleep(0.02)
                for peer in peers:
                    peer.send_frame(wire.TEXT, b"passed on")
                for peer in peers:
                    expect(peer.receive_frame().payload == b"passed on", "no echo")
                for peer in peers:
                    peer.send(wire.close_frame(1000))
                    peer.receive_to_end()
                    peer.socket.close()
                expect(passed.stop() == 0, f"ended with {passed.exit_code}")
            expect(os.path.exists(file), "it removed a socket that was not its own")
        accepted = {shard: each["accepted"] for shard, each in counters(passed).items()}
        expect(len(accepted) == server.shards, f"accepted by {accepted}")
        expect(sum(accepted.values()) == 201, f"accepted {accepted} of 201")
        expect(min(accepted.values()) >= 10, f"a shard hardly serves: {accepted}")
        # The next server gets the same socket; nobody was refused meanwhile.
        waiting = socket.create_connection(place)
        waiting.sendall(wire.head())
        with activated(server, [listener]) as next_one:
            waiting.settimeout(5)
            expect(waiting.recv(100).startswith(b"HTTP/1.1 101 "), "it was not waited for")
            waiting.close()
            expect(next_one.stop() == 0, f"ended with {next_one.exit_code}")
    return ", ".join(f"shard {shard}: {count}" for shard, count in sorted(accepted.items()))


def sockets_for_another(server):
    """LISTEN_FDS with somebody else's LISTEN_PID is not for this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with activated(server, [listener], ["127.0.0.1:0"], process_id=1) as passed:
            port = listener.getsockname()[1]
            expect(passed.port and passed.port != port, f"listens on {passed.addresses}")
            check_echo(passed.port)
            expect(passed.stop() == 0, f"ended with {passed.exit_code}")


def check_told(server, name, address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        supervisor.settimeout(3)

        def receive(state):
            """The states of the message that has this one."""
            while True:
                states = supervisor.recv(4096).decode().splitlines()
                if state in states:
                    return states

        with serving(server, environment={"NOTIFY_SOCKET": name}) as told:
            states = receive("READY=1")
            status = f"STATUS=listening on ws://127.0.0.1:{told.port} "
            expect(any(it.startswith(status) for it in states), f"told {states}")
            # Ready means so.
            check_echo(told.port)
            with Peer.open(told.port):
                started = time.monotonic()
                told.process.send_signal(signal.SIGTERM)
                receive("STOPPING=1")
                # At the signal, not at the end of the drain.
                seconds = time.monotonic() - started
                expect(seconds < 0.5, f"told after {seconds:.1f}s")


def supervisor_is_told(server):
    """READY=1 when connections are served, STOPPING=1 at SIGTERM. Where nobody
    listens it serves all the same."""
    with directory() as path:
        check_told(server, f"{path}/notify", f"{path}/notify")
        with serving(server, environment={"NOTIFY_SOCKET": f"{path}/nobody"}) as untold:
            check_echo(untold.port)


def supervisor_without_file(server):
    """sd_notify(3): a name that begins with @ is one of the abstract namespace."""
    name = f"tapecast-test-{os.getpid()}"
    check_told(server, f"@{name}", f"\0{name}")


def violate(port):
    with Peer.open(port) as peer:
        peer.send_frame(wire.TEXT, b"naked", masked=False)
        received = peer.receive_frame()
        expect(received and received.close_code == 1002, f"a broken rule, received {received}")
        peer.receive_to_end()


def logs(server):
    """Text and JSON lines, with the level as the flag says."""
    with serving(server, flags=["--log-format", "json"]) as structured:
        violate(structured.port)
    lines = [json.loads(line) for line in structured.errors().splitlines()]
    expect(all({"timestamp", "level", "fields"} <= line.keys() for line in lines), f"{lines}")
    expect(any(line["level"] == "WARN" for line in lines), f"no warning of a violation: {lines}")
    expect(any(line["fields"].get("message") == "draining" for line in lines), f"{lines}")
    expect(all(line["level"] != "DEBUG" for line in lines), "debug lines without being asked")

    with serving(server, flags=["--log", "debug", "--log-format", "json"]) as debugging:
        check_echo(debugging.port)
    lines = [json.loads(line) for line in debugging.errors().splitlines()]
    expect(any(line["level"] == "DEBUG" for line in lines), f"no debug line: {lines}")
    counted = counters(debugging)
    expect(
        sum(each["messages_received"] for each in counted.values()) == 1,
        f"one message was sent: {counted}",
    )

    with serving(server, environment={"TAPECAST_LOG": "error"}) as quiet:
        violate(quiet.port)
    expect(quiet.errors() == "", f"logged {quiet.errors()!r}")

    with serving(server) as text:
        violate(text.port)
    expect("WARN" in text.errors() and "\x1b" not in text.errors(), f"logged {text.errors()!r}")


def log_reader_gone(server):
    """The collector of the logs has left: the server continues to serve."""
    reading, writing = os.pipe()
    with Server(server.shards, server.binary, flags=["--log=debug"], stderr=writing) as unheard:
        os.close(reading)
        os.close(writing)
        for _ in range(3):
            violate(unheard.port)
            check_echo(unheard.port)
            time.sleep(0.4)
        expect(unheard.stop() == 0, f"ended with {unheard.exit_code}")
