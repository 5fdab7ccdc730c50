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

# Where objects lie decides which of them meet in the interpreter's caches, which
# is worth some 0.3 % of a request. So everything is counted several times, after
# so many more environment variables, which move all that is allocated later.
_LAYOUTS = (0, 37, 148)


def available() -> bool:
    """Whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(suite: Suite) -> Results:
    """All contenders, as many at once as there are processors. The spread is the
    distance between counts of the same, in parts of it.
    """
    jobs = list(itertools.product(suite.names, _LAYOUTS))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda job: _count(suite, *job), jobs)
    counts: dict[str, list[list[int]]] = {name: [] for name in suite.names}
    for (name, _), points in zip(jobs, done, strict=True):
        counts[name].append(points)
    # For each point what was counted in each of the layouts.
    by_point = {name: list(zip(*counts[name], strict=True)) for name in suite.names}
    ratios = {
        name: [
            _ratio(point, floor)
            for point, floor in zip(points, by_point["floor"], strict=True)
        ]
        for name, points in by_point.items()
    }
    return {
        name: list(zip(ratios["peer"], ratios[name], strict=True))
        for name in suite.ours
    }


def _ratio(counts: tuple[int, ...], floors: tuple[int, ...]) -> Ratio:
    count = statistics.median(counts)
    spread = (max(counts) - min(counts)) / count
    return Ratio(count / statistics.median(floors), spread)


def _count(suite: Suite, name: str, layout: int) -> list[int]:
    """Each point of one contender, in a process of its own."""
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
    # Every other one is what came before a point's first mark.
    if len(totals) != 2 * len(suite.points()):
        raise ValueError(f"callgrind wrote {len(totals)} parts")
    return totals[1::2]


def _number(part: Path) -> int:
    return int(part.suffix[1:])


def _total(part: Path) -> int:
    found = re.search(r"^summary: (\d+)", part.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"callgrind wrote no summary to {part.name}")
    return int(found[1])


def _run_here(suite: Suite, name: str) -> None:
    contender = suite.contender(name)
    drivers = {payload: Driver(contender, payload) for _, payload in suite.points()}
    gc.collect()
    gc.freeze()
    for case, payload in suite.points():
        driver = drivers[payload]
        driver.run(case, _WARM_UP)
        os.getloadavg()
        driver.run(case, _REQUESTS)
        os.getloadavg()


if __name__ == "__main__":
    _run_here(SUITES[sys.argv[1]], sys.argv[2])
