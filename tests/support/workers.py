"""The work of other processes in tests: each has an application on the same store."""

from __future__ import annotations

import functools
import time
import typing as t

import cachelib
import redis
from flask import Flask, flash, get_flashed_messages, session
from flask.testing import FlaskClient

from flask_buffalo_session import RedisStore, Session
from tests.conftest import make_app, url

NAME = "_buffalo_session"


# Stores that take a ready client.
_KINDS: dict[str, t.Callable[[str], object]] = {
    "cachelib": lambda at: cachelib.RedisCache(redis.Redis.from_url(at)),
    "folder": lambda at: cachelib.FileSystemCache(at, threshold=0),
    "decoding": lambda at: RedisStore(redis.Redis.from_url(at, decode_responses=True)),
}


@functools.cache
def application(store: str) -> Flask:
    """Return this process's application on a store.

    :param store: a URL. One of ``_KINDS`` and a plus may precede it. With a leading
        ``renewing+``, the application replaces ids after 3 seconds.
    """
    config = {}
    if store.startswith("renewing+"):
        store = store.removeprefix("renewing+")
        config["SESSION_RENEW_AFTER"] = 3
    kind, plus, rest = store.partition("+")
    app = make_app(_KINDS[kind](rest) if plus else url(store), **config)

    @app.get("/set/<name>")
    def set_name(name: str) -> str:
        session[name] = name
        return "set"

    @app.get("/flash/<message>")
    def add_message(message: str) -> str:
        flash(message)
        return "added"

    @app.get("/messages")
    def messages() -> list[str]:
        return [str(message) for message in get_flashed_messages()]

    @app.get("/take/<name>")
    def take_name(name: str) -> str:
        return str(t.cast(Session, session).get_once(name))

    @app.get("/read")
    def read() -> list[str]:
        return sorted(session)

    @app.get("/slow/<name>")
    def slow(name: str) -> str:
        session[name] = name
        time.sleep(0.6)
        return "set at last"

    @app.get("/slow-read")
    def slow_read() -> list[str]:
        found = sorted(session)
        time.sleep(0.6)
        return found

    @app.get("/clear")
    def clear() -> str:
        session.clear()
        return "cleared"

    @app.get("/regenerate")
    def regenerate() -> str:
        t.cast(Session, session).regenerate()
        return "regenerated"

    return app


def browser(store: str, cookie: str | None) -> FlaskClient:
    client = application(store).test_client()
    if cookie is not None:
        client.set_cookie(NAME, cookie)
    return client


def get(store: str, cookie: str | None, path: str) -> tuple[str, str | None]:
    """Send a request; return the response's text and the cookie that it sets."""
    response = browser(store, cookie).get(path)
    assert response.status_code == 200, response.text
    header = response.headers.get("Set-Cookie")
    return response.text, header and header.partition(";")[0].partition("=")[2]


def get_at(store: str, cookie: str, path: str, begin: float) -> tuple[str, str | None]:
    """Send a request at a given time, so that several processes send theirs at once."""
    # Connect to the store before that time.
    get(store, get(store, None, "/set/a")[1], "/read")
    time.sleep(max(0, begin - time.time()))
    return get(store, cookie, path)


def idle(seconds: float) -> None:
    """Keep a process busy, so that the pool starts another one for the next job."""
    time.sleep(seconds)


def get_many(store: str, cookie: str, paths: list[str]) -> None:
    for path in paths:
        get(store, cookie, path)


def take_rounds(store: str, cookies: list[str], begin: float) -> list[str]:
    """Return what this process gets of the one-time value in each session.

    :param begin: when all processes begin, as a Unix time in seconds.
    """
    got = []
    for number, cookie in enumerate(cookies):
        time.sleep(max(0, begin + number * 0.03 - time.time()))
        got.append(get(store, cookie, "/take/prize")[0])
    return got
