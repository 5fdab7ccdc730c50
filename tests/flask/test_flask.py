"""Test what Flask, its extensions and its users expect of a session."""

from __future__ import annotations

import asyncio
import logging
import secrets
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
    got_request_exception,
    render_template_string,
    request_finished,
    stream_with_context,
)
from flask import session as flask_session
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_required,
    login_user,
    logout_user,
)
from flask_wtf.csrf import CSRFProtect, generate_csrf

from flask_buffalo_session import BuffaloSession, MemoryStore, Store, session
from flask_buffalo_session.errors import (
    SessionClosedError,
    SessionError,
    SessionStoreError,
    SessionTooLargeError,
    SessionTypeError,
)
from tests.conftest import SECRET, Counting, make_app

NAME = "_buffalo_session"

# Too much for a cookie, even when it is compressed.
LARGE = secrets.token_hex(8000)


class TestTestClient:
    def test_session_transaction(self, store: Store) -> None:
        """It reads and writes in testing mode, without further setup."""
        app = make_app(store, SESSION_SECRET=None, TESTING=True)

        @app.get("/")
        def view() -> str:
            session["seen"] = True
            return repr(dict(session))

        client = app.test_client()
        with client.session_transaction() as transaction:
            transaction["cart"] = [1]
        with client.session_transaction() as transaction:
            transaction["cart"].append(2)
        assert client.get("/").text == "{'cart': [1, 2], 'seen': True}"
        with client.session_transaction() as transaction:
            assert transaction == {"cart": [1, 2], "seen": True}
            transaction.clear()
        assert client.get("/").text == "{'seen': True}"

    def test_session_transaction_raises_the_error_of_a_failed_save(self) -> None:
        """Even if the application has a handler for the error."""
        app = make_app(TESTING=True)
        app.register_error_handler(SessionError, lambda _: "handled")
        client = app.test_client()
        with (
            pytest.raises(SessionTypeError),
            client.session_transaction() as transaction,
        ):
            transaction["a"] = object()

    def test_session_transaction_in_null_mode_is_empty(self) -> None:
        """It drops all writes."""
        client = make_app("null", TESTING=True).test_client()
        with client.session_transaction() as transaction:
            transaction["a"] = 1
        with client.session_transaction() as transaction:
            assert dict(transaction) == {}

    def test_a_preserved_context_shows_the_session(self, store: Store) -> None:
        """``with client:`` keeps the request, so a test can read its session."""
        app = make_app(store, TESTING=True)

        @app.get("/<int:number>")
        def view(number: int) -> str:
            session["number"] = number
            return ""

        client = app.test_client()
        with client:
            for number in (1, 2):
                client.get(f"/{number}")
                assert session["number"] == number
                assert flask_session["number"] == number
            with app.test_client() as other:
                other.get("/3")
                assert session["number"] == 3

    def test_a_test_request_context_has_a_session(self, store: Store) -> None:
        """Without a response nothing is saved, as in Flask."""
        app = make_app(store)
        with app.test_request_context():
            session["a"] = 1
            assert session == {"a": 1}


class TestFlashing:
    def test_flashed_messages_are_shown_once(self, store: Store) -> None:
        """Flask's own ``flash()`` works, with categories."""
        app = make_app(store)

        @app.get("/flash")
        def flash_() -> str:
            flash("one")
            flash("two", "error")
            return ""

        @app.get("/show")
        def show() -> str:
            return repr(get_flashed_messages(with_categories=True))

        client = app.test_client()
        client.get("/flash")
        client.get("/flash")
        expected = [("message", "one"), ("error", "two")] * 2
        assert client.get("/show").text == repr(expected)
        assert client.get("/show").text == "[]"

    def test_a_lazy_string_can_be_flashed(self, store: Store) -> None:
        """A lazy translation is stored as text."""

        class Lazy:
            def __str__(self) -> str:
                return "translated"

            def __getattr__(self, name: str) -> t.Any:
                return getattr(str(self), name)

        app = make_app(store)

        @app.get("/flash")
        def flash_() -> str:
            flash(t.cast(str, Lazy()))
            return ""

        @app.get("/show")
        def show() -> str:
            return repr(get_flashed_messages())

        client = app.test_client()
        client.get("/flash")
        assert client.get("/show").text == "['translated']"


