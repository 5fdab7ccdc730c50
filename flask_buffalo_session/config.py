"""Read and check the settings: each key, its default, its unit, its allowed values.

``init_app`` reads the settings from ``app.config`` once and checks them. No request
reads them again.
"""

from __future__ import annotations

import collections.abc as c
import contextlib
import math
import re
import typing as t
from dataclasses import dataclass, field
from datetime import timedelta

from flask import Flask

from .errors import SessionConfigError, wrong_setting
from .formats import Format, NativeFormat
from .origin import Origin
from .places import revocation_store, store_of
from .policy import DEFAULT_TIMEOUT_LIMIT, Policy
from .revocation import RevocationList
from .secret import SECRET_SETTINGS
from .stores.base import Closable, Store, is_stateless
from .stores.null import NullStore
from .strangers import check_flask_session

DEFAULT_NAME = "_buffalo_session"

#: The name of Flask's own cookie, unless the application gives it another one.
FLASK_NAME: str = Flask.default_config["SESSION_COOKIE_NAME"]

DEFAULT_AUTH_NAMES = ("user_id", "_user_id", "current_user_id")

#: Seconds. ``Expires`` is a date, and dates end in the year 9999.
LONGEST_TIME = 1000 * 366 * 24 * 3600

#: Flask's default of ``PERMANENT_SESSION_LIFETIME``, in seconds.
DEFAULT_LIFETIME = 31 * 24 * 3600

# RFC 6265, section 4.1.1: a cookie's name is a token of RFC 2616.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# The characters of a host's name. Others could add an attribute to the cookie.
_HOST = re.compile(rb"[0-9A-Za-z._\-]+")


