"""What becomes of sessions as time passes: the same on every store.

Real time, as servers have clocks of their own. It passes once, for all stores.
"""

from __future__ import annotations

import collections.abc as c
import time
import typing as t

import pytest
from flask import session
from flask.testing import FlaskClient

from flask_buffalo_session import Store
from flask_buffalo_session.errors import SessionConflictError
from tests.conftest import STORES, Counting, make_app, store_named
from tests.support.servers import Servers

NAME = "_buffalo_session"

IDLE, GREATEST = 3, 5  # seconds


class Course:
    """The sessions of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seen: dict[str, t.Any] = {}
        self.counting = Counting(store)
        self.unused = self.client(self.counting, SESSION_IDLE_TIMEOUT=IDLE)
        self.used = self.client(self.counting, SESSION_IDLE_TIMEOUT=IDLE)
        self.oldest = self.client(
            store, SESSION_IDLE_TIMEOUT=IDLE, SESSION_ABSOLUTE_TIMEOUT=GREATEST
        )

    def client(self, store: Store, **settings: int) -> FlaskClient:
        app = make_app(store, **settings)

        @app.get("/write")
        def write() -> str:
            session["a"] = 1
            return "written"

        @app.get("/read")
        def read() -> str:
            return str(session.get("a"))

        client = app.test_client()
        client.get("/write")
        return client

    def begin(self) -> None:
        self.begun = time.monotonic()
        self.tokens = [
            self.store.save(None, b"one", expected=None, max_age=1) for _ in range(2)
        ]
        self.renewed = self.store.save(None, b"one", expected=None, max_age=1)
        self.store.save(self.renewed, b"one", expected=b"one", max_age=60)
        self.shortened = self.store.save(None, b"one", expected=None, max_age=60)
        self.store.save(self.shortened, b"two", expected=b"one", max_age=1)
        self.named = f"named-{time.time_ns()}"
        self.store.save(self.named, b"one", expected=None, max_age=1)

    def after_nearly_a_second(self) -> None:
        self.seen["early"] = self.store.load(self.tokens[0])
        self.seen["early at"] = time.monotonic() - self.begun

    def every_second(self) -> None:
        self.counting.calls.clear()
        response = self.used.get("/read")
        self.seen.setdefault("used", []).append(response.text)
        self.seen.setdefault("calls", []).append(list(self.counting.calls))
        self.seen.setdefault("renewed", []).append("Set-Cookie" in response.headers)
        self.seen.setdefault("oldest", []).append(self.oldest.get("/read").text)

    def end(self) -> None:
        token, other = self.tokens
        self.seen["late"] = self.store.load(token)
        self.seen["renewed record"] = self.store.load(self.renewed)
        self.seen["others"] = [*map(self.store.load, (self.shortened, self.named))]
        try:
            self.store.save(token, b"two", expected=b"one", max_age=10)
        except SessionConflictError as error:
            self.seen["revival"] = error
        self.store.save(other, b"two", expected=None, max_age=60)
        self.seen["anew"] = self.store.load(other)
        self.seen["later"] = self.store.load(token)
        self.seen["unused"] = self.unused.get("/read").text


@pytest.fixture(scope="module")
def courses(servers: Servers) -> dict[str, Course | BaseException]:
    courses: dict[str, Course | BaseException] = {}
    for name in STORES:
        try:
            courses[name] = Course(store_named(name, servers))
        except (pytest.skip.Exception, pytest.fail.Exception) as outcome:
            courses[name] = outcome
    running = [course for course in courses.values() if isinstance(course, Course)]

    def each(step: c.Callable[[Course], None]) -> None:
        for course in running:
            step(course)

    each(Course.begin)
    time.sleep(0.8)
    each(Course.after_nearly_a_second)
    for _ in range(7):
        each(Course.every_second)
        time.sleep(1)
    each(Course.end)
    return courses


@pytest.fixture(params=STORES)
def seen(
    request: pytest.FixtureRequest, courses: dict[str, Course | BaseException]
) -> dict[str, t.Any]:
    course = courses[request.param]
    if isinstance(course, BaseException):
        raise course
    return {"store": request.param, **course.seen}


def test_a_record_is_not_gone_before_its_time(seen: dict[str, t.Any]) -> None:
    """Nobody is logged out early."""
    if seen["early at"] < 1:
        assert seen["early"] == b"one"


def test_a_record_is_gone_after_its_time(seen: dict[str, t.Any]) -> None:
    """And cannot be saved over as if it were still there. That another one is put in
    the place of one that is gone brings none of the others back.
    """
    if seen["store"] == "cookie":
        return
    assert seen["late"] is None
    assert isinstance(seen["revival"], SessionConflictError)
    assert seen["anew"] == b"two"
    assert seen["later"] is None


def test_each_save_says_how_long_a_record_lives(seen: dict[str, t.Any]) -> None:
    """One that takes another's place, and one under a token that is given."""
    if seen["store"] != "cookie":
        assert seen["others"] == [None, None]


def test_saving_the_same_record_extends_its_life(seen: dict[str, t.Any]) -> None:
    """Renewal is a save of the same bytes."""
    assert seen["renewed record"] == b"one"


def test_an_unused_session_ends(seen: dict[str, t.Any]) -> None:
    """After the idle time-out."""
    assert seen["unused"] == "None"


def test_a_used_session_goes_on(seen: dict[str, t.Any]) -> None:
    """Though it is but read: renewed once a tenth of the time has passed."""
    assert seen["used"] == ["1"] * 7
    assert seen["renewed"] == [True] * 7
    assert seen["calls"] == [["load", "save"]] * 7


def test_a_session_ends_at_its_greatest_age(seen: dict[str, t.Any]) -> None:
    """However much it is used: whole seconds count, so it may take one longer."""
    assert seen["oldest"][:4] == ["1"] * 4
    assert seen["oldest"][-1] == "None"
