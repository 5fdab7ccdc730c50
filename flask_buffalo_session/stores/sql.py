"""Sessions in a table: SQLite, PostgreSQL, MySQL or MariaDB, by SQLAlchemy."""

from __future__ import annotations

import collections.abc as c
import os
import threading
import typing as t
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from ..errors import SessionConfigError, SessionConflictError, SessionStoreError
from .base import MARK, Health, Held, StoreURLError, new_token, storage_key

T = t.TypeVar("T")

# Rows removed by one statement, so that pruning holds no lock for long.
_BATCH = 1000


def sessions_table(name: str = "buffalo_sessions") -> sa.Table:
    """The table's definition, for migrations. Times are in seconds since the
    epoch.
    """
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.String(64), primary_key=True),
        # MySQL's BLOB ends at 64 KB without a length.
        sa.Column("data", sa.LargeBinary(16 * 1024 * 1024 - 1), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False, index=True),
        sa.Column("owner", sa.String(64), index=True),
        sa.Column("seen", sa.BigInteger),
    )


class SQLStore:
    """A database, in connections and transactions of the store's own: those of
    the application are neither used nor waited for.

    Records expire by the database's clock. Expired ones take up room until
    :meth:`prune` removes them.

    :param engine: the application's engine will do.
    :param table: the table's name.
    :param create_table: create the table where there is none, when the store is
        first used.
    :raises SessionConfigError: this is no engine.
    """

    def __init__(
        self,
        engine: sa.Engine,
        *,
        table: str = "buffalo_sessions",
        create_table: bool = True,
    ) -> None:
        if not isinstance(engine, sa.Engine):
            raise SessionConfigError(
                "SQLStore needs an Engine of SQLAlchemy that is not an asynchronous"
                f" one; a {type(engine).__name__} cannot be used."
            )
        if not engine.get_execution_options().get(_AUTOCOMMIT):
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._engine = _discreet(engine)
        self._table = sessions_table(table)
        self._create_table = create_table
        self._preparing = threading.Lock()
        # The process that may have filled the pool, and whether the table is there.
        self._process = os.getpid()
        self._prepared = False
        columns = self._table.c
        mine, live = columns.id == sa.bindparam("key"), columns.expires >= _now()
        values = {
            "data": sa.bindparam("new"),
            "expires": _now() + sa.bindparam("max_age", type_=sa.BigInteger),
        }
        self._select = sa.select(columns.data).where(mine, live)
        self._insert = self._table.insert().values(id=sa.bindparam("key"), **values)
        self._update = self._table.update().where(mine, live).values(values)
        self._swap = self._update.where(columns.data == sa.bindparam("expected"))
        self._revive = self._table.update().where(mine, ~live).values(values)
        self._delete = self._table.delete().where(mine)
        self._take = self._delete.where(columns.data == sa.bindparam("expected"))

    def load(self, token: str) -> bytes | None:
        with _answering("read"):
            rows = self._rows(self._select, key=storage_key(token))
        return rows[0].data if rows else None

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        new = token is None
        if token is None:
            token = new_token()
        values: dict[str, t.Any] = {
            "key": storage_key(token),
            "new": data,
            "max_age": max_age,
        }
        with _answering("write"):
            if new:
                saved = self._change(self._insert, again=True, **values)
            elif expected is not None:
                saved = self._change(self._swap, expected=expected, **values)
            else:
                saved = self._add(values)
        if not saved:
            raise SessionConflictError("the record changed meanwhile")
        return token

    def delete(self, token: str) -> None:
        with _answering("delete"):
            self._change(self._delete, key=storage_key(token))

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        mine = self._table.c.id == storage_key(token)
        noted = {"owner": storage_key(owner), "seen": _now()}
        with _answering("write"):
            self._change(self._table.update().where(mine).values(noted))

    def owned(self, owner: str) -> list[Held]:
        columns = self._table.c
        query = sa.select(columns.id, columns.data, columns.seen).where(
            columns.owner == storage_key(owner), columns.expires >= _now()
        )
        with _answering("read"):
            return [Held(row.id, row.data, row.seen) for row in self._rows(query)]

    def revoke(self, session_id: str) -> bytes | None:
        with _answering("delete"):
            while rows := self._rows(self._select, key=session_id):
                # MySQL cannot say which row it has deleted.
                found: bytes = rows[0].data
                if found.startswith(MARK):
                    return found
                if self._change(self._take, key=session_id, expected=found):
                    return found
        return None

    def prune(self) -> int:
        """Remove expired records, in batches, so that others can write between
        them.

        :returns: how many there were.
        :raises SessionStoreError: the database cannot answer.
        """
        id, expired, count = self._table.c.id, self._table.c.expires < _now(), 0
        query = sa.select(id).where(expired).limit(_BATCH)
        with _answering("delete"):
            while rows := self._rows(query):
                found = id.in_([row.id for row in rows])
                count += self._change(self._table.delete().where(found, expired))
        return count

    def examine(self) -> Health:
        with _answering("be examined"):
            return Health(self._rows(sa.select(_now().label("now")))[0].now)

    def _add(self, values: dict[str, t.Any]) -> int:
        """Insert a row, or take over one that has expired."""
        try:
            return self._change(self._insert, **values)
        except IntegrityError:
            return self._change(self._revive, **values)

    def _rows(
        self, query: sa.Select[t.Any], **values: t.Any
    ) -> t.Sequence[sa.Row[t.Any]]:
        return self._execute(query, values, lambda result: result.all(), again=True)

    def _change(
        self, statement: sa.Executable, *, again: bool = False, **values: t.Any
    ) -> int:
        return self._execute(
            statement, values, lambda result: result.rowcount, again=again
        )

    def _execute(
        self,
        statement: sa.Executable,
        values: dict[str, t.Any],
        outcome: c.Callable[[sa.CursorResult[t.Any]], T],
        *,
        again: bool,
    ) -> T:
        """
        :param again: that the statement may well be done twice. It then is, if
            its connection turns out to be dead, as all those in the pool are after
            a restart of the server.
        """
        self._prepare()
        try:
            with self._engine.connect() as connection:
                return outcome(connection.execute(statement, values))
        except DBAPIError as error:
            if not again or not error.connection_invalidated:
                raise
        return self._execute(statement, values, outcome, again=False)

    def _prepare(self) -> None:
        if self._process != os.getpid():
            with self._preparing:
                if self._process != os.getpid():
                    # A fork: the connections in the pool are the parent's.
                    self._engine.dispose(close=False)
                    self._process = os.getpid()
        if not self._prepared:
            # By every thread that comes by: under a lock they would wait one after
            # the other while the database is away.
            if self._create_table:
                self._make_table()
            self._prepared = True

    def _make_table(self) -> None:
        if self._has_table():
            return
        try:
            self._table.create(self._engine, checkfirst=False)
        except SQLAlchemyError:
            # Another thread or process was faster, or it cannot be made.
            if not self._has_table():
                raise

    def _has_table(self) -> bool:
        return sa.inspect(self._engine).has_table(self._table.name)