class User(UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.mark.filterwarnings("ignore::DeprecationWarning:flask_login")
class TestFlaskLogin:
    def app(self, store: Store) -> Flask:
        app = make_app(store)
        manager = LoginManager(app)
        manager.session_protection = "strong"
        manager.user_loader(User)

        @app.get("/login/<name>")
        def login(name: str) -> str:
            login_user(User(name))
            return ""

        @app.get("/logout")
        def logout() -> str:
            logout_user()
            return ""

        @app.get("/me")
        @login_required  # type: ignore[untyped-decorator]
        def me() -> str:
            return t.cast(str, current_user.id)

        return app

    def test_logging_in_and_out(self, store: Store) -> None:
        """A user logs in, uses the application and logs out."""
        client = self.app(store).test_client()
        assert client.get("/me").status_code == 401
        client.get("/login/ann")
        assert client.get("/me").text == "ann"
        assert "Set-Cookie" not in client.get("/me").headers
        client.get("/logout")
        assert client.get("/me").status_code == 401

    def test_flask_login_dates_the_login(self, store: Store) -> None:
        """Without a call of authenticate(). Logging out removes the date."""
        app = self.app(store)
        app.add_url_rule("/fresh", "fresh", lambda: str(session.is_fresh(60)))
        client = app.test_client()
        assert client.get("/fresh").text == "False"
        client.get("/login/ann")
        assert client.get("/fresh").text == "True"
        client.get("/logout")
        assert client.get("/fresh").text == "False"

    def test_logging_in_gives_a_new_id(self, server_store: Store) -> None:
        """Without a call of the application's own. This prevents session fixation."""
        client = self.app(server_store).test_client()
        with client.session_transaction() as transaction:
            transaction["cart"] = [1]
        before = client.get_cookie(NAME)
        client.get("/login/ann")
        after = client.get_cookie(NAME)
        assert before is not None
        assert after is not None
        assert before.value != after.value
        client.set_cookie(NAME, before.value)
        assert client.get("/me").status_code == 401
        client.set_cookie(NAME, after.value)
        assert client.get("/me").text == "ann"


def test_flask_wtf_keeps_its_csrf_token(store: Store) -> None:
    """The token is in the session and survives between requests."""
    app = make_app(store, WTF_CSRF_SECRET_KEY="csrf" * 9)
    CSRFProtect(app)

    @app.get("/")
    def form() -> str:
        return str(generate_csrf())

    @app.post("/")
    def submit() -> str:
        return "ok"

    client = app.test_client()
    token = client.get("/").text
    assert client.post("/").status_code == 400
    assert client.post("/", data={"csrf_token": token}).text == "ok"


class TestContexts:
    def test_async_views_share_the_session(self, store: Store) -> None:
        """The session is the same on both sides of an ``await``."""
        app = make_app(store)

        @app.get("/")
        async def view() -> str:
            session.setdefault("log", []).append("before")
            await asyncio.sleep(0)
            session["log"].append("after")
            return repr(session["log"])

        client = app.test_client()
        assert client.get("/").text == "['before', 'after']"
        assert client.get("/").text == repr(["before", "after"] * 2)

    def test_a_copied_context_shares_the_session(self, store: Store) -> None:
        """A value that a thread writes before the response is saved."""
        app = make_app(store)

        @app.get("/")
        def view() -> str:
            @copy_current_request_context
            def work() -> None:
                session.setdefault("cart", []).append(1)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            return repr(dict(session))

        client = app.test_client()
        assert client.get("/").text == "{'cart': [1]}"
        assert client.get("/").text == "{'cart': [1, 1]}"

    def test_a_late_write_in_a_thread_raises_in_that_thread(self, store: Store) -> None:
        """After the response the value could not be saved any more."""
        app = make_app(store)
        raised: list[Exception] = []
        answered = threading.Event()
        threads: list[threading.Thread] = []

        @app.get("/")
        def view() -> str:
            @copy_current_request_context
            def work() -> None:
                answered.wait(5)
                try:
                    session["late"] = 1
                except SessionClosedError as error:
                    raised.append(error)

            session["a"] = 1
            threads.append(threading.Thread(target=work))
            threads[0].start()
            return ""

        app.test_client().get("/")
        answered.set()
        threads[0].join()
        assert len(raised) == 1

    def test_a_stream_reads_the_session(self, store: Store) -> None:
        """It reads before and during the streaming. The session is saved before."""
        app = make_app(store)

        @app.get("/")
        def view() -> Response:
            session["number"] = session.get("number", 0) + 1

            def generate() -> t.Iterator[str]:
                yield "number "
                yield str(session["number"])

            return Response(stream_with_context(generate()))

        client = app.test_client()
        assert client.get("/").text == "number 1"
        assert client.get("/").text == "number 2"

    @pytest.mark.parametrize("change", ["set", "nested"])
    def test_a_stream_that_writes_raises(self, store: Store, change: str) -> None:
        """Neither a new value nor an edit inside a value may get lost silently."""
        app = make_app(store)

        @app.get("/")
        def view() -> Response:
            session.setdefault("cart", [])

            def generate() -> t.Iterator[str]:
                yield "begin"
                if change == "set":
                    session["late"] = 1
                else:
                    session["cart"].append(1)
                yield "end"

            return Response(stream_with_context(generate()))

        response = app.test_client().get("/", buffered=False)
        with pytest.raises(SessionClosedError):
            list(response.response)
            response.close()
        response.close() if change == "set" else None

    @pytest.mark.parametrize("change", ["set", "nested"])
    def test_a_stream_that_is_the_first_to_write_raises_too(
        self, store: Store, change: str
    ) -> None:
        """The view did not use the session."""
        app = make_app(store)

        @app.get("/begin")
        def begin() -> str:
            session["cart"] = []
            return ""

        @app.get("/")
        def view() -> Response:
            def generate() -> t.Iterator[str]:
                yield "begin"
                session["cart"].append(1)
                if change == "set":
                    session["late"] = 1
                yield "end"

            return Response(stream_with_context(generate()))

        client = app.test_client()
        client.get("/begin")
        response = client.get("/", buffered=False)
        with pytest.raises(SessionClosedError):
            list(response.response)
            response.close()
        if change == "set":
            with pytest.raises(SessionClosedError):
                response.close()

    def test_hooks_before_and_after_a_request_may_write(self, store: Store) -> None:
        """The session is saved after the last ``after_request`` function."""
        app = make_app(store)

        @app.before_request
        def before() -> None:
            session.setdefault("log", []).append("before")

        @app.after_request
        def after(response: Response) -> Response:
            session["log"].append("after")
            return response

        @app.get("/")
        def view() -> str:
            @after_this_request
            def this(response: Response) -> Response:
                session["log"].append("this")
                return response

            return repr(session["log"])

        client = app.test_client()
        assert client.get("/").text == "['before']"
        assert client.get("/").text == repr(["before", "this", "after", "before"])

    def test_a_hook_after_the_response_cannot_write(self, store: Store) -> None:
        """``teardown_request`` runs too late, so the write raises an error."""
        app = make_app(store)
        raised: list[Exception] = []

        @app.teardown_request
        def teardown(_: object) -> None:
            try:
                session["late"] = 1
            except SessionClosedError as error:
                raised.append(error)

        @app.get("/")
        def view() -> str:
            session["a"] = 1
            return ""

        @app.get("/untouched")
        def untouched() -> str:
            return ""

        app.test_client().get("/")
        assert len(raised) == 1
        app.test_client().get("/untouched")
        assert len(raised) == 2

    def test_templates_see_the_session(self, store: Store) -> None:
        """``session.get_once`` works in a template, too."""
        app = make_app(store)

        @app.get("/")
        def view() -> str:
            return render_template_string("[{{ session.get_once('flash') or '' }}]")

        client = app.test_client()
        with client.session_transaction() as transaction:
            transaction["flash"] = "<b>"
        assert client.get("/").text == "[&lt;b&gt;]"
        assert client.get("/").text == "[]"

    def test_the_changes_of_a_failing_view_are_saved(self, store: Store) -> None:
        """The response with the error page saves them, as in Flask."""
        app = make_app(store)

        @app.get("/fail")
        def fail() -> str:
            session["a"] = 1
            raise ValueError("a bug")

        @app.get("/")
        def view() -> str:
            return repr(dict(session))

        client = app.test_client()
        assert client.get("/fail").status_code == 500
        assert client.get("/").text == "{'a': 1}"


class TestErrorPath:
    """A failed save: one attempt, one log line, one signal, no cookie."""

    def app(self, store: object, **config: t.Any) -> Flask:
        app = make_app(store, **config)

        @app.get("/a")
        def a() -> str:
            session["a"] = 1
            return "a"

        @app.get("/large")
        def large() -> Response:
            session["large"] = LARGE
            return Response("view", headers={"X-View": "1"})

        @app.get("/type")
        def type_() -> str:
            session["bad"] = {"x": object()}
            return "view"

        @app.get("/get")
        def get() -> str:
            return repr(dict(session))

        @app.get("/untouched")
        def untouched() -> str:
            return "untouched"

        return app

    @pytest.mark.parametrize(
        "handled",
        [SessionTooLargeError, SessionError, Exception],
        ids=lambda c: c.__name__,
    )
    def test_a_handler_for_the_error_or_its_base_answers(
        self,
        handled: type[Exception],
        encrypt: bool,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Its response replaces the view's response. The stored record stays."""
        app = self.app("cookie", SESSION_ENCRYPT=encrypt)
        handled_errors: list[SessionTooLargeError] = []

        @app.errorhandler(handled)
        def handler(error: SessionTooLargeError) -> tuple[str, int, dict[str, str]]:
            handled_errors.append(error)
            flash("it was too large")
            text = render_template_string(
                "too large {{ session.a }} {{ get_flashed_messages() }}"
            )
            return text, 413, {"X-Handler": "1"}

        client = app.test_client()
        client.get("/a")
        caplog.clear()
        response = client.get("/large")
        assert response.status_code == 413
        assert response.text == "too large 1 [&#39;it was too large&#39;]"
        assert response.headers["X-Handler"] == "1"
        assert response.headers["Content-Length"] == str(len(response.data))
        assert "X-View" not in response.headers
        assert "Set-Cookie" not in response.headers
        assert response.headers["Vary"] == "Cookie"
        (error,) = handled_errors
        assert error.size > error.limit == 4093
        assert error.largest[0][0] == "large"
        assert error.largest[0][1] > len(LARGE)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert client.get("/get").text == "{'a': 1}"

    def test_without_a_handler_the_500_handler_gets_the_original_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As for any other error: one attempt, one signal, one log line."""
        store = Counting(MemoryStore())
        app = self.app(store)
        originals: list[BaseException | None] = []
        signalled: list[BaseException] = []

        @app.errorhandler(500)
        def handler(error: t.Any) -> tuple[str, int]:
            originals.append(error.original_exception)
            return f"sorry {get_flashed_messages()}", 500

        @app.get("/flash")
        def flash_() -> str:
            flash("x")
            return "view"

        def receive(sender: object, exception: BaseException) -> None:
            signalled.append(exception)

        got_request_exception.connect(receive, app)
        client = app.test_client()
        client.get("/a")
        store.calls.clear()
        failure = SessionStoreError("memory", "full")
        store.failing = {"save": failure}
        caplog.clear()
        response = client.get("/flash")
        assert (response.status_code, response.text) == (500, "sorry ['x']")
        assert "Set-Cookie" not in response.headers
        assert originals == [failure]
        assert signalled == [failure]
        assert store.calls == ["load", "save"]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        store.failing = {}
        assert client.get("/get").text == "{'a': 1}"

    def test_when_testing_the_error_propagates(self) -> None:
        """The test that caused the error can catch it."""
        client = self.app("cookie", TESTING=True).test_client()
        with pytest.raises(SessionTooLargeError):
            client.get("/large")
        with pytest.raises(SessionTypeError, match=r"session\['bad'\]\['x'\]"):
            client.get("/type")

    def test_an_explicit_save_raises_in_the_view(self, store: Store) -> None:
        """The view can catch the error and repeat the save."""
        app = self.app(store)

        @app.get("/")
        def view() -> str:
            session["a"] = 1
            session["bad"] = object()
            try:
                session.save()
            except SessionTypeError as error:
                session.delete("bad")
                return error.path
            return "saved"

        client = app.test_client()
        assert client.get("/").text == "session['bad']"
        assert client.get("/get").text == "{'a': 1}"

    def test_a_failed_explicit_save_is_not_repeated_by_the_response(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The error is handled once."""
        store = Counting(MemoryStore())
        app = self.app(store)
        handled: list[Exception] = []

        @app.errorhandler(SessionStoreError)
        def handler(error: Exception) -> tuple[str, int]:
            handled.append(error)
            return "away", 503

        @app.get("/")
        def view() -> str:
            session["a"] = 2
            session.save()
            return "saved"

        client = app.test_client()
        client.get("/a")
        store.calls.clear()
        store.failing = {"save": SessionStoreError("memory", "full")}
        response = client.get("/")
        assert (response.status_code, response.text) == (503, "away")
        assert "Set-Cookie" not in response.headers
        assert len(handled) == 1
        assert store.calls == ["load", "save"]

    def test_the_cookie_of_a_save_before_the_failure_is_set_once(self) -> None:
        """The first save succeeded, so the error response carries its cookie."""
        store = Counting(MemoryStore())
        app = self.app(store)
        app.register_error_handler(SessionStoreError, lambda error: ("away", 503))

        @app.get("/")
        def view() -> str:
            session["a"] = 1
            session.save()
            session["a"] = 2
            store.failing = {"save": SessionStoreError("memory", "away")}
            return "saved"

        client = app.test_client()
        response = client.get("/")
        store.failing = {}
        assert (response.status_code, response.text) == (503, "away")
        assert len(response.headers.getlist("Set-Cookie")) == 1
        assert response.headers.getlist("Vary") == ["Cookie"]
        assert client.get("/get").text == "{'a': 1}"

    def test_a_store_that_is_away_is_an_error_in_the_view(
        self, server_store: Store
    ) -> None:
        """Error handlers get the error. Views that do not use the session work. Later
        the same sessions can be loaded.
        """
        store = Counting(server_store)
        app = self.app(store)
        app.register_error_handler(SessionStoreError, lambda error: ("away", 503))

        @app.get("/caught")
        def caught() -> str:
            try:
                return repr(session.get("a"))
            except SessionStoreError:
                return "caught"

        client = app.test_client()
        client.get("/a")
        store.failing = {"load": SessionStoreError("memory", "away")}
        store.calls.clear()
        assert client.get("/untouched").text == "untouched"
        assert store.calls == []
        response = client.get("/get")
        assert (response.status_code, response.text) == (503, "away")
        assert "Set-Cookie" not in response.headers
        assert store.calls == ["load"]
        assert client.get("/caught").text == "caught"
        store.failing = {}
        assert client.get("/get").text == "{'a': 1}"

    def test_a_failing_save_does_not_replace_the_page_of_another_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The error of the view is answered, the error of the session is logged."""
        app = self.app("cookie")

        @app.get("/")
        def view() -> str:
            session["large"] = LARGE
            raise ValueError("a bug")

        response = app.test_client().get("/")
        assert response.status_code == 500
        assert "Set-Cookie" not in response.headers
        assert "a bug" in caplog.text
        assert "The session needs" in caplog.text

    def test_the_error_response_passes_the_after_request_hooks(self) -> None:
        """As with any error. Both responses are closed, and the view's headers are
        dropped.
        """
        app = self.app("cookie")
        closed: list[str] = []
        finished: list[bytes] = []

        class Body:
            def __iter__(self) -> t.Iterator[bytes]:
                yield b"view"

            def close(self) -> None:
                closed.append("the view's body")

        @app.errorhandler(SessionError)
        def handler(_: SessionError) -> Response:
            response = Response("handled")
            response.call_on_close(lambda: closed.append("the answer"))
            return response

        @app.after_request
        def after(response: Response) -> Response:
            response.headers["X-Hook"] = "1"
            return response

        @app.get("/")
        def view() -> Response:
            session["large"] = LARGE
            response = Response(Body(), direct_passthrough=True)
            response.call_on_close(lambda: closed.append("the view's response"))
            return response

        def receive(sender: object, response: Response) -> None:
            finished.append(response.data)

        request_finished.connect(receive, app)
        response = app.test_client().get("/")
        assert response.text == "handled"
        assert response.headers["X-Hook"] == "1"
        assert finished == [b"handled"]
        assert closed == ["the view's body"]
        response.close()
        assert sorted(closed[1:]) == ["the answer", "the view's response"]

    def test_the_changes_of_an_error_handler_are_not_saved(self, store: Store) -> None:
        """One response saves the session once."""
        app = self.app(Counting(store))

        @app.errorhandler(SessionTypeError)
        def handler(_: SessionTypeError) -> str:
            session.clear()
            session["b"] = 2
            flash("x")
            return "handled"

        client = app.test_client()
        client.get("/a")
        app.config["SESSION_STORE"].calls.clear()
        response = client.get("/type")
        assert response.text == "handled"
        assert "Set-Cookie" not in response.headers
        assert app.config["SESSION_STORE"].calls == ["load"]
        assert client.get("/get").text == "{'a': 1}"

    def test_a_session_that_could_not_be_inflated_again_is_too_large(self) -> None:
        """Even if its cookie would be small, thanks to compression."""
        app = self.app("cookie")
        app.register_error_handler(
            SessionTooLargeError, lambda error: (repr(error.largest), 413)
        )

        @app.get("/")
        def view() -> str:
            session["zeros"] = "0" * 2_000_000
            return "view"

        response = app.test_client().get("/")
        assert (response.status_code, response.text) == (413, "[('zeros', 2000005)]")

    def test_a_limit_of_zero_allows_any_size(self) -> None:
        """``MAX_COOKIE_SIZE = 0``, as in Werkzeug."""
        client = self.app("cookie", MAX_COOKIE_SIZE=0).test_client()
        assert client.get("/large").text == "view"

    def test_the_limit_applies_to_the_whole_header(self) -> None:
        """As it is sent over HTTPS, exact to one byte."""

        def answer(limit: int) -> t.Any:
            client = self.app("cookie", SESSION_SECRET=SECRET, MAX_COOKIE_SIZE=limit)
            return client.test_client().get("/a", base_url="https://localhost")

        size = len(answer(4093).headers["Set-Cookie"])
        assert answer(size).status_code == 200
        assert answer(size - 1).status_code == 500


def test_the_extension_installs_the_session_interface() -> None:
    """Other extensions find it in ``app.session_interface``."""
    app = make_app()
    assert isinstance(app.extensions["buffalo_session"], BuffaloSession)
    assert app.config["SESSION_COOKIE_NAME"] == NAME
    assert app.session_interface.get_cookie_name(app) == NAME
    assert app.session_interface.pickle_based is False
