"""Use the session with other extensions, as their pages in docs/howto say."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask, request
from flask_security import (
    Security,
    SQLAlchemyUserDatastore,
    auth_required,
    hash_password,
)
from flask_security.models import fsqla_v3
from flask_socketio import SocketIO
from flask_sqlalchemy import SQLAlchemy

from flask_buffalo_session import BuffaloSession, SQLStore, session
from tests.conftest import SECRET, make_app

# The extensions and their own requirements use what is deprecated elsewhere.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Sockets:
    """An application with sockets, a browser, and its open socket."""

    def __init__(self, store: str, *, manage_session: bool = False) -> None:
        self.app = make_app(store)
        self.io = SocketIO(
            self.app, manage_session=manage_session, async_mode="threading"
        )

        @self.app.get("/<name>/<value>")
        def set_(name: str, value: str) -> str:
            session[name] = value
            return ""

        @self.app.get("/clear")
        def clear() -> str:
            session.clear()
            return ""

        @self.io.on("set")  # type: ignore[untyped-decorator]
        def on_set(name: str, value: str) -> dict[str, t.Any]:
            session[name] = value
            return dict(session)

        @self.io.on("read")  # type: ignore[untyped-decorator]
        def on_read() -> dict[str, t.Any]:
            return dict(session)

        self.browser = self.app.test_client()
        self.browser.get("/a/1")
        self.socket = self.io.test_client(self.app, flask_test_client=self.browser)

    def emit(self, *event: str) -> t.Any:
        return self.socket.emit(*event, callback=True)

    def values(self) -> dict[str, t.Any]:
        with self.browser.session_transaction() as found:
            return dict(found)


class TestSockets:
    def test_events_and_requests_share_a_session_on_a_server(self) -> None:
        """Each sees what the other has saved."""
        sockets = Sockets("memory:")
        sockets.emit("set", "b", "2")
        assert sockets.values() == {"a": "1", "b": "2"}
        sockets.browser.get("/c/3")
        assert sockets.emit("read") == {"a": "1", "b": "2", "c": "3"}

    def test_an_open_socket_sees_nothing_after_a_logout(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What an event writes is dropped, and a warning says so."""
        sockets = Sockets("memory:")
        sockets.browser.get("/clear")
        assert sockets.emit("read") == {}
        sockets.emit("set", "b", "2")
        assert sockets.values() == {}
        assert "dropped, because it has ended" in caplog.text

    def test_an_open_socket_sees_nothing_after_a_login(self) -> None:
        """The session has got a new id."""
        sockets = Sockets("memory:")
        sockets.browser.get("/user_id/7")
        assert sockets.emit("read") == {}
        sockets.socket.disconnect()
        again = sockets.io.test_client(sockets.app, flask_test_client=sockets.browser)
        assert again.emit("read", callback=True) == {"a": "1", "user_id": "7"}

    def test_events_cannot_change_a_session_in_a_cookie(self) -> None:
        """They see it as it was when the socket was opened."""
        sockets = Sockets("cookie")
        sockets.emit("set", "b", "2")
        sockets.browser.get("/c/3")
        assert sockets.values() == {"a": "1", "c": "3"}
        assert sockets.emit("read") == {"a": "1"}

    def test_a_managed_session_is_a_copy(self) -> None:
        """Flask-SocketIO's default: changes never reach the session."""
        sockets = Sockets("memory:", manage_session=True)
        sockets.emit("set", "b", "2")
        assert sockets.values() == {"a": "1"}
        assert sockets.emit("read") == {"a": "1", "b": "2"}


