"""What a request asks of a store, counted where it is answered."""

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
    """Something that is counted.

    :param suite: the name of the suite whose contenders send the requests.
    :param count: how many there are while it does the work.
    :param goals: how many of them ours may ask for in a request.
    """

    title: str
    suite: str
    count: c.Callable[[_Work], int]
    goals: dict[Case, int]


def measure(count: Count, case: Case) -> tuple[float, float]:
    """The peer's for each request, and ours."""
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
    """How often Redis has read from a connection. None of the requests is so long
    that it takes two goes.
    """
    from redis import Redis

    with Redis(port=places.redis().port) as client:
        before = client.info("stats")["total_reads_processed"]
        work()
        after = client.info("stats")["total_reads_processed"]
    # The second question was read too.
    return int(after - before - 1)


def _redis_commands(work: _Work) -> int:
    """Commands run, also by scripts."""
    from redis import Redis

    def calls() -> int:
        stats = client.info("commandstats")
        return sum(of["calls"] for name, of in stats.items() if name != "cmdstat_info")

    with Redis(port=places.redis().port) as client:
        before = calls()
        work()
        return calls() - before


def _sql_statements(work: _Work) -> int:
    """Statements given to the driver, by any engine of this process."""
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
    # A compare-and-swap is one request, but what it compares and sets counts too.
    Count("Redis: commands, those in scripts too", "redis", _redis_commands, {}),
    Count("SQLite: statements", "sql", _sql_statements, _OPERATIONS),
)
