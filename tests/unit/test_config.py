"""Test the settings: their allowed values, their defaults and their error messages."""

from __future__ import annotations

import datetime as dt
import re
import traceback
import typing as t
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import flask_session.defaults
import pytest
import redis.asyncio
import redis.sentinel
import sqlalchemy as sa
import sqlalchemy.orm
import valkey
import valkey.asyncio
from flask import Flask, session
from flask_sqlalchemy import SQLAlchemy

from flask_buffalo_session import (
    BuffaloSession,
    CookieStore,
    MemoryStore,
    NativeFormat,
    NullStore,
    RedisStore,
    SQLStore,
    Store,
)
from flask_buffalo_session.config import Config
from flask_buffalo_session.errors import SessionConfigError
from flask_buffalo_session.interface import BuffaloInterface
from flask_buffalo_session.secret import (
    DEVELOPMENT_SECRET,
    find_secrets,
    weakness,
)
from tests.support.parameters import stable_repr

SECRET = "correct horse battery staple"
HOUR = 3600


def flask_app(**settings: t.Any) -> Flask:
    app = Flask("shop")
    app.config.update(settings)
    return app


def config(**settings: t.Any) -> Config:
    """Return the configuration that the settings give."""
    return Config.of(flask_app(**settings))


def complaint(**settings: t.Any) -> str:
    """Return the message about a wrong setting when the extension is registered."""
    app = flask_app(**{"SESSION_SECRET": SECRET, **settings})
    before = app.session_interface
    with pytest.raises(SessionConfigError) as caught:
        BuffaloSession(app)
    assert app.session_interface is before, "it was registered all the same"
    assert "buffalo_session" not in app.extensions
    return str(caught.value)


def interface(app: Flask) -> BuffaloInterface:
    assert isinstance(app.session_interface, BuffaloInterface)
    return app.session_interface


# Defaults


def test_the_defaults_are_the_documented_ones() -> None:
    """An application without settings gets the values in docs/reference/settings.md."""
    found = config()
    assert type(found.store) is CookieStore
    assert type(found.format) is NativeFormat
    values = {name: getattr(found, name) for name in Config.__dataclass_fields__}
    del values["store"], values["format"], values["as_read"], values["origin"]
    assert values == {
        "name": "_buffalo_session",
        "flask_name": "session",
        "null": False,
        "in_cookie": True,
        "encrypt": False,
        "idle_timeout": 31 * 24 * HOUR,
        "absolute_timeout": None,
        "timeout_limit": 400 * 24 * HOUR,
        "renew_after": None,
        "revocations": None,
        "owner_limit": None,
        "permanent_lifetime": 31 * 24 * HOUR,
        "old_lifetime": 31 * 24 * HOUR,
        "refresh_each_request": True,
        "auth_names": ("user_id", "_user_id", "current_user_id"),
        "cookie_domain": None,
        "cookie_path": "/",
        "cookie_httponly": True,
        "cookie_secure": False,
        "cookie_samesite": "Lax",
        "cookie_partitioned": False,
        "previous": (),
        "max_cookie_size": 4093,
        "made": frozenset({"SESSION_STORE"}),
    }


def test_none_is_the_same_as_unset() -> None:
    """For every setting, Flask's own included."""
    keys = [
        "SESSION_NAME",
        "SESSION_STORE",
        "SESSION_FORMAT",
        "SESSION_API",
        "SESSION_SECRET",
        "SESSION_SECRET_FALLBACKS",
        "SESSION_ENCRYPT",
        "SESSION_IDLE_TIMEOUT",
        "SESSION_ABSOLUTE_TIMEOUT",
        "SESSION_TIMEOUT_LIMIT",
        "SESSION_OWNER_LIMIT",
        "SESSION_AUTH_NAMES",
        "SESSION_COOKIE_NAME",
        "SESSION_COOKIE_DOMAIN",
        "SESSION_COOKIE_PATH",
        "SESSION_COOKIE_SAMESITE",
        "SESSION_COOKIE_SECURE",
        "SESSION_COOKIE_PARTITIONED",
        "PERMANENT_SESSION_LIFETIME",
        "APPLICATION_ROOT",
    ]
    found, default = config(**dict.fromkeys(keys)), config()
    objects = {"store", "format", "as_read", "origin"}
    for name in Config.__dataclass_fields__.keys() - objects:
        assert getattr(found, name) == getattr(default, name), name
    assert type(found.store) is CookieStore
    assert config(MAX_COOKIE_SIZE=None).max_cookie_size == 0


def test_a_config_is_immutable() -> None:
    """It is read once, and all requests share it."""
    with pytest.raises(AttributeError):
        config().name = "other"  # type: ignore[misc]
    app = flask_app(SESSION_SECRET=SECRET)
    BuffaloSession(app)
    app.config["SESSION_IDLE_TIMEOUT"] = 1
    assert interface(app).main.config.idle_timeout == 31 * 24 * HOUR


# Valid values


class OwnStore:
    """A custom store without a base class."""

    def load(self, token: str) -> bytes | None:
        return None

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return token or "token"

    def delete(self, token: str) -> None:
        pass


class OwnFormat(NativeFormat):
    pass


