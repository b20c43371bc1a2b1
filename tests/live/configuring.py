"""Settings: which source wins, where each value is said to come from, that what
`check-config` prints is a configuration, and how mistakes are told.

The keys are read from the program, so that none can be added without a test of
it: one without a second value here fails.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import tomllib

from . import peer as wire
from . import tls_peer
from .limits import open_when_possible
from .peer import Peer
from .server import command, expect, serving

EXIT_CONFIG = 78
# clap's own, for the words of the command line.
EXIT_USAGE = 2
PROFILES = ("throughput", "latency", "memory", "container")
# A flag for each key that is not a limit, and a value that is not its default.
KEYS = {
    "listen": ["ws://127.0.0.1:0", "wss://[::1]:0"],
    # Files that have to be there: see `keys`.
    "routes": ["/echo", "/broadcast"],
    "tls_cert": None,
    "tls_key": None,
    "tls_client_ca": None,
    "tls_client_auth": "optional",
    "shards": 1,
    "admin": "127.0.0.1:9191",
    "admin_token_file": "/run/tapecast.token",
    "log": "warn,tapecast::shard=debug",
    "log_format": "json",
}
# Where the default and one is not a value, or would make the server unusable.
LIMITS = {
    "connections_bytes_max": 1 << 20,
    "connections_per_address_max": 1_000,
    "handshakes_per_second_max": 10_000,
    "messages_per_second_max": 10_000,
    "bytes_per_second_max": 1 << 30,
    "age_max_ms": 60_000,
    "idle_max_ms": 70_000,
    "deflate_contexts_bytes_max": 1 << 20,
    "receive_buffers": 128,
    "socket_unsent_bytes": 128 << 10,
}


def keys():
    """The values of KEYS, with files for certificates."""
    identity, authority = tls_peer.server_identity(), tls_peer.authority()
    tls = {"tls_cert": [identity.chain], "tls_key": [identity.key], "tls_client_ca": authority.path}
    return KEYS | tls


@contextlib.contextmanager
def files(**texts):
    """Files with these texts, by name, in a directory of their own."""
    with tempfile.TemporaryDirectory(prefix="tapecast-") as directory:
        paths = {}
        for name, text in texts.items():
            paths[name] = os.path.join(directory, f"{name}.toml")
            pathlib.Path(paths[name]).write_text(text)
        yield paths


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def checked(server, *words, **options):
    """The output of `check-config` as {key: value} and {key: origin}. A limit's key
    is `limits.NAME`."""
    result = command(server, "check-config", *words, **options)
    expect(result.returncode == 0, f"{words}: {result.returncode}, {result.stderr}")
    values, origins, prefix = {}, {}, ""
    for line in result.stdout.splitlines():
        if line == "[limits]":
            prefix = "limits."
        elif line:
            match = re.fullmatch(r"(\w+) = (.*) +# (.+)", line)
            expect(match, f"a line without an origin: {line!r}")
            origins[prefix + match[1]] = match[3]
    for name, value in tomllib.loads(result.stdout).items():
        if name == "limits":
            values |= {f"limits.{limit}": number for limit, number in value.items()}
        else:
            values[name] = value
    expect(values.keys() == origins.keys(), "some keys have no origin")
    return values, origins


def other_values(server):
    """For every key there is, a value that is not its default."""
    defaults, origins = checked(server)
    expect(set(origins.values()) == {"default"}, f"nothing was set, but {origins}")
    values, others = {}, keys()
    for key, value in defaults.items():
        limit = key.removeprefix("limits.")
        if limit == key:
            expect(key in others, f"no value to try for {key}")
            values[key] = others[key]
        else:
            values[key] = LIMITS.get(limit, value + 1)
        expect(values[key] != defaults[key], f"{key}: {value!r} is the default")
    return values


def as_file(values):
    own = [f"{key} = {toml(value)}" for key, value in values.items() if "." not in key]
    limits = [f"{key[7:]} = {value}" for key, value in values.items() if "." in key]
    return "\n".join([*own, "[limits]", *limits]) + "\n"


def as_environment(values):
    return {
        "TAPECAST_" + key.replace(".", "_").upper(): (
            ",".join(value) if isinstance(value, list) else str(value)
        )
        for key, value in values.items()
    }


def as_flags(values):
    for key, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if "." in key:
                yield from ("--limit", f"{key[7:]}={item}")
            else:
                yield from (f"--{key.replace('_', '-')}", str(item))


def every_key(server):
    """In a file, in the environment, as a flag: each key takes its value from each,
    and says so. A server that runs with all of them changed still echoes."""
    values = other_values(server)
    with files(all=as_file(values)) as paths:
        found, origins = checked(server, "--config", paths["all"])
        expect(found == values, f"from the file: {found}")
        lines = as_file(values).splitlines()
        for key, origin in origins.items():
            name, number = origin.rsplit(":", 1)
            line = lines[int(number) - 1]
            expect(
                name == paths["all"] and line.startswith(f"{key.split('.')[-1]} = "),
                f"{key} is said to come from {origin}, where {line!r} is",
            )
        found, origins = checked(server, environment=as_environment(values))
        expect(found == values, f"from the environment: {found}")
        names = {key: "TAPECAST_" + key.replace(".", "_").upper() for key in values}
        expect(origins == names, f"from the environment: {origins}")
        found, origins = checked(server, *as_flags(values))
        expect(found == values, f"from flags: {found}")
        flags = {
            key: "--limit" if "." in key else f"--{key.replace('_', '-')}" for key in values
        }
        expect(origins == flags, f"from flags: {origins}")
        # The administration server is another test's.
        del values["admin"], values["admin_token_file"]
        pathlib.Path(paths["all"]).write_text(as_file(values))
        with serving(server, shards=1, listen=None, flags=["--config", paths["all"]]) as every:
            expect(len(every.addresses) == 2, f"listens on {every.addresses}")
            check_echo(every.port)
    return f"{len(origins)} keys"


def check_echo(port, path="/echo", message=b"configured", opened=Peer.open):
    with opened(port, path=path) as peer:
        peer.send_frame(wire.TEXT, message)
        received = peer.receive_frame()
        expect(received == (True, wire.TEXT, message), f"received {received}")
        peer.send(wire.close_frame(1000))
        peer.receive_to_end()


def reference(server):
    """`limits` lists the keys of `check-config` with their defaults, each with a
    text."""
    values, _ = checked(server)
    result = command(server, "limits")
    expect(result.returncode == 0, f"exit code {result.returncode}")
    listed, prefix = {}, ""
    lines = iter(result.stdout.splitlines())
    for line in lines:
        if line == "[limits]":
            prefix = "limits."
        elif line.startswith("#"):
            continue
        elif line == "[[topics]]":
            # There is none unless one is configured.
            prefix = None
        elif line:
            name, value = line.split(" = ", 1)
            value = tomllib.loads(f"it = {value}")["it"]
            if prefix is not None:
                listed[prefix + name] = value
            text = next(lines)
            expect(re.match(r"    \S.{10,}", text), f"{name} has the text {text!r}")
    expect(listed == values, f"limits: {listed}; check-config: {values}")


def precedence(server):
    """Flags over environment over file over profile over default, all pairs."""
    key = "limits.head_bytes_max"
    # From the weakest to the strongest: its settings, and the origin that is reported.
    sources = [
        (None, "default"),
        (2_048, r"profile\.toml:2$"),
        (4_096, r"config\.toml:2$"),
        (8_192, r"^TAPECAST_LIMITS_HEAD_BYTES_MAX$"),
        (10_240, r"^--limit$"),
    ]
    with files(
        profile="[limits]\nhead_bytes_max = 2048\n",
        config='[limits]\nhead_bytes_max = "4 KiB"\n',
        empty="[limits]\n",
    ) as paths:
        for used in range(1 << 4):
            words, environment, expected = [], {}, sources[0]
            for bit in range(4):
                if used >> bit & 1:
                    expected = sources[bit + 1]
            if used & 1:
                words += ["--profile", paths["profile"]]
            words += ["--config", paths["config"] if used & 2 else paths["empty"]]
            if used & 4:
                environment["TAPECAST_LIMITS_HEAD_BYTES_MAX"] = "8_192"
            if used & 8:
                words += ["--limit", "head_bytes_max=10KiB"]
            values, origins = checked(server, *words, environment=environment)
            value = expected[0] or 16_384
            expect(
                values[key] == value and re.search(expected[1], origins[key]),
                f"{used:04b}: {values[key]} from {origins[key]}, expected {expected}",
            )
        # The file and the profile can be named by each of the sources, too.
        values, _ = checked(server, environment={"TAPECAST_CONFIG": paths["config"]})
        expect(values[key] == 4_096, f"TAPECAST_CONFIG: {values[key]}")
        values, _ = checked(
            server, "--config", paths["config"], environment={"TAPECAST_CONFIG": paths["profile"]}
        )
        expect(values[key] == 4_096, f"--config over TAPECAST_CONFIG: {values[key]}")
        pathlib.Path(paths["empty"]).write_text(f'profile = "{paths["profile"]}"\n')
        words = ["--config", paths["empty"]]
        expect(checked(server, *words)[0][key] == 2_048, "a profile named in the file")
        environment = {"TAPECAST_PROFILE": "memory"}
        values, origins = checked(server, *words, environment=environment)
        expect(values[key] == 16_384, "the environment's profile did not win over the file's")
        expect(
            origins["limits.tape_bytes_max"].startswith("profile memory:"),
            f"{origins['limits.tape_bytes_max']}",
        )
        values, origins = checked(server, *words, "--profile=latency", environment=environment)
        expect(values["limits.spin_us"] == 100, "the flag's profile did not win")
        expect(origins["limits.tape_bytes_max"] == "default", "two profiles at once")
        # A list is replaced, not added to.
        values, _ = checked(
            server,
            "--listen=127.0.0.1:3",
            "--listen=[::1]:4",
            environment={"TAPECAST_LISTEN": "127.0.0.1:1, 127.0.0.1:2"},
        )
        expect(values["listen"] == ["ws://127.0.0.1:3", "ws://[::1]:4"], f"{values['listen']}")
        # And it is not only what is printed: the server obeys.
        with serving(
            server,
            shards=1,
            limits={"head_bytes_max": 300},
            environment={"TAPECAST_LIMITS_HEAD_BYTES_MAX": "8192"},
        ) as obeying:
            with Peer(obeying.port) as peer:
                peer.send(wire.head(X_Long="x" * 300))
                status, _ = peer.receive_head()
                expect(status == 431, f"answered with {status}")


def round_trip(server):
    """The output of `check-config`, given to it as a file, prints the same values,
    whatever they were; every origin is then a line of that file."""
    odd = 'unix:/tmp/a "quoted" back\\slash and\ttab # comment'
    cases = {
        "defaults": [],
        "everything": list(as_flags(other_values(server))),
        "odd characters": ["--listen", odd, "--admin-token-file", 'C:\\new "token" # 1'],
        "an equals sign": ["--log", "tapecast[span{field=1}]=debug"],
        "a line break": ["--listen", "unix:/tmp/two\nlines"],
    } | {name: ["--profile", name] for name in PROFILES}
    failed = []
    for name, words in cases.items():
        printed = command(server, "check-config", *words)
        expect(printed.returncode == 0, f"{name}: {printed.stderr}")
        with files(printed=printed.stdout) as paths:
            again = command(server, "check-config", "--config", paths["printed"])
            if again.returncode != 0:
                failed.append(f"{name}: {again.stderr.strip()}")
                continue
            values, _ = checked(server, *words)
            repeated, origins = checked(server, "--config", paths["printed"])
            expect(values == repeated, f"{name}: {values} became {repeated}")
            for key, origin in origins.items():
                expect(origin.startswith(paths["printed"] + ":"), f"{name}: {key} from {origin}")
    expect(not failed, "; ".join(failed))


# The words, the environment, the file, and the error that has to be printed. `{file}` stands for
# the file's name.
MISTAKES = [
    # A key that is not there, in each of the sources, with the nearest.
    (
        [],
        {},
        "\n[limits]\nhaed_bytes_max = 5\n",
        r"{file}:3: .*did you mean limits\.head_bytes_max\?",
    ),
    ([], {}, "lissten = 'x'", r"{file}:1: .*did you mean listen\?"),
    ([], {}, "head_bytes_max = 1024", r"{file}:1: .*did you mean limits\.head_bytes_max\?"),
    (
        [],
        {},
        "[limit]\nhead_bytes_max = 1024",
        r"{file}:2: .*did you mean limits\.head_bytes_max\?",
    ),
    ([], {"TAPECAST_SHARD": "2"}, "", r"TAPECAST_SHARD: .*did you mean shards\?"),
    (
        [],
        {"TAPECAST_LIMITS_PONGMS": "2"},
        "",
        r"TAPECAST_LIMITS_PONGMS: .*did you mean limits\.pong_ms\?",
    ),
    (["--limit", "drian_ms=2"], {}, "", r"--limit: .*did you mean limits\.drain_ms\?"),
    # A value that is none.
    (["--limit", "close_ms=soon"], {}, "", r"--limit: limits\.close_ms: .*expected a number of milliseconds"),
    (["--limit", "close_ms=-1"], {}, "", r"--limit: limits\.close_ms: .*expected a number"),
    (["--limit", "head_bytes_max=1 MB"], {}, "", r"--limit: limits\.head_bytes_max: .*KiB"),
    (["--limit", "head_bytes_max=99999999999GiB"], {}, "", r"--limit: limits\.head_bytes_max"),
    (["--limit", "receive_buffers=65536"], {}, "", r"--limit: limits\.receive_buffers: .*65535"),
    (["--shards", "0"], {}, "", r"--shards: shards: .*expected a number from 1 to 65535"),
    (["--shards", "65536"], {}, "", r"--shards: shards: .*expected a number from 1 to 65535"),
    (["--listen", "no.such.name.invalid:9001"], {}, "", r"--listen: listen: .*can't be resolved"),
    (["--limit", "drain_ms=5KiB"], {}, "", r"--limit: limits\.drain_ms: .*ms, s, min or h"),
    (["--limit", "head_bytes_max=5s"], {}, "", r"--limit: limits\.head_bytes_max: .*KiB"),
    (["--limit", "connections_max=5KiB"], {}, "", r"--limit: limits\.connections_max: .*whole"),
    ([], {"TAPECAST_ROUTES": "/ech"}, "", r"TAPECAST_ROUTES: routes: .*did you mean /echo\?"),
    ([], {"TAPECAST_PORT": "9001"}, "", r"TAPECAST_PORT: unknown key port"),
    (["--listen", "127.0.0.1"], {}, "", r"--listen: listen: .*expected HOST:PORT"),
    (["--listen", "127.0.0.1:65536"], {}, "", r"--listen: listen: .*expected HOST:PORT"),
    (["--listen", "wss://127.0.0.1:1"], {}, "", r"--listen: listen: .*needs tls_cert and tls_key"),
    (["--listen", "unix:"], {}, "", r"--listen: listen: .*unix:PATH"),
    (["--admin", "localhost"], {}, "", r"--admin: admin: .*expected HOST:PORT"),
    (["--admin", "0.0.0.0:1"], {}, "", r"--admin: admin: .*admin_token_file"),
    (["--log", "a=b=c=d"], {}, "", r"--log: log: "),
    (["--log-format", "xml"], {}, "", r"--log-format: log_format: .*expected text or json"),
    ([], {"TAPECAST_LOG_FORMAT": ""}, "", r"TAPECAST_LOG_FORMAT: .*expected text or json"),
    ([], {}, "shards = [1, 2]", r"{file}:1: shards: expected one value, not a list"),
    ([], {}, "\n\nlisten = 9001", r"{file}:3: listen: .*expected HOST:PORT"),
    ([], {}, "shards = 1.5", r"{file}:1: shards: expected a string or a whole number"),
    ([], {}, "shards = true", r"{file}:1: shards: "),
    ([], {}, "[shards]\ncount = 1", r"{file}:2: unknown key shards\.count"),
    # Nothing to listen on.
    ([], {}, "listen = []", r"{file}:1: listen: "),
    # Not TOML.
    ([], {}, "shards = 1\nlisten = [", r"{file}:2: "),
    ([], {}, "shards = 1\nshards = 2", r"{file}:2: .*duplicate"),
    # Profiles.
    (["--profile", "lateny"], {}, "", r"--profile: .*did you mean latency\?"),
    ([], {"TAPECAST_PROFILE": "fast"}, "", r"TAPECAST_PROFILE: .*throughput"),
    ([], {}, "shards = 1\nprofile = 'slow'", r"{file}:2: profile: .*throughput"),
    (["--profile", "/no/such.toml"], {}, "", r"--profile: /no/such\.toml can't be read"),
    (["--profile", "{file}"], {}, "\nprofile = 'memory'", r"{file}:2: profile: .*another"),
    (["--config", "/no/such.toml"], {}, "", r"--config: /no/such\.toml can't be read"),
    ([], {"TAPECAST_CONFIG": "/no/such"}, "", r"TAPECAST_CONFIG: /no/such can't be read"),
    # Limits that contradict each other.
    (
        ["--limit", "message_bytes_max=1GiB"],
        {},
        "",
        r"--limit: limits\..*message_bytes_max",
    ),
    (["--limit", "queued_bytes_pause=1GiB"], {}, "", r"--limit: limits\.queued_bytes_pause "),
    (["--limit", "receive_buffers=48"], {}, "", r"--limit: limits\.receive_buffers .*power of two"),
]


def mistakes(server):
    """Each command that takes settings exits with 78 and prints one line for each mistake,
    with its place."""
    failed = []

    def check(words, environment, text, expected, path):
        words = [path if word == "{file}" else word for word in words]
        if text and path not in words:
            words += ["--config", path]
        pattern = "tapecast: " + expected.replace("{file}", re.escape(path))
        for name in ("check-config", "serve"):
            try:
                result = command(server, name, *words, environment=environment, seconds_max=2)
            except subprocess.TimeoutExpired:
                failed.append(f"{name} {words} {text!r}: runs")
                continue
            lines = result.stderr.splitlines()
            if result.returncode != EXIT_CONFIG:
                failed.append(f"{name} {words} {text!r}: {result.returncode}, {result.stderr}")
            elif len(lines) != 1 or not re.match(pattern, lines[0]):
                failed.append(f"{name} {words} {text!r}: {result.stderr}")
            elif result.stdout:
                failed.append(f"{name} {words} {text!r} printed {result.stdout}")

    for words, environment, text, expected in MISTAKES:
        with files(mistaken=text) as paths:
            check(words, environment, text, expected, paths["mistaken"])
    # All of them are reported, not only the first.
    with files(mistaken="shards = 0\nlog_format = 'xml'\n") as paths:
        result = command(
            server,
            "doctor",
            "--config",
            paths["mistaken"],
            "--limit",
            "x=1",
            environment={"TAPECAST_LISTEN": "here"},
        )
        told = [line.split(": ")[1] for line in result.stderr.splitlines()]
        places = [paths["mistaken"] + ":1", paths["mistaken"] + ":2", "TAPECAST_LISTEN", "--limit"]
        if result.returncode != EXIT_CONFIG or told != places:
            failed.append(f"four mistakes: {result.returncode}, {result.stderr}")
    expect(not failed, f"{len(failed)} of {len(MISTAKES) + 1}: " + "; ".join(failed))


# The range of each limit: a number outside of it is refused. For a limit that is not here
# see `ends_of`.
RANGES = {
    "connections_max": (1, 1 << 30),
    "head_bytes_max": (64, 1 << 20),
    "head_fields_max": (8, 1 << 12),
    "handshake_ms": (1, 3_600_000),
    "handshake_stall_ms": (1, 3_600_000),
    "message_bytes_max": (125, 1 << 30),
    "message_fragments_max": (1, 1 << 30),
    "queued_bytes_max": (1, 2 << 30),
    "receive_bytes_per_turn": (1, 1 << 30),
    "log_messages_max": (1, 1 << 30),
    "mailbox_mails_max": (1, 1 << 24),
    "events_per_turn": (1, 1 << 14),
    "tls_handshake_bytes_max": (20 << 10, 1 << 20),
    "mails_per_turn": (1, 1 << 24),
    "sends_per_turn": (1, 1 << 20),
    "send_bytes_per_turn": (1, 1 << 30),
    "json_request_bytes_max": (125, 1 << 30),
    "deflate_bytes_max": (0, 1 << 30),
    "accepts_in_flight": (1, 1 << 12),
    "listen_backlog": (1, 1 << 16),
    "socket_send_bytes": (0, 1 << 30),
    "spin_us": (0, 1_000_000),
    "deflate_contexts_bytes_max": (512 << 10, 1 << 50),
    "connections_bytes_max": (64 << 10, 1 << 50),
    "message_ms": (0, 1 << 40),
    "receive_buffers": (1, 1 << 14),
    "receive_buffer_bytes": (128, 16 << 20),
}


def ranges(server):
    """A number outside of a limit's range is refused, at its place, and the range
    is said; its ends are not."""
    for name, (least, most) in RANGES.items():
        for value in (least - 1, most + 1):
            if value < 0:
                continue
            result = command(server, "check-config", "--limit", f"{name}={value}")
            told = rf" is {value}: expected {least} to {most}\n"
            expected = rf"tapecast: --limit: limits\.{name}{told}"
            expect(
                result.returncode == EXIT_CONFIG and re.fullmatch(expected, result.stderr),
                f"{name}={value}: {result.returncode}, {result.stderr!r}",
            )
        for value in (least, most):
            words = ["--limit", f"{name}={value}"]
            if name == "message_bytes_max":
                words += ["--limit", "queued_bytes_max=2GiB"]
            if name == "queued_bytes_max" and value == least:
                # Its own least is below that of others.
                continue
            result = command(server, "check-config", *words)
            expect(result.returncode == 0, f"{name}={value}: {result.stderr!r}")


def usage(server):
    """A command line that clap can't read exits with 2."""
    for words in (
        ["serve", "--lissten", "127.0.0.1:1"],
        ["serve", "--limit", "head_bytes_max"],
        ["sevre"],
        ["serve", "127.0.0.1:1"],
        ["completions", "nosuchshell"],
        [],
    ):
        result = command(server, *words)
        expect(result.returncode == EXIT_USAGE, f"{words}: {result.returncode}")
        expect(not result.stdout and result.stderr, f"{words}: nothing is said")
    near = command(server, "serve", "--lissten", "127.0.0.1:1").stderr
    expect("--listen" in near, f"the nearest flag is not named: {near}")


