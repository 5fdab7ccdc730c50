"""Test what a browser and a cache see: cookies, headers, null mode, the secret."""

from __future__ import annotations

import logging
import typing as t
from datetime import timedelta

import pytest
from flask import Blueprint, Flask, render_template_string
from flask.testing import FlaskClient
from flask.views import MethodView
from werkzeug.http import parse_date
from werkzeug.test import TestResponse

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    NullStore,
    Store,
    session,
    signals,
)
from flask_buffalo_session.errors import (
    SessionSecretError,
    SessionStoreError,
    SessionTooLargeError,
)
from tests.conftest import SECRET, Clock, Counting, RecordingMemory, make_app
from tests.support.parameters import stable_repr
from tests.support.target import keys_in

NAME = "_buffalo_session"

READS: dict[str, t.Callable[[], object]] = {
    "get": lambda: session.get("a"),
    "in": lambda: "a" in session,
    "len": lambda: len(session),
    "iteration": lambda: list(session),
    "bool": lambda: bool(session),
    "missing pop": lambda: session.pop("missing", None),
    "items": lambda: list(session.items()),
    "missing get_once": lambda: session.get_once("missing"),
    "template": lambda: render_template_string("{{ session.a }}"),
    "permanent": lambda: session.permanent,
    "id": lambda: session.id,
    "new": lambda: session.new,
    "created_at": lambda: session.created_at,
    "equality": lambda: session == {},
    "missing delete": lambda: session.delete("missing"),
}


def with_views(app: Flask) -> Flask:
    """Add views that use the session in every way the tests need."""

    @app.get("/untouched")
    def untouched() -> str:
        return "untouched"

    @app.get("/read/<how>")
    def read(how: str) -> str:
        READS[how]()
        return how

    @app.get("/get")
    def get() -> str:
        return repr(dict(session))

    @app.get("/set/<name>/<value>")
    def set_(name: str, value: str) -> str:
        session.set(name, value)
        return "set"

    @app.get("/permanent")
    def permanent() -> str:
        session.permanent = True
        session.set("a", 1)
        return "permanent"

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "clear"

    @app.get("/regenerate")
    def regenerate() -> str:
        session.regenerate()
        return "regenerate"

    return app


def client_of(store: object = "cookie", **config: t.Any) -> FlaskClient:
    return with_views(make_app(store, **config)).test_client()


def cookie_of(response: TestResponse) -> str:
    """Return the text of the one Set-Cookie header."""
    (header,) = response.headers.getlist("Set-Cookie")
    return header


