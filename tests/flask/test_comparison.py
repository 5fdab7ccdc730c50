"""Perform each row of the table that compares this session with other sessions."""

from __future__ import annotations

import collections.abc as c
import dataclasses
import datetime as dt
import pickle
import re
import typing as t
from decimal import Decimal
from pathlib import Path

import flask
import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from flask_session import Session as FlaskSession

from flask_buffalo_session import BuffaloSession
from tests.conftest import SECRET
from tests.support.servers import RedisServer, Servers, free_port

# Flask-Session uses what is deprecated, and warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs/explanation/comparison.md"
COLUMNS = ["Flask", "Flask-Session", "cookie", "server"]

VALUES = {
    "tuple": (1, 2),
    "set": {1, 2},
    "datetime": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    "decimal": Decimal("1.50"),
}


@dataclasses.dataclass
class Contender:
    """An application with one of the sessions.

    :param column: which session it has.
    :param port: where Redis is.
    """

    column: str
    port: int
    redis: redis.Redis = dataclasses.field(init=False)
    clients: list[t.Any] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = self._client(self.port)

    def app(self, port: int | None = None) -> Flask:
        """Return an application.

        :param port: where the store is. The default is Redis's port.
        """
        app = Flask("comparison")
        app.config.update(SECRET_KEY=SECRET)
        port = port or self.port
        if self.column == "Flask-Session":
            client = self._client(port)
            app.config.update(SESSION_TYPE="redis", SESSION_REDIS=client)
            FlaskSession(app)
        elif self.column == "cookie":
            BuffaloSession(app)
        elif self.column == "server":
            BuffaloSession(app, store=self._client(port))

        app.add_url_rule("/untouched", view_func=lambda: "untouched")

        @app.route("/set/<name>/<value>")
        def set_value(name: str, value: str) -> str:
            flask.session[name] = value
            return "set"

        @app.route("/get/<name>")
        def get_value(name: str) -> str:
            return str(flask.session.get(name))

        @app.route("/logout")
        def logout() -> str:
            flask.session.clear()
            return "logged out"

        return app

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def _client(self, port: int) -> t.Any:
        client = redis.Redis(port=port, db=9)  # no other test uses it
        self.clients.append(client)
        return client


def cookie_of(client: FlaskClient) -> str | None:
    """Return the text of the session's cookie."""
    cookie = client.get_cookie(client.application.config["SESSION_COOKIE_NAME"])
    return None if cookie is None else cookie.value


def with_cookie(app: Flask, text: str | None) -> FlaskClient:
    """Return another browser, which has a copy of the cookie."""
    client = app.test_client()
    if text is not None:
        client.set_cookie(app.config["SESSION_COOKIE_NAME"], text)
    return client


def requests_to(server: redis.Redis) -> int:
    """Return how many commands for records the server has run."""
    stats = server.info("commandstats")
    names = ("cmdstat_get", "cmdstat_set", "cmdstat_setex", "cmdstat_eval")
    return sum(stats.get(name, {"calls": 0})["calls"] for name in names)


def edits_inside(at: Contender) -> bool:
    app = at.app()

    @app.route("/begin")
    def begin() -> str:
        flask.session["cart"] = ["tea"]
        return "begun"

    @app.route("/edit")
    def edit() -> str:
        flask.session["cart"].append("milk")
        return "edited"

    client = app.test_client()
    client.get("/begin")
    client.get("/edit")
    return "milk" in client.get("/get/cart").text


def leaves_alone(at: Contender) -> bool:
    client = at.app().test_client()
    client.get("/set/x/1")
    before = requests_to(at.redis)
    response = client.get("/untouched")
    return requests_to(at.redis) == before and "Set-Cookie" not in response.headers


def both_changes(at: Contender) -> bool:
    app = at.app()
    client = app.test_client()

    @app.route("/slow")
    def slow() -> str:
        flask.session["slow"] = "1"
        client.get("/set/quick/1")
        return "slow"

    client.get("/set/begun/1")
    client.get("/slow")
    return client.get("/get/quick").text == client.get("/get/slow").text == "1"


def copies_end(at: Contender) -> bool:
    app = at.app()
    client = app.test_client()
    client.get("/set/x/1")
    copy = cookie_of(client)
    client.get("/logout")
    return with_cookie(app, copy).get("/get/x").text == "None"


def stays_ended(at: Contender) -> bool:
    app = at.app()
    client = app.test_client()

    @app.route("/slow")
    def slow() -> str:
        flask.session["slow"] = "1"
        client.get("/logout")
        return "slow"

    client.get("/set/x/1")
    client.get("/slow")
    return client.get("/get/x").text == "None"


