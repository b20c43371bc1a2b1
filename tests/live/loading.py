"""The load generator against servers of known behaviour: what they do wrong is
counted, exactly, and what they do slowly shows.
"""

import concurrent.futures
import contextlib
import itertools
import json
import pathlib
import re
import subprocess
import tempfile
import time

from .faulty import (
    FaultyServer,
    Bombing,
    Misbehaving,
    Numbering,
    RefusingHalf,
    Relaying,
    Replying,
    Serving,
    Stalling,
)
from .programs import ROOT, program
from .server import expect

PROGRAM = program("tapecast-loadgen")
MEBIBYTE = 1 << 20


class Loaded:
    """The outcome of a run of the generator."""

    def __init__(self, code, report, errors, resident_bytes_peak):
        self.code, self.report, self.errors = code, report, errors
        self.resident_bytes_peak = resident_bytes_peak
        self.values = report and report["values"]

    def faults(self):
        """How often each kind was, over all groups."""
        found = {}
        for group in self.report["groups"]:
            for figures in (group["figures"], group["stalled"] or {"faults": []}):
                for fault in figures["faults"]:
                    found[fault["kind"]] = found.get(fault["kind"], 0) + fault["count"]
                    expect(fault["example"], f"{fault['kind']} has no example")
        return found


def load(profile, url, *flags, seconds=30):
    """Runs the generator to its end, which has to come within `seconds`."""
    command = [PROGRAM, profile, "--url", url, "--no-tui", "--json", "-", *map(str, flags)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        )
        peak, end = 0, time.monotonic() + seconds
        while process.poll() is None:
            if time.monotonic() > end:
                process.kill()
                process.wait()
                expect(False, f"not finished after {seconds}s: {' '.join(map(str, command))}")
            # Not from wait4, which counts this process's memory at the fork too.
            with contextlib.suppress(OSError, TypeError):
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                peak = int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) * 1024
            time.sleep(0.005)
        out.seek(0), errors.seek(0)
        text, told = out.read(), errors.read().decode()
    report = json.loads(text) if text else None
    return Loaded(process.returncode, report, told, peak)


def near(value, expected, within, what):
    expect(
        abs(value - expected) <= within * abs(expected),
        f"{what} is {value:.4g}, and computed is {expected:.4g}",
    )


def percentile(recorded, share):
    """Of a histogram's pairs, in seconds."""
    total, below = sum(count for _, count in recorded), 0
    for value, count in recorded:
        below += count
        if below >= share * total:
            return value / 1e9


def stalls_show(_server):
    """Of a constant rate, the share stall/every is planned in a stall, and waits for
    what is left of it: evenly spread from 0 to its length."""
    # Few enough that the backlog of a stall is done in a moment, and no multiple of
    # the stalls, so that each begins elsewhere between two messages.
    stall, every, rate = 0.1, 1.0, 197.3
    with Stalling(stall, every) as server:
        loaded = load(
            "echo", server.url(), "--connections", 10, "--rate", rate,
            "--warmup", "1s", "--duration", "8s",
        )
    expect(loaded.code == 0, loaded.errors)
    figures = loaded.report["groups"][0]["figures"]
    waits = server.waits(rate, warmup=1)
    for share in (0.97, 0.98, 0.99):
        computed = computed_wait(waits, share, stall - (1 - share) * every)
        measured = percentile(figures["latency"], share)
        near(measured * 1e3, computed * 1e3, 0.05, f"the latency of {share:.0%} in ms")
    # The longest is one of the stalls, as long as that one was.
    longest = percentile(figures["latency"], 1.0) * 1e3
    nearest = min((lasted * 1e3 for lasted in server.lasted), key=lambda it: abs(it - longest))
    near(longest, nearest, 0.05, "the longest in ms")
    # A closed loop sees one wait per connection and stall: 10 in 200.
    seen = percentile(figures["uncorrected"], 0.94) * 1e3
    expect(seen < 20, f"the uncorrected latency of 94% is {seen:.1f} ms")
    return f"p99 {loaded.values['latency_p99'] / 1e3:.1f} ms"


