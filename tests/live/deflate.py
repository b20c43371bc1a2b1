"""permessage-deflate as clients use it: libraries, a browser and raw frames, beside
readers without it, over topics and TLS. For hostile peers see `deflate_hostile`.
"""

import contextlib
import json
import os
import pathlib
import ssl
import subprocess
import tempfile

import websockets

from . import peer as wire
from .deflate_peer import (
    KIBIBYTE,
    MEBIBYTE,
    OFFER,
    Deflating,
    compressed_frame,
    compressing,
    deflated,
    extension,
    fragments,
)
from .echoing import check_echo
from .json_topics import SUBPROTOCOL
from .loading import load
from .outside import HERE, NODE_MODULES, page_in_chromium
from .peer import Peer, frame
from .server import expect
from .topics import publish, receive, subscribe
from .words import serving_topics

SIZES = (0, 1, 125, 126, 511, 512, 600, 16 * KIBIBYTE, 64 * KIBIBYTE, MEBIBYTE, 5 * MEBIBYTE)
WORDS = "Grüße, 世界 🦀 "
WINDOWED = OFFER + "; server_max_window_bits=15"
AGREED = {
    "permessage-deflate": OFFER,
    "permessage-deflate; client_max_window_bits": OFFER,
    "permessage-deflate; client_max_window_bits=8": OFFER,
    "permessage-deflate; client_max_window_bits=15": OFFER,
    'permessage-deflate; client_max_window_bits="10"': OFFER,
    "permessage-deflate; server_no_context_takeover": OFFER,
    "permessage-deflate; client_no_context_takeover": OFFER,
    "permessage-deflate; server_max_window_bits=15": WINDOWED,
    "permessage-deflate; server_max_window_bits=8, permessage-deflate": OFFER,
    ", permessage-deflate,": OFFER,
    **{
        f"permessage-deflate; server_max_window_bits={bits}":
            f"{OFFER}; server_max_window_bits={bits}"
        for bits in range(9, 15)
    },
    "permessage-deflate; unknown, permessage-deflate": OFFER,
    "x, permessage-deflate": OFFER,
    "  permessage-deflate ;  client_max_window_bits  ": OFFER,
}
DECLINED = (
    "x-webkit-deflate-frame",
    "permessage-deflate-",
    "Permessage-Deflate; x",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=08",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=-15",
    "permessage-deflate; server_max_window_bits=+15",
    "permessage-deflate; server_max_window_bits=15.0",
    "permessage-deflate; server_max_window_bits=0xf",
    "permessage-deflate; server_max_window_bits=99999999999999999999",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=16",
    "permessage-deflate; client_max_window_bits=0",
    "permessage-deflate; client_max_window_bits=256",
    "permessage-deflate; client_max_window_bits=4294967303",
    "permessage-deflate; client_max_window_bits; client_max_window_bits",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover=true",
    "permessage-deflate; unknown",
    "permessage-deflate; unknown=15",
)
# RFC 6455, 9.1: what is not even grammar fails the handshake, whoever compresses or not.
MALFORMED = (
    ";",
    "permessage-deflate;",
    "permessage-deflate;;",
    "permessage-deflate; =",
    "permessage-deflate; server_max_window_bits=",
    'permessage-deflate; server_max_window_bits="15',
)


