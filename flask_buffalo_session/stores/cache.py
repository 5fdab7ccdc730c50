"""Sessions in any cache of cachelib."""

from __future__ import annotations

import collections.abc as c
import contextlib
import copy
import os
import secrets
import tempfile
import threading
import time
import typing as t
import warnings
import zlib
from pathlib import Path

import cachelib

from ..errors import SessionConfigError, SessionConflictError, SessionStoreError
from .base import KEY_PREFIX, Health, answering, new_token, storage_key
from .lockfile import (
    attempts,
    check_installed,
    locked_file,
    make_private_folder,
)

# Seconds. Some caches cannot count further, so a longer life never ends.
_LONGEST = 5 * 366 * 24 * 3600

# Seconds after which the lock of a process that has died is void, and those after
# which its holder writes no more. In between there is time for a write to arrive.
_LOCK_LIFE = 10
_LOCK_USE = 5

# Begins a record in a file. No pickle begins so.
_RECORD = b"\x00buffalo-session:"

# Bytes of a pickled int, at most.
_LONGEST_COUNT = 30

# The sessions of a process or a machine share this many locks.
_STRIPES = 64
_THREAD_LOCKS = [threading.Lock() for _ in range(_STRIPES)]

# The caches whose add() is atomic.
_ATOMIC = (
    cachelib.DynamoDbCache,
    cachelib.RedisCache,
    cachelib.UWSGICache,
    cachelib.ValkeyCache,
)


class CacheStore:
    """Sessions in a cache, as bytes and never pickled, under keys of their own.

    A cache has no compare-and-swap, so a save takes a lock: a key of the cache where
    ``add`` is atomic (Redis, Valkey, DynamoDB, uWSGI), a file with
    ``FileSystemCache``, else a lock of this process. A ``redis:``, ``file:`` or
    ``memory:`` store is faster and reports more errors.

    :param cache: the cache. The store works on a copy and leaves this one as it is.
    :raises SessionConfigError: this is not a cache, or its client unpickles, or it
        keeps nothing.
    """

    def __init__(self, cache: cachelib.BaseCache) -> None:
        if not isinstance(cache, cachelib.BaseCache):
            raise SessionConfigError(
                f"CacheStore needs a cache of cachelib, not a {type(cache).__name__}."
            )
        if isinstance(cache, cachelib.NullCache):
            raise SessionConfigError("A NullCache keeps no sessions.")
        if isinstance(cache, cachelib.MemcachedCache):
            raise SessionConfigError(
                "The client of a MemcachedCache unpickles what it reads. Use a"
                " memcached: URL or a MemcachedStore."
            )
        self._name = type(cache).__name__
        #: Whether the sessions live in the memory of this process alone.
        self.in_memory = isinstance(cache, cachelib.SimpleCache)
        if self.in_memory:
            warnings.warn(
                f"A {self._name} throws live sessions away beyond its threshold. Use"
                " SESSION_STORE = 'memory:'.",
                stacklevel=2,
            )
        elif isinstance(cache, cachelib.FileSystemCache):
            check_installed()
        elif not isinstance(cache, _ATOMIC):
            warnings.warn(
                f"A {self._name} has nothing to lock a session with: two processes that"
                " change one session at once overwrite each other.",
                stacklevel=2,
            )
        self._cache = t.cast(t.Any, copy.copy(cache))
        if isinstance(cache, cachelib.FileSystemCache):
            self._cache.serializer = _FileBytes(cache.serializer)
        else:
            self._cache.serializer = _Bytes()

    def load(self, token: str) -> bytes | None:
        with answering(self._name, "read"):
            return self._get(KEY_PREFIX + storage_key(token))

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        # Caches cut off a part of the first second, and no session may end early.
        timeout = max_age + 1 if max_age < _LONGEST else 0
        new, token = token is None, token or new_token()
        key = KEY_PREFIX + storage_key(token)
        with answering(self._name, "write"):
            if new and expected is None:
                # Nobody else knows the new token, so there is nothing to compare with.
                self._set(key, data, timeout)
                return token
            with self._locked(key) as check_lock:
                if self._get(key) != expected:
                    raise SessionConflictError("the record has changed")
                check_lock()
                self._set(key, data, timeout)
                try:
                    check_lock()
                except TimeoutError:
                    # The write may have come after a logout. A session that has
                    # ended must not come back, so this one ends.
                    self._cache.delete(key)
                    raise
        return token

    def delete(self, token: str) -> None:
        key = KEY_PREFIX + storage_key(token)
        with answering(self._name, "delete"), self._locked(key):
            # Caches differ in what they return for a missing key.
            if not self._cache.delete(key) and self._get(key) is not None:
                raise SessionStoreError(self._name, "cannot delete: the cache refused")

    def check_health(self) -> Health:
        counts = getattr(self._cache.serializer, "counts", False)
        if not (self.in_memory or counts):
            return Health()
        return Health(
            evicts=f"a {self._name} has a threshold",
            remedy="Use SESSION_STORE = 'memory:', or 'file:' and a folder.",
        )

    def _get(self, key: str) -> bytes | None:
        return t.cast("bytes | None", self._cache.get(key))

    def _set(self, key: str, data: bytes, timeout: int) -> None:
        if not self._cache.set(key, data, timeout):
            raise SessionStoreError(self._name, "cannot write: the cache refused")

    @contextlib.contextmanager
    def _locked(self, key: str) -> c.Iterator[c.Callable[[], None]]:
        """Hold the lock of a session.

        :returns: a function that raises TimeoutError once the lock may have lapsed.
        """
        stripe = zlib.crc32(key.encode()) % _STRIPES
        if isinstance(self._cache, _ATOMIC):
            with _lock_in_cache(self._cache, f"{key}:lock") as check:
                yield check
        elif isinstance(self._cache, cachelib.FileSystemCache):
            with locked_file(_lock_folder() / f"lock-{stripe}"):
                yield lambda: None
        else:
            with _THREAD_LOCKS[stripe]:
                yield lambda: None


