"""Put very many sessions into a store at once, as the shop would write them."""

from __future__ import annotations

import base64
import collections.abc as c
import hashlib
import itertools
import random
import time
import typing as t

from flask_buffalo_session import Store
from flask_buffalo_session.codec import Record
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.stores.base import storage_key
from flask_buffalo_session.stores.url import store_from_url
from tests.support.servers import PostgresServer, RedisServer, Server

from .actions import Values

#: Seconds for which an unused session lives: Flask's default.
LIFE = 31 * 24 * 3600

_CHUNK = 10_000

_codec = NativeCodec()


class Row(t.NamedTuple):
    """
    :param owner: of a session that is logged in.
    """

    key: str
    data: bytes
    owner: str | None


class Population:
    """Sessions with a number each."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self._seed = seed
        self._began = int(time.time())

    def token(self, number: int) -> str:
        """Return a token as long and as random as a real one."""
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def values(self, number: int) -> Values:
        """Return a session's values. Every second session is logged in."""
        user = f"soak-m{number}-"
        values: Values = {"x0": f"{user}0", "cart": {"hay": {"count": number % 9 + 1}}}
        if number % 2:
            values |= {"user_id": user, "_owner_": user}
        return values

    def data(self, number: int) -> bytes:
        """Return a session's record."""
        nonce = random.Random(number).randbytes(12)
        values: dict[t.Hashable, bytes] = {
            name: _codec.encode(value, name)
            for name, value in self.values(number).items()
        }
        return _codec.dumps(Record(self._began, nonce, values))

    def fill(self, server: Server) -> Store:
        """Fill a store.

        :returns: the store with the sessions.
        """
        store = store_from_url(server.url, "/")
        # This creates the table if the store has one.
        store.load("")
        if isinstance(server, RedisServer):
            self._fill_redis(server)
        elif isinstance(server, PostgresServer):
            self._fill_postgres(server)
        return store

    def lost(self, store: Store, numbers: c.Iterable[int]) -> int:
        """Return how many unused sessions have changed or are gone."""
        return sum(
            store.load(self.token(number)) != self.data(number) for number in numbers
        )

    def _chunks(self) -> c.Iterator[list[Row]]:
        rows = map(self._row, range(self.count))
        while chunk := list(itertools.islice(rows, _CHUNK)):
            yield chunk

    def _row(self, number: int) -> Row:
        owner = self.values(number).get("_owner_")
        return Row(storage_key(self.token(number)), self.data(number), owner)

    def _fill_redis(self, server: RedisServer) -> None:
        from redis import Redis

        prefix, now = "buffalo-session:", int(time.time())
        with Redis.from_url(server.url) as client:
            for chunk in self._chunks():
                pipeline = client.pipeline(transaction=False)
                for row in chunk:
                    pipeline.set(f"{prefix}{row.key}", row.data, ex=LIFE)
                    if row.owner:
                        owner = f"{prefix}owner:{storage_key(row.owner)}"
                        pipeline.hset(owner, row.key, str(now))
                        pipeline.expire(owner, 2 * LIFE)
                pipeline.execute()

    def _fill_postgres(self, server: PostgresServer) -> None:
        import psycopg

        now = int(time.time())
        with psycopg.connect(server.plain_url, autocommit=True) as connection:
            with connection.cursor().copy(
                "COPY buffalo_sessions (id, data, expires, owner, seen) FROM STDIN"
            ) as copy:
                for row in itertools.chain.from_iterable(self._chunks()):
                    owner = storage_key(row.owner) if row.owner else None
                    copy.write_row((row.key, row.data, now + LIFE, owner, now))
            # The database would do this itself, a little later.
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
