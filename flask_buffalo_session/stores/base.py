"""What a store must promise, and what the stores share.

A store keeps bytes under a token. It knows nothing of HTTP, cookies, values or
secrets. One test suite checks these promises for every store.
"""

from __future__ import annotations

import collections.abc as c
import hashlib
import re
import secrets
import typing as t

from ..errors import SessionError, SessionStoreError

#: Seconds that a client made from a URL waits for a connection, and for an answer.
TIMEOUT = 2

#: What the keys of records begin with where a store shares its place with others.
KEY_PREFIX = "buffalo-session:"

#: The first byte of a tombstone, which stays under an id that was retired.
TOMBSTONE_PREFIX = b"\x00"

_KEY = re.compile(r"[0-9a-f]{64}")

# The inside of an object, a login, the place after a word that introduces a place, and
# a host with its port.
_PLACE = re.compile(
    r"""<.*> | \S*@\S*
    | (?<=\ at\ |\ on\ |\ to\ )(?:'[^']*'|"[^"]*"|\S*[.:]\S*)
    | (?<=\ host\ )(?:'[^']*'|"[^"]*") | (?<=\ name\ )(?:'[^']*'|"[^"]*")
    | (?<=\ host:\ )'[^']*' | (?<=\ hostaddr:\ )'[^']*'
    | (?<=connecting\ to\ )\S+
    | \S+:\d+""",
    re.VERBOSE | re.DOTALL,
)


@t.runtime_checkable
class Store(t.Protocol):
    """A compare-and-swap register for each session.

    A store raises :exc:`~flask_buffalo_session.errors.SessionStoreError` only
    when it cannot answer.
    """

    def load(self, token: str) -> bytes | None:
        """Return the record under `token`, or None if the token is missing, expired
        or malformed.

        :raises SessionStoreError: the store cannot answer.
        """

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        """Save `data` if the store still holds `expected`.

        :param token: the session's token. None asks for a new one that nobody can
            guess and no other session has.
        :param data: the record. The store does not look into it.
        :param expected: the record as the caller last saw it. None means that there
            was no record.
        :param max_age: seconds after which the record expires.
        :returns: the token for the cookie.
        :raises SessionConflictError: the store holds another record. It wrote
            nothing.
        :raises SessionStoreError: the store cannot answer. It keeps the old record.
        """

    def delete(self, token: str) -> None:
        """Delete the record under `token`. A missing token is no error.

        :raises SessionStoreError: the store cannot answer.
        """


@t.runtime_checkable
class Stateless(t.Protocol):
    """A store that keeps nothing itself: the token carries all of the data.

    Such a session is gone with its cookie. Without ``SESSION_REVOCATION`` it has no
    id, and nobody can end it from elsewhere.
    """

    stateless: t.Literal[True]


def is_stateless(store: Store) -> bool:
    """Return whether a store is a :class:`Stateless` one."""
    return getattr(store, "stateless", False)


@t.runtime_checkable
class Prunable(t.Protocol):
    """A store whose expired records take up room until :meth:`prune` deletes them."""

    def prune(self) -> int:
        """Delete expired records.

        :returns: how many records were deleted.
        :raises SessionStoreError: the store cannot answer.
        """


@t.runtime_checkable
class PrunableInBatches(Prunable, t.Protocol):
    """A store that may hold many expired records."""

    def prune_batches(self) -> c.Iterator[int]:
        """Delete expired records in batches, so that others can write in between.

        :returns: the number of records deleted in each batch.
        :raises SessionStoreError: the store cannot answer. Earlier batches stay
            deleted.
        """


class Health(t.NamedTuple):
    """The state of a store.

    :param clock: the store's time, in seconds since the epoch. None where nothing
        depends on it.
    :param evicts: why the store may delete live records. None where it does not.
    :param remedy: how to prevent that.
    :param shared_pool: how many connections a pool has that the store may share with
        the application. None where the store has a pool of its own.
    """

    clock: float | None = None
    evicts: str | None = None
    remedy: str = ""
    shared_pool: int | None = None


