"""Test ``flask session doctor``, and the same warnings when serving starts."""

from __future__ import annotations

import logging
import re
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
    """Return an application without problems, except those of the given settings."""
    return make_app(store, **{"SESSION_COOKIE_SECURE": True, **config})


def examined(app: Flask, *, debug: bool = False) -> Result:
    runner = app.test_cli_runner(env={"FLASK_DEBUG": "1" if debug else "0"})
    return runner.invoke(args=["session", "doctor"])


def found(app: Flask, *, debug: bool = False) -> list[str]:
    """Return the kind and the setting of each finding. Check the exit code and the last
    line, too.
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


LEVEL = {
    "SESSION_NAME": "__Host-sid",
    "SESSION_COOKIE_SECURE": True,
    "SESSION_ABSOLUTE_TIMEOUT": timedelta(hours=12),
    "SESSION_IDLE_TIMEOUT": timedelta(minutes=15),
    "PERMANENT_SESSION_LIFETIME": timedelta(minutes=15),
}


class TestLevels:
    def judged(
        self, level: str, store: object, **config: t.Any
    ) -> list[tuple[str, str]]:
        """Return the settings that break a level, with the clauses."""
        app = make_app(store, **{**LEVEL, **config})
        runner = app.test_cli_runner(env={"FLASK_DEBUG": "0"})
        output = runner.invoke(args=["session", "doctor", "--level", level]).output
        return re.findall(
            r"problem  (\w+): .* \(NIST SP 800-63B-4, (\S+, SHALL|\S+, SHOULD)\)",
            output,
        )

    @pytest.mark.parametrize("level", ["aal1", "aal2", "aal3", "AAL3"])
    def test_sound_settings_meet_every_level(self, level: str, tmp_path: Path) -> None:
        """On a server, and in an encrypted cookie that can be revoked."""
        url = f"sqlite:///{tmp_path}/sessions.db"
        assert self.judged(level, url) == []
        encrypted = {"SESSION_ENCRYPT": True, "SESSION_REVOCATION": url}
        assert self.judged(level, "cookie", **encrypted) == []

    @pytest.mark.parametrize(
        ("level", "hours", "idle", "expected"),
        [
            ("aal1", 30 * 24, 31 * 24, []),
            ("aal1", 30 * 24 + 1, 1, [("SESSION_ABSOLUTE_TIMEOUT", "2.1.3, SHOULD")]),
            ("aal1", None, 1, [("SESSION_ABSOLUTE_TIMEOUT", "2.1.3, SHALL")]),
            ("aal2", 24, 1, []),
            ("aal2", 25, 1, [("SESSION_ABSOLUTE_TIMEOUT", "2.2.3, SHOULD")]),
            ("aal2", None, 1, [("SESSION_ABSOLUTE_TIMEOUT", "2.2.3, SHALL")]),
            ("aal2", 24, 1.01, [("SESSION_IDLE_TIMEOUT", "2.2.3, SHOULD")]),
            ("aal3", 12, 0.25, []),
            ("aal3", 12.01, 0.25, [("SESSION_ABSOLUTE_TIMEOUT", "2.3.3, SHALL")]),
            ("aal3", 12, 0.26, [("SESSION_IDLE_TIMEOUT", "2.3.3, SHOULD")]),
        ],
    )
    def test_each_level_has_its_time_outs(
        self,
        tmp_path: Path,
        level: str,
        hours: float | None,
        idle: float,
        expected: list[tuple[str, str]],
    ) -> None:
        """The clause is named."""
        found = self.judged(
            level,
            f"sqlite:///{tmp_path}/sessions.db",
            SESSION_ABSOLUTE_TIMEOUT=None if hours is None else hours * HOUR,
            SESSION_IDLE_TIMEOUT=idle * HOUR,
        )
        assert found == expected

    @pytest.mark.parametrize(
        ("level", "days", "noted"),
        [
            ("aal1", 30, False),
            ("aal1", 31, True),
            ("aal2", 1 / 24, False),
            ("aal2", 1, True),
            ("aal3", 1 / 96, False),
            ("aal3", 1, True),
        ],
    )
    def test_longer_time_outs_of_a_sessions_own_are_a_note(
        self, tmp_path: Path, level: str, days: float, noted: bool
    ) -> None:
        """The application may not use set_timeouts() at all."""
        limit = {"SESSION_TIMEOUT_LIMIT": timedelta(days=days)}
        app = make_app(f"sqlite:///{tmp_path}/sessions.db", **{**LEVEL, **limit})
        runner = app.test_cli_runner(env={"FLASK_DEBUG": "0"})
        result = runner.invoke(args=["session", "doctor", "--level", level])
        assert ("note  SESSION_TIMEOUT_LIMIT" in result.output) is noted
        assert result.exit_code == 0

    def test_every_level_wants_a_cookie_that_only_this_host_can_read(self) -> None:
        """And nothing readable in it, and an end at logout."""
        found = self.judged(
            "aal1",
            "cookie",
            SESSION_NAME="sid",
            SESSION_COOKIE_SECURE=False,
            SESSION_COOKIE_HTTPONLY=False,
            SESSION_COOKIE_DOMAIN="example.com",
            SESSION_COOKIE_SAMESITE="None",
        )
        assert found == [
            ("SESSION_COOKIE_SECURE", "5.1.1, SHALL"),
            ("SESSION_COOKIE_DOMAIN", "5.1.1, SHALL"),
            ("SESSION_ENCRYPT", "5.1.1, SHALL"),
            ("SESSION_COOKIE_HTTPONLY", "5.1.1, SHOULD"),
            ("SESSION_COOKIE_SAMESITE", "5.1.1, SHOULD"),
            ("SESSION_NAME", "5.1.1, SHOULD"),
            ("SESSION_STORE", "5.1, SHALL"),
        ]


def report_of(app: Flask) -> str:
    """Return the whole output of the doctor as one line."""
    return " ".join(examined(app).output.split())


class TestNothingFound:
    def test_a_sound_application_has_no_problems(
        self, store: Store, encrypt: bool
    ) -> None:
        """With any store but the memory of one process."""
        names = found(sound_app(store, SESSION_ENCRYPT=encrypt))
        if isinstance(store, MemoryStore):
            names.remove("problem  SESSION_STORE")
        if isinstance(store, CacheStore) and store.in_memory:
            # This store is in memory and has a threshold.
            names.remove("problem  SESSION_STORE")
            names.remove("problem  SESSION_STORE")
        assert names == []

    def test_records_that_stay_readable_are_a_note(self, tmp_path: Path) -> None:
        """With the gorilla format Go reads the records. gorilla's files are encrypted
        if they have a block key.
        """
        keys = SECRET, SECRET[:32]
        for store, encrypted in (
            (MemoryStore(), False),
            (GorillaFiles(tmp_path, SECRET, name="_buffalo_session"), False),
            (GorillaFiles(tmp_path, *keys, name="_buffalo_session"), True),
        ):
            app = sound_app(
                store, SESSION_FORMAT=GorillaFormat(*keys), SESSION_ENCRYPT=True
            )
            assert ("note  SESSION_ENCRYPT" in found(app)) != encrypted

    def test_an_application_that_shares_sessions_with_go_has_no_problems(
        self, servers: Servers, tmp_path: Path
    ) -> None:
        """The doctor also writes its test record in Go's format."""
        client = redis.Redis(port=servers.shared(RedisServer).port)
        for store in (
            "cookie",
            RedisStore(client, prefix="session_", hashed=False),
            GorillaFiles(tmp_path, SECRET, name="_buffalo_session"),
        ):
            assert found(sound_app(store, SESSION_FORMAT="gorilla")) == []
        client.close()

    def test_null_mode_has_no_problems(self) -> None:
        """There is nothing to check."""
        result = examined(make_app(SESSION_API=True, SESSION_SECRET=None))
        assert result.exit_code == 0
        assert result.output == (
            "This application has no sessions, so there is nothing to check.\n"
        )

    def test_the_doctor_leaves_no_record(self) -> None:
        """It deletes the record that it wrote to test the store."""
        tokens = set()

        class Recording(MemoryStore):
            def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
                tokens.add(saved := super().save(token, data, **how))
                return saved

        store = Recording()
        assert examined(sound_app(Counting(store))).exit_code == 0
        (token,) = tokens
        assert store.load(token) is None


