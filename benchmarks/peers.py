"""Make applications use the extensions that ours is compared with. This module does not
import ours, so that the memory of a peer's process can be measured.
"""

from __future__ import annotations

import collections.abc as c

from flask import Flask

from . import places
from .suite import PERMANENT, READ, UNTOUCHED, WRITE, Contender

FLASK = Contender(
    "Flask",
    lambda app: None,
    # By default, Flask sets a permanent session's cookie on every request.
    answers_with_cookie=frozenset({PERMANENT, WRITE}),
)


def flask_session(install: c.Callable[[Flask], object]) -> Contender:
    return Contender(
        "Flask-Session",
        install,
        # By default, Flask-Session sets the cookie on every request.
        answers_with_cookie=frozenset({UNTOUCHED, PERMANENT, READ, WRITE}),
    )


def flask_session_on_redis(app: Flask, url: str) -> None:
    from redis import Redis

    _install(app, SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))


def flask_session_on_sql(app: Flask, url: str) -> None:
    from flask_sqlalchemy import SQLAlchemy

    app.config["SQLALCHEMY_DATABASE_URI"] = url
    _install(app, SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=SQLAlchemy(app))


def flask_session_on_files(app: Flask) -> None:
    from cachelib import FileSystemCache

    cache = FileSystemCache(str(places.folder("flask-session")))
    _install(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)


def flask_session_in_memory(app: Flask) -> None:
    from cachelib import SimpleCache

    _install(app, SESSION_TYPE="cachelib", SESSION_CACHELIB=SimpleCache())


def _install(app: Flask, **settings: object) -> None:
    from flask_session import Session

    app.config.update(settings)
    Session(app)
