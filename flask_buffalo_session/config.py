"""The settings: each key, its default, its unit, and what is allowed.

Read from ``app.config`` and checked once, in ``init_app``. Nothing here is read
again in a request, except that the secret is looked for again while there is
none, because applications set it late.
"""

from __future__ import annotations

import collections.abc as c
import contextlib
import math
import os
import re
import typing as t
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cachelib import BaseCache
from flask import Flask

from .errors import SessionConfigError
from .formats import Format, NativeFormat
from .gorilla.format import GorillaFormat
from .policy import Policy
from .revocation import OwnedStore, RevocationList
from .stores.base import Store, is_owned, is_stateless
from .stores.cache import CacheStore
from .stores.cookie import CookieStore
from .stores.null import NullStore
from .stores.url import SCHEMES, store_from_url

DEFAULT_NAME = "_buffalo_session"

DEFAULT_AUTH_NAMES = ("user_id", "_user_id", "current_user_id")

#: Used in debug mode and tests where there is no other, as Buffalo does.
DEVELOPMENT_SECRET = b"buffalo-secret"

#: Bytes. Less can be guessed.
SHORTEST_SECRET = 16

#: Seconds. Dates end in the year 9999, and ``Expires`` is one.
LONGEST_TIME = 1000 * 366 * 24 * 3600

#: Flask's default of ``PERMANENT_SESSION_LIFETIME``, in seconds.
DEFAULT_LIFETIME = 31 * 24 * 3600

_WELL_KNOWN_SECRETS = frozenset(
    {
        DEVELOPMENT_SECRET,
        b"change-me-in-production",
        b"development-secret-key",
        b"super secret key",
        b"super-secret-key",
        b"this-is-a-secret-key",
        b"you-will-never-guess",
        b"your-secret-key-here",
        b"hard to guess string",
    }
)

# RFC 6265, section 4.1.1: a cookie's name is a token of RFC 2616.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# What a host may be called. Anything else would be another attribute of the cookie.
_HOST = re.compile(rb"[0-9A-Za-z._\-]+")


@dataclass(frozen=True, slots=True)
class Config:
    """What ``init_app`` found, with defaults filled in. Times are in seconds,
    sizes in bytes.
    """

    name: str
    store: Store
    format: Format
    null: bool
    encrypt: bool
    idle_timeout: int
    absolute_timeout: int | None
    renew_after: int | None
    revocations: RevocationList | None
    permanent_lifetime: int
    refresh_each_request: bool
    auth_names: tuple[t.Hashable, ...]
    cookie_domain: str | None
    cookie_path: str
    cookie_httponly: bool
    cookie_secure: bool
    cookie_samesite: str
    cookie_partitioned: bool
    max_cookie_size: int

    @classmethod
    def of(
        cls,
        app: Flask,
        *,
        name: str | None = None,
        store: object = None,
        format: object = None,
        api: bool | None = None,
    ) -> t.Self:
        """Read and check the settings of an application. The arguments win over
        ``SESSION_NAME``, ``SESSION_STORE``, ``SESSION_FORMAT`` and
        ``SESSION_API``.

        :raises SessionConfigError: a setting is wrong.
        """
        read = _Reader(app.config)
        chosen_store = _store(app, read.given("SESSION_STORE", store, "cookie"))
        chosen_format = _format(read.given("SESSION_FORMAT", format, "native"))
        null = read.flag("SESSION_API", api) or isinstance(chosen_store, NullStore)
        used_store = NullStore() if null else chosen_store
        lifetime = read.seconds("PERMANENT_SESSION_LIFETIME", DEFAULT_LIFETIME)
        idle = read.seconds("SESSION_IDLE_TIMEOUT", lifetime)
        config = cls(
            name=_name(app, read, name),
            store=used_store,
            format=chosen_format,
            null=null,
            encrypt=read.flag("SESSION_ENCRYPT"),
            idle_timeout=t.cast(int, idle),
            absolute_timeout=read.seconds("SESSION_ABSOLUTE_TIMEOUT"),
            renew_after=read.seconds("SESSION_RENEW_AFTER"),
            revocations=_revocations(app, used_store, chosen_format, t.cast(int, idle)),
            permanent_lifetime=t.cast(int, lifetime),
            refresh_each_request=read.flag("SESSION_REFRESH_EACH_REQUEST"),
            auth_names=_auth_names(read),
            cookie_domain=_domain(read),
            cookie_path=_path(read),
            cookie_httponly=read.flag("SESSION_COOKIE_HTTPONLY"),
            cookie_secure=read.flag("SESSION_COOKIE_SECURE"),
            cookie_samesite=_samesite(read),
            cookie_partitioned=read.flag("SESSION_COOKIE_PARTITIONED"),
            max_cookie_size=_max_cookie_size(read),
        )
        _check_prefix(config)
        return config

    def policy(self) -> Policy:
        """Return the time-outs, as sessions need them."""
        has_ids = not is_stateless(self.store) or self.revocations is not None
        return Policy(
            idle_timeout=self.idle_timeout,
            absolute_timeout=self.absolute_timeout,
            rotate_after=self.renew_after if has_ids else None,
            permanent_lifetime=self.permanent_lifetime,
            stores_created=self.format.codec.stores_created,
        )


