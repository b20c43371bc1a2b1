"""The times of tapecast.v1.json: the first subscription, heartbeats, and the server's end.
"""

import asyncio
import contextlib
import json
import signal
import time

from .echoing import expect_close
from .json_errors import publish, receive_but, subscribe
from .json_topics import ask, clients, connect, expect_answer, receive
from .server import STOP_SECONDS_MAX, expect, serving


async def first_subscription(server):
    """A client that subscribes to nothing in time is closed, whatever else it sends."""
    first_ms = 2_500
    with serving(server, limits={"first_subscribe_ms": first_ms}) as own:
        started = time.monotonic()
        async with clients(own, 3) as silent, clients(own, 3) as readers:
            expect_answer(await ask(readers[0], **subscribe("a")), type="subscribed")
            expect_answer(await ask(readers[1], **subscribe("a.*")), type="subscribed")
            expect_answer(await ask(readers[2], type="join", room="a"), type="subscribed")
            subscribed_after = time.monotonic() - started
            expect_answer(await ask(silent[1], type="ping"), type="pong")
            expect_answer(await ask(silent[1], **publish("b"), id=1), type="published")
            # A subscription that was refused is none.
            expect_answer(await ask(silent[2], **subscribe("a..b")), type="error", code=110)
            for client in silent:
                async with asyncio.timeout(10):
                    await expect_close(client, 1008, "no subscription in time")
                seconds = time.monotonic() - started
                expect(seconds > first_ms / 1_000, f"closed after {seconds:.1f}s")
            # The time of every reader is over as well.
            await asyncio.sleep(subscribed_after + 0.5)
            for reader in readers:
                expect_answer(await ask(reader, type="ping"), type="pong")
            await readers[0].send(json.dumps(publish("a")))
            for reader in (readers[0], readers[2]):
                expect_answer(await receive(reader), type="message", channel="a")


async def heartbeats(server):
    """A heartbeat has the position of every channel that was quiet since the last one, and of
    no other. Some are always quiet, so that no heartbeat is left out."""
    last = {"past": 3, "quiet": 1, "held": 2, "busy": 0}
    with serving(server, limits={"heartbeat_ms": 200}) as own:
        async with connect(own) as reader, connect(own) as publisher:
            for number in range(3):
                answer = await ask(publisher, **publish("past"), id=number)
                expect_answer(answer, type="published")
            for channel in ("past", "quiet", "busy", "left", "held"):
                request = subscribe(channel, **({"window": 2} if channel == "held" else {}))
                await reader.send(json.dumps(request))
                answer = await receive_but(reader, "heartbeat")
                expect_answer(answer, type="subscribed", seq=3 if channel == "past" else 0)
            await reader.send(json.dumps({"type": "unsubscribe", "channel": "left"}))
            expect_answer(await receive_but(reader, "heartbeat"), type="unsubscribed")
            for channel in ("quiet", "left", "held", "held", "held"):
                await publisher.send(json.dumps(publish(channel)))
            heard = [await receive_but(reader, "heartbeat") for _ in range(3)]
            expect(
                sorted((message["channel"], message["seq"]) for message in heard)
                == [("held", 1), ("held", 2), ("quiet", 1)],
                f"{heard}",
            )
            beats = 0
            while (answer := await receive(reader))["channels"] != last:
                beats += 1
                expect(beats < 5, f"{answer}, but all of {last} are quiet")
            publishing = asyncio.create_task(publish_on(publisher, "busy"))
            untold = 0
            while untold < 3:
                untold += "busy" not in await next_heartbeat(reader, last)
                beats += 1
            publishing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await publishing
            told = 0
            while told < 3:
                told = told + 1 if "busy" in await next_heartbeat(reader, last) else 0
                beats += 1
            # The last heartbeat had the last number.
            answer = await ask(publisher, **publish("busy"), id=1)
            expect_answer(answer, type="published", seq=last["busy"] + 1)
    return f"{beats} heartbeats, {last['busy']} messages"


async def publish_on(publisher, channel):
    while True:
        await publisher.send(json.dumps(publish(channel)))
        await asyncio.sleep(0.02)


async def next_heartbeat(reader, last):
    """The channels of the next heartbeat: those on which nothing has come before it.
    `last` has the number of the last message of each, and is brought up to date."""
    quiet = set(last)
    while (answer := await receive(reader))["type"] == "message":
        channel = answer["channel"]
        expect(answer["seq"] == last[channel] + 1, f"{answer} after {last}")
        last[channel] = answer["seq"]
        quiet.discard(channel)
    expected = {channel: last[channel] for channel in quiet}
    expect(answer == {"type": "heartbeat", "channels": expected}, f"{answer}, not {expected}")
    return expected


async def shutdown(server):
    """Every client gets a notice of a drain, with the time until its end, before the closes;
    until then messages are delivered."""
    limits = {"drain_notice_ms": 1_500, "drain_ms": 500}
    with serving(server, limits=limits) as own:
        async with clients(own, 4) as all_of_them:
            readers, others = all_of_them[:2], all_of_them[2:]
            for reader in readers:
                expect_answer(await ask(reader, **subscribe("a")), type="subscribed")
            started = time.monotonic()
            own.process.send_signal(signal.SIGTERM)
            for client in all_of_them:
                answer = await receive(client)
                expect(answer == {"type": "shutdown", "within_ms": 2_000}, f"{answer}")
            told_after = time.monotonic() - started
            expect(told_after < 1, f"the notice came after {told_after:.2f}s")
            await others[0].send(json.dumps(publish("a")))
            for reader in readers:
                expect_answer(await receive(reader), type="message", channel="a", seq=1)
            for client in all_of_them:
                async with asyncio.timeout(10):
                    await expect_close(client, 1001)
                expect(time.monotonic() - started > 1.4, "closed before the notice was over")
        expect(own.process.wait(STOP_SECONDS_MAX) == 0, "the drain did not end with 0")
    return f"told after {told_after * 1000:.0f} ms"
