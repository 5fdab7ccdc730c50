"""Compare the suites of Flask and its extensions without and with this session.

``python -m tests.ecosystem flask --store memory:`` downloads the source distribution
with pip into ``build/ecosystem``, and runs its tests without and with the session. The
exit code is 1 if a test fails only with the session and ``suites.toml`` does not expect
this failure, or if a test passes that ``suites.toml`` expects to fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tomllib
import typing as t
import xml.etree.ElementTree as ElementTree
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_BUILD = _ROOT / "build" / "ecosystem"
_PYTHON = _BUILD / "venv" / "bin" / "python"
_STORES = ("cookie", "memory:")

# Seconds for one command, and for one test.
_LONGEST_COMMAND = 900
_LONGEST_TEST = 60

# The suites of today import names that pytest 9 no longer has.
_TOOLS = ["pytest<9", "pytest-timeout", "setuptools", "wheel", "flit_core", "hatchling"]


class Result(t.NamedTuple):
    """The number of tests that one run of a suite has, and the tests that failed."""

    tests: int
    failed: frozenset[str]


def main() -> int:
    """Run the suites, and return the exit code."""
    suites = tomllib.loads((_HERE / "suites.toml").read_text())
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem")
    parser.add_argument("name", nargs="*", help=f"one of {', '.join(suites)}")
    parser.add_argument("--store", choices=_STORES, help="only this store")
    options = parser.parse_args()
    if unknown := set(options.name) - set(suites):
        parser.error(f"Unknown suite {min(unknown)}: choose from {', '.join(suites)}.")
    stores = [options.store] if options.store else _STORES
    if not _PYTHON.exists():
        _call(sys.executable, "-m", "venv", str(_BUILD / "venv"))
    _pip("install", "--editable", f"{_ROOT}[all]", *_TOOLS)
    # Otherwise pytest takes the settings of this project for some suites.
    (_BUILD / "pytest.ini").touch()
    print(f"{'suite':<16}{'store':<9}{'tests':>6}{'failed without':>16}{'with':>6}")
    bad = [_compare(name, suites[name], stores) for name in options.name or suites]
    return int(any(bad))


def _compare(name: str, suite: dict[str, t.Any], stores: t.Iterable[str]) -> bool:
    """Print a suite's lines of the table, and return whether a result surprises."""
    _pip("install", suite["source"], *suite["requirements"])
    folder = _download(name, suite["source"])
    without = _run(folder, suite.get("tests", "tests"), "")
    surprise = False
    for store in stores:
        result = _run(folder, suite.get("tests", "tests"), store)
        print(
            f"{name:<16}{store:<9}{result.tests:>6}"
            f"{len(without.failed):>16}{len(result.failed):>6}",
            flush=True,
        )
        expected = suite.get("expected", {}) | suite.get(f"expected {store}", {})
        new = result.failed - without.failed
        for test in sorted(new & expected.keys()):
            print(f"  expected: {test}: {expected[test]}")
        for test in sorted(new - expected.keys()):
            print(f"  FAILS: {test}")
        for test in sorted(expected.keys() - new):
            print(f"  PASSES, but should fail: {test}")
        surprise |= new != expected.keys() or result.tests != without.tests
    return surprise


def _download(name: str, source: str) -> Path:
    """Return the folder with the unpacked source distribution."""
    folder = _BUILD / name / source
    if not folder.exists():
        options = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation")
        _pip("download", *options, "--dest", str(_BUILD / name), source)
        (archive,) = (_BUILD / name).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()
    (inner,) = folder.iterdir()
    return inner


def _run(folder: Path, tests: str, store: str) -> Result:
    """Run the suite. An empty `store` leaves Flask's own session in place."""
    report = folder.parent.parent / "report.xml"
    report.unlink(missing_ok=True)
    # Tests with certificates of their own fail with the machine's.
    left_out = {
        "CI",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
        "SESSION_STORE",
        "SESSION_SECRET",
    }
    environ = {key: os.environ[key] for key in os.environ.keys() - left_out}
    process = subprocess.run(
        [
            *(_PYTHON, "-m", "pytest", "-q", "--rootdir=.", "-p", "swap_session"),
            *(f"--junitxml={report}", f"--timeout={_LONGEST_TEST}", tests),
        ],
        cwd=folder,
        env=environ | {"PYTHONPATH": str(_HERE), "ECOSYSTEM_STORE": store},
        capture_output=True,
        text=True,
        timeout=_LONGEST_COMMAND,
    )
    if process.returncode not in (0, 1):
        raise SystemExit(f"pytest could not run the suite:\n{process.stdout[-4000:]}")
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = frozenset(
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    )
    return Result(len(cases), failed)


def _pip(*arguments: str) -> None:
    _call(str(_PYTHON), "-m", "pip", "-qq", *arguments)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_LONGEST_COMMAND)


if __name__ == "__main__":
    sys.exit(main())
