"""Records within a session of TLS that are not what they may be: too long, altered, out of
their order, of no kind, not encrypted or cut short, and floods of those that are allowed.
All but what is wrong with a record is as it should be: it is under the session's keys. Each
ends its own connection and harms nobody; beside all of them others echo.
"""

import contextlib
import socket

from . import peer as wire
from .peer import frame
from .server import expect
from .tls_hostile import attacked, check_alert, check_no_echo
from .tls_peer import TLS_1_2, authority, hello
from .tls_records import (
    ALERT,
    BAD_RECORD_MAC,
    CHANGE,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    NO_RENEGOTIATION,
    OLD_SUITES,
    RECORD_BYTES_MAX,
    RECORD_OVERFLOW,
    TAG_BYTES,
    UNEXPECTED_MESSAGE,
    OldRecordPeer,
    RecordPeer,
    key_update,
    record,
)

KINDS = (RecordPeer, OldRecordPeer)
# TLS 1.2 seals records in several ways, each by other code.
SESSIONS = ((RecordPeer, None), *((OldRecordPeer, suite) for suite in OLD_SUITES))
# RFC 8446, 5.2, and RFC 5246, 6.2.3: what a record's header may claim.
SEALED_BYTES_MAX, OLD_SEALED_BYTES_MAX = RECORD_BYTES_MAX + 256, RECORD_BYTES_MAX + 2_048
# Of a frame with a mask and 126 to 65,535 bytes.
FRAME_HEADER_BYTES = 8
NEVER = b"never to be heard"
FLOOD_RECORDS = 20_000
ROUNDS_UNREAD = 3_000


def frame_of(length):
    """A frame that has so many bytes with its header."""
    octets = frame(wire.BINARY, b"n" * (length - FRAME_HEADER_BYTES))
    expect(len(octets) == length, f"a frame of {len(octets)} bytes instead of {length}")
    return octets


def check_heard(peer, length, what):
    received = peer.receive_frame()
    expect(received, f"{what}: the end instead of an echo, and the alert is {peer.alert}")
    expect(
        received.payload == b"n" * (length - FRAME_HEADER_BYTES),
        f"{what}: an echo of {len(received.payload)} bytes",
    )


def too_long(server):
    """2^14 bytes in a record are heard; one more is record_overflow, though it was encrypted
    as it should be (RFC 8446, 5.1, 5.2 and 6.2; RFC 5246, 6.2.1)."""
    exact = frame_of(RECORD_BYTES_MAX)
    with attacked(server) as (own, bystanders):
        for kind, suite in SESSIONS:
            with kind.open(own.port, suite=suite) as peer:
                name = peer.suite
                for _ in range(3):
                    peer.send_raw(peer.out.seal(DATA, exact))
                    check_heard(peer, RECORD_BYTES_MAX, f"{name}: a record that is full")
            for length in (RECORD_BYTES_MAX + 1, SEALED_BYTES_MAX - TAG_BYTES - 1):
                with kind.open(own.port, suite=suite) as peer:
                    peer.send_raw(peer.out.seal(DATA, frame_of(length)))
                    check_alert(peer, f"{name}: {length} bytes", (RECORD_OVERFLOW,))
            with kind.open(own.port, suite=suite) as peer:
                peer.send_raw(peer.out.seal(HANDSHAKE, bytes(RECORD_BYTES_MAX + 1)))
                check_alert(peer, f"{name}: as a handshake", (RECORD_OVERFLOW,))
        bystanders.echo()
        # RFC 8446, 5.4: padding, with the content and its kind, is 2^14 + 1 bytes at most.
        for length in (FRAME_HEADER_BYTES + 126, RECORD_BYTES_MAX - 1):
            octets = frame_of(length)
            with RecordPeer.open(own.port) as peer:
                peer.send_raw(peer.out.seal(DATA, octets, RECORD_BYTES_MAX - length))
                check_heard(peer, length, f"{length} bytes, padded as far as may be")
                peer.send_raw(peer.out.seal(DATA, octets, RECORD_BYTES_MAX - length + 1))
                check_alert(peer, f"{length} bytes, padded by one more", (RECORD_OVERFLOW,))
        for kind, content in ((HANDSHAKE, key_update()), (ALERT, CLOSE_NOTIFY), (DATA, b"")):
            with RecordPeer.open(own.port) as peer:
                padding = RECORD_BYTES_MAX - len(content) + 1
                peer.send_raw(peer.out.seal(kind, content, padding))
                check_alert(peer, f"padding behind kind {kind}", (RECORD_OVERFLOW,))
        # TLS 1.2 lets records grow by more when they are sealed: nearly as much as that.
        with OldRecordPeer.open(own.port) as peer:
            peer.send_raw(peer.out.seal(DATA, frame_of(OLD_SEALED_BYTES_MAX - 1 - 8 - TAG_BYTES)))
            check_alert(peer, "nearly as long as a header may claim", (RECORD_OVERFLOW,))


