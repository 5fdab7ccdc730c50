"""Test logins, time-outs of a session's own and passive requests, on every store."""

from __future__ import annotations

import collections.abc as c
import datetime as dt
import typing as t
from email.utils import parsedate_to_datetime

import pytest
from flask import Blueprint, Flask, flash, session
from flask.views import MethodView
from werkzeug.test import TestResponse

from flask_buffalo_session import BuffaloSession, CookieStore, MemoryStore, Store
from flask_buffalo_session import session as our_session
from flask_buffalo_session.errors import (
    SessionTypeError,
    SessionUnsupportedError,
)
from tests.conftest import FORMATS, SECRET, Clock, Counting, Formatting, make_app

DAY = 24 * 3600
NAME = "_buffalo_session"


class Browser:
    """A browser, and an application whose views do what the test says."""

    def __init__(
        self,
        store: object = "cookie",
        formatting: Formatting = FORMATS["signed"],
        **settings: t.Any,
    ) -> None:
        self.app = make_app(store, **formatting.settings(SECRET), **settings)
        buffalo: BuffaloSession = self.app.extensions["buffalo_session"]
        self.client = self.app.test_client()
        self.result: t.Any = None
        self.act: c.Callable[[], object] = dict

        def view() -> str:
            self.result = self.act()
            return ""

        self.app.add_url_rule("/", "view", view)
        self.app.add_url_rule("/untouched", "untouched", lambda: "")

        @self.app.get("/passive")
        @buffalo.passive
        def passive() -> str:
            return view()

        @self.app.get("/passive/untouched")
        @buffalo.passive
        def passive_untouched() -> str:
            return ""

    def do(self, act: c.Callable[[], object], path: str = "/") -> t.Any:
        """Return what a view returns, or raise what it raises."""
        self.act = act
        self.app.testing = True
        self.response: TestResponse = self.client.get(path)
        return self.result

    @property
    def values(self) -> dict[t.Any, t.Any]:
        return t.cast("dict[t.Any, t.Any]", self.do(lambda: dict(session)))

    @property
    def cookie(self) -> str:
        cookie = self.client.get_cookie(NAME)
        assert cookie is not None
        return cookie.value

    @cookie.setter
    def cookie(self, text: str) -> None:
        self.client.set_cookie(NAME, text)

    @property
    def sends_cookie(self) -> bool:
        return "Set-Cookie" in self.response.headers


def write(**values: t.Any) -> c.Callable[[], None]:
    return lambda: session.update(values)


def begin(**own: t.Any) -> c.Callable[[], None]:
    """Begin a session with time-outs of its own."""

    def act() -> None:
        session["a"] = 1
        our_session.set_timeouts(**own)

    return act


def authenticated() -> dt.datetime | None:
    return our_session.authenticated_at


def expires() -> dt.datetime:
    return our_session.expires_at


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC)


