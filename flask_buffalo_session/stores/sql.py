"""Sessions in a table: SQLite, PostgreSQL, MySQL or MariaDB, by SQLAlchemy."""

from __future__ import annotations

import collections.abc as c
import os
import threading
import typing as t

import sqlalchemy as sa
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError,  # noqa: A004 - of a pool, and no subclass of Python's own
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from ..errors import SessionConfigError, SessionConflictError
from .base import (
    TOMBSTONE_PREFIX,
    Health,
    OwnedRecord,
    answering,
    new_token,
    storage_key,
)
from .engine import AUTOCOMMIT

T = t.TypeVar("T")

# Rows deleted by one statement, so that pruning holds no lock for long.
_BATCH = 1000

# How often a statement is repeated that lost to another transaction.
_ATTEMPTS = 10

# SQLAlchemy's message does not say that the views hold the connections.
_NO_CONNECTION = (
    "no connection of the application's pool became free. A request that holds one"
    " needs a second one for its session. Give sessions an engine of their own, as a"
    " URL does, or set pool_size to twice the number of threads"
)

# The codes of PostgreSQL and MySQL for a serialization failure or a deadlock. The
# database has rolled the statement back.
_ROLLED_BACK = {"40001", "40P01", 1213}


def sessions_table(name: str = "buffalo_sessions") -> sa.Table:
    """Return the table's definition, for migrations.

    Times are in seconds since the epoch.
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
    """Sessions in a database, in connections and transactions of the store's own. The
    store neither uses the application's transactions nor waits for them.

    Records expire by the database's clock. Expired ones take up room until
    ``flask session purge`` deletes them.

    :param engine: an engine for sessions alone, or the application's. From the
        application's pool, a request takes a second connection beside its view's: the
        pool must have room for two in each thread.
    :param table: the table's name.
    :param create_table: create a missing table when the store is first used.
    :raises SessionConfigError: this is not an engine.
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
                "SQLStore needs a synchronous Engine of SQLAlchemy, not a"
                f" {type(engine).__name__}."
            )
        # Only engine_from_url makes an engine that is surely for sessions alone.
        self._shares_pool = not engine.get_execution_options().get(AUTOCOMMIT)
        if self._shares_pool:
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._engine = _without_values(engine)
        self._table = sessions_table(table)
        self._create_table = create_table
        self._preparing = threading.Lock()
        # The process that may have filled the pool, and whether the table exists.
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
        return self.peek(storage_key(token))

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
        with answering("SQL", "write"):
            try:
                if new:
                    saved = self._change(self._insert, repeat=True, **values)
                elif expected is not None:
                    saved = self._change(self._swap, expected=expected, **values)
                else:
                    saved = self._add(values)
            except DBAPIError as error:
                if not _was_rolled_back(error):
                    raise
                saved = 0
        if not saved:
            raise SessionConflictError("the record has changed")
        return token

    def delete(self, token: str) -> None:
        with answering("SQL", "delete"):
            self._change(self._delete, key=storage_key(token))

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        mine = self._table.c.id == storage_key(token)
        entry = {"owner": storage_key(owner), "seen": _now()}
        with answering("SQL", "write"):
            self._change(self._table.update().where(mine).values(entry))

    def disown(self, session_id: str, owner: str) -> None:
        columns = self._table.c
        mine = (columns.id == session_id) & (columns.owner == storage_key(owner))
        with answering("SQL", "write"):
            self._change(self._table.update().where(mine).values(owner=None))

    def owned(self, owner: str) -> list[OwnedRecord]:
        columns = self._table.c
        query = sa.select(columns.id, columns.data, columns.seen).where(
            columns.owner == storage_key(owner), columns.expires >= _now()
        )
        with answering("SQL", "read"):
            rows = self._rows(query)
        return [OwnedRecord(row.id, row.data, row.seen) for row in rows]

    def peek(self, session_id: str) -> bytes | None:
        with answering("SQL", "read"):
            rows = self._rows(self._select, key=session_id)
        return rows[0].data if rows else None

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        with answering("SQL", "delete"):
            while rows := self._rows(self._select, key=session_id):
                # MySQL cannot return the row that it has deleted.
                found: bytes = rows[0].data
                if found.startswith(TOMBSTONE_PREFIX):
                    return found
                if expected not in (None, found):
                    return found
                if self._change(self._take, key=session_id, expected=found):
                    return found
        return None

    def prune(self) -> int:
        return sum(self.prune_batches())

    def prune_batches(self) -> c.Iterator[int]:
        """Delete expired records in batches, so that others can write in between.

        :returns: the number of records deleted in each batch.
        :raises SessionStoreError: the database cannot answer.
        """
        id, expired = self._table.c.id, self._table.c.expires < _now()
        query = sa.select(id).where(expired).limit(_BATCH)
        while True:
            with answering("SQL", "delete"):
                rows = self._rows(query)
                if not rows:
                    return
                found = id.in_([row.id for row in rows])
                deleted = self._change(self._table.delete().where(found, expired))
            yield deleted

    def check_health(self) -> Health:
        with answering("SQL", "report its state"):
            clock = self._rows(sa.select(_now().label("now")))[0].now
        pool = self._engine.pool
        size = None
        if self._shares_pool and isinstance(pool, sa.QueuePool):
            size = pool.size()
        return Health(clock, shared_pool=size)

    def close(self) -> None:
        self._engine.dispose()

    def _add(self, values: dict[str, t.Any]) -> int:
        """Insert a row, or replace one that has expired. A repeated insert that finds
        its own row is a conflict.
        """
        try:
            return self._change(self._insert, repeat=True, **values)
        except IntegrityError:
            return self._change(self._revive, **values)

    def _rows(
        self, query: sa.Select[t.Any], **values: t.Any
    ) -> t.Sequence[sa.Row[t.Any]]:
        return self._execute(query, values, lambda result: result.all(), repeat=True)

    def _change(
        self, statement: sa.Executable, *, repeat: bool = False, **values: t.Any
    ) -> int:
        return self._execute(
            statement, values, lambda result: result.rowcount, repeat=repeat
        )

    def _execute(
        self,
        statement: sa.Executable,
        values: dict[str, t.Any],
        outcome: c.Callable[[sa.CursorResult[t.Any]], T],
        *,
        repeat: bool,
    ) -> T:
        """Execute a statement, again if the database has rolled it back.

        :param repeat: whether the statement may be executed twice. If so, it is also
            repeated once on a dead connection, as all those in the pool are after a
            restart of the server.
        """
        attempts = _ATTEMPTS
        while True:
            self._prepare()
            try:
                with self._engine.connect() as connection:
                    return outcome(connection.execute(statement, values))
            except TimeoutError as error:
                if not self._shares_pool:
                    raise
                raise TimeoutError(_NO_CONNECTION) from error
            except DBAPIError as error:
                attempts -= 1
                dead = error.connection_invalidated
                if not attempts or not (_was_rolled_back(error) or (repeat and dead)):
                    if self._may_lack_table(error):
                        self._prepared = False
                    raise
                repeat = repeat and not dead

    def _prepare(self) -> None:
        if self._process != os.getpid():
            with self._preparing:
                if self._process != os.getpid():
                    # After a fork the connections in the pool are the parent's.
                    self._engine.dispose(close=False)
                    self._process = os.getpid()
        if not self._prepared:
            # Every thread does this. Under a lock they would wait one after the other
            # while the database is away.
            if self._create_table:
                self._make_table()
            self._prepared = True

    def _may_lack_table(self, error: DBAPIError) -> bool:
        """Return whether somebody may have dropped the table.

        A server reports a missing table as a ProgrammingError. SQLite reports most
        problems as an OperationalError.
        """
        sqlite = self._engine.dialect.name == "sqlite"
        return isinstance(error, OperationalError if sqlite else ProgrammingError)

    def _make_table(self) -> None:
        if self._has_table():
            return
        try:
            self._table.create(self._engine, checkfirst=False)
        except SQLAlchemyError:
            # Another thread or process was faster, or the table cannot be created.
            if not self._has_table():
                raise

    def _has_table(self) -> bool:
        return sa.inspect(self._engine).has_table(self._table.name)


def _without_values(engine: sa.Engine) -> sa.Engine:
    """Return the same engine, except that errors and logs do not quote records."""
    engine = engine.execution_options()
    engine.hide_parameters = True
    return engine


def _was_rolled_back(error: DBAPIError) -> bool:
    """Return whether a statement has lost to another transaction."""
    cause: t.Any = error.orig
    for name in ("sqlstate", "pgcode"):
        if getattr(cause, name, None) in _ROLLED_BACK:
            return True
    return any(code in _ROLLED_BACK for code in getattr(cause, "args", ())[:1])


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
