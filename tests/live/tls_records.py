"""A client that leaves the handshake to OpenSSL and then makes the records of TLS 1.3 or
1.2 by itself: so it can cut them, fill them and renew their keys as no library would.
"""

import hmac
import tempfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from . import peer as wire
from .peer import Peer
from .server import expect
from .tls_peer import TLS_1_2, TLS_1_3, Memory, authority

CHANGE, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
CLOSE_NOTIFY, USER_CANCELED = b"\x01\x00", b"\x01\x5a"
# RFC 8446, 6: kinds of alerts.
UNEXPECTED_MESSAGE, BAD_RECORD_MAC, RECORD_OVERFLOW = 10, 20, 22
# RFC 5246, 7.2.2: a warning.
NO_RENEGOTIATION = b"\x01\x64"
KEY_UPDATE = 24
RECORD_BYTES_MAX = 16_384
TAG_BYTES = 16
# name: hash, bytes of a key, cipher
SUITES = {
    "TLS_AES_256_GCM_SHA384": ("sha384", 32, AESGCM),
    "TLS_AES_128_GCM_SHA256": ("sha256", 16, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": ("sha256", 32, ChaCha20Poly1305),
}
# The same of TLS 1.2, and bytes of the nonce that come from the secret and that are in each
# record (RFC 5288, 3; RFC 7905, 2).
OLD_SUITES = {
    "ECDHE-ECDSA-AES256-GCM-SHA384": ("sha384", 32, AESGCM, 4, 8),
    "ECDHE-ECDSA-AES128-GCM-SHA256": ("sha256", 16, AESGCM, 4, 8),
    "ECDHE-ECDSA-CHACHA20-POLY1305": ("sha256", 32, ChaCha20Poly1305, 12, 0),
}


def record(kind, content, declared=None):
    """A record that is not encrypted. `declared` is a length to claim."""
    length = len(content) if declared is None else declared
    return bytes([kind, 3, 3]) + length.to_bytes(2, "big") + content


def key_update(is_answered=False):
    """RFC 8446, 4.6.3: the message that announces new keys, and may ask for some."""
    return bytes([KEY_UPDATE, 0, 0, 1, is_answered])


class Direction:
    """The keys of what goes one way (RFC 8446, 7.1 to 7.3)."""

    def __init__(self, suite, secret):
        self.hash, self.key_bytes, self.cipher = suite
        self.secret = secret
        self._begin()

    def _expand(self, label, length):
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        # HKDF-Expand, of one block.
        return hmac.digest(self.secret, info + b"\1", self.hash)[:length]

    def _begin(self):
        self.sequence = 0
        self.nonce = int.from_bytes(self._expand(b"iv", 12), "big")
        self.box = self.cipher(self._expand(b"key", self.key_bytes))

    def renew(self):
        self.secret = self._expand(b"traffic upd", len(self.secret))
        self._begin()

    def next_nonce(self):
        nonce = (self.nonce ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return nonce

    def seal(self, kind, content, padding=0):
        return self.seal_inner(content + bytes([kind]) + bytes(padding))

    def seal_inner(self, inner):
        """As `seal`, of a TLSInnerPlaintext (RFC 8446, 5.2), which may be none."""
        header = record(DATA, b"", declared=len(inner) + TAG_BYTES)
        return header + self.box.encrypt(self.next_nonce(), inner, header)

    def open(self, sealed):
        """The kind and content of a record."""
        inner = self.box.decrypt(self.next_nonce(), sealed[5:], sealed[:5]).rstrip(b"\0")
        return inner[-1], inner[:-1]


class OldDirection:
    """The key of what goes one way in TLS 1.2 (RFC 5246, 6.2.3.3)."""

    def __init__(self, cipher, key, salt, explicit_bytes):
        self.box = cipher(key)
        self.nonce = int.from_bytes(salt.ljust(12, b"\0"), "big")
        self.explicit_bytes = explicit_bytes
        # The first record under it was the handshake's last message.
        self.sequence = 1

    def _next(self, kind, length):
        """A nonce, and what goes with the content to be authenticated."""
        nonce = (self.nonce ^ self.sequence).to_bytes(12, "big")
        authenticated = self.sequence.to_bytes(8, "big") + record(kind, b"", declared=length)
        self.sequence += 1
        return nonce, authenticated

    def seal(self, kind, content):
        nonce, authenticated = self._next(kind, len(content))
        explicit = nonce[12 - self.explicit_bytes :]
        return record(kind, explicit + self.box.encrypt(nonce, content, authenticated))

    def open(self, sealed):
        """The kind and content of a record."""
        explicit, rest = sealed[5 : 5 + self.explicit_bytes], sealed[5 + self.explicit_bytes :]
        nonce, authenticated = self._next(sealed[0], len(rest) - TAG_BYTES)
        nonce = nonce[: 12 - self.explicit_bytes] + explicit
        return sealed[0], self.box.decrypt(nonce, rest, authenticated)


def expanded(secret, seed, length, hash_name):
    """RFC 5246, 5: as many bytes as are asked for."""
    octets, chained = b"", seed
    while len(octets) < length:
        chained = hmac.digest(secret, chained, hash_name)
        octets += hmac.digest(secret, chained + seed, hash_name)
    return octets[:length]


class Overheard:
    """A socket, and all that came from it."""

    def __init__(self, stream):
        self.sendall = stream.sendall
        self.stream = stream
        self.received = b""

    def recv(self, count):
        received = self.stream.recv(count)
        self.received += received
        return received


class RecordPeer(Peer):
    """As `Peer`, over TLS 1.3 of its own."""

    VERSION = TLS_1_3

    def __init__(self, port, suite=None, **options):
        super().__init__(port, **options)
        overheard = Overheard(self.socket)
        with tempfile.NamedTemporaryFile("r", prefix="tapecast-") as secrets:
            context = authority().context(self.VERSION)
            context.keylog_filename = secrets.name
            if suite:
                context.set_ciphers(suite)
            memory = Memory(context)
            memory.handshake(overheard)
            lines = [line.split() for line in secrets if not line.startswith("#")]
        found = {label: (bytes.fromhex(it), bytes.fromhex(secret)) for label, it, secret in lines}
        self.suite = memory.object.cipher()[0]
        self.out, self.back = self._directions(found, overheard.received)
        self.received = memory.incoming.read()
        # Key updates that came, and the alert that ended it.
        self.updates = 0
        self.alert = None

    def _directions(self, found, _):
        """Of the client's random and a secret by label, and of the server's first bytes."""
        labels = ("CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0")
        return [Direction(SUITES[self.suite], found[label][1]) for label in labels]

    def send(self, octets):
        self.send_raw(self.sealed(octets))

    def send_raw(self, octets):
        self.socket.sendall(octets)

    def sealed(self, octets):
        """These bytes as records."""
        pieces = range(0, len(octets), RECORD_BYTES_MAX)
        return b"".join(
            self.out.seal(DATA, octets[start : start + RECORD_BYTES_MAX]) for start in pieces
        )

    def update(self, is_answered=False):
        """Announces new keys, and takes them."""
        announced = self.out.seal(HANDSHAKE, key_update(is_answered))
        self.out.renew()
        return announced

    def fill(self):
        """The next record. An end of the stream without an alert is an error."""
        while len(self.received) < 5 or len(self.received) < 5 + self._length():
            chunk = self.socket.recv(1 << 18)
            expect(chunk, "end of stream without an alert")
            self.received += chunk
        end = 5 + self._length()
        sealed, self.received = self.received[:end], self.received[end:]
        kind, content = self.back.open(sealed)
        if kind == ALERT:
            self.alert = content
            return False
        if kind == DATA:
            self.rest += content
        elif content[0] == KEY_UPDATE:
            self.updates += 1
            self.back.renew()
        return True

    def _length(self):
        return int.from_bytes(self.received[3:5], "big")

    def echo(self, message=b"echo"):
        self.send_frame(wire.BINARY, message)
        received = self.receive_frame()
        expect(
            received == (True, wire.BINARY, message),
            f"sent {len(message)} bytes, received {received and received[2][:60]}",
        )


class OldRecordPeer(RecordPeer):
    """As `RecordPeer`, over TLS 1.2; of one suite, if it is given."""

    VERSION = TLS_1_2

    def _directions(self, found, received):
        hash_name, key_bytes, cipher, salt_bytes, explicit_bytes = OLD_SUITES[self.suite]
        random, master = found["CLIENT_RANDOM"]
        # RFC 5246, 7.4.1.3: behind the headers of record and message, and the version.
        server_random = received[11:43]
        # RFC 5246, 6.3: keys of client and server, then what their nonces begin with.
        lengths = (key_bytes, key_bytes, salt_bytes, salt_bytes)
        seed = b"key expansion" + server_random + random
        octets = expanded(master, seed, sum(lengths), hash_name)
        parts = []
        for length in lengths:
            parts.append(octets[:length])
            octets = octets[length:]
        return [OldDirection(cipher, *parts[way::2], explicit_bytes) for way in (0, 1)]
