"""The load generator as its users see it: its reports in every form, its errors, and the end
of a run, each read as the program would that it is for.
"""

import base64
import contextlib
import csv
import fcntl
import http.client
import io
import itertools
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import tomllib

import websockets
from prometheus_client import parser as textfile
from prometheus_client.openmetrics import parser as openmetrics

from .loading import PROGRAM
from .outside import stop
from .ports import free_port
from .server import expect, serving

PROFILES = (
    "echo",
    "pipeline",
    "broadcast",
    "ticker",
    "chat",
    "connect-storm",
    "idle",
    "slow-reader",
    "mixed",
)
# Exit codes, as --help has them.
FAILED, USAGE, SUSPICIOUS = 1, 2, 3
SECONDS_MAX = 15


@contextlib.contextmanager
def loading(like, *words, **popen):
    """A generator that runs meanwhile."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([PROGRAM, *map(str, words)], text=True, **(pipes | popen))
    try:
        yield process
    finally:
        stop(process)


def finished(process, code=0, seconds_max=SECONDS_MAX):
    """The stdout and stderr of a generator; it has to end with `code`."""
    output, errors = process.communicate(timeout=seconds_max)
    text = f"{process.args[1:]} ended with {process.returncode}: {(errors + output)[-900:]}"
    expect(process.returncode == code, text)
    return output, errors


def load(like, *words, code=0, seconds_max=SECONDS_MAX):
    """Runs a generator to its end; returns what it wrote."""
    with loading(like, *words) as process:
        return finished(process, code, seconds_max)


def report(like, *words, code=0, seconds_max=SECONDS_MAX):
    """Runs a generator to its end; returns its report."""
    output, _ = load(like, *words, "--json", "-", code=code, seconds_max=seconds_max)
    return json.loads(output)


def short(url, *words, profile="echo", duration="600ms"):
    """The words of a run that does not take long."""
    return (profile, "--url", url, "--warmup", "100ms", "--duration", duration, *words)


def near(one, other, share):
    return abs(one - other) <= share * max(abs(one), abs(other))


def percentile(pairs, share):
    """Of pairs of a value and how often it was."""
    left = share * sum(count for _, count in pairs)
    for value, count in sorted(pairs):
        left -= count
        if left <= 0:
            return value
    return max(value for value, _ in pairs)


def every_form(server):
    """One run, written in every form: they agree."""
    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        forms = ("csv", "hgrm", "prometheus", "html")
        words = itertools.chain(*((f"--{form}", place / form) for form in forms))
        words = (*words, "--rate", 2000, "--connections", 20, "--server-pid", server.pid)
        output, errors = load(
            server, *short(server.url(), *words, "--json", "-", duration="3s")
        )
        written = json.loads(output)
        texts = {form: (place / form).read_text() for form in forms}
    values = written["values"]
    expect("replies" in errors and "errors       none" in errors, f"summary: {errors[-700:]}")
    check_values(written)
    check_rows(written, list(csv.DictReader(io.StringIO(texts["csv"]))))
    check_hgrm(written, texts["hgrm"])
    check_prometheus(texts["prometheus"], values, {"profile": "echo"})
    expect(texts["html"].startswith("<!doctype html>"), texts["html"][:50])
    return f"{values['messages']:.0f} messages"


def check_values(written):
    values, (group,) = written["values"], written["groups"]
    figures = group["figures"]
    expect(values["errors"] == 0 and not figures["faults"], f"{figures['faults']}")
    expect(near(written["seconds"], 3, 0.05), f"measured for {written['seconds']}")
    expect(values["messages"] == figures["messages"], f"messages: {values}")
    sent = values["rate_sent"] * written["seconds"]
    expect(near(sent, figures["sent"], 1e-6), f"{sent} sent of {figures['sent']}")
    expect(near(values["throughput"], 2000, 0.05), f"throughput: {values['throughput']}")
    messages = values["throughput"] * written["seconds"]
    expect(near(messages, values["messages"], 1e-6), f"throughput: {messages}")
    expect(near(values["payload"] * 1e6, values["throughput"] * 64, 1e-6), f"{values}")
    expect(values["opened"] == group["connections"] == 20, f"opened: {values['opened']}")
    # A reply at the end was planned; one that was planned in the warm-up may come as well.
    answered = sum(count for _, count in figures["latency"])
    expect(answered == figures["messages"] + values["unanswered"], f"{answered} answered")
    expect(abs(figures["sent"] - answered) <= 20, f"{figures['sent']} sent, {answered} answered")
    order = [values[f"latency_{name}"] for name in ("p50", "p90", "p99", "p99_9", "max")]
    expect(order == sorted(order) and order[0] > 0, f"latency: {order}")
    for share, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99_9")):
        # One message more or less is a matter of rounding.
        shares = (share - 1 / answered, share + 1 / answered)
        below, above = (percentile(figures["latency"], share) / 1e3 for share in shares)
        named = values[f"latency_{name}"]
        is_right = below * 0.998 <= named <= above * 1.002
        expect(is_right, f"{name}: {named}, of the pairs {below} to {above}")
    fair = 100 - 1 <= values["connection_min"] <= values["connection_median"] <= 310
    expect(fair, f"{values['connection_min']} and {values['connection_median']}")
    cpu = values["server_cpu_per_message"] * values["throughput"] / 1e4
    expect(near(cpu, values["server_cpu"], 0.01), f"server CPU: {cpu}, {values['server_cpu']}")
    # Sockets of connections are in its ring and have none.
    expect(values["server_descriptors"] >= 3, f"{values['server_descriptors']} descriptors")


def check_rows(written, table):
    """A row a second, and together they are the whole."""
    rows, (group,) = written["rows"], written["groups"]
    expect(len(table) == len(rows) == 3, f"{len(table)} and {len(rows)} rows")
    for name in ("sent", "messages", "bytes"):
        of_table = [int(row[name]) for row in table]
        expect(of_table == [row[name] for row in rows], f"{name}: {of_table}")
        expect(sum(of_table) == group["figures"][name], f"{name}: {of_table} of {group}")
    for row, wanted in zip(table, (1, 2, 3)):
        second, at = float(row["second"]), float(row["unix_time"])
        expect(abs(second - wanted) < 0.1, f"second {second}")
        expect(abs(at - written["started"] - second) < 0.002, f"unix_time {at}")
        order = [float(row[name]) for name in ("p50_us", "p90_us", "p99_us", "p99_9_us", "max_us")]
        expect(order == sorted(order) and order[0] > 0, f"{order}")
        expect(row["errors"] == "0" and row["open_connections"] == "20", f"{row}")
        resident = int(row["server_resident_bytes"])
        expect(resident > 1e6 and int(row["server_threads"]) >= 1, f"{row}")
        expect(0 <= float(row["generator_cpu_percent"]) <= 101, f"{row}")
    expect(any(float(row["server_cpu_percent"]) > 0 for row in table), f"{table}")


def check_hgrm(written, text):
    """HdrHistogram's table: values in ms, quantiles, counts; then comments."""
    lines = text.splitlines()
    titles = ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    expect(lines[0].split() == titles and not lines[1], f"{lines[:2]}")
    rows = [[float(word) for word in line.split()] for line in lines[2:] if line[0] != "#"]
    expect(all(len(row) == 4 for row in rows[:-1]) and len(rows[-1]) == 3, f"{rows[-2:]}")
    for column in (0, 1, 2):
        values = [row[column] for row in rows]
        expect(values == sorted(values), f"column {column} falls: {values}")
    for _, quantile, _, inverse in rows[:-1]:
        expect(near(inverse, 1 / (1 - quantile), 0.01), f"{quantile} and {inverse}")
    values, (group,) = written["values"], written["groups"]
    total = sum(count for _, count in group["figures"]["latency"])
    expect(rows[-1][1:] == [1, total], f"the last row is {rows[-1]}, of {total}")
    expect(near(rows[-1][0], values["latency_max"] / 1e3, 0.01), f"max {rows[-1]}")
    for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99_9")):
        # Its steps need not meet the percentile exactly.
        below = max(row[0] for row in rows if row[1] <= share)
        above = min(row[0] for row in rows if row[1] >= share)
        named = values[f"latency_{name}"] / 1e3
        is_within = below * 0.99 - 0.001 <= named <= above * 1.01 + 0.001
        expect(is_within, f"{name}: {named}, and the table has {below} to {above}")
    comments = dict(re.findall(r"(Mean|Max|Total count|StdDeviation)\s*=\s*([\d.]+)", text))
    expect(len(comments) == 4 and int(comments["Total count"]) == total, f"{comments}")


