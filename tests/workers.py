"""What other processes do in the tests: requests to an application of their own, whose
sessions are in the same store.
"""

from __future__ import annotations

import functools
import time
import typing as t

import cachelib
import redis
from conftest import make_app, url
from flask import Flask, flash, get_flashed_messages, session
from flask.testing import FlaskClient

from flask_buffalo_session import Session

NAME = "_buffalo_session"


@functools.cache
def application(store: str) -> Flask:
    """
    :param store: a URL; with ``cachelib+`` in front, of a Redis to be used as a
        cache; with ``renewing+``, where ids grow old in a second.
    """
    config = {}
    if store.startswith("renewing+"):
        store = store.removeprefix("renewing+")
        config["SESSION_RENEW_AFTER"] = 1
    if store.startswith("cachelib+"):
        client = redis.Redis.from_url(store.removeprefix("cachelib+"))
        app = make_app(cachelib.RedisCache(client), **config)
    else:
        app = make_app(url(store), **config)

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
    """The answer to one request, and the cookie that it sets."""
    response = browser(store, cookie).get(path)
    assert response.status_code == 200, response.text
    header = response.headers.get("Set-Cookie")
    return response.text, header and header.partition(";")[0].partition("=")[2]


def get_at(store: str, cookie: str, path: str, begin: float) -> tuple[str, str | None]:
    """The same, together with the others that begin at that time."""
    # So that all are connected by then.
    get(store, get(store, None, "/set/a")[1], "/read")
    time.sleep(max(0, begin - time.time()))
    return get(store, cookie, path)


def idle(seconds: float) -> None:
    """Keep a process busy, having it start and import all this."""
    time.sleep(seconds)


def get_many(store: str, cookie: str, paths: list[str]) -> None:
    for path in paths:
        get(store, cookie, path)


def take_rounds(store: str, cookies: list[str], begin: float) -> list[str]:
    """What one process gets of the value in each of these sessions, together with
    the others that begin at the same time.
    """
    got = []
    for number, cookie in enumerate(cookies):
        time.sleep(max(0, begin + number * 0.03 - time.time()))
        got.append(get(store, cookie, "/take/prize")[0])
    return got
