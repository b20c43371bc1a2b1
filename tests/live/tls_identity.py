"""Identities over TLS, as an operator sets them up: certificates by name, certificates of
clients, resumed sessions, reloads, and mistakes that the start reports.
"""

import contextlib
import datetime
import http.client
import pathlib
import re
import shutil
import signal
import socket
import ssl
import time

from . import peer as wire
from .administration import Admin
from .configuring import EXIT_CONFIG, EXIT_USAGE, check_echo, files
from .peer import Peer
from .ports import free_port
from .server import command, expect, serving
from .starting import activated
from .tls_hostile import attacked, check_memory_echo
from .tls_peer import (
    NAME,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    Authority,
    Memory,
    SecurePeer,
    authority,
    check_served,
    secure,
    server_identity,
)

# Enough for each of a few shards to have some.
ENOUGH = 40


def refusal(port, **options):
    """The alert that a client gets in its handshake or, in TLS 1.3, right after it."""
    try:
        with SecurePeer(port, **options) as peer:
            peer.send(wire.head())
            peer.receive_head()
    except ssl.SSLError as error:
        return str(error).lower()
    except ConnectionError as error:
        return f"{type(error).__name__} without an alert"
    return None


def protocols(server):
    """ALPN (RFC 7301): http/1.1 is chosen, no offer is no fault, and a client that
    speaks only something else gets the alert for it."""
    with secure(server) as own:
        for version in VERSIONS:
            for offered, chosen in [
                (["http/1.1"], "http/1.1"),
                (["h2", "http/1.1"], "http/1.1"),
                (None, None),
            ]:
                context = authority().context(version, offered)
                with SecurePeer.open(own.port, context=context) as peer:
                    found = peer.socket.selected_alpn_protocol()
                    expect(found == chosen, f"of {offered} {found} was chosen")
                    peer.echo()
            told = refusal(own.port, context=authority().context(version, ["h2"]))
            expect("no application protocol" in str(told), f"h2 alone was told {told}")
        check_served(own.port)


def session_of(peer):
    """The session that a client keeps: in TLS 1.3 it comes behind the handshake."""
    peer.echo()
    expect(peer.socket.session.has_ticket, "there is no ticket")
    return peer.socket.session


def resumed(server):
    """A session is taken up by whichever shard gets the client, and after a reload."""
    port = free_port()
    with secure(server, "--admin", f"127.0.0.1:{port}") as own:
        count = 0
        for version in VERSIONS:
            context = authority().context(version)
            with SecurePeer.open(own.port, context=context) as first:
                expect(not first.socket.session_reused, "the first is no new session")
                session = session_of(first)
            for number in range(ENOUGH):
                if number == ENOUGH // 2:
                    reload(own, "reloaded: .*certificates")
                with SecurePeer.open(own.port, context=context, session=session) as again:
                    expect(again.socket.session_reused, f"{version.name} {number}: not resumed")
                    again.echo()
                    count += 1
        # Somebody else's ticket is no fault, only of no use.
        with secure(server) as other:
            with SecurePeer.open(other.port, context=context, session=session) as stranger:
                expect(not stranger.socket.session_reused, "a ticket of another server was taken")
                stranger.echo()
        metrics = Admin(port).metrics()
        names = ("tapecast_tls_handshakes_total", "tapecast_tls_resumptions_total")
        found = [metrics[name, ()] for name in names]
        expect(found == [count + len(VERSIONS), count], f"handshakes, resumptions: {found}")


def certificate_of(port, name=NAME, **options):
    """The certificate for this name; for a client that names none, with `None`."""
    context = ssl.create_default_context(cafile=authority().path)
    context.check_hostname = False
    with SecurePeer(port, context=context, name=name, **options) as peer:
        return peer.socket.getpeercert(binary_form=True)


