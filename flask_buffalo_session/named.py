"""Several sessions in one application: what defines them, and how views find them."""

from __future__ import annotations

import collections.abc as c
import re
import typing as t
from collections import ChainMap

import flask
from flask import Flask
from werkzeug.local import LocalProxy

from .app_opener import RequestSession, missing_extension
from .config import Config
from .errors import SessionConfigError, kind_of, suggestion
from .origin import Origin, call
from .secret import SECRET_SETTINGS
from .sessions import Session

_NAME = re.compile(r"[0-9A-Za-z_-]+")

# Settings of Flask's that the main session reads, and that mean nothing here.
_OF_THE_APPLICATION = frozenset(
    {"APPLICATION_ROOT", "SESSION_COOKIE_NAME", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}
)

# The settings that are also arguments of the extension. There, None counts as not
# given, and so it does in named(). Otherwise store=None would mean the cookie store.
_ARGUMENTS = frozenset(
    {"SESSION_NAME", "SESSION_STORE", "SESSION_FORMAT", "SESSION_API"}
)


def check_name(name: object) -> None:
    """Check the name of a session.

    :raises SessionConfigError: it cannot be a name.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SessionConfigError(
            "named() needs a name of letters, digits, '_' and '-', not"
            f" {kind_of(name)}{' with other characters' if name else ''}."
        )


def named_config(
    app: Flask,
    others: c.Sequence[Config],
    name: str,
    arguments: c.Mapping[str, t.Any],
    given: c.Mapping[str, t.Any],
) -> Config:
    """Read and check the settings of a named session.

    :param others: the settings of the application's other sessions, the main one first.
    :param arguments: the arguments of the extension, by setting.
    :param given: the arguments of ``named()``.
    :raises SessionConfigError: a setting is wrong. The message names the argument.
    """
    main = others[0]
    settings, words = _by_setting(name, _arguments(main), given)
    idle = settings.get("SESSION_IDLE_TIMEOUT")
    if idle is not None and "PERMANENT_SESSION_LIFETIME" not in settings:
        # Otherwise browsers could drop the cookie of a permanent session earlier.
        settings["PERMANENT_SESSION_LIFETIME"] = idle
        words["PERMANENT_SESSION_LIFETIME"] = words["SESSION_IDLE_TIMEOUT"]
    inherited = {
        "SESSION_NAME": f"{main.name}_{name}",
        # init_app has written the name in force to this setting of the application.
        "SESSION_COOKIE_NAME": main.flask_name,
        "SESSION_FORMAT": main.format,
        # The old session moves to the main session, and moves only once.
        "SESSION_PREVIOUS": None,
    }
    if not main.null:
        # The objects that are in use, so that nothing is opened twice.
        inherited["SESSION_STORE"] = main.store
        if main.revocations is not None:
            inherited["SESSION_REVOCATION"] = main.revocations.store
    # The chain also finds what the application sets later, such as a secret.
    chain = ChainMap(settings, inherited, dict(arguments), app.config)
    origin = Origin(chain, name, words, frozenset(settings))
    try:
        config = Config.of(app, origin=origin)
    except SessionConfigError as error:
        raise reworded(origin, error) from error
    if any(config.name == other.name for other in others):
        # Also with another path: browsers send both cookies to some paths, and each
        # would verify as the other.
        raise SessionConfigError(
            f"{call(name)}: another session of this application has the cookie"
            f" {config.name!r}. Give name= another value."
        )
    inherited["SESSION_COOKIE_NAME"] = config.name
    return config


def _by_setting(
    name: str, known: dict[str, str], given: c.Mapping[str, t.Any]
) -> tuple[dict[str, t.Any], dict[str, str]]:
    """Return the arguments of ``named()`` by setting, and what messages call each
    setting.

    :param known: the short name of each setting.
    :raises SessionConfigError: there is no such setting, or it is given twice.
    """
    keys = {argument: key for key, argument in known.items()}
    settings: dict[str, t.Any] = {}
    words = {key: word for key, word in known.items() if key not in SECRET_SETTINGS}
    for argument, value in given.items():
        key = keys.get(_short(argument))
        if key is None:
            raise SessionConfigError(
                f"{call(name)}: there is no setting {argument}"
                f"{suggestion(argument, list(keys))}. An argument is a setting in"
                " lower case and without session_, such as idle_timeout."
            )
        if key in settings:
            raise SessionConfigError(
                f"{call(name)}: {words[key]} and {argument} are the same setting."
                " Give one of them."
            )
        words[key] = argument
        if value is not None or key not in _ARGUMENTS:
            settings[key] = value
    return settings, words


def reworded(origin: Origin, error: SessionConfigError) -> SessionConfigError:
    """Return an error of a named session, which names the arguments of ``named()``
    instead of the settings.
    """
    return SessionConfigError(f"{origin.label}: {origin.worded(str(error))}")


def session_named(name: str) -> Session:
    """Return a proxy for the session of this name in the current request."""

    def find() -> Session:
        # Outside of a request, this raises Flask's own error.
        main = flask.session._get_current_object()  # type: ignore[attr-defined]
        if not isinstance(main, RequestSession):
            raise missing_extension(flask.current_app)
        return main.named(name)

    return t.cast(Session, LocalProxy(find))


def _arguments(main: Config) -> dict[str, str]:
    """Return what ``named()`` calls each setting."""
    settings = {*main.as_read, *SECRET_SETTINGS} - _OF_THE_APPLICATION
    return {key: _short(key.lower()) for key in settings}


def _short(argument: str) -> str:
    return argument.replace("session_", "")
