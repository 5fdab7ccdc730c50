"""Test applications with ``SESSION_FORMAT = "gorilla"``."""

from __future__ import annotations

import base64
import typing as t

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient

from flask_buffalo_session import (
    CookieStore,
    GorillaFormat,
    MemoryStore,
    Store,
    session,
)
from flask_buffalo_session.errors import SessionTooLargeError, SessionTypeError
from flask_buffalo_session.gorilla.codec import GorillaCodec
from tests.conftest import SECRET, Clock, Counting, make_app
from tests.support.gopeer import Peer, b64, node, number, string

NAME = "_buffalo_session"
DICT = "map[string]interface {}"


def shop(store: object = "cookie", **config: t.Any) -> Flask:
    config.setdefault("SESSION_FORMAT", GorillaFormat(registered=[DICT]))
    app = make_app(store, **config)

    @app.get("/login")
    def login() -> str:
        session.regenerate()
        session["user_id"] = 42
        return "ok"

    @app.get("/add/<item>")
    def add(item: str) -> str:
        session.setdefault("cart", []).append({"sku": item, "tags": []})
        return "ok"

    @app.get("/tag/<word>")
    def tag(word: str) -> str:
        session["cart"][-1]["tags"].append(word)
        return "ok"

    @app.get("/flash")
    def flash() -> str:
        flask.flash("Saved", "success")
        flask.flash("Twice")
        session.flash.add("danger", "<Careful>")
        return "ok"

    @app.get("/flashed")
    def flashed() -> str:
        found = flask.get_flashed_messages(with_categories=True)
        return repr([tuple(pair) for pair in found]) + repr(session.flash.take())

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        return "ok"

    @app.get("/untouched")
    def untouched() -> str:
        return "ok"

    @app.get("/show")
    def show() -> str:
        return repr(dict(session))

    @app.get("/large")
    def large() -> str:
        session["large"] = "x" * 3000
        return "ok"

    @app.get("/refused")
    def refused() -> str:
        session["when"] = {1, 2}
        return "ok"

    return app


@pytest.fixture
def client(store: Store) -> FlaskClient:
    return shop(store).test_client()


def text_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(NAME)
    assert cookie is not None
    return cookie.value


def test_changes_inside_lists_and_dicts_are_saved(client: FlaskClient) -> None:
    """A request that only reads sets no cookie."""
    client.get("/login")
    assert text_of(client).startswith("MT")
    for path in ("/add/tea", "/tag/hot", "/add/rice"):
        client.get(path)
    response = client.get("/show")
    assert response.text == repr(
        {
            "user_id": 42,
            "cart": [{"sku": "tea", "tags": ["hot"]}, {"sku": "rice", "tags": []}],
        }
    )
    assert "Set-Cookie" not in response.headers


def test_flash_messages_of_flask_and_buffalo_are_shown_once(
    client: FlaskClient,
) -> None:
    """Flask's messages have a category or none."""
    client.get("/flash")
    assert client.get("/flashed").text == (
        "[('success', 'Saved'), ('message', 'Twice')]{'danger': ['<Careful>']}"
    )
    assert client.get("/flashed").text == "[]{}"


def test_session_transactions(client: FlaskClient) -> None:
    """They work as with Flask's own sessions."""
    with client.session_transaction() as held:
        held["user_id"] = 7
    assert client.get("/show").text == "{'user_id': 7}"
    with client.session_transaction() as held:
        assert held["user_id"] == 7
        del held["user_id"]
    assert client.get("/show").text == "{}"


def test_a_session_that_is_too_large_is_an_error() -> None:
    """Without a limit for the cookie, gorilla's own limit counts."""
    for limit, named in ((500, 500), (4093, 4093), (0, 4096)):
        app = shop(MAX_COOKIE_SIZE=limit)
        caught: list[SessionTooLargeError] = []

        @app.errorhandler(SessionTooLargeError)
        def large(error: SessionTooLargeError) -> tuple[str, int]:
            caught.append(error)  # noqa: B023 - called before the next one
            return "too large", 413

        assert app.test_client().get("/large").status_code == 413
        assert caught[0].limit == named
        assert caught[0].largest[0][0] == "large"


def test_a_value_that_go_cannot_read_is_an_error(store: Store) -> None:
    """The error is raised at the end of the request. The stored session stays."""
    app = shop(store)

    @app.errorhandler(SessionTypeError)
    def refused(error: SessionTypeError) -> str:
        return str(error)

    client = app.test_client()
    client.get("/login")
    assert (
        "session['when']: a builtins.set has no Go type" in client.get("/refused").text
    )
    assert client.get("/show").text == "{'user_id': 42}"


# Timeouts


def times(store: object, **config: t.Any) -> FlaskClient:
    return shop(store, SESSION_IDLE_TIMEOUT=1000, **config).test_client()