OWN_STORE, OWN_FORMAT = OwnStore(), OwnFormat()

RIGHT: list[tuple[str, t.Any, str, t.Any]] = [
    ("SESSION_NAME", "sid", "name", "sid"),
    ("SESSION_NAME", "!#$%&'*+-.^_`|~09AZaz", "name", "!#$%&'*+-.^_`|~09AZaz"),
    ("SESSION_STORE", OWN_STORE, "store", OWN_STORE),
    ("SESSION_FORMAT", OWN_FORMAT, "format", OWN_FORMAT),
    ("SESSION_API", True, "null", True),
    ("SESSION_API", False, "null", False),
    ("SESSION_STORE", "null", "null", True),
    ("SESSION_STORE", NullStore(), "null", True),
    ("SESSION_ENCRYPT", True, "encrypt", True),
    ("SESSION_IDLE_TIMEOUT", 60, "idle_timeout", 60),
    ("SESSION_IDLE_TIMEOUT", 0.1, "idle_timeout", 1),
    ("SESSION_IDLE_TIMEOUT", 59.5, "idle_timeout", 60),
    ("SESSION_IDLE_TIMEOUT", dt.timedelta(minutes=1), "idle_timeout", 60),
    ("SESSION_IDLE_TIMEOUT", dt.timedelta(milliseconds=1), "idle_timeout", 1),
    (
        "SESSION_IDLE_TIMEOUT",
        dt.timedelta(days=365_000),
        "idle_timeout",
        31_536_000_000,
    ),
    ("PERMANENT_SESSION_LIFETIME", 60, "permanent_lifetime", 60),
    ("PERMANENT_SESSION_LIFETIME", 60, "idle_timeout", 60),
    ("SESSION_TIMEOUT_LIMIT", dt.timedelta(days=7), "timeout_limit", 7 * 24 * HOUR),
    ("SESSION_ABSOLUTE_TIMEOUT", 60, "absolute_timeout", 60),
    ("SESSION_ABSOLUTE_TIMEOUT", 1.5, "absolute_timeout", 2),
    ("SESSION_ABSOLUTE_TIMEOUT", dt.timedelta(hours=1), "absolute_timeout", HOUR),
    ("SESSION_REFRESH_EACH_REQUEST", False, "refresh_each_request", False),
    ("SESSION_OWNER_LIMIT", 1, "owner_limit", 1),
    ("SESSION_AUTH_NAMES", ["uid", 7], "auth_names", ("uid", 7)),
    ("SESSION_AUTH_NAMES", {"uid"}, "auth_names", ("uid",)),
    ("SESSION_AUTH_NAMES", (), "auth_names", ()),
    ("SESSION_COOKIE_DOMAIN", "example.com", "cookie_domain", "example.com"),
    ("SESSION_COOKIE_PATH", "/shop", "cookie_path", "/shop"),
    ("APPLICATION_ROOT", "/shop", "cookie_path", "/shop"),
    ("SESSION_COOKIE_HTTPONLY", False, "cookie_httponly", False),
    ("SESSION_COOKIE_SECURE", True, "cookie_secure", True),
    ("SESSION_COOKIE_SAMESITE", "Lax", "cookie_samesite", "Lax"),
    ("SESSION_COOKIE_SAMESITE", "Strict", "cookie_samesite", "Strict"),
    ("SESSION_COOKIE_SAMESITE", "None", "cookie_samesite", "None"),
    ("SESSION_COOKIE_PARTITIONED", True, "cookie_partitioned", True),
    ("MAX_COOKIE_SIZE", 0, "max_cookie_size", 0),
    ("MAX_COOKIE_SIZE", 10_000, "max_cookie_size", 10_000),
]


@pytest.mark.parametrize(("key", "value", "name", "expected"), RIGHT, ids=stable_repr)
def test_a_valid_value_is_used(
    key: str, value: t.Any, name: str, expected: t.Any
) -> None:
    """Times become seconds and sizes become bytes, whatever form they have."""
    assert getattr(config(**{key: value}), name) == expected
    app = flask_app(SESSION_SECRET=SECRET, **{key: value})
    BuffaloSession(app)
    assert getattr(interface(app).main.config, name) == expected


def test_the_cookie_path_wins_over_the_application_root() -> None:
    """``SESSION_COOKIE_PATH`` is the more specific setting."""
    found = config(SESSION_COOKIE_PATH="/a", APPLICATION_ROOT="/b")
    assert found.cookie_path == "/a"


def test_an_idle_timeout_wins_over_the_lifetime() -> None:
    """``PERMANENT_SESSION_LIFETIME`` is only its default."""
    found = config(SESSION_IDLE_TIMEOUT=60, PERMANENT_SESSION_LIFETIME=120)
    assert (found.idle_timeout, found.permanent_lifetime) == (60, 120)


# Wrong values


class NoDelete:
    def load(self, token: str) -> bytes | None: ...

    def save(self, token: str | None, data: bytes) -> str:
        return ""


class NoCodec:
    def seal(self, secrets: t.Any, name: str, *, encrypt: bool) -> t.Any: ...


