"""memcached clients that hand out what is stored, byte for byte.

Most clients turn what they read into Python objects, unpickling it where a flag says
so: who can write to the memcached could run code here.
"""

from __future__ import annotations

import collections.abc as c
import os
import threading
import typing as t
import weakref
from contextlib import AbstractContextManager, contextmanager

import cachelib

from ..errors import SessionConfigError

_TIMEOUT = 2  # seconds

_Reserve: t.TypeAlias = c.Callable[[], AbstractContextManager[t.Any]]


def client_for(server: tuple[str, int] | str) -> t.Any:
    """A client of pymemcache's that gives up after 2 seconds without an answer.

    :param server: a host and a port, or the path of a socket.
    :raises ImportError: pymemcache is not installed.
    """
    from pymemcache.client.base import PooledClient
    from pymemcache.client.retrying import RetryingClient
    from pymemcache.exceptions import MemcacheUnexpectedCloseError

    client = PooledClient(
        server,
        connect_timeout=_TIMEOUT,
        timeout=_TIMEOUT,
        no_delay=True,
        default_noreply=False,
    )
    # Connections in the pool are dead once the server has been restarted.
    dead = [MemcacheUnexpectedCloseError, ConnectionResetError, BrokenPipeError]
    return RetryingClient(client, attempts=2, retry_for=dead)


def use_bytes(cache: cachelib.MemcachedCache) -> None:
    """Replace the client of a cache by one that hands out bytes, where it is not
    such a one.

    :raises SessionConfigError: it is of a kind that this cannot be done for.
    """
    with cache._client_context() as client:
        kind = type(client).__module__.partition(".")[0]
        if kind == "pylibmc":
            cache._client_context = _clients_like(client)
        elif kind != "pymemcache" or not _is_strict(client):
            raise SessionConfigError(
                "The client of this MemcachedCache unpickles what it reads, or does"
                " not say when the server fails. Give it a PooledClient of pymemcache"
                " with default_noreply=False, without serde and ignore_exc, or a"
                " client of pylibmc."
            )
        else:
            _close_after_fork(client)


def swap(
    cache: cachelib.MemcachedCache,
    key: str,
    data: bytes,
    *,
    expected: bytes | None,
    timeout: int,
) -> bool:
    """memcached's own compare-and-swap. Unlike a plain set it leaves what is there
    if the new record is too large.

    :returns: whether it was what was expected.
    """
    end = cache._normalize_timeout(timeout)
    with cache._client_context() as client:
        if expected is None:
            return bool(client.add(cache._normalize_key(key), data, end))
        found, version = client.gets(cache._normalize_key(key))
        if found != expected:
            return False
        return bool(client.cas(cache._normalize_key(key), data, version, end))


def _is_strict(client: t.Any) -> bool:
    from pymemcache.client.base import Client, PooledClient
    from pymemcache.client.retrying import RetryingClient
    from pymemcache.serde import LegacyWrappingSerde

    if type(client) is RetryingClient:
        client = client._client
    if not isinstance(client, Client | PooledClient):
        return False
    if client.ignore_exc or client.default_noreply:
        return False
    deserialize = getattr(client.serde, "deserialize", None)
    return (
        getattr(deserialize, "__func__", None)
        is LegacyWrappingSerde._default_deserialize
    )


def _clients_like(client: t.Any) -> _Reserve:
    import pylibmc

    class BytesClient(pylibmc.Client):  # type: ignore[misc]
        # With a byte in front, as pylibmc takes nothing for a miss.
        def serialize(self, value: bytes) -> tuple[bytes, int]:
            return b"=" + value, 0

        def deserialize(self, data: bytes, flags: int) -> bytes:
            return data[1:]

        # A time-out may look like a miss, which therefore has to be said twice: from
        # the first one on the server counts as away, and that raises.
        def get(self, key: str) -> bytes | None:
            found = super().get(key)
            return t.cast("bytes | None", super().get(key) if found is None else found)

        def gets(self, key: str) -> tuple[bytes | None, t.Any]:
            found, version = super().gets(key)
            if found is None:
                self.get(key)
            return found, version

    # Not all of them, as some cannot be set, not even to what they are.
    plain = pylibmc.Client(client.addresses, binary=client.binary).behaviors
    behaviors = dict(client.behaviors.items() - plain.items()) | {"cas": True}
    raw = BytesClient(client.addresses, behaviors=behaviors, binary=client.binary)
    clients: dict[tuple[int, int], BytesClient] = {}

    @contextmanager
    def reserve() -> c.Iterator[BytesClient]:
        # One for each thread, and others after a fork. Those of the parent are kept,
        # as a client says good-bye to the server when it goes.
        key = os.getpid(), threading.get_ident()
        if key not in clients:
            clients[key] = raw.clone()
        yield clients[key]

    return reserve


def _close_after_fork(client: t.Any) -> None:
    # A socket shared with the parent would mix up both their answers.
    known = weakref.ref(client)

    def close() -> None:
        if (held := known()) is not None:
            held.close()

    os.register_at_fork(after_in_child=close)
