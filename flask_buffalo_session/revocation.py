"""Which sessions that live in a cookie have ended.

A cookie that was copied stays as good as it was, whatever is said to the browser. So
the ids of those that were ended are kept on the server, for as long as the cookies
could be used.
"""

from __future__ import annotations

import time
import typing as t

from .errors import SessionConflictError
from .retired import RETIRED_SECONDS, is_mark, retired
from .stores.base import Owned, OwnedRecord, Prunable, Store, storage_key

# Keeps these entries apart from the sessions that the same store may keep.
_PREFIX = "ended:"

_KEY_BYTES = 32

# Seconds that an entry outlives the last cookie: a request that is slow to answer can
# still hand out one.
_LATE = 3600


class OwnedStore(Store, Owned, t.Protocol):
    """A store on a server that knows owners."""


class RevocationList:
    """A register of the ids of cookie sessions, used as a store is. An id is not in it
    as long as nothing is to be said of it: neither that it has ended nor whose it is.

    :param store: where it is kept, as :attr:`store`.
    :param idle_timeout: seconds for which a cookie can be used.
    """

    def __init__(self, store: OwnedStore, idle_timeout: int) -> None:
        self.store = store
        self._life = idle_timeout + 1 + _LATE

    def load(self, token: str) -> bytes | None:
        """What is noted of an id: a record of whose it is, or the mark of its end."""
        return _opened(self.store.load(_name(storage_key(token))))

    def save(
        self, token: str, data: bytes, *, expected: bytes | None, max_age: int
    ) -> None:
        """Note something else of an id, while it is still noted as it was seen.

        :param max_age: seconds for a record of whose it is. That it has ended stays
            noted for longer than any cookie can be used.
        """
        if is_mark(data):
            data, max_age = _dated(data, int(time.time())), self._life
        self._swap(storage_key(token), data, expected, max_age)

    def delete(self, token: str) -> None:
        """Forget what is noted of an id that no cookie has."""
        self.store.delete(_name(storage_key(token)))

    def has_just_ended(self, entry: bytes, issued: int) -> bool:
        """Whether a cookie may belong to a request that was under way when its session
        ended, and so must not be answered with another session's.

        :param entry: what is noted of its id.
        :param issued: when it was sealed, in seconds since the epoch.
        """
        ended = int.from_bytes(entry[-8:])
        return issued < ended and time.time() < ended + RETIRED_SECONDS

    def prune(self) -> int:
        """Remove what cookies that have expired were noted for, if the store does not
        by itself.

        :returns: how many entries there were.
        """
        return self.store.prune() if isinstance(self.store, Prunable) else 0

    # Owners

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        self.store.own(_name(storage_key(token)), owner, max_age=max_age)

    def owned(self, owner: str) -> list[OwnedRecord]:
        found = []
        for entry in self.store.owned(owner):
            key = entry.data[:_KEY_BYTES].hex()
            # Otherwise it is none of this list: a session that the store keeps, say.
            if entry.id == storage_key(_name(key)):
                found.append(OwnedRecord(key, entry.data[_KEY_BYTES:], entry.seen))
        return found

    def revoke(self, session_id: str) -> bytes | None:
        """Note that a session has ended, from now on.

        :param session_id: as :attr:`Session.id` has it.
        :returns: what was noted of it before; None where that was its end. Whether
            there was such a session cannot be told.
        """
        while True:
            found = _opened(self.store.load(_name(session_id)))
            if is_mark(found):
                return None
            try:
                self._swap(session_id, _dated(retired(), 0), found, self._life)
            except SessionConflictError:
                continue
            return found or b""

    def _swap(self, key: str, data: bytes, expected: bytes | None, age: int) -> None:
        # With the key in front, as it cannot be told from the store's own.
        head = bytes.fromhex(key)
        before = None if expected is None else head + expected
        self.store.save(_name(key), head + data, expected=before, max_age=age)


def _name(key: str) -> str:
    return _PREFIX + key


def _opened(entry: bytes | None) -> bytes | None:
    return None if entry is None else entry[_KEY_BYTES:]


def _dated(mark: bytes, ended: int) -> bytes:
    return mark + ended.to_bytes(8)
