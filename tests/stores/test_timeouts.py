"""Test how records and sessions expire, with every store.

The tests use real time, because servers have clocks of their own. All stores wait
together.
"""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

import pytest
from flask.testing import FlaskClient

from flask_buffalo_session import Store, session
from flask_buffalo_session.errors import SessionConflictError
from tests.conftest import STORES, Counting, make_app, store_named
from tests.support.servers import Servers

NAME = "_buffalo_session"

IDLE, ABSOLUTE = 4, 6  # seconds


class Timeline:
    """Create and read sessions of one store at fixed times."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: dict[str, t.Any] = {}
        self.counting = Counting(store)
        self.unused = self.client(self.counting, SESSION_IDLE_TIMEOUT=IDLE)
        self.used = self.client(self.counting, SESSION_IDLE_TIMEOUT=IDLE)
        self.longer = self.client(store, SESSION_IDLE_TIMEOUT=IDLE)
        self.shorter = self.client(store, SESSION_IDLE_TIMEOUT=60)
        self.oldest = self.client(
            store, SESSION_IDLE_TIMEOUT=IDLE, SESSION_ABSOLUTE_TIMEOUT=ABSOLUTE
        )

    def client(self, store: Store, **settings: int) -> FlaskClient:
        app = make_app(store, **settings)

        @app.get("/write")
        def write() -> str:
            session["a"] = 1
            return "written"

        @app.get("/own/<int:idle>")
        def own(idle: int) -> str:
            session.set_timeouts(idle=idle)
            return write()

        @app.get("/read")
        def read() -> str:
            return str(session.get("a"))

        return app.test_client()

    def write_sessions(self) -> None:
        for client in (self.unused, self.used, self.oldest):
            client.get("/write")
        self.longer.get("/own/60")
        for path in ("/write", f"/own/{IDLE}"):
            self.shorter.get(path)
        self.written = time.monotonic()

    def save_records(self) -> None:
        self.started = time.monotonic()
        self.tokens = [
            self.store.save(None, b"one", expected=None, max_age=1) for _ in range(2)
        ]
        self.refreshed = self.store.save(None, b"one", expected=None, max_age=1)
        self.store.save(self.refreshed, b"one", expected=b"one", max_age=60)
        self.shortened = self.store.save(None, b"one", expected=None, max_age=60)
        self.store.save(self.shortened, b"two", expected=b"one", max_age=1)
        self.named = f"named-{time.time_ns()}"
        self.store.save(self.named, b"one", expected=None, max_age=1)

    def after_nearly_a_second(self) -> None:
        self.seen["early"] = self.store.load(self.tokens[0])
        self.seen["early at"] = time.monotonic() - self.started

    def every_second(self) -> None:
        self.counting.calls.clear()
        response = self.used.get("/read")
        self.seen.setdefault("used", []).append(response.text)
        self.seen.setdefault("calls", []).append(list(self.counting.calls))
        self.seen.setdefault("refreshed", []).append("Set-Cookie" in response.headers)
        age = time.monotonic() - self.written
        self.seen.setdefault("oldest", []).append((age, self.oldest.get("/read").text))

    def end(self) -> None:
        token, other = self.tokens
        self.seen["late"] = self.store.load(token)
        self.seen["refreshed record"] = self.store.load(self.refreshed)
        self.seen["others"] = [*map(self.store.load, (self.shortened, self.named))]
        try:
            self.store.save(token, b"two", expected=b"one", max_age=10)
        except SessionConflictError as error:
            self.seen["revival"] = error
        self.store.save(other, b"two", expected=None, max_age=60)
        self.seen["new record"] = self.store.load(other)
        self.seen["later"] = self.store.load(token)
        self.seen["unused"] = self.unused.get("/read").text
        self.seen["longer"] = self.longer.get("/read").text
        self.seen["shorter"] = self.shorter.get("/read").text


@pytest.fixture(scope="module")
def timelines(servers: Servers) -> dict[str, Timeline | BaseException]:
    timelines: dict[str, Timeline | BaseException] = {}
    for name in STORES:
        try:
            timelines[name] = Timeline(store_named(name, servers))
        except (pytest.skip.Exception, pytest.fail.Exception) as outcome:
            timelines[name] = outcome
    running = [
        timeline for timeline in timelines.values() if isinstance(timeline, Timeline)
    ]

    def each(step: c.Callable[[Timeline], None]) -> None:
        for timeline in running:
            step(timeline)

    # All servers run now, so no session waits for the start of another store's server.
    each(Timeline.write_sessions)
    time.sleep(0.3)
    each(Timeline.save_records)
    time.sleep(0.8)
    each(Timeline.after_nearly_a_second)
    for _ in range(8):
        each(Timeline.every_second)
        time.sleep(1)
    each(Timeline.end)
    return timelines


@pytest.fixture(params=STORES)
def seen(
    request: pytest.FixtureRequest, timelines: dict[str, Timeline | BaseException]
) -> dict[str, t.Any]:
    timeline = timelines[request.param]
    if isinstance(timeline, BaseException):
        raise timeline
    return {"store": request.param, **timeline.seen}


def test_a_record_does_not_expire_early(seen: dict[str, t.Any]) -> None:
    """Otherwise a user would be logged out early."""
    if seen["early at"] < 1:
        assert seen["early"] == b"one"


def test_a_record_expires_on_time(seen: dict[str, t.Any]) -> None:
    """An expired record cannot be replaced. A new record under its token brings no
    other expired record back.
    """
    if seen["store"] == "cookie":
        return
    assert seen["late"] is None
    assert isinstance(seen["revival"], SessionConflictError)
    assert seen["new record"] == b"two"
    assert seen["later"] is None


def test_each_save_sets_the_lifetime_of_its_record(seen: dict[str, t.Any]) -> None:
    """A save may shorten the lifetime. A record under a given token expires, too."""
    if seen["store"] != "cookie":
        assert seen["others"] == [None, None]


def test_saving_the_same_record_extends_its_life(seen: dict[str, t.Any]) -> None:
    """A refresh saves the same bytes again."""
    assert seen["refreshed record"] == b"one"


def test_an_unused_session_expires(seen: dict[str, t.Any]) -> None:
    """It expires after the idle timeout."""
    assert seen["unused"] == "None"


def test_an_idle_time_out_of_the_sessions_own_counts(seen: dict[str, t.Any]) -> None:
    """Longer or shorter than that of the settings."""
    assert (seen["longer"], seen["shorter"]) == ("1", "None")


def test_a_session_in_use_does_not_expire(seen: dict[str, t.Any]) -> None:
    """Reading refreshes the session after a tenth of the idle timeout."""
    assert seen["used"] == ["1"] * 8
    assert seen["refreshed"] == [True] * 8
    assert seen["calls"] == [["load", "save"]] * 8


def test_a_session_in_use_expires_at_the_absolute_timeout(
    seen: dict[str, t.Any],
) -> None:
    """Whole seconds count, so the session may end a second late."""
    ages = seen["oldest"]
    # A busy machine may read later than planned. Expiry takes up to two seconds, as
    # clocks count whole seconds.
    assert {text for age, text in ages if age < ABSOLUTE - 1} == {"1"}
    assert {text for age, text in ages if age > ABSOLUTE + 2} == {"None"}
