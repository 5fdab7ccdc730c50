"""Test what only :class:`flask_buffalo_session.SQLStore` does."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
import threading
import time
import types
import typing as t
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import session
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

import flask_buffalo_session
from flask_buffalo_session import SQLStore
from flask_buffalo_session.errors import (
    SessionConfigError,
    SessionConflictError,
    SessionStoreError,
)
from flask_buffalo_session.stores.base import new_token
from flask_buffalo_session.stores.engine import engine_from_url
from flask_buffalo_session.stores.sql import sessions_table
from flask_buffalo_session.stores.url import store_from_url
from tests.conftest import Desk, make_app, url
from tests.support.servers import MariaServer, PostgresServer, Servers, free_port

HOUR = 3600
DATABASES = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(params=DATABASES)
def engine(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> t.Iterator[sa.Engine]:
    """Return an application's engine, made as applications make their engines."""
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path}/app.db"
    elif request.param == "postgresql":
        address = servers.shared(PostgresServer).url.replace(":", "+psycopg:", 1)
    else:
        address = servers.shared(MariaServer).url.replace(":", "+pymysql:", 1)
    engine = sa.create_engine(address)
    yield engine
    with engine.begin() as connection:
        for table in sa.inspect(connection).get_table_names():
            if table != "buffalo_sessions":
                connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()


@pytest.fixture
def name() -> str:
    return f"sessions_{time.monotonic_ns()}"


