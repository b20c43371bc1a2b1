"""The promises of a subscription, checked message by message on the reader's side.

`Topic` is what all readers of a topic agree on; `Promises` is one subscription's
side of it, and fails at the first message or mark that it should not have got.
"""

import asyncio
import time

from . import peer as wire
from .server import Failure, expect
from .words import Client


class Topic:
    """The messages of a topic, as the first reader got each."""

    def __init__(self, name, messages):
        self.name = name
        self.messages = messages
        # By number: whether it is text, and all of its words.
        self.contents = [None] * (messages + 1)

    def agrees(self, seq, opcode, words):
        known = self.contents[seq]
        if known is None:
            self.contents[seq] = (opcode, words)
        elif known != (opcode, words):
            raise Failure(f"{self.name} {seq} is {words[:60]!r}, and {known[1][:60]!r} elsewhere")

    def newest(self):
        """Of each key the number of the last message, once all are known."""
        contents = enumerate(self.contents[1:], 1)
        return {words.split(b" ", 5)[4]: seq for seq, (_, words) in contents}


class Promises(Client):
    """A connection with one subscription.

    `is_latest`: messages may be left out, but not the newest of a key. `window`:
    never more are unacknowledged. `rate`: moves a second.
    """

    def __init__(self, topic, options="", rate=None, window=None, policy="gap"):
        super().__init__()
        self.topic = topic
        self.is_latest = "latest" in options
        self.rate, self.window, self.policy = rate, window, policy
        self.options = f"{options} slow={policy}".strip()
        if rate:
            self.options += f" rate={rate}"
        if window:
            self.options += f" window={window}"
        self.failure = None
        # Of the last message that it got, or that a mark accounted for.
        self.last = 0
        # Up to here only the newest of each key comes, as a mark said.
        self.conflated_to = 0
        # Between the marks of a snapshot: how many messages are left of a portion.
        self.portion = None
        # The answer to its subscription, and the position that it had asked for.
        self.epoch = self.asked = self.subscribed_at = None
        self.is_subscribed = self.is_leaving = False
        self.joined, self.left = asyncio.Event(), asyncio.Event()
        # Of each key the last number.
        self.values = {}
        self.unacknowledged = []
        self.is_acknowledging = False
        # Quarters of the time between two moves in which something came.
        self.busy_slots = set()
        self.live_since = self.live_until = None
        self.counts = {"M": 0, "G": 0, "C": 0, "S": 0, "recovered": 0, "snapshots": 0}

    def subscribe(self, *options):
        self.joined.clear()
        self.asked = None
        for option in options:
            if option.startswith("since="):
                self.asked = self.last
        self.tell(" ".join(("sub", self.topic.name, self.options, *options)))

    async def unsubscribe(self):
        """Waits for the answer, which no other stands for: a `subscribed` may still
        be under way."""
        self.left.clear()
        self.is_leaving = True
        self.tell(f"unsub {self.topic.name}")
        await self._wait(self.left)

    async def subscribed(self):
        """Waits for the answer to `subscribe`."""
        await self._wait(self.joined)

    async def _wait(self, event):
        if not self.failure:
            await asyncio.wait_for(event.wait(), 10)
        if self.failure:
            raise self.failure

    def received(self, opcode, payload):
        if self.failure:
            return
        try:
            self._take(opcode, payload)
        except Exception as failure:
            self.failure = failure
            # Nobody need wait for an answer any more.
            self.joined.set(), self.left.set()

    def _take(self, opcode, payload):
        words = payload.split(b" ", 5)
        what = words[0]
        if what == b"M":
            return self._message(int(words[2]), words[4], opcode, payload)
        expect(opcode == wire.TEXT, f"opcode {opcode}: {payload[:60]!r}")
        expect(words[1] == self.topic.name.encode(), f"of another topic: {payload[:60]!r}")
        match what:
            case b"subscribed":
                self._subscribed(*words[2:5])
            case b"unsubscribed":
                self.is_subscribed = self.is_leaving = False
                self.unacknowledged.clear()
                self.left.set()
            case b"G" | b"C":
                self._missed(what, int(words[2]), int(words[3]))
            case b"S":
                self._portion(int(words[2]))
            case b"E":
                self._snapshot_ends(int(words[2]))
            case _:
                raise Failure(f"received {payload[:60]!r}")

    def _message(self, seq, key, opcode, payload):
        expect(self.is_subscribed, f"message {seq} without a subscription")
        if seq <= self.last:
            raise Failure(f"message {seq} after {self.last}")
        if self.portion is not None:
            expect(self.portion > 0, f"message {seq} is more than the mark of the snapshot said")
            self.portion -= 1
        elif not self.is_latest and seq > self.conflated_to:
            if seq != max(self.last, self.conflated_to) + 1:
                raise Failure(f"message {seq} after {self.last}, and no mark")
        self.last = seq
        self.topic.agrees(seq, opcode, payload)
        self.values[key] = seq
        self.counts["M"] += 1
        if self.rate:
            slot = time.monotonic() * self.rate * 4
            self.busy_slots.add(int(slot))
            self.live_until = slot
        if self.window:
            self.unacknowledged.append(seq)
            held = len(self.unacknowledged)
            expect(held <= self.window, f"{held} unacknowledged with a window of {self.window}")
            self._acknowledge_soon()

    def _acknowledge_soon(self):
        if not self.is_acknowledging:
            self.is_acknowledging = True
            asyncio.get_running_loop().call_later(0.005, self._acknowledge)

    def _acknowledge(self):
        """Half of what it has: the rest is never forgotten by that."""
        self.is_acknowledging = False
        held = self.unacknowledged
        if not held or self.is_leaving or not self.is_subscribed:
            return
        count = (len(held) + 1) // 2
        self.tell(f"ack {self.topic.name} {held[count - 1]}")
        del held[:count]
        if held:
            self._acknowledge_soon()

    def _subscribed(self, epoch, seq, recovered):
        expect(self.epoch in (None, epoch), "the topic has another epoch")
        self.epoch, self.subscribed_at = epoch, int(seq)
        if recovered == b"true":
            expect(self.asked == int(seq), f"recovered at {seq}, asked for {self.asked}")
            self.counts["recovered"] += 1
        elif self.asked is None and "snapshot" not in self.options:
            self.last = int(seq)
        else:
            self.last = 0
        self.is_subscribed = True
        if self.rate and not self.live_since:
            self.live_since = time.monotonic() * self.rate * 4
        self.joined.set()

    def _missed(self, what, first, end):
        expect(self.portion is None, f"{what} {first} {end} in a snapshot")
        after = max(self.last, self.conflated_to)
        expect(first == after + 1 or first == self.last + 1, f"{what} {first} {end} after {after}")
        expect(first <= end, f"{what} {first} {end}")
        self.counts[what.decode()] += 1
        if what == b"G":
            expect(self.policy == "gap", "a gap for a reader that is to be conflated")
            self.last = end
        else:
            expect(self.policy == "conflate", "conflated against its will")
            self.conflated_to = end

    def _portion(self, count):
        expect(not self.portion, f"the portion before has {self.portion} messages left")
        if self.portion is None:
            self.counts["snapshots"] += 1
        self.portion = count
        self.counts["S"] += 1

    def _snapshot_ends(self, seq):
        expect(self.portion == 0, f"the snapshot ends with {self.portion} messages left")
        expect(seq >= self.last, f"the snapshot ends at {seq}, and had {self.last}")
        # It is the state at its number, which may be later than where it was asked for.
        expect(seq >= self.subscribed_at, f"it ends at {seq}, from {self.subscribed_at} on")
        self.portion, self.last = None, seq

    def check_rate(self):
        """A move is to come at most `rate` times a second: with four slots of time for
        each, one that is cut in two takes two at most, and a reader that is not held
        back takes all. Shorter ones would count how often this process reads."""
        share = self.busy_share()
        expect(share < 0.7, f"something came in {share:.0%} of the time at rate {self.rate}")

    def busy_share(self):
        if not self.rate or not self.live_until:
            return 0
        return len(self.busy_slots) / max(self.live_until - self.live_since, 1)
