"""Provide the stores, applications, and sessions without an application."""

from __future__ import annotations

import collections.abc as c
import copy
import functools
import hashlib
import tempfile
import time
import typing as t
import weakref
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from cachelib import FileSystemCache, RedisCache, SimpleCache
from flask import Flask
from hypothesis import settings

from flask_buffalo_session import (
    BuffaloSession,
    CacheStore,
    CookieStore,
    GorillaFormat,
    MemoryStore,
    NativeFormat,
    RedisStore,
    Store,
)
from flask_buffalo_session.backends.base import Backend
from flask_buffalo_session.backends.cookie import CookieBackend
from flask_buffalo_session.backends.server import ServerBackend
from flask_buffalo_session.codec import Codec, Record
from flask_buffalo_session.formats import Format
from flask_buffalo_session.native.codec import NativeCodec
from flask_buffalo_session.opener import Opened
from flask_buffalo_session.policy import Policy
from flask_buffalo_session.records import RecordCipher
from flask_buffalo_session.revocation import RevocationList
from flask_buffalo_session.seal import Seal, Ticket
from flask_buffalo_session.sessions import Session
from flask_buffalo_session.stores.base import new_token, storage_key
from flask_buffalo_session.stores.url import store_from_url
from tests.support import gopeer
from tests.support.servers import (
    MariaServer,
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Servers,
    ValkeyServer,
)

SECRET = "a secret for the tests, long enough"

# No deadline: the time of an example depends mostly on the machine.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

NAME = "_buffalo_session"


@functools.cache
def url(text: str) -> Store:
    """Return the store for a URL. It is cached with its connections: some drivers
    complain of connections that are never closed.
    """
    return store_from_url(text, "/nowhere")


@functools.cache
def folder_of(name: str, at: Servers) -> Path:
    """Return the folder of a store that keeps files."""
    return at.folder(name)


class Recording:
    """Record the tokens of a store in memory, as no client can list its records."""

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        self.tokens: set[str] = set()

    def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        token = super().save(token, data, **how)  # type: ignore[misc]
        self.tokens.add(t.cast(str, token))
        return t.cast(str, token)


class RecordingMemory(Recording, MemoryStore):
    pass


class RecordingCache(Recording, CacheStore):
    pass


@functools.cache
def redis_client(at: Servers, **options: t.Any) -> t.Any:
    return redis.Redis(port=at.shared(RedisServer).port, **options)


#: Every store that keeps sessions on the server. A new store is one line here,
#: and earns its place by passing every test that uses ``server_store``.
SERVER_STORES: dict[str, c.Callable[[Servers], Store]] = {
    "memory": lambda at: RecordingMemory(),
    "redis": lambda at: url(at.shared(RedisServer).url),
    "redis-decoding": lambda at: RedisStore(redis_client(at, decode_responses=True)),
    "valkey": lambda at: url(at.shared(ValkeyServer).url),
    "sqlite": lambda at: url(f"sqlite:///{folder_of('sqlite', at)}/sessions.db"),
    "postgresql": lambda at: url(at.shared(PostgresServer).url),
    "mariadb": lambda at: url(at.shared(MariaServer).url),
    "files": lambda at: url(f"file://{folder_of('files', at)}"),
    "memcached": lambda at: url(at.shared(MemcachedServer).url),
    "cachelib-redis": lambda at: CacheStore(RedisCache(redis_client(at))),
    "cachelib-files": lambda at: CacheStore(
        FileSystemCache(str(folder_of("cachelib-files", at)), threshold=0)
    ),
    "cachelib-simple": lambda at: simple_cache_store(),
}

STORES: dict[str, c.Callable[[Servers], Store]] = {
    "cookie": lambda at: CookieStore(),
    **SERVER_STORES,
}

#: The stores that index sessions by owner.
OWNED = [
    *("memory", "redis", "redis-decoding", "valkey"),
    *("sqlite", "postgresql", "mariadb"),
]


def simple_cache_store() -> Store:
    with pytest.warns(UserWarning, match="throws live sessions away"):
        return RecordingCache(SimpleCache(threshold=10**9))


@pytest.fixture(scope="session")
def servers() -> c.Iterator[Servers]:
    # Not in pytest's own folder: another run makes that private again, while servers
    # that are not run by root look into it.
    with tempfile.TemporaryDirectory(prefix="buffalo-") as folder:
        servers = Servers(
            lambda name: Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        )
        yield servers
        servers.stop()


_connected: dict[str, Store] = {}


def store_named(name: str, servers: Servers) -> Store:
    """Return a new store for one test. It may share connections with other stores."""
    if name in ("cookie", "memory"):
        return STORES[name](servers)
    if name not in _connected:
        _connected[name] = STORES[name](servers)
    store = copy.copy(_connected[name])
    names[store] = name, servers
    return store


#: The names of the stores that tests use, and where their servers are.
names: weakref.WeakKeyDictionary[Store, tuple[str, Servers]] = (
    weakref.WeakKeyDictionary()
)


@pytest.fixture
def server_store(request: pytest.FixtureRequest, servers: Servers) -> Store:
    return store_named(request.param, servers)