def test_a_fork_leaves_the_applications_connections_alone(tmp_path: Path) -> None:
    """The child does not use a connection that the application opened before the
    store's first use.
    """
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    store = SQLStore(engine)
    used: list[int] = []
    sa.event.listen(
        engine, "checkout", lambda connection, *_: used.append(id(connection))
    )
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
    with warnings.catch_warnings():
        # Python warns about a fork while threads run. The child needs no thread.
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            store.save(None, b"data", expected=None, max_age=HOUR)
            os._exit(0 if used[0] not in used[1:] else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    engine.dispose()


@pytest.mark.parametrize("engine", [None, "sqlite:", sa.Engine, object()])
def test_an_object_that_is_not_an_engine_is_refused_at_once(engine: t.Any) -> None:
    """The constructor raises the error."""
    with pytest.raises(SessionConfigError, match="SQLStore needs a synchronous Engine"):
        SQLStore(engine)


@pytest.mark.parametrize("dialect", [sqlite, postgresql, mysql])
def test_the_documented_migration_makes_the_same_table(dialect: t.Any) -> None:
    """The migration is in docs/howto/sql.md. It makes the same columns and indexes."""
    document = (Path(__file__).parents[2] / "docs/howto/sql.md").read_text()
    migration = re.search(r"(?s)```\nimport sqlalchemy.*?```", document)
    assert migration
    made: list[tuple[t.Any, ...]] = []
    names: dict[str, t.Any] = {}
    source = migration[0].strip("`").replace("from alembic import op", "")
    exec(source, names)
    names["op"] = types.SimpleNamespace(create_table=lambda *args: made.append(args))
    names["upgrade"]()
    ((name, *columns),) = made
    assert sessions_table().name == name
    documented = sa.Table(name, sa.MetaData(), *columns)
    made_here = statements_of(sessions_table(), dialect)
    assert statements_of(documented, dialect) == made_here


def statements_of(table: sa.Table, dialect: t.Any) -> list[str]:
    """Return the statements that make a table and its indexes."""
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    made: list[t.Any] = [CreateTable(table), *map(CreateIndex, indexes)]
    return [str(one.compile(dialect=dialect.dialect())) for one in made]


def test_pruning_keeps_a_record_that_is_saved_again(tmp_path: Path) -> None:
    """The save happens after the search for expired records, before their deletion."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/sessions.db")
    store = SQLStore(engine)
    for token in ("one", "two"):
        store.save(token, b"old", expected=None, max_age=1)
    time.sleep(2.1)
    deletions: list[str] = []

    def before(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE") and not deletions:
            deletions.append(statement)
            store.save("one", b"new", expected=None, max_age=HOUR)

    sa.event.listen(engine, "before_cursor_execute", before)
    assert store.prune() == 1
    assert len(deletions) == 1
    assert [store.load(token) for token in ("one", "two")] == [b"new", None]
    store.close()


def test_threads_do_not_wait_for_each_others_connection_attempts() -> None:
    """While the database is unreachable, each thread waits for one timeout, its own."""
    threads = 4
    together = threading.Barrier(threads, timeout=20)
    attempts: list[None] = []

    def connect() -> t.NoReturn:
        attempts.append(None)
        together.wait()
        raise sqlite3.OperationalError("unreachable")

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
    store, failed = SQLStore(engine), []

    def load() -> None:
        try:
            store.load("token")
        except SessionStoreError as error:
            failed.append(str(error))

    workers = [threading.Thread(target=load) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(failed) == threads
    assert all("unreachable" in message for message in failed)
    assert len(attempts) == threads


class TestApplicationEngine:
    def test_the_applications_transaction_stays_unchanged(
        self, engine: sa.Engine, name: str
    ) -> None:
        """The session is saved while the application's transaction is open, rolled back
        or failed. That transaction is not committed.
        """
        store = SQLStore(engine, table=name)
        desk = Desk(store)
        cookie = desk.stored(a=1)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE things (id INTEGER)"))
        with engine.connect() as connection:
            count = connection.execute(sa.text("SELECT count(*) FROM things"))
            assert count.scalar() == 0
            session = desk.session(cookie)
            session["b"] = 2
            session.save()
            connection.execute(sa.text("INSERT INTO things VALUES (1)"))
            if engine.dialect.name != "sqlite":
                # SQLite allows one writer at a time.
                session["c"] = 3
                session.save()
            connection.rollback()
            with pytest.raises(sa.exc.SQLAlchemyError):
                connection.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
            session["d"] = 4
            session.save()
            assert desk.values(cookie).keys() >= {"a", "b", "d"}
        with engine.connect() as connection:
            count = connection.execute(sa.text("SELECT count(*) FROM things"))
            assert count.scalar() == 0

    def test_the_applications_connections_keep_their_isolation_level(
        self, engine: sa.Engine, name: str
    ) -> None:
        """Only the store uses its isolation level."""
        store = SQLStore(engine, table=name)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE others (id INTEGER)"))
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO others VALUES (1)"))
            connection.rollback()
            count = connection.execute(sa.text("SELECT count(*) FROM others"))
            assert count.scalar() == 0
        assert store.load(token) == b"data"

    def test_the_error_of_an_exhausted_pool_says_what_to_do(
        self, tmp_path: Path
    ) -> None:
        """Views hold all connections, and wait for one that saves their session."""
        engine = sa.create_engine(
            f"sqlite:///{tmp_path}/app.db",
            pool_size=1,
            max_overflow=0,
            pool_timeout=0.01,
        )
        store = SQLStore(engine)
        token = store.save(None, b"data", expected=None, max_age=HOUR)
        with (
            engine.connect(),
            pytest.raises(SessionStoreError, match="engine of their own"),
        ):
            store.load(token)
        assert store.load(token) == b"data"
        engine.dispose()


class TestTable:
    def test_the_first_use_makes_the_table(self, engine: sa.Engine, name: str) -> None:
        """The table has an index on each column that the store searches by. The
        constructor makes no table, because the database may not exist yet.
        """
        store = SQLStore(engine, table=name)
        assert not sa.inspect(engine).has_table(name)
        assert store.load("token") is None
        indexed = {
            tuple(index["column_names"])
            for index in sa.inspect(engine).get_indexes(name)
        }
        assert indexed == {("expires",), ("owner",)}

    def test_a_table_that_somebody_drops_is_made_again(
        self, engine: sa.Engine, name: str
    ) -> None:
        """One request fails. Otherwise all would, until each worker has restarted."""
        store = SQLStore(engine, table=name)
        store.save(None, b"before", expected=None, max_age=HOUR)
        with engine.begin() as connection:
            connection.execute(sa.text(f"DROP TABLE {name}"))
        with pytest.raises(SessionStoreError, match=name):
            store.load("token")
        token = store.save(None, b"after", expected=None, max_age=HOUR)
        assert store.load(token) == b"after"

    def test_no_table_is_made_with_create_table_false(
        self, engine: sa.Engine, name: str
    ) -> None:
        """A migration makes the table from the definition in the package."""
        store = SQLStore(engine, table=name, create_table=False)
        with pytest.raises(SessionStoreError, match=name):
            store.load("token")
        sessions_table(name).create(engine)
        assert store.load("token") is None

    def test_many_workers_may_make_the_table_at_once(
        self, engine: sa.Engine, name: str
    ) -> None:
        """Workers often start together."""
        stores = [SQLStore(engine, table=name) for _ in range(8)]
        barrier = threading.Barrier(len(stores))
        found: list[object] = []

        def first_use(store: SQLStore) -> None:
            barrier.wait()
            try:
                found.append(store.load("token"))
            except SessionStoreError as error:
                found.append(error)

        threads = [threading.Thread(target=first_use, args=[store]) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [None] * len(stores)

    def test_the_documentation_names_every_column(self) -> None:
        """The page shows the table that the store makes."""
        page = Path(__file__).parents[2] / "docs/howto/sql.md"
        documented = page.read_text()
        for column in sessions_table().columns:
            assert f'"{column.name}"' in documented


class TestPruning:
    def test_expired_rows_are_deleted_in_batches(
        self, engine: sa.Engine, name: str
    ) -> None:
        """``prune`` returns how many rows it deleted. Live sessions stay."""
        store = SQLStore(engine, table=name)
        token = store.save(None, b"live", expected=None, max_age=HOUR)
        table = sessions_table(name)
        with engine.begin() as connection:
            connection.execute(
                table.insert(),
                [
                    {"id": str(number), "data": b"old", "expires": 1_700_000_000}
                    for number in range(2500)
                ],
            )
        statements: list[str] = []
        sa.event.listen(
            engine, "before_cursor_execute", lambda *args: statements.append(args[2])
        )
        assert store.prune() == 2500
        assert sum("DELETE" in statement for statement in statements) == 3
        assert store.prune() == 0
        assert store.load(token) == b"live"


def test_a_request_executes_no_unnecessary_statement(tmp_path: Path) -> None:
    """An untouched session executes no statement, a read one statement, and a write
    two.
    """
    engine = engine_from_url("sqlite:///cost.db", tmp_path)
    app = make_app(SQLStore(engine))

    @app.get("/write")
    def write() -> str:
        session["count"] = session.get("count", 0) + 1
        return "written"

    @app.get("/read")
    def read() -> str:
        return str(session.get("count"))

    @app.get("/untouched")
    def untouched() -> str:
        return "untouched"

    browser = app.test_client()
    browser.get("/write")
    statements: list[str] = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    for path, expected in (
        ("/untouched", []),
        ("/read", ["SELECT"]),
        ("/write", ["SELECT", "UPDATE"]),
    ):
        statements.clear()
        browser.get(path)
        assert [statement.partition(" ")[0] for statement in statements] == expected
    engine.dispose()


def test_large_records_fit(engine: sa.Engine, name: str) -> None:
    """A megabyte is more than MySQL's plain BLOB holds."""
    store = SQLStore(engine, table=name)
    data = bytes(range(256)) * 4096
    token = store.save(None, data, expected=None, max_age=HOUR)
    assert store.load(token) == data
    store.save(token, data[::-1], expected=data, max_age=HOUR)
    assert store.load(token) == data[::-1]


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("read", lambda store: store.load("token")),
        (
            "write",
            lambda store: store.save(None, b"data", expected=None, max_age=HOUR),
        ),
        ("delete", lambda store: store.delete("token")),
        ("delete", lambda store: store.revoke("id")),
        ("delete", lambda store: store.prune()),
        ("write", lambda store: store.own("token", "ann", max_age=HOUR)),
        ("read", lambda store: list(store.owned("ann"))),
        ("report its state", lambda store: store.check_health()),
    ],
)
def test_an_error_names_the_operation_that_failed(
    tmp_path: Path, operation: str, call: t.Callable[[SQLStore], object]
) -> None:
    """The error repeats the database's message."""
    store = SQLStore(sa.create_engine(f"sqlite:///{tmp_path}/missing/app.db"))
    with pytest.raises(
        SessionStoreError, match=f"^SQL: cannot {operation}: unable to open"
    ):
        call(store)