FLAGS = [
    "SESSION_API",
    "SESSION_ENCRYPT",
    "SESSION_REFRESH_EACH_REQUEST",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_PARTITIONED",
]
TIMES = [
    "SESSION_IDLE_TIMEOUT",
    "SESSION_TIMEOUT_LIMIT",
    "SESSION_ABSOLUTE_TIMEOUT",
    "PERMANENT_SESSION_LIFETIME",
]
WRONG: list[tuple[str, t.Any, str]] = [
    *(
        (key, value, kind)
        for key in FLAGS
        for value, kind in [("yes", "str"), (1, "int")]
    ),
    *((key, "", "empty str") for key in FLAGS),
    *(
        (key, value, kind)
        for key in TIMES
        for value, kind in [
            (0, "int"),
            (-1, "int"),
            (True, "bool"),
            ("3600", "str"),
            (0.0, "float"),
            (float("nan"), "float"),
            (float("inf"), "float"),
            (10**12, "int"),
            (dt.timedelta(0), "timedelta"),
            (dt.timedelta(days=-1), "timedelta"),
            (dt.timedelta.max, "timedelta"),
            (Decimal(5), "Decimal"),
            (Fraction(5), "Fraction"),
        ]
    ),
    *(
        ("SESSION_NAME", value, kind)
        for value, kind in [
            ("", "empty str"),
            ("a b", "str"),
            ("a=b", "str"),
            ("a;b", "str"),
            ("a,b", "str"),
            ('"a"', "str"),
            ("a\n", "str"),
            ("a/b", "str"),
            ("a(b)", "str"),
            ("a\0", "str"),
            ("sitzung\u00fc", "str"),
            (b"sid", "bytes"),
            (5, "int"),
            (["sid"], "list"),
        ]
    ),
    ("SESSION_STORE", "", "str"),
    ("SESSION_STORE", "cookies", "str"),
    ("SESSION_STORE", "nosuch://host", "str"),
    ("SESSION_STORE", "memory:shared", "str"),
    ("SESSION_STORE", 5, "int"),
    ("SESSION_STORE", b"cookie", "bytes"),
    ("SESSION_STORE", {}, "dict"),
    ("SESSION_STORE", NoDelete(), "NoDelete"),
    ("SESSION_STORE", MemoryStore, "the class MemoryStore"),
    ("SESSION_FORMAT", "", "empty str"),
    ("SESSION_FORMAT", "nativ", "str"),
    ("SESSION_FORMAT", 5, "int"),
    ("SESSION_FORMAT", NoCodec(), "NoCodec"),
    ("SESSION_FORMAT", NativeFormat, "the class NativeFormat"),
    ("SESSION_OWNER_LIMIT", 0, "int"),
    ("SESSION_OWNER_LIMIT", -1, "int"),
    ("SESSION_OWNER_LIMIT", True, "bool"),
    ("SESSION_OWNER_LIMIT", 2.0, "float"),
    ("SESSION_OWNER_LIMIT", "3", "str"),
    ("SESSION_AUTH_NAMES", "user_id", "str"),
    ("SESSION_AUTH_NAMES", 5, "int"),
    ("SESSION_AUTH_NAMES", [["user_id"]], "list"),
    ("SESSION_AUTH_NAMES", [(["user_id"],)], "list"),
    ("SESSION_COOKIE_DOMAIN", 5, "int"),
    ("SESSION_COOKIE_DOMAIN", True, "bool"),
    *(
        ("SESSION_COOKIE_DOMAIN", value, "str")
        for value in [
            ".",
            "a..b",
            "a b",
            "a\nb",
            "a; Secure",
            "a/b",
            "\ud800",
            "x" * 70,
        ]
    ),
    ("SESSION_COOKIE_PATH", b"/", "bytes"),
    ("SESSION_COOKIE_PATH", "/\ud800", "str"),
    ("APPLICATION_ROOT", "/\ud800", "str"),
    ("SESSION_COOKIE_SAMESITE", "lax", "str"),
    ("SESSION_COOKIE_SAMESITE", "No", "str"),
    ("SESSION_COOKIE_SAMESITE", True, "bool"),
    ("MAX_COOKIE_SIZE", -1, "int"),
    ("MAX_COOKIE_SIZE", "4093", "str"),
    ("MAX_COOKIE_SIZE", 1.5, "float"),
    ("MAX_COOKIE_SIZE", True, "bool"),
]