@pytest.fixture
def store(request: pytest.FixtureRequest, servers: Servers) -> Store:
    return store_named(request.param, servers)


@pytest.fixture(params=OWNED)
def owned(request: pytest.FixtureRequest, servers: Servers) -> t.Any:
    return store_named(request.param, servers)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a store fixture on every store.

    A test that sets the clock runs only on the stores that use this process's clock.
    test_timeouts.py tests the expiry of the other stores.
    """
    for fixture, stores in (("store", STORES), ("server_store", SERVER_STORES)):
        if fixture in metafunc.fixturenames:
            names = set(stores)
            if "clock" in metafunc.fixturenames:
                names &= {"cookie", "memory"}
            metafunc.parametrize(fixture, sorted(names), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most pairs of a format and a store to ``make check``.

    ``make test`` runs each format over the stores that need no server, and each store
    with one format.
    """
    stores = SERVER_STORES.keys() - {"memory"}
    formats = FORMATS.keys() - {"signed"}
    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        names = {value for value in values if type(value) is str}
        if names & stores and names & formats:
            item.add_marker(pytest.mark.exhaustive)


class Formatting:
    """One of the ways to write sessions.

    :param make: the format, given the secrets.
    """

    def __init__(self, make: c.Callable[..., Format], *, encrypt: bool) -> None:
        self.make = make
        self.encrypt = encrypt

    def settings(self, *secrets: str) -> dict[str, t.Any]:
        """Return the settings that choose this format in ``app.config``.

        :param secrets: newest first.
        """
        return {
            "SESSION_FORMAT": self.make(*secrets),
            "SESSION_ENCRYPT": self.encrypt,
            "SESSION_SECRET": secrets[0],
            "SESSION_SECRET_FALLBACKS": list(secrets[1:]),
        }

    def seal(self, *secrets: str, name: str = NAME) -> Seal:
        """Return the seal of an application with these settings."""
        keys = [secret.encode() for secret in secrets]
        return self.make(*secrets).seal(keys, name, encrypt=self.encrypt)

    def kept(self, data: bytes, token: str, *secrets: str) -> bytes:
        """Return what a store on a server keeps of a record."""
        encrypted = self.encrypt and isinstance(self.make(*secrets), NativeFormat)
        # cryptography before version 45 refuses to encrypt nothing.
        if not encrypted or not data:
            return data
        cipher = RecordCipher([secret.encode() for secret in secrets])
        return cipher.encrypt(data, storage_key(token))


def gorilla_encrypted(*secrets: str) -> GorillaFormat:
    pairs: list[bytes] = []
    for secret in secrets:
        pairs += secret.encode(), hashlib.sha256(secret.encode()).digest()
    return GorillaFormat(*pairs)


#: Every way to write sessions. Tests that use ``formatting`` are over all of them.
FORMATS: dict[str, Formatting] = {
    "signed": Formatting(lambda *secrets: NativeFormat(), encrypt=False),
    "encrypted": Formatting(lambda *secrets: NativeFormat(), encrypt=True),
    "gorilla": Formatting(lambda *secrets: GorillaFormat(), encrypt=False),
    "gorilla-encrypted": Formatting(gorilla_encrypted, encrypt=True),
}


@pytest.fixture(params=FORMATS)
def formatting(request: pytest.FixtureRequest) -> Formatting:
    return FORMATS[request.param]


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


