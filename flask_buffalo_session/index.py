"""The index of owners: which of an owner's sessions live, and how they are ended."""

from __future__ import annotations

import collections.abc as c
import typing as t

from .backends.base import BOUND_NAME, OWNER_NAME, Backend
from .codec import Codec, Record
from .errors import RejectedError, SessionTypeError
from .policy import Policy
from .stores.base import Owned, OwnedRecord
from .tombstones import is_tombstone, successor_hash_of


class LivingSession(t.NamedTuple):
    """A session that the index lists, and that is alive.

    :param held: what the store holds.
    :param record: its values and dates. For a session in a cookie: what the revocation
        list keeps of them.
    :param bound: when it was bound to its owner, in microseconds since the epoch. 0 if
        there was no owner limit then.
    """

    held: OwnedRecord
    record: Record
    bound: int

    @property
    def last_use(self) -> tuple[int, int, str]:
        """Return when the session was last used, to be compared. The index knows the
        second. Of sessions that were used in the same second, the one that was bound
        later counts as used later. The id makes the order the same for every request.
        """
        return self.held.seen, self.bound, self.held.id


class OwnerIndex:
    """Finds and ends the sessions of owners.

    :param backend: where the sessions live.
    :raises SessionUnsupportedError: the store does not support owners.
    """

    def __init__(self, backend: Backend, codec: Codec, policy: Policy) -> None:
        backend.check_owners()
        self._backend = backend
        self._owned = t.cast(Owned, backend.owned)
        self._codec = codec
        self._policy = policy

    def living(self, owner: str) -> c.Iterator[LivingSession]:
        """Yield an owner's living sessions, as the store finds them.

        :raises SessionStoreError: the store cannot answer.
        """
        for held in self._owned.owned(owner):
            record = self._record(held, owner)
            if record is not None:
                bound = self._read(record, BOUND_NAME)
                yield LivingSession(held, record, bound if type(bound) is int else 0)

    def beyond_limit(
        self, owner: str, session_id: str, limit: int
    ) -> tuple[LivingSession | None, list[LivingSession]]:
        """Return one of an owner's sessions, and the least recently used of the others
        that are too many beside it.

        :param session_id: the hash of the id of the session that stays.
        :param limit: how many sessions the owner may have.
        :returns: None as the first item if this session does not live under this id.
        :raises SessionStoreError: the store cannot answer.
        """
        sessions = {living.held.id: living for living in self.living(owner)}
        own = sessions.pop(session_id, None)
        others = sorted(sessions.values(), key=lambda living: living.last_use)
        return own, others[: len(others) - limit + 1] if len(others) >= limit else []

    def end(self, session_id: str) -> str | None:
        """End a session. Its requests under way save nothing any more.

        :param session_id: the hash of an id that the session has or had.
        :returns: the hash of the id that the session has; None if no session lived.
        :raises SessionStoreError: the store cannot answer.
        """
        passed: set[str] = set()
        ended = self._owned.revoke(session_id)
        while is_tombstone(ended):
            # The session may have got another id since this one was shown.
            passed.add(session_id)
            successor = _successor(ended, passed)
            if successor is None:
                return None
            session_id, ended = successor, self._owned.revoke(successor)
        return None if ended is None else session_id

    def end_unchanged(self, living: LivingSession) -> bool:
        """End a session if the store still holds what it held when the session was
        found.

        :returns: whether the session was ended.
        :raises SessionStoreError: the store cannot answer.
        """
        held = living.held
        return self._owned.revoke(held.id, expected=held.data) == held.data

    def is_same(self, session_id: str, earlier: str | None) -> bool:
        """Return whether a session is the one that had an earlier id.

        :param earlier: the hash of the earlier id.
        :raises SessionStoreError: the store cannot answer.
        """
        passed: set[str] = set()
        while earlier is not None and earlier != session_id:
            passed.add(earlier)
            data = self._owned.peek(earlier)
            earlier = _successor(data, passed) if is_tombstone(data) else None
        return earlier == session_id

    def _record(self, held: OwnedRecord, owner: str) -> Record | None:
        """Return the session's record; None if the session is not the owner's, or is
        over. The index may be out of date.
        """
        try:
            record = self._backend.opened(held.data, held.id)
            if self._read(record, OWNER_NAME) != owner:
                return None
            self._policy.check_age(record)
        except RejectedError:
            return None
        return record

    def _read(self, record: Record, name: str) -> t.Any:
        raw = record.values.get(name)
        if raw is None:
            return None
        try:
            return self._codec.decode(raw, name)
        except SessionTypeError:
            # Another program may have written anything here.
            return None


def _successor(data: bytes, passed: c.Collection[str]) -> str | None:
    """Return the hash of the id that a tombstone leads to; None if it leads nowhere.

    :param passed: the hashes of the ids before. Who writes to the store could make a
        circle of tombstones.
    """
    successor = successor_hash_of(data)
    return None if successor in passed else successor