def test_a_fallback_that_may_be_a_word_of_a_passphrase_is_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """White space separates fallbacks in the environment. Each word alone is a weak
    secret, and the passphrase itself no longer verifies a cookie.
    """
    monkeypatch.setenv("SESSION_SECRET_FALLBACKS", "correct horse battery staple")
    explanation = "put that secret into app.config"
    assert report_of(sound_app()).count(explanation) == 4
    given = sound_app(SESSION_SECRET_FALLBACKS=["tiny"])
    assert explanation not in report_of(given)


#: Settings, the expected message, and the settings that fix the problem.
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
    @pytest.mark.parametrize(("given", "message", "fixed"), SETTINGS, ids=stable_repr)
    def test_a_wrong_setting_is_a_problem_until_it_is_fixed(
        self, given: dict[str, t.Any], message: str, fixed: dict[str, t.Any]
    ) -> None:
        """Each one is a problem, and the exit code is 1."""
        app = sound_app(**given)
        name = message.partition(":")[0]
        assert f"problem  {name}" in found(app)
        assert message in report_of(app)
        repaired = {**given, **(fixed or {"SESSION_SECRET": SECRET})}
        assert found(sound_app(**repaired)) == []

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"SESSION_COOKIE_DOMAIN": "shop.test"}, "note  SESSION_COOKIE_DOMAIN"),
            (
                {"SESSION_FORMAT": GorillaFormat(OTHER_SECRET)},
                "note  SESSION_SECRET",
            ),
        ],
    )
    def test_a_setting_that_may_be_intended_is_a_note(
        self, given: dict[str, t.Any], message: str
    ) -> None:
        """Notes do not affect the exit code."""
        assert found(sound_app(**given)) == [message]

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
    def test_one_timeout_contradicts_no_default(self, given: dict[str, t.Any]) -> None:
        """Only two time-outs that are both set can contradict each other."""
        assert found(sound_app(**given)) == []

    def test_samesite_none_is_a_note_with_csrf_protection(self) -> None:
        """An application with Flask-WTF may want to be embedded by other sites."""
        app = sound_app(SESSION_COOKIE_SAMESITE="None")
        CSRFProtect(app)
        assert found(app) == ["note  SESSION_COOKIE_SAMESITE"]

    def test_the_report_shows_the_number_of_workers_in_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each worker has its own memory."""
        app = sound_app("memory:")
        for value, named in (("2", True), ("1", False), ("", False), ("many", False)):
            monkeypatch.setenv("WEB_CONCURRENCY", value)
            assert (f"WEB_CONCURRENCY is {value}" in report_of(app)) is named

    @pytest.mark.parametrize(("letters", "count"), [("abcde", 1), ("abcdef", 0)])
    def test_a_secret_of_few_different_characters_is_weak(
        self, letters: str, count: int
    ) -> None:
        """A random secret has more, even in hexadecimal digits."""
        secret = letters * 3 + letters[::-1]
        assert len(found(sound_app(SESSION_SECRET=secret))) == count

    def test_the_report_names_the_setting_in_force(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Flask's own setting is there, too, and was in force before."""
        monkeypatch.setenv("SESSION_SECRET", "new")
        config = {"SESSION_SECRET": None, "SECRET_KEY": OTHER_SECRET}
        for older in ([], [OTHER_SECRET]):
            app = sound_app(**config, SESSION_SECRET_FALLBACKS=older)
            assert found(app) == ["problem  SESSION_SECRET"]
        config["SESSION_SECRET"] = config["SECRET_KEY"] = "old"
        assert found(sound_app(**config)) == ["problem  SESSION_SECRET"]

    def test_a_late_secret_of_a_wrong_type_is_a_problem(self) -> None:
        """``init_app`` would have refused it."""
        app = sound_app(SESSION_SECRET=None)
        app.config["SECRET_KEY"] = 12345
        assert found(app) == ["problem  SESSION_SECRET"]
        assert "SECRET_KEY must be a str or bytes, not an int" in report_of(app)
        app.config["SECRET_KEY"] = "\0" * 20
        assert found(app) == ["problem  SESSION_SECRET"]
        app.config["SECRET_KEY"] = SECRET
        assert found(app) == []


