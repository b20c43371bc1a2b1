"""A running tapecast: started on a free port, measured, and stopped by its pid.

Measurements come from /proc, so they see what the kernel sees and not what the
server believes. Sockets that only exist inside an io_uring have no entry in
/proc/PID/fd: they are counted in /proc/net/tcp as well.
"""

import contextlib
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

from .programs import ROOT, program  # noqa: F401

BINARY = program("tapecast")
START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 15
# The soft limit that a login shell of Debian gives. The server has to raise it
# by itself, as it would have to when somebody starts it by hand.
SERVER_DESCRIPTORS_SOFT = 1024
# The states of a socket that somebody still holds (include/net/tcp_states.h):
# ESTABLISHED, SYN_RECV and CLOSE_WAIT. In the others the owner has let go.
STATES_HELD = {"01", "03", "08"}
# 127.0.0.1 as /proc/net/tcp has it.
LOOPBACK = "0100007F"


class Failure(AssertionError):
    """An expectation of a test was not met."""


def expect(condition, text):
    """Like assert, but not lost under -O, and always with a text."""
    if not condition:
        raise Failure(text)


def environment_of(variables):
    """The environment of this process with `variables`, and no others of Tapecast."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("TAPECAST_")
    }
    return inherited | (variables or {})


class Server:
    """`with Server(shards=2) as server:` runs the binary for that long.

    `program` is the binary's command, `before` is a command that becomes the binary, and `flags` are further words of
    the command line; `listen` is a list of addresses, None for no flag at all;
    `limits` is {name: value}; `environment` is added to this process's;
    `descriptors_hard` is the hard limit of open files; `prepare` is called in the new
    process before it becomes the server.
    """

    def __init__(
        self,
        shards,
        binary=BINARY,
        before=(),
        flags=(),
        listen=("127.0.0.1:0",),
        limits=None,
        environment=None,
        descriptors_hard=None,
        prepare=None,
        program="serve",
        **popen,
    ):
        self.shards = shards
        self.binary = binary
        self.process = None
        # Of the first TCP address.
        self.port = None
        self.scheme = "ws"
        # The trust of a client over TLS; None where the first address is plain.
        self.context = None
        # The addresses that it says it listens on.
        self.addresses = []
        self.exit_code = None
        self._errors = tempfile.TemporaryFile()
        self.command = [*before, binary, program, "--shards", str(shards)]
        for address in listen or ():
            self.command += ["--listen", address]
        for name, value in (limits or {}).items():
            self.command += ["--limit", f"{name}={value}"]
        self.command += flags
        self._environment = environment
        self._descriptors_hard = descriptors_hard
        self._prepare = prepare
        self._popen = popen

    def __enter__(self):
        def prepare():
            hard = self._descriptors_hard or resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (min(SERVER_DESCRIPTORS_SOFT, hard), hard)
            )
            if self._prepare:
                self._prepare()

        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment_of(self._environment),
            preexec_fn=prepare,
            **({"stderr": self._errors} | self._popen),
        )
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS_MAX)
        line = self.process.stdout.readline().decode() if ready else ""
        noun = "shard" if self.shards == 1 else "shards"
        match = re.fullmatch(rf"listening on (.+) \({self.shards} {noun}\)\n", line)
        if not match:
            self.stop(signal.SIGKILL)
            raise Failure(f"the server printed {line!r}; stderr: {self.errors()[-500:]}")
        self.addresses = match[1].split(", ")
        matches = [re.fullmatch(r"(wss?)://.*:(\d+)", address) for address in self.addresses]
        first = next((match for match in matches if match), None)
        if first:
            self.scheme, self.port = first[1], int(first[2])
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def stop(self, how=signal.SIGTERM):
        """Ends the process and returns its exit code. Harmless when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.exit_code = self.process.returncode
        return self.exit_code

    def is_alive(self):
        return self.process.poll() is None

    def errors(self):
        """All that it has written to stderr."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def url(self, path="/echo"):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def _status(self, name):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])

    def cpu_seconds(self):
        """CPU time of the whole process so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        return self._status("VmRSS") * 1024

    def resident_bytes_peak(self):
        """The highest since the start or since `reset_peak`."""
        return self._status("VmHWM") * 1024

    def reset_peak(self):
        # proc(5): writing 5 to clear_refs resets the peak to the current size.
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def threads(self):
        return self._status("Threads")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def connections(self, client_port=None):
        """Server-side sockets of connections, also those inside of a ring, that
        the server still holds; only the one to `client_port`, if given."""
        # With the address: a client of another test may have this port at another one.
        local = f"{LOOPBACK}:{self.port:04X}"
        count = 0
        with open("/proc/net/tcp") as table:
            next(table)
            for line in table:
                fields = line.split()
                if fields[1] == local and fields[3] in STATES_HELD:
                    if client_port is None or int(fields[2].split(":")[1], 16) == client_port:
                        count += 1
        return count

    def wait_for(self, condition, seconds, text):
        """Waits until `condition()` holds; a failure with `text` when it never does."""
        end = time.monotonic() + seconds
        while not condition():
            expect(time.monotonic() < end, text() if callable(text) else text)
            expect(self.is_alive(), f"the server died: {self.process.returncode}")
            time.sleep(0.05)


@contextlib.contextmanager
def serving(like, **options):
    """A server for a part of a test, with the binary and the number of shards of
    `like`: it has to live through that part and to end in order."""
    # Nobody waits for a load balancer to notice; a flag can say otherwise.
    environment = {"TAPECAST_LIMITS_DRAIN_NOTICE_MS": "0"} | options.pop("environment", {})
    shards = options.pop("shards", like.shards)
    server = Server(shards, like.binary, environment=environment, **options)
    with server:
        yield server
        code = server.stop()
        expect(code == 0, f"the server ended with {code}: {server.errors()[-500:]}")
    expect("panicked" not in server.errors(), f"it panicked: {server.errors()[-500:]}")


@contextlib.contextmanager
def configured(like, text, flags=(), **options):
    """As `serving`, with this configuration."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        path = pathlib.Path(directory, "tapecast.toml")
        path.write_text(text)
        with serving(like, flags=["--config", str(path), *flags], **options) as server:
            yield server


def command(like, *words, environment=None, prepare=None, seconds_max=10, **popen):
    """Runs a command of the binary of `like` to its end."""
    return subprocess.run(
        [like.binary, *words],
        stdin=subprocess.DEVNULL,
        env=environment_of(environment),
        preexec_fn=prepare,
        timeout=seconds_max,
        text=True,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen),
    )
