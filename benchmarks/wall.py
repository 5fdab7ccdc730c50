"""Measure wall time.

Many interfaces in one process slow each other down. So each of our contenders gets a
process of its own, with the floor and the peer. There the three take turns in small
batches, so that a disturbance affects all three.

``python -m benchmarks.wall SUITE NAME`` is that process.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time

from .driver import Driver
from .suite import Case, Ratio, Results, Suite
from .suites import SUITES

_BATCH = 20
_ROUNDS = 100
_WARM_UP = 100


def measure(suite: Suite) -> Results:
    """Measure our contenders one after the other. Nothing else should run on the
    machine. The spread is half the distance between the quartiles of the rounds,
    divided by the median.
    """
    return {name: _measure(suite, name) for name in suite.ours}


def _measure(suite: Suite, name: str) -> list[tuple[Ratio, Ratio]]:
    output = subprocess.run(
        [sys.executable, "-m", __name__, suite.name, name],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    return [(Ratio(*peer), Ratio(*ours)) for peer, ours in json.loads(output)]


def _measure_here(suite: Suite, name: str) -> list[tuple[Ratio, Ratio]]:
    contenders = [suite.contender(key) for key in ("floor", "peer", name)]
    drivers = {
        payload: [Driver(contender, payload) for contender in contenders]
        for payload in dict.fromkeys(payload for _, payload in suite.points())
    }
    gc.collect()
    gc.freeze()
    return [_compared(drivers[payload], case) for case, payload in suite.points()]


def _compared(drivers: list[Driver], case: Case) -> tuple[Ratio, Ratio]:
    for driver in drivers:
        driver.run(case, _WARM_UP)
    rounds = [[_timed(driver, case) for driver in drivers] for _ in range(_ROUNDS)]
    floors, peers, ours = zip(*rounds, strict=True)
    return _ratio(peers, floors), _ratio(ours, floors)


def _timed(driver: Driver, case: Case) -> float:
    start = time.perf_counter()
    driver.run(case, _BATCH)
    return time.perf_counter() - start


def _ratio(costs: tuple[float, ...], floors: tuple[float, ...]) -> Ratio:
    ratios = [cost / floor for cost, floor in zip(costs, floors, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    return Ratio(median, (high - low) / 2 / median)


if __name__ == "__main__":
    json.dump(_measure_here(SUITES[sys.argv[1]], sys.argv[2]), sys.stdout)