def computed_wait(waits, share, planned):
    """The lateness of a stalling server's answers: no less than its stalls were planned for,
    but for one that the end of the run cuts off."""
    computed = waits[min(int(share * len(waits)), len(waits) - 1)]
    expect(
        computed > 0.9 * planned,
        f"the answers were {computed * 1e3:.1f} ms late at {share:.0%}, planned {planned * 1e3:.1f}",
    )
    return computed


def one_stall_of_one_connection(_server):
    """With one connection, a closed loop sees one wait in a thousand."""
    rate = 1_000
    with Stalling(0.1, 1.0) as server:
        loaded = load(
            "echo", server.url(), "--connections", 1, "--rate", rate,
            "--warmup", "1s", "--duration", "5s",
        )
    values = loaded.values
    computed = computed_wait(server.waits(rate, warmup=1), 0.99, 0.09)
    near(values["latency_p99"] / 1e6, computed, 0.05, "latency_p99")
    expect(values["uncorrected_p99"] < 20_000, f"uncorrected: {values['uncorrected_p99']} us")
    return f"p99 {values['latency_p99'] / 1e3:.1f} ms, uncorrected {values['uncorrected_p99'] / 1e3:.2f} ms"


def silent_handshakes(_server):
    """A connection that never gets an answer has waited since it was planned."""
    with FaultyServer() as server:
        server.handshake = lambda *_: None
        for load_flags, least in ((("--rate", 5), 6), (("--in-flight", 4), 4)):
            loaded = load(
                "connect-storm", server.url(), "--connections", 20, "--warmup", "0s",
                "--duration", "2s", *load_flags,
            )
            values = loaded.values
            expect(values["unanswered"] >= least, f"{load_flags}: {values['unanswered']} unanswered")
            # Recorded, but no latency of replies: there were none.
            waited = percentile(loaded.report["groups"][0]["figures"]["latency"], 1.0)
            expect(waited > 1.5 and "latency_max" not in values, f"waited {waited} s: {values}")
            expect(loaded.code == 3, f"exit code {loaded.code}")


def planted_order(_server):
    """Gaps, duplicates and reorderings are counted as often as they were planted."""
    return planted(Relaying, "broadcast")


def planted_numbers(_server):
    """The same by the server's numbers of a topic."""
    return planted(Numbering, "ticker", "--publishers", 1, "--delivery", "all", "--keys", 0)


def planted_replies(_server):
    """Of echoes in flight, what is lost, doubled or late is that, and no more: what
    follows is right again."""
    connections = 4
    plan = {}
    for number in range(20, 500):
        what = {3: "drop", 5: "twice", 8: "late"}.get(number % 10)
        if what and number % 7:
            plan[number] = what
    with Replying(plan) as server:
        loaded = load(
            "pipeline", server.url(), "--connections", connections, "--in-flight", 8,
            "--warmup", "0s", "--duration", "2s",
        )
        counts = server.counts
    expect(loaded.code == 3, loaded.errors)
    values = loaded.values
    # Every one of them has had its turn.
    whole = {what: connections * list(plan.values()).count(what) for what in counts}
    expect(counts == whole and len(counts) == 3, f"planted {counts} of {whole}")
    found = {"drop": values["gaps"], "twice": values["duplicates"], "late": values["reordered"]}
    expect(found == counts, f"planted {counts}, found {found}")
    expect(values["errors"] == 0, loaded.faults())
    expect(values["unanswered"] >= counts["drop"], f"{values['unanswered']} unanswered")
    return f"{sum(counts.values())} of them"


