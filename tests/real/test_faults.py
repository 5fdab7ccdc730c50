"""Break real servers, disks, files and processes, and check the sessions."""

from __future__ import annotations

import base64
import collections.abc as c
import contextlib
import logging
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import redis
from cachelib import RedisCache
from flask import Flask, session
from flask.testing import FlaskClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_buffalo_session import CacheStore, RedisStore, Session, Store
from flask_buffalo_session.errors import SessionStoreError
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.stores.url import store_from_url
from tests.conftest import make_app, url
from tests.support.parameters import exhaustive_except
from tests.support.servers import (
    MariaServer,
    MemcachedServer,
    PersistentRedisServer,
    PersistentValkeyServer,
    PostgresServer,
    Server,
    Servers,
)

NAME = "_buffalo_session"
ROOT = Path(__file__).parents[2]

#: A value that no log may contain.
NOTE = "what nobody shall read"


class Kind(t.NamedTuple):
    """A server that a test stops and starts, and the store on it.

    :param keeps: whether the server keeps its data over a restart.
    """

    server: type[Server]
    keeps: bool
    store: c.Callable[[t.Any], Store] = lambda server: url(server.url)


def impatient(server: t.Any, **options: t.Any) -> t.Any:
    """Return a client with the package's time-outs, as an application may make it."""
    return redis.Redis(
        port=server.port,
        socket_timeout=2,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 0),
        **options,
    )


KINDS: dict[str, Kind] = {
    "redis": Kind(PersistentRedisServer, True),
    "redis-decoding": Kind(
        PersistentRedisServer,
        True,
        lambda server: RedisStore(impatient(server, decode_responses=True)),
    ),
    "valkey": Kind(PersistentValkeyServer, True),
    "postgresql": Kind(PostgresServer, True),
    "mariadb": Kind(MariaServer, True),
    "memcached": Kind(MemcachedServer, False),
    "cachelib-redis": Kind(
        PersistentRedisServer,
        True,
        lambda server: CacheStore(RedisCache(impatient(server))),
    ),
}


class Site:
    """An application on a server of its own."""

    def __init__(self, server: t.Any, store: Store, *, keeps: bool) -> None:
        self.server = server
        self.keeps = keeps
        self.app = make_app(store)
        self.between: c.Callable[[], None] = lambda: None
        self.errors: list[BaseException] = []
        self.client = self.routes(self.app).test_client()

    def routes(self, app: Flask) -> Flask:
        @app.get("/set/<name>")
        def set_name(name: str) -> str:
            session[name] = name
            return "set"

        @app.get("/note")
        def note() -> str:
            session["note"] = NOTE
            return "noted"

        @app.get("/change")
        def change() -> str:
            found = session["a"]
            self.between()
            session["a"] = found + "!"
            return "changed"

        @app.get("/claim")
        def claim() -> str:
            list(session)
            self.between()
            return str(t.cast(Session, session).get_once("a"))

        @app.get("/read")
        def read() -> str:
            return str(session.get("a"))

        @app.get("/untouched")
        def untouched() -> str:
            return "untouched"

        @app.errorhandler(SessionStoreError)
        def away(error: SessionStoreError) -> tuple[str, int]:
            self.errors.append(error)
            return "away", 503

        return app

    def start(self) -> None:
        """Make the server answer again."""
        self.server.start()

    def away(self, path: str, longest: float = 9) -> None:
        """Assert that the handler answers the request once, without a cookie.

        :param longest: seconds. A read and a write may each take a connect and a socket
            time-out.
        """
        self.errors.clear()
        begun = time.monotonic()
        response = self.client.get(path)
        assert (response.status_code, response.text) == (503, "away")
        assert len(self.errors) == 1
        assert self.errors[0].__cause__ is not None
        assert "Set-Cookie" not in response.headers
        assert time.monotonic() - begun < longest


@pytest.fixture(
    scope="module",
    params=exhaustive_except(KINDS, "memcached", "postgresql", "redis"),
)
def running(
    request: pytest.FixtureRequest, servers: Servers
) -> tuple[Server, Store, Kind]:
    kind = KINDS[request.param]
    server = servers.own(kind.server)
    return server, kind.store(server), kind


@pytest.fixture
def site(running: tuple[Server, Store, Kind]) -> Site:
    server, store, kind = running
    site = Site(server, store, keeps=kind.keeps)
    if server.process is None:
        site.start()
    server.go_on()
    # After a time-out in the test before, the client may leave the server alone.
    end = time.monotonic() + 15
    while site.client.get("/set/a").text != "set":
        assert time.monotonic() < end
        time.sleep(0.1)
    return site