class TestAuthenticate:
    def test_a_login_is_dated_and_gets_a_new_id(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """The date is there at once, and in later requests."""
        browser = Browser(store, formatting)
        browser.do(write(a=1))
        assert browser.do(authenticated) is None
        old = browser.cookie

        def login() -> dt.datetime | None:
            our_session.authenticate()
            return our_session.authenticated_at

        now = at(clock.now)
        assert browser.do(login) == now
        clock.tick(100)
        assert browser.do(authenticated) == now
        assert browser.values == {"a": 1}
        assert browser.cookie != old
        if not isinstance(store, CookieStore):
            browser.cookie = old
            assert browser.values == {}

    @pytest.mark.parametrize("max_age", [100, 100.0, dt.timedelta(seconds=100)])
    def test_a_login_is_fresh_for_some_time(self, max_age: t.Any, clock: Clock) -> None:
        """A session without a login never is."""
        browser = Browser()

        def fresh() -> bool:
            return our_session.is_fresh(max_age)

        assert browser.do(fresh) is False
        browser.do(lambda: our_session.authenticate())
        clock.now = float(int(clock.now)) + 100
        assert browser.do(fresh) is True
        clock.tick(1)
        assert browser.do(fresh) is False

    @pytest.mark.parametrize("max_age", [0, -1, True, "5", None, float("nan")])
    def test_a_wrong_age_is_an_error(self, max_age: t.Any) -> None:
        """The message names the argument."""
        browser = Browser()
        with pytest.raises(SessionTypeError, match="max_age must be a number"):
            browser.do(lambda: our_session.is_fresh(max_age))

    def test_authentication_names_date_the_login(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """Another user is another login. Deleting the last of these names is a
        logout.
        """
        browser = Browser(store, formatting)

        def login(name: str, user: object) -> c.Callable[[], dt.datetime | None]:
            def act() -> dt.datetime | None:
                session[name] = user
                session["a"] = 1
                return authenticated()

            return act

        first = at(clock.now)
        assert browser.do(login("user_id", 1)) == first
        clock.tick(10)
        assert browser.do(login("user_id", 1)) == first
        assert browser.do(authenticated) == first
        assert browser.do(login("user_id", 2)) == at(clock.now)
        clock.tick(10)
        assert browser.do(login("_user_id", "x")) == at(clock.now)
        last = at(clock.now)
        clock.tick(10)

        def delete(name: str) -> dt.datetime | None:
            del session[name]
            return authenticated()

        assert browser.do(lambda: delete("user_id")) == last
        assert browser.do(authenticated) == last
        assert browser.do(lambda: delete("_user_id")) is None
        assert browser.do(authenticated) is None
        assert browser.values == {"a": 1}

    def test_taking_the_user_out_is_a_logout(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """get_once() takes the value out of the store at once."""
        browser = Browser(store, formatting)
        browser.do(write(user_id=1, a=1))

        def act() -> dt.datetime | None:
            assert our_session.get_once("user_id") == 1
            return authenticated()

        assert browser.do(act) is None
        assert browser.do(authenticated) is None
        assert browser.values == {"a": 1}

    def test_a_user_of_none_is_no_login(self, clock: Clock) -> None:
        """Some applications keep None for anonymous users."""
        browser = Browser()
        browser.do(write(user_id=None))
        assert browser.do(authenticated) is None

    def test_the_absolute_time_out_starts_again(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """The time of creation stays."""
        browser = Browser(store, formatting, SESSION_ABSOLUTE_TIMEOUT=1000)
        browser.do(write(a=1))
        created = browser.do(lambda: our_session.created_at)
        clock.tick(900)
        old = browser.cookie
        browser.do(lambda: our_session.authenticate())
        clock.tick(900)
        assert browser.values == {"a": 1}
        assert browser.do(lambda: our_session.created_at) == created
        assert browser.do(expires) == created + dt.timedelta(seconds=1900)
        new, browser.cookie = browser.cookie, old
        assert browser.values == {}
        browser.cookie = new
        clock.tick(102)
        assert browser.values == {}

    def test_an_owner_is_bound(self, owned: Store) -> None:
        """As by bind()."""
        browser = Browser(owned)
        browser.do(lambda: our_session.authenticate(owner=42))
        assert browser.do(lambda: our_session.owner) == "42"
        with pytest.raises(SessionTypeError, match=r"session\.authenticate\(\)"):
            browser.do(lambda: our_session.authenticate(owner=""))

    def test_an_owner_needs_a_store_with_owners(self) -> None:
        """The session does not change."""
        browser = Browser()

        def act() -> tuple[bool, object]:
            with pytest.raises(SessionUnsupportedError, match="SESSION_REVOCATION"):
                our_session.authenticate(owner=42)
            return our_session.modified, authenticated()

        assert browser.do(act) == (False, None)


class TestHiddenNames:
    def test_views_do_not_see_what_the_session_keeps_for_itself(
        self, store: Store, formatting: Formatting
    ) -> None:
        """Neither by iterating nor by name."""
        browser = Browser(store, formatting)

        def act() -> None:
            session["user_id"] = 1
            our_session.set_timeouts(idle=60)

        browser.do(act)

        def look() -> None:
            assert dict(session) == {"user_id": 1}
            assert (len(session), list(reversed(our_session))) == (1, ["user_id"])
            assert our_session.copy() == {"user_id": 1}
            for name in ("_authenticated_", "_timeouts_"):
                assert name not in session
                assert session.get(name) is None
                assert our_session.get_once(name) is None
                assert session.pop(name, None) is None
                our_session.delete(name)
                with pytest.raises(KeyError):
                    session[name]
                with pytest.raises(KeyError):
                    del session[name]
                with pytest.raises(SessionTypeError, match="Use another name"):
                    session[name] = 1
            assert not our_session.modified

        browser.do(look)
        assert browser.do(authenticated) is not None

    def test_a_new_session_can_be_cleared(self, store: Store) -> None:
        """Although it seems to be empty."""
        browser = Browser(store)

        def act() -> None:
            our_session.authenticate()
            session.clear()

        browser.do(act)
        assert not browser.sends_cookie

    def test_deleting_the_user_is_a_logout(self, owned: Store) -> None:
        """The owner and the time-outs are not values. A farewell message is one."""
        for farewell in (False, True):
            browser = Browser(owned)

            def login() -> None:
                our_session.authenticate(owner="ann")
                session["user_id"] = 1
                session.permanent = True
                our_session.set_timeouts(idle=60)

            def logout(farewell: bool = farewell) -> None:
                del session["user_id"]
                if farewell:
                    flash("Goodbye")

            browser.do(login)
            old = browser.cookie
            browser.do(logout)
            assert (browser.client.get_cookie(NAME) is not None) is farewell
            browser.cookie = old
            assert browser.values == {}


class TestOwnTimeOuts:
    @pytest.mark.parametrize("own", [50, 1000])
    def test_an_idle_time_out_counts(
        self, store: Store, formatting: Formatting, clock: Clock, own: int
    ) -> None:
        """Shorter or longer than that of the settings."""
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=200)
        browser.do(begin(idle=own))
        assert browser.do(expires) == at(clock.now + own)
        for _ in range(3):
            clock.tick(own * 0.9)
            assert browser.values == {"a": 1}
            assert browser.sends_cookie
            assert browser.do(expires) == at(clock.now + own)
            assert not browser.sends_cookie
        clock.tick(own + 1)
        assert browser.values == {}

    @pytest.mark.parametrize("own", [50, 1000])
    def test_an_absolute_time_out_counts(
        self, store: Store, formatting: Formatting, clock: Clock, own: int
    ) -> None:
        """Shorter or longer than that of the settings."""
        browser = Browser(
            store, formatting, SESSION_IDLE_TIMEOUT=2000, SESSION_ABSOLUTE_TIMEOUT=200
        )
        browser.do(begin(absolute=own))
        end = at(clock.now + own)
        assert browser.do(expires) == end
        clock.tick(own * 0.9)
        browser.do(write(b=2))
        assert browser.do(expires) == end
        clock.tick(own * 0.1 + 1)
        assert browser.values == {}

    def test_none_returns_to_the_settings(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """For each time-out that is not given."""
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=200)
        browser.do(begin(idle=1000, absolute=500))
        assert browser.do(expires) == at(clock.now + 500)
        browser.do(begin(idle=1000))
        assert browser.do(expires) == at(clock.now + 1000)
        browser.do(begin())
        assert browser.do(expires) == at(clock.now + 200)
        clock.tick(201)
        assert browser.values == {}

    def test_a_time_out_begins_in_a_used_session(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """A longer and a shorter one."""
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=200)
        for own in (1000, 50):
            browser.do(write(a=1))
            browser.do(begin(idle=own))
            # The browser needs the new ``Expires``.
            assert browser.sends_cookie
            clock.tick(own - 1)
            assert browser.values == {"a": 1}
        clock.tick(51)
        assert browser.values == {}

    def test_a_request_under_way_does_not_lose_the_session(
        self, server_store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """Its cookie is older than the new time-out, but the session was just used."""
        browser = Browser(server_store, formatting, SESSION_IDLE_TIMEOUT=10_000)
        browser.do(write(a=1))
        clock.tick(500)
        old = browser.cookie
        browser.do(begin(idle=100))
        browser.cookie = old
        assert browser.values == {"a": 1}

    @pytest.mark.parametrize("value", [0, -1, True, "5", float("nan"), float("inf")])
    @pytest.mark.parametrize("argument", ["idle", "absolute"])
    def test_a_wrong_time_out_is_an_error(self, argument: str, value: t.Any) -> None:
        """The message names the argument."""
        browser = Browser()
        with pytest.raises(SessionTypeError, match=f"{argument} must be a number"):
            browser.do(begin(**{argument: value}))

    def test_the_settings_limit_the_time_outs(self, clock: Clock) -> None:
        """The limit itself is allowed. A limit that is lowered later counts, too."""
        browser = Browser(SESSION_TIMEOUT_LIMIT=1000)
        for argument in ("idle", "absolute"):
            with pytest.raises(SessionTypeError, match="SESSION_TIMEOUT_LIMIT"):
                browser.do(begin(**{argument: 1001}))
        browser.do(begin(idle=dt.timedelta(seconds=999.5)))
        lowered = Browser(SESSION_TIMEOUT_LIMIT=300, SESSION_IDLE_TIMEOUT=100)
        lowered.cookie = browser.cookie
        assert lowered.do(expires) == at(clock.now + 300)
        clock.tick(301)
        assert lowered.values == {}

    def test_browsers_keep_a_remembered_session(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """The cookie's ``Expires`` follows the session's own time-out. Requests that
        leave the session alone refresh it.
        """
        settings = {"PERMANENT_SESSION_LIFETIME": DAY, "SESSION_IDLE_TIMEOUT": DAY}
        browser = Browser(store, formatting, **settings)

        def remember() -> None:
            begin(idle=dt.timedelta(days=90))()
            session.permanent = True

        def lasts(days: float) -> bool:
            _, _, rest = browser.response.headers["Set-Cookie"].partition("Expires=")
            ends = parsedate_to_datetime(rest.partition(";")[0])
            return abs(ends.timestamp() - clock.now - days * DAY) < 2

        browser.do(remember)
        assert lasts(90)
        clock.tick(8 * DAY)
        browser.do(dict, "/untouched")
        assert not browser.sends_cookie
        clock.tick(2 * DAY)
        browser.do(dict, "/untouched")
        assert lasts(90)
        clock.tick(89 * DAY)
        assert browser.values == {"a": 1, "_permanent": True}
        assert lasts(90)

    def test_an_aged_cookie_does_not_hide_a_younger_one(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """A browser may send a cookie of another path first. That cookie could belong
        to a session with a longer timeout of its own, but here it does not.
        """
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=100)
        browser.do(write(a="aged"))
        aged = browser.cookie
        clock.tick(102)
        browser.do(write(a="young"))
        client = browser.app.test_client(use_cookies=False)
        browser.act = lambda: dict(session)
        client.get("/", headers={"Cookie": f"{NAME}={aged}; {NAME}={browser.cookie}"})
        assert browser.result == {"a": "young"}

    def test_damaged_time_outs_do_not_count(self, clock: Clock) -> None:
        """Another program may write anything under these names."""
        format = FORMATS["gorilla"].settings(SECRET)
        app = make_app("cookie", **format, SESSION_IDLE_TIMEOUT=100)
        codec = app.session_interface.main.codec  # type: ignore[attr-defined]
        policy = app.session_interface.main.policy  # type: ignore[attr-defined]
        for value in (5, "", "x,y", "-5,", "5", "9" * 5000, "\u0665,", "0,0"):
            values = {"_timeouts_": codec.encode(value, "_timeouts_")}
            record = policy.blank()._replace(values=values)
            assert policy.max_age(record) == (5 if value == "5" else 100)
        values = {"_authenticated_": codec.encode("now", "_authenticated_")}
        assert policy.authenticated(values) is None


class TestPassive:
    def test_a_passive_request_does_not_keep_a_session_alive(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """Neither by reading nor by writing. What it writes is kept."""
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=1000)

        def count() -> None:
            session["count"] = session.get("count", 0) + 1

        browser.do(write(a=1, _permanent=True))
        end = at(clock.now + 1000)
        for _ in range(4):
            clock.tick(200)
            browser.do(dict, "/passive/untouched")
            assert not browser.sends_cookie
            browser.do(lambda: dict(session), "/passive")
            assert not browser.sends_cookie
            browser.do(count, "/passive")
            assert browser.do(expires, "/passive") == end
        clock.tick(199)
        assert browser.do(lambda: session["count"], "/passive") == 4
        clock.tick(3)
        assert browser.values == {}

    def test_a_passive_request_respects_a_time_out_of_the_sessions_own(
        self, store: Store, clock: Clock
    ) -> None:
        """A shorter one than that of the settings."""
        browser = Browser(store, SESSION_IDLE_TIMEOUT=1000)
        browser.do(begin(idle=100))
        clock.tick(60)
        browser.do(write(a=2), "/passive")
        clock.tick(39)
        assert browser.do(lambda: dict(session), "/passive") == {"a": 2}
        clock.tick(3)
        assert browser.values == {}

    def test_an_untouched_passive_request_loads_nothing(self, clock: Clock) -> None:
        """Although the cookie is due."""
        counting = Counting(MemoryStore())
        browser = Browser(counting, SESSION_IDLE_TIMEOUT=1000)
        browser.do(write(a=1, _permanent=True))
        clock.tick(500)
        counting.calls.clear()
        browser.do(dict, "/passive/untouched")
        assert counting.calls == []
        browser.do(dict, "/untouched")
        assert browser.sends_cookie

    def test_other_requests_still_count(
        self, store: Store, formatting: Formatting, clock: Clock
    ) -> None:
        """Also after a passive request has written."""
        browser = Browser(store, formatting, SESSION_IDLE_TIMEOUT=1000)
        browser.do(write(a=1))
        clock.tick(900)
        browser.do(write(b=2), "/passive")
        assert browser.values == {"a": 1, "b": 2}
        clock.tick(900)
        assert browser.values == {"a": 1, "b": 2}

    def test_a_session_can_begin_in_a_passive_request(
        self, store: Store, clock: Clock
    ) -> None:
        """It is an ordinary one."""
        browser = Browser(store, SESSION_IDLE_TIMEOUT=1000)
        browser.do(write(a=1), "/passive")
        clock.tick(999)
        assert browser.values == {"a": 1}

    def test_a_session_can_end_in_a_passive_request(self, store: Store) -> None:
        """What is set afterwards begins another session."""
        browser = Browser(store)
        browser.do(write(a=1))

        def act() -> None:
            session.clear()
            session["b"] = 2

        browser.do(act, "/passive")
        assert browser.values == {"b": 2}

    @pytest.mark.parametrize("how", ["call", "name"])
    def test_a_login_counts_as_use(self, store: Store, clock: Clock, how: str) -> None:
        """In a passive request, too."""
        browser = Browser(store, SESSION_IDLE_TIMEOUT=1000)
        browser.do(write(a=1))
        clock.tick(900)

        def login() -> None:
            if how == "call":
                our_session.authenticate()
            else:
                session["user_id"] = 1

        browser.do(login, "/passive")
        clock.tick(900)
        assert browser.values["a"] == 1

    def test_a_passive_request_rotates_no_id(
        self, server_store: Store, clock: Clock
    ) -> None:
        """The next other request does."""
        browser = Browser(server_store, SESSION_RENEW_AFTER=100)
        browser.do(write(a=1))
        first = browser.do(lambda: our_session.id)
        clock.tick(101)
        browser.do(write(b=2), "/passive")
        assert browser.do(lambda: our_session.id, "/passive") == first
        browser.do(write(c=3))
        assert browser.do(lambda: our_session.id) != first

    def test_a_passive_request_can_have_an_id_that_was_rotated(
        self, server_store: Store, clock: Clock
    ) -> None:
        """It sends the cookie with the new id, as other requests do."""
        browser = Browser(
            server_store, SESSION_RENEW_AFTER=100, SESSION_IDLE_TIMEOUT=1000
        )
        browser.do(write(a=1))
        old = browser.cookie
        clock.tick(101)
        browser.do(write(b=2))
        browser.cookie = old
        browser.do(write(c=3), "/passive")
        assert browser.sends_cookie
        clock.tick(900)
        assert browser.values == {"a": 1, "b": 2, "c": 3}

    def test_a_new_id_in_a_passive_request_keeps_the_time(
        self, store: Store, clock: Clock
    ) -> None:
        """regenerate() alone is no use of the session."""
        browser = Browser(store, SESSION_IDLE_TIMEOUT=1000)
        browser.do(write(a=1))
        clock.tick(900)
        browser.do(lambda: our_session.regenerate(), "/passive")
        assert browser.sends_cookie
        clock.tick(102)
        assert browser.values == {}

    def test_blueprints_and_view_classes_can_be_passive(self, clock: Clock) -> None:
        """As with exempt()."""
        app = Flask("shop")
        app.config.update(SESSION_SECRET=SECRET, SESSION_IDLE_TIMEOUT=1000)
        buffalo = BuffaloSession(app)
        polled = buffalo.passive(Blueprint("polled", __name__, url_prefix="/polled"))

        def use() -> str:
            session["a"] = session.get("a", 0) + 1
            return expires().isoformat()

        polled.add_url_rule("/use", "use", use)
        app.register_blueprint(polled)
        app.add_url_rule("/use", "use", use)

        @buffalo.passive
        class View(MethodView):
            def get(self) -> str:
                return use()

        app.add_url_rule("/class", view_func=View.as_view("class"))
        client = app.test_client()
        end = client.get("/use").text
        clock.tick(500)
        assert client.get("/polled/use").text == end
        assert client.get("/class").text == end
        assert client.get("/use").text > end
