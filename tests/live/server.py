"""A running tapecast: started on a free port, measured, and stopped by its pid.

Measurements come from /proc, so they see what the kernel sees and not what the
server believes. Sockets that only exist inside an io_uring have no entry in
/proc/PID/fd: they are counted in /proc/net/tcp as well.
"""

import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "tapecast"
START_SECONDS_MAX = 10
STOP_SECONDS_MAX = 15
# The soft limit that a login shell of Debian gives. The server has to raise it
# by itself, as it would have to when somebody starts it by hand.
SERVER_DESCRIPTORS_SOFT = 1024
# The states of a socket that somebody still holds (include/net/tcp_states.h):
# ESTABLISHED, SYN_RECV and CLOSE_WAIT. In the others the owner has let go.
STATES_HELD = {"01", "03", "08"}


class Failure(AssertionError):
    """What a test expected did not happen."""


def expect(condition, text):
    """Like assert, but not lost under -O, and always with a text."""
    if not condition:
        raise Failure(text)


class Server:
    """`with Server(shards=2) as server:` runs the binary for that long; `before` is
    a command that becomes the binary, and `options` are further flags."""

    def __init__(self, shards, binary=BINARY, before=(), options=()):
        self.shards = shards
        self.binary = binary
        self.command = [*before, binary, "serve", "--listen", "127.0.0.1:0"]
        self.command += ["--shards", str(shards), *options]
        self.process = None
        self.port = None
        self.exit_code = None
        self._errors = tempfile.TemporaryFile()

    def __enter__(self):
        def lower_soft_limit():
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (min(SERVER_DESCRIPTORS_SOFT, hard), hard)
            )

        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            preexec_fn=lower_soft_limit,
        )
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS_MAX)
        line = self.process.stdout.readline().decode() if ready else ""
        noun = "shard" if self.shards == 1 else "shards"
        match = re.fullmatch(
            rf"listening on ws://127\.0\.0\.1:(\d+) \({self.shards} {noun}\)\n", line
        )
        if not match:
            self.stop(signal.SIGKILL)
            raise Failure(f"the server printed {line!r}; stderr: {self.errors()[-500:]}")
        self.port = int(match[1])
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
        return f"ws://127.0.0.1:{self.port}{path}"

    def _status(self, name):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+)", text, re.M)[1])

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
        local = f"{self.port:04X}"
        count = 0
        with open("/proc/net/tcp") as table:
            next(table)
            for line in table:
                fields = line.split()
                if fields[1].endswith(":" + local) and fields[3] in STATES_HELD:
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
