"""An owner's sessions: which there are, and ending them from elsewhere."""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import dataclass

from . import signals
from .arguments import owner_name
from .backends.base import OWNER_NAME, Backend
from .codec import Record
from .errors import RejectedError, SessionTypeError
from .sessions import Session
from .stores.base import Owned, OwnedRecord, is_storage_key
from .tombstones import is_tombstone, successor_hash_of
from .work import Opener


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One of an owner's sessions.

    :param id: :attr:`Session.id` of the session, as ``revoke`` takes it.
    :param created_at: when the session began, in UTC.
    :param last_seen: when the session was last used, in UTC. It may have been used up
        to a tenth of the idle time-out later.
    :param current: whether it is the session of this request.
    """

    id: str
    created_at: dt.datetime
    last_seen: dt.datetime
    current: bool


class Owners:
    """Finds and ends the sessions of an owner.

    :param backend: where the sessions live.
    :param session: the request's own session, if there is a request.
    :raises SessionUnsupportedError: the store does not support owners.
    """

    def __init__(
        self, backend: Backend, opener: Opener, session: Session | None = None
    ) -> None:
        backend.check_owners()
        self._backend = backend
        self._index = t.cast(Owned, backend.owned)
        self._opener = opener
        self._session = session

    def sessions_of(self, owner: str | int) -> list[SessionInfo]:
        """Return an owner's living sessions, the most recently used first."""
        owner = owner_name("sessions_of()", owner)
        current = None if self._session is None else self._session.id
        found = [
            SessionInfo(
                held.id, _utc(record.created), _utc(held.seen), held.id == current
            )
            for held in self._index.owned(owner)
            if (record := self._record(held, owner)) is not None
        ]
        return sorted(found, key=lambda info: info.last_seen, reverse=True)

    def revoke(self, session_id: str) -> bool:
        """End a session. Its requests under way save nothing any more.

        :returns: whether there was such a session, and it was alive.
        """
        if not is_storage_key(session_id):
            return False
        session = self._session
        if session is not None and not session.closed and session.id == session_id:
            # Clearing it removes its cookie, too.
            session.clear()
            session.save()
            return True
        ended = self._index.revoke(session_id)
        while is_tombstone(ended):
            # The session may have got another id since this one was shown.
            successor = successor_hash_of(ended)
            if successor is None:
                return False
            session_id, ended = successor, self._index.revoke(successor)
        if ended is None:
            return False
        self._opener.emit(signals.session_destroyed, session_id)
        return True

    def revoke_all(self, owner: str | int, keep: str | None = None) -> int:
        """End all sessions of an owner but one, and return how many were ended."""
        owner = owner_name("revoke_all()", owner)
        count, found = 0, True
        # Until none is left: a session may have got another id meanwhile.
        while found:
            found = False
            for held in self._index.owned(owner):
                record = self._record(held, owner)
                if record is not None and not self._is_kept(held.id, keep):
                    found = True
                    count += self.revoke(held.id)
        session = self._session
        # The request may have bound its own session without saving it yet.
        if session is not None and session.owner == owner:
            own = session.id
            if own is not None and not self._is_kept(own, keep):
                count += self.revoke(own)
        return count

    def _is_kept(self, session_id: str, keep: str | None) -> bool:
        """Return whether this is the session to keep, which may have got another id."""
        while keep is not None and keep != session_id:
            data = self._index.peek(keep)
            keep = successor_hash_of(data) if is_tombstone(data) else None
        return keep == session_id

    def _record(self, held: OwnedRecord, owner: str) -> Record | None:
        """Return the session's record; None if the session is not the owner's, or is
        over. The index may be out of date.
        """
        codec = self._opener.codec
        try:
            record = self._backend.opened(held.data, held.id)
            raw = record.values.get(OWNER_NAME)
            if raw is None or codec.decode(raw, OWNER_NAME) != owner:
                return None
            self._opener.policy.check_age(record)
        except (RejectedError, SessionTypeError):
            return None
        return record


def _utc(seconds: int | None) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds or 0, dt.UTC)