def check_prometheus(text, values, labels):
    """Both readers of the text take it, and it says what the values do."""
    for reader in (openmetrics, textfile):
        found = {}
        for family in reader.text_string_to_metric_families(text):
            expect(family.documentation and family.type == "gauge", f"{family}")
            for sample in family.samples:
                expect(sample.labels == labels, f"{sample}")
                found[sample.name.removeprefix("tapecast_loadgen_")] = sample.value
        expect(found == values, f"{set(found.items()) ^ set(values.items())}")


class Page:
    """A page in a headless browser, over its own protocol."""

    def __init__(self, browser, client):
        self.browser, self.client = browser, client
        self.number = 0
        self.events = []

    async def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        await self.client.send(json.dumps(message))
        while True:
            answer = json.loads(await self.client.recv())
            if answer.get("id") == self.number:
                expect("result" in answer, f"{method}: {answer.get('error')}")
                return answer["result"]
            self.events.append(answer)

    async def look(self, expression):
        """The value of an expression of JavaScript."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        expect("exceptionDetails" not in found, f"{expression}: {found}")
        return found["result"].get("value")

    async def picture(self, path):
        """The whole page as PNG: for people."""
        await self.ask("Page.enable")
        size = (await self.ask("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": size["width"], "height": size["height"]}
        shot = await self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def in_browser(path, width=1000):
    """The file at `path` in a browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
        command += ["--disable-component-update", "--disable-dev-shm-usage"]
        command += ["--remote-debugging-port=0", f"--window-size={width},800"]
        browser = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = debugging_port(browser, pathlib.Path(profile) / "DevToolsActivePort")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/json/list")
            pages = json.loads(connection.getresponse().read())
            connection.close()
            url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            async with websockets.connect(url, max_size=None, proxy=None) as client:
                page = Page(browser, client)
                for domain in ("Runtime", "Log", "Network"):
                    await page.ask(f"{domain}.enable")
                await page.ask("Page.navigate", url=f"file://{path}")
                end = time.monotonic() + 10
                while await page.look("document.URL + document.readyState") != (
                    f"file://{path}complete"
                ):
                    expect(time.monotonic() < end, "the page does not load")
                yield page
        finally:
            stop(browser)


