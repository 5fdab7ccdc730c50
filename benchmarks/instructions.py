"""Count the instructions of a request with callgrind. The counts hardly depend on the
machine or on its other work.

``valgrind ... python -m benchmarks.instructions SUITE NAME`` is the process whose
instructions are counted. It calls a C function that nothing else calls where a count
begins and ends. Before each call, callgrind writes what it has counted since the last
call.
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

_REQUESTS = 50
_WARM_UP = 50

_MARKER = "getloadavg"

# The addresses of objects affect the interpreter's caches, and change a count by up to
# 1 %. So each contender shares a process with a floor. It is counted several times,
# each time with more environment variables, which move all later allocations.
_LAYOUTS = (0, 37, 148)


def available() -> bool:
    """Return whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def measure(suite: Suite) -> Results:
    """Count as many contenders at once as there are processors. The spread is half the
    distance between the counts of one contender, divided by their median.
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
    """Return a ratio to the floor for each point, counted in a process of its own."""
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
    # Every other part holds what ran before a count began.
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
    # The collector would run in some counts and not in others.
    gc.collect()
    gc.disable()
    for case, payload in suite.points():
        for driver in drivers[payload]:
            driver.run(case, _WARM_UP)
            os.getloadavg()
            driver.run(case, _REQUESTS)
            os.getloadavg()


if __name__ == "__main__":
    _run_here(SUITES[sys.argv[1]], sys.argv[2])
