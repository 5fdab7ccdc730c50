"""The list of cookie sessions that have ended.

A copied cookie stays valid whatever the server answers. So ``SESSION_REVOCATION``
names a store that keeps the ids of ended sessions, for as long as their cookies could
be used.
"""

from __future__ import annotations

import collections.abc as c
import time
from contextlib import suppress

from .errors import RejectedError, SessionConflictError
from .native.codec import NativeCodec
from .policy import Timeouts
from .records import CipherInForce
from .stores.base import Disownable, OwnedRecord, storage_key
from .stores.named import NamedStore, OwnedStore
from .tombstones import TOMBSTONE_SECONDS, is_tombstone, second_of, tombstone

# Keeps the entries apart from sessions in the same store.
_PREFIX = "ended:"

_KEY_BYTES = 32

# Seconds that an entry outlives the last cookie: a slow request can still answer with
# a cookie.
_MARGIN = 3600


class RevocationList:
    """The ids of cookie sessions that have ended or that have an owner.

    An id is not in the list while its session is alive and has no owner. The list is
    used as a store is: it loads and saves entries by compare-and-swap.

    :param store: keeps the entries. Public as :attr:`store`.
    :param cookie_life: seconds for which a cookie can be used, unless its session has
        an idle timeout of its own. Such a session has an entry.
    :param cipher: decrypts the entries; None if they are not encrypted.
    """

    def __init__(
        self, store: OwnedStore, cookie_life: int, cipher: CipherInForce | None = None
    ) -> None:
        self.store = store
        self._cookie_life = cookie_life
        self._cipher = cipher
        self._codec = NativeCodec()

    def of_session(self, name: str) -> RevocationList:
        """Return the list for a named session, whose owners are indexed apart."""
        store = NamedStore(self.store, name)
        return RevocationList(store, self._cookie_life, self._cipher)

    def encrypted(self, cipher: CipherInForce) -> RevocationList:
        """Return the list as it is where this cipher encrypts the entries."""
        return RevocationList(self.store, self._cookie_life, cipher)

    def load(self, token: str) -> bytes | None:
        """Return the entry of an id: a record of its owner, a tombstone, or None."""
        return _content(self.store.load(_name(storage_key(token))))

    def save(
        self, token: str, data: bytes, *, expected: bytes | None, max_age: int
    ) -> None:
        """Replace the entry of an id, if the list still holds `expected`.

        :param max_age: seconds that a record of an owner is kept. A tombstone is
            kept for longer than any cookie can be used.
        """
        key = storage_key(token)
        if is_tombstone(data):
            max_age = self._life_after(key, expected)
        self._swap(key, data, expected, max_age)

    def delete(self, token: str) -> None:
        """Delete the entry of an id that no cookie carries."""
        self.store.delete(_name(storage_key(token)))

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        """Index an id under its owner, as :meth:`.stores.base.Owned.own` does."""
        self.store.own(_name(storage_key(token)), owner, max_age=max_age)

    def owned(self, owner: str) -> c.Iterator[OwnedRecord]:
        """Yield the entries indexed under an owner. Ended sessions leave the index, so
        that the next search does not find them again.
        """
        for entry in self.store.owned(owner):
            key, data = entry.data[:_KEY_BYTES].hex(), entry.data[_KEY_BYTES:]
            # Otherwise it is a session that the same store keeps, not an entry.
            if entry.id != storage_key(_name(key)):
                continue
            if is_tombstone(data) and isinstance(self.store, Disownable):
                self.store.disown(entry.id, owner)
            else:
                yield OwnedRecord(key, data, entry.seen)

    def peek(self, session_id: str) -> bytes | None:
        """Return the entry of the id with this hash."""
        return _content(self.store.load(_name(session_id)))

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        """End a session, whether or not the list knows it.

        :param session_id: :attr:`Session.id` of the session.
        :param expected: end it only if this is its entry. None ends it in any case.
        :returns: the entry before; a tombstone that was there stays. Empty bytes if
            there was no entry: the list cannot know whether such a session exists.
        """
        while True:
            found = self.peek(session_id)
            if is_tombstone(found) or expected not in (None, found):
                return found
            try:
                # Dated to the epoch, so that no request counts as under way.
                life = self._life_after(session_id, found)
                self._swap(session_id, tombstone(at=0), found, life)
            except SessionConflictError:
                continue
            return found or b""

    def _life_after(self, session_id: str, entry: bytes | None) -> int:
        """Return how long to keep the tombstone that replaces an entry."""
        life = self._cookie_life
        if entry is not None:
            with suppress(RejectedError):
                if self._cipher is not None:
                    entry = self._cipher().decrypt(entry, session_id)
                own = Timeouts.of(self._codec, self._codec.loads(entry).values)
                life = max(life, own.idle or 0)
        return life + 1 + _MARGIN

    def _swap(self, key: str, data: bytes, expected: bytes | None, age: int) -> None:
        # The id's hash stands in front, because the store's own key hides it.
        head = bytes.fromhex(key)
        before = None if expected is None else head + expected
        self.store.save(_name(key), head + data, expected=before, max_age=age)


def has_just_ended(entry: bytes, issued: int) -> bool:
    """Return whether a cookie can belong to a request that was under way when its
    session ended.

    :param entry: the tombstone of the cookie's id.
    :param issued: when the cookie was sealed, in seconds since the epoch.
    """
    ended = second_of(entry)
    return issued < ended and time.time() < ended + TOMBSTONE_SECONDS


def _name(key: str) -> str:
    return _PREFIX + key


def _content(entry: bytes | None) -> bytes | None:
    return None if entry is None else entry[_KEY_BYTES:]
