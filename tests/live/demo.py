"""`tapecast demo` and the page of `tapecast serve`, as people see them in chromium."""

import asyncio
import json
import re
import signal
import time

from . import peer as wire
from .browser import page
from .peer import Peer
from .ports import free_port
from .server import Server, expect, serving

CPU_MAX = 0.10
CPU_SECONDS = 8

NUMBER = "((id) => Number(document.getElementById(id).textContent.replaceAll(',', '')))"
TEXT = "((id) => document.getElementById(id).textContent)"
ROWS = "[...document.querySelectorAll('#rows .row')].map((row) => row.textContent)"
CHECKED = f"parseInt({TEXT}('checks').replaceAll(',', ''))"


def demo(server, **settings):
    return serving(server, program="demo", **settings)


async def sound(opened):
    """The ladder is what the server's book is, and nothing of it was missed."""
    expect(await opened.evaluate(f"{NUMBER}('gaps')") == 0, "messages are missing")
    expect(await opened.evaluate(f"{NUMBER}('differences')") == 0, "the books differ")
    expect(not opened.complaints, f"the page complains: {opened.complaints[:2]}")


async def choose_rate(opened, rate):
    await opened.evaluate(
        "((select) => { select.value = '%s'; select.dispatchEvent(new Event('change')); })"
        "(document.getElementById('rate'))" % rate
    )


async def moves(server):
    """Quotes move, the ladder is checked, the server tells its figures; nothing is loaded
    from elsewhere, and nothing shifts, however often it changes."""
    with demo(server) as own:
        origin = f"http://127.0.0.1:{own.port}/"
        async with page(origin) as opened:
            await opened.until(f"{ROWS}.length === 100")
            # The lines are there at once, not after two minutes.
            lines = "[...document.querySelectorAll('#rows polyline')].filter((line) => " \
                "(line.getAttribute('points') ?? '').split(' ').length === 49).length"
            await opened.until(f"{lines} > 20", 5)
            before = await opened.evaluate(ROWS)
            expect(before == sorted(before), "the rows are not in their order")
            await opened.until(f"{CHECKED} > 20 && {NUMBER}('deliveries') > 50")
            await opened.until(f"{NUMBER}('p99') !== 0 && {TEXT}('cpu').includes('% of a core')")
            after = await opened.evaluate(ROWS)
            moved = sum(one != other for one, other in zip(before, after))
            # Those out of sight are not written.
            expect(moved > 15, f"{moved} of some 30 quotes in sight have moved")
            outside = [url for url in opened.requests if not url.startswith(origin)]
            expect(not outside, f"loaded from elsewhere: {outside}")
            await opened.evaluate(
                "window.shifts = []; new PerformanceObserver((list) => list.getEntries()"
                ".forEach((entry) => entry.sources.forEach(({ node }) => window.shifts.push("
                "node.outerHTML ?? node.textContent)))).observe({ type: 'layout-shift' })"
            )
            await choose_rate(opened, 60)
            await opened.press("m")
            await asyncio.sleep(3)
            shifts = await opened.evaluate("window.shifts")
            expect(not shifts, f"the layout shifts: {shifts[:2]}")
            await sound(opened)
            return f"{moved} quotes moved"


async def keys_and_sizes(server):
    """All of it by keyboard, in both themes, and on a telephone."""
    with demo(server) as own:
        async with page(f"http://127.0.0.1:{own.port}/") as opened:
            await opened.until(f"{TEXT}('ladder-title') === 'Depth of AGAT'")
            await opened.press("ArrowDown")
            await opened.until(f"{TEXT}('ladder-title') === 'Depth of ALBT' && {CHECKED} > 0")
            await opened.press("k")
            await opened.until(f"{TEXT}('ladder-title') === 'Depth of AGAT'")
            # One key behind the other: choosing a rate keeps no key from the page.
            rate = "document.getElementById('rate').value"
            expect(await opened.evaluate(rate) == "2", "the rate at first")
            await opened.press("r")
            await opened.press("s")
            await opened.until(f"{rate} === '4' && {TEXT}('stall') === 'Resume reading'")
            await opened.press("s")
            numbers = await opened.evaluate(
                "[...document.querySelectorAll('#rows .row')].slice(0, 9)"
                ".map((row) => [...row.children].slice(1, 6).map((cell) => cell.textContent))"
            )
            for row in numbers:
                for cell in row:
                    form = r"[+-]?\d{1,3}(,\d{3})*(\.\d\d( %)?)?"
                    expect(re.fullmatch(form, cell), f"{cell!r} is written otherwise")
            pressed = "document.querySelector('#modes [aria-pressed=true]').textContent"
            expect(await opened.evaluate(pressed) == "latest", "the mode at first")
            await opened.press("m")
            await opened.until(f"{pressed} === 'all' && {TEXT}('this-what').startsWith('all,')")
            ground = "getComputedStyle(document.body).backgroundColor"
            dark = await opened.evaluate(ground)
            await opened.press("t")
            await opened.press("t")
            expect(await opened.evaluate(ground) != dark, "the theme has not changed")
            await opened.size(390, 844, phone=True)
            await asyncio.sleep(0.5)
            wide = await opened.evaluate("document.documentElement.scrollWidth")
            expect(wide <= 390, f"{wide} pixels wide on a telephone of 390")
            cut = "[...document.querySelectorAll('.titles span')].filter((it) => " \
                "it.offsetParent && it.getBoundingClientRect().right > 390).map((it) => it.textContent)"
            expect(await opened.evaluate(cut) == [], f"cut off: {await opened.evaluate(cut)}")
            await sound(opened)


