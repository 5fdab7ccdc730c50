"""Count the operations that a request executes in a store. The server or the driver
counts them.
"""

from __future__ import annotations

import collections.abc as c
import functools
from dataclasses import dataclass

from . import places
from .driver import Driver
from .suite import READ, UNTOUCHED, WRITE, Case, Suite
from .suites import SUITES

_WARM_UP = 10
_REQUESTS = 100

_Work = c.Callable[[], None]


@dataclass(frozen=True)
class Count:
    """Describe what to count.

    :param suite: the name of the suite whose contenders send the requests.
    :param count: runs the work and returns how many operations it needed.
    :param goals: the highest number of operations for a request to our store.
    """

    title: str
    suite: str
    count: c.Callable[[_Work], int]
    goals: dict[Case, int]


def measure(count: Count, case: Case) -> tuple[float, float]:
    """Return the operations of a request: the peer's and ours."""
    suite = SUITES[count.suite]
    peer, ours = (
        _per_request(count, suite, name, case) for name in ("peer", suite.name)
    )
    return peer, ours


def _per_request(count: Count, suite: Suite, name: str, case: Case) -> float:
    driver = _driver(suite.name, name)
    driver.run(case, _WARM_UP)
    return count.count(lambda: driver.run(case, _REQUESTS)) / _REQUESTS


@functools.cache
def _driver(suite: str, name: str) -> Driver:
    return Driver(SUITES[suite].contender(name), "S")


def _redis_requests(work: _Work) -> int:
    """Return how often Redis read from a connection. Redis reads each of these requests
    at once.
    """
    from redis import Redis

    with Redis(port=places.redis().port) as client:
        before = client.info("stats")["total_reads_processed"]
        work()
        after = client.info("stats")["total_reads_processed"]
    # Redis also read the second INFO command.
    return int(after - before - 1)


def _redis_commands(work: _Work) -> int:
    """Return how many commands Redis ran, also those inside scripts."""
    from redis import Redis

    def calls() -> int:
        stats = client.info("commandstats")
        return sum(of["calls"] for name, of in stats.items() if name != "cmdstat_info")

    with Redis(port=places.redis().port) as client:
        before = calls()
        work()
        return calls() - before


def _sql_statements(work: _Work) -> int:
    """Return how many statements all engines of this process gave to the driver."""
    from sqlalchemy import Engine, event

    statements = 0

    def add(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(Engine, "before_cursor_execute", add)
    try:
        work()
    finally:
        event.remove(Engine, "before_cursor_execute", add)
    return statements


_OPERATIONS = {UNTOUCHED: 0, READ: 1, WRITE: 2}

COUNTS = (
    Count("Redis: requests", "redis", _redis_requests, _OPERATIONS),
    # A compare-and-swap is one request, but its script runs two commands.
    Count("Redis: commands, those in scripts too", "redis", _redis_commands, {}),
    Count("SQLite: statements", "sql", _sql_statements, _OPERATIONS),
)
