"""Sessions in memcached."""

from __future__ import annotations

import collections.abc as c
import os
import time
import typing as t
import weakref
from contextlib import contextmanager

from ..errors import SessionConfigError, SessionConflictError
from .base import KEY_PREFIX, Health, answering, new_token, storage_key
from .health import memcached_health

T = t.TypeVar("T")

# memcached takes a larger number of seconds for a date, and dates end in 2038.
_MONTH = 30 * 24 * 3600
_LATEST = 2**31 - 1


class MemcachedStore:
    """Sessions in one memcached server, saved by its own compare-and-swap.

    The server counts the seconds of up to 30 days. A longer life ends at a date, for
    which the clocks of this machine and of the server must agree.

    :param client: a ``PooledClient`` of pymemcache with ``default_noreply=False``, and
        without ``serde``, ``serializer``, ``deserializer`` and ``ignore_exc``. Give it
        timeouts: without any, a request hangs as long as the server does.
    :raises SessionConfigError: this is not such a client.
    """

    def __init__(self, client: t.Any) -> None:
        if not _is_strict(client):
            raise SessionConfigError(
                "MemcachedStore needs a client that returns bytes and reports errors."
                " Use a PooledClient of pymemcache with default_noreply=False, without"
                " serde and ignore_exc."
            )
        self._client = client
        _close_after_fork(client)

    def load(self, token: str) -> bytes | None:
        key = _key(token)
        with answering("Memcached", "read"):
            found = self._ask(lambda connection: connection.get(key))
        return t.cast("bytes | None", found)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        token = token or new_token()
        key, end = _key(token), _end(max_age)
        attempts = 0

        def swap(connection: t.Any) -> bool:
            nonlocal attempts
            attempts += 1
            found, version = connection.gets(key)
            if attempts > 1 and found == data:
                # The first attempt succeeded, and its answer was lost.
                return True
            if found != expected:
                return False
            if found is None:
                return bool(connection.add(key, data, end))
            return bool(connection.cas(key, data, version, end))

        with answering("Memcached", "write"):
            if not self._ask(swap):
                raise SessionConflictError("the record has changed")
        return token

    def delete(self, token: str) -> None:
        key = _key(token)
        with answering("Memcached", "delete"):
            self._ask(lambda connection: connection.delete(key))

    def check_health(self) -> Health:
        with answering("Memcached", "report its state"):
            return memcached_health(self._ask(lambda connection: connection.stats()))

    def close(self) -> None:
        self._client.close()

    def _ask(self, act: c.Callable[[t.Any], T]) -> T:
        """Do something with a connection.

        Connections of the pool are dead after a restart of the server. Then `act` is
        called again with the next one.
        """
        from pymemcache.exceptions import MemcacheUnexpectedCloseError

        while True:
            with self._connection() as connection:
                was_open = connection.sock is not None
                try:
                    return act(connection)
                except (
                    *(MemcacheUnexpectedCloseError, ConnectionResetError),
                    BrokenPipeError,
                ):
                    if not was_open:
                        raise
                    connection.close()

    @contextmanager
    def _connection(self) -> c.Iterator[t.Any]:
        # The pool's own context manager keeps a connection in use for ever if the
        # request is interrupted by something other than an Exception.
        pool = self._client.client_pool
        connection = pool.get()
        try:
            yield connection
        except BaseException:
            pool.destroy(connection)
            raise
        pool.release(connection)


def _key(token: str) -> str:
    return KEY_PREFIX + storage_key(token)


def _end(max_age: int) -> int:
    # A second more, as memcached cuts off a part of the first one.
    seconds = max_age + 1
    if seconds <= _MONTH:
        return seconds
    date = int(time.time()) + seconds
    return date if date <= _LATEST else 0


def _is_strict(client: t.Any) -> bool:
    from pymemcache.client.base import PooledClient
    from pymemcache.serde import LegacyWrappingSerde

    if not isinstance(client, PooledClient):
        return False
    plain = LegacyWrappingSerde(None, None)
    return (
        not (client.ignore_exc or client.default_noreply)
        and _function(client.serde, "serialize") is _function(plain, "serialize")
        and _function(client.serde, "deserialize") is _function(plain, "deserialize")
    )


def _function(serde: object, name: str) -> object:
    """Return the function of a method, or None where it is no method."""
    return getattr(getattr(serde, name, None), "__func__", None)


def _close_after_fork(client: t.Any) -> None:
    # The child must not use the parent's connections: their answers would mix.
    known = weakref.ref(client)

    def close() -> None:
        if (alive := known()) is not None:
            alive.close()

    os.register_at_fork(after_in_child=close)
