"""Compare server-side stores with Flask-Session and its defaults, on the same
servers.
"""

from __future__ import annotations

import collections.abc as c
import typing as t

from flask import Flask

from flask_buffalo_session import BuffaloSession

from . import places
from .floor import FLOOR
from .suite import PERMANENT, READ, UNTOUCHED, WRITE, Contender, Goal, Suite


def _suite(
    name: str,
    title: str,
    settings: c.Callable[[Flask], dict[str, t.Any]],
    url: c.Callable[[], str],
    *,
    read: float,
    write: float,
    modules: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
) -> Suite:
    """Return the suite of one store.

    :param settings: Flask-Session's settings.
    :param url: our store's URL.
    :param read: the goal for a view that reads: the highest part of what Flask-Session
        adds.
    :param write: the same for a view that writes.
    """

    def install_peer(app: Flask) -> None:
        from flask_session import Session

        app.config.update(settings(app))
        Session(app)

    return Suite(
        name=name,
        title=title,
        floor=FLOOR,
        # By default, Flask-Session sets the cookie on every request.
        peer=Contender(
            "Flask-Session",
            install_peer,
            answers_with_cookie=frozenset({UNTOUCHED, PERMANENT, READ, WRITE}),
        ),
        ours={name: Contender("ours", lambda app: BuffaloSession(app, store=url()))},
        goals=(
            Goal(READ, "peer", read, (name,), "wall time"),
            Goal(WRITE, "peer", write, (name,), "wall time"),
        ),
        cases=(UNTOUCHED, READ, WRITE),
        payloads=("S",),
        measures=("wall time",),
        modules=("flask_session", *modules),
        programs=programs,
    )


def _redis_settings(app: Flask) -> dict[str, t.Any]:
    from redis import Redis

    client = Redis.from_url(places.redis().url)
    return {"SESSION_TYPE": "redis", "SESSION_REDIS": client}


def _sql_settings(app: Flask) -> dict[str, t.Any]:
    from flask_sqlalchemy import SQLAlchemy

    url = f"sqlite:///{places.folder('flask-session')}/sessions.db"
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    return {"SESSION_TYPE": "sqlalchemy", "SESSION_SQLALCHEMY": SQLAlchemy(app)}


def _files_settings(app: Flask) -> dict[str, t.Any]:
    from cachelib import FileSystemCache

    cache = FileSystemCache(str(places.folder("flask-session")))
    return {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": cache}


def _memory_settings(app: Flask) -> dict[str, t.Any]:
    from cachelib import SimpleCache

    return {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": SimpleCache()}


STORES = (
    _suite(
        "redis",
        "Redis",
        _redis_settings,
        lambda: places.redis().url,
        read=0.50,
        write=0.92,
        modules=("redis",),
        programs=("redis",),
    ),
    _suite(
        "sql",
        "SQL, in an SQLite file",
        _sql_settings,
        lambda: f"sqlite:///{places.folder('ours')}/sessions.db",
        read=0.15,
        write=0.60,
        modules=("sqlalchemy", "flask_sqlalchemy"),
    ),
    _suite(
        "files",
        "files",
        _files_settings,
        lambda: f"file://{places.folder('ours')}",
        read=0.20,
        write=0.70,
        modules=("portalocker",),
    ),
    _suite(
        "memory",
        "memory",
        _memory_settings,
        lambda: "memory:",
        read=0.25,
        write=0.25,
    ),
)
