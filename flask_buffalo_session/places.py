"""What ``SESSION_STORE`` and ``SESSION_REVOCATION`` may be."""

from __future__ import annotations

import collections.abc as c
import sys
import typing as t

from cachelib import BaseCache
from flask import Flask

from .errors import SessionConfigError, kind_of, suggestion, wrong_setting
from .stores.base import Store, is_owned
from .stores.cache import CacheStore
from .stores.cookie import CookieStore
from .stores.named import OwnedStore
from .stores.null import NullStore
from .stores.redis import RedisStore
from .stores.url import SCHEMES, UnknownSchemeError, store_from_url

_URL_WORDS = tuple(f"{scheme}:" for scheme in SCHEMES)

_STORE_WORDS = ("cookie", "null", *_URL_WORDS)

_STORES = (
    f"'cookie', 'null', a URL ({', '.join(_URL_WORDS)}), a client of Redis or Valkey,"
    " an engine of SQLAlchemy, a cache of cachelib, or an object with the methods load,"
    " save and delete"
)

_REVOCATIONS = (
    "a URL, a client, an engine or a store of Redis, Valkey, SQLite, PostgreSQL, MySQL,"
    " MariaDB or memory that supports owners"
)

# What to give instead of an object that is close to a store, by its class's module.
_INSTEAD = {
    "flask_sqlalchemy": "db.engine, in an application context, or the database's URL",
    "sqlalchemy.ext.asyncio": "an engine of sqlalchemy.create_engine",
    "sqlalchemy.orm": "the engine itself",
    "flask_caching": "a cache of cachelib, or the URL of its server",
    "flask_redis": "a client of redis-py, or the URL of its server",
    "redis.asyncio": "a synchronous client, redis.Redis, or the URL of its server",
    "valkey.asyncio": "a synchronous client, valkey.Valkey, or the URL of its server",
    "redis.sentinel": "the client that master_for() returns",
    "valkey.sentinel": "the client that master_for() returns",
}


def store_of(app: Flask, value: object) -> Store:
    """Return the store that ``SESSION_STORE`` describes.

    :raises SessionConfigError: it describes none.
    """
    if value == "cookie":
        return CookieStore()
    if value == "null":
        return NullStore()
    return _store(app, "SESSION_STORE", value, _STORES, _STORE_WORDS)


def revocation_store(app: Flask, value: object) -> OwnedStore:
    """Return the store that ``SESSION_REVOCATION`` describes.

    :raises SessionConfigError: it describes none that supports owners.
    """
    store = _store(app, "SESSION_REVOCATION", value, _REVOCATIONS, _URL_WORDS)
    if not is_owned(store):
        raise wrong_setting("SESSION_REVOCATION", value, _REVOCATIONS)
    return t.cast(OwnedStore, store)


def _store(
    app: Flask, key: str, value: object, allowed: str, words: c.Sequence[str]
) -> Store:
    if isinstance(value, str):
        return _from_url(app, key, value, allowed, words)
    if isinstance(value, BaseCache):
        return CacheStore(value)
    if isinstance(value, type):
        raise wrong_setting(key, value, allowed)
    if isinstance(value, Store):
        return value
    modules = tuple(f"{base.__module__}." for base in type(value).__mro__)
    for module, instead in _INSTEAD.items():
        if any(name.startswith(f"{module}.") for name in modules):
            raise SessionConfigError(
                f"{key} cannot be {kind_of(value)}. Give it {instead}."
            )
    try:
        if callable(getattr(value, "execute_command", None)):
            return RedisStore(value)
        sqlalchemy = sys.modules.get("sqlalchemy")
        if sqlalchemy is not None and isinstance(value, sqlalchemy.Engine):
            from .stores.sql import SQLStore

            return SQLStore(value)
    except SessionConfigError as error:
        raise SessionConfigError(f"{key} cannot be used: {error}") from error
    raise wrong_setting(key, value, allowed)


def _from_url(
    app: Flask, key: str, url: str, allowed: str, words: c.Sequence[str]
) -> Store:
    try:
        return store_from_url(url, app.instance_path)
    except ImportError as error:
        raise SessionConfigError(f"{key} cannot be used: {error}.") from error
    except ValueError as error:
        # The message must not contain the URL, which may hold a password.
        is_url = ":" in url and not isinstance(error, UnknownSchemeError)
        hint = "" if is_url else suggestion(url, words)
        raise SessionConfigError(
            f"{key} cannot be used: {error}{hint}. It must be {allowed}."
        ) from error
