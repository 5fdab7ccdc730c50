"""``flask session doctor``, and what is said of the same when serving starts."""

from __future__ import annotations

import logging
import time
import typing as t
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from cachelib import FileSystemCache, SimpleCache
from click.testing import Result
from flask import Flask, session
from flask_wtf import CSRFProtect
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymemcache.client.base import Client

from flask_buffalo_session import (
    CacheStore,
    CookieStore,
    GorillaFormat,
    MemoryStore,
    RedisStore,
    SQLStore,
    Store,
)
from flask_buffalo_session.errors import (
    SessionConflictError,
    SessionError,
    SessionStoreError,
)
from flask_buffalo_session.gorilla.files import GorillaFiles
from flask_buffalo_session.stores.base import Health
from tests.conftest import SECRET, Counting, make_app, store_named, url
from tests.support.parameters import stable_repr
from tests.support.servers import (
    MemcachedServer,
    PostgresServer,
    RedisServer,
    Servers,
    free_port,
)

OTHER_SECRET = "another secret, which is not that one"

HOUR = 3600

HINT = "SESSION_COOKIE_SECURE = True"


def sound_app(store: object = "cookie", **config: t.Any) -> Flask:
    """An application that there is nothing to say of, but for what is given."""
    return make_app(store, **{"SESSION_COOKIE_SECURE": True, **config})


def examined(app: Flask, *, debug: bool = False) -> Result:
    runner = app.test_cli_runner(env={"FLASK_DEBUG": "1" if debug else "0"})
    return runner.invoke(args=["session", "doctor"])


def found(app: Flask, *, debug: bool = False) -> list[str]:
    """What kind of finding there is about which setting. The exit code and the last
    line agree with it.
    """
    result = examined(app, debug=debug)
    _, *findings, last = result.output.strip().split("\n\n")
    shown = []
    for finding in findings:
        head, fix = finding.split("\n")
        assert fix.startswith("  ")
        shown.append(head.partition(":")[0])
    problems = sum(line.startswith("problem") for line in shown)
    assert last == (f"Problems: {problems}." if problems else "No problems found.")
    assert result.exit_code == (1 if problems else 0)
    return shown


def said(app: Flask) -> str:
    """All there is to say, in one line."""
    return " ".join(examined(app).output.split())


class TestNothingFound:
    def test_in_a_sound_application(self, store: Store, encrypt: bool) -> None:
        """Whatever its store is, unless that is this process's memory."""
        names = found(sound_app(store, SESSION_ENCRYPT=encrypt))
        if isinstance(store, MemoryStore):
            names.remove("problem  SESSION_STORE")
        if isinstance(store, CacheStore) and store.in_memory:
            # It is in memory, and it has a threshold.
            names.remove("problem  SESSION_STORE")
            names.remove("problem  SESSION_STORE")
        encrypted = encrypt and not isinstance(store, CookieStore)
        assert names == (["note  SESSION_ENCRYPT"] if encrypted else [])

    def test_in_one_that_shares_its_sessions_with_go(
        self, servers: Servers, tmp_path: Path
    ) -> None:
        """Records are in Go's format there, and so is the one that is tried."""
        client = redis.Redis(port=servers.shared(RedisServer).port)
        for store in (
            "cookie",
            RedisStore(client, prefix="session_", hashed=False),
            GorillaFiles(tmp_path, SECRET, name="_buffalo_session"),
        ):
            assert found(sound_app(store, SESSION_FORMAT="gorilla")) == []
        client.close()

    def test_in_null_mode(self) -> None:
        """There is nothing to look at."""
        result = examined(make_app(SESSION_API=True, SESSION_SECRET=None))
        assert result.exit_code == 0
        assert result.output == (
            "This application has no sessions, so there is nothing to check.\n"
        )

    def test_and_nothing_is_left_behind(self) -> None:
        """The record that tried out the store is deleted."""
        tokens = set()

        class Recording(MemoryStore):
            def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
                tokens.add(saved := super().save(token, data, **how))
                return saved

        store = Recording()
        assert examined(sound_app(Counting(store))).exit_code == 0
        (token,) = tokens
        assert store.load(token) is None


