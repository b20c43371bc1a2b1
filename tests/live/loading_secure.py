"""The load generator over TLS."""

import pathlib
import subprocess
import tempfile
import time

from .administration import Admin
from .loading import load, near
from .ports import free_port
from .server import expect, serving
from .tls_peer import authority, secure


def words_of_a_second():
    return ("--connections", 3, "--warmup", "0s", "--duration", "1s", "--reconnect", "none")


def its_own(server, directory, words):
    """A certificate that is its own authority is no server's, unless it says so."""
    for addition, ends in (((), False), (("-addext", "basicConstraints=critical,CA:FALSE"), True)):
        cert, key = directory / "test.pem", directory / "test.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "30", "-subj", "/CN=localhost", *addition, "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True, capture_output=True, timeout=20,
        )
        flags = ("--tls-cert", cert, "--tls-key", key)
        with serving(server, flags=flags, listen=("wss://127.0.0.1:0",)) as own:
            url = f"wss://127.0.0.1:{own.port}/echo"
            ways = ((("--ca", cert), ends), (("--insecure",), True), ((), False))
            for flags, passes in ways:
                loaded = load("echo", url, *words, "--rate", 100, "--reconnect", "none", *flags)
                expect((loaded.code == 0) == passes, f"{flags}: {loaded.errors}")
                for kind in loaded.faults():
                    expect("--insecure" in kind and "(" not in kind, f"{flags}: {kind}")


def over_tls(server):
    """With an authority that is given, and with anybody; sessions are resumed where that
    is asked for; and nobody else is trusted."""
    with secure(server) as own:
        url, trusted = f"wss://127.0.0.1:{own.port}/echo", ("--ca", authority().path)
        words = ("--connections", 20, "--warmup", "0s", "--duration", "1s")
        for flags in (trusted, ("--insecure",), (*trusted, "--size", "100KiB")):
            loaded = load("echo", url, *words, "--rate", 500, *flags)
            expect(loaded.code == 0 and not loaded.faults(), f"{flags}: {loaded.faults()}")
            near(loaded.values["messages"], 500, 0.05, f"messages with {flags}")
        refused = load("echo", url, *words, "--rate", 500, "--reconnect", "none")
        expect(refused.code == 3, "an authority of its own was trusted")
        faults = refused.faults()
        remedy = "not signed by a trusted authority: pass --ca FILE, or --insecure"
        expect(faults and all(remedy in kind for kind in faults), f"{faults}")
        with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
            its_own(server, pathlib.Path(directory), words)
        plain = load("echo", server.url().replace("ws:", "wss:"), *words_of_a_second())
        expect(all("the URL begins with ws://" in kind for kind in plain.faults()), plain.faults())
        secure_as_plain = load("echo", url.replace("wss:", "ws:"), *words_of_a_second())
        faults = secure_as_plain.faults()
        expect(faults and secure_as_plain.code == 3, f"{faults}")
        costs = []
        for flags in ((), ("--tls-resume",)):
            loaded = load(
                "connect-storm", url, *words, *trusted, *flags, "--messages", 1, "--in-flight", 4,
                "--server-pid", own.pid,
            )
            expect(loaded.code == 0 and not loaded.faults(), f"{flags}: {loaded.faults()}")
            costs.append(loaded.values["server_cpu_per_message"])
        full, resumed = costs
        expect(resumed < 0.9 * full, f"{full:.0f} us of CPU, and resumed {resumed:.0f}")
        readers = load(
            "broadcast", url.replace("/echo", "/broadcast"), *words, "--rate", 100, *trusted,
            "--fail-if", "gaps>0", "--fail-if", "errors>0",
        )
        expect(readers.code == 0, readers.errors)
        near(readers.values["messages"], 20 * 100, 0.05, "deliveries")
    return f"a handshake takes {full:.0f} us of CPU, resumed {resumed:.0f}"


def a_million(server):
    """A million sessions are resumed, and nothing of them is left."""
    port = free_port()
    with secure(server, "--admin", f"127.0.0.1:{port}") as own:
        admin = Admin(port)

        def resumed():
            return admin.metrics()["tapecast_tls_resumptions_total", ()]

        def resumes(seconds):
            loaded = load(
                "connect-storm", f"wss://127.0.0.1:{own.port}/echo", "--ca", authority().path,
                "--tls-resume", "--connections", 200, "--in-flight", 8, "--warmup", "0s",
                "--duration", f"{seconds}s", "--fail-if", "errors>0", seconds=seconds + 30,
            )
            expect(loaded.code == 0, f"{loaded.errors} {loaded.faults()}")
            own.wait_for(lambda: own.connections() == 0, 30, "connections are left")
            time.sleep(0.5)
            return own.resident_bytes(), own.descriptors()

        before, descriptors = resumes(5)
        started = time.monotonic()
        while resumed() < 1_000_000:
            after, now = resumes(60)
        count, seconds = resumed(), time.monotonic() - started
        growth = after - before
        expect(growth < 4 << 20, f"memory grew by {growth / (1 << 20):.1f} MiB")
        expect(now == descriptors, f"{now} descriptors, before {descriptors}")
    return f"{count:,.0f} in {seconds:.0f} s, memory {growth / (1 << 20):+.2f} MiB"
