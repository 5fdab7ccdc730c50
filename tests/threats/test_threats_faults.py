"""Faults to survive, over every store and every format: stores that fail, damaged
records, clocks that step, a random source that is broken, the application's own
transactions.

What takes a server of its own, a full disk or the death of a process is in
test_faults.py, forks are in test_processes.py.
"""

from __future__ import annotations

import collections.abc as c
import functools
import typing as t

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_buffalo_session import SQLStore, Store, session
from flask_buffalo_session.errors import SessionStoreError
from flask_buffalo_session.stores.base import storage_key
from tests.conftest import Formatting, Stepping
from tests.support.servers import MariaServer, PostgresServer, Servers
from tests.support.target import Target, foreign_records, keys_in

AWAY = SessionStoreError("this store", "cannot answer")


class Away:
    """An application whose store fails when told to, and what its handler saw."""

    def __init__(self, store: Store, formatting: Formatting) -> None:
        self.handled: list[Exception] = []
        self.target = Target(store, formatting, setup=self.handle)
        self.plain = Target(store, formatting)
        self.record = store.load(self.target.token)

    def handle(self, app: Flask) -> None:
        @app.errorhandler(SessionStoreError)
        def away(error: Exception) -> tuple[str, int]:
            self.handled.append(error)
            return "away", 503

    def check_answered(self, path: str, calls: list[str], header: str = "") -> None:
        """That the handler answers, once, or the page for 500 where there is none; no
        cookie is set, and the record is as it was.
        """
        for target, answer in (self.target, (503, "away")), (self.plain, (500, None)):
            self.handled.clear()
            target.store.calls.clear()
            response = target.ask(header or f"{target.name}={target.cookie}", path)
            assert response.status_code == answer[0]
            assert answer[1] in (None, response.text)
            assert "Set-Cookie" not in response.headers
            assert target.store.calls == calls
            assert self.handled == [AWAY] * (target is self.target)
        assert self.target.store.inner.load(self.target.token) == self.record

    def fail(self, **failing: Exception) -> None:
        self.target.store.failing = self.plain.store.failing = failing


@pytest.fixture
def away(server_store: Store, formatting: Formatting) -> Away:
    return Away(server_store, formatting)


class TestStoreAway:
    def test_at_the_first_read_it_is_an_error_in_the_view(self, away: Away) -> None:
        """Which handlers see, and the view itself may catch; views that do not touch
        the session work. When the store answers again, so do the same sessions.
        """
        away.fail(load=AWAY)
        for path in ("/", "/login", "/clear", "/regenerate"):
            away.check_answered(path, ["load"])
        target = away.target
        assert target.send(target.cookie, "/untouched").text == "untouched"
        target.act = lambda: type(raised(lambda: session.get("user"))).__name__
        assert target.send(target.cookie, "/act").text == "SessionStoreError"
        away.fail()
        assert target.values(target.cookie) == "{'user': 'ann'}"

    def test_at_the_save_it_is_an_error_and_one_attempt(self, away: Away) -> None:
        """No cookie, and the record as it was: when something is changed, ended or
        given a new id, and when a session begins.
        """
        before = keys_in(away.target.store)
        away.fail(save=AWAY)
        for path in ("/set/more", "/clear", "/regenerate"):
            away.check_answered(path, ["load", "save"])
        away.check_answered("/login", ["save"], header="other=1")
        assert keys_in(away.target.store) <= before
        away.fail()
        target = away.target
        assert target.send(target.cookie, "/set/more").status_code == 200
        assert target.values(target.cookie) == "{'user': 'ann', 'more': 'more'}"

    def test_at_the_second_write_of_a_save_no_cookie_is_set(self, away: Away) -> None:
        """Neither for the session that begins nor for the new id: the old record is
        still there, and its cookie is the one that counts.
        """
        target = away.target
        save = target.store.inner.save

        def begin_anew() -> None:
            session.clear()
            session["user"] = "bob"

        def regenerate() -> None:
            session.regenerate()

        for act in (begin_anew, regenerate):
            count = iter(range(1, 99))

            def failing(
                *args: t.Any, count: t.Iterator[int] = count, **kwargs: t.Any
            ) -> str:
                if next(count) == 2:
                    raise AWAY.with_traceback(None)
                return save(*args, **kwargs)

            target.store.inner.save = failing  # type: ignore[method-assign]
            away.handled.clear()
            response = target.doing(act, target.cookie)
            assert (response.status_code, response.text) == (503, "away")
            assert "Set-Cookie" not in response.headers
            assert next(count) == 3
            assert away.handled == [AWAY]
            assert target.values(target.cookie) == "{'user': 'ann'}"