#: What is set, what is said of which setting, and what mends it.
SETTINGS: list[tuple[dict[str, t.Any], str, dict[str, t.Any]]] = [
    ({"SESSION_SECRET": None}, "SESSION_SECRET: there is none", {}),
    (
        {"SESSION_SECRET": "x7Kq-Lm2_Zr9"},
        "SESSION_SECRET: it is shorter than 16 bytes",
        {},
    ),
    ({"SESSION_SECRET": "super secret key"}, "SESSION_SECRET: it is well known", {}),
    ({"SESSION_SECRET": "buffalo-secret"}, "SESSION_SECRET: it is well known", {}),
    ({"SESSION_SECRET": "password" * 4}, "SESSION_SECRET: it has too little", {}),
    ({"SESSION_SECRET": "a1" + "b" * 30}, "SESSION_SECRET: it has too little", {}),
    (
        {"SESSION_SECRET": None, "SECRET_KEY": "dev"},
        "SECRET_KEY: it is short",
        {"SECRET_KEY": SECRET},
    ),
    (
        {"SESSION_SECRET_FALLBACKS": [OTHER_SECRET, "old"]},
        "SESSION_SECRET_FALLBACKS, number 2: it is short",
        {"SESSION_SECRET_FALLBACKS": [OTHER_SECRET]},
    ),
    (
        {"SESSION_SECRET_FALLBACKS": [SECRET]},
        "SESSION_SECRET_FALLBACKS, number 1: it is the same as the secret in force",
        {"SESSION_SECRET_FALLBACKS": [OTHER_SECRET]},
    ),
    (
        {"SESSION_SECRET_FALLBACKS": [OTHER_SECRET, OTHER_SECRET]},
        "SESSION_SECRET_FALLBACKS, number 2: it is the same as another fallback",
        {"SESSION_SECRET_FALLBACKS": []},
    ),
    (
        {
            "SESSION_SECRET": None,
            "SECRET_KEY": SECRET,
            "SECRET_KEY_FALLBACKS": [SECRET.encode()],
        },
        "SECRET_KEY_FALLBACKS, number 1: it is the same",
        {"SECRET_KEY_FALLBACKS": [OTHER_SECRET]},
    ),
    (
        {"SESSION_SECRET": None, "SESSION_FORMAT": GorillaFormat("k", None, "k")},
        "SESSION_FORMAT, number 1: it is the same",
        {"SESSION_FORMAT": GorillaFormat(SECRET, None, OTHER_SECRET)},
    ),
    (
        {"SESSION_COOKIE_SECURE": False},
        "SESSION_COOKIE_SECURE: it is not True",
        {"SESSION_COOKIE_SECURE": True},
    ),
    (
        {"SESSION_COOKIE_SAMESITE": "None"},
        "SESSION_COOKIE_SAMESITE: it is 'None', so the requests of every other site",
        {"SESSION_COOKIE_SAMESITE": "Strict"},
    ),
    (
        {"SESSION_COOKIE_SAMESITE": "None", "SESSION_COOKIE_SECURE": False},
        "SESSION_COOKIE_SAMESITE: it is 'None', and browsers drop",
        {"SESSION_COOKIE_SAMESITE": "Lax", "SESSION_COOKIE_SECURE": True},
    ),
    (
        {"SESSION_COOKIE_HTTPONLY": False},
        "SESSION_COOKIE_HTTPONLY: it is False",
        {"SESSION_COOKIE_HTTPONLY": True},
    ),
    (
        {"SESSION_COOKIE_PARTITIONED": True, "SESSION_COOKIE_SECURE": False},
        "SESSION_COOKIE_PARTITIONED: browsers drop",
        {"SESSION_COOKIE_SECURE": True},
    ),
    (
        {"MAX_COOKIE_SIZE": 0},
        "MAX_COOKIE_SIZE: it allows",
        {"SESSION_STORE": Counting(MemoryStore())},
    ),
    (
        {"MAX_COOKIE_SIZE": 4097},
        "MAX_COOKIE_SIZE: it allows",
        {"MAX_COOKIE_SIZE": 4096},
    ),
    (
        {"SESSION_ABSOLUTE_TIMEOUT": 60, "SESSION_IDLE_TIMEOUT": timedelta(minutes=2)},
        "SESSION_ABSOLUTE_TIMEOUT: it is less than SESSION_IDLE_TIMEOUT",
        {"SESSION_ABSOLUTE_TIMEOUT": 120},
    ),
    (
        {"PERMANENT_SESSION_LIFETIME": 121, "SESSION_IDLE_TIMEOUT": 120},
        "PERMANENT_SESSION_LIFETIME: it is more than SESSION_IDLE_TIMEOUT",
        {"PERMANENT_SESSION_LIFETIME": 120},
    ),
    (
        {"SESSION_STORE": "memory:"},
        "SESSION_STORE: sessions are in the memory of one process",
        {"SESSION_STORE": "cookie"},
    ),
]


