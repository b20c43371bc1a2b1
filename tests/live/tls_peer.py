"""A client over TLS with Python's `ssl` (OpenSSL), and the certificates of tests.

They are made once per run, by an authority of its own; nothing trusts it but the
clients that are given its file.
"""

import base64
import contextlib
import datetime
import functools
import hashlib
import pathlib
import socket
import ssl
import tempfile
import time
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import peer as wire
from .peer import Peer
from .server import expect, serving

NAME = "localhost"
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)


class Identity(NamedTuple):
    """Files with a chain and its key, and the certificate itself in DER."""

    chain: str
    key: str
    certificate: bytes

    def flags(self):
        return ["--tls-cert", self.chain, "--tls-key", self.key]

    def key_hash(self):
        """As chromium names a key that it shall trust."""
        key = x509.load_der_x509_certificate(self.certificate).public_key()
        info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(info).digest()).decode()


class Authority:
    """Signs certificates; all files go with it."""

    def __init__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="tapecast-tls-")
        self._authority = trustme.CA()
        self._count = 0
        self.path = self.write("authority", self._authority.cert_pem.bytes())

    def write(self, name, octets):
        """The path of a new file with these bytes."""
        self._count += 1
        path = pathlib.Path(self._directory.name, f"{self._count}-{name}.pem")
        path.write_bytes(octets)
        return str(path)

    def identity(self, *names, not_after=None):
        leaf = self._authority.issue_cert(
            *names, not_before=datetime.datetime(2000, 1, 1), not_after=not_after
        )
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        certificate = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
        key = leaf.private_key_pem.bytes()
        return Identity(self.write("chain", chain), self.write("key", key), certificate)

    def context(self, version=None, protocols=("http/1.1",), identity=None):
        """A client that trusts nobody else; of one version of TLS, if one is given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.path)
        if version:
            context.minimum_version = context.maximum_version = version
        if protocols:
            context.set_alpn_protocols(protocols)
        if identity:
            context.load_cert_chain(identity.chain, identity.key)
        return context


@functools.cache
def authority():
    return Authority()


@functools.cache
def server_identity():
    return authority().identity("127.0.0.1", NAME)


@functools.cache
def any_context():
    return authority().context()


@contextlib.contextmanager
def secure(like, *flags, identity=None, listen=("wss://127.0.0.1:0",), **options):
    """As `serving`, over TLS."""
    words = [*(identity or server_identity()).flags(), *flags]
    with serving(like, listen=listen, flags=words, **options) as running:
        running.context = any_context()
        yield running


class SecurePeer(Peer):
    """As `Peer`, over TLS. An end of the stream without close_notify is an error."""

    def __init__(self, port, context=None, name=NAME, session=None, **options):
        super().__init__(port, **options)
        self.socket = (context or any_context()).wrap_socket(
            self.socket, server_hostname=name, session=session, suppress_ragged_eofs=False
        )

    def echo(self, message=b"echo"):
        self.send_frame(wire.BINARY, message)
        received = self.receive_frame()
        expect(
            received == (True, wire.BINARY, message),
            f"sent {len(message)} bytes, received {received and received[2][:60]}",
        )

    def cut(self):
        """Our FIN, without close_notify: whoever is spoken to sees a stream that was cut."""
        # That of `SSLSocket` would continue in the clear.
        socket.socket.shutdown(self.socket, socket.SHUT_WR)


def check_served(port, seconds_max=2, **options):
    """Somebody else comes, is served, and soon."""
    started = time.monotonic()
    with SecurePeer.open(port, **options) as other:
        other.echo(b"others")
    seconds = time.monotonic() - started
    expect(seconds < seconds_max, f"another client waited {seconds:.1f}s")


def warm_up(own):
    """Touches what a shard has once and not per connection, as its receive buffers: what
    memory grows by afterwards is somebody's."""
    # Connections are spread over the shards by chance: not in the first round.
    for _ in range(4):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(SecurePeer.open(own.port)) for _ in range(8)]
            for length in (100, 60_000) * 5:
                for peer in peers:
                    peer.echo(bytes(length))
            peers[0].echo(bytes(1 << 20))


class Memory:
    """OpenSSL without a socket: what it wants to send is bytes to play with."""

    def __init__(self, context=None, session=None):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or any_context()).wrap_bio(
            self.incoming, self.outgoing, server_hostname=NAME, session=session
        )

    def step(self, received=b""):
        """Goes on with the handshake; says whether it is over, and what is to be sent."""
        self.incoming.write(received)
        try:
            self.object.do_handshake()
            is_over = True
        except ssl.SSLWantReadError:
            is_over = False
        return is_over, self.outgoing.read()

    def handshake(self, stream, send=None):
        """The whole handshake over a socket; `send(octets)` is how its bytes leave."""
        is_over, octets = self.step()
        while True:
            (send or stream.sendall)(octets)
            if is_over:
                return
            received = stream.recv(1 << 16)
            expect(received, "the server ended the stream within a handshake")
            is_over, octets = self.step(received)


def hello(context=None):
    """A client's first bytes."""
    return Memory(context).step()[1]
