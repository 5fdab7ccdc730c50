"""Sessions of this package, as other settings kept them."""

from __future__ import annotations

import collections.abc as c
import typing as t
from collections import ChainMap
from contextlib import suppress

from flask import Flask

from ..backends.base import Backend, EndedError, Ending, Snapshot
from ..backends.make import make_backend
from ..codec import Codec, Record
from ..config import Config
from ..cookies import SessionCookie
from ..errors import RejectedError, SessionConfigError, SessionTypeError
from ..formats import NativeFormat
from ..seal import Ticket
from ..sealing import CookieSealer
from ..secret import given_secrets
from ..tombstones import tombstone
from .base import Found, encoded_value, log_left_behind, unusable


class Buffalo:
    """The sessions of this package under earlier settings, for ``SESSION_PREVIOUS``.
    A parameter that is not given has the value of the present setting.

    A cookie store's list of ended sessions still counts, as long as
    ``SESSION_REVOCATION`` is set.

    :param store: what ``SESSION_STORE`` was.
    :param name: what ``SESSION_NAME`` was.
    :param format: what ``SESSION_FORMAT`` was.
    :param encrypt: what ``SESSION_ENCRYPT`` was.
    :param secret: what ``SESSION_SECRET`` was, or several secrets, newest first.
    :param domain: what ``SESSION_COOKIE_DOMAIN`` was; "" if it was not set.
    :param path: what ``SESSION_COOKIE_PATH`` was.
    """

    def __init__(
        self,
        *,
        store: object = None,
        name: str | None = None,
        format: object = None,
        encrypt: bool | None = None,
        secret: str | bytes | c.Sequence[str | bytes] | None = None,
        domain: str | None = None,
        path: str | None = None,
    ) -> None:
        self._secrets = given_secrets("Buffalo(secret=…)", secret)
        settings = {
            "SESSION_STORE": store,
            "SESSION_NAME": name,
            "SESSION_FORMAT": format,
            "SESSION_ENCRYPT": encrypt,
            "SESSION_COOKIE_DOMAIN": domain,
            "SESSION_COOKIE_PATH": path,
        }
        self._settings = {
            key: value for key, value in settings.items() if value is not None
        }

    def source(self, app: Flask, config: Config) -> BuffaloSessions:
        """Return the old sessions of an application.

        :raises SessionConfigError: a parameter is wrong.
        """
        settings: dict[str, t.Any] = {
            # The objects that are in use, so that nothing is opened twice.
            "SESSION_STORE": config.store,
            "SESSION_NAME": config.name,
            "SESSION_FORMAT": config.format,
            **self._settings,
        }
        if self._secrets:
            settings["SESSION_SECRET"] = self._secrets[0]
            settings["SESSION_SECRET_FALLBACKS"] = self._secrets[1:]
        format = settings["SESSION_FORMAT"]
        if format != "native" and not isinstance(format, NativeFormat):
            # Only this package's own format has ids that can be revoked.
            settings["SESSION_REVOCATION"] = None
        # The chain also finds what the application sets later, such as a secret.
        chain = ChainMap(settings, t.cast(t.Any, config.origin.settings))
        try:
            before = Config.of(app, chain)
            if before.null:
                raise SessionConfigError(
                    'SESSION_STORE was "null", which keeps no sessions. Name the'
                    " store that kept them."
                )
            return BuffaloSessions(app, before, chain, config.format.codec)
        except SessionConfigError as error:
            raise unusable(self, error) from error


class BuffaloSessions:
    """The sessions that one application kept under other settings.

    :param settings: where the secret is found.
    :param codec: the codec that is in force now.
    """

    def __init__(
        self,
        app: Flask,
        config: Config,
        settings: c.Mapping[str, t.Any],
        codec: Codec,
    ) -> None:
        self.cookie = SessionCookie.of(config)
        policy = config.policy()
        self.lifetime = policy.longest_idle
        self._app = app
        self._config = config
        self._codec = codec
        self._sealer = CookieSealer(app, config, self.cookie, settings)
        self._backend = make_backend(config, policy, self._sealer)
        # The native format has random bytes in each session. A cookie of gorilla
        # contains nothing but the values and the second when it was made.
        self._is_unique = self._backend.claims or isinstance(
            config.format, NativeFormat
        )

    def find(self, text: str) -> Found:
        """Verify a cookie.

        :raises RejectedError: as a seal raises it; ``corrupt`` if the cookie contains
            no session.
        """
        seal = self._sealer.in_force()
        if seal is None:
            raise RejectedError("bad-signature", "there is no secret to verify it")
        ticket = seal.unseal(text, max_age=self.lifetime)
        codecs = self._config.format.codec, self._codec
        moving = _Moving(self._app, self._backend, codecs, ticket)
        identity = ticket.token.encode("latin-1")
        if self._is_unique:
            return Found(identity, moving.load, moving.delete)
        identity += f".{ticket.issued}".encode()
        named = moving.names_user(self._config.auth_names)
        return Found(identity, moving.load, moving.delete, unique=named)

    def close(self) -> None:
        """Close the connections of a store that a URL made."""
        self._config.close()


class _Moving:
    """Move one old session.

    :param codecs: the old codec, and the codec that is in force now.
    """

    def __init__(
        self, app: Flask, backend: Backend, codecs: tuple[Codec, Codec], ticket: Ticket
    ) -> None:
        self._app = app
        self._backend = backend
        self._codec, self._present_codec = codecs
        self._ticket = ticket
        self._snapshot: Snapshot | None = None
        self._is_complete = True

    def load(self, codec: Codec) -> Record:
        """Load the session, and encode it with the codec in force."""
        try:
            self._snapshot = self._backend.load(self._ticket)
        except EndedError:
            raise RejectedError("unknown", "the old session has ended") from None
        except RejectedError as error:
            # Without the id's hash, as the id is none of the present store.
            raise RejectedError(error.reason, error.detail) from None
        record = self._snapshot.record
        if type(codec) is type(self._codec):
            return Record(record.created, b"", record.values)
        values = {}
        for name, raw in record.values.items():
            try:
                value = self._codec.decode(raw, name)
                values[name] = encoded_value(value, name, codec)
            except SessionTypeError as error:
                self._is_complete = False
                log_left_behind(self._app, error)
        return Record(record.created, b"", values)

    def names_user(self, auth_names: c.Collection[t.Hashable]) -> bool:
        """Return whether the session has a user.

        :param auth_names: the names of the values that say who the user is.
        """
        values = self._backend.load(self._ticket).record.values
        try:
            return any(
                self._codec.decode(values[name], name) is not None
                for name in auth_names
                if name in values
            )
        except SessionTypeError:
            # The value stays behind, so the session moves without a user.
            return False

    def delete(self) -> None:
        """End the session in its old place, unless a value stayed behind."""
        if self._snapshot is None:
            # An earlier request moved the session, but could not save its own change.
            with suppress(RejectedError):
                self.load(self._present_codec)
        if self._snapshot is not None and self._is_complete:
            self._backend.end(Ending(self._snapshot, tombstone()))