def raised(act: t.Callable[[], object]) -> Exception | None:
    """The error of an act, if there was one."""
    try:
        act()
    except SessionStoreError as error:
        return error
    return None


class TestReadThatFailsOnce:
    """Inside a request that writes: never "not found, start over"."""

    def fail_once(self, target: Target, number: int = 1) -> None:
        """Have one of the next reads fail."""
        load, count = target.store.inner.load, iter(range(1, 99))

        def failing(token: str) -> bytes | None:
            if next(count) == number:
                raise AWAY.with_traceback(None)
            return load(token)

        target.store.inner.load = failing  # type: ignore[method-assign]

    @pytest.mark.parametrize("path", ["/login", "/set/more", "/clear", "/regenerate"])
    def test_it_is_an_error_and_the_record_intact(
        self, server_store: Store, formatting: Formatting, path: str
    ) -> None:
        """The next request finds it."""
        target = Target(server_store, formatting)
        self.fail_once(target)
        response = target.send(target.cookie, path)
        assert response.status_code == 500
        assert "Set-Cookie" not in response.headers
        assert target.store.calls == ["load"]
        assert target.values(target.cookie) == "{'user': 'ann'}"

    def test_a_view_that_catches_it_starts_from_what_is_stored(
        self, server_store: Store, formatting: Formatting
    ) -> None:
        """Not from nothing."""
        target = Target(server_store, formatting)
        self.fail_once(target)

        def act() -> str:
            error = raised(lambda: session.get("user"))
            session["more"] = "more"
            return repr(error is AWAY)

        response = target.doing(act, target.cookie)
        assert response.text == "True"
        assert "Set-Cookie" not in response.headers
        assert target.values(target.cookie) == "{'user': 'ann', 'more': 'more'}"

    @pytest.mark.parametrize("path", ["/set/more", "/regenerate", "/clear"])
    def test_the_read_before_a_merge(
        self, server_store: Store, formatting: Formatting, path: str
    ) -> None:
        """Another request has saved meanwhile, and reading that fails."""
        target = Target(server_store, formatting)
        other = Target(server_store, formatting)

        def act() -> None:
            list(session)
            other.send(target.cookie, "/set/other")
            if path == "/set/more":
                session["more"] = "more"
            elif path == "/clear":
                session.clear()
            else:
                session.regenerate()
            self.fail_once(target)

        response = target.doing(act, target.cookie)
        assert response.status_code == 500
        assert "Set-Cookie" not in response.headers
        assert target.values(target.cookie) == "{'user': 'ann', 'other': 'other'}"


