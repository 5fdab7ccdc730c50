"""What is particular to :class:`flask_buffalo_session.CacheStore`."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import socket
import sys
import threading
import time
import typing as t
import warnings
from pathlib import Path

import cachelib
import pylibmc
import pymemcache
import pytest
from pymemcache.client.base import PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.retrying import RetryingClient

from flask_buffalo_session import CacheStore
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import storage_key
from tests.conftest import Desk, make_app, redis_client, url
from tests.support.servers import MemcachedServer, Servers, ValkeyServer, free_port

HOUR = 3600
PREFIX = "buffalo-session:"


def files(folder: Path, **settings: t.Any) -> cachelib.FileSystemCache:
    return cachelib.FileSystemCache(str(folder), **{"threshold": 0, **settings})


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> t.Any:
        return os.mkdir, (str(self.path),)


class TestWhatIsACache:
    @pytest.mark.parametrize("cache", [None, {}, "redis", cachelib.SimpleCache])
    def test_what_is_none_is_refused(self, cache: t.Any) -> None:
        """With what was found."""
        with pytest.raises(SessionConfigError, match="needs a cache of cachelib"):
            CacheStore(cache)

    def test_one_that_keeps_nothing_is_refused(self) -> None:
        """Each session would be gone at once."""
        with pytest.raises(SessionConfigError, match="keeps no sessions"):
            CacheStore(cachelib.NullCache())

    def test_one_that_evicts_is_warned_about(self, tmp_path: Path) -> None:
        """It makes room by logging people out. The line to mend is named."""
        for cache in (files(tmp_path, threshold=500), cachelib.SimpleCache()):
            with pytest.warns(UserWarning, match="threshold of 500 entries") as told:
                CacheStore(cache)
            assert [warning.filename for warning in told] == [__file__]

    def test_sessions_end_in_one_that_counts_its_files(self, tmp_path: Path) -> None:
        """The count, which is not a session's, stays as it is."""
        cache = files(tmp_path, threshold=500)
        cache.set("page", "its own")
        (count,) = [path for path in tmp_path.iterdir() if cache._is_mgmt(path.name)]
        counted = count.read_bytes()
        with pytest.warns(UserWarning, match="threshold of 500 entries"):
            store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.delete(token)
        assert store.load(token) is None
        assert count.read_bytes() == counted
        assert cache.get("page") == "its own"

    def test_one_without_a_lock_is_warned_about(self) -> None:
        """Nobody knows whether its ``add`` is atomic. The line to mend is named."""

        class Own(cachelib.BaseCache):
            pass

        with pytest.warns(UserWarning, match="nothing to lock a session with") as told:
            CacheStore(Own())
        assert [warning.filename for warning in told] == [__file__]

    def test_the_setting_takes_a_cache(self, tmp_path: Path) -> None:
        """And says nothing where all is well."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            app = make_app(files(tmp_path))
        config = t.cast(t.Any, app.session_interface).config
        assert isinstance(config.store, CacheStore)

    def test_without_portalocker_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is installed by those who need it."""
        monkeypatch.setitem(sys.modules, "portalocker", None)
        with pytest.raises(SessionConfigError, match=r"session\[file\]"):
            CacheStore(files(tmp_path))


class TestTheApplicationsOwn:
    def test_its_cache_is_left_as_it_is(self, tmp_path: Path, servers: Servers) -> None:
        """It goes on storing what it did, in the way it did."""
        for cache in (files(tmp_path), cachelib.RedisCache(redis_client(servers))):
            kind, before = type(cache), dict(vars(cache))
            store = CacheStore(cache)
            cache.set("mine", {"a": (1, 2)})
            token = store.save(None, b"data", expected=None, max_age=HOUR)
            assert cache.get("mine") == {"a": (1, 2)}
            assert (type(cache), vars(cache)) == (kind, before)
            assert store.load(token) == b"data"

    def test_its_keys_and_the_sessions_do_not_meet(self, servers: Servers) -> None:
        """Not even where it chooses one like a session's."""
        client = redis_client(servers)
        cache = cachelib.RedisCache(client, key_prefix="shop:")
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        cache.set(token, "mine")
        cache.set(storage_key(token), "mine")
        assert store.load(token) == b"data"
        assert client.exists(f"shop:{PREFIX}{storage_key(token)}")


