"""Check the headers that keep one user's page and cookie out of another's cache.

A deleted cookie has the attributes of the cookie that was set. The tests run with every
store and every format.
"""

from __future__ import annotations

import typing as t

import pytest
from flask import (
    Flask,
    Response,
    render_template_string,
    request,
    stream_with_context,
)
from werkzeug.test import TestResponse

from flask_buffalo_session import CookieStore, Store, session
from tests.conftest import Clock, Formatting
from tests.support.target import Target

#: Every way to read a session: names that exist and names that do not.
READS: dict[str, t.Callable[[], object]] = {
    "get": lambda: session.get("user"),
    "get of a missing name": lambda: session.get("missing"),
    "in": lambda: "missing" in session,
    "len": lambda: len(session),
    "iteration": lambda: list(session),
    "bool": lambda: bool(session),
    "not": lambda: not session,
    "keys": lambda: session.keys() == {"user"},
    "values": lambda: list(session.values()),
    "items": lambda: list(session.items()),
    "dict": lambda: dict(session),
    "==": lambda: session == {"user": "ann"},
    "!=": lambda: session != {},
    "a missing get_once": lambda: session.get_once("missing"),
    "a missing pop": lambda: session.pop("missing", None),
    "setdefault of what is there": lambda: (
        session.setdefault("user", "x") if "user" in session else None
    ),
    "a template": lambda: render_template_string("{{ session.user }}"),
    "a condition in a template": lambda: render_template_string(
        "{% if session %}{% endif %}"
    ),
    "messages in a template": lambda: render_template_string(
        "{{ get_flashed_messages() }}{{ session.get_once('missing') }}"
    ),
    "the flash": lambda: session.flash.take(),
    "id": lambda: session.id,
    "new": lambda: session.new,
    "created_at": lambda: session.created_at,
    "permanent": lambda: session.permanent,
    "owner": lambda: session.owner,
}


def set_and_delete() -> None:
    session.set("x", 1)
    session.delete("x")


def index() -> object:
    """Return ``session["user"]``, or "none" if the name is missing."""
    try:
        return session["user"]
    except KeyError:
        return "none"


#: Calls that read the session and leave it unchanged.
UNCHANGED: dict[str, t.Callable[[], object]] = {
    "[]": index,
    "a missing delete": lambda: session.delete("missing"),
    "the same value": lambda: session.update(dict(session)),
    "set and deleted": set_and_delete,
    "no flash": lambda: session.flash.clear(),
    "not modified": lambda: setattr(session, "modified", False),
}


@pytest.fixture
def target(store: Store, formatting: Formatting) -> Target:
    return Target(store, formatting)