def two_generators(server):
    """Another run's messages on the same topic are neither missing nor wrong, nor is their age
    measured by this run's clock."""
    words = ("--connections", 20, "--rate", 300, "--warmup", "500ms", "--duration", "3s")
    bounds = ("gaps>0", "duplicates>0", "reordered>0", "errors>0", "other<100", "p99>1s")
    words += tuple(itertools.chain(*(("--fail-if", bound) for bound in bounds)))
    for profile, path, more in (
        ("broadcast", "/broadcast", ()), ("ticker", "/", ("--delivery", "all"))
    ):
        with concurrent.futures.ThreadPoolExecutor() as both:
            first = both.submit(load, profile, server.url(path), *words, *more)
            time.sleep(0.3)
            second = both.submit(load, profile, server.url(path), *words, *more)
        for loaded in (first.result(), second.result()):
            expect(loaded.code == 0, f"{profile}: {loaded.errors} {loaded.faults()}")
            # Of one's own; the server has twice as many for everybody.
            near(loaded.values["messages"], 20 * 300 * 3, 0.05, f"{profile}: deliveries")


def built_in(server):
    """Every built-in profile as it is, against the server that it is made for."""
    paths = {"broadcast": "/broadcast", "slow-reader": "/broadcast", "ticker": "/", "chat": "/"}
    told = []
    for path in sorted((ROOT / "profiles" / "load").glob("*.toml")):
        name = path.stem
        loaded = load(
            name, server.url(paths.get(name, "/echo")), "--warmup", "300ms", "--duration", "2s",
            "--fail-if", "errors>0",
        )
        expect(loaded.code == 0, f"{name}: {loaded.errors} {loaded.faults()}")
        values = loaded.values
        for order in ("gaps", "duplicates", "reordered"):
            expect(values.get(order, 0) == 0, f"{name}: {order}: {values}")
        if name != "idle":
            told.append(f"{name} {values['throughput']:,.0f}/s")
    expect(len(told) == 8, f"{told}")
    return ", ".join(told)


def thousands(server):
    """Publishers at a rate and thousands of subscribers in mixed deliveries."""
    loaded = load(
        "ticker", server.url("/"), "--connections", 3_010, "--rate", 50, "--ramp", "1s",
        "--warmup", "1s", "--duration", "3s", "--server-pid", server.pid, "--fail-if", "gaps>0",
        "--fail-if", "duplicates>0", "--fail-if", "reordered>0", "--fail-if", "errors>0",
    )
    expect(loaded.code == 0, f"{loaded.errors} {loaded.faults()}")
    expect(loaded.values["opened"] == 3_010, f"{loaded.values['opened']} opened")
    # Three of five want every message; nobody gets more than all.
    least, most = 0.6 * 3_000 * 140, 3_010 * 200
    expect(least < loaded.values["messages"] < most, f"{loaded.values['messages']} deliveries")
    return f"{loaded.values['throughput']:,.0f} deliveries/s"


def inflated(_server):
    """A bomb in the compression that was agreed on ends its connection, in bounded
    memory."""
    with Bombing() as server:
        loaded = load(
            "echo", server.url(), "--connections", 4, "--rate", 100, "--compression",
            "--check", "length", "--reconnect", "20ms", "--warmup", "0s", "--duration", "1s",
        )
        bombs = server.counts["bomb"]
    expect(loaded.code == 3, loaded.errors)
    faults = loaded.faults()
    big = sum(count for kind, count in faults.items() if "too big" in kind)
    expect(bombs - 4 <= big <= bombs and len(faults) == 1, f"{bombs} bombs, counted are {faults}")
    peak = loaded.resident_bytes_peak
    expect(peak < 300 * MEBIBYTE, f"{peak / MEBIBYTE:.0f} MiB")
    return f"{bombs} bombs, {peak / MEBIBYTE:.0f} MiB at most"