def profiles(server):
    """Each that is built in, and one from a file, starts and serves."""
    with files(own="[limits]\nmessage_bytes_max = 200\n") as paths:
        for name in (*PROFILES, paths["own"]):
            with serving(server, flags=["--profile", name]) as profiled:
                check_echo(profiled.port)
                check_echo(profiled.port, "/broadcast")
                if name == paths["own"]:
                    with Peer.open(profiled.port) as peer:
                        peer.send_frame(wire.BINARY, b"m" * 201)
                        received = peer.receive_frame()
                        expect(received.close_code == 1009, f"received {received}")
    # One names the address: the pod's, not loopback.
    values, origins = checked(server, "--profile", "container")
    expect(values["listen"] == ["ws://0.0.0.0:9001"], f"{values['listen']}")
    expect(origins["log_format"].startswith("profile container:"), origins["log_format"])


def ends_of(server, name, queued_bytes_max):
    """The least and the most that a limit takes: of a number beyond, the refusal says so."""
    ends = []
    for end in RANGES.get(name, (0, (1 << 63) - 1)):
        if name == "queued_bytes_pause" and end:
            end = queued_bytes_max - 1
        # First the range of its type, then that of the limit.
        for _ in range(3):
            words = ["--limit", f"{name}={end}", *BESIDE.get((name, end), [])]
            done = command(server, "check-config", *words)
            if done.returncode == 0:
                break
            told = re.search(r"expected (?:at most )?(\d+)(?: to (\d+))?$", done.stderr.strip())
            expect(done.returncode == EXIT_CONFIG and told, f"{words}: {done.stderr}")
            end = int(told[1] if end == 0 or told[2] is None else told[2])
        expect(done.returncode == 0, f"{words}: {done.stderr}")
        ends.append(end)
    return ends


