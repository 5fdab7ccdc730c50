"""A session that cannot be saved, under the signatures of Flask 3.2."""

from __future__ import annotations

import inspect
import secrets
import typing as t

import pytest
from flask import Flask, Response
from flask.globals import app_ctx

from flask_buffalo_session import BuffaloSession, session
from flask_buffalo_session.errors import SessionTooLargeError
from tests.conftest import SECRET


def context() -> t.Any:
    return app_ctx._get_current_object()  # type: ignore[attr-defined]


if len(inspect.signature(Flask.process_response).parameters) == 3:
    # The development version of Flask is installed: it needs no stand-in.
    NextFlask = Flask
else:

    class NextFlask(Flask):  # type: ignore[no-redef]
        """An earlier Flask whose methods take a context first, as those of 3.2 do."""

        def full_dispatch_request(self) -> Response:
            try:
                answer = self.dispatch_request()
            except Exception as error:
                answer = self.handle_user_exception(context(), error)
            return self.finalize_request(answer)

        def finalize_request(
            self, rv: t.Any, from_error_handler: bool = False
        ) -> Response:
            return self.process_response(context(), self.make_response(rv))

        def handle_user_exception(self, ctx: t.Any, e: Exception) -> t.Any:  # type: ignore[override]
            assert ctx is context()
            return super().handle_user_exception(e)

        def process_response(self, ctx: t.Any, response: Response) -> Response:  # type: ignore[override]
            assert ctx is context()
            return super().process_response(response)


@pytest.fixture
def app() -> Flask:
    app = NextFlask(__name__)
    app.config["SESSION_SECRET"] = SECRET
    BuffaloSession(app)

    @app.get("/")
    def large() -> str:
        session.set("large", secrets.token_hex(8000))
        return "view"

    @app.after_request
    def count(response: Response) -> Response:
        response.headers.add("X-Hook", "1")
        return response

    return app


def test_a_handler_answers(app: Flask) -> None:
    """The error's handler answers instead of the view, and passes the hooks."""

    @app.errorhandler(SessionTooLargeError)
    def handler(error: SessionTooLargeError) -> tuple[str, int]:
        return "too large", 413

    response = app.test_client().get("/")
    assert (response.status_code, response.text) == (413, "too large")
    assert response.headers.getlist("X-Hook") == ["1"]
    assert "Set-Cookie" not in response.headers


def test_without_a_handler_the_500_handler_answers(app: Flask) -> None:
    """The handler gets the original error."""

    @app.errorhandler(500)
    def handler(error: t.Any) -> tuple[str, int]:
        return type(error.original_exception).__name__, 500

    response = app.test_client().get("/")
    assert (response.status_code, response.text) == (500, "SessionTooLargeError")


def test_a_named_session_that_was_saved_keeps_its_cookie(app: Flask) -> None:
    """The answer of the handler has the cookie of the other session."""
    buffalo: BuffaloSession = app.extensions["buffalo_session"]
    cart = buffalo.named("cart")

    @app.errorhandler(SessionTooLargeError)
    def handler(error: SessionTooLargeError) -> str:
        return "too large"

    @app.after_request
    def fill(response: Response) -> Response:
        cart["tea"] = 1
        return response

    response = app.test_client().get("/")
    assert response.text == "too large"
    assert response.headers["Set-Cookie"].startswith("_buffalo_session_cart=")