def debugging_port(browser, path):
    end = time.monotonic() + 20
    while not (path.exists() and path.read_text().count("\n")):
        is_late = browser.poll() is not None or time.monotonic() > end
        expect(not is_late, f"the browser does not start: {browser.poll()}")
        time.sleep(0.02)
    return int(path.read_text().splitlines()[0])


async def page_with_charts(server):
    """The page asks for nothing, complains of nothing, and has what it should."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "report.html"
        # Nobody listens at the second one: there are errors to show.
        words = ("--url", f"ws://127.0.0.1:{free_port()}/", "--html", path)
        words = (*words, "--server-pid", server.pid, "--reconnect", "200ms")
        words = (*words, "--header", "X-Markup: <u>&lt;")
        words = short(server.url(), *words, duration="2s")
        written = report(server, *words, code=SUSPICIOUS)
        text = path.read_text()
        references = re.findall(r"""(?:src|href)\s*=|url\(|@import""", text)
        expect(not references, f"the page refers to {references}")
        async with in_browser(path) as page:
            await check_page(page, written)
            # Somebody with a telephone.
            await page.ask(
                "Emulation.setDeviceMetricsOverride",
                width=390,
                height=800,
                deviceScaleFactor=1,
                mobile=False,
            )
            wide = await page.look("document.documentElement.scrollWidth")
            expect(wide <= 390, f"the page is {wide} wide on a telephone")


async def check_page(page, written):
    charts = await page.look(
        "[...document.querySelectorAll('figure')].map(figure =>"
        " [...figure.querySelectorAll('path')].map(path => path.getAttribute('d')))"
    )
    expect(len(charts) == 6, f"{len(charts)} charts")
    for paths in charts:
        expect(all(re.match(r"M[\d.]+ [\d.]+L", path) for path in paths), f"{paths}")
        expect("NaN" not in str(paths) and "inf" not in str(paths), f"{paths}")
    overlapping = await page.look(OVERLAPPING)
    expect(not overlapping, f"texts that overlap: {overlapping}")
    readouts = await page.look(READOUTS)
    wanted = ("received", "errors", "p99.9", "uncorrected", "generator", "MB")
    for readout, word in zip(readouts, wanted, strict=True):
        expect(word in readout, f"the readout says {readout!r}, without {word}")
    words = await page.look("document.querySelector('main').textContent")
    kind = written["groups"][0]["figures"]["faults"][0]["kind"]
    expect(kind in words and "[[group]]" in words, f"{kind} is not in {words[:500]}")
    expect("x-markup: <u>&lt;" in words, f"the header is not as it was: {words[-2000:]}")
    requests = [event for event in page.events if event["method"] == "Network.requestWillBeSent"]
    urls = {event["params"]["request"]["url"].split(":")[0] for event in requests}
    expect(urls == {"file"} and len(requests) == 1, f"the page asked for {urls}, {len(requests)}")
    complaints = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    complaints = [event for event in page.events if event["method"] in complaints]
    expect(not complaints, f"the console has {complaints}")


# The readout of every chart when the pointer is over its middle.
READOUTS = """
[...document.querySelectorAll('figure')].map(figure => {
  const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
  const clientX = box.left + box.width / 2, clientY = box.top + box.height / 2;
  svg.dispatchEvent(new PointerEvent('pointermove', {clientX, clientY, bubbles: true}));
  return figure.querySelector('output').textContent;
})
"""

# Pairs of texts of a chart of which one covers the other.
OVERLAPPING = """
[...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')];
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  const cover = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom - 1
    && b.top < a.bottom - 1;
  return boxes.flatMap(([one, a], index) => boxes.slice(index + 1)
    .filter(([, b]) => cover(a, b)).map(([other]) => one + ' and ' + other));
})
"""


def keys_of(text):
    return tomllib.loads(text)


def printed_profiles(server):
    """The output of --print-profile is a profile, and the same one."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "printed.toml"
        for name in PROFILES:
            print_it = ("--print-profile", "--url", server.url())
            printed, errors = load(server, name, *print_it)
            expect(not errors and printed, f"{name}: {errors}")
            path.write_text(printed)
            again, _ = load(server, path, "--print-profile")
            expect(keys_of(again) == keys_of(printed), f"{name}: {again} is not {printed}")
            expect("# --url" in printed and f"# {name}:" in printed, f"no origins: {printed}")
        # Every kind of value that can be set.
        lines = pathlib.Path(directory) / 'li"nes'
        lines.write_text("one\ntwo\n")
        words = ("--rate", "10.5@1m 30s,20/connection", "--size", "64:90,4KiB:10", "--kind", "text")
        words += ("--header", 'X-Quote: "a" \\ b', "--header", "Origin: null")
        words += ("--on-open", '{"room":{room}}\n\u0001é', "--template", "<{payload}>")
        words += ("--core", 1)
        words += ("--source", "127.0.0.2-127.0.0.4", "--source", "127.0.0.9", "--stall", "none")
        words += ("--fail-if", "p99>5ms", "--fail-if", "errors>0", "--payload", f"@{lines}")
        words += ("--start-at", "2030-01-01T00:00:00Z", "--server-pid", 1, "--reconnect", "none")
        words += ("--subprotocol", "b", "--subprotocol", "a", "--ramp", "1.5", "--threads", 3)
        words += ("--message-bytes-max", "2MiB", "--arrivals", "poisson", "--check", "any")
        printed, _ = load(server, "echo", "--url", server.url(), *words, "--print-profile")
        path.write_text(printed)
        again, _ = load(server, path, "--print-profile")
        expect(keys_of(again) == keys_of(printed), f"{again} is not {printed}")
        (group,) = keys_of(printed)["group"]
        expect(group["on_open"] == ['{"room":{room}}\n\u0001é'], f"{group['on_open']}")
        expect(group["subprotocol"] == ["b", "a"], f"{group['subprotocol']}")
        expect(group["header"] == ['x-quote: "a" \\ b', "origin: null"], f"{group['header']}")
        words = ("--url", server.url(), "--stalled", "12.5%", "--stall", "1.5s")
        printed, _ = load(server, "broadcast", *words, "--print-profile")
        path.write_text(printed)
        again, _ = load(server, path, "--print-profile")
        expect(keys_of(again) == keys_of(printed), f"{again} is not {printed}")
        (group,) = keys_of(printed)["group"]
        expect((group["stalled"], group["stall"]) == ("12.5%", "1s 500ms"), f"{group}")


