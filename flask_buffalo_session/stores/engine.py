"""SQLAlchemy engines for sessions, made from URLs."""

from __future__ import annotations

import contextlib
import inspect
import os
import typing as t
import warnings
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from .base import TIMEOUT, UNKNOWN_OPTION, StoreURLError
from .lockfile import make_private_folder, private_opener

#: The execution option of an engine on which every statement is a transaction.
AUTOCOMMIT = "buffalo_session_autocommit"

# SQLAlchemy's own defaults are older drivers.
_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}

# PostgreSQL counts in milliseconds, the others in seconds. SQLite's timeout is how
# long to wait while others write.
_POSTGRESQL: dict[str, t.Any] = {
    "connect_timeout": TIMEOUT,
    "tcp_user_timeout": TIMEOUT * 1000,
}
_MYSQL: dict[str, t.Any] = {
    "connect_timeout": TIMEOUT,
    "read_timeout": TIMEOUT,
    "write_timeout": TIMEOUT,
}
_SETTINGS: dict[str, dict[str, t.Any]] = {
    "sqlite": {"timeout": 5},
    # PgBouncer loses a statement that was prepared in another transaction, and refuses
    # a statement_timeout among the options. So the client alone measures the time.
    "postgresql+psycopg": {**_POSTGRESQL, "prepare_threshold": None},
    "postgresql+psycopg2": {
        **_POSTGRESQL,
        "options": f"-c statement_timeout={TIMEOUT * 1000}",
    },
    "mysql+pymysql": _MYSQL,
    "mariadb+pymysql": _MYSQL,
}


def engine_from_url(url: str, folder: Path) -> sa.Engine:
    """Make an engine for sessions alone.

    It waits 2 seconds for an answer, where the URL does not set another time and the
    driver has such a setting.

    :param folder: where relative paths of SQLite's files begin.
    :raises ImportError: the database's driver is not installed.
    :raises StoreURLError: the URL is not that of a database that keeps sessions.
    :raises OSError: SQLite's folder cannot be created.
    """
    try:
        with warnings.catch_warnings():
            # SQLAlchemy 2.1 warns about an option that SQLite does not have.
            warnings.simplefilter("error", sa.exc.SAWarning)
            engine = _engine(url, folder)
        _check_options(engine)
        return engine
    except sa.exc.SAWarning:
        raise StoreURLError(UNKNOWN_OPTION) from None
    except SQLAlchemyError:
        # SQLAlchemy's message may quote the URL.
        raise StoreURLError("SQLAlchemy cannot read it") from None


def _engine(url: str, folder: Path) -> sa.Engine:
    parsed = sa.make_url(url)
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    kind = parsed.get_backend_name()
    if parsed.get_dialect().is_async:
        raise StoreURLError(
            f"its driver is asynchronous; write {kind}: without the driver"
        )
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise StoreURLError("SQLite in memory serves one thread; use memory:")
        path = folder / parsed.database
        make_private_folder(folder)
        parsed = parsed.set(database=str(path))
    settings = _SETTINGS.get(parsed.drivername, {})
    engine = sa.create_engine(
        parsed,
        connect_args={k: v for k, v in settings.items() if k not in parsed.query},
        isolation_level="AUTOCOMMIT",
        # No transaction is ever left open.
        pool_reset_on_return=None,
        execution_options={AUTOCOMMIT: True},
    )
    if kind == "sqlite":
        sa.event.listen(engine, "do_connect", _create_private)
        sa.event.listen(engine, "connect", _set_up_sqlite)
    elif parsed.drivername == "postgresql+psycopg":
        sa.event.listen(engine, "do_connect", _connect_with_deadline)
    return engine


def _check_options(engine: sa.Engine) -> None:
    """Check that the driver knows the options of the URL, without connecting.

    :raises StoreURLError: it does not.
    """
    _, options = engine.dialect.create_connect_args(engine.url)
    if engine.driver == "pymysql":
        import pymysql

        try:
            inspect.signature(pymysql.Connection).bind_partial(**options)
        except TypeError:
            raise StoreURLError(UNKNOWN_OPTION) from None
    elif engine.driver == "pysqlite":
        # SQLAlchemy 2.0 ignores an unknown option. With "uri" in the URL, SQLite reads
        # the options itself.
        query = engine.url.query
        if "uri" not in query and query.keys() - options.keys():
            raise StoreURLError(UNKNOWN_OPTION)
    elif engine.driver == "psycopg":
        import psycopg
        from psycopg.conninfo import make_conninfo

        own = inspect.signature(psycopg.Connection.connect).parameters
        try:
            make_conninfo(**{k: v for k, v in options.items() if k not in own})
        except psycopg.ProgrammingError:
            raise StoreURLError(UNKNOWN_OPTION) from None


def _connect_with_deadline(
    dialect: object, record: object, args: list[t.Any], settings: dict[str, t.Any]
) -> t.Any:
    """Connect to PostgreSQL in such a way that no answer takes longer than a timeout.

    The kernel of a server that hangs still confirms what it receives, so
    tcp_user_timeout does not end the wait. libpq has no other timeout for an answer.
    psycopg waits for answers in one method.
    """
    import psycopg

    class Connection(psycopg.Connection[t.Any]):
        def wait(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                return super().wait(*args, **{"timeout": TIMEOUT, **kwargs})
            except psycopg.OperationalError:
                # The answer may still come, and must not answer the next statement.
                self.close()
                raise

    return Connection.connect(*args, **settings)


def _create_private(
    dialect: object, record: object, args: list[t.Any], settings: object
) -> None:
    """Create the database's file so that only this user may read it. SQLite gives the
    same mode to the files that it puts beside it.
    """
    # If this fails, SQLite reports why it cannot open the file.
    with contextlib.suppress(OSError):
        os.close(private_opener(args[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def _set_up_sqlite(connection: t.Any, record: object) -> None:
    cursor = connection.cursor()
    # Readers and a writer do not wait for each other, and committed data survives the
    # death of the process.
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    # Among a million sessions each save changes pages of its own. So the log may grow
    # to 16 MB before they are moved, and reads do not copy pages.
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.execute("PRAGMA mmap_size=1073741824")
    cursor.close()