@t.runtime_checkable
class Examinable(t.Protocol):
    """A store that can report its state."""

    def check_health(self) -> Health:
        """Ask the store for its state.

        :raises SessionStoreError: the store cannot answer, or may not.
        """


@t.runtime_checkable
class Closable(t.Protocol):
    """A store that holds connections."""

    def close(self) -> None:
        """Close the store's connections. The next use opens new ones."""


class StoreURLError(ValueError):
    """A URL does not describe a store. The message quotes no part of the URL."""


#: The problem of a URL with an option that its client lacks. The option's name may be a
#: part of a password.
UNKNOWN_OPTION = "the client does not know one of its options"


class OwnedRecord(t.NamedTuple):
    """A record found in an owner's index.

    :param id: the record's key, as :func:`storage_key` makes it from the token.
    :param data: the record.
    :param seen: when the record was last indexed, in seconds since the epoch.
    """

    id: str
    data: bytes
    seen: int


@t.runtime_checkable
class Owned(t.Protocol):
    """A store that finds an owner's records. The cost depends on the number of these
    records, not on the number of all records.

    The index may be out of date. Each record itself names its owner.
    """

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        """Index a record under its owner and update its last-seen time.

        :param max_age: seconds after which the entry expires. The session indexes a
            live record again before that.
        :raises SessionStoreError: the store cannot answer.
        """

    def owned(self, owner: str) -> c.Iterable[OwnedRecord]:
        """Yield the owner's indexed records that still exist, as the store finds them.

        :raises SessionStoreError: the store cannot answer.
        """

    def peek(self, session_id: str) -> bytes | None:
        """Return the record or the tombstone with this key.

        :raises SessionStoreError: the store cannot answer.
        """

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        """Delete the record with this key, unless it is a tombstone.

        Deleting is atomic: the result is exactly the record that was deleted,
        whatever other requests save at the same time.

        :param expected: delete only this record. None deletes any record.
        :returns: what was there: the deleted record, the tombstone or the unexpected
            record that stays, or None.
        :raises SessionStoreError: the store cannot answer.
        """


@t.runtime_checkable
class Disownable(t.Protocol):
    """A store that can take a record out of its owner's index."""

    def disown(self, session_id: str, owner: str) -> None:
        """Take a record out of its owner's index. The record stays.

        :raises SessionStoreError: the store cannot answer.
        """


def is_storage_key(text: str) -> bool:
    """Return whether `text` has the form of a :func:`storage_key`."""
    return _KEY.fullmatch(text) is not None


def is_owned(store: object) -> t.TypeGuard[Owned]:
    """Return whether a store is an :class:`Owned` one as it is set up. A store turns
    the ability off by setting ``own`` to None.
    """
    return isinstance(store, Owned) and store.own is not None


def new_token() -> str:
    """Return a token with 256 random bits, in characters that need no quoting."""
    return secrets.token_urlsafe(32)


def storage_key(token: str) -> str:
    """Return the key under which a store keeps a token's record.

    The key is a hash. A reader of the store cannot take over the sessions in it, and
    no token can reach beyond the store, whatever characters it consists of.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class answering:  # noqa: N801 - used as a function
    """Turn a client's errors into
    :exc:`~flask_buffalo_session.errors.SessionStoreError`.

    :param store: the store's name, for the message.
    :param doing: what the store cannot do if there is an error: "read".
    """

    # A class saves 1 % of a read, compared with contextlib.contextmanager.
    __slots__ = ("_doing", "_store")

    def __init__(self, store: str, doing: str) -> None:
        self._store = store
        self._doing = doing

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: object
    ) -> None:
        # Clients have no base class for their errors in common.
        if isinstance(error, Exception) and not isinstance(error, SessionError):
            problem = f"cannot {self._doing}: {_reason(error)}"
            raise SessionStoreError(self._store, problem) from error


def _reason(error: Exception) -> str:
    """Return an error's message without hosts, logins, paths and statements."""
    # SQLAlchemy quotes the statement around the driver's own error.
    error = getattr(error, "orig", None) or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _PLACE.sub("***", str(error)) or type(error).__name__