@pytest.mark.parametrize(("key", "value", "kind"), WRONG, ids=stable_repr)
def test_a_wrong_value_is_refused(key: str, value: t.Any, kind: str) -> None:
    """The message names the setting, the type of the value and the allowed values."""
    text = complaint(**{key: value})
    assert text.startswith(f"{key} ")
    assert len(text.partition(" must be ")[2]) > 10
    if " cannot be used: " not in text:
        assert re.search(rf", not (?:an? )?{kind}( \(did you mean .*\?\))?\.$", text)


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("SESSION_COOKIE_SAMESITE", "lax", "Lax"),
        ("SESSION_COOKIE_SAMESITE", "Non", "None"),
        ("SESSION_FORMAT", "nativ", "native"),
        ("SESSION_FORMAT", "Gorila", "gorilla"),
        ("SESSION_STORE", "cookies", "cookie"),
        ("SESSION_STORE", "redis", "redis:"),
        ("SESSION_STORE", "reddis://hunter2@host", "redis:"),
        ("SESSION_REVOCATION", "sqllite:///x.db", "sqlite:"),
    ],
)
def test_the_closest_allowed_word_is_suggested(
    key: str, value: str, meant: str
) -> None:
    """The message suggests a word without showing the value."""
    text = complaint(**{key: value})
    assert f"(did you mean '{meant}'?)" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SESSION_COOKIE_SAMESITE", "everywhere"),
        ("SESSION_FORMAT", 5),
        ("SESSION_STORE", "hunter2"),
    ],
)
def test_no_word_is_suggested_without_a_close_one(key: str, value: t.Any) -> None:
    """A wrong suggestion would be worse than none."""
    assert "did you mean" not in complaint(**{key: value})


def test_a_config_does_not_show_secrets() -> None:
    """It keeps the values of the settings, and ``repr`` ends up in logs."""
    app = flask_app(SESSION_SECRET="hunter2" * 5, SESSION_STORE="memory:")
    assert "hunter2" not in repr(Config.of(app))


@pytest.mark.parametrize(
    ("place", "in_cookie", "null"),
    [("cookie", True, False), ("memory:", False, False), ("null", False, True)],
)
def test_the_config_returns_where_sessions_are_stored(
    place: str, in_cookie: bool, null: bool
) -> None:
    """In the cookie, on a server, or not at all."""
    chosen = config(SESSION_STORE=place)
    assert (chosen.in_cookie, chosen.null) == (in_cookie, null)


def test_the_message_about_a_wrong_store_url_does_not_show_it() -> None:
    """A URL may hold a password."""
    text = complaint(SESSION_STORE="nosuch://user:hunter2@host/0")
    assert "hunter2" not in text
    assert "memory:" in text


# The arguments


def test_arguments_win_over_settings() -> None:
    """All four arguments do."""
    store, form = MemoryStore(), NativeFormat()
    app = flask_app(
        SESSION_SECRET=SECRET,
        SESSION_NAME="other",
        SESSION_STORE="null",
        SESSION_FORMAT="nonsense",
        SESSION_API=True,
    )
    BuffaloSession(app, name="mine", store=store, format=form, api=False)
    found = interface(app).main.config
    assert (found.name, found.null) == ("mine", False)
    assert found.store is store
    assert found.format is form
    assert app.config["SESSION_COOKIE_NAME"] == "mine"


@pytest.mark.parametrize(
    ("argument", "value", "key"),
    [
        ("name", "a b", "SESSION_NAME"),
        ("name", "", "SESSION_NAME"),
        ("store", object(), "SESSION_STORE"),
        ("format", "nonsense", "SESSION_FORMAT"),
        ("api", 1, "SESSION_API"),
    ],
)
def test_arguments_are_checked_as_settings_are(
    argument: str, value: t.Any, key: str
) -> None:
    """The message names the setting."""
    with pytest.raises(SessionConfigError, match=key):
        BuffaloSession(flask_app(SESSION_SECRET=SECRET), **{argument: value})


@pytest.mark.parametrize(
    "settings", [{"SESSION_API": True}, {"SESSION_STORE": "null"}], ids=repr
)
def test_each_way_to_null_mode_does_the_same(settings: dict[str, t.Any]) -> None:
    """Buffalo's ``--api``, a setting or a store. None of them needs a secret."""
    app = flask_app(**settings)
    BuffaloSession(app)
    assert interface(app).main.config.null
    assert type(interface(app).main.config.store) is NullStore


def test_null_mode_can_be_an_argument() -> None:
    """As the flag ``api`` or as a store."""
    for arguments in ({"api": True}, {"store": "null"}, {"store": NullStore()}):
        app = flask_app(SESSION_STORE="memory:")
        BuffaloSession(app, **t.cast(t.Any, arguments))
        assert interface(app).main.config.null
        assert type(interface(app).main.config.store) is NullStore


# The cookie's name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "_buffalo_session"),
        ({"SESSION_NAME": "mine"}, "mine"),
        ({"SESSION_COOKIE_NAME": "theirs"}, "theirs"),
        ({"SESSION_COOKIE_NAME": "session"}, "_buffalo_session"),
        ({"SESSION_NAME": "session"}, "session"),
        ({"SESSION_NAME": "mine", "SESSION_COOKIE_NAME": "theirs"}, "mine"),
    ],
    ids=repr,
)
def test_flasks_setting_gets_the_name_in_force(
    settings: dict[str, str], expected: str
) -> None:
    """Other extensions read ``SESSION_COOKIE_NAME``."""
    app = flask_app(SESSION_SECRET=SECRET, **settings)
    app.add_url_rule("/", view_func=lambda: session.__setitem__("x", 1) or "")
    BuffaloSession(app)
    assert interface(app).main.config.name == expected
    assert app.config["SESSION_COOKIE_NAME"] == expected
    assert app.session_interface.get_cookie_name(app) == expected
    answer = app.test_client().get("/")
    assert answer.headers["Set-Cookie"].startswith(f"{expected}=")


