"""Measure how the time of one operation grows with the number of sessions. Stores of
different sizes take turns in one process.
"""

from __future__ import annotations

import collections.abc as c
import gc
import itertools
import json
import random
import statistics
import time
import typing as t
from contextlib import closing
from dataclasses import dataclass

from flask_buffalo_session import Store
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.stores.url import store_from_url

from . import places
from .payloads import PAYLOADS

SIZES = (1_000, 100_000, 1_000_000)
OPERATIONS = ("load", "save")

#: The highest ratio to the time in the smallest store.
GOAL = 1.3

# A batch is long enough that a database does its delayed work, such as a checkpoint, in
# each batch.
_BATCH = 250
_ROUNDS = 40
_CHUNK = 10_000

_MAX_AGE = 14 * 24 * 3600

# A store does not read a record. This record is as long as a small session's.
_RECORD = json.dumps(PAYLOADS["S"]).encode()


@dataclass(frozen=True)
class Backend:
    """Describe a store to measure.

    :param filled: returns a store that holds the given number of sessions.
    :param programs: servers that must be installed.
    """

    title: str
    filled: c.Callable[[int], Store]
    modules: tuple[str, ...]
    programs: tuple[str, ...] = ()


#: For each operation and size: the ratio to the time in the smallest store.
Growth: t.TypeAlias = dict[str, dict[int, float]]


class LostSessionError(Exception):
    """Raised if the store does not find a session that was put into it."""


def measure(backend: Backend) -> Growth:
    sampled = [_Sampled(backend.filled(size), size) for size in SIZES]
    for sample in sampled:
        # The first round prepares connections and statements.
        sample.load(_BATCH)
        sample.save(_BATCH)
    gc.collect()
    rounds: dict[str, list[list[float]]] = {
        "load": [[sample.load(_BATCH) for sample in sampled] for _ in range(_ROUNDS)],
        "save": [[sample.save(_BATCH) for sample in sampled] for _ in range(_ROUNDS)],
    }
    return {name: _ratios(rounds[name]) for name in OPERATIONS}


def _ratios(rounds: list[list[float]]) -> dict[int, float]:
    return {
        size: statistics.median(times[index] / times[0] for times in rounds)
        for index, size in enumerate(SIZES)
    }


class _Sampled:
    """Load and save randomly chosen sessions of a store."""

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._random = random.Random(size)
        self._records: dict[str, bytes] = {}
        self._numbers = itertools.cycle(range(1000, 10_000))

    def load(self, operations: int) -> float:
        """Return the seconds that the operations took."""
        tokens, load = self._tokens(operations), self._store.load
        start = time.perf_counter()
        records = [load(token) for token in tokens]
        taken = time.perf_counter() - start
        for token, record in zip(tokens, records, strict=True):
            if record != self._records.get(token, _RECORD):
                raise LostSessionError(token)
        return taken

    def save(self, operations: int) -> float:
        """Return the seconds that the operations took."""
        jobs = [self._change(token) for token in self._tokens(operations)]
        save = self._store.save
        start = time.perf_counter()
        for token, old, new in jobs:
            save(token, new, expected=old, max_age=_MAX_AGE)
        return time.perf_counter() - start

    def _tokens(self, count: int) -> list[str]:
        return [_token(self._random.randrange(self._size)) for _ in range(count)]

    def _change(self, token: str) -> tuple[str, bytes, bytes]:
        old = self._records.get(token, _RECORD)
        # The new record is as long as the old one.
        new = _RECORD[:-5] + b"%d}" % next(self._numbers)
        self._records[token] = new
        return token, old, new


def _token(number: int) -> str:
    return f"{number:043}"


def _rows(size: int) -> c.Iterator[tuple[str, bytes, int]]:
    """Yield the keys, the records and their lifetimes in seconds. The sessions were
    last used at different times.
    """
    for number in range(size):
        age = number * (_MAX_AGE - 3600) // size
        yield storage_key(_token(number)), _RECORD, _MAX_AGE - age


def _chunks(size: int) -> c.Iterator[list[tuple[str, bytes, int]]]:
    rows = _rows(size)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        yield chunk


def _filled_redis(size: int) -> Store:
    from redis import Redis

    # Each size has its own database on the server.
    url = places.redis().url.removesuffix("0") + str(SIZES.index(size) + 1)
    with Redis.from_url(url) as client:
        for chunk in _chunks(size):
            pipeline = client.pipeline(transaction=False)
            for key, data, seconds in chunk:
                pipeline.set(f"buffalo-session:{key}", data, ex=seconds)
            pipeline.execute()
    return store_from_url(url, "/")


def _filled_sqlite(size: int) -> Store:
    import sqlite3

    path = places.folder("growth") / "sessions.db"
    store = store_from_url(f"sqlite:///{path}", "/")
    # The first use makes the table.
    store.load("")
    now = int(time.time())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO buffalo_sessions (id, data, expires) VALUES (?, ?, ?)",
            # Inserting in the order of the index is much faster.
            sorted((key, data, now + life) for key, data, life in _rows(size)),
        )
    return store


def _filled_postgres(size: int) -> Store:
    import psycopg

    server, name = places.postgres(), f"sessions_{size}"
    with psycopg.connect(server.plain_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = server.plain_url.removesuffix("postgres") + name
    store = store_from_url(url, "/")
    # The first use makes the table.
    store.load("")
    now = int(time.time())
    with psycopg.connect(url, autocommit=True) as connection:
        with connection.cursor().copy(
            "COPY buffalo_sessions (id, data, expires) FROM STDIN"
        ) as copy:
            for key, data, life in _rows(size):
                copy.write_row((key, data, now + life))
        # The database does this itself later. It would disturb the measurement.
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return store


BACKENDS = (
    Backend("Redis", _filled_redis, ("redis",), ("redis",)),
    Backend("SQLite", _filled_sqlite, ("sqlalchemy",)),
    Backend("PostgreSQL", _filled_postgres, ("sqlalchemy", "psycopg"), ("postgresql",)),
)