def new_id(at: Contender) -> bool:
    client = at.app().test_client()
    client.get("/set/x/1")
    before = cookie_of(client)
    client.get("/set/user_id/42")
    return cookie_of(client) != before


def values_are_hidden(at: Contender) -> bool:
    client = at.app().test_client()
    client.get("/set/x/visible")
    text = cookie_of(client) or ""
    # Base64 has three texts for a word, by its place among the others.
    return not re.search("dmlzaWJsZ|Zpc2libG|2aXNpYmxl", text)


def store_gives_no_sessions(at: Contender) -> bool:
    client = at.app().test_client()
    client.get("/set/x/1")
    keys = [key.decode() for key in t.cast(list[bytes], at.redis.keys())]
    text = cookie_of(client) or ""
    return keys != [] and not any(key.rpartition(":")[2] in text for key in keys)


def made_up_is_not_looked_up(at: Contender) -> bool:
    client = with_cookie(at.app(), "a-made-up-id-of-no-session-0123456789abcdef")
    before = requests_to(at.redis)
    client.get("/get/x")
    return requests_to(at.redis) == before


def never_unpickles(at: Contender) -> bool:
    app = at.app()
    client = app.test_client()
    client.get("/set/x/1")
    for key in t.cast(list[bytes], at.redis.keys()):
        at.redis.set(key, pickle.dumps({"x": "unpickled"}))
    return client.get("/get/x").text != "unpickled"


def types_are_kept(at: Contender) -> bool:
    app = at.app()

    @app.route("/begin")
    def begin() -> str:
        flask.session.update(VALUES)
        return "begun"

    @app.route("/look")
    def look() -> str:
        return str(dict(flask.session).items() >= VALUES.items())

    client = app.test_client()
    client.get("/begin")
    return client.get("/look").text == "True"


def too_large_is_an_error(at: Contender) -> bool:
    app = at.app()

    @app.route("/fill")
    def fill() -> str:
        flask.session["x"] = "".join(map(str, range(4000)))
        return "filled"

    with pytest.MonkeyPatch.context() as patch:
        # Werkzeug warns of such a cookie.
        patch.setattr("warnings.warn", lambda *args, **options: None)
        return app.test_client().get("/fill").status_code == 500


def works_during_an_outage(at: Contender) -> bool:
    client = with_cookie(at.app(port=free_port()), "x" * 43)
    return client.get("/untouched").status_code == 200


def lists_sessions(at: Contender) -> bool:
    app = at.app()

    @app.route("/bind")
    def bind() -> str:
        flask.session.bind("ann")  # type: ignore[attr-defined]
        return "bound"

    app.test_client().get("/bind")
    extension = app.extensions.get("buffalo_session")
    if extension is None:
        return False
    with app.app_context():
        try:
            return bool(extension.revoke_all("ann"))
        except NotImplementedError:
            return False


#: What performs each row, in the order of the page.
ROWS: list[c.Callable[[Contender], bool]] = [
    edits_inside,
    leaves_alone,
    both_changes,
    copies_end,
    stays_ended,
    new_id,
    values_are_hidden,
    store_gives_no_sessions,
    made_up_is_not_looked_up,
    never_unpickles,
    types_are_kept,
    too_large_is_an_error,
    works_during_an_outage,
    lists_sessions,
]


def cells() -> list[list[str]]:
    """Return the cells of the table, without its head and its first column."""
    lines = re.findall(r"^\| (?!---)(.+) \|$", PAGE.read_text(), re.MULTILINE)
    return [line.split(" | ")[1:] for line in lines[1:]]


def test_every_row_has_a_test() -> None:
    """A new row of the page needs a function here."""
    assert [len(row) for row in cells()] == [len(COLUMNS)] * len(ROWS)


CASES = [
    pytest.param(perform, column, cell, id=f"{perform.__name__}-{column}")
    for perform, row in zip(ROWS, cells(), strict=False)
    for column, cell in zip(COLUMNS, row, strict=False)
    if cell != "–"
]


@pytest.mark.parametrize(("perform", "column", "cell"), CASES)
def test_the_table_is_true(
    perform: c.Callable[[Contender], bool], column: str, cell: str, servers: Servers
) -> None:
    """Each cell says what the session does. A dash says that the row does not apply."""
    at = Contender(column, servers.shared(RedisServer).port)
    at.redis.flushdb()
    try:
        assert cell == ("yes" if perform(at) else "no")
    finally:
        at.close()