def mistakes(server):
    """One clear line, nothing on stdout, exit code 2."""
    url = ("--url", server.url())
    cases = (
        (("echo", *url, "--raet", "5"), "--raet.*--rate"),
        (("ehco", *url), "did you mean echo"),
        (("nothing-like-it", *url), "built in are echo"),
        (("echo",), "--url ws://"),
        (("echo", "--url", "http://127.0.0.1/"), "ws://HOST"),
        (("echo", "--url", "wss://127.0.0.1/", "--ca", "/nowhere.pem"), "/nowhere.pem: No such"),
        (("echo", *url, "--insecure=perhaps"), "--insecure.*expected false or true"),
        (("echo", *url, "--rate", "5", "--in-flight", "5"), "exclude each other"),
        (("echo", *url, "--stalled", "10%"), "only readers of broadcast and topics stall"),
        (("echo", *url, "--start-at", "1760000000000"), "--start-at.*before the year 10000"),
        (("echo", *url, "--rate", "0"), "--rate.*from 0.001 to 1000000000"),
        (("echo", *url, "--rate", "fast"), "--rate.*expected messages a second"),
        (("echo", *url, "--connections", "0"), "--connections.*from 1 to 10000000"),
        (("echo", *url, "--threads", "257"), "--threads.*from 1 to 256"),
        (("echo", *url, "--duration", "soon"), "--duration.*like 5s"),
        (("echo", *url, "--duration", "0s"), "--duration.*at least 100ms"),
        (("echo", *url, "--size", "1GiB"), "--size.*bytes like 64"),
        (("echo", *url, "--payload", "@/does/not/exist"), "--payload: /does/not/exist"),
        (("echo", *url, "--kind", "txet"), "--kind.*text"),
        (("echo", *url, "--fail-if", "thruput<5"), "did you mean throughput"),
        (("echo", *url, "--fail-if", "p99=5"), "expected NAME>NUMBER"),
        (("echo", *url, "--fail-if", "p99>5%"), "p99 is a time: expected us, ms or s"),
        (("echo", *url, "--fail-if", "errors>5ms"), "errors is a number without a unit"),
        (("echo", *url, "--fail-if", "readers.errors>0"), "there is no group readers"),
        (("mixed", *url, "--fail-if", "reader.errors>0"), "did you mean readers"),
        (("merge", "/dev/null", "/dev/null", "--fail-if", "p101>5"), "the report has no p101"),
        (("echo", *url, "--core", "1000"), "no core 1000; this process may use 0"),
        (("chat", *url, "--connections", "100000", "--publishers", "60000"), "16 bytes for every"),
        (("echo", *url, "--find-max", "p101<5ms"), "the report has no p101"),
        (("echo", *url, "--source", "127.0.0.9-127.0.0.2"), "the lower first"),
        (("echo", *url, "--connections", "1", "--threads", "2"), "fewer than 2 threads"),
        (("broadcast", *url, "--size", "5"), "size is at least 20"),
        (("echo", *url, "--kind", "text", "--template", "x"), "no {payload}"),
        (("echo", *url, "--baseline", "/does/not/exist"), "/does/not/exist"),
        (("echo", *url, "--start-at", "2020-01-01T00:00:00Z"), "which has passed"),
        (("echo", *url, "--json", "/does/not/exist"), "--json: /does/not/exist: .*no such folder"),
        (("echo", *url, "--json", "-", "--csv", "-"), "--json and --csv"),
        (("merge", "/does/not/exist", "/dev/null"), "/does/not/exist"),
        (("echo", *url, "--connections", "40000", "--threads", "8"), "ports.*--source"),
    )
    for words, wanted in cases:
        output, errors = load(server, *words, code=USAGE)
        expect(not output, f"{words}: {output!r} on stdout")
        expect(re.search(wanted, errors, re.S), f"{words}: {errors!r} is not {wanted!r}")
        # The reader of options adds its usage.
        own = [line for line in errors.splitlines() if line.startswith("tapecast-loadgen: ")]
        is_clear = len(own) == len(errors.splitlines()) == 1 or errors.startswith("error: ")
        expect(is_clear, f"{words}: {errors!r} is not one line")
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "mine.toml"
        files = (
            ("rate = 5\n\nconections = 3\n", r"mine.toml:3: .*did you mean connections\?"),
            ("rate = 5\nin_flight = 3\n", "mine.toml:2: .*exclude each other"),
            ("rate = 5\nrate = 6\n", "mine.toml:2: .*duplicate"),
            ("\nrate = [\n", "mine.toml:"),
            ("connections = -1\n", "mine.toml:1: .*from 1"),
            ("[group]\nrate = 5\n", r"mine.toml:2: expected \[\[group\]\]"),
            ("[[group]]\nrate = 5\nduration = '1s'\n", "mine.toml:3: .*of the run"),
            ("[[groups]]\nrate = 5\n", "mine.toml:2: .*group"),
            ("[[group]]\nname = 'a.b'\n", "without dots"),
            ("[[group]]\nsize = { a = 1 }\n", "mine.toml:2: size: expected a string"),
        )
        for text, wanted in files:
            path.write_text(text)
            output, errors = load(server, path, *url, code=USAGE)
            is_clear = not output and len(errors.splitlines()) == 1
            expect(is_clear, f"{text!r}: {output!r}, {errors!r}")
            expect(re.search(wanted, errors), f"{text!r}: {errors!r} is not {wanted!r}")
    return f"{len(cases) + len(files)} mistakes"