class TestRecords:
    def test_a_record_that_is_none_is_a_fresh_session(
        self,
        server_store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Cut off, foreign, of an unknown version, a pickle: corrupt. Its id is not
        used again, and it is left as it is.
        """
        target = Target(server_store, formatting)
        for kind, data in foreign_records(target.format).items():
            token = server_store.save(None, data, expected=None, max_age=3600)
            text = target.seal.seal(token, permanent=False)
            target.check_fresh(text, "corrupt", caplog, kind)
            assert server_store.load(token) == data, kind
            assert target.rejections[0][0] == storage_key(token), kind

    def test_a_record_that_is_damaged_while_in_use(
        self,
        server_store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """At each length to which it may be cut off."""
        target = Target(server_store, formatting)
        good = server_store.load(target.token)
        assert good is not None
        stored = good
        for length in range(0, len(good), 3):
            damaged = good[:length]
            server_store.save(target.token, damaged, expected=stored, max_age=3600)
            stored = damaged
            target.check_fresh(target.cookie, "corrupt", caplog, str(length))
            assert server_store.load(target.token) == damaged
        server_store.save(target.token, good, expected=stored, max_age=3600)
        assert target.values(target.cookie) == "{'user': 'ann'}"


class TestClock:
    @pytest.mark.parametrize("step", [-3600, 3600])
    def test_a_clock_that_steps_by_an_hour_is_no_error(
        self, store: Store, formatting: Formatting, stepping: Stepping, step: int
    ) -> None:
        """And costs no session that has longer to live, whether it began before or
        after.
        """
        target = Target(store, formatting, SESSION_IDLE_TIMEOUT=5 * 3600)
        for offset in (step, 0):
            stepping.offset = offset
            response = target.send(target.cookie)
            assert response.text == "{'user': 'ann'}"
            if offset:
                target.cookie = target.text_in(response)
            assert target.values(target.cookie) == "{'user': 'ann'}"
            began = target.text_in(target.ask("", "/login"))
            assert target.values(began) == "{'user': 'ann'}"

    @pytest.mark.parametrize("step", [-3600, 3600])
    def test_a_short_session_can_begin_whatever_the_time(
        self, store: Store, formatting: Formatting, stepping: Stepping, step: int
    ) -> None:
        """Of half an hour: the old session may be over, and another one begins, as it
        is the store's time that counts and not how this machine's differs from it.
        """
        target = Target(
            store, formatting, SESSION_IDLE_TIMEOUT=1800, SESSION_ABSOLUTE_TIMEOUT=3000
        )
        for offset in (step, 0, -step):
            stepping.offset = offset
            response = target.send(target.cookie)
            assert response.status_code == 200
            assert response.text == "{}" or "'ann'" in response.text
            target.cookie = target.text_in(target.ask("", "/login"))
            assert target.values(target.cookie) == "{'user': 'ann'}"
            target.send(target.cookie, "/set/more")


class TestRandomSource:
    def test_where_it_is_broken_the_request_fails(
        self, store: Store, formatting: Formatting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No weak id is made, for a new session or for a new id; nothing is stored
        and the old session goes on.
        """
        target = Target(store, formatting)
        before = set() if target.store.stateless else keys_in(store)

        def broken(size: int) -> bytes:
            raise OSError("no entropy")

        with monkeypatch.context() as breaking:
            breaking.setattr("os.urandom", broken)
            breaking.setattr("random._urandom", broken)
            for response in (
                target.ask("", "/login"),
                target.send(target.cookie, "/regenerate"),
            ):
                assert response.status_code == 500
                assert "Set-Cookie" not in response.headers
            if not target.store.stateless:
                # Requests fail before they come to it.
                with pytest.raises(OSError, match="no entropy"):
                    store.save(None, b"data", expected=None, max_age=60)
        assert target.store.stateless or keys_in(store) <= before
        assert target.values(target.cookie) == "{'user': 'ann'}"


@functools.cache
def applications_engine(kind: str, at: Servers) -> sa.Engine:
    """One such as applications have."""
    if kind == "sqlite":
        address = f"sqlite:///{at.folder('application')}/app.db"
    elif kind == "postgresql":
        address = at.shared(PostgresServer).url.replace(":", "+psycopg:", 1)
    else:
        address = at.shared(MariaServer).url.replace(":", "+pymysql:", 1)
    return sa.create_engine(address)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest, servers: Servers) -> c.Iterator[sa.Engine]:
    engine = applications_engine(request.param, servers)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    yield engine
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE orders"))


class TestTheApplicationsTransaction:
    """On the engine that the session's store has been given, too."""

    @pytest.mark.parametrize("outcome", ["commit", "rollback", "failure"])
    def test_it_and_the_session_leave_each_other_alone(
        self, engine: sa.Engine, formatting: Formatting, outcome: str
    ) -> None:
        """Open, failed, committed and rolled back, while the session is read and
        saved.
        """
        target = Target(SQLStore(engine), formatting)
        with engine.connect() as connection:
            orders = connection.execute(sa.text("SELECT count(*) FROM orders"))
            assert orders.scalar() == 0
            if engine.dialect.name != "sqlite":
                # SQLite has one writer at a time.
                connection.execute(sa.text("INSERT INTO orders VALUES (1)"))
            target.send(target.cookie, "/set/open")
            connection.execute(sa.text("INSERT INTO orders VALUES (2)"))
            assert target.values(target.cookie) == "{'user': 'ann', 'open': 'open'}"
            if outcome == "failure":
                with pytest.raises(sa.exc.SQLAlchemyError):
                    connection.execute(sa.text("INSERT INTO orders VALUES (2)"))
                if engine.dialect.name != "sqlite":
                    assert target.send(target.cookie, "/set/open").status_code == 200
                    target.send(target.cookie, "/set/failed")
            if outcome == "commit":
                connection.commit()
            else:
                connection.rollback()
            target.send(target.cookie, "/set/after")
        values = target.values(target.cookie)
        assert "'after'" in values
        assert "'user'" in values
        assert ("'failed'" in values) == (
            outcome == "failure" and engine.dialect.name != "sqlite"
        )
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT id FROM orders")).scalars()
            expected = {1, 2} if engine.dialect.name != "sqlite" else {2}
            assert set(found) == (expected if outcome == "commit" else set())

    def test_a_failure_of_the_sessions_sql_is_its_own(
        self, engine: sa.Engine, formatting: Formatting
    ) -> None:
        """The application's transaction goes on, and what it wrote is committed."""
        store = SQLStore(engine, table="vanishing")
        target = Target(store, formatting)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE vanishing"))
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO orders VALUES (1)"))
            for path in ("/", "/set/more"):
                assert target.send(target.cookie, path).status_code == 500
            assert target.ask("", "/login").status_code == 500
            connection.execute(sa.text("INSERT INTO orders VALUES (2)"))
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT id FROM orders")).scalars()
            assert set(found) == {1, 2}
