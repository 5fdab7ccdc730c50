"""The application that attacks and faults are tried on, and what is really in the
store under it.
"""

from __future__ import annotations

import collections.abc as c
import logging
import pickle
import socket
import typing as t
import zlib
from pathlib import Path

import ormsgpack
import redis
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_buffalo_session import session, signals
from flask_buffalo_session.codec import Codec, Record
from flask_buffalo_session.errors import RejectedError
from flask_buffalo_session.formats import Format
from flask_buffalo_session.gorilla.codec import GorillaCodec
from flask_buffalo_session.gorilla.gob.types import INT, STRING, GobType, gob_type
from flask_buffalo_session.gorilla.gob.writer import TypeTable, Writer
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.stores.base import Store, storage_key
from tests.conftest import (
    NAME,
    SECRET,
    Counting,
    Formatting,
    RecordingCache,
    RecordingMemory,
    folder_of,
    make_app,
    names,
)
from tests.support.servers import (
    MariaServer,
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Servers,
    ValkeyServer,
)

#: What a view does to the session, and answers.
Act = t.Callable[[], object]


class Target:
    """An application, and the cookie of a session whose user is logged in.

    :param secrets: newest first.
    :param setup: adds views or hooks to the application before its first request.
    """

    def __init__(
        self,
        store: Store,
        formatting: Formatting,
        *secrets: str,
        name: str = NAME,
        setup: c.Callable[[Flask], object] = lambda app: None,
        **config: t.Any,
    ) -> None:
        secrets = secrets or (SECRET,)
        self.name = name
        self.store = Counting(store)
        self.seal = formatting.seal(*secrets, name=name)
        self.format = formatting.make(*secrets)
        self.app = make_app(
            self.store, SESSION_NAME=name, **formatting.settings(*secrets), **config
        )
        #: The function that ``/act`` calls.
        self.act: Act = lambda: None
        self.rejections: list[tuple[str | None, str]] = []
        # Signals hold their receivers weakly.
        self._receiver = self._record_rejection
        signals.session_rejected.connect(self._receiver, self.app)
        self._routes(self.app)
        setup(self.app)
        self.cookie = self.text_in(self.ask("", "/login"))
        self.store.calls.clear()

    def _record_rejection(
        self, sender: object, session_id: str | None, reason: str, name: None
    ) -> None:
        self.rejections.append((session_id, reason))

    def _routes(self, app: Flask) -> None:
        @app.route("/", methods=["GET", "POST"])
        def show() -> str:
            return repr(dict(session))

        @app.get("/login")
        def login() -> str:
            session["user"] = "ann"
            return "ok"

        @app.get("/set/<name>")
        def set_name(name: str) -> str:
            session[name] = name
            return "set"

        @app.get("/clear")
        def clear() -> str:
            session.clear()
            return "cleared"

        @app.get("/regenerate")
        def regenerate() -> str:
            session.regenerate()
            return "regenerated"

        @app.get("/act")
        def act() -> str:
            return str(self.act())

        @app.get("/untouched")
        def untouched() -> str:
            return "untouched"

    def ask(self, header: str, path: str = "/", **options: t.Any) -> TestResponse:
        """Return the response to a request with this ``Cookie`` header."""
        client: FlaskClient = self.app.test_client(use_cookies=False)
        headers = {"Cookie": header.encode().decode("latin-1")} if header else {}
        return client.get(path, headers=headers, **options)

    def send(self, text: str, path: str = "/", **options: t.Any) -> TestResponse:
        """Return the response to a request with this text in the session's cookie."""
        return self.ask(f"{self.name}={text}", path, **options)

    def values(self, text: str) -> str:
        """Return the repr of the values in this cookie's session."""
        return self.send(text).text

    def text_in(self, response: TestResponse) -> str:
        """Return the text that a response sets the cookie to."""
        (header,) = response.headers.getlist("Set-Cookie")
        name, _, rest = header.partition("=")
        assert name == self.name
        return rest.partition(";")[0]

    def token_in(self, text: str) -> str | None:
        """Return a cookie's token, or None if the cookie does not verify."""
        try:
            return self.seal.unseal(text, max_age=3600).token
        except RejectedError:
            return None

    @property
    def token(self) -> str:
        """Return the token in the good cookie."""
        token = self.token_in(self.cookie)
        assert token is not None
        return token

    def doing(self, act: Act, text: str) -> TestResponse:
        """Return the response to a request whose view calls ``act``."""
        self.act = act
        return self.send(text, "/act")

    def check_fresh(
        self, text: str, reason: str, caplog: t.Any, kind: str = ""
    ) -> None:
        """Assert that a cookie gives a fresh session.

        The response is an ordinary one, one line is logged, and nothing is written.
        The next write goes to another id.

        :param reason: why the cookie is rejected.
        :param kind: names the cookie in a failed assertion.
        """
        self.store.calls.clear()
        self.rejections.clear()
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            response = self.send(text)
        assert (response.status_code, response.text) == (200, "{}"), kind
        assert "Set-Cookie" not in response.headers, kind
        assert response.headers["Vary"] == "Cookie", kind
        check_rejection_logged(caplog, reason, kind)
        assert [logged for _, logged in self.rejections] == [reason], kind
        # The store loads only the tokens of cookies that verify. It saves nothing.
        token = self.token_in(text)
        assert self.store.calls == ["load"] * (token is not None), kind
        written = self.text_in(self.send(text, "/login"))
        assert written != text, kind
        assert self.values(written) == "{'user': 'ann'}", kind
        assert self.store.stateless or self.token_in(written) != token, kind