async def resumes(server):
    """After the server was killed and started again, the page resumes by itself."""
    listen = (f"127.0.0.1:{free_port()}",)
    with Server(server.shards, server.binary, program="demo", listen=listen) as first:
        async with page(f"http://{listen[0]}/") as opened:
            await opened.until(f"{CHECKED} > 5")
            first.stop(signal.SIGKILL)
            await opened.until(f"{TEXT}('state') === 'disconnected'")
            stale = "Number(getComputedStyle(document.querySelector('main')).opacity) < 0.5"
            await opened.until(stale)
            with demo(server, listen=listen):
                await opened.until(f"{TEXT}('state') === 'live'", 30)
                await opened.until(f"{TEXT}('resumes') === '0 / 1'")
                checked = await opened.evaluate(CHECKED)
                await opened.until(f"{CHECKED} > {checked} + 5")
                # That the server was gone is no fault of the page.
                opened.complaints = [
                    it for it in opened.complaints if "WebSocket" not in str(it)
                ]
                await sound(opened)


async def stalls(server):
    """A tab that stalls stops within its window; the second reader does not notice."""
    with demo(server) as own:
        async with page(f"http://127.0.0.1:{own.port}/") as opened:
            await opened.until(f"{NUMBER}('other-seq') > 0 && {CHECKED} > 0")
            await opened.press("s")
            await opened.until(f"{TEXT}('this-what').startsWith('stalled,')")
            stopped = await opened.evaluate(f"{NUMBER}('this-seq')")
            await opened.until(f"{NUMBER}('other-seq') > {stopped} + 300")
            still = await opened.evaluate(f"{NUMBER}('this-seq')")
            expect(still == stopped, f"stalled at {stopped}, and then at {still}")
            await opened.press("s")
            await opened.until(f"{NUMBER}('this-seq') > {stopped} + 300")
            await sound(opened)


async def cheap(server):
    """The page, with all of its browser, and the server, each below a tenth of a core."""
    with demo(server) as own:
        async with page(f"http://127.0.0.1:{own.port}/") as opened:
            await opened.until(f"{CHECKED} > 5")
            # Otherwise the browser tells of every message that comes.
            await opened.call("Network.disable")
            await asyncio.sleep(3)
            started = time.monotonic()
            before = opened.cpu_seconds(), own.cpu_seconds()
            await asyncio.sleep(CPU_SECONDS)
            after = opened.cpu_seconds(), own.cpu_seconds()
            seconds = time.monotonic() - started
            here, there = ((now - then) / seconds for now, then in zip(after, before))
            told = f"page {here:.1%}, server {there:.1%} of a core"
            expect(here < CPU_MAX and there < CPU_MAX, told)
            return told


async def console(server):
    """The page of `serve`: subscribe, publish, see."""
    async with page(f"http://127.0.0.1:{server.port}/") as opened:
        await opened.until("document.getElementById('state').textContent === 'connected'")
        submit = "document.getElementById('%s').requestSubmit()"
        await opened.evaluate(submit % "subscribe")
        await opened.until("document.getElementById('log').textContent.includes('news subscribed')")
        await opened.evaluate(submit % "publish")
        await opened.until("/news \\d+ {\"hello\":\"world\"}/.test(%s)" % f"{TEXT}('log').replace(/ +/g, ' ')")
        await opened.until(f"{TEXT}('log').includes('news published as')")
        expect(not opened.complaints, f"the page complains: {opened.complaints[:2]}")


def snapshots(server):
    """Books that change thousands of times a second, joined again and again: each is put
    together from its snapshot, and what it says of itself with every change is true."""
    joined, changes, in_snapshots = 240, 0, 0
    with serving(server, program="demo", flags=["--rate", "5000"]) as own:
        with Peer.open(own.port, path="/") as quotes:
            request = {"type": "subscribe", "channel": "quotes", "snapshot": True}
            quotes.send_frame(wire.TEXT, json.dumps(request).encode())
            symbols = set()
            while len(symbols) < 20:
                words = json.loads(quotes.receive_frame().payload)
                if words["type"] == "message":
                    symbols.add(words["key"])
        for number in range(joined):
            symbol = sorted(symbols)[number % len(symbols)]
            with Peer.open(own.port, path="/") as peer:
                request = {"type": "subscribe", "channel": f"book.{symbol}", "snapshot": True}
                if number % 2:
                    request["max_rate"] = 60
                peer.send_frame(wire.TEXT, json.dumps(request).encode())
                sides, end, checked, last = {"bid": {}, "ask": {}}, None, 0, None
                while checked < 2:
                    words = json.loads(peer.receive_frame().payload)
                    if words["type"] == "snapshot_end":
                        expect(words.get("complete", True), f"not complete: {words}")
                        end = last = words["seq"]
                    if words["type"] != "message":
                        continue
                    message = words["message"]
                    side = sides[message["side"]]
                    if words.get("removed"):
                        side.pop(message["price"], None)
                    else:
                        side[message["price"]] = message["size"]
                    if end is None:
                        in_snapshots += 1
                        continue
                    expect(words["seq"] == last + 1, f"{words['seq']} after {last}")
                    last = words["seq"]
                    counts = (len(sides["bid"]), len(sides["ask"]))
                    told = (message["bids"], message["asks"])
                    expect(counts == told, f"join {number}, {symbol}: {counts}, the server has {told}")
                    best = (max(sides["bid"], default=None), min(sides["ask"], default=None))
                    told = (message["bid"], message["ask"])
                    expect(best == told, f"join {number}, {symbol}: {best}, the server has {told}")
                    checked += 1
                    changes += 1
    return f"{joined} joined, {in_snapshots} values in snapshots, {changes} changes checked"
