"""Runs the Autobahn cases (the kosoku runner) against the server and judges the written
reports: with one shard and with two, over `wss://` those that are not about size or speed,
and those of compression. kosoku is built without TLS: a forwarder stands between, which is
plain to it and speaks TLS to the server.

All parts run at the same time, each in a process of its own, for kosoku mostly waits: of a
minute that its slowest case takes, it computes for a second.

kosoku's exit code calls NON-STRICT a success and a dropped connection too, so
it is not looked at: every case has to be OK in behaviour and in closing, and
all of them have to be in the report.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import conformance_deflate
from live import programs
from live.server import Server
from live.tls_peer import NAME, any_context, server_identity

SECTIONS = (1, 2, 3, 4, 5, 6, 7, 9, 10)
CASES = 301
SECTIONS_SECURE = (1, 2, 3, 4, 5, 6, 7)
CASES_SECURE = 246
# These report what a server does and have no right answer.
ALWAYS_INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
# kosoku has no time-outs of its own for the handshake and the close.
SECONDS_MAX = 300
# Cases of a part that run at the same time.
PARALLEL = 8


async def carry(reader, writer):
    """Takes bytes from here to there, and the end of them too."""
    with contextlib.suppress(ConnectionError):
        while octets := await reader.read(1 << 16):
            writer.write(octets)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def forwarding(upstream):
    """A port that forwards to the port `upstream` over TLS."""
    loop = asyncio.new_event_loop()

    async def forward(reader, writer):
        secure_reader, secure_writer = await asyncio.open_connection(
            "127.0.0.1", upstream, ssl=any_context(), server_hostname=NAME
        )
        await asyncio.gather(carry(reader, secure_writer), carry(secure_reader, writer))

    listener = loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def judge(directory, cases_expected):
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
    return failed == 0 and cases == cases_expected


def run(shards, path, binary, kosoku, is_secure=False):
    """One whole run; returns whether it passed."""
    started = time.monotonic()
    sections, cases = (SECTIONS_SECURE, CASES_SECURE) if is_secure else (SECTIONS, CASES)
    options = {}
    if is_secure:
        options = {"listen": ["wss://127.0.0.1:0"], "flags": server_identity().flags()}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(shards, binary, **options))
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        print(f"conformance {server.scheme} {path} with {shards} shard(s)", flush=True)
        url = server.url(path)
        if is_secure:
            url = f"ws://127.0.0.1:{stack.enter_context(forwarding(server.port))}{path}"
        command = ["timeout", "-k", "5", str(SECONDS_MAX), kosoku, "-m", "fuzzingclient"]
        command += [url, "-p", str(PARALLEL), "-o", directory]
        for section in sections:
            command += ["-i", f"{section}.*"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if not (pathlib.Path(directory) / "index.json").exists():
            print(f"  no report was written (exit code {done.returncode}):")
            print(done.stdout.decode(errors="replace")[-2000:])
            return False
        is_passed = judge(pathlib.Path(directory), cases)
        code = server.stop()
        if code != 0 or "panicked" in server.errors():
            print(f"  the server ended with {code}: {server.errors()[-2000:]}")
            is_passed = False
    print(f"  {'ok' if is_passed else 'FAILED'} in {time.monotonic() - started:.1f}s", flush=True)
    return is_passed


def parts(how, is_all):
    """The parts of the run by name."""
    return {
        "plain-1": lambda: run(1, "/echo", *how),
        "plain-2": lambda: run(2, "/echo", *how),
        "secure": lambda: run(1, "/echo", *how, is_secure=True),
        "compression": lambda: conformance_deflate.run(1, how[0], is_all, False),
        "contexts": lambda: conformance_deflate.run(1, how[0], is_all, True),
    }


def run_part(name):
    """Runs a part in a process of its own, for its output comes in one piece."""
    command = [sys.executable, __file__, *sys.argv[1:], "--part", name]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    print(done.stdout.decode(errors="replace"), end="", flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bin-dir", type=pathlib.Path, default=programs.directory,
                        help="where the programs are (default: target/release)")
    parser.add_argument("--kosoku", default=str(pathlib.Path(sys.executable).parent / "kosoku"))
    parser.add_argument("--secure", action="store_true", help="only those over wss://")
    parser.add_argument("--all", action="store_true", help="all cases of compression, not a few")
    parser.add_argument("--compression", action="store_true", help="only those of compression")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    binary = arguments.bin_dir.resolve() / "tapecast"
    known = parts((binary, arguments.kosoku), arguments.all)
    if arguments.part:
        sys.exit(0 if known[arguments.part]() else 1)
    chosen = ["secure"] if arguments.secure else []
    chosen += ["compression", "contexts"] if arguments.compression else []
    chosen = chosen or list(known)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(chosen)) as pool:
        passed = list(pool.map(run_part, chosen))
    failed = [name for name, is_passed in zip(chosen, passed) if not is_passed]
    print(f"conformance took {time.monotonic() - started:.0f}s; failed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