class TestNeverPickle:
    def test_in_files(self, tmp_path: Path) -> None:
        """A pickle in a session's place is bytes."""
        cache = files(tmp_path / "cache")
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        trap = tmp_path / "trap"
        cache.set(PREFIX + storage_key(token), Trap(trap))
        assert store.load(token) is not None
        assert Desk(store).values(token) == {}
        assert not trap.exists()

    def test_in_redis(self, servers: Servers, tmp_path: Path) -> None:
        """The same."""
        cache = cachelib.RedisCache(redis_client(servers))
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        trap = tmp_path / "trap"
        cache.set(PREFIX + storage_key(token), Trap(trap))
        assert Desk(store).values(token) == {}
        assert not trap.exists()

    @pytest.mark.parametrize("library", ["pylibmc", "pymemcache"])
    def test_nobody_is_told_to_unpickle(self, servers: Servers, library: str) -> None:
        """Flags say so, to whoever else reads what is kept in memcached."""
        port = servers.shared(MemcachedServer).port
        client = pooled(port) if library == "pymemcache" else [f"127.0.0.1:{port}"]
        store = CacheStore(cachelib.MemcachedCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.save(token, b"more", expected=b"data", max_age=HOUR)
        reader = pooled(port, deserializer=lambda key, value, flags: (value, flags))
        value, flags = reader.get(PREFIX + storage_key(token))
        assert value.endswith(b"more")
        assert flags == 0

    @pytest.mark.parametrize("library", ["pylibmc", "pymemcache"])
    def test_in_memcached(self, servers: Servers, tmp_path: Path, library: str) -> None:
        """Whose clients unpickle by themselves, by a flag."""
        port = servers.shared(MemcachedServer).port
        if library == "pylibmc":
            cache = cachelib.MemcachedCache([f"127.0.0.1:{port}"])
        else:
            cache = cachelib.MemcachedCache(pooled(port))
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        trap = tmp_path / "trap"
        writer = PooledClient(("127.0.0.1", port), serde=pymemcache.serde.pickle_serde)
        writer.set(PREFIX + storage_key(token), Trap(trap), noreply=False)
        assert Desk(store).values(token) == {}
        assert not trap.exists()
        # It would have worked on a client that unpickles.
        writer.get(PREFIX + storage_key(token))
        assert trap.exists()
        writer.close()


class BinaryMemcachedServer(MemcachedServer):
    def command(self) -> list[str]:
        return [*super().command(), "-B", "binary"]


@functools.cache
def pooled(port: int, **settings: t.Any) -> PooledClient:
    return PooledClient(
        ("127.0.0.1", port),
        **{"timeout": 2, "connect_timeout": 2, "default_noreply": False, **settings},
    )


class TestMemcached:
    @pytest.mark.parametrize(
        "client",
        [
            pooled(1, serde=pymemcache.serde.pickle_serde),
            pooled(1, serde=object()),
            pooled(1, deserializer=lambda key, value, flags: pickle.loads(value)),
            pooled(1, ignore_exc=True),
            pooled(1, default_noreply=True),
            HashClient([("127.0.0.1", 1)], default_noreply=False),
            RetryingClient(pooled(1, ignore_exc=True)),
            object(),
        ],
        ids=[
            "serde",
            "no serde",
            "deserializer",
            "ignore_exc",
            "noreply",
            "hash",
            "retry",
            "other",
        ],
    )
    def test_a_client_that_unpickles_or_is_silent_is_refused(
        self, client: t.Any
    ) -> None:
        """By what it is made of, before anything is read."""
        with pytest.raises(SessionConfigError, match="PooledClient of pymemcache"):
            CacheStore(cachelib.MemcachedCache(client))

    @pytest.mark.parametrize("wrap", [lambda client: client, RetryingClient])
    def test_a_strict_client_is_taken(
        self, servers: Servers, wrap: t.Callable[[t.Any], t.Any]
    ) -> None:
        """Wrapped or not."""
        client = wrap(pooled(servers.shared(MemcachedServer).port))
        store = CacheStore(cachelib.MemcachedCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        assert store.load(token) == b"data"

    def test_a_fork_leaves_the_parents_connections_alone(
        self, servers: Servers
    ) -> None:
        """Whichever client: neither mixes up answers nor hangs up."""
        port = servers.shared(MemcachedServer).port
        for cache in (
            cachelib.MemcachedCache(pooled(port)),
            cachelib.MemcachedCache([f"127.0.0.1:{port}"]),
            t.cast(t.Any, url(f"memcached://127.0.0.1:{port}"))._cache,
        ):
            store = CacheStore(cache)
            token, other = (
                store.save(None, data, expected=None, max_age=HOUR)
                for data in (b"data", b"another's")
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                child = os.fork()
            if child == 0:
                found = [store.load(other) for _ in range(500)]
                gc.collect()
                os._exit(0 if found == [b"another's"] * 500 else 1)
            assert [store.load(token) for _ in range(500)] == [b"data"] * 500
            assert os.waitpid(child, 0)[1] == 0
            assert store.load(token) == b"data"

    def test_a_client_that_speaks_binary_is_taken(self, servers: Servers) -> None:
        """For a server that understands nothing else."""
        port = servers.own(BinaryMemcachedServer).port
        client = pylibmc.Client([f"127.0.0.1:{port}"], binary=True)
        store = CacheStore(cachelib.MemcachedCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.save(token, b"more", expected=b"data", max_age=HOUR)
        assert store.load(token) == b"more"

    def test_what_lives_for_more_than_a_month_has_a_date(
        self, servers: Servers
    ) -> None:
        """As memcached's protocol asks for; what lives shorter has seconds."""
        store = CacheStore(
            cachelib.MemcachedCache(pooled(servers.shared(MemcachedServer).port))
        )
        month = 30 * 24 * HOUR
        assert store._cache._normalize_timeout(month) == month
        end = store._cache._normalize_timeout(month + 1)
        assert abs(end - time.time() - month - 1) < 10

    def test_a_record_that_is_too_large_is_an_error(self, servers: Servers) -> None:
        """memcached takes up to a megabyte; what was there stays."""
        store = CacheStore(
            cachelib.MemcachedCache(pooled(servers.shared(MemcachedServer).port))
        )
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        with pytest.raises(SessionStoreError):
            store.save(token, b"x" * 2_000_000, expected=b"data", max_age=HOUR)
        assert store.load(token) == b"data"

    def test_a_server_that_hangs_is_an_error(self, servers: Servers) -> None:
        """Neither a miss nor a conflict, which pylibmc would make of it; the more so
        once its server has been away before.
        """
        server = servers.own(MemcachedServer)
        behaviors = {"_poll_timeout": 500, "retry_timeout": 1}
        client = pylibmc.Client([f"127.0.0.1:{server.port}"], behaviors=behaviors)
        store = CacheStore(cachelib.MemcachedCache(client))
        for _ in range(2):
            end = time.monotonic() + 10
            while (token := saved(store)) is None:
                assert time.monotonic() < end
                time.sleep(0.1)
            server.pause()
            with pytest.raises(SessionStoreError):
                store.save(token, b"more", expected=b"data", max_age=HOUR)
            server.go_on()
            time.sleep(2.2)
            server.pause()
            with pytest.raises(SessionStoreError):
                store.load(token)
            server.go_on()
            server.stop()
            server.start()

    def test_a_write_that_got_no_answer_is_not_repeated(self) -> None:
        """It may have got through, and would then find itself there."""
        commands: list[bytes] = []

        def listen(listener: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        while data := connection.recv(1000):
                            commands.append(data)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=listen, args=(listener,), daemon=True).start()
            store = url(f"memcached://127.0.0.1:{listener.getsockname()[1]}")
            with pytest.raises(SessionStoreError):
                store.save("token", b"data", expected=None, max_age=HOUR)
            listener.shutdown(socket.SHUT_RDWR)
        assert b"".join(commands).count(b"add ") == 1

    def test_a_server_that_is_away_is_an_error(self) -> None:
        """Whichever client."""
        port = free_port()
        for cache in (
            cachelib.MemcachedCache(pooled(port)),
            cachelib.MemcachedCache([f"127.0.0.1:{port}"]),
        ):
            with pytest.raises(SessionStoreError, match="MemcachedCache: cannot read"):
                CacheStore(cache).load("token")


def saved(store: CacheStore) -> str | None:
    """The token of a new record; None where the server does not answer yet."""
    try:
        return store.save(None, b"data", expected=None, max_age=HOUR)
    except SessionStoreError:
        return None


class TestRedis:
    def test_a_client_that_decodes_is_an_error(self, servers: Servers) -> None:
        """It cannot hand out bytes."""
        client = redis_client(servers, decode_responses=True)
        store = CacheStore(cachelib.RedisCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        with pytest.raises(SessionStoreError, match="decodes"):
            store.load(token)

    def test_a_lock_that_nobody_lets_go_of_is_an_error_and_ends(
        self, servers: Servers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process died while it saved."""
        monkeypatch.setattr("flask_buffalo_session.stores.cache._PATIENCE", 0.2)
        monkeypatch.setattr("flask_buffalo_session.stores.cache._LOCK_LIFE", 1)
        client = redis_client(servers)
        store = CacheStore(cachelib.RedisCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        name = f"{PREFIX}{storage_key(token)}:lock"
        with store._locked(PREFIX + storage_key(token)):
            assert 0 < client.ttl(name) <= 1
            with pytest.raises(SessionStoreError, match="does not let go"):
                store.save(token, b"new", expected=b"data", max_age=HOUR)
            time.sleep(1.2)
            store.save(token, b"new", expected=b"data", max_age=HOUR)
            client.set(name, "somebody else's")
        assert client.get(name) == b"somebody else's"
        client.delete(name)

    def test_valkeys_cache_is_one_too(self, servers: Servers) -> None:
        """With its own client."""
        import valkey

        client = valkey.Valkey(port=servers.shared(ValkeyServer).port)
        store = CacheStore(cachelib.ValkeyCache(client))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        store.save(token, b"new", expected=b"data", max_age=HOUR)
        with pytest.raises(SessionConflictError):
            store.save(token, b"new", expected=b"data", max_age=HOUR)
        assert client.keys(f"{PREFIX}{storage_key(token)}*") == [
            f"{PREFIX}{storage_key(token)}".encode()
        ]
        client.close()  # type: ignore[no-untyped-call]


class TestFiles:
    def test_pruning_removes_what_has_expired(self, tmp_path: Path) -> None:
        """Live sessions, locks in use and the application's own stay."""
        cache = files(tmp_path)
        store = CacheStore(cache)
        cache.set("mine", 1, timeout=0)
        live = store.save(None, b"live", expected=None, max_age=HOUR)
        for _ in range(3):
            store.save(None, b"short", expected=None, max_age=1)
        store.save(live, b"again", expected=b"live", max_age=HOUR)
        time.sleep(3.1)
        assert store.prune() == 3
        assert store.prune() == 0
        assert store.load(live) == b"again"
        assert cache.get("mine") == 1

    def test_what_was_cut_off_is_no_record_and_stays(self, tmp_path: Path) -> None:
        """It is for who reads it to say so, and for people to look at."""
        store = CacheStore(files(tmp_path))
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        (path,) = (entry for entry in tmp_path.iterdir() if entry.stat().st_size)
        path.write_bytes(path.read_bytes()[:2])
        assert store.load(token) == b""
        assert store.prune() == 0
        assert path.exists()

    def test_pruning_removes_what_processes_left_that_died(
        self, tmp_path: Path
    ) -> None:
        """A day ago: what was never moved to its place is nobody's by then."""
        store = CacheStore(files(tmp_path))
        store.save(None, b"live", expected=None, max_age=HOUR)
        for hours in (23, 25):
            path = tmp_path / f"{hours}.__wz_cache"
            path.write_bytes(b"half a record")
            os.utime(path, (time.time(), time.time() - hours * HOUR))
        assert store.prune() == 1
        assert (tmp_path / "23.__wz_cache").exists()

    def test_two_may_prune_at_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the other one has removed is no error, and counted there."""
        store = CacheStore(files(tmp_path))
        store.save(None, b"short", expected=None, max_age=0)
        present = list(os.scandir(tmp_path))
        set_time(monkeypatch, time.time() + 3)
        assert store.prune() == 1
        monkeypatch.setattr("os.scandir", lambda path: iter(present))
        assert store.prune() == 0

    def test_a_folder_that_is_gone_cannot_be_pruned(self, tmp_path: Path) -> None:
        """The error says what was tried."""
        store = CacheStore(files(tmp_path / "sessions"))
        (tmp_path / "sessions").rmdir()
        with pytest.raises(SessionStoreError, match="Cache: cannot delete"):
            store.prune()

    @pytest.mark.parametrize("life", [1, 31 * 86400, 4 * 366 * 86400])
    def test_a_record_lives_as_long_as_it_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, life: int
    ) -> None:
        """Not a moment less, and hardly a second more; saved again too."""
        store = CacheStore(files(tmp_path))
        begun = 1_800_000_000
        set_time(monkeypatch, begun)
        token = store.save(None, b"one", expected=None, max_age=9)
        store.save(token, b"two", expected=b"one", max_age=life)
        set_time(monkeypatch, begun + life)
        assert store.load(token) == b"two"
        set_time(monkeypatch, begun + life + 1.25)
        assert store.load(token) is None

    def test_others_prune_by_themselves(self, servers: Servers) -> None:
        """There is nothing to do."""
        assert CacheStore(cachelib.RedisCache(redis_client(servers))).prune() == 0

    def test_a_failed_save_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No half-written file, which nobody would remove."""
        store = CacheStore(files(tmp_path))

        def failing(*args: object) -> None:
            raise OSError("no")

        monkeypatch.setattr("os.replace", failing)
        with pytest.raises(SessionStoreError, match="cannot write: no"):
            store.save(None, b"data", expected=None, max_age=HOUR)
        assert list(tmp_path.iterdir()) == []

    def test_a_life_beyond_what_a_cache_can_count_is_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not an error, and not an early end."""
        store = CacheStore(files(tmp_path))
        token = store.save(None, b"data", expected=None, max_age=900 * 366 * 86400)
        set_time(monkeypatch, time.time() + 50 * 366 * 86400)
        assert store.load(token) == b"data"


def set_time(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """For cachelib, which has a name of its own for it, too."""
    monkeypatch.setattr("time.time", lambda: now)
    monkeypatch.setattr("cachelib.file.time", lambda: now)


def test_what_is_deleted_during_a_save_is_gone(
    tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save that had compared before does not bring it back."""
    for cache in (files(tmp_path), cachelib.RedisCache(redis_client(servers))):
        store = CacheStore(cache)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        deleting = threading.Thread(target=store.delete, args=[token])
        original = store._cache.set

        def slow(
            *args: t.Any,
            original: t.Any = original,
            deleting: threading.Thread = deleting,
        ) -> t.Any:
            deleting.start()
            deleting.join(0.2)
            return original(*args)

        monkeypatch.setattr(store._cache, "set", slow)
        store.save(token, b"new", expected=b"data", max_age=HOUR)
        deleting.join()
        assert store.load(token) is None


def test_an_error_of_any_kind_is_the_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients raise what they like."""

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
    with pytest.raises(SessionStoreError, match="Failing: cannot write: it is ref"):
        store.save(None, b"data", expected=None, max_age=HOUR)
    with pytest.raises(SessionStoreError, match="Failing: cannot delete: KeyError"):
        store.delete("token")


def test_what_cannot_be_deleted_is_an_error() -> None:
    """A session that is ended has to be gone."""

    class Keeping(cachelib.SimpleCache):
        def delete(self, key: str) -> bool:
            return False

    with pytest.warns(UserWarning):
        store = CacheStore(Keeping())
    token = store.save(None, b"data", expected=None, max_age=HOUR)
    with pytest.raises(SessionStoreError, match=r"Keeping: cannot delete$"):
        store.delete(token)
