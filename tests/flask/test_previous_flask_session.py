"""Move sessions in from Flask-Session, which writes the old ones itself."""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import pickle
import typing as t
from pathlib import Path

import flask
import pytest
import redis
import sqlalchemy as sa
from flask import Flask
from flask_session import Session as OldSession
from flask_sqlalchemy import SQLAlchemy
from hypothesis import given
from hypothesis import strategies as st

from flask_buffalo_session import MemoryStore, previous, session
from flask_buffalo_session.config import Config
from flask_buffalo_session.errors import RejectedError, SessionConfigError
from flask_buffalo_session.native.codec import NativeCodec
from tests.conftest import SECRET, make_app
from tests.flask.test_previous import Moved, ours, set_cookies
from tests.support.servers import PostgresServer, RedisServer, Servers, free_port

# Flask-Session uses what is deprecated, and warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

KEY = "the secret that Flask-Session's signer used"

VALUES: dict[str, t.Any] = {
    "user_id": 7,
    "cart": {"apple": 2, "pear": [1, 2.5, None, True]},
    "name": "Zoë",
}

#: What only MessagePack keeps.
MORE: dict[str, t.Any] = {
    "raw": b"\x00\xff",
    "seen": dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC),
}


class Before:
    """An application with Flask-Session, and where it keeps its sessions.

    :param place: the URL of the server.
    """

    def __init__(self, place: str, **config: t.Any) -> None:
        self.place = place
        self.app = app = Flask("old")
        app.config.update(SECRET_KEY=KEY, **config)
        if place.startswith("redis:"):
            client = redis.Redis.from_url(place)
            app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
            self.close: c.Callable[[], None] = client.close
        else:
            db = SQLAlchemy()
            app.config.update(
                SQLALCHEMY_DATABASE_URI=place.replace("postgresql:", _PSYCOPG),
                SESSION_TYPE="sqlalchemy",
                SESSION_SQLALCHEMY=db,
            )
            db.init_app(app)
            self.close = lambda: self._dispose(db)
        OldSession(app)

        @app.get("/")
        def view() -> str:
            flask.session.update(self.values)
            flask.flash("Welcome", "info")
            return ""

        @app.get("/read")
        def read() -> dict[str, t.Any]:
            return dict(flask.session)

    def _dispose(self, db: SQLAlchemy) -> None:
        with self.app.app_context():
            db.engine.dispose()

    def cookie(self, values: dict[str, t.Any] = VALUES) -> str:
        """Return the ``Cookie`` header of a browser with a new session."""
        self.values = values
        client = self.app.test_client()
        client.get("/")
        cookie = client.get_cookie("session")
        assert cookie is not None
        return f"session={cookie.value}"

    def values_of(self, cookies: str) -> dict[str, t.Any]:
        """Return what Flask-Session finds for a cookie."""
        client = self.app.test_client(use_cookies=False)
        found = client.get("/read", headers={"Cookie": cookies}).json
        return t.cast("dict[str, t.Any]", found)


_PSYCOPG = "postgresql+psycopg:"