@dataclass(frozen=True, slots=True)
class Config:
    """The settings in force, with defaults filled in. Times are in seconds, sizes in
    bytes.

    :param owner_limit: how many sessions an owner may have; None for no limit.
    :param flask_name: the name of Flask's own cookie, before ``init_app`` writes the
        name in force to ``SESSION_COOKIE_NAME``.
    :param old_lifetime: how long the sessions of another library live that
        ``SESSION_PREVIOUS`` lists.
    :param null: whether the application has no sessions.
    :param in_cookie: whether the cookie contains the session itself. If neither
        `null` nor `in_cookie` is true, the store keeps sessions on a server.
    :param previous: the places where sessions were kept before.
    :param made: the settings whose store this package made, from a word or a URL. The
        application itself made any other store.
    :param as_read: the values that ``app.config`` had in ``init_app``, by setting.
    :param origin: where the settings come from.
    """

    name: str
    flask_name: str
    store: Store
    format: Format
    null: bool
    in_cookie: bool
    encrypt: bool
    idle_timeout: int
    absolute_timeout: int | None
    timeout_limit: int
    renew_after: int | None
    revocations: RevocationList | None
    permanent_lifetime: int
    old_lifetime: int
    refresh_each_request: bool
    owner_limit: int | None
    auth_names: tuple[t.Hashable, ...]
    cookie_domain: str | None
    cookie_path: str
    cookie_httponly: bool
    cookie_secure: bool
    cookie_samesite: str
    cookie_partitioned: bool
    max_cookie_size: int
    previous: tuple[object, ...]
    made: frozenset[str]
    # It contains secrets, so repr() must not show it.
    as_read: c.Mapping[str, t.Any] = field(repr=False, compare=False)
    origin: Origin = field(repr=False, compare=False)

    @classmethod
    def of(
        cls,
        app: Flask,
        settings: c.Mapping[str, t.Any] | None = None,
        *,
        origin: Origin | None = None,
        name: str | None = None,
        store: object = None,
        format: object = None,
        api: bool | None = None,
    ) -> t.Self:
        """Read and check the settings of an application. The other arguments win over
        the settings ``SESSION_NAME``, ``SESSION_STORE``, ``SESSION_FORMAT`` and
        ``SESSION_API``.

        :param settings: what to read instead of the application's ``config``.
        :param origin: where the settings of a named session come from.
        :raises SessionConfigError: a setting is wrong.
        """
        if origin is None:
            origin = Origin(app.config if settings is None else settings)
        settings = origin.settings
        read = _Reader(settings)
        places = {
            "SESSION_STORE": read.given("SESSION_STORE", store, "cookie"),
            "SESSION_REVOCATION": read.value("SESSION_REVOCATION"),
        }
        null_mode = read.flag("SESSION_API", api)
        if store is None and read.values["SESSION_STORE"] is None and not null_mode:
            check_flask_session(settings)
        chosen_store = store_of(app, places["SESSION_STORE"])
        chosen_format = _format(read.given("SESSION_FORMAT", format, "native"))
        null = null_mode or isinstance(chosen_store, NullStore)
        used_store = NullStore() if null else chosen_store
        lifetime = read.seconds("PERMANENT_SESSION_LIFETIME", DEFAULT_LIFETIME)
        idle = read.seconds("SESSION_IDLE_TIMEOUT", lifetime)
        in_cookie = not null and is_stateless(used_store)
        previous = _previous(read)
        cookie_life = t.cast(int, idle)
        # A named session may have another lifetime than Flask's cookies had.
        old_lifetime = t.cast(
            int,
            _Reader(app.config).seconds("PERMANENT_SESSION_LIFETIME", DEFAULT_LIFETIME),
        )
        if previous:
            # An old cookie must not outlive the tombstone of its session.
            cookie_life = max(cookie_life, t.cast(int, lifetime), old_lifetime)
        config = cls(
            name=_name(read, name),
            flask_name=settings.get("SESSION_COOKIE_NAME") or FLASK_NAME,
            store=used_store,
            format=chosen_format,
            null=null,
            in_cookie=in_cookie,
            encrypt=read.flag("SESSION_ENCRYPT"),
            idle_timeout=t.cast(int, idle),
            absolute_timeout=read.seconds("SESSION_ABSOLUTE_TIMEOUT"),
            timeout_limit=t.cast(
                int, read.seconds("SESSION_TIMEOUT_LIMIT", DEFAULT_TIMEOUT_LIMIT)
            ),
            renew_after=read.seconds("SESSION_RENEW_AFTER"),
            revocations=_revocations(
                app, read, chosen_format, cookie_life, in_cookie=in_cookie
            ),
            permanent_lifetime=t.cast(int, lifetime),
            old_lifetime=old_lifetime,
            refresh_each_request=read.flag("SESSION_REFRESH_EACH_REQUEST"),
            owner_limit=_owner_limit(read),
            auth_names=_auth_names(read),
            cookie_domain=_domain(read),
            cookie_path=_path(read),
            cookie_httponly=read.flag("SESSION_COOKIE_HTTPONLY"),
            cookie_secure=read.flag("SESSION_COOKIE_SECURE"),
            cookie_samesite=_samesite(read),
            cookie_partitioned=read.flag("SESSION_COOKIE_PARTITIONED"),
            max_cookie_size=_max_cookie_size(read),
            previous=previous,
            made=frozenset(
                key for key, place in places.items() if isinstance(place, str)
            ),
            as_read=read.values,
            origin=origin,
        )
        _check_prefix(config)
        # init_app writes the name in force to this setting.
        read.values["SESSION_COOKIE_NAME"] = config.name
        read.values |= {key: settings.get(key) for key in SECRET_SETTINGS}
        return config

    def policy(self) -> Policy:
        """Return the timeouts, as sessions need them."""
        has_ids = not self.in_cookie or self.revocations is not None
        return Policy(
            self.format.codec,
            idle_timeout=self.idle_timeout,
            absolute_timeout=self.absolute_timeout,
            timeout_limit=self.timeout_limit,
            rotate_after=self.renew_after if has_ids else None,
            permanent_lifetime=self.permanent_lifetime,
        )

    @property
    def encrypts_records(self) -> bool:
        """Whether records on a server are encrypted, and entries of the revocation
        list. In another format than the native one, another program reads the records.
        """
        return self.encrypt and isinstance(self.format, NativeFormat)

    @property
    def stores(self) -> dict[str, Store]:
        """The stores in use, by the setting that names them."""
        stores = {"SESSION_STORE": self.store}
        if self.revocations is not None:
            stores["SESSION_REVOCATION"] = self.revocations.store
        return stores

    @property
    def own_stores(self) -> dict[str, Store]:
        """The stores in use that are not inherited from the main session."""
        own, stores = self.made | self.origin.given, self.stores
        if self.origin.session is None:
            return stores
        return {key: store for key, store in stores.items() if key in own}

    def close(self) -> None:
        """Close the connections of the stores that a URL made."""
        for key, store in self.stores.items():
            if key in self.made and isinstance(store, Closable):
                store.close()

    def changed(self) -> list[str]:
        """Return the settings whose value is no longer the one that was read."""
        settings = self.origin.settings
        return [
            key
            for key, value in self.as_read.items()
            if key not in SECRET_SETTINGS
            and (now := settings.get(key)) is not value
            and now != value
        ]


