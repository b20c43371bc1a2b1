"""The Autobahn cases about permessage-deflate (sections 12 and 13), which
`conformance.py` runs after the others.

Every case has to end OK, for all of them can be judged: kosoku's own fault is mended
(kosoku_mended.py).
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from live.server import Server

KINDS = ("12.1", "12.2", "12.3", "12.4", "12.5") + tuple(f"13.{kind}" for kind in range(1, 8))
NUMBERS = range(1, 19)
# A mebibyte a case or two: 256 bytes to 128 KiB, whole and in fragments.
NUMBERS_CHOSEN = (1, 3, 4, 6, 8, 11, 13, 18)
NUMBERS_CHOSEN_CONTEXTS = (1, 6, 11, 18)
RUNNER = pathlib.Path(__file__).parent / "kosoku_mended.py"
SECONDS_MAX, SECONDS_MAX_ALL = 200, 900
# Cases that run at the same time. They compute, so more of them would only wait longer.
PARALLEL = 2


def judge(directory, expected):
    """Prints what is not in order and the counts; returns whether all of it is."""
    passed, failed = [], []
    index = json.loads((directory / "index.json").read_text())
    for agent, results in index.items():
        for case, result in results.items():
            detail = json.loads((directory / result["reportfile"]).read_text())
            ends = (result["behavior"], result["behaviorClose"])
            if ends == ("OK", "OK"):
                passed.append(case)
            else:
                failed.append(case)
                print(f"  {agent} {case} {ends}: {detail['result']} {detail['resultClose']}")
    cases = passed + failed
    missing = set(expected) - set(cases)
    if missing or len(cases) != len(expected):
        print(f"  {len(cases)} cases instead of {len(expected)}; missing: {sorted(missing)}")
    print(f"  {len(cases)} cases, {len(passed)} OK, {len(failed)} not OK")
    return not failed and not missing and len(cases) == len(expected) and len(passed) > 0


# As much as a case takes, at the same time as nobody else.
CONTEXTS = {"deflate_contexts_bytes_max": 1 << 20, "deflate_context_bytes_min": 1}


def run(shards, binary, is_all, has_contexts):
    """The chosen cases, or all, each message by itself or with contexts; returns whether
    they passed."""
    started = time.monotonic()
    chosen = NUMBERS_CHOSEN_CONTEXTS if has_contexts else NUMBERS_CHOSEN
    numbers = NUMBERS if is_all else chosen
    expected = [f"{kind}.{number}" for kind in KINDS for number in numbers]
    how = "with contexts" if has_contexts else "by itself"
    print(f"conformance of compression {how} with {shards} shard(s)", flush=True)
    limits = {"deflate_bytes_min": 1} | (CONTEXTS if has_contexts else {})
    options = {"flags": ["--compression"], "limits": limits}
    with Server(shards, binary, **options) as server, tempfile.TemporaryDirectory() as directory:
        seconds_max = SECONDS_MAX_ALL if is_all else SECONDS_MAX
        command = ["timeout", "-k", "5", str(seconds_max), sys.executable, RUNNER]
        command += ["-m", "fuzzingclient"]
        command += [server.url("/echo"), "-p", str(PARALLEL), "-o", directory]
        for case in expected:
            command += ["-i", case]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if not (pathlib.Path(directory) / "index.json").exists():
            print(f"  no report was written (exit code {done.returncode}):")
            print(done.stdout.decode(errors="replace")[-2000:])
            return False
        is_passed = judge(pathlib.Path(directory), expected)
        code = server.stop()
        if code != 0 or "panicked" in server.errors():
            print(f"  the server ended with {code}: {server.errors()[-2000:]}")
            is_passed = False
    print(f"  {'ok' if is_passed else 'FAILED'} in {time.monotonic() - started:.1f}s", flush=True)
    return is_passed