def rehearsed(server):
    """A run behind a rehearsal keeps its own time."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "rows.csv"
        words = ("--connections", 60, "--server-pid", server.pid, "--csv", path)
        words = short(server.url(), *words, profile="idle", duration="2s")
        values = report(server, *words)["values"]
        rows = list(csv.DictReader(path.open()))
    expect(values["opened"] == 60 and "server_resident_per_connection" in values, f"{values}")
    seconds = [float(row["second"]) for row in rows]
    is_right = len(seconds) == 2 and abs(seconds[0] - 1) < 0.05 and abs(seconds[1] - 2) < 0.05
    expect(is_right, f"seconds: {seconds}")
    expect([row["open_connections"] for row in rows] == ["60", "60"], f"{rows}")


def verdicts(server):
    """--fail-if: 1 when it holds, 0 when not; a line for each that holds."""
    holding = ("p99>1us", "p99.9>0.001ms", "throughput<1000000", "errors<1", "rate_sent<999999")
    others = ("p99>9s", "p99.9>9s", "throughput<1", "errors>0", "rate_sent<1", "server_cpu>9999%")
    storm = {"profile": "connect-storm", "duration": "500ms"}
    runs = (
        (short(server.url()), others[:-1], 0),
        (short(server.url()), holding + others[:-1], FAILED),
        # A value that was not measured can't have been good.
        (short(server.url()), others, FAILED),
        (short(server.url("/broadcast"), profile="broadcast"), ("gaps>0", "duplicates>0"), 0),
        (short(server.url(), **storm), ("handshakes<10", "errors>0"), 0),
        (short(server.url(), **storm), ("handshakes>10", "handshake_p99>1us"), FAILED),
    )
    with contextlib.ExitStack() as stack:
        processes = []
        for words, bounds, code in runs:
            flags = itertools.chain(*(("--fail-if", bound) for bound in bounds))
            processes.append((stack.enter_context(loading(server, *words, *flags)), bounds, code))
        for process, bounds, code in processes:
            output, errors = finished(process, code)
            said = re.findall(r"^tapecast-loadgen: failed: (\S+?):", errors, re.M)
            wanted = [] if code == 0 else [it for it in bounds if it not in others[:-1]]
            expect(said == wanted, f"failed: {said}, and not {wanted}; {errors}")
            expect("errors       none" in output, f"no summary: {output}")


def baseline(server):
    """The same load is within noise, another one is not."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "before.json"
        same = short(server.url(), "--rate", 500, duration="3s")
        load(server, *same, "--json", path)
        runs = (("500", "within noise"), ("700", "HIGHER"), ("300", "LOWER"))
        with contextlib.ExitStack() as stack:
            processes = [
                stack.enter_context(
                    loading(
                        server,
                        *short(server.url(), "--rate", rate, "--baseline", path, duration="3s"),
                    )
                )
                for rate, _ in runs
            ]
            for process, (rate, verdict) in zip(processes, runs):
                output, _ = finished(process)
                line = next(
                    (it for it in output.splitlines() if it.startswith("throughput, /s")), ""
                )
                expect(line.endswith(verdict), f"{rate}: {line!r} is not {verdict}")
                was, now = line.split()[2:4]
                is_right = near(float(was), 500, 0.05) and near(float(now), float(rate), 0.05)
                expect(is_right, f"{rate}: {line!r}")