# Settings that some ends need beside them to make sense.
BESIDE = {
    ("message_bytes_max", 1 << 30): ["--limit", "queued_bytes_max=2GiB"],
    ("queued_bytes_max", 1): [
        "--limit", "queued_bytes_max=200", "--limit", "message_bytes_max=125",
        "--limit", "queued_bytes_pause=1",
    ],
}


def least_and_most(server):
    """Each limit at the least and at the most that is taken: the server starts,
    does not panic, answers, and ends in order."""
    defaults, _ = checked(server)
    failed = []
    # So little time or room that nobody comes in, or at once out again, as ordered.
    nobody = {("head_bytes_max", 64), ("handshake_ms", 1), ("handshake_stall_ms", 1)}
    # So much memory that it is the machine's fault.
    heavy = {"receive_buffers", "receive_buffer_bytes", "events_per_turn"}
    # So much time that it never ends, as ordered.
    heavy.add("drain_notice_ms")
    tried = 0
    for key in defaults:
        name = key.removeprefix("limits.")
        if name == key:
            continue
        least, most = ends_of(server, name, defaults["limits.queued_bytes_max"])
        for value in {least, most} - ({most} if name in heavy else set()):
            flags = ["--limit", f"{name}={value}"] + BESIDE.get((name, value), [])
            tried += 1
            try:
                with serving(server, flags=flags) as extreme:
                    if (name, value) not in nobody:
                        check_echo(extreme.port)
                        # With room for one, once the server has closed the one before,
                        # which is later than its peer sees the end.
                        check_echo(extreme.port, "/broadcast", opened=open_when_possible)
            except (AssertionError, OSError) as error:
                failed.append(f"{flags}: {error}")
    expect(not failed, f"{len(failed)} of {tried}: " + "; ".join(failed))
    return f"{tried} values"