class TestCost:
    @pytest.mark.parametrize("with_cookie", [False, True])
    def test_an_untouched_request_costs_nothing(
        self, store: Store, with_cookie: bool
    ) -> None:
        """It makes no store operation, and sends neither a cookie nor ``Vary``."""
        counting = Counting(store)
        client = client_of(counting)
        if with_cookie:
            client.get("/set/a/1")
        counting.calls.clear()
        response = client.get("/untouched")
        assert counting.calls == []
        assert "Set-Cookie" not in response.headers
        assert "Vary" not in response.headers
        assert "Cache-Control" not in response.headers

    def test_an_untouched_request_does_not_unseal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The signature is not checked either."""
        client = client_of()
        client.get("/set/a/1")
        monkeypatch.setattr("flask_buffalo_session.seal.SignedSeal.unseal", None)
        assert client.get("/untouched").status_code == 200

    @pytest.mark.parametrize("how", READS)
    def test_reading_sends_vary_and_no_cookie(self, store: Store, how: str) -> None:
        """Every kind of reading, with and without a session."""
        client = client_of(store)
        for _ in range(2):
            response = client.get(f"/read/{how}")
            assert response.headers["Vary"] == "Cookie"
            assert "Set-Cookie" not in response.headers
            client.get("/set/a/1")

    def test_anonymous_requests_leave_no_records(self) -> None:
        """Reads, clears and forged cookies make no record and no cookie."""
        store = RecordingMemory()
        client = client_of(store)
        for number in range(330):
            for path in ("/get", "/clear", "/regenerate"):
                client.set_cookie(NAME, f"brmade-up-{number}.x.y")
                assert "Set-Cookie" not in client.get(path).headers
        assert keys_in(store) == set()


class TestCookie:
    def test_the_default_is_a_browser_session(self, store: Store) -> None:
        """HttpOnly, Lax, no Domain, no Expires, and over HTTP not Secure."""
        cookie = cookie_of(client_of(store).get("/set/a/1"))
        assert cookie.startswith(f"{NAME}=")
        attributes = sorted(part.strip() for part in cookie.split(";")[1:])
        assert attributes == ["HttpOnly", "Path=/", "SameSite=Lax"]

    def test_the_cookie_is_secure_over_https(self) -> None:
        """Without a setting, outside debug and testing mode."""
        client = client_of()
        response = client.get("/set/a/1", base_url="https://localhost")
        assert "; Secure" in cookie_of(response)
        client.application.testing = True
        response = client.get("/set/a/2", base_url="https://localhost")
        assert "; Secure" not in cookie_of(response)

    def test_flasks_settings_become_cookie_attributes(self) -> None:
        """On the cookie that is set and on the one that removes it."""
        client = client_of(
            SESSION_COOKIE_DOMAIN="example.test",
            SESSION_COOKIE_PATH="/shop",
            SESSION_COOKIE_SECURE=True,
            SESSION_COOKIE_HTTPONLY=False,
            SESSION_COOKIE_SAMESITE="None",
            SESSION_COOKIE_PARTITIONED=True,
        )
        setting = cookie_of(client.get("/set/a/1"))
        value = setting.partition(";")[0]
        plain = client.application.test_client(use_cookies=False)
        removing = cookie_of(plain.get("/clear", headers={"Cookie": value}))
        for cookie in (setting, removing):
            attributes = {part.strip() for part in cookie.split(";")[1:]}
            assert {
                "Domain=example.test",
                "Path=/shop",
                "Secure",
                "SameSite=None",
                "Partitioned",
            } <= attributes
            assert "HttpOnly" not in attributes
        assert removing.startswith(f"{NAME}=;")
        assert "Max-Age=0" in removing
        assert "Expires=Thu, 01 Jan 1970" in removing

    def test_the_path_defaults_to_the_application_root(self) -> None:
        """As in Flask."""
        cookie = cookie_of(client_of(APPLICATION_ROOT="/app").get("/set/a/1"))
        assert "Path=/app" in cookie

    def test_a_permanent_session_expires_with_its_lifetime(self, clock: Clock) -> None:
        """``Expires`` is ``PERMANENT_SESSION_LIFETIME`` from now."""
        client = client_of(PERMANENT_SESSION_LIFETIME=timedelta(days=2))
        cookie = cookie_of(client.get("/permanent"))
        expires = parse_date(cookie.partition("Expires=")[2].partition(";")[0])
        assert expires is not None
        assert abs(expires.timestamp() - (clock.now + 2 * 86400)) < 2

    def test_the_cookie_is_removed_once(self, store: Store) -> None:
        """Only the request that ended the session removes it."""
        client = client_of(store)
        client.get("/set/a/1")
        assert "Max-Age=0" in cookie_of(client.get("/clear"))
        assert "Set-Cookie" not in client.get("/clear").headers

    def test_a_server_side_store_sets_its_cookie_once(
        self, server_store: Store
    ) -> None:
        """The id does not change with the values."""
        client = client_of(server_store)
        assert cookie_of(client.get("/set/a/1"))
        assert "Set-Cookie" not in client.get("/set/a/2").headers
        assert client.get("/get").text == "{'a': '2'}"

    def test_a_server_side_cookie_holds_no_values(self, server_store: Store) -> None:
        """It holds an id, however much is stored."""
        client = client_of(server_store)
        cookie = cookie_of(client.get(f"/set/a/{'x' * 5000}"))
        assert len(cookie) < 300


class TestCaching:
    def test_a_response_with_the_cookie_forbids_caching_it(self, store: Store) -> None:
        """``Vary`` and ``no-cache="Set-Cookie"``, when it is set and removed."""
        client = client_of(store)
        for path in ("/set/a/1", "/clear"):
            response = client.get(path)
            assert cookie_of(response)
            assert response.headers["Vary"] == "Cookie"
            assert response.headers["Cache-Control"] == 'no-cache="Set-Cookie"'

    def test_a_response_without_the_cookie_may_be_cached(self, store: Store) -> None:
        """A cache may keep it for the same cookie. The view decides about more."""
        client = client_of(store)
        client.get("/set/a/1")
        response = client.get("/get")
        assert "Set-Cookie" not in response.headers
        assert response.headers["Vary"] == "Cookie"
        assert "Cache-Control" not in response.headers

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("no-store", "no-store"),
            ("private, max-age=60", "private, max-age=60"),
            ('private="X-Other"', 'private="X-Other", no-cache="Set-Cookie"'),
            ("no-cache", "no-cache"),
            ("public, max-age=60", 'public, max-age=60, no-cache="Set-Cookie"'),
            ('no-cache="X-Other"', 'no-cache="X-Other, Set-Cookie"'),
            ('no-cache="set-cookie"', 'no-cache="set-cookie"'),
        ],
    )
    def test_the_views_cache_control_is_kept(self, given: str, expected: str) -> None:
        """The session adds a directive only if the view's directives do not forbid
        caching.
        """
        app = make_app()

        @app.get("/")
        def view() -> tuple[str, dict[str, str]]:
            session["a"] = 1
            return "", {"Cache-Control": given, "Vary": "Accept"}

        response = app.test_client().get("/")
        control = response.headers["Cache-Control"]
        assert sorted(control.split(", ")) == sorted(expected.split(", "))
        assert response.headers["Vary"] == "Accept, Cookie"


class TestRefresh:
    def config(self, **config: t.Any) -> dict[str, t.Any]:
        return {"SESSION_IDLE_TIMEOUT": 1000, **config}

    def test_idle_sessions_expire(
        self, store: Store, clock: Clock, encrypt: bool
    ) -> None:
        """At the same time on every store, and never early."""
        client = client_of(store, **self.config(SESSION_ENCRYPT=encrypt))
        client.get("/set/a/1")
        clock.tick(998)
        cookie = client.get_cookie(NAME)
        assert cookie is not None
        assert client.get("/get").text == "{'a': '1'}"
        client.set_cookie(NAME, cookie.value)
        clock.tick(4)
        assert client.get("/get").text == "{}"

    def test_using_a_session_extends_it(self, store: Store, clock: Clock) -> None:
        """The session is refreshed after a tenth of the idle time-out. It then lives
        for the whole time-out again.
        """
        counting = Counting(store)
        client = client_of(counting, **self.config())
        client.get("/set/a/1")
        clock.tick(98)
        counting.calls.clear()
        response = client.get("/get")
        assert "Set-Cookie" not in response.headers
        assert counting.calls == ["load"]
        for _ in range(5):
            clock.tick(500)
            response = client.get("/get")
            assert response.text == "{'a': '1'}"
            assert cookie_of(response)

    def test_untouched_permanent_sessions_are_refreshed(
        self, store: Store, clock: Clock, encrypt: bool
    ) -> None:
        """As ``SESSION_REFRESH_EACH_REQUEST`` does, but only after a tenth of the idle
        time-out.
        """
        counting = Counting(store)
        client = client_of(counting, **self.config(SESSION_ENCRYPT=encrypt))
        client.get("/permanent")
        counting.calls.clear()
        clock.tick(50)
        assert "Set-Cookie" not in client.get("/untouched").headers
        assert counting.calls == []
        for _ in range(5):
            clock.tick(500)
            response = client.get("/untouched")
            assert "Expires=" in cookie_of(response)
            assert response.headers["Vary"] == "Cookie"
        assert "'a': 1" in client.get("/get").text

    @pytest.mark.parametrize("how", ["modified", "accessed", "repr"])
    def test_reading_modified_accessed_or_repr_touches_nothing(
        self, store: Store, clock: Clock, how: str
    ) -> None:
        """Flask counts any use of its proxy as access. The refresh does not."""
        app = with_views(make_app(store, **self.config()))

        @app.get("/glance")
        def glance() -> str:
            return repr(session) if how == "repr" else str(getattr(session, how))

        client = app.test_client()
        client.get("/permanent")
        clock.tick(50)
        assert "Set-Cookie" not in client.get("/glance").headers
        clock.tick(500)
        assert "Expires=" in cookie_of(client.get("/glance"))
        client.get("/set/b/2")
        assert "'a': 1" in client.get("/get").text

    def test_untouched_browser_sessions_are_not_refreshed(
        self, store: Store, clock: Clock
    ) -> None:
        """Their cookie has no ``Expires`` to extend."""
        client = client_of(store, **self.config())
        client.get("/set/a/1")
        clock.tick(500)
        assert "Set-Cookie" not in client.get("/untouched").headers

    def test_the_setting_turns_off_refreshes_of_untouched_sessions(
        self, store: Store, clock: Clock
    ) -> None:
        """``SESSION_REFRESH_EACH_REQUEST = False``."""
        client = client_of(store, **self.config(SESSION_REFRESH_EACH_REQUEST=False))
        client.get("/permanent")
        clock.tick(500)
        assert "Set-Cookie" not in client.get("/untouched").headers

    def test_a_failed_refresh_does_not_fail_an_untouched_view(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The view does not use the session, so it works without a store."""
        counting = Counting(MemoryStore())
        client = client_of(counting, **self.config())
        client.get("/permanent")
        clock.tick(500)
        for operation, error in (
            ("load", SessionStoreError("memory", "away")),
            ("save", SessionStoreError("memory", "away")),
            ("save", SessionTooLargeError(5000, 4093, [])),
        ):
            counting.failing = {operation: error}
            response = client.get("/untouched")
            assert response.status_code == 200
            assert "Set-Cookie" not in response.headers
            assert "could not be refreshed" in caplog.text
            caplog.clear()
        counting.failing = {}
        assert cookie_of(client.get("/untouched"))

    @pytest.mark.parametrize("path", ["/get", "/set/a/2"])
    def test_a_failed_refresh_does_not_fail_a_view_that_only_reads(
        self, clock: Clock, caplog: pytest.LogCaptureFixture, path: str
    ) -> None:
        """The view loses no change. In a view that writes, the save fails."""
        counting = Counting(MemoryStore())
        client = client_of(counting, **self.config())
        client.get("/set/a/1")
        clock.tick(500)
        counting.failing = {"save": SessionStoreError("memory", "full")}
        response = client.get(path)
        assert response.status_code == (200 if path == "/get" else 500)
        assert "Set-Cookie" not in response.headers
        assert response.headers["Vary"] == "Cookie"
        assert ("could not be refreshed" in caplog.text) == (path == "/get")
        counting.failing = {}
        assert client.get("/get").text == "{'a': '1'}"

    def test_a_cookie_with_a_similar_name_does_not_affect_the_refresh(
        self, clock: Clock
    ) -> None:
        """Only the age of the session's own cookie counts."""
        app = with_views(make_app("cookie", **self.config(SESSION_NAME="session")))
        old, _, _ = cookie_of(app.test_client().get("/permanent")).partition(";")
        clock.tick(500)
        new, _, _ = cookie_of(app.test_client().get("/permanent")).partition(";")
        for cookies, refreshed in (
            (f"admin_{new}; {old}", True),
            (f"admin_{new};{old}", True),
            (f"admin_{new};\t{old}; admin_{new}", True),
            (f"{new}; admin_{old}", False),
            (f"admin_{old}", False),
        ):
            client = app.test_client(use_cookies=False)
            response = client.get("/untouched", headers={"Cookie": cookies})
            assert ("Set-Cookie" in response.headers) == refreshed, cookies

    def test_a_forged_permanent_flag_is_not_trusted(self, clock: Clock) -> None:
        """The request verifies the cookie, rejects it and does not call the store."""
        counting = Counting(MemoryStore())
        client = client_of(counting, **self.config())
        for text in ("~r", "~", "~r.AA.x", "~rAA.AA.AA", "~..", "~" * 500):
            client.set_cookie(NAME, text)
            response = client.get("/untouched")
            assert response.status_code == 200
            assert "Set-Cookie" not in response.headers
        assert counting.calls == []

    def test_a_permanent_lifetime_shorter_than_the_idle_timeout_counts(
        self, store: Store, clock: Clock
    ) -> None:
        """Otherwise the browser would drop the cookie before it is refreshed."""
        client = client_of(
            store, **self.config(PERMANENT_SESSION_LIFETIME=timedelta(seconds=100))
        )
        client.get("/permanent")
        for _ in range(3):
            clock.tick(60)
            assert "Expires=" in cookie_of(client.get("/untouched"))

    def test_becoming_permanent_sets_the_cookie_again(self, store: Store) -> None:
        """The browser needs the new ``Expires``, on a server-side store, too."""
        client = client_of(store)
        client.get("/set/a/1")
        assert "Expires=" in cookie_of(client.get("/permanent"))

    def test_the_absolute_timeout_ends_a_session_in_use(
        self, store: Store, clock: Clock
    ) -> None:
        """Refreshes do not extend it."""
        client = client_of(store, **self.config(SESSION_ABSOLUTE_TIMEOUT=2000))
        client.get("/set/a/1")
        for _ in range(3):
            clock.tick(600)
            assert client.get("/get").text == "{'a': '1'}"
        clock.tick(300)
        assert client.get("/get").text == "{}"

    @pytest.mark.parametrize("step", [-3600, 3600])
    def test_a_clock_that_steps_by_an_hour_is_no_error(
        self, store: Store, clock: Clock, step: int
    ) -> None:
        """Sessions younger than their time-out stay valid and are refreshed again."""
        client = client_of(store, SESSION_IDLE_TIMEOUT=18000)
        client.get("/set/a/1")
        clock.tick(step)
        response = client.get("/get")
        assert response.text == "{'a': '1'}"
        assert cookie_of(response)
        client.get("/set/b/2")
        clock.tick(-step)
        assert client.get("/get").text == "{'a': '1', 'b': '2'}"