def offers(server):
    """Each is answered with 101, only one that can be had with the extension; what is no
    offer at all with 400. The next client is served."""
    with compressing(server) as own:
        for offer in MALFORMED:
            with Peer(own.port) as peer:
                peer.send(wire.head(Sec_WebSocket_Extensions=offer))
                status, text = peer.receive_head()
                expect(status == 400 and not extension(text), f"{offer!r}: {text!r}")
        for offer, answer in AGREED.items():
            with Deflating.open(own.port, offer=offer) as peer:
                expect(peer.answer == answer, f"{offer!r}: {peer.answer!r}")
                peer.check_echo(b"agreed " * 200)
        for offer in DECLINED:
            with Deflating.open(own.port, offer=offer, is_agreed=False) as peer:
                peer.send_frame(wire.BINARY, b"declined " * 200)
                peer.check_received(b"declined " * 200)
                expect(not peer.was_compressed, f"{offer!r}: compressed without agreement")
        # In two headers, the odd one first.
        two = wire.head(Sec_WebSocket_Extensions=DECLINED[-1])
        two = two[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        with Peer(own.port) as peer:
            peer.send(two)
            status, text = peer.receive_head()
            expect(status == 101 and extension(text) == OFFER, f"{text!r}")
    return f"{len(AGREED)} agreed, {len(DECLINED)} declined, {len(MALFORMED)} refused"


def off_by_default(server):
    for offer in AGREED:
        with Deflating.open(server.port, offer=offer, is_agreed=False) as peer:
            peer.send_frame(wire.BINARY, b"plain " * 500)
            peer.check_received(b"plain " * 500)
            expect(not peer.was_compressed, "compressed without agreement")


def connect(server, path="/echo", compression="deflate", **options):
    return websockets.connect(
        server.url(path), max_size=None, max_queue=None, proxy=None, compression=compression,
        **options,
    )


async def python(server, remembers=False, **limits):
    with compressing(server, **limits) as own:
        async with connect(own) as client:
            (agreed,) = client.protocol.extensions
            expect(agreed.name == "permessage-deflate", f"agreed on {agreed}")
            alone = (agreed.remote_no_context_takeover, agreed.local_no_context_takeover)
            expect(alone == (not remembers,) * 2, f"agreed on {agreed}")
            for size in SIZES:
                # A character in the middle of nothing would not be text.
                cut = (WORDS.encode() * (size // len(WORDS) + 1))[:size].decode(errors="ignore")
                await check_echo(client, cut)
                await check_echo(client, bytes(index % 251 for index in range(251)) * (size // 251))
                await check_echo(client, os.urandom(size))

            async def parts():
                for index in range(50):
                    yield f"{index}é," * 100
                    await (await client.ping())

            await client.send(parts())
            expected = "".join(f"{index}é," * 100 for index in range(50))
            expect(await receive(client) == expected, "the echo of fragments differs")


def node(server, **limits):
    with compressing(server, deflate_bytes_min=1, **limits) as own:
        done = subprocess.run(
            ["node", HERE / "deflate.js", NODE_MODULES, own.url()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=40,
        )
    expect(done.returncode == 0, done.stderr.decode(errors="replace")[-1000:])
    told = json.loads(done.stdout)
    declined = ["server8"]
    expect(sorted(told["declined"]) == sorted(declined), f"declined were {told['declined']}")
    return f"{len(told['agreed'])} agreed, {len(told['declined'])} declined"


def chromium(server, **limits):
    with compressing(server, **limits) as own:
        found = page_in_chromium(own, "deflate.html")
    expected = "permessage-deflate, 33 echoes, 0 differ, closed 3210 true"
    expect(found == expected, f"the page says {found!r}")


def raw_frames(server):
    """Every size as whole frames, in fragments and byte by byte, with control frames in
    between, of whatever level and window the client has; each message of its own kind."""
    with compressing(server) as own, Deflating.open(own.port) as peer:
        for size in SIZES:
            for payload in (b"abcdefg" * (size // 7), os.urandom(size)):
                peer.check_echo(payload)
                peer.check_echo(payload, level=0)
        for level, window in ((1, 9), (9, 9), (6, 12), (0, 15)):
            peer.check_echo(os.urandom(3_000) * 30, level=level, window=window)
        peer.check_echo(b"ended " * 1_000, final=True)
        # Two messages' worth of last blocks in one; what is as it was in between.
        twice = deflated(b"first ", final=True)[:-1] + deflated(b"second " * 200)
        peer.send(compressed_frame(wire.BINARY, twice))
        peer.check_received(b"first " + b"second " * 200)
        peer.send_frame(wire.TEXT, b"not compressed")
        peer.check_received(b"not compressed", wire.TEXT)
        expect(not peer.was_compressed, "a short one was compressed")
        text = (WORDS * 5_000).encode()
        small = deflated(text)
        ping = frame(wire.PING, b"between")
        for sizes in ([0], [1] * (len(small) - 1), [len(small)], [0, 3, 0, 50, 0], [100, 4_000]):
            peer.send(fragments(wire.TEXT, small, sizes, between=ping))
            for _ in sizes:
                received = peer.receive_frame()
                expect(received == (True, wire.PONG, b"between"), f"received {received}")
                expect(not peer.was_compressed, "a compressed pong")
            peer.check_received(text, wire.TEXT)
            expect(peer.was_compressed, "the echo is not compressed")
        for octet in compressed_frame(wire.TEXT, deflated(text[:90])):
            peer.send(bytes([octet]))
        peer.check_received(text[:90], wire.TEXT)
        # More than what is kept as it came, in pieces of all sorts.
        large = os.urandom(1_000) * 2 + os.urandom(200 * KIBIBYTE) + bytes(300 * KIBIBYTE)
        for step in (1_000, 60 * KIBIBYTE, 70 * KIBIBYTE):
            small = deflated(large)
            peer.send(fragments(wire.BINARY, small, [step] * (len(small) // step), between=ping))
            peer.check_received(large)


def least_bytes(server):
    """Below deflate_bytes_min, and what would not become smaller, comes as it is."""
    for least in (1, 512, 2_000):
        with compressing(server, deflate_bytes_min=least) as own:
            with Deflating.open(own.port) as peer:
                for size in {10, least - 1, least, least + 1, 5_000}:
                    payload = b"a" * size
                    peer.check_echo(payload)
                    is_expected = size >= least and size > 8
                    expect(
                        peer.was_compressed == is_expected or 0 < size < 10,
                        f"{size} of at least {least}: compressed {peer.was_compressed}",
                    )
                noise = os.urandom(20_000)
                peer.check_echo(noise)
                expect(not peer.was_compressed, "noise was compressed")
    # Levels, and one that is none.
    for level in "19":
        with compressing(server, level=level) as own, Deflating.open(own.port) as peer:
            peer.check_echo(b"level" * 1_000)
            expect(peer.was_compressed, f"not compressed at level {level}")


def not_agreed(server):
    """RFC 6455, 5.2, and RFC 7692, 6: RSV1 is an error wherever it has no meaning."""
    hello = deflated(b"hello " * 100)
    whole = compressed_frame(wire.BINARY, hello)
    with compressing(server) as own:
        for is_agreed, name, octets in (
            (False, "without agreement", whole),
            (False, "one byte without agreement", whole[:1]),
            (True, "on a continuation", fragments(wire.TEXT, hello, [3])[:9] + b"\xc0\x80abcd"),
            (
                True, "on the continuation of a plain message",
                frame(wire.TEXT, b"a", fin=False) + b"\xc0\x80abcd",
            ),
            (True, "on a ping", b"\xc9\x80abcd"),
            (True, "on a pong", b"\xca\x80abcd"),
            (True, "on a close", b"\xc8\x80abcd"),
            (True, "with RSV2", bytes([whole[0] | 0x20]) + whole[1:]),
            (True, "with RSV3", bytes([whole[0] | 0x10]) + whole[1:]),
            (True, "on a reserved opcode", compressed_frame(3, hello)),
            (True, "unmasked", b"\xc2\x01a"),
        ):
            offer = OFFER if is_agreed else "declined"
            with Deflating.open(own.port, offer=offer, is_agreed=is_agreed) as peer:
                peer.send(frame(wire.TEXT, b"good") + octets)
                peer.check_received(b"good", wire.TEXT)
                received = peer.receive_frame()
                expect(
                    received and received.close_code == 1002, f"RSV1 {name}: received {received}"
                )
                expect(peer.receive_to_end() == b"", f"RSV1 {name}: bytes after the close")


def messages_of_all_kinds():
    """Compressible and not, short and long."""
    for number in range(40):
        yield f"{number} " + WORDS * (number * 7)
        yield os.urandom(number * 97)
        yield bytes([number]) * (number * 3_000)


async def broadcast(server, **limits):
    """Clients that agreed on compression and clients that did not get the same messages in one
    order, publishers included."""
    with compressing(server, **limits) as own:
        async with contextlib.AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(
                    connect(own, "/broadcast", ("deflate", None)[index % 2])
                )
                for index in range(8)
            ]
            agreed = [bool(reader.protocol.extensions) for reader in readers]
            expect(agreed == [True, False] * 4, f"agreed: {agreed}")
            sent = list(messages_of_all_kinds())
            for first in range(0, len(sent), 10):
                for index in range(first, first + 10):
                    await readers[index // 10 % 8].send(sent[index])
                for index, reader in enumerate(readers):
                    for message in sent[first : first + 10]:
                        received = await receive(reader)
                        expect(received == message, f"reader {index}: {received[:40]!r}")
        # It comes compressed to one and not to the other.
        path = "/broadcast"
        with Deflating.open(own.port, path) as one, Peer.open(own.port, path) as two:
            payload = b"seen " * 1_000
            one.send_frame(wire.BINARY, payload)
            one.check_received(payload)
            expect(one.was_compressed, "the compressed lane is not compressed")
            expect(two.receive_frame() == (True, wire.BINARY, payload), "the other differs")


async def json_topics(server, **limits):
    """tapecast.v1.json in every mode, live, as a replay, as a snapshot."""
    with compressing(server, **limits) as own:
        async with contextlib.AsyncExitStack() as stack:

            async def opened(index):
                compression = ("deflate", None)[index % 2]
                options = {"compression": compression, "subprotocols": [SUBPROTOCOL]}
                return await stack.enter_async_context(connect(own, "/", **options))

            async def ask(client, **words):
                await client.send(json.dumps(words))
                return json.loads(await receive(client))

            modes = ({}, {"mode": "latest"}, {"window": 100}, {"max_rate": 1000})
            readers = []
            for index in range(16):
                readers.append(await opened(index))
                words = {"type": "subscribe", "channel": "prices"} | modes[index // 2 % 4]
                answer = await ask(readers[-1], **words)
                expect(answer["type"] == "subscribed", f"{answer}")
            publisher = await opened(0)
            bodies = [{"text": WORDS * (number * 5), "n": number} for number in range(1, 41)]
            for number, body in enumerate(bodies, 1):
                words = {"type": "publish", "channel": "prices", "key": f"k{number % 3}"}
                answer = await ask(publisher, **words, message=body, id=number)
                expect(answer["type"] == "published" and answer["seq"] == number, f"{answer}")
                for index, reader in enumerate(readers):
                    received = json.loads(await receive(reader))
                    expect(
                        received["seq"] == number and received["message"] == body,
                        f"reader {index} received {str(received)[:90]}",
                    )
            # One that agreed, and one that did not.
            for index in range(2):
                late = await opened(index)
                since = {"epoch": answer_epoch(await ask(late, type="subscribe", channel="prices"))}
                await ask(late, type="unsubscribe", channel="prices")
                words = {"type": "subscribe", "channel": "prices"}
                answer = await ask(late, **words, since=since | {"seq": 5})
                expect(answer["recovered"], f"{answer}")
                for number in range(6, 41):
                    received = json.loads(await receive(late))
                    expect(received["message"] == bodies[number - 1], f"{str(received)[:90]}")
                await ask(late, type="unsubscribe", channel="prices")
                await late.send(json.dumps(words | {"snapshot": True}))
                kinds, seen = [], []
                while "snapshot_end" not in kinds:
                    received = json.loads(await receive(late))
                    kinds.append(received["type"])
                    if received["type"] == "message":
                        expect(received["message"] == bodies[received["seq"] - 1], "it differs")
                        seen.append(received["seq"])
                expect(seen == [38, 39, 40], f"the snapshot has {seen}")


def answer_epoch(answer):
    expect(answer.get("type") == "subscribed", f"{answer}")
    return answer["epoch"]


async def latest(server):
    """A superseded message is left out of the compressed tape as well."""
    with serving_topics(server, ["gathered:flush_ms=300"], deflate_level=1) as own:
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(connect(own, "/words", ("deflate", None)[i % 2]))
                for i in range(9)
            ]
            publisher, readers = clients[0], clients[1:]
            expect(bool(publisher.protocol.extensions), "not agreed")
            for index, reader in enumerate(readers):
                await subscribe(reader, "gathered", *((), ("latest",))[index // 2 % 2])
            bodies = [str(number) + " long" * 400 for number in range(5)]
            await publish(publisher, "gathered", *(f"{key} {b}" for key, b in zip("abaab", bodies)))
            for index, reader in enumerate(readers):
                expected = (3, 4) if index // 2 % 2 else range(5)
                for number in expected:
                    words = (await receive(reader)).split(" ", 5)
                    expect(
                        words[2] == str(number + 1) and words[5] == bodies[number],
                        f"reader {index}: {words[:5]} instead of {number + 1}",
                    )


def stalled(server):
    """A compressed reader that stops reading falls behind its tape and is closed with the
    reason; everything before that is whole and in order, and a healthy reader misses nothing."""
    # The close frame waits for its reader for as long as the test lasts.
    limits = {"tape_bytes_max": MEBIBYTE, "socket_send_bytes": 32 * KIBIBYTE, "close_ms": 60_000}
    with compressing(server, **limits) as own:
        slow = Deflating.open(own.port, "/broadcast", receive_buffer_bytes=16 << 10)
        with slow, Deflating.open(own.port, "/broadcast") as healthy:
            noise = os.urandom(16 * KIBIBYTE)
            for number in range(200):
                payload = number.to_bytes(4, "big") + noise + bytes(16 * KIBIBYTE)
                healthy.send_frame(wire.BINARY, payload)
                healthy.check_received(payload)
                expect(healthy.was_compressed, "the compressed lane is not compressed")
            number = 0
            while (received := slow.receive_message()) and received.opcode == wire.BINARY:
                expect(received.payload[:4] == number.to_bytes(4, "big"), "another order")
                expect(received.payload[4:] == payload[4:], f"message {number} differs")
                number += 1
            expect(received and received.close_code == 4009, f"closed with {received}")
            expect(0 < number < 200, f"it had {number} of 200")
    return f"it had {number} of 200"


@contextlib.contextmanager
def certificate():
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        key, chain = (pathlib.Path(directory) / name for name in ("key.pem", "chain.pem"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-days", "2", "-keyout", key, "-out", chain],
            stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=10,
        )
        yield key, chain


async def over_tls(server, **limits):
    """Echoes and a broadcast to readers with and without either."""
    with certificate() as (key, chain):
        flags = ("--tls-cert", str(chain), "--tls-key", str(key), "--listen", "wss://127.0.0.1:0")
        with compressing(server, *flags, **limits) as own:
            secure = next(it for it in own.addresses if it.startswith("wss://"))
            context = ssl.create_default_context(cafile=chain)

            def opened(path, compression):
                return websockets.connect(
                    secure + path, ssl=context, max_size=None, proxy=None, compression=compression
                )

            async with opened("/echo", "deflate") as client:
                expect(bool(client.protocol.extensions), "not agreed")
                for size in SIZES:
                    await check_echo(client, "é" * (size // 2))
                    await check_echo(client, os.urandom(size))
            async with (
                opened("/broadcast", "deflate") as first,
                opened("/broadcast", None) as second,
                connect(own, "/broadcast") as third,
                connect(own, "/broadcast", None) as fourth,
            ):
                for message in messages_of_all_kinds():
                    await first.send(message)
                    for reader in (first, second, third, fourth):
                        expect(await receive(reader) == message, "a reader's differs")


def loaded(server, word="--compression", **limits):
    """The generator with compression agreed on: no errors, and less on the wire."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
        for number in range(50):
            lines.write(f'{{"symbol":"S{number}","prices":[{"101.25," * 100}{number}]}}\n')
        lines.flush()
        remarks = []
        with compressing(server, **limits) as own:
            long = ("--size", "2KiB")
            for profile, path, least, flags in (
                ("echo", "/echo", 1_000, ("--rate", 2_000, "--connections", 20)),
                # The generator's payload is half as long compressed, and takes zlib's
                # 4 ms a message to become so.
                ("echo", "/echo", 10, ("--rate", 20, "--connections", 5, "--size", "200KiB")),
                ("broadcast", "/broadcast", 1_000, ("--rate", 200, "--connections", 20, *long)),
                ("ticker", "/", 1_000, ("--rate", 500, "--connections", 20, *long)),
            ):
                payload = ("--payload", f"@{lines.name}") if "--size" not in flags else ()
                run = load(
                    profile, own.url(path), word, *payload, "--kind", "text", *flags,
                    "--warmup", "200ms", "--duration", "1s", "--ramp", "0s",
                    "--fail-if", "errors>0", "--fail-if", f"messages<{least}",
                    *(("--fail-if", "gaps>0") if profile != "echo" else ()),
                )
                expect(run.code == 0, f"{profile}: {run.errors[-600:]}")
                expect(not run.faults(), f"{profile}: {run.faults()}")
                remarks.append(f"{profile} {run.values['throughput']:.0f}/s")
    return ", ".join(remarks)