def test_a_store_that_is_away_is_an_error_in_the_view(site: Site) -> None:
    """Error handlers get the error.

    A view that does not use the session works. When the server answers again, the old
    sessions are there without a restart.
    """
    site.server.stop()
    for path in ("/read", "/set/b", "/claim"):
        site.away(path)
    response = site.client.get("/untouched")
    assert (response.status_code, response.text) == (200, "untouched")
    site.start()
    for _ in range(3):
        expected = "a" if site.keeps else "None"
        assert site.client.get("/read").text == expected


def test_a_store_that_goes_away_before_the_save_loses_nothing(site: Site) -> None:
    """The record stays as it was before the failed save."""
    for path in ("/change", "/claim"):
        site.between = site.server.stop
        site.away(path)
        site.start()
        site.between = lambda: None
        assert site.client.get("/read").text == ("a" if site.keeps else "None")
        site.client.get("/set/a")
    assert site.client.get("/change").text == "changed"
    assert site.client.get("/read").text == "a!"


def test_a_server_that_hangs_does_not_hang_the_request(site: Site) -> None:
    """The request fails after 2 seconds. It works again when the server does."""
    site.server.pause()
    try:
        site.away("/read", longest=5.5)
        site.between = site.server.pause
    finally:
        site.server.go_on()
    time.sleep(0.1)
    site.away("/change")
    site.between = lambda: None
    site.server.go_on()
    # A lock that was taken before it hung is void after 10 seconds.
    end = time.monotonic() + 15
    while site.client.get("/set/b").text != "set":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert site.client.get("/read").text in ("a", "a!")


def test_the_log_contains_no_secret(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The log contains no password, id, cookie or value.

    The tracebacks of unhandled errors contain none either.
    """
    site.client.get("/note")
    cookie = site.client.get_cookie(NAME)
    assert cookie is not None
    token = cookie.value.partition(".")[0][2:]
    site.between = site.server.stop
    site.app.error_handler_spec[None][None].clear()
    with caplog.at_level(logging.DEBUG):
        for path in ("/change", "/note"):
            assert site.client.get(path).status_code == 500
    site.start()
    assert "Traceback" in caplog.text
    assert "SessionStoreError" in caplog.text
    shown = base64.urlsafe_b64decode(token + "==").decode()
    for hidden in ("secret", cookie.value[:20], token, shown, NOTE):
        assert hidden not in caplog.text


@pytest.fixture
def deaf_port() -> c.Iterator[int]:
    """Return a port that neither accepts nor refuses connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "address",
    [
        "redis://127.0.0.1:{}/0",
        "valkey://127.0.0.1:{}/0",
        "postgresql://test@127.0.0.1:{}/test",
        "mariadb://test@127.0.0.1:{}/test",
        "memcached://127.0.0.1:{}",
    ],
    ids=lambda address: address.partition(":")[0],
)
def test_a_server_that_takes_no_connection_does_not_hang_the_request(
    address: str, deaf_port: int
) -> None:
    """A read fails after 2 seconds."""
    store = url(address.format(deaf_port))
    begun = time.monotonic()
    with pytest.raises(SessionStoreError):
        store.load("token")
    assert 1.5 < time.monotonic() - begun < 5.5


def run(*command: str, **options: t.Any) -> list[str]:
    result: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_process_that_is_killed_leaves_whole_records(
    scheme: str, tmp_path: Path
) -> None:
    """Kill a process 200 times, at any moment of a save."""
    path = {"file": tmp_path, "sqlite": f"/{tmp_path}/sessions.db"}[scheme]
    whole, changed = run(
        sys.executable, "-m", "tests.support.killed", f"{scheme}://{path}"
    )
    assert whole == "200"
    assert int(changed) > 20


def on_small_disk(folder: Path) -> tuple[list[str], dict[str, t.Any]]:
    """Return the command prefix that runs a program with little disk space.

    It mounts a small file system, or limits the length of files if it cannot mount one.
    """
    mount = f"mount -t tmpfs -o size=400k tmpfs {folder}"
    prefix = ["unshare", "--mount", "--map-root-user"]
    if (
        shutil.which("unshare")
        and not subprocess.run(
            [*prefix, "sh", "-c", mount], capture_output=True, check=False
        ).returncode
    ):
        return [*prefix, "sh", "-c", f'{mount} && exec "$@"', "sh"], {}

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    return [], {"preexec_fn": limit}


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_full_disk_is_an_error_and_loses_nothing(scheme: str, tmp_path: Path) -> None:
    """The old record stays. A save works again when there is space."""
    prefix, options = on_small_disk(tmp_path)
    printed = run(
        *(*prefix, sys.executable, "-m", "tests.support.full_disk"),
        *(str(tmp_path), scheme),
        **options,
    )
    assert printed == ["3", "b'small'", "b'again'"]


