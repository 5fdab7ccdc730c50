"""The sessions that Flask-Session 0.7 and 0.8 kept in Redis or in SQL."""

from __future__ import annotations

import collections.abc as c
import json
import re
import typing as t

import ormsgpack
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, Signer

from ..codec import Codec, Record
from ..config import Config
from ..cookies import SessionCookie
from ..errors import RejectedError, SessionConfigError, kind_of
from ..secret import given_secrets
from ..stores.base import StoreURLError
from ..stores.redis import RedisStore
from ..stores.url import client_from_url
from .base import Found, OldSecrets, encoded, old_cookie

# What secrets.token_urlsafe makes of any SESSION_ID_LENGTH, and the UUIDs of old
# versions.
_SESSION_ID = re.compile(r"[0-9A-Za-z_-]{8,200}")

#: Bytes. A larger record is no session.
LARGEST_RECORD = 16 * 1024 * 1024

_SERIALIZERS = ("msgpack", "json")


class _Records(t.Protocol):
    """Where the records are."""

    def load(self, token: str) -> bytes | None: ...
    def delete(self, token: str) -> None: ...
    def close(self) -> None: ...


class FlaskSession:
    """The sessions that Flask-Session 0.7 and 0.8 kept in Redis, Valkey or an SQL
    database, for ``SESSION_PREVIOUS``. The parameters are Flask-Session's settings.

    Pickled records are never read: those of Flask-Session 0.6 and older, of its files
    and of its cachelib caches. Their users log in again, and the log says why.

    :param place: a URL as for ``SESSION_STORE``, a client of redis-py or valkey-py, or
        an engine of SQLAlchemy.
    :param serializer: ``"msgpack"`` or ``"json"``, as ``SESSION_SERIALIZATION_FORMAT``
        was.
    :param key_prefix: what ``SESSION_KEY_PREFIX`` was.
    :param table: what ``SESSION_SQLALCHEMY_TABLE`` was.
    :param schema: what ``SESSION_SQLALCHEMY_SCHEMA`` was.
    :param use_signer: what ``SESSION_USE_SIGNER`` was. Without a signer anybody can
        make up an id, and each such id costs a query to the old place.
    :param secret: the secret of the signer, or several secrets, newest first. The
        default is ``SECRET_KEY`` with ``SECRET_KEY_FALLBACKS``.
    :param name: the old cookie's name. The default is ``SESSION_COOKIE_NAME``.
    :param domain: the old cookie's domain, if it was another one; "" if it had none.
    :param path: the old cookie's path, if it was another one.
    :raises SessionConfigError: a parameter is wrong.
    """

    def __init__(
        self,
        place: t.Any,
        *,
        serializer: str = "msgpack",
        key_prefix: str = "session:",
        table: str = "sessions",
        schema: str | None = None,
        use_signer: bool = False,
        secret: str | bytes | c.Sequence[str | bytes] | None = None,
        name: str | None = None,
        domain: str | None = None,
        path: str | None = None,
    ) -> None:
        if serializer not in _SERIALIZERS:
            raise SessionConfigError(
                "FlaskSession(serializer=…) must be 'msgpack' or 'json', not"
                f" {kind_of(serializer)}."
            )
        self._place = place
        self._serializer = serializer
        self._key_prefix = key_prefix
        self._table = table
        self._schema = schema
        self._use_signer = use_signer
        self._secrets = given_secrets("FlaskSession(secret=…)", secret)
        self._name = name
        self._domain = domain
        self._path = path

    def source(self, app: Flask, config: Config) -> FlaskSessions:
        """Return the old sessions of an application.

        :raises SessionConfigError: the place or a parameter cannot be used.
        """
        cookie = old_cookie(
            config, self, name=self._name, domain=self._domain, path=self._path
        )
        return FlaskSessions(
            app,
            cookie,
            self._records(app),
            lifetime=config.old_lifetime,
            serializer=self._serializer,
            secrets=self._secrets if self._use_signer else None,
            owns_records=isinstance(self._place, str),
        )

    def _records(self, app: Flask) -> _Records:
        client = self._place
        if isinstance(client, str):
            try:
                client = client_from_url(client, app.instance_path)
            except (ImportError, StoreURLError) as error:
                # The message must not contain the URL, which may hold a password.
                raise SessionConfigError(
                    f"FlaskSession's URL cannot be used: {error}."
                ) from error
        if callable(getattr(client, "execute_command", None)):
            return RedisStore(client, prefix=self._key_prefix, hashed=False)
        if hasattr(client, "dialect"):
            from .flask_session_table import FlaskSessionTable

            return FlaskSessionTable(
                client, self._table, self._schema, self._key_prefix
            )
        raise SessionConfigError(
            "FlaskSession needs a URL of Redis, Valkey or an SQL database, a client of"
            f" redis-py or valkey-py, or an SQLAlchemy engine, not {kind_of(client)}."
        )