def test_flasks_cookie_name_is_checked_too() -> None:
    """It is sent in the same header."""
    assert complaint(SESSION_COOKIE_NAME="a b").startswith("SESSION_NAME ")


@pytest.mark.parametrize("name", ["__Host-sid", "__host-sid", "__HOST-SID"])
def test_a_host_prefix_requires_its_attributes(name: str) -> None:
    """Secure, the root path and no domain. Browsers ignore the case of the prefix."""
    assert "SESSION_COOKIE_SECURE" in complaint(SESSION_NAME=name)
    for settings in (
        {"SESSION_COOKIE_PATH": "/shop"},
        {"APPLICATION_ROOT": "/shop"},
        {"SESSION_COOKIE_DOMAIN": "example.com"},
    ):
        text = complaint(
            SESSION_NAME=name, SESSION_COOKIE_SECURE=True, **t.cast(t.Any, settings)
        )
        assert "SESSION_COOKIE_PATH" in text
        assert "SESSION_COOKIE_DOMAIN" in text
        assert name in text
    assert config(SESSION_NAME=name, SESSION_COOKIE_SECURE=True).name == name


@pytest.mark.parametrize("name", ["__Secure-sid", "__secure-sid"])
def test_a_secure_prefix_requires_its_attribute(name: str) -> None:
    """It requires only Secure."""
    assert "SESSION_COOKIE_SECURE" in complaint(SESSION_NAME=name)
    found = config(
        SESSION_NAME=name,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_PATH="/shop",
        SESSION_COOKIE_DOMAIN="example.com",
    )
    assert found.name == name


@pytest.mark.parametrize("name", ["__Http-sid", "__Host-Http-sid", "__HTTP-sid"])
def test_an_http_prefix_requires_http_only(name: str) -> None:
    """Beside Secure. Scripts cannot make such a cookie."""
    assert "SESSION_COOKIE_SECURE" in complaint(SESSION_NAME=name)
    assert "SESSION_COOKIE_HTTPONLY = True" in complaint(
        SESSION_NAME=name, SESSION_COOKIE_SECURE=True, SESSION_COOKIE_HTTPONLY=False
    )
    assert config(SESSION_NAME=name, SESSION_COOKIE_SECURE=True).name == name


def test_a_host_http_prefix_requires_what_a_host_prefix_does() -> None:
    """The root path and no domain; a plain HTTP prefix does not."""
    settings = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/shop"}
    assert "SESSION_COOKIE_PATH" in complaint(SESSION_NAME="__Host-Http-a", **settings)
    assert config(SESSION_NAME="__Http-a", **settings).cookie_path == "/shop"


def test_a_prefix_in_flasks_setting_counts_too() -> None:
    """The cookie gets this name, whichever setting it comes from."""
    assert "SESSION_COOKIE_SECURE" in complaint(SESSION_COOKIE_NAME="__Host-sid")


# Secrets


def found(**settings: t.Any) -> tuple[bytes, ...]:
    return find_secrets(flask_app(**settings).config)


def test_the_secret_comes_from_the_first_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Config, environment, file, SECRET_KEY: each one is used when the earlier ones are
    missing.
    """
    path = tmp_path / "secret"
    path.write_bytes(b"  from the file \n")
    monkeypatch.setenv("SESSION_SECRET", "from the environment")
    monkeypatch.setenv("SESSION_SECRET_FILE", str(path))
    settings: dict[str, t.Any] = {
        "SESSION_SECRET": "from the config",
        "SECRET_KEY": "from flask",
    }
    assert found(**settings) == (b"from the config",)
    settings["SESSION_SECRET"] = ""
    assert found(**settings) == (b"from the environment",)
    del settings["SESSION_SECRET"]
    assert found(**settings) == (b"from the environment",)
    monkeypatch.setenv("SESSION_SECRET", "")
    assert found(**settings) == (b"from the file",)
    path.write_bytes(b"\n")
    assert found(**settings) == (b"from flask",)
    monkeypatch.delenv("SESSION_SECRET_FILE")
    assert found(**settings) == (b"from flask",)
    settings["SECRET_KEY"] = ""
    assert found(**settings) == ()
    assert found() == ()


def test_secrets_are_text_or_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text is encoded as UTF-8. A secret in the environment keeps its bytes."""
    assert found(SESSION_SECRET="schl\u00fcssel") == ("schl\u00fcssel".encode(),)
    assert found(SESSION_SECRET=b"\xff\x00") == (b"\xff\x00",)
    assert found(SECRET_KEY=b"\xff\x00") == (b"\xff\x00",)
    monkeypatch.setenv("SESSION_SECRET", "schl\u00fcssel \udcff")
    assert found() == ("schl\u00fcssel ".encode() + b"\xff",)


