"""Test which store ``SESSION_STORE`` makes from a URL."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import traceback
import typing as t
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
import valkey
from flask import Flask

from flask_buffalo_session import (
    BuffaloSession,
    MemoryStore,
    RedisStore,
    SQLStore,
)
from flask_buffalo_session.errors import SessionConfigError, SessionStoreError
from flask_buffalo_session.stores.base import StoreURLError
from flask_buffalo_session.stores.engine import engine_from_url
from flask_buffalo_session.stores.file import FileStore
from flask_buffalo_session.stores.memcached import MemcachedStore
from flask_buffalo_session.stores.url import SCHEMES, store_from_url
from tests.conftest import make_app
from tests.support.servers import require

#: For each scheme: a URL and the class of its store. No server needs to run.
GOOD: dict[str, tuple[str, type]] = {
    "memory": ("memory:", MemoryStore),
    "file": ("file:sessions", FileStore),
    "sqlite": ("sqlite:///sessions.db", SQLStore),
    "postgres": ("postgres://ann:x@db.example/shop", SQLStore),
    "postgresql": ("postgresql://ann:x@db.example/shop", SQLStore),
    "mysql": ("mysql://ann:x@db.example/shop", SQLStore),
    "mariadb": ("mariadb://ann:x@db.example/shop", SQLStore),
    "redis": ("redis://:x@cache.example:6380/3", RedisStore),
    "rediss": ("rediss://cache.example/0", RedisStore),
    "unix": ("unix:///run/redis.sock?db=1", RedisStore),
    "valkey": ("valkey://cache.example/0", RedisStore),
    "valkeys": ("valkeys://cache.example/0", RedisStore),
    "redis+sentinel": ("redis+sentinel://:x@a:26379,b:26379/shop/2", RedisStore),
    "redis+cluster": ("redis+cluster://:x@a:7000,b:7001", RedisStore),
    "memcached": ("memcached://cache.example:11212", MemcachedStore),
}


def client_of(url: str) -> t.Any:
    """Return the client that the store for a URL gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "flask_buffalo_session.stores.redis.RedisStore", lambda client: client
        )
        return store_from_url(url, "/nowhere")


def engine_of(url: str, folder: str | Path = "/nowhere") -> sa.Engine:
    return engine_from_url(url, Path(folder))


def test_every_scheme_is_tested() -> None:
    """A new scheme needs an entry in ``GOOD`` and a place in the documentation."""
    assert set(GOOD) == set(SCHEMES)
    documented = (Path(__file__).parents[2] / "docs/howto/stores.md").read_text()
    for scheme in SCHEMES:
        assert f"{scheme}:" in documented


