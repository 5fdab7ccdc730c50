"""Count the instructions of a request with callgrind. The counts hardly depend on the
machine or on its other work.

``valgrind ... python -m benchmarks.instructions SUITE NAME`` is the process whose
instructions are counted. It calls a C function that nothing else calls where a count
begins and ends. Before each call, callgrind writes what it has counted since the last
call.
"""

from __future__ import annotations

import collections
import gc
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .driver import Driver
from .suite import Ratio, Results, Suite
from .suites import SUITES

_REQUESTS = 50
_WARM_UP = 50

_MARKER = "getloadavg"

# Only the first line about an object has its name.
_OBJECT = re.compile(r"(c?)ob=\((\d+)\)(?: (.+))?")
# The loader finds thread-local variables for some builds of Python.
_PYTHON = re.compile(r"/(lib)?python[\d.]+(\.so[\d.]*)?$|/lib-dynload/|/ld-linux")

# The addresses of objects affect the interpreter's caches, and change a count by up to
# 1 %. So each contender shares a process with a floor. It is counted several times,
# each time with more environment variables, which move all later allocations.
_LAYOUTS = (0, 37, 148)


def available() -> bool:
    """Return whether valgrind is installed."""
    return shutil.which("valgrind") is not None


class Count(t.NamedTuple):
    """Hold the instructions of a request.

    :param python: those of Python and its standard library. They depend on how Python
        was built, and so do those of the floor.
    :param libraries: those of other libraries, such as OpenSSL and zlib. They do not
        depend on Python.
    """

    python: float
    libraries: float

    @property
    def total(self) -> float:
        return self.python + self.libraries


#: The floor and a contender, counted in one process.
Pair: t.TypeAlias = tuple[Count, Count]


def measure(suite: Suite) -> Results:
    """Compare each of our contenders and the peer with the floor. The spread is half
    the distance between the ratios of one contender, divided by their median.
    """
    counted = count(suite, ["peer", *suite.ours])
    ratios = {
        name: [
            _ratio([own.total / floor.total for floor, own in pairs])
            for pairs in points
        ]
        for name, points in counted.items()
    }
    return {
        name: list(zip(ratios["peer"], ratios[name], strict=True))
        for name in suite.ours
    }


def count(suite: Suite, names: list[str]) -> dict[str, list[list[Pair]]]:
    """Count as many contenders at once as there are processors.

    :param names: the names of the contenders.
    :returns: by name, and for each point of the suite: several pairs.
    """
    jobs = list(itertools.product(names, _LAYOUTS))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda job: _count(suite, *job), jobs)
        counts = dict(zip(jobs, found, strict=True))
    return {
        name: [
            list(pairs)
            for pairs in zip(*(counts[name, each] for each in _LAYOUTS), strict=True)
        ]
        for name in names
    }


def _ratio(values: list[float]) -> Ratio:
    value = statistics.median(values)
    return Ratio(value, (max(values) - min(values)) / 2 / value)


def _count(suite: Suite, name: str, layout: int) -> list[Pair]:
    """Return a pair for each point, counted in a process of its own."""
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
        if len(parts) != 4 * len(suite.points()):
            raise ValueError(f"callgrind wrote {len(parts)} parts")
        # Every other part holds what ran before a count began.
        counts = [_read(part) for part in parts[1::2]]
    return list(zip(counts[::2], counts[1::2], strict=True))


def _number(part: Path) -> int:
    return int(part.suffix[1:])


def _read(part: Path) -> Count:
    """Read what callgrind has written. A line "ob=" names the object file that the
    lines after it are about. The line after "calls=" repeats what the called function
    has cost.
    """
    names: dict[str, str] = {}
    costs: collections.Counter[str] = collections.Counter()
    current, repeated = "", False
    with part.open() as file:
        for line in file:
            if found := _OBJECT.match(line):
                called, number, name = found.groups()
                if name:
                    names[number] = name
                if not called:
                    current = number
            elif line.startswith("calls="):
                repeated = True
            elif line[0] in "0123456789+-*":
                if not repeated:
                    costs[current] += int(line.split()[1])
                repeated = False
    python = sum(
        cost for number, cost in costs.items() if _PYTHON.search(names.get(number, ""))
    )
    libraries = costs.total() - python
    return Count(python / _REQUESTS, libraries / _REQUESTS)


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