def check_cookie(*, name: object, domain: object, path: object) -> None:
    """Check what identifies a cookie, as the settings are checked.

    :raises SessionConfigError: a value is wrong. The message names the setting.
    """
    read = _Reader(
        {
            "SESSION_NAME": name,
            "SESSION_COOKIE_DOMAIN": domain,
            "SESSION_COOKIE_PATH": path,
        }
    )
    _name(read, None)
    _domain(read)
    _path(read)


class _Reader:
    """Reads one setting at a time, and names the setting that is wrong."""

    def __init__(self, config: c.Mapping[str, t.Any]) -> None:
        self._config = config
        #: What was read, by setting.
        self.values: dict[str, t.Any] = {}

    def value(self, key: str) -> t.Any:
        found = self.values[key] = self._config.get(key)
        return found

    def given(self, key: str, argument: t.Any, default: t.Any) -> t.Any:
        value = self.value(key)
        if argument is not None:
            return argument
        return default if value is None else value

    def flag(self, key: str, argument: bool | None = None) -> bool:
        value = self.given(key, argument, False)
        if not isinstance(value, bool):
            raise wrong_setting(key, value, "True or False")
        return value

    def text(self, key: str) -> str | None:
        value = self.value(key)
        if value is not None and not isinstance(value, str):
            raise wrong_setting(key, value, "a str or None")
        return value or None

    def seconds(self, key: str, default: int | None = None) -> int | None:
        value = self.value(key)
        if value is None:
            return default
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds <= LONGEST_TIME
        ):
            raise wrong_setting(
                key,
                value,
                "a timedelta or a number of seconds above 0 and at most 1000 years",
            )
        return math.ceil(seconds)


def _name(read: _Reader, argument: str | None) -> str:
    flasks = read.value("SESSION_COOKIE_NAME")
    fallback = DEFAULT_NAME if flasks in (None, FLASK_NAME) else flasks
    name = read.given("SESSION_NAME", argument, fallback)
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise wrong_setting(
            "SESSION_NAME",
            name,
            "a str of letters, digits and !#$%&'*+-.^_`|~ (RFC 6265)",
        )
    return name


def _revocations(
    app: Flask, read: _Reader, format: Format, cookie_life: int, *, in_cookie: bool
) -> RevocationList | None:
    value = read.value("SESSION_REVOCATION")
    if value is None:
        return None
    store = revocation_store(app, value)
    if not in_cookie:
        # A store on a server deletes the sessions that have ended.
        return None
    if not isinstance(format, NativeFormat):
        raise SessionConfigError(
            "SESSION_REVOCATION needs SESSION_FORMAT = 'native': a cookie of another"
            " format has no id, and a Go application would not look up the id."
        )
    return RevocationList(store, cookie_life)