class Stepping:
    """Set the clock of this process; servers have their own clocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = 0
        real = time.time
        for place in ("time", "cachelib.memcached", "cachelib.file", "cachelib.simple"):
            monkeypatch.setattr(f"{place}.time", lambda: real() + self.offset)


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Stepping:
    return Stepping(monkeypatch)


class Counting:
    """Count the calls to a store, and raise errors that a test asks for."""

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.stateless = getattr(store, "stateless", False)
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}

    def _count(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            # The traceback of an error that is raised again and again would grow.
            raise self.failing[name].with_traceback(None)

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
    """Open sessions without Flask, as an application does.

    The cookie is the token itself. ``emitted`` lists the emitted signals.

    :param store: keeps the sessions.
    :param settings: time-outs, as :class:`Policy` takes them, ``revocations`` and
        ``auth_names`` and ``owner_limit``.
    """

    #: The secrets that encrypt the records; none if the records are not encrypted.
    secrets: tuple[bytes, ...] = ()

    def __init__(
        self,
        store: Store,
        *,
        codec: Codec | None = None,
        auth_names: tuple[t.Hashable, ...] = (),
        owner_limit: int | None = None,
        revocations: RevocationList | None = None,
        idle_timeout: int = 3600,
        absolute_timeout: int | None = None,
        rotate_after: int | None = None,
    ) -> None:
        self._store = store
        self.stateless: bool = getattr(store, "stateless", False)
        self._codec = codec or NativeCodec()
        self.auth_names = auth_names
        self.owner_limit = owner_limit
        self.emitted: list[tuple[str, str | None]] = []
        #: Whether the cookies that the browser holds have to be refreshed.
        self.refresh_due = False
        self._settings: dict[str, t.Any] = {
            "idle_timeout": idle_timeout,
            "absolute_timeout": absolute_timeout,
            "rotate_after": rotate_after,
        }
        self.revocations = revocations
        self._sealed: dict[str, float] = {}
        self.set_times()

    @property
    def codec(self) -> Codec:
        return self._codec

    @codec.setter
    def codec(self, codec: Codec) -> None:
        self._codec = codec
        self.set_times()

    @property
    def store(self) -> Store:
        return self._store

    @store.setter
    def store(self, store: Store) -> None:
        self._store = store
        self.set_times()

    def set_times(self, **settings: int | None) -> None:
        """Change time-outs, for the sessions that are opened from now on."""
        self._settings |= settings
        if self.stateless and self.revocations is None:
            self._settings["rotate_after"] = None
        self.policy = Policy(
            self.codec,
            **self._settings,
            permanent_lifetime=self._settings["idle_timeout"],
        )
        cipher = None
        if self.secrets and isinstance(self.codec, NativeCodec):
            made = RecordCipher(self.secrets)
            cipher = lambda: made  # noqa: E731
        self.backend: Backend
        parts = self.store, self.codec, self.policy, self._seal
        if self.stateless:
            revocations = self.revocations
            if revocations is not None and cipher is not None:
                revocations = revocations.encrypted(cipher)
            self.backend = CookieBackend(*parts, revocations, cipher)
        else:
            self.backend = ServerBackend(*parts, cipher)

    def open(self, source: str | Ticket | None) -> Opened:
        if source is None or isinstance(source, Ticket):
            return Opened(self.backend, source)
        # A second earlier than it was, so that the request began before what follows.
        issued = 0 if self.refresh_due else self._sealed.get(source, time.time()) - 1
        return Opened(self.backend, Ticket(source, int(issued), False))

    def _seal(
        self,
        token: str,
        *,
        permanent: bool,
        values: c.Mapping[t.Hashable, bytes],
        issued: int | None = None,
    ) -> str:
        self._sealed[token] = time.time() if issued is None else issued
        return token

    def listens_to(self, signal: object) -> bool:
        return True

    def emit(
        self,
        signal: t.Any,
        session_id: str | None,
        reason: str | None = None,
        *,
        old_id: str | None = None,
    ) -> None:
        self.emitted.append((signal.name.removeprefix("session-"), reason))

    def record(self, token: str) -> Record:
        """Return the record that the store holds under a token."""
        data = self.store.load(token) or b""
        if self.stateless:
            return self.codec.loads(data)
        return self.backend.record_in(data, storage_key(token))

    def keep(self, record: Record) -> str:
        """Save a record past the session, and return its token."""
        token = None if self.stateless else new_token()
        data = self.data_of(record, token)
        return self.store.save(token, data, expected=None, max_age=3600)

    def data_of(self, record: Record, token: str | None) -> bytes:
        """Return what the store holds of a record."""
        data = self.codec.dumps(record)
        if token is None or not self.secrets:
            return data
        return RecordCipher(self.secrets).encrypt(data, storage_key(token))

    def owner_name(self, owner: str) -> str:
        """Return the name under which the store indexes an owner."""
        if not self.secrets:
            return owner
        return RecordCipher(self.secrets).owner_names(owner)[0]

    def session(self, cookie: str | None = None) -> Session:
        """Return the session of a request that sends this cookie."""
        return Session(self, cookie)

    def stored(self, **values: t.Any) -> str:
        """Return the cookie of a session that holds these values."""
        session = self.session()
        session.update(values)
        session.save()
        assert session.cookie
        return session.cookie

    def values(self, cookie: str) -> dict[t.Any, t.Any]:
        """Return what a later request with this cookie finds."""
        return dict(self.session(cookie))


@contextmanager
def desks_with_records(kind: str) -> c.Iterator[None]:
    """Let each :class:`Desk` keep plain or encrypted records."""
    with pytest.MonkeyPatch.context() as patch:
        if kind == "encrypted":
            patch.setattr(Desk, "secrets", (SECRET.encode(),))
        yield


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def records(request: pytest.FixtureRequest) -> c.Iterator[None]:
    """Run a module with plain and with encrypted records."""
    with desks_with_records(request.param):
        yield


@pytest.fixture(
    scope="module",
    params=["plain", pytest.param("encrypted", marks=pytest.mark.exhaustive)],
)
def slow_records(request: pytest.FixtureRequest) -> c.Iterator[None]:
    """Do what ``records`` does, for a module whose tests are slow."""
    with desks_with_records(request.param):
        yield


def make_app(store: object = "cookie", **config: t.Any) -> Flask:
    """Return an application with sessions, outside debug and testing mode."""
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
    """Start a Go program that has registered its types."""
    peer = gopeer.Peer(go_program)
    yield peer
    peer.close()


@pytest.fixture(scope="session")
def bare_go(go_program: Path) -> c.Iterator[gopeer.Peer]:
    """Start a Go program that has registered no types."""
    peer = gopeer.Peer(go_program, bare=True)
    yield peer
    peer.close()