def find_secrets(app: Flask) -> tuple[bytes, ...]:
    """The secrets, newest first: the one in force and its fallbacks. Empty if
    there is none.

    The first of these that is set and not empty is in force: ``SESSION_SECRET``
    in ``app.config`` and in the environment, the file that the environment's
    ``SESSION_SECRET_FILE`` names, Flask's ``SECRET_KEY``.

    :raises SessionConfigError: one of them is not text or bytes, is an empty
        fallback, or is in a file that cannot be read.
    """
    read = _Reader(app.config)
    secret = (
        read.secret("SESSION_SECRET")
        or os.fsencode(os.environ.get("SESSION_SECRET", ""))
        or _secret_from_file()
    )
    fallbacks = read.secrets("SESSION_SECRET_FALLBACKS")
    if not fallbacks:
        listed = os.environ.get("SESSION_SECRET_FALLBACKS", "")
        fallbacks = [os.fsencode(text) for text in listed.split()]
    if not secret:
        secret = read.secret("SECRET_KEY")
        fallbacks += read.secrets("SECRET_KEY_FALLBACKS")
    return (secret, *fallbacks) if secret else ()


def is_weak(secret: bytes) -> bool:
    """Whether a secret can be guessed, being short or well known."""
    return len(secret) < SHORTEST_SECRET or secret in _WELL_KNOWN_SECRETS


class _Reader:
    """Reads one key at a time and says which one is wrong."""

    def __init__(self, config: c.Mapping[str, t.Any]) -> None:
        self._config = config

    def given(self, key: str, argument: t.Any, default: t.Any) -> t.Any:
        if argument is not None:
            return argument
        value = self._config.get(key)
        return default if value is None else value

    def flag(self, key: str, argument: bool | None = None) -> bool:
        value = self.given(key, argument, False)
        if not isinstance(value, bool):
            raise wrong(key, value, "True or False")
        return value

    def text(self, key: str) -> str | None:
        value = self._config.get(key)
        if value is not None and not isinstance(value, str):
            raise wrong(key, value, "a str or None")
        return value or None

    def seconds(self, key: str, default: int | None = None) -> int | None:
        value = self._config.get(key)
        if value is None:
            return default
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds <= LONGEST_TIME
        ):
            raise wrong(
                key,
                value,
                "a timedelta or a number of seconds, above 0 and at most 1000 years",
            )
        return math.ceil(seconds)

    def secret(self, key: str) -> bytes:
        value = self._config.get(key)
        return b"" if value is None else _secret_bytes(key, value, "a str or bytes")

    def secrets(self, key: str) -> list[bytes]:
        value = self._config.get(key)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise wrong(key, value, "a list of str or bytes")
        secrets = []
        for secret in value:
            allowed = "a list of str or bytes, none of them empty"
            if not secret:
                raise wrong(key, secret, allowed)
            secrets.append(_secret_bytes(key, secret, allowed))
        return secrets


def wrong(key: str, value: object, allowed: str) -> SessionConfigError:
    """The error for a setting. Names the kind of the value, as the value itself
    may be a secret.
    """
    kind = type(value).__name__
    if isinstance(value, str | bytes) and not value:
        kind = f"empty {kind}"
    article = "an" if kind[0] in "aeiou" else "a"
    return SessionConfigError(
        f"{key} is {article} {kind} that cannot be used; it has to be {allowed}."
    )


