"""Describe the applications that are compared under load. Gunicorn loads each
application with :func:`from_environment`.
"""

from __future__ import annotations

import collections.abc as c
import os
from dataclasses import dataclass, field

from flask import Flask

from flask_buffalo_session import BuffaloSession

from . import places
from .driver import make_app
from .payloads import PAYLOADS
from .peers import (
    FLASK,
    flask_session,
    flask_session_on_redis,
    flask_session_on_sql,
)
from .suite import Contender
from .suites import COOKIES

#: The payload of all sessions.
PAYLOAD = "S"

_MATCH, _SIDE, _PLACE = "BENCHMARKS_MATCH", "BENCHMARKS_SIDE", "BENCHMARKS_PLACE"


@dataclass(frozen=True)
class Match:
    """Describe two applications that keep their sessions in the same kind of place.

    :param other: the name of the extension that ours is compared with.
    :param place: returns the URL of a place for one of them.
    :param peer: returns the contender that ours is compared with, for a place.
    :param ours: returns ours, for a place.
    :param goals: for each case of :mod:`.load`, how many times as many requests a
        second as the peer ours should answer.
    :param workers: the kinds of gunicorn's workers to measure with.
    """

    title: str
    other: str
    place: c.Callable[[], str]
    peer: c.Callable[[str], Contender]
    ours: c.Callable[[str], Contender]
    goals: dict[str, float] = field(default_factory=dict)
    workers: tuple[str, ...] = ("gthread", "gevent")
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


def _ours(url: str) -> Contender:
    return Contender("ours", lambda app: BuffaloSession(app, store=url))


MATCHES = {
    "redis": Match(
        "Redis",
        "Flask-Session",
        place=lambda: places.redis().url,
        peer=lambda url: flask_session(lambda app: flask_session_on_redis(app, url)),
        ours=_ours,
        goals={"untouched": 2.1, "read": 1.6, "write": 1.1, "mix": 1.7},
        modules=("flask_session", "redis"),
        programs=("redis",),
    ),
    "sqlite": Match(
        "SQLite",
        "Flask-Session",
        place=lambda: places.sqlite("load"),
        peer=lambda url: flask_session(lambda app: flask_session_on_sql(app, url)),
        ours=_ours,
        # SQLite waits for its lock in a way that stops all requests of a gevent worker.
        workers=("gthread",),
        modules=("flask_session", "flask_sqlalchemy", "sqlalchemy"),
    ),
    "cookie": Match(
        "the cookie",
        "Flask",
        place=lambda: "",
        peer=lambda url: FLASK,
        ours=lambda url: COOKIES.ours["signed"],
    ),
}


def contender(match: str, side: str, place: str) -> Contender:
    """
    :param side: "peer" or "ours".
    """
    chosen = MATCHES[match]
    return (chosen.peer if side == "peer" else chosen.ours)(place)


def environment(match: str, side: str, place: str) -> dict[str, str]:
    """Return the variables that :func:`from_environment` reads."""
    return {_MATCH: match, _SIDE: side, _PLACE: place}


def from_environment() -> Flask:
    """Return the application that the environment describes."""
    names = (os.environ[name] for name in (_MATCH, _SIDE, _PLACE))
    return make_app(contender(*names), PAYLOADS[PAYLOAD])