@pytest.mark.parametrize("scheme", GOOD)
def test_a_url_makes_a_store(scheme: str, tmp_path: Path) -> None:
    """The store opens no connection. An application may start before its servers."""
    url, kind = GOOD[scheme]
    assert isinstance(store_from_url(url, tmp_path), kind)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "no such kind"),
        ("nonsense", "no such kind"),
        ("http://localhost", "no such kind"),
        ("redis+nonsense://localhost", "no such kind"),
        ("memory://shared", "nothing behind the colon"),
        ("file:", "file:///folder"),
        ("file://folder", "file:///folder"),
        ("file:///folder?threshold=500", "no more"),
        ("memcached:", "memcached://host:port"),
        ("memcached://a:1,b:2", "of one server"),
        ("memcached://localhost:1/x", "memcached://host:port"),
        ("memcached://localhost?timeout=3", "memcached://host:port"),
        ("sqlite://", "use memory:"),
        ("sqlite:///:memory:", "use memory:"),
        ("sqlite:nonsense", "SQLAlchemy cannot read it"),
        ("redis+sentinel://a:1", "service/0"),
        ("redis+sentinel://a:1/shop/x", "cannot be read"),
        ("redis+sentinel://a:nonsense/shop/0", "cannot be read"),
        ("redis+cluster://a:1/0", "redis+cluster://host:port"),
        ("postgresql+nonsense://localhost/x", "SQLAlchemy cannot read it"),
        ("sqlite:///x.db?plugin=geheim", "SQLAlchemy cannot read it"),
        ("sqlite://:geheim@host/x.db?geheim=1", "SQLAlchemy cannot read it"),
        ("postgresql://h/x?host=a:1&host=b&port=3", "SQLAlchemy cannot read it"),
        (
            "redis://localhost?protocol=3&cache_config=geheim",
            # redis-py 5.0 does not know this option.
            "cannot be read" if find_spec("redis.cache") else "does not know one",
        ),
        ("redis://:geheim/nis@localhost/0", "its login contains"),
        ("redis+cluster://:geheim/nis@localhost", "its login contains"),
        ("redis://:geh@eim@localhost/0", "its login contains"),
        ("postgresql://ann:geh@eim@localhost/x", "its login contains"),
        ("memcached://ann:geh@eim@localhost", "its login contains"),
        ("redis+sentinel://:geh#eim@localhost/shop", "its login contains"),
        ("redis://localhost/abc", "cannot be read"),
        ("valkey://localhost/0/1", "cannot be read"),
        ("redis://localhost/0?geheim=1", "does not know one of its options"),
        ("valkey://localhost/0?geheim=1", "does not know one of its options"),
        ("unix:///run/redis.sock?geheim=1", "does not know one of its options"),
        ("postgresql://localhost/x?geheim=1", "does not know one of its options"),
        ("mysql://localhost/x?geheim=1", "does not know one of its options"),
        ("redis://localhost?retry=geheim", "needs an object"),
        ("redis://localhost?protocol=99", "has a wrong value"),
        ("rediss://localhost?ssl_cert_reqs=geheim", "has a wrong value"),
        ("valkeys://localhost?ssl_cert_reqs=geheim", "has a wrong value"),
        ("sqlite:///x.db?geheim=1", "does not know one of its options"),
        ("redis://localhost:nonsense/0", "cannot be read"),
    ],
)
def test_a_wrong_url_is_an_error_at_the_start(
    url: str, problem: str, tmp_path: Path
) -> None:
    """The error names the setting and the problem. It repeats no part of the login."""
    with pytest.raises(StoreURLError, match=re.escape(problem)):
        store_from_url(url, tmp_path)
    with pytest.raises(SessionConfigError, match="SESSION_STORE") as caught:
        make_app(url)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["file:notes/x", "file:" + "x" * 300, "sqlite:///x"])