class Damaged:
    """Sessions in files, and the file of one session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(None, url(f"file://{folder}"), keeps=True)
        self.client: FlaskClient = self.site.client
        self.client.get("/set/a")
        (self.path,) = folder.iterdir()


@pytest.fixture
def damaged(tmp_path: Path) -> Damaged:
    return Damaged(tmp_path / "sessions")


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 9, 20])
def test_a_file_that_was_cut_off_gives_a_fresh_session(
    damaged: Damaged, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The rejection has a reason, and the fresh session has a new id."""
    data = damaged.path.read_bytes()
    damaged.path.write_bytes(data[:length])
    response = damaged.client.get("/read")
    assert (response.status_code, response.text) == (200, "None")
    assert "A session was rejected: corrupt" in caplog.text
    before = damaged.client.get_cookie(NAME)
    damaged.client.get("/set/b")
    after = damaged.client.get_cookie(NAME)
    assert before is not None
    assert after is not None
    assert before.value != after.value


@pytest.mark.parametrize(
    "content",
    [b"cos\nsystem\n(S'touch {}'\ntR.", b"\x80\x04\x95", b"\x02" * 50, b"\x00" * 50],
)
def test_a_foreign_record_gives_a_fresh_session(
    damaged: Damaged, content: bytes, tmp_path: Path
) -> None:
    """The record is a pickle, another version or zeros. No pickle is loaded."""
    trap = tmp_path / "trap"
    header = damaged.path.read_bytes()[:4]
    damaged.path.write_bytes(header + content.replace(b"{}", bytes(trap)))
    response = damaged.client.get("/read")
    assert (response.status_code, response.text) == (200, "None")
    assert not trap.exists()


def test_a_folder_that_is_gone_is_an_error(damaged: Damaged) -> None:
    """A missing folder is an error. The sessions do not read as empty."""
    elsewhere = damaged.folder.with_name("elsewhere")
    damaged.folder.rename(elsewhere)
    damaged.site.away("/read")
    damaged.site.away("/set/b")
    elsewhere.rename(damaged.folder)
    assert damaged.client.get("/read").text == "a"
    damaged.site.between = lambda: t.cast(None, damaged.folder.rename(elsewhere))
    for path in ("/change", "/claim"):
        damaged.site.away(path)
        assert not damaged.folder.exists()
        elsewhere.rename(damaged.folder)
    assert damaged.client.get("/read").text == "a"


def test_a_file_that_cannot_be_read_is_an_error(damaged: Damaged) -> None:
    """A folder replaces the file, because root may read any file."""
    aside = damaged.path.with_name("aside")
    damaged.path.rename(aside)
    damaged.path.mkdir()
    damaged.site.away("/read")
    damaged.path.rmdir()
    aside.rename(damaged.path)
    assert damaged.client.get("/read").text == "a"


@contextlib.contextmanager
def as_nobody() -> c.Iterator[None]:
    """Run without root's right to write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_an_error(servers: Servers) -> None:
    """The old record stays."""
    damaged = Damaged(servers.folder("unwritable") / "sessions")
    damaged.folder.chmod(0o555)
    damaged.path.chmod(0o444)
    with as_nobody():
        assert damaged.client.get("/read").text == "a"
        damaged.site.away("/set/b")
        damaged.client.delete_cookie(NAME)
        damaged.site.away("/set/b")
    assert [path.name for path in damaged.folder.iterdir()] == [damaged.path.name]


def test_a_database_that_cannot_be_written_is_an_error(servers: Servers) -> None:
    """Neither the file nor its folder is writable. The old record stays."""
    folder = servers.folder("unwritable")
    site = Site(None, url(f"sqlite:///{folder}/sessions.db"), keeps=True)
    site.client.get("/set/a")
    cookie = site.client.get_cookie(NAME)
    assert cookie is not None
    parts = list(folder.iterdir())
    for part in parts:
        part.chmod(0o444)
    folder.chmod(0o555)
    # Use new connections, because the open ones may still write.
    other = Site(
        None, store_from_url(f"sqlite:///{folder}/sessions.db", folder), keeps=True
    )
    other.client.set_cookie(NAME, cookie.value)
    with as_nobody():
        assert other.client.get("/read").text == "a"
        other.away("/set/b")
        other.client.delete_cookie(NAME)
        other.away("/set/b")
    assert sorted(folder.iterdir()) == sorted(parts)
    assert site.client.get("/read").text == "a"


def test_records_in_files_are_private(damaged: Damaged) -> None:
    """No other user of the machine may read or list the files."""
    assert damaged.path.stat().st_mode & 0o077 == 0
    assert damaged.folder.stat().st_mode & 0o077 == 0
    data = damaged.path.read_bytes()[4:]
    assert set(NativeCodec().loads(data).values) == {"a"}
