"""Closing the connections of stores."""

from __future__ import annotations

import collections.abc as c
import gc
import warnings
from pathlib import Path

import pytest
from flask import Flask

from flask_buffalo_session import BuffaloSession, MemoryStore, SQLStore, session
from tests.conftest import SECRET
from tests.support.servers import (
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Servers,
)


class ClosableStore(MemoryStore):
    """A store that counts the calls of ``close``."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def serve(buffalo: BuffaloSession, **config: object) -> Flask:
    app = Flask(__name__)
    app.config.update(SESSION_SECRET=SECRET, **config)
    buffalo.init_app(app)

    @app.get("/")
    def count() -> str:
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    return app


#: The stores with connections.
CONNECTED: dict[str, c.Callable[[Servers], str]] = {
    "redis": lambda at: at.shared(RedisServer).url,
    "postgresql": lambda at: at.shared(PostgresServer).url,
    "memcached": lambda at: at.shared(MemcachedServer).url,
    "sqlite": lambda at: f"sqlite:///{at.folder('sqlite')}/sessions.db",
}


@pytest.mark.parametrize("kind", CONNECTED)
def test_nothing_is_left_open(servers: Servers, kind: str) -> None:
    """After ``close`` Python warns of no connection that is still open.

    Python warns of connections to SQLite from 3.13 on.
    """
    buffalo = BuffaloSession()
    app = serve(buffalo, SESSION_STORE=CONNECTED[kind](servers))
    client = app.test_client()
    assert client.get("/").text == "1"
    buffalo.close()
    assert client.get("/").text == "2", "the next request opens a new connection"
    buffalo.close()
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client, app, buffalo
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_all_applications_and_the_revocation_list(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``close`` needs no application context."""
    closed: list[SQLStore] = []
    # A built-in method would not be bound to the store.
    monkeypatch.setattr(SQLStore, "close", lambda store: closed.append(store))
    buffalo = BuffaloSession()
    url = f"sqlite:///{tmp_path}/sessions.db"
    serve(buffalo, SESSION_STORE="null")
    apps = [
        serve(buffalo, SESSION_STORE=url),
        serve(buffalo, SESSION_STORE="cookie", SESSION_REVOCATION=url),
    ]
    buffalo.close()
    assert len(closed) == len(apps)


def test_an_applications_own_store_stays_open() -> None:
    """The application made it, so the application closes it."""
    store, argument, revocations = ClosableStore(), ClosableStore(), ClosableStore()
    buffalo = BuffaloSession()
    serve(buffalo, SESSION_STORE=store)
    serve(buffalo, SESSION_STORE="cookie", SESSION_REVOCATION=revocations)
    # The argument wins over the setting's URL.
    other = BuffaloSession(store=argument)
    serve(other, SESSION_STORE="memory:")
    buffalo.close()
    other.close()
    assert [one.closed for one in (store, argument, revocations)] == [0, 0, 0]