class TestSettings:
    @pytest.mark.parametrize(("given", "told", "mended"), SETTINGS, ids=stable_repr)
    def test_what_is_wrong_is_named_until_it_is_mended(
        self, given: dict[str, t.Any], told: str, mended: dict[str, t.Any]
    ) -> None:
        """A problem each, and the exit code 1."""
        app = sound_app(**given)
        name = told.partition(":")[0]
        assert f"problem  {name}" in found(app)
        assert told in said(app)
        repaired = {**given, **(mended or {"SESSION_SECRET": SECRET})}
        assert found(sound_app(**repaired)) == []

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ({"SESSION_COOKIE_DOMAIN": "shop.test"}, "note  SESSION_COOKIE_DOMAIN"),
            (
                {"SESSION_FORMAT": GorillaFormat(OTHER_SECRET)},
                "note  SESSION_SECRET",
            ),
        ],
    )
    def test_what_may_be_meant_is_a_note(
        self, given: dict[str, t.Any], told: str
    ) -> None:
        """It does not count."""
        assert found(sound_app(**given)) == [told]

    @pytest.mark.parametrize(
        "given",
        [
            {"SESSION_IDLE_TIMEOUT": 60},
            {"SESSION_ABSOLUTE_TIMEOUT": 60},
            {"PERMANENT_SESSION_LIFETIME": 60},
            {"SESSION_IDLE_TIMEOUT": timedelta(days=90)},
        ],
        ids=repr,
    )
    def test_one_time_alone_contradicts_nothing(self, given: dict[str, t.Any]) -> None:
        """The others are at their defaults."""
        assert found(sound_app(**given)) == []

    def test_other_sites_may_embed_one_that_is_protected(self) -> None:
        """By Flask-WTF: then it is meant so."""
        app = sound_app(SESSION_COOKIE_SAMESITE="None")
        CSRFProtect(app)
        assert found(app) == ["note  SESSION_COOKIE_SAMESITE"]

    def test_the_workers_that_the_environment_asks_for_are_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As each has a memory of its own."""
        app = sound_app("memory:")
        for value, named in (("2", True), ("1", False), ("", False), ("many", False)):
            monkeypatch.setenv("WEB_CONCURRENCY", value)
            assert (f"WEB_CONCURRENCY is {value}" in said(app)) is named

    @pytest.mark.parametrize(("letters", "count"), [("abcde", 1), ("abcdef", 0)])
    def test_random_secrets_are_made_of_more_than_a_few_characters(
        self, letters: str, count: int
    ) -> None:
        """Though the digits of one may be few."""
        secret = letters * 3 + letters[::-1]
        assert len(found(sound_app(SESSION_SECRET=secret))) == count

    def test_the_setting_in_force_is_named(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where Flask's is there too, and was in force before."""
        monkeypatch.setenv("SESSION_SECRET", "new")
        config = {"SESSION_SECRET": None, "SECRET_KEY": OTHER_SECRET}
        for older in ([], [OTHER_SECRET]):
            app = sound_app(**config, SESSION_SECRET_FALLBACKS=older)
            assert found(app) == ["problem  SESSION_SECRET"]
        config["SESSION_SECRET"] = config["SECRET_KEY"] = "old"
        assert found(sound_app(**config)) == ["problem  SESSION_SECRET"]

    def test_a_secret_that_came_late_and_is_none_is_told(self) -> None:
        """After ``init_app``, which would have refused it."""
        app = sound_app(SESSION_SECRET=None)
        app.config["SECRET_KEY"] = 12345
        assert found(app) == ["problem  SESSION_SECRET"]
        assert "SECRET_KEY must be a str or bytes, not an int" in said(app)
        app.config["SECRET_KEY"] = "\0" * 20
        assert found(app) == ["problem  SESSION_SECRET"]
        app.config["SECRET_KEY"] = SECRET
        assert found(app) == []


