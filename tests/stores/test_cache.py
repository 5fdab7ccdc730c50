"""Test what only :class:`flask_buffalo_session.CacheStore` does."""

from __future__ import annotations

import os
import sys
import threading
import time
import typing as t
import warnings
from pathlib import Path

import cachelib
import pytest

from flask_buffalo_session import CacheStore
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import storage_key
from tests.conftest import Desk, make_app, redis_client
from tests.support.servers import Servers, ValkeyServer

HOUR = 3600
PREFIX = "buffalo-session:"


@pytest.fixture(autouse=True)
def folder_for_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of this test for temporary files. The locks are there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def files(folder: Path, **settings: t.Any) -> cachelib.FileSystemCache:
    return cachelib.FileSystemCache(str(folder), **{"threshold": 0, **settings})


class Trap:
    """Create a folder when an object of this class is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> t.Any:
        return os.mkdir, (str(self.path),)


class TestArgument:
    @pytest.mark.parametrize("cache", [None, {}, "redis", cachelib.SimpleCache])
    def test_another_object_is_refused(self, cache: t.Any) -> None:
        """The message says what the store needs."""
        with pytest.raises(SessionConfigError, match="needs a cache of cachelib"):
            CacheStore(cache)

    def test_a_cache_that_keeps_nothing_is_refused(self) -> None:
        """Every session would be lost at once."""
        with pytest.raises(SessionConfigError, match="keeps no sessions"):
            CacheStore(cachelib.NullCache())

    def test_a_cache_whose_client_unpickles_is_refused(self) -> None:
        """The memcached cache of cachelib leaves the decoding to its client."""
        with pytest.raises(SessionConfigError, match="memcached: URL"):
            CacheStore(cachelib.MemcachedCache(object()))

    def test_a_cache_in_memory_warns_about_its_threshold(self) -> None:
        """The cache deletes live sessions to make room. The warning names the caller's
        line.
        """
        with pytest.warns(UserWarning, match="throws live sessions away") as caught:
            assert CacheStore(cachelib.SimpleCache()).in_memory
        assert [warning.filename for warning in caught] == [__file__]

    def test_a_cache_without_a_lock_warns(self) -> None:
        """The store cannot know whether the ``add`` of such a cache is atomic."""

        class Own(cachelib.BaseCache):
            pass

        with pytest.warns(UserWarning, match="nothing to lock a session with") as found:
            assert not CacheStore(Own()).in_memory
        assert [warning.filename for warning in found] == [__file__]

    def test_the_setting_accepts_a_cache(self, tmp_path: Path) -> None:
        """``SESSION_STORE`` may be a cache. A cache in files causes no warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            app = make_app(files(tmp_path / "cache"))
        config = t.cast(t.Any, app.session_interface).main.config
        assert isinstance(config.store, CacheStore)

    def test_without_portalocker_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cache in files needs portalocker where the system has no ``flock``."""
        monkeypatch.setattr("flask_buffalo_session.stores.lockfile.fcntl", None)
        monkeypatch.setitem(sys.modules, "portalocker", None)
        with pytest.raises(SessionConfigError, match=r"session\[file\]"):
            CacheStore(files(tmp_path / "cache"))


class TestApplicationData:
    def test_the_applications_cache_stays_unchanged(
        self, tmp_path: Path, servers: Servers
    ) -> None:
        """The cache stores the application's values as before."""
        for cache in (
            files(tmp_path / "cache"),
            cachelib.RedisCache(redis_client(servers)),
        ):
            kind, before = type(cache), dict(vars(cache))
            store = CacheStore(cache)
            cache.set("mine", {"a": (1, 2)})
            token = store.save(None, b"data", expected=None, max_age=HOUR)
            assert cache.get("mine") == {"a": (1, 2)}
            assert (type(cache), vars(cache)) == (kind, before)
            assert store.load(token) == b"data"

    def test_the_applications_keys_and_the_sessions_never_collide(
        self, servers: Servers
    ) -> None:
        """An application may even use a session's token or hash as a key."""
        client = redis_client(servers)
        cache = cachelib.RedisCache(client, key_prefix="shop:")
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        cache.set(token, "mine")
        cache.set(storage_key(token), "mine")
        assert store.load(token) == b"data"
        assert client.exists(f"shop:{PREFIX}{storage_key(token)}")


