"""A page in Debian's chromium, steered over its DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

import websockets

from .server import expect

START_SECONDS_MAX = 30


class Page:
    """A page that is open in the browser."""

    def __init__(self, socket, process):
        self._socket = socket
        self._process = process
        self._ids = itertools.count(1)
        self._answers = {}
        # Lines of the console, exceptions and requests of the page.
        self.complaints = []
        self.requests = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in self._socket:
                self._take(json.loads(text))

    def _take(self, message):
        if "id" in message:
            self._answers.pop(message["id"]).set_result(message)
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(message["params"]["exceptionDetails"])
        elif message["method"] == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(entry)
        elif message["method"] == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])

    async def call(self, method, **params):
        number = next(self._ids)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        answer = await asyncio.wait_for(answer, START_SECONDS_MAX)
        expect("error" not in answer, f"{method}: {answer.get('error')}")
        return answer["result"]

    async def evaluate(self, expression):
        """The value of an expression in the page."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        expect("exceptionDetails" not in answer, f"{expression}: {answer}")
        return answer["result"].get("value")

    async def until(self, expression, seconds=15):
        """Waits until an expression is true."""
        end = asyncio.get_running_loop().time() + seconds
        while not (value := await self.evaluate(expression)):
            expect(asyncio.get_running_loop().time() < end, f"never so: {expression}")
            await asyncio.sleep(0.1)
        return value

    async def press(self, key):
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, **text)

    async def size(self, width, height, dark=True, phone=False):
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path):
        shot = await self.call("Page.captureScreenshot", format="png")
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def cpu_seconds(self):
        """CPU time of the browser and all its processes."""
        parents, ticks = {}, {}
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(entry.name)] = int(fields[1])
                ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
        total = 0
        for pid in ticks:
            ancestor = pid
            while ancestor not in (0, 1, self._process.pid):
                ancestor = parents.get(ancestor, 0)
            total += ticks[pid] if ancestor == self._process.pid else 0
        return total / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def page(url, width=1440, height=900):
    """Opens a page; its browser ends with it."""
    with tempfile.TemporaryDirectory(prefix="tapecast-", ignore_cleanup_errors=True) as profile:
        command = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-quic", "--no-first-run", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Its processes are a group, and end as one.
            start_new_session=True,
        )
        try:
            async with websockets.connect(
                await asyncio.to_thread(find, pathlib.Path(profile), process),
                max_size=None, max_queue=None, proxy=None, ping_interval=None,
            ) as socket:
                opened = Page(socket, process)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await opened.call(f"{domain}.enable")
                await opened.size(width, height)
                await opened.call("Page.navigate", url=url)
                await opened.until("document.readyState === 'complete'")
                yield opened
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def find(profile, process):
    """The WebSocket address of the browser's only page."""
    end = time.monotonic() + START_SECONDS_MAX
    while True:
        expect(process.poll() is None and time.monotonic() < end, "the browser does not start")
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
            port = (profile / "DevToolsActivePort").read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                pages = [it for it in json.load(answer) if it["type"] == "page"]
            return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.1)