def merged(server):
    """Two generators that start together make one report."""
    with tempfile.TemporaryDirectory() as directory:
        one, other, later, both = (
            pathlib.Path(directory) / f"{name}.json" for name in ("one", "other", "later", "both")
        )
        start = ("--start-at", f"{time.time() + 1.5:.3f}", "--connections", 10)
        with (
            loading(
                server, *short(server.url(), *start, "--json", one, "--rate", 400, duration="2s")
            ) as first,
            loading(
                server,
                *short(server.url(), *start, "--json", other, "--rate", 800, duration="2s"),
            ) as second,
        ):
            finished(first)
            finished(second)
        load(server, *short(server.url(), "--json", later))
        summary, _ = load(server, "merge", one, other, "--json", both)
        expect("20 connections" in summary and "1,200 a second planned" in summary, summary)
        parts = [json.loads(path.read_text()) for path in (one, other)]
        whole = json.loads(both.read_text())
        apart = abs(parts[0]["started"] - parts[1]["started"])
        expect(apart < 0.1, f"they started {apart} s apart")
        for name in ("messages", "opened", "rate_planned"):
            values = [it["values"][name] for it in (*parts, whole)]
            expect(values[2] == values[0] + values[1], f"{name}: {values}")
        for name in ("p50", "p90", "p99", "p99_9", "max"):
            *values, value = [it["values"][f"latency_{name}"] for it in (*parts, whole)]
            is_between = min(values) * 0.998 <= value <= max(values) * 1.002
            expect(is_between, f"{name}: {value} of {values}")
        rows = [[row["messages"] for row in it["rows"]] for it in (*parts, whole)]
        expect([a + b for a, b in zip(*rows[:2])] == rows[2], f"rows: {rows}")
        verdict = ("--fail-if", "errors>0", "--fail-if", "messages<999999")
        _, errors = load(server, "merge", one, other, *verdict, code=FAILED)
        expect("failed: messages<999999" in errors and "failed: errors" not in errors, errors)
        output, errors = load(server, "merge", one, later, code=USAGE)
        is_clear = "not at the same time" in errors and "--start-at" in errors and not output
        expect(is_clear, f"{errors}, {output}")


