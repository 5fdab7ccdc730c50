"""Limit the cost of one input: 50 ms of processor time and 64 MB of memory.

``python -m tests.fuzz.limits TARGET FILE`` measures the cost in a separate process,
without a fuzzer's instrumentation, which makes everything slower and larger.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
import typing as t
from pathlib import Path

_ROOT = Path(__file__).parents[2]

#: The limits hold for inputs of at most this many bytes.
LONGEST = 4096

SECONDS = 0.05
_MEGABYTES = 64.0


class Cost(t.NamedTuple):
    """
    :param megabytes: by which the process, or what Python has allocated, grew at
        most.
    """

    seconds: float
    megabytes: float

    @property
    def too_much(self) -> bool:
        return self.seconds > SECONDS or self.megabytes > _MEGABYTES


def cost(run: t.Callable[[], None]) -> Cost:
    """Return the cost of a call the first time it runs."""
    size, begun = _megabytes(), time.thread_time()
    run()
    return Cost(time.thread_time() - begun, _megabytes() - size)


def least_cost(target: t.Callable[[bytes], None], data: bytes) -> Cost:
    """Return the cost of an input when nothing else slows the process down."""

    def run() -> None:
        target(data)

    target(b"")
    memory = cost(run).megabytes
    seconds = min(cost(run).seconds for _ in range(3))
    tracemalloc.start()
    run()
    memory = max(memory, tracemalloc.get_traced_memory()[1] / 1e6)
    tracemalloc.stop()
    return Cost(seconds, memory)


def measured(name: str, path: Path) -> Cost:
    """Return the cost in a separate process."""
    command = [sys.executable, "-m", "tests.fuzz.limits", name, str(path)]
    result = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE)
    return Cost(*json.loads(result.stdout))


def _megabytes() -> float:
    # getrusage() would begin with the peak of the process that has started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    from .targets import TARGETS

    _, chosen, file = sys.argv
    print(json.dumps(least_cost(TARGETS[chosen], Path(file).read_bytes())))
