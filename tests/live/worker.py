"""A process that runs live tests, one after the other.

Tests share a server for as long as it lives, one for each number of shards; a server has
to end with 0. The failures of a test stay in its process: one that hangs is killed with it.
"""

import asyncio
import inspect
import multiprocessing
import os
import signal
import sys
import time
import traceback
from typing import NamedTuple

from . import ports
from .registry import TESTS
from .server import Failure, Server


class Job(NamedTuple):
    """A test with a number of shards, by its place in the registry."""

    index: int
    shards: int
    # The chances that were lost before.
    chances_lost: int = 0

    @property
    def test(self):
        return TESTS[self.index]

    @property
    def name(self):
        return f"{self.test.name} ({self.shards})"


class Outcome(NamedTuple):
    # Why the test failed; None when it passed.
    reason: str | None
    # A remark of a test that passed.
    remark: str
    # The traceback and the last lines of the server, for a failure.
    details: str
    seconds: float


class TimeIsUp(BaseException):
    """Not an `Exception`: a test that expects failures must not take it for one."""


def on_alarm(*_):
    raise TimeIsUp


def call(function, server, seconds_max):
    """Calls a test within its time; returns its remark."""
    signal.signal(signal.SIGALRM, on_alarm)
    is_async = inspect.iscoroutinefunction(function)
    # A coroutine is cancelled first. Again and again, in case one ends up where nothing
    # passes it on.
    signal.setitimer(signal.ITIMER_REAL, seconds_max + (5 if is_async else 0), 5)
    try:
        if is_async:
            return asyncio.run(asyncio.wait_for(function(server), seconds_max))
        return function(server)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def place_of(error):
    """The line of a test at which it failed."""
    frames = traceback.extract_tb(error.__traceback__)
    tests = os.path.dirname(__file__)
    own = [
        frame
        for frame in frames
        if os.path.dirname(frame.filename) == tests
        and frame.filename != __file__
        and frame.name != "expect"
    ]
    frame = own[-1] if own else frames[-1]
    return f"{os.path.relpath(frame.filename)}:{frame.lineno}"


def attempt(test, server):
    """Runs a test once; returns its reason to fail, its remark and its traceback."""
    try:
        return None, call(test.function, server, test.seconds_max) or "", ""
    except TimeIsUp as error:
        reason = f"not finished after {test.seconds_max}s ({place_of(error)})"
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, TimeoutError) and not str(error):
            what = f"not finished in time, at most {test.seconds_max}s"
        reason = f"{what} ({place_of(error)})"
    return reason, "", traceback.format_exc()


def run(job, server, verbose):
    started = time.monotonic()
    reason, remark, details = attempt(job.test, server)
    reasons = [reason] if reason else []
    if "panicked" in server.errors():
        reasons.insert(0, "the server panicked")
    if not server.is_alive() and server.process.returncode != 0:
        reasons.insert(0, f"the server ended with {server.process.returncode}")
    reason = "; ".join(reasons) or None
    if not verbose:
        details = ""
    if reason is not None:
        details += "".join(f"server: {line}\n" for line in server.errors().splitlines()[-5:])
    return Outcome(reason, remark, details, time.monotonic() - started)


class Servers:
    """The servers that tests share, by their number of shards."""

    def __init__(self):
        self.shared = {}

    def get(self, shards):
        server = self.shared.get(shards)
        if server is None or not server.is_alive():
            server = self.shared[shards] = Server(shards)
            server.__enter__()
        return server

    def stop(self):
        """Ends them all; returns what is wrong with how they end."""
        failures = []
        for shards, server in self.shared.items():
            code = server.stop()
            if code != 0:
                errors = server.errors()[-1000:]
                failures.append(f"a shared server ({shards}) ended with {code}: {errors}")
        self.shared.clear()
        return failures


def serve(channel, number, verbose, inherited):
    """The process: takes jobs from the channel and answers each with its outcome, until
    there is None in place of one; then says how its servers ended."""
    # With a group of its own, it can be killed with everything that it started.
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for other in inherited:
        other.close()
    ports.use_range(number)
    servers = Servers()
    try:
        while (job := channel.recv()) is not None:
            try:
                if job.test.own_server:
                    with Server(job.shards) as server:
                        outcome = run(job, server, verbose)
                else:
                    outcome = run(job, servers.get(job.shards), verbose)
            except Failure as failure:
                outcome = Outcome(f"no server: {failure}", "", "", 0.0)
            sys.stdout.flush()
            channel.send(outcome)
        channel.send(servers.stop())
    except (EOFError, KeyboardInterrupt):
        pass
    finally:
        servers.stop()


class Worker:
    """The other side of that process."""

    # To start a server, to try, to clean up: a test that takes longer hangs.
    SECONDS_BEYOND = 60

    def __init__(self, number, verbose, others):
        context = multiprocessing.get_context("fork")
        self.channel, theirs = context.Pipe()
        inherited = [self.channel, *(other.channel for other in others)]
        self.process = context.Process(target=serve, args=(theirs, number, verbose, inherited))
        self.process.start()
        theirs.close()
        self.number = number
        self.job = None
        self.deadline = None

    def give(self, job):
        self.job = job
        self.deadline = time.monotonic() + job.test.seconds_max + self.SECONDS_BEYOND
        self.channel.send(job)

    def take(self):
        """The outcome of its job; None when the process died of it."""
        try:
            outcome = self.channel.recv()
        except (EOFError, ConnectionError):
            return None
        self.job = None
        return outcome

    def end(self):
        """Lets it end in order; returns what went wrong with its servers."""
        self.channel.send(None)
        if not self.channel.poll(self.SECONDS_BEYOND):
            self.kill()
            return ["a process with shared servers did not end"]
        failures = self.take()
        self.process.join()
        self.channel.close()
        return ["a process with shared servers died"] if failures is None else failures

    def terminate(self):
        """Has it stop its servers and end."""
        self.process.terminate()

    def kill(self):
        """Ends it and everything that it started."""
        self.terminate()
        self.process.join(10)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.join()
        self.channel.close()