def test_a_folder_that_cannot_be_made_is_an_error(url: str, tmp_path: Path) -> None:
    """The error gives the reason, but not the path."""
    (tmp_path / "notes").write_text("a file")
    folder = tmp_path / "notes" if url.startswith("sqlite") else tmp_path
    with pytest.raises(StoreURLError, match="its folder cannot be made: ") as caught:
        store_from_url(url, folder)
    assert isinstance(caught.value.__cause__, OSError)
    assert "notes" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hidden", "extra"),
    [
        # The system's own locks are used where there are any.
        ("file:x", "fcntl portalocker", "file"),
        ("sqlite:///x.db", "sqlalchemy", "sql"),
        ("postgresql://localhost/x", "psycopg", "sql"),
        ("mysql://localhost/x", "pymysql", "sql"),
        ("redis://localhost", "redis", "redis"),
        ("redis+cluster://localhost", "redis", "redis"),
        ("redis+sentinel://localhost/x", "redis", "redis"),
        ("valkey://localhost", "valkey", "valkey"),
        ("memcached://localhost", "pymemcache", "memcached"),
    ],
)
def test_the_error_of_a_missing_client_names_the_extra(
    url: str, hidden: str, extra: str
) -> None:
    """The test starts a process that cannot import the client.

    :param hidden: the modules that it cannot import.
    """
    code = (
        "import sys\n"
        f"sys.modules |= dict.fromkeys({hidden.split()!r})\n"
        "from flask import Flask\n"
        "from flask_buffalo_session import BuffaloSession\n"
        f"BuffaloSession(Flask('shop', instance_path='/tmp'), store={url!r})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    last = result.stderr.splitlines()[-1]
    assert "SessionConfigError" in last
    assert f"install flask-buffalo-session[{extra}]" in last


def test_the_error_of_a_missing_driver_does_not_promise_that_the_extra_has_it() -> None:
    """The extra ``sql`` contains one driver for each database."""
    with pytest.raises(SessionConfigError) as found:
        BuffaloSession(Flask("shop"), store="postgresql+pg8000://localhost/db")
    assert (
        "its driver is missing: install the driver, or write postgresql: and install"
        " flask-buffalo-session[sql]."
    ) in str(found.value)


@pytest.mark.parametrize(
    ("scheme", "instead"),
    [
        ("postgresql+asyncpg", "postgresql"),
        ("mysql+aiomysql", "mysql"),
        ("sqlite+aiosqlite", "sqlite"),
    ],
)
def test_an_asynchronous_driver_is_refused_at_once(scheme: str, instead: str) -> None:
    """Whether it is installed or not. Otherwise the first request would fail."""
    text = f"its driver is asynchronous; write {instead}: without the driver"
    with pytest.raises(SessionConfigError, match=re.escape(text)):
        BuffaloSession(Flask("shop"), store=f"{scheme}:///x.db")


class TestPaths:
    @pytest.mark.parametrize("scheme", ["file:", "sqlite:///"])
    def test_relative_paths_lie_under_the_instance_folder(
        self, scheme: str, tmp_path: Path
    ) -> None:
        """The store makes the instance folder and the folder below it."""
        app = Flask("shop", instance_path=str(tmp_path / "instance"))
        app.config.update(SESSION_SECRET="x" * 32, SESSION_STORE=f"{scheme}data")
        BuffaloSession(app)

        @app.get("/")
        def write() -> str:
            from flask import session

            session["a"] = 1
            return "written"

        assert app.test_client().get("/").status_code == 200
        assert (tmp_path / "instance/data").exists()

    def test_absolute_paths_are_used_as_they_are(self, tmp_path: Path) -> None:
        """They may contain any character."""
        store_from_url(f"file://{tmp_path}/a%20b", "/nowhere")
        assert (tmp_path / "a b").is_dir()
        engine = engine_of(f"sqlite:///{tmp_path}/x.db")
        assert engine.url.database == f"{tmp_path}/x.db"

    def test_each_application_has_its_own_memory_store(self) -> None:
        """Two applications in one process do not share their sessions."""
        configs = [t.cast(t.Any, make_app("memory:").session_interface).main.config]
        configs += [t.cast(t.Any, make_app("memory:").session_interface).main.config]
        assert configs[0].store is not configs[1].store


class TestTimeouts:
    """Every client waits two seconds, unless the URL gives another timeout."""

    @pytest.mark.parametrize("scheme", ["redis", "rediss", "unix", "valkey", "valkeys"])
    def test_timeouts_of_redis(self, scheme: str) -> None:
        """They limit connecting and answering. The client repeats no command."""
        settings = client_of(GOOD[scheme][0]).connection_pool.connection_kwargs
        assert settings["socket_timeout"] == 2
        if scheme != "unix":
            assert settings["socket_connect_timeout"] == 2
        client: t.Any = valkey if scheme.startswith("valkey") else redis
        attempts: list[None] = []

        def fail() -> t.NoReturn:
            attempts.append(None)
            raise client.ConnectionError

        with pytest.raises(client.ConnectionError):
            settings["retry"].call_with_retry(fail, lambda error: None)
        assert len(attempts) == 1
        assert settings["db"] == {"redis": 3, "unix": 1}.get(scheme, 0)

    def test_options_in_the_url_win(self) -> None:
        """The clients' own documentation describes these options."""
        settings = client_of(
            "redis://localhost/0?socket_timeout=7&protocol=3"
        ).connection_pool.connection_kwargs
        assert settings["socket_timeout"] == 7
        assert str(settings["protocol"]) == "3"

    def test_timeouts_of_a_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The client repeats no write, because a repeated write could find its own
        first attempt.
        """
        seen: dict[str, t.Any] = {}

        def connect(**settings: t.Any) -> t.NoReturn:
            seen.update(settings)
            raise ConnectionError

        monkeypatch.setattr("redis.cluster.RedisCluster", connect)
        with pytest.raises(SessionStoreError):
            store_from_url("redis+cluster://:x@a:7000", "/nowhere").load("token")
        assert seen["socket_timeout"] == seen["socket_connect_timeout"] == 2
        assert seen["password"] == "x"
        tries: list[int] = []

        def fail() -> t.NoReturn:
            tries.append(1)
            raise redis.ConnectionError

        with pytest.raises(redis.ConnectionError):
            seen["retry"].call_with_retry(fail, lambda error: None)
        assert len(tries) == 1

    def test_timeouts_of_sentinel(self) -> None:
        """They hold for the sentinels and the master. The password belongs to the
        master only.
        """
        pool = client_of("redis+sentinel://ann:g%20h@a:1,b/shop/2").connection_pool
        assert pool.service_name == "shop"
        assert pool.connection_kwargs["socket_timeout"] == 2
        assert pool.connection_kwargs["db"] == 2
        assert pool.connection_kwargs["username"] == "ann"
        assert pool.connection_kwargs["password"] == "g h"
        sentinels = pool.sentinel_manager.sentinels
        places = [s.connection_pool.connection_kwargs for s in sentinels]
        assert [(p["host"], p["port"]) for p in places] == [("a", 1), ("b", 26379)]
        assert {p["socket_timeout"] for p in places} == {2}
        assert all("password" not in p or p["password"] is None for p in places)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("postgresql://db.example/x", {"connect_timeout": 2}),
            ("postgresql://db.example/x?connect_timeout=9", {"connect_timeout": "9"}),
            ("mysql://db.example/x", {"connect_timeout": 2, "read_timeout": 2}),
            ("mariadb://db.example/x", {"write_timeout": 2}),
        ],
    )
    def test_timeouts_of_databases(
        self, url: str, expected: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each driver has its own options for them."""
        seen: dict[str, t.Any] = {}

        def connect(*args: t.Any, **settings: t.Any) -> None:
            seen.update(settings)
            raise RuntimeError("not connecting")

        engine = engine_of(url)
        monkeypatch.setattr("psycopg.Connection.connect", connect)
        monkeypatch.setattr("pymysql.connect", connect)
        with pytest.raises(RuntimeError, match="not connecting"):
            engine.connect()
        assert seen.items() >= expected.items()

    def test_the_url_may_name_another_driver(self) -> None:
        """It uses the syntax of SQLAlchemy."""
        assert engine_of("mysql+pymysql://localhost/x").driver == "pymysql"
        assert engine_of("postgresql+psycopg://localhost/x").driver == "psycopg"

    def test_sqlite_readers_do_not_wait(self, tmp_path: Path) -> None:
        """The database uses write-ahead logging. A writer waits 5 seconds for another
        writer.
        """
        engine = engine_of(f"sqlite:///{tmp_path}/x.db")
        with engine.connect() as connection:
            mode = connection.execute(sa.text("PRAGMA journal_mode")).scalar()
            patience = connection.execute(sa.text("PRAGMA busy_timeout")).scalar()
        engine.dispose()
        assert (mode, patience) == ("wal", 5000)


def test_memcached_may_use_a_socket(tmp_path: Path) -> None:
    """The URL contains the path of the socket."""
    program = require("memcached", "memcached")
    path = tmp_path / "socket"
    with subprocess.Popen([program, "-s", str(path), "-u", "root"]) as process:
        try:
            while not path.exists():
                assert process.poll() is None
                time.sleep(0.02)
            store = store_from_url(f"memcached://{path}", "/nowhere")
            token = store.save(None, b"data", expected=None, max_age=60)
            assert store.load(token) == b"data"
            t.cast(MemcachedStore, store).close()
        finally:
            process.terminate()


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite"])
def test_the_folder_of_a_new_database_is_made(tmp_path: Path, scheme: str) -> None:
    """This holds for every SQLite driver that SQLAlchemy knows."""
    folder = tmp_path / "app/instance"
    store = store_from_url(f"{scheme}:///sessions.db", folder)
    store.save("token", b"data", expected=None, max_age=60)
    assert (folder / "sessions.db").exists()
