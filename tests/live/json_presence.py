"""Presence, as clients of tapecast.v1.json see it on every shard: many members that come
and go, and one with the JavaScript client, whose network is cut.
"""

import asyncio
import json
import random

from .client_js import IMPATIENT, Network, client
from .json_topics import ask, clients, connect, expect_answer, receive
from .server import configured, expect

# On each shard are some of them.
WATCHERS, MEMBERS = 4, 12
ROUNDS = 60
MEMBERS_MAX = 10
RULES = f'[[topics]]\npattern = "lobby"\nmembers_max = {MEMBERS_MAX}\n'
# The names of members: some are alike.
NAMES = ("Zoë", 'Bo "B"', "Ann")
PATIENCE = 10


class Watcher:
    """Follows a list from a snapshot on; checks every message against what it knows."""

    def __init__(self, socket):
        self.socket = socket
        self.members = {}
        self.joins = self.leaves = 0
        self.awaits = 0

    async def subscribe(self):
        answer = await ask(self.socket, type="subscribe", channel="$presence.lobby", snapshot=True)
        expect_answer(answer, type="subscribed", channel="$presence.lobby")

    async def next(self):
        message = await receive(self.socket)
        if message["type"] == "snapshot":
            self.awaits = message["count"]
            return
        if message["type"] in ("snapshot_end", "heartbeat"):
            return
        expect(message["type"] == "message", f"received {message}")
        key, body = message["key"], message["message"]
        if "join" in body:
            expect(key not in self.members, f"{message} is there already")
            self.members[key] = body["join"]
            self.joins += 1
        else:
            expect(message["removed"], f"{message} removes nobody")
            expect(self.members.pop(key, None) == body["leave"], f"{message} was not there")
            self.leaves += 1
        if self.awaits > 0:
            self.awaits -= 1
        else:
            expect(body["members"] == len(self.members), f"{message} with {self.members}")

    async def wait_for(self, *names):
        """Until these are the members, and nobody else."""
        async with asyncio.timeout(PATIENCE):
            while sorted(self.members.values()) != sorted(names):
                await self.next()


async def everybody_is_told(watchers, *names):
    for watcher in watchers:
        try:
            await watcher.wait_for(*names)
        except TimeoutError:
            raise AssertionError(f"expected {sorted(names)}, know {watcher.members}") from None


async def who_is_there(server):
    chosen = random.Random(7)
    with configured(server, RULES) as own:
        async with clients(own, WATCHERS) as sockets, clients(own, MEMBERS) as others:
            watchers = [Watcher(socket) for socket in sockets]
            for watcher in watchers:
                await watcher.subscribe()
            present = {}
            for _ in range(ROUNDS):
                number = chosen.randrange(MEMBERS)
                if number in present:
                    del present[number]
                    if chosen.random() < 0.3:
                        # Without a word.
                        others[number].transport.abort()
                        others[number] = await connect(own)
                    else:
                        answer = await ask(others[number], type="unsubscribe", channel="lobby")
                        expect_answer(answer, type="unsubscribed")
                    # Or the list might be full for the next member.
                    await everybody_is_told(watchers, *present.values())
                elif len(present) < MEMBERS_MAX:
                    name = chosen.choice(NAMES)
                    request = {"type": "subscribe", "channel": "lobby", "name": name}
                    if chosen.random() < 0.5:
                        request = {"type": "join", "room": "lobby", "name": name}
                    answer = await ask(others[number], **request)
                    expect_answer(answer, type="subscribed", channel="lobby")
                    present[number] = name
                if chosen.random() < 0.5:
                    await everybody_is_told(watchers, *present.values())
            await everybody_is_told(watchers, *present.values())
            # A watcher that subscribes later sees the present members.
            async with connect(own) as socket:
                late = Watcher(socket)
                await late.subscribe()
                await late.wait_for(*present.values())
                expect(late.leaves == 0, "a snapshot of who has gone")
            for number in present:
                await ask(others[number], type="unsubscribe", channel="lobby")
            await everybody_is_told(watchers)
            await full(watchers, others)
            await comes_back(own, watchers)
            for other in others:
                # Also those that came in place of others.
                await other.close()
    return f"{watchers[0].joins} came and {watchers[0].leaves} went"


async def full(watchers, others):
    """A member beyond a full list is on the channel and not on the list."""
    for number, other in enumerate(others):
        answer = await ask(other, type="subscribe", channel="lobby", name=f"m{number}")
        expect_answer(answer, type="subscribed")
        if number < MEMBERS_MAX:
            await everybody_is_told(watchers, *(f"m{listed}" for listed in range(number + 1)))
    await others[0].send(json.dumps({"type": "publish", "channel": "lobby", "message": "all"}))
    for other in others:
        expect_answer(await receive(other), type="message", message="all")
    for number, other in enumerate(others):
        await ask(other, type="unsubscribe", channel="lobby")
        await everybody_is_told(watchers, *(f"m{left}" for left in range(number + 1, MEMBERS_MAX)))


async def comes_back(own, watchers):
    """The JavaScript client is listed again when it is back, and once."""
    async with Network(own) as network, client(own, network.port, **IMPATIENT) as script:
        await script.subscribe("lobby", name="script")
        await everybody_is_told(watchers, "script")
        before = watchers[0].joins
        network.cut()
        await script.next("subscribed")
        async with asyncio.timeout(PATIENCE):
            while watchers[0].joins == before:
                await watchers[0].next()
        await everybody_is_told(watchers, "script")
    await everybody_is_told(watchers)
