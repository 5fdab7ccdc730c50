"""A ``SESSION_STORE`` URL to a store.

Clients made here give up after 2 seconds without an answer, unless the URL says
otherwise, and connect when they are first used, so that nothing is shared over a
fork.
"""

from __future__ import annotations

import collections.abc as c
import os
import typing as t
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import SessionConfigError
from .base import Store, StoreURLError
from .memory import MemoryStore

_TIMEOUT = 2  # seconds


def store_from_url(url: str, folder: str | Path) -> Store:
    """
    :param folder: where relative paths begin.
    :raises ImportError: the store's client is not installed. The message names the
        extra that installs it.
    :raises StoreURLError: the URL's scheme is none of :data:`SCHEMES`, or the rest
        does not fit it.
    """
    scheme = url.partition(":")[0]
    kind, _, driver = scheme.partition("+")
    make, extra = _MAKERS.get(scheme) or _MAKERS.get(kind, _NONE)
    if driver and scheme not in _MAKERS and make is not _sql:
        make = _unknown
    try:
        return make(url, Path(folder))
    except ImportError as error:
        raise ImportError(
            f"its client is missing: install flask-buffalo-session[{extra}]"
        ) from error
    except OSError as error:
        raise StoreURLError(f"its folder cannot be made: {error.strerror}") from error
    except (SessionConfigError, StoreURLError):
        raise
    except (AttributeError, ValueError):
        # Without its message, which may quote a part of a password. A client takes
        # some of the options in a URL for objects.
        raise StoreURLError("it cannot be read") from None


def _unknown(url: str, folder: Path) -> Store:
    raise StoreURLError("no such kind of store")


def _memory(url: str, folder: Path) -> Store:
    if url.partition(":")[2].strip("/"):
        raise StoreURLError("a memory: URL has nothing behind the colon")
    return MemoryStore()


def _file(url: str, folder: Path) -> Store:
    from cachelib import FileSystemCache

    from .cache import CacheStore

    parts = urlsplit(url)
    if parts.netloc or parts.query or not parts.path:
        raise StoreURLError(
            "a file: URL is file:///folder, or file:folder, and no more"
        )
    path = folder / unquote(parts.path)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without a threshold, beyond which live sessions would be thrown away.
    return CacheStore(FileSystemCache(str(path), threshold=0, mode=0o600))


def _memcached(url: str, folder: Path) -> Store:
    from cachelib import MemcachedCache

    from .cache import CacheStore
    from .memcached import client_for

    parts = urlsplit(url)
    if parts.query or "," in parts.netloc or bool(parts.hostname) == bool(parts.path):
        raise StoreURLError(
            "a memcached: URL is memcached://host:port, of one server, or"
            " memcached:///path/of/socket"
        )
    server: tuple[str, int] | str = unquote(parts.path)
    if parts.hostname:
        server = (parts.hostname, parts.port or 11211)
    return CacheStore(MemcachedCache(client_for(server)))


def _sql(url: str, folder: Path) -> Store:
    from .sql import SQLStore, engine_from_url

    return SQLStore(engine_from_url(url, folder))


def _redis(url: str, folder: Path) -> Store:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    from .redis import RedisStore

    return RedisStore(Redis.from_url(url, **_patience(Retry(NoBackoff(), 0))))


def _valkey(url: str, folder: Path) -> Store:
    from valkey import Valkey
    from valkey.backoff import NoBackoff
    from valkey.retry import Retry

    from .redis import RedisStore

    return RedisStore(Valkey.from_url(url, **_patience(Retry(NoBackoff(), 0))))


def _sentinel(url: str, folder: Path) -> Store:
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    from .redis import RedisStore

    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or parts.query:
        raise StoreURLError(
            "a redis+sentinel: URL is redis+sentinel://host:port,host:port/service/0"
        )
    settings = _patience(Retry(NoBackoff(), 0))
    sentinel: t.Any = Sentinel(_hosts(parts, 26379), sentinel_kwargs=settings)  # type: ignore[no-untyped-call]
    settings |= _login(parts)
    return RedisStore(sentinel.master_for(service, db=int(database or 0), **settings))


def _cluster(url: str, folder: Path) -> Store:
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.retry import Retry

    from .redis import RedisStore

    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query:
        raise StoreURLError(
            "a redis+cluster: URL is redis+cluster://host:port,host:port"
        )
    nodes = [ClusterNode(*host) for host in _hosts(parts, 6379)]  # type: ignore[no-untyped-call]
    # Once more, as what is known of the cluster may be out of date.
    settings = _patience(Retry(NoBackoff(), 1)) | _login(parts)

    def connect() -> t.Any:
        return RedisCluster(startup_nodes=nodes, **settings)

    return RedisStore(_Late(connect))


class _Late:
    """A client that connects as soon as it is made, made when it is first used, and
    anew after a fork.
    """

    def __init__(self, connect: c.Callable[[], t.Any]) -> None:
        self._connect = connect
        self._client: tuple[int, t.Any] | None = None

    def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
        return self._connected().execute_command(*args, **options)

    def get_primaries(self) -> t.Any:
        return self._connected().get_primaries()

    def _connected(self) -> t.Any:
        client = self._client
        if client is None or client[0] != os.getpid():
            # By every thread that comes by: with a lock they would wait one after
            # the other while the servers are away.
            client = self._client = os.getpid(), self._connect()
        return client[1]


def _patience(retry: t.Any) -> dict[str, t.Any]:
    # A write that is repeated by itself may find its own first attempt there.
    return {
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
        "retry": retry,
    }


def _login(parts: SplitResult) -> dict[str, t.Any]:
    login = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in login.items() if value}


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """
    :raises ValueError: one of the ports is no number.
    """
    hosts = [
        urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")
    ]
    return [(host.hostname or "localhost", host.port or default_port) for host in hosts]


_Maker: t.TypeAlias = c.Callable[[str, Path], Store]

# What makes the store for a scheme, and the extra that its client comes with.
_MAKERS: dict[str, tuple[_Maker, str]] = {
    "memory": (_memory, ""),
    "file": (_file, "file"),
    "sqlite": (_sql, "sql"),
    "postgresql": (_sql, "sql"),
    "mysql": (_sql, "sql"),
    "mariadb": (_sql, "sql"),
    "redis": (_redis, "redis"),
    "rediss": (_redis, "redis"),
    "unix": (_redis, "redis"),
    "valkey": (_valkey, "valkey"),
    "valkeys": (_valkey, "valkey"),
    "redis+sentinel": (_sentinel, "redis"),
    "redis+cluster": (_cluster, "redis"),
    "memcached": (_memcached, "memcached"),
}

_NONE: tuple[_Maker, str] = (_unknown, "")

#: The schemes of the URLs that :func:`store_from_url` knows.
SCHEMES = tuple(_MAKERS)
