"""Send requests at the same time, from several processes, to real servers."""

from __future__ import annotations

import collections.abc as c
import itertools
import json
import multiprocessing
import os
import time
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor, wait

import pytest

from tests.support import workers
from tests.support.parameters import exhaustive_except
from tests.support.servers import (
    MariaServer,
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Servers,
    ValkeyServer,
)

PROCESSES = 6

#: The stores that several processes can share.
SHARED: dict[str, c.Callable[[Servers], str]] = {
    "files": lambda at: f"file://{at.folder('shared')}",
    "sqlite": lambda at: f"sqlite:///{at.folder('shared')}/sessions.db",
    "postgresql": lambda at: at.shared(PostgresServer).url,
    "mariadb": lambda at: at.shared(MariaServer).url,
    "redis": lambda at: at.shared(RedisServer).url,
    "cachelib-redis": lambda at: f"cachelib+{at.shared(RedisServer).url}",
    "cachelib-files": lambda at: f"folder+{at.folder('shared')}",
    "memcached": lambda at: at.shared(MemcachedServer).url,
}

#: The same stores with other clients. A forked process must not share a connection.
FORKED: dict[str, c.Callable[[Servers], str]] = {
    **SHARED,
    "redis-decoding": lambda at: f"decoding+{at.shared(RedisServer).url}",
    "valkey": lambda at: at.shared(ValkeyServer).url,
}


@pytest.fixture(scope="module")
def pool() -> c.Iterator[Executor]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        # Start all processes before the first test.
        wait([pool.submit(workers.idle, 2) for _ in range(PROCESSES)])
        yield pool


@pytest.fixture(params=exhaustive_except(SHARED, "files", "postgresql", "redis"))
def shared(request: pytest.FixtureRequest, servers: Servers) -> str:
    return SHARED[request.param](servers)


def begin(store: str, name: str = "a") -> str:
    """Begin a session with one name, and return its cookie."""
    _, cookie = workers.get(store, None, f"/set/{name}")
    assert cookie
    return cookie


def names(store: str, cookie: str) -> list[str]:
    found: list[str] = json.loads(workers.get(store, cookie, "/read")[0])
    return found


def test_no_write_of_another_name_is_lost(shared: str, pool: Executor) -> None:
    """Six processes write 25 names each."""
    cookie = begin(shared)
    written = [
        [f"name-{worker}-{number}" for number in range(25)]
        for worker in range(PROCESSES)
    ]
    jobs = [
        pool.submit(workers.get_many, shared, cookie, [f"/set/{name}" for name in part])
        for part in written
    ]
    for job in jobs:
        job.result()
    assert set(names(shared, cookie)) == {"a", *itertools.chain(*written)}


def test_all_flashes_arrive(shared: str, pool: Executor) -> None:
    """The processes add 40 flash messages to one session."""
    cookie = begin(shared)
    jobs = [
        pool.submit(workers.get, shared, cookie, f"/flash/{number}")
        for number in range(40)
    ]
    for job in jobs:
        job.result()
    messages = json.loads(workers.get(shared, cookie, "/messages")[0])
    assert sorted(map(int, messages)) == list(range(40))


def test_one_of_many_processes_gets_a_value_once(shared: str, pool: Executor) -> None:
    """Six processes compete for each of 50 values."""
    cookies = [begin(shared, "prize") for _ in range(50)]
    start = time.time() + 0.5
    jobs = [
        pool.submit(workers.take_rounds, shared, cookies, start)
        for _ in range(PROCESSES)
    ]
    rounds = list(zip(*(job.result() for job in jobs), strict=True))
    assert len(rounds) == 50
    for got in rounds:
        assert sorted(got) == ["None"] * (PROCESSES - 1) + ["prize"]


@pytest.mark.parametrize("ending", ["clear", "regenerate"])
def test_a_slow_request_does_not_revive_a_session(
    shared: str, pool: Executor, ending: str
) -> None:
    """The slow request starts before the session ends and saves after it."""
    cookie = begin(shared)
    slow = pool.submit(workers.get, shared, cookie, "/slow/late")
    time.sleep(0.3)
    _, newer = workers.get(shared, cookie, f"/{ending}")
    assert slow.result() == ("set at last", None)
    assert names(shared, cookie) == []
    if ending == "regenerate":
        assert newer
        assert names(shared, newer) == ["a"]


def test_one_of_many_processes_rotates_an_id(shared: str, pool: Executor) -> None:
    """All processes load the session before one of them rotates its id.

    No change is lost, and all send the new id. The old id leads to the session.
    """
    store = f"renewing+{shared}"
    cookie = begin(store)
    start = time.time() + 4.5
    jobs = [
        pool.submit(workers.get_at, store, cookie, f"/slow/name-{number}", start)
        for number in range(PROCESSES)
    ]
    newer = [str(job.result()[1]) for job in jobs]
    # The part before the first dot is the sealed id. A timestamp follows.
    assert len({text.partition(".")[0] for text in newer}) == 1
    expected = ["a", *(f"name-{number}" for number in range(PROCESSES))]
    assert names(shared, newer[0]) == expected
    assert names(shared, cookie) == expected


def test_a_slow_read_does_not_undo_a_write(shared: str, pool: Executor) -> None:
    """The reading request loads the session before the write and ends after it."""
    cookie = begin(shared)
    slow = pool.submit(workers.get, shared, cookie, "/slow-read")
    time.sleep(0.3)
    workers.get(shared, cookie, "/set/b")
    assert json.loads(slow.result()[0]) == ["a"]
    assert names(shared, cookie) == ["a", "b"]


@pytest.mark.parametrize("kind", FORKED)
def test_a_forked_worker_shares_no_connection(kind: str, servers: Servers) -> None:
    """An application is used before the fork, as in gunicorn."""
    shared = FORKED[kind](servers)
    cookie = begin(shared)
    children = []
    for number in range(4):
        with warnings.catch_warnings():
            # This process has threads. The child does not need them.
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            try:
                paths = [f"/set/{number}-{turn}" for turn in range(20)]
                workers.get_many(shared, cookie, paths)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    for turn in range(20):
        workers.get(shared, cookie, f"/set/parent-{turn}")
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    assert len(names(shared, cookie)) == 1 + 5 * 20


def test_the_pool_works_in_parallel(pool: Executor) -> None:
    """Without parallel processes, the other tests in this file would prove nothing."""
    begun = time.monotonic()
    done = wait([pool.submit(time.sleep, 0.5) for _ in range(PROCESSES)])
    assert not done.not_done
    assert time.monotonic() - begun < 0.5 * PROCESSES
