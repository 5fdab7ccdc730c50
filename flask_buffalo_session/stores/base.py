"""What a store promises.

A store keeps bytes under a token. It knows nothing of HTTP, cookies, values
and secrets. The promises here are tested by one suite over every store.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import typing as t

_KEY = re.compile(r"[0-9a-f]{64}")

#: What a record begins with that marks the end of an id.
MARK = b"\x00"


@t.runtime_checkable
class Store(t.Protocol):
    """A compare-and-swap register for each session.

    Only a store that cannot answer raises, and then
    :exc:`~flask_buffalo_session.errors.SessionStoreError`.
    """

    def load(self, token: str) -> bytes | None:
        """The record kept under `token`. A token that is missing, expired or
        malformed is None, never an error.

        :raises SessionStoreError: the store cannot answer.
        """

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        """Keep `data`, but only while the store still holds `expected`.

        :param token: the session's token, or None to be given a new one, which
            nobody can guess and no other session has.
        :param data: the record; opaque.
        :param expected: the record as it was last seen; None while there is
            nothing yet, or nothing any more.
        :param max_age: seconds after which the record is gone by itself.
        :returns: the token for the cookie.
        :raises SessionConflictError: the store holds something else; nothing
            was written.
        :raises SessionStoreError: the store cannot answer; what was stored
            before stays.
        """

    def delete(self, token: str) -> None:
        """Forget the record. A missing token is no error.

        :raises SessionStoreError: the store cannot answer.
        """


@t.runtime_checkable
class Stateless(t.Protocol):
    """A store that keeps nothing itself: all there is travels in the token. A session
    is gone with its cookie then, and without ``SESSION_REVOCATION`` it has no id and
    cannot be ended elsewhere.
    """

    stateless: t.Literal[True]


def is_stateless(store: Store) -> bool:
    """Whether this is a :class:`Stateless` one."""
    return getattr(store, "stateless", False)


@t.runtime_checkable
class Prunable(t.Protocol):
    """A store whose expired records take up room until they are removed."""

    def prune(self) -> int:
        """Remove expired records.

        :returns: how many there were.
        """


class Health(t.NamedTuple):
    """What a store says of itself.

    :param clock: the time there, in seconds since the epoch; None where nothing
        depends on it.
    :param evicts: why it may throw live records away; None where it does not.
    :param remedy: what would keep it from that.
    """

    clock: float | None = None
    evicts: str | None = None
    remedy: str = ""


@t.runtime_checkable
class Examinable(t.Protocol):
    """A store that can be asked how it is."""

    def examine(self) -> Health:
        """
        :raises SessionStoreError: the store cannot answer, or may not.
        """


class StoreURLError(ValueError):
    """A URL makes no store. The message quotes nothing of it."""


class Held(t.NamedTuple):
    """A record that is noted as an owner's.

    :param id: the record's key, what :func:`storage_key` makes of its token.
    :param data: the record.
    :param seen: when it was last noted, in seconds since the epoch.
    """

    id: str
    data: bytes
    seen: int


@t.runtime_checkable
class Owned(t.Protocol):
    """A store that finds an owner's records, at a cost that depends on how many
    these are and not on how many there are. What it has noted may be out of date:
    the record itself says whose it is.
    """

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        """Note whose a record is, and that it is in use now.

        :param max_age: seconds for which the note is of use; it is made again in
            time while the record lives.
        :raises SessionStoreError: the store cannot answer.
        """

    def owned(self, owner: str) -> list[Held]:
        """The records noted as an owner's that are still there.

        :raises SessionStoreError: the store cannot answer.
        """

    def revoke(self, session_id: str) -> bytes | None:
        """Forget a record, given its key: what is forgotten is what is returned,
        whatever is saved at the same time. What begins with a zero byte is the mark
        of an id that was given up, and stays.

        :returns: the record or the mark, None if there was none.
        :raises SessionStoreError: the store cannot answer.
        """


def is_storage_key(text: str) -> bool:
    """Whether this is what :func:`storage_key` makes."""
    return _KEY.fullmatch(text) is not None


def is_owned(store: object) -> t.TypeGuard[Owned]:
    """Whether this is an :class:`Owned` one, as it is set up: an ``own`` that is None
    says that it is not, whatever its class can do.
    """
    return isinstance(store, Owned) and store.own is not None


def new_token() -> str:
    """A token with 256 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(32)


def storage_key(token: str) -> str:
    """The key to keep a token's record under. A hash, so that who reads the
    store cannot take over the sessions in it, and so that no token, whatever
    characters it is made of, reaches beyond the store.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
