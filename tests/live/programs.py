"""Where the programs under test are: `--bin-dir` sets it before a test is imported."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
directory = ROOT / "target" / "release"


def program(name):
    return directory / name