def _discreet(engine: sa.Engine) -> sa.Engine:
    """The same engine, except that its errors and its log do not quote records."""
    discreet = engine.execution_options()
    discreet.hide_parameters = True
    return discreet


# Marks an engine on which every statement is a transaction already, so that it
# need not be told so for every statement.
_AUTOCOMMIT = "buffalo_session_autocommit"


def engine_from_url(url: str, folder: Path) -> sa.Engine:
    """An engine for sessions alone: it gives up after 2 seconds without an answer,
    where the URL does not say otherwise and the driver can.

    :param folder: where relative paths of SQLite's files begin.
    :raises ImportError: the database's driver is not installed.
    :raises StoreURLError: the URL is of no database that keeps sessions.
    """
    try:
        return _made_engine(url, folder)
    except SQLAlchemyError:
        # Without its message, which may quote the URL.
        raise StoreURLError("SQLAlchemy cannot read it") from None


def _made_engine(url: str, folder: Path) -> sa.Engine:
    parsed = sa.make_url(url)
    parsed.get_dialect()
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreURLError("SQLite in memory is one thread's; use memory:")
        folder.mkdir(parents=True, exist_ok=True)
        parsed = parsed.set(database=str(folder / parsed.database))
    settings = _TIMEOUTS.get(parsed.drivername, {})
    engine = sa.create_engine(
        parsed,
        connect_args={k: v for k, v in settings.items() if k not in parsed.query},
        isolation_level="AUTOCOMMIT",
        # There is no transaction that could be left over.
        pool_reset_on_return=None,
        execution_options={_AUTOCOMMIT: True},
    )
    if kind == "sqlite":
        sa.event.listen(engine, "connect", _set_up)
    elif parsed.drivername == "postgresql+psycopg":
        sa.event.listen(engine, "do_connect", _connect_impatiently)
    return engine