PLAIN = re.compile(
    r"(?:warm-up|\d+ s): sent [\d,]+/s, received [\d,]+/s, p50 .+, p99 .+, max .+, 0 errors, "
    r"50 open, generator \d+ %"
)


# A terminal shows nothing of these.
INVISIBLE = re.compile(r"\x1b\[[\d;]*[A-Za-z]|[\r\n]")


def in_terminal(server, words, seconds_max=SECONDS_MAX):
    """Runs a generator in a terminal of 80 columns; returns all that it wrote there."""
    own, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    popen = {"stdin": its, "stdout": its, "stderr": its, "env": environment}
    seen, end = b"", time.monotonic() + seconds_max
    try:
        with loading(server, *words, **popen, start_new_session=True) as process:
            os.close(its)
            # A read fails once nobody holds the other end.
            with contextlib.suppress(OSError):
                while select.select([own], [], [], end - time.monotonic())[0]:
                    seen += os.read(own, 65536)
            code = process.wait(5)
            expect(code == 0, f"it ended with {code}: {seen[-500:]}")
    finally:
        os.close(own)
    return seen.decode()


def progress(server):
    """A line a second, or a view in a terminal."""
    words = short(server.url(), duration="2s")
    with loading(server, *words) as process:
        screen = in_terminal(server, words)
        output, errors = finished(process)
    lines = errors.splitlines()
    expect(len(lines) == 2 and all(map(PLAIN.fullmatch, lines)), f"progress: {errors}")
    expect(output.startswith("echo: 50 connections"), output)
    redrawn = len(re.findall(r"\x1b\[\d*A", screen))
    expect(redrawn >= 8, f"redrawn {redrawn} times: {screen[-500:]!r}")
    for word in ("warming up", "measuring", "throughput", "p99", "█", "50 open, 0 errors"):
        expect(word in screen, f"the view has no {word}: {screen!r}")
    # Every line is as wide as the terminal, and no wider.
    visible = INVISIBLE.sub("", screen)
    frames = visible[visible.index("measuring") : visible.index("echo: 50")].split("measuring")
    for frame in frames[-3:-1]:
        places = [frame.find(word) for word in ("throughput ", "p99  ", "50 open")]
        places = [place + len("measuring") for place in places]
        expect(places == [80, 160, 252], f"lines begin at {places}: {frame!r}")
    # The view is gone, and the summary stands where it was.
    rest = screen[screen.rindex("echo: 50 connections") :]
    expect("\x1b" not in rest and "errors       none" in rest, f"it ends with {rest!r}")
    expect("\r\n\r\nerrors" not in rest and "replies" in rest, f"it ends with {rest!r}")
    plain = in_terminal(server, short(server.url(), "--no-tui", duration="1s"))
    expect("\x1b" not in plain, f"--no-tui: {plain!r}")
    lines = [line for line in plain.splitlines() if PLAIN.fullmatch(line)]
    expect(len(lines) == 1, f"--no-tui: {plain!r}")


