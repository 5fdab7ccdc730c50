"""Instructions a request takes, counted by callgrind: they hardly depend on
what else the machine does, nor on which machine it is.

``valgrind ... python -m benchmarks.instructions SUITE NAME`` is the process that
is counted. It marks where a count begins and ends by calling a C function that
nothing else calls and before which callgrind writes down what it has counted
since the last time.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .driver import Driver
from .suite import Ratio, Results, Suite
from .suites import SUITES

_REQUESTS = 100
_WARM_UP = 150

_MARKER = "getloadavg"

# Where objects lie decides which of them meet in the interpreter's caches, worth
# up to 1 % of a request. So each contender shares a process with a floor, and is
# counted several times, after so many more environment variables, which move all
# that is allocated later.
_LAYOUTS = (0, 37, 148)


def available() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(suite: Suite) -> Results:
    """As many contenders at once as there are processors. The spread is half the
    distance between counts of the same, in parts of it.
    """
    names = ["peer", *suite.ours]
    jobs = list(itertools.product(names, _LAYOUTS))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda job: _count(suite, *job), jobs)
        counts = dict(zip(jobs, found, strict=True))
    ratios = {
        name: [
            _ratio(layouts)
            for layouts in zip(
                *(counts[name, layout] for layout in _LAYOUTS), strict=True
            )
        ]
        for name in names
    }
    return {
        name: list(zip(ratios["peer"], ratios[name], strict=True))
        for name in suite.ours
    }


def _ratio(values: tuple[float, ...]) -> Ratio:
    value = statistics.median(values)
    return Ratio(value, (max(values) - min(values)) / 2 / value)


def _count(suite: Suite, name: str, layout: int) -> list[float]:
    """For each point times the floor, in a process of its own."""
    padding = {f"BENCHMARKS_LAYOUT_{number}": "" for number in range(layout)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                "valgrind",
                "--quiet",
                "--tool=callgrind",
                f"--dump-before={_MARKER}",
                f"--callgrind-out-file={folder}/out",
                sys.executable,
                "-m",
                __name__,
                suite.name,
                name,
            ],
            check=True,
            env={**os.environ, **padding, "PYTHONHASHSEED": "0"},
        )
        parts = sorted(Path(folder).glob("out.*"), key=_number)
        totals = [_total(part) for part in parts]
    # Every other one is what came before a mark that begins a count.
    if len(totals) != 4 * len(suite.points()):
        raise ValueError(f"callgrind wrote {len(totals)} parts")
    floors, contenders = totals[1::4], totals[3::4]
    return [count / floor for count, floor in zip(contenders, floors, strict=True)]


def _number(part: Path) -> int:
    return int(part.suffix[1:])


def _total(part: Path) -> int:
    found = re.search(r"^summary: (\d+)", part.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"callgrind wrote no summary to {part.name}")
    return int(found[1])


def _run_here(suite: Suite, name: str) -> None:
    payloads = dict.fromkeys(payload for _, payload in suite.points())
    contenders = suite.floor, suite.contender(name)
    drivers = {
        payload: [Driver(contender, payload) for contender in contenders]
        for payload in payloads
    }
    gc.collect()
    gc.freeze()
    for case, payload in suite.points():
        for driver in drivers[payload]:
            driver.run(case, _WARM_UP)
            os.getloadavg()
            driver.run(case, _REQUESTS)
            os.getloadavg()


if __name__ == "__main__":
    _run_here(SUITES[sys.argv[1]], sys.argv[2])
