"""Serve an application with real servers of WSGI and ASGI."""

from __future__ import annotations

import collections.abc as c
import json
import os
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.support.servers import RedisServer, Server, Servers

ROOT = Path(__file__).parents[2]

APP = "tests.support.served:app"

UWSGI = Path(sys.executable).with_name("uwsgi")


def gunicorn(*options: str) -> c.Callable[[int], list[str]]:
    # The processes are forked from one that has loaded the application.
    options = ("--preload", "--workers", "2", *options)
    return lambda port: ["-m", "gunicorn", f"--bind=127.0.0.1:{port}", *options, APP]


#: How Python starts each server on a port.
COMMANDS: dict[str, c.Callable[[int], list[str]]] = {
    "gunicorn-sync": gunicorn("--worker-class=sync"),
    "gunicorn-gthread": gunicorn("--worker-class=gthread", "--threads=4"),
    "gunicorn-gevent": gunicorn("--worker-class=gevent"),
    "waitress": lambda port: ["-m", "waitress", f"--listen=127.0.0.1:{port}", APP],
    "uvicorn": lambda port: [
        *("-m", "uvicorn", f"--port={port}"),
        "tests.support.served:asgi",
    ],
}


class WebServer(Server):
    """A program that serves the application.

    :param name: one of ``COMMANDS``, or "uwsgi".
    :param store: where sessions are, as in ``SESSION_STORE``.
    """

    def __init__(self, folder: Path, name: str, store: str) -> None:
        super().__init__(folder)
        self.name = name
        self.store = store

    def command(self) -> list[str]:
        if self.name != "uwsgi":
            return [sys.executable, *COMMANDS[self.name](self.port)]
        return [
            *(str(UWSGI), f"--http-socket=127.0.0.1:{self.port}", f"--module={APP}"),
            *("--callable=app", "--master", "--processes=2", "--threads=2"),
            *("--die-on-term", "--need-app", f"--virtualenv={sys.prefix}"),
        ]

    def how(self) -> dict[str, t.Any]:
        environ = {"PYTHONPATH": str(ROOT), "SESSION_STORE": self.store}
        return {"env": {**os.environ, **environ}}

    def post(self, path: str, cookie: str = "") -> str:
        """Send a request; return the cookie that the response sets, or ``""``."""
        with self._opened(path, cookie, b"") as answer:
            return str(answer.headers["Set-Cookie"] or "").partition(";")[0]

    def read(self, cookie: str) -> dict[str, t.Any]:
        """Return the values of a session."""
        with self._opened("/", cookie, None) as answer:
            values: dict[str, t.Any] = json.load(answer)
            return values

    def _opened(self, path: str, cookie: str, body: bytes | None) -> t.Any:
        address = f"http://127.0.0.1:{self.port}{path}"
        return urlopen(Request(address, body, {"Cookie": cookie}), timeout=30)


@pytest.fixture(params=["cookie", "redis"])
def place(request: pytest.FixtureRequest, servers: Servers) -> str:
    return "cookie" if request.param == "cookie" else servers.shared(RedisServer).url


@pytest.fixture(params=[*COMMANDS, "uwsgi"])
def server(
    request: pytest.FixtureRequest, servers: Servers, place: str
) -> c.Iterator[WebServer]:
    if request.param == "uwsgi" and not UWSGI.exists():
        pytest.skip("uWSGI is not installed: run `make versions SESSIONS=servers`")
    server = servers.own(WebServer, request.param, place)
    yield server
    server.stop()


def test_from_login_to_logout(server: WebServer) -> None:
    """Requests at the same time change a nested value.

    Redis keeps all changes. Each cookie holds the change of its own request.
    """
    cookie = server.post("/login/ann")
    assert server.read(cookie) == {"user_id": "ann", "carts": {"home": {}}}

    items = [f"item-{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        cookies = list(
            pool.map(lambda item: server.post(f"/cart/{item}", cookie), items)
        )
    if server.store == "cookie":
        for item, newer in zip(items, cookies, strict=True):
            expected = {"user_id": "ann", "carts": {"home": {item: 1}}}
            assert server.read(newer) == expected
    else:
        assert set(cookies) == {""}
        expected = {"user_id": "ann", "carts": {"home": dict.fromkeys(items, 1)}}
        assert server.read(cookie) == expected

    removed = server.post("/logout", cookie)
    assert removed == "_buffalo_session="
    if server.store != "cookie":
        assert server.read(cookie) == {}
    assert "Traceback" not in server.log()
