"""The store of a named session."""

from __future__ import annotations

import collections.abc as c
import typing as t

from .base import Disownable, Owned, OwnedRecord, Store


class OwnedStore(Store, Owned, t.Protocol):
    """A store that indexes owners."""


class NamedStore:
    """A store that indexes the owners of a named session apart from those of other
    sessions. So sessions that share a store do not find each other.

    :param store: keeps the records and the index.
    :param session: the session's name, without a colon.
    """

    def __init__(self, store: OwnedStore, session: str) -> None:
        self._store = store
        self._session = session

    def load(self, token: str) -> bytes | None:
        return self._store.load(token)

    def save(
        self, token: str | None, data: bytes, *, expected: bytes | None, max_age: int
    ) -> str:
        return self._store.save(token, data, expected=expected, max_age=max_age)

    def delete(self, token: str) -> None:
        self._store.delete(token)

    def own(self, token: str, owner: str, *, max_age: int) -> None:
        self._store.own(token, self._name(owner), max_age=max_age)

    def owned(self, owner: str) -> c.Iterable[OwnedRecord]:
        return self._store.owned(self._name(owner))

    def disown(self, session_id: str, owner: str) -> None:
        if isinstance(self._store, Disownable):
            self._store.disown(session_id, self._name(owner))

    def peek(self, session_id: str) -> bytes | None:
        return self._store.peek(session_id)

    def revoke(self, session_id: str, *, expected: bytes | None = None) -> bytes | None:
        if expected is None:
            # Without an owner limit, a store of an application's own needs no more.
            return self._store.revoke(session_id)
        return self._store.revoke(session_id, expected=expected)

    def _name(self, owner: str) -> str:
        # Another session may have an owner of this name. Each record names its own
        # owner, so it is not found under the wrong one.
        return f"{self._session}:{owner}"