class TestNeverPickle:
    @pytest.mark.parametrize("kind", ["files", "redis", "simple"])
    def test_a_pickle_under_a_sessions_key_is_not_loaded(
        self, kind: str, tmp_path: Path, servers: Servers
    ) -> None:
        """The cache itself would load the pickle. The session is empty."""
        caches: dict[str, t.Callable[[], cachelib.BaseCache]] = {
            "files": lambda: files(tmp_path / "cache"),
            "redis": lambda: cachelib.RedisCache(redis_client(servers)),
            "simple": cachelib.SimpleCache,
        }
        cache = caches[kind]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        trap = tmp_path / "trap"
        cache.set(PREFIX + storage_key(token), Trap(trap))
        assert store.load(token) is not None
        assert Desk(store).values(token) == {}
        assert not trap.exists()
        cache.get(PREFIX + storage_key(token))
        assert trap.exists()


class TestRedis:
    def test_a_client_that_decodes_is_an_error(self, servers: Servers) -> None:
        """Such a client cannot return bytes."""
        client = redis_client(servers, decode_responses=True)
        store = CacheStore(cachelib.RedisCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        with pytest.raises(SessionStoreError, match="decodes"):
            store.load(token)

    def test_a_valkey_cache_stores_sessions(self, servers: Servers) -> None:
        """The store recognizes a conflict and releases its lock after a save."""
        import valkey

        client = valkey.Valkey(port=servers.shared(ValkeyServer).port)
        store = CacheStore(cachelib.ValkeyCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.save(token, b"new", expected=b"data", max_age=HOUR)
        with pytest.raises(SessionConflictError):
            store.save(token, b"new", expected=b"data", max_age=HOUR)
        key = f"{PREFIX}{storage_key(token)}".encode()
        assert client.keys(f"{PREFIX}{storage_key(token)}*") == [key]
        client.close()  # type: ignore[no-untyped-call]


class TestLockInTheCache:
    """Test the lock in a Redis cache, whose ``add`` is atomic."""

    @pytest.fixture
    def client(self, servers: Servers) -> t.Any:
        return redis_client(servers)

    def test_a_lock_that_another_process_holds_is_an_error(
        self, client: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lock of a process that died expires after some seconds, although the
        cache may not have set its lifetime yet.
        """
        monkeypatch.setattr("flask_buffalo_session.stores.lockfile.LOCK_TIMEOUT", 0.2)
        monkeypatch.setattr("flask_buffalo_session.stores.cache._LOCK_LIFE", 1)
        store = CacheStore(cachelib.RedisCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        name = f"{PREFIX}{storage_key(token)}:lock"
        client.set(name, b"a dead process's")
        with pytest.raises(SessionStoreError, match="waiting for the session's lock"):
            store.save(token, b"new", expected=b"data", max_age=HOUR)
        with pytest.raises(SessionStoreError, match="waiting for the session's lock"):
            store.delete(token)
        assert store.load(token) == b"data"
        time.sleep(1.2)
        store.save(token, b"new", expected=b"data", max_age=HOUR)
        assert not client.exists(name)

    @pytest.mark.parametrize("stalled", ["get", "set"])
    def test_a_save_that_stalled_does_not_undo_a_logout(
        self, client: t.Any, stalled: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lock of the slow save has expired, and a logout has taken it."""
        name = ""

        class Stalling(cachelib.RedisCache):
            def get(self, key: str) -> t.Any:
                found = super().get(key)
                self.stall("get", key)
                return found

            def set(self, key: str, *args: t.Any) -> t.Any:
                self.stall("set", key)
                return super().set(key, *args)

            def stall(self, method: str, key: str) -> None:
                if method == stalled and key == f"{PREFIX}{storage_key(name)}":
                    client.delete(f"{key}:lock")
                    CacheStore(cachelib.RedisCache(client)).delete(name)

        store = CacheStore(Stalling(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        name = token
        with pytest.raises(SessionStoreError, match="lock has lapsed"):
            store.save(token, b"new", expected=b"data", max_age=HOUR)
        assert client.get(f"{PREFIX}{storage_key(token)}") is None

    def test_a_save_writes_nothing_when_its_lock_may_have_expired(
        self, client: t.Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The save stops well before the lock expires, because a write takes time to
        arrive.
        """
        store = CacheStore(cachelib.RedisCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        monkeypatch.setattr("flask_buffalo_session.stores.cache._LOCK_USE", -1)
        with pytest.raises(SessionStoreError, match="lock has lapsed"):
            store.save(token, b"new", expected=b"data", max_age=HOUR)
        assert store.load(token) == b"data"

    def test_another_requests_lock_is_not_released(self, client: t.Any) -> None:
        """The lock of the slow request had expired before."""
        name = ""

        class Slow(cachelib.RedisCache):
            def delete(self, key: str) -> t.Any:
                if key == f"{PREFIX}{storage_key(name)}":
                    client.set(f"{key}:lock", b"somebody else's")
                return super().delete(key)

        store = CacheStore(Slow(client))
        name = token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.delete(token)
        lock = f"{PREFIX}{storage_key(token)}:lock"
        assert client.get(lock) == b"somebody else's"
        client.delete(lock)


class TestFiles:
    def test_a_cache_with_a_threshold_keeps_all_sessions(self, tmp_path: Path) -> None:
        """The application's entries stay, too, and the doctor reports the threshold."""
        cache = files(tmp_path / "cache", threshold=5)
        cache.set("page", "its own")
        store = CacheStore(cache)
        tokens = [
            store.save(None, b"data", expected=None, max_age=HOUR) for _ in range(20)
        ]
        store.save(tokens[0], b"more", expected=b"data", max_age=HOUR)
        assert store.load(tokens[0]) == b"more"
        assert all(map(store.load, tokens))
        store.delete(tokens[0])
        assert store.load(tokens[0]) is None
        assert cache.get("page") == "its own"
        health = store.check_health()
        assert health.evicts == "a FileSystemCache has a threshold"
        assert CacheStore(files(tmp_path / "other")).check_health().evicts is None

    def test_only_this_user_may_open_the_lock_files(
        self, tmp_path: Path, folder_for_locks: Path
    ) -> None:
        """All processes of one user share the locks, in any folder of the cache."""
        for name in ("one", "two"):
            store = CacheStore(files(tmp_path / name))
            store.save("token", b"data", expected=None, max_age=HOUR)
        (folder,) = folder_for_locks.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(list(folder.iterdir())) == 1

    def test_a_lock_folder_of_another_user_is_an_error(
        self, tmp_path: Path, folder_for_locks: Path
    ) -> None:
        """That user could lock all sessions. A symbolic link is an error, too."""
        store = CacheStore(files(tmp_path / "cache"))
        folder = folder_for_locks / f"flask-buffalo-session-{os.getuid()}"
        folder.symlink_to(tmp_path)
        os.chown(folder, 65534, 65534, follow_symlinks=False)
        with pytest.raises(SessionStoreError, match="belongs to another user"):
            store.save("token", b"data", expected=None, max_age=HOUR)


def test_a_record_that_is_deleted_during_a_save_stays_deleted(
    tmp_path: Path, servers: Servers
) -> None:
    """The save has compared the record before the deletion begins."""

    class Slow:
        deleting: threading.Thread | None = None

        def set(self, *args: t.Any) -> t.Any:
            if self.deleting is not None and self.deleting.ident is None:
                self.deleting.start()
                self.deleting.join(0.2)
            return super().set(*args)  # type: ignore[misc]

    class SlowFiles(Slow, cachelib.FileSystemCache):
        pass

    class SlowRedis(Slow, cachelib.RedisCache):
        pass

    class SlowMemory(Slow, cachelib.SimpleCache):
        pass

    caches: list[t.Any] = [
        SlowFiles(str(tmp_path / "cache"), threshold=0),
        SlowRedis(redis_client(servers)),
        SlowMemory(),
    ]
    for cache in caches:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = CacheStore(cache)
            token = store.save(None, b"data", expected=None, max_age=HOUR)
            cache.deleting = threading.Thread(target=store.delete, args=[token])
            slow = CacheStore(cache)
        slow.save(token, b"new", expected=b"data", max_age=HOUR)
        cache.deleting.join()
        assert store.load(token) is None


def test_every_client_error_becomes_a_store_error() -> None:
    """The clients of caches raise exceptions of many types."""

    class Failing(cachelib.SimpleCache):
        def get(self, key: str) -> t.Any:
            raise KeyError

        def set(self, key: str, value: t.Any, timeout: t.Any = None) -> bool:
            return False

        def delete(self, key: str) -> bool:
            return False

    with pytest.warns(UserWarning):
        store = CacheStore(Failing())
    with pytest.raises(SessionStoreError, match="Failing: cannot read: KeyError"):
        store.load("token")
    with pytest.raises(SessionStoreError, match="Failing: cannot write: the cache"):
        store.save(None, b"data", expected=None, max_age=HOUR)
    with pytest.raises(SessionStoreError, match="Failing: cannot delete: KeyError"):
        store.delete("token")


def test_a_record_that_cannot_be_deleted_is_an_error() -> None:
    """A session must not stay in the store after a logout."""

    class Keeping(cachelib.SimpleCache):
        def delete(self, key: str) -> bool:
            return False

    with pytest.warns(UserWarning):
        store = CacheStore(Keeping())
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    with pytest.raises(SessionStoreError, match=r"Keeping: cannot delete: the cache"):
        store.delete(token)