def test_older_secrets_follow_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from the config or the environment, newest first."""
    older = {"SESSION_SECRET_FALLBACKS": ["two", b"three"]}
    assert found(SESSION_SECRET="one", **older) == (b"one", b"two", b"three")
    older = {"SESSION_SECRET_FALLBACKS": ("two",)}  # type: ignore[dict-item]
    assert found(SESSION_SECRET="one", **older) == (b"one", b"two")
    monkeypatch.setenv("SESSION_SECRET_FALLBACKS", " four\tfive\n six ")
    assert found(SESSION_SECRET="one") == (b"one", b"four", b"five", b"six")
    assert found(SESSION_SECRET="one", **older) == (b"one", b"two")
    monkeypatch.setenv("SESSION_SECRET_FALLBACKS", " \n")
    assert found(SESSION_SECRET="one") == (b"one",)


def test_flasks_older_secrets_count_only_with_flasks_secret() -> None:
    """Otherwise they belong to another key."""
    settings: dict[str, t.Any] = {
        "SECRET_KEY": "flask",
        "SECRET_KEY_FALLBACKS": ["older"],
        "SESSION_SECRET_FALLBACKS": ["mine"],
    }
    assert found(**settings) == (b"flask", b"mine", b"older")
    assert found(SESSION_SECRET="one", **settings) == (b"one", b"mine")


def test_older_secrets_alone_are_not_enough() -> None:
    """Without a current secret, no cookie can be sealed."""
    assert found(SESSION_SECRET_FALLBACKS=["two"], SECRET_KEY_FALLBACKS=["x"]) == ()


@pytest.mark.parametrize("key", ["SESSION_SECRET_FALLBACKS", "SECRET_KEY_FALLBACKS"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("hunter2", "a str"),
        (b"hunter2", "a bytes"),
        ({"hunter2"}, "a set"),
        (7, "an int"),
        (["hunter2", ""], "an empty str"),
        ([b"", "hunter2"], "an empty bytes"),
        (["hunter2", None], "a NoneType"),
        (["hunter2", 5], "an int"),
        (["hunter2", ["hunter2"]], "a list"),
        (["hunter2\ud800"], "a str"),
    ],
    ids=repr,
)
def test_wrong_fallbacks_are_refused(key: str, value: t.Any, kind: str) -> None:
    """Above all a single string, which is not a list of secrets."""
    text = complaint(SESSION_SECRET=None, SECRET_KEY=SECRET, **{key: value})
    assert text.startswith(f"{key} must be a list of str or bytes")
    assert text.endswith(f", not {kind}.")
    assert "hunter2" not in text


@pytest.mark.parametrize("key", ["SESSION_SECRET", "SECRET_KEY"])
@pytest.mark.parametrize(
    "value", [5, ["hunter2"], bytearray(b"hunter2"), "hunter2\ud800", True], ids=repr
)
def test_a_wrong_secret_is_refused_and_not_shown(key: str, value: t.Any) -> None:
    """Neither the message nor the chained exceptions show it."""
    settings = {"SESSION_SECRET": None, key: value}
    text = complaint(**settings)
    assert text.startswith(f"{key} must be a str or bytes")
    assert type(value).__name__ in text
    assert "hunter2" not in text
    with pytest.raises(SessionConfigError) as caught:
        find_secrets(flask_app(**settings).config)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_file_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extension must not use another secret instead."""
    for path in (tmp_path / "missing", tmp_path):
        monkeypatch.setenv("SESSION_SECRET_FILE", str(path))
        text = complaint(SESSION_SECRET=None, SECRET_KEY=SECRET)
        assert text.startswith("SESSION_SECRET_FILE cannot be read: ")


@pytest.mark.parametrize(
    ("secret", "weak"),
    [
        (b"x" * 15, True),
        (b"0123456789abcdef", False),
        (DEVELOPMENT_SECRET, True),
        (b"change-me-in-production", True),
        (b"this-is-a-secret-key", True),
        (b"password" * 4, True),
        (SECRET.encode(), False),
    ],
)
def test_a_weak_secret_is_recognized(secret: bytes, weak: bool) -> None:
    """It is short, well known, or repeats itself."""
    assert (weakness(secret) is not None) is weak


# Several applications


@pytest.mark.parametrize("value", ["x", 5, object()], ids=stable_repr)
def test_only_an_application_can_be_registered(value: t.Any) -> None:
    """Passing a name instead of the application is a likely mistake."""
    for register in (BuffaloSession, BuffaloSession().init_app):
        with pytest.raises(TypeError, match=f"not an? {type(value).__name__}"):
            register(value)


def test_registering_twice_is_an_error() -> None:
    """By the same extension object or by another one. The first one stays."""
    app = flask_app(SESSION_SECRET=SECRET)
    buffalo = BuffaloSession(app)
    first = app.session_interface
    for again in (buffalo, BuffaloSession()):
        with pytest.raises(SessionConfigError, match="already"):
            again.init_app(app)
    assert app.session_interface is first
    assert app.extensions["buffalo_session"] is buffalo


def test_one_object_serves_several_applications() -> None:
    """Each application has its own settings. The object keeps none of them."""
    buffalo = BuffaloSession()
    one = flask_app(SESSION_SECRET=SECRET, SESSION_NAME="one", SESSION_IDLE_TIMEOUT=60)
    two = flask_app(SESSION_SECRET=SECRET, SESSION_STORE="memory:")
    three = flask_app(SESSION_API=True)
    for app in (one, two, three):
        buffalo.init_app(app)
    found = [interface(app).main.config for app in (one, two, three)]
    assert [config.name for config in found] == [
        "one",
        "_buffalo_session",
        "_buffalo_session",
    ]
    assert [type(config.store) for config in found] == [
        CookieStore,
        MemoryStore,
        NullStore,
    ]
    assert [config.idle_timeout for config in found] == [60, 31 * 86400, 31 * 86400]
    assert not any(isinstance(kept, Flask) for kept in vars(buffalo).values())