@contextlib.contextmanager
def _lock_in_cache(
    cache: cachelib.BaseCache, name: str
) -> c.Iterator[c.Callable[[], None]]:
    mine = secrets.token_bytes(16)
    found = cache.get(name)
    try:
        for _ in attempts():
            begun = time.monotonic()
            if cache.add(name, mine, _LOCK_LIFE):
                break
    except TimeoutError:
        # Redis caches set a key and its life in two steps. A process that died in
        # between has left a lock without an end.
        if found is not None and cache.get(name) == found:
            cache.set(name, found, _LOCK_LIFE)
        raise

    def check() -> None:
        if time.monotonic() - begun > _LOCK_USE or cache.get(name) != mine:
            raise TimeoutError("the session's lock has lapsed")

    try:
        yield check
    finally:
        if cache.get(name) == mine:
            cache.delete(name)


def _lock_folder() -> Path:
    """Return a folder for locks that all processes of this user share."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir(), f"flask-buffalo-session-{user}")
    make_private_folder(folder)
    if folder.lstat().st_uid != user:
        raise PermissionError(0, "the folder for locks belongs to another user")
    return folder


class _Bytes:
    """A serializer that stores bytes as they are and never unpickles."""

    def dumps(self, value: bytes) -> bytes:
        return value

    def loads(self, value: t.Any) -> bytes | None:
        if isinstance(value, str):
            raise TypeError("the client decodes what it reads")
        return None if value is None else bytes(value)


class _FileBytes:
    """The same for a FileSystemCache, which stores in files.

    A cache with a threshold counts its files in a file of its own, by an int. This
    serializer leaves that int to the cache's serializer and never reads it. The count
    then starts again with each write, so the copy of the cache deletes no sessions.

    :param own: the cache's serializer.
    """

    def __init__(self, own: t.Any) -> None:
        self._own = own
        #: Whether the cache counts its files, as it has a threshold.
        self.counts = False

    def dump(self, value: t.Any, file: t.IO[bytes]) -> None:
        if isinstance(value, bytes):
            file.write(_RECORD + value)
        else:
            self.counts = True
            self._own.dump(value, file)

    def load(self, file: t.IO[bytes]) -> bytes | None:
        content = file.read()
        if content.startswith(_RECORD):
            return content.removeprefix(_RECORD)
        # Something else in the place of a record, for the codec to reject, or a count.
        return content if len(content) > _LONGEST_COUNT else None