class TestChangedLate:
    """A setting that is changed after ``init_app`` has no effect."""

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
    def test_a_late_change_is_a_problem_until_it_is_undone(
        self, late: str, value: t.Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the doctor and in the warning when serving starts."""
        app = sound_app()
        before = app.config.get(late)
        app.config[late] = value
        about = "SESSION_SECRET" if "SECRET" in late else late
        assert found(app) == [f"problem  {about}"]
        assert f"{about}: it was changed after init_app" in report_of(app)
        (warned,) = warnings_of(served(app), caplog)
        assert f"{about}: it was changed after init_app" in warned
        app.config[late] = before
        assert found(app) == []

    def test_a_late_change_is_not_judged_by_the_old_value(self) -> None:
        """The developer sees the new value in ``app.config``."""
        app = sound_app(SESSION_COOKIE_HTTPONLY=False)
        app.config["SESSION_COOKIE_HTTPONLY"] = True
        assert found(app) == ["problem  SESSION_COOKIE_HTTPONLY"]
        assert "it is False" not in report_of(app)

    def test_a_late_secret_is_no_problem_if_there_was_none(self) -> None:
        """The extension looks for a secret until there is one."""
        app = sound_app(SESSION_SECRET=None)
        app.config["SESSION_SECRET"] = SECRET
        assert found(app) == []


class TestRevocation:
    """The revocation list is checked as a store is."""

    def test_a_sound_list_has_no_problems(self, servers: Servers) -> None:
        """Ids are rotated as well."""
        app = sound_app(
            SESSION_REVOCATION=servers.shared(RedisServer).url, SESSION_RENEW_AFTER=60
        )
        assert found(app) == []

    def test_a_list_in_memory_is_a_problem(self) -> None:
        """A session that one worker ended would go on in another worker."""
        assert found(sound_app(SESSION_REVOCATION="memory:")) == [
            "problem  SESSION_REVOCATION"
        ]

    def test_a_list_that_is_away_is_a_problem(self) -> None:
        """The message names ``SESSION_REVOCATION``."""
        app = sound_app(SESSION_REVOCATION=f"redis://127.0.0.1:{free_port()}")
        assert found(app) == ["problem  SESSION_REVOCATION"]
        assert "SESSION_REVOCATION: the store cannot answer" in report_of(app)

    def test_a_list_that_evicts_is_a_problem(self, servers: Servers) -> None:
        """Evicted tombstones would make ended sessions valid again."""
        server = servers.own(RedisServer)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        app = sound_app(SESSION_REVOCATION=server.url)
        assert found(app) == ["problem  SESSION_REVOCATION"]

    def test_a_list_without_effect_is_a_note(self, tmp_path: Path) -> None:
        """A server-side store does not use the list."""
        app = sound_app(url(f"sqlite:///{tmp_path}/x.db"), SESSION_REVOCATION="memory:")
        assert found(app) == ["note  SESSION_REVOCATION"]

    def test_a_rotation_without_effect_is_reported(self, tmp_path: Path) -> None:
        """Cookie sessions have no id to rotate, or the session expires before the
        rotation.
        """
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
    def test_a_problem_of_production_alone_is_a_note_in_development(
        self, mode: str
    ) -> None:
        """In debug and testing mode. The output names the mode."""
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

    def test_a_problem_of_every_mode_is_a_problem_in_development(self) -> None:
        """A cookie that browsers drop, or a secret that was not replaced."""
        app = make_app(
            SESSION_COOKIE_SAMESITE="None", SESSION_SECRET_FALLBACKS=[SECRET]
        )
        assert found(app, debug=True) == [
            "problem  SESSION_SECRET_FALLBACKS, number 1",
            "note  SESSION_COOKIE_SECURE",
            "problem  SESSION_COOKIE_SAMESITE",
        ]


class KeepsNothing(MemoryStore):
    """Return no record."""

    def load(self, token: str) -> bytes | None:
        return None


class KeepsTheFirst(MemoryStore):
    """Ignore every save but the first one."""

    def save(self, token: str | None, data: bytes, **how: t.Any) -> str:
        return token or super().save(token, data, **how)


class LastWins(MemoryStore):
    """Save without comparing."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        expected = None if token is None else self.load(token)
        return super().save(token, data, expected=expected, max_age=max_age)


class IgnoresNone(MemoryStore):
    """Treat ``expected=None`` as "replace any record"."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if expected is None and token is not None:
            expected = self.load(token)
        return super().save(token, data, expected=expected, max_age=max_age)


class SavesAnyway(MemoryStore):
    """Raise a conflict, but save nevertheless."""

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


class NeverDeletes(MemoryStore):
    """Ignore each call of ``delete``."""

    def delete(self, token: str) -> None:
        pass


class RestoresDeleted(MemoryStore):
    """Compare only if there is a record."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        if token is not None and self.load(token) is None:
            expected = None
        return super().save(token, data, expected=expected, max_age=max_age)


class AlwaysConflicts(MemoryStore):
    """Raise a conflict in each save with a token."""

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return super().save(token, data, expected=b"nothing", max_age=max_age)


class RaisesForeignErrors(MemoryStore):
    """Raise errors that are not a :exc:`SessionStoreError`."""

    def load(self, token: str) -> bytes | None:
        raise KeyError("the connection to //ann:geheim@db.test")


class TestTryingOut:
    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (KeepsNothing, "does not return what was saved"),
            (KeepsTheFirst, "does not replace an older record"),
            (LastWins, "ignores `expected` when it saves"),
            (IgnoresNone, "ignores `expected` when it saves"),
            (SavesAnyway, "ignores `expected` when it saves"),
            (NeverDeletes, "does not delete"),
            (RestoresDeleted, "saves over a deleted record"),
            (AlwaysConflicts, "raises an unexpected SessionConflictError"),
            (RaisesForeignErrors, "raises an unexpected KeyError"),
        ],
    )
    def test_a_store_that_breaks_a_promise_is_a_problem(
        self, broken: type[MemoryStore], message: str
    ) -> None:
        """The author of a custom store may not know of the mistake."""
        app = sound_app(broken())
        assert f"the {broken.__name__} {message}" in report_of(app)
        # The other problem: the store is in memory.
        assert found(app) == ["problem  SESSION_STORE"] * 2
        assert "geheim" not in report_of(app)

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
    def test_a_store_that_is_away_is_a_problem(self, address: str) -> None:
        """One problem, and no password in the message."""
        app = sound_app(url(address.format(f"127.0.0.1:{free_port()}")))
        assert found(app) == ["problem  SESSION_STORE"]
        assert "the store cannot answer (" in report_of(app)
        assert "geheim" not in report_of(app)