def altered(server):
    """One bit that is another, wherever it is authenticated, and records that come twice, too
    early, from another session or back to where they are from: bad_record_mac (RFC 8446, 5.2;
    RFC 5246, 7.2.2), and nothing of them is heard."""
    never = frame(wire.TEXT, NEVER)
    connections = 0
    with attacked(server) as (own, bystanders):
        for kind, suite in SESSIONS:
            with kind.open(own.port, suite=suite) as peer:
                name, length = peer.suite, len(peer.sealed(never))
            # The nonce, the content and the tag: the first and the last of each, and others.
            places = {5, 12, 13, length - TAG_BYTES - 1, length - TAG_BYTES, length - 1}
            if kind is OldRecordPeer:
                # RFC 5246, 6.2.3.3: and the header's kind and version.
                places |= {0, 2}
            for place in sorted(places | set(range(5, length, 5))):
                with kind.open(own.port, suite=suite) as peer:
                    peer.echo(b"as it should be")
                    sealed = bytearray(peer.sealed(never))
                    sealed[place] ^= 1 << place % 8
                    peer.send_raw(bytes(sealed))
                    check_alert(peer, f"{name}: a bit of byte {place}", (BAD_RECORD_MAC,))
                    connections += 1
            for misplaced in (twice, too_early, of_another_session, reflected):
                with (
                    kind.open(own.port, suite=suite) as peer,
                    kind.open(own.port, suite=suite) as other,
                ):
                    peer.send_raw(misplaced(peer, other, never))
                    check_alert(peer, f"{name}: {misplaced.__name__}", (BAD_RECORD_MAC,))
                    other.echo(b"not harmed")
                    connections += 1
            bystanders.echo()
    return f"{connections} connections"


def twice(peer, _, octets):
    sealed = peer.sealed(octets)
    peer.send_raw(sealed)
    expect(peer.receive_frame().payload == NEVER, "it is not heard the first time")
    return sealed


def too_early(peer, _, octets):
    peer.sealed(octets)
    return peer.sealed(octets)


def of_another_session(_, other, octets):
    sealed = other.sealed(octets)
    # It did not send that.
    other.out.sequence -= 1
    return sealed


def reflected(peer, _, octets):
    """The server's own record, sent back to it."""
    peer.send(octets)
    sealed = b""
    while len(sealed) < 5 or len(sealed) < 5 + int.from_bytes(sealed[3:5], "big"):
        chunk = peer.socket.recv(1 << 16)
        expect(chunk, "the end instead of an echo")
        sealed += chunk
    peer.received += sealed
    expect(peer.receive_frame().payload == NEVER, "another echo")
    return sealed


