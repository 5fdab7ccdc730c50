"""Fuzz every target for a while, one after the other.

``python -m tests.fuzz`` begins with the generated seeds and with the inputs that once
failed. It writes inputs that cover more code to ``build/fuzz``, for the next run. If a
target fails, copy the input to ``tests/fuzz/found``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import typing as t
from importlib.util import find_spec
from pathlib import Path

from .limits import LONGEST
from .seeds import inputs
from .targets import TARGETS

_ROOT = Path(__file__).parents[2]
_BUILD = _ROOT / "build" / "fuzz"

# libFuzzer's progress: the number of calls, and of the branches seen in the package.
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+)")

# libFuzzer stops a call after this many seconds.
_LONGEST_CALL = 10


class Outcome(t.NamedTuple):
    """The result of fuzzing one target.

    :param problem: the last lines of the output if the target failed, else empty.
    """

    executions: int
    seconds: float
    problem: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for all of them")
    parser.add_argument("--seed", type=int, default=1, help="0 for a random one")
    options = parser.parse_args()
    targets = options.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if find_spec("atheris") is None:
        sys.exit(
            "atheris is not installed: run `make -C tests fuzz` on Linux on x86-64,"
            " the only platform with a build of it"
        )
    each = max(1, options.seconds // len(targets))
    print(f"{len(targets)} targets, {each} s each, seed {options.seed}", flush=True)
    outcomes = {name: _fuzz(name, each, options.seed) for name in targets}
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
    """Return the file for an input that makes a target fail."""
    return _BUILD / name / "finding"


def _fuzz(name: str, seconds: int, seed: int) -> Outcome:
    corpus = _BUILD / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for input_name, data in inputs(name).items():
        (corpus / input_name).write_bytes(data)
    process = _start(
        name,
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={LONGEST}",
        f"-timeout={_LONGEST_CALL}",
        f"-exact_artifact_path={_finding(name)}",
        str(corpus),
    )
    begun, executions, coverage, output = time.monotonic(), 0, 0, []
    for line in t.cast(t.IO[str], process.stdout):
        progress = _PROGRESS.match(line)
        if progress is None:
            output.append(line)
            continue
        executions, coverage = map(int, progress.groups())
        if sys.stdout.isatty():
            print(_shown(name, executions, coverage, begun), end="\r", flush=True)
    print(_shown(name, executions, coverage, begun), flush=True)
    code = process.wait()
    problem = f"{_end_of(output)}exit code {code}\n"
    return Outcome(executions, time.monotonic() - begun, problem if code else "")


def _start(name: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.child", name, str(_finding(name)), *flags],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        # Iterate over sets of str in the same order each time.
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )


def _shown(name: str, executions: int, coverage: int, begun: float) -> str:
    seconds = time.monotonic() - begun
    return (
        f"{name:14} {executions:12,} executions {coverage:5} branches {seconds:6.0f} s"
    )


def _end_of(output: list[str]) -> str:
    begin = next((i for i, line in enumerate(output) if "Uncaught" in line), -20)
    return "".join(output[begin:])


if __name__ == "__main__":
    main()