class FlaskSessions:
    """The sessions that one application kept with Flask-Session.

    :param secrets: the signer's secrets, newest first; empty if they are those of the
        application, None if there was no signer.
    :param owns_records: whether the connections were made from a URL.
    """

    def __init__(
        self,
        app: Flask,
        cookie: SessionCookie,
        records: _Records,
        *,
        lifetime: int,
        serializer: str,
        secrets: tuple[bytes, ...] | None,
        owns_records: bool,
    ) -> None:
        self.cookie = cookie
        self.lifetime = lifetime
        self._app = app
        self._records = records
        self._serializer = serializer
        self._secrets = None if secrets is None else OldSecrets(app, secrets)
        self._owns_records = owns_records

    def find(self, text: str) -> Found:
        """Check a cookie. Without a signer, only its form can be checked.

        :raises RejectedError: with the reason ``bad-signature``.
        """
        session_id = text
        if self._secrets is not None:
            session_id = _unsigned(text, self._secrets.find())
        if not _SESSION_ID.fullmatch(session_id):
            raise RejectedError("bad-signature", "not an id of Flask-Session")

        is_complete = True

        def load(codec: Codec) -> Record:
            nonlocal is_complete
            values = self._values(session_id)
            record = encoded(self._app, values, codec)
            is_complete = len(record.values) == len(values)
            return record

        def delete() -> None:
            if is_complete:
                self._records.delete(session_id)

        return Found(session_id.encode(), load, delete)

    def close(self) -> None:
        """Close the connections that were made from a URL."""
        if self._owns_records:
            self._records.close()

    def _values(self, session_id: str) -> dict[t.Any, t.Any]:
        data = self._records.load(session_id)
        if not data:
            raise RejectedError("unknown", "Flask-Session has no such session")
        values = self._decoded(data)
        if isinstance(values.get("_flashes"), list):
            # Both serializers turn Flask's tuples into lists.
            values["_flashes"] = [
                tuple(flash) if isinstance(flash, list) else flash
                for flash in values["_flashes"]
            ]
        return values

    def _decoded(self, data: bytes) -> dict[t.Any, t.Any]:
        # A pickle begins with the byte of an empty map of MessagePack, and ormsgpack
        # ignores what follows the map.
        if data.startswith(b"\x80") and data != b"\x80":
            self._app.logger.warning(
                "A session of Flask-Session is pickled. Pickled records are never"
                " read, so its user logs in again."
            )
        elif len(data) <= LARGEST_RECORD:
            # An application may have changed its serializer.
            for serializer in sorted(_SERIALIZERS, key=self._serializer.__ne__):
                try:
                    values = _DECODERS[serializer](data)
                except (ValueError, RecursionError):
                    continue
                if isinstance(values, dict):
                    return values
        raise RejectedError("corrupt", "not a record of Flask-Session")


def _unsigned(text: str, secrets: list[bytes]) -> str:
    signer = Signer(
        secrets,
        salt="flask-session",
        key_derivation="hmac",
        # Flask-Session leaves it at itsdangerous's default, as Flask does.
        digest_method=SecureCookieSessionInterface.digest_method,
    )
    try:
        return signer.unsign(text).decode()
    except (BadSignature, UnicodeError):
        raise RejectedError("bad-signature", "the signature is wrong") from None


def _from_msgpack(data: bytes) -> t.Any:
    # Flask-Session writes a datetime with a time zone as MessagePack's timestamp.
    options = ormsgpack.OPT_NON_STR_KEYS | ormsgpack.OPT_DATETIME_AS_TIMESTAMP_EXT
    return ormsgpack.unpackb(data, option=options)


_DECODERS: dict[str, c.Callable[[bytes], t.Any]] = {
    "msgpack": _from_msgpack,
    "json": json.loads,
}