def in_the_clear(server):
    """Records that are not encrypted, in a session that is: they are not taken for what they
    say, neither for data nor for its end."""
    begun = hello(authority().context(TLS_1_2))
    table = [
        ("data", record(DATA, frame(wire.TEXT, NEVER)), BAD_RECORD_MAC),
        ("as much as a record holds", record(DATA, bytes(RECORD_BYTES_MAX)), BAD_RECORD_MAC),
        ("less than a tag", record(DATA, bytes(TAG_BYTES - 1)), BAD_RECORD_MAC),
        ("a nonce and less than a tag", record(DATA, bytes(8 + TAG_BYTES - 1)), BAD_RECORD_MAC),
        ("nothing", record(DATA, b""), BAD_RECORD_MAC),
        # A stream must not be cut by somebody without the keys.
        ("close_notify", record(ALERT, CLOSE_NOTIFY), BAD_RECORD_MAC),
        ("a fatal alert", record(ALERT, b"\2\x28"), BAD_RECORD_MAC),
        ("new keys", record(HANDSHAKE, key_update()), BAD_RECORD_MAC),
        ("a hello", begun, BAD_RECORD_MAC),
        # RFC 8446, 5, and RFC 5246, 7.1: that is never encrypted, and its time is over.
        ("a change of the cipher", record(CHANGE, b"\1"), UNEXPECTED_MESSAGE),
    ]
    with attacked(server) as (own, bystanders):
        for kind in KINDS:
            for what, octets, alert in table:
                with kind.open(own.port) as peer:
                    peer.echo(b"encrypted")
                    peer.send_raw(octets)
                    check_alert(peer, f"{peer.suite}: {what} in the clear", (alert,))
        # RFC 8446, 5: nor is it allowed to come encrypted.
        with RecordPeer.open(own.port) as peer:
            peer.send_raw(peer.out.seal(CHANGE, b"\1"))
            check_alert(peer, "a change of the cipher within", (UNEXPECTED_MESSAGE,))
        bystanders.echo()


def of_no_kind(server):
    """Encrypted as it should be, and of a kind that there is not, or of none: it ends. With
    which alert is up to rustls, which has others than RFC 8446, 5 and 5.4, and at times none.
    """
    with attacked(server) as (own, bystanders):
        for what, inner in [
            ("nothing at all", b""),
            ("a zero", bytes(1)),
            ("a hundred zeros", bytes(100)),
            ("zeros in a full record", bytes(RECORD_BYTES_MAX + 1)),
        ]:
            with RecordPeer.open(own.port) as peer:
                peer.echo(b"of a kind")
                peer.send_raw(peer.out.seal_inner(inner))
                check_alert(peer, what)
        for session in KINDS:
            for kind in (1, 19, 24, 25, 99, 255):
                for content in (b"\1", frame(wire.TEXT, NEVER)):
                    with session.open(own.port) as peer:
                        peer.send_raw(peer.out.seal(kind, content))
                        check_alert(peer, f"{peer.suite}: kind {kind}, {content}")
        with OldRecordPeer.open(own.port) as peer:
            peer.send_raw(peer.out.seal(CHANGE, b"\1"))
            check_alert(peer, "a change of the cipher within")
        bystanders.echo()