def test_an_idle_session_expires(store: Store, clock: Clock) -> None:
    """A session in use is refreshed after a tenth of the idle timeout."""
    client = times(store)
    client.get("/login")
    clock.tick(90)
    assert "Set-Cookie" not in client.get("/show").headers
    clock.tick(20)
    assert "Set-Cookie" in client.get("/show").headers
    clock.tick(990)
    assert client.get("/show").text == "{'user_id': 42}"
    clock.tick(1001)
    assert client.get("/show").text == "{}"


def test_an_untouched_permanent_session_is_refreshed(
    store: Store, clock: Clock
) -> None:
    """It is refreshed after a tenth of the idle timeout. A browser session is refreshed
    once, because only its record says that it is not permanent.
    """
    counting = Counting(store)
    client = times(counting)
    client.get("/login")
    clock.tick(200)
    refreshed = client.get("/untouched").headers["Set-Cookie"]
    assert "Expires=" not in refreshed
    counting.calls.clear()
    assert "Set-Cookie" not in client.get("/untouched").headers
    assert counting.calls == []
    response = client.get("/permanent")
    assert "Expires=" in response.headers["Set-Cookie"]
    assert "Set-Cookie" not in client.get("/permanent").headers
    clock.tick(50)
    response = client.get("/untouched")
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers
    clock.tick(100)
    assert "Expires=" in client.get("/untouched").headers["Set-Cookie"]
    clock.tick(900)
    assert "user_id" in client.get("/show").text


def test_an_untouched_session_is_not_loaded_before_its_refresh_is_due(
    clock: Clock,
) -> None:
    """The cookie says when it was sealed, so the store is not read."""
    counting = Counting(MemoryStore())
    client = times(counting)
    client.get("/login")
    counting.calls.clear()
    clock.tick(50)
    client.get("/untouched")
    assert counting.calls == []
    for text in ("M", "MT", "MTc5", "MT" * 500, "M\u00fc"):
        client.set_cookie(NAME, text)
        assert client.get("/untouched").status_code == 200
    assert counting.calls == []


def test_the_absolute_timeout_counts_from_the_beginning(
    store: Store, clock: Clock
) -> None:
    """Refreshing the session does not move its end. The creation date is not a name in
    the session.
    """
    client = times(store, SESSION_ABSOLUTE_TIMEOUT=2000)
    client.get("/login")
    for _ in range(3):
        clock.tick(600)
        assert client.get("/show").text == "{'user_id': 42}"
    clock.tick(300)
    assert client.get("/show").text == "{}"


def test_a_session_without_a_creation_date_gets_one(store: Store, clock: Clock) -> None:
    """An application with an absolute timeout adds the date at the session's
    first use.
    """
    client = times(store)
    client.get("/login")
    limited = times(store, SESSION_ABSOLUTE_TIMEOUT=2000)
    limited.set_cookie(NAME, text_of(client))
    response = limited.get("/show")
    assert ("Set-Cookie" in response.headers) is getattr(store, "stateless", False)
    assert "Set-Cookie" not in limited.get("/show").headers
    for _ in range(3):
        clock.tick(600)
        limited.get("/show")
    clock.tick(300)
    assert limited.get("/show").text == "{}"


# Sessions shared with a Buffalo application


def test_go_and_flask_share_a_session(go: Peer) -> None:
    """Each reads the other's values and flash messages."""
    client = shop(CookieStore(), SESSION_FORMAT="gorilla").test_client()
    keys = [SECRET.encode()]
    messages = node("[]uint8", b64(b'{"success":["From Go"]}'))
    user = number(7, "int64")
    client.set_cookie(NAME, go.cookie({"user_id": user, "_flash_": messages}, keys))
    assert client.get("/flashed").text == "[]{'success': ['From Go']}"
    assert go.values(text_of(client), keys) == {"user_id": user}
    client.get("/flash")
    found = go.values(text_of(client), keys)
    assert (
        base64.b64decode(found["_flash_"]["v"])
        == b'{"danger":["\\u003cCareful\\u003e"]}'
    )
    client.get("/login")
    assert go.values(text_of(client), keys)["user_id"] == number(42, "int64")
    assert go.values(text_of(client), keys)["_flashes"]["v"][1]["v"] == [
        string("message"),
        string("Twice"),
    ]


def test_values_of_flask_login_and_flask_wtf_are_stored() -> None:
    """They need no registered type."""
    codec = GorillaCodec()
    held = {
        "_user_id": "7",
        "_fresh": True,
        "_id": "ab",
        "csrf_token": "cd",
        "_permanent": True,
    }
    for name, value in held.items():
        assert codec.decode(codec.encode(value, name), name) == value


def test_the_setting_accepts_the_name_of_the_format() -> None:
    """``SESSION_FORMAT = "gorilla"`` makes a GorillaFormat."""
    app = make_app(SESSION_FORMAT="gorilla")
    assert type(app.session_interface.main.config.format) is GorillaFormat  # type: ignore[attr-defined]
