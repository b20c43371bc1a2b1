"""The Autobahn cases about permessage-deflate (sections 12 and 13), which
`conformance.py` runs after the others.

Three ends are in order. OK. UNIMPLEMENTED and a clean close, where a case offers
nothing but a smaller window of the server's, which is declined. And of the cases that
are named below, the fault of the runner: it takes a message that comes uncompressed
after compression was agreed on (which RFC 7692, 6, allows, and which is the answer to
what does not become smaller) for text, binary or not, and can't go on. Then what the
server did is not known; the live tests look at such messages.
"""

import json
import pathlib
import subprocess
import tempfile
import time

from live.server import Server

KINDS = ("12.1", "12.2", "12.3", "12.4", "12.5") + tuple(f"13.{kind}" for kind in range(1, 8))
NUMBERS = range(1, 19)
# A mebibyte a case or two: 256 bytes to 128 KiB, whole and in fragments.
NUMBERS_CHOSEN = (1, 3, 4, 6, 8, 11, 13, 18)
NUMBERS_CHOSEN_CONTEXTS = (1, 6, 11, 18)
# Only server_max_window_bits of 8 and of 9 is offered.
DECLINED = {f"{kind}.{number}" for kind in ("13.3", "13.5") for number in NUMBERS}
RUNNER_FAULT = "Strings must be encoded before hashing"
# Messages of 16 and 64 bytes; a picture and a PDF, which level 1 makes no smaller.
RUNNER_FAULT_CASES = {
    "12.1.1", "12.1.2", "12.3.1", "12.3.2", "12.4.1", "12.4.2", "13.1.1", "13.1.2", "13.2.1",
    "13.2.2", "13.4.1", "13.4.2", "13.6.1", "13.6.2", "13.7.1", "13.7.2",
    "12.2.1", "12.2.2", "12.2.3", "12.2.4", "12.2.5", "12.2.6", "12.2.7", "12.2.8", "12.2.9",
    "12.2.10", "12.2.11", "12.2.12", "12.2.13", "12.2.14", "12.2.15", "12.2.16", "12.2.17",
    "12.2.18",
    "12.5.1", "12.5.2", "12.5.3", "12.5.4", "12.5.5", "12.5.6", "12.5.7", "12.5.8", "12.5.9",
    "12.5.10", "12.5.11", "12.5.12", "12.5.13", "12.5.14", "12.5.15", "12.5.16", "12.5.17",
    "12.5.18",
}
SECONDS_MAX, SECONDS_MAX_ALL = 200, 900


def judge(directory, expected):
    """Prints what is not in order and the counts; returns whether all of it is."""
    passed, declined, set_aside, failed = [], [], [], []
    index = json.loads((directory / "index.json").read_text())
    for agent, results in index.items():
        for case, result in results.items():
            detail = json.loads((directory / result["reportfile"]).read_text())
            ends = (result["behavior"], result["behaviorClose"])
            if ends == ("OK", "OK"):
                passed.append(case)
            elif case in DECLINED and ends == ("UNIMPLEMENTED", "OK"):
                declined.append(case)
            elif (
                case in RUNNER_FAULT_CASES
                and result["behavior"] == "ERROR"
                and detail["result"] == RUNNER_FAULT
            ):
                set_aside.append(case)
            else:
                failed.append(case)
                print(f"  {agent} {case} {ends}: {detail['result']} {detail['resultClose']}")
    cases = passed + declined + set_aside + failed
    missing = set(expected) - set(cases)
    if missing or len(cases) != len(expected):
        print(f"  {len(cases)} cases instead of {len(expected)}; missing: {sorted(missing)}")
    print(
        f"  {len(cases)} cases, {len(passed)} OK, {len(failed)} not OK, {len(declined)} offers "
        f"declined, {len(set_aside)} set aside: the runner says {RUNNER_FAULT!r}"
    )
    return not failed and not missing and len(cases) == len(expected) and len(passed) > 0


# As much as a case takes, at the same time as nobody else.
CONTEXTS = {"deflate_contexts_bytes_max": 1 << 20, "deflate_context_bytes_min": 1}


def run(shards, binary, kosoku, is_all, has_contexts):
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
        command = ["timeout", "-k", "5", str(seconds_max), kosoku, "-m", "fuzzingclient"]
        command += [server.url("/echo"), "-p", "1", "-o", directory]
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
