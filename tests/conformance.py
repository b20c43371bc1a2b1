"""Runs the Autobahn cases (the kosoku runner) against the release binary, with
one shard and with two, and judges the written report.

kosoku's exit code calls NON-STRICT a success and a dropped connection too, so
it is not looked at: every case has to be OK in behaviour and in closing, and
all of them have to be in the report.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from live.server import BINARY, Server

SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10)
CASES = 301
# These report what a server does and have no right answer.
ALWAYS_INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
# kosoku has no time-outs of its own for the handshake and the close.
SECONDS_MAX = 300


def judge(directory):
    """Prints what is not OK; returns whether the report is as it has to be."""
    cases, failed, without_code = 0, 0, []
    index = json.loads((directory / "index.json").read_text())
    # A case that could not even connect is filed under a second agent.
    for agent, results in index.items():
        for case, result in results.items():
            cases += 1
            if result["remoteCloseCode"] is None:
                without_code.append(case)
            if (result["behavior"], result["behaviorClose"]) == ("OK", "OK"):
                continue
            if case in ALWAYS_INFORMATIONAL and result["behavior"] == "INFORMATIONAL":
                continue
            failed += 1
            detail = json.loads((directory / result["reportfile"]).read_text())
            print(
                f"  {agent} {case} {result['behavior']} close={result['behaviorClose']} "
                f"code={result['remoteCloseCode']}: {detail['result']} {detail['resultClose']}"
            )
    print(
        f"  {cases} cases, {cases - failed - len(ALWAYS_INFORMATIONAL)} OK, {failed} not OK, "
        f"{len(ALWAYS_INFORMATIONAL)} informational; "
        f"ended without a close code: {' '.join(without_code) or 'none'}"
    )
    return failed == 0 and cases == CASES


def run(shards, path, binary, kosoku):
    """One whole run; returns whether it passed."""
    started = time.monotonic()
    print(f"conformance {path} with {shards} shard(s)", flush=True)
    with Server(shards, binary) as server, tempfile.TemporaryDirectory() as directory:
        command = ["timeout", "-k", "5", str(SECONDS_MAX), kosoku, "-m", "fuzzingclient"]
        command += [server.url(path), "-p", "1", "-o", directory]
        for section in SECTIONS:
            command += ["-i", f"{section}.*"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if not (pathlib.Path(directory) / "index.json").exists():
            print(f"  no report was written (exit code {done.returncode}):")
            print(done.stdout.decode(errors="replace")[-2000:])
            return False
        is_passed = judge(pathlib.Path(directory))
        code = server.stop()
        if code != 0 or "panicked" in server.errors():
            print(f"  the server ended with {code}: {server.errors()[-2000:]}")
            is_passed = False
    print(f"  {'ok' if is_passed else 'FAILED'} in {time.monotonic() - started:.1f}s", flush=True)
    return is_passed


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=BINARY)
    parser.add_argument("--kosoku", default=str(pathlib.Path(sys.executable).parent / "kosoku"))
    arguments = parser.parse_args()
    passed = [run(shards, "/echo", arguments.binary, arguments.kosoku) for shards in (1, 2)]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
