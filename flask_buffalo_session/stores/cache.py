"""Sessions in any cachelib cache."""

from __future__ import annotations

import collections.abc as c
import contextlib
import copy
import os
import random
import struct
import threading
import time
import typing as t
import warnings
import zlib

import cachelib

from ..errors import SessionConfigError, SessionConflictError, SessionStoreError
from .base import Health, new_token, storage_key
from .health import memcached_health, redis_health
from .lockfile import check_installed, locked_file
from .memcached import swap, use_bytes

_PREFIX = "buffalo-session:"

# Seconds. Some caches cannot count further; what lives longer lives for ever.
_LONGEST = 5 * 366 * 24 * 3600

# Seconds that a save waits for another one of the same session, and those after
# which the lock of a process that has died is void. The latter are more than
# anybody holds one for: two calls of a client, with time-outs of a few seconds.
_PATIENCE = 5
_LOCK_LIFE = 10

# How many locks the sessions of one process, or one folder, share.
_STRIPES = 64


class CacheStore:
    """A cache of cachelib's. It keeps sessions as bytes, under keys of their own,
    and never pickled. The cache object itself is not changed.

    Where a cache has no compare-and-swap, as memcached has, a save takes a lock: a
    file's with ``FileSystemCache``, one in the cache where its ``add`` is atomic
    (Redis, Valkey, DynamoDB, uWSGI), this process' own with any other.

    :param cache: one that does not make room by throwing live entries away, as
        those of cachelib with a ``threshold`` do; for these there is a warning.
    :raises SessionConfigError: this is no cache, one that keeps nothing, or one
        whose client would unpickle.
    """

    def __init__(self, cache: cachelib.BaseCache) -> None:
        if not isinstance(cache, cachelib.BaseCache):
            raise SessionConfigError(
                f"CacheStore needs a cache of cachelib, not a {type(cache).__name__}."
            )
        if isinstance(cache, cachelib.NullCache):
            raise SessionConfigError("A NullCache keeps no sessions.")
        self._name = type(cache).__name__
        self._threshold = getattr(cache, "_threshold", 0)
        if self._threshold:
            warnings.warn(
                f"This {self._name} throws live sessions away beyond its threshold of"
                f" {self._threshold} entries.",
                stacklevel=2,
            )
        #: Whether this process alone has what is in it.
        self.in_memory = isinstance(cache, cachelib.SimpleCache)
        self._cache = _strict_copy(cache)
        self._locked = _locks_for(self._cache)

    def load(self, token: str) -> bytes | None:
        with self._answering("read"):
            found = self._cache.get(_PREFIX + storage_key(token))
            return t.cast("bytes | None", found)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        # Caches cut off a part of the first second, and none may end a session early.
        timeout = max_age + 1 if max_age < _LONGEST else 0
        new = token is None
        token = token or new_token()
        key = _PREFIX + storage_key(token)
        with self._answering("write"):
            if new and expected is None:
                # Nobody else knows it, so there is nothing to compare with.
                self._set(key, data, timeout)
            elif not self._swap(key, data, expected=expected, timeout=timeout):
                raise SessionConflictError("the record changed meanwhile")
        return token

    def delete(self, token: str) -> None:
        key = _PREFIX + storage_key(token)
        with self._answering("delete"), self._locked(key):
            # Caches differ in what they say of a missing key.
            if not self._cache.delete(key) and self._cache.get(key) is not None:
                raise SessionStoreError(self._name, "cannot delete")

    def prune(self) -> int:
        """Remove expired files. Other caches remove what has expired by themselves.

        :returns: how many there were.
        """
        if not isinstance(self._cache, _StrictFiles):
            return 0
        with self._answering("delete"):
            return self._cache.remove_expired()

    def examine(self) -> Health:
        if self._threshold:
            return Health(
                evicts=f"it has a threshold of {self._threshold} entries",
                remedy="Give a FileSystemCache threshold=0; a SimpleCache is never"
                " without one, where a MemoryStore is.",
            )
        with self._answering("be examined"):
            if isinstance(self._cache, cachelib.MemcachedCache):
                return memcached_health(self._cache)
            if isinstance(self._cache, cachelib.RedisCache | cachelib.ValkeyCache):
                return redis_health(self._cache._write_client)
        return Health()

    def _swap(
        self, key: str, data: bytes, *, expected: bytes | None, timeout: int
    ) -> bool:
        if isinstance(self._cache, cachelib.MemcachedCache):
            return swap(self._cache, key, data, expected=expected, timeout=timeout)
        with self._locked(key):
            if self._cache.get(key) != expected:
                return False
            self._set(key, data, timeout)
            return True

    def _set(self, key: str, data: bytes, timeout: int) -> None:
        if not self._cache.set(key, data, timeout):
            raise SessionStoreError(self._name, "cannot write: it is refused")

    @contextlib.contextmanager
    def _answering(self, doing: str) -> c.Iterator[None]:
        try:
            yield
        except (SessionStoreError, SessionConflictError):
            raise
        except Exception as error:
            # Whatever the cache's client may raise.
            problem = f"cannot {doing}: {str(error) or type(error).__name__}"
            raise SessionStoreError(self._name, problem) from error


# Caches that say what fails


class _Bytes:
    """In place of a cache's own serializer: bytes are stored as they are."""

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, value: t.Any) -> bytes | None:
        if isinstance(value, str):
            raise TypeError("the client decodes what it reads")
        return None if value is None else bytes(value)