# Instead of SQLAlchemy's defaults, which are older drivers.
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}

# PostgreSQL counts in milliseconds, the others in seconds. SQLite's is how long to
# wait while others write.
_POSTGRESQL: dict[str, t.Any] = {
    "connect_timeout": 2,
    "tcp_user_timeout": 2000,
    "options": "-c statement_timeout=2000",
}
_MYSQL: dict[str, t.Any] = {
    "connect_timeout": 2,
    "read_timeout": 2,
    "write_timeout": 2,
}
# Seconds; a little more than the server's own, which says more.
_LONGEST_WAIT = 2.5

_TIMEOUTS: dict[str, dict[str, t.Any]] = {
    "sqlite": {"timeout": 5},
    "postgresql+psycopg": _POSTGRESQL,
    "postgresql+psycopg2": _POSTGRESQL,
    "mysql+pymysql": _MYSQL,
    "mariadb+pymysql": _MYSQL,
}


def _connect_impatiently(
    dialect: object, record: object, args: list[t.Any], settings: dict[str, t.Any]
) -> t.Any:
    """A server that hangs cannot keep its own statement_timeout, and libpq has no
    time-out for an answer, so psycopg's way of waiting gets one.
    """
    import psycopg

    class Impatient(psycopg.Connection[t.Any]):
        def wait(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                return super().wait(*args, **{"timeout": _LONGEST_WAIT, **kwargs})
            except psycopg.OperationalError:
                # The answer may come yet, and would be taken for the next one.
                self.close()
                raise

    return Impatient.connect(*args, **settings)


def _set_up(connection: t.Any, record: object) -> None:
    cursor = connection.cursor()
    # Readers and a writer do not wait for each other, and what has been committed
    # survives the death of the process.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    # Among a million sessions each save is on pages of its own. So the log is allowed
    # 16 MB before they are moved, and they are read without being copied.
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.execute("PRAGMA mmap_size=1073741824")
    cursor.close()


class _now(FunctionElement[int]):  # noqa: N801 - named as what it stands for
    """The database's clock, in seconds since the epoch."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(_now)
def _unix_timestamp(element: _now, compiler: SQLCompiler, **_: t.Any) -> str:
    return "unix_timestamp()"


@compiles(_now, "sqlite")
def _strftime(element: _now, compiler: SQLCompiler, **_: t.Any) -> str:
    return "CAST(strftime('%s', 'now') AS INTEGER)"


@compiles(_now, "postgresql")
def _extract(element: _now, compiler: SQLCompiler, **_: t.Any) -> str:
    return "CAST(floor(extract(epoch FROM now())) AS BIGINT)"


@contextmanager
def _answering(doing: str) -> c.Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        # Not its whole message, which quotes the statement.
        problem = getattr(error, "orig", None) or type(error).__name__
        raise SessionStoreError("SQL", f"cannot {doing}: {problem}") from error