def test_each_application_has_a_memory_of_its_own() -> None:
    """``memory:`` makes one store for each application object."""
    buffalo = BuffaloSession(store="memory:")
    stores = []
    for _ in range(2):
        app = flask_app(SESSION_SECRET=SECRET)
        buffalo.init_app(app)
        stores.append(interface(app).main.config.store)
    assert stores[0] is not stores[1]


def test_a_store_object_can_be_shared() -> None:
    """The extension uses a store object as it is."""
    store: Store = MemoryStore()
    buffalo = BuffaloSession(store=store)
    for _ in range(2):
        app = flask_app(SESSION_SECRET=SECRET)
        buffalo.init_app(app)
        assert interface(app).main.config.store is store


# Ready clients and engines


def test_a_ready_client_or_engine_is_a_store(tmp_path: Path) -> None:
    """So one setting moves to a client that the application has anyway."""
    client = redis.Redis(port=1)
    assert type(config(SESSION_STORE=client).store) is RedisStore
    assert type(config(SESSION_STORE=valkey.Valkey(port=1)).store) is RedisStore
    engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db")
    assert type(config(SESSION_STORE=engine).store) is SQLStore
    listed = config(SESSION_REVOCATION=client).revocations
    assert listed is not None
    assert type(listed.store) is RedisStore
    listed = config(SESSION_REVOCATION=engine).revocations
    assert listed is not None
    assert type(listed.store) is SQLStore
    engine.dispose()


def test_a_ready_client_stays_open() -> None:
    """The application closes what it made."""
    closed = []

    class Client(redis.Redis):
        def close(self) -> None:
            closed.append(self)

    client = Client(port=1)
    found = config(SESSION_STORE=client)
    found.close()
    assert closed == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_object_close_to_a_store_is_an_error_that_says_what_to_give() -> None:
    """The value's class is named."""
    engine = sa.create_engine("sqlite://")
    sentinel: t.Any = redis.sentinel.Sentinel

    def of_module(module: str) -> object:
        """Return an object of an extension that is not installed here."""
        return type("Client", (), {"__module__": module, "execute_command": print})()

    for value, advice in [
        (redis.asyncio.Redis(port=1), "a synchronous client, redis.Redis"),
        (valkey.asyncio.Valkey(port=1), "a synchronous client, valkey.Valkey"),
        (redis.Redis, "must be 'cookie'"),
        (sentinel([("localhost", 1)]), "master_for"),
        (SQLAlchemy(), "db.engine"),
        (sa.orm.Session(engine), "the engine itself"),
        (sa.orm.sessionmaker(engine), "the engine itself"),
        (of_module("sqlalchemy.ext.asyncio.engine"), "sqlalchemy.create_engine"),
        (of_module("flask_caching"), "a cache of cachelib"),
        (of_module("flask_redis.client"), "a client of redis-py"),
        (SimpleNamespace(sync_engine=engine), "must be 'cookie'"),
    ]:
        for key in ("SESSION_STORE", "SESSION_REVOCATION"):
            text = complaint(**{key: value})
            assert text.startswith(f"{key} ")
            if "must be" not in advice:
                assert advice in text, text
        assert advice in complaint(SESSION_STORE=value)
    engine.dispose()


# Settings of others