def planted(kind, *words):
    readers, rate, seconds = 20, 300, 3
    plan = {}
    for number in range(60, 700):
        what = {3: "drop", 5: "twice", 8: "late"}.get(number % 10)
        if what and number % 7:
            plan[number] = what
    counts = {what: list(plan.values()).count(what) for what in ("drop", "twice", "late")}
    with kind(plan) as server:
        loaded = load(
            words[0], server.url(), *words[1:], "--connections", readers, "--rate", rate,
            "--warmup", "0s", "--duration", f"{seconds}s", "--fail-if", "gaps>0",
        )
    expect(loaded.code == 1, f"{counts} and exit code {loaded.code}")
    found = {
        "drop": loaded.values["gaps"],
        "twice": loaded.values["duplicates"],
        "late": loaded.values["reordered"],
    }
    expected = {what: count * readers for what, count in counts.items()}
    expect(found == expected, f"planted {expected}, found {found}")
    expect(loaded.values["errors"] == 0, loaded.faults())
    return f"{sum(expected.values())} of them"


def topics(server):
    """Publishers at a rate, and readers in every delivery: nobody misses anything that
    it wants, and the newest come less often."""
    words = ("--connections", 200, "--publishers", 4, "--rate", 500, "--keys", 10)
    words += ("--warmup", "500ms", "--duration", "2s")
    every = {}
    for delivery in ("all", "latest", "all@10", "latest@10"):
        loaded = load("ticker", server.url("/"), *words, "--delivery", delivery)
        values = loaded.values
        expect(loaded.code == 0 and values["errors"] == 0, f"{loaded.errors}{loaded.faults()}")
        order = [values[name] for name in ("gaps", "duplicates", "reordered")]
        expect(order == [0, 0, 0], f"{delivery}: {order}")
        every[delivery] = values["throughput"]
    # Ten keys, ten times a second; and the four publishers have all.
    expect(every["latest@10"] < 196 * 101 + 4 * 600, f"{every}")
    for delivery in ("all", "all@10"):
        expect(every[delivery] > 200 * 400, f"{every}")
    expect(every["latest@10"] < every["latest"] < every["all"], f"{every}")
    refused = load("ticker", server.url("/"), *words, "--channel", "a..b")
    faults = refused.faults()
    expect("refused: the server answered with an error" in faults, f"{faults}")
    return ", ".join(f"{delivery} {rate:,.0f}/s" for delivery, rate in every.items())


def rates_are_kept(server):
    """As many messages leave and return as were planned, in the whole and in each second."""
    plans = (
        (("--rate", 5_000), 5_000 * 4),
        (("--rate", "50/connection", "--connections", 100), 5_000 * 4),
        (("--rate", 5_000, "--arrivals", "poisson"), 5_000 * 4),
        (("--rate", "1000@1s,4000@1s,500@1s,2000"), 7_500),
    )

    def run(plan):
        return load("echo", server.url(), "--warmup", "0s", "--duration", "4s", *plan[0])

    # Two at a time: one takes a fraction of a core.
    with concurrent.futures.ThreadPoolExecutor(2) as both:
        runs = list(both.map(run, plans))
    for (flags, planned), loaded in zip(plans, runs):
        expect(loaded.code == 0, loaded.errors)
        sent = loaded.report["groups"][0]["figures"]["sent"]
        tolerance = 0.03 if "poisson" in flags else 0.01
        near(sent, planned, tolerance, f"what was sent with {flags}")
        near(loaded.values["messages"], planned, tolerance, f"what came back with {flags}")
        rows = loaded.report["rows"]
        expect(len(rows) == 4, f"{len(rows)} rows")
        expect(sum(row["sent"] for row in rows) == sent, "the rows do not add up")


def a_rate_that_is_not_kept(_server):
    """A server that does not read what is sent: it is reported, not stretched."""
    with FaultyServer() as server:
        # It never gets to see a message.
        server.message = lambda *_: server.done.wait(30)
        loaded = load(
            "echo", server.url(), "--connections", 1, "--rate", 2_000, "--size", "16KiB",
            "--warmup", "0s", "--duration", "2s", "--fail-if", "rate_sent<1900",
        )
        server.done.set()
    expect(loaded.code == 1, f"exit code {loaded.code}")
    expect("the planned rate was not kept" in loaded.errors, loaded.errors[-500:])
    values = loaded.values
    expect(values["unanswered"] > 0, "nothing is unanswered")
    # A message without an answer has waited since it was planned.
    waited = percentile(loaded.report["groups"][0]["figures"]["latency"], 1.0)
    expect(waited > 1.8, f"waited {waited} s")
    expect(loaded.resident_bytes_peak < 100 * MEBIBYTE, f"{loaded.resident_bytes_peak} bytes")