def help_and_version(server):
    version = command(server, "--version")
    expect(
        re.match(r"tapecast \d+\.\d+\.\d+ \([0-9a-f]{7,40}(-dirty)?\)\n", version.stdout),
        f"printed {version.stdout!r}",
    )
    for words in (["--help"], ["serve", "--help"], ["help", "doctor"]):
        result = command(server, *words)
        expect(result.returncode == 0 and "Usage: tapecast" in result.stdout, f"{words}: {result}")
    for flag in as_flags({key: value for key, value in KEYS.items()}):
        if flag.startswith("--"):
            expect(flag in command(server, "serve", "--help").stdout, f"{flag} is not in the help")


def completions(server):
    for shell in ("bash", "zsh", "fish"):
        result = command(server, "completions", shell)
        expect(result.returncode == 0, f"{shell}: {result.stderr}")
        for word in ("check-config", "log-format", "admin-token-file"):
            expect(word in result.stdout, f"{word} can't be completed in {shell}")
        if shell == "bash":
            parsed = subprocess.run(
                ["bash", "-n"], input=result.stdout, text=True, capture_output=True
            )
            expect(parsed.returncode == 0 and not parsed.stderr, f"bash -n: {parsed.stderr}")
            # It does complete.
            script = result.stdout + (
                "\nCOMP_WORDS=(tapecast serve --prof); COMP_CWORD=2;"
                ' _tapecast tapecast --prof serve; echo "${COMPREPLY[@]}"'
            )
            completed = subprocess.run(["bash"], input=script, text=True, capture_output=True)
            expect(completed.stdout == "--profile\n", f"completed to {completed}")