class _StrictRedis(cachelib.BaseCache):
    """Adds a key together with its time-out, where cachelib may die in between."""

    _write_client: t.Any
    _get_prefix: c.Callable[[], str]

    def add(self, key: str, value: bytes, timeout: t.Any = None) -> bool:
        name = f"{self._get_prefix()}{key}"
        return bool(self._write_client.set(name, value, nx=True, ex=timeout))


class _StrictFiles(cachelib.FileSystemCache):
    """Raises what cachelib logs, and then takes for a missing file or for done."""

    def get(self, key: str) -> bytes | None:
        try:
            with open(self._get_filename(key), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            # That of one session may be missing, the folder may not.
            os.stat(self._path)
            return None
        return None if self._has_expired(data) else data[_HEADER.size :]

    def set(
        self, key: str, value: t.Any, timeout: t.Any = None, mgmt_element: bool = False
    ) -> bool:
        head = _HEADER.pack(self._normalize_timeout(timeout))
        path = self._get_filename(key)
        # Nobody else writes this one now: it is new, or locked.
        aside = path + self._fs_transaction_suffix
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(aside, flags, t.cast(int, self._mode))
        try:
            with open(descriptor, "wb") as file:
                file.write(head + value)
            # In one step: who reads or dies finds the old file or the new one.
            os.replace(aside, path)
        except BaseException:
            os.remove(aside)
            raise
        return True

    def _update_count(self, delta: t.Any = None, value: t.Any = None) -> None:
        """Nothing here depends on how many there are, and the count that the cache
        itself keeps is a pickle.
        """

    def remove_expired(self) -> int:
        count = 0
        for entry in os.scandir(self._path):
            with contextlib.suppress(FileNotFoundError):
                if entry.name.endswith(self._fs_transaction_suffix):
                    # A lock, or left behind by a process that died.
                    gone = entry.stat().st_mtime < time.time() - _ABANDONED
                else:
                    with open(entry.path, "rb") as file:
                        gone = self._has_expired(file.read(_HEADER.size))
                if gone:
                    os.remove(entry.path)
                    count += 1
        return count

    @staticmethod
    def _has_expired(data: bytes) -> bool:
        if len(data) < _HEADER.size:
            # Cut off. What is left is no record, which is for the codec to say.
            return False
        end: int = _HEADER.unpack_from(data)[0]
        return 0 < end < time.time()


class _StrictMemcached(cachelib.MemcachedCache):
    """Has the server count the seconds, where cachelib adds them to the time of this
    machine, whose clock may be another one.
    """

    def _normalize_timeout(self, timeout: t.Any) -> int:
        seconds = cachelib.BaseCache._normalize_timeout(self, timeout)
        # More than that memcached takes for a date.
        return seconds if seconds <= _MONTH else super()._normalize_timeout(seconds)


_MONTH = 30 * 24 * 3600  # seconds

# What cachelib's files begin with: the second at which they expire, or 0.
_HEADER = struct.Struct("I")

# Seconds after which a file that was never moved to its place is nobody's.
_ABANDONED = 24 * 3600

_STRICT: dict[type, type] = {
    cachelib.FileSystemCache: _StrictFiles,
    cachelib.MemcachedCache: _StrictMemcached,
    cachelib.RedisCache: _StrictRedis,
    cachelib.ValkeyCache: _StrictRedis,
}


def _strict_copy(cache: t.Any) -> t.Any:
    strict = copy.copy(cache)
    strict.serializer = _Bytes()
    if isinstance(cache, cachelib.MemcachedCache):
        use_bytes(strict)
    for kind, mixin in _STRICT.items():
        if isinstance(cache, kind) and not isinstance(cache, mixin):
            strict.__class__ = type(mixin.__name__, (mixin, type(cache)), {})
    return strict


# Locks

_Locks: t.TypeAlias = c.Callable[[str], contextlib.AbstractContextManager[object]]


def _locks_for(cache: t.Any) -> _Locks:
    if isinstance(cache, cachelib.MemcachedCache):
        # It swaps without one.
        return lambda key: contextlib.nullcontext()
    if isinstance(cache, cachelib.FileSystemCache):
        return _file_locks(cache._path)
    if isinstance(cache, _LOCKABLE):
        return lambda key: _lock_by_adding(cache, key)
    if not isinstance(cache, cachelib.SimpleCache):
        warnings.warn(
            f"A {type(cache).__name__} has nothing to lock a session with: two"
            " processes that change one at once overwrite each other.",
            stacklevel=3,
        )
    locks = [threading.Lock() for _ in range(_STRIPES)]
    return lambda key: locks[_stripe(key)]


# Those whose add() is atomic.
_LOCKABLE = (
    cachelib.DynamoDbCache,
    cachelib.RedisCache,
    cachelib.UWSGICache,
    cachelib.ValkeyCache,
)


def _file_locks(folder: str) -> _Locks:
    # cachelib leaves files with this ending alone.
    ending = cachelib.FileSystemCache._fs_transaction_suffix
    check_installed()
    return lambda key: locked_file(f"{folder}/lock-{_stripe(key)}{ending}")


@contextlib.contextmanager
def _lock_by_adding(cache: cachelib.BaseCache, key: str) -> c.Iterator[None]:
    name, begun = f"{key}:lock", time.monotonic()
    while not cache.add(name, b"locked", _LOCK_LIFE):
        if time.monotonic() - begun > _PATIENCE:
            raise TimeoutError("another request does not let go of the session")
        time.sleep(random.uniform(0.001, 0.005))  # noqa: S311 - only to spread out
    locked = time.monotonic()
    try:
        yield
    finally:
        # Afterwards it is somebody else's.
        if time.monotonic() - locked < _LOCK_LIFE:
            cache.delete(name)


def _stripe(key: str) -> int:
    return zlib.crc32(key.encode()) % _STRIPES