class TestChangedLate:
    """A setting that was changed after ``init_app`` has no effect."""

    @pytest.mark.parametrize(
        ("late", "value"),
        [
            ("SESSION_COOKIE_SECURE", False),
            ("SESSION_COOKIE_NAME", "other"),
            ("SESSION_NAME", "other"),
            ("SESSION_STORE", "memory:"),
            ("SESSION_IDLE_TIMEOUT", 60),
            ("SESSION_REVOCATION", "memory:"),
            ("SESSION_SECRET", OTHER_SECRET),
            ("SESSION_SECRET_FALLBACKS", [OTHER_SECRET]),
        ],
    )
    def test_is_a_problem_until_it_is_undone(
        self, late: str, value: t.Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the doctor and in the warning at the start."""
        app = sound_app()
        before = app.config.get(late)
        app.config[late] = value
        about = "SESSION_SECRET" if "SECRET" in late else late
        assert found(app) == [f"problem  {about}"]
        assert f"{about}: it was changed after init_app" in said(app)
        (warned,) = warnings_of(served(app), caplog)
        assert f"{about}: it was changed after init_app" in warned
        app.config[late] = before
        assert found(app) == []

    def test_is_not_judged_by_its_old_value(self) -> None:
        """The developer sees the new value in ``app.config``."""
        app = sound_app(SESSION_COOKIE_HTTPONLY=False)
        app.config["SESSION_COOKIE_HTTPONLY"] = True
        assert found(app) == ["problem  SESSION_COOKIE_HTTPONLY"]
        assert "it is False" not in said(app)

    def test_may_be_a_secret_if_there_was_none(self) -> None:
        """The secret is looked for until there is one."""
        app = sound_app(SESSION_SECRET=None)
        app.config["SESSION_SECRET"] = SECRET
        assert found(app) == []


class TestRevocation:
    """The list of ended sessions is a store as well."""

    def test_a_sound_one_is_nothing_to_speak_of(self, servers: Servers) -> None:
        """With its ids renewed."""
        app = sound_app(
            SESSION_REVOCATION=servers.shared(RedisServer).url, SESSION_RENEW_AFTER=60
        )
        assert found(app) == []

    def test_one_in_memory_is_told(self) -> None:
        """What one worker ended would go on in another."""
        assert found(sound_app(SESSION_REVOCATION="memory:")) == [
            "problem  SESSION_REVOCATION"
        ]

    def test_one_that_is_away_is_told(self) -> None:
        """By the setting that it is of."""
        app = sound_app(SESSION_REVOCATION=f"redis://127.0.0.1:{free_port()}")
        assert found(app) == ["problem  SESSION_REVOCATION"]
        assert "SESSION_REVOCATION: the store cannot answer" in said(app)

    def test_one_that_evicts_is_told(self, servers: Servers) -> None:
        """It would forget what has ended."""
        server = servers.own(RedisServer)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        app = sound_app(SESSION_REVOCATION=server.url)
        assert found(app) == ["problem  SESSION_REVOCATION"]

    def test_one_that_has_no_effect_is_a_note(self, tmp_path: Path) -> None:
        """Another store needs none."""
        app = sound_app(url(f"sqlite:///{tmp_path}/x.db"), SESSION_REVOCATION="memory:")
        assert found(app) == ["note  SESSION_REVOCATION"]

    def test_a_renewal_of_ids_that_there_are_none_of_is_told(
        self, tmp_path: Path
    ) -> None:
        """Or one that comes later than the end."""
        assert found(sound_app(SESSION_RENEW_AFTER=60)) == [
            "problem  SESSION_RENEW_AFTER"
        ]
        store = url(f"sqlite:///{tmp_path}/x.db")
        for age, notes in ((HOUR, []), (2 * HOUR, ["note  SESSION_RENEW_AFTER"])):
            app = sound_app(
                store, SESSION_RENEW_AFTER=age, SESSION_IDLE_TIMEOUT=1.5 * HOUR
            )
            assert found(app) == notes


class TestMode:
    @pytest.mark.parametrize("mode", ["debug", "testing"])
    def test_what_matters_in_production_alone_is_a_note(self, mode: str) -> None:
        """In debug and testing mode, and the output says so."""
        weak = make_app(SESSION_SECRET="weak", SESSION_COOKIE_SECURE=True)
        weak.testing = mode == "testing"
        assert found(weak, debug=mode == "debug") == ["note  SESSION_SECRET"]
        app = make_app("memory:", SESSION_SECRET=None, SESSION_COOKIE_HTTPONLY=False)
        app.testing = mode == "testing"
        assert found(app, debug=mode == "debug") == [
            "note  SESSION_SECRET",
            "note  SESSION_COOKIE_SECURE",
            "note  SESSION_COOKIE_HTTPONLY",
            "note  SESSION_STORE",
        ]
        output = examined(app, debug=mode == "debug").output
        assert output.startswith("Checked for development (debug or testing mode)")
        app.testing = False
        assert examined(app).output.startswith("Checked for production")
        assert len([line for line in found(app) if line.startswith("problem")]) == 4

    def test_what_fails_there_too_is_a_problem_all_the_same(self) -> None:
        """A cookie that browsers drop, or a secret that was not replaced."""
        app = make_app(
            SESSION_COOKIE_SAMESITE="None", SESSION_SECRET_FALLBACKS=[SECRET]
        )
        assert found(app, debug=True) == [
            "problem  SESSION_SECRET_FALLBACKS, number 1",
            "note  SESSION_COOKIE_SECURE",
            "problem  SESSION_COOKIE_SAMESITE",
        ]


class Forgetful(MemoryStore):
    """Keeps nothing."""

    def load(self, token: str) -> bytes | None:
        return None


class Stubborn(MemoryStore):
    """Keeps what came first."""

    def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        return token or super().save(token, data, **how)


class LastWins(MemoryStore):
    """Does not compare."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        expected = None if token is None else self.load(token)
        return super().save(token, data, expected=expected, max_age=max_age)


class NotEvenThere(MemoryStore):
    """Takes None for "whatever is there"."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if expected is None and token is not None:
            expected = self.load(token)
        return super().save(token, data, expected=expected, max_age=max_age)


class SavesAnyway(MemoryStore):
    """Says that there was a conflict, and has written all the same."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        try:
            return super().save(token, data, expected=expected, max_age=max_age)
        except SessionConflictError:
            assert token is not None
            held = self.load(token)
            super().save(token, data, expected=held, max_age=max_age)
            raise


class Hoarder(MemoryStore):
    """Never deletes."""

    def delete(self, token: str) -> None:
        pass


class Reviver(MemoryStore):
    """Compares with what is there, if there is something."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if token is not None and self.load(token) is None:
            expected = None
        return super().save(token, data, expected=expected, max_age=max_age)


class Frightened(MemoryStore):
    """Sees conflicts everywhere."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return super().save(token, data, expected=b"nothing", max_age=max_age)


class Careless(MemoryStore):
    """Lets its own errors through."""

    def load(self, token: str) -> bytes | None:
        raise KeyError("the connection to //ann:geheim@db.test")


class TestTryingOut:
    @pytest.mark.parametrize(
        ("broken", "told"),
        [
            (Forgetful, "does not return what was saved"),
            (Stubborn, "does not replace an older record"),
            (LastWins, "ignores `expected` when it saves"),
            (NotEvenThere, "ignores `expected` when it saves"),
            (SavesAnyway, "ignores `expected` when it saves"),
            (Hoarder, "does not delete"),
            (Reviver, "saves over a deleted record"),
            (Frightened, "raises an unexpected SessionConflictError"),
            (Careless, "raises an unexpected KeyError"),
        ],
    )
    def test_a_store_that_breaks_a_promise_is_told(
        self, broken: type[MemoryStore], told: str
    ) -> None:
        """A store of one's own, whose author may not know."""
        app = sound_app(broken())
        assert f"the {broken.__name__} {told}" in said(app)
        # The other one is that it is in memory.
        assert found(app) == ["problem  SESSION_STORE"] * 2
        assert "geheim" not in said(app)

    @pytest.mark.parametrize(
        "address",
        [
            "redis://:geheim@{}/0",
            "valkey://:geheim@{}/0",
            "redis+cluster://:geheim@{}",
            "redis+sentinel://:geheim@{}/shop/0",
            "postgresql://ann:geheim@{}/shop",
            "mariadb://ann:geheim@{}/shop",
            "memcached://{}",
        ],
    )
    def test_a_store_that_is_away_is_told(self, address: str) -> None:
        """Once, and without the password."""
        app = sound_app(url(address.format(f"127.0.0.1:{free_port()}")))
        assert found(app) == ["problem  SESSION_STORE"]
        assert "the store cannot answer (" in said(app)
        assert "geheim" not in said(app)


class TestEviction:
    def test_by_redis_is_told_until_it_is_switched_off(
        self, servers: Servers, caplog: pytest.LogCaptureFixture
    ) -> None:
        """By the command, and when serving starts."""
        server = servers.own(RedisServer)
        store = url(server.url)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            app = sound_app(store)
            assert found(app) == ["problem  SESSION_STORE"]
            assert "maxmemory-policy is allkeys-lru" in said(app)
            (warned,) = warnings_of(served(app), caplog)
            assert "maxmemory-policy is allkeys-lru" in warned
            assert "Set maxmemory-policy to noeviction" in warned
            assert found(sound_app(store), debug=True) == ["note  SESSION_STORE"]
            client.config_set("maxmemory-policy", "noeviction")
            assert found(sound_app(store)) == []
            assert warnings_of(served(sound_app(store)), caplog) == []
        server.stop()

    def test_is_not_known_where_asking_is_not_allowed(
        self, servers: Servers, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Sessions work there, so it is a note; serving warns that it is not known."""
        server = servers.own(RedisServer)
        with redis.Redis(port=server.port) as client:
            client.acl_setuser(
                "shop",
                enabled=True,
                passwords="+geheim",
                keys="*",
                commands=["+@all", "-info"],
            )
        app = sound_app(url(server.url.replace("//", "//shop:geheim@")))
        assert found(app) == ["note  SESSION_STORE"]
        assert "its clock and its eviction policy are unknown (" in said(app)
        assert "geheim" not in said(app)
        (warned,) = warnings_of(served(app), caplog)
        assert "Could not check the session store" in warned
        server.stop()

    def test_by_memcached_is_told_when_it_has_happened(self, servers: Servers) -> None:
        """Until then nobody knows that it is too small."""
        server = servers.own(SmallMemcached)
        app = sound_app(url(server.url))
        assert found(app) == []
        filling = Client(("127.0.0.1", server.port))
        while not filling.stats()[b"evictions"]:
            for number in range(100):
                filling.set(f"{time.time()}-{number}", b"x" * 10_000)
        filling.close()
        assert found(app) == ["problem  SESSION_STORE"]
        assert "memcached was full and has evicted" in said(app)
        server.stop()

    @pytest.mark.filterwarnings("ignore:A .* throws live sessions away")
    def test_by_a_threshold_is_told(self, tmp_path: Path) -> None:
        """Of files or of memory; without one there is nothing to say."""
        app = sound_app(FileSystemCache(str(tmp_path), threshold=7))
        assert found(app) == ["problem  SESSION_STORE"]
        assert "a FileSystemCache has a threshold" in said(app)
        assert found(sound_app(FileSystemCache(str(tmp_path), threshold=0))) == []
        assert found(sound_app(SimpleCache())) == ["problem  SESSION_STORE"] * 2


class SmallMemcached(MemcachedServer):
    """Of two megabytes."""

    def command(self) -> list[str]:
        return [*super().command(), "-m", "2"]


#: The stores that have a clock of their own.
CLOCKS = [
    *("redis", "redis-decoding", "valkey", "memcached"),
    *("postgresql", "mariadb", "sqlite"),
]


class TestSharedPool:
    def test_an_engine_of_the_application_is_a_note(self, servers: Servers) -> None:
        """A view's connection and the session's may wait for each other."""
        server = servers.shared(PostgresServer)
        engine = sa.create_engine(
            server.url.replace("postgresql:", "postgresql+psycopg:"), pool_size=7
        )
        assert found(sound_app(SQLStore(engine))) == ["note  SESSION_STORE"]
        assert "pool of 7 connections" in said(sound_app(SQLStore(engine)))
        engine.dispose()

    def test_a_url_makes_an_engine_of_its_own(self, servers: Servers) -> None:
        """So there is nothing to report."""
        assert found(sound_app(url(servers.shared(PostgresServer).url))) == []


class TestClock:
    @pytest.mark.parametrize("name", CLOCKS)
    def test_one_that_differs_is_told(
        self, servers: Servers, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Either way; a few seconds are none."""
        app, real = sound_app(store_named(name, servers)), time.time
        for step, told in ((3600, "behind"), (-3600, "ahead of"), (3, None)):
            monkeypatch.setattr("time.time", lambda step=step: real() + step)
            if told is None:
                assert found(app) == []
            else:
                assert "problem  SESSION_STORE" in found(app)
                assert f"seconds {told} this machine's" in said(app)

    def test_waiting_for_the_answer_is_no_difference(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was read at some time while we waited."""

        class Slow(MemoryStore):
            def __init__(self, read_after: float) -> None:
                super().__init__()
                self.read_after = read_after

            def check_health(self) -> Health:
                begun = time.time()
                monkeypatch.setattr("time.time", lambda: begun + 60)
                return Health(begun + self.read_after)

        for after, count in ((0, 1), (30, 1), (60, 1), (-4, 1), (-6, 2), (66, 2)):
            # One is that it is in memory.
            assert len(found(sound_app(Slow(after)))) == count
            monkeypatch.undo()


MARK = "\N{SNOWMAN}"

marked = st.text(st.characters(codec="utf-8"), max_size=40).map(MARK.__add__)


class Away(MemoryStore):
    """Tells its address whenever it can."""

    def __init__(self, password: str) -> None:
        super().__init__()
        self.password = password

    def load(self, token: str) -> bytes | None:
        raise SessionStoreError("mine", f"cannot reach db://ann:{self.password}@host.")


@settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(secrets=st.lists(marked, min_size=1, max_size=4), password=marked)
@example(secrets=[MARK, MARK, MARK * 20], password=MARK)
def test_no_secret_is_ever_shown(
    secrets: list[str], password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of the application nor of the format nor a password, whatever there is
    to say of it, on the terminal or in the log.
    """
    password = "".join(password.split())
    caplog.clear()
    first, *older = secrets
    for config in (
        {"SESSION_SECRET": first, "SESSION_SECRET_FALLBACKS": older},
        {"SESSION_SECRET": None, "SECRET_KEY": first, "SECRET_KEY_FALLBACKS": older},
        {"SESSION_FORMAT": GorillaFormat(*[x for key in secrets for x in (key, None)])},
    ):
        app = make_app(Away(password), **config)
        output = examined(app).output
        assert "cannot reach db://***@host" in output
        served(app)
        for text in (output, caplog.text):
            assert MARK not in text
            assert "\\u2603" not in text
            assert "\\xe2\\x98\\x83" not in text


# What is said when serving starts


def served(app: Flask) -> Flask:
    """The application, with views, after one request that touched the session."""
    with_views(app)
    app.test_client().get("/touched")
    return app


def with_views(app: Flask) -> Flask:
    @app.get("/untouched")
    def untouched() -> str:
        return "untouched"

    @app.get("/touched")
    def touched() -> str:
        session["a"] = 1
        return "touched"

    @app.errorhandler(SessionError)
    def failed(error: SessionError) -> tuple[str, int]:
        return "failed", 503

    return app


def warnings_of(app: Flask, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been warned of since the last time."""
    shown = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name == app.logger.name
    ]
    caplog.clear()
    return shown


class TestStart:
    def test_all_that_is_wrong_is_one_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the first request, used or not, each with its fix; notes are left out."""
        app = with_views(
            make_app(
                SESSION_SECRET="short",
                SESSION_COOKIE_HTTPONLY=False,
                SESSION_COOKIE_DOMAIN="shop.test",
                MAX_COOKIE_SIZE=0,
            )
        )
        assert warnings_of(app, caplog) == []
        client = app.test_client()
        client.get("/untouched")
        (warned,) = warnings_of(app, caplog)
        assert [line.partition(":")[0] for line in warned.split("\n")[1:]] == [
            "SESSION_SECRET",
            "SESSION_COOKIE_SECURE",
            "SESSION_COOKIE_HTTPONLY",
            "MAX_COOKIE_SIZE",
        ]
        assert "flask session doctor" in warned
        for fix in ("flask session secret", HINT, "HTTPONLY = True", "Flask's 4093"):
            assert fix in warned
        for path in ("/untouched", "/touched", "/touched"):
            client.get(path)
        assert warnings_of(app, caplog) == []

    @pytest.mark.parametrize("mode", ["debug", "testing"])
    def test_nothing_is_said_in_debug_and_testing_mode(
        self, mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """There it is as it should be."""
        app = make_app("memory:", SESSION_SECRET="short", SESSION_COOKIE_SECURE=False)
        setattr(app, mode, True)
        assert warnings_of(served(app), caplog) == []

    def test_nothing_is_said_in_null_mode(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Whatever else is set."""
        app = make_app(SESSION_API=True, SESSION_SECRET=None, MAX_COOKIE_SIZE=0)
        assert warnings_of(served(app), caplog) == []

    @pytest.mark.parametrize(
        "config",
        [{}, {"SESSION_COOKIE_SAMESITE": None, "SESSION_COOKIE_PARTITIONED": True}],
    )
    def test_over_https_the_cookie_is_secure_by_itself(
        self, config: dict[str, t.Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """So only over HTTP there is something to say."""
        app = with_views(make_app(**config))
        app.test_client().get("/touched", base_url="https://localhost")
        assert warnings_of(app, caplog) == []
        (warned,) = warnings_of(served(make_app(**config)), caplog)
        assert HINT in warned
        assert "ProxyFix" in warned

    @pytest.mark.parametrize("several", [True, False])
    def test_memory_is_warned_of_where_there_are_several_processes(
        self, several: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As the server says."""
        app = with_views(sound_app("memory:"))
        environ = {"wsgi.multiprocess": several}
        app.test_client().get("/touched", environ_overrides=environ)
        warned = warnings_of(app, caplog)
        assert len(warned) == several
        assert all("the memory of one process" in text for text in warned)


class Watched(MemoryStore):
    """Counts how often it is asked how it is, which is not well."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failing: Exception | None = None

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing

    def load(self, token: str) -> bytes | None:
        self._check()
        return super().load(token)

    def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        self._check()
        return super().save(token, data, **how)

    def check_health(self) -> Health:
        self.asked += 1
        self._check()
        return Health(time.time() + 100, "it leaks", "Mend it.")


class TestStoreAtStart:
    def test_it_is_asked_once_by_the_first_request_that_uses_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Those that do not use it wait for nothing."""
        store = Watched()
        app = with_views(sound_app(store))
        client = app.test_client()
        client.get("/untouched")
        assert store.asked == 0
        assert client.get("/touched").status_code == 200
        (warned,) = warnings_of(app, caplog)
        assert "it leaks. Mend it." in warned
        assert "100 seconds ahead of this machine's" in warned
        for path in ("/touched", "/untouched", "/touched"):
            client.get(path)
        assert store.asked == 1
        assert warnings_of(app, caplog) == []

    @pytest.mark.parametrize(
        "error",
        [
            SessionStoreError("mine", "no answer from //ann:geheim@host"),
            RuntimeError("mine: no answer from //ann:geheim@host"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_its_own_failure_is_logged_and_harms_no_request(
        self, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        """The session is saved all the same, also in a store of one's own."""
        store = Watched()

        def check_health() -> Health:
            raise error

        store.check_health = check_health  # type: ignore[method-assign]
        app = with_views(sound_app(store))
        response = app.test_client().get("/touched")
        assert (response.status_code, response.text) == (200, "touched")
        assert "Set-Cookie" in response.headers
        (warned,) = warnings_of(app, caplog)
        assert "mine: no answer from //***@host" in warned

    @pytest.mark.parametrize("failing", ["save", "load"])
    def test_a_store_that_is_away_is_asked_when_it_is_back(self, failing: str) -> None:
        """The request that failed has waited long enough."""
        store = Watched()
        cookies = served(sound_app(store)).test_client()
        cookies.get("/touched")
        app = with_views(sound_app(store))
        client = app.test_client()
        if failing == "load":
            cookie = cookies.get_cookie("_buffalo_session", domain="localhost")
            assert cookie is not None
            client.set_cookie("_buffalo_session", cookie.value)
        store.asked, store.failing = 0, SessionStoreError("mine", "away")
        assert client.get("/touched").status_code == 503
        assert store.asked == 0
        store.failing = None
        assert client.get("/touched").status_code == 200
        assert store.asked == 1

    @pytest.mark.parametrize(
        "config",
        [
            {"DEBUG": True},
            {"TESTING": True},
            {"SESSION_SECRET": None},
            {"SESSION_API": True},
        ],
        ids=repr,
    )
    def test_it_is_not_asked_where_that_is_not_of_use(
        self, config: dict[str, t.Any]
    ) -> None:
        """In debug and testing mode, or where there are no sessions."""
        store = Watched()
        served(sound_app(store, **config))
        assert store.asked == 0
