"""What ``SESSION_PREVIOUS`` needs of a place where sessions were kept before."""

from __future__ import annotations

import collections.abc as c
import typing as t

from flask import Flask

from ..codec import Codec, Record
from ..config import Config, check_cookie
from ..cookies import SessionCookie
from ..errors import RejectedError, SessionConfigError, SessionTypeError
from ..secret import flask_secrets


class Found(t.NamedTuple):
    """An old session, known by a cookie that was accepted. It is not loaded yet.

    :param identity: bytes that are the same for each request with the same old
        session, and differ between sessions. A client must not be able to change them
        while the cookie stays valid.
    :param load: returns the session, encoded by the codec that is in force now.
        Raises ``RejectedError`` if there is no such session, and
        ``SessionStoreError`` if the old place cannot answer.
    :param delete: deletes the session in the old place. Deleting it again is no error.
        Raises ``SessionStoreError`` if the old place cannot answer.
    :param unique: whether no other user can have a session of the same identity. Two
        cookies that contain all of a session may be equal by chance.
    """

    identity: bytes
    load: c.Callable[[Codec], Record]
    delete: c.Callable[[], None]
    unique: bool = True


class Source(t.Protocol):
    """One application's sessions of an earlier kind.

    :ivar cookie: the old cookie, to find it in requests and to remove it.
    :ivar lifetime: seconds after which an old session has expired, unless it is used
        in the old place again.
    """

    cookie: SessionCookie
    lifetime: int

    def find(self, text: str) -> Found:
        """Verify the text of an old cookie. Nothing is loaded from a store.

        :raises RejectedError: ``bad-signature`` if it is no cookie of this kind,
            ``expired`` or ``corrupt`` if it is one that cannot be used.
        """


@t.runtime_checkable
class Previous(t.Protocol):
    """What ``SESSION_PREVIOUS`` lists: where sessions were kept before."""

    def source(self, app: Flask, config: Config) -> Source:
        """Return the old sessions of an application.

        :param config: the settings that are in force now.
        :raises SessionConfigError: a parameter is wrong.
        """


class OldSecrets:
    """The secrets that signed the cookies of another library.

    :param given: newest first; empty if they are Flask's.
    """

    def __init__(self, app: Flask, given: tuple[bytes, ...]) -> None:
        self._app = app
        self._given = given
        self._has_warned = False

    def find(self) -> list[bytes]:
        """Return the secrets, newest last, as itsdangerous expects them.

        :raises RejectedError: there is none. The log says so once.
        """
        # Applications set their secret late, so every request reads it.
        secrets = self._given or flask_secrets(self._app.config)
        if secrets:
            return list(reversed(secrets))
        if not self._has_warned:
            self._has_warned = True
            self._app.logger.warning(
                "Old cookies cannot be verified, so their users are logged out: there"
                " is no SECRET_KEY. Set SECRET_KEY to its old value, or pass secret= to"
                " the object in SESSION_PREVIOUS."
            )
        raise RejectedError("bad-signature", "there is no secret to verify it")


def old_cookie(
    config: Config,
    place: object,
    *,
    name: str | None,
    domain: str | None,
    path: str | None,
) -> SessionCookie:
    """Return the cookie of another library.

    :param place: the object that ``SESSION_PREVIOUS`` lists, for the error message.
    :param name: None for ``SESSION_COOKIE_NAME`` as it was before ``init_app``.
    :param domain: None for the present domain, "" for none.
    :param path: None for the present path.
    :raises SessionConfigError: browsers could not have such a cookie.
    """
    name = name or config.flask_name
    try:
        check_cookie(name=name, domain=domain, path=path)
    except SessionConfigError as error:
        raise unusable(place, error) from error
    return SessionCookie.of(config, name=name, domain=domain, path=path)


def unusable(place: object, error: SessionConfigError) -> SessionConfigError:
    """Return the error for a place with a wrong parameter.

    :param place: the object that ``SESSION_PREVIOUS`` lists.
    :param error: the error for the setting that has the same meaning.
    """
    return SessionConfigError(
        f"SESSION_PREVIOUS has a {type(place).__name__}() that cannot be used: {error}"
    )


def encoded(app: Flask, values: c.Mapping[t.Any, t.Any], codec: Codec) -> Record:
    """Return the record of a session that another library kept. A value that cannot be
    stored stays behind, and the log names it.

    :param values: the session's values by name.
    :raises RejectedError: no value can be stored.
    """
    entries = {}
    for name, value in values.items():
        try:
            entries[name] = encoded_value(value, name, codec)
        except SessionTypeError as error:
            log_left_behind(app, error)
    if values and not entries:
        raise RejectedError("corrupt", "no value can be stored")
    return Record(None, b"", entries)


def encoded_value(value: object, name: t.Hashable, codec: Codec) -> bytes:
    """Return the bytes of one value, for the codec that is in force now.

    :raises SessionTypeError: the value or its name cannot be stored.
    """
    raw = codec.encode(value, name)
    # Only a whole record shows whether the name can be stored.
    codec.dumps(Record(0, b"", {name: raw}))
    return raw


def log_left_behind(app: Flask, error: SessionTypeError) -> None:
    """Log that a value of an old session was not moved."""
    app.logger.warning("A value of an old session stays behind: %s", error)
