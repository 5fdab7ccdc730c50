"""Test the session after the response: in a test it works, elsewhere changes raise."""

from __future__ import annotations

import threading
import typing as t

import pytest
from flask import (
    Flask,
    Response,
    after_this_request,
    copy_current_request_context,
    flash,
    get_flashed_messages,
    stream_with_context,
)
from flask.testing import FlaskClient
from werkzeug.debug import DebuggedApplication

from flask_buffalo_session import BuffaloSession, MemoryStore, Store, session
from flask_buffalo_session.errors import SessionClosedError
from flask_buffalo_session.testing import session_of
from tests.conftest import NAME, Counting, make_app


@pytest.fixture
def counting(store: Store) -> Counting:
    return Counting(store)


@pytest.fixture
def client(counting: Counting) -> FlaskClient:
    app = make_app(counting, TESTING=True)

    @app.get("/write")
    def write() -> str:
        session["cart"] = ["tea"]
        session["once"] = "x"
        flash("Saved")
        return ""

    @app.get("/untouched")
    def untouched() -> str:
        return ""

    @app.get("/stream")
    def stream() -> Response:
        session["cart"] = ["tea"]

        def generate() -> t.Iterator[str]:
            yield "begin"
            session["cart"].append("late")
            yield "end"

        return Response(stream_with_context(generate()))

    return app.test_client()


class TestInATest:
    """``with client:`` keeps the context of the last request."""

    def test_the_session_reads_and_changes(
        self, client: FlaskClient, counting: Counting
    ) -> None:
        """As Flask's, also through Flask's functions. Nothing is saved."""
        with client:
            client.get("/write")
            counting.calls.clear()
            assert get_flashed_messages() == ["Saved"]
            session["x"] = 1
            session["cart"].append("milk")
            assert session.get_once("once") == "x"
            session.permanent = True
            session.save()
            assert session == {"cart": ["tea", "milk"], "x": 1, "_permanent": True}
            session.clear()
            assert dict(session) == {}
        assert counting.calls == []
        with session_of(client) as saved:
            expected = {"cart": ["tea"], "once": "x"}
            assert saved == expected | {"_flashes": [("message", "Saved")]}

    def test_modified_says_whether_the_request_changed_it(
        self, client: FlaskClient
    ) -> None:
        """As in Flask, where a save does not reset it."""

        @client.application.get("/read")
        def read() -> str:
            return repr(session.get("cart"))

        @client.application.get("/clear")
        def clear() -> str:
            session.clear()
            return ""

        for path, modified in {
            "/untouched": False,
            "/write": True,
            "/read": False,
            "/clear": True,
        }.items():
            with client:
                client.get(path)
                assert session.modified is modified, path

    def test_the_first_use_loads_the_session(
        self, client: FlaskClient, counting: Counting
    ) -> None:
        """The view did not use it. It is that of the request's cookie."""
        client.get("/write")
        with client:
            client.get("/untouched")
            counting.calls.clear()
            session["x"] = 1
            assert session.pop("cart") == ["tea"]
            assert session.get_once("once") == "x"
        assert counting.calls == ["load"]
        with session_of(client) as saved:
            assert "x" not in saved
            assert saved["once"] == "x"

    def test_each_request_has_its_own(self, client: FlaskClient) -> None:
        """What a test changes does not reach the next request, nor the one after a
        redirect.
        """

        @client.application.get("/redirect")
        def redirect() -> tuple[str, int, dict[str, str]]:
            session["redirected"] = True
            return "", 302, {"Location": "/untouched"}

        with client:
            client.get("/write")
            session["x"] = 1
            client.get("/redirect", follow_redirects=True)
            assert "x" not in session
            session["y"] = session.pop("redirected")
            client.get("/untouched")
            assert session["redirected"] is True
            assert "y" not in session

    def test_a_streamed_response_may_be_closed(self, client: FlaskClient) -> None:
        """The test has changed the session, not the stream."""

        @client.application.get("/sound")
        def sound() -> Response:
            session["cart"] = ["tea"]
            return Response(iter(["sound"]))

        with client:
            response = client.get("/sound")
            session["cart"].append("milk")
            assert response.text == "sound"
            response.close()

    def test_a_session_that_failed_to_be_saved(self, client: FlaskClient) -> None:
        """The 500 handler has answered."""
        app = client.application
        app.testing = False

        @app.get("/fails")
        def fails() -> str:
            session["a"] = object()
            return ""

        with client:
            assert client.get("/fails").status_code == 500
            session["b"] = 1
            session["a"] = 2
            assert session == {"a": 2, "b": 1}

    def test_a_session_that_has_ended(self, client: FlaskClient) -> None:
        """A forged cookie begins an empty session."""
        client.set_cookie(NAME, "forged")
        with client:
            client.get("/untouched")
            session["x"] = 1
            assert session == {"x": 1}

    def test_revoking_the_session_ends_it_in_the_store(self) -> None:
        """The test asks the extension, so this does reach the store."""
        app = Flask("shop")
        app.config.update(SESSION_SECRET="x" * 32, TESTING=True)
        buffalo = BuffaloSession(app, store="memory:")

        @app.get("/")
        def view() -> str:
            before = str(session.get("user_id"))
            session["user_id"] = 42
            session.bind(42)
            return before

        client = app.test_client()
        with client:
            client.get("/")
            session["x"] = 1
            (info,) = buffalo.sessions_of(42)
            assert info.id == session.id
            assert buffalo.revoke(info.id)
            assert buffalo.sessions_of(42) == []
        assert client.get("/").text == "None"

    def test_a_test_request_context(self, client: FlaskClient) -> None:
        """No response is made there, so the session stays open."""
        client.get("/write")
        cookie = client.get_cookie(NAME)
        assert cookie
        headers = {"Cookie": f"{NAME}={cookie.value}"}
        with client.application.test_request_context(headers=headers):
            assert get_flashed_messages() == ["Saved"]
            session["x"] = 1
            assert session["cart"] == ["tea"]
        with session_of(client) as saved:
            assert saved.keys() == {"cart", "once", "_flashes"}


