"""Compare server-side stores with Flask-Session and its defaults, on the same
servers.
"""

from __future__ import annotations

import collections.abc as c

from flask import Flask

from flask_buffalo_session import BuffaloSession

from . import places
from .floor import FLOOR
from .peers import (
    flask_session,
    flask_session_in_memory,
    flask_session_on_files,
    flask_session_on_redis,
    flask_session_on_sql,
)
from .suite import READ, UNTOUCHED, WRITE, Contender, Goal, Suite


def _suite(
    name: str,
    title: str,
    peer: c.Callable[[Flask], object],
    url: c.Callable[[], str],
    *,
    read: float,
    write: float,
    modules: tuple[str, ...] = (),
    programs: tuple[str, ...] = (),
) -> Suite:
    """Return the suite of one store.

    :param peer: makes an application use Flask-Session.
    :param url: our store's URL.
    :param read: the goal for a view that reads: the highest part of what Flask-Session
        adds.
    :param write: the same for a view that writes.
    """
    return Suite(
        name=name,
        title=title,
        floor=FLOOR,
        peer=flask_session(peer),
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


STORES = (
    _suite(
        "redis",
        "Redis",
        lambda app: flask_session_on_redis(app, places.redis().url),
        lambda: places.redis().url,
        read=0.40,
        write=0.75,
        modules=("redis",),
        programs=("redis",),
    ),
    _suite(
        "sql",
        "SQL, in an SQLite file",
        lambda app: flask_session_on_sql(app, places.sqlite("flask-session")),
        lambda: places.sqlite("ours"),
        read=0.15,
        write=0.60,
        modules=("sqlalchemy", "flask_sqlalchemy"),
    ),
    _suite(
        "files",
        "files",
        flask_session_on_files,
        lambda: f"file://{places.folder('ours')}",
        read=0.15,
        write=0.75,
        modules=("portalocker",),
    ),
    _suite(
        "memory",
        "memory",
        flask_session_in_memory,
        lambda: "memory:",
        read=0.42,
        write=0.66,
    ),
)
