"""Survive faults, with every store and every format.

Stores fail, records are damaged, clocks step, the random source is broken, and the
application has its own transactions. test_faults.py tests the faults that need a server
of their own, a full disk or a killed process. test_processes.py tests forks.
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
from flask_buffalo_session.stores.base import new_token, storage_key
from tests.conftest import SECRET, Formatting, Stepping
from tests.support.servers import MariaServer, PostgresServer, Servers
from tests.support.target import Target, foreign_records, keys_in

AWAY = SessionStoreError("this store", "cannot answer")


class Away:
    """Two applications with a failing store: one handles the error, one does not."""

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
        """Assert that the handler answers once, or Flask's page for 500.

        No response sets a cookie, and the record stays as it was.

        :param calls: the expected calls of the store.
        :param header: the ``Cookie`` header, if not the good cookie.
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
    def test_a_failing_read_is_an_error_in_the_view(self, away: Away) -> None:
        """The error handler gets the error, or the view catches it.

        A view that does not use the session works. When the store answers again, the
        old sessions are there.
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

    def test_a_failing_save_is_an_error_and_is_not_repeated(self, away: Away) -> None:
        """Change, clear, regenerate or begin a session while the store cannot save.

        No cookie is set, and the record stays as it was.
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

    def test_a_failing_second_write_sets_no_cookie(self, away: Away) -> None:
        """A new session or a new id needs two writes, and the second one fails.

        The old record is still there, and the old cookie stays valid.
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
    """Return the store error that a call raises, or None."""
    try:
        act()
    except SessionStoreError as error:
        return error
    return None


class TestReadThatFailsOnce:
    """One read fails in a request that writes.

    The request must not treat the session as not found and start a new one.
    """

    def fail_once(self, target: Target, number: int = 1) -> None:
        """Make one of the next reads fail.

        :param number: which one, counted from 1.
        """
        load, count = target.store.inner.load, iter(range(1, 99))

        def failing(token: str) -> bytes | None:
            if next(count) == number:
                raise AWAY.with_traceback(None)
            return load(token)

        target.store.inner.load = failing  # type: ignore[method-assign]

    @pytest.mark.parametrize("path", ["/login", "/set/more", "/clear", "/regenerate"])
    def test_the_request_fails_and_the_record_stays(
        self, server_store: Store, formatting: Formatting, path: str
    ) -> None:
        """The request fails, and the next request finds the record."""
        target = Target(server_store, formatting)
        self.fail_once(target)
        response = target.send(target.cookie, path)
        assert response.status_code == 500
        assert "Set-Cookie" not in response.headers
        assert target.store.calls == ["load"]
        assert target.values(target.cookie) == "{'user': 'ann'}"

    def test_a_view_that_catches_the_error_keeps_the_stored_values(
        self, server_store: Store, formatting: Formatting
    ) -> None:
        """The next use of the session loads the record, so no value is lost."""
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
    def test_a_failing_read_before_a_merge_is_an_error(
        self, server_store: Store, formatting: Formatting, path: str
    ) -> None:
        """Another request has saved, and the read of its record fails."""
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
    def test_a_corrupt_record_gives_a_fresh_session(
        self,
        server_store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Records that are cut off, foreign, newer or a pickle are corrupt.

        Their ids are not used again, and the store keeps the records as they are.
        """
        target = Target(server_store, formatting)
        for kind, foreign in foreign_records(target.format).items():
            token = new_token()
            # With encryption, the bytes are foreign although they decrypt, and foreign
            # because they are not encrypted.
            for data in {formatting.kept(foreign, token, SECRET), foreign}:
                server_store.delete(token)
                server_store.save(token, data, expected=None, max_age=3600)
                text = target.seal.seal(token, permanent=False)
                target.check_fresh(text, "corrupt", caplog, kind)
                assert server_store.load(token) == data, kind
                assert target.rejections[0][0] == storage_key(token), kind

    def test_a_record_cut_off_at_any_length_gives_a_fresh_session(
        self,
        server_store: Store,
        formatting: Formatting,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Cut the record off at every third length, between two requests."""
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
        """No session expires early, whether it began before or after the step."""
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
    def test_a_short_session_can_begin_after_a_clock_step(
        self, store: Store, formatting: Formatting, stepping: Stepping, step: int
    ) -> None:
        """A step of an hour may end an old session that lives half an hour.

        A new session still works. The store's clock decides when a record expires, so
        a difference to this machine's clock does not matter.
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
    def test_a_broken_random_source_fails_the_request(
        self, store: Store, formatting: Formatting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The package makes no weak id, for a new session or for a rotated id.

        Nothing is stored, and the old session stays valid.
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
                # The requests above fail before they call the store.
                with pytest.raises(OSError, match="no entropy"):
                    store.save(None, b"data", expected=None, max_age=60)
        assert target.store.stateless or keys_in(store) <= before
        assert target.values(target.cookie) == "{'user': 'ann'}"


@functools.cache
def applications_engine(kind: str, at: Servers) -> sa.Engine:
    """Return an engine with an application's ordinary settings."""
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
    """The application and the session store use the same engine."""

    @pytest.mark.parametrize("outcome", ["commit", "rollback", "failure"])
    def test_the_transaction_and_the_session_are_independent(
        self, engine: sa.Engine, formatting: Formatting, outcome: str
    ) -> None:
        """Read and save the session while the application's transaction is open.

        Then the transaction fails, commits or rolls back.
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

    def test_a_failing_store_does_not_fail_the_transaction(
        self, engine: sa.Engine, formatting: Formatting
    ) -> None:
        """The store's SQL fails, and the application's transaction still commits."""
        store = SQLStore(engine, table="replaced")
        target = Target(store, formatting)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE replaced"))
            connection.execute(sa.text("CREATE TABLE replaced (other integer)"))
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO orders VALUES (1)"))
            for path in ("/", "/set/more"):
                assert target.send(target.cookie, path).status_code == 500
            assert target.ask("", "/login").status_code == 500
            connection.execute(sa.text("INSERT INTO orders VALUES (2)"))
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE replaced"))
        with engine.connect() as connection:
            found = connection.execute(sa.text("SELECT id FROM orders")).scalars()
            assert set(found) == {1, 2}