def by_name(server):
    """Each name gets its own certificate, in any case of letters; an unknown one, or none,
    the first."""
    first = server_identity()
    others = [authority().identity(f"{label}.test", f"*.{label}.test") for label in ("one", "two")]
    flags = [word for other in others for word in other.flags()]
    with secure(server, *flags) as own:
        for name, identity in [
            ("one.test", others[0]),
            ("TWO.test", others[1]),
            ("deep.two.test", others[1]),
            ("too.deep.two.test", first),
            ("localhost", first),
            ("unknown.test", first),
            ("127.0.0.1", first),
            (None, first),
        ]:
            found = certificate_of(own.port, name)
            expect(found == identity.certificate, f"{name} got another certificate")


def clients(server):
    """Certificates of clients: required, optional, and not asked for."""
    identity = authority().identity("client.test")
    foreign = Authority()
    with_own = {version: authority().context(version, identity=identity) for version in VERSIONS}
    stranger = foreign.identity("client.test")
    asks = ("--tls-client-ca", authority().path)
    for flags, none, strangers in [
        (asks, False, False),
        ((*asks, "--tls-client-auth", "required"), False, False),
        ((*asks, "--tls-client-auth", "optional"), True, False),
        ((), True, True),
    ]:
        with secure(server, *flags) as own:
            for version in VERSIONS:
                with SecurePeer.open(own.port, context=with_own[version]) as known:
                    known.echo()
                    session = known.socket.session
                again = {"context": with_own[version], "session": session}
                with SecurePeer.open(own.port, **again) as known:
                    known.echo()
                for who, is_let_in, context in [
                    ("none", none, authority().context(version)),
                    ("a stranger's", strangers, authority().context(version, identity=stranger)),
                ]:
                    told = refusal(own.port, context=context)
                    expect(
                        (told is None) == is_let_in and "without" not in str(told),
                        f"{flags} {version.name}: {who} was told {told}",
                    )


def clients_asked_later(server):
    """A client that a reload excludes is not accepted with the ticket of an earlier session,
    either."""
    identity = server_identity()
    known = authority().identity("client.test")
    lines = [
        'listen = "wss://127.0.0.1:0"',
        f"tls_cert = '{identity.chain}'",
        f"tls_key = '{identity.key}'",
    ]
    asking = f"tls_client_ca = '{authority().path}'"
    others = Authority()
    asking_others = f"tls_client_ca = '{others.path}'"
    came_in = []
    for what, before, after, shown in [
        ("no certificate", [], [asking], None),
        ("of an authority that is trusted no more", [asking], [asking_others], known),
    ]:
        with files(served="\n".join(lines + before) + "\n") as paths:
            flags = ["--config", paths["served"]]
            with serving(server, listen=None, flags=flags) as own:
                sessions = {}
                for version in VERSIONS:
                    context = authority().context(version, identity=shown)
                    with SecurePeer.open(own.port, context=context) as peer:
                        peer.echo()
                        sessions[context] = peer.socket.session
                pathlib.Path(paths["served"]).write_text("\n".join(lines + after) + "\n")
                reload(own, "reloaded: .*certificates")
                for version, (context, session) in zip(VERSIONS, sessions.items(), strict=True):
                    told = refusal(own.port, context=context)
                    expect(told, f"{what}, {version.name}: let in anew")
                    if refusal(own.port, context=context, session=session) is None:
                        came_in.append(f"{what}, {version.name}")
    expect(not came_in, f"let in with a ticket: {came_in}")


def reload(own, expected):
    """SIGHUP, until that is in what it logs."""
    told = len(own.errors())
    own.process.send_signal(signal.SIGHUP)
    own.wait_for(
        lambda: re.search(expected, own.errors()[told:]),
        5,
        lambda: f"{expected!r} is not in {own.errors()[told:]!r}",
    )
    # Every shard has heard of it.
    time.sleep(0.1)
    return own.errors()[told:]


