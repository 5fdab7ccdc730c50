"""The table in which Flask-Session kept its sessions."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from ..errors import RejectedError, SessionConfigError, kind_of
from ..stores.base import answering


class FlaskSessionTable:
    """Read and delete the records in Flask-Session's table, in connections of its own.

    :param engine: an engine of SQLAlchemy.
    :param prefix: what stands before the id.
    :raises SessionConfigError: this is not an engine.
    """

    def __init__(
        self, engine: sa.Engine, table: str, schema: str | None, prefix: str
    ) -> None:
        if not isinstance(engine, sa.Engine):
            raise SessionConfigError(
                "FlaskSession needs a synchronous Engine of SQLAlchemy, not"
                f" {kind_of(engine)}."
            )
        self._engine = engine
        self._prefix = prefix
        rows = sa.table(
            table,
            sa.column("session_id", sa.String(255)),
            sa.column("data", sa.LargeBinary),
            sa.column("expiry", sa.DateTime),
            schema=schema,
        )
        mine = rows.c.session_id == sa.bindparam("id")
        self._select = sa.select(rows.c.data, rows.c.expiry).where(mine)
        self._delete = sa.delete(rows).where(mine)

    def load(self, token: str) -> bytes | None:
        """Return the record of a session.

        :raises RejectedError: the session has expired.
        :raises SessionStoreError: the database cannot answer.
        """
        reading = answering("SQL", "read Flask-Session's table")
        with reading, self._engine.connect() as connection:
            row = connection.execute(self._select, self._id(token)).first()
        if row is None:
            return None
        data, expiry = row
        # Flask-Session writes the time in UTC, without a time zone.
        if expiry is None or expiry <= dt.datetime.now(dt.UTC).replace(tzinfo=None):
            raise RejectedError("expired", "Flask-Session's record has expired")
        return bytes(data or b"")

    def delete(self, token: str) -> None:
        """Delete the record of a session.

        :raises SessionStoreError: the database cannot answer.
        """
        deleting = answering("SQL", "delete from Flask-Session's table")
        with deleting, self._engine.begin() as connection:
            connection.execute(self._delete, self._id(token))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _id(self, token: str) -> dict[str, str]:
        return {"id": self._prefix + token}