def interrupted(server):
    """Ctrl-C ends a run, which has a report all the same; twice ends it at once."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "report.json"
        words = short(server.url(), "--json", path, duration="60s")
        with loading(server, *words) as process:
            wait_for_line(process, "1 s: ")
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            output, _ = finished(process)
            took = time.monotonic() - began
        expect(took < 3, f"it took {took:.1f} s")
        expect("warning      ended early, after 1." in output, output)
        written = json.loads(path.read_text())
        is_right = written["is_interrupted"] and 0.9 < written["seconds"] < 2.5
        expect(is_right, f"{written['seconds']}")
        values = written["values"]
        expect(near(values["throughput"], 1000, 0.05), f"{values['throughput']}")
        # Before anything is measured there is nothing to report.
        words = short(server.url(), "--start-at", f"{time.time() + 60:.0f}", "--json", "-")
        with loading(server, *words) as process:
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            output, errors = finished(process, FAILED)
        expect("before measuring" in errors and not output, f"{errors}, {output}")
    # A search has the curve of what was done until then.
    words = short(server.url(), "--find-max", "p99<9s", "--rate", "1/connection", duration="1s")
    with loading(server, *words) as process:
        for _ in range(3):
            wait_for_line(process, "1 s: ")
        process.send_signal(signal.SIGINT)
        output, errors = finished(process)
        steps = re.findall(r"^ .* kept$", output, re.M)
        expect(len(steps) >= 2 and "stopped before it was done" in output, f"{output} {errors}")
        expect("a second and connection" in output, output)
    # A server that stands still holds its connections' ends up.
    with serving(server) as still:
        with loading(server, *short(still.url(), duration="60s")) as process:
            wait_for_line(process, "1 s: ")
            still.process.send_signal(signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)
                expect(process.poll() is None, "it did not wait for the server")
                process.send_signal(signal.SIGINT)
                process.wait(0.5)
                expect(process.returncode == FAILED, f"it ended with {process.returncode}")
            finally:
                still.process.send_signal(signal.SIGCONT)


def wait_for_line(process, start):
    """Reads progress until a line starts so."""
    for line in process.stderr:
        if line.startswith(start):
            return
    expect(False, f"no line {start!r}: {process.poll()}")


def nobody_reads(server):
    """A run continues when nobody reads its output."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "report.json"
        reads, writes = os.pipe()
        os.close(reads)
        popen = {"stdout": writes, "stderr": writes}
        try:
            words = short(server.url(), "--json", path, duration="1500ms")
            for words in (words, ("echo", "--url", server.url(), "--print-profile")):
                with loading(server, *words, **popen) as process:
                    code = process.wait(5)
                expect(code == 0, f"{words}: it ended with {code}")
        finally:
            os.close(writes)
        messages = json.loads(path.read_text())["values"]["messages"]
        expect(near(messages, 1500, 0.1), f"{messages} messages")


def nowhere(server):
    """A process or server that is not there is reported at once."""
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    cases = (
        (("--server-pid", gone.pid), f"process {gone.pid}: "),
    )
    for words, wanted in cases:
        output, errors = load(server, *short(server.url(), *words), code=FAILED)
        expect(wanted in errors, f"{words}: {errors}")
    url = f"ws://127.0.0.1:{free_port()}/"
    output, errors = load(server, *short(url), code=SUSPICIOUS)
    expect("suspicious: there were no replies" in errors, errors)
    expect(re.search(r"errors       [\d,]+ x connect: connection refused", output), output)
