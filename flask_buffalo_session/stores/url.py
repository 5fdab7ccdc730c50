"""Make a store from a ``SESSION_STORE`` URL.

The clients made here wait 2 seconds for an answer, unless the URL sets another time.
They connect when they are first used, so that nothing is shared over a fork.
"""

from __future__ import annotations

import collections.abc as c
import os
import typing as t
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from ..errors import SessionConfigError
from .base import TIMEOUT, UNKNOWN_OPTION, Store, StoreURLError
from .connections import KeptConnections
from .memory import MemoryStore


class UnknownSchemeError(StoreURLError):
    """The URL's scheme is not one of :data:`SCHEMES`."""


# These URLs name files, which have no login.
_LOCAL = ("memory", "file", "sqlite")


def store_from_url(url: str, folder: str | Path) -> Store:
    """Make the store that a URL describes.

    :param folder: where relative paths begin.
    :raises: what :func:`client_from_url` raises.
    """
    client = client_from_url(url, folder)
    if isinstance(client, Store):
        return client
    if hasattr(client, "execute_command"):
        from .redis import RedisStore

        return RedisStore(client)
    from .sql import SQLStore

    return SQLStore(client)


def client_from_url(url: str, folder: str | Path) -> t.Any:
    """Make the client that a URL describes: one of Redis or Valkey, an engine of
    SQLAlchemy, or a store.

    :param folder: where relative paths begin.
    :raises ImportError: the client is not installed. The message names the extra that
        installs it.
    :raises UnknownSchemeError: the URL's scheme is not one of :data:`SCHEMES`.
    :raises StoreURLError: the rest of the URL does not fit the scheme.
    """
    scheme = url.partition(":")[0]
    kind, _, driver = scheme.partition("+")
    make, extra = _MAKERS.get(scheme) or _MAKERS.get(kind, _NONE)
    if driver and scheme not in _MAKERS and make is not _sql:
        make = _unknown
    if kind not in _LOCAL:
        _check_login(url)
    try:
        return make(url, Path(folder))
    except ImportError as error:
        if driver and make is _sql:
            # The extra contains one driver for each database.
            raise ImportError(
                f"its driver is missing: install the driver, or write {kind}: and"
                f" install flask-buffalo-session[{extra}]"
            ) from error
        raise ImportError(
            f"its client is missing: install flask-buffalo-session[{extra}]"
        ) from error
    except OSError as error:
        raise StoreURLError(f"its folder cannot be made: {error.strerror}") from error
    except (SessionConfigError, StoreURLError):
        raise
    except (AttributeError, TypeError, ValueError):
        # The client's message may quote a part of the password. Some clients take an
        # option in the URL for an object.
        raise StoreURLError(
            "it cannot be read; check its port, its path and its options"
        ) from None


def _check_login(url: str) -> None:
    """Check that the login of a URL ends at the only ``@``.

    Otherwise a part of the password is taken for the host, which errors may name.
    """
    login, at, rest = url.partition("://")[2].partition("@")
    if "@" in rest.partition("?")[0] or (at and any(sign in login for sign in "/?#")):
        raise StoreURLError(
            "its login contains @, /, ? or #; write %40, %2F, %3F or %23 instead"
        )


def _unknown(url: str, folder: Path) -> Store:
    raise UnknownSchemeError("no such kind of store")


def _memory(url: str, folder: Path) -> Store:
    if url.partition(":")[2].strip("/"):
        raise StoreURLError("a memory: URL has nothing behind the colon")
    return MemoryStore()


def _file(url: str, folder: Path) -> Store:
    from .file import FileStore

    parts = urlsplit(url)
    if parts.netloc or parts.query or not parts.path:
        raise StoreURLError(
            "a file: URL is file:///folder, or file:folder, and no more"
        )
    return FileStore(folder / unquote(parts.path))


def _memcached(url: str, folder: Path) -> Store:
    from pymemcache.client.base import PooledClient

    from .memcached import MemcachedStore

    parts = urlsplit(url)
    if parts.query or "," in parts.netloc or bool(parts.hostname) == bool(parts.path):
        raise StoreURLError(
            "a memcached: URL is memcached://host:port, of one server, or"
            " memcached:///path/of/socket"
        )
    server: tuple[str, int] | str = unquote(parts.path)
    if parts.hostname:
        server = (parts.hostname, parts.port or 11211)
    client = PooledClient(
        server,
        connect_timeout=TIMEOUT,
        timeout=TIMEOUT,
        no_delay=True,
        default_noreply=False,
    )
    return MemcachedStore(client)


def _sql(url: str, folder: Path) -> t.Any:
    from .engine import engine_from_url

    return engine_from_url(url, folder)