def highest_rate(_server):
    """A server that takes 2 ms for a message can do 500 a second."""
    with Serving(0.002) as server:
        loaded = load(
            "echo", server.url(), "--connections", 10, "--rate", 100, "--warmup", "200ms",
            "--duration", "1s", "--find-max", "p99<80ms", seconds=60,
        )
    expect(loaded.code == 0, loaded.errors)
    told = re.search(r"highest rate that keeps p99<80ms: ([\d,]+) a second", loaded.errors)
    expect(told, loaded.errors[-500:])
    highest = int(told[1].replace(",", ""))
    expect(200 <= highest <= 530, f"{highest} a second")
    lost = [line for line in loaded.errors.splitlines() if " lost: " in line]
    kept = [line for line in loaded.errors.splitlines() if re.search(r" kept( \(run again\))?$", line)]
    expect(lost and kept, f"{len(lost)} lost, {len(kept)} kept")
    return f"{highest} a second after {len(lost) + len(kept)} steps"


def half_refused(_server):
    with RefusingHalf() as server:
        loaded = load(
            "echo", server.url(), "--connections", 40, "--rate", 400, "--reconnect", "none",
            "--warmup", "0s", "--duration", "1s",
        )
        refused = server.counts["refused"]
    expect(loaded.code == 3, loaded.errors)
    faults = loaded.faults()
    expect(refused == 20, f"{refused} were refused")
    expect(faults == {"handshake: the server answered 503": refused}, faults)
    expect(loaded.values["opened"] == 20, f"{loaded.values['opened']} opened")
    # The others carry the whole rate.
    near(loaded.values["messages"], 400, 0.02, "messages")


def half_refused_and_again(_server):
    """A connection that is refused tries again, and is accepted in the end."""
    with RefusingHalf() as server:
        loaded = load(
            "echo", server.url(), "--connections", 40, "--rate", 400, "--reconnect", "100ms",
            "--warmup", "0s", "--duration", "2s",
        )
        refused = server.counts["refused"]
    faults = loaded.faults()
    expect(faults == {"handshake: the server answered 503": refused}, faults)
    expect(refused >= 20 and loaded.values["opened"] == 40, f"{refused} refused")


# The ways of a server to misbehave, and the kind of fault that each is counted as.
MISBEHAVIOURS = {
    "closes": "closed by the server: 1001",
    "ends": "ended without a close frame",
    "resets": "receive: connection reset",
    "sends_garbage": "protocol: ",
    "masks": "protocol: ",
    "inflates": "protocol: ",
    "answers_wrongly": "wrong: a message that is not the one awaited",
    "answers_16_mib": "wrong: a message that is not the one awaited",
    "promises_4_gib": "protocol: ",
    "answers_twice": None,
    "stays_silent": None,
    "answers_in_fragments": None,
    "floods_with_pings": None,
}


