"""Ports for what can't choose one itself.

A port that is free when it is looked for may be taken when it is used: by a test that runs
at the same time, or by the kernel for a connection. So every process of a run has a range
of its own, below those that the kernel gives out.
"""

import os
import socket

FIRST, EACH, RANGES = 10_000, 1_000, 20
_first = FIRST
_next = os.getpid() % EACH


def use_range(number):
    """From now on this process takes its ports from this range."""
    global _first
    _first = FIRST + EACH * (number % RANGES)


def free_port():
    """A port of 127.0.0.1 at which nobody listens, and that is not handed out again soon."""
    global _next
    for _ in range(EACH):
        port = _first + _next % EACH
        _next += 1
        with socket.socket() as probe:
            # As servers bind: a connection that has ended keeps its port for a while.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port is free from {_first} to {_first + EACH - 1}")