def test_no_password_is_in_an_error() -> None:
    """The error of an unreachable database does not contain the password."""
    for scheme in ("postgresql", "mariadb"):
        store = url(f"{scheme}://ann:geheim@127.0.0.1:{free_port()}/test")
        with pytest.raises(SessionStoreError) as caught:
            store.load("token")
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_serialization_failure_is_a_conflict_or_repeated(
    servers: Servers, name: str, level: str
) -> None:
    """At these isolation levels, PostgreSQL refuses statements that conflict with
    another transaction. The store repeats them or raises a conflict.
    """
    server = servers.shared(PostgresServer)
    engine = sa.create_engine(
        server.url.replace(":", "+psycopg:", 1),
        connect_args={
            "options": "-c default_transaction_isolation="
            + level.lower().replace(" ", "\\ ")
        },
    )
    store = SQLStore(engine, table=name)
    token = store.save(None, b"0", expected=None, max_age=HOUR)
    barrier = threading.Barrier(4)
    failed: list[Exception] = []

    def increment() -> None:
        barrier.wait()
        for _ in range(25):
            while True:
                data = store.load(token)
                assert data is not None
                number = b"%d" % (int(data) + 1)
                try:
                    store.save(token, number, expected=data, max_age=HOUR)
                    store.own(token, "ann", max_age=HOUR)
                except SessionConflictError:
                    continue
                except SessionStoreError as error:
                    failed.append(error)
                break

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert store.load(token) == b"100"
    store.close()