def check_rejection_logged(caplog: t.Any, reason: str, kind: str = "") -> None:
    """Assert that a rejection logs one line, without a stack trace.

    The reason determines the level.
    """
    (record,) = caplog.records
    message: str = record.getMessage()
    assert message.startswith(f"A session was rejected: {reason}"), kind
    serious = reason in ("bad-signature", "corrupt")
    assert record.levelno == (logging.WARNING if serious else logging.INFO), kind
    assert record.exc_info is record.stack_info is None, kind


def keys_in(store: t.Any) -> set[str]:
    """Return the keys in a store or its server, as another client finds them."""
    if isinstance(store, Counting):
        store = store.inner
    if isinstance(store, RecordingCache | RecordingMemory):
        return {storage_key(t) for t in store.tokens if store.load(t) is not None}
    name, servers = names[store]
    if name in ("files", "cachelib-files"):
        # The number of lock files does not depend on what is stored.
        found = (path.name for path in folder_of(name, servers).iterdir())
        return {name for name in found if not name.startswith("lock-")}
    if name == "memcached":
        return _keys_in_memcached(servers.shared(MemcachedServer).port)
    if name in ("sqlite", "postgresql", "mariadb"):
        store.load("the first use creates the table")
        return _keys_in_table(name, servers)
    server = servers.shared(ValkeyServer if name == "valkey" else RedisServer)
    with redis.Redis(port=server.port) as client:
        return {key.decode(errors="backslashreplace") for key in client.scan_iter()}


def _keys_in_table(name: str, servers: Servers) -> set[str]:
    if name == "sqlite":
        address = f"sqlite:///{folder_of(name, servers)}/sessions.db"
    elif name == "postgresql":
        address = servers.shared(PostgresServer).url.replace(":", "+psycopg:", 1)
    else:
        address = servers.shared(MariaServer).url.replace(":", "+pymysql:", 1)
    engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id FROM buffalo_sessions"))
        return set(rows.scalars())


def _keys_in_memcached(port: int) -> set[str]:
    with socket.create_connection(("127.0.0.1", port), 2) as connection:
        connection.sendall(b"lru_crawler metadump all\r\n")
        found = set()
        with connection.makefile("rb") as lines:
            while (line := lines.readline()) != b"END\r\n":
                # Newer servers confirm the command first.
                if line != b"OK\r\n":
                    assert line.startswith(b"key="), line
                    found.add(line.split()[0].decode())
    return found


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> t.Any:
        return Path.touch, (self.path,)


def foreign_records(format: Format) -> dict[str, bytes]:
    """Return data that is not a record of a format, by kind of damage."""
    codec = format.codec
    good = record_of(codec)
    found = {
        "nothing": b"",
        "one byte": good[:1],
        "cut off in the middle": good[: len(good) // 2],
        "without its end": good[:-1],
        "without its beginning": good[1:],
        "with more behind it": good + b"\0",
        "twice": good + good,
        "zeros": bytes(50),
        "every byte": bytes(range(256)),
        "JSON": b'{"user": "admin"}',
        "a pickle": pickle.dumps({"user": "admin"}),
    }
    if isinstance(codec, NativeCodec):
        return {
            **found,
            "changed": good[:-1] + bytes([good[-1] ^ 1]),
            "a version to come": b"\x02" + good[1:],
            "a list": _with_checksum(["user", "admin"]),
            "a list of the right length": _with_checksum([1, 2, 3]),
            "an int": _with_checksum(7),
            "a dict alone": _with_checksum({"user": b"\xa5admin"}),
            "Go's": record_of(GorillaCodec()),
        }
    empty = codec.dumps(Record(None, b"", {}))
    return {
        **found,
        "a list": _gob(gob_type("slice", "", (INT,)), [1, 2, 3]),
        "an int": _gob(INT, 7),
        "a map of strings": _gob(
            gob_type("map", "", (STRING, STRING)), [("user", "x")]
        ),
        "more values than there are": empty[:-1] + b"\xfc\x7f\xff\xff\xff",
        "Python's": record_of(NativeCodec()),
    }


def record_of(codec: Codec) -> bytes:
    """Return the record of a session whose user is an administrator."""
    values: dict[t.Hashable, bytes] = {"user": codec.encode("admin", "user")}
    created = 0 if codec.stores_created else None
    return codec.dumps(Record(created, b"nonce", values))


def _with_checksum(content: object) -> bytes:
    body = ormsgpack.packb(content)
    return b"\x01" + zlib.crc32(body).to_bytes(4, "big") + body


def _gob(kind: GobType, value: object) -> bytes:
    """Encode a value as Go's encoder does."""
    types = TypeTable()
    message = Writer(types)
    message.signed(types.number(kind))
    message.top(kind, value)
    stream = Writer(types)
    for definition in types.definitions():
        stream.chunk(definition)
    stream.chunk(message.data)
    return bytes(stream.data)