def floods(server):
    """Thousands of records with a byte each are what they are together. With nothing in them
    they are allowed as well (RFC 5246, 6.2.1) and of no use: some are borne, and of more than
    that the sender may be rid. For those of TLS 1.3 see `tls_hostile.nothing_within`."""
    message = bytes(range(250)) * (FLOOD_RECORDS // 250)
    octets = frame(wire.BINARY, message)
    with attacked(server) as (own, bystanders):
        for kind in KINDS:
            with kind.open(own.port) as peer:
                places = range(len(octets))
                peer.send_raw(b"".join(peer.out.seal(DATA, octets[i : i + 1]) for i in places))
                received = peer.receive_frame()
                expect(received and received.payload == message, f"{peer.suite}: another echo")
                peer.echo(b"afterwards")
        bystanders.echo()
        with OldRecordPeer.open(own.port) as peer:
            for _ in range(10):
                for _ in range(10):
                    peer.send_raw(peer.out.seal(DATA, b""))
                peer.echo(b"after a few")
            with contextlib.suppress(ConnectionError):
                peer.send_raw(b"".join(peer.out.seal(DATA, b"") for _ in range(FLOOD_RECORDS)))
            bystanders.echo()
            with contextlib.suppress(ConnectionError):
                peer.send_frame(wire.TEXT, NEVER)
            check_alert(peer, "a flood of empty records")


def renewed_unread(server):
    """Requests for new keys with data in between, so that they are never too many in a row,
    and nobody reads the answers: one may stand for all that were asked for since (RFC 8446,
    4.6.3), and what is sent in between is under the right keys."""
    rounds = ROUNDS_UNREAD
    octets = frame(wire.BINARY, b"n" * rounds)
    with attacked(server) as (own, bystanders):
        for name, pieces in [
            # Nothing is sent until it is whole, so that one answer may be for all.
            ("a message", [octets[i : i + 1] for i in range(rounds)]),
            ("pings", [frame(wire.PING, b"%d" % number) for number in range(rounds)]),
        ]:
            with RecordPeer.open(own.port, receive_buffer_bytes=4 << 10) as peer:
                for start in range(0, rounds, 100):
                    flood = b"".join(
                        peer.update(is_answered=True) + peer.sealed(piece)
                        for piece in pieces[start : start + 100]
                    )
                    peer.send_raw(flood)
                bystanders.echo()
                if name == "a message":
                    peer.send(octets[rounds:])
                    received = peer.receive_frame()
                    expect(received and received.payload == b"n" * rounds, f"received {received}")
                peer.send_frame(wire.TEXT, b"the last")
                pongs = 0
                while (received := peer.receive_frame()) and received.opcode == wire.PONG:
                    pongs += 1
                expect(received and received.payload == b"the last", f"{name}: {received}")
                expect(1 <= peer.updates <= rounds, f"{name}: {peer.updates} answers")
        return f"{peer.updates} answers and {pongs} pongs for {rounds} pings"


def renegotiation(server):
    """A hello within a session of TLS 1.2 is refused with a warning (RFC 5246, 7.2.2), and the
    session is what it was; a peer that keeps asking is cut."""
    begun = hello(authority().context(TLS_1_2))[5:]
    with attacked(server) as (own, bystanders):
        for size in (len(begun), 60, 1):
            pieces = [begun[start : start + size] for start in range(0, len(begun), size)]
            with OldRecordPeer.open(own.port) as peer:
                peer.echo(b"before")
                for piece in pieces:
                    peer.send_raw(peer.out.seal(HANDSHAKE, piece))
                peer.fill()
                expect(peer.alert == NO_RENEGOTIATION, f"a hello was told {peer.alert}")
                peer.alert = None
                peer.echo(b"as before")
                with contextlib.suppress(ConnectionError):
                    peer.send_raw(b"".join(peer.out.seal(HANDSHAKE, begun) for _ in range(500)))
                bystanders.echo()
                with contextlib.suppress(ConnectionError):
                    peer.send_frame(wire.TEXT, NEVER)
                check_alert(peer, "hellos within")


def cut_short(server):
    """TLS 1.2: a record that ends in the middle, and the stream with it. Everything whole before
    is answered, and half a record is nothing."""
    with attacked(server) as (own, bystanders):
        for suite in OLD_SUITES:
            for cut in (1, 4, 5, 6, 12, 13, 20, -TAG_BYTES, -1):
                with OldRecordPeer.open(own.port, suite=suite) as peer:
                    whole = peer.sealed(frame(wire.TEXT, b"whole"))
                    sealed = peer.sealed(frame(wire.TEXT, NEVER))
                    peer.send_raw(whole + sealed[:cut])
                    received = peer.receive_frame()
                    expect(received and received.payload == b"whole", f"{suite}: {received}")
                    peer.socket.shutdown(socket.SHUT_WR)
                    check_no_echo(peer, f"{suite}: a record cut at {cut} and FIN")
        bystanders.echo()