@pytest.fixture(params=["redis", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    """The URL of a place where Flask-Session keeps sessions."""
    if request.param == "redis":
        return servers.shared(RedisServer).url
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/old.db"
    return servers.shared(PostgresServer).url


def moved_from(*places: object, **config: t.Any) -> Moved:
    return Moved(MemoryStore(), SESSION_PREVIOUS=list(places), SECRET_KEY=KEY, **config)


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize("use_signer", [False, True])
def test_sessions_move(place: str, serializer: str, use_signer: bool) -> None:
    """With values, permanence and flash messages. The old record is deleted."""
    before = Before(
        place,
        SESSION_SERIALIZATION_FORMAT=serializer,
        SESSION_USE_SIGNER=use_signer,
    )
    values = VALUES | (MORE if serializer == "msgpack" else {})
    old = before.cookie(values)
    moved = moved_from(
        previous.FlaskSession(place, serializer=serializer, use_signer=use_signer)
    )
    response = moved.get(old, lambda: session.set("more", 1))
    assert not moved.errors
    assert set_cookies(response)["session"] == ""
    found = moved.values(ours(response))
    assert found.pop("_flashes") == [("info", "Welcome")]
    assert found == {**values, "_permanent": True, "more": 1}
    assert before.values_of(old).keys() <= {"_permanent"}, "the old record is there"
    assert moved.values(old)["more"] == 1, "the old cookie does not lead here"
    assert moved.rejections == []
    before.close()
    moved.app.extensions["buffalo_session"].close()


def test_prefix_table_and_schema_are_parameters(servers: Servers) -> None:
    """As Flask-Session's settings."""
    place = servers.shared(PostgresServer).url
    engine = sa.create_engine(place.replace("postgresql:", _PSYCOPG))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS old_sessions"))
    before = Before(
        place,
        SESSION_KEY_PREFIX="app:",
        SESSION_SQLALCHEMY_TABLE="web",
        SESSION_SQLALCHEMY_SCHEMA="old_sessions",
    )
    names: dict[str, t.Any] = {
        "key_prefix": "app:",
        "table": "web",
        "schema": "old_sessions",
    }
    moved = moved_from(previous.FlaskSession(engine, **names))
    assert moved.values(before.cookie())["user_id"] == 7
    before.close()
    engine.dispose()


def test_a_ready_client_is_used_and_stays_open(servers: Servers) -> None:
    """The application closes what it made."""
    client = redis.Redis(port=servers.shared(RedisServer).port, decode_responses=True)
    before = Before(servers.shared(RedisServer).url, SESSION_KEY_PREFIX="app:")
    moved = moved_from(previous.FlaskSession(client, key_prefix="app:"))
    assert moved.values(before.cookie())["user_id"] == 7
    moved.app.extensions["buffalo_session"].close()
    assert client.ping()
    before.close()
    client.close()


def test_an_application_that_changed_its_serializer_keeps_both(place: str) -> None:
    """Flask-Session reads both, too."""
    before = Before(place, SESSION_SERIALIZATION_FORMAT="json")
    moved = moved_from(previous.FlaskSession(place, serializer="msgpack"))
    assert moved.values(before.cookie())["user_id"] == 7
    before.close()
    moved.app.extensions["buffalo_session"].close()


def test_an_expired_record_does_not_move(place: str) -> None:
    """Redis forgets it, and a table has its expiry."""
    before = Before(place, PERMANENT_SESSION_LIFETIME=-5)
    if place.startswith("redis:"):
        before.app.config["PERMANENT_SESSION_LIFETIME"] = 1000
        old = before.cookie()
        client = redis.Redis.from_url(place)
        client.delete(f"session:{old.partition('=')[2]}")
        client.close()
    else:
        old = before.cookie()
    moved = moved_from(previous.FlaskSession(place))
    assert moved.values(old) == {}
    assert moved.rejections in (["expired"], ["unknown"])
    before.close()
    moved.app.extensions["buffalo_session"].close()


def test_a_value_that_the_format_cannot_store_stays_behind(place: str) -> None:
    """So the old record is kept."""
    before = Before(place)
    old = before.cookie({"user_id": 7, "seen": MORE["seen"]})
    moved = moved_from(previous.FlaskSession(place), SESSION_FORMAT="gorilla")
    found = moved.values(old)
    assert found["user_id"] == 7
    assert "seen" not in found
    assert "seen" in before.values_of(old)
    before.close()
    moved.app.extensions["buffalo_session"].close()


def test_a_logout_is_final(servers: Servers) -> None:
    """Although the old cookie is still there."""
    place = servers.shared(RedisServer).url
    before = Before(place)
    old = before.cookie()
    moved = moved_from(previous.FlaskSession(place))
    moved.get(old, lambda: session.clear())
    assert moved.values(old) == {}
    assert before.values_of(old).keys() <= {"_permanent"}
    before.close()
    moved.app.extensions["buffalo_session"].close()


class Evil:
    """Create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[t.Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_records_are_never_read(
    servers: Servers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The user logs in again, and the log says why."""
    client = redis.Redis(port=servers.shared(RedisServer).port)
    for number, content in enumerate(({"user_id": 7}, Evil(tmp_path / "made"))):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            token = f"pickled-{number}-{protocol}"
            client.set(f"session:{token}", pickle.dumps(content, protocol), ex=60)
            moved = moved_from(previous.FlaskSession(client))
            assert moved.values(f"session={token}") == {}
            assert moved.rejections == ["corrupt"]
    assert not (tmp_path / "made").exists()
    assert "Pickled records are never read, so its user logs in again" in " ".join(
        caplog.text.split()
    )
    client.close()


@pytest.mark.parametrize(
    "text",
    ["", "short", "a" * 201, "../../etc/passwd", "with space", "ü" * 20, "a.b" * 20],
)
def test_what_has_not_the_form_of_an_id_is_not_looked_up(text: str) -> None:
    """No server is there that could answer."""
    place = f"redis://127.0.0.1:{free_port()}"
    moved = moved_from(previous.FlaskSession(place))
    assert moved.values(f"session={text}") == {}
    assert not moved.errors


def test_forged_signatures_are_not_looked_up() -> None:
    """Without the secret, with another secret, and changed."""
    place = f"redis://127.0.0.1:{free_port()}"
    moved = moved_from(previous.FlaskSession(place, use_signer=True))
    for text in ("a" * 43, f"{'a' * 43}.{'b' * 27}", f"{'a' * 43}."):
        assert moved.values(f"session={text}") == {}
    assert not moved.errors


def test_an_outage_of_the_old_place_is_an_error() -> None:
    """It is never taken for an empty session, and the message names no server."""
    port = free_port()
    for url in (f"redis://127.0.0.1:{port}", f"postgresql://127.0.0.1:{port}/x"):
        moved = moved_from(previous.FlaskSession(url))
        assert moved.get(f"session={'a' * 43}").status_code == 500
        assert "127.0.0.1" not in str(moved.errors[0])
        moved.app.extensions["buffalo_session"].close()


@given(st.binary() | st.binary().map(lambda data: b"\x81\xa1a" + data))
def test_no_record_raises_anything_but_a_rejection(data: bytes) -> None:
    """Or it is read."""

    class Client:
        def execute_command(self, *args: object, **options: object) -> bytes:
            return data

    app = make_app(SECRET_KEY=KEY)
    source = previous.FlaskSession(Client()).source(app, Config.of(app))
    try:
        source.find("a" * 43).load(NativeCodec())
    except RejectedError as error:
        assert error.reason in ("corrupt", "unknown")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: previous.FlaskSession("redis:", serializer="pickle"), "serializer="),
        (lambda: previous.FlaskSession("redis:", secret=""), "secret="),
        (lambda: previous.FlaskSession("mongodb://host"), "no such kind"),
        (lambda: previous.FlaskSession("redis://a:hunter2@b@c"), "login"),
        (lambda: previous.FlaskSession("file:sessions"), "needs a URL"),
        (lambda: previous.FlaskSession(object()), "needs a URL"),
    ],
)
def test_a_wrong_parameter_is_an_error(
    make: c.Callable[[], previous.FlaskSession], problem: str
) -> None:
    """In ``init_app`` at the latest, without a password."""
    with pytest.raises(SessionConfigError, match=problem) as caught:
        make_app(SESSION_PREVIOUS=[make()], SESSION_SECRET=SECRET)
    assert "hunter2" not in str(caught.value)
