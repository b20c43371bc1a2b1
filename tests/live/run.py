"""Runs the live tests: programs from --bin-dir, used as their users use them.

First the tests that may run beside others, several at a time, each process with a server
of its own; then, one by one, those that need the machine for themselves. A test that fails
does not stop the others. Results are in the order of the registry. The last line is
`N passed, M failed`; the exit code is 0 if tests ran and all of them passed.
"""

import argparse
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from live import programs  # noqa: E402

JOBS_MAX = 16
SLOWEST = 10


def chosen(tests, names, is_quick):
    """The places of the tests that the command line asks for.

    One that takes minutes runs if a name is in its name and in no ordinary test's."""
    ordinary = [test.name for test in tests if not test.on_request]
    exact = [name for name in names if not any(name in other for other in ordinary)]
    places = []
    for place, test in enumerate(tests):
        wanted = exact if test.on_request else names
        is_named = any(name in test.name for name in wanted)
        if test.on_request and not is_named:
            continue
        if (is_named or not names) and not (is_quick and test.long):
            places.append(place)
    return places


class Results:
    """The outcomes of the jobs, printed in their order as soon as they are known."""

    def __init__(self):
        self.outcomes = {}
        self.again = []
        self.failures = []

    def print(self, job, outcome):
        self.outcomes[job] = outcome
        if outcome.reason is None:
            remark = f" ({outcome.remark})" if outcome.remark else ""
            print(f"ok {job.name} {outcome.seconds:.2f}s{remark}", flush=True)
            return
        if job.chances_lost + 1 < job.test.chances:
            self.again.append(job._replace(chances_lost=job.chances_lost + 1))
            print(f"again {job.name} {outcome.seconds:.2f}s {outcome.reason}", flush=True)
            return
        print(f"FAILED {job.name} {outcome.seconds:.2f}s {outcome.reason}")
        print("".join(f"    {line}\n" for line in outcome.details.splitlines()), end="", flush=True)
        self.failures.append(f"{job.name} {outcome.reason.splitlines()[0]}")

    def add_failures(self, failures):
        for failure in failures:
            print(f"FAILED {failure}", flush=True)
            self.failures.append(failure)

    def passed(self):
        return sum(outcome.reason is None for outcome in self.outcomes.values())


def run_jobs(jobs, count, verbose, results):
    """Runs jobs in so many processes."""
    from live.worker import Outcome, Worker

    waiting, printed, known = list(jobs), 0, {}
    workers = []
    try:
        for number in range(min(count, len(jobs))):
            workers.append(Worker(number, verbose, workers))
        while printed < len(jobs):
            for worker in workers:
                if worker.job is None and waiting:
                    worker.give(waiting.pop(0))
            busy = {worker.channel: worker for worker in workers if worker.job}
            ready = multiprocessing.connection.wait(busy, timeout=1)
            for channel, worker in busy.items():
                job, outcome = worker.job, None
                if channel in ready:
                    outcome = worker.take()
                    reason = "the process that ran it died"
                elif time.monotonic() > worker.deadline:
                    reason = "it hangs, and was killed"
                else:
                    continue
                known[job] = outcome or Outcome(reason, "", "", job.test.seconds_max)
                if outcome is None:
                    worker.kill()
                    workers.remove(worker)
                    workers.append(Worker(worker.number, verbose, workers))
            while printed < len(jobs) and jobs[printed] in known:
                results.print(jobs[printed], known[jobs[printed]])
                printed += 1
        while workers:
            results.add_failures(workers.pop().end())
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.kill()


def summary(results, seconds, since):
    slowest = sorted(results.outcomes.items(), key=lambda item: -item[1].seconds)[:SLOWEST]
    print(f"live tests took {seconds:.0f}s; the slowest were:")
    for job, outcome in slowest:
        print(f"    {outcome.seconds:6.2f}s {job.name}")
    for failure in results.failures:
        print(f"failed: {failure}")
    if since:
        print(f"everything took {time.time() - since:.0f}s")
    print(f"{results.passed()} passed, {len(results.failures)} failed", flush=True)


def default_jobs():
    # Tests mostly wait: they compute for a sixth of their time.
    return min(JOBS_MAX, 2 * len(os.sched_getaffinity(0)))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bin-dir", type=pathlib.Path, default=programs.directory,
                        help="where the programs are (default: target/release)")
    parser.add_argument("--jobs", type=int, default=default_jobs(), metavar="N",
                        help="processes that run tests at the same time (default: %(default)s)")
    parser.add_argument("--alone-after", type=pathlib.Path, metavar="FILE",
                        help="start those that run alone once this file is there")
    parser.add_argument("--since", type=float, metavar="TIME",
                        help="print how long everything took since this Unix time, too")
    parser.add_argument("--quick", action="store_true", help="leave the long tests out")
    parser.add_argument("--shards", type=int, action="append", choices=(1, 2), metavar="N",
                        help="with 1 or 2 shards only (default: both)")
    parser.add_argument("--list", action="store_true", help="print the tests and run none")
    parser.add_argument("--verbose", action="store_true", help="print tracebacks")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="only tests whose name contains one of these")
    arguments = parser.parse_args()
    if not 1 <= arguments.jobs <= JOBS_MAX:
        parser.error(f"--jobs: expected 1 to {JOBS_MAX}")
    return arguments


def main():
    arguments = parse_arguments()
    # The processes that run tests are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Before a test is imported.
    programs.directory = arguments.bin_dir.resolve()
    from live.registry import TESTS
    from live.worker import Job

    places = chosen(TESTS, arguments.names, arguments.quick)
    if arguments.list:
        for test in (TESTS[place] for place in places):
            notes = [f"alone: {test.alone}" if test.alone else "", "long" if test.long else ""]
            print("; ".join([test.name, *filter(None, notes)]))
        return
    shards = arguments.shards or (1, 2)
    jobs = [Job(at, each) for each in (1, 2) if each in shards
            for at in places if each in TESTS[at].shards]
    if not jobs:
        print("no test has such a name")
    beside = [job for job in jobs if not job.test.alone]
    alone = [job for job in jobs if job.test.alone]
    print(f"{len(beside)} tests, {arguments.jobs} at a time, then {len(alone)} alone", flush=True)
    started, results = time.monotonic(), Results()
    run_jobs(beside, arguments.jobs, arguments.verbose, results)
    seconds = time.monotonic() - started
    print(f"those beside others took {seconds:.0f}s", flush=True)
    while arguments.alone_after and not arguments.alone_after.exists():
        time.sleep(0.2)
    while remaining := results.again + alone:
        results.again, alone = [], []
        run_jobs(remaining, 1, arguments.verbose, results)
    summary(results, time.monotonic() - started, arguments.since)
    sys.exit(0 if results.passed() and not results.failures else 1)


if __name__ == "__main__":
    main()