def _format(value: t.Any) -> Format:
    if value == "native":
        return NativeFormat()
    if value == "gorilla":
        # Only applications with this setting import the format.
        from .gorilla.format import GorillaFormat

        return GorillaFormat()
    if isinstance(value, type) or not isinstance(value, Format):
        raise wrong_setting(
            "SESSION_FORMAT",
            value,
            "'native', 'gorilla' or a format object",
            ("native", "gorilla"),
        )
    return value


def _owner_limit(read: _Reader) -> int | None:
    value = read.value("SESSION_OWNER_LIMIT")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong_setting(
            "SESSION_OWNER_LIMIT", value, "a number of sessions above 0, or None"
        )
    return value


def _auth_names(read: _Reader) -> tuple[t.Hashable, ...]:
    value = read.given("SESSION_AUTH_NAMES", None, DEFAULT_AUTH_NAMES)
    if isinstance(value, list | tuple | set | frozenset):
        names = tuple(value)
        # An isinstance check cannot do this: a tuple counts as Hashable even if one
        # of its items is not.
        with contextlib.suppress(TypeError):
            hash(names)
            return names
    raise wrong_setting("SESSION_AUTH_NAMES", value, "a list or tuple of session names")


def _previous(read: _Reader) -> tuple[object, ...]:
    value = read.given("SESSION_PREVIOUS", None, ())
    if not isinstance(value, list | tuple):
        raise wrong_setting("SESSION_PREVIOUS", value, PREVIOUS)
    return tuple(value)


#: What the setting may be. Its items are checked where they are used.
PREVIOUS = "a list of 'flask' and objects of flask_buffalo_session.previous"


def _domain(read: _Reader) -> str | None:
    domain = read.text("SESSION_COOKIE_DOMAIN")
    if domain is not None and not _is_host(domain):
        raise wrong_setting(
            "SESSION_COOKIE_DOMAIN", domain, "the name of a host, or None"
        )
    return domain


def _is_host(domain: str) -> bool:
    try:
        # Werkzeug encodes the domain in the same way.
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
            raise wrong_setting(
                key, path, "a str without lone surrogates, or None"
            ) from None
        return path
    return "/"


def _samesite(read: _Reader) -> str:
    value = read.text("SESSION_COOKIE_SAMESITE") or "Lax"
    if value not in ("Lax", "Strict", "None"):
        raise wrong_setting(
            "SESSION_COOKIE_SAMESITE",
            value,
            "'Lax', 'Strict' or 'None'",
            ("Lax", "Strict", "None"),
        )
    return value


def _max_cookie_size(read: _Reader) -> int:
    value = read.given("MAX_COOKIE_SIZE", None, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong_setting(
            "MAX_COOKIE_SIZE", value, "a number of bytes, or 0 for no limit"
        )
    return value


def _check_prefix(config: Config) -> None:
    # RFC 6265bis, section 4.1.3: browsers refuse a cookie with such a prefix unless
    # it has the attributes that the prefix requires. They ignore the prefix's case.
    name, shown = config.name.lower(), f"SESSION_NAME {config.name!r}"
    if not name.startswith(("__host-", "__secure-", "__http-")):
        return
    if not config.cookie_secure:
        raise SessionConfigError(f"{shown} needs SESSION_COOKIE_SECURE = True.")
    if name.startswith(("__http-", "__host-http-")) and not config.cookie_httponly:
        raise SessionConfigError(f"{shown} needs SESSION_COOKIE_HTTPONLY = True.")
    if name.startswith("__host-") and (
        config.cookie_domain is not None or config.cookie_path != "/"
    ):
        raise SessionConfigError(
            f"{shown} needs SESSION_COOKIE_PATH = '/' and no SESSION_COOKIE_DOMAIN."
        )
