"""Test stores that Flask and a Go application share."""

from __future__ import annotations

import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_buffalo_session import GorillaFormat, RedisStore, Store, session
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
    SessionUnsupportedError,
)
from flask_buffalo_session.gorilla import GorillaFiles
from tests.conftest import SECRET, Clock, Desk, make_app, redis_client
from tests.support import gopeer
from tests.support.servers import RedisServer, Servers

NAME = "_buffalo_session"
HOUR = 3600


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gopeer.build(tmp_path_factory.mktemp("stores"), "gorilla_stores")


class Shared:
    """Use one store from Go and from Flask."""

    def __init__(self, program: Path, kind: str, place: str, store: Store) -> None:
        self.command = [str(program), kind, place, SECRET]
        self.store = store
        self.client = self.routes(
            make_app(store, SESSION_FORMAT=GorillaFormat())
        ).test_client()

    def routes(self, app: Flask) -> Flask:
        @app.get("/set/<name>/<value>")
        def set_name(name: str, value: str) -> str:
            session[name] = value
            return "set"

        @app.get("/all")
        def all_names() -> dict[str, t.Any]:
            return dict(session)

        @app.get("/clear")
        def clear() -> str:
            session.clear()
            return "cleared"

        @app.get("/regenerate")
        def regenerate() -> str:
            session.regenerate()
            return "regenerated"

        return app

    def on_go(self, cookie: str, *change: str) -> tuple[dict[str, str], str]:
        """Change the session in Go. Return its values after the change, and Go's
        cookie.
        """
        result = subprocess.run(
            [*self.command, cookie, *change],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        values, cookie = json.loads(result.stdout)
        return values, cookie

    def fails_on_go(self, cookie: str) -> bool:
        command = [*self.command, cookie]
        return subprocess.run(command, capture_output=True, check=False).returncode == 1

    @property
    def cookie(self) -> str:
        found = self.client.get_cookie(NAME)
        assert found is not None
        return found.value


@pytest.fixture(params=["files", "redis"])
def shared(
    request: pytest.FixtureRequest, program: Path, servers: Servers, tmp_path: Path
) -> Shared:
    if request.param == "files":
        files = GorillaFiles(tmp_path, SECRET, name=NAME)
        return Shared(program, "files", str(tmp_path), files)
    client = redis_client(servers)
    place = f"127.0.0.1:{servers.shared(RedisServer).port}"
    store = RedisStore(client, prefix="session_", hashed=False)
    return Shared(program, "redis", place, store)


def test_flask_reads_a_session_that_go_stored(shared: Shared) -> None:
    """Go's cookie carries the session's id."""
    _, cookie = shared.on_go("", "user", "ann")
    shared.client.set_cookie(NAME, cookie)
    assert shared.client.get("/all").json == {"user": "ann"}


def test_go_and_flask_read_each_others_changes(shared: Shared) -> None:
    """The session keeps its id."""
    _, cookie = shared.on_go("", "user", "ann")
    shared.client.set_cookie(NAME, cookie)
    shared.client.get("/set/cart/tea")
    values, cookie = shared.on_go(cookie, "more", "milk")
    assert values == {"user": "string ann", "cart": "string tea", "more": "string milk"}
    assert shared.client.get("/all").json == {
        "user": "ann",
        "cart": "tea",
        "more": "milk",
    }


def test_go_reads_a_session_that_flask_created(shared: Shared) -> None:
    """Flask's cookie carries the session's id."""
    shared.client.get("/set/user/bob")
    values, _ = shared.on_go(shared.cookie)
    assert values == {"user": "string bob"}


def test_go_does_not_find_a_session_that_flask_ended(shared: Shared) -> None:
    """This holds after a logout and for the old id after a rotation."""
    _, cookie = shared.on_go("", "user", "ann")
    for ending in ("clear", "regenerate"):
        shared.client.set_cookie(NAME, cookie)
        shared.client.get(f"/{ending}")
        assert shared.fails_on_go(cookie)
        if ending == "regenerate":
            assert shared.on_go(shared.cookie)[0] == {"user": "string ann"}
        _, cookie = shared.on_go("", "user", "ann")


def test_the_store_keeps_the_promises_of_a_store(shared: Shared) -> None:
    """It saves only where the record is the expected one."""
    store = shared.store
    token = store.save(None, b"one", expected=None, max_age=HOUR)
    assert store.load(token) == b"one"
    assert store.save(token, b"two", expected=b"one", max_age=HOUR) == token
    for expected in (None, b"one"):
        with pytest.raises(SessionConflictError):
            store.save(token, b"three", expected=expected, max_age=HOUR)
    assert store.load(token) == b"two"
    store.delete(token)
    store.delete(token)
    assert store.load(token) is None
    with pytest.raises(SessionConflictError):
        store.save(token, b"three", expected=b"two", max_age=HOUR)


@pytest.mark.parametrize(
    "token", ["", "x", "../../etc/passwd", "a\0b", "\u00fc", "\ud800", "x" * 300, "*"]
)
def test_a_malformed_token_is_not_found(shared: Shared, token: str) -> None:
    """A token with a path or a pattern reaches no file or key outside the store."""
    assert shared.store.load(token) is None
    shared.store.delete(token)
    with pytest.raises(SessionConflictError):
        shared.store.save(token, b"data", expected=b"something", max_age=HOUR)


def test_concurrent_requests_lose_no_change(shared: Shared) -> None:
    """One of them gets the one-time value."""
    desk = Desk(shared.store)
    desk.codec = GorillaFormat().codec
    cookie = desk.stored(a="1", once="x")
    first, second = desk.session(cookie), desk.session(cookie)
    assert list(first) == list(second)
    first["b"] = "2"
    second["c"] = "3"
    first.save()
    second.save()
    assert first.get_once("once") == "x"
    assert second.get_once("once") is None
    assert desk.values(cookie) == {"a": "1", "b": "2", "c": "3"}


class TestFiles:
    def files(self, folder: Path) -> GorillaFiles:
        return GorillaFiles(folder, SECRET, name=NAME)

    def test_a_short_lifetime_ends_for_go_too(
        self, tmp_path: Path, program: Path
    ) -> None:
        """The store dates the file back, so gorilla's own 30 days end with it."""
        shared = Shared(program, "files", str(tmp_path), self.files(tmp_path))
        shared.client.get("/set/user/ann")
        token = next(tmp_path.glob("session_*")).name.removeprefix("session_")
        data = shared.store.load(token)
        assert data is not None
        shared.store.save(token, data, expected=data, max_age=1)
        assert shared.on_go(shared.cookie)[0] == {"user": "string ann"}
        time.sleep(3)
        assert shared.store.load(token) is None
        assert shared.fails_on_go(shared.cookie)

    def test_pruning_deletes_expired_records(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        """Go itself deletes no expired file."""
        store = self.files(tmp_path)
        store.save(None, b"short", expected=None, max_age=10)
        token = store.save(None, b"long", expected=None, max_age=HOUR)
        clock.tick(15)
        assert store.prune() == 1
        assert store.load(token) == b"long"
        clock.tick(HOUR)
        assert store.prune() == 1
        assert [path.name for path in tmp_path.iterdir()] in ([], ["lock"])

    def test_a_record_that_is_too_large_for_gorilla_is_refused(
        self, tmp_path: Path
    ) -> None:
        """gorilla reads sealed records of up to 4,096 bytes. The old record stays."""
        store = self.files(tmp_path)
        desk = Desk(store)
        desk.codec = GorillaFormat().codec
        cookie = desk.stored(a="1")
        session = desk.session(cookie)
        session["large"] = "x" * 4000
        with pytest.raises(Exception, match="4096 are allowed"):
            session.save()
        assert desk.values(cookie) == {"a": "1"}

    def test_a_damaged_file_is_a_fresh_session(self, tmp_path: Path) -> None:
        """The file is truncated, empty, or not sealed with this key."""
        desk = Desk(self.files(tmp_path))
        desk.codec = GorillaFormat().codec
        cookie = desk.stored(a="1")
        path = tmp_path / f"session_{cookie}"
        for content in (b"", path.read_bytes()[:30], b"\xff" * 50):
            path.write_bytes(content)
            assert desk.values(cookie) == {}
            assert desk.emitted[-1] == ("rejected", "corrupt")

    def test_a_folder_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        """Otherwise every session would look empty."""
        store = self.files(tmp_path / "gone")
        with pytest.raises(SessionStoreError, match="cannot read"):
            store.load("x" * 20)
        with pytest.raises(SessionStoreError):
            store.save(None, b"data", expected=None, max_age=HOUR)
        with pytest.raises(SessionStoreError):
            store.delete("x" * 20)

    def test_a_file_that_cannot_be_read_is_an_error(self, tmp_path: Path) -> None:
        """The test puts a folder in its place, because root may read any file."""
        store = self.files(tmp_path)
        os.mkdir(tmp_path / ("session_" + "x" * 20))
        with pytest.raises(SessionStoreError, match="cannot read"):
            store.load("x" * 20)
        with pytest.raises(SessionStoreError, match="cannot delete"):
            store.prune()

    def test_a_failed_save_leaves_no_unfinished_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """This happens when the disk is full."""

        def failing(*args: object) -> None:
            raise OSError(28, "No space left on device")

        store = self.files(tmp_path)
        monkeypatch.setattr("os.replace", failing)
        with pytest.raises(SessionStoreError, match="No space left"):
            store.save(None, b"data", expected=None, max_age=HOUR)
        assert [path.name for path in tmp_path.iterdir()] in ([], ["lock"])

    def test_the_store_needs_keys(self, tmp_path: Path) -> None:
        """The store seals its files."""
        for keys in ((), ("",), (b"hash", b"no block key")):
            with pytest.raises(SessionConfigError):
                GorillaFiles(tmp_path, *keys, name=NAME)


def test_unhashed_records_have_no_owners(servers: Servers) -> None:
    """The index of an owner holds hashes, and such a store cannot find a record by a
    hash. ``bind`` and ``sessions_of`` raise the error, not the save.
    """
    store = RedisStore(redis_client(servers), hashed=False)
    session = Desk(store).session()
    with pytest.raises(SessionUnsupportedError, match="RedisStore does not support"):
        session.bind("ann")
    app = make_app(store)
    with (
        app.app_context(),
        pytest.raises(SessionUnsupportedError, match="RedisStore does not support"),
    ):
        app.extensions["buffalo_session"].sessions_of("ann")
    with pytest.raises(SessionConfigError, match="SESSION_REVOCATION"):
        make_app("cookie", SESSION_REVOCATION=store)


def test_a_foreign_cookie_reaches_no_record(shared: Shared) -> None:
    """The cookie is signed with another secret, so its id is not looked up."""
    _, cookie = shared.on_go("", "user", "ann")
    app = make_app(
        shared.store, SESSION_SECRET="another secret" * 3, SESSION_FORMAT="gorilla"
    )

    @app.get("/all")
    def all_names() -> dict[str, t.Any]:
        return dict(session)

    client: FlaskClient = app.test_client()
    client.set_cookie(NAME, cookie)
    assert client.get("/all").json == {}
