"""Fuzz every target for a while, one after the other.

``python -m tests.fuzz`` begins from the stored corpus. What it finds that covers more
is left in ``build/fuzz``; with ``--keep`` it joins the stored corpus.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from importlib.util import find_spec
from pathlib import Path

from .limits import LONGEST
from .seeds import CORPUS
from .targets import TARGETS

_ROOT = Path(__file__).parents[2]
_BUILD = _ROOT / "build" / "fuzz"

# What libFuzzer says while it runs: how often it has called the target, and how many
# branches of the package it has seen.
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+)")

# Seconds after which a call is given up.
_LONGEST_CALL = 10


class Outcome(t.NamedTuple):
    """
    :param problem: what the target has said as it failed; empty if it did not.
    """

    executions: int
    seconds: float
    problem: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for all of them")
    parser.add_argument("--seed", type=int, default=1, help="0 for a random one")
    parser.add_argument("--keep", action="store_true", help="store what covers more")
    options = parser.parse_args()
    targets = options.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if find_spec("atheris") is None:
        sys.exit("atheris is not installed: there is one for Linux on x86-64 only")
    each = max(1, options.seconds // len(targets))
    print(f"{len(targets)} targets, {each} s each, seed {options.seed}", flush=True)
    outcomes = {name: _fuzz(name, each, options.seed) for name in targets}
    if options.keep:
        for name in targets:
            _keep(name)
    problems = {name: each.problem for name, each in outcomes.items() if each.problem}
    for name, problem in problems.items():
        print(f"\n{_finding(name)}\n{problem}")
    print(
        f"{sum(outcome.executions for outcome in outcomes.values()):,} executions in"
        f" {sum(outcome.seconds for outcome in outcomes.values()):.0f} s:"
        f" {len(problems) or 'no'} finding{'s' * (len(problems) != 1)}"
    )
    sys.exit(1 if problems else 0)


def _finding(name: str) -> Path:
    """Where the input is for which a target fails."""
    return _BUILD / name / "finding"


def _fuzz(name: str, seconds: int, seed: int) -> Outcome:
    found = _BUILD / name / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    process = _start(
        name,
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        f"-timeout={_LONGEST_CALL}",
        f"-exact_artifact_path={_finding(name)}",
        str(found),
        str(CORPUS / name),
    )
    begun, executions, coverage, said = time.monotonic(), 0, 0, []
    for line in t.cast(t.IO[str], process.stdout):
        progress = _PROGRESS.match(line)
        if progress is None:
            said.append(line)
            continue
        executions, coverage = map(int, progress.groups())
        if sys.stdout.isatty():
            print(_shown(name, executions, coverage, begun), end="\r", flush=True)
    print(_shown(name, executions, coverage, begun), flush=True)
    code = process.wait()
    problem = f"{_last_words(said)}exit code {code}\n"
    return Outcome(executions, time.monotonic() - begun, problem if code else "")


def _start(name: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.child", name, str(_finding(name)), *flags],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Sets of str are else in another order each time.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def _shown(name: str, executions: int, coverage: int, begun: float) -> str:
    seconds = time.monotonic() - begun
    return (
        f"{name:14} {executions:12,} executions {coverage:5} branches {seconds:6.0f} s"
    )


def _last_words(said: list[str]) -> str:
    begin = next((i for i, line in enumerate(said) if "Uncaught" in line), -20)
    return "".join(said[begin:])


def _keep(name: str) -> None:
    """Store what covers more than the seeds do, and nothing twice."""
    stored = CORPUS / name
    with tempfile.TemporaryDirectory() as aside:
        for path in stored.iterdir():
            if not path.name.startswith("seed-"):
                shutil.move(path, aside)
        # A few that reach every branch, not all that reach one more often.
        flags = ("-set_cover_merge=1", "-use_counters=0")
        folders = (stored, aside, _BUILD / name / "corpus")
        process = _start(name, *flags, *map(str, folders))
        said = process.communicate()[0]
        if process.returncode:
            sys.exit(said)
    print(f"{name:14} {len(list(stored.iterdir()))} stored inputs")


if __name__ == "__main__":
    main()
