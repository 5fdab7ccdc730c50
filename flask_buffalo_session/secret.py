"""Find, decode and judge the secrets that protect sessions."""

from __future__ import annotations

import collections.abc as c
import os
import typing as t
from pathlib import Path

from .errors import SessionConfigError, wrong_setting

#: The secret of debug mode and tests where no other is set, as in Buffalo.
DEVELOPMENT_SECRET = b"buffalo-secret"

#: Bytes. An attacker can guess a shorter secret.
SHORTEST_SECRET = 16

#: The settings in ``app.config`` that hold secrets.
SECRET_SETTINGS = (
    "SESSION_SECRET",
    "SESSION_SECRET_FALLBACKS",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
)

# A random secret has more different bytes than this.
_FEWEST_BYTES = 6

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

_Settings: t.TypeAlias = c.Mapping[str, t.Any]


def find_secrets(settings: _Settings) -> tuple[bytes, ...]:
    """Return the secret in force and its fallbacks, newest first.

    The first of these secrets that is set and not empty is in force:
    ``SESSION_SECRET`` in the settings, ``SESSION_SECRET`` in the environment, the
    file that ``SESSION_SECRET_FILE`` in the environment names, Flask's
    ``SECRET_KEY``.

    :param settings: the application's ``config``.
    :returns: an empty tuple if there is no secret.
    :raises SessionConfigError: a secret is neither str nor bytes, a fallback is
        empty, or the file cannot be read.
    """
    secret = (
        _one(settings, "SESSION_SECRET")
        or os.fsencode(os.environ.get("SESSION_SECRET", ""))
        or _from_file()
    )
    fallbacks = (
        _several(settings, "SESSION_SECRET_FALLBACKS") or environment_fallbacks()
    )
    if secret:
        return (secret, *fallbacks)
    flasks = flask_secrets(settings)
    return (flasks[0], *fallbacks, *flasks[1:]) if flasks else ()


def environment_fallbacks() -> list[bytes]:
    """Return the fallbacks in the environment, newest first."""
    listed = os.environ.get("SESSION_SECRET_FALLBACKS", "")
    return [os.fsencode(text) for text in listed.split()]


def flask_secrets(settings: _Settings) -> tuple[bytes, ...]:
    """Return Flask's secret and its fallbacks, newest first.

    :param settings: the application's ``config``.
    :returns: an empty tuple if there is no secret.
    :raises SessionConfigError: a secret cannot be used.
    """
    secret = _one(settings, "SECRET_KEY")
    fallbacks = _several(settings, "SECRET_KEY_FALLBACKS")
    return (secret, *fallbacks) if secret else ()


def given_secrets(label: str, secret: object) -> tuple[bytes, ...]:
    """Return secrets that were given as an argument.

    :param label: what to call the argument in an error.
    :param secret: one secret, a list of secrets, newest first, or None.
    :raises SessionConfigError: a secret cannot be used.
    """
    several = [secret] if isinstance(secret, str | bytes) else secret
    return tuple(_several({label: several}, label))


def weakness(secret: bytes) -> str | None:
    """Return why an attacker could guess a secret.

    :returns: the rest of a sentence that begins with "it"; None if the secret looks
        strong.
    """
    if secret in _WELL_KNOWN_SECRETS:
        return "is well known"
    if len(secret) < SHORTEST_SECRET:
        return f"is shorter than {SHORTEST_SECRET} bytes"
    # The doubled secret without its ends contains the secret only if the secret
    # repeats a part of itself.
    if len(set(secret)) < _FEWEST_BYTES or secret in (secret + secret)[1:-1]:
        return "has too little variety: it repeats a few characters"
    return None


def _one(settings: _Settings, key: str) -> bytes:
    value = settings.get(key)
    return b"" if value is None else _encoded(key, value, "a str or bytes")


def _several(settings: _Settings, key: str) -> list[bytes]:
    value = settings.get(key)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise wrong_setting(key, value, "a list of str or bytes")
    secrets = []
    for secret in value:
        allowed = "a list of str or bytes that are not empty"
        if not secret:
            raise wrong_setting(key, secret, allowed)
        secrets.append(_encoded(key, secret, allowed))
    return secrets


def _encoded(key: str, value: object, allowed: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise wrong_setting(key, value, allowed)
    try:
        return value.encode()
    except UnicodeEncodeError:
        # The UnicodeEncodeError contains the secret, so it must not be chained.
        allowed = f"{allowed}, without lone surrogates"
        raise wrong_setting(key, value, allowed) from None


def _from_file() -> bytes:
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
