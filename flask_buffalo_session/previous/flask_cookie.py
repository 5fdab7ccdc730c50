"""Flask's own sessions, which are signed cookies."""

from __future__ import annotations

import collections.abc as c
import typing as t

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadSignature, SignatureExpired, TimestampSigner

from ..codec import Codec, Record
from ..config import Config
from ..cookies import SessionCookie
from ..errors import RejectedError
from ..seal import base64_decode, inflate
from ..secret import given_secrets
from .base import Found, OldSecrets, encoded, old_cookie

#: How Flask signs its cookies. An application may have changed it in a subclass.
_FLASK = SecureCookieSessionInterface


class FlaskCookie:
    """The sessions of Flask itself, for ``SESSION_PREVIOUS``. The word ``"flask"`` is
    short for ``FlaskCookie()``.

    The cookie has to pass Flask's own checks: the signature, and
    ``PERMANENT_SESSION_LIFETIME`` since it was made.

    :param name: the old cookie's name. The default is ``SESSION_COOKIE_NAME``.
    :param secret: the secret that signed the old cookies, or several of them, newest
        first. The default is ``SECRET_KEY`` with ``SECRET_KEY_FALLBACKS``.
    :param salt: the salt of Flask's signature, if the application changed it.
    :param domain: the old cookie's domain, if it was another one; "" if it had none.
    :param path: the old cookie's path, if it was another one.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        secret: str | bytes | c.Sequence[str | bytes] | None = None,
        salt: str = _FLASK.salt,
        domain: str | None = None,
        path: str | None = None,
    ) -> None:
        self._name = name
        self._secrets = given_secrets("FlaskCookie(secret=…)", secret)
        self._salt = salt
        self._domain = domain
        self._path = path

    def source(self, app: Flask, config: Config) -> FlaskCookies:
        """Return the old sessions of an application.

        :raises SessionConfigError: a parameter is wrong.
        """
        cookie = old_cookie(
            config, self, name=self._name, domain=self._domain, path=self._path
        )
        return FlaskCookies(app, config, cookie, self._secrets, self._salt)


class FlaskCookies:
    """The sessions that one application kept in Flask's cookies.

    :param secrets: newest first; empty if they are those of the application.
    """

    def __init__(
        self,
        app: Flask,
        config: Config,
        cookie: SessionCookie,
        secrets: tuple[bytes, ...],
        salt: str,
    ) -> None:
        self.cookie = cookie
        self.lifetime = config.old_lifetime
        self._app = app
        self._secrets = OldSecrets(app, secrets)
        self._salt = salt
        self._auth_names = config.auth_names

    def find(self, text: str) -> Found:
        """Verify a cookie.

        :raises RejectedError: with the reason ``bad-signature``, ``expired`` or
            ``corrupt``.
        """
        signer = TimestampSigner(
            self._secrets.find(),
            salt=self._salt,
            key_derivation=_FLASK.key_derivation,
            digest_method=_FLASK.digest_method,
        )
        try:
            value = signer.unsign(text, max_age=self.lifetime)
        except SignatureExpired:
            raise RejectedError("expired", "Flask's cookie is too old") from None
        except (BadSignature, UnicodeEncodeError):
            raise RejectedError("bad-signature", "not a cookie of Flask") from None
        # Several texts stand for one signature, but only one text was signed.
        signed = text.rpartition(signer.sep.decode())[0].encode()
        values = _values(value)

        def load(codec: Codec) -> Record:
            return encoded(self._app, values, codec)

        # Flask writes no random bytes. So two anonymous users have equal cookies if
        # their sessions hold the same values and were made in the same second.
        named = any(values.get(name) is not None for name in self._auth_names)
        return Found(signed, load, _delete, unique=named)


def _values(value: bytes) -> dict[t.Any, t.Any]:
    try:
        if value.startswith(b"."):
            data = inflate(base64_decode(value[1:]))
        else:
            data = base64_decode(value)
        values: t.Any = _FLASK.serializer.loads(data.decode())
    except RejectedError:
        raise
    except Exception:  # noqa: BLE001 - the loaders of Flask's tags raise anything
        raise RejectedError("corrupt", "Flask's cookie is malformed") from None
    if not isinstance(values, dict):
        raise RejectedError("corrupt", "Flask's cookie contains no session")
    return values


def _delete() -> None:
    """Do nothing: the session was in the cookie."""