def manual(server):
    result = command(server, "man")
    expect(result.returncode == 0 and result.stdout.startswith(".ie"), f"printed {result}")
    for word in (r"check\-config", r"\-\-limit", r"\-\-profile", "doctor"):
        expect(word in result.stdout, f"{word} is not in the manual")
    formatted = subprocess.run(
        ["man", "--warnings", "-l", "-"], input=result.stdout, text=True, capture_output=True
    )
    expect(
        formatted.returncode == 0 and not formatted.stderr.strip(),
        f"man: {formatted.returncode}, {formatted.stderr}",
    )
    expect("--admin-token-file" in formatted.stdout, "the formatted manual lacks a flag")


def nobody_listens(server):
    """A reader of the output that has left (`tapecast limits | head -1`) causes no panic."""
    failed = []
    for words in (["limits"], ["check-config"], ["doctor"], ["completions", "zsh"], ["man"]):
        reading, writing = os.pipe()
        os.close(reading)
        result = command(server, *words, stdout=writing)
        os.close(writing)
        # The doctor's is about the machine.
        codes = (0, 1) if words == ["doctor"] else (0,)
        if result.returncode not in codes or result.stderr:
            failed.append(f"{words}: {result.returncode}, {result.stderr.strip()[:200]}")
    # The line that says where it listens may go nowhere, too.
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [server.binary, "serve", "--listen=127.0.0.1:0", "--shards=1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            code = process.wait(0.5)
            failed.append(f"serve > /dev/full: {code}, {process.stderr.read().strip()[:200]}")
        except subprocess.TimeoutExpired:
            process.terminate()
            if process.wait(10) != 0:
                failed.append(f"serve > /dev/full ended with {process.returncode}")
        process.stderr.close()
    expect(not failed, "; ".join(failed))