def reloads(server):
    """SIGHUP: a new client gets the new certificate, an established one loses nothing; broken
    files change nothing."""
    first, second = (authority().identity("127.0.0.1", NAME) for _ in range(2))
    used = authority().identity("unused.test")
    shutil.copy(first.chain, used.chain)
    shutil.copy(first.key, used.key)

    def shown(own):
        return {certificate_of(own.port) for _ in range(ENOUGH)}

    with secure(server, identity=used) as own:
        staying = [SecurePeer.open(own.port) for _ in range(4)]
        half = SecurePeer.open(own.port)
        whole = wire.frame(wire.BINARY, bytes(100_000))
        half.send(whole[:50_000])
        expect(shown(own) == {first.certificate}, "another certificate at the start")
        shutil.copy(second.chain, used.chain)
        # The key is still the old one: half a change is none.
        lines = reload(own, "not reloaded: .*")
        expect(used.key in lines or used.chain in lines, f"no file is named: {lines}")
        expect(shown(own) == {first.certificate}, "a certificate without its key is shown")
        shutil.copy(second.key, used.key)
        # Messages are under way the while.
        for number in range(50):
            for peer in staying:
                peer.send_frame(wire.BINARY, b"%d" % number * 500)
        reload(own, "reloaded: certificates")
        expect(shown(own) == {second.certificate}, "the old certificate is shown")
        for peer in staying:
            for number in range(50):
                received = peer.receive_frame()
                expect(received.payload == b"%d" % number * 500, f"echo {number} differs")
        half.send(whole[50_000:])
        expect(len(half.receive_frame().payload) == 100_000, "half a message is lost")
        junk = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for broken in (b"", None, junk):
            path = pathlib.Path(used.chain)
            if broken is None:
                path.unlink()
            else:
                path.write_bytes(broken)
            lines = reload(own, "not reloaded: .*")
            expect(used.chain in lines, f"no file is named: {lines}")
            expect(shown(own) == {second.certificate}, f"{broken} changed the certificate")
        for peer in staying:
            peer.echo(b"stayed")
            peer.socket.close()