def test_a_long_request_loads_the_session_anew_in_a_context_of_its_own() -> None:
    """So a handler of flask-sock sees the changes of others, and a logout."""
    app = make_app("memory:")
    browser, other = app.test_client(), app.test_client()

    @app.get("/set/<name>/<value>")
    def set_(name: str, value: str) -> str:
        session[name] = value
        return ""

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return ""

    @app.get("/socket")
    def socket() -> dict[str, t.Any]:
        seen = {"before": dict(session)}
        other.get("/set/b/2")
        with app.request_context(request.environ):
            seen["changed"] = dict(session)
            session["c"] = "3"
            session.save()
        other.get("/set/d/4")
        with app.request_context(request.environ):
            seen["saved"] = dict(session)
        other.get("/clear")
        with app.request_context(request.environ):
            seen["logged out"] = dict(session)
        return seen

    browser.get("/set/a/1")
    cookie = browser.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    other.set_cookie(cookie.key, cookie.value)
    assert browser.get("/socket").json == {
        "before": {"a": "1"},
        "changed": {"a": "1", "b": "2"},
        "saved": {"a": "1", "b": "2", "c": "3", "d": "4"},
        "logged out": {},
    }


@pytest.mark.parametrize("place", ["cookie", "memory:"])
def test_flask_security_logs_in_and_out(place: str) -> None:
    """The id changes with each, and a fresh login opens a protected view."""
    app = Flask("secure")
    app.config.update(
        SESSION_SECRET=SECRET,
        SESSION_STORE=place,
        SECRET_KEY=SECRET,
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_PASSWORD_HASH="plaintext",
        SECURITY_PASSWORD_SCHEMES=["plaintext"],
        SECURITY_EMAIL_VALIDATOR_ARGS={"check_deliverability": False},
        SQLALCHEMY_DATABASE_URI="sqlite://",
        WTF_CSRF_ENABLED=False,
    )
    db = SQLAlchemy(app)
    models: t.Any = fsqla_v3
    models.FsModels.set_db_info(db)

    class Role(db.Model, models.FsRoleMixin):  # type: ignore[name-defined, misc]
        pass

    class User(db.Model, models.FsUserMixin):  # type: ignore[name-defined, misc]
        pass

    BuffaloSession(app)
    users = SQLAlchemyUserDatastore(db, User, Role)
    Security(app, users)

    @app.get("/fresh")
    @auth_required(within=10)
    def fresh() -> str:
        session["seen"] = True
        return "fresh"

    with app.app_context():
        db.create_all()
        users.create_user(email="ann@example.org", password=hash_password("secret"))
        db.session.commit()
    client = app.test_client()
    assert client.get("/fresh").status_code in (302, 303)
    login = {"email": "ann@example.org", "password": "secret"}
    assert client.post("/login", data=login).status_code in (302, 303)
    assert client.get("/fresh").text == "fresh"
    with client.session_transaction() as found:
        assert "_user_id" in found
    client.post("/logout")
    assert client.get("/fresh").status_code in (302, 303)
    with client.session_transaction() as found:
        assert "_user_id" not in found
        assert found["seen"], "the other values are kept"
    with app.app_context():
        db.engine.dispose()


def test_a_view_and_its_session_share_the_engine_of_flask_sqlalchemy(
    tmp_path: Path,
) -> None:
    """A rollback of the view does not reach the session, nor the other way round."""
    app = Flask("shop")
    app.config.update(
        SESSION_SECRET=SECRET,
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/shop.db",
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 16},
    )
    db = SQLAlchemy(app)
    with app.app_context():
        app.config["SESSION_STORE"] = SQLStore(db.engine)
        db.session.execute(sa.text("CREATE TABLE orders (item TEXT)"))
        db.session.commit()
    BuffaloSession(app)

    @app.get("/")
    def order() -> str:
        db.session.execute(sa.text("INSERT INTO orders VALUES ('tea')"))
        db.session.rollback()
        session["ordered"] = True
        session.save()
        return str(db.session.execute(sa.text("SELECT count(*) FROM orders")).scalar())

    client = app.test_client()
    assert client.get("/").text == "0"
    with client.session_transaction() as found:
        assert found["ordered"]
    with app.app_context():
        db.engine.dispose()
