"""Check that no request has become dearer.

``python -m benchmarks.check`` counts instructions and compares them with the stored
costs. ``python -m benchmarks.check --write`` stores the costs of now.

A cost has two parts, so that it hardly depends on the build of Python: see
:class:`.instructions.Count`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import typing as t
from pathlib import Path

from . import instructions
from .suite import UNTOUCHED
from .suites import CHECKED

#: How much dearer than stored a request may be. The counts of two builds of one version
#: of Python differ by about 1 %.
TOLERANCE = 0.03

#: What an untouched session costs is small beside the rest of the request.
UNTOUCHED_TOLERANCE = 0.01

#: Another version of Python than that of the stored costs needs a wider tolerance.
OTHER_PYTHON = 2

_BASELINE = Path(__file__).with_name("baseline.json")
_PYTHON = ".".join(platform.python_version_tuple()[:2])
_REWRITE = "make -C tests instructions-baseline"


class Cost(t.NamedTuple):
    """Hold what a request costs.

    :param python: Python's instructions, divided by those of the floor.
    :param libraries: the instructions of other libraries.
    """

    python: float
    libraries: int

    def total(self, floor: float) -> float:
        """
        :param floor: Python's instructions of the floor.
        """
        return self.python * floor + self.libraries


#: The costs, by the names of the cases.
Costs: t.TypeAlias = dict[str, Cost]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check")
    parser.add_argument("--write", action="store_true", help="store the costs of now")
    write = parser.parse_args().write
    if not instructions.available():
        missing = "valgrind is missing: install Debian's package valgrind"
        if write or os.environ.get("CI") == "true":
            sys.exit(missing)
        print(f"Instructions were not checked: {missing}.")
        return
    found, floor = measure()
    if write:
        costs = {name: cost._asdict() for name, cost in found.items()}
        stored = {"python": _PYTHON, "costs": costs}
        _BASELINE.write_text(f"{json.dumps(stored, indent=2)}\n", "utf-8")
        print(f"Wrote {_BASELINE}.")
        return
    stored = json.loads(_BASELINE.read_text("utf-8"))
    baseline = {name: Cost(**cost) for name, cost in stored["costs"].items()}
    problems = []
    for name, change in changes(found, baseline, floor).items():
        print(f"{name}: {change:+.1%}")
        highest = allowed(name, same_python=stored["python"] == _PYTHON)
        if change > highest:
            problems.append(
                f"{name}: a request takes {change:.1%} more instructions than stored."
                f" At most {highest:.0%} more are allowed."
            )
    if problems:
        sys.exit("\n".join([*problems, f"If that is intended, run `{_REWRITE}`."]))


def measure() -> tuple[Costs, float]:
    """Return the costs, and Python's instructions of the floor."""
    costs, floors = {}, []
    for name, points in instructions.count(CHECKED, list(CHECKED.ours)).items():
        title = CHECKED.contender(name).title
        for (case, payload), pairs in zip(CHECKED.points(), points, strict=True):
            costs[f"{case.title} {payload} ({title})"] = Cost(
                round(
                    statistics.median(
                        own.python / floor.python for floor, own in pairs
                    ),
                    4,
                ),
                round(statistics.median(own.libraries for _, own in pairs)),
            )
            floors += [floor.python for floor, _ in pairs]
    return costs, statistics.median(floors)


def changes(found: Costs, baseline: Costs, floor: float) -> dict[str, float]:
    """Return how much dearer each case has become.

    :param floor: Python's instructions of the floor.
    :raises ValueError: the stored cases are not those that were counted.
    """
    if found.keys() != baseline.keys():
        raise ValueError(f"other cases are stored: run `{_REWRITE}`")
    return {
        name: cost.total(floor) / baseline[name].total(floor) - 1
        for name, cost in found.items()
    }


def allowed(name: str, *, same_python: bool = True) -> float:
    """Return how much dearer a case may become.

    :param same_python: whether this version of Python counted the stored costs.
    """
    highest = UNTOUCHED_TOLERANCE if name.startswith(UNTOUCHED.title) else TOLERANCE
    return highest if same_python else highest * OTHER_PYTHON


if __name__ == "__main__":
    main()
