"""The reports on a machine that does not allow what the server needs, by `doctor` and by the
start itself, in real sandboxes.
"""

import ctypes
import errno
import os
import re
import resource
import struct

from .configuring import EXIT_CONFIG
from .server import command, expect

SUBJECTS = {
    "kernel",
    "io_uring_disabled",
    "seccomp",
    "ring",
    "descriptors",
    "cores",
    "memory",
    "socket memory",
    "backlog",
}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
# The same number on every architecture that is younger than 2019.
IO_URING_SETUP = 425
BPF_LOAD_WORD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000


def forbid_io_uring(answer):
    """A function for the new process: from then on, io_uring_setup fails with
    `answer`, as in a container whose seccomp profile lacks it."""
    instructions = [
        # The system call's number is first in seccomp_data.
        (BPF_LOAD_WORD, 0, 0, 0),
        (BPF_JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
        (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO | answer),
        (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog; the pointer is aligned.
    filter_ = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare():
        for words in (
            (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter_, 0, 0),
        ):
            if libc.prctl(*words) != 0:
                raise OSError(ctypes.get_errno(), "prctl")
        assert buffer

    return prepare


def findings(server, *words, **options):
    """The findings of the doctor: the exit code, and {subject: (verdict, text)}."""
    result = command(server, "doctor", *words, **options)
    expect(not result.stderr, f"said on stderr: {result.stderr}")
    found = {}
    for line in result.stdout.splitlines():
        match = re.fullmatch(r"(ok|note|warn|FAIL) +(\S+(?: \S+)*) {1,}(.*)", line)
        expect(match, f"a line without a verdict: {line!r}")
        verdict = match[1]
        # Columns: the verdict has six, the subject nineteen.
        subject, text = line[6:24].strip(), line[25:]
        expect(
            (verdict == "ok") != ("; fix: " in text), f"{verdict}, and a fix or none: {line!r}"
        )
        found[subject] = (verdict, text)
    verdicts = {verdict for verdict, _ in found.values()}
    expected = EXIT_CONFIG if "FAIL" in verdicts else 1 if "warn" in verdicts else 0
    expect(
        result.returncode == expected, f"exit code {result.returncode} for {sorted(verdicts)}"
    )
    expect(SUBJECTS <= found.keys(), f"not looked at: {SUBJECTS - found.keys()}")
    return result.returncode, found


def doctor(server):
    """Exit code by severity, a verdict on every line, a fix for each that fails;
    and it looks at what it was configured to."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    modest = ["--limit=connections_max=100", "--limit=socket_send_bytes=64KiB"]
    usual, found = findings(server, *modest, "--shards=1")
    for subject in ("kernel", "ring", "descriptors", "cores", "memory", "io_uring_disabled"):
        expect(found[subject][0] == "ok", f"{subject}: {found[subject]}, and this server runs")
    # One core too few.
    code, found = findings(server, *modest, "--shards=60000")
    expect(found["cores"][0] == "warn" and code == max(usual, 1), f"{code}: {found['cores']}")
    # More connections than memory. The environment counts as it does for `serve`.
    environment = {"TAPECAST_LIMITS_CONNECTIONS_MAX": str(1 << 30)}
    code, found = findings(server, "--shards=1", environment=environment)
    expect(found["memory"][0] == "warn", f"{found['memory']}")
    expect(found["descriptors"][0] == "warn" or hard > 1 << 30, f"{found['descriptors']}")
    # Stalled readers that fill the kernel's memory.
    code, found = findings(server, *modest, "--limit=socket_send_bytes=1GiB")
    wmem_max = int(open("/proc/sys/net/core/wmem_max").read())
    tcp_mem = int(open("/proc/sys/net/ipv4/tcp_mem").read().split()[2]) * resource.getpagesize()
    wanted = "warn" if tcp_mem // min(1 << 30, 2 * wmem_max) < 1_000 else "ok"
    expect(found["socket memory"][0] == wanted, f"{found['socket memory']}, expected {wanted}")
    # A backlog that the kernel cuts.
    somaxconn = int(open("/proc/sys/net/core/somaxconn").read())
    wanted = "warn" if somaxconn < 65536 else "ok"
    code, found = findings(server, *modest, "--limit=listen_backlog=65536")
    expect(found["backlog"][0] == wanted, f"{found['backlog']}, expected {wanted}")
    return f"exit code {usual} here"


def few_descriptors(server):
    """A low limit of open files is a warning with the number."""

    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    code, found = findings(server, "--limit=connections_max=1000", prepare=lower)
    verdict, text = found["descriptors"]
    expect(verdict == "warn" and "256" in text and "1000" in text, f"{verdict} {text}")
    expect(code == 1, f"exit code {code}")
    _, found = findings(server, "--limit=connections_max=100", prepare=lower)
    expect(found["descriptors"][0] == "ok", f"room for 100 of 256: {found['descriptors']}")


def io_uring_forbidden(server):
    """The doctor says FAIL on the ring, the server one line; both end with 78."""
    for answer, word in ((errno.EPERM, "seccomp"), (errno.ENOSYS, "sandbox")):
        sandbox = forbid_io_uring(answer)
        name = os.strerror(answer)
        code, found = findings(server, "--shards=1", prepare=sandbox)
        expect(code == EXIT_CONFIG, f"{name}: exit code {code}")
        expect(found["ring"][0] == "FAIL" and word in found["ring"][1], f"{name}: {found['ring']}")
        expect("filter is installed" in found["seccomp"][1], f"{name}: {found['seccomp']}")
        for shards in (1, server.shards):
            started = command(
                server, "serve", "--listen=127.0.0.1:0", f"--shards={shards}", prepare=sandbox
            )
            expect(started.returncode == EXIT_CONFIG, f"{name}: serve ended with {started}")
            expect(
                started.stderr.count("\n") == 1
                and started.stderr.startswith("tapecast: ")
                and word in started.stderr,
                f"{name}: serve said {started.stderr!r}",
            )
            expect(started.stdout == "", f"{name}: serve printed {started.stdout!r}")
    # Nothing of a Unix socket is left either.
    path = f"/tmp/tapecast-forbidden-{os.getpid()}.sock"
    command(server, "serve", f"--listen=unix:{path}", "--shards=1", prepare=sandbox)
    expect(not os.path.exists(path), "the socket of a server that did not start is left behind")