@pytest.mark.parametrize(
    ("settings", "key", "instead", "moves"),
    [
        ({"SESSION_TYPE": "redis"}, "SESSION_TYPE", "'redis://host:6379'", True),
        ({"SESSION_TYPE": "Redis"}, "SESSION_TYPE", "'redis://host:6379'", True),
        (
            {"SESSION_TYPE": "redis", "SESSION_REDIS": object()},
            "SESSION_TYPE",
            "to app.config['SESSION_REDIS'], or",
            True,
        ),
        ({"SESSION_REDIS": object()}, "SESSION_REDIS", "SESSION_REDIS']", True),
        ({"SESSION_SQLALCHEMY": object()}, "SESSION_SQLALCHEMY", "db.engine", True),
        ({"SESSION_CACHELIB": object()}, "SESSION_CACHELIB", "_CACHELIB'], a", False),
        ({"SESSION_USE_SIGNER": False}, "SESSION_USE_SIGNER", "howto/stores.md", False),
        ({"SESSION_SQLALCHEMY_TABLE": "x"}, "SESSION_SQLALCHEMY", "postgresql:", True),
        ({"SESSION_TYPE": "filesystem"}, "SESSION_TYPE", "'file:folder'", False),
        ({"SESSION_FILE_DIR": "/x"}, "SESSION_FILE_DIR", "'file:folder'", False),
        ({"SESSION_TYPE": "cachelib"}, "SESSION_TYPE", "cache of cachelib", False),
        ({"SESSION_MEMCACHED": object()}, "SESSION_MEMCACHED", "memcached://", False),
        ({"SESSION_MONGODB_DB": "x"}, "SESSION_MONGODB_DB", "howto/stores.md", False),
        ({"SESSION_USE_SIGNER": True}, "SESSION_USE_SIGNER", "howto/stores.md", False),
        ({"SESSION_TYPE": "null"}, "SESSION_TYPE", "howto/stores.md", False),
    ],
)
def test_settings_of_flask_session_are_an_error_that_says_what_to_write(
    settings: dict[str, t.Any], key: str, instead: str, moves: bool
) -> None:
    """Silently, sessions would move into a cookie that their user can read."""
    text = complaint(**settings)
    assert text.startswith(f"{key}")
    assert "is a setting of Flask-Session. Set SESSION_STORE instead" in text
    assert instead in text
    assert ("previous.FlaskSession(" in text) is moves
    app = flask_app(SESSION_STORE="memory:", **settings)
    BuffaloSession(app)
    for arguments in ({"store": MemoryStore()}, {"api": True}):
        BuffaloSession(flask_app(**settings), **t.cast(t.Any, arguments))


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        (
            {"SESSION_TYPE": "redis", "SESSION_KEY_PREFIX": "shop:"},
            "FlaskSession('redis://host:6379',"
            " key_prefix=app.config['SESSION_KEY_PREFIX'])",
        ),
        (
            {"SESSION_TYPE": "redis", "SESSION_USE_SIGNER": True},
            "FlaskSession('redis://host:6379',"
            " use_signer=app.config['SESSION_USE_SIGNER'])",
        ),
        (
            {"SESSION_TYPE": "redis", "SESSION_SERIALIZATION_FORMAT": "json"},
            "FlaskSession('redis://host:6379',"
            " serializer=app.config['SESSION_SERIALIZATION_FORMAT'])",
        ),
        (
            {
                "SESSION_TYPE": "sqlalchemy",
                "SESSION_SQLALCHEMY_TABLE": "logins",
                "SESSION_SQLALCHEMY_SCHEMA": "web",
            },
            "FlaskSession('postgresql://…',"
            " table=app.config['SESSION_SQLALCHEMY_TABLE'],"
            " schema=app.config['SESSION_SQLALCHEMY_SCHEMA'])",
        ),
        (
            # These are the defaults, or do not concern this type.
            {
                "SESSION_TYPE": "redis",
                "SESSION_KEY_PREFIX": "session:",
                "SESSION_USE_SIGNER": False,
                "SESSION_SQLALCHEMY_TABLE": "logins",
            },
            "FlaskSession('redis://host:6379')",
        ),
    ],
)
def test_the_error_names_each_parameter_that_finds_the_old_records(
    settings: dict[str, t.Any], call: str
) -> None:
    """Without ``key_prefix``, say, no session would be found: all are logged out."""
    assert f"[previous.{call}] nobody is logged out." in complaint(**settings)


def test_every_setting_of_flask_session_is_known() -> None:
    """Its own list of defaults says which there are."""
    for key in vars(flask_session.defaults.Defaults):
        if key.startswith("SESSION_"):
            assert "is a setting of Flask-Session" in complaint(**{key: "x"})
            BuffaloSession(flask_app(**{key: None}))


def test_the_error_of_a_class_names_the_class() -> None:
    """Its own type, such as ``_ProtocolMeta``, would help nobody."""
    text = complaint(SESSION_STORE=redis.Redis)
    assert text.endswith(", not the class Redis.")


def test_a_wrong_option_does_not_suggest_another_kind_of_store() -> None:
    """The scheme is right, with and without a driver."""
    for url in ("mysql+pymysql://h/x?y=1", "postgresql+psycopg://h/x?y=1"):
        text = complaint(SESSION_STORE=url)
        assert "does not know one of its options. It must be" in text
    assert "did you mean 'redis+cluster:'?" in complaint(SESSION_STORE="redis+cluser:x")


def test_an_unknown_setting_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """With the closest known name, and without a value."""
    app = flask_app(
        SESSION_SECRET="x" * 32,
        SESSION_STROE="hunter2",
        SESSION_COOKIE_SAMSITE="Lax",
        SESSION_XYZZY="hunter2",
        SESSION_PROTECTION="strong",
        SESSIONS="other",
    )
    BuffaloSession(app)
    (record,) = caplog.records
    assert record.getMessage() == (
        "Unknown settings have no effect: SESSION_STROE (did you mean"
        " 'SESSION_STORE'?), SESSION_COOKIE_SAMSITE (did you mean"
        " 'SESSION_COOKIE_SAMESITE'?), SESSION_XYZZY."
    )


def test_leftovers_of_flask_session_are_no_unknown_settings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A store is chosen, so they do no harm."""
    app = flask_app(SESSION_STORE="memory:", SESSION_TYPE="redis")
    BuffaloSession(app)
    assert caplog.records == []


def test_a_setting_of_the_applications_own_is_not_taken_for_flask_sessions() -> None:
    """Although its name begins like one."""
    app = flask_app(SESSION_SECRET=SECRET, SESSION_REDIS_URL="redis://localhost")
    BuffaloSession(app)
