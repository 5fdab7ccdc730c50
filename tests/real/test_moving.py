"""Change a running application over to this package, while browsers use it."""

from __future__ import annotations

import collections.abc as c
import concurrent.futures
import http.client
import os
import subprocess
import sys
import textwrap
import time
import typing as t
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.servers import RedisServer, Servers, free_port

ROOT = Path(__file__).parents[2]

BROWSERS = 12

#: The application, before and after the change.
CODE = textwrap.dedent(
    """
    import os

    from flask import Flask, session
    from redis import Redis

    app = Flask(__name__)
    app.config["SECRET_KEY"] = "the secret that the application has had all the time"
    redis = os.environ["REDIS"]
    if os.environ["AFTER"]:
        from flask_buffalo_session import BuffaloSession, previous

        before = os.environ["BEFORE"]
        app.config["SESSION_STORE"] = os.environ["AFTER"]
        app.config["SESSION_COOKIE_SECURE"] = False
        app.config["SESSION_PREVIOUS"] = [
            previous.FlaskSession(redis) if before == "flask-session" else before
        ]
        BuffaloSession(app)
    elif os.environ["BEFORE"] == "flask-session":
        from flask_session import Session

        app.config["SESSION_TYPE"] = "redis"
        app.config["SESSION_REDIS"] = Redis.from_url(redis)
        Session(app)


    @app.get("/login/<int:user>")
    def login(user):
        session["user_id"] = user
        session["cart"] = {}
        return "logged in"


    @app.get("/add/<item>")
    def add(item):
        cart = session["cart"]
        cart[item] = cart.get(item, 0) + 1
        session.modified = True
        return {"user": session["user_id"], "count": cart[item]}


    @app.get("/logout")
    def logout():
        session.clear()
        return "logged out"


    @app.get("/")
    def home():
        return {"user": session.get("user_id")}
    """
)


@contextmanager
def served(folder: Path, port: int, **env: str) -> c.Iterator[None]:
    """Serve the application with two workers of four threads."""
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(folder), "app:app"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4"]
    server = subprocess.Popen(
        [*command, "--log-level", "warning"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )
    try:
        yield
    finally:
        server.terminate()
        server.wait(30)


class Browser:
    """A user's browser, with its cookies.

    :param user: the number that the user logs in with.
    """

    def __init__(self, port: int, user: int) -> None:
        self.port = port
        self.user = user
        self.cookies: dict[str, str] = {}
        self.counts: dict[str, int] = {}

    def get(self, path: str) -> tuple[int, t.Any]:
        """Send a request, again and again while no server listens."""
        deadline = time.monotonic() + 30
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            cookies = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
            try:
                connection.request("GET", path, headers={"Cookie": cookies})
                response = connection.getresponse()
                body = response.read()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "no server came back"
                time.sleep(0.05)
                continue
            finally:
                connection.close()
            for header in response.headers.get_all("Set-Cookie", []):
                name, _, text = header.partition(";")[0].partition("=")
                self.cookies.pop(name, None)
                if text:
                    self.cookies[name] = text
            return response.status, body

    def add(self, item: str) -> None:
        """Add to the cart, and check that nothing was lost."""
        status, body = self.get(f"/add/{item}")
        assert status == 200, f"the user {self.user} was logged out"
        self.counts[item] = self.counts.get(item, 0) + 1
        expected = f'{{"count":{self.counts[item]},"user":{self.user}}}'
        assert body.decode().strip() == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [("flask", "cookie"), ("flask", "redis"), ("flask-session", "redis")],
)
def test_nobody_is_logged_out_by_the_change(
    servers: Servers, tmp_path: Path, before: str, after: str
) -> None:
    """Every browser keeps its user and its cart, and a logout stays final."""
    (tmp_path / "app.py").write_text(CODE)
    redis, port = servers.shared(RedisServer).url, free_port()
    places = {"BEFORE": before, "REDIS": redis}
    browsers = [Browser(port, user) for user in range(BROWSERS)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        def all_of(act: c.Callable[[Browser], object]) -> None:
            list(pool.map(act, browsers))

        with served(tmp_path, port, AFTER="", **places):
            all_of(lambda browser: browser.get(f"/login/{browser.user}"))
            all_of(lambda browser: browser.add("tea"))
        old = [dict(browser.cookies) for browser in browsers]
        assert all("session" in cookies for cookies in old)
        after = redis if after == "redis" else after
        with served(tmp_path, port, AFTER=after, **places):
            for item in ("tea", "milk", "tea", "bread"):
                all_of(lambda browser, item=item: browser.add(item))  # type: ignore[misc]
            assert {frozenset(b.cookies) for b in browsers} == {
                frozenset({"_buffalo_session"})
            }
            all_of(lambda browser: browser.get("/logout"))
            for browser, cookies in zip(browsers, old, strict=True):
                assert browser.get("/")[1].strip() == b'{"user":null}'
                if after != "cookie":
                    browser.cookies = cookies
                    assert browser.get("/")[1].strip() == b'{"user":null}'


def test_two_first_requests_at_once_come_to_one_session(
    servers: Servers, tmp_path: Path
) -> None:
    """In different processes; both edits of the cart are kept."""
    (tmp_path / "app.py").write_text(CODE)
    redis, port = servers.shared(RedisServer).url, free_port()
    places = {"BEFORE": "flask-session", "REDIS": redis}
    browsers = [Browser(port, user) for user in range(BROWSERS)]
    with served(tmp_path, port, AFTER="", **places):
        for browser in browsers:
            browser.get(f"/login/{browser.user}")
    with (
        served(tmp_path, port, AFTER=redis, **places),
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        for browser in browsers:
            tabs = [Browser(port, browser.user) for _ in range(4)]
            for tab in tabs:
                tab.cookies = dict(browser.cookies)
            list(pool.map(lambda pair: pair[1].add(f"item-{pair[0]}"), enumerate(tabs)))
            for number in range(4):
                tabs[0].counts[f"item-{number}"] = 1
                tabs[0].add(f"item-{number}")
