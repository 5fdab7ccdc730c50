"""Test what the package offers to tests of applications."""

from __future__ import annotations

import subprocess
import sys

import pytest
from flask import Flask
from flask_login import FlaskLoginClient, LoginManager, UserMixin, current_user

from flask_buffalo_session import Store, session
from flask_buffalo_session.errors import SessionConfigError
from flask_buffalo_session.testing import session_of
from tests.conftest import make_app


def test_session_of_reads_and_writes(store: Store) -> None:
    """It has the methods of the session, and is saved at the end of the block."""
    app = make_app(store)

    @app.get("/")
    def view() -> str:
        session["seen"] = True
        return repr(session.get("user_id"))

    client = app.test_client()
    with session_of(client) as transaction:
        transaction.set("user_id", 42)
        transaction.flash.add("info", "Welcome")
    assert client.get("/").text == "42"
    with session_of(client) as transaction:
        assert transaction["seen"] is True
        assert transaction.flash.take() == {"info": ["Welcome"]}
    with client:
        client.get("/")
        with session_of(client) as transaction:
            assert "_flash_" not in transaction
            transaction.clear()
        assert session["user_id"] == 42
    assert client.get("/").text == "None"


def test_session_of_takes_what_describes_a_request() -> None:
    """Each host has its own cookie."""
    client = make_app().test_client()
    with session_of(client, base_url="https://shop.example") as transaction:
        transaction["a"] = 1
    with session_of(client) as transaction:
        assert transaction == {}
    with session_of(client, base_url="https://shop.example") as transaction:
        assert transaction == {"a": 1}


def test_session_of_in_null_mode_is_empty() -> None:
    """As in the views."""
    client = make_app("null").test_client()
    with session_of(client) as transaction:
        transaction["a"] = 1
    with session_of(client) as transaction:
        assert transaction == {}


def test_session_of_without_the_extension_raises() -> None:
    """The session would be Flask's."""
    with pytest.raises(SessionConfigError, match="has no BuffaloSession"):
        session_of(Flask("shop").test_client())


@pytest.mark.filterwarnings("ignore::DeprecationWarning:flask_login")
def test_flask_logins_client_works(store: Store) -> None:
    """It logs a user in by a session transaction."""
    app = make_app(store)
    app.test_client_class = FlaskLoginClient

    class User(UserMixin):  # type: ignore[misc]
        id = "42"

    LoginManager(app).user_loader(lambda _: User())
    app.add_url_rule("/", view_func=lambda: str(current_user.is_authenticated))
    client = app.test_client(user=User())
    assert client.get("/").text == "True"
    with session_of(client) as transaction:
        assert transaction["_user_id"] == "42"
        transaction.clear()
    assert client.get("/").text == "False"
    with client:
        client.get("/")
        session["_user_id"] = "42"
    assert client.get("/").text == "False"


def test_the_module_needs_no_pytest() -> None:
    """An application may use another test runner."""
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import flask_buffalo_session.testing as testing\n"
        "print(testing.session_of.__name__)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (result.stderr, result.stdout.strip()) == (b"", b"session_of")
