"""Find settings that begin with ``SESSION_`` and do not belong to this package."""

from __future__ import annotations

import collections.abc as c

from flask import Flask

from .errors import SessionConfigError, suggestion
from .secret import SECRET_SETTINGS

_PREFIX = "SESSION_"
_QUOTED = f"'{_PREFIX}"

# An installed package has no docs/.
_DOCS = "https://github.com/flask-buffalo-session/flask-buffalo-session/blob/main/docs"

# What to write for each SESSION_TYPE of Flask-Session: SESSION_STORE, and the earlier
# place, if Flask-Session's records there can be read.
_TYPES = {
    "redis": ("'redis://host:6379', or to the client itself", "'redis://host:6379'"),
    "sqlalchemy": ("'postgresql://…' or another database's URL", "'postgresql://…'"),
    "cachelib": ("the cache of cachelib itself, or to 'file:folder'", None),
    "filesystem": ("'file:folder'", None),
    "memcached": ("'memcached://host:11211'", None),
    "mongodb": (
        "another database: MongoDB is no store."
        f" {_DOCS}/howto/stores.md has all stores",
        None,
    ),
    "dynamodb": ("a DynamoDbCache of cachelib", None),
}

# The same where the application has given Flask-Session an object that can be used
# again, by the object's setting.
_OBJECTS = {
    "SESSION_REDIS": (
        "app.config['SESSION_REDIS'], or to 'redis://host:6379'",
        "app.config['SESSION_REDIS']",
    ),
    "SESSION_SQLALCHEMY": (
        "db.engine in an application context, or to 'postgresql://…' or another"
        " database's URL",
        "db.engine",
    ),
    "SESSION_CACHELIB": (
        "app.config['SESSION_CACHELIB'], a cache of cachelib, or to 'file:folder'",
        None,
    ),
}

# The parameters of previous.FlaskSession that find and read the old records, by their
# settings, with Flask-Session's defaults.
_PARAMETERS: dict[str, dict[str, tuple[str, object]]] = {
    "redis": {"SESSION_KEY_PREFIX": ("key_prefix", "session:")},
    "sqlalchemy": {
        "SESSION_SQLALCHEMY_TABLE": ("table", "sessions"),
        "SESSION_SQLALCHEMY_SCHEMA": ("schema", None),
    },
}
_PARAMETERS_OF_ALL: dict[str, tuple[str, object]] = {
    "SESSION_USE_SIGNER": ("use_signer", False),
    "SESSION_SERIALIZATION_FORMAT": ("serializer", "msgpack"),
}

# The types that other settings of Flask-Session belong to.
_BEGINNINGS = {
    "SESSION_REDIS": "redis",
    "SESSION_SQLALCHEMY": "sqlalchemy",
    "SESSION_SQLALCHEMY_": "sqlalchemy",
    "SESSION_CACHELIB": "cachelib",
    "SESSION_FILE_": "filesystem",
    "SESSION_MEMCACHED": "memcached",
    "SESSION_MONGODB": "mongodb",
    "SESSION_MONGODB_": "mongodb",
    "SESSION_DYNAMODB": "dynamodb",
    "SESSION_DYNAMODB_": "dynamodb",
}

_OTHERS = (
    "SESSION_TYPE",
    "SESSION_KEY_PREFIX",
    "SESSION_USE_SIGNER",
    "SESSION_PERMANENT",
    "SESSION_ID_LENGTH",
    "SESSION_SERIALIZATION_FORMAT",
    "SESSION_CLEANUP_N_REQUESTS",
)

# Settings of extensions that work beside this one.
_NEIGHBOURS = ("SESSION_PROTECTION",)  # Flask-Login


def check_flask_session(settings: c.Mapping[str, object]) -> None:
    """Refuse the settings of Flask-Session, where no store is chosen. Otherwise its
    sessions would move into a cookie that their user can read.

    :raises SessionConfigError: there is such a setting. The message says what to write
        instead.
    """
    found = [
        key for key, value in settings.items() if value is not None and _is_old(key)
    ]
    if not found:
        return
    kind = str(settings.get("SESSION_TYPE") or "").lower()
    if kind not in _TYPES:
        kinds = (_kind_of(key) for key in found)
        kind = next((of_key for of_key in kinds if of_key), "")
    any_store = (f"'cookie' or a store. {_DOCS}/howto/stores.md has all stores", None)
    store, place = _TYPES.get(kind, any_store)
    given = f"{_PREFIX}{kind.upper()}"
    if given in found:
        store, place = _OBJECTS.get(given, (store, place))
    key = "SESSION_TYPE" if "SESSION_TYPE" in found else found[0]
    then = ""
    if place is not None:
        then = (
            " With SESSION_PREVIOUS ="
            f" [previous.FlaskSession({place}{_parameters(kind, settings)})] nobody is"
            " logged out."
        )
    raise SessionConfigError(
        f"{key} is a setting of Flask-Session. Set SESSION_STORE instead, to"
        f" {store}.{then} Without SESSION_STORE, sessions would move into a cookie that"
        f" their user can read. {_DOCS}/howto/from-flask-session.md has each setting."
    )


def unknown_settings(
    settings: c.Mapping[str, object], known: c.Iterable[str]
) -> list[str]:
    """Return the names that begin with ``SESSION_`` and that have no effect, each with
    the closest known name.

    :param settings: the application's ``config``.
    :param known: the settings of this package.
    """
    words = {*known, *SECRET_SETTINGS, *Flask.default_config, *_NEIGHBOURS}
    # The beginning is the same in all names, so it says nothing about closeness.
    ends = [word.removeprefix(_PREFIX) for word in words if word.startswith(_PREFIX)]
    return [
        f"{key}{suggestion(key.removeprefix(_PREFIX), ends)}".replace("'", _QUOTED, 1)
        for key in settings
        if key.startswith(_PREFIX) and key not in words and not _is_old(key)
    ]


def _parameters(kind: str, settings: c.Mapping[str, object]) -> str:
    """Return the parameters without which the old records would not be found."""
    parameters = {**_PARAMETERS.get(kind, {}), **_PARAMETERS_OF_ALL}
    return "".join(
        f", {name}=app.config['{key}']"
        for key, (name, default) in parameters.items()
        if settings.get(key, default) != default
    )


def _is_old(key: str) -> bool:
    return key in _OTHERS or _kind_of(key) is not None


def _kind_of(key: str) -> str | None:
    for beginning, kind in _BEGINNINGS.items():
        # An application may have a SESSION_REDIS_URL of its own.
        if key == beginning or (beginning.endswith("_") and key.startswith(beginning)):
            return kind
    return None
