"""A client that leaves the handshake to OpenSSL and then makes the records of TLS 1.3
by itself: so it can cut them, fill them and renew their keys as no library would.
"""

import hmac
import tempfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from . import peer as wire
from .peer import Peer
from .server import expect
from .tls_peer import TLS_1_3, Memory, authority

CHANGE, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
CLOSE_NOTIFY, USER_CANCELED = b"\x01\x00", b"\x01\x5a"
KEY_UPDATE = 24
RECORD_BYTES_MAX = 16_384
# name: hash, bytes of a key, cipher
SUITES = {
    "TLS_AES_256_GCM_SHA384": ("sha384", 32, AESGCM),
    "TLS_AES_128_GCM_SHA256": ("sha256", 16, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": ("sha256", 32, ChaCha20Poly1305),
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
        inner = content + bytes([kind]) + bytes(padding)
        header = record(DATA, b"", declared=len(inner) + 16)
        return header + self.box.encrypt(self.next_nonce(), inner, header)

    def open(self, sealed):
        """The kind and content of a record."""
        inner = self.box.decrypt(self.next_nonce(), sealed[5:], sealed[:5]).rstrip(b"\0")
        return inner[-1], inner[:-1]


class RecordPeer(Peer):
    """As `Peer`, over TLS 1.3 of its own."""

    def __init__(self, port, **options):
        super().__init__(port, **options)
        with tempfile.NamedTemporaryFile("r", prefix="tapecast-") as secrets:
            context = authority().context(TLS_1_3)
            context.keylog_filename = secrets.name
            memory = Memory(context)
            memory.handshake(self.socket)
            found = dict(line.split()[::2] for line in secrets if not line.startswith("#"))
        suite = SUITES[memory.object.cipher()[0]]
        self.out = Direction(suite, bytes.fromhex(found["CLIENT_TRAFFIC_SECRET_0"]))
        self.back = Direction(suite, bytes.fromhex(found["SERVER_TRAFFIC_SECRET_0"]))
        self.received = memory.incoming.read()
        # Key updates that came, and the alert that ended it.
        self.updates = 0
        self.alert = None

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