def _secret_bytes(key: str, value: object, allowed: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise wrong(key, value, allowed)
    try:
        return value.encode()
    except UnicodeEncodeError:
        # Its message shows a part of the secret, its attributes all of it.
        raise wrong(key, value, f"{allowed}, without lone surrogates") from None


def _secret_from_file() -> bytes:
    path = os.environ.get("SESSION_SECRET_FILE")
    if not path:
        return b""
    try:
        # Editors and shells end a file with a newline.
        return Path(path).read_bytes().strip()
    except OSError as error:
        raise SessionConfigError(
            f"SESSION_SECRET_FILE cannot be read: {error.strerror}."
        ) from error


def _name(app: Flask, read: _Reader, argument: str | None) -> str:
    flasks = app.config.get("SESSION_COOKIE_NAME")
    default = Flask.default_config["SESSION_COOKIE_NAME"]
    fallback = DEFAULT_NAME if flasks in (None, default) else flasks
    name = read.given("SESSION_NAME", argument, fallback)
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise wrong(
            "SESSION_NAME",
            name,
            "a str of letters, digits and any of !#$%&'*+-.^_`|~ (RFC 6265)",
        )
    return name


def _store(app: Flask, value: t.Any) -> Store:
    if isinstance(value, str):
        if value == "cookie":
            return CookieStore()
        if value == "null":
            return NullStore()
        schemes = ", ".join(f"{scheme}:" for scheme in SCHEMES)
        allowed = _STORES.format(schemes=schemes)
        return _store_from_url(app, "SESSION_STORE", value, allowed)
    if isinstance(value, BaseCache):
        return CacheStore(value)
    if isinstance(value, type) or not isinstance(value, Store):
        raise wrong("SESSION_STORE", value, _STORES.format(schemes="redis: for one"))
    return value


def _store_from_url(app: Flask, key: str, url: str, allowed: str) -> Store:
    try:
        return store_from_url(url, app.instance_path)
    except (ImportError, ValueError) as error:
        # Never the URL itself, which may hold a password.
        raise SessionConfigError(
            f"{key} is a str that cannot be used ({error}); it has to be {allowed}."
        ) from error


_STORES = (
    "'cookie', 'null', a URL ({schemes}), a cache of cachelib, or an object with the"
    " methods load, save and delete"
)


def _revocations(
    app: Flask, store: Store, format: Format, idle_timeout: int
) -> RevocationList | None:
    value = app.config.get("SESSION_REVOCATION")
    if value is None:
        return None
    kept: t.Any = value
    if isinstance(value, str):
        kept = _store_from_url(app, "SESSION_REVOCATION", value, _REVOCATIONS)
    if isinstance(kept, type) or not (isinstance(kept, Store) and is_owned(kept)):
        raise wrong("SESSION_REVOCATION", value, _REVOCATIONS)
    if isinstance(store, NullStore) or not is_stateless(store):
        # There are none, or their store knows by itself which have ended.
        return None
    if not isinstance(format, NativeFormat):
        raise SessionConfigError(
            "SESSION_REVOCATION needs SESSION_FORMAT = 'native': the cookies of other"
            " formats have no id, and a Go application would not look it up."
        )
    return RevocationList(t.cast(OwnedStore, kept), idle_timeout)


_REVOCATIONS = (
    "a URL or a store that knows owners, of Redis, Valkey, SQLite, PostgreSQL, MySQL,"
    " MariaDB or memory"
)


def _format(value: t.Any) -> Format:
    if value == "native":
        return NativeFormat()
    if value == "gorilla":
        return GorillaFormat()
    if isinstance(value, type) or not isinstance(value, Format):
        raise wrong("SESSION_FORMAT", value, "'native', 'gorilla' or a format object")
    return value


def _auth_names(read: _Reader) -> tuple[t.Hashable, ...]:
    value = read.given("SESSION_AUTH_NAMES", None, DEFAULT_AUTH_NAMES)
    if isinstance(value, list | tuple | set | frozenset):
        names = tuple(value)
        # Not c.Hashable: every tuple is that, whatever is in it.
        with contextlib.suppress(TypeError):
            hash(names)
            return names
    raise wrong("SESSION_AUTH_NAMES", value, "a list or tuple of session names")


def _domain(read: _Reader) -> str | None:
    domain = read.text("SESSION_COOKIE_DOMAIN")
    if domain is not None and not _is_host(domain):
        raise wrong("SESSION_COOKIE_DOMAIN", domain, "a host's name or None")
    return domain


def _is_host(domain: str) -> bool:
    try:
        # As Werkzeug writes it.
        host = domain.partition(":")[0].lstrip(".").encode("idna")
    except UnicodeError:
        return False
    return _HOST.fullmatch(host) is not None


def _path(read: _Reader) -> str:
    for key in ("SESSION_COOKIE_PATH", "APPLICATION_ROOT"):
        path = read.text(key)
        if path is None:
            continue
        try:
            path.encode()
        except UnicodeEncodeError:
            raise wrong(key, path, "a str without lone surrogates or None") from None
        return path
    return "/"


def _samesite(read: _Reader) -> str:
    value = read.text("SESSION_COOKIE_SAMESITE") or "Lax"
    if value not in ("Lax", "Strict", "None"):
        raise wrong("SESSION_COOKIE_SAMESITE", value, "'Lax', 'Strict' or 'None'")
    return value


def _max_cookie_size(read: _Reader) -> int:
    value = read.given("MAX_COOKIE_SIZE", None, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong("MAX_COOKIE_SIZE", value, "a number of bytes, or 0 for no limit")
    return value


def _check_prefix(config: Config) -> None:
    # RFC 6265bis, section 4.1.3: browsers refuse such a cookie unless it keeps
    # what its name promises, and compare the prefix without regard to case.
    name = config.name.lower()
    if not name.startswith(("__host-", "__secure-")):
        return
    if not config.cookie_secure:
        raise SessionConfigError(
            f"SESSION_NAME {config.name!r} needs SESSION_COOKIE_SECURE = True."
        )
    if name.startswith("__host-") and (
        config.cookie_domain is not None or config.cookie_path != "/"
    ):
        raise SessionConfigError(
            f"SESSION_NAME {config.name!r} needs SESSION_COOKIE_PATH = '/' and no"
            " SESSION_COOKIE_DOMAIN."
        )