def misbehaving(_server):
    """Every misbehaviour of a server is counted by kind, and the run continues to its end in
    bounded memory."""
    for what, kind in MISBEHAVIOURS.items():
        heavy = what == "answers_16_mib"
        with Misbehaving(what) as server:
            loaded = load(
                "echo", server.url(), "--connections", 4, "--rate", 40 if heavy else 200,
                "--reconnect", "20ms", "--warmup", "0s", "--duration", "1s",
            )
            planted = server.counts.get(what, 0)
        # A fault of a few of many is suspicious; some faults are only odd.
        codes = {"answers_in_fragments": (0,), "floods_with_pings": (0,)}.get(what, (3,))
        expect(
            loaded.code in codes, f"{what}: exit code {loaded.code}: {loaded.errors[-500:]}"
        )
        expect(planted >= 3, f"{what}: only {planted} times")
        faults = loaded.faults()
        if kind is None:
            expect(not faults, f"{what}: {faults}")
            values = loaded.values
            found = {"answers_twice": values["duplicates"], "stays_silent": values["gaps"]}
            # Behind the last, it may be, nothing came that would tell.
            count = found.get(what, planted)
            expect(planted - 4 <= count <= planted, f"{what}: {planted} times, found {found}")
        else:
            count = sum(number for name, number in faults.items() if name.startswith(kind))
            # The last may have been under way when the run ended.
            expect(
                planted - 4 <= count <= planted, f"{what}: {planted} times, counted are {faults}"
            )
        peak = loaded.resident_bytes_peak
        expect(peak < (256 if heavy else 100) * MEBIBYTE, f"{what}: {peak / MEBIBYTE:.0f} MiB")
    return f"{len(MISBEHAVIOURS)} ways"


def nobody_there(_server):
    with FaultyServer() as server:
        port = server.port
    loaded = load(
        "echo", f"ws://127.0.0.1:{port}/", "--connections", 5, "--reconnect", "100ms",
        "--warmup", "0s", "--duration", "1s",
    )
    expect(loaded.code == 3, f"exit code {loaded.code}")
    # The server is waited for some seconds, and no longer.
    faults = loaded.faults()
    expect(list(faults) == ["connect: connection refused"], faults)
    expect(5 < sum(faults.values()) < 5 * 10 * 5, faults)


def faults_of_the_warm_up(_server):
    """They are no part of the first second that is measured."""
    class LettingOneIn(FaultyServer):
        def handshake(self, connection, head):
            if connection.number == 0:
                return super().handshake(connection, head)
            connection.reset()

    with LettingOneIn() as server:
        loaded = load(
            "echo", server.url(), "--connections", 5, "--reconnect", "50ms",
            "--warmup", "1200ms", "--duration", "1s",
        )
    total = loaded.values["errors"]
    measured = sum(row["faults"] for row in loaded.report["rows"])
    expect(0 < measured < 0.75 * total, f"{measured} of {total} in the measured second")


def stalled_readers(server):
    """A tenth of the readers stalls: the others do not notice, and the report separates them."""
    loaded = load(
        "slow-reader", server.url("/broadcast"), "--connections", 100, "--rate", 200,
        "--duration", "3s", "--server-pid", server.pid, "--fail-if", "gaps>0",
    )
    expect(loaded.code == 0, loaded.errors)
    values = loaded.values
    near(values["messages"], 200 * 3 * 90, 0.05, "deliveries to those who read")
    # Nothing beside the three seconds of the stall.
    expect(values["latency_p99"] < 1_000_000, f"their p99 is {values['latency_p99']} us")
    expect(values["stalled_messages"] > 0, "those who stalled caught up with nothing")
    stalled = loaded.report["groups"][0]["stalled"]
    # Their messages were as old as the stall.
    oldest = max(value for value, _ in stalled["latency"])
    expect(oldest > 1.5e9, f"the oldest is {oldest} ns")


def crowd(server):
    """19,000 connections: what each costs the generator."""
    connections = 19_000
    loaded = load(
        "idle", server.url(), "--connections", connections, "--duration", "1s",
        "--source", "127.0.0.2-127.0.0.5", "--server-pid", server.pid, seconds=60,
    )
    expect(loaded.code == 0, loaded.errors)
    values = loaded.values
    expect(values["opened"] == connections, f"{values['opened']} opened; {loaded.faults()}")
    own, servers = values["generator_bytes_per_connection"], values["server_resident_per_connection"]
    expect(0 < own <= 1024, f"{own:.0f} bytes of the generator per connection")
    expect(servers <= 1024, f"{servers:.0f} bytes of the server per connection")
    million = own * 1e6 / 1e9
    return f"{own:.0f} B each, a million would take {million:.2f} GB; the server's {servers:.0f} B"