class Begun:
    """A client whose handshake stands at one of `STAGES`."""

    STAGES = ("nothing", "half a hello", "all but a byte", "a hello", "half of what ends it")

    def __init__(self, port, version, stage):
        self.stage = stage
        self.name = f"{version.name}, {stage}"
        self.peer = Peer(port)
        self.memory = Memory(authority().context(version))
        # Bytes that it has to send.
        self.rest = self.memory.step()[1]
        length = len(self.rest)
        sent = {"nothing": 0, "half a hello": length // 2, "all but a byte": length - 1}
        self._send(sent.get(stage, length))
        if self.is_answered():
            # With its first bytes the server has chosen its certificate.
            self.memory.incoming.write(self._receive(100))
        if stage == "half of what ends it":
            while not self.rest:
                _, self.rest = self.memory.step(self._receive())
            self._send(len(self.rest) // 2)

    def is_answered(self):
        return self.stage in self.STAGES[3:]

    def _send(self, count):
        self.peer.send(self.rest[:count])
        self.rest = self.rest[count:]

    def _receive(self, count=1 << 16):
        received = self.peer.socket.recv(count)
        expect(received, f"{self.name}: the end instead of an answer")
        return received

    def finish(self):
        """The rest of the handshake, and an echo. Returns the certificate, of an authority
        that is trusted and with the key to it, or there would be no handshake."""
        self._send(len(self.rest))
        self.memory.handshake(self.peer.socket)
        self.memory.object.write(wire.head() + wire.frame(wire.TEXT, b"at last"))
        self.peer.send(self.memory.outgoing.read())
        check_memory_echo(self.memory, self.peer, b"at last")
        self.peer.socket.close()
        return self.memory.object.getpeercert(binary_form=True)


def reloads_within_handshakes(server):
    """SIGHUP while handshakes stand half done: all of them end well. A client that was
    answered has the old certificate, one whose hello was not whole has either, a new one has
    the new certificate; and established connections continue."""
    first, second = (authority().identity("127.0.0.1", NAME) for _ in range(2))
    used = authority().identity("unused.test")
    shutil.copy(first.chain, used.chain)
    shutil.copy(first.key, used.key)
    with attacked(server, identity=used) as (own, bystanders):
        begun = [
            Begun(own.port, version, stage)
            for stage in Begun.STAGES
            for version in VERSIONS
            for _ in range(4)
        ]
        staying = [SecurePeer.open(own.port) for _ in range(4)]
        shutil.copy(second.chain, used.chain)
        shutil.copy(second.key, used.key)
        for number in range(50):
            for peer in staying:
                peer.send_frame(wire.BINARY, b"%d" % number * 500)
        reload(own, "reloaded: certificates")
        bystanders.echo()
        allowed = {True: [first.certificate], False: [first.certificate, second.certificate]}
        newer = 0
        for client in begun:
            found = client.finish()
            expect(found in allowed[client.is_answered()], f"{client.name}: another certificate")
            newer += found == second.certificate
        for _ in range(ENOUGH):
            found = certificate_of(own.port)
            expect(found == second.certificate, "who comes gets the old certificate")
        for peer in staying:
            for number in range(50):
                received = peer.receive_frame()
                expect(received.payload == b"%d" % number * 500, f"echo {number} differs")
            peer.echo(b"stayed")
            peer.socket.close()
    return f"{newer} of {len(begun)} got the newer certificate"


def side_by_side(server):
    """Plain and TLS listeners, IPv6 and a Unix socket, in one server."""
    listen = ("wss://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.2:0", "wss://[::1]:0")
    with secure(server, listen=listen) as own:
        ports = [int(address.rsplit(":", 1)[1]) for address in own.addresses]
        hosts = ("127.0.0.1", "127.0.0.1", "127.0.0.2", "::1")
        schemes = [address.split(":")[0] for address in own.addresses]
        expect(schemes == ["wss", "ws", "wss", "wss"], f"listens on {own.addresses}")
        for _ in range(10):
            for scheme, place in zip(schemes, zip(hosts, ports), strict=True):
                if scheme == "wss":
                    check_served(place)
                else:
                    check_echo(place)


def passed_on(server):
    """A socket of a supervisor, on the port of a wss:// address, speaks TLS; the others do
    not."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=64) as secured,
        socket.create_server(("127.0.0.1", 0), backlog=64) as plain,
    ):
        port, plain_port = (listener.getsockname()[1] for listener in (secured, plain))
        flags = server_identity().flags()
        listen = [f"wss://127.0.0.1:{port}"]
        with activated(server, [secured, plain], listen, flags=flags) as own:
            expected = [f"wss://127.0.0.1:{port}", f"ws://127.0.0.1:{plain_port}"]
            expect(own.addresses == expected, f"listens on {own.addresses}")
            for _ in range(ENOUGH):
                check_served(port)
                check_echo(plain_port)
            expect(own.stop() == 0, f"ended with {own.exit_code}")


def mistakes(server):
    """Each is reported in one line by `serve` and `check-config` alike, with the file or the
    setting at fault."""
    one, other = server_identity(), authority().identity("other.test")
    secured = ["--listen", "wss://127.0.0.1:0"]
    junk = authority().write("junk", b"not a certificate\n")
    # That is for clients to judge.
    expired = authority().identity(NAME, not_after=datetime.datetime(2001, 1, 1))
    missing = "/nonexistent/chain.pem"
    table = [
        ("no certificate", secured, ["tls_cert"]),
        ("no key", [*secured, "--tls-cert", one.chain], ["tls_key"]),
        ("no chain", [*secured, "--tls-key", one.key], ["tls_cert"]),
        ("another's key", [*secured, "--tls-cert", one.chain, "--tls-key", other.key], [other.key]),
        ("missing chain", [*secured, "--tls-cert", missing, "--tls-key", one.key], [missing]),
        ("missing key", [*secured, "--tls-cert", one.chain, "--tls-key", missing], [missing]),
        ("junk chain", [*secured, "--tls-cert", junk, "--tls-key", one.key], [junk]),
        ("junk key", [*secured, "--tls-cert", one.chain, "--tls-key", junk], [junk]),
        ("swapped", [*secured, "--tls-cert", one.key, "--tls-key", one.chain], []),
        ("two chains, one key", [*secured, *one.flags(), "--tls-cert", other.chain], ["tls_key"]),
        ("a certificate for nothing", ["--listen", "127.0.0.1:0", *one.flags()], ["tls_cert"]),
        ("junk authority", [*secured, *one.flags(), "--tls-client-ca", junk], [junk]),
        ("missing authority", [*secured, *one.flags(), "--tls-client-ca", missing], [missing]),
        (
            "optional of nobody",
            [*secured, *one.flags(), "--tls-client-auth", "optional"],
            ["tls_client"],
        ),
        (
            "no such word",
            [*secured, *one.flags(), "--tls-client-ca", one.chain, "--tls-client-auth", "perhaps"],
            ["perhaps"],
        ),
        ("unix with TLS", ["--listen", "wss://unix:/tmp/x", *one.flags()], ["wss://unix"]),
        ("a name", ["--listen", "wss://no.such.invalid:0", *one.flags()], ["can't be resolved"]),
    ]
    failed = []
    for name, words, parts in table:
        told = {}
        for what in ("serve", "check-config"):
            try:
                result = command(server, what, "--shards=1", *words, seconds_max=3)
            except Exception as error:
                failed.append(f"{what}, {name}: {type(error).__name__}")
                continue
            # A setting is named as a flag or as a key.
            told[what] = result.stderr.replace("--tls-", "tls_")
            if result.returncode not in (EXIT_CONFIG, EXIT_USAGE):
                failed.append(f"{what}, {name}: exit code {result.returncode}, {result.stderr!r}")
            elif not all(part in told[what] for part in parts):
                failed.append(f"{what}, {name}: {parts} is not in {result.stderr!r}")
            elif result.returncode == EXIT_CONFIG and result.stderr.count("\n") != 1:
                failed.append(f"{what}, {name}: not one line: {result.stderr!r}")
        if len(set(told.values())) > 1 and "Usage" not in "".join(told.values()):
            failed.append(f"{name}: serve and check-config differ: {told}")
    for identity in (one, expired):
        result = command(server, "check-config", *secured, *identity.flags())
        expect(result.returncode == 0, f"what is right is refused: {result.stderr}")
    expect(not failed, f"{len(failed)}: " + "; ".join(failed))


def counted(server):
    """Metrics tell handshakes, resumptions and failures apart."""
    port = free_port()
    with secure(server, "--admin", f"127.0.0.1:{port}") as own:
        admin = Admin(port)
        context = authority().context(TLS_1_3)
        with contextlib.ExitStack() as stack:
            peers = [
                stack.enter_context(SecurePeer.open(own.port, context=authority().context(TLS_1_2)))
                for _ in range(3)
            ]
            peers.append(stack.enter_context(SecurePeer.open(own.port, context=context)))
            session = session_of(peers[-1])
            again = SecurePeer.open(own.port, context=context, session=session)
            peers.append(stack.enter_context(again))
            for peer in peers:
                peer.echo()
            for _ in range(4):
                refusal(own.port, context=authority().context(protocols=["h2"]))
            with Peer(own.port) as plain:
                plain.send(b"GET / HTTP/1.1\r\n\r\n")
                plain.receive_to_end()
            connection = http.client.HTTPSConnection(NAME, own.port, context=context, timeout=5)
            connection.request("GET", "/readyz")
            expect(connection.getresponse().status == 200, "not ready")
            connection.close()
            metrics = admin.metrics()
            for name, value in [
                ("tls_handshakes", 6),
                ("tls_resumptions", 1),
                ("tls_failures", 5),
                ("handshakes", 5),
            ]:
                found = metrics[f"tapecast_{name}_total", ()]
                expect(found == value, f"{name} is {found}, expected {value}")
            expect(metrics["tapecast_sessions", ()] == 5, "sessions")
            listed = admin.ask("GET", "/connections")[1]["connections"]
            expect(len(listed) == 5, f"{len(listed)} connections are listed")