class TestVary:
    def test_every_form_of_reading_varies(self, target: Target) -> None:
        """Send ``Vary: Cookie`` and no cookie when a view reads the session.

        The request has a session, none, or a rejected cookie. A call that changes
        nothing counts as reading.
        """
        for how, act in (READS | UNCHANGED).items():
            for text in (target.cookie, "", "forged"):
                response = target.doing(act, text)
                assert response.status_code == 200, how
                assert response.headers.getlist("Vary") == ["Cookie"], how
                assert "Set-Cookie" not in response.headers, how

    def test_clear_and_regenerate_without_a_session_vary(self, target: Target) -> None:
        """Without a session, clear and regenerate store nothing and set no cookie."""
        for path in ("/clear", "/regenerate"):
            response = target.ask("", path)
            assert response.headers.getlist("Vary") == ["Cookie"]
            assert "Set-Cookie" not in response.headers

    def test_a_request_that_does_not_read_does_not_vary(self, target: Target) -> None:
        """A page that is the same for all users may be cached."""
        response = target.send(target.cookie, "/untouched")
        assert "Vary" not in response.headers
        assert "Cache-Control" not in response.headers
        assert target.store.calls == []

    def test_the_repr_of_a_session_contains_no_values(self, target: Target) -> None:
        """The repr never contains values. After the load it contains the names."""
        assert target.doing(lambda: repr(session), target.cookie).text == (
            "<Session not loaded>"
        )
        assert target.store.calls == []
        target.act = lambda: (len(session), repr(session))
        shown = target.send(target.cookie, "/act").text
        assert "user" in shown
        assert "ann" not in shown

    def test_reading_outside_the_view_varies(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Read in before_request, after_request, an error handler, a redirect and a
        stream.
        """
        target = Target(store, formatting, setup=with_hooks)
        for path, status, text in (
            ("/untouched?read=before", 200, "untouched"),
            ("/untouched?read=after", 200, "untouched"),
            ("/nowhere", 404, "none for ann"),
            ("/failing", 500, "sorry, ann"),
            ("/redirect", 302, "to ann"),
            ("/stream", 200, "hello ann"),
        ):
            response = target.send(target.cookie, path)
            assert (response.status_code, response.text) == (status, text)
            assert "cookie" in response.vary, path
            assert "Set-Cookie" not in response.headers, path
            # The stream sets Vary too, and its value stays.
            assert ("accept" in response.vary) == (path == "/stream")
        assert "Vary" not in target.send(target.cookie, "/untouched").headers


def with_hooks(app: Flask) -> None:
    """Add hooks, error handlers and views that read the session."""

    @app.before_request
    def before() -> None:
        if request.args.get("read") == "before":
            session.get("user")

    @app.after_request
    def after(response: Response) -> Response:
        if request.args.get("read") == "after":
            session.get("user")
        return response

    @app.errorhandler(404)
    def missing(error: Exception) -> tuple[str, int]:
        return f"none for {session.get('user')}", 404

    @app.errorhandler(ZeroDivisionError)
    def failed(error: Exception) -> tuple[str, int]:
        return f"sorry, {session.get('user')}", 500

    @app.get("/failing")
    def failing() -> str:
        raise ZeroDivisionError

    @app.get("/failing-late")
    def failing_late() -> str:
        session["seen"] = 1
        raise ZeroDivisionError

    @app.get("/redirect")
    def elsewhere() -> Response:
        return Response(f"to {session.get('user')}", 302, {"Location": "/"})

    @app.get("/stream")
    def stream() -> Response:
        user = session.get("user")
        response = Response(stream_with_context(iter([f"hello {user}"])))
        response.vary.add("Accept")
        return response

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        return "permanent"


def check_not_cached(response: TestResponse) -> None:
    """Assert that no cache may keep the response's cookie, or its page for others."""
    assert len(response.headers.getlist("Set-Cookie")) == 1
    assert response.headers.getlist("Vary") == ["Cookie"]
    assert response.headers["Cache-Control"] == 'no-cache="Set-Cookie"'


class TestSetCookie:
    def test_a_response_with_the_cookie_is_not_cached(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Set, replace and delete the cookie, also on an error page."""
        target = Target(store, formatting, setup=with_hooks)
        replaced = target.send(target.cookie, "/regenerate")
        permanent = target.send(target.text_in(replaced), "/permanent")
        for response in (
            target.ask("", "/login"),
            target.ask("", "/failing-late"),
            replaced,
            permanent,
            target.send(target.text_in(permanent), "/clear"),
        ):
            check_not_cached(response)

    def test_a_refreshed_cookie_is_not_cached(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """The view does not use the session, and the cookie is refreshed."""
        target = Target(store, formatting, setup=with_hooks)
        text = target.text_in(target.ask("", "/permanent"))
        assert "Set-Cookie" not in target.send(text, "/untouched").headers
        clock.tick(20 * 24 * 3600)
        response = target.send(text, "/untouched")
        assert response.text == "untouched"
        check_not_cached(response)


def attributes_of(response: TestResponse) -> dict[str, str]:
    """Return the attributes in the response's only Set-Cookie header."""
    (header,) = response.headers.getlist("Set-Cookie")
    parts = (part.strip().partition("=") for part in header.split(";")[1:])
    return {name: value for name, _, value in parts}


class TestAttributes:
    @pytest.mark.parametrize(
        "config",
        [
            {},
            {
                "SESSION_COOKIE_DOMAIN": "example.test",
                "SESSION_COOKIE_PATH": "/shop",
                "SESSION_COOKIE_SECURE": True,
                "SESSION_COOKIE_SAMESITE": "None",
                "SESSION_COOKIE_PARTITIONED": True,
            },
            {"SESSION_COOKIE_HTTPONLY": False, "SESSION_COOKIE_SAMESITE": "Strict"},
        ],
        ids=["defaults", "all", "some"],
    )
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_the_deleting_cookie_repeats_every_attribute(
        self,
        store: Store,
        formatting: Formatting,
        config: dict[str, t.Any],
        scheme: str,
    ) -> None:
        """A browser deletes a cookie only if its attributes are repeated.

        They are Secure, HttpOnly, SameSite, Path, Domain and Partitioned.
        """
        target = Target(store, formatting, **config)
        site = f"{scheme}://example.test"
        setting = target.ask("", "/login", base_url=site)
        removing = target.send(target.text_in(setting), "/clear", base_url=site)
        assert target.text_in(removing) == ""
        expected = attributes_of(setting)
        assert attributes_of(removing) == {
            "Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
            "Max-Age": "0",
            **expected,
        }
        given = {key.removeprefix("SESSION_COOKIE_") for key in config}
        if len(given) > 2:
            assert expected == {
                "Domain": "example.test",
                "HttpOnly": "",
                "Partitioned": "",
                "Path": "/shop",
                "SameSite": "None",
                "Secure": "",
            }

    def test_the_cookie_of_an_emptied_session_is_deleted_with_every_attribute(
        self, formatting: Formatting
    ) -> None:
        """With a cookie store, deleting the last name ends the session too."""
        target = Target(CookieStore(), formatting, SESSION_COOKIE_PARTITIONED=True)
        site = "https://example.test"
        target.act = lambda: session.delete("user")
        removing = target.send(target.cookie, "/act", base_url=site)
        setting = target.ask("", "/login", base_url=site)
        assert target.text_in(removing) == ""
        removed = attributes_of(removing)
        assert removed.pop("Max-Age") == "0"
        assert removed.pop("Expires")
        assert removed == attributes_of(setting)

    def test_the_defaults_over_https_are_safe(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Set Secure, HttpOnly and SameSite=Lax, without Domain and Expires.

        Over HTTP the cookie is not Secure, because a browser would not send it back.
        """
        safe = {"HttpOnly": "", "Path": "/", "SameSite": "Lax"}
        target = Target(store, formatting)
        response = target.ask("", "/login", base_url="https://example.test")
        assert attributes_of(response) == {"Secure": "", **safe}
        response = target.ask("", "/login", base_url="http://example.test")
        assert attributes_of(response) == safe
