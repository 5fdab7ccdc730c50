"""Count events during a soak, and collect its problems."""

from __future__ import annotations

import threading
import time
import typing as t
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

LOST = "lost updates"
RESURRECTED = "resurrected sessions"
FOREIGN = "foreign values"
DOUBLED = "doubled one-time values"
OTHER = "other errors"

#: Problems, which must not happen.
KINDS = (LOST, RESURRECTED, FOREIGN, DOUBLED, OTHER)


@dataclass(frozen=True)
class Problem:
    """
    :param history: what the browser had done before.
    """

    kind: str
    browser: str
    difference: str
    history: list[str]

    def __str__(self) -> str:
        lines = [f"{self.kind}, {self.browser}:", *self.difference.splitlines()]
        return "\n  ".join([*lines, "before:", *self.history])


class Tally:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def report(self, problem: Problem) -> None:
        with self._lock:
            self.problems.append(problem)
            # At once: a long soak is not to be waited for.
            print(problem, flush=True)

    def __getitem__(self, what: str) -> int:
        with self._lock:
            return self._counts[what]

    def verdict(self) -> str:
        kinds = Counter(problem.kind for problem in self.problems)
        return ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS)


class Watch:
    """Record when a store or worker was away, to tell expected errors from others."""

    def __init__(self) -> None:
        self._outages: list[list[float]] = []
        self._endings: list[list[float]] = []

    def outage(self) -> t.ContextManager[None]:
        """Record that the store is away inside this context."""
        return _noting(self._outages)

    def ending(self) -> t.ContextManager[None]:
        """Record that workers end, and close their connections, inside this context."""
        return _noting(self._endings)

    def store_was_away(self, begun: float, ended: float) -> bool:
        """Return whether the store was away at any time between."""
        return _was_noted(self._outages, begun, ended)

    def workers_ended(self, begun: float, ended: float) -> bool:
        """Return whether workers ended at any time between."""
        return _was_noted(self._endings, begun, ended)


@contextmanager
def _noting(windows: list[list[float]]) -> t.Iterator[None]:
    window = [time.monotonic(), float("inf")]
    windows.append(window)
    yield
    window[1] = time.monotonic()


def _was_noted(windows: list[list[float]], begun: float, ended: float) -> bool:
    return any(start <= ended and begun <= end for start, end in windows)