class TestEviction:
    def test_eviction_by_redis_is_a_problem_until_it_is_off(
        self, servers: Servers, caplog: pytest.LogCaptureFixture
    ) -> None:
        """In the doctor and when serving starts."""
        server = servers.own(RedisServer)
        store = url(server.url)
        with redis.Redis(port=server.port) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            app = sound_app(store)
            assert found(app) == ["problem  SESSION_STORE"]
            assert "maxmemory-policy is allkeys-lru" in report_of(app)
            (warned,) = warnings_of(served(app), caplog)
            assert "maxmemory-policy is allkeys-lru" in warned
            assert "Set maxmemory-policy to noeviction" in warned
            assert found(sound_app(store), debug=True) == ["note  SESSION_STORE"]
            client.config_set("maxmemory-policy", "noeviction")
            assert found(sound_app(store)) == []
            assert warnings_of(served(sound_app(store)), caplog) == []
        server.stop()

    def test_unknown_eviction_is_a_note(
        self, servers: Servers, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The login may not ask for the policy. Sessions work, so it is a note; serving
        logs that the policy is unknown.
        """
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
        assert "its clock and its eviction policy are unknown (" in report_of(app)
        assert "geheim" not in report_of(app)
        (warned,) = warnings_of(served(app), caplog)
        assert "Could not check the session store" in warned
        server.stop()

    def test_eviction_by_memcached_is_a_problem_after_the_first_one(
        self, servers: Servers
    ) -> None:
        """Before that, the size of the memcached server is no problem."""
        server = servers.own(SmallMemcached)
        app = sound_app(url(server.url))
        assert found(app) == []
        filling = Client(("127.0.0.1", server.port))
        while not filling.stats()[b"evictions"]:
            for number in range(100):
                filling.set(f"{time.time()}-{number}", b"x" * 10_000)
        filling.close()
        assert found(app) == ["problem  SESSION_STORE"]
        assert "memcached was full and has evicted" in report_of(app)
        server.stop()

    @pytest.mark.filterwarnings("ignore:A .* throws live sessions away")
    def test_a_threshold_is_a_problem(self, tmp_path: Path) -> None:
        """In a cache of files or in memory. Without a threshold there is none."""
        app = sound_app(FileSystemCache(str(tmp_path), threshold=7))
        assert found(app) == ["problem  SESSION_STORE"]
        assert "a FileSystemCache has a threshold" in report_of(app)
        assert found(sound_app(FileSystemCache(str(tmp_path), threshold=0))) == []
        assert found(sound_app(SimpleCache())) == ["problem  SESSION_STORE"] * 2


class SmallMemcached(MemcachedServer):
    """A memcached server with two megabytes."""

    def command(self) -> list[str]:
        return [*super().command(), "-m", "2"]


#: The stores that have a clock of their own.
CLOCKS = [
    *("redis", "redis-decoding", "valkey", "memcached"),
    *("postgresql", "mariadb", "sqlite"),
]


class TestUnusableSecret:
    """A secret that is not in force may be anything."""

    def test_it_does_not_stop_an_application_with_keys_of_its_own(self) -> None:
        """The format's keys protect the session."""
        app = make_app(
            SESSION_FORMAT=GorillaFormat(b"k" * 32), SESSION_SECRET=t.cast(t.Any, 5)
        )
        app.add_url_rule("/", view_func=lambda: "served")
        assert app.test_client().get("/").text == "served"

    def test_one_that_is_set_late_does_not_stop_the_application(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It has no effect, and the warning says so."""
        app = make_app()
        app.add_url_rule("/", view_func=lambda: "served")
        app.config["SESSION_SECRET"] = 5
        assert app.test_client().get("/").text == "served"
        assert "SESSION_SECRET: it was changed after init_app" in caplog.text


class TestSharedPool:
    def test_an_engine_of_the_application_is_a_note(self, servers: Servers) -> None:
        """A view's connection and the session's may wait for each other."""
        server = servers.shared(PostgresServer)
        engine = sa.create_engine(
            server.url.replace("postgresql:", "postgresql+psycopg:"), pool_size=7
        )
        assert found(sound_app(SQLStore(engine))) == ["note  SESSION_STORE"]
        assert "pool of 7 connections" in report_of(sound_app(SQLStore(engine)))
        engine.dispose()

    def test_a_url_makes_an_engine_of_its_own(self, servers: Servers) -> None:
        """So there is nothing to report."""
        assert found(sound_app(url(servers.shared(PostgresServer).url))) == []


class TestClock:
    @pytest.mark.parametrize("name", CLOCKS)
    def test_a_clock_that_differs_is_a_problem(
        self, servers: Servers, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In both directions. A few seconds are no problem."""
        app, real = sound_app(store_named(name, servers)), time.time
        for step, message in ((3600, "behind"), (-3600, "ahead of"), (3, None)):
            monkeypatch.setattr("time.time", lambda step=step: real() + step)
            if message is None:
                assert found(app) == []
            else:
                assert "problem  SESSION_STORE" in found(app)
                assert f"seconds {message} this machine's" in report_of(app)

    def test_a_slow_answer_is_no_clock_difference(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server read its clock at some time while the doctor waited."""

        class Slow(MemoryStore):
            def __init__(self, read_after: float) -> None:
                super().__init__()
                self.read_after = read_after

            def check_health(self) -> Health:
                begun = time.time()
                monkeypatch.setattr("time.time", lambda: begun + 60)
                return Health(begun + self.read_after)

        for after, count in ((0, 1), (30, 1), (60, 1), (-4, 1), (-6, 2), (66, 2)):
            # The other problem: the store is in memory.
            assert len(found(sound_app(Slow(after)))) == count
            monkeypatch.undo()


SECRET_CHARACTER = "\N{SNOWMAN}"

secret_texts = st.text(st.characters(codec="utf-8"), max_size=40).map(
    SECRET_CHARACTER.__add__
)


class Away(MemoryStore):
    """Raise errors that show the address with its password."""

    def __init__(self, password: str) -> None:
        super().__init__()
        self.password = password

    def load(self, token: str) -> bytes | None:
        raise SessionStoreError("mine", f"cannot reach db://ann:{self.password}@host.")


@settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(secrets=st.lists(secret_texts, min_size=1, max_size=4), password=secret_texts)
@example(
    secrets=[SECRET_CHARACTER, SECRET_CHARACTER, SECRET_CHARACTER * 20],
    password=SECRET_CHARACTER,
)
def test_no_secret_is_shown(
    secrets: list[str], password: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the secrets of the application or its format nor a password, on the
    terminal or in the log, whatever the findings are.
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
            assert SECRET_CHARACTER not in text
            assert "\\u2603" not in text
            assert "\\xe2\\x98\\x83" not in text


# The warnings when serving starts


def served(app: Flask) -> Flask:
    """Return the application, with views, after one request that used the session."""
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
    """Return the warnings since the last call of this function."""
    shown = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name == app.logger.name
    ]
    caplog.clear()
    return shown


class TestStart:
    def test_all_problems_are_one_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At the first request, even if it does not use the session. Each problem has
        its fix; notes are left out.
        """
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
    def test_debug_and_testing_mode_log_no_warning(
        self, mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Development needs no production settings."""
        app = make_app("memory:", SESSION_SECRET="short", SESSION_COOKIE_SECURE=False)
        setattr(app, mode, True)
        assert warnings_of(served(app), caplog) == []

    def test_null_mode_logs_no_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        """Whatever else is set."""
        app = make_app(SESSION_API=True, SESSION_SECRET=None, MAX_COOKIE_SIZE=0)
        assert warnings_of(served(app), caplog) == []

    @pytest.mark.parametrize(
        "config",
        [{}, {"SESSION_COOKIE_SAMESITE": None, "SESSION_COOKIE_PARTITIONED": True}],
    )
    def test_a_cookie_without_secure_is_a_warning_only_over_http(
        self, config: dict[str, t.Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Over HTTPS the cookie is Secure without a setting."""
        app = with_views(make_app(**config))
        app.test_client().get("/touched", base_url="https://localhost")
        assert warnings_of(app, caplog) == []
        (warned,) = warnings_of(served(make_app(**config)), caplog)
        assert HINT in warned
        assert "ProxyFix" in warned

    @pytest.mark.parametrize("several", [True, False])
    def test_memory_is_a_warning_only_with_several_processes(
        self, several: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The WSGI server provides that number."""
        app = with_views(sound_app("memory:"))
        environ = {"wsgi.multiprocess": several}
        app.test_client().get("/touched", environ_overrides=environ)
        warned = warnings_of(app, caplog)
        assert len(warned) == several
        assert all("the memory of one process" in text for text in warned)


class UnhealthyStore(MemoryStore):
    """Report a problem, and count how often the health is asked for."""

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
        return Health(time.time() + 100, "it leaks", "Fix it.")


class TestStoreAtStart:
    def test_the_first_request_that_uses_the_store_checks_it_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Other requests do not wait for the check."""
        store = UnhealthyStore()
        app = with_views(sound_app(store))
        client = app.test_client()
        client.get("/untouched")
        assert store.asked == 0
        assert client.get("/touched").status_code == 200
        (warned,) = warnings_of(app, caplog)
        assert "it leaks. Fix it." in warned
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
    def test_a_failing_health_check_is_logged_and_harms_no_request(
        self, caplog: pytest.LogCaptureFixture, error: Exception
    ) -> None:
        """The session is saved nevertheless, also in a custom store."""
        store = UnhealthyStore()

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
    def test_a_store_that_is_away_is_checked_when_it_is_back(
        self, failing: str
    ) -> None:
        """The request that failed does not wait for a health check, too."""
        store = UnhealthyStore()
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
    def test_the_store_is_not_checked_without_need(
        self, config: dict[str, t.Any]
    ) -> None:
        """In debug and testing mode, or without sessions."""
        store = UnhealthyStore()
        served(sound_app(store, **config))
        assert store.asked == 0