def _redis(url: str, folder: Path) -> t.Any:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError, ResponseError
    from redis.retry import Retry

    client = _single(Redis.from_url, url, Retry(NoBackoff(), 0), RedisError)
    return KeptConnections(client, ResponseError)


def _valkey(url: str, folder: Path) -> t.Any:
    from valkey import Valkey
    from valkey.backoff import NoBackoff
    from valkey.exceptions import ResponseError, ValkeyError
    from valkey.retry import Retry

    client = _single(Valkey.from_url, url, Retry(NoBackoff(), 0), ValkeyError)
    return KeptConnections(client, ResponseError)


def _single(
    from_url: c.Callable[..., t.Any], url: str, retry: t.Any, failure: type[Exception]
) -> t.Any:
    parts = urlsplit(url)
    if not _OBJECTS.isdisjoint(parse_qs(parts.query)):
        raise StoreURLError(
            "one of its options needs an object; give the client itself"
        )
    if parts.scheme != "unix" and parts.path.strip("/"):
        # The clients take any other word for database 0.
        int(parts.path.strip("/"))
    client = from_url(url, **_patience(retry))
    try:
        # This does not connect. It fails if the client does not know an option.
        client.connection_pool.make_connection()
        # Otherwise this connection would count as one of ?max_connections.
        client.connection_pool.reset()
    except TypeError:
        raise StoreURLError(UNKNOWN_OPTION) from None
    except failure:
        # The client's message may quote the value.
        raise StoreURLError("one of its options has a wrong value") from None
    return client


# The clients accept these options in a URL, and the first request fails.
_OBJECTS = frozenset(
    {"retry", "credential_provider", "redis_connect_func", "valkey_connect_func"}
)


def _sentinel(url: str, folder: Path) -> t.Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service or parts.query:
        raise StoreURLError(
            "a redis+sentinel: URL is redis+sentinel://host:port,host:port/service/0"
        )
    settings = _patience(Retry(NoBackoff(), 0))
    sentinel: t.Any = Sentinel(_hosts(parts, 26379), sentinel_kwargs=settings)  # type: ignore[no-untyped-call]
    settings |= _login(parts)
    return sentinel.master_for(service, db=int(database or 0), **settings)


def _cluster(url: str, folder: Path) -> t.Any:
    from redis.backoff import NoBackoff
    from redis.cluster import ClusterNode, RedisCluster
    from redis.retry import Retry

    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query:
        raise StoreURLError(
            "a redis+cluster: URL is redis+cluster://host:port,host:port"
        )
    nodes = [ClusterNode(*host) for host in _hosts(parts, 6379)]  # type: ignore[no-untyped-call]
    # The client follows the cluster's redirections without a retry.
    settings = _patience(Retry(NoBackoff(), 0)) | _login(parts)

    def connect() -> t.Any:
        return RedisCluster(startup_nodes=nodes, **settings)

    return _Late(connect)


class _Late:
    """A client that is made when it is first used, and again after a fork.

    The clients for clusters connect as soon as they are made.
    """

    def __init__(self, connect: c.Callable[[], t.Any]) -> None:
        self._connect = connect
        self._client: tuple[int, t.Any] | None = None

    def execute_command(self, *args: t.Any, **options: t.Any) -> t.Any:
        return self._connected().execute_command(*args, **options)

    def get_primaries(self) -> t.Any:
        return self._connected().get_primaries()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client[1].close()

    def _connected(self) -> t.Any:
        client = self._client
        if client is None or client[0] != os.getpid():
            # Every thread does this. Under a lock they would wait one after the other
            # while the servers are away.
            client = self._client = os.getpid(), self._connect()
        return client[1]


def _patience(retry: t.Any) -> dict[str, t.Any]:
    # A write that the client repeats may find its own first attempt.
    return {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "retry": retry,
    }


def _login(parts: SplitResult) -> dict[str, t.Any]:
    login = {"username": parts.username, "password": parts.password}
    return {name: unquote(value) for name, value in login.items() if value}


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Return the hosts and ports of a URL with several hosts.

    :raises ValueError: a port is not a number.
    """
    hosts = [
        urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")
    ]
    return [(host.hostname or "localhost", host.port or default_port) for host in hosts]


_Maker: t.TypeAlias = c.Callable[[str, Path], t.Any]

# For each scheme what makes the client or the store, and the client's extra.
_MAKERS: dict[str, tuple[_Maker, str]] = {
    "memory": (_memory, ""),
    "file": (_file, "file"),
    "sqlite": (_sql, "sql"),
    "postgres": (_sql, "sql"),
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