@pytest.mark.parametrize("chosen", [False, True], ids=["store", "caller"])
def test_a_new_record_is_saved_after_a_restart_of_the_server(
    servers: Servers, name: str, chosen: bool
) -> None:
    """The connections in the pool are dead, whoever has chosen the new token."""
    address = servers.shared(PostgresServer).url.replace(":", "+psycopg:", 1)
    store = SQLStore(sa.create_engine(address, pool_size=1), table=name)
    store.save(None, b"0", expected=None, max_age=HOUR)
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND query LIKE :mine"
            ),
            {"mine": f"%{name}%"},
        )
    token = store.save(
        new_token() if chosen else None, b"1", expected=None, max_age=HOUR
    )
    assert store.load(token) == b"1"
    store.close()


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_statement_that_always_fails_to_serialize_is_an_error(code: str) -> None:
    """A failed save is a conflict, which the session merges. Any other statement is a
    store error.
    """

    class Refused(sqlite3.OperationalError):
        sqlstate = code

    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    store = SQLStore(engine)
    store.load("the first use makes the table")
    executed: list[None] = []

    def refuse(*args: object) -> t.NoReturn:
        executed.append(None)
        raise Refused("could not serialize access")

    sa.event.listen(engine, "do_execute", refuse)
    with pytest.raises(SessionConflictError):
        store.save("token", b"new", expected=b"old", max_age=HOUR)
    assert len(executed) == 10
    with pytest.raises(SessionStoreError, match="could not serialize"):
        store.delete("token")
    engine.dispose()


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_sqlites_files_are_private_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    """This holds for the database and for the files that SQLite puts beside it."""
    before = os.umask(umask)
    try:
        store = t.cast(SQLStore, store_from_url("sqlite:///x.db", tmp_path / "new"))
        store.save(None, b"data", expected=None, max_age=HOUR)
        modes = {
            path.name: path.stat().st_mode & 0o777
            for path in (tmp_path / "new").iterdir()
        }
    finally:
        os.umask(before)
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    store.close()


def test_the_class_is_imported_at_its_first_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without SQLAlchemy, the first use raises an error that names the extra."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "flask_buffalo_session.stores.sql")
    monkeypatch.delattr(flask_buffalo_session.stores, "sql")
    with pytest.raises(ImportError, match=r"install flask-buffalo-session\[sql\]"):
        _ = flask_buffalo_session.SQLStore
    with pytest.raises(AttributeError, match="NoSuchName"):
        _ = t.cast(t.Any, flask_buffalo_session).NoSuchName
