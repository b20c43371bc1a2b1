"""The JavaScript client in Node: what it promises when the server is killed, when the
network is lost, and when its reader stalls. `client.mjs` does what it is told.
"""

import asyncio
import contextlib
import functools
import json
import pathlib
import signal
import subprocess
import tempfile
import urllib.request

from .outside import NODE_MODULES
from .ports import free_port
from .server import Server, configured, expect, serving

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 15
# Notices a loss within half a second and reconnects at once.
IMPATIENT = {"backoffMs": 20, "backoffMaxMs": 200, "connectMs": 500, "idleMs": 250, "answerMs": 250}


def served(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read()


class Client:
    """The client, as a process."""

    def __init__(self, process):
        self._process = process
        self.events = []

    def stall(self):
        """It reads nothing from here on."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def do(self, command, **details):
        line = json.dumps({"command": command, **details})
        self._process.stdin.write(f"{line}\n".encode())

    async def next(self, *kinds, patience=PATIENCE):
        """The next event of these kinds; those before it are kept in `events`."""
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), patience)
            expect(line, f"the client ended; before: {self.events[-3:]}")
            event = json.loads(line)
            if not kinds or event["event"] in kinds:
                return event
            self.events.append(event)

    async def quiet(self, seconds, kind):
        """No event of this kind."""
        with contextlib.suppress(TimeoutError):
            while True:
                event = await asyncio.wait_for(self.next(), seconds)
                expect(event["event"] != kind, f"there came {event}")

    async def subscribe(self, channel, **options):
        """Messages that came together with the answer come before it."""
        self.do("subscribe", channel=channel, options=options)
        await self.next("ready")


@contextlib.asynccontextmanager
async def client(server, port=None, **options):
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        module = pathlib.Path(directory, "tapecast.mjs")
        module.write_bytes(served(server, "/tapecast.js")[1])
        url = f"ws://127.0.0.1:{port or server.port}/"
        process = await asyncio.create_subprocess_exec(
            *("node", HERE / "client.mjs", module, NODE_MODULES, url, json.dumps(options)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=1 << 24,
        )
        try:
            yield Client(process)
        finally:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 5)
            if process.returncode is None:
                process.kill()
                await process.wait()
        expect(process.returncode == 0, f"the client ended with {process.returncode}")


class Network:
    """Between a client and a server: it can be cut, or lost without a word."""

    def __init__(self, server):
        self._server = server
        self._writers = set()
        self._has = asyncio.Event()
        self._has.set()
        self.port = None

    async def __aenter__(self):
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._listener.close()
        self.cut()

    async def _serve(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._writers |= {writer, there[1]}
        await asyncio.gather(self._carry(reader, there[1]), self._carry(there[0], writer))

    async def _carry(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                # While it is lost, bytes are lost with it.
                if self._has.is_set():
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def cut(self):
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def lose(self):
        self._has.clear()

    def find(self):
        self._has.set()


async def requests(server):
    """Promises, errors by number, patterns, newest values; types as the compiler sees
    them."""
    async with client(server) as one:
        await one.subscribe("js.*")
        one.do("publish", channel="js.a", message={"text": "Grüße 🦀"}, options={"key": "k"})
        both = [await one.next("message", "published") for _ in range(2)]
        message = next(event for event in both if event["event"] == "message")
        expect(message["message"] == {"text": "Grüße 🦀"} and message["key"] == "k", f"{both}")
        expect({event["seq"] for event in both} == {1}, f"{both}")
        one.do("publish", channel="js.a", message=2, options={"key": "k", "remove": True})
        expect((await one.next("message"))["removed"] is True, "it was removed")
        one.do("publish", channel="js.b", message=3, options={"confirm": False})
        expect((await one.next("message"))["message"] == 3, "another message")
        one.do("subscribe", channel="js.b", options={"mode": "latest", "snapshot": True})
        expect((await one.next("message"))["snapshot"] is True, "no snapshot")
        expect((await one.next("snapshot_end"))["seq"] == 1, "the snapshot's end")
        one.do("unsubscribe", channel="js.b")
        await one.next("unsubscribed")
        one.do("publish", channel="js.b", message=4)
        expect((await one.next("message"))["seq"] == 2, "the pattern goes on")
        one.do("subscribe", channel="a..b", options={})
        expect((await one.next("refused"))["code"] == 110, "a bad name")
        one.do("publish", channel="a..b", message=1)
        expect((await one.next("failed"))["code"] == 110, "a bad name")
        # A request that can't be read has its answer as well.
        deep = functools.reduce(lambda inner, _: [inner], range(100), 1)
        one.do("publish", channel="a", message=deep)
        failed = await one.next("failed")
        expect(failed["code"] == 101 and "deep" in failed["message"], f"{failed}")
        one.do("ping")
        expect(0 < (await one.next("pong"))["ms"] < 5_000, "a round trip")
        one.do("close")
        one.do("publish", channel="a", message=1)
        expect((await one.next("failed"))["code"] == "closed", "closed")


def types(server):
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        pathlib.Path(directory, "tapecast.d.ts").write_bytes(served(server, "/tapecast.d.ts")[1])
        kind, module = served(server, "/tapecast.js")
        expect(kind == "text/javascript; charset=utf-8", kind)
        pathlib.Path(directory, "tapecast.js").write_bytes(module)
        pathlib.Path(directory, "package.json").write_text('{"type":"module"}')
        users = pathlib.Path(directory, "client_types.ts")
        users.write_text((HERE / "client_types.ts").read_text())
        command = [NODE_MODULES / "typescript" / "bin" / "tsc", "--noEmit", "--strict"]
        command += ["--target", "es2022", "--module", "nodenext", users]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
        expect(checked.returncode == 0, checked.stdout[-1000:])


def killed(server):
    asyncio.run(comes_back(server))


async def comes_back(server):
    """After the server was killed the client waits, reconnects, and reports that its topics
    begin anew."""
    port = free_port()
    listen = (f"127.0.0.1:{port}",)
    with Server(server.shards, server.binary, listen=listen) as first:
        async with client(first, **IMPATIENT) as one:
            one.do("subscribe", channel="a", options={"snapshot": True})
            await one.next("snapshot_end")
            for number in range(1, 6):
                one.do("publish", channel="a", message=number)
                expect((await one.next("message"))["seq"] == number, "the next")
            await one.subscribe("p.*")
            one.do("publish", channel="p.a", message="by a pattern")
            await one.next("message")
            first.stop(signal.SIGKILL)
            expect((await one.next("state"))["state"] == "waiting", "it waits")
            # It is sent once there is a server again.
            one.do("publish", channel="b", message="later")
            await asyncio.sleep(0.5)
            with serving(server, listen=listen):
                # Which comes first of what is on two shards is not said.
                came = [await one.next("reset", "snapshot_end", "published") for _ in range(3)]
                by_kind = {event["event"]: event for event in came}
                reset = by_kind["reset"]
                expect(reset["previous"]["seq"] == 5, f"{reset}")
                expect(reset["previous"]["epoch"] != reset["epoch"], f"{reset}")
                expect(by_kind["published"]["channel"] == "b", "what had waited")
                one.do("publish", channel="a", message="again")
                expect((await one.next("message"))["message"] == "again", "it goes on")
                # Nobody has asked for this topic by its name: it is another all the same.
                one.do("publish", channel="p.a", message="anew")
                reset = await one.next("reset", "message")
                expect(reset["event"] == "reset" and reset["channel"] == "p.a", f"{reset}")
                expect((await one.next("message"))["message"] == "anew", "it goes on")


async def publishes(server, seconds, per_second=500):
    """Publishes numbers for that long; returns how many."""
    async with client(server) as publisher:
        publisher.do("ping")
        await publisher.next("pong")
        number = 0
        for _ in range(int(seconds * 50)):
            for _ in range(per_second // 50):
                number += 1
                publisher.do("publish", channel="n", message=number, options={"confirm": False})
            await asyncio.sleep(0.02)
        publisher.do("ping")
        await publisher.next("pong")
    return number


async def hears_all(server, network, trouble, losses_min):
    """Everything that is published comes, in its order, once. The trouble begins with the
    first message: a topic without one is forgotten with its last subscriber."""
    async with client(server, network.port, **IMPATIENT) as reader:
        await reader.subscribe("n")
        publishing = asyncio.create_task(publishes(server, 3))
        last, total, troubling = 0, None, None
        while total is None or last < total:
            if total is None and publishing.done():
                total = publishing.result()
            try:
                event = await reader.next("message", "gap", "reset", "conflated", patience=0.1)
            except TimeoutError:
                continue
            expect(event["event"] == "message", f"after {last}: {event}")
            expect(event["seq"] == event["message"] == last + 1, f"after {last}: {event}")
            last += 1
            troubling = troubling or asyncio.create_task(trouble(network))
        await troubling
        losses = [event for event in reader.events if event.get("state") == "waiting"]
        expect(len(losses) >= losses_min, f"{len(losses)} losses")
        resumed = [event for event in reader.events if event["event"] == "subscribed"]
        expect(all(event["recovered"] for event in resumed[1:]), f"{resumed}")
        return f"{total} messages over {len(losses)} losses"


async def network_lost(server):
    async def trouble(network):
        await asyncio.sleep(0.5)
        network.lose()
        await asyncio.sleep(1.2)
        network.find()

    with serving(server) as own:
        async with Network(own) as network:
            return await hears_all(own, network, trouble, 1)


async def network_cut(server):
    async def trouble(network):
        for _ in range(10):
            await asyncio.sleep(0.25)
            network.cut()

    with serving(server) as own:
        async with Network(own) as network:
            return await hears_all(own, network, trouble, 5)


async def stalled(server):
    """A window stops one reader where its acknowledgements do, and no other."""
    async with client(server) as stalled, client(server) as other:
        await stalled.subscribe("w", window=8, manualAck=True)
        await other.subscribe("w", window=8)
        for number in range(1, 101):
            other.do("publish", channel="w", message=number, options={"confirm": False})
        for number in range(1, 101):
            expect((await other.next("message"))["seq"] == number, "the other goes on")
        for number in range(1, 9):
            expect((await stalled.next("message"))["seq"] == number, "the window's worth")
        await stalled.quiet(0.3, "message")
        stalled.do("ack", channel="w")
        for number in range(9, 17):
            expect((await stalled.next("message"))["seq"] == number, "another window's worth")
        stalled.do("position", channel="w")
        expect((await stalled.next("position"))["seq"] == 16, "where it is")


async def stands_still(server):
    """A server that is there and says nothing: the client leaves it, and resumes
    when it answers again, without having missed anything."""
    with serving(server) as own:
        async with client(own, **IMPATIENT) as reader, client(own) as publisher:
            await reader.subscribe("n")
            publisher.do("publish", channel="n", message=1)
            expect((await reader.next("message"))["seq"] == 1, "before")
            own.process.send_signal(signal.SIGSTOP)
            try:
                expect((await reader.next("state"))["state"] == "waiting", "it has noticed")
            finally:
                own.process.send_signal(signal.SIGCONT)
            publisher.do("publish", channel="n", message=2)
            resumed = await reader.next("subscribed")
            expect(resumed["recovered"], f"{resumed}")
            message = await reader.next("message", "gap", "reset")
            expect(message["event"] == "message" and message["seq"] == 2, f"{message}")


async def marks(server):
    """A reader that stood still learns what it missed: by numbers where its topic's rule is
    gaps, and by the newest value of each key where that is conflation."""
    limits = {"tape_bytes_max": 65_536, "socket_send_bytes": 16_384, "log_bytes_max": 65_536}
    rules = """[[topics]]
pattern = "gaps"
slow_reader = "gap"
[[topics]]
pattern = "newest"
slow_reader = "conflate"
"""
    told = []
    with configured(server, rules, limits=limits) as own:
        for channel, mark in (("gaps", "gap"), ("newest", "conflated")):
            async with client(own) as reader, client(own) as publisher:
                await reader.subscribe(channel)
                publisher.do("ping")
                await publisher.next("pong")
                reader.stall()
                # More than the two sockets hold between them.
                body, last = "x" * 4_096, 4_000
                for number in range(1, last + 1):
                    options = {"confirm": number % 100 == 0, "key": f"k{number % 7}"}
                    publisher.do("publish", channel=channel, message=body, options=options)
                    if options["confirm"]:
                        await publisher.next("published")
                reader.go_on()
                accounted, marked, conflated_to, newest = 0, 0, 0, {}
                while accounted < last:
                    event = await reader.next("message", "gap", "conflated", "reset")
                    if event["event"] == "message":
                        is_next = event["seq"] == max(accounted, conflated_to) + 1
                        is_newest = accounted < event["seq"] <= conflated_to
                        expect(is_next or is_newest, f"behind {accounted}: {event['seq']}")
                        accounted = event["seq"]
                        newest[event["key"]] = event["seq"]
                        continue
                    expect(event["event"] == mark, f"{event}")
                    marked += 1
                    if mark == "gap":
                        expect(event["from"] == accounted + 1, f"behind {accounted}: {event}")
                        accounted = event["to"]
                    else:
                        conflated_to = event["to"]
                expect(marked > 0, f"{channel}: nothing was missed")
                if mark == "conflated":
                    latest = {f"k{number % 7}": number for number in range(last - 6, last + 1)}
                    expect(newest == latest, f"the newest are {latest}, and not {newest}")
                told.append(f"{marked} {mark}")
    return ", ".join(told)


async def overlapping(server):
    """Of two patterns of one connection, the one that was there first delivers: here
    and at the server, whichever of them a shard hears of first."""
    async with client(server) as other, client(server) as one, client(server) as publisher:
        await other.subscribe("o.>")
        await one.subscribe("o.*", window=2, manualAck=True)
        await one.subscribe("o.>")
        for number in range(1, 6):
            publisher.do("publish", channel="o.a", message=number)
            await publisher.next("published")
        for number in range(1, 3):
            expect((await one.next("message"))["seq"] == number, "the window's worth")
        await one.quiet(0.3, "message")
        one.do("ack", channel="o.*", of="o.a")
        for number in range(3, 5):
            expect((await one.next("message"))["seq"] == number, "another window's worth")
        one.do("unsubscribe", channel="o.*")
        # The other has no window.
        for number in range(5, 8):
            if number > 5:
                publisher.do("publish", channel="o.a", message=number)
            expect((await one.next("message"))["seq"] == number, "it goes on")


async def listeners(server):
    """A listener of states may subscribe, and close."""
    with serving(server) as own:
        async with Network(own) as network:
            async with client(own, network.port, **IMPATIENT) as one:
                await one.subscribe("a")
                then = {"command": "subscribe", "channel": "b", "options": {}}
                one.do("when", state="open", then=then)
                await asyncio.sleep(0.2)
                network.cut()
                ready = await one.next("ready", "refused")
                expect(ready["event"] == "ready" and ready["channel"] == "b", f"{ready}")
                one.do("publish", channel="b", message=1)
                expect((await one.next("message", "refused"))["message"] == 1, "it is live")
            async with client(own, network.port, **IMPATIENT) as other:
                await other.subscribe("a")
                other.do("when", state="waiting", then={"command": "close"})
                await asyncio.sleep(0.2)
                network.cut()
                # The listener closes before the next one hears of what it was called for.
                states = {(await other.next("state"))["state"] for _ in range(2)}
                expect(states == {"waiting", "closed"}, f"{states}")
                await other.quiet(0.6, "state")


async def drained(server):
    """A client is warned of the drain, and reconnects to the next server."""
    port = free_port()
    listen, limits = (f"127.0.0.1:{port}",), {"drain_notice_ms": 200, "drain_ms": 200}
    with serving(server, listen=listen, limits=limits) as first:
        async with client(first, **IMPATIENT) as one:
            await one.subscribe("a")
            # On a channel without a message nothing would be missing at the next.
            one.do("publish", channel="a", message=1)
            await one.next("message")
            first.process.send_signal(signal.SIGTERM)
            expect((await one.next("shutdown"))["withinMs"] == 400, "the time that is left")
            await asyncio.to_thread(first.process.wait, 10)
            with serving(server, listen=listen):
                await one.next("reset")