class TestNullMode:
    @pytest.mark.parametrize(
        "config",
        [
            {"SESSION_API": True},
            {"SESSION_STORE": "null"},
            {"SESSION_STORE": NullStore()},
        ],
        ids=stable_repr,
    )
    def test_null_mode_has_no_session(
        self, config: dict[str, t.Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Reads and writes need no secret. They send no cookie and no ``Vary``, and log
        no warning.
        """
        app = with_views(make_app(**{"SESSION_SECRET": None, **config}))
        client = app.test_client()
        client.set_cookie(NAME, "left alone")
        for path in ("/get", "/set/a/1", "/permanent", "/clear", "/regenerate"):
            response = client.get(path)
            assert response.status_code == 200
            assert "Set-Cookie" not in response.headers
            assert "Vary" not in response.headers
        assert caplog.text == ""

    def test_writes_last_for_the_request(self) -> None:
        """Even values that could not be stored."""
        app = make_app("null", SESSION_SECRET=None)

        @app.get("/")
        def view() -> str:
            session["a"] = object()
            session.flash.add("info", "x")
            session["b"] = 1
            session.regenerate()
            assert session.get_once("b") == 1
            assert session.flash.take() == {"info": ["x"]}
            return repr(list(session))

        client = app.test_client()
        assert client.get("/").text == "['a']"
        assert client.get("/").text == "['a']"

    def test_an_explicit_save_does_nothing(self) -> None:
        """A view works unchanged in null mode."""
        app = make_app("null", SESSION_SECRET=None)

        @app.get("/")
        def view() -> str:
            session["a"] = 1
            session.save()
            session["b"] = 2
            session.save()
            return repr(dict(session)) + repr(session.id)

        response = app.test_client().get("/")
        assert response.text == "{'a': 1, 'b': 2}None"
        assert "Set-Cookie" not in response.headers

    def test_a_part_of_an_application_can_be_exempt(self, store: Store) -> None:
        """Views, view classes and blueprints, decided by the matched route."""
        app = make_app(Counting(store))
        buffalo: BuffaloSession = app.extensions["buffalo_session"]
        api = buffalo.exempt(Blueprint("api", __name__, url_prefix="/api"))
        nested = Blueprint("nested", __name__, url_prefix="/nested")

        def use() -> str:
            found = repr(dict(session))
            session["a"] = session.get("a", 0) + 1
            session.save()
            return found

        app.add_url_rule("/page", "page", use)
        api.add_url_rule("/use", "use", lambda: use())
        nested.add_url_rule("/use", "use", lambda: use())
        api.register_blueprint(nested)
        app.register_blueprint(api)

        @app.get("/view")
        @buffalo.exempt
        def view() -> str:
            return use()

        @buffalo.exempt
        class View(MethodView):
            def get(self) -> str:
                return use()

        app.add_url_rule("/class", view_func=View.as_view("class"))

        client = app.test_client()
        client.get("/page")
        app.config["SESSION_STORE"].calls.clear()
        for path in ("/api/use", "/api/nested/use", "/view", "/class"):
            response = client.get(path)
            assert response.text == "{}"
            assert "Set-Cookie" not in response.headers
            assert "Vary" not in response.headers
        assert app.config["SESSION_STORE"].calls == []
        assert client.get("/page").text == "{'a': 1}"

    def test_an_exempt_view_needs_no_secret(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its writes are dropped without an error."""
        app = make_app(SESSION_SECRET=None)
        buffalo: BuffaloSession = app.extensions["buffalo_session"]

        @app.get("/")
        @buffalo.exempt
        def view() -> str:
            session["a"] = 1
            return "ok"

        assert app.test_client().get("/").text == "ok"

    @pytest.mark.parametrize("part", ["view", "application"])
    @pytest.mark.parametrize("path", ["/", "/used", "/streamed"])
    def test_late_writes_raise_no_error(self, part: str, path: str) -> None:
        """Null mode drops every write, before and after the response."""
        app = Flask("shop")
        buffalo = BuffaloSession(app, api=part == "application")
        api = Blueprint("api", __name__)
        late: list[dict[str, int]] = []

        @api.get("/")
        def view() -> str:
            return ""

        @api.get("/used")
        def used() -> str:
            return str(session.get("early"))

        @api.get("/streamed")
        def streamed() -> t.Iterator[str]:
            yield ""

        @app.teardown_request
        def teardown(_: object) -> None:
            session["late"] = 1
            late.append(dict(session))

        app.register_blueprint(buffalo.exempt(api) if part == "view" else api)
        assert app.test_client().get(path).status_code == 200
        assert late == [{"late": 1}]

    @pytest.mark.parametrize("call", ["exempt", "passive"])
    def test_only_views_and_blueprints_can_be_exempt_or_passive(
        self, call: str
    ) -> None:
        """An application was accepted, and its views still had a session."""
        buffalo = BuffaloSession()
        targets: list[object] = [Flask("shop"), "api", None]
        for target in targets:
            with pytest.raises(TypeError, match=rf"^{call}\(\) needs a view function"):
                getattr(buffalo, call)(target)

    def test_a_decorator_around_an_exempt_view_keeps_it_exempt(self) -> None:
        """The decorator must use :func:`functools.wraps`."""
        import functools

        app = make_app()
        buffalo: BuffaloSession = app.extensions["buffalo_session"]

        @buffalo.exempt
        def view() -> str:
            session["a"] = 1
            return "ok"

        @functools.wraps(view)
        def wrapped() -> str:
            return view()

        app.add_url_rule("/", "view", wrapped)
        assert "Set-Cookie" not in app.test_client().get("/").headers


class TestSecret:
    def test_without_a_secret_reads_are_empty_and_writes_raise(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The application logs one warning when it starts to serve. The error explains
        how to make a secret.
        """
        app = with_views(make_app(store, SESSION_SECRET=None))
        app.register_error_handler(SessionSecretError, lambda error: (str(error), 500))
        client = app.test_client()
        assert caplog.text == ""
        client.set_cookie(NAME, "brAA.AA.AA")
        assert client.get("/get").text == "{}"
        assert client.get("/clear").status_code == 200
        response = client.get("/set/a/1")
        assert response.status_code == 500
        assert "SESSION_SECRET" in response.text
        assert "python -m flask_buffalo_session secret" in response.text
        assert "Set-Cookie" not in response.headers
        warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert "not protected" in warnings[0].getMessage()

    @pytest.mark.parametrize("mode", ["debug", "testing"])
    def test_debug_and_testing_mode_use_a_development_secret(
        self, mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Applications may set the mode late, so each request checks it. One info line
        is logged.
        """
        app = with_views(make_app(SESSION_SECRET=None))
        setattr(app, mode, True)
        caplog.set_level(logging.INFO)
        client = app.test_client()
        client.get("/set/a/1")
        assert client.get("/get").text == "{'a': '1'}"
        ours = [r for r in caplog.records if "development secret" in r.getMessage()]
        assert [r.levelno for r in ours] == [logging.INFO]
        setattr(app, mode, False)
        assert client.get("/get").text == "{}"

    def test_without_a_secret_permanent_cookies_are_not_refreshed(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There is no secret to seal the new cookie with."""
        client = client_of(SESSION_SECRET=None)
        client.set_cookie(NAME, "~rAA.AA.AA")
        response = client.get("/untouched")
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers

    def test_a_secret_that_is_set_late_is_found(self) -> None:
        """Between ``init_app`` and the first request, or after the first request."""
        app = with_views(make_app(SESSION_SECRET=None))
        app.secret_key = SECRET
        client = app.test_client()
        client.get("/set/a/1")
        assert client.get("/get").text == "{'a': '1'}"

    @pytest.mark.parametrize("secret", ["short", b"buffalo-secret", "super secret key"])
    def test_a_weak_secret_is_warned_about_once(
        self, secret: str | bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Outside debug and testing mode. The warning does not show the secret."""
        client = client_of(SESSION_SECRET=secret)
        for _ in range(2):
            client.get("/set/a/1")
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "can guess it and forge sessions" in record.getMessage()
        shown = secret if isinstance(secret, str) else secret.decode()
        assert shown not in record.getMessage().replace("is short", "")
        client = client_of(SESSION_SECRET=secret, TESTING=True)
        caplog.clear()
        client.get("/set/a/1")
        assert caplog.text == ""

    def test_a_secret_can_be_replaced(self, store: Store, encrypt: bool) -> None:
        """Old cookies are valid while the old secret is a fallback. New cookies need
        only the new secret.
        """
        config = {"SESSION_ENCRYPT": encrypt}
        client = client_of(store, SESSION_SECRET="old" * 9, **config)
        client.get("/set/a/1")
        old = client.get_cookie(NAME)

        def ask(cookie: t.Any, path: str, **secrets: t.Any) -> FlaskClient:
            asking = client_of(store, **config, **secrets)
            asking.set_cookie(NAME, cookie.value)
            asking.get(path)
            return asking

        both: dict[str, t.Any] = {
            "SESSION_SECRET": "new" * 9,
            "SESSION_SECRET_FALLBACKS": ["old" * 9],
        }
        new = ask(old, "/regenerate", **both).get_cookie(NAME)
        assert new is not None
        assert old is not None
        assert new.value != old.value
        alone = ask(new, "/untouched", SESSION_SECRET="new" * 9)
        assert alone.get("/get").text == "{'a': '1'}"
        dropped = ask(old, "/untouched", SESSION_SECRET="new" * 9)
        assert dropped.get("/get").text == "{}"

    def test_a_cookie_is_not_valid_under_another_name(
        self, store: Store, encrypt: bool
    ) -> None:
        """The value of cookie A under the name of B gives a fresh session."""
        client = client_of(store, SESSION_ENCRYPT=encrypt)
        client.get("/set/a/1")
        cookie = client.get_cookie(NAME)
        assert cookie is not None
        other = client_of(store, SESSION_ENCRYPT=encrypt, SESSION_NAME="other")
        other.set_cookie("other", cookie.value)
        assert other.get("/get").text == "{}"


class TestSignals:
    def test_a_failing_receiver_does_not_prevent_the_save(
        self, server_store: Store
    ) -> None:
        """Signals are emitted after the session is saved and the cookie is set."""
        app = with_views(make_app(server_store, SESSION_AUTH_NAMES=["user"]))
        client = app.test_client()
        client.get("/set/a/1")

        def failing(sender: Flask, **extra: t.Any) -> None:
            raise ZeroDivisionError

        with signals.session_saved.connected_to(failing, app):
            response = client.get("/set/user/ann")
        assert response.status_code == 500
        assert cookie_of(response)
        assert client.get("/get").text == "{'a': '1', 'user': 'ann'}"

    def test_signals_carry_the_application_and_a_hash(
        self, server_store: Store
    ) -> None:
        """They never carry the token, a cookie or a value."""
        app = with_views(make_app(server_store))
        got: list[tuple[str, object, dict[str, t.Any]]] = []

        def receive(name: str) -> t.Callable[..., None]:
            return lambda sender, **data: got.append((name, sender, data))

        receivers = {
            name: receive(name)
            for name in ("created", "saved", "destroyed", "rejected", "conflict")
        }
        for name, receiver in receivers.items():
            getattr(signals, f"session_{name}").connect(receiver, app)
        client = app.test_client()
        client.get("/set/a/1")
        client.get("/clear")
        client.set_cookie(NAME, "forged")
        client.get("/get")
        assert [name for name, _, _ in got] == [
            "created",
            "saved",
            "destroyed",
            "rejected",
        ]
        assert all(sender is app for _, sender, _ in got)
        assert len({data["session_id"] for _, _, data in got[:3]}) == 1
        assert {data["name"] for _, _, data in got} == {None}
        assert len(got[0][2]["session_id"]) == 64
        assert got[3][2] == {
            "session_id": None,
            "reason": "bad-signature",
            "name": None,
        }


@pytest.mark.parametrize("path", ["/regenerate", "/set/user_id/7", "/get"])
def test_a_session_that_gets_a_new_id_is_reported_with_both_ids(
    clock: Clock, path: str
) -> None:
    """By ``regenerate()``, a login, and its age."""
    app = with_views(make_app(MemoryStore(), SESSION_RENEW_AFTER=60))
    got: list[tuple[str, str]] = []

    def receive(sender: object, *, session_id: str, old_id: str, name: None) -> None:
        got.append((old_id, session_id))

    @app.get("/id")
    def id_() -> str:
        return str(session.id)

    signals.session_regenerated.connect(receive, app)
    client = app.test_client()
    client.get("/set/a/1")
    before = client.get("/id").text
    clock.tick(61)
    client.get(path)
    assert got == [(before, client.get("/id").text)]
    assert before != got[0][1]


def test_a_dropped_change_is_logged_as_a_warning(
    server_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The message shows a part of the id's hash. The response sets no cookie."""
    app = with_views(make_app(server_store))
    conflicts: list[str] = []

    def receive(sender: object, session_id: str, name: None) -> None:
        conflicts.append(session_id)

    signals.session_conflict.connect(receive, app)

    @app.get("/slow")
    def slow() -> str:
        session["late"] = 1
        app.test_client(use_cookies=False).get("/clear", headers={"Cookie": cookie})
        return "slow"

    client = app.test_client()
    cookie = cookie_of(client.get("/set/a/1")).partition(";")[0]
    caplog.clear()
    response = client.get("/slow")
    assert response.text == "slow"
    assert "Set-Cookie" not in response.headers
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert conflicts[0][:16] in record.getMessage()
    assert client.get("/get").text == "{}"


def test_two_applications_share_one_extension_object() -> None:
    """Each application has its own settings and its own sessions."""
    buffalo = BuffaloSession(store=CookieStore())
    apps = []
    for name in ("one", "two"):
        app = Flask(name)
        app.config.update(SESSION_SECRET=SECRET, SESSION_NAME=name)
        buffalo.init_app(app)
        apps.append(with_views(app))
    for app in apps:
        client = app.test_client()
        client.get("/set/a/1")
        assert client.get_cookie(app.name) is not None
        assert client.get("/get").text == "{'a': '1'}"


@pytest.mark.parametrize("cookie", ["garbage", "expired", "unknown"])
def test_a_receiver_of_a_rejection_can_use_the_session(
    cookie: str, clock: Clock
) -> None:
    """The receiver sees the fresh session."""
    store = RecordingMemory()
    app = with_views(make_app(store, SESSION_IDLE_TIMEOUT=100))
    client = app.test_client()
    client.get("/set/a/1")
    if cookie == "garbage":
        client.set_cookie(NAME, "garbage")
    elif cookie == "expired":
        clock.tick(200)
    else:
        for token in store.tokens:
            store.delete(token)
    found = []

    def receive(sender: object, **data: t.Any) -> None:
        found.append((data["reason"], dict(session)))
        session["rejected"] = data["reason"]

    with signals.session_rejected.connected_to(receive, app):
        assert client.get("/get").status_code == 200
    reason = {"garbage": "bad-signature"}.get(cookie, cookie)
    assert found == [(reason, {})]
    assert client.get("/get").text == repr({"rejected": reason})


@pytest.mark.parametrize("mode", ["api", "exempt"])
def test_null_mode_emits_no_signals(mode: str) -> None:
    """No session is created, saved or ended in null mode."""
    app = make_app("null" if mode == "api" else "cookie")
    emitted: list[str] = []

    extension: BuffaloSession = app.extensions["buffalo_session"]

    @app.get("/")
    @extension.exempt
    def view() -> str:
        session["a"] = 1
        session.save()
        session.clear()
        session["b"] = 2
        session.save()
        return repr(dict(session))

    def receive(sender: object, **data: t.Any) -> None:
        emitted.append("a signal")

    for name in ("created", "saved", "destroyed", "conflict"):
        getattr(signals, f"session_{name}").connect(receive, app)
    assert app.test_client().get("/").text == "{'b': 2}"
    assert emitted == []
