"""What the tests share: the stores, applications, and sessions without one."""

from __future__ import annotations

import collections.abc as c
import typing as t
from pathlib import Path

import gopeer
import pytest
from flask import Flask

from flask_buffalo_session import BuffaloSession, CookieStore, MemoryStore, Store
from flask_buffalo_session.codec import Codec, NativeCodec
from flask_buffalo_session.seal import Ticket
from flask_buffalo_session.sessions import Opened, Session

SECRET = "a secret for the tests, long enough"

#: Every store that keeps sessions on the server. A new store is one line here,
#: and earns its place by passing every test that uses ``server_store``.
SERVER_STORES: dict[str, c.Callable[[], Store]] = {
    "memory": MemoryStore,
}

STORES: dict[str, c.Callable[[], Store]] = {"cookie": CookieStore, **SERVER_STORES}


@pytest.fixture(params=SERVER_STORES)
def server_store(request: pytest.FixtureRequest) -> Store:
    return SERVER_STORES[request.param]()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


@pytest.fixture(params=[False, True], ids=["signed", "encrypted"])
def encrypt(request: pytest.FixtureRequest) -> bool:
    return t.cast(bool, request.param)


@pytest.fixture(autouse=True)
def _no_secret_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET", "SECRET_FILE", "SECRET_FALLBACKS"):
        monkeypatch.delenv(f"SESSION_{name}", raising=False)


class Clock:
    """Stands in for ``time.time``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.25
        monkeypatch.setattr("time.time", lambda: self.now)

    def tick(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Counting:
    """A store that counts what it is asked, and fails when told to."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.stateless = getattr(store, "stateless", False)
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]

    def load(self, token: str) -> bytes | None:
        self._count("load")
        return self.inner.load(token)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        self._count("save")
        return self.inner.save(token, data, expected=expected, max_age=max_age)

    def delete(self, token: str) -> None:
        self._count("delete")
        self.inner.delete(token)


class Desk:
    """The backing of sessions that have no application: what a browser holds is
    a :class:`Ticket`, and ``told`` is what signals would have said.
    """

    def __init__(self, store: Store, **settings: t.Any) -> None:
        self.store = store
        self.stateless: bool = getattr(store, "stateless", False)
        self.codec: Codec = NativeCodec()
        self.idle_timeout: int = settings.get("idle_timeout", 3600)
        self.absolute_timeout: int | None = settings.get("absolute_timeout")
        self.auth_names: tuple[t.Hashable, ...] = settings.get("auth_names", ())
        self.told: list[tuple[str, str | None]] = []
        self.renewal_due = False

    def open(self, source: Ticket | None) -> Opened:
        return Opened(self.store, source)

    def seal(
        self, token: str, *, permanent: bool, values: c.Mapping[t.Hashable, bytes]
    ) -> str:
        return token

    def due(self, issued: int, *, permanent: bool) -> bool:
        return self.renewal_due and issued == 0

    def tell(
        self, signal: t.Any, session_id: str | None, reason: str | None = None
    ) -> None:
        self.told.append((signal.name.removeprefix("session-"), reason))

    def session(self, cookie: str | None = None) -> Session:
        """The session of a request that sends this cookie."""
        return Session(self, None if cookie is None else Ticket(cookie, 0, False))

    def stored(self, **values: t.Any) -> str:
        """The cookie of a session that holds these values."""
        session = self.session()
        session.update(values)
        session.save()
        assert session.cookie
        return session.cookie

    def values(self, cookie: str) -> dict[t.Any, t.Any]:
        """What a later request with this cookie finds."""
        return dict(self.session(cookie))


def make_app(store: object = "cookie", **config: t.Any) -> Flask:
    """An application with sessions, outside debug and testing mode."""
    app = Flask("shop")
    app.config.update(SESSION_SECRET=SECRET, SESSION_STORE=store)
    app.config.update(config)
    BuffaloSession(app)
    return app


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gopeer.build(tmp_path_factory.mktemp("gorilla"))


@pytest.fixture(scope="session")
def go(go_program: Path) -> c.Iterator[gopeer.Peer]:
    """A Go program that has registered its types."""
    peer = gopeer.Peer(go_program)
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def bare_go(go_program: Path) -> c.Iterator[gopeer.Peer]:
    """One that has registered none."""
    peer = gopeer.Peer(go_program, bare=True)
    yield peer
    peer.close()