class TestElsewhere:
    """A change is an error of the application, as it would be lost."""

    def test_a_stream_that_edits_a_value_raises(self, client: FlaskClient) -> None:
        """Also in a test, if the test reads the stream as it makes the request."""
        response = client.get("/stream")
        with pytest.raises(SessionClosedError):
            assert response.data
            response.close()
        with client, pytest.raises(SessionClosedError):
            client.get("/stream", buffered=True)

    def test_a_debugged_application_raises_too(self, client: FlaskClient) -> None:
        """Werkzeug's debugger offers to keep the context of every request."""
        app = client.application
        app.wsgi_app = DebuggedApplication(app.wsgi_app, evalex=True)  # type: ignore[method-assign]
        response = client.get("/stream")
        with pytest.raises(SessionClosedError):
            assert response.data
            response.close()

    @pytest.mark.parametrize("path", ["/write", "/untouched"])
    def test_a_teardown_function_that_changes_the_session_raises(
        self, client: FlaskClient, path: str
    ) -> None:
        """Also in ``with client:``. It may read the session."""
        raised: list[Exception] = []
        read: list[t.Any] = []

        @client.application.teardown_request
        def teardown(_: object) -> None:
            read.append(session.get("cart"))
            try:
                session["late"] = 1
            except SessionClosedError as error:
                raised.append(error)

        client.get("/write")
        with client:
            client.get(path)
            assert len(raised) == 2
            assert read == [["tea"], ["tea"]]

    def test_functions_that_run_late_may_read(self, store: Store) -> None:
        """``after_this_request`` may change the session, too."""
        app = make_app(store)
        read: list[t.Any] = []

        @app.get("/")
        def view() -> str:
            @after_this_request
            def after(response: Response) -> Response:
                session["a"] = 1

                @response.call_on_close
                @copy_current_request_context
                def close() -> None:
                    read.append(session["a"])
                    with pytest.raises(SessionClosedError):
                        session["a"] = 2

                return response

            return ""

        app.test_client().get("/").close()
        assert read == [1]

    def test_a_thread_that_changes_the_session_raises(self) -> None:
        """After the response, outside ``with client:``."""
        app = make_app(MemoryStore())
        raised: list[bool] = []
        jobs: list[t.Callable[[], None]] = []

        @app.get("/")
        def view() -> str:
            @copy_current_request_context
            def work() -> None:
                with pytest.raises(SessionClosedError):
                    session["late"] = 1
                raised.append(True)

            jobs.append(work)
            return ""

        app.test_client().get("/")
        thread = threading.Thread(target=jobs[0])
        thread.start()
        thread.join()
        assert raised == [True]
